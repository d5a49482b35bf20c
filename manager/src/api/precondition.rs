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
        let malformed =
            || ApiError::malformed("If-Match is * alone, or a list of quoted ETags with commas between them");
        parse(&parts.headers).map(Self).ok_or_else(malformed)
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = ParameterBuilder::new().name(IF_MATCH.as_str()).parameter_in(ParameterIn::Header);
        let header = header.description(Some("The ETag of what is to be changed, as it was read."));
        vec![header.required(Required::False).schema(Some(String::schema())).build()]
    }
}

/// `*` matches whatever there is, but not that there is nothing, and stands alone. Weak tags (`W/"..."`) never match strongly.
fn parse(headers: &HeaderMap) -> Option<Precondition> {
    if !headers.contains_key(IF_MATCH) {
        return Some(Precondition::None);
    }
    // Several lines are one list.
    let lines = headers.get_all(IF_MATCH).iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>()?;
    let list = lines.join(",");
    if list.trim() == "*" {
        return Some(Precondition::Present);
    }
    let (mut tags, mut tagged, mut rest) = (Vec::new(), false, list.as_str());
    loop {
        // A list may have empty elements (RFC 9110, 5.6.1.2).
        rest = rest.trim_start_matches(|c: char| c == ',' || BLANK.contains(&c));
        if rest.is_empty() {
            return tagged.then_some(Precondition::OneOf(tags));
        }
        let (tag, after) = take_tag(rest)?;
        tagged = true;
        tags.extend(tag.map(str::to_owned));
        rest = after.trim_start_matches(BLANK);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

/// What may stand around the elements of a list.
const BLANK: [char; 2] = [' ', '\t'];

/// The tag that a text begins with, nothing for a weak one, and what comes after it. A tag holds neither quotation marks
/// nor blanks; ours are hexadecimal, so that one beyond ASCII, which is malformed here, could not match either.
fn take_tag(text: &str) -> Option<(Option<&str>, &str)> {
    let strong = text.strip_prefix("W/");
    let (opaque, after) = strong.unwrap_or(text).strip_prefix('"')?.split_once('"')?;
    let holds = opaque.bytes().all(|byte| byte.is_ascii_graphic());
    holds.then_some((strong.is_none().then_some(opaque), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[&str]) -> Option<Precondition> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, line.parse().unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn lists_stars_and_weak_tags_are_told_apart() {
        let one_of = |tags: &[&str]| Some(Precondition::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        for (lines, expected) in [
            (&["\"a\", \"b\""][..], one_of(&["a", "b"])),
            (&["\"a\",\"b,c\""], one_of(&["a", "b,c"])),
            (&["\"a\"", "\"b\""], one_of(&["a", "b"])),
            (&[" ,\"a\" ,, \"b\","], one_of(&["a", "b"])),
            (&["\"*\""], one_of(&["*"])),
            (&["\"\""], one_of(&[""])),
            (&["*"], Some(Precondition::Present)),
            (&[" * "], Some(Precondition::Present)),
            (&["W/\"a\""], one_of(&[])),
            (&["W/\"a\", \"b\""], one_of(&["b"])),
            (&[], Some(Precondition::None)),
        ] {
            assert_eq!(parsed(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_neither_a_star_alone_nor_a_list_of_tags_is_malformed() {
        for bad in [
            "a",
            "\"a",
            "",
            ",",
            "\"",
            "w/\"a\"",
            "W/ \"a\"",
            "\"a b\"",
            "\"a\"\"b\"",
            "\"a\" \"b\"",
            "*, \"a\"",
            "\"a\", *",
            "W/\"x\", *",
            "*,*",
            "W/*",
        ] {
            assert_eq!(parsed(&[bad]), None, "{bad}");
        }
        assert_eq!(parsed(&["*", "\"a\""]), None);
        assert_eq!(parsed(&["*", "*"]), None);
    }
}
