//! A request that is answered at once and handled later, as the payload of the event that it is kept as. What it is read from
//! may have been edited by a person or damaged, and is taken for nothing but text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Params, RequestHead, Scheme, ScriptRequest, check_method};
use crate::domain_pattern::Host;
use crate::event::{EventPayload, InvalidPayload, MAX_PAYLOAD_BYTES};
use crate::execution::RecordPolicy;
use crate::id::{AppId, EventId, RouteId, ScriptId};
use crate::path_pattern::RequestPath;

/// Header lines of a request at most: more than any client may send.
const MAX_HEADER_LINES: usize = 1_000;

/// A request, and the route that it came by.
#[derive(Debug, Clone)]
pub struct KeptRequest {
    /// The route, which may be gone by the time.
    pub route: RouteId,
    /// What the script is given.
    pub request: ScriptRequest,
}

/// A payload that is no such request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeptRequest {
    /// It has other members, or they are of other kinds.
    #[error("the payload is no request: {0}")]
    Shape(String),
    /// A member cannot be what it says.
    #[error("the payload is no request: {0} cannot be what it says")]
    Member(&'static str),
}

/// Why a request is not kept, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The app has as many events as it may, in the words of the limit.
    #[error("{0}")]
    Full(String),
    /// Too many others of the app are being kept.
    #[error("too many requests of the app are being kept")]
    Busy,
    /// The store cannot be written. Nothing was kept.
    #[error("the store cannot be written")]
    Unavailable,
    /// The store failed, or took too long, while it was being kept.
    #[error("whether the request is kept is not known")]
    Unknown,
}

/// Whoever keeps requests as events.
#[async_trait]
pub trait RequestKeeper: Send + Sync + 'static {
    /// Keeps a request for an endpoint of its app. Once it returns the event is kept, whatever happens.
    ///
    /// # Errors
    /// See [`NotKept`].
    async fn keep(&self, app: AppId, script: ScriptId, payload: EventPayload) -> Result<EventId, NotKept>;
}

/// As it is written.
#[derive(Serialize)]
struct Written<'r> {
    route_id: RouteId,
    method: &'r str,
    scheme: &'static str,
    host: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    path: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'r str>,
    params: Members<'r>,
    host_params: Members<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<&'r str>,
    remote_ip: IpAddr,
    headers: Headers<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

struct Members<'r>(&'r Params);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// Each name with its values in their order. Bytes that are not UTF-8 are replaced, as scripts read them.
struct Headers<'r>(&'r HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let values = self.0.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            map.serialize_entry(name.as_str(), &values.collect::<Vec<_>>())?;
        }
        map.end()
    }
}

/// As it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    route_id: RouteId,
    method: String,
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    host_params: BTreeMap<String, String>,
    rest: Option<String>,
    remote_ip: IpAddr,
    #[serde(default)]
    headers: BTreeMap<String, Vec<String>>,
    body: Option<String>,
    body_base64: Option<String>,
}

impl KeptRequest {
    /// The request as a payload: a body that is UTF-8 as text, and any other in base64.
    ///
    /// # Errors
    /// More than [`MAX_PAYLOAD_BYTES`] when it is written.
    pub fn payload(&self) -> Result<EventPayload, InvalidPayload> {
        let ScriptRequest { head, params, host_params, rest, body } = &self.request;
        // It only grows.
        if body.len() > MAX_PAYLOAD_BYTES {
            return Err(InvalidPayload::TooLong);
        }
        let text = std::str::from_utf8(body).ok();
        let written = Written {
            route_id: self.route,
            method: head.method.as_str(),
            scheme: head.scheme.as_str(),
            host: &head.host,
            port: head.port,
            path: &head.path,
            query: head.query.as_deref(),
            params: Members(params),
            host_params: Members(host_params),
            rest: rest.as_deref(),
            remote_ip: head.remote_ip,
            headers: Headers(&head.headers),
            body: text.filter(|text| !text.is_empty()),
            body_base64: text.is_none().then(|| STANDARD.encode(body)),
        };
        let written = serde_json::to_string(&written).expect("its keys are all strings");
        EventPayload::of_written(written)
    }

