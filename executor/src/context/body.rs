//! The request's body as scripts read it.

use http::header::CONTENT_TYPE;
use picloud_shared::request::ScriptRequest;
use rhai::{Dynamic, EvalAltResult, NativeCallContext, Position};

use super::text::{self, ContentType};
use super::{Fallible, thrown};
use crate::json::{self, SizeLimits};
use crate::limits::charge_bytes;

/// The body by its content type; `()` where there is none.
pub fn parsed(request: &ScriptRequest, call: &NativeCallContext) -> Fallible<Dynamic> {
    let body = &request.body;
    if body.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    let kind = content_type(request);
    if kind.is_json() {
        charge_bytes(body.len())?;
        let json = kind.decode(body).map_err(thrown)?;
        return json::read(json.as_bytes(), SizeLimits::of(call.engine()))
            .map_err(|error| error.thrown(Position::NONE));
    }
    if kind.is_form() {
        charge_bytes(body.len())?;
        return text::form(body, SizeLimits::of(call.engine())).map_err(|what| what.thrown(Position::NONE));
    }
    if kind.is_text() { text(request, call) } else { bytes(request, call) }
}

/// The body as text, whatever its type; empty where there is none.
pub fn text(request: &ScriptRequest, call: &NativeCallContext) -> Fallible<Dynamic> {
    let kind = content_type(request);
    fits(kind.decoded_len(&request.body), call.engine().max_string_size(), "Length of string")?;
    let text = kind.decode(&request.body).map_err(thrown)?;
    Ok(text.into_owned().into())
}

/// The body as it came; empty where there is none.
pub fn bytes(request: &ScriptRequest, call: &NativeCallContext) -> Fallible<Dynamic> {
    fits(request.body.len(), call.engine().max_array_size(), "Size of array/BLOB")?;
    Ok(Dynamic::from_blob(request.body.to_vec()))
}

/// Refuses before it copies what Rhai would refuse afterwards, in Rhai's own words.
fn fits(len: usize, max: usize, what: &str) -> Fallible<()> {
    if len > max {
        return Err(EvalAltResult::ErrorDataTooLarge(what.to_owned(), Position::NONE).into());
    }
    Ok(())
}

fn content_type(request: &ScriptRequest) -> ContentType {
    let header = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    ContentType::parse(header.unwrap_or_default())
}
