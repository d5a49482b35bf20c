//! Taking events that are due, for a while, and saying what came of them. Whoever says so names the claim by which they were
//! taken: who lost it meanwhile changes nothing.

use std::time::Duration;

use tracing::warn;

use super::*;

statements! {
    LOCK_LANE = "SELECT 1", "INSERT INTO event_lanes (app_id, lane, newest_at) VALUES ($1, $2, 0) \
        ON CONFLICT (app_id, lane) DO UPDATE SET lane = excluded.lane";
    RUNS = "SELECT COUNT(DISTINCT claim) FROM events WHERE app_id = $1 AND lane = $2 AND state = 'running'";
    // What waited for its time comes before what is to be handled at once, of which there may always be more.
    OVERDUE = "SELECT id, bytes FROM events WHERE app_id = $1 AND lane = $2 AND state = 'waiting' AND due_at > 0 AND due_at <= $3 \
        ORDER BY due_at, seq LIMIT $4",
        "SELECT id, bytes FROM events WHERE app_id = $1 AND lane = $2 AND state = 'waiting' AND due_at > 0 AND due_at <= $3 \
        ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED";
    AT_ONCE = "SELECT id, bytes FROM events WHERE app_id = $1 AND lane = $2 AND state = 'waiting' AND due_at = 0 \
        ORDER BY seq LIMIT $3",
        "SELECT id, bytes FROM events WHERE app_id = $1 AND lane = $2 AND state = 'waiting' AND due_at = 0 \
        ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED";
    FIRST = "SELECT id, bytes, state, due_at FROM events WHERE app_id = $1 AND lane = $2 AND ended_at IS NULL \
        ORDER BY ordered_at, seq LIMIT $3",
        "SELECT id, bytes, state, due_at FROM events WHERE app_id = $1 AND lane = $2 AND ended_at IS NULL \
        ORDER BY ordered_at, seq LIMIT $3 FOR UPDATE";
    NEXT_DUE = "SELECT MIN(due_at) FROM events WHERE app_id = $1 AND lane = $2 AND state = 'waiting'";
    // Leases are on the database's clock in PostgreSQL, and on the process's own in SQLite.
    CLAIM = "UPDATE events SET state = 'running', attempt = attempt + 1, claim = $3, lease_until = $4, execution_id = $5, \
        trigger_id = COALESCE($6, trigger_id), script_id = COALESCE($7, script_id), last_attempt_at = $8, first_attempt_at = COALESCE(first_attempt_at, $8) \
        WHERE app_id = $1 AND id IN (SELECT unhex(value) FROM json_each($2)) AND state = 'waiting'",
        "UPDATE events SET state = 'running', attempt = attempt + 1, claim = $3, \
        lease_until = (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + $4, execution_id = $5, \
        trigger_id = COALESCE($6, trigger_id), script_id = COALESCE($7, script_id), last_attempt_at = $8, first_attempt_at = COALESCE(first_attempt_at, $8) \
        WHERE app_id = $1 AND id = ANY($2) AND state = 'waiting'";
    CLAIMED = concat!("SELECT ", columns!(), " FROM events WHERE claim = $1 ORDER BY ordered_at, seq");
    CLAIMED_IDS = "SELECT 1", "SELECT id FROM events WHERE claim = $1 ORDER BY id FOR UPDATE";
    RENEW = "UPDATE events SET lease_until = $2 WHERE claim = $1",
        "UPDATE events SET lease_until = (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + $2 WHERE claim = $1";
    KEEP_ATTEMPTS = "INSERT INTO event_attempts (event_id, attempt, execution_id, started_at, ended_at, outcome, error) \
        SELECT id, attempt, execution_id, last_attempt_at, $3, $4, $5 FROM events \
        WHERE claim = $1 AND id IN (SELECT unhex(value) FROM json_each($2)) ON CONFLICT DO NOTHING",
        "INSERT INTO event_attempts (event_id, attempt, execution_id, started_at, ended_at, outcome, error) \
        SELECT id, attempt, execution_id, last_attempt_at, $3::bigint, $4::text, $5::text FROM events \
        WHERE claim = $1 AND id = ANY($2) ON CONFLICT DO NOTHING";
    DONE = "UPDATE events SET state = 'done', ended_at = $3, claim = NULL, lease_until = NULL, last_error = NULL, payload = NULL \
        WHERE claim = $1 AND id IN (SELECT unhex(value) FROM json_each($2)) RETURNING bytes",
        "UPDATE events SET state = 'done', ended_at = $3, claim = NULL, lease_until = NULL, last_error = NULL, payload = NULL \
        WHERE claim = $1 AND id = ANY($2) RETURNING bytes";
    RETRY = "UPDATE events SET state = 'waiting', due_at = $3, claim = NULL, lease_until = NULL, last_error = $4 \
        WHERE claim = $1 AND id = $2";
    PUT_BACK = "UPDATE events SET state = 'waiting', due_at = $3, attempt = attempt - 1, claim = NULL, lease_until = NULL \
        WHERE claim = $1 AND id = $2";
    // Behind all others of its lane.
    SET_ASIDE = "UPDATE events SET state = 'waiting', due_at = $3, ordered_at = MAX($3, COALESCE((SELECT newest_at + 1 FROM event_lanes \
        WHERE event_lanes.app_id = events.app_id AND event_lanes.lane = events.lane), 0)), attempt = attempt - 1, claim = NULL, \
        lease_until = NULL WHERE claim = $1 AND id = $2",
        "UPDATE events SET state = 'waiting', due_at = $3, ordered_at = GREATEST($3, (SELECT newest_at + 1 FROM event_lanes \
        WHERE event_lanes.app_id = events.app_id AND event_lanes.lane = events.lane)), attempt = attempt - 1, claim = NULL, lease_until = NULL \
        WHERE claim = $1 AND id = $2";
    // The end of a dead letter's own event makes no other.
    BURY = concat!("UPDATE events SET state = 'dead', ended_at = $3, claim = NULL, lease_until = NULL, last_error = $4, \
        dead_letter_id = CASE WHEN source = 'dead_letter' THEN NULL ELSE $5 END WHERE claim = $1 AND id = $2 RETURNING ", columns!()),
        concat!("UPDATE events SET state = 'dead', ended_at = $3, claim = NULL, lease_until = NULL, last_error = $4, \
        dead_letter_id = CASE WHEN source = 'dead_letter' THEN NULL ELSE $5::uuid END WHERE claim = $1 AND id = $2 RETURNING ", columns!());
    END_UNREADABLE = "UPDATE events SET state = 'dead', ended_at = $3, claim = NULL, lease_until = NULL, last_error = $4, payload = NULL \
        WHERE claim = $1 AND id = $2 RETURNING bytes";
    FORGET_PAYLOAD = "UPDATE events SET payload = NULL WHERE app_id = $1 AND id = $2";
    // PostgreSQL has its own time, which the parameter limits.
    EXPIRED = "SELECT id FROM events WHERE lease_until IS NOT NULL AND lease_until < $1 LIMIT $2",
        "SELECT id FROM events WHERE lease_until IS NOT NULL \
        AND lease_until < LEAST((EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint, $1) LIMIT $2 FOR UPDATE SKIP LOCKED";
    ANY_EXPIRED = "SELECT 1 FROM events WHERE lease_until IS NOT NULL AND lease_until < $1 LIMIT 1",
        "SELECT 1::bigint FROM events WHERE lease_until IS NOT NULL \
        AND lease_until < LEAST((EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint, $1) LIMIT 1";
    LOSE_ATTEMPTS = "INSERT INTO event_attempts (event_id, attempt, execution_id, started_at, ended_at, outcome, error) \
        SELECT id, attempt, execution_id, last_attempt_at, $2, 'lost', $3 FROM events \
        WHERE id IN (SELECT unhex(value) FROM json_each($1)) ON CONFLICT DO NOTHING",
        "INSERT INTO event_attempts (event_id, attempt, execution_id, started_at, ended_at, outcome, error) \
        SELECT id, attempt, execution_id, last_attempt_at, $2::bigint, 'lost', $3::text FROM events \
        WHERE id = ANY($1) ON CONFLICT DO NOTHING";
    REAP = "UPDATE events SET state = 'waiting', due_at = $2, claim = NULL, lease_until = NULL, last_error = $3 \
        WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "UPDATE events SET state = 'waiting', due_at = $2, claim = NULL, lease_until = NULL, last_error = $3 \
        WHERE id = ANY($1)";
    LANES = "SELECT app_id, lane FROM event_lanes";
    LANES_DUE = "SELECT app_id, lane FROM event_lanes WHERE (SELECT MIN(due_at) FROM events WHERE events.app_id = event_lanes.app_id \
        AND events.lane = event_lanes.lane AND state = 'waiting') <= $1";
    FORGET_LANES = "DELETE FROM event_lanes WHERE app_id = $1 AND NOT EXISTS (SELECT 1 FROM events \
        WHERE events.app_id = event_lanes.app_id AND events.lane = event_lanes.lane AND ended_at IS NULL)";
}

