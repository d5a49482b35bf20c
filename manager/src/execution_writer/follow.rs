//! What other nodes keep, for those who watch: where several nodes have one store, it is asked every second for what is new of
//! the apps that somebody watches, whoever kept it.
//!
//! Rows have no order in which they were kept: an id tells when a run began. So those are asked for that ended a short while ago,
//! and the ones that were there the last time are known.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::id::{AppId, ExecutionId};
use tokio::sync::broadcast::Receiver;

use crate::execution_writer::buffer::Buffer;
use crate::execution_writer::tail::{Shown, WAITING};
use crate::repo::RepoError;
use crate::repo::executions::{self, Execution};
use crate::store::Store;
use crate::survive::survive;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a row may come after its run has ended, and nodes' clocks be apart, both together. What is later is not shown.
const LATE: Duration = Duration::from_secs(15);
/// How long before its end a run may have begun that is looked for. Limits may allow a day, which would be read each second.
pub(super) const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Rows of an app that are looked at: 160 KB of ids.
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
        let known = if self.store.is_sqlite() { Vec::new() } else { self.recent(app).await? };
        Ok(self.buffer.tails.watch(app, known.into_iter().collect()))
    }

    /// Looks for ever at what all nodes keep; at nothing where there is but one, whose writer shows it.
    pub(crate) async fn follow(self) {
        while !self.store.is_sqlite() {
            for app in self.buffer.tails.watched().await {
                if let Some(Err(error)) = survive("looking for what is kept", self.look(app)).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "what was kept of a watched app cannot be told yet");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What ended a short while ago, the one that began last first.
    async fn recent(&self, app: AppId) -> Result<Vec<ExecutionId>, RepoError> {
        let since = self.buffer.clock.now().minus(LATE);
        let mut conn = self.store.read_logs().await?;
        executions::ended_since(&mut conn, app, since, self.longest_run, MOST).await
    }

    /// Shows the newest rows that are new.
    async fn look(&self, app: AppId) -> Result<(), RepoError> {
        let new = self.buffer.tails.learn(app, self.recent(app).await?);
        let (rows, result) = match self.read(&new[..new.len().min(WAITING)]).await {
            Ok(rows) => (rows, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let missed = (new.len() - rows.len()) as u64;
        self.buffer.tails.show_after(app, missed, rows);
        result
    }

    /// The rows, the last one first.
    async fn read(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>, RepoError> {
        let mut conn = self.store.read_logs().await?;
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids.iter().rev() {
            match executions::find(&mut conn, *id).await {
                Ok(row) => rows.extend(row),
                // As lists leave it out.
                Err(RepoError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }
}
