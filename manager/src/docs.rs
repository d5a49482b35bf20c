//! The documents of the apps: what scripts reach by their port, and what the API shows and changes. It joins the rules (`decide`), the
//! ways of a search (`plan`, `search`) and the two ways of storing (`repo/docs`), and knows neither scripts nor HTTP.
//!
//! A write is decided and made in one transaction with its entries in the indexes, on SQLite (`Docs::in_file`) as in PostgreSQL
//! (`Docs::in_postgres`). What else is to be kept with it or not at all, stands there: the row for the audit log, and the events for those that
//! listen. Whoever locks the documents of an app and its events does so in this order.

mod decide;
mod index;
mod people;
mod plan;
mod port;
mod search;

use std::sync::Arc;
use std::time::Instant;

use picloud_executor::port::PortCaller;
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::docs::{DocPage, DocPlace, DocQuery, DocUsage, DocWrite, DocWritten, Document, MAX_SCANNED};
use picloud_shared::event::{EventOp, EventSource};
use picloud_shared::id::{AppId, TriggerId};
use picloud_shared::name::CollectionName;
use picloud_shared::snapshot::SnapshotCell;
use tokio::sync::Notify;

pub use decide::DocQuota;
pub(crate) use decide::DocRefusal;
pub(crate) use index::{IndexAudit, IndexDemand, IndexRefusal};
#[doc(hidden)]
pub use people::SearchPlace;
use people::SearchPlaces;
pub(crate) use people::SearchRefusal;
use plan::{Plan, Source};
use search::Search;

use crate::events::{Change, Changed, Events, Listeners, NewEvent, take_groups, triggers_of};
use crate::repo::RepoError;
use crate::repo::data_audit::{self, Outbound};
use crate::repo::docs::{DocCollection, DocEffect, DocIndex, Each, Held, postgres, sqlite};
use crate::store::data_db::{FileDb, PostgresDb, at_once};
use crate::store::data_file::{DataConnection, WriteFailed};
use crate::store::{DataPlace, PostgresData, Store};

/// The documents. Clones are the same.
#[derive(Clone)]
pub struct Docs {
    store: Store,
    clock: Arc<dyn Clock>,
    quota: DocQuota,
    /// Where the events go that writes make.
    events: Events,
    /// Which says who listens.
    snapshot: Arc<SnapshotCell>,
    /// Of the runtime that connections to PostgreSQL belong to.
    runtime: tokio::runtime::Handle,
    /// Rung when there is an index to build or to drop.
    bell: Arc<Notify>,
    places: SearchPlaces,
}

/// A write of one document, with what goes along with it.
pub(crate) struct Write {
    pub app: AppId,
    pub place: DocPlace,
    pub write: DocWrite,
    /// How many events stand between it and what was not caused by one.
    pub depth: u32,
    /// What the document must be like, looked at before anything else.
    pub demand: Option<Demand>,
    /// What the audit log is told of it.
    pub audit: Option<Audit>,
}

/// What a write demands of the document that is there.
pub(crate) type Demand = Box<dyn Fn(Option<&Document>) -> Result<(), DocRefusal> + Send + Sync>;

/// What the audit log is told of a write: the document before and after.
pub(crate) type Audit = Box<dyn Fn(Option<&Document>, Option<&Document>) -> Outbound + Send + Sync>;

/// What a write came to, unless it was refused.
pub(crate) type Made = Result<DocWritten, DocRefusal>;

/// What came of a write in one transaction.
struct Attempt {
    made: Made,
    /// Which triggers have events by it.
    heard: Vec<TriggerId>,
}

/// What is to be stored for a write, and what came of it.
struct Step {
    effect: Option<DocEffect>,
    written: DocWritten,
    events: Vec<NewEvent>,
    audit: Option<Outbound>,
}

impl Write {
    fn of_script(caller: &PortCaller, place: DocPlace, write: DocWrite) -> Self {
        Self { app: caller.app, place, write, depth: caller.event_depth, demand: None, audit: None }
    }

    fn decide(
        &self,
        held: Option<&Held>,
        indexes: &[DocIndex],
        usage: DocUsage,
        quota: DocQuota,
        now: Timestamp,
        listeners: &Listeners,
    ) -> Result<Step, DocRefusal> {
        let stored = held.map(|held| &held.document);
        if let Some(demand) = &self.demand {
            demand(stored)?;
        }
        let decision = decide::decide(self.place.id, &self.write, held, indexes, usage, quota, now)?;
        let Some(effect) = decision else {
            return Ok(Step { effect: None, written: DocWritten::Missing, events: Vec::new(), audit: None });
        };
        let audit = self.audit.as_ref().map(|audit| audit(stored, effect.document.as_ref()));
        let events = self.events(stored, effect.document.as_ref(), listeners);
        let written = effect.document.clone().map_or(DocWritten::Deleted, DocWritten::Is);
        Ok(Step { effect: Some(effect), written, events, audit })
    }

