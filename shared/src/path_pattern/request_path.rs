//! The path of a request, read once. Knows nothing of patterns.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

/// The path of a request, split on raw `/`, each segment percent-decoded. Borrows where nothing was encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath<'a> {
    raw: &'a str,
    segments: SmallVec<[Cow<'a, str>; 12]>,
}

/// A path that no route may see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a path begins with /, and holds no . or .. segment, no encoded NUL and no invalid percent-encoding or UTF-8")]
pub struct InvalidPath;

impl<'a> RequestPath<'a> {
    /// Splits and decodes a path as sent, without its query.
    ///
    /// # Errors
    /// No leading `/`; a `.` or `..` segment, encoded or not; NUL; a broken percent-escape; invalid UTF-8 once decoded.
    pub fn parse(raw: &'a str) -> Result<Self, InvalidPath> {
        let below_root = raw.strip_prefix('/').ok_or(InvalidPath)?;
        let segments = below_root.split('/').map(decode_segment).collect::<Option<_>>().ok_or(InvalidPath)?;
        Ok(Self { raw, segments })
    }

    /// The path as sent.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded segments: `/a/` has two, `a` and the empty one; `/` has one, empty.
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }

    /// What follows the first `taken` segments, as sent and without its leading `/`.
    pub fn rest_after(&self, taken: usize) -> &'a str {
        let below_root = &self.raw[1..];
        below_root.splitn(taken + 1, '/').nth(taken).unwrap_or_default()
    }
}

/// The text that a segment stands for; `None` where no route may see it.
pub(super) fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    let segment = if raw.as_bytes().contains(&b'%') { decoded(raw)? } else { Cow::Borrowed(raw) };
    let seen = segment != "." && segment != ".." && !segment.as_bytes().contains(&0);
    seen.then_some(segment)
}

/// The text that percent-escapes stand for; `None` where one is broken or they are no UTF-8.
fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    let escaped = |after: &str| after.len() >= 2 && after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !raw.split('%').skip(1).all(escaped) {
        return None;
    }
    percent_decode_str(raw).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(raw: &str) -> Vec<String> {
        let path = RequestPath::parse(raw).unwrap_or_else(|_| panic!("{raw} is refused"));
        path.segments().iter().map(|segment| segment.to_string()).collect()
    }

    #[test]
    fn paths_are_split_on_raw_slashes_and_decoded_after() {
        for (raw, split) in [
            ("/", &[""][..]),
            ("//", &["", ""]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("/a//b", &["a", "", "b"]),
            ("/a%2Fb/c", &["a/b", "c"]),
            ("/caf%C3%A9", &["café"]),
            ("/café", &["café"]),
            ("/%61%25", &["a%"]),
            ("/%252e%252e", &["%2e%2e"]),
            ("/.../.a/a./..a", &["...", ".a", "a.", "..a"]),
            ("/..%2f..", &["../.."]),
            ("/a+b%20c", &["a+b c"]),
            ("/:x/*", &[":x", "*"]),
        ] {
            assert_eq!(segments(raw), split, "{raw}");
        }
    }

    #[test]
    fn paths_that_climb_or_do_not_decode_are_refused() {
        let refused = |raw: &str| assert_eq!(RequestPath::parse(raw), Err(InvalidPath), "{raw}");
        "a a/b * http://a/ /. /.. /a/./b /a/../b /a/.. /%2e /%2E%2e /.%2E/a /a/%2e./b /%00 /a%00b /% /%4 /%zz /%4g /a% /%%41
            /%+1 /%é /%c3 /%c3%28 /%ff /%ed%a0%80 /%c0%ae%c0%ae /%c0%af"
            .split_whitespace()
            .for_each(refused);
        refused("");
        refused("/\0");
    }

    #[test]
    fn a_plain_path_borrows_its_segments() {
        let path = RequestPath::parse("/hello/world").unwrap();
        assert!(path.segments().iter().all(|segment| matches!(segment, Cow::Borrowed(_))));
    }

    #[test]
    fn the_rest_is_as_sent_and_without_its_leading_slash() {
        for (raw, taken, rest) in [
            ("/", 0, ""),
            ("/a/b", 0, "a/b"),
            ("/files", 1, ""),
            ("/files/", 1, ""),
            ("/files//x", 1, "/x"),
            ("/files/a%2Fb/c%20d/", 1, "a%2Fb/c%20d/"),
            ("/a/b/c", 2, "c"),
        ] {
            assert_eq!(RequestPath::parse(raw).unwrap().rest_after(taken), rest, "{raw} {taken}");
        }
    }
}
