//! Writing: straight from a script value into bytes, capped in bytes and depth.

use std::cell::Cell;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rhai::Dynamic;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::MAX_DEPTH;
use crate::limits::{charge_bytes, reserve_bytes};

/// Bytes that are written between two counts of the work.
const STRIDE: usize = 4 * 1024;

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The text would be longer than allowed.
    #[error("the JSON text is too long")]
    TooLong,
    /// The value nests too deep, or contains itself.
    #[error("the value nests deeper than {MAX_DEPTH} or contains itself, which JSON cannot express")]
    TooDeep,
    /// JSON has no word for it.
    #[error("{0}")]
    Unsupported(String),
}

/// Writes a value as JSON of at most `max_bytes`. Blobs become base64; shared values are read through; map keys come in
/// order.
///
/// # Errors
/// A text that is too long; nesting over [`MAX_DEPTH`]; NaN and infinities; functions, timestamps and other types that
/// JSON has no word for.
pub fn write(value: &Dynamic, max_bytes: usize) -> Result<Vec<u8>, WriteError> {
    let mut out = Capped { bytes: Vec::with_capacity(max_bytes.min(128)), max_bytes, charged: 0 };
    let problem = Cell::new(None);
    match serde_json::to_writer(&mut out, &Written { value, depth: MAX_DEPTH, problem: &problem }) {
        Ok(()) => Ok(out.bytes),
        Err(_) => Err(problem.take().unwrap_or(WriteError::TooLong)),
    }
}

/// A value as a JSON document, where [`write`] has written it already.
pub fn to_value(value: &Dynamic) -> Option<serde_json::Value> {
    // Not by reading what was written: serde_json reads one level less than we write.
    serde_json::to_value(Written { value, depth: MAX_DEPTH, problem: &Cell::new(None) }).ok()
}

/// A text for people: a string as it is, anything else as JSON, what JSON cannot express by its type's name. Cut at
/// `max_bytes`.
pub fn to_text(value: &Dynamic, max_bytes: usize) -> String {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text[..text.floor_char_boundary(max_bytes.min(text.len()))].to_owned();
    }
    if let Ok(character) = value.as_char() {
        return character.into();
    }
    if let Ok(float) = value.as_float() {
        return float.to_string();
    }
    if value.is_unit() {
        return String::new();
    }
    let mut out = Capped { bytes: Vec::new(), max_bytes, charged: 0 };
    let problem = Cell::new(None);
    let written = serde_json::to_writer(&mut out, &Written { value, depth: MAX_DEPTH, problem: &problem });
    if written.is_err() && problem.take().is_some() {
        return format!("<{}>", short_name(value.type_name()));
    }
    // What was cut may end amid a character.
    let valid = out.bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
    out.bytes.truncate(valid);
    String::from_utf8(out.bytes).unwrap_or_default()
}

