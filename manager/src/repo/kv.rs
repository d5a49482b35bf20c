//! Entries of the key-value store, and what they come to.
//!
//! The statements are the same for both databases where they can be; running them is not (`kv/sqlite.rs`, `kv/postgres.rs`).
//! SQLite binds by place, so that parameters come in the order of their numbers in each text.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::collections::BTreeMap;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;
use picloud_shared::kv::{KvEntry, KvKind, KvPage, KvQuery, KvUsage, KvValue, MAX_KEY_BYTES, PAGE_BYTES};
use picloud_shared::name::CollectionName;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::error::Cause;
use crate::repo::statement::statements;
use crate::store::data_db::{DataDb, params};

macro_rules! columns {
    () => {
        "key, kind, expires_at, updated_at, value"
    };
}

/// What is removed of an entry.
macro_rules! gone {
    () => {
        "collection, key, octet_length(key) + octet_length(value) AS bytes"
    };
}

/// Entries that one transaction removes, of those that nobody sees any more: writes of scripts wait for it.
const PIECE: u32 = 500;

/// Bytes after which such a transaction takes no more of them.
const PIECE_BYTES: i64 = 1024 * 1024;

statements! {
    FIND = concat!("SELECT ", columns!(), " FROM kv_entries WHERE app_id = $1 AND collection = $2 AND key = $3");
    PUT = concat!("INSERT INTO kv_entries (app_id, collection, ", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7) \
        ON CONFLICT (app_id, collection, key) DO UPDATE SET kind = excluded.kind, value = excluded.value, \
        expires_at = excluded.expires_at, updated_at = excluded.updated_at");
    DELETE = "DELETE FROM kv_entries WHERE app_id = $1 AND collection = $2 AND key = $3";
    // A round trip costs more than the rest of it, which is all that it costs on SQLite.
    DELETE_ALL_OF = "DELETE FROM kv_entries WHERE app_id = $1 AND collection = $2 AND key = $3",
        "DELETE FROM kv_entries WHERE app_id = $1 AND (collection, key) IN (SELECT * FROM UNNEST($2::text[], $3::text[]))";
    // On PostgreSQL the page ends by its bytes before values are sent; SQLite's rows are not read before they are asked for.
    LIST = concat!("SELECT ", columns!(), " FROM kv_entries WHERE app_id = $1 AND collection = $2 \
        AND key >= $3 AND key < $4 AND (expires_at IS NULL OR expires_at > $5) ORDER BY key LIMIT $6"),
        concat!("SELECT ", columns!(), ", total FROM (SELECT *, COUNT(*) OVER () AS total, ROW_NUMBER() OVER (ORDER BY key) AS place, \
        SUM(octet_length(key) + octet_length(value)) OVER (ORDER BY key) AS sum \
        FROM (SELECT * FROM kv_entries WHERE app_id = $1 AND collection = $2 AND key >= $3 AND key < $4 \
        AND (expires_at IS NULL OR expires_at > $5) ORDER BY key LIMIT $6) AS found) AS summed \
        WHERE sum <= $7 OR place = 1 ORDER BY key");
    // On PostgreSQL the row is locked, which is made where there is none.
    USAGE = "SELECT keys, bytes FROM kv_apps WHERE app_id = $1",
        "INSERT INTO kv_apps (app_id, keys, bytes) VALUES ($1, 0, 0) \
        ON CONFLICT (app_id) DO UPDATE SET keys = kv_apps.keys RETURNING keys, bytes";
    READ_USAGE = "SELECT keys, bytes FROM kv_apps WHERE app_id = $1";
    ADD_TO_APP = "INSERT INTO kv_apps (app_id, keys, bytes) VALUES ($1, $2, $3) ON CONFLICT (app_id) \
        DO UPDATE SET keys = kv_apps.keys + excluded.keys, bytes = kv_apps.bytes + excluded.bytes";
    ADD_TO_COLLECTION = "INSERT INTO kv_collections (app_id, collection, keys, bytes) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (app_id, collection) \
        DO UPDATE SET keys = kv_collections.keys + excluded.keys, bytes = kv_collections.bytes + excluded.bytes";
    DELETE_EMPTY = "DELETE FROM kv_collections WHERE app_id = $1 AND collection = $2 AND keys <= 0";
    COLLECTIONS = "SELECT collection, keys, bytes FROM kv_collections WHERE app_id = $1 AND collection > $2 \
        ORDER BY collection LIMIT $3";
    FIND_EXPIRED = "SELECT app_id FROM kv_entries WHERE expires_at <= $1 \
        AND app_id NOT IN (SELECT unhex(value) FROM json_each($2)) ORDER BY expires_at LIMIT 1",
        "SELECT app_id FROM kv_entries WHERE expires_at <= $1 AND app_id <> ALL ($2) ORDER BY expires_at LIMIT 1";
    EXPIRED = concat!("SELECT ", gone!(), " FROM kv_entries WHERE app_id = $1 AND expires_at <= $2 ORDER BY expires_at LIMIT $3");
    OF_APP = concat!("SELECT ", gone!(), " FROM kv_entries WHERE app_id = $1 ORDER BY collection, key LIMIT $2");
    PURGE_COLLECTIONS = "DELETE FROM kv_collections WHERE app_id = $1";
    PURGE_APP = "DELETE FROM kv_apps WHERE app_id = $1";
}

