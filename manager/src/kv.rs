//! The key-value store of the apps: what scripts reach by their port, and what the API shows and changes. It joins the rules
//! (`decide`) with the two ways of storing (`repo/kv`), and knows neither scripts nor HTTP.
//!
//! A write is decided and made in one transaction, on SQLite (`Kv::in_file`) as in PostgreSQL (`Kv::in_postgres`). What else is to
//! be kept with it or not at all, stands there: the row for the audit log, and the events for those that listen.
//! Whoever locks the entries of an app and its events does so in this order.

mod decide;
mod port;
mod sweep;

use std::sync::Arc;

use picloud_executor::port::PortCaller;
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::event::{EventOp, EventSource};
use picloud_shared::id::{AppId, TriggerId};
use picloud_shared::kv::{KvEntry, KvPage, KvPlace, KvQuery, KvUsage, KvWrite, KvWritten};
use picloud_shared::name::CollectionName;
use picloud_shared::snapshot::SnapshotCell;

pub use decide::KvQuota;
pub(crate) use decide::KvRefusal;
use decide::{Decision, is_live};
use sweep::{Swept, expire_in_file, expire_in_postgres};

use crate::events::{Change, Changed, Events, Listeners, NewEvent, take_groups, triggers_of};
use crate::repo::RepoError;
use crate::repo::data_audit::{self, Outbound};
use crate::repo::kv::{KvCollection, KvEffect, postgres, sqlite};
use crate::store::data_db::{FileDb, PostgresDb, at_once};
use crate::store::data_file::{DataConnection, WriteFailed};
use crate::store::{DataPlace, PostgresData, Store};

/// How often a write makes room, which each time removes a piece of what has expired and keeps others from writing meanwhile. Where
/// the quota is 100,000 keys, all of them go within so many.
const MOST_ATTEMPTS: u32 = 256;

/// The key-value store. Clones are the same.
#[derive(Clone)]
pub struct Kv {
    store: Store,
    clock: Arc<dyn Clock>,
    quota: KvQuota,
    /// Where the events go that writes make.
    events: Events,
    /// Which says who listens.
    snapshot: Arc<SnapshotCell>,
    /// Of the runtime that connections to PostgreSQL belong to.
    runtime: tokio::runtime::Handle,
}

/// A write of one entry, with what goes along with it.
pub(crate) struct Write {
    pub app: AppId,
    pub place: KvPlace,
    pub write: KvWrite,
    /// How many events stand between it and what was not caused by one.
    pub depth: u32,
    /// What the entry must be like, looked at before anything else.
    pub demand: Option<Demand>,
    /// What the audit log is told of it.
    pub audit: Option<Audit>,
}

/// What a write demands of the entry that is there.
pub(crate) type Demand = Box<dyn Fn(Option<&KvEntry>) -> Result<(), KvRefusal> + Send + Sync>;

/// What the audit log is told of a write: the entry before and after.
pub(crate) type Audit = Box<dyn Fn(Option<&KvEntry>, Option<&KvEntry>) -> Outbound + Send + Sync>;

/// What a write came to, unless it was refused.
pub(crate) type Made = Result<(KvWritten, Option<KvEntry>), KvRefusal>;

/// What came of a write in one transaction.
struct Attempt {
    made: Made,
    /// Whether it found no room, made some, and may find enough another time.
    made_room: bool,
    /// Which triggers have events by it.
    heard: Vec<TriggerId>,
}

/// What is to be stored for a write, and what came of it.
struct Step {
    decision: Decision,
    events: Vec<NewEvent>,
    audit: Option<Outbound>,
}

impl Write {
    fn of_script(caller: &PortCaller, place: KvPlace, write: KvWrite) -> Self {
        Self { app: caller.app, place, write, depth: caller.event_depth, demand: None, audit: None }
    }

    fn decide(
        &self,
        stored: Option<&KvEntry>,
        usage: KvUsage,
        quota: KvQuota,
        now: Timestamp,
        listeners: &Listeners,
    ) -> Result<Step, KvRefusal> {
        let live = stored.filter(|entry| is_live(entry, now));
        if let Some(demand) = &self.demand {
            demand(live)?;
        }
        let decision = decide::decide(&self.place.key, &self.write, stored, usage, quota, now)?;
        let after = match &decision.effect {
            KvEffect::Put(entry) => Some(entry),
            KvEffect::Nothing | KvEffect::Remove => None,
        };
        let audit = self.audit.as_ref().filter(|_| decision.effect != KvEffect::Nothing);
        let audit = audit.map(|audit| audit(live, after));
        let events = self.events(stored, &decision.effect, now, listeners);
        Ok(Step { decision, events, audit })
    }

