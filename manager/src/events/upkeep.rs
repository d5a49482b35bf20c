//! Removing what has ended for a while, and all of apps that are gone, in pieces, so that writes of scripts wait for a few
//! milliseconds at most.

use tokio::time::{Instant, interval_at};
use tracing::{debug, warn};
use uuid::Uuid;

use super::*;
use crate::repo::events::upkeep;
use crate::survive::survive;

/// How often is looked for what is to go.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long events are kept that have ended, with their attempts.
const ENDED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many of an app at most.
const MOST_ENDED: u32 = 10_000;

/// How many of an app at most that were sent by a key: they say that it was sent.
const MOST_KEYED: u32 = 100_000;

/// How long dead letters are kept that are resolved.
const RESOLVED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Apps that are looked at together.
const APPS: u32 = 100;

impl Events {
    /// Sweeps, for ever.
    pub(crate) async fn keep_sweeping(self) {
        let mut turns = interval_at(Instant::now() + INTERVAL, INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            match survive("removing ended events", self.sweep()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(count)) => debug!(count, "removed ended events and dead letters"),
                Some(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "ended events stay for now");
                }
            }
        }
    }

    /// Removes what has ended for long enough, or is too much; how many.
    pub async fn sweep(&self) -> Result<usize, RepoError> {
        let now = self.clock.now();
        let (ended, resolved) = (now.minus(ENDED_FOR), now.minus(RESOLVED_FOR));
        let mut total = 0;
        loop {
            let events: usize = changing!(self.store, |db| upkeep::delete_old_events(db, ended))?;
            let letters: usize = changing!(self.store, |db| upkeep::delete_old_letters(db, resolved))?;
            total += events + letters;
            if events + letters == 0 {
                break;
            }
        }
        let mut after = Uuid::nil();
        loop {
            let apps: Vec<AppId> = reading!(self.store, |db| upkeep::apps(db, after, APPS))?;
            let Some(last) = apps.last() else { return Ok(total) };
            after = last.as_uuid();
            for app in apps {
                total += self.sweep_beyond(app).await?;
                let () = changing!(self.store, |db| forget_lanes(db, app))?;
            }
        }
    }

    /// Removes what of an app has ended and is more than is kept.
    async fn sweep_beyond(&self, app: AppId) -> Result<usize, RepoError> {
        let mut total = 0;
        loop {
            let plain: usize = changing!(self.store, |db| upkeep::delete_events_beyond(db, app, false, MOST_ENDED))?;
            let keyed: usize = changing!(self.store, |db| upkeep::delete_events_beyond(db, app, true, MOST_KEYED))?;
            let events = plain + keyed;
            let letters: usize = changing!(self.store, |db| upkeep::delete_letters_beyond(db, app, MOST_ENDED))?;
            total += events + letters;
            if events + letters == 0 {
                return Ok(total);
            }
        }
    }

    /// Removes all that an app that is gone has left.
    pub(crate) async fn purge(&self, app: AppId) -> Result<(), RepoError> {
        loop {
            let more: bool = changing!(self.store, |db| purge(db, app))?;
            if !more {
                return Ok(());
            }
        }
    }
}

async fn forget_lanes<D: DataDb>(db: &mut D, app: AppId) -> Result<(), RepoError> {
    repo::lock(db, app).await?;
    repo::claims::forget_lanes(db, app).await
}

async fn purge<D: DataDb>(db: &mut D, app: AppId) -> Result<bool, RepoError> {
    repo::lock(db, app).await?;
    upkeep::purge(db, app).await
}
