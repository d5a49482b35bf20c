//! What a script gets of an answer.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use rhai::{Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext};

use crate::context::text::ContentType;
use crate::json::{self, Left, SizeLimits};
use crate::limits::{charge_bytes, charge_copied, reserve_bytes};
use crate::port::HttpAnswer;
use crate::sdk::native::{Fallible, fits_array, fits_string};
use crate::sdk::port::refused;

/// An answer, within the memory of the run. It holds no value of the script.
#[derive(Clone)]
pub struct HttpResponse(Arc<Held>);

struct Held {
    status: i64,
    /// Lower-case names with what they hold, those of one name joined.
    headers: Vec<(Box<str>, Box<str>)>,
    kind: ContentType,
    body: Box<[u8]>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({})", self.0.status)
    }
}

impl HttpResponse {
    /// The answer made anew in the memory of the run.
    pub fn of(answer: &HttpAnswer) -> Fallible<Self> {
        let HttpAnswer { status, headers, body } = answer;
        let bytes = body.len() + headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        charge_copied(bytes)?;
        reserve_bytes(bytes)?;
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(Arc::new(Held {
            status: status.as_u16().into(),
            headers: headers.keys().map(|name| (name.as_str().into(), joined(headers, name.as_str()))).collect(),
            kind: ContentType::parse(kind),
            body: body.as_ref().into(),
        })))
    }

    fn headers(&self, call: &NativeCallContext) -> Fallible<Map> {
        let left = Left::new(SizeLimits::of(call.engine()));
        let mut map = Map::new();
        for (name, value) in &self.0.headers {
            charge_bytes(name.len() + value.len())?;
            let counted = left.entry().and_then(|()| left.string(name)).and_then(|()| left.string(value));
            counted.map_err(|what| what.thrown(call.call_position()))?;
            map.insert((&**name).into(), ImmutableString::from(&**value).into());
        }
        Ok(map)
    }

    fn text(&self, call: &NativeCallContext) -> Fallible<ImmutableString> {
        let Held { kind, body, .. } = &*self.0;
        let len = kind.decoded_len(body);
        fits_string(call, len)?;
        charge_bytes(body.len())?;
        reserve_bytes(len)?;
        Ok((&*self.decoded(call)?).into())
    }

    fn json(&self, call: &NativeCallContext) -> Fallible<Dynamic> {
        let Held { kind, body, .. } = &*self.0;
        charge_bytes(body.len())?;
        reserve_bytes(kind.decoded_len(body))?;
        let text = self.decoded(call)?;
        json::read(text.as_bytes(), SizeLimits::of(call.engine())).map_err(|error| error.thrown(call.call_position()))
    }

    fn decoded(&self, call: &NativeCallContext) -> Fallible<std::borrow::Cow<'_, str>> {
        let undecodable =
            |_| refused(call, "protocol", "the answer's bytes are not text of its charset; read its blob");
        self.0.kind.decode(&self.0.body).map_err(undecodable)
    }

    fn blob(&self, call: &NativeCallContext) -> Fallible<Dynamic> {
        let body = &self.0.body;
        fits_array(call, body.len())?;
        charge_copied(body.len())?;
        reserve_bytes(body.len())?;
        Ok(Dynamic::from_blob(body.to_vec()))
    }
}

/// A header that comes several times is joined as RFC 9110, 5.3 allows; cookies, which hold commas, by line breaks.
fn joined(headers: &HeaderMap, name: &str) -> Box<str> {
    let mut text = String::new();
    for (place, value) in headers.get_all(name).iter().enumerate() {
        if place > 0 {
            text.push_str(if name == SET_COOKIE { "\n" } else { ", " });
        }
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    text.into()
}

/// Registers what it can be asked.
pub fn register(module: &mut Module) {
    FuncRegistration::new_getter("status").set_into_module(module, |answer: &mut HttpResponse| answer.0.status);
    FuncRegistration::new_getter("headers")
        .set_into_module(module, |call: NativeCallContext, answer: &mut HttpResponse| answer.headers(&call));
    FuncRegistration::new_getter("text")
        .set_into_module(module, |call: NativeCallContext, answer: &mut HttpResponse| answer.text(&call));
    FuncRegistration::new_getter("blob")
        .set_into_module(module, |call: NativeCallContext, answer: &mut HttpResponse| answer.blob(&call));
    FuncRegistration::new("json")
        .in_global_namespace()
        .set_into_module(module, |call: NativeCallContext, answer: &mut HttpResponse| answer.json(&call));
}
