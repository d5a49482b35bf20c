//! The vocabulary of the document store: documents, fields, filters, orders, and what can be done to a document. It knows neither
//! where they are kept nor what scripts make of them.

mod field_path;
mod filter;
mod sort_key;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::id::DocumentId;
use crate::name::CollectionName;

pub use field_path::{FieldPath, InvalidField};
pub use filter::{Condition, Filter, InvalidFilter, MAX_CONDITIONS, Operator};
pub use sort_key::{KeyRange, MAX_SORT_KEY_BYTES, SortKey};

/// Bytes of the longest document as JSON text.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// Values that a document holds at most, those within arrays and maps among them: what is read of it takes some 100 bytes for each.
pub const MAX_NODES: usize = 10_000;
/// How deep a value lies within a document at most: its fields are 1 deep.
pub const MAX_DEPTH: usize = 64;
/// Bytes of the longest path of a field.
pub const MAX_FIELD_BYTES: usize = 256;
/// Indexes that a collection may have.
pub const MAX_INDEXES: usize = 16;
/// Documents that a page has where nobody says how many.
pub const DEFAULT_PAGE: u32 = 50;
/// Documents that a page has at most.
pub const MAX_PAGE: u32 = 200;
/// A page ends before its documents come to more bytes than these, unless it is by its first.
pub const PAGE_BYTES: usize = 192 * 1024;
/// Documents that one way of a search looks at, at most.
pub const MAX_SCANNED: u32 = 10_000;
/// Bytes of documents that one way of a search looks at, at most.
pub const MAX_SCANNED_BYTES: usize = 32 * 1024 * 1024;
/// The field that each document has by itself.
pub const ID_FIELD: &str = "id";

/// Why a value is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// It is not a map.
    #[error("a document is a map")]
    NotAMap,
    /// It is too long.
    #[error("a document has at most {MAX_DOCUMENT_BYTES} bytes as JSON")]
    TooLong,
    /// It holds too many values.
    #[error("a document holds at most {MAX_NODES} values, those within arrays and maps among them")]
    TooMany,
    /// It nests too deep.
    #[error("a document nests at most {MAX_DEPTH} deep")]
    TooDeep,
    /// It says which id it has, and is to have another.
    #[error("the field id is the document's own and is given by the store")]
    OtherId,
}

/// The fields of a document, without its id, as they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentBody {
    fields: Map<String, Value>,
    text: String,
}

impl DocumentBody {
    /// The body of the document of that id. A field `id` with that very id is left out: who read a document can write it again.
    ///
    /// # Errors
    /// See [`InvalidDocument`].
    pub fn new(mut fields: Map<String, Value>, id: DocumentId) -> Result<Self, InvalidDocument> {
        if let Some(given) = fields.remove(ID_FIELD)
            && given.as_str() != Some(&id.to_string())
        {
            return Err(InvalidDocument::OtherId);
        }
        Self::of_fields(fields)
    }

    fn of_fields(mut fields: Map<String, Value>) -> Result<Self, InvalidDocument> {
        let mut left = MAX_NODES;
        fields.values().try_for_each(|value| bound(value, MAX_DEPTH, &mut left))?;
        fields.values_mut().for_each(crate::kv::round_large_integers);
        let text = serde_json::to_string(&fields).map_err(|_| InvalidDocument::NotAMap)?;
        if text.len() > MAX_DOCUMENT_BYTES { Err(InvalidDocument::TooLong) } else { Ok(Self { fields, text }) }
    }

    /// What the store holds.
    ///
    /// # Errors
    /// A text that is not the JSON of a document.
    pub fn stored(text: String) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(&text);
        json.disable_recursion_limit();
        let fields = Map::deserialize(&mut json)?;
        Ok(Self { fields, text })
    }

    /// What the store holds where it cannot be read: a body without fields.
    pub fn unread(text: String) -> Self {
        Self { fields: Map::new(), text }
    }

    /// The same with a patch applied (RFC 7396): what is null is removed, maps are merged, all else is replaced.
    ///
    /// # Errors
    /// See [`InvalidDocument`].
    pub fn patched(&self, patch: &Map<String, Value>, id: DocumentId) -> Result<Self, InvalidDocument> {
        let mut fields = self.fields.clone();
        if let Some(given) = patch.get(ID_FIELD)
            && given.as_str() != Some(&id.to_string())
        {
            return Err(InvalidDocument::OtherId);
        }
        merge(&mut fields, patch);
        fields.remove(ID_FIELD);
        Self::of_fields(fields)
    }

    /// Its fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Its JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its JSON text alone.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Whether a value nests within `depth` maps and arrays, and holds no more values than are left. It recurses as deep as it may nest.
fn bound(value: &Value, depth: usize, left: &mut usize) -> Result<(), InvalidDocument> {
    let depth = depth.checked_sub(1).ok_or(InvalidDocument::TooDeep)?;
    *left = left.checked_sub(1).ok_or(InvalidDocument::TooMany)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| bound(item, depth, left)),
        Value::Object(members) => members.values().try_for_each(|member| bound(member, depth, left)),
        _ => Ok(()),
    }
}