    /// The request that a payload is.
    ///
    /// # Errors
    /// What no request of a client could be.
    pub fn of_payload(payload: &EventPayload) -> Result<Self, InvalidKeptRequest> {
        let read = serde_json::from_str(payload.as_str());
        let read: Read = read.map_err(|error| InvalidKeptRequest::Shape(told(&error)))?;
        let invalid = InvalidKeptRequest::Member;
        let method = Method::from_bytes(read.method.as_bytes()).ok().filter(|method| check_method(method).is_ok());
        let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|scheme| scheme.as_str() == read.scheme);
        let host = Host::parse(&read.host).map_err(|_| invalid("host"))?;
        RequestPath::parse(&read.path).map_err(|_| invalid("path"))?;
        let body = match (read.body, read.body_base64) {
            (Some(_), Some(_)) => return Err(invalid("body beside body_base64")),
            (text, None) => text.unwrap_or_default().into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| invalid("body_base64"))?,
        };
        let head = RequestHead {
            method: method.ok_or(invalid("method"))?,
            scheme: scheme.ok_or(invalid("scheme"))?,
            host: host.as_str().into(),
            port: read.port,
            path: read.path.into(),
            query: read.query.map(Into::into),
            headers: headers(read.headers).ok_or(invalid("headers"))?,
            remote_ip: read.remote_ip,
        };
        let request = ScriptRequest {
            head: Arc::new(head),
            params: params(read.params),
            host_params: params(read.host_params),
            rest: read.rest.map(Into::into),
            body: body.into(),
        };
        Ok(Self { route: read.route_id, request })
    }

    /// What people are shown of a payload that is a request, and scripts other than the one that it is for: as much as the app lets
    /// its execution records keep. Of what is no object nothing is shown, since headers may stand anywhere in it.
    pub fn shown(payload: &EventPayload, policy: &RecordPolicy) -> EventPayload {
        let mut value = payload.to_json();
        let Value::Object(members) = &mut value else { return EventPayload::default() };
        match members.get_mut("headers") {
            Some(Value::Object(headers)) => {
                let keeps = |name: &str| name.parse().is_ok_and(|name: HeaderName| policy.keeps_header(&name));
                headers.retain(|name, _| keeps(name));
            }
            Some(_) => drop(members.remove("headers")),
            None => {}
        }
        if !policy.keeps_bodies() {
            members.remove("body");
            members.remove("body_base64");
        }
        // It is shorter than it was, and nested as it was.
        EventPayload::of_json(&value).unwrap_or_default()
    }
}

/// What is wrong, without the values that serde_json tells of, which may be credentials.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_members_alone =
        ["missing field", "unknown field", "duplicate field"].iter().any(|what| text.starts_with(what));
    match names_members_alone {
        true => text,
        false => format!("it is wrong at line {} column {}", error.line(), error.column()),
    }
}