/// Bytes of the payloads of a batch, unless one event alone has more.
const MOST_BATCH_BYTES: i64 = 1024 * 1024;

/// For how long an event is set aside that cannot be read.
const ASIDE_FOR: Duration = Duration::from_secs(60 * 60);

/// What is told of an attempt whose node went.
const LOST: &str = "the node that ran it ended, or lost its lease";

/// Who takes events, and how many.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub app: AppId,
    pub lane: Lane,
    pub trigger: Option<TriggerId>,
    pub script: Option<ScriptId>,
    /// How many events at most.
    pub most: u32,
    /// How many runs may be under way in the lane at once.
    pub concurrency: u32,
    /// By which what comes of them is told.
    pub claim: Uuid,
    pub execution: ExecutionId,
    pub now: Timestamp,
    /// What is due by then is taken.
    pub due: Timestamp,
    /// The end of the lease on the process's own clock, in milliseconds; its length on PostgreSQL.
    pub lease: i64,
    /// Whether what cannot be read is taken as well, instead of being set aside for a version that can.
    pub takes_unreadable: bool,
}

/// What was taken.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// The events, in their order.
    pub events: Vec<EventRow>,
    /// What cannot be read, where that is taken.
    pub unreadable: Vec<EventId>,
    /// Where there are none: from when on there may be, if nothing happens before.
    pub next_due: Option<Timestamp>,
}

