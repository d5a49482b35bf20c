//! What a script gives of a request, checked one by one.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rhai::{Dynamic, EvalAltResult, Map, NativeCallContext};
use url::Url;

use crate::json::{self, WriteError};
use crate::limits::{charge_bytes, charge_copied, reserve_bytes};
use crate::port::{HttpRequest, MAX_HTTP_BODY_BYTES};
use crate::sdk::native::{Fallible, cut, short, with_text};
use crate::sdk::port::refused;

/// Bytes of a URL with its query; servers take few that are longer.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Headers of a request, and the bytes of their names and values.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// How long a call may take that says nothing of it, and at most.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
/// What belongs to the connection or says where a message ends: set by a script, it could have a server read one request as two.
const OF_CONNECTION: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "http2-settings",
    "accept-encoding",
];

/// A request in the making.
pub struct Outline<'c, 'n> {
    call: &'c NativeCallContext<'n>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    header_bytes: usize,
    body: Option<Vec<u8>>,
    /// What the body is, unless a header says otherwise.
    kind: Option<&'static str>,
    timeout: Duration,
}

impl<'c, 'n> Outline<'c, 'n> {
    /// One to that URL.
    pub fn of(call: &'c NativeCallContext<'n>, method: Method, url: &str) -> Fallible<Self> {
        let url = parse_url(call, url)?;
        Ok(Self {
            call,
            method,
            url,
            headers: HeaderMap::new(),
            header_bytes: 0,
            body: None,
            kind: None,
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// All that `http::request` takes.
    pub fn of_map(call: &'c NativeCallContext<'n>, all: &Map) -> Fallible<Self> {
        let text = |name: &str| {
            let value = all.get(name).map(Dynamic::as_immutable_string_ref);
            value.and_then(Result::ok).map(|text| (*text).clone())
        };
        let url = text("url").ok_or_else(|| invalid(call, "url is a string"))?;
        let method = match all.get("method") {
            None => Method::GET,
            Some(_) => parse_method(call, &text("method").unwrap_or_default())?,
        };
        let mut outline = Self::of(call, method, &url)?;
        for (name, value) in all {
            match name.as_str() {
                "url" | "method" => {}
                "body" | "json" if all.contains_key("body") && all.contains_key("json") => {
                    return Err(invalid(call, "give body or json, not both"));
                }
                "body" => outline = outline.with_body(value)?,
                "json" => outline = outline.with_json(value)?,
                name => outline.set(name, value, "method, url, headers, query, body, json and timeout_ms")?,
            }
        }
        Ok(outline)
    }

    /// With the options that all calls have.
    pub fn with(mut self, options: &Map) -> Fallible<Self> {
        for (name, value) in options {
            self.set(name, value, "headers, query and timeout_ms")?;
        }
        Ok(self)
    }

    /// With a body: bytes of a blob, the text of a string, JSON of anything else, and none of `()`.
    pub fn with_body(mut self, body: &Dynamic) -> Fallible<Self> {
        if body.is_unit() {
            return Ok(self);
        }
        if let Ok(blob) = body.as_blob_ref() {
            return self.with_bytes(&blob, "application/octet-stream");
        }
        if let Ok(text) = body.as_immutable_string_ref() {
            return self.with_bytes(text.as_bytes(), "text/plain; charset=utf-8");
        }
        self = self.with_json(body)?;
        Ok(self)
    }

    /// With JSON of any value.
    fn with_json(mut self, value: &Dynamic) -> Fallible<Self> {
        let text = json::write(value, MAX_HTTP_BODY_BYTES).map_err(|error| match error {
            WriteError::TooLong => self.body_too_large(),
            other => self.invalid(&format!("the body cannot be written as JSON: {other}")),
        })?;
        self.body = Some(text);
        self.kind = Some("application/json");
        Ok(self)
    }

    fn with_bytes(mut self, bytes: &[u8], kind: &'static str) -> Fallible<Self> {
        if bytes.len() > MAX_HTTP_BODY_BYTES {
            return Err(self.body_too_large());
        }
        charge_copied(bytes.len())?;
        reserve_bytes(bytes.len())?;
        self.body = Some(bytes.to_vec());
        self.kind = Some(kind);
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &Dynamic, known: &str) -> Fallible<()> {
        match name {
            "headers" => match value.as_map_ref() {
                Ok(headers) => headers.iter().try_for_each(|(name, value)| self.header(name, value)),
                Err(kind) => Err(self.invalid(&format!("headers is a map, not {}", short(kind)))),
            },
            "query" => match value.as_map_ref() {
                Ok(query) => self.query(&query),
                Err(kind) => Err(self.invalid(&format!("query is a map, not {}", short(kind)))),
            },
            "timeout_ms" => {
                let millis = value.as_int().ok().and_then(|millis| u64::try_from(millis).ok());
                let millis = millis.filter(|millis| (1..=MAX_TIMEOUT_MS).contains(millis));
                let wrong = || self.invalid(&format!("timeout_ms is an integer from 1 to {MAX_TIMEOUT_MS}"));
                self.timeout = Duration::from_millis(millis.ok_or_else(wrong)?);
                Ok(())
            }
            _ => Err(self.invalid(&format!("there is no option {}; there are {known}", cut(name)))),
        }
    }

    /// Sets a header to a string, or to several by an array of strings.
    fn header(&mut self, name: &str, value: &Dynamic) -> Fallible<()> {
        let wrong = |what: &str| refused(self.call, "invalid_header", what);
        let parsed: HeaderName = name.parse().map_err(|_| wrong(&format!("{:?} is not a header's name", cut(name))))?;
        if OF_CONNECTION.contains(&parsed.as_str()) {
            return Err(wrong(&format!("the header {parsed} is set by what sends the request, not by a script")));
        }
        let array = value.as_array_ref();
        let values: &[Dynamic] = match &array {
            Ok(array) => array,
            Err(_) => std::slice::from_ref(value),
        };
        for value in values {
            let text = value
                .as_immutable_string_ref()
                .map_err(|kind| wrong(&format!("the header {parsed} is a string, not {}", short(kind))))?;
            charge_bytes(text.len())?;
            self.header_bytes += parsed.as_str().len() + text.len();
            if self.headers.len() >= MAX_HEADERS || self.header_bytes > MAX_HEADER_BYTES {
                let most = format!("a request has at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all");
                return Err(wrong(&most));
            }
            let mut value = HeaderValue::from_bytes(text.as_bytes())
                .map_err(|_| wrong(&format!("the header {parsed} has a value with control characters")))?;
            value.set_sensitive(parsed == AUTHORIZATION);
            self.headers.append(&parsed, value);
        }
        Ok(())
    }

    /// Adds to the query of the URL: an array gives a key several times, `()` none.
    fn query(&mut self, query: &Map) -> Fallible<()> {
        let mut len = self.url.as_str().len();
        let mut url = self.url.clone();
        {
            let mut pairs = url.query_pairs_mut();
            let mut append = |key: &str, value: &Dynamic| -> Fallible<()> {
                if value.is_unit() {
                    return Ok(());
                }
                let appended = with_text(value, |text| {
                    len = len.saturating_add(key.len() + text.len() + 2);
                    if len > MAX_URL_BYTES {
                        return Err(too_long(self.call));
                    }
                    charge_bytes(8 * (key.len() + text.len()))?;
                    pairs.append_pair(key, text);
                    Ok(())
                });
                let wrong = || Err(self.invalid(&format!("query.{} is a value without a text", cut(key))));
                appended.unwrap_or_else(wrong)
            };
            for (key, value) in query {
                match value.as_array_ref() {
                    Ok(array) => array.iter().try_for_each(|value| append(key, value))?,
                    Err(_) => append(key, value)?,
                }
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(too_long(self.call));
        }
        self.url = url;
        Ok(())
    }

    /// The request.
    pub fn finish(mut self) -> Fallible<HttpRequest> {
        if self.body.is_some() && matches!(self.method, Method::GET | Method::HEAD) {
            return Err(self.invalid("a GET or HEAD request has no body"));
        }
        if let Some(kind) = self.kind
            && !self.headers.contains_key(CONTENT_TYPE)
        {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let Self { method, url, headers, body, timeout, .. } = self;
        Ok(HttpRequest { method, url, headers, body, timeout })
    }

    fn body_too_large(&self) -> Box<EvalAltResult> {
        refused(self.call, "too_large", &format!("a request's body has at most {MAX_HTTP_BODY_BYTES} bytes"))
    }

    fn invalid(&self, what: &str) -> Box<EvalAltResult> {
        invalid(self.call, what)
    }
}

fn invalid(call: &NativeCallContext, what: &str) -> Box<EvalAltResult> {
    refused(call, "invalid", &format!("http::{}: {what}", short(call.fn_name())))
}

fn invalid_url(call: &NativeCallContext, what: &str) -> Box<EvalAltResult> {
    refused(call, "invalid_url", what)
}

fn too_long(call: &NativeCallContext) -> Box<EvalAltResult> {
    invalid_url(call, &format!("a URL has at most {MAX_URL_BYTES} bytes"))
}

fn parse_url(call: &NativeCallContext, text: &str) -> Fallible<Url> {
    if text.len() > MAX_URL_BYTES {
        return Err(too_long(call));
    }
    charge_bytes(text.len().saturating_mul(8))?;
    let mut url = Url::parse(text).map_err(|error| {
        invalid_url(call, &format!("the URL cannot be read: {error}; give a whole one, such as https://example.com/"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid_url(call, "the URL's scheme is http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid_url(call, "a URL has no user and no password here; give an authorization header"));
    }
    if url.as_str().len() > MAX_URL_BYTES {
        return Err(too_long(call));
    }
    url.set_fragment(None);
    Ok(url)
}

fn parse_method(call: &NativeCallContext, text: &str) -> Fallible<Method> {
    let word = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase());
    let parsed = text.parse().ok().filter(|method| word && !matches!(*method, Method::CONNECT | Method::TRACE));
    parsed.ok_or_else(|| invalid(call, "method is a word of capitals, such as GET, and neither CONNECT nor TRACE"))
}