    /// What there is to hear of it.
    fn events(&self, before: Option<&Document>, after: Option<&Document>, listeners: &Listeners) -> Vec<NewEvent> {
        let op = match (before, after) {
            (None, Some(_)) => EventOp::Insert,
            (Some(_), Some(_)) => EventOp::Update,
            (_, None) => EventOp::Delete,
        };
        let DocPlace { collection, id } = &self.place;
        let body = after.map(|document| &document.body);
        let of = Changed::Document { collection: collection.as_str(), id: *id, body };
        listeners.events(Change { app: self.app, op, of, depth: self.depth })
    }
}

impl Attempt {
    fn refused(refusal: impl Into<DocRefusal>) -> Self {
        Self { made: Err(refusal.into()), heard: Vec::new() }
    }
}

impl From<Step> for Attempt {
    fn from(step: Step) -> Self {
        Self { made: Ok(step.written), heard: triggers_of(&step.events).collect() }
    }
}

impl Docs {
    /// The documents in that store, of which each app may hold so many. Events of their changes are kept among `events`, of the same
    /// store, for the triggers that `snapshot` has. Must be called within a tokio runtime.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        quota: DocQuota,
        events: Events,
        snapshot: Arc<SnapshotCell>,
    ) -> Self {
        Self {
            store,
            clock,
            quota,
            events,
            snapshot,
            runtime: tokio::runtime::Handle::current(),
            bell: Arc::default(),
            places: SearchPlaces::default(),
        }
    }

    pub(crate) fn quota(&self) -> DocQuota {
        self.quota
    }

    /// A document.
    pub(crate) async fn find(&self, app: AppId, place: &DocPlace) -> Result<Option<Document>, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let place = place.clone();
                file.read_aside(move |conn| sqlite::find(conn, app, &place)).await
            }
            DataPlace::Postgres(data) => postgres::find(&mut data.read().await?, app, place).await,
        }
    }

    /// What an app holds.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn usage(&self, app: AppId) -> Result<DocUsage, RepoError> {
        Ok(self.collections(app, None, 0).await?.0)
    }

    /// What an app holds in all, and a page of its collections.
    pub(crate) async fn collections(
        &self,
        app: AppId,
        after: Option<CollectionName>,
        limit: u32,
    ) -> Result<(DocUsage, Vec<DocCollection>), RepoError> {
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
                let app = write.app;
                let attempt = file.write(self.in_file(Arc::new(write))).await.map_err(WriteFailed::into_repo_error)?;
                Ok(self.end(app, attempt))
            }
            DataPlace::Postgres(data) => self.in_postgres(data, &write, || {}).await,
        }
    }

    /// The write as the writer of the file makes it.
    fn in_file(&self, write: Arc<Write>) -> impl FnMut(&DataConnection) -> Result<Attempt, RepoError> + Send + 'static {
        let (clock, quota) = (Arc::clone(&self.clock), self.quota);
        let (snapshot, of_events) = (Arc::clone(&self.snapshot), self.events.quota());
        move |conn| {
            let (app, place, now) = (write.app, &write.place, clock.now());
            let listeners = Listeners::of(&snapshot, app, EventSource::Docs);
            let held = sqlite::find_held(conn, app, place, &write.write)?;
            let indexes = sqlite::indexes(conn, app, &place.collection)?;
            let usage = sqlite::usage_of(conn, app)?;
            let step = match write.decide(held.as_ref(), &indexes, usage, quota, now, &listeners) {
                Ok(step) => step,
                Err(refusal) => return Ok(Attempt::refused(refusal)),
            };
            let Some(effect) = &step.effect else { return Ok(step.into()) };
            let groups = std::slice::from_ref(&step.events);
            if let (_, Some(refusal)) = at_once(take_groups(&mut FileDb(conn), app, groups, of_events, now))? {
                return Ok(Attempt::refused(refusal));
            }
            sqlite::apply(conn, app, place, effect)?;
            if let Some(row) = &step.audit {
                data_audit::insert_sqlite(conn, row)?;
            }
            Ok(step.into())
        }
    }

    /// The same in PostgreSQL. `committing` is called before what may be kept although nobody hears of it.
    async fn in_postgres(
        &self,
        data: PostgresData<'_>,
        write: &Write,
        committing: impl Fn(),
    ) -> Result<Made, RepoError> {
        let (app, place) = (write.app, &write.place);
        let mut tx = data.begin().await?;
        let usage = postgres::lock(&mut tx, app).await?;
        let held = postgres::find_held(&mut tx, app, place, &write.write).await?;
        let indexes = postgres::indexes(&mut tx, app, &place.collection).await?;
        // Whoever waited for the lock decides by what is true now.
        let (now, listeners) = (self.clock.now(), Listeners::of(&self.snapshot, app, EventSource::Docs));
        let step = match write.decide(held.as_ref(), &indexes, usage, self.quota, now, &listeners) {
            Ok(step) => step,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(effect) = &step.effect else { return Ok(Ok(step.written)) };
        let (groups, mut db) = (std::slice::from_ref(&step.events), PostgresDb(&mut tx));
        if let (_, Some(refusal)) = take_groups(&mut db, app, groups, self.events.quota(), now).await? {
            return Ok(Err(refusal.into()));
        }
        postgres::apply(&mut tx, app, place, effect).await?;
        if let Some(row) = &step.audit {
            data_audit::insert_postgres(&mut tx, row).await?;
        }
        committing();
        tx.commit().await?;
        Ok(self.end(app, step.into()))
    }

    /// What a write comes to that is kept. Those that listen are told.
    fn end(&self, app: AppId, Attempt { made, heard }: Attempt) -> Made {
        self.events.ring_for(app, &heard);
        made
    }
}

