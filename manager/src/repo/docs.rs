//! Documents, the indexes of their collections, and what they come to.
//!
//! The statements are the same for both databases where they can be; running them is not (`docs/sqlite.rs`, `docs/postgres.rs`).
//! SQLite binds by place, so that parameters come in the order of their numbers in each text.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use picloud_shared::clock::Timestamp;
use picloud_shared::docs::{DocUsage, DocWrite, Document, DocumentBody, FieldPath, KeyRange, SortKey};
use picloud_shared::id::{AppId, DocumentId};
use picloud_shared::name::CollectionName;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::error::Cause;
use crate::repo::statement::statements;

/// Documents or entries that one transaction goes through, which writes of scripts wait for.
pub(crate) const PIECE: u32 = 500;

/// Bytes of documents after which a piece, or what is read at once, takes no more of them.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

/// Bytes that a document takes beside its text, and an entry of an index beside its value: their other columns.
const ROW_BYTES: usize = 64;

macro_rules! documents {
    ($columns:literal, $from:literal, $order:literal) => {
        concat!("SELECT ", $columns, " FROM ", $from, " ORDER BY ", $order, " LIMIT ")
    };
}

/// On PostgreSQL what is read at once ends by its bytes before documents are sent; SQLite's rows are not read before they are asked for.
macro_rules! within_bytes {
    ($columns:literal, $from:literal, $order:literal, $limit:literal, $bytes:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM (SELECT *, SUM(octet_length(body)) OVER (ORDER BY ",
            $order,
            ") AS sum, \
            ROW_NUMBER() OVER (ORDER BY ",
            $order,
            ") AS place FROM (",
            documents!($columns, $from, $order),
            $limit,
            ") AS found) AS summed WHERE sum <= ",
            $bytes,
            " OR place = 1 ORDER BY ",
            $order
        )
    };
}

statements! {
    FIND = "SELECT id, updated_at, body FROM docs_documents WHERE app_id = $1 AND collection = $2 AND id = $3";
    // Looks through the indexes: what is damaged does not tell where its entries are.
    ENTRIES_OF = "SELECT number, value FROM docs_entries WHERE app_id = $1 AND number IN \
        (SELECT number FROM docs_indexes WHERE app_id = $1 AND collection = $2) AND id = $3";
    PUT = "INSERT INTO docs_documents (app_id, collection, id, updated_at, body) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (app_id, collection, id) DO UPDATE SET updated_at = excluded.updated_at, body = excluded.body";
    DELETE = "DELETE FROM docs_documents WHERE app_id = $1 AND collection = $2 AND id = $3";
    UP = concat!(documents!("id, updated_at, body",
        "docs_documents WHERE app_id = $1 AND collection = $2 AND id > $3 AND id < $4", "id"), "$5"),
        within_bytes!("id, updated_at, body",
        "docs_documents WHERE app_id = $1 AND collection = $2 AND id > $3 AND id < $4", "id", "$5", "$6");
    DOWN = concat!(documents!("id, updated_at, body",
        "docs_documents WHERE app_id = $1 AND collection = $2 AND id < $3 AND id > $4", "id DESC"), "$5"),
        within_bytes!("id, updated_at, body",
        "docs_documents WHERE app_id = $1 AND collection = $2 AND id < $3 AND id > $4", "id DESC", "$5", "$6");
    // SQLite takes a CROSS JOIN in the order in which it is written.
    INDEX_UP = concat!(documents!("value, id, updated_at, body",
        "docs_entries CROSS JOIN docs_documents USING (app_id, id) WHERE app_id = $1 AND number = $2 \
        AND (value, id) > ($3, $4) AND value < $5 AND collection = $6", "value, id"), "$7"),
        within_bytes!("value, id, updated_at, body",
        "docs_entries JOIN docs_documents USING (app_id, id) WHERE app_id = $1 AND number = $2 \
        AND (value, id) > ($3, $4) AND value < $5 AND collection = $6", "value, id", "$7", "$8");
    INDEX_DOWN = concat!(documents!("value, id, updated_at, body",
        "docs_entries CROSS JOIN docs_documents USING (app_id, id) WHERE app_id = $1 AND number = $2 \
        AND (value, id) < ($3, $4) AND value >= $5 AND collection = $6", "value DESC, id DESC"), "$7"),
        within_bytes!("value, id, updated_at, body",
        "docs_entries JOIN docs_documents USING (app_id, id) WHERE app_id = $1 AND number = $2 \
        AND (value, id) < ($3, $4) AND value >= $5 AND collection = $6", "value DESC, id DESC", "$7", "$8");
    COUNT_ENTRIES = "SELECT COUNT(*) FROM (SELECT id FROM docs_entries WHERE app_id = $1 AND number = $2 AND value >= $3 \
        AND value < $4 LIMIT $5) AS counted";
    COUNT_BETWEEN = "SELECT COUNT(*) FROM (SELECT id FROM docs_documents WHERE app_id = $1 AND collection = $2 AND id > $3 \
        AND id < $4 LIMIT $5) AS counted";
    COUNT_DOCUMENTS = "SELECT documents FROM docs_collections WHERE app_id = $1 AND collection = $2";
    INDEXES = "SELECT number, field, state, built_to FROM docs_indexes WHERE app_id = $1 AND collection = $2 ORDER BY number";
    COUNT_INDEXES = "SELECT COUNT(*) FROM docs_indexes WHERE app_id = $1";
    // Gives the number after these many: each is an index's once.
    TAKE_NUMBERS = "INSERT INTO docs_apps (app_id, documents, bytes, next_index) VALUES ($1, 0, 0, $2) ON CONFLICT (app_id) \
        DO UPDATE SET next_index = docs_apps.next_index + excluded.next_index - 1 RETURNING next_index";
    PUT_INDEX = "INSERT INTO docs_indexes (app_id, collection, number, field, state, built_to) VALUES ($1, $2, $3, $4, $5, $6) \
        ON CONFLICT (app_id, collection, number) DO UPDATE SET state = excluded.state, built_to = excluded.built_to";
    REMOVE_INDEX = "DELETE FROM docs_indexes WHERE app_id = $1 AND collection = $2 AND number = $3";
    UNFINISHED = "SELECT app_id, collection, number FROM docs_indexes WHERE state NOT IN ('ready', 'no_room') \
        AND (app_id, number) > ($1, $2) ORDER BY app_id, number LIMIT 1";
    // On PostgreSQL all at once: each round trip there holds up the app's other writes.
    ADD_ENTRIES = "INSERT INTO docs_entries (app_id, number, value, id) VALUES ($1, $2, $3, $4)",
        "INSERT INTO docs_entries (app_id, number, value, id) SELECT $1, number, value, id \
        FROM UNNEST($2::BIGINT[], $3::BYTEA[], $4::UUID[]) AS added (number, value, id)";
    REMOVE_ENTRIES = "DELETE FROM docs_entries WHERE app_id = $1 AND number = $2 AND value = $3 AND id = $4",
        "DELETE FROM docs_entries USING UNNEST($2::BIGINT[], $3::BYTEA[], $4::UUID[]) AS removed (number, value, id) \
        WHERE docs_entries.app_id = $1 AND docs_entries.number = removed.number AND docs_entries.value = removed.value \
        AND docs_entries.id = removed.id";
    // A piece of an index.
    DROP_ENTRIES = "DELETE FROM docs_entries WHERE app_id = $1 AND number = $2 AND (value, id) IN \
        (SELECT value, id FROM docs_entries WHERE app_id = $1 AND number = $2 ORDER BY value, id LIMIT $3) RETURNING octet_length(value)",
        "DELETE FROM docs_entries USING (SELECT value, id FROM docs_entries WHERE app_id = $1 AND number = $2 ORDER BY value, id LIMIT $3) \
        AS piece WHERE docs_entries.app_id = $1 AND docs_entries.number = $2 AND docs_entries.value = piece.value \
        AND docs_entries.id = piece.id RETURNING octet_length(docs_entries.value)";
    FIRST_NUMBER = "SELECT number FROM docs_entries WHERE app_id = $1 ORDER BY number LIMIT 1";
    OF_APP = "SELECT collection, id, octet_length(body) FROM docs_documents WHERE app_id = $1 ORDER BY collection, id LIMIT $2";
    PURGE_DOCUMENTS = "DELETE FROM docs_documents WHERE app_id = $1 AND (collection, id) <= ($2, $3)";
    // On PostgreSQL the row is locked, which is made where there is none.
    USAGE = "SELECT documents, bytes FROM docs_apps WHERE app_id = $1",
        "INSERT INTO docs_apps (app_id, documents, bytes) VALUES ($1, 0, 0) \
        ON CONFLICT (app_id) DO UPDATE SET documents = docs_apps.documents RETURNING documents, bytes";
    READ_USAGE = "SELECT documents, bytes FROM docs_apps WHERE app_id = $1";
    ADD_TO_APP = "INSERT INTO docs_apps (app_id, documents, bytes) VALUES ($1, $2, $3) ON CONFLICT (app_id) \
        DO UPDATE SET documents = docs_apps.documents + excluded.documents, bytes = docs_apps.bytes + excluded.bytes";
    ADD_TO_COLLECTION = "INSERT INTO docs_collections (app_id, collection, documents, bytes) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (app_id, collection) DO UPDATE SET documents = docs_collections.documents + excluded.documents, \
        bytes = docs_collections.bytes + excluded.bytes";
    DELETE_EMPTY = "DELETE FROM docs_collections WHERE app_id = $1 AND collection = $2 AND documents <= 0 AND NOT EXISTS \
        (SELECT 1 FROM docs_indexes WHERE docs_indexes.app_id = docs_collections.app_id AND docs_indexes.collection = docs_collections.collection)";
    COLLECTIONS = "SELECT collection, documents, bytes FROM docs_collections WHERE app_id = $1 AND collection > $2 \
        ORDER BY collection LIMIT $3";
    PURGE_INDEXES = "DELETE FROM docs_indexes WHERE app_id = $1";
    PURGE_COLLECTIONS = "DELETE FROM docs_collections WHERE app_id = $1 AND collection IN \
        (SELECT collection FROM docs_collections WHERE app_id = $1 ORDER BY collection LIMIT $2)";
    PURGE_APP = "DELETE FROM docs_apps WHERE app_id = $1";
}

/// A collection of an app, with what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocCollection {
    /// Its name.
    pub name: CollectionName,
    /// What its documents come to.
    pub usage: DocUsage,
}

