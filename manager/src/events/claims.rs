//! Handing events out for a while, and taking in what came of them.

use picloud_shared::event::{EventPayload, MAX_PAYLOAD_BYTES};
use picloud_shared::execution::RecordPolicy;
use picloud_shared::id::{ExecutionId, ScriptId, TriggerId};
use picloud_shared::script::ScriptKind;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::repo::events::claims::{self, Claimant, Claimed};
use crate::repo::events::dead_letters::{DeadLetter, insert_letter};
use crate::repo::{scripts, triggers};

/// Events whose leases ended that wait again by one transaction.
const REAPED_AT_ONCE: u32 = 500;

/// Events that nobody looks after that are taken at once.
const ORPHANS_AT_ONCE: u32 = 100;

/// Bytes of an error that are kept with an event.
const ERROR_BYTES: usize = 1024;

/// Events that were handed out to one run.
#[derive(Debug)]
pub(crate) struct Leased {
    pub app: AppId,
    /// By which what comes of them is told.
    pub claim: Uuid,
    pub execution: ExecutionId,
    /// In the order of their lane.
    pub events: Vec<EventRow>,
    /// What cannot be read of a lane that nobody looks after.
    pub unreadable: Vec<EventId>,
    /// Where there are none: from when on there may be, if nothing happens before.
    pub next_due: Option<Timestamp>,
}

/// What came of an attempt at an event.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    /// It was handled.
    Done(EventId),
    /// It failed, and is tried again from then on.
    Retry { id: EventId, due_at: Timestamp, outcome: &'static str, error: String },
    /// It was not tried: there was no capacity.
    PutBack { id: EventId, due_at: Timestamp },
    /// It failed, and is not tried again. This one is told of the dead letter.
    Dead { id: EventId, outcome: Option<&'static str>, error: String, handler: Option<Handler> },
    /// It cannot be read, and nobody will ever handle it: it ends, and makes no dead letter, which could not be read either.
    Unreadable { id: EventId, error: String },
}

/// What is taken.
struct Due {
    /// What is due by then.
    by: Timestamp,
    /// Whether that which cannot be read is as well.
    or_unreadable: bool,
}

/// Who is told of an app's dead letters.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub trigger: TriggerId,
    /// How much of a request it is shown.
    pub shown: Arc<RecordPolicy>,
}

impl Events {
    /// Takes up to `most` events of a lane that are due, unless as many runs of it are under way as may be.
    pub(crate) async fn claim(
        &self,
        app: AppId,
        lane: &Lane,
        (trigger, script): (Option<TriggerId>, Option<ScriptId>),
        most: u32,
        concurrency: u32,
    ) -> Result<Leased, RepoError> {
        let now = self.clock.now();
        self.claim_due(app, lane, (trigger, script), (most, concurrency), Due { by: now, or_unreadable: false }).await
    }

    /// Takes some of what waits in a lane that nobody looks after, whenever it is due.
    pub(crate) async fn claim_orphans(&self, app: AppId, lane: &Lane) -> Result<Leased, RepoError> {
        let ever = Due { by: Timestamp::from_millis(i64::MAX), or_unreadable: true };
        self.claim_due(app, lane, (None, None), (ORPHANS_AT_ONCE, u32::MAX), ever).await
    }

    async fn claim_due(
        &self,
        app: AppId,
        lane: &Lane,
        (trigger, script): (Option<TriggerId>, Option<ScriptId>),
        (most, concurrency): (u32, u32),
        due: Due,
    ) -> Result<Leased, RepoError> {
        let now = self.clock.now();
        let execution = ExecutionId::generate(now);
        // No two runs have the same, and none but this node knows it before the run has ended.
        let claim = execution.as_uuid();
        let by = Claimant {
            app,
            lane: lane.clone(),
            trigger,
            script,
            most,
            concurrency,
            claim,
            execution,
            now,
            due: due.by,
            lease: self.lease_end(),
            takes_unreadable: due.or_unreadable,
        };
        // A look costs no write: most of the time there is nothing.
        let Claimed { events, unreadable, next_due } = changing!(self.store, |db| claims::claim(db, &by))?;
        Ok(Leased { app, claim, execution, events, unreadable, next_due })
    }

    /// Keeps events for their run; whether they are still its own.
    pub(crate) async fn renew(&self, claim: Uuid) -> Result<bool, RepoError> {
        let lease = self.lease_end();
        changing!(self.store, |db| claims::renew(db, claim, lease))
    }

    /// How long events are handed out for.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// Takes in what came of events, all at once. What the claim has lost meanwhile is left as it is.
    pub(crate) async fn settle(&self, app: AppId, claim: Uuid, settled: Vec<Settled>) -> Result<(), RepoError> {
        let now = self.clock.now();
        let handlers: HashSet<TriggerId> = settled.iter().filter_map(Settled::handler).collect();
        let quota = self.quota;
        let () = changing!(self.store, |db| settle(db, app, claim, &settled, now, quota))?;
        for handler in handlers {
            self.bells.ring(app, &Lane::Trigger(handler));
        }
        Ok(())
    }