/// Events that are taken together: their payloads are in memory together.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    bytes: i64,
}

impl Batch {
    /// Takes an event whose id and bytes these are, unless it is too much beside the others.
    fn takes(&mut self, row: &mut DataRow) -> Result<bool, RepoError> {
        let (id, bytes) = (row.take::<Uuid>(0, "id")?, row.take::<i64>(1, "bytes")?);
        if !self.ids.is_empty() && self.bytes.saturating_add(bytes) > MOST_BATCH_BYTES {
            return Ok(false);
        }
        self.ids.push(id);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(true)
    }
}

/// Takes events that are due. A lane of one run at a time is taken in its order, in which what is to be tried again holds up
/// what comes after it.
pub(crate) async fn claim<D: DataDb>(db: &mut D, by: &Claimant) -> Result<Claimed, RepoError> {
    let (app, lane) = (by.app.as_uuid(), by.lane.to_string());
    if !D::IS_FILE {
        // Looking costs no write: most of the time there is nothing.
        let next_due = next_due(db, app, &lane).await?;
        if next_due.is_none_or(|due_at| due_at > by.due) {
            return Ok(Claimed { next_due, ..Claimed::default() });
        }
        db.execute(&LOCK_LANE, params![app, &*lane]).await?;
    }
    let mut runs = db.fetch(&RUNS, params![app, &*lane]).await?;
    let running = runs.first_mut().map_or(Ok(0), |row| row.take::<i64>(0, "count"))?;
    if running >= i64::from(by.concurrency) {
        return Ok(Claimed::default());
    }
    let mut batch = Batch::default();
    let mut until = None;
    if by.concurrency == 1 {
        for mut row in db.fetch(&FIRST, params![app, &*lane, by.most]).await? {
            let due_at = time(&mut row, 3, "due_at")?;
            if word::<EventState>(&mut row, 2, "state")? != EventState::Waiting || due_at > by.due {
                until = Some(due_at);
                break;
            }
            if !batch.takes(&mut row)? {
                break;
            }
        }
    } else {
        let mut due = db.fetch(&OVERDUE, params![app, &*lane, by.due.as_millis(), by.most]).await?;
        let left = by.most.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
        if left > 0 {
            due.extend(db.fetch(&AT_ONCE, params![app, &*lane, left]).await?);
        }
        for mut row in due {
            if !batch.takes(&mut row)? {
                break;
            }
        }
        if batch.ids.is_empty() {
            until = next_due(db, app, &lane).await?;
        }
    }
    let Batch { ids, .. } = batch;
    if ids.is_empty() {
        return Ok(Claimed { next_due: until, ..Claimed::default() });
    }
    let (execution, trigger, script) =
        (by.execution.as_uuid(), by.trigger.map(TriggerId::as_uuid), by.script.map(ScriptId::as_uuid));
    let given = params![app, &*ids, by.claim, by.lease, execution, trigger, script, by.now.as_millis()];
    db.execute(&CLAIM, given).await?;
    let (mut events, mut unreadable) = (Vec::new(), Vec::new());
    for mut row in db.fetch(&CLAIMED, params![by.claim]).await? {
        let id: Uuid = row.take(0, "id")?;
        match event_of(id, row) {
            Ok(event) => events.push(event),
            Err(_) if by.takes_unreadable => unreadable.push(EventId::from_uuid(id)),
            // Perhaps of a newer version: it keeps no other waiting, and is not lost.
            Err(error) => {
                warn!(event = %id, app_id = %by.app, lane, %error, "an event cannot be read, and is set aside for an hour");
                db.execute(&SET_ASIDE, params![by.claim, id, by.now.plus(ASIDE_FOR).as_millis()]).await?;
            }
        }
    }
    let next_due = events.is_empty().then_some(by.now);
    Ok(Claimed { events, unreadable, next_due })
}

