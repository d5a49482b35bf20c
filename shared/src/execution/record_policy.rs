//! What of requests and responses an app lets its execution records keep.

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};

use super::RECORDED_BODY_BYTES;

/// Headers that hold credentials, which no record keeps.
const SECRET_HEADERS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];

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

    /// The part of a body that a record keeps. Always a copy: a short body can be a slice of a large buffer, which a waiting
    /// record must not keep alive.
    pub fn recorded_body(&self, body: &[u8]) -> Bytes {
        let kept = if self.bodies { body.len().min(RECORDED_BODY_BYTES) } else { 0 };
        Bytes::copy_from_slice(&body[..kept])
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
