//! Request paths, and the patterns that routes match them with.

mod param_shape;
mod request_path;

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

pub use param_shape::{InvalidParamShape, ParamShape};
use request_path::decode_segment;
pub use request_path::{InvalidPath, RequestPath};

const MAX_PATTERN_BYTES: usize = 2048;
const MAX_PATTERN_SEGMENTS: usize = 64;

/// What a static segment of a shape key must not hold as such, lest two shapes read alike.
const NOT_IN_SHAPES: &AsciiSet = &CONTROLS.add(b'%').add(b'/').add(b':').add(b'*');

/// How a route's path is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// Every segment literally, `:name` included.
    Exact,
    /// `:name` is one whole, non-empty segment.
    Param,
    /// Ends in `/*`: the path before it and everything below; may hold parameters.
    Prefix,
}

impl PathKind {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Param => "param",
            Self::Prefix => "prefix",
        }
    }
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment<'p> {
    /// Matches this decoded text.
    Static(Cow<'p, str>),
    /// Matches any one non-empty segment and names it.
    Param(&'p str),
}

/// A route's path: its kind and its text as given. The segments are read off the text when asked for: an instance
/// may hold a million patterns, and their route tables hold the segments once more in their own way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    kind: PathKind,
    text: Box<str>,
}

/// A text that is not a pattern of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPathPattern {
    /// Not a path.
    #[error(
        "a path begins with /, is at most 2048 bytes and 64 segments, and holds no ?, #, control character, . or .. segment, or broken percent-escape"
    )]
    Form,
    /// A parameter without a usable name.
    #[error("a parameter is a whole segment such as :id, its name a letter or _ followed by letters, digits or _")]
    ParamName,
    /// Two parameters of one name.
    #[error("the parameter :{0} stands twice in the path")]
    RepeatedParam(String),
    /// A prefix without its tail.
    #[error("a prefix path ends in /*, such as /files/*")]
    MissingTail,
}

impl PathPattern {
    /// Reads a path as the given kind. The kind is trusted: `/greet/:name` as exact matches literally.
    ///
    /// # Errors
    /// What is wrong with the path, in words for its author.
    pub fn parse(kind: PathKind, text: &str) -> Result<Self, InvalidPathPattern> {
        let of_path = |c: char| c != '?' && c != '#' && !c.is_control();
        if !text.starts_with('/') || text.len() > MAX_PATTERN_BYTES || !text.chars().all(of_path) {
            return Err(InvalidPathPattern::Form);
        }
        if kind == PathKind::Prefix && !text.ends_with("/*") {
            return Err(InvalidPathPattern::MissingTail);
        }
        let pattern = Self { kind, text: text.into() };
        if pattern.raw_segments().count() > MAX_PATTERN_SEGMENTS
            || !pattern.raw_segments().all(|raw| decode_segment(raw).is_some())
        {
            return Err(InvalidPathPattern::Form);
        }
        for (position, name) in pattern.param_names().enumerate() {
            if !is_param_name(name) {
                return Err(InvalidPathPattern::ParamName);
            }
            if pattern.param_names().take(position).any(|before| before == name) {
                return Err(InvalidPathPattern::RepeatedParam(name.to_owned()));
            }
        }
        Ok(pattern)
    }

    /// The kind.
    pub fn kind(&self) -> PathKind {
        self.kind
    }

    /// The path as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern goes on after its segments: a prefix takes the path that ends there and all below it.
    pub fn has_tail(&self) -> bool {
        self.kind == PathKind::Prefix
    }

    /// The segments; without the tail of a prefix.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.raw_segments().map(|raw| match self.param_name(raw) {
            Some(name) => Segment::Param(name),
            // Parsing has seen that every segment decodes, so nothing is lost here.
            None => Segment::Static(percent_decode_str(raw).decode_utf8_lossy()),
        })
    }

    /// The names of the parameters, from the left.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.raw_segments().filter_map(|raw| self.param_name(raw))
    }

    /// Where its parameters stand.
    pub fn param_shape(&self) -> ParamShape {
        self.segments().map(|segment| matches!(segment, Segment::Param(_))).collect()
    }

    /// The path's shape: two patterns of one shape match the same paths. Parameter names do not count, encodings are
    /// canonical, and a literal `:` or `*` cannot be mistaken for syntax.
    pub fn shape_key(&self) -> String {
        let mut key = String::with_capacity(self.text.len());
        for segment in self.segments() {
            key.push('/');
            match segment {
                Segment::Static(text) => key.extend(utf8_percent_encode(&text, NOT_IN_SHAPES)),
                Segment::Param(_) => key.push(':'),
            }
        }
        if self.has_tail() {
            key.push_str("/*");
        }
        key
    }

    fn raw_segments(&self) -> impl Iterator<Item = &str> {
        let untailed = if self.has_tail() { self.text.strip_suffix("/*") } else { None };
        // Only `/*` leaves nothing at all: a prefix of no segments.
        let below_root = untailed.unwrap_or(&self.text).strip_prefix('/');
        below_root.into_iter().flat_map(|text| text.split('/'))
    }

    fn param_name<'p>(&self, raw_segment: &'p str) -> Option<&'p str> {
        if self.kind == PathKind::Exact { None } else { raw_segment.strip_prefix(':') }
    }
}