/// Searches at one moment on a connection of SQLite's own, until it is too late.
fn search_in_file(conn: &DataConnection, app: AppId, query: &DocQuery, until: Instant) -> Result<DocPage, RepoError> {
    // Nothing is changed: it ends with nothing to keep.
    let moment = conn.unchecked_transaction()?;
    let mut plan = Plan::new(query, &sqlite::indexes(&moment, app, &query.collection)?);
    if plan.is_open() {
        plan.hear(sqlite::count_documents(&moment, app, &query.collection)?);
    }
    while let Some((source, most)) = plan.next_count() {
        plan.counted(match source {
            Source::Ids { after, before } => {
                sqlite::count_between(&moment, app, &query.collection, after, before, most)?
            }
            Source::Index { number, range } => sqlite::count_entries(&moment, app, number, &range, most)?,
        });
    }
    plan.choose();
    while let Some(way) = plan.next_way() {
        let (mut search, mut is_late) = (Search::new(query, way), false);
        // All of it is one reading, which ends when nothing else is to be looked at.
        if let Some((scan, descending, _)) = search.next() {
            let each: Each<'_> = &mut |key, document| {
                is_late = Instant::now() >= until;
                !is_late && search.take(key, document)
            };
            sqlite::scan(&moment, app, &query.collection, &scan, descending, MAX_SCANNED + 1, each)?;
        }
        if is_late {
            return Err(RepoError::Unavailable("the search took too long".into()));
        }
        if let Some(page) = plan.went(search.end()) {
            return Ok(page);
        }
    }
    Ok(plan.give_up())
}

/// The same in PostgreSQL, for as long as somebody waits.
async fn search_in_postgres(data: PostgresData<'_>, app: AppId, query: &DocQuery) -> Result<DocPage, RepoError> {
    let mut moment = data.begin_search().await?;
    let mut plan = Plan::new(query, &postgres::indexes(&mut moment, app, &query.collection).await?);
    if plan.is_open() {
        plan.hear(postgres::count_documents(&mut moment, app, &query.collection).await?);
    }
    while let Some((source, most)) = plan.next_count() {
        plan.counted(match source {
            Source::Ids { after, before } => {
                postgres::count_between(&mut moment, app, &query.collection, after, before, most).await?
            }
            Source::Index { number, range } => postgres::count_entries(&mut moment, app, number, &range, most).await?,
        });
    }
    plan.choose();
    while let Some(way) = plan.next_way() {
        let mut search = Search::new(query, way);
        while let Some((scan, descending, limit)) = search.next() {
            let each: Each<'_> = &mut |key, document| search.take(key, document);
            if postgres::scan(&mut moment, app, &query.collection, &scan, descending, limit, each).await? == 0 {
                break;
            }
        }
        if let Some(page) = plan.went(search.end()) {
            return Ok(page);
        }
    }
    Ok(plan.give_up())
}
