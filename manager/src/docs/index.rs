//! Indexes of collections: which there are, and the task that builds and drops them piece by piece, so that writes of scripts wait for
//! a moment only. Several nodes may do it at once: on PostgreSQL whoever works on an app's indexes has locked it before.

use std::time::Duration;

use picloud_shared::docs::{DocUsage, Document, FieldPath, MAX_INDEXES};
use picloud_shared::id::AppId;
use picloud_shared::name::CollectionName;
use tokio::time::interval;
use tracing::warn;
use uuid::Uuid;

use super::Docs;
use super::decide::{DocQuota, admit, entry_of};
use crate::repo::RepoError;
use crate::repo::data_audit::{self, Outbound};
use crate::repo::docs::{
    DocDelta, DocIndex, Entry, IndexState, PIECE, PIECE_BYTES, Scan, Unfinished, entry_bytes, postgres, sqlite,
};
use crate::store::data_file::{DataConnection, WriteFailed};
use crate::store::{Conn, DataPlace};
use crate::survive::survive;

/// How often unfinished indexes are looked for without being told: those of a node that died, or of another one.
const INTERVAL: Duration = Duration::from_secs(10);

/// Indexes that all collections of an app may have together, those that are being dropped among them.
const MAX_INDEXES_OF_APP: usize = 256;

/// Why indexes stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IndexRefusal {
    /// They are not as who changes them saw them.
    #[error("the indexes are not what they were")]
    PreconditionFailed,
    #[error("a collection has at most {MAX_INDEXES} indexes")]
    TooMany,
    #[error(
        "the collections of an app have at most {MAX_INDEXES_OF_APP} indexes together, those that are being dropped among them"
    )]
    TooManyOfApp,
}

/// What the audit log is told of a change of indexes: the fields before and after.
pub(crate) type IndexAudit = Box<dyn Fn(&[FieldPath], &[FieldPath]) -> Option<Outbound> + Send + Sync>;

/// What a change of indexes demands of the fields of those that are there.
pub(crate) type IndexDemand = Box<dyn Fn(&[FieldPath]) -> Result<(), IndexRefusal> + Send + Sync>;

/// The changes that make a collection's indexes those of some fields.
#[derive(Debug, PartialEq)]
struct Changes {
    /// Indexes that go, or are built anew.
    changed: Vec<DocIndex>,
    /// Fields that get an index.
    added: Vec<FieldPath>,
}

impl Changes {
    fn between(held: &[DocIndex], wanted: &[FieldPath], of_app: usize) -> Result<Self, IndexRefusal> {
        if wanted.len() > MAX_INDEXES {
            return Err(IndexRefusal::TooMany);
        }
        let live = || held.iter().filter(|index| index.state != IndexState::Dropping);
        let change = |index: &DocIndex| match (wanted.contains(&index.field), index.state) {
            (false, _) => Some(DocIndex { state: IndexState::Dropping, ..index.clone() }),
            // Whoever asks for it again has perhaps made room.
            (true, IndexState::Clearing) => Some(DocIndex { state: IndexState::Dropping, ..index.clone() }),
            (true, IndexState::NoRoom) => {
                Some(DocIndex { state: IndexState::Building, built_to: Uuid::nil(), ..index.clone() })
            }
            (true, _) => None,
        };
        // What is being cleared away goes, and is built anew by another number.
        let stays = || live().filter(|index| index.state != IndexState::Clearing);
        let added = wanted.iter().filter(|field| stays().all(|index| index.field != **field));
        let changes = Self { changed: live().filter_map(change).collect(), added: added.cloned().collect() };
        if of_app + changes.added.len() > MAX_INDEXES_OF_APP {
            return Err(IndexRefusal::TooManyOfApp);
        }
        Ok(changes)
    }

    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty()
    }

    fn added_count(&self) -> i64 {
        self.added.len() as i64
    }

    /// The indexes that are to be stored, of which the added ones get numbers from that one on.
    fn into_indexes(self, first: i64) -> Vec<DocIndex> {
        let (state, built_to) = (IndexState::Building, Uuid::nil());
        let added = (first..).zip(self.added).map(|(number, field)| DocIndex { number, field, state, built_to });
        self.changed.into_iter().chain(added).collect()
    }
}

