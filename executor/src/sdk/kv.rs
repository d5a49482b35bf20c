//! `kv::*`: the app's key-value store. The functions work on the collection `default`, the methods of what `kv::collection`
//! gives on another.

use std::sync::LazyLock;
use std::time::Duration;

use picloud_shared::kv::{
    DEFAULT_PAGE, KvEntry, KvKey, KvKind, KvPage, KvPlace, KvQuery, KvValue, KvWrite, KvWritten, MAX_KEY_BYTES,
    MAX_PAGE, MAX_TTL, MAX_VALUE_BYTES,
};
use picloud_shared::name::CollectionName;
use rhai::{Array, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, short};
use super::port::{self, refused};
use crate::json::{self, Left, SizeLimits, TooLarge, WriteError};
use crate::limits::{charge_bytes, reserve_bytes};
use crate::port::{KvStore, PortCaller, PortError, Ports};

/// The code of all errors of arguments.
const INVALID: &str = "invalid";

/// The name of the collection of the functions.
const DEFAULT: &str = "default";

/// A collection of the app's.
#[derive(Debug, Clone)]
pub struct Collection(CollectionName);

/// Registers each call twice: as a function of the module, and as a method of a collection.
macro_rules! calls {
    ($($name:literal, $($argument:ident: $Type:ty),* => $work:expr;)+) => {
        static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
            native::module(|module| {
                let collection = FuncRegistration::new("collection").with_volatility(true);
                collection.set_into_module(module, |call: NativeCallContext, name: ImmutableString| named(&call, &name));
                $({
                    let function = |call: NativeCallContext, $($argument: $Type),*| -> Fallible<_> {
                        let work: fn(&Target<'_>, $($Type),*) -> Fallible<_> = $work;
                        let Collection(collection) = named(&call, DEFAULT)?;
                        work(&Target { call: &call, collection: &collection }, $($argument),*)
                    };
                    FuncRegistration::new($name).with_volatility(true).set_into_module(module, function);
                })+
            })
        });

        /// Registers the methods.
        pub fn register(module: &mut Module) {
            $({
                let method = |call: NativeCallContext, collection: &mut Collection, $($argument: $Type),*| -> Fallible<_> {
                    let work: fn(&Target<'_>, $($Type),*) -> Fallible<_> = $work;
                    work(&Target { call: &call, collection: &collection.0 }, $($argument),*)
                };
                FuncRegistration::new($name).in_global_namespace().with_volatility(true).set_into_module(module, method);
            })+
        }
    };
}

calls! {
    "get", key: ImmutableString => |target, key| target.get(&key, Dynamic::UNIT);
    "get", key: ImmutableString, default: Dynamic => |target, key, default| target.get(&key, default);
    "has", key: ImmutableString => |target, key| target.has(&key);
    "set", key: ImmutableString, value: Dynamic => |target, key, value| target.set(&key, &value, None);
    "set", key: ImmutableString, value: Dynamic, options: Map =>
        |target, key, value, options| target.set(&key, &value, target.ttl(&options)?);
    "delete", key: ImmutableString => |target, key| target.delete(&key);
    "incr", key: ImmutableString, by: i64 => |target, key, by| target.increment(&key, by);
    "cas", key: ImmutableString, expected: Dynamic, value: Dynamic =>
        |target, key, expected, value| target.swap(&key, &expected, &value);
    "list", => |target| target.list(&Map::new());
    "list", options: Map => |target, options| target.list(&options);
}

/// The module `kv`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn named(call: &NativeCallContext, name: &str) -> Fallible<Collection> {
    let invalid = |error| refused(call, INVALID, &format!("kv::collection: {error}"));
    name.parse().map(Collection).map_err(invalid)
}

/// What a call is about.
struct Target<'c> {
    call: &'c NativeCallContext<'c>,
    collection: &'c CollectionName,
}

