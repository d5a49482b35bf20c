//! Reading: straight from text into a script value, counted against the script's data limits while it is read.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use rhai::{Array, Dynamic, EvalAltResult, Map, Position};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Left, MAX_DEPTH, SizeLimits, TooLarge};

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON, or nests too deep.
    #[error("{0}")]
    Invalid(String),
    /// It holds more than the script's limits allow.
    #[error("the JSON text holds more than a limit allows: {0}")]
    TooLarge(TooLarge),
}

impl ReadError {
    /// The error as a script gets it.
    pub fn thrown(self, position: Position) -> Box<EvalAltResult> {
        match self {
            Self::Invalid(message) => EvalAltResult::ErrorRuntime(message.into(), position).into(),
            Self::TooLarge(what) => what.thrown(position),
        }
    }
}

/// Reads JSON. Integers beyond 64 bits become floats; of a repeated key the last counts.
///
/// # Errors
/// Text that is not one JSON value or nests deeper than [`MAX_DEPTH`]; more than `limits` allow.
pub fn read(text: &[u8], limits: SizeLimits) -> Result<Dynamic, ReadError> {
    read_within(text, &Left::new(limits))
}

/// The same for a part of what a script gets, within what the others have left.
///
/// # Errors
/// As [`read`].
pub fn read_within(text: &[u8], left: &Left) -> Result<Dynamic, ReadError> {
    let reading = Reading { left, over: Cell::new(None) };
    let mut json = serde_json::Deserializer::from_slice(text);
    // It would stop one level before ours; each level goes through [`Value::within`].
    json.disable_recursion_limit();
    let value = Value { reading: &reading, depth: MAX_DEPTH }.deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| match reading.over.get() {
        Some(what) => ReadError::TooLarge(what),
        None => ReadError::Invalid(format!("invalid JSON: {error}")),
    })
}

struct Reading<'l> {
    left: &'l Left,
    /// What was too large, since the parser passes on only texts.
    over: Cell<Option<TooLarge>>,
}

impl Reading<'_> {
    fn count<E: serde::de::Error>(&self, counted: Result<(), TooLarge>) -> Result<(), E> {
        counted.map_err(|what| {
            self.over.set(Some(what));
            E::custom(what)
        })
    }
}

#[derive(Clone, Copy)]
struct Value<'a> {
    reading: &'a Reading<'a>,
    /// Levels that are left.
    depth: usize,
}

impl Value<'_> {
    fn within<E: serde::de::Error>(self) -> Result<Self, E> {
        let deeper = self.depth.checked_sub(1).map(|depth| Self { depth, ..self });
        deeper.ok_or_else(|| E::custom(format_args!("it nests deeper than {MAX_DEPTH}")))
    }
}

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
        self.reading.count(self.reading.left.string(text))?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let within = self.within::<A::Error>()?;
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(within)? {
            self.reading.count::<A::Error>(self.reading.left.element())?;
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let within = self.within::<A::Error>()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key(self.reading, PhantomData))? {
            self.reading.count::<A::Error>(self.reading.left.entry())?;
            map.insert(key, entries.next_value_seed(within)?);
        }
        Ok(Dynamic::from_map(map))
    }
}

/// A key, made as what the map wants: Rhai does not name its type of keys.
struct Key<'a, K>(&'a Reading<'a>, PhantomData<K>);

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
        self.0.count(self.0.left.string(text))?;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write;

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
    fn what_can_be_written_can_be_read_down_to_the_last_level() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(round(&nested(MAX_DEPTH)).unwrap(), nested(MAX_DEPTH));
        let maps = format!("{}1{}", r#"{"a":"#.repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
        let many = SizeLimits { map: MAX_DEPTH, string: MAX_DEPTH, ..LIMITS };
        let read = |text: &str| read(text.as_bytes(), many);
        assert_eq!(write(&read(&maps).unwrap(), 10_000).unwrap(), maps.as_bytes());
        let error = read(&nested(MAX_DEPTH + 1)).unwrap_err().to_string();
        assert!(error.starts_with("invalid JSON: it nests deeper than 128"), "{error}");
        assert!(read(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn the_limits_count_over_the_whole_value() {
        let strings = format!(r#"["{0}","{0}","{0}"]"#, "x".repeat(34));
        let arrays = format!("[[{0}],[{0}]]", "1,".repeat(99) + "1");
        let maps = r#"[{"a":1,"b":1,"c":1},{"a":1,"b":1,"c":1}]"#;
        for (text, what) in [(strings.as_str(), "string"), (&arrays, "array"), (maps, "map")] {
            assert!(matches!(round(text), Err(ReadError::TooLarge(name)) if name.0.contains(what)), "{what}");
        }
    }
}