fn fields(indexes: &[DocIndex]) -> Vec<FieldPath> {
    let live = indexes.iter().filter(|index| index.state != IndexState::Dropping);
    let mut fields: Vec<_> = live.map(|index| index.field.clone()).collect();
    fields.sort();
    fields
}

impl Docs {
    /// The indexes of a collection.
    pub(crate) async fn indexes(&self, app: AppId, collection: &CollectionName) -> Result<Vec<DocIndex>, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let collection = collection.clone();
                file.read_aside(move |conn| sqlite::indexes(conn, app, &collection)).await
            }
            DataPlace::Postgres(data) => postgres::indexes(&mut data.read().await?, app, collection).await,
        }
    }

    /// Has a collection have indexes of just these fields. They are built and dropped afterwards.
    pub(crate) async fn set_indexes(
        &self,
        app: AppId,
        collection: &CollectionName,
        mut wanted: Vec<FieldPath>,
        demand: IndexDemand,
        audit: IndexAudit,
    ) -> Result<Result<Vec<DocIndex>, IndexRefusal>, RepoError> {
        wanted.sort();
        wanted.dedup();
        let set = match self.store.data() {
            DataPlace::File(file) => {
                let collection = collection.clone();
                let set = move |conn: &DataConnection| {
                    let held = sqlite::indexes(conn, app, &collection)?;
                    let of_app = usize::try_from(sqlite::count_indexes(conn, app)?).unwrap_or(usize::MAX);
                    let allowed = demand(&fields(&held)).and_then(|()| Changes::between(&held, &wanted, of_app));
                    let changes = match allowed {
                        Ok(changes) if changes.is_empty() => return Ok(Ok(held)),
                        Ok(changes) => changes,
                        Err(refusal) => return Ok(Err(refusal)),
                    };
                    let first = sqlite::take_numbers(conn, app, changes.added_count())?;
                    sqlite::put_indexes(conn, app, &collection, &changes.into_indexes(first))?;
                    if let Some(row) = audit(&fields(&held), &wanted) {
                        data_audit::insert_sqlite(conn, &row)?;
                    }
                    Ok(Ok(sqlite::indexes(conn, app, &collection)?))
                };
                file.write(set).await.map_err(WriteFailed::into_repo_error)?
            }
            DataPlace::Postgres(data) => {
                let mut tx = data.begin().await?;
                postgres::lock(&mut tx, app).await?;
                let held = postgres::indexes(&mut tx, app, collection).await?;
                let of_app = usize::try_from(postgres::count_indexes(&mut tx, app).await?).unwrap_or(usize::MAX);
                match demand(&fields(&held)).and_then(|()| Changes::between(&held, &wanted, of_app)) {
                    Err(refusal) => Err(refusal),
                    Ok(changes) if changes.is_empty() => Ok(held),
                    Ok(changes) => {
                        let first = postgres::take_numbers(&mut tx, app, changes.added_count()).await?;
                        postgres::put_indexes(&mut tx, app, collection, &changes.into_indexes(first)).await?;
                        if let Some(row) = audit(&fields(&held), &wanted) {
                            data_audit::insert_postgres(&mut tx, &row).await?;
                        }
                        let now = postgres::indexes(&mut tx, app, collection).await?;
                        tx.commit().await?;
                        Ok(now)
                    }
                }
            }
        };
        self.bell.notify_one();
        Ok(set)
    }

    /// Has a collection have indexes of just these fields, as the API does, but untold.
    ///
    /// # Errors
    /// A store that fails, or more indexes than there may be.
    #[doc(hidden)]
    pub async fn declare_indexes(
        &self,
        app: AppId,
        collection: &CollectionName,
        fields: Vec<FieldPath>,
    ) -> Result<(), RepoError> {
        let audit = |_: &[FieldPath], _: &[FieldPath]| None;
        let set = self.set_indexes(app, collection, fields, Box::new(|_| Ok(())), Box::new(audit)).await?;
        set.map(|_| ()).map_err(|refusal| RepoError::Failed(refusal.into()))
    }

    /// The same, and builds and drops them.
    ///
    /// # Errors
    /// As [`Docs::declare_indexes`].
    #[doc(hidden)]
    pub async fn build_indexes(
        &self,
        app: AppId,
        collection: &CollectionName,
        fields: Vec<FieldPath>,
    ) -> Result<(), RepoError> {
        self.declare_indexes(app, collection, fields).await?;
        self.finish_indexes().await
    }

    /// The number, the field and the state of each index of a collection.
    ///
    /// # Errors
    /// A store that fails.
    #[doc(hidden)]
    pub async fn declared(
        &self,
        app: AppId,
        collection: &CollectionName,
    ) -> Result<Vec<(i64, String, &'static str)>, RepoError> {
        let told = |index: DocIndex| (index.number, index.field.to_string(), index.state.as_str());
        Ok(self.indexes(app, collection).await?.into_iter().map(told).collect())
    }

    /// Builds and drops indexes, for ever.
    pub(crate) async fn keep_indexing(self) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = self.bell.notified() => {}
            }
            if let Some(Err(error)) = survive("building indexes of documents", self.finish_indexes()).await {
                warn!(error = &error as &dyn std::error::Error, "indexes of documents stay unfinished for now");
            }
        }
    }

    /// Builds and drops what is to be.
    ///
    /// # Errors
    /// The last failure of an index that stays unfinished, once there is nothing else to do.
    pub async fn finish_indexes(&self) -> Result<(), RepoError> {
        loop {
            let (is_more, failure) = self.take_turns().await?;
            if !is_more {
                return failure.map_or(Ok(()), Err);
            }
        }
    }

    /// Does a piece of one unfinished index of each app: what fails, or is long, keeps no other app waiting. Whether there is more to do, and how the
    /// last one failed that did.
    ///
    /// # Errors
    /// A store that does not tell what is unfinished.
    #[doc(hidden)]
    pub async fn take_turns(&self) -> Result<(bool, Option<RepoError>), RepoError> {
        let (mut after, mut is_more, mut failure) = ((Uuid::nil(), 0), false, None);
        while let Some((app, collection, number)) = self.next_unfinished(after).await? {
            match self.work_on(app, &collection, number).await {
                // The app's next has its turn once this one is done: together they might find no room, where some of them would.
                Ok(true) => (is_more, after) = (true, (app.as_uuid(), i64::MAX)),
                Ok(false) => after = (app.as_uuid(), number),
                Err(error) => (failure, after) = (Some(error), (app.as_uuid(), number)),
            }
        }
        Ok((is_more, failure))
    }

    async fn next_unfinished(&self, after: (Uuid, i64)) -> Result<Option<Unfinished>, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => file.read_aside(move |conn| sqlite::next_unfinished(conn, after)).await,
            DataPlace::Postgres(data) => postgres::next_unfinished(&mut data.read().await?, after).await,
        }
    }

    /// Does a piece of the work on an index; whether there is more.
    async fn work_on(&self, app: AppId, collection: &CollectionName, number: i64) -> Result<bool, RepoError> {
        match self.store.data() {
            DataPlace::File(file) => {
                let (collection, quota) = (collection.clone(), self.quota);
                let work = move |conn: &DataConnection| work_in_file(conn, app, &collection, number, quota);
                file.write(work).await.map_err(WriteFailed::into_repo_error)
            }
            DataPlace::Postgres(data) => {
                let mut tx = data.begin().await?;
                let more = work_in_postgres(&mut tx, app, collection, number, self.quota).await?;
                tx.commit().await?;
                Ok(more)
            }
        }
    }

    /// Removes all of an app, in pieces.
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

