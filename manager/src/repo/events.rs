//! Events, the account of them, and their place in their lane. Each function is written once for both databases, and works on a
//! connection that is in a transaction where it writes.

pub(crate) mod claims;
pub(crate) mod cron;
pub(crate) mod dead_letters;
mod lane;
mod row;
pub(crate) mod upkeep;

use std::str::FromStr;

use picloud_shared::clock::Timestamp;
use picloud_shared::event::{Event, EventOp, EventPayload, EventSource};
use picloud_shared::id::{AppId, DeadLetterId, EventId, ExecutionId, ScriptId, TriggerId};
use picloud_shared::name::QueueName;
use tracing::debug;
use uuid::Uuid;

pub use lane::Lane;
use row::{corrupt, count, event_of, event_row, maybe, maybe_time, parsed, payload, time, word};

use crate::repo::RepoError;
use crate::repo::error::Cause;
use crate::repo::statement::statements;
use crate::store::data_db::{DataDb, DataRow, FromValue, params};

macro_rules! columns {
    () => {
        "id, lane, source, op, state, attempt, depth, created_at, due_at, first_attempt_at, last_attempt_at, last_error, \
         trigger_id, script_id, ended_at, dead_letter_id, replay_of, bytes, payload"
    };
}
use columns;

/// As all columns, without a payload that would make a page long.
macro_rules! listed_columns {
    () => {
        "id, lane, source, op, state, attempt, depth, created_at, due_at, first_attempt_at, last_attempt_at, last_error, \
         trigger_id, script_id, ended_at, dead_letter_id, replay_of, bytes, CASE WHEN bytes <= 4096 THEN payload END AS payload"
    };
}

statements! {
    // On PostgreSQL the row is locked, which is made where there is none.
    LOCK = "SELECT events, bytes FROM event_apps WHERE app_id = $1",
        "INSERT INTO event_apps (app_id, events, bytes) VALUES ($1, 0, 0) \
        ON CONFLICT (app_id) DO UPDATE SET events = event_apps.events RETURNING events, bytes";
    USAGE = "SELECT events, bytes FROM event_apps WHERE app_id = $1";
    ACCOUNT = "INSERT INTO event_apps (app_id, events, bytes) VALUES ($1, $2, $3) ON CONFLICT (app_id) \
        DO UPDATE SET events = event_apps.events + excluded.events, bytes = event_apps.bytes + excluded.bytes";
    // The place of what is not delayed is after all that came before it, also when the clock was set back.
    INSERT = "INSERT INTO events (id, app_id, lane, source, op, state, attempt, depth, created_at, ordered_at, due_at, \
        trigger_id, replay_of, dedup_key, bytes, payload) \
        SELECT $1, $2, $3, $4, $5, 'waiting', 0, $6, $7, CASE WHEN $8 = 0 THEN newest_at ELSE newest_at + ($8 - $7) END, $8, \
        $9, $10, $11, $12, $13 FROM event_lanes WHERE app_id = $2 AND lane = $3",
        "INSERT INTO events (id, app_id, lane, source, op, state, attempt, depth, created_at, ordered_at, due_at, \
        trigger_id, replay_of, dedup_key, bytes, payload) \
        SELECT $1::uuid, $2::uuid, $3::text, $4::text, $5::text, 'waiting', 0, $6::bigint, $7::bigint, \
        CASE WHEN $8::bigint = 0 THEN newest_at ELSE newest_at + ($8::bigint - $7::bigint) END, $8::bigint, $9::uuid, $10::uuid, $11::text, $12::bigint, $13::text \
        FROM event_lanes WHERE app_id = $2 AND lane = $3";
    // Its row is kept from being removed meanwhile.
    KEEP_LANE = "INSERT INTO event_lanes (app_id, lane, newest_at) VALUES ($1, $2, $3) ON CONFLICT (app_id, lane) \
        DO UPDATE SET newest_at = MAX(newest_at, excluded.newest_at)",
        "INSERT INTO event_lanes (app_id, lane, newest_at) VALUES ($1, $2, $3) ON CONFLICT (app_id, lane) \
        DO UPDATE SET newest_at = GREATEST(event_lanes.newest_at, excluded.newest_at)";
    HAS_LANE = "SELECT 1 FROM event_lanes WHERE app_id = $1 AND lane = $2",
        "SELECT 1::bigint FROM event_lanes WHERE app_id = $1 AND lane = $2";
    COUNT_LANES = "SELECT COUNT(*) FROM event_lanes WHERE app_id = $1";
    FIND_BY_DEDUP_KEY = "SELECT id, state, ended_at FROM events WHERE app_id = $1 AND lane = $2 AND dedup_key = $3";
    FREE_DEDUP_KEY = "UPDATE events SET dedup_key = NULL WHERE app_id = $1 AND id = $2";
    FIND = concat!("SELECT ", columns!(), " FROM events WHERE app_id = $1 AND id = $2");
    LIST = concat!("SELECT ", listed_columns!(), " FROM events WHERE app_id = $1 AND id < $2 AND ($3 = '' OR state = $3) \
        AND ($4 = '' OR source = $4) AND ($5 = '' OR lane = $5) \
        AND ($6 = 0 OR trigger_id = $7 OR lane = $8 AND (trigger_id IS NULL OR state = 'waiting')) ORDER BY id DESC LIMIT $9");
    ATTEMPTS = "SELECT attempt, execution_id, started_at, ended_at, outcome, error FROM event_attempts WHERE event_id = $1 \
        ORDER BY attempt";
    // The character after the colon ends the names of queues.
    QUEUES = "SELECT lane, COUNT(CASE WHEN state = 'waiting' THEN 1 END), COUNT(CASE WHEN state = 'running' THEN 1 END), \
        MIN(created_at) FROM events WHERE app_id = $1 AND lane > $2 AND lane < 'queue;' AND ended_at IS NULL \
        GROUP BY lane ORDER BY lane LIMIT $3";
    DELETE_WAITING = "DELETE FROM events WHERE app_id = $1 AND id = $2 AND source = 'queue' AND state = 'waiting' RETURNING bytes";
    DELETE_ATTEMPTS = "DELETE FROM event_attempts WHERE event_id = $1";
}

