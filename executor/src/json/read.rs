//! Reading: straight from text into a script value, counted against the script's data limits while it is read.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use rhai::{Array, Dynamic, Engine, EvalAltResult, Map, Position};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The data limits of a script, as Rhai counts them: over a value and all that is within it.
#[derive(Debug, Clone, Copy)]
pub struct SizeLimits {
    /// Bytes of strings.
    pub string: usize,
    /// Elements of arrays.
    pub array: usize,
    /// Entries of maps.
    pub map: usize,
}

impl SizeLimits {
    /// The limits that an engine enforces.
    pub fn of(engine: &Engine) -> Self {
        Self { string: engine.max_string_size(), array: engine.max_array_size(), map: engine.max_map_size() }
    }
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON, or nests too deep.
    #[error("{0}")]
    Invalid(String),
    /// It holds more than the script's limits allow.
    #[error("the JSON text holds more than a limit allows: {0}")]
    TooLarge(&'static str),
}

impl ReadError {
    /// The error as a script gets it.
    pub fn thrown(self, position: Position) -> Box<EvalAltResult> {
        match self {
            Self::Invalid(message) => EvalAltResult::ErrorRuntime(message.into(), position).into(),
            // Rhai's own words, so that all ways over a limit look the same.
            Self::TooLarge(what) => EvalAltResult::ErrorDataTooLarge(what.to_owned(), position).into(),
        }
    }
}

/// Reads JSON. Integers beyond 64 bits become floats; of a repeated key the last counts.
///
/// # Errors
/// Text that is not one JSON value or nests deeper than 128; more than `limits` allow.
pub fn read(text: &[u8], limits: SizeLimits) -> Result<Dynamic, ReadError> {
    let left = Left { limits: Cell::new(limits), over: Cell::new(None) };
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Value(&left).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| match left.over.get() {
        Some(what) => ReadError::TooLarge(what),
        None => ReadError::Invalid(format!("invalid JSON: {error}")),
    })
}

/// What may still be read.
struct Left {
    limits: Cell<SizeLimits>,
    over: Cell<Option<&'static str>>,
}

impl Left {
    fn take<E: serde::de::Error>(
        &self,
        amount: usize,
        which: fn(&mut SizeLimits) -> &mut usize,
        name: &'static str,
    ) -> Result<(), E> {
        let mut limits = self.limits.get();
        let left = which(&mut limits);
        match left.checked_sub(amount) {
            Some(rest) => {
                *left = rest;
                self.limits.set(limits);
                Ok(())
            }
            None => {
                self.over.set(Some(name));
                Err(E::custom(name))
            }
        }
    }

    fn string<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.take(text.len(), |limits| &mut limits.string, "Length of string")
    }

    fn element<E: serde::de::Error>(&self) -> Result<(), E> {
        self.take(1, |limits| &mut limits.array, "Size of array/BLOB")
    }

    fn entry<E: serde::de::Error>(&self) -> Result<(), E> {
        self.take(1, |limits| &mut limits.map, "Size of object map")
    }
}

struct Value<'a>(&'a Left);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Dynamic, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(number).map_or_else(|_| (number as f64).into(), Dynamic::from))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Dynamic, E> {
        self.0.string(text)?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(Value(self.0))? {
            self.0.element::<A::Error>()?;
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key(self.0, PhantomData))? {
            self.0.entry::<A::Error>()?;
            map.insert(key, entries.next_value_seed(Value(self.0))?);
        }
        Ok(Dynamic::from_map(map))
    }
}

/// A key, made as what the map wants: Rhai does not name its type of keys.
struct Key<'a, K>(&'a Left, PhantomData<K>);

impl<'de, K: for<'s> From<&'s str>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<K: for<'s> From<&'s str>> Visitor<'_> for Key<'_, K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<K, E> {
        // Rhai does not count keys, but they take memory like any string.
        self.0.string(text)?;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{MAX_DEPTH, write};

    const LIMITS: SizeLimits = SizeLimits { string: 100, array: 200, map: 5 };

    fn round(text: &str) -> Result<String, ReadError> {
        read(text.as_bytes(), LIMITS).map(|value| String::from_utf8(write(&value, 10_000).unwrap()).unwrap())
    }

    #[test]
    fn json_reads_into_values_and_writes_back() {
        for (text, expected) in [
            (r#" {"b":[1,-2,3.5,true,null],"a":"\u00e4"} "#, r#"{"a":"ä","b":[1,-2,3.5,true,null]}"#),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9.223372036854776e+18"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(round(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_one_value_is_invalid() {
        let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        for text in ["", "{", "1 2", "{a:1}", "NaN", "\"\u{1}\"", &deep] {
            assert!(matches!(round(text), Err(ReadError::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn the_limits_count_over_the_whole_value() {
        let strings = format!(r#"["{0}","{0}","{0}"]"#, "x".repeat(34));
        let arrays = format!("[[{0}],[{0}]]", "1,".repeat(99) + "1");
        let maps = r#"[{"a":1,"b":1,"c":1},{"a":1,"b":1,"c":1}]"#;
        for (text, what) in [(strings.as_str(), "string"), (&arrays, "array"), (maps, "map")] {
            assert!(matches!(round(text), Err(ReadError::TooLarge(name)) if name.contains(what)), "{what}");
        }
    }
}
