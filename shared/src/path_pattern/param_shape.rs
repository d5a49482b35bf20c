//! Where among the segments of a pattern its parameters stand.

use std::fmt;
use std::str::FromStr;

use super::MAX_PATTERN_SEGMENTS;

/// Which segments of a pattern are parameters, written as a colon for each of these and a dot for each other, from the left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParamShape(Box<str>);

/// A text that is no such shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shape of parameters is at most 64 dots and colons")]
pub struct InvalidParamShape;

impl ParamShape {
    /// The dots and colons.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Segment by segment, whether it is a parameter.
    pub fn params(&self) -> impl Iterator<Item = bool> {
        self.0.bytes().map(|byte| byte == b':')
    }
}

impl FromIterator<bool> for ParamShape {
    fn from_iter<I: IntoIterator<Item = bool>>(params: I) -> Self {
        Self(params.into_iter().map(|is_param| if is_param { ':' } else { '.' }).collect::<String>().into())
    }
}

impl FromStr for ParamShape {
    type Err = InvalidParamShape;

    fn from_str(text: &str) -> Result<Self, InvalidParamShape> {
        let is_shape = text.len() <= MAX_PATTERN_SEGMENTS && text.bytes().all(|byte| matches!(byte, b'.' | b':'));
        if is_shape { Ok(Self(text.into())) } else { Err(InvalidParamShape) }
    }
}

impl fmt::Display for ParamShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path_pattern::{PathKind, PathPattern};

    #[test]
    fn a_shape_tells_parameters_from_what_merely_looks_like_one() {
        for (kind, text, shape) in [
            (PathKind::Exact, "/", "."),
            (PathKind::Exact, "/:a/b", ".."),
            (PathKind::Param, "/users/:id/", ".:."),
            (PathKind::Param, "/%3Aid", "."),
            (PathKind::Prefix, "/*", ""),
            (PathKind::Prefix, "/:a/*/*", ":."),
        ] {
            let found = PathPattern::parse(kind, text).unwrap().param_shape();
            assert_eq!((found.as_str(), text.parse::<ParamShape>().is_err()), (shape, true), "{text}");
            assert_eq!(found.to_string().parse(), Ok(found), "{text}");
        }
        assert!(".".repeat(64).parse::<ParamShape>().is_ok() && ".".repeat(65).parse::<ParamShape>().is_err());
    }
}