fn is_param_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(kind: PathKind, text: &str) -> PathPattern {
        PathPattern::parse(kind, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_given_kind_is_trusted() {
        use PathKind::{Exact, Param, Prefix};
        let literal = |text: &'static str| Segment::Static(text.into());
        for (kind, text, parsed, tail) in [
            (Exact, "/", vec![literal("")], false),
            (Exact, "/greet/:name", vec![literal("greet"), literal(":name")], false),
            (Exact, "/files/*", vec![literal("files"), literal("*")], false),
            (Exact, "/:", vec![literal(":")], false),
            (Param, "/greet/:name/", vec![literal("greet"), Segment::Param("name"), literal("")], false),
            (Param, "/%3Aname/a:b/*", vec![literal(":name"), literal("a:b"), literal("*")], false),
            (Param, "/caf%C3%A9/:_x1", vec![literal("café"), Segment::Param("_x1")], false),
            (Prefix, "/*", vec![], true),
            (Prefix, "//*", vec![literal("")], true),
            (Prefix, "/files/*", vec![literal("files")], true),
            (Prefix, "/:a/*/*", vec![Segment::Param("a"), literal("*")], true),
        ] {
            let pattern = pattern(kind, text);
            assert_eq!(pattern.segments().collect::<Vec<_>>(), parsed, "{text}");
            assert_eq!((pattern.has_tail(), pattern.to_string()), (tail, text.to_owned()));
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_or_two_things_is_refused() {
        use InvalidPathPattern::{Form, MissingTail, ParamName, RepeatedParam};
        use PathKind::{Exact, Param, Prefix};
        let long = format!("/{}", "x".repeat(2048));
        let deep = "/a".repeat(65);
        for (kind, text, error) in [
            (Exact, "", Form),
            (Exact, "a", Form),
            (Prefix, "*", Form),
            (Exact, "/a?b", Form),
            (Exact, "/a#b", Form),
            (Exact, "/a\nb", Form),
            (Exact, "/a\u{85}b", Form),
            (Exact, "/%00", Form),
            (Exact, "/%zz", Form),
            (Exact, "/%ff", Form),
            (Exact, "/a/../b", Form),
            (Param, "/:a/%2e%2E", Form),
            (Prefix, "/./*", Form),
            (Exact, &long, Form),
            (Exact, &deep, Form),
            (Param, "/:", ParamName),
            (Param, "/:1", ParamName),
            (Param, "/:a-b", ParamName),
            (Param, "/:a.json", ParamName),
            (Param, "/:é", ParamName),
            (Param, "/:a%62", ParamName),
            (Prefix, "/:/*", ParamName),
            (Param, "/:a/:b/:a", RepeatedParam("a".into())),
            (Prefix, "/", MissingTail),
            (Prefix, "/files", MissingTail),
            (Prefix, "/files/", MissingTail),
            (Prefix, "/files*", MissingTail),
            (Prefix, "/files/*/", MissingTail),
            (Prefix, "/files/%2A", MissingTail),
        ] {
            assert_eq!(PathPattern::parse(kind, text), Err(error), "{text}");
        }
        assert!(PathPattern::parse(Exact, &long[..2048]).is_ok());
        assert!(PathPattern::parse(Exact, &deep[..128]).is_ok());
        assert!(PathPattern::parse(Prefix, &format!("{}/*", &deep[..128])).is_ok());
    }

    #[test]
    fn a_shape_forgets_names_and_encodings_but_not_syntax() {
        use PathKind::{Exact, Param, Prefix};
        for (kind, text, key) in [
            (Exact, "/", "/"),
            (Exact, "/a/", "/a/"),
            (Param, "/a", "/a"),
            (Exact, "/%61", "/a"),
            (Param, "/users/:id", "/users/:"),
            (Param, "/users/:name", "/users/:"),
            (Exact, "/users/:id", "/users/%3Aid"),
            (Exact, "/users/%3aid", "/users/%3Aid"),
            (Exact, "/café", "/caf%C3%A9"),
            (Exact, "/a%2fb", "/a%2Fb"),
            (Exact, "/a%252fb", "/a%252fb"),
            (Prefix, "/*", "/*"),
            (Prefix, "//*", "//*"),
            (Exact, "/*", "/%2A"),
            (Prefix, "/:x/*/*", "/:/%2A/*"),
        ] {
            assert_eq!(pattern(kind, text).shape_key(), key, "{text}");
        }
    }
}