/// A collection of an app, with what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvCollection {
    /// Its name.
    pub name: CollectionName,
    /// What its entries come to.
    pub usage: KvUsage,
}

/// By how much what is held changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KvDelta {
    pub keys: i64,
    pub bytes: i64,
}

/// What is to be done to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KvEffect {
    Nothing,
    Put(KvEntry),
    Remove,
}

/// Entries of an app that are to go in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// The collection and the key of each, and what is counted of it.
    entries: Vec<(String, String, i64)>,
    bytes: i64,
}

impl Piece {
    /// Takes one more; whether there is room for others after it.
    fn push(&mut self, collection: String, key: String, bytes: i64) -> bool {
        self.entries.push((collection, key, bytes));
        self.bytes += bytes;
        self.bytes < PIECE_BYTES
    }

    /// The collection and the key of each.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(collection, key, _)| (collection.as_str(), key.as_str()))
    }

    /// Keeps the first ones.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.entries.truncate(length);
    }

    /// By how much what each collection holds changes.
    fn deltas(&self) -> BTreeMap<&str, KvDelta> {
        let mut deltas = BTreeMap::<_, KvDelta>::new();
        for (collection, _, bytes) in &self.entries {
            let delta = deltas.entry(collection.as_str()).or_default();
            (delta.keys, delta.bytes) = (delta.keys - 1, delta.bytes - bytes);
        }
        deltas
    }
}

/// An app of which entries have expired, other than those.
pub(crate) async fn find_expired<D: DataDb>(
    db: &mut D,
    now: Timestamp,
    others: &[Uuid],
) -> Result<Option<AppId>, RepoError> {
    let rows = db.fetch(&FIND_EXPIRED, params![now.as_millis(), others]).await?;
    let first = rows.into_iter().next();
    first.map(|mut row| row.take(0, "app_id").map(AppId::from_uuid)).transpose()
}

/// What is counted of an entry: its key and its value.
pub(crate) fn size(entry: &KvEntry) -> i64 {
    i64::try_from(entry.key.as_str().len() + entry.value.bytes().len()).unwrap_or(i64::MAX)
}

/// The columns of an entry.
type Row = (String, String, Option<i64>, i64, Vec<u8>);

fn entry((key, kind, expires_at, updated_at, value): Row) -> Result<KvEntry, RepoError> {
    let kind = match kind.as_str() {
        "json" => KvKind::Json,
        "blob" => KvKind::Blob,
        other => return Err(corrupt("kind", format!("there is no kind {other}").into())),
    };
    Ok(KvEntry {
        key: key.parse().map_err(|error: picloud_shared::kv::InvalidKey| corrupt("key", error.into()))?,
        value: KvValue::new(kind, value).map_err(|error| corrupt("value", error.into()))?,
        expires_at: expires_at.map(Timestamp::from_millis),
        updated_at: Timestamp::from_millis(updated_at),
    })
}

fn collection_name(text: &str) -> Result<CollectionName, RepoError> {
    text.parse().map_err(|error: picloud_shared::name::InvalidCollectionName| corrupt("collection", error.into()))
}