/// What can be done with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// Writes keep up what is built of it; no search uses it.
    Building,
    /// Writes keep it up, and searches use it.
    Ready,
    /// It is removed, piece by piece.
    Dropping,
    /// Its entries are removed, since the app has no room for them.
    Clearing,
    /// It has no entries, and stands there to tell why.
    NoRoom,
}

impl IndexState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Dropping => "dropping",
            Self::Clearing => "clearing",
            Self::NoRoom => "no_room",
        }
    }
}

/// An index of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocIndex {
    pub number: i64,
    pub field: FieldPath,
    pub state: IndexState,
    /// The last document that building came to.
    pub built_to: Uuid,
}

/// By how much what is held changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DocDelta {
    pub documents: i64,
    pub bytes: i64,
}

/// An entry of an index: that the document of that id has a value of that key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub number: i64,
    pub key: SortKey,
    pub id: Uuid,
}

impl Entry {
    /// What is counted of it.
    pub(crate) fn bytes(&self) -> i64 {
        (ROW_BYTES + self.key.as_bytes().len()) as i64
    }
}

/// A document that is there, about to be written over or removed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// Without fields where it is damaged.
    pub document: Document,
    /// Its entries where it is damaged, so that they cannot be told from its fields.
    pub entries: Option<Vec<Entry>>,
}

