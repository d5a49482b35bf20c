//! Removing what nobody sees any more: entries that have expired, and all of apps that are gone.
//!
//! A transaction takes some hundred entries, or a megabyte, so that writes of scripts wait for a few milliseconds at most. Several nodes may do
//! it at once: on PostgreSQL whoever writes an app's entries has locked it before, and who comes second finds nothing.

use std::time::Duration;

use picloud_shared::id::AppId;
use tokio::time::interval;
use tracing::{debug, warn};

use super::Kv;
use crate::repo::RepoError;
use crate::repo::kv::{postgres, sqlite};
use crate::store::DataPlace;
use crate::store::data_file::WriteFailed;
use crate::survive::survive;

/// How often expired entries are looked for: so long they may count against the quota. Where there are none, it is one look at
/// an index, and nothing is written.
const INTERVAL: Duration = Duration::from_secs(10);

impl Kv {
    /// Sweeps, for ever.
    pub(crate) async fn keep_sweeping(self) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            match survive("removing expired entries", self.sweep()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(count)) => debug!(count, "removed expired entries"),
                Some(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "expired entries stay for now");
                }
            }
        }
    }

    /// Removes the entries that have expired; how many.
    pub async fn sweep(&self) -> Result<usize, RepoError> {
        let (mut total, now) = (0, self.clock.now());
        loop {
            let app = match self.store.data() {
                DataPlace::File(file) => file.read_aside(move |conn| sqlite::find_expired(conn, now)).await?,
                DataPlace::Postgres(data) => postgres::find_expired(&mut data.read().await?, now).await?,
            };
            let Some(app) = app else { return Ok(total) };
            total += match self.store.data() {
                DataPlace::File(file) => {
                    let swept = file.write(move |conn| sqlite::delete_expired(conn, app, now)).await;
                    swept.map_err(WriteFailed::into_repo_error)?
                }
                DataPlace::Postgres(data) => {
                    let mut tx = data.begin().await?;
                    postgres::lock(&mut tx, app).await?;
                    let swept = postgres::delete_expired(&mut tx, app, now).await?;
                    tx.commit().await?;
                    swept
                }
            };
        }
    }

    /// Removes all that an app that is gone has left.
    pub(crate) async fn purge(&self, app: AppId) -> Result<(), RepoError> {
        loop {
            let more = match self.store.data() {
                DataPlace::File(file) => {
                    let purged = file.write(move |conn| sqlite::purge(conn, app)).await;
                    purged.map_err(WriteFailed::into_repo_error)?
                }
                DataPlace::Postgres(data) => {
                    let mut tx = data.begin().await?;
                    postgres::lock(&mut tx, app).await?;
                    let more = postgres::purge(&mut tx, app).await?;
                    tx.commit().await?;
                    more
                }
            };
            if !more {
                return Ok(());
            }
        }
    }
}