/// What has become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// It is to be handled, at once or later.
    Waiting,
    /// It is being handled.
    Running,
    /// It was handled.
    Done,
    /// It is not tried again.
    Dead,
}

impl EventState {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for EventState {
    type Err = picloud_shared::execution::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Waiting, Self::Running, Self::Done, Self::Dead];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or(picloud_shared::execution::UnknownWord("a state is waiting, running, done or dead"))
    }
}

/// An event about to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Insertion<'e> {
    pub id: EventId,
    pub app: AppId,
    pub lane: &'e Lane,
    pub source: EventSource,
    pub op: EventOp,
    pub depth: u32,
    pub created_at: Timestamp,
    /// At once, if `None`, whatever becomes of the clock.
    pub delayed_until: Option<Timestamp>,
    pub replay_of: Option<DeadLetterId>,
    pub dedup_key: Option<&'e str>,
    pub payload: &'e EventPayload,
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its id.
    pub id: EventId,
    /// Where it waits, or waited.
    pub lane: Lane,
    /// Where it comes from.
    pub source: EventSource,
    /// What happened there.
    pub op: EventOp,
    /// What has become of it.
    pub state: EventState,
    /// Attempts that were begun.
    pub attempt: u32,
    /// How many events stand between it and what was not caused by one.
    pub depth: u32,
    /// When it happened.
    pub created_at: Timestamp,
    /// From when on it may be handled next.
    pub due_at: Timestamp,
    /// When it was first tried.
    pub first_attempt_at: Option<Timestamp>,
    /// When it was last tried.
    pub last_attempt_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// The trigger that handles it, as far as that is known.
    pub trigger: Option<TriggerId>,
    /// The script that handled it last.
    pub script: Option<ScriptId>,
    /// When it was done or given up.
    pub ended_at: Option<Timestamp>,
    /// The dead letter that it became.
    pub dead_letter: Option<DeadLetterId>,
    /// The dead letter that it was made from.
    pub replay_of: Option<DeadLetterId>,
    /// Bytes of its payload.
    pub bytes: u64,
    /// What it is about: absent once it has ended, and in lists where it is more than 4 KiB.
    pub payload: Option<EventPayload>,
}

/// An attempt at an event that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Which, from 1 on.
    pub attempt: u32,
    /// The execution, whose record tells more.
    pub execution: Option<ExecutionId>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, or was found to have been lost.
    pub ended_at: Timestamp,
    /// An execution's outcome; `failed` where the script returned the event as such, `lost` where its node went.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// In this state.
    pub state: Option<EventState>,
    /// From this source.
    pub source: Option<EventSource>,
    /// Handled, or to be handled, by this trigger.
    pub trigger: Option<TriggerId>,
    /// The queue that this trigger is for: what waits there is no trigger's yet, or was another's and is its now.
    pub queue_of_trigger: Option<QueueName>,
    /// Messages of this queue.
    pub queue: Option<QueueName>,
}

/// What a queue has waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Its name.
    pub name: QueueName,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that are being handled.
    pub running: u64,
    /// When the oldest of them was sent.
    pub oldest_at: Timestamp,
}