impl From<Document> for Held {
    fn from(document: Document) -> Self {
        Self { document, entries: None }
    }
}

impl Held {
    fn damaged((id, updated_at, body): Row, entries: impl Iterator<Item = (i64, Vec<u8>)>) -> Self {
        let entry = |(number, key)| Entry { number, key: SortKey::stored(key), id };
        let (id, updated_at) = (DocumentId::from_uuid(id), Timestamp::from_millis(updated_at));
        let document = Document { id, body: DocumentBody::unread(body), updated_at };
        Self { document, entries: Some(entries.map(entry).collect()) }
    }
}

/// What is to be done to a document and its entries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DocEffect {
    /// The document as it is to be; nothing where it goes.
    pub document: Option<Document>,
    /// Entries that go.
    pub removed: Vec<Entry>,
    /// Entries that come.
    pub added: Vec<Entry>,
    pub delta: DocDelta,
}

/// What is handed each document that is read, with the key by which it was; whether there should be another.
pub(crate) type Each<'e> = &'e mut (dyn FnMut(SortKey, Document) -> bool + Send);

/// What is read of a collection, in one direction or the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scan {
    /// By ids, after one and before another, which on the way down is the lesser.
    Ids { after: Uuid, end: Uuid },
    /// By an index, after that place and up to an end: the first key that is not meant, or the last one that is on the way down.
    Index { number: i64, after: (SortKey, Uuid), end: SortKey },
}

