//! `text html json redirect respond`, and `.header` and `.cookie` of what they give.

use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, Position};

use super::cookie;
use crate::limits::charge_bytes;
use crate::response::body::{self, Body, Row};
use crate::response::headers::{Headers, InvalidHeader};
use crate::response::status;

type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// A response that a script builds. Its body is written when it is made: it holds no values of the script, which could be
/// chained through it without end.
#[derive(Debug, Clone)]
pub struct Response {
    /// From 200 to 599.
    pub status: StatusCode,
    /// All but a content type that follows from the body.
    pub headers: Headers,
    /// Written.
    pub body: Body,
}

impl Response {
    fn new(status: StatusCode, row: &Row<'_>, max_bytes: usize) -> Fallible<Self> {
        let body = row.write(max_bytes).map_err(|error| match error {
            body::Error::TooLong => EvalAltResult::ErrorDataTooLarge(body::LIMIT.to_owned(), Position::NONE).into(),
            body::Error::Unsupported(message) => thrown(message),
        })?;
        charge_bytes(body.bytes.len())?;
        Ok(Self { status, headers: Headers::default(), body })
    }

    fn with(mut self, header: &str, value: &str) -> Fallible<Self> {
        self.headers.set(header, value).map_err(thrown)?;
        Ok(self)
    }

    fn redirect(status: i64, url: &str) -> Fallible<Self> {
        let status = parse_status(status)?;
        if !status.is_redirection() {
            return Err(thrown(format!("a redirect's status is from 300 to 399, not {}", status.as_u16())));
        }
        Self::new(status, &Row::Empty, 0)?.with(LOCATION.as_str(), url)
    }

    /// Sets a header, in place of what it was; an array gives it several times.
    fn header(&mut self, name: &str, value: &Dynamic) -> Result<Self, InvalidHeader> {
        self.headers.set_value(name, value)?;
        Ok(self.clone())
    }

    /// Adds a cookie.
    fn cookie(&mut self, name: &str, value: &str, options: &Map) -> Fallible<Self> {
        let cookie = cookie::format(name, value, options).map_err(thrown)?;
        self.headers.append(SET_COOKIE.as_str(), &cookie).map_err(thrown)?;
        Ok(self.clone())
    }
}

fn thrown(message: impl ToString) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.to_string().into(), Position::NONE).into()
}

fn parse_status(number: i64) -> Fallible<StatusCode> {
    status(number).map_err(thrown)
}

/// Registers the builders; bodies are capped at `max_bytes`.
pub fn register(module: &mut Module, max_bytes: usize) {
    let function = |name: &str| FuncRegistration::new(name).in_global_namespace();
    // Calling one of these on a constant response must fail rather than change it.
    let method = |name: &str| function(name).with_purity(false);

    function("text").set_into_module(module, move |text: ImmutableString| {
        Response::new(StatusCode::OK, &Row::of(&text.into()), max_bytes)
    });
    function("html").set_into_module(module, move |html: ImmutableString| {
        let content_type = "text/html; charset=utf-8";
        Response::new(StatusCode::OK, &Row::of(&html.into()), max_bytes)?.with(CONTENT_TYPE.as_str(), content_type)
    });
    function("json")
        .set_into_module(module, move |value: Dynamic| Response::new(StatusCode::OK, &Row::Json(&value), max_bytes));
    function("redirect").set_into_module(module, |url: &str| Response::redirect(302, url));
    function("redirect").set_into_module(module, |status: i64, url: &str| Response::redirect(status, url));
    function("respond").set_into_module(module, move |status: i64, body: Dynamic| {
        Response::new(parse_status(status)?, &Row::of(&body), max_bytes)
    });
    method("header").set_into_module(module, |response: &mut Response, name: &str, value: Dynamic| {
        response.header(name, &value).map_err(thrown)
    });
    method("cookie").set_into_module(module, |response: &mut Response, name: &str, value: &str| {
        response.cookie(name, value, &Map::new())
    });
    method("cookie").set_into_module(module, |response: &mut Response, name: &str, value: &str, options: Map| {
        response.cookie(name, value, &options)
    });
}