/// What an app's events and dead letters come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventUsage {
    /// Events that have not ended, and dead letters that are not resolved.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// By how much that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EventDelta {
    pub events: i64,
    pub bytes: i64,
}

/// What an app has; until the transaction ends nobody else changes that.
pub(crate) async fn lock<D: DataDb>(db: &mut D, app: AppId) -> Result<EventUsage, RepoError> {
    usage(db.fetch(&LOCK, params![app.as_uuid()]).await?)
}

pub(crate) async fn usage_of<D: DataDb>(db: &mut D, app: AppId) -> Result<EventUsage, RepoError> {
    usage(db.fetch(&USAGE, params![app.as_uuid()]).await?)
}

fn usage(rows: Vec<DataRow>) -> Result<EventUsage, RepoError> {
    let Some(mut row) = rows.into_iter().next() else { return Ok(EventUsage::default()) };
    let mut count = |place, name| row.take::<i64>(place, name).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(EventUsage { events: count(0, "events")?, bytes: count(1, "bytes")? })
}

/// Changes what an app has, which is locked.
pub(crate) async fn account<D: DataDb>(db: &mut D, app: AppId, delta: EventDelta) -> Result<(), RepoError> {
    if delta != EventDelta::default() {
        db.execute(&ACCOUNT, params![app.as_uuid(), delta.events, delta.bytes]).await?;
    }
    Ok(())
}

/// Whether an app, which is locked, has that lane, or fewer than `most`.
pub(crate) async fn may_have_lane<D: DataDb>(
    db: &mut D,
    app: AppId,
    lane: &Lane,
    most: u64,
) -> Result<bool, RepoError> {
    let lane = lane.to_string();
    if !db.fetch(&HAS_LANE, params![app.as_uuid(), &*lane]).await?.is_empty() {
        return Ok(true);
    }
    let mut counted = db.fetch(&COUNT_LANES, params![app.as_uuid()]).await?;
    let count = counted.first_mut().map_or(Ok(0), |row| row.take::<i64>(0, "count"))?;
    Ok(u64::try_from(count).unwrap_or(0) < most)
}

/// Adds an event, without its account.
pub(crate) async fn insert<D: DataDb>(db: &mut D, event: &Insertion<'_>) -> Result<(), RepoError> {
    let lane = event.lane.to_string();
    let trigger = if let Lane::Trigger(id) = event.lane { Some(id.as_uuid()) } else { None };
    let payload = event.payload.as_str();
    db.execute(&KEEP_LANE, params![event.app.as_uuid(), &*lane, event.created_at.as_millis()]).await?;
    db.execute(
        &INSERT,
        params![
            event.id.as_uuid(),
            event.app.as_uuid(),
            &*lane,
            event.source.as_str(),
            event.op.as_str(),
            event.depth,
            event.created_at.as_millis(),
            event.delayed_until.map_or(0, Timestamp::as_millis),
            trigger,
            event.replay_of.map(DeadLetterId::as_uuid),
            event.dedup_key,
            length(payload),
            payload,
        ],
    )
    .await?;
    Ok(())
}

/// Bytes of a payload, as they are counted.
pub(crate) fn length(payload: &str) -> i64 {
    i64::try_from(payload.len()).unwrap_or(i64::MAX)
}

/// The event that has a key, what became of it, and when it ended, if it did.
pub(crate) async fn find_by_dedup_key<D: DataDb>(
    db: &mut D,
    app: AppId,
    lane: &Lane,
    key: &str,
) -> Result<Option<(EventId, EventState, Option<Timestamp>)>, RepoError> {
    let lane = lane.to_string();
    let rows = db.fetch(&FIND_BY_DEDUP_KEY, params![app.as_uuid(), &*lane, key]).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let id = EventId::from_uuid(row.take(0, "id")?);
    Ok(Some((id, word(&mut row, 1, "state")?, maybe_time(&mut row, 2, "ended_at")?)))
}

/// Lets go of the key of an event.
pub(crate) async fn free_dedup_key<D: DataDb>(db: &mut D, app: AppId, id: EventId) -> Result<(), RepoError> {
    db.execute(&FREE_DEDUP_KEY, params![app.as_uuid(), id.as_uuid()]).await.map(|_| ())
}

pub(crate) async fn find<D: DataDb>(db: &mut D, app: AppId, id: EventId) -> Result<Option<EventRow>, RepoError> {
    let rows = db.fetch(&FIND, params![app.as_uuid(), id.as_uuid()]).await?;
    rows.into_iter().next().map(event_row).transpose()
}

