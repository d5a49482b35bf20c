//! `base64::*`: the two alphabets of RFC 4648, 4 and 5.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{Config, DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rhai::{Blob, Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_array, fits_string, thrown, with_bytes};
use crate::limits::charge_bytes;

/// Padding is written where the standard says so, and read or missed in either alphabet: senders differ. Bits that no byte
/// needs must be zero, so that a text has one reading.
const fn codec(alphabet: &Alphabet, padded: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_encode_padding(padded);
    GeneralPurpose::new(alphabet, config.with_decode_padding_mode(DecodePaddingMode::Indifferent))
}

static PLAIN: GeneralPurpose = codec(&STANDARD, true);
static URL: GeneralPurpose = codec(&URL_SAFE, false);

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("encode").set_into_module(module, |call: NativeCallContext, data: Dynamic| {
            encode(&call, &PLAIN, "base64::encode: data", &data)
        });
        FuncRegistration::new("encode_url").set_into_module(module, |call: NativeCallContext, data: Dynamic| {
            encode(&call, &URL, "base64::encode_url: data", &data)
        });
        FuncRegistration::new("decode").set_into_module(module, |call: NativeCallContext, text: &str| {
            decode(&call, &PLAIN, "base64::decode", text)
        });
        FuncRegistration::new("decode_url").set_into_module(module, |call: NativeCallContext, text: &str| {
            decode(&call, &URL, "base64::decode_url", text)
        });
    })
});

/// The module `base64`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn encode(
    call: &NativeCallContext,
    codec: &GeneralPurpose,
    argument: &str,
    data: &Dynamic,
) -> Fallible<ImmutableString> {
    with_bytes(call, data, argument, |bytes| {
        fits_string(call, base64::encoded_len(bytes.len(), codec.config().encode_padding()).unwrap_or(usize::MAX))?;
        Ok(codec.encode(bytes).into())
    })
}

fn decode(call: &NativeCallContext, codec: &GeneralPurpose, name: &str, text: &str) -> Fallible<Blob> {
    charge_bytes(text.len())?;
    let unpadded = text.trim_end_matches('=').len();
    // 4 characters are 3 bytes, and a rest of 2 or 3 is 1 or 2.
    fits_array(call, unpadded / 4 * 3 + (unpadded % 4).saturating_sub(1))?;
    codec.decode(text).map_err(|error| thrown(call, format!("{name}: text is not base64 of this alphabet: {error}")))
}
