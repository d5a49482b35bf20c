//! The vocabulary of events: what happened, and what a script is told of it. It knows neither where events are kept nor who
//! hands them out.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::execution::UnknownWord;
use crate::id::EventId;
use crate::name::QueueName;

/// Bytes of the longest payload, as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// How many events deep an event may have caused itself. One that is deeper is a loop, and is not handled.
pub const MAX_DEPTH: u32 = 16;
/// Bytes of the longest key by which a message is known to be sent already.
pub const MAX_DEDUP_KEY_BYTES: usize = 256;
/// How long after it was due an event may be handled: seven days. An older one becomes a dead letter instead.
pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the handling of a message can be put off by who sends it: 30 days.
pub const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

macro_rules! words {
    ($(#[$doc:meta])* $Name:ident, $message:literal, $($(#[$variant_doc:meta])* $Variant:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $Name {
            $($(#[$variant_doc])* $Variant,)+
        }

        impl $Name {
            /// All that there are.
            pub const ALL: &[Self] = &[$(Self::$Variant),+];

            /// The stable word for storage and JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $word,)+
                }
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $Name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().find(|known| known.as_str() == text).copied().ok_or(UnknownWord($message))
            }
        }
    };
}

words! {
    /// Where an event comes from.
    EventSource, "a source is cron, kv, docs, queue, http, invoke or dead_letter",
    /// The clock.
    Cron = "cron",
    /// A change of an entry that scripts keep by key.
    Kv = "kv",
    /// A change of a document.
    Docs = "docs",
    /// A message that was sent to a queue.
    Queue = "queue",
    /// A request whose caller does not wait for the answer.
    Http = "http",
    /// A call whose caller does not wait for the result.
    Invoke = "invoke",
    /// Another event that is not tried again.
    DeadLetter = "dead_letter",
}

words! {
    /// What happened at the source.
    EventOp, "an op is tick, set, delete, expire, insert, update, message, async, call or created",
    /// A time came.
    Tick = "tick",
    /// An entry was set.
    Set = "set",
    /// An entry or a document was removed.
    Delete = "delete",
    /// An entry's time was over.
    Expire = "expire",
    /// A document was added.
    Insert = "insert",
    /// A document was changed.
    Update = "update",
    /// A message was sent.
    Message = "message",
    /// A request came.
    Async = "async",
    /// A script was called.
    Call = "call",
    /// A dead letter was made.
    Created = "created",
}

/// What an event is about: the text of a JSON value. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPayload(Arc<str>);

/// A text that is no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// It is too long.
    #[error("a payload has at most {MAX_PAYLOAD_BYTES} bytes, as JSON")]
    TooLong,
    /// It is no JSON, or is nested deeper than can be read.
    #[error("a payload is a JSON value, nested less than 128 deep")]
    NotJson,
}

impl EventPayload {
    /// The payload of that text, which is looked through.
    ///
    /// # Errors
    /// More than [`MAX_PAYLOAD_BYTES`], or what is no JSON.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidPayload> {
        let payload = Self::of_written(text)?;
        let read: Result<serde_json::Value, _> = serde_json::from_str(&payload.0);
        read.map(|_| payload).map_err(|_| InvalidPayload::NotJson)
    }

    /// The payload of a text that is known to be JSON, since this program wrote it.
    ///
    /// # Errors
    /// More than [`MAX_PAYLOAD_BYTES`].
    pub fn of_written(text: impl Into<Arc<str>>) -> Result<Self, InvalidPayload> {
        let text = text.into();
        if text.len() > MAX_PAYLOAD_BYTES { Err(InvalidPayload::TooLong) } else { Ok(Self(text)) }
    }

    /// The payload that is this value.
    ///
    /// # Errors
    /// More than [`MAX_PAYLOAD_BYTES`] when it is written.
    pub fn of_json(value: &serde_json::Value) -> Result<Self, InvalidPayload> {
        Self::new(value.to_string())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, for a view of it.
    pub fn to_json(&self) -> serde_json::Value {
        // What cannot be read cannot come here but from a damaged row, which is shown as the text that it is.
        serde_json::from_str(&self.0).unwrap_or_else(|_| self.0.as_ref().into())
    }
}

impl Default for EventPayload {
    fn default() -> Self {
        Self("null".into())
    }
}

/// A key by which a message is known to be sent already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupKey(Arc<str>);

/// A text that is no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a dedup_key is 1 to {MAX_DEDUP_KEY_BYTES} bytes of UTF-8 without NUL")]
pub struct InvalidDedupKey;

impl DedupKey {
    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DedupKey {
    type Err = InvalidDedupKey;

    fn from_str(text: &str) -> Result<Self, InvalidDedupKey> {
        // PostgreSQL has no NUL in text.
        let good = (1..=MAX_DEDUP_KEY_BYTES).contains(&text.len()) && !text.contains('\0');
        if good { Ok(Self(text.into())) } else { Err(InvalidDedupKey) }
    }
}

/// A message on its way to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    /// The queue, which is there as soon as it has a message.
    pub queue: QueueName,
    /// What it says.
    pub payload: EventPayload,
    /// How long it waits at least before it is handled, up to [`MAX_DELAY`].
    pub delay: Duration,
    /// What it is known by, if it is to be taken once.
    pub dedup_key: Option<DedupKey>,
}

/// An event as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id, the same at each attempt.
    pub id: EventId,
    /// Where it comes from.
    pub source: EventSource,
    /// What happened there.
    pub op: EventOp,
    /// When it happened.
    pub created_at: Timestamp,
    /// Which attempt this is, from 1 on.
    pub attempt: u32,
    /// How many events stand between it and what was not caused by one.
    pub depth: u32,
    /// What it is about.
    pub payload: EventPayload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_reads_back_and_is_what_json_says() {
        for source in EventSource::ALL {
            assert_eq!(source.as_str().parse(), Ok(*source));
            assert_eq!(serde_json::to_value(source).unwrap(), source.as_str());
        }
        for op in EventOp::ALL {
            assert_eq!(op.as_str().parse(), Ok(*op));
            assert_eq!(serde_json::to_value(op).unwrap(), op.as_str());
        }
        assert!("timer".parse::<EventSource>().is_err() && "TICK".parse::<EventOp>().is_err());
    }

    #[test]
    fn a_payload_is_json_of_256_kib_at_most() {
        let string = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for good in ["null", "{\"a\":[1]}", "\"\\u0000\"", &string(MAX_PAYLOAD_BYTES), &deep(127)] {
            assert!(EventPayload::new(good).is_ok());
        }
        for (bad, why) in [
            ("", InvalidPayload::NotJson),
            ("{", InvalidPayload::NotJson),
            ("1 2", InvalidPayload::NotJson),
            (&deep(129), InvalidPayload::NotJson),
            (&string(MAX_PAYLOAD_BYTES + 1), InvalidPayload::TooLong),
        ] {
            assert_eq!(EventPayload::new(bad), Err(why));
        }
    }

    #[test]
    fn dedup_keys_are_1_to_256_bytes_without_nul() {
        for good in ["a", " ", "ä/1", &"k".repeat(256)] {
            assert!(good.parse::<DedupKey>().is_ok());
        }
        for bad in ["", "a\0", &"k".repeat(257)] {
            assert!(bad.parse::<DedupKey>().is_err());
        }
    }
}
