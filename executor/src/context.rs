//! `ctx`: what a script sees of the request or the events, its app and itself, each part made when it is first read and kept for the
//! run. What a run reads is read-only, so that it reads the same each time.
//!
//! It knows the invocation and Rhai's values; routing, limits and the response are others' business.

mod body;
mod part;
pub mod text;

use std::sync::{Arc, Weak};

use http::HeaderMap;
use http::header::COOKIE;
use picloud_shared::event::Event;
use picloud_shared::request::{Params, RequestHead, ScriptRequest};
use picloud_shared::version;
use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Position};

use crate::invocation::Invocation;
use crate::json::{self, SizeLimits};
use crate::limits::charge_bytes;
pub use part::Lending;
use part::Part;
pub use text::ContentType;

/// The names of the parts that are lent.
pub const PARTS: [&str; 9] =
    ["params", "host_params", "query", "headers", "cookies", "body", "text", "bytes", "payload"];

type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// `ctx`.
#[derive(Debug, Clone)]
pub struct Context(Arc<Exchange>);

/// `ctx.request`.
#[derive(Debug, Clone)]
pub struct Request(Arc<Exchange>);

/// `ctx.event`, or another event of its batch, by its place there.
#[derive(Debug, Clone)]
pub struct EventInfo(Arc<Exchange>, usize);

/// `ctx.app`.
#[derive(Debug, Clone)]
pub struct AppInfo(Arc<Exchange>);

/// `ctx.script`.
#[derive(Debug, Clone)]
pub struct ScriptInfo(Arc<Exchange>);

/// One run's invocation with the parts that it has read.
#[derive(Debug)]
struct Exchange {
    /// Whoever runs the script holds it. A script that leaves its `ctx` behind for ever leaves no request with its body.
    invocation: Weak<Invocation>,
    lending: Lending,
    params: Part,
    host_params: Part,
    query: Part,
    headers: Part,
    cookies: Part,
    body: Part,
    text: Part,
    bytes: Part,
    /// That of each event.
    payloads: Box<[Part]>,
}

impl Context {
    /// The context of one run, which ends with the loan; another run of the same invocation needs its own.
    pub fn lend(invocation: &Arc<Invocation>, lending: Lending) -> (Self, Loan) {
        let exchange = Arc::new(Exchange {
            invocation: Arc::downgrade(invocation),
            lending,
            params: Part::default(),
            host_params: Part::default(),
            query: Part::default(),
            headers: Part::default(),
            cookies: Part::default(),
            body: Part::default(),
            text: Part::default(),
            bytes: Part::default(),
            payloads: invocation.input.events().iter().map(|_| Part::default()).collect(),
        });
        (Self(Arc::clone(&exchange)), Loan(exchange))
    }
}

/// Takes back what a run was lent, once it is dropped.
pub struct Loan(Arc<Exchange>);

impl Drop for Loan {
    fn drop(&mut self) {
        let Exchange { params, host_params, query, headers, cookies, body, text, bytes, payloads, .. } = &*self.0;
        [params, host_params, query, headers, cookies, body, text, bytes].into_iter().for_each(Part::end);
        payloads.iter().for_each(Part::end);
    }
}

impl Exchange {
    fn invocation(&self) -> Arc<Invocation> {
        self.invocation.upgrade().expect("whoever runs a script holds its invocation until the run has ended")
    }

    fn head(&self) -> Arc<RequestHead> {
        Arc::clone(&self.invocation().request().head)
    }
}

impl Invocation {
    /// The request, for who has `ctx.request`.
    fn request(&self) -> &ScriptRequest {
        self.input.request().expect("`ctx.request` is there in runs alone that have a request")
    }
}

impl EventInfo {
    fn read<T>(&self, read: impl FnOnce(&Event) -> T) -> T {
        read(&self.0.invocation().input.events()[self.1])
    }
}

