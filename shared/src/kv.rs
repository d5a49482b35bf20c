//! The vocabulary of the key-value store: places, values, and what can be done to them. It knows neither where they are
//! kept nor what scripts make of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::name::CollectionName;

/// Bytes of the longest key.
pub const MAX_KEY_BYTES: usize = 512;
/// Bytes of the largest value: of its JSON text, or of the blob.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Entries that a page has where nobody says how many.
pub const DEFAULT_PAGE: u32 = 100;
/// Entries that a page has at most. Each is a map of two to a script, which may have 2,000 entries of maps by default.
pub const MAX_PAGE: u32 = 500;
/// A page ends before its keys and values come to more bytes than these, unless it is by its first. What a script gets of it
/// stays within the 256 KiB of strings that a value may have by default.
pub const PAGE_BYTES: usize = 192 * 1024;
/// How long an entry lives at most that does not live for ever: ten years.
pub const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KvKey(Box<str>);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to {MAX_KEY_BYTES} bytes of UTF-8 without NUL")]
pub struct InvalidKey;

impl KvKey {
    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KvKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        // PostgreSQL has no NUL in text.
        let good = (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains('\0');
        if good { Ok(Self(text.into())) } else { Err(InvalidKey) }
    }
}

impl TryFrom<String> for KvKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<KvKey> for String {
    fn from(key: KvKey) -> Self {
        key.0.into()
    }
}

impl fmt::Display for KvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What keys begin with: nothing, or any beginning of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KvPrefix(Box<str>);

/// A text that no key begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is at most {MAX_KEY_BYTES} bytes of UTF-8 without NUL")]
pub struct InvalidPrefix;

impl KvPrefix {
    /// The prefix's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KvPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let good = text.len() <= MAX_KEY_BYTES && !text.contains('\0');
        if good { Ok(Self(text.into())) } else { Err(InvalidPrefix) }
    }
}

impl TryFrom<String> for KvPrefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        text.parse()
    }
}

impl From<KvPrefix> for String {
    fn from(prefix: KvPrefix) -> Self {
        prefix.0.into()
    }
}

/// Where an entry is within its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPlace {
    /// The collection.
    pub collection: CollectionName,
    /// The key, unique within the collection.
    pub key: KvKey,
}

/// What the bytes of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KvKind {
    /// The text of a JSON value.
    Json,
    /// Bytes as they are.
    Blob,
}

/// A value. Two are the same when they are to the byte: the JSON of both was written by the same rules, without blanks and
/// with the members of objects in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvValue {
    kind: KvKind,
    bytes: Vec<u8>,
}

/// A value of too many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value has at most {MAX_VALUE_BYTES} bytes")]
pub struct ValueTooLong;

impl KvValue {
    /// A value of that kind.
    ///
    /// # Errors
    /// More than [`MAX_VALUE_BYTES`].
    pub fn new(kind: KvKind, bytes: Vec<u8>) -> Result<Self, ValueTooLong> {
        if bytes.len() > MAX_VALUE_BYTES { Err(ValueTooLong) } else { Ok(Self { kind, bytes }) }
    }

    /// A JSON value, written as scripts write it.
    ///
    /// # Errors
    /// More than [`MAX_VALUE_BYTES`].
    pub fn of_json(mut value: serde_json::Value) -> Result<Self, ValueTooLong> {
        round_large_integers(&mut value);
        Self::new(KvKind::Json, value.to_string().into_bytes())
    }

    /// What its bytes are.
    pub fn kind(&self) -> KvKind {
        self.kind
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The integer that it is, if it is one of 64 bits.
    pub fn as_integer(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        if self.kind == KvKind::Json { text.parse().ok() } else { None }
    }

    /// Whether it is JSON's `null`, which is what a script reads where there is nothing.
    pub fn is_null(&self) -> bool {
        self.kind == KvKind::Json && self.bytes == b"null"
    }
}

impl From<i64> for KvValue {
    fn from(number: i64) -> Self {
        Self { kind: KvKind::Json, bytes: number.to_string().into_bytes() }
    }
}

/// Scripts read an integer beyond 64 bits as a float and would write that again: so it is stored as one.
pub(crate) fn round_large_integers(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            *value = Value::from(number.as_f64());
        }
        Value::Array(items) => items.iter_mut().for_each(round_large_integers),
        Value::Object(members) => members.values_mut().for_each(round_large_integers),
        _ => {}
    }
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// Its key.
    pub key: KvKey,
    /// Its value.
    pub value: KvValue,
    /// From when on it is gone, if it does not live for ever.
    pub expires_at: Option<Timestamp>,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// Which entries of a collection to list.