/// What is counted of a document.
pub(crate) fn size(document: &Document) -> i64 {
    (ROW_BYTES + document.body.text().len()) as i64
}

type Row = (Uuid, i64, String);

fn document((id, updated_at, body): Row) -> Result<Document, RepoError> {
    Ok(Document {
        id: DocumentId::from_uuid(id),
        body: DocumentBody::stored(body).map_err(|error| corrupt("body", error.into()))?,
        updated_at: Timestamp::from_millis(updated_at),
    })
}

fn index(number: i64, field: &str, state: &str, built_to: Uuid) -> Result<DocIndex, RepoError> {
    let state = match state {
        "building" => IndexState::Building,
        "ready" => IndexState::Ready,
        "dropping" => IndexState::Dropping,
        "clearing" => IndexState::Clearing,
        "no_room" => IndexState::NoRoom,
        other => return Err(corrupt("state", format!("there is no state {other}").into())),
    };
    let field = field.parse().map_err(|error: picloud_shared::docs::InvalidField| corrupt("field", error.into()))?;
    Ok(DocIndex { number, field, state, built_to })
}

fn collection_name(text: &str) -> Result<CollectionName, RepoError> {
    text.parse().map_err(|error: picloud_shared::name::InvalidCollectionName| corrupt("collection", error.into()))
}

fn usage(documents: i64, bytes: i64) -> DocUsage {
    DocUsage { documents: u64::try_from(documents).unwrap_or(0), bytes: u64::try_from(bytes).unwrap_or(0) }
}

fn corrupt(column: &str, source: Cause) -> RepoError {
    RepoError::Corrupt { column: column.to_owned(), source }
}

/// What is counted of entries.
pub(crate) fn entry_bytes(entries: &[Entry]) -> i64 {
    entries.iter().map(Entry::bytes).sum()
}

/// What it comes to that entries go whose values are of these lengths.
fn dropped(lengths: impl Iterator<Item = i64>) -> DocDelta {
    DocDelta { documents: 0, bytes: -lengths.map(|length| length + ROW_BYTES as i64).sum::<i64>() }
}

/// An unfinished index: of which app and collection, and its number.
pub(crate) type Unfinished = (AppId, CollectionName, i64);

/// How many of these, by their bytes, one transaction takes.
fn within_piece(all: impl Iterator<Item = i64>) -> usize {
    let most = PIECE_BYTES as i64;
    let before = all.scan(0, |sum, bytes| {
        let before = *sum;
        *sum += bytes;
        Some(before)
    });
    before.take_while(|before| *before < most).count()
}
