//! Rows as PostgreSQL's COPY writes and reads them in its text format, by the types of its columns.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::store::copy::{Row, Value};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    Bool,
    Bytes,
    Int,
    /// And JSON, which goes by its text.
    Text,
}

impl Kind {
    /// The type of that name in the information schema, if the schema has it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "uuid" => Self::Uuid,
            "boolean" => Self::Bool,
            "bytea" => Self::Bytes,
            "bigint" => Self::Int,
            "text" | "jsonb" => Self::Text,
            _ => return None,
        })
    }
}

/// Adds a row as a line; `None` where a value is of another type than its column.
pub(super) fn encode(row: &[Value], kinds: &[Kind], line: &mut String) -> Option<()> {
    for (place, (value, kind)) in row.iter().zip(kinds).enumerate() {
        if place > 0 {
            line.push('\t');
        }
        match (value, kind) {
            (Value::Null, _) => line.push_str("\\N"),
            (Value::Int(0), Kind::Bool) => line.push('f'),
            (Value::Int(1), Kind::Bool) => line.push('t'),
            (Value::Int(number), Kind::Int) => write!(line, "{number}").ok()?,
            (Value::Bytes(bytes), Kind::Uuid) => write!(line, "{}", Uuid::from_slice(bytes).ok()?).ok()?,
            (Value::Bytes(bytes), Kind::Bytes) => {
                line.push_str("\\\\x");
                bytes.iter().try_for_each(|byte| write!(line, "{byte:02x}")).ok()?;
            }
            (Value::Text(text), Kind::Text) => {
                for c in text.chars() {
                    match c {
                        '\\' => line.push_str("\\\\"),
                        '\n' => line.push_str("\\n"),
                        '\r' => line.push_str("\\r"),
                        '\t' => line.push_str("\\t"),
                        c => line.push(c),
                    }
                }
            }
            _ => return None,
        }
    }
    line.push('\n');
    Some(())
}

/// The row of a line, which comes without its end; `None` where it is no such row.
pub(super) fn decode(line: &[u8], kinds: &[Kind]) -> Option<Row> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    if fields.len() != kinds.len() {
        return None;
    }
    fields.into_iter().zip(kinds).map(|(field, kind)| value(field, *kind)).collect()
}

fn value(field: &[u8], kind: Kind) -> Option<Value> {
    if field == b"\\N" {
        return Some(Value::Null);
    }
    let text = String::from_utf8(unescaped(field)?).ok()?;
    Some(match kind {
        Kind::Uuid => Value::Bytes(text.parse::<Uuid>().ok()?.into_bytes().to_vec()),
        Kind::Bool if text == "t" => Value::Int(1),
        Kind::Bool if text == "f" => Value::Int(0),
        Kind::Bool => return None,
        Kind::Bytes => Value::Bytes(from_hex(text.strip_prefix("\\x")?)?),
        Kind::Int => Value::Int(text.parse().ok()?),
        Kind::Text => Value::Text(text),
    })
}

/// What the escapes of COPY stand for.
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => *other,
        });
    }
    Some(bytes)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Uuid, Kind::Bool, Kind::Bytes, Kind::Int, Kind::Text];

    #[test]
    fn every_value_comes_back_as_it_went() {
        let ids = [Value::Null, Value::Bytes(vec![7; 16])];
        let truths = [Value::Null, Value::Int(0), Value::Int(1)];
        let bytes = [Value::Null, Value::Bytes(Vec::new()), Value::Bytes((0..=255).collect())];
        let numbers = [Value::Null, Value::Int(i64::MIN), Value::Int(i64::MAX)];
        let texts = ["", "\\N", "\\", "a\tb\nc\rd\\.", "\u{8}\u{b}\u{c}", "ünïcode 🍓", "{\"a\": \"\\n\"}"];
        for id in &ids {
            for truth in &truths {
                for bytes in &bytes {
                    for (number, text) in numbers.iter().zip(texts) {
                        let text = Value::Text(text.to_owned());
                        let row = vec![id.clone(), truth.clone(), bytes.clone(), number.clone(), text];
                        let mut line = String::new();
                        encode(&row, &KINDS, &mut line).unwrap();
                        let line = line.strip_suffix('\n').unwrap();
                        assert!(!line.contains('\n'));
                        assert_eq!(decode(line.as_bytes(), &KINDS), Some(row), "{line}");
                    }
                }
            }
        }
        for text in texts {
            let row = vec![Value::Text(text.to_owned())];
            let mut line = String::new();
            encode(&row, &[Kind::Text], &mut line).unwrap();
            assert_eq!(decode(line.trim_end_matches('\n').as_bytes(), &[Kind::Text]), Some(row), "{text}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_no_row() {
        for (value, kind) in [
            (Value::Bytes(vec![1; 15]), Kind::Uuid),
            (Value::Int(2), Kind::Bool),
            (Value::Int(1), Kind::Text),
            (Value::Text("1".to_owned()), Kind::Int),
        ] {
            assert_eq!(encode(&[value], &[kind], &mut String::new()), None);
        }
        for line in ["", "\\N", "a\tb\tc\td\te\tf", "x\tt\t\\\\x\t1\t", "\\N\tt\t\\\\x0\t1\t", "\\N\tt\t\\\\xgg\t1\t"] {
            assert_eq!(decode(line.as_bytes(), &KINDS), None, "{line}");
        }
    }
}
