//! `docs::*`: the app's documents, by collections.

use std::sync::LazyLock;

use picloud_shared::docs::{
    DEFAULT_PAGE, DocCursor, DocPage, DocPlace, DocQuery, DocWrite, DocWritten, Document, DocumentBody, Filter,
    FoundDocument, ID_FIELD, MAX_DOCUMENT_BYTES, MAX_PAGE, MAX_SCANNED, MAX_SCANNED_BYTES, Scanned, Sort,
};
use picloud_shared::id::DocumentId;
use picloud_shared::name::CollectionName;
use rhai::{Array, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};
use serde::Deserialize as _;
use serde_json::Value;

use super::native::{self, Fallible, short};
use super::port::{self, refused};
use crate::json::{self, Left, SizeLimits, TooLarge, WriteError};
use crate::limits::{charge, charge_bytes};
use crate::port::{DocStore, PortCaller, PortError, Ports};

/// The code of all errors of arguments.
const INVALID: &str = "invalid";

/// Operations for each document that a search looked at, beside those of its bytes: reading its row and comparing takes some microseconds.
const SCANNED_OPERATIONS: u64 = 50;

/// Entries of an index that are counted for one operation.
const COUNTED_ENTRIES: u64 = 4;

/// Bytes of a filter as JSON.
const MAX_FILTER_BYTES: usize = 16 * 1024;

/// A collection of the app's documents.
#[derive(Debug, Clone)]
pub struct Documents(CollectionName);

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        let collection = FuncRegistration::new("collection").with_volatility(true);
        collection.set_into_module(module, |call: NativeCallContext, name: ImmutableString| {
            let invalid = |error| refused(&call, INVALID, &format!("docs::collection: {error}"));
            name.parse::<CollectionName>().map(Documents).map_err(invalid)
        });
    })
});

/// The module `docs`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

macro_rules! methods {
    ($module:ident, $($name:literal, $($argument:ident: $Type:ty),* => $work:expr;)+) => {$({
        let method = |call: NativeCallContext, documents: &mut Documents, $($argument: $Type),*| -> Fallible<_> {
            let work: fn(&Target<'_>, $($Type),*) -> Fallible<_> = $work;
            work(&Target { call: &call, collection: &documents.0 }, $($argument),*)
        };
        FuncRegistration::new($name).in_global_namespace().with_volatility(true).set_into_module($module, method);
    })+};
}

/// Bytes of documents that a search goes through for one operation, as `crate::limits::charge_bytes` has it.
const SCANNED_BYTES_AN_OPERATION: usize = 8;

/// The most that one search is charged, half of what a script has by default: what it looks at is bounded, and one that found no way can
/// be caught.
const MOST_SEARCH_OPERATIONS: u64 = 1_000_000;

/// Registers the methods of a collection.
pub fn register(module: &mut Module) {
    methods! { module,
        "insert", document: Map => |target, document| target.insert(document);
        "get", id: ImmutableString => |target, id| target.get(&id);
        "update", id: ImmutableString, patch: Map => |target, id, patch| target.update(&id, patch);
        "replace", id: ImmutableString, document: Map => |target, id, document| target.replace(&id, document);
        "delete", id: ImmutableString => |target, id| target.delete(&id);
        "find", => |target| target.find(Map::new(), &Map::new());
        "find", filter: Map => |target, filter| target.find(filter, &Map::new());
        "find", filter: Map, options: Map => |target, filter, options| target.find(filter, &options);
    }
}

/// What a call is about.
struct Target<'c> {
    call: &'c NativeCallContext<'c>,
    collection: &'c CollectionName,
}

