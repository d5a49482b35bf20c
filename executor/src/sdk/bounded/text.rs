//! The text of arrays and maps. What they share is written as often as it is found, so the text can be far longer than the value
//! is large: it is cut at the limit, and the run ends. It is never an error: Rhai writes a value without any bound of ours where
//! this one fails.

use std::fmt::Write;

use rhai::{Array, Dynamic, ImmutableString, Map, Module, NativeCallContext};

use super::function;
use crate::limits::{charge_bytes, over_limit, reserve_bytes};

pub fn register(module: &mut Module) {
    for name in ["to_string", "to_debug"] {
        function(name).set_into_module(module, |call: NativeCallContext, array: &mut Array| {
            Text::of(&call, |text| text.array(array))
        });
        function(name)
            .set_into_module(module, |call: NativeCallContext, map: &mut Map| Text::of(&call, |text| text.map(map)));
    }
}

/// The run ends, so the rest will not be seen.
struct Ended;

struct Text<'c, 'n> {
    call: &'c NativeCallContext<'n>,
    written: String,
    max_bytes: usize,
}

impl<'c, 'n> Text<'c, 'n> {
    fn of(call: &'c NativeCallContext<'n>, write: impl FnOnce(&mut Self) -> Result<(), Ended>) -> ImmutableString {
        let max_bytes = call.engine().max_string_size();
        let mut text = Self { call, written: String::new(), max_bytes };
        match write(&mut text) {
            Ok(()) => text.written.into(),
            Err(Ended) => ImmutableString::new(),
        }
    }

    fn push(&mut self, part: &str) -> Result<(), Ended> {
        let bytes = self.written.len() + part.len();
        if bytes > self.max_bytes {
            let _told = over_limit("max_string_size");
            return Err(Ended);
        }
        if bytes > self.written.capacity() {
            reserve_bytes(bytes * 2).map_err(|_| Ended)?;
        }
        charge_bytes(part.len()).map_err(|_| Ended)?;
        self.written.push_str(part);
        Ok(())
    }

    fn array(&mut self, array: &Array) -> Result<(), Ended> {
        self.push("[")?;
        for (place, item) in array.iter().enumerate() {
            if place > 0 {
                self.push(", ")?;
            }
            self.value(item)?;
        }
        self.push("]")
    }

    fn map(&mut self, map: &Map) -> Result<(), Ended> {
        self.push("#{")?;
        for (place, (key, value)) in map.iter().enumerate() {
            if place > 0 {
                self.push(", ")?;
            }
            self.quoted(key)?;
            self.push(": ")?;
            self.value(value)?;
        }
        self.push("}")
    }

    fn quoted(&mut self, text: &str) -> Result<(), Ended> {
        self.push("\"")?;
        // A part at a time, since an escape can be six times as long as what it stands for.
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.ceil_char_boundary(1024.min(rest.len())));
            let mut escaped = String::with_capacity(part.len());
            // Writing to a string cannot fail.
            let _ = write!(escaped, "{part:?}");
            self.push(&escaped[1..escaped.len() - 1])?;
            rest = after;
        }
        self.push("\"")
    }

    fn value(&mut self, value: &Dynamic) -> Result<(), Ended> {
        // An operation for each value, as with Rhai's own.
        if crate::limits::on_operation(0).is_some() {
            return Err(Ended);
        }
        if value.is_shared() {
            // Asked for once: each time takes 50 ms where the script itself holds the lock.
            return match value.read_lock::<Dynamic>() {
                Some(inner) => self.value(&inner),
                None => self.push("<shared>"),
            };
        }
        if let Ok(array) = value.as_array_ref() {
            return self.array(&array);
        }
        if let Ok(map) = value.as_map_ref() {
            return self.map(&map);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return self.quoted(&text);
        }
        // The types' own texts are short.
        let text = self.call.call_native_fn_raw("to_debug", true, &mut [&mut value.flatten_clone()]);
        match text {
            Ok(text) if text.is_string() => self.push(&text.into_immutable_string().unwrap_or_default()),
            _ => self.push(value.type_name()),
        }
    }
}
