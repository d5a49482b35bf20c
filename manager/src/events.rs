//! Events: what is to be handled, what is being handled, and what is not tried again. It joins the rules (how much an app may
//! have, when something was sent already) with the store, for scripts by their port, for who hands events out (`crate::trigger`)
//! and for people by the API. It knows neither scripts nor HTTP.

mod claims;
mod cron;
mod dead_letters;
mod listeners;
mod port;
mod requests;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::event::{DedupKey, EventOp, EventPayload, EventSource};
use picloud_shared::id::{AppId, DeadLetterId, EventId, TriggerId};
use picloud_shared::name::QueueName;
use tokio::sync::Notify;

pub(crate) use crate::repo::events::cron::CronState;
pub(crate) use crate::repo::events::dead_letters::{DeadLetter, DeadLetterFilter, Resolution};
pub(crate) use crate::repo::events::{AttemptRow, EventFilter, EventRow, EventState, EventUsage, Lane, QueueDepth};
pub(crate) use claims::{Handler, Leased, Settled};
pub(crate) use cron::{Ticked, Ticking};
pub(crate) use dead_letters::DeadLetterRefusal;
pub(crate) use listeners::{Change, Changed, Listeners, anybody_hears_of_expiry, triggers_of};
pub(crate) use requests::shown;

use crate::repo::RepoError;
use crate::repo::data_audit::{self, Outbound};
use crate::repo::events::{self as repo, EventDelta, Insertion};
use crate::store::data_db::{DataDb, FileDb, PostgresDb, at_once};
use crate::store::data_file::WriteFailed;
use crate::store::{DataPlace, Store};

/// Queues of an app that have messages at once, with the lanes of its triggers and scripts.
pub(crate) const MAX_QUEUES: u64 = 1_000;

/// For how long after it was handled a message's key counts.
const DEDUP_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How much one app may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQuota {
    /// Events that have not ended, and dead letters that are not resolved.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Default for EventQuota {
    fn default() -> Self {
        Self { events: 100_000, bytes: 256 * 1024 * 1024 }
    }
}

/// Why an event is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventRefusal {
    /// It would be one too many.
    #[error("the app has as many events as it may: {most}, those that wait and dead letters that are not resolved")]
    TooMany {
        /// As many as there may be.
        most: u64,
    },
    /// It would be in one queue too many.
    #[error("the app has messages in as many queues as it may: {MAX_QUEUES}")]
    QueuesUsedUp,
    /// It would be too many bytes.
    #[error("the payloads of the app's events and dead letters have as many bytes as they may: {most}")]
    TooManyBytes {
        /// As many as there may be.
        most: u64,
    },
}

impl EventRefusal {
    /// The code that scripts see.
    pub(crate) const CODE: &str = "queue_full";
}

/// An event about to be taken.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub app: AppId,
    pub lane: Lane,
    pub source: EventSource,
    pub op: EventOp,
    pub payload: EventPayload,
    /// From when on it may be handled; at once, if that is past or `None`.
    pub due_at: Option<Timestamp>,
    pub depth: u32,
    pub dedup_key: Option<DedupKey>,
    pub replay_of: Option<DeadLetterId>,
}

impl NewEvent {
    /// The event as it is kept, from now on.
    fn insertion(&self, id: EventId, now: Timestamp) -> Insertion<'_> {
        Insertion {
            id,
            app: self.app,
            lane: &self.lane,
            source: self.source,
            op: self.op,
            depth: self.depth,
            created_at: now,
            delayed_until: self.due_at.filter(|due_at| *due_at > now),
            replay_of: self.replay_of,
            dedup_key: self.dedup_key.as_ref().map(DedupKey::as_str),
            payload: &self.payload,
        }
    }
}

/// What the audit log is told of a change, by the id of what was changed.
pub(crate) type AuditOf<Id> = Box<dyn Fn(Id) -> Outbound + Send + Sync>;

/// The events of all apps. Clones are the same.
#[derive(Clone)]
pub struct Events {
    store: Store,
    clock: Arc<dyn Clock>,
    quota: EventQuota,
    lease: Duration,
    /// Of the runtime that connections to PostgreSQL belong to.
    runtime: tokio::runtime::Handle,
    bells: Arc<Bells>,
    arrivals: Arc<requests::Arrivals>,
}