    /// What there is to hear of it: that the time of the entry that was there is over, if nobody was told yet, and what became of it.
    fn events(
        &self,
        stored: Option<&KvEntry>,
        effect: &KvEffect,
        now: Timestamp,
        listeners: &Listeners,
    ) -> Vec<NewEvent> {
        let happened = |op, entry| {
            let KvPlace { collection, key } = &self.place;
            let of = Changed::Entry { collection: collection.as_str(), key: key.as_str(), entry };
            listeners.events(Change { app: self.app, op, of, depth: self.depth })
        };
        let had_expired = stored.is_some_and(|entry| !is_live(entry, now));
        let expired = || if had_expired { happened(EventOp::Expire, None) } else { Vec::new() };
        match effect {
            KvEffect::Nothing => Vec::new(),
            KvEffect::Put(entry) => {
                let mut events = expired();
                events.extend(happened(EventOp::Set, Some(entry)));
                events
            }
            KvEffect::Remove if had_expired => expired(),
            KvEffect::Remove => happened(EventOp::Delete, None),
        }
    }
}

impl Step {
    fn made(self) -> (KvWritten, Option<KvEntry>) {
        let Decision { effect, written, .. } = self.decision;
        match effect {
            KvEffect::Put(entry) => (written, Some(entry)),
            KvEffect::Nothing | KvEffect::Remove => (written, None),
        }
    }
}

