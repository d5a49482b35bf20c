//! `hex::*`: base 16 (RFC 4648, 8), written in lower case and read in either.

use std::fmt::Write;
use std::sync::LazyLock;

use rhai::{Blob, Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_array, fits_string, thrown, with_bytes};
use crate::limits::charge_bytes;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("encode").set_into_module(module, encode);
        FuncRegistration::new("decode").set_into_module(module, decode);
    })
});

/// The module `hex`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Bytes in lower-case hex.
pub fn text(bytes: &[u8]) -> ImmutableString {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing into a String cannot fail");
    }
    text.into()
}

fn encode(call: NativeCallContext, data: Dynamic) -> Fallible<ImmutableString> {
    with_bytes(&call, &data, "hex::encode: data", |bytes| {
        fits_string(&call, bytes.len().saturating_mul(2))?;
        Ok(text(bytes))
    })
}

fn decode(call: NativeCallContext, text: &str) -> Fallible<Blob> {
    charge_bytes(text.len())?;
    fits_array(&call, text.len() / 2)?;
    let refused = |why: String| thrown(&call, format!("hex::decode: text is not hex: {why}"));
    if let Some((at, stranger)) = text.char_indices().find(|(_, character)| !character.is_ascii_hexdigit()) {
        return Err(refused(format!("there is {stranger:?} at byte {at}")));
    }
    if text.len() % 2 == 1 {
        return Err(refused("its digits are odd in number, though each byte has two".to_owned()));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    Ok(text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}