fn params(read: BTreeMap<String, String>) -> Params {
    read.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// `None` where one of them can be no header, or they are too many.
fn headers(read: BTreeMap<String, Vec<String>>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if read.values().map(Vec::len).sum::<usize>() > MAX_HEADER_LINES {
        return None;
    }
    for (name, values) in read {
        let name: HeaderName = name.parse().ok()?;
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            headers.try_append(name.clone(), value).ok()?;
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn kept(body: &'static [u8]) -> KeptRequest {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", &b"application/json"[..]),
            ("authorization", b"Bearer hunter2"),
            ("x-a", b"1"),
            ("x-a", b"2"),
            ("x-raw", b"a\xffb"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let head = RequestHead {
            method: Method::POST,
            scheme: Scheme::Https,
            host: "shop.test".into(),
            port: Some(8443),
            path: "/orders/a%20b".into(),
            query: Some("q=%ff&q=2".into()),
            headers,
            remote_ip: [203, 0, 113, 9].into(),
        };
        let request = ScriptRequest {
            head: Arc::new(head),
            params: vec![("id".into(), "a b".into())],
            host_params: vec![("tenant".into(), "x".into())],
            rest: Some("r/%2f".into()),
            body: Bytes::from_static(body),
        };
        KeptRequest { route: RouteId::from_uuid(Uuid::from_u128(7)), request }
    }

    /// The payload of a request whose member is that.
    fn with(member: &str, value: Value) -> EventPayload {
        let mut payload = kept(b"x").payload().unwrap().to_json();
        payload[member] = value;
        EventPayload::of_json(&payload).unwrap()
    }

    #[test]
    fn a_request_comes_out_as_it_went_in_whatever_its_body() {
        for body in [&b""[..], b"{\"a\": 1}", "\0 \u{1f600} \"\\".as_bytes(), b"\x00\xff\xfe", &[0x80; 1000]] {
            let kept = kept(body);
            let back = KeptRequest::of_payload(&kept.payload().unwrap()).unwrap();
            assert_eq!((back.route, &back.request.body), (kept.route, &kept.request.body));
            assert_eq!(back.request.params, kept.request.params);
            assert_eq!(back.request.host_params, kept.request.host_params);
            assert_eq!(back.request.rest, kept.request.rest);
            let (head, was) = (&back.request.head, &kept.request.head);
            assert_eq!((&head.method, head.url(), head.remote_ip), (&was.method, was.url(), was.remote_ip));
            let values = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            assert_eq!(values("x-a"), [b"1", b"2"]);
            assert_eq!(values("authorization"), [b"Bearer hunter2"]);
            assert_eq!(values("x-raw"), ["a\u{fffd}b".as_bytes()]);
        }
    }

    #[test]
    fn what_would_be_over_the_longest_payload_is_refused() {
        const LARGE: &[u8] = &[b'x'; MAX_PAYLOAD_BYTES + 1];
        assert_eq!(kept(LARGE).payload(), Err(InvalidPayload::TooLong));
        assert_eq!(kept(&LARGE[..MAX_PAYLOAD_BYTES]).payload(), Err(InvalidPayload::TooLong));
        assert!(kept(&LARGE[..MAX_PAYLOAD_BYTES - 1024]).payload().is_ok());
        // Each byte of it is written as six.
        assert_eq!(kept(&[0; MAX_PAYLOAD_BYTES / 6]).payload(), Err(InvalidPayload::TooLong));
    }

    #[test]
    fn what_no_client_could_have_sent_is_no_request() {
        let many: serde_json::Map<String, Value> = (0..=1_000).map(|n| (format!("x{n:x}"), json!([""]))).collect();
        for (member, value) in [
            ("method", json!("TRACE")),
            ("method", json!("G T")),
            ("scheme", json!("file")),
            ("host", json!("a b")),
            ("host", json!("shop.test:80")),
            ("port", json!(70_000)),
            ("path", json!("orders")),
            ("path", json!("/../etc")),
            ("remote_ip", json!("nobody")),
            ("headers", json!({ "x y": ["1"] })),
            ("headers", json!({ "x": ["a\r\nb: c"] })),
            ("headers", json!({ "x": "1" })),
            ("headers", Value::Object(many)),
            ("headers", json!({ "x": vec![""; 80_000] })),
            ("body_base64", json!("AA==")),
            ("body", json!(["x"])),
            ("route_id", json!("7")),
            ("more", json!(1)),
        ] {
            assert!(KeptRequest::of_payload(&with(member, value)).is_err(), "{member}");
        }
        for text in ["null", "[]", "{}", "\"x\""] {
            assert!(KeptRequest::of_payload(&EventPayload::new(text).unwrap()).is_err(), "{text}");
        }
        assert!(KeptRequest::of_payload(&with("body", json!("y"))).is_ok());
    }

    #[test]
    fn credentials_are_never_shown_nor_bodies_where_the_app_keeps_none() {
        let headers = json!({ "Cookie": ["a=hunter2"], "x-token": ["hunter2"], "é": ["hunter2"], "accept": ["b"] });
        let payload = with("headers", headers);
        let own = RecordPolicy::new([HeaderName::from_static("x-token")], false);
        assert_eq!(KeptRequest::shown(&payload, &own).to_json()["headers"], json!({ "accept": ["b"] }));
        assert_eq!(KeptRequest::shown(&payload, &own).to_json().get("body"), None);
        assert_eq!(KeptRequest::shown(&payload, &RecordPolicy::default()).to_json()["body"], "x");
        let odd = KeptRequest::shown(&with("headers", json!(["cookie: hunter2"])), &own);
        assert!(!odd.as_str().contains("hunter2"), "{}", odd.as_str());
    }

    #[test]
    fn of_what_is_damaged_nothing_is_told_that_stood_in_it() {
        for damaged in [
            r#"{"headers":{"authorization":["Bearer hunter2"]"#,
            r#"["hunter2"]"#,
            "hunter2",
            r#"{"headers":"hunter2"}"#,
        ] {
            let payload = EventPayload::of_written(damaged.to_owned()).unwrap();
            let shown = KeptRequest::shown(&payload, &RecordPolicy::default());
            assert!(!shown.as_str().contains("hunter2"), "{}", shown.as_str());
        }
        let odd = with("headers", json!({ "authorization": "Bearer hunter2" }));
        for payload in [odd, with("scheme", json!("hunter2")), with("port", json!("hunter2"))] {
            let told = KeptRequest::of_payload(&payload).unwrap_err().to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
        let missing = KeptRequest::of_payload(&EventPayload::new("{}").unwrap()).unwrap_err().to_string();
        assert!(missing.contains("missing field"), "{missing}");
    }
}