/// Merges a patch. It recurses as deep as the patch nests, which whoever read it has bounded.
fn merge(fields: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(fields.remove(name)),
            Value::Object(patch) => {
                let mut within = match fields.remove(name) {
                    Some(Value::Object(within)) => within,
                    _ => Map::new(),
                };
                merge(&mut within, patch);
                fields.insert(name.clone(), Value::Object(within));
            }
            value => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Its fields.
    pub body: DocumentBody,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl Document {
    /// The value of one of its fields, the id among them.
    pub fn field(&self, path: &FieldPath) -> Option<std::borrow::Cow<'_, Value>> {
        use std::borrow::Cow;
        if path.is_id() {
            return Some(Cow::Owned(self.id.to_string().into()));
        }
        path.of(self.body.fields()).map(Cow::Borrowed)
    }

    /// Where it stands in the order of a field.
    pub fn sort_key(&self, path: &FieldPath) -> SortKey {
        SortKey::of(self.field(path).as_deref())
    }
}

/// Where a document is within its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocPlace {
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub id: DocumentId,
}

/// What is to be done to a document.
#[derive(Debug, Clone, PartialEq)]
pub enum DocWrite {
    /// It becomes this, whether it is there or not.
    Put(DocumentBody),
    /// It becomes this, if it is there.
    Replace(DocumentBody),
    /// It is patched, if it is there.
    Patch(Map<String, Value>),
    /// It goes.
    Delete,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq)]
pub enum DocWritten {
    /// The document as it is now.
    Is(Document),
    /// It was deleted.
    Deleted,
    /// There was none, and nothing was done.
    Missing,
}

/// In which order documents are found. Of several that are equal the ids decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sort {
    /// By which field; by the id alone where there is none.
    pub field: Option<FieldPath>,
    /// Whether the last comes first.
    pub descending: bool,
}

impl FromStr for Sort {
    type Err = InvalidField;

    /// A field, with `-` before it for the other way round.
    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let (descending, field) = match text.strip_prefix('-') {
            Some(field) => (true, field),
            None => (false, text),
        };
        let field: FieldPath = field.parse()?;
        Ok(Self { field: Some(field).filter(|field| !field.is_id()), descending })
    }
}

/// A place in an order of documents: a sort key and an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocCursor {
    /// The key of the sorted field; empty where there is none.
    pub key: SortKey,
    /// The id.
    pub id: DocumentId,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is what the page before gave as its cursor")]
pub struct InvalidCursor;

impl fmt::Display for DocCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", URL_SAFE_NO_PAD.encode(self.key.as_bytes()), self.id)
    }
}

impl FromStr for DocCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (key, id) =
            text.split_once('.').filter(|_| text.len() <= 2 * MAX_SORT_KEY_BYTES + 64).ok_or(InvalidCursor)?;
        let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| InvalidCursor)?;
        let id = id.parse().map_err(|_| InvalidCursor)?;
        Ok(Self { key: SortKey::stored(key), id })
    }
}

/// Which documents of a collection to find.
#[derive(Debug, Clone)]
pub struct DocQuery {
    /// The collection.
    pub collection: CollectionName,
    /// What they must be like.
    pub filter: Filter,
    /// Their order.
    pub sort: Sort,
    /// The place after which they come.
    pub after: Option<DocCursor>,
    /// How many at most, up to [`MAX_PAGE`].
    pub limit: u32,
}

impl DocQuery {
    /// The place of a document in the order that is asked for.
    pub fn place_of(&self, document: &Document) -> DocCursor {
        let key = self.sort.field.as_ref().map_or(SortKey::none(), |field| document.sort_key(field));
        DocCursor { key, id: document.id }
    }
}

/// A document that a search found, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDocument {
    /// Where it stands in the order, which tells its id.
    pub place: DocCursor,
    /// Its fields as JSON.
    pub text: String,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// A page of documents.
#[derive(Debug, Clone, Default)]
pub struct DocPage {
    /// The documents, in order.
    pub documents: Vec<FoundDocument>,
    /// Whether there are more behind the last.
    pub more: bool,
    /// What the search looked at.
    pub scanned: Scanned,
    /// Whether it gave up, having looked at as much as it may: then there are no documents.
    pub gave_up: bool,
}

impl DocPage {
    /// The place after which the next page begins, if there is one.
    pub fn next(&self) -> Option<&DocCursor> {
        self.documents.last().filter(|_| self.more).map(|last| &last.place)
    }
}

/// What a search looked at, on all the ways that it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Documents.
    pub documents: u32,
    /// Their bytes.
    pub bytes: usize,
    /// Entries of indexes that were counted to choose the way.
    pub entries: u32,
}