    /// Has events wait again whose node ended, and says so.
    pub(crate) async fn reap(&self) -> Result<u64, RepoError> {
        let end = if self.store.is_sqlite() { self.monotonic() } else { i64::MAX };
        if !reading!(self.store, |db| claims::any_expired(db, end))? {
            return Ok(0);
        }
        let reaped = self.reap_before(end).await?;
        self.ring_due().await?;
        Ok(reaped)
    }

    /// Has all events wait again that an earlier process of this store was handling: leases in SQLite are by a clock that began
    /// with the process. One that was handed over to goes on with the clock of the process before it, whose leases stand.
    pub(crate) async fn void_leases(&self) -> Result<(), RepoError> {
        // A start that finds none writes nothing, where the data cannot be written either.
        if self.store.is_alone() && reading!(self.store, |db| claims::any_expired(db, i64::MAX))? {
            self.reap_before(i64::MAX).await?;
        }
        Ok(())
    }

    /// In pieces, so that writes of scripts do not wait for long.
    async fn reap_before(&self, end: i64) -> Result<u64, RepoError> {
        let mut total = 0;
        loop {
            let now = self.clock.now();
            let reaped: u64 = changing!(self.store, |db| claims::reap(db, end, now, REAPED_AT_ONCE))?;
            total += reaped;
            if reaped < REAPED_AT_ONCE.into() {
                return Ok(total);
            }
        }
    }

    /// Rings for each lane of which something may be handled: another node may have added it.
    pub(crate) async fn ring_due(&self) -> Result<(), RepoError> {
        let now = self.clock.now();
        for (app, lane) in reading!(self.store, |db| claims::lanes_due(db, now))? {
            self.bells.ring(app, &lane);
        }
        Ok(())
    }

    /// All lanes that have had something to handle.
    pub(crate) async fn lanes(&self) -> Result<Vec<(AppId, Lane)>, RepoError> {
        reading!(self.store, |db| claims::lanes(db))
    }

    /// Rings for all of them.
    pub(crate) async fn ring_all(&self) -> Result<(), RepoError> {
        for (app, lane) in self.lanes().await? {
            self.bells.ring(app, &lane);
        }
        Ok(())
    }

    /// Whether nobody will look after a lane again.
    pub(crate) async fn is_orphaned(&self, app: AppId, lane: &Lane) -> Result<bool, RepoError> {
        let mut conn = self.store.read().await?;
        Ok(match lane {
            // It waits for a trigger, as long as it takes.
            Lane::Queue(_) => false,
            Lane::Trigger(id) => !triggers::exists(&mut conn, app, *id).await?,
            Lane::Script(id) => {
                let script = scripts::find_meta(&mut conn, *id).await?;
                !script.is_some_and(|script| script.app_id == app && script.kind == ScriptKind::Endpoint)
            }
        })
    }

    fn monotonic(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX)
    }

    /// The end of a lease that begins now on this process's clock; its length where the database has the clock.
    fn lease_end(&self) -> i64 {
        let length = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        if self.store.is_sqlite() { self.monotonic().saturating_add(length) } else { length }
    }
}

impl Settled {
    fn handler(&self) -> Option<TriggerId> {
        if let Self::Dead { handler: Some(handler), .. } = self { Some(handler.trigger) } else { None }
    }
}

async fn settle<D: DataDb>(
    db: &mut D,
    app: AppId,
    claim: Uuid,
    settled: &[Settled],
    now: Timestamp,
    quota: EventQuota,
) -> Result<(), RepoError> {
    let mut account = Account { usage: repo::lock(db, app).await?, delta: EventDelta::default(), quota };
    // Whoever has leases end takes the events first, too.
    claims::lock_claimed(db, claim).await?;
    let done: Vec<Uuid> = settled
        .iter()
        .filter_map(|settled| if let Settled::Done(id) = settled { Some(id.as_uuid()) } else { None })
        .collect();
    if !done.is_empty() {
        claims::keep_attempts(db, claim, &done, now, "success", None).await?;
        account.note(claims::done(db, claim, &done, now).await?);
    }
    for settled in settled {
        match settled {
            Settled::Done(_) => {}
            Settled::Retry { id, due_at, outcome, error } => {
                let error = cut(error);
                claims::keep_attempts(db, claim, &[id.as_uuid()], now, outcome, Some(error)).await?;
                claims::retry(db, claim, *id, *due_at, error).await?;
            }
            Settled::PutBack { id, due_at } => claims::put_back(db, claim, *id, *due_at).await?,
            Settled::Unreadable { id, error } => {
                account.note(claims::end_unreadable(db, claim, *id, now, cut(error)).await?);
            }
            Settled::Dead { id, outcome, error, handler } => {
                let error = cut(error);
                if let Some(outcome) = outcome {
                    claims::keep_attempts(db, claim, &[id.as_uuid()], now, outcome, Some(error)).await?;
                }
                // The claim counted an attempt that may not have been made.
                let not_made = u32::from(outcome.is_none());
                if let Some(letter) = bury(db, (app, claim), *id, (now, error), not_made, &mut account).await?
                    && let Some(handler) = handler
                {
                    tell_handler(db, app, handler, &letter, now, &mut account).await?;
                }
            }
        }
    }
    repo::account(db, app, account.delta).await
}