/// The newest first.
pub(crate) async fn list<D: DataDb>(
    db: &mut D,
    app: AppId,
    filter: &EventFilter,
    before: Option<EventId>,
    limit: u32,
) -> Result<Vec<EventRow>, RepoError> {
    let before = before.map_or(Uuid::max(), EventId::as_uuid);
    let lane = |queue: &Option<QueueName>| queue.clone().map_or_else(String::new, |name| Lane::Queue(name).to_string());
    let (lane, lane_of_trigger) = (lane(&filter.queue), lane(&filter.queue_of_trigger));
    let state = filter.state.map_or("", EventState::as_str);
    let source = filter.source.map_or("", EventSource::as_str);
    let trigger = filter.trigger.map_or(Uuid::nil(), TriggerId::as_uuid);
    let by_trigger = i64::from(filter.trigger.is_some());
    let (mut found, mut before) = (Vec::new(), before);
    loop {
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let given = params![app.as_uuid(), before, state, source, &*lane, by_trigger, trigger, &*lane_of_trigger, left];
        let rows = db.fetch(&LIST, given).await?;
        let is_last = u32::try_from(rows.len()).unwrap_or(u32::MAX) < left;
        for mut row in rows {
            before = row.take(0, "id")?;
            // Perhaps of a newer version: it keeps no other from being shown.
            found.extend(
                event_of(before, row).inspect_err(|error| debug!(event = %before, %error, "left out of a list")),
            );
        }
        if is_last || found.len() >= limit as usize {
            return Ok(found);
        }
    }
}

pub(crate) async fn attempts<D: DataDb>(db: &mut D, id: EventId) -> Result<Vec<AttemptRow>, RepoError> {
    let attempt = |mut row: DataRow| {
        Ok(AttemptRow {
            attempt: count(&mut row, 0, "attempt")?,
            execution: row.take::<Option<Uuid>>(1, "execution_id")?.map(ExecutionId::from_uuid),
            started_at: time(&mut row, 2, "started_at")?,
            ended_at: time(&mut row, 3, "ended_at")?,
            outcome: row.take(4, "outcome")?,
            error: row.take(5, "error")?,
        })
    };
    db.fetch(&ATTEMPTS, params![id.as_uuid()]).await?.into_iter().map(attempt).collect()
}

/// By name.
pub(crate) async fn queues<D: DataDb>(
    db: &mut D,
    app: AppId,
    after: Option<&QueueName>,
    limit: u32,
) -> Result<Vec<QueueDepth>, RepoError> {
    let after = format!("queue:{}", after.map_or("", QueueName::as_str));
    let depth = |mut row: DataRow| {
        let lane: String = row.take(0, "lane")?;
        let Lane::Queue(name) = parsed(&lane, "lane")? else { return Err(corrupt("lane", "it is no queue".into())) };
        let waiting = row.take::<i64>(1, "waiting")?;
        let running = row.take::<i64>(2, "running")?;
        let oldest_at = time(&mut row, 3, "created_at")?;
        let counted = |count| u64::try_from(count).unwrap_or(0);
        Ok(QueueDepth { name, waiting: counted(waiting), running: counted(running), oldest_at })
    };
    db.fetch(&QUEUES, params![app.as_uuid(), &*after, limit]).await?.into_iter().map(depth).collect()
}

/// Removes a message that waits, with its account, which is locked; whether it was there.
pub(crate) async fn delete_waiting<D: DataDb>(db: &mut D, app: AppId, id: EventId) -> Result<bool, RepoError> {
    let rows = db.fetch(&DELETE_WAITING, params![app.as_uuid(), id.as_uuid()]).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
    db.execute(&DELETE_ATTEMPTS, params![id.as_uuid()]).await?;
    account(db, app, EventDelta { events: -1, bytes: -row.take::<i64>(0, "bytes")? }).await?;
    Ok(true)
}

impl EventRow {
    /// The event as it is delivered at its present attempt.
    pub(crate) fn delivered(&self) -> Event {
        Event {
            id: self.id,
            source: self.source,
            op: self.op,
            created_at: self.created_at,
            attempt: self.attempt,
            depth: self.depth,
            payload: self.payload.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_reads_back_what_it_writes() {
        let id = TriggerId::from_uuid(Uuid::from_u128(7));
        for lane in [Lane::Queue("mails".parse().unwrap()), Lane::Trigger(id)] {
            assert_eq!(lane.to_string().parse::<Lane>().unwrap(), lane);
        }
        for bad in ["", "queue", "queue:", "queue:A", "trigger:1", "topic:a"] {
            assert!(bad.parse::<Lane>().is_err(), "{bad}");
        }
    }
}