/// Registers the getters of `ctx` and its parts.
pub fn register(module: &mut Module) {
    macro_rules! get {
        ($name:literal, |$this:ident: &mut $Type:ty| $value:expr) => {
            FuncRegistration::new_getter($name).set_into_module(module, |$this: &mut $Type| $value);
        };
        ($name:literal, |$call:ident, $this:ident: &mut $Type:ty| $value:expr) => {
            FuncRegistration::new_getter($name)
                .set_into_module(module, |$call: NativeCallContext, $this: &mut $Type| $value);
        };
    }

    get!("sdk_version", |_ctx: &mut Context| version::SDK);
    get!("execution_id", |ctx: &mut Context| ctx.0.invocation().execution_id.to_string());
    get!("app", |ctx: &mut Context| AppInfo(Arc::clone(&ctx.0)));
    get!("script", |ctx: &mut Context| ScriptInfo(Arc::clone(&ctx.0)));
    get!("request", |ctx: &mut Context| match ctx.0.invocation().input.request() {
        Some(_) => Dynamic::from(Request(Arc::clone(&ctx.0))),
        None => Dynamic::UNIT,
    });
    get!("event", |ctx: &mut Context| match ctx.0.payloads.is_empty() {
        true => Dynamic::UNIT,
        false => Dynamic::from(EventInfo(Arc::clone(&ctx.0), 0)),
    });

    get!("source", |event: &mut EventInfo| event.read(|event| string(event.source.as_str())));
    get!("op", |event: &mut EventInfo| event.read(|event| string(event.op.as_str())));
    get!("id", |event: &mut EventInfo| event.read(|event| event.id.to_string()));
    get!("attempt", |event: &mut EventInfo| event.read(|event| i64::from(event.attempt)));
    get!("created_at", |event: &mut EventInfo| event.read(|event| event.created_at.to_string()));
    get!("batch", |event: &mut EventInfo| {
        let EventInfo(exchange, _) = event;
        let each = (0..exchange.payloads.len()).map(|place| Dynamic::from(EventInfo(Arc::clone(exchange), place)));
        Dynamic::from_array(each.collect())
    });
    FuncRegistration::new_getter("payload").set_into_module(
        module,
        |call: NativeCallContext, event: &mut EventInfo| {
            let EventInfo(exchange, place) = &*event;
            exchange.payloads[*place].get(exchange.lending, || {
                let payload = event.read(|event| event.payload.clone());
                charge_bytes(payload.as_str().len())?;
                let read = json::read(payload.as_str().as_bytes(), SizeLimits::of(call.engine()));
                read.map_err(|error| error.thrown(Position::NONE))
            })
        },
    );
    FuncRegistration::new_setter("payload").set_into_module(
        module,
        |event: &mut EventInfo, value: Dynamic| match event.0.payloads[event.1].put_back(value) {
            true => Ok(()),
            false => Err(thrown("ctx.event.payload cannot be changed; change a copy of it")),
        },
    );

    get!("slug", |app: &mut AppInfo| string(app.0.invocation().app.app().slug.as_str()));
    get!("id", |script: &mut ScriptInfo| script.0.invocation().script.row.id.to_string());
    get!("name", |script: &mut ScriptInfo| string(script.0.invocation().script.row.name.as_str()));
    get!("version", |script: &mut ScriptInfo| i64::from(script.0.invocation().script.row.version));

    get!("method", |request: &mut Request| string(request.0.head().method.as_str()));
    get!("path", |request: &mut Request| string(&request.0.head().path));
    get!("host", |request: &mut Request| string(&request.0.head().host));
    get!("scheme", |request: &mut Request| string(request.0.head().scheme.as_str()));
    get!("url", |request: &mut Request| request.0.head().url());
    get!("remote_ip", |request: &mut Request| request.0.head().remote_ip.to_string());
    get!("rest", |request: &mut Request| match &request.0.invocation().request().rest {
        Some(rest) => Dynamic::from(string(rest)),
        None => Dynamic::UNIT,
    });

    // The parts that hold maps have a setter, which tells what cannot be changed.
    macro_rules! part {
        ($part:ident, |$call:ident, $request:ident| $make:expr) => {
            FuncRegistration::new_getter(stringify!($part)).set_into_module(
                module,
                |$call: NativeCallContext, request: &mut Request| {
                    let invocation = request.0.invocation();
                    let $request = invocation.request();
                    request.0.$part.get(request.0.lending, || $make)
                },
            );
            FuncRegistration::new_setter(stringify!($part)).set_into_module(
                module,
                |request: &mut Request, value: Dynamic| match request.0.$part.put_back(value) {
                    true => Ok(()),
                    false => Err(thrown(concat!(
                        "ctx.request.",
                        stringify!($part),
                        " cannot be changed; change a copy of it"
                    ))),
                },
            );
        };
    }

    part!(params, |_call, request| Ok(params(&request.params)));
    part!(host_params, |_call, request| Ok(params(&request.host_params)));
    part!(query, |call, request| {
        let query = request.head.query.as_deref().unwrap_or_default();
        charge_bytes(query.len())?;
        text::form(query.as_bytes(), SizeLimits::of(call.engine())).map_err(|what| what.thrown(Position::NONE))
    });
    part!(headers, |_call, request| Ok(headers(&request.head.headers)));
    part!(cookies, |_call, request| Ok(cookies(&request.head.headers)));
    part!(body, |call, request| body::parsed(request, &call));
    get!("text", |call, request: &mut Request| {
        request.0.text.get(request.0.lending, || body::text(request.0.invocation().request(), &call))
    });
    get!("bytes", |call, request: &mut Request| {
        request.0.bytes.get(request.0.lending, || body::bytes(request.0.invocation().request(), &call))
    });
}

fn string(text: &str) -> ImmutableString {
    text.into()
}

fn thrown(message: impl Into<ImmutableString>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into().into(), Position::NONE).into()
}

fn params(params: &Params) -> Dynamic {
    Dynamic::from_map(params.iter().map(|(name, value)| ((&**name).into(), string(value).into())).collect())
}

/// Headers by lower-case name. A header that comes several times is joined as RFC 9110, 5.3 and RFC 9113, 8.2.3 allow.
/// Bytes that are not UTF-8 are replaced.
fn headers(headers: &HeaderMap) -> Dynamic {
    let mut map = Map::new();
    for name in headers.keys() {
        let separator = if name == COOKIE { "; " } else { ", " };
        map.insert(name.as_str().into(), joined(headers, name.as_str(), separator).into());
    }
    Dynamic::from_map(map)
}

fn joined(headers: &HeaderMap, name: &str, separator: &str) -> ImmutableString {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(first) = values.next() else {
        return ImmutableString::new();
    };
    match values.next() {
        None => first.as_ref().into(),
        Some(second) => {
            let mut all = first.into_owned();
            for value in std::iter::once(second).chain(values) {
                all.push_str(separator);
                all.push_str(&value);
            }
            all.into()
        }
    }
}

/// Cookies by name, values as sent but for surrounding quotes (RFC 6265, 4.1.1). The first of a name counts, since
/// clients send the one with the longest path first.
fn cookies(headers: &HeaderMap) -> Dynamic {
    let mut map = Map::new();
    for line in headers.get_all(COOKIE) {
        for pair in String::from_utf8_lossy(line.as_bytes()).split(';') {
            if let Some((name, value)) = pair.split_once('=') {
                let value = value.trim();
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
                map.entry(name.trim().into()).or_insert_with(|| value.into());
            }
        }
    }
    Dynamic::from_map(map)
}
