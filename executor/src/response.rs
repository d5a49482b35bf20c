//! From what a script returned to what is sent: the rows of the response table.
//!
//! It runs on the script's stack, where its values are dropped too, and knows neither the request nor HTTP I/O.

pub mod body;
pub mod headers;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use rhai::{Dynamic, Map};

use crate::failure::Failed;
use crate::invocation::ScriptResponse;
use crate::sdk::Response;
use body::{Body, Row};
use headers::Headers;

/// A status that a script may choose.
///
/// # Errors
/// A text for the script's author: the number is not from 200 to 599.
pub fn status(number: i64) -> Result<StatusCode, String> {
    u16::try_from(number)
        .ok()
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| format!("a response's status is from 200 to 599, not {number}"))
}

/// What is sent for a returned value.
///
/// # Errors
/// A response that cannot be sent, or a body over `max_bytes`.
pub fn answer(value: &Dynamic, max_bytes: usize) -> Result<ScriptResponse, Failed> {
    if let Some(built) = value.read_lock::<Response>() {
        return Ok(send(built.status, built.headers.clone(), built.body.clone()));
    }
    if let Ok(map) = value.as_map_ref()
        && let Some(number) = chosen_status(&map)
    {
        let status = status(number).map_err(Failed::error)?;
        let headers = map.get("headers").map_or(Ok(Headers::default()), map_headers)?;
        let body = map.get("body").unwrap_or(&Dynamic::UNIT);
        return Ok(send(status, headers, write(&Row::of(body), max_bytes)?));
    }
    let row = Row::of(value);
    let status = if matches!(row, Row::Empty) { StatusCode::NO_CONTENT } else { StatusCode::OK };
    Ok(send(status, Headers::default(), write(&row, max_bytes)?))
}

/// The status of a map that is a response: all keys are known and `status` is an integer.
fn chosen_status(map: &Map) -> Option<i64> {
    let known = map.keys().all(|key| matches!(key.as_str(), "status" | "headers" | "body"));
    map.get("status").filter(|_| known)?.as_int().ok()
}

fn map_headers(value: &Dynamic) -> Result<Headers, Failed> {
    let mut headers = Headers::default();
    if value.is_unit() {
        return Ok(headers);
    }
    let map =
        value.as_map_ref().map_err(|kind| Failed::error(format!("a response's headers are a map, not {kind}")))?;
    for (name, value) in &*map {
        headers.set_value(name, value).map_err(|error| Failed::error(error.to_string()))?;
    }
    Ok(headers)
}

fn write(row: &Row<'_>, max_bytes: usize) -> Result<Body, Failed> {
    row.write(max_bytes).map_err(|error| match error {
        body::Error::TooLong => Failed::budget(body::LIMIT),
        body::Error::Unsupported(message) => Failed::error(format!("the response cannot be sent: {message}")),
    })
}

fn send(status: StatusCode, headers: Headers, body: Body) -> ScriptResponse {
    let mut headers: HeaderMap = headers.into();
    // RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these never have content.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        return ScriptResponse { status, headers, body: Bytes::new() };
    }
    if let Some(content_type) = body.content_type
        && !headers.contains_key(CONTENT_TYPE)
    {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    ScriptResponse { status, headers, body: body.bytes }
}