/// Runs work on the apps' data as one transaction, with what it captures. SQLite's writer may run it again after nothing of it
/// was kept.
macro_rules! changing {
    ($store:expr, |$db:ident| $work:expr) => {
        match $store.data() {
            DataPlace::File(file) => {
                let work = move |conn: &$crate::store::data_file::DataConnection| {
                    let $db = &mut FileDb(conn);
                    at_once(async { $work.await })
                };
                file.write(work).await.map_err(WriteFailed::into_repo_error)
            }
            DataPlace::Postgres(data) => {
                let mut tx = data.begin().await?;
                let done = {
                    let $db = &mut PostgresDb(&mut tx);
                    $work.await?
                };
                tx.commit().await?;
                Ok(done)
            }
        }
    };
}
use changing;

/// The same for work that only reads, all of it at one moment.
macro_rules! reading {
    ($store:expr, |$db:ident| $work:expr) => {
        match $store.data() {
            $crate::store::DataPlace::File(file) => {
                let work = move |conn: &$crate::store::data_file::DataConnection| {
                    // It ends, with nothing to keep, when it is dropped.
                    let _moment = conn.unchecked_transaction()?;
                    let $db = &mut $crate::store::data_db::FileDb(conn);
                    $crate::store::data_db::at_once(async { $work.await })
                };
                file.read_aside(work).await
            }
            $crate::store::DataPlace::Postgres(data) => {
                let mut tx = data.begin_search().await?;
                let $db = &mut $crate::store::data_db::PostgresDb(&mut tx);
                $work.await
            }
        }
    };
}
pub(crate) use reading;

impl Events {
    /// The events in that store, of which each app may have so many, leased for so long to who handles them. Must be called
    /// within a tokio runtime.
    pub fn new(store: Store, clock: Arc<dyn Clock>, quota: EventQuota, lease: Duration) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { store, clock, quota, lease, runtime, bells: Arc::default(), arrivals: Arc::default() }
    }

    /// How much one app may have.
    pub(crate) fn quota(&self) -> EventQuota {
        self.quota
    }

    /// Takes an event, and says so to who handles it. Where there is one of its key, that is given instead.
    pub(crate) async fn enqueue(
        &self,
        event: NewEvent,
        audit: Option<AuditOf<EventId>>,
    ) -> Result<Result<EventId, EventRefusal>, RepoError> {
        let (app, lane) = (event.app, event.lane.clone());
        let taking = Taking { event, audit, now: self.clock.now(), quota: self.quota };
        let taken: Result<Result<EventId, EventRefusal>, RepoError> = changing!(self.store, |db| take(db, &taking));
        self.bells.ring(app, &lane);
        taken
    }

    /// An event with its attempts.
    pub(crate) async fn find(&self, app: AppId, id: EventId) -> Result<Option<(EventRow, Vec<AttemptRow>)>, RepoError> {
        reading!(self.store, |db| find(db, app, id))
    }

    /// Events of an app, the newest first. Payloads of more than 4 KiB are left out.
    pub(crate) async fn list(
        &self,
        app: AppId,
        filter: EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<EventRow>, RepoError> {
        reading!(self.store, |db| repo::list(db, app, &filter, before, limit))
    }

    /// Queues of an app that have messages, by name.
    pub(crate) async fn queues(
        &self,
        app: AppId,
        after: Option<QueueName>,
        limit: u32,
    ) -> Result<Vec<QueueDepth>, RepoError> {
        reading!(self.store, |db| repo::queues(db, app, after.as_ref(), limit))
    }

    /// Removes a queue's message that waits; whether it was there.
    pub(crate) async fn delete_event(
        &self,
        app: AppId,
        id: EventId,
        audit: Option<AuditOf<EventId>>,
    ) -> Result<bool, RepoError> {
        changing!(self.store, |db| delete(db, app, id, audit.as_ref()))
    }

    /// What an app has.
    pub(crate) async fn usage(&self, app: AppId) -> Result<EventUsage, RepoError> {
        reading!(self.store, |db| repo::usage_of(db, app))
    }

    /// Whether no other process can add events.
    pub(crate) fn is_alone(&self) -> bool {
        self.store.is_alone()
    }

    /// Waits until something is to be handled in lanes of scripts at which nobody listens.
    pub(crate) async fn strayed(&self) {
        self.bells.strayed.notified().await;
    }

    /// Those lanes, which are told of once.
    pub(crate) fn take_strays(&self) -> HashSet<(AppId, Lane)> {
        std::mem::take(&mut self.bells.lock().strays)
    }

    /// Says that nobody listens at a lane any more.
    pub(crate) fn leave(&self, app: AppId, lane: &Lane) {
        self.bells.lock().of_lanes.remove(&(app, lane.clone()));
    }

    /// Rings for a lane.
    pub(crate) fn ring(&self, app: AppId, lane: &Lane) {
        self.bells.ring(app, lane);
    }

    /// Rings for those triggers, which have events of what was written.
    pub(crate) fn ring_for(&self, app: AppId, triggers: &[TriggerId]) {
        for trigger in triggers {
            self.bells.ring(app, &Lane::Trigger(*trigger));
        }
    }

    /// What is rung when something may be there to handle in a lane.
    pub(crate) fn bell(&self, app: AppId, lane: &Lane) -> Arc<Notify> {
        self.bells.of(app, lane)
    }
}