fn usage(keys: i64, bytes: i64) -> KvUsage {
    KvUsage { keys: u64::try_from(keys).unwrap_or(0), bytes: u64::try_from(bytes).unwrap_or(0) }
}

fn corrupt(column: &str, source: Cause) -> RepoError {
    RepoError::Corrupt { column: column.to_owned(), source }
}

fn kind(value: &KvValue) -> &'static str {
    match value.kind() {
        KvKind::Json => "json",
        KvKind::Blob => "blob",
    }
}

/// The keys that a query means: from the first text to before the second.
fn bounds(query: &KvQuery) -> (String, String) {
    // No key has NUL, so that this is the least that comes after the cursor.
    let after = query.after.as_ref().map(|after| format!("{}\u{1}", after.as_str()));
    let from = after.filter(|after| *after > query.prefix).unwrap_or_else(|| query.prefix.clone());
    (from, end_of_prefix(&query.prefix))
}

/// The least text after all keys that begin so.
fn end_of_prefix(prefix: &str) -> String {
    let mut rest = prefix.chars();
    while let Some(last) = rest.next_back() {
        // Surrogates are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            return format!("{}{next}", rest.as_str());
        }
    }
    // More bytes than a key has, of the greatest character.
    "\u{10ffff}".repeat(MAX_KEY_BYTES / 4 + 1)
}

/// Gathers rows into a page until it is full.
struct Gathering {
    page: KvPage,
    bytes: usize,
    limit: usize,
}

impl Gathering {
    fn new(query: &KvQuery) -> Self {
        Self { page: KvPage::default(), bytes: 0, limit: query.limit as usize }
    }

    /// Whether there was room for another entry; otherwise the page ends before it.
    fn push(&mut self, entry: KvEntry) -> bool {
        let bytes = self.bytes + entry.key.as_str().len() + entry.value.bytes().len();
        let count = self.page.entries.len();
        if count >= self.limit || (count > 0 && bytes > PAGE_BYTES) {
            self.end_here();
            return false;
        }
        self.bytes = bytes;
        self.page.entries.push(entry);
        true
    }

    /// Says that there are more.
    fn end_here(&mut self) {
        self.page.next = self.page.entries.last().map(|entry| entry.key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(prefix: &str, after: Option<&str>) -> KvQuery {
        let collection = "default".parse().unwrap();
        KvQuery { collection, prefix: prefix.to_owned(), after: after.map(|key| key.parse().unwrap()), limit: 1 }
    }

    #[test]
    fn a_piece_ends_with_what_fills_it_and_knows_what_each_collection_loses() {
        let mut piece = Piece::default();
        assert!(piece.push("a".to_owned(), "1".to_owned(), PIECE_BYTES / 2));
        assert!(piece.push("b".to_owned(), "1".to_owned(), 7));
        assert!(!piece.push("a".to_owned(), "2".to_owned(), PIECE_BYTES / 2));
        let lost = |name: &str| piece.deltas()[name];
        assert_eq!(lost("a"), KvDelta { keys: -2, bytes: -PIECE_BYTES });
        assert_eq!((lost("b"), piece.entries.len()), (KvDelta { keys: -1, bytes: -7 }, 3));
        piece.truncate(1);
        assert_eq!(piece.deltas(), BTreeMap::from([("a", KvDelta { keys: -1, bytes: -PIECE_BYTES / 2 })]));
    }

    #[test]
    fn bounds_take_in_what_begins_so_and_comes_after() {
        let keys = ["a", "a/", "a/\u{1}", "a/b", "a/\u{d7ff}", "a/\u{e000}", "a/\u{10ffff}x", "a0", "b", "\u{10ffff}"];
        for prefix in ["", "a", "a/", "a/\u{d7ff}", "a/\u{10ffff}", "\u{10ffff}", "c"] {
            for after in [None, Some("a"), Some("a/"), Some("a/b"), Some("b"), Some("\u{10ffff}")] {
                let (from, to) = bounds(&query(prefix, after));
                for key in keys {
                    let meant = key.starts_with(prefix) && after.is_none_or(|after| key > after);
                    assert_eq!(from.as_str() <= key && key < to.as_str(), meant, "{prefix:?} {after:?} {key:?}");
                }
            }
        }
    }
}
