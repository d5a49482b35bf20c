//! What other nodes keep, for those who watch: where several nodes have one store, it is asked every second for what is new of
//! the apps that somebody watches, whoever kept it.
//!
//! Rows have no order in which they were kept: an id tells when a run began. So those are asked for that ended a short while ago,
//! and the ones that were there the last time are known ([`Lately`]).

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, ExecutionId};
use tokio::sync::broadcast::Receiver;

use crate::execution_writer::buffer::Buffer;
use crate::execution_writer::lately::Lately;
use crate::execution_writer::tail::Shown;
use crate::repo::RepoError;
use crate::repo::executions::{self, Ended, Execution};
use crate::store::Store;
use crate::survive::survive;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a row may come after its run has ended, and nodes' clocks be apart, both together. What is later is not shown.
const LATE: Duration = Duration::from_secs(15);
/// How long before its end a run may have begun that is looked for. Limits may allow a day, which would be read each second.
pub(super) const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Rows of an app that are told apart: 160 KB of ids. Others are counted.
const MOST: u32 = 10_000;

/// Shows what is kept to those who watch.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(super) store: Store,
    pub(super) buffer: Arc<Buffer>,
    /// No run that is looked for lasts longer.
    pub(super) longest_run: Duration,
}

impl Follower {
    /// The rows of an app that are kept from now on, but for those that come faster than they are taken; and the number that
    /// the last one before them had.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`] when the store is down.
    pub(crate) async fn watch(&self, app: AppId) -> Result<(u64, Receiver<Shown>), RepoError> {
        let lately = if self.store.is_sqlite() { Lately::default() } else { self.begin(app).await? };
        Ok(self.buffer.tails.watch(app, lately))
    }

    /// Looks for ever at what all nodes keep; at nothing where there is but one, whose writer shows it.
    pub(crate) async fn follow(self) {
        while !self.store.is_sqlite() {
            for (app, since) in self.buffer.tails.watched().await {
                if let Some(Err(error)) = survive("looking for what is kept", self.look(app, since)).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "what was kept of a watched app cannot be told yet");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What ended a short while ago is known.
    async fn begin(&self, app: AppId) -> Result<Lately, RepoError> {
        let since = self.buffer.clock.now().minus(LATE);
        Ok(Lately::begin(self.ended(app, since, since).await?, since))
    }

    /// Shows the newest rows that are new, and counts the others.
    async fn look(&self, app: AppId, since: Timestamp) -> Result<(), RepoError> {
        let now = self.buffer.clock.now();
        if now < since {
            // The clock was set back, and what has ended since is all that there is.
            self.buffer.tails.begin_anew(app, since, self.begin(app).await?);
            return Ok(());
        }
        let later = since.max(now.minus(LATE));
        let new = self.buffer.tails.learn(app, since, self.ended(app, since, later).await?, later);
        let (rows, result) = match self.read(&new.ids).await {
            Ok(rows) => (rows, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.buffer.tails.show_after(app, later, new.count - rows.len() as u64, rows);
        result
    }

    async fn ended(&self, app: AppId, since: Timestamp, later: Timestamp) -> Result<Ended, RepoError> {
        let mut conn = self.store.read_logs().await?;
        executions::ended_since(&mut conn, app, (since, later), self.longest_run, MOST).await
    }

    /// The rows, but for those that cannot be read, which lists leave out too.
    async fn read(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>, RepoError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = executions::find_all(&mut self.store.read_logs().await?, ids).await?;
        Ok(found.into_iter().flatten().collect())
    }
}