/// An event that is being taken.
struct Taking {
    event: NewEvent,
    audit: Option<AuditOf<EventId>>,
    now: Timestamp,
    quota: EventQuota,
}

async fn take<D: DataDb>(db: &mut D, taking: &Taking) -> Result<Result<EventId, EventRefusal>, RepoError> {
    let Taking { event, audit, now, quota } = taking;
    let NewEvent { app, lane, dedup_key, payload, .. } = event;
    let usage = repo::lock(db, *app).await?;
    if let Some(key) = dedup_key
        && let Some((id, state, ended_at)) = repo::find_by_dedup_key(db, *app, lane, key.as_str()).await?
    {
        // What was given up may be sent again.
        if state != EventState::Dead && ended_at.is_none_or(|at| now.since(at) < DEDUP_FOR) {
            return Ok(Ok(id));
        }
        repo::free_dedup_key(db, *app, id).await?;
    }
    let delta = EventDelta { events: 1, bytes: repo::length(payload.as_str()) };
    if let Err(refusal) = admit(usage, delta, *quota) {
        return Ok(Err(refusal));
    }
    if matches!(lane, Lane::Queue(_)) && !repo::may_have_lane(db, *app, lane, MAX_QUEUES).await? {
        return Ok(Err(EventRefusal::QueuesUsedUp));
    }
    let id = EventId::generate(*now);
    repo::insert(db, &event.insertion(id, *now)).await?;
    repo::account(db, *app, delta).await?;
    told(db, audit.as_ref(), id).await?;
    Ok(Ok(id))
}

/// Keeps events with what makes them, in whose transaction it is: group after group, each as a whole, up to the first for which
/// there is no room. How many groups are kept, and why no more. Events of a lane are handled in the order in which they come.
///
/// The events of the app are locked from here to the end of the transaction; what else it locks, it has locked before.
pub(crate) async fn take_groups<D: DataDb>(
    db: &mut D,
    app: AppId,
    groups: &[Vec<NewEvent>],
    quota: EventQuota,
    now: Timestamp,
) -> Result<(usize, Option<EventRefusal>), RepoError> {
    if groups.iter().all(Vec::is_empty) {
        return Ok((groups.len(), None));
    }
    let usage = repo::lock(db, app).await?;
    let (mut kept, mut delta, mut refusal) = (0, EventDelta::default(), None);
    for group in groups {
        let bytes: i64 = group.iter().map(|event| repo::length(event.payload.as_str())).sum();
        let events = i64::try_from(group.len()).unwrap_or(i64::MAX);
        let with_it = EventDelta { events: delta.events + events, bytes: delta.bytes + bytes };
        if let Err(no_room) = admit(usage, with_it, quota)
            && !group.is_empty()
        {
            refusal = Some(no_room);
            break;
        }
        for event in group {
            repo::insert(db, &event.insertion(EventId::generate(now), now)).await?;
        }
        (kept, delta) = (kept + 1, with_it);
    }
    repo::account(db, app, delta).await?;
    Ok((kept, refusal))
}

/// Keeps what the audit log is to be told.
async fn told<D: DataDb, Id>(db: &mut D, audit: Option<&AuditOf<Id>>, id: Id) -> Result<(), RepoError> {
    match audit {
        Some(audit) => data_audit::insert(db, &audit(id)).await,
        None => Ok(()),
    }
}

