//! Turns a record into the row that is kept: JSON documents, without secrets and without what a database cannot hold.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderMap;
use picloud_shared::execution::{ExecutionRecord, LogLine, RecordPolicy};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::repo::executions::insert::NewExecution;

/// serde_json reads 127 levels; the list of lines and the line itself are two of them.
const MAX_DATA_DEPTH: usize = 125;

#[derive(Serialize)]
struct Request<'r> {
    method: &'r str,
    url: String,
    remote_ip: IpAddr,
    headers: Headers<'r>,
    #[serde(flatten)]
    body: Body<'r>,
    body_len: usize,
}

#[derive(Serialize)]
struct Response<'r> {
    headers: Headers<'r>,
    #[serde(flatten)]
    body: Body<'r>,
    body_len: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'r> {
    Text { body: &'r str },
    Bytes { body_base64: String },
}

struct Headers<'r>(&'r HeaderMap, &'r RecordPolicy);

/// The row for a record.
pub(super) fn row(record: &ExecutionRecord, sample_weight: u64) -> NewExecution {
    let head = &record.request;
    let request = Request {
        method: head.method.as_str(),
        url: head.url(),
        remote_ip: head.remote_ip,
        headers: Headers(&head.headers, &record.policy),
        body: Body::of(&record.request_body, record.request_body_len),
        body_len: record.request_body_len,
    };
    let response = record.response.as_ref().map(|response| Response {
        headers: Headers(&response.headers, &record.policy),
        body: Body::of(&response.body, response.body_len),
        body_len: response.body_len,
    });
    NewExecution {
        id: record.id,
        app_id: record.app_id,
        script_id: record.script_id,
        version: record.script_version,
        origin: record.origin,
        started_at: record.started_at,
        duration: record.duration,
        outcome: record.outcome,
        status: record.status.as_u16(),
        sample_weight,
        request: json(&request),
        response: response.as_ref().map(json),
        error: record.failure.as_ref().map(json),
        logs: json(&record.logs.iter().map(readable).collect::<Vec<_>>()),
    }
}

/// The line, without data that could be written but not read again.
fn readable(line: &LogLine) -> Cow<'_, LogLine> {
    match &line.data {
        Some(data) if nests_deeper(data, MAX_DATA_DEPTH) => {
            let data = Some(Value::from("(nested too deeply to be kept)"));
            Cow::Owned(LogLine { data, message: line.message.clone(), ..*line })
        }
        _ => Cow::Borrowed(line),
    }
}

fn nests_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(|item| nests_deeper(item, levels - 1)),
        Value::Object(entries) => entries.values().any(|entry| nests_deeper(entry, levels - 1)),
        _ => false,
    }
}

fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|error| {
        // Only a map with keys that are no strings could fail, and none of these types has one.
        tracing::error!(%error, "an execution record cannot be written as JSON");
        "null".to_owned()
    });
    without_nul(text)
}

/// Replaces the escape of NUL, which PostgreSQL's JSONB refuses, by that of the replacement character.
fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut kept = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        kept.push_str(&rest[..at]);
        // In valid JSON a backslash has one ASCII character after it at least.
        let (escape, after) = match rest[at..].strip_prefix(NUL) {
            Some(after) => ("\\ufffd", after),
            None => rest[at..].split_at(2),
        };
        kept.push_str(escape);
        rest = after;
    }
    kept + rest
}

impl<'r> Body<'r> {
    /// The kept beginning of a body of `len` bytes.
    fn of(kept: &'r [u8], len: usize) -> Self {
        match std::str::from_utf8(kept) {
            Ok(body) => Self::Text { body },
            // The cut may have gone through a character.
            Err(error) if error.error_len().is_none() && len > kept.len() => {
                Self::of(&kept[..error.valid_up_to()], len)
            }
            Err(_) => Self::Bytes { body_base64: STANDARD.encode(kept) },
        }
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.keys().filter(|name| self.1.keeps_header(name)) {
            let values: Vec<Cow<'_, str>> =
                self.0.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            map.serialize_entry(name.as_str(), &values)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_wherever_it_stands_and_nothing_else_is() {
        for text in ["\0", "a\0b\0", "\\u0000", "\\\0", "\\\\u0000\0", "\"\0\"", "é\0é\n\t", "none"] {
            let cleaned = without_nul(serde_json::to_string(&json!({ text: [text] })).unwrap());
            let expected = text.replace('\0', "\u{fffd}");
            assert_eq!(serde_json::from_str::<Value>(&cleaned).unwrap(), json!({ &expected: [&expected] }), "{text:?}");
        }
    }

    #[test]
    fn every_log_line_that_is_kept_can_be_read_again() {
        for depth in [0, MAX_DATA_DEPTH, MAX_DATA_DEPTH + 1, 200] {
            let data = (0..depth)
                .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "k": inner }) });
            let time = picloud_shared::clock::Timestamp::from_millis(0);
            let level = picloud_shared::execution::LogLevel::Info;
            let line = LogLine { time, level, message: "m".to_owned(), data: Some(data.clone()) };
            let read: Vec<LogLine> = serde_json::from_str(&json(&[readable(&line)])).unwrap();
            assert_eq!(read[0].data == Some(data), depth <= MAX_DATA_DEPTH, "{depth}");
            assert_eq!(read[0].message, "m");
        }
    }

    #[test]
    fn a_body_is_text_where_it_can_be() {
        let body = |kept: &[u8], len| serde_json::to_value(Body::of(kept, len)).unwrap();
        assert_eq!(body(b"", 0), json!({ "body": "" }));
        assert_eq!(body("é".as_bytes(), 2), json!({ "body": "é" }));
        assert_eq!(body(b"a\xc3", 9), json!({ "body": "a" }), "the cut went through a character");
        assert_eq!(body(b"a\xc3", 2), json!({ "body_base64": "YcM=" }), "the body itself ends like that");
        assert_eq!(body(b"a\xffb", 9), json!({ "body_base64": "Yf9i" }));
    }

    #[test]
    fn credentials_are_left_out_and_repeated_headers_kept() {
        let mut map = HeaderMap::new();
        for name in ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-token"] {
            map.append(HeaderName::from_static(name), "hunter2".parse().unwrap());
        }
        map.append("x-a", "1".parse().unwrap());
        map.append("x-a", "2".parse().unwrap());
        let policy = RecordPolicy::new([HeaderName::from_static("x-token")], true);
        assert_eq!(serde_json::to_value(Headers(&map, &policy)).unwrap(), json!({ "x-a": ["1", "2"] }));
    }
}