/// How much an app's documents come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocUsage {
    /// Documents.
    pub documents: u64,
    /// Their bytes, and those of indexes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    fn id() -> DocumentId {
        DocumentId::from_uuid(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn a_field_is_found_by_its_path_through_maps() {
        let document = map(json!({ "a": { "b": { "c": 1 }, "d": [1] }, "e": null }));
        for (path, expected) in [
            ("a.b.c", Some(json!(1))),
            ("a.d", Some(json!([1]))),
            ("a.d.0", None),
            ("e", Some(Value::Null)),
            ("e.f", None),
            ("x", None),
        ] {
            assert_eq!(path.parse::<FieldPath>().unwrap().of(&document), expected.as_ref(), "{path}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "$gt", "a.$b", "a\0", &"x".repeat(257)] {
            assert!(bad.parse::<FieldPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_patch_removes_what_is_null_and_merges_maps() {
        let body = DocumentBody::new(map(json!({ "a": 1, "b": { "c": 1, "d": 2 }, "e": [1] })), id()).unwrap();
        let patch = map(json!({ "a": null, "b": { "c": null, "x": { "y": null } }, "e": 3, "f": { "g": 1 } }));
        assert_eq!(body.patched(&patch, id()).unwrap().text(), r#"{"b":{"d":2,"x":{}},"e":3,"f":{"g":1}}"#);
    }

    #[test]
    fn the_id_is_the_stores_and_what_was_read_can_be_written() {
        let own = map(json!({ "id": id().to_string(), "a": 1 }));
        assert_eq!(DocumentBody::new(own.clone(), id()).unwrap().text(), r#"{"a":1}"#);
        let other = map(json!({ "id": "7" }));
        assert_eq!(DocumentBody::new(other.clone(), id()), Err(InvalidDocument::OtherId));
        let body = DocumentBody::new(Map::new(), id()).unwrap();
        assert_eq!(body.patched(&other, id()), Err(InvalidDocument::OtherId));
        assert_eq!(body.patched(&own, id()).unwrap().text(), r#"{"a":1}"#);
        let long = map(json!({ "a": "x".repeat(MAX_DOCUMENT_BYTES) }));
        assert_eq!(DocumentBody::new(long.clone(), id()), Err(InvalidDocument::TooLong));
        assert_eq!(body.patched(&long, id()), Err(InvalidDocument::TooLong));
    }

    #[test]
    fn a_document_holds_so_many_values_and_nests_so_deep() {
        let nested = |depth: usize| map((1..depth).fold(json!({}), |within, _| json!({ "a": within })));
        let made = |fields: Map<String, Value>| DocumentBody::new(fields, id()).map(|_| ());
        assert_eq!(made(nested(MAX_DEPTH + 1)), Ok(()));
        assert_eq!(made(nested(MAX_DEPTH + 2)), Err(InvalidDocument::TooDeep));
        let wide = |nodes: usize| map(json!({ "a": vec![json!([]); nodes - 1] }));
        assert_eq!(made(wide(MAX_NODES)), Ok(()));
        assert_eq!(made(wide(MAX_NODES + 1)), Err(InvalidDocument::TooMany));
        // A patch cannot make more of it.
        let body = DocumentBody::new(wide(MAX_NODES), id()).unwrap();
        assert_eq!(body.patched(&map(json!({ "b": 1 })), id()), Err(InvalidDocument::TooMany));
    }

    #[test]
    fn what_is_stored_has_one_form_of_each_number_whoever_wrote_it() {
        let body = DocumentBody::new(map(json!({ "n": u64::MAX, "m": [u64::MAX], "i": i64::MAX })), id()).unwrap();
        assert_eq!(body.text(), r#"{"i":9223372036854775807,"m":[1.8446744073709552e+19],"n":1.8446744073709552e+19}"#);
        let patched = body.patched(&map(json!({ "i": u64::MAX })), id()).unwrap();
        assert_eq!(patched.fields()["i"], json!(1.844_674_407_370_955_2e19));
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for key in [SortKey::of(Some(&json!("ä\0"))), SortKey::none(), SortKey::of(Some(&json!("x".repeat(9_000))))] {
            let cursor = DocCursor { key, id: id() };
            assert_eq!(cursor.to_string().parse::<DocCursor>(), Ok(cursor));
        }
        let long = format!("{}.{}", "A".repeat(9_000), id());
        for bad in ["", ".", "a.b", "ä.00000000-0000-0000-0000-000000000007", &long] {
            assert!(bad.parse::<DocCursor>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_order_is_a_field_and_a_direction() {
        let order = |text: &str| text.parse::<Sort>().map(|sort| (sort.field.map(String::from), sort.descending));
        assert_eq!(order("a.b"), Ok((Some("a.b".to_owned()), false)));
        assert_eq!(order("-a"), Ok((Some("a".to_owned()), true)));
        assert_eq!(order("-id"), Ok((None, true)));
        assert!(order("").is_err() && order("-").is_err());
    }
}