#[derive(Debug, Clone)]
pub struct KvQuery {
    /// The collection.
    pub collection: CollectionName,
    /// What their keys begin with.
    pub prefix: String,
    /// The key after which they come, in order of bytes.
    pub after: Option<KvKey>,
    /// How many at most, up to [`MAX_PAGE`].
    pub limit: u32,
}

/// A page of entries in order of their keys' bytes.
#[derive(Debug, Clone, Default)]
pub struct KvPage {
    /// The entries: as many as were asked for, or fewer where more would come to over [`PAGE_BYTES`].
    pub entries: Vec<KvEntry>,
    /// The last key, where there may be more behind it.
    pub next: Option<KvKey>,
}

/// What is to be done to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvWrite {
    /// It gets this value, whatever it had, and lives so long.
    Set {
        /// The value.
        value: KvValue,
        /// How long, if not for ever.
        ttl: Option<Duration>,
    },
    /// It goes.
    Delete,
    /// The integer that it is grows by that much; what is not there is zero. How long it lives stays.
    Increment(i64),
    /// It gets the value if it has the expected one; where none or `null` is expected, if it is not there or `null`. How long it lives
    /// stays.
    Swap {
        /// What it must have.
        expected: Option<KvValue>,
        /// What it gets.
        value: KvValue,
    },
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvWritten {
    /// It is set.
    Set,
    /// It is gone; whether it was there.
    Deleted(bool),
    /// The integer that it is now.
    Sum(i64),
    /// Whether it had what was expected, and has the value now.
    Swapped(bool),
}

/// How much an app, or a collection, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvUsage {
    /// Entries, those among them that have expired and are not removed yet.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_1_to_512_bytes_without_nul() {
        for good in ["a", " ", "ä/ö:1", "..", &"k".repeat(512)] {
            assert!(good.parse::<KvKey>().is_ok(), "{good}");
        }
        for bad in ["", "a\0", &"k".repeat(513), &"ä".repeat(257)] {
            assert!(bad.parse::<KvKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_up_to_512_bytes_without_nul() {
        for good in ["", "a", "ä/", &"k".repeat(512)] {
            assert!(good.parse::<KvPrefix>().is_ok(), "{good}");
        }
        for bad in ["a\0", &"k".repeat(513)] {
            assert!(bad.parse::<KvPrefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_stored_as_scripts_would_write_it() {
        for (value, text) in [
            (json!({ "b": [1, 2.5], "a": null }), r#"{"a":null,"b":[1,2.5]}"#),
            (json!(9_223_372_036_854_775_807_i64), "9223372036854775807"),
            (json!([{ "n": 9_223_372_036_854_775_808_u64 }]), r#"[{"n":9.223372036854776e+18}]"#),
        ] {
            assert_eq!(KvValue::of_json(value).unwrap().bytes(), text.as_bytes());
        }
    }

    #[test]
    fn integers_and_null_are_told_from_their_likes() {
        let json = |text: &str| KvValue::new(KvKind::Json, text.into()).unwrap();
        let blob = |text: &str| KvValue::new(KvKind::Blob, text.into()).unwrap();
        assert_eq!(KvValue::from(i64::MIN).as_integer(), Some(i64::MIN));
        for other in [json("1.0"), json("\"1\""), json("9223372036854775808"), json("null"), blob("1")] {
            assert_eq!(other.as_integer(), None);
        }
        assert!(json("null").is_null() && !blob("null").is_null() && !json("\"null\"").is_null());
    }

    #[test]
    fn a_value_has_at_most_256_kib() {
        assert!(KvValue::new(KvKind::Blob, vec![0; MAX_VALUE_BYTES]).is_ok());
        assert_eq!(KvValue::new(KvKind::Json, vec![b' '; MAX_VALUE_BYTES + 1]), Err(ValueTooLong));
    }
}