/// The entries of a piece of an index that is being built.
struct Piece<'i> {
    index: &'i DocIndex,
    entries: Vec<Entry>,
    bytes: usize,
}

impl<'i> Piece<'i> {
    fn of(index: &'i DocIndex) -> Self {
        Self { index, entries: Vec::new(), bytes: 0 }
    }

    /// The documents that it is made of.
    fn scan(&self) -> Scan {
        Scan::Ids { after: self.index.built_to, end: Uuid::max() }
    }

    /// Adds a document; whether there is room for another.
    fn add(&mut self, document: &Document) -> bool {
        self.bytes += document.body.text().len();
        self.entries.push(entry_of(document, self.index));
        self.bytes < PIECE_BYTES
    }

    /// The index with this piece, and the entries to be added. Where they do not fit, all are to go: what there is room for is left to
    /// documents, which a script could not add any more.
    fn end(self, usage: DocUsage, quota: DocQuota) -> (DocIndex, Vec<Entry>) {
        let Some(last) = self.entries.last() else {
            return (DocIndex { state: IndexState::Ready, ..self.index.clone() }, Vec::new());
        };
        let delta = DocDelta { documents: 0, bytes: entry_bytes(&self.entries) };
        match admit(usage, delta, quota) {
            Ok(()) => (DocIndex { built_to: last.id, ..self.index.clone() }, self.entries),
            Err(_) => (DocIndex { state: IndexState::Clearing, ..self.index.clone() }, Vec::new()),
        }
    }
}