/// What an app has, with what changes of it.
struct Account {
    usage: EventUsage,
    delta: EventDelta,
    quota: EventQuota,
}

impl Account {
    fn note(&mut self, delta: EventDelta) {
        self.delta.events += delta.events;
        self.delta.bytes += delta.bytes;
    }

    /// Whether that much more fits.
    fn admits(&self, delta: EventDelta) -> bool {
        let all = EventDelta { events: self.delta.events + delta.events, bytes: self.delta.bytes + delta.bytes };
        admit(self.usage, all, self.quota).is_ok()
    }
}

/// A dead letter with how deep its event stood.
struct Buried {
    letter: DeadLetter,
    depth: u32,
}

/// Makes a dead letter of an event. One whose handling failed as a dead letter's just ends: its handler would be called for its
/// own failures.
async fn bury<D: DataDb>(
    db: &mut D,
    (app, claim): (AppId, Uuid),
    id: EventId,
    (now, error): (Timestamp, &str),
    attempts_not_made: u32,
    account: &mut Account,
) -> Result<Option<Buried>, RepoError> {
    let letter_id = DeadLetterId::generate(now);
    let Some(event) = claims::bury(db, app, claim, id, now, error, Some(letter_id)).await? else { return Ok(None) };
    if event.source == EventSource::DeadLetter {
        account.note(EventDelta { events: -1, bytes: -bytes(&event) });
        return Ok(None);
    }
    let letter = DeadLetter {
        id: letter_id,
        event: event.id,
        created_at: now,
        lane: event.lane,
        source: event.source,
        op: event.op,
        trigger: event.trigger,
        script: event.script,
        attempt_count: event.attempt.saturating_sub(attempts_not_made),
        first_attempt_at: event.first_attempt_at,
        last_attempt_at: event.last_attempt_at,
        last_error: error.to_owned(),
        resolved_at: None,
        resolved_by: None,
        resolution: None,
        replay_event: None,
        bytes: event.bytes,
        payload: event.payload,
    };
    insert_letter(db, app, &letter).await?;
    Ok(Some(Buried { letter, depth: event.depth }))
}

/// Makes an event of a dead letter for the trigger that handles them, unless the app has as many events as it may: then the letter
/// waits for people alone.
async fn tell_handler<D: DataDb>(
    db: &mut D,
    app: AppId,
    handler: &Handler,
    Buried { letter, depth }: &Buried,
    now: Timestamp,
    account: &mut Account,
) -> Result<(), RepoError> {
    let payload = payload_of(letter, &handler.shown);
    let delta = EventDelta { events: 1, bytes: repo::length(payload.as_str()) };
    if !account.admits(delta) {
        return Ok(());
    }
    let insertion = Insertion {
        id: EventId::generate(now),
        app,
        lane: &Lane::Trigger(handler.trigger),
        source: EventSource::DeadLetter,
        op: EventOp::Created,
        depth: depth.saturating_add(1),
        created_at: now,
        delayed_until: None,
        replay_of: None,
        dedup_key: None,
        payload: &payload,
    };
    repo::insert(db, &insertion).await?;
    account.note(delta);
    Ok(())
}

fn bytes(event: &EventRow) -> i64 {
    i64::try_from(event.bytes).unwrap_or(i64::MAX)
}

/// What a handler of dead letters is given: the letter as the API shows it. Its payload is left out where there is no room for it.
fn payload_of(letter: &DeadLetter, policy: &RecordPolicy) -> EventPayload {
    let mut view = json!({
        "id": letter.id,
        "event_id": letter.event,
        "created_at": letter.created_at,
        "source": letter.source,
        "op": letter.op,
        "queue": if let Lane::Queue(queue) = &letter.lane { Some(queue) } else { None },
        "trigger_id": letter.trigger,
        "script_id": letter.script,
        "attempt_count": letter.attempt_count,
        "first_attempt_at": letter.first_attempt_at,
        "last_attempt_at": letter.last_attempt_at,
        "last_error": letter.last_error,
        "payload": null,
    });
    // Room for the fields beside it, and for the level that it is deeper by.
    const BESIDE: usize = 8 * 1024;
    let payload = shown(letter.payload.clone(), letter.source, policy);
    let whole = payload.as_ref().filter(|payload| payload.as_str().len() <= MAX_PAYLOAD_BYTES - BESIDE);
    if let Some(Ok(payload)) = whole.map(|payload| serde_json::from_str::<serde_json::Value>(payload.as_str())) {
        view["payload"] = payload;
        // It is a level deeper than it was, which may be one too many.
        if let Ok(told) = EventPayload::of_json(&view) {
            return told;
        }
        view["payload"] = serde_json::Value::Null;
    }
    view["payload_too_large"] = true.into();
    EventPayload::of_json(&view).unwrap_or_default()
}

/// The beginning of an error, without what PostgreSQL cannot hold.
fn cut(error: &str) -> &str {
    let error = error.split('\0').next().unwrap_or_default();
    let mut end = error.len().min(ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}