impl Target<'_> {
    fn get(&self, key: &str, default: Dynamic) -> Fallible<Dynamic> {
        let left = Left::new(SizeLimits::of(self.call.engine()));
        self.find(key, |found| found.as_ref().map_or(Ok(default), |value| self.read(value, &left)))
    }

    fn has(&self, key: &str) -> Fallible<bool> {
        self.find(key, |found| Ok(found.is_some()))
    }

    fn set(&self, key: &str, value: &Dynamic, ttl: Option<Duration>) -> Fallible<()> {
        let value = self.written(value)?;
        self.write(key, || KvWrite::Set { value: value.clone(), ttl }).map(|_| ())
    }

    fn delete(&self, key: &str) -> Fallible<bool> {
        Ok(matches!(self.write(key, || KvWrite::Delete)?, KvWritten::Deleted(true)))
    }

    fn increment(&self, key: &str, by: i64) -> Fallible<i64> {
        match self.write(key, || KvWrite::Increment(by))? {
            KvWritten::Sum(sum) => Ok(sum),
            other => unreachable!("an increment comes to a sum, not {other:?}"),
        }
    }

    fn swap(&self, key: &str, expected: &Dynamic, value: &Dynamic) -> Fallible<bool> {
        let (expected, value) = (self.written(expected)?, self.written(value)?);
        let expected = (!expected.is_null()).then_some(expected);
        let write = || KvWrite::Swap { expected: expected.clone(), value: value.clone() };
        Ok(matches!(self.write(key, write)?, KvWritten::Swapped(true)))
    }

    fn list(&self, options: &Map) -> Fallible<Map> {
        let (mut prefix, mut after, mut limit) = (ImmutableString::new(), None, DEFAULT_PAGE);
        for (name, value) in options {
            match (name.as_str(), value.as_immutable_string_ref()) {
                ("prefix", Ok(text)) if text.len() <= MAX_KEY_BYTES && !text.contains('\0') => prefix = (*text).clone(),
                ("cursor", Ok(text)) => after = Some(self.key(text.as_str())?),
                // What the last page gave.
                ("cursor", Err(_)) if value.is_unit() => {}
                ("limit", _) => limit = self.limit(value)?,
                ("prefix", _) => return Err(self.invalid("prefix is a string of at most 512 bytes without NUL")),
                ("cursor", _) => return Err(self.invalid("cursor is what the page before gave as its cursor")),
                _ => return Err(self.unknown(name.as_str(), "prefix, limit and cursor")),
            }
        }
        let query = || KvQuery {
            collection: self.collection.clone(),
            prefix: prefix.as_str().to_owned(),
            after: after.clone(),
            limit,
        };
        let list = |store: &dyn KvStore, caller: &PortCaller| store.list(caller, &query());
        self.ask(list, |page| self.page(page))
    }

    /// A page as the script gets it. It ends before what would be too much for the script, unless that would be so on a page of
    /// its own, too: such a value is left out, since nothing would lead past it.
    fn page(&self, page: &KvPage) -> Fallible<Map> {
        let mut items = Array::new();
        let mut cursor = page.next.as_ref();
        let (mut left, mut last) = (self.left_for_items(), None);
        for entry in &page.entries {
            match self.item(entry, &left) {
                Ok(item) => items.push(item),
                Err(error) if !matches!(*error, EvalAltResult::ErrorDataTooLarge(..)) => return Err(error),
                Err(_) if last.is_some() => {
                    cursor = last;
                    break;
                }
                Err(_) => {
                    left = self.left_for_items();
                    items.push(self.counted(entry, "too_large", Dynamic::TRUE, &left)?);
                }
            }
            last = Some(&entry.key);
        }
        let mut listed = Map::new();
        listed.insert("items".into(), Dynamic::from_array(items));
        listed.insert("cursor".into(), cursor.map_or(Dynamic::UNIT, |key| key.as_str().into()));
        Ok(listed)
    }

    /// What the items of a page may be, beside the page's own two entries and a cursor.
    fn left_for_items(&self) -> Left {
        let SizeLimits { string, array, map } = SizeLimits::of(self.call.engine());
        let limits = SizeLimits { string: string.saturating_sub(MAX_KEY_BYTES), array, map: map.saturating_sub(2) };
        Left::new(limits)
    }

    fn item(&self, entry: &KvEntry, left: &Left) -> Fallible<Dynamic> {
        let value = self.read(&entry.value, left)?;
        self.counted(entry, "value", value, left)
    }

    /// An item of a list, which is an element of two entries; Rhai counts a blob within a map as one element more.
    fn counted(&self, entry: &KvEntry, name: &str, value: Dynamic, left: &Left) -> Fallible<Dynamic> {
        let key = entry.key.as_str();
        let counted = || {
            left.element()?;
            left.element()?;
            left.entry()?;
            left.entry()?;
            left.string(key)
        };
        counted().map_err(|what: TooLarge| what.thrown(self.call.call_position()))?;
        let mut item = Map::new();
        item.insert("key".into(), key.into());
        item.insert(name.into(), value);
        Ok(Dynamic::from_map(item))
    }

    fn limit(&self, value: &Dynamic) -> Fallible<u32> {
        let asked = value.as_int().ok().and_then(|limit| u32::try_from(limit).ok());
        let limit = asked.filter(|limit| (1..=MAX_PAGE).contains(limit));
        limit.ok_or_else(|| self.invalid(&format!("limit is an integer from 1 to {MAX_PAGE}")))
    }

    fn ttl(&self, options: &Map) -> Fallible<Option<Duration>> {
        let mut ttl = None;
        for (name, value) in options {
            if name.as_str() != "ttl" {
                return Err(self.unknown(name.as_str(), "ttl"));
            }
            let seconds = value.as_int().ok().and_then(|seconds| u64::try_from(seconds).ok());
            let within = seconds.filter(|seconds| (1..=MAX_TTL.as_secs()).contains(seconds));
            let invalid = || self.invalid(&format!("ttl is an integer of seconds from 1 to {}", MAX_TTL.as_secs()));
            ttl = Some(Duration::from_secs(within.ok_or_else(invalid)?));
        }
        Ok(ttl)
    }

    fn key(&self, key: &str) -> Fallible<KvKey> {
        key.parse().map_err(|error: picloud_shared::kv::InvalidKey| self.invalid(&error.to_string()))
    }

    /// The value that a script gives, as it is stored.
    fn written(&self, value: &Dynamic) -> Fallible<KvValue> {
        let too_long = || self.invalid(&format!("a value has at most {MAX_VALUE_BYTES} bytes, as JSON or as a blob"));
        if let Ok(blob) = value.as_blob_ref() {
            charge_bytes(blob.len() / 8)?;
            reserve_bytes(blob.len())?;
            return KvValue::new(KvKind::Blob, blob.clone()).map_err(|_| too_long());
        }
        let text = json::write(value, MAX_VALUE_BYTES).map_err(|error| match error {
            WriteError::TooLong => too_long(),
            other => self.invalid(&other.to_string()),
        })?;
        KvValue::new(KvKind::Json, text).map_err(|_| too_long())
    }

    /// A stored value as the script gets it, counted as its own.
    fn read(&self, value: &KvValue, left: &Left) -> Fallible<Dynamic> {
        match value.kind() {
            KvKind::Blob => {
                left.blob(value.bytes()).map_err(|what| what.thrown(self.call.call_position()))?;
                reserve_bytes(value.bytes().len())?;
                charge_bytes(value.bytes().len() / 8)?;
                Ok(Dynamic::from_blob(value.bytes().to_vec()))
            }
            KvKind::Json => {
                charge_bytes(value.bytes().len())?;
                let read = json::read_within(value.bytes(), left);
                read.map_err(|error| error.thrown(self.call.call_position()))
            }
        }
    }

    fn find<T>(&self, key: &str, read: impl FnOnce(&Option<KvValue>) -> Fallible<T>) -> Fallible<T> {
        let key = self.key(key)?;
        let place = || KvPlace { collection: self.collection.clone(), key: key.clone() };
        let is_quick = |ports: &Ports| ports.kv.as_ref().is_some_and(|kv| kv.answers_at_once());
        let at_once = |ports: &Ports, caller: &PortCaller| ports.kv.as_deref()?.get_at_once(caller, &place());
        let work = |ports: &Ports, caller: &PortCaller| Some(ports.kv.as_deref()?.get(caller, &place()));
        port::ask(self.call, is_quick, at_once, work, read)
    }

    /// `write` makes what is handed over, which another thread may drop.
    fn write(&self, key: &str, write: impl FnOnce() -> KvWrite) -> Fallible<KvWritten> {
        let key = self.key(key)?;
        let place = || KvPlace { collection: self.collection.clone(), key: key.clone() };
        self.ask(|store, caller| store.write(caller, place(), write()), |written| Ok(written.clone()))
    }

    fn ask<A, T>(
        &self,
        work: impl FnOnce(&dyn KvStore, &PortCaller) -> Result<A, PortError>,
        read: impl FnOnce(&A) -> Fallible<T>,
    ) -> Fallible<T> {
        let work = |ports: &Ports, caller: &PortCaller| Some(work(ports.kv.as_deref()?, caller));
        port::call(self.call, work, read)
    }

    fn invalid(&self, what: &str) -> Box<EvalAltResult> {
        refused(self.call, INVALID, &format!("kv::{}: {what}", short(self.call.fn_name())))
    }

    fn unknown(&self, name: &str, known: &str) -> Box<EvalAltResult> {
        self.invalid(&format!("there is no option {}; there are {known}", native::cut(name)))
    }
}
