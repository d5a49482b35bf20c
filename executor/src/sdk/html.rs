//! `html::escape`: text for HTML, in content and in quoted attributes.

use std::sync::LazyLock;

use rhai::{FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_string};
use crate::limits::charge_bytes;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("escape").set_into_module(module, escape);
    })
});

/// The module `html`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// What stands for a byte that HTML reads as its own. `&#39;` is read by HTML of all versions, `&apos;` is not.
fn reference(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\'' => Some("&#39;"),
        _ => None,
    }
}

/// The bytes of a text once it is escaped.
pub fn escaped_len(text: &str) -> usize {
    text.bytes().map(|byte| reference(byte).map_or(1, str::len)).sum()
}

/// Escapes a text to the end of `out`.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((at, known)) = rest.bytes().enumerate().find_map(|(at, byte)| Some((at, reference(byte)?))) {
        out.push_str(&rest[..at]);
        out.push_str(known);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn escape(call: NativeCallContext, text: ImmutableString) -> Fallible<ImmutableString> {
    charge_bytes(text.len())?;
    let len = escaped_len(&text);
    if len == text.len() {
        return Ok(text);
    }
    fits_string(&call, len)?;
    charge_bytes(len)?;
    let mut out = String::with_capacity(len);
    push_escaped(&mut out, &text);
    Ok(out.into())
}