/// From when on something in a lane may be handled.
async fn next_due<D: DataDb>(db: &mut D, app: Uuid, lane: &str) -> Result<Option<Timestamp>, RepoError> {
    let mut rows = db.fetch(&NEXT_DUE, params![app, lane]).await?;
    rows.first_mut().map_or(Ok(None), |row| maybe_time(row, 0, "due_at"))
}

/// Has nobody else change what was claimed before the transaction ends.
pub(crate) async fn lock_claimed<D: DataDb>(db: &mut D, claim: Uuid) -> Result<(), RepoError> {
    if !D::IS_FILE {
        db.fetch(&CLAIMED_IDS, params![claim]).await?;
    }
    Ok(())
}

/// Keeps what was claimed for longer; whether anything of it is left.
pub(crate) async fn renew<D: DataDb>(db: &mut D, claim: Uuid, lease: i64) -> Result<bool, RepoError> {
    Ok(db.execute(&RENEW, params![claim, lease]).await? > 0)
}

/// Keeps what is to be told of an attempt at some of what was claimed. Comes before what ends the claim.
pub(crate) async fn keep_attempts<D: DataDb>(
    db: &mut D,
    claim: Uuid,
    ids: &[Uuid],
    now: Timestamp,
    outcome: &str,
    error: Option<&str>,
) -> Result<(), RepoError> {
    db.execute(&KEEP_ATTEMPTS, params![claim, ids, now.as_millis(), outcome, error]).await.map(|_| ())
}

