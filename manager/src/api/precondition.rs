//! `ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1).

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, IF_MATCH};
use http::request::Parts;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema};

use crate::api::problem::ApiError;
use crate::service::revision::{Precondition, Revision};

/// The header that tells a reader which revision it got.
pub(crate) fn etag(revision: &Revision) -> [(http::HeaderName, HeaderValue); 1] {
    let value = format!("\"{}\"", revision.as_str());
    [(ETAG, HeaderValue::from_str(&value).expect("a revision is hexadecimal, which a header can hold"))]
}

/// What a write demands by `If-Match`.
pub(crate) struct IfMatch(pub Precondition);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parse(&parts.headers).map(Self).ok_or_else(|| ApiError::malformed("If-Match is * or a list of quoted ETags"))
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = ParameterBuilder::new().name(IF_MATCH.as_str()).parameter_in(ParameterIn::Header);
        let header = header.description(Some("The ETag of what is to be changed, as it was read."));
        vec![header.required(Required::False).schema(Some(String::schema())).build()]
    }
}

/// Weak tags (`W/"..."`) never match strongly, and `*` matches whatever there is.
fn parse(headers: &HeaderMap) -> Option<Precondition> {
    if !headers.contains_key(IF_MATCH) {
        return Some(Precondition::None);
    }
    let mut tags = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        for tag in value.to_str().ok()?.split(',').map(str::trim) {
            if tag == "*" {
                return Some(Precondition::None);
            }
            let (weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |quoted| (true, quoted));
            let opaque = quoted.strip_prefix('"')?.strip_suffix('"')?;
            if !weak {
                tags.push(opaque.to_owned());
            }
        }
    }
    Some(Precondition::OneOf(tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<Precondition> {
        parse(&HeaderMap::from_iter([(IF_MATCH, value.parse().unwrap())]))
    }

    #[test]
    fn lists_stars_and_weak_tags_are_told_apart() {
        let one_of = |tags: &[&str]| Some(Precondition::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        assert_eq!(parsed("\"a\", \"b\""), one_of(&["a", "b"]));
        assert_eq!(parsed("*"), Some(Precondition::None));
        assert_eq!(parsed("W/\"a\""), one_of(&[]));
        assert_eq!(parse(&HeaderMap::new()), Some(Precondition::None));
        for bad in ["a", "\"a", "", "\""] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