impl Target<'_> {
    fn insert(&self, document: Map) -> Fallible<ImmutableString> {
        let now = super::log::now().ok_or_else(|| self.invalid("no run is on this thread"))?;
        let id = DocumentId::generate(now);
        let text = self.text(document)?;
        self.write(id, || Ok(DocWrite::Put(body(&text, id)?)), |_| Ok(id.to_string().into()))
    }

    fn get(&self, id: &str) -> Fallible<Dynamic> {
        let Some(place) = self.place(id) else { return Ok(Dynamic::UNIT) };
        self.ask(
            |store, caller| store.get(caller, &place),
            |found| found.as_ref().map_or(Ok(Dynamic::UNIT), |document| self.read(document)),
        )
    }

    fn update(&self, id: &str, patch: Map) -> Fallible<Dynamic> {
        // Looked at here, before anybody reads the document for it.
        if patch.get(ID_FIELD).is_some_and(|other| other.as_immutable_string_ref().is_ok_and(|other| *other != id)) {
            return Err(self.invalid("the field id is the document's own"));
        }
        let text = self.text(patch)?;
        self.change(id, |_| Ok(DocWrite::Patch(fields(&text)?)))
    }

    fn replace(&self, id: &str, document: Map) -> Fallible<Dynamic> {
        let text = self.text(document)?;
        self.change(id, |id| Ok(DocWrite::Replace(body(&text, id)?)))
    }

    fn change(&self, id: &str, write: impl FnOnce(DocumentId) -> Result<DocWrite, PortError>) -> Fallible<Dynamic> {
        let Some(place) = self.place(id) else { return Ok(Dynamic::UNIT) };
        self.write(
            place.id,
            || write(place.id),
            |written| match written {
                DocWritten::Is(document) => self.read(document),
                DocWritten::Deleted | DocWritten::Missing => Ok(Dynamic::UNIT),
            },
        )
    }

    fn delete(&self, id: &str) -> Fallible<bool> {
        let Some(place) = self.place(id) else { return Ok(false) };
        self.write(place.id, || Ok(DocWrite::Delete), |written| Ok(*written == DocWritten::Deleted))
    }

    fn find(&self, filter: Map, options: &Map) -> Fallible<Map> {
        let filter = json::write(&Dynamic::from_map(filter), MAX_FILTER_BYTES).map_err(|error| match error {
            WriteError::TooLong => self.invalid(&format!("a filter has at most {MAX_FILTER_BYTES} bytes as JSON")),
            other => self.invalid(&other.to_string()),
        })?;
        let (mut sort, mut cursor, mut limit) = (None, None, DEFAULT_PAGE);
        for (name, value) in options {
            let text = value.as_immutable_string_ref().ok();
            match (name.as_str(), text) {
                ("sort", Some(text)) => sort = Some((*text).clone()),
                ("cursor", Some(text)) => cursor = Some((*text).clone()),
                ("sort" | "cursor", None) if value.is_unit() => {}
                ("limit", _) => limit = self.limit(value)?,
                ("sort", _) => return Err(self.invalid("sort is a field, with `-` before it for the other way round")),
                ("cursor", _) => return Err(self.invalid("cursor is what the page before gave as its cursor")),
                _ => {
                    let name = native::cut(name.as_str());
                    return Err(self.invalid(&format!("there is no option {name}; there are sort, limit and cursor")));
                }
            }
        }
        let query = || -> Result<DocQuery, PortError> {
            let parse = |error: &dyn std::fmt::Display| invalid(error);
            let sort = sort.as_deref().map(|sort| sort.parse::<Sort>().map_err(|error| parse(&error)));
            let after = cursor.as_deref().map(|cursor| cursor.parse::<DocCursor>().map_err(|error| parse(&error)));
            let filter = value(&filter)?;
            Ok(DocQuery {
                collection: self.collection.clone(),
                filter: Filter::read(&filter).map_err(|error| parse(&error))?,
                sort: sort.transpose()?.unwrap_or_default(),
                after: after.transpose()?,
                limit,
            })
        };
        let find = |store: &dyn DocStore, caller: &PortCaller| {
            let query = query()?;
            store.find(caller, &query)
        };
        self.ask(find, |page| self.page(page))
    }

    /// A page as the script gets it. It ends before what would be too much for the script, unless that would be so on a page of its
    /// own, too: such a document is left out, since nothing would lead past it.
    fn page(&self, page: &DocPage) -> Fallible<Map> {
        let Scanned { documents, bytes, entries } = page.scanned;
        let looked_at = u64::from(documents).saturating_mul(SCANNED_OPERATIONS);
        let read = u64::try_from(bytes / SCANNED_BYTES_AN_OPERATION).unwrap_or(u64::MAX);
        let cost = looked_at.saturating_add(u64::from(entries) / COUNTED_ENTRIES).saturating_add(read);
        charge(cost.min(MOST_SEARCH_OPERATIONS))?;
        if page.gave_up {
            let message = format!(
                "docs::find: it would have to look at more than {MAX_SCANNED} documents or {} MiB of them; declare an index on a \
                 field that the filter compares or that is sorted by",
                MAX_SCANNED_BYTES / (1024 * 1024)
            );
            return Err(refused(self.call, "too_many_scanned", &message));
        }
        let mut items = Array::new();
        let mut cursor = page.next();
        let (mut left, mut last) = (self.left_for_items(), None);
        for FoundDocument { place, text, .. } in &page.documents {
            match self.counted(place.id, text, &left) {
                Ok(item) => items.push(item),
                Err(error) if !matches!(*error, EvalAltResult::ErrorDataTooLarge(..)) => return Err(error),
                Err(_) if last.is_some() => {
                    cursor = last;
                    break;
                }
                Err(_) => {
                    left = self.left_for_items();
                    let mut item = Map::new();
                    item.insert(ID_FIELD.into(), place.id.to_string().into());
                    item.insert("too_large".into(), Dynamic::TRUE);
                    items.push(Dynamic::from_map(item));
                }
            }
            last = Some(place);
        }
        let mut found = Map::new();
        found.insert("items".into(), Dynamic::from_array(items));
        found.insert("cursor".into(), cursor.map_or(Dynamic::UNIT, |cursor| cursor.to_string().into()));
        Ok(found)
    }

    /// What the documents of a page may be, beside the page's own two entries and a cursor.
    fn left_for_items(&self) -> Left {
        let SizeLimits { string, array, map } = SizeLimits::of(self.call.engine());
        Left::new(SizeLimits { string: string.saturating_sub(1024), array, map: map.saturating_sub(2) })
    }

    fn read(&self, document: &Document) -> Fallible<Dynamic> {
        self.counted(document.id, document.body.text(), &Left::new(SizeLimits::of(self.call.engine())))
    }

    /// A document as the script gets it, with its id.
    fn counted(&self, id: DocumentId, text: &str, left: &Left) -> Fallible<Dynamic> {
        let position = self.call.call_position();
        let id = id.to_string();
        let counted = || {
            left.element()?;
            left.entry()?;
            left.string(ID_FIELD)?;
            left.string(&id)
        };
        counted().map_err(|what: TooLarge| what.thrown(position))?;
        charge_bytes(text.len())?;
        let mut read = json::read_within(text.as_bytes(), left).map_err(|error| error.thrown(position))?;
        if let Ok(mut fields) = read.as_map_mut() {
            fields.insert(ID_FIELD.into(), id.into());
        }
        Ok(read)
    }

    fn limit(&self, value: &Dynamic) -> Fallible<u32> {
        let asked = value.as_int().ok().and_then(|limit| u32::try_from(limit).ok());
        let limit = asked.filter(|limit| (1..=MAX_PAGE).contains(limit));
        limit.ok_or_else(|| self.invalid(&format!("limit is an integer from 1 to {MAX_PAGE}")))
    }

    /// What is no id is the id of no document.
    fn place(&self, id: &str) -> Option<DocPlace> {
        Some(DocPlace { collection: self.collection.clone(), id: id.parse().ok()? })
    }

    /// The text of what a script gives, charged for being read again.
    fn text(&self, document: Map) -> Fallible<Vec<u8>> {
        let text = json::write(&Dynamic::from_map(document), MAX_DOCUMENT_BYTES + 64).map_err(|error| match error {
            WriteError::TooLong => self.invalid(&format!("a document has at most {MAX_DOCUMENT_BYTES} bytes as JSON")),
            other => self.invalid(&other.to_string()),
        })?;
        charge_bytes(text.len())?;
        Ok(text)
    }

    /// `write` makes what is handed over, beside the memory of the run.
    fn write<T>(
        &self,
        id: DocumentId,
        write: impl FnOnce() -> Result<DocWrite, PortError>,
        read: impl FnOnce(&DocWritten) -> Fallible<T>,
    ) -> Fallible<T> {
        let place = || DocPlace { collection: self.collection.clone(), id };
        self.ask(|store, caller| store.write(caller, place(), write()?), read)
    }

    fn ask<A, T>(
        &self,
        work: impl FnOnce(&dyn DocStore, &PortCaller) -> Result<A, PortError>,
        read: impl FnOnce(&A) -> Fallible<T>,
    ) -> Fallible<T> {
        let work = |ports: &Ports, caller: &PortCaller| Some(work(ports.docs.as_deref()?, caller));
        port::call(self.call, work, read)
    }

    fn invalid(&self, what: &str) -> Box<EvalAltResult> {
        refused(self.call, INVALID, &format!("docs::{}: {what}", short(self.call.fn_name())))
    }
}

fn invalid(error: &dyn std::fmt::Display) -> PortError {
    PortError::Refused { code: INVALID, message: error.to_string() }
}

/// Reads what was written by [`json::write`], which bounds how deep it nests.
fn value(text: &[u8]) -> Result<Value, PortError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    json.disable_recursion_limit();
    Value::deserialize(&mut json).map_err(|error| invalid(&error))
}

fn fields(text: &[u8]) -> Result<serde_json::Map<String, Value>, PortError> {
    match value(text)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(invalid(&"a document is a map")),
    }
}

fn body(text: &[u8], id: DocumentId) -> Result<DocumentBody, PortError> {
    DocumentBody::new(fields(text)?, id).map_err(|error| invalid(&error))
}
