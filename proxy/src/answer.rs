//! An answer whose whole body is at hand, and the problem documents among them (RFC 9457). Knows nothing of sockets.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::http::Refusal;

/// An answer to one request; whoever sends it adds `content-length` and `date`.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without framing.
    pub headers: HeaderMap,
    /// The body that a GET would get; the sender drops it where none may be sent.
    pub body: Bytes,
}

/// A problem document's members beyond title and status.
#[derive(Debug, Default, Serialize)]
pub struct ProblemMembers {
    /// The id of the execution that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// What the script threw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// 1-based line in the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// 1-based column in that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The name of the limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The API version that this server speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_version: Option<u32>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(flatten)]
    members: ProblemMembers,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Plain text that nobody may keep.
    pub fn text(status: StatusCode, body: &'static str) -> Self {
        Self { body: Bytes::from_static(body.as_bytes()), ..Self::empty(status) }
            .with(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// A JSON document that nobody may keep.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::document(status, "application/json", body)
    }

    /// A problem document.
    pub fn problem(status: StatusCode, code: &'static str, detail: &str) -> Self {
        Self::problem_with(status, code, detail, ProblemMembers::default())
    }

    /// A problem document with members of its own.
    pub fn problem_with(status: StatusCode, code: &'static str, detail: &str, members: ProblemMembers) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let r#type = format!("urn:picloud:problem:{code}");
        let problem = Problem { r#type, title, status: status.as_u16(), detail, code, members };
        Self::document(status, "application/problem+json", &problem)
    }

    /// A 405 that names what the resource takes.
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::problem(status, "method_not_allowed", "The Allow header lists the methods that this resource takes.")
            .with(ALLOW, allow)
    }

    /// A redirect.
    pub fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self::empty(status).with(LOCATION, location)
    }

    /// The same answer with one header set.
    pub fn with(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn document(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Self {
        // Nothing that is written here has a map with keys other than strings, the one thing that fails.
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        Self { body, ..Self::empty(status) }
            .with(CONTENT_TYPE, HeaderValue::from_static(media_type))
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = Self::problem(refusal.status(), refusal.code(), &refusal.detail());
        match refusal {
            Refusal::NoRoomForRequest | Refusal::NoRoomForAnswer => {
                answer.with(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document_that_nobody_keeps() {
        let answer = Answer::from(Refusal::NoRoomForRequest);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[RETRY_AFTER], "1");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:picloud:problem:overloaded", "title": "Service Unavailable", "status": 503,
                "detail": "Too many or too large requests are being received; try again shortly.", "code": "overloaded",
            })
        );
    }
}
