//! What of requests and responses an app lets its execution records keep.

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};
use serde::{Deserialize, Serialize};

use super::{RECORDED_BODY_BYTES, RecordedEvent};
use crate::at_most::AtMost;
use crate::event::Event;

/// Headers that hold credentials, which no record keeps.
const SECRET_HEADERS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];

/// Names of headers that an app keeps out of its records: at most [`RedactedHeaders::MAX`], each once, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AtMost<String, { RedactedHeaders::MAX }>", into = "Vec<String>")]
pub struct RedactedHeaders(Box<[HeaderName]>);

/// A list that is none of names of headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedactedHeaders {
    /// One of them cannot be a header's name.
    #[error("{0:?} is no name of a header")]
    Name(String),
    /// They are too many.
    #[error("at most 64 headers can be listed; these are {0}")]
    TooMany(usize),
}

impl RedactedHeaders {
    /// Each header of each record is looked for in the list.
    pub const MAX: usize = 64;

    /// The names, in lower case.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for RedactedHeaders {
    type Error = InvalidRedactedHeaders;

    fn try_from(names: Vec<String>) -> Result<Self, InvalidRedactedHeaders> {
        if names.len() > Self::MAX {
            return Err(InvalidRedactedHeaders::TooMany(names.len()));
        }
        let mut headers: Vec<HeaderName> = Vec::with_capacity(names.len());
        for name in names {
            match name.parse() {
                Ok(header) if headers.contains(&header) => {}
                Ok(header) => headers.push(header),
                // Whoever reads the error knows what they sent by its beginning.
                Err(_) => return Err(InvalidRedactedHeaders::Name(name.chars().take(64).collect())),
            }
        }
        Ok(Self(headers.into()))
    }
}

impl TryFrom<AtMost<String, { Self::MAX }>> for RedactedHeaders {
    type Error = InvalidRedactedHeaders;

    fn try_from(AtMost(names): AtMost<String, { Self::MAX }>) -> Result<Self, InvalidRedactedHeaders> {
        Self::try_from(names)
    }
}

impl From<RedactedHeaders> for Vec<String> {
    fn from(headers: RedactedHeaders) -> Self {
        headers.0.iter().map(|name| name.as_str().to_owned()).collect()
    }
}

/// What the records of an app keep. Unless the app says otherwise: all headers but those that hold credentials, and the
/// beginning of each body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPolicy {
    redacted: Box<[HeaderName]>,
    bodies: bool,
}

impl Default for RecordPolicy {
    fn default() -> Self {
        Self::new([], true)
    }
}

impl RecordPolicy {
    /// Leaves out these headers, too, and all bodies unless `bodies` are to be kept.
    pub fn new(redacted: impl IntoIterator<Item = HeaderName>, bodies: bool) -> Self {
        Self { redacted: redacted.into_iter().collect(), bodies }
    }

    /// Whether a record keeps a header of that name.
    pub fn keeps_header(&self, name: &HeaderName) -> bool {
        !SECRET_HEADERS.contains(name) && !self.redacted.contains(name)
    }

    /// Whether a record keeps of bodies anything at all.
    pub fn keeps_bodies(&self) -> bool {
        self.bodies
    }

    /// The part of a body that a record keeps. Always a copy: a short body can be a slice of a large buffer, which a waiting
    /// record must not keep alive.
    pub fn recorded_body(&self, body: &[u8]) -> Bytes {
        let kept = if self.bodies { body.len().min(RECORDED_BODY_BYTES) } else { 0 };
        Bytes::copy_from_slice(&body[..kept])
    }

    /// The part of events that a record keeps: of their payloads together as much as of a body.
    pub fn recorded_events(&self, events: &[Event]) -> Box<[RecordedEvent]> {
        let mut left = if self.bodies { RECORDED_BODY_BYTES } else { 0 };
        let recorded = events.iter().map(|event| {
            let whole = event.payload.as_str();
            let mut kept = whole.len().min(left);
            while !whole.is_char_boundary(kept) {
                kept -= 1;
            }
            left -= kept;
            RecordedEvent {
                id: event.id,
                source: event.source,
                op: event.op,
                attempt: event.attempt,
                payload: whole[..kept].into(),
                payload_len: whole.len(),
            }
        });
        recorded.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_left_out_whatever_the_app_says_and_what_it_lists_besides() {
        let (default, own) = (RecordPolicy::default(), RecordPolicy::new([HeaderName::from_static("x-token")], true));
        for (name, by_default, by_own) in [
            ("authorization", false, false),
            ("proxy-authorization", false, false),
            ("cookie", false, false),
            ("set-cookie", false, false),
            ("x-token", true, false),
            ("accept", true, true),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!((default.keeps_header(&name), own.keeps_header(&name)), (by_default, by_own), "{name}");
        }
    }

    #[test]
    fn a_list_of_headers_holds_each_name_once_and_nothing_else() {
        let list =
            |names: &[&str]| RedactedHeaders::try_from(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let parsed = list(&["X-Token", "x-token", "accept"]).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), r#"["x-token","accept"]"#);
        for bad in ["", "x token", "x:", "é"] {
            assert_eq!(list(&[bad]), Err(InvalidRedactedHeaders::Name(bad.to_owned())));
        }
        assert_eq!(list(&["a"; 65]), Err(InvalidRedactedHeaders::TooMany(65)));
    }

    #[test]
    fn the_beginning_of_a_body_is_copied_unless_bodies_are_off() {
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        let slice = large.slice(..8);
        let kept = RecordPolicy::default().recorded_body(&slice);
        assert_eq!(kept, slice);
        assert_ne!(kept.as_ptr(), slice.as_ptr());
        assert_eq!(RecordPolicy::default().recorded_body(&large).len(), RECORDED_BODY_BYTES);
        assert!(RecordPolicy::new([], false).recorded_body(&large).is_empty());
    }
}
