//! What becomes of a document and its places in the indexes, and what is refused: the rules, without a database.

use picloud_shared::clock::Timestamp;
use picloud_shared::docs::{DocUsage, DocWrite, Document, DocumentBody, InvalidDocument};
use picloud_shared::id::DocumentId;

use crate::events::EventRefusal;
use crate::repo::docs::{DocDelta, DocEffect, DocIndex, Entry, Held, IndexState, size};

/// How much one app may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocQuota {
    /// Documents.
    pub documents: u64,
    /// Bytes of documents and of their entries in indexes.
    pub bytes: u64,
}

impl Default for DocQuota {
    fn default() -> Self {
        Self { documents: 100_000, bytes: 256 * 1024 * 1024 }
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocRefusal {
    /// It would be one document too many.
    #[error("the app holds as many documents as it may: {most}")]
    TooManyDocuments {
        /// As many as there may be.
        most: u64,
    },
    /// It would be too many bytes.
    #[error("the app's documents and indexes hold as many bytes as they may: {most}")]
    TooManyBytes {
        /// As many as there may be.
        most: u64,
    },
    /// What it would become is no document.
    #[error(transparent)]
    Invalid(#[from] InvalidDocument),
    /// It is not as who changes it saw it.
    #[error("the document is not what it was")]
    PreconditionFailed,
    /// There is nothing to change, which who asks wants to know.
    #[error("there is no such document")]
    NotFound,
    /// There is no room for the events that it makes.
    #[error(transparent)]
    Events(#[from] EventRefusal),
}

impl DocRefusal {
    /// The code that scripts see.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::TooManyDocuments { .. } | Self::TooManyBytes { .. } => "quota_exceeded",
            Self::Invalid(_) => "invalid",
            Self::PreconditionFailed => "precondition_failed",
            Self::NotFound => "not_found",
            Self::Events(_) => EventRefusal::CODE,
        }
    }
}

/// Decides on a write of the document of that id; nothing is to be done where it is not there and would have to be.
pub(crate) fn decide(
    id: DocumentId,
    write: &DocWrite,
    held: Option<&Held>,
    indexes: &[DocIndex],
    usage: DocUsage,
    quota: DocQuota,
    now: Timestamp,
) -> Result<Option<DocEffect>, DocRefusal> {
    let stored = held.map(|held| &held.document);
    let become_body = |body: DocumentBody| Some(Document { id, body, updated_at: now });
    let document = match (write, stored) {
        (DocWrite::Put(body), _) | (DocWrite::Replace(body), Some(_)) => become_body(body.clone()),
        (DocWrite::Patch(patch), Some(stored)) => become_body(stored.body.patched(patch, id)?),
        (DocWrite::Delete, Some(_)) => None,
        (DocWrite::Replace(_) | DocWrite::Patch(_) | DocWrite::Delete, None) => return Ok(None),
    };
    let known = held.and_then(|held| held.entries.clone());
    let (mut removed, mut added) =
        (known.unwrap_or_else(|| entries(stored, indexes)), entries(document.as_ref(), indexes));
    // Most changes leave most entries where they are.
    let stays: Vec<Entry> = removed.iter().filter(|entry| added.contains(entry)).cloned().collect();
    removed.retain(|entry| !stays.contains(entry));
    added.retain(|entry| !stays.contains(entry));
    let bytes = |entries: &[Entry]| entries.iter().map(Entry::bytes).sum::<i64>();
    let count = |document: Option<&Document>| i64::from(document.is_some());
    let delta = DocDelta {
        documents: count(document.as_ref()) - count(stored),
        bytes: document.as_ref().map_or(0, size) - stored.map_or(0, size) + bytes(&added) - bytes(&removed),
    };
    admit(usage, delta, quota)?;
    Ok(Some(DocEffect { document, removed, added, delta }))
}

/// The entries that a document has: one in each index that has come to it, unless it goes. Those of indexes that go are removed with these,
/// and those that are still to be built are made then.
fn entries(document: Option<&Document>, indexes: &[DocIndex]) -> Vec<Entry> {
    let entry = |index: &DocIndex| document.filter(|document| index.covers(document)).map(|d| entry_of(d, index));
    indexes.iter().filter_map(entry).collect()
}

impl DocIndex {
    fn covers(&self, document: &Document) -> bool {
        match self.state {
            IndexState::Ready => true,
            IndexState::Building => document.id.as_uuid() <= self.built_to,
            IndexState::Dropping | IndexState::Clearing | IndexState::NoRoom => false,
        }
    }
}

/// Where a document is in an index.
pub(super) fn entry_of(document: &Document, index: &DocIndex) -> Entry {
    Entry { number: index.number, key: document.sort_key(&index.field), id: document.id.as_uuid() }
}

/// What grows must fit; what shrinks may, however much there is.
pub(super) fn admit(usage: DocUsage, delta: DocDelta, quota: DocQuota) -> Result<(), DocRefusal> {
    let over = |held: u64, more: i64, most: u64| more > 0 && held.saturating_add_signed(more) > most;
    if over(usage.documents, delta.documents, quota.documents) {
        return Err(DocRefusal::TooManyDocuments { most: quota.documents });
    }
    if over(usage.bytes, delta.bytes, quota.bytes) {
        return Err(DocRefusal::TooManyBytes { most: quota.bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn id() -> DocumentId {
        DocumentId::from_uuid(Uuid::from_u128(7))
    }

    fn body(value: &serde_json::Value) -> DocumentBody {
        DocumentBody::new(value.as_object().unwrap().clone(), id()).unwrap()
    }

    fn index(number: i64, field: &str, state: IndexState) -> DocIndex {
        DocIndex { number, field: field.parse().unwrap(), state, built_to: Uuid::nil() }
    }

    fn decided(write: &DocWrite, stored: Option<&Document>, bytes: u64) -> Result<Option<DocEffect>, DocRefusal> {
        let indexes = [
            index(1, "a", IndexState::Ready),
            DocIndex { built_to: id().as_uuid(), ..index(2, "b", IndexState::Building) },
            index(3, "c", IndexState::Dropping),
            // What has not come to the document yet, and what never will.
            DocIndex { built_to: Uuid::from_u128(6), ..index(4, "a", IndexState::Building) },
            index(5, "a", IndexState::Clearing),
            index(6, "a", IndexState::NoRoom),
        ];
        let usage = DocUsage { documents: u64::from(stored.is_some()), bytes: 0 };
        let held = stored.cloned().map(Held::from);
        decide(id(), write, held.as_ref(), &indexes, usage, DocQuota { documents: 1, bytes }, Timestamp::from_millis(1))
    }

    #[test]
    fn a_write_moves_only_the_entries_whose_values_changed_and_counts_them() {
        let put = |value| DocWrite::Put(body(&value));
        let made = decided(&put(json!({ "a": 1, "b": 2, "c": 3 })), None, 1_000).unwrap().unwrap();
        assert_eq!((made.added.len(), made.removed.len()), (2, 0), "only indexes that have come to it");
        // 19 bytes of text, 17 of each number, and the rows.
        assert_eq!(made.delta, DocDelta { documents: 1, bytes: 64 + 19 + 2 * (64 + 17) });
        let stored = made.document.unwrap();
        let changed = decided(&put(json!({ "a": 1, "b": "x", "c": 3 })), Some(&stored), 1_000).unwrap().unwrap();
        assert_eq!((changed.added.len(), changed.removed.len()), (1, 1));
        assert_eq!(changed.delta, DocDelta { documents: 0, bytes: 2 - 15 });
        let gone = decided(&DocWrite::Delete, Some(&stored), 0).unwrap().unwrap();
        assert_eq!((gone.document, gone.removed.len(), gone.delta.bytes), (None, 2, -made.delta.bytes));
    }

    #[test]
    fn what_grows_must_fit_and_what_is_not_there_is_not_changed() {
        let put = DocWrite::Put(body(&json!({ "a": 1 })));
        assert_eq!(decided(&put, None, 100), Err(DocRefusal::TooManyBytes { most: 100 }));
        for write in [DocWrite::Delete, DocWrite::Patch(serde_json::Map::new()), DocWrite::Replace(body(&json!({})))] {
            assert_eq!(decided(&write, None, 1_000), Ok(None));
        }
        let full = DocUsage { documents: 1, bytes: 0 };
        let quota = DocQuota { documents: 1, bytes: 1_000 };
        let refused = decide(id(), &put, None, &[], full, quota, Timestamp::from_millis(1));
        assert_eq!(refused, Err(DocRefusal::TooManyDocuments { most: 1 }));
    }
}
