//! `url::*`: percent-encoding (RFC 3986, 2.1), query strings as forms write them, and the parts of a URL as the WHATWG's
//! standard reads them.

use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rhai::{Array, Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};
use url::Url;

use super::native::{self, Fallible, cut, fits_array, fits_map, fits_string, short, thrown, with_text};
use crate::limits::charge_bytes;

/// All but the unreserved characters of RFC 3986, 2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Bytes of a URL that is taken apart; browsers and servers take few that are longer. Host names are normalised, which costs
/// more a byte than reading does.
const MAX_URL_BYTES: usize = 8 * 1024;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("encode").set_into_module(module, encode);
        FuncRegistration::new("decode").set_into_module(module, decode);
        FuncRegistration::new("parse").set_into_module(module, parse);
        FuncRegistration::new("build_query").set_into_module(module, build_query);
        FuncRegistration::new("parse_query").set_into_module(module, parse_query);
    })
});

/// The module `url`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn encode(call: NativeCallContext, text: &str) -> Fallible<ImmutableString> {
    charge_bytes(text.len().saturating_mul(2))?;
    let len = utf8_percent_encode(text, ENCODED).map(str::len).sum();
    fits_string(&call, len)?;
    let mut out = String::with_capacity(len);
    out.extend(utf8_percent_encode(text, ENCODED));
    Ok(out.into())
}

fn decode(call: NativeCallContext, text: &str) -> Fallible<ImmutableString> {
    charge_bytes(text.len())?;
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(thrown(&call, format!("url::decode: the % at byte {at} is not followed by two hex digits")));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| (&*text).into()).map_err(|_| thrown(&call, "url::decode: the bytes of text are not UTF-8"))
}

fn parse(call: NativeCallContext, text: &str) -> Fallible<Map> {
    if text.len() > MAX_URL_BYTES {
        return Err(thrown(&call, format!("url::parse: url has at most {MAX_URL_BYTES} bytes")));
    }
    charge_bytes(text.len().saturating_mul(8))?;
    let url = Url::parse(text).map_err(|error| {
        let hint = "; give a whole one, such as https://example.com/path";
        thrown(&call, format!("url::parse: url cannot be read: {error}{hint}"))
    })?;
    // The parts are together not longer than the whole.
    fits_string(&call, 2 * url.as_str().len())?;
    let or_unit = |text: Option<&str>| text.map_or(Dynamic::UNIT, Into::into);
    let entries: [(&str, Dynamic); 9] = [
        ("href", url.as_str().into()),
        ("scheme", url.scheme().into()),
        ("username", url.username().into()),
        ("password", or_unit(url.password())),
        ("host", or_unit(url.host_str())),
        ("port", url.port_or_known_default().map_or(Dynamic::UNIT, |port| i64::from(port).into())),
        ("path", url.path().into()),
        ("query", or_unit(url.query())),
        ("fragment", or_unit(url.fragment())),
    ];
    fits_map(&call, entries.len())?;
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// `a=1&b=2` of a map: a value of an array for each of its elements, `()` for none.
fn build_query(call: NativeCallContext, map: Map) -> Fallible<ImmutableString> {
    let mut out = form_urlencoded::Serializer::new(String::new());
    let mut written = 0_usize;
    let mut append = |key: &str, value: &Dynamic| -> Fallible<()> {
        if value.is_unit() {
            return Ok(());
        }
        let appended = with_text(value, |text| {
            charge_bytes(key.len() + text.len() + 8)?;
            written = written.saturating_add(encoded_len(key) + encoded_len(text) + 2);
            fits_string(&call, written - 1)?;
            out.append_pair(key, text);
            Ok(())
        });
        appended.unwrap_or_else(|| {
            let (key, kind) = (cut(key), short(value.type_name()));
            Err(thrown(&call, format!("url::build_query: {key:?} holds a value without a text: {kind}")))
        })
    };
    for (key, value) in &map {
        match value.as_array_ref() {
            Ok(array) => array.iter().try_for_each(|value| append(key, value))?,
            Err(_) => append(key, value)?,
        }
    }
    Ok(out.finish().into())
}

fn encoded_len(text: &str) -> usize {
    form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum()
}

/// The map of a query or form, as `ctx.request.query` is one: a key that comes several times gives an array.
fn parse_query(call: NativeCallContext, text: &str) -> Fallible<Map> {
    charge_bytes(text.len().saturating_mul(2))?;
    // Decoded, no text is longer than it was encoded.
    let (mut map, mut elements) = (Map::new(), 0);
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        let value: Dynamic = (&*value).into();
        match map.get_mut(&*key) {
            None => {
                fits_map(&call, map.len() + 1)?;
                map.insert((&*key).into(), value);
            }
            Some(held) => {
                let mut array = match held.take().try_cast_result::<Array>() {
                    Ok(array) => array,
                    Err(first) => {
                        elements += 1;
                        vec![first]
                    }
                };
                elements += 1;
                fits_array(&call, elements)?;
                array.push(value);
                *held = Dynamic::from_array(array);
            }
        }
    }
    Ok(map)
}
