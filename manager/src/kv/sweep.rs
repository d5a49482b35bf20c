//! Removing what nobody sees any more: entries that have expired, and all of apps that are gone.
//!
//! A transaction takes some hundred entries, or a megabyte, so that writes of scripts wait for a few milliseconds at most. Several nodes may do
//! it at once: on PostgreSQL whoever writes an app's entries has locked it before, and who comes second finds nothing. So an entry
//! whose time is over makes its events once, with its removal. Where there is no room for them it waits, and what comes after it, for an
//! hour at most: then it goes without a word, so that events that nobody handles do not fill the store of entries as well.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::event::{EventOp, EventSource};
use picloud_shared::id::{AppId, TriggerId};
use tokio::time::interval;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Kv;
use crate::events::{Change, Changed, EventQuota, Listeners, anybody_hears_of_expiry, take_groups, triggers_of};
use crate::repo::RepoError;
use crate::repo::kv::{Piece, find_expired, postgres, sqlite};
use crate::store::data_db::{DataDb, FileDb, PostgresDb, at_once};
use crate::store::data_file::{DataConnection, WriteFailed};
use crate::store::{Conn, DataPlace};
use crate::survive::survive;

/// How often expired entries are looked for where a trigger is for them: so long its event waits at most.
const PROMPT: Duration = Duration::from_secs(1);

/// Every how many such turns they are looked for in any case, ten seconds: so long they may count against the quota. Where there
/// are none, it is one look at an index, and nothing is written.
const TURNS: u64 = 10;

/// Events after which a transaction removes no more entries: to PostgreSQL each is a way there and back.
const EVENTS_OF_PIECE: usize = 100;

/// For how long an entry whose time is over waits for room for its events.
const WAITS_FOR_ROOM: Duration = Duration::from_secs(60 * 60);

/// What was removed of an app in one transaction.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub count: usize,
    /// Which triggers have events by it.
    pub heard: Vec<TriggerId>,
}

impl Kv {
    /// Sweeps, for ever.
    pub(crate) async fn keep_sweeping(self) {
        let mut turns = interval(PROMPT);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            turns.tick().await;
            if turn % TURNS != 0 && !anybody_hears_of_expiry(&self.snapshot.load()) {
                continue;
            }
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
        // Apps that have no room for the events.
        let mut full: Vec<Uuid> = Vec::new();
        loop {
            let app = match self.store.data() {
                DataPlace::File(file) => {
                    let full = full.clone();
                    file.read_aside(move |conn| at_once(find_expired(&mut FileDb(conn), now, &full))).await?
                }
                DataPlace::Postgres(data) => find_expired(&mut PostgresDb(&mut data.read().await?), now, &full).await?,
            };
            let Some(app) = app else { return Ok(total) };
            let swept = self.sweep_piece(app, now).await?;
            self.events.ring_for(app, &swept.heard);
            if swept.count == 0 {
                full.push(app.as_uuid());
            }
            total += swept.count;
        }
    }

    async fn sweep_piece(&self, app: AppId, now: Timestamp) -> Result<Swept, RepoError> {
        let quota = self.events.quota();
        match self.store.data() {
            DataPlace::File(file) => {
                let snapshot = Arc::clone(&self.snapshot);
                let work = move |conn: &DataConnection| {
                    expire_in_file(conn, app, &Listeners::of(&snapshot, app, EventSource::Kv), quota, now)
                };
                file.write(work).await.map_err(WriteFailed::into_repo_error)
            }
            DataPlace::Postgres(data) => {
                let mut tx = data.begin().await?;
                postgres::lock(&mut tx, app).await?;
                let listeners = Listeners::of(&self.snapshot, app, EventSource::Kv);
                let swept = expire_in_postgres(&mut tx, app, &listeners, quota, now).await?;
                tx.commit().await?;
                Ok(swept)
            }
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

/// Removes a piece of the expired entries of an app, with the events that this makes.
pub(super) fn expire_in_file(
    conn: &DataConnection,
    app: AppId,
    listeners: &Listeners,
    quota: EventQuota,
    now: Timestamp,
) -> Result<Swept, RepoError> {
    let mut piece = sqlite::expired(conn, app, now)?;
    let told = at_once(tell_of(&mut FileDb(conn), app, &piece, listeners, quota, now))?;
    let unheard = match told.is_full {
        true => sqlite::expired(conn, app, now.minus(WAITS_FOR_ROOM))?.places().count(),
        false => 0,
    };
    piece.truncate(told.going_with(app, unheard));
    Ok(Swept { count: sqlite::remove(conn, app, &piece)?, heard: told.heard })
}

/// The same in PostgreSQL, where the app is locked.
pub(super) async fn expire_in_postgres(
    conn: &mut Conn,
    app: AppId,
    listeners: &Listeners,
    quota: EventQuota,
    now: Timestamp,
) -> Result<Swept, RepoError> {
    let mut piece = postgres::expired(conn, app, now).await?;
    let told = tell_of(&mut PostgresDb(conn), app, &piece, listeners, quota, now).await?;
    let unheard = match told.is_full {
        true => postgres::expired(conn, app, now.minus(WAITS_FOR_ROOM)).await?.places().count(),
        false => 0,
    };
    piece.truncate(told.going_with(app, unheard));
    Ok(Swept { count: postgres::remove(conn, app, &piece).await?, heard: told.heard })
}

/// Who was told of the first entries of a piece.
struct Told {
    /// How many entries these are.
    count: usize,
    /// Whether there is no room for the events of the next one.
    is_full: bool,
    heard: Vec<TriggerId>,
}

impl Told {
    /// How many entries of the piece go, of which the first have waited for too long.
    fn going_with(&self, app: AppId, too_long: usize) -> usize {
        let unheard = too_long.saturating_sub(self.count);
        if unheard > 0 {
            warn!(app_id = %app, count = unheard, "expired entries go without their events, for which there was no room for an hour");
        }
        self.count + unheard
    }
}

/// Makes the events of what is to be removed since its time is over, the longest first, as far as there is room.
async fn tell_of<D: DataDb>(
    db: &mut D,
    app: AppId,
    piece: &Piece,
    listeners: &Listeners,
    quota: EventQuota,
    now: Timestamp,
) -> Result<Told, RepoError> {
    if !listeners.hear_of_expiry() {
        return Ok(Told { count: piece.places().count(), is_full: false, heard: Vec::new() });
    }
    let (mut groups, mut count) = (Vec::new(), 0);
    for (collection, key) in piece.places() {
        if count >= EVENTS_OF_PIECE {
            break;
        }
        let op = EventOp::Expire;
        let events =
            listeners.events(Change { app, op, of: Changed::Entry { collection, key, entry: None }, depth: 0 });
        count += events.len();
        groups.push(events);
    }
    let (kept, refusal) = take_groups(db, app, &groups, quota, now).await?;
    groups.truncate(kept);
    let heard = groups.iter().flat_map(|events| triggers_of(events)).collect();
    Ok(Told { count: kept, is_full: refusal.is_some(), heard })
}
