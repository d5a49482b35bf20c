//! Turns a record into the row that is kept: JSON documents, without secrets and without what a database cannot hold.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderMap;
use picloud_shared::execution::{
    EventAttempt, ExecutionRecord, LogLine, RecordPolicy, RecordedEvent, RecordedInput, Redactor,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::repo::executions::insert::NewExecution;

/// serde_json reads 127 levels; the list of lines and the line itself are two of them.
const MAX_DATA_DEPTH: usize = 125;

/// Bytes that are gone through at most to take the secrets out of one record, at a gigabyte a second and more.
const MOST_WORK: usize = 16 * 1024 * 1024;

#[derive(Serialize)]
struct Request<'r> {
    method: &'r str,
    url: Cow<'r, str>,
    remote_ip: IpAddr,
    headers: Headers<'r>,
    #[serde(flatten)]
    body: Body<'r>,
    body_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventAttempt>,
}

/// What stands in the place of a request.
#[derive(Serialize)]
struct Events<'r> {
    events: Vec<Cow<'r, RecordedEvent>>,
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
    Text { body: Cow<'r, str> },
    Bytes { body_base64: String },
}

struct Headers<'r>(&'r HeaderMap, &'r RecordPolicy, Texts<'r>);

/// Whose texts secrets are taken out of.
#[derive(Clone, Copy)]
enum Texts<'r> {
    Callers(&'r Redactor<'r>),
    Scripts(&'r Redactor<'r>),
}

impl Texts<'_> {
    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self {
            Self::Callers(redactor) => redactor.callers_text(text),
            Self::Scripts(redactor) => redactor.text(text),
        }
    }

    fn bytes<'t>(&self, bytes: &'t [u8], is_cut: bool) -> Cow<'t, [u8]> {
        match self {
            Self::Callers(redactor) => redactor.callers_bytes(bytes, is_cut),
            Self::Scripts(redactor) => redactor.bytes(bytes, is_cut),
        }
    }

    fn is_overwhelmed(&self) -> bool {
        match self {
            Self::Callers(redactor) | Self::Scripts(redactor) => redactor.is_overwhelmed(),
        }
    }
}

/// The row for a record of about so many bytes. Looking for secrets may take a while, where the record has any.
pub(super) fn row(record: &ExecutionRecord, sample_weight: u64, bytes: usize) -> NewExecution {
    let redactor = &Redactor::new(&record.secrets, bytes, MOST_WORK);
    let input = match &record.input {
        RecordedInput::Request { head, body, body_len, event } => json(&Request {
            method: head.method.as_str(),
            url: redactor.callers_text(&head.url()),
            remote_ip: head.remote_ip,
            headers: Headers(&head.headers, &record.policy, Texts::Callers(redactor)),
            body: Body::of(body, *body_len, Texts::Callers(redactor)),
            body_len: *body_len,
            event: *event,
        }),
        RecordedInput::Events(events) => {
            json(&Events { events: events.iter().map(|event| event_without_secrets(event, redactor)).collect() })
        }
    };
    let response = record.response.as_ref().map(|response| Response {
        headers: Headers(&response.headers, &record.policy, Texts::Scripts(redactor)),
        body: Body::of(&response.body, response.body_len, Texts::Scripts(redactor)),
        body_len: response.body_len,
    });
    let failure = record.failure.clone().map(|mut failure| {
        redactor.failure(&mut failure);
        failure
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
        request: input,
        response: response.as_ref().map(json),
        error: failure.as_ref().map(json),
        logs: json(&record.logs.iter().map(|line| redacted(line, redactor)).collect::<Vec<_>>()),
    }
}

/// The event without secrets in its payload.
fn event_without_secrets<'r>(event: &'r RecordedEvent, redactor: &Redactor<'_>) -> Cow<'r, RecordedEvent> {
    let is_cut = event.payload.len() < event.payload_len;
    match redactor.callers_bytes(event.payload.as_bytes(), is_cut) {
        Cow::Borrowed(_) => Cow::Borrowed(event),
        Cow::Owned(bytes) => {
            Cow::Owned(RecordedEvent { payload: String::from_utf8_lossy(&bytes).into(), ..event.clone() })
        }
    }
}

/// The line without secrets, as it can be read again.
fn redacted<'r>(line: &'r LogLine, redactor: &Redactor<'_>) -> Cow<'r, LogLine> {
    let mut line = readable(line);
    if !redactor.is_idle() {
        redactor.line(line.to_mut());
    }
    line
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
    /// The kept beginning of a body of `len` bytes, without secrets.
    fn of(kept: &'r [u8], len: usize, texts: Texts<'_>) -> Self {
        let is_cut = len > kept.len();
        let kept = texts.bytes(kept, is_cut);
        let text_len = match std::str::from_utf8(&kept) {
            Ok(text) => text.len(),
            // The cut may have gone through a character.
            Err(error) if error.error_len().is_none() && is_cut => error.valid_up_to(),
            Err(_) => return Self::Bytes { body_base64: STANDARD.encode(kept) },
        };
        let body = match kept {
            Cow::Borrowed(kept) => String::from_utf8_lossy(&kept[..text_len]),
            Cow::Owned(kept) => Cow::Owned(String::from_utf8_lossy(&kept[..text_len]).into_owned()),
        };
        Self::Text { body }
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // All of their names would be the same.
        let names = self.0.keys().filter(|name| self.1.keeps_header(name) && !self.2.is_overwhelmed());
        for name in names {
            let values = self.0.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<String> = values.map(|value| self.2.text(&value).into_owned()).collect();
            map.serialize_entry(&self.2.text(name.as_str()), &values)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use picloud_shared::secret::GivenSecrets;
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
        let nothing = GivenSecrets::default();
        let redactor = Redactor::new(&nothing, 0, 0);
        let body = |kept: &[u8], len| serde_json::to_value(Body::of(kept, len, Texts::Scripts(&redactor))).unwrap();
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
        let nothing = GivenSecrets::default();
        let headers = Headers(&map, &policy, Texts::Callers(&Redactor::new(&nothing, 0, 0)))
            .serialize(serde_json::value::Serializer);
        assert_eq!(headers.unwrap(), json!({ "x-a": ["1", "2"] }));
    }
}