/// Says that these were handled; by how much that changes the account.
pub(crate) async fn done<D: DataDb>(
    db: &mut D,
    claim: Uuid,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<EventDelta, RepoError> {
    let mut delta = EventDelta::default();
    for mut row in db.fetch(&DONE, params![claim, ids, now.as_millis()]).await? {
        delta.events -= 1;
        delta.bytes -= row.take::<i64>(0, "bytes")?;
    }
    Ok(delta)
}

/// Says that it is to be tried again from then on.
pub(crate) async fn retry<D: DataDb>(
    db: &mut D,
    claim: Uuid,
    id: EventId,
    due_at: Timestamp,
    error: &str,
) -> Result<(), RepoError> {
    db.execute(&RETRY, params![claim, id.as_uuid(), due_at.as_millis(), error]).await.map(|_| ())
}

/// Says that it was not tried at all.
pub(crate) async fn put_back<D: DataDb>(
    db: &mut D,
    claim: Uuid,
    id: EventId,
    due_at: Timestamp,
) -> Result<(), RepoError> {
    db.execute(&PUT_BACK, params![claim, id.as_uuid(), due_at.as_millis()]).await.map(|_| ())
}

/// Says that it is not tried again; the event with its payload, unless the claim was lost. The payload is the dead letter's.
pub(crate) async fn bury<D: DataDb>(
    db: &mut D,
    app: AppId,
    claim: Uuid,
    id: EventId,
    now: Timestamp,
    error: &str,
    dead_letter: Option<DeadLetterId>,
) -> Result<Option<EventRow>, RepoError> {
    let letter = dead_letter.map(DeadLetterId::as_uuid);
    let rows = db.fetch(&BURY, params![claim, id.as_uuid(), now.as_millis(), error, letter]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    db.execute(&FORGET_PAYLOAD, params![app.as_uuid(), id.as_uuid()]).await?;
    event_row(row).map(Some)
}

/// Says that it ends as it is, which nobody can read; by how much that changes the account.
pub(crate) async fn end_unreadable<D: DataDb>(
    db: &mut D,
    claim: Uuid,
    id: EventId,
    now: Timestamp,
    error: &str,
) -> Result<EventDelta, RepoError> {
    let ended = db.fetch(&END_UNREADABLE, params![claim, id.as_uuid(), now.as_millis(), error]).await?;
    let Some(mut row) = ended.into_iter().next() else { return Ok(EventDelta::default()) };
    Ok(EventDelta { events: -1, bytes: -row.take::<i64>(0, "bytes")? })
}

/// Whether a lease ended, on the process's own clock, or on the database's and before `lease` ends.
pub(crate) async fn any_expired<D: DataDb>(db: &mut D, lease: i64) -> Result<bool, RepoError> {
    Ok(!db.fetch(&ANY_EXPIRED, params![lease]).await?.is_empty())
}

/// Has what is no longer leased wait again, up to `most` events; how many they were.
pub(crate) async fn reap<D: DataDb>(db: &mut D, lease: i64, now: Timestamp, most: u32) -> Result<u64, RepoError> {
    let mut ids = Vec::new();
    for mut row in db.fetch(&EXPIRED, params![lease, most]).await? {
        ids.push(row.take::<Uuid>(0, "id")?);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    db.execute(&LOSE_ATTEMPTS, params![&*ids, now.as_millis(), LOST]).await?;
    db.execute(&REAP, params![&*ids, now.as_millis(), LOST]).await
}

/// Lanes that have had something to handle.
pub(crate) async fn lanes<D: DataDb>(db: &mut D) -> Result<Vec<(AppId, Lane)>, RepoError> {
    Ok(db.fetch(&LANES, params![]).await?.into_iter().filter_map(lane_row).collect())
}

/// Lanes of which something may be handled.
pub(crate) async fn lanes_due<D: DataDb>(db: &mut D, now: Timestamp) -> Result<Vec<(AppId, Lane)>, RepoError> {
    Ok(db.fetch(&LANES_DUE, params![now.as_millis()]).await?.into_iter().filter_map(lane_row).collect())
}

/// A lane that cannot be read, perhaps of a newer version, keeps no other waiting.
fn lane_row(mut row: DataRow) -> Option<(AppId, Lane)> {
    let mut read =
        || -> Result<_, RepoError> { Ok((AppId::from_uuid(row.take(0, "app_id")?), word(&mut row, 1, "lane")?)) };
    read().inspect_err(|error| warn!(%error, "a lane of events cannot be read")).ok()
}

/// Forgets lanes of an app, which is locked, in which nothing is to be handled.
pub(crate) async fn forget_lanes<D: DataDb>(db: &mut D, app: AppId) -> Result<(), RepoError> {
    db.execute(&FORGET_LANES, params![app.as_uuid()]).await.map(|_| ())
}
