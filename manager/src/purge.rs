//! Purges what deleted apps left behind in the execution log and of their data, which on SQLite are in other files than the app
//! was.
//!
//! The deletion leaves a note of the app in its own transaction; this task works through the notes, at the start and
//! whenever it is told of one, as often as it takes. It must not decide what is deleted.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Clock;
use picloud_shared::id::AppId;
use tokio::sync::Notify;
use tokio::time::interval;
use tracing::{debug, warn};

use crate::docs::Docs;
use crate::events::Events;
use crate::execution_writer::ExecutionWriter;
use crate::kv::Kv;
use crate::repo::RepoError;
use crate::repo::deleted_apps::{self, DeletedApp};
use crate::repo::executions::{counters, retention};
use crate::store::{Conn, Store};
use crate::survive::survive;

/// How often notes are looked at without being told.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How long after its deletion an app may still be heard of: by runs that were under way, here or on another node, which
/// write data and whose records come when they end. No run is allowed longer than a day.
const AFTERMATH: Duration = Duration::from_secs(25 * 60 * 60);

/// Apps that are looked at in one turn.
const APPS: u32 = 1_000;

/// Rows deleted in one transaction on the log.
const CHUNK: u32 = 5_000;

/// What apps keep.
#[derive(Clone)]
pub(crate) struct Data {
    pub kv: Kv,
    pub docs: Docs,
    pub events: Events,
}

/// Tells the task of a deletion. Clones tell the same task.
#[derive(Clone)]
pub(crate) struct Purge {
    store: Store,
    clock: Arc<dyn Clock>,
    execution_log: ExecutionWriter,
    data: Data,
    bell: Arc<Notify>,
}

impl Purge {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, execution_log: ExecutionWriter, data: Data) -> Self {
        Self { store, clock, execution_log, data, bell: Arc::default() }
    }

    /// Says that an app was deleted.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Purges, for ever.
    pub(crate) async fn keep_purging(self) {
        let mut turns = interval(INTERVAL);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = self.bell.notified() => {}
            }
            if let Some(Err(error)) = survive("purging deleted apps", self.purge()).await {
                warn!(error = &error as &dyn std::error::Error, "what deleted apps left stays for now");
            }
        }
    }

    async fn purge(&self) -> Result<(), RepoError> {
        let noted = deleted_apps::list(&mut self.store.read().await?, APPS).await?;
        if noted.is_empty() {
            return Ok(());
        }
        // What waits to be written may be of these apps, too.
        self.execution_log.flush().await;
        let mut failure = None;
        for app in noted {
            // One that cannot be purged keeps none of the others.
            if let Err(error) = self.purge_app(app).await {
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn purge_app(&self, DeletedApp { id, deleted_at }: DeletedApp) -> Result<(), RepoError> {
        // What of it fails is tried again; each part goes by itself.
        let Data { kv, docs, events } = &self.data;
        let (kv, docs, events) = (kv.purge(id).await, docs.purge(id).await, events.purge(id).await);
        let deleted = self.purge_log(id).await?;
        kv.and(docs).and(events)?;
        debug!(app_id = %id, deleted, "purged a deleted app");
        if self.clock.now().since(deleted_at) >= AFTERMATH {
            let mut tx = self.store.begin().await?;
            deleted_apps::delete(&mut tx, id).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Deletes in pieces, which hold the log for a moment only; how many rows.
    async fn purge_log(&self, id: AppId) -> Result<u64, RepoError> {
        let mut total = 0;
        loop {
            let mut tx = self.store.begin_logs().await?;
            let executions = retention::delete_oldest_of_app(&mut tx, id, CHUNK).await?;
            let counters = counters::delete_of_app(&mut tx, id, CHUNK).await?;
            tx.commit().await?;
            total += executions + counters;
            if executions < u64::from(CHUNK) && counters < u64::from(CHUNK) {
                return Ok(total);
            }
        }
    }
}

/// Deletes the log of an app within the deletion's own transaction, where the log is in the same database. Its data goes in pieces:
/// scripts may be writing it still, and the control data would wait for them.
pub(crate) async fn purge_within(conn: &mut Conn, id: AppId) -> Result<(), RepoError> {
    retention::delete_of_app(conn, id).await?;
    counters::delete_of_app(conn, id, u32::MAX).await?;
    Ok(())
}