async fn find<D: DataDb>(
    db: &mut D,
    app: AppId,
    id: EventId,
) -> Result<Option<(EventRow, Vec<AttemptRow>)>, RepoError> {
    let Some(event) = repo::find(db, app, id).await? else { return Ok(None) };
    let attempts = repo::attempts(db, id).await?;
    Ok(Some((event, attempts)))
}

async fn delete<D: DataDb>(
    db: &mut D,
    app: AppId,
    id: EventId,
    audit: Option<&AuditOf<EventId>>,
) -> Result<bool, RepoError> {
    repo::lock(db, app).await?;
    let was_there = repo::delete_waiting(db, app, id).await?;
    if was_there {
        told(db, audit, id).await?;
    }
    Ok(was_there)
}

/// What grows must fit; what shrinks may, however much there is.
fn admit(usage: EventUsage, delta: EventDelta, quota: EventQuota) -> Result<(), EventRefusal> {
    let grows = |now: u64, by: i64, most: u64| by > 0 && now.saturating_add(by.unsigned_abs()) > most;
    if grows(usage.events, delta.events, quota.events) {
        return Err(EventRefusal::TooMany { most: quota.events });
    }
    if grows(usage.bytes, delta.bytes, quota.bytes) {
        return Err(EventRefusal::TooManyBytes { most: quota.bytes });
    }
    Ok(())
}

/// A bell for each lane that somebody listens at.
#[derive(Debug, Default)]
struct Bells {
    hung: Mutex<Hung>,
    /// Rung when there are strays.
    strayed: Notify,
}

#[derive(Debug, Default)]
struct Hung {
    of_lanes: HashMap<(AppId, Lane), Arc<Notify>>,
    /// Lanes of scripts for which was rung when nobody listened. There may be many scripts, and few are called.
    strays: HashSet<(AppId, Lane)>,
}

impl Bells {
    fn lock(&self) -> MutexGuard<'_, Hung> {
        self.hung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings where somebody listens.
    fn ring(&self, app: AppId, lane: &Lane) {
        let of = (app, lane.clone());
        let mut hung = self.lock();
        match hung.of_lanes.get(&of).filter(|bell| Arc::strong_count(bell) > 1) {
            Some(bell) => bell.notify_one(),
            None if matches!(lane, Lane::Script(_)) => {
                hung.strays.insert(of);
                self.strayed.notify_one();
            }
            None => {}
        }
    }

    /// The bell of a lane. Those that nobody has any more are let go of.
    fn of(&self, app: AppId, lane: &Lane) -> Arc<Notify> {
        let mut hung = self.lock();
        hung.of_lanes.retain(|_, bell| Arc::strong_count(bell) > 1);
        Arc::clone(hung.of_lanes.entry((app, lane.clone())).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_must_fit_and_what_shrinks_may() {
        let quota = EventQuota { events: 2, bytes: 10 };
        let admit = |events, bytes, delta| admit(EventUsage { events, bytes }, delta, quota);
        let one = |bytes| EventDelta { events: 1, bytes };
        assert_eq!(admit(1, 0, one(10)), Ok(()));
        assert_eq!(admit(2, 0, one(0)), Err(EventRefusal::TooMany { most: 2 }));
        assert_eq!(admit(1, 1, one(10)), Err(EventRefusal::TooManyBytes { most: 10 }));
        assert_eq!(admit(9, 99, EventDelta { events: 0, bytes: -1 }), Ok(()));
    }

    #[test]
    fn a_bell_rings_for_its_lane_and_goes_with_who_listens() {
        let (bells, app) = (Bells::default(), AppId::generate(Timestamp::from_millis(0)));
        let lane = |name: &str| Lane::Queue(name.parse().unwrap());
        let bell = bells.of(app, &lane("a"));
        assert!(Arc::ptr_eq(&bell, &bells.of(app, &lane("a"))));
        drop(bell);
        bells.ring(app, &lane("a"));
        assert!(bells.lock().strays.is_empty(), "a trigger is looked after as long as it is there");
        let script = Lane::Script(picloud_shared::id::ScriptId::generate(Timestamp::from_millis(0)));
        bells.ring(app, &script);
        assert_eq!(bells.lock().strays.iter().collect::<Vec<_>>(), [&(app, script)]);
        let _other = bells.of(app, &lane("b"));
        assert_eq!(bells.lock().of_lanes.len(), 1);
    }
}