impl Kv {
    /// The entries in that store, of which each app may hold so many. Events of their changes are kept among `events`, of the same
    /// store, for the triggers of the snapshot. Must be called within a tokio runtime.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        quota: KvQuota,
        events: Events,
        snapshot: Arc<SnapshotCell>,
    ) -> Self {
        Self { store, clock, quota, events, snapshot, runtime: tokio::runtime::Handle::current() }
    }

    pub(crate) fn quota(&self) -> KvQuota {
        self.quota
    }

    /// An entry, unless it has expired.
    pub(crate) async fn find(&self, app: AppId, place: &KvPlace) -> Result<Option<KvEntry>, RepoError> {
        let now = self.clock.now();
        let found = match self.store.data() {
            DataPlace::File(file) => {
                let place = place.clone();
                file.read_aside(move |conn| sqlite::find(conn, app, &place)).await?
            }
            DataPlace::Postgres(data) => postgres::find(&mut data.read().await?, app, place).await?,
        };
        Ok(found.filter(|entry| is_live(entry, now)))
    }

    /// A page of entries that have not expired.
    pub(crate) async fn list(&self, app: AppId, query: &KvQuery) -> Result<KvPage, RepoError> {
        let now = self.clock.now();
        match self.store.data() {
            DataPlace::File(file) => {
                let query = query.clone();
                file.read_aside(move |conn| sqlite::list(conn, app, &query, now)).await
            }
            DataPlace::Postgres(data) => postgres::list(&mut data.read().await?, app, query, now).await,
        }
    }

    /// What an app holds in all, and a page of its collections.
    pub(crate) async fn collections(
        &self,
        app: AppId,
        after: Option<CollectionName>,
        limit: u32,
    ) -> Result<(KvUsage, Vec<KvCollection>), RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let read = move |conn: &DataConnection| {
                    Ok((sqlite::usage_of(conn, app)?, sqlite::collections(conn, app, after.as_ref(), limit)?))
                };
                file.read_aside(read).await
            }
            DataPlace::Postgres(data) => {
                let mut conn = data.read().await?;
                let usage = postgres::usage_of(&mut conn, app).await?;
                Ok((usage, postgres::collections(&mut conn, app, after.as_ref(), limit).await?))
            }
        }
    }

    /// Makes a write, and gives what it came to once it is kept.
    pub(crate) async fn write(&self, write: Write) -> Result<Made, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let write = Arc::new(write);
                let mut attempts = Attempts::default();
                loop {
                    let attempt = file.write(self.in_file(&write)).await.map_err(WriteFailed::into_repo_error)?;
                    if let Some(made) = self.end(&mut attempts, write.app, attempt) {
                        return Ok(made);
                    }
                }
            }
            DataPlace::Postgres(data) => self.in_postgres(data, &write, || {}).await,
        }
    }

    /// The write as the writer of the file makes it.
    fn in_file(
        &self,
        write: &Arc<Write>,
    ) -> impl FnMut(&DataConnection) -> Result<Attempt, RepoError> + Send + 'static {
        let (write, clock, quota) = (Arc::clone(write), Arc::clone(&self.clock), self.quota);
        let (snapshot, of_events) = (Arc::clone(&self.snapshot), self.events.quota());
        move |conn| {
            let (app, place, now) = (write.app, &write.place, clock.now());
            let listeners = Listeners::of(&snapshot, app, EventSource::Kv);
            let look = || -> Result<_, RepoError> {
                let (stored, usage) = (sqlite::find(conn, app, place)?, sqlite::usage_of(conn, app)?);
                Ok(write.decide(stored.as_ref(), usage, quota, now, &listeners))
            };
            let (mut step, mut swept) = (look()?, Swept::default());
            if wants_room(&step) {
                swept = expire_in_file(conn, app, &listeners, of_events, now)?;
                if swept.count > 0 {
                    step = look()?;
                }
            }
            if let Ok(Step { events, .. }) = &step
                && !events.is_empty()
            {
                let (groups, mut db) = (std::slice::from_ref(events), FileDb(conn));
                let (_, refusal) = at_once(take_groups(&mut db, app, groups, of_events, now))?;
                if let Some(refusal) = refusal {
                    step = Err(refusal.into());
                }
            }
            if let Ok(step) = &step {
                sqlite::apply(conn, app, place, &step.decision.effect, step.decision.delta)?;
                if let Some(row) = &step.audit {
                    data_audit::insert_sqlite(conn, row)?;
                }
            }
            Ok(Attempt::of(step, swept))
        }
    }

    /// The same in PostgreSQL. `committing` is called before what may be kept although nobody hears of it.
    async fn in_postgres(
        &self,
        data: PostgresData<'_>,
        write: &Write,
        committing: impl Fn(),
    ) -> Result<Made, RepoError> {
        let (app, place, quota) = (write.app, &write.place, self.quota);
        let of_events = self.events.quota();
        let mut attempts = Attempts::default();
        loop {
            let mut tx = data.begin().await?;
            let usage = postgres::lock(&mut tx, app).await?;
            // Whoever waited for the lock decides by what is true now.
            let (now, listeners) = (self.clock.now(), Listeners::of(&self.snapshot, app, EventSource::Kv));
            let stored = postgres::find(&mut tx, app, place).await?;
            let mut step = write.decide(stored.as_ref(), usage, quota, now, &listeners);
            let mut swept = Swept::default();
            if wants_room(&step) {
                swept = expire_in_postgres(&mut tx, app, &listeners, of_events, now).await?;
                if swept.count > 0 {
                    let usage = postgres::usage_of(&mut tx, app).await?;
                    let stored = postgres::find(&mut tx, app, place).await?;
                    step = write.decide(stored.as_ref(), usage, quota, now, &listeners);
                }
            }
            if let Ok(Step { events, .. }) = &step
                && !events.is_empty()
            {
                let (groups, mut db) = (std::slice::from_ref(events), PostgresDb(&mut tx));
                let (_, refusal) = take_groups(&mut db, app, groups, of_events, now).await?;
                if let Some(refusal) = refusal {
                    step = Err(refusal.into());
                }
            }
            match &step {
                Ok(step) => {
                    postgres::apply(&mut tx, app, place, &step.decision.effect, step.decision.delta).await?;
                    if let Some(row) = &step.audit {
                        data_audit::insert_postgres(&mut tx, row).await?;
                    }
                    committing();
                    tx.commit().await?;
                }
                // The room is there for the next one.
                Err(_) if swept.count > 0 => tx.commit().await?,
                Err(_) => {}
            }
            if let Some(made) = self.end(&mut attempts, app, Attempt::of(step, swept)) {
                return Ok(made);
            }
        }
    }

    /// What a write comes to after an attempt that is kept, unless it is to be tried again. Those that listen are told.
    fn end(&self, attempts: &mut Attempts, app: AppId, attempt: Attempt) -> Option<Made> {
        self.events.ring_for(app, &attempt.heard);
        attempts.end(attempt)
    }
}

/// Whether it may be done once expired entries of the app are gone.
fn wants_room(step: &Result<Step, KvRefusal>) -> bool {
    step.as_ref().is_err_and(KvRefusal::wants_room)
}

impl Attempt {
    fn of(step: Result<Step, KvRefusal>, swept: Swept) -> Self {
        let made_room = swept.count > 0 && wants_room(&step);
        let mut heard = swept.heard;
        if let Ok(step) = &step {
            heard.extend(triggers_of(&step.events));
        }
        Self { made: step.map(Step::made), made_room, heard }
    }
}

/// Counts the attempts of a write.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// What the write comes to, unless it is to be tried again.
    fn end(&mut self, Attempt { made, made_room, .. }: Attempt) -> Option<Made> {
        self.0 += 1;
        (!made_room || self.0 >= MOST_ATTEMPTS).then_some(made)
    }
}