/// Does a piece of the work on an index; whether there is more.
fn work_in_file(
    conn: &DataConnection,
    app: AppId,
    collection: &CollectionName,
    number: i64,
    quota: DocQuota,
) -> Result<bool, RepoError> {
    let held = sqlite::indexes(conn, app, collection)?;
    let Some(index) = held.into_iter().find(|index| index.number == number) else { return Ok(false) };
    match index.state {
        IndexState::Ready | IndexState::NoRoom => Ok(false),
        IndexState::Building => {
            let mut piece = Piece::of(&index);
            let scan = piece.scan();
            sqlite::scan(conn, app, collection, &scan, false, PIECE, &mut |_, document| piece.add(&document))?;
            let (next, entries) = piece.end(sqlite::usage_of(conn, app)?, quota);
            sqlite::add_entries(conn, app, collection, &entries)?;
            let more = next.state != IndexState::Ready;
            sqlite::put_indexes(conn, app, collection, &[next])?;
            Ok(more)
        }
        IndexState::Dropping | IndexState::Clearing => {
            if sqlite::drop_entries(conn, app, collection, number)? {
                return Ok(true);
            }
            match index.state {
                IndexState::Clearing => {
                    sqlite::put_indexes(conn, app, collection, &[DocIndex { state: IndexState::NoRoom, ..index }])?;
                }
                _ => sqlite::remove_index(conn, app, collection, number)?,
            }
            Ok(false)
        }
    }
}

/// The same in PostgreSQL.
async fn work_in_postgres(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    number: i64,
    quota: DocQuota,
) -> Result<bool, RepoError> {
    let usage = postgres::lock(conn, app).await?;
    let held = postgres::indexes(conn, app, collection).await?;
    let Some(index) = held.into_iter().find(|index| index.number == number) else { return Ok(false) };
    match index.state {
        IndexState::Ready | IndexState::NoRoom => Ok(false),
        IndexState::Building => {
            let mut piece = Piece::of(&index);
            let scan = piece.scan();
            postgres::scan(conn, app, collection, &scan, false, PIECE, &mut |_, document| piece.add(&document)).await?;
            let (next, entries) = piece.end(usage, quota);
            postgres::add_entries(conn, app, collection, &entries).await?;
            let more = next.state != IndexState::Ready;
            postgres::put_indexes(conn, app, collection, &[next]).await?;
            Ok(more)
        }
        IndexState::Dropping | IndexState::Clearing => {
            if postgres::drop_entries(conn, app, collection, number).await? {
                return Ok(true);
            }
            match index.state {
                IndexState::Clearing => {
                    let cleared = DocIndex { state: IndexState::NoRoom, ..index };
                    postgres::put_indexes(conn, app, collection, &[cleared]).await?;
                }
                _ => postgres::remove_index(conn, app, collection, number).await?,
            }
            Ok(false)
        }
    }
}