/// A type's name without its path.
fn short_name(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Counts what it writes as work of the run on this thread; one that must stop ends it as if the text were too long.
struct Capped {
    bytes: Vec<u8>,
    max_bytes: usize,
    charged: usize,
}

impl Capped {
    fn count(&mut self, more: usize) -> Result<(), Box<rhai::EvalAltResult>> {
        let bytes = self.bytes.len() + more;
        if bytes - self.charged >= STRIDE {
            charge_bytes(bytes - self.charged)?;
            self.charged = bytes;
        }
        if bytes > self.bytes.capacity() {
            // It grows by doubling, and the old and the new stand side by side while it is copied.
            reserve_bytes(self.bytes.capacity().saturating_mul(2).max(bytes))?;
        }
        Ok(())
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.max_bytes - self.bytes.len();
        if bytes.len() > left {
            self.bytes.extend_from_slice(&bytes[..left]);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.count(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Written<'a> {
    value: &'a Dynamic,
    /// Levels that are left.
    depth: usize,
    problem: &'a Cell<Option<WriteError>>,
}

impl Written<'_> {
    fn fail<E: serde::ser::Error>(&self, problem: WriteError) -> E {
        self.problem.set(Some(problem));
        // The text is never read: the cell above says what it was.
        E::custom("")
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.value;
        if value.is_shared() {
            let Some(inner) = value.read_lock::<Dynamic>() else {
                return Err(
                    self.fail(WriteError::Unsupported("a value that is being changed cannot be written".to_owned()))
                );
            };
            return Written { value: &inner, ..*self }.serialize(serializer);
        }
        // Asked by `is_*` first, since a failed `as_*` looks up the type's name.
        if value.is_string()
            && let Ok(text) = value.as_immutable_string_ref()
        {
            return serializer.serialize_str(&text);
        }
        if value.is_int()
            && let Ok(number) = value.as_int()
        {
            return serializer.serialize_i64(number);
        }
        if value.is_unit() {
            return serializer.serialize_unit();
        }
        if value.is_map() || value.is_array() {
            return self.within(serializer);
        }
        self.rare(serializer)
    }
}

impl Written<'_> {
    fn rare<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.value;
        if let Ok(flag) = value.as_bool() {
            return serializer.serialize_bool(flag);
        }
        if let Ok(number) = value.as_float() {
            if !number.is_finite() {
                return Err(self.fail(WriteError::Unsupported(format!("{number} cannot be written as JSON"))));
            }
            return serializer.serialize_f64(number);
        }
        if let Ok(character) = value.as_char() {
            return serializer.serialize_char(character);
        }
        if let Ok(blob) = value.as_blob_ref() {
            return serializer.serialize_str(&BASE64.encode(&*blob));
        }
        let kind = if value.is_fnptr() { "a function" } else { short_name(value.type_name()) };
        Err(self.fail(WriteError::Unsupported(format!("{kind} cannot be written as JSON"))))
    }

    fn within<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(self.fail(WriteError::TooDeep));
        };
        let inner = |value| Written { value, depth, problem: self.problem };
        if let Ok(map) = self.value.as_map_ref() {
            let mut out = serializer.serialize_map(Some(map.len()))?;
            for (key, value) in &*map {
                out.serialize_entry(key.as_str(), &inner(value))?;
            }
            return out.end();
        }
        let array = self.value.as_array_ref().map_err(|kind| self.fail(WriteError::Unsupported(kind.to_owned())))?;
        let mut out = serializer.serialize_seq(Some(array.len()))?;
        for value in &*array {
            out.serialize_element(&inner(value))?;
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl Into<Dynamic>) -> Result<String, WriteError> {
        write(&value.into(), 1_000).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn nested(depth: usize) -> Dynamic {
        (0..depth).fold(Dynamic::from(1_i64), |value, _| Dynamic::from_array(vec![value]))
    }

    #[test]
    fn values_are_written_as_json() {
        for (value, expected) in [
            (Dynamic::from(-7_i64), "-7"),
            (Dynamic::from(1.0_f64), "1.0"),
            (Dynamic::from(true), "true"),
            (Dynamic::UNIT, "null"),
            (Dynamic::from('ä'), "\"ä\""),
            (Dynamic::from("a\"\n\u{1}"), r#""a\"\n\u0001""#),
            (Dynamic::from_blob(vec![0, 255]), "\"AP8=\""),
            (Dynamic::from(3_i64).into_shared(), "3"),
        ] {
            assert_eq!(text(value).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_json_has_no_word_for_is_refused() {
        for value in [
            Dynamic::from(f64::NAN),
            Dynamic::from(f64::INFINITY),
            Dynamic::from(rhai::FnPtr::new("f").unwrap()),
            Dynamic::from_timestamp(rhai::Instant::now()),
        ] {
            assert!(matches!(text(value), Err(WriteError::Unsupported(_))));
        }
    }

    #[test]
    fn bytes_and_depth_are_capped() {
        assert_eq!(write(&Dynamic::from("12345678"), 9), Err(WriteError::TooLong));
        assert_eq!(write(&Dynamic::from("12345678"), 10).unwrap().len(), 10);
        assert!(text(nested(MAX_DEPTH)).is_ok());
        assert_eq!(text(nested(MAX_DEPTH + 1)), Err(WriteError::TooDeep));
    }

    #[test]
    fn texts_for_people_are_cut_at_a_character() {
        assert_eq!(to_text(&Dynamic::from("aää"), 4), "aä");
        assert_eq!(to_text(&Dynamic::from_array(vec!["ää".into()]), 5), "[\"ä");
        assert_eq!(to_text(&Dynamic::from(rhai::FnPtr::new("f").unwrap()), 99), "<Fn>");
        assert_eq!(to_text(&Dynamic::from(f64::NAN), 99), "NaN");
    }
}
