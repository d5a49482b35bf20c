//! What is done now and then, whoever asks: what has expired goes, what is too much goes, what is gone is forgotten.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Clock;
use picloud_shared::node::NodeRole;
use picloud_shared::snapshot::SnapshotCell;
use tokio::time::interval;
use tracing::{debug, warn};

use crate::execution_writer::ExecutionWriter;
use crate::repo::{RepoError, idempotency, sessions};
use crate::service::change::AuditedStore;
use crate::service::idempotency::kept_within;
use crate::service::last_use::LastUse;
use crate::service::login_throttle::LoginThrottle;
use crate::service::setup::SetupLink;
use crate::store::Store;
use crate::survive::survive;

/// How often it is done.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What it takes to keep house.
pub(crate) struct Housekeeping {
    pub role: NodeRole,
    pub store: Store,
    pub audited: AuditedStore,
    pub clock: Arc<dyn Clock>,
    pub snapshot: Arc<SnapshotCell>,
    pub last_use: LastUse,
    pub execution_log: ExecutionWriter,
    pub setup_link: Option<SetupLink>,
}

impl Housekeeping {
    /// Keeps house, for ever. What fails is tried again the next time.
    pub(crate) async fn run(self) {
        match self.role {
            NodeRole::Full => self.keep_house().await,
            // What the store has, full nodes look after.
            NodeRole::Edge => self.keep_forgetting().await,
        }
    }

    async fn keep_forgetting(&self) {
        let mut turns = interval(INTERVAL);
        loop {
            turns.tick().await;
            self.forget_scripts();
        }
    }

    async fn keep_house(&self) {
        let mut turns = interval(INTERVAL);
        loop {
            tokio::select! {
                _ = turns.tick() => self.turn().await,
                () = self.execution_log.prune_due() => {}
            }
            self.tell("pruning the execution log", self.prune()).await;
        }
    }

    async fn turn(&self) {
        self.tell("deleting expired sessions", self.delete_expired_sessions()).await;
        self.tell("forgetting failures to sign in", LoginThrottle::forget_old(&self.store)).await;
        self.tell("deleting answers that were kept", self.delete_kept_answers()).await;
        self.tell("telling the audit log of changes of data", self.audited.carry_data_audit()).await;
        self.tell("keeping the set-up link", self.keep_setup_link()).await;
        self.forget_scripts();
    }

    /// Forgets what this node counts of scripts that are gone.
    fn forget_scripts(&self) {
        let snapshot = self.snapshot.load_full();
        self.execution_log.retain_scripts(|id| snapshot.script(id).is_some());
    }

    async fn tell(&self, what: &'static str, work: impl Future<Output = Result<(), RepoError>>) {
        if let Some(Err(error)) = survive(what, work).await {
            warn!(error = &error as &dyn std::error::Error, "{what} failed; it is tried again");
        }
    }

    async fn delete_expired_sessions(&self) -> Result<(), RepoError> {
        // A session that was just used lives, though its row may not tell so yet.
        self.last_use.write().await?;
        let mut tx = self.store.begin().await?;
        let count = sessions::delete_expired(&mut tx, self.clock.now()).await?;
        tx.commit().await?;
        debug!(count, "expired sessions are deleted");
        Ok(())
    }

    async fn delete_kept_answers(&self) -> Result<(), RepoError> {
        let mut tx = self.store.begin().await?;
        idempotency::delete_others(&mut tx, kept_within(self.clock.now())).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn keep_setup_link(&self) -> Result<(), RepoError> {
        match &self.setup_link {
            Some(link) => link.keep(&self.store, self.clock.now()).await,
            None => Ok(()),
        }
    }

    async fn prune(&self) -> Result<(), RepoError> {
        let deleted = self.execution_log.prune().await?;
        debug!(deleted, "pruned the execution log");
        Ok(())
    }
}
