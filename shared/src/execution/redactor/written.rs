//! The ways in which a secret is written by functions of scripts, which the redactor looks for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// As many ways as there are.
pub(super) const FORMS: usize = 9;

/// As `url::encode` writes it.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As `url::build_query` writes it, but for blanks.
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// A secret in all ways that it is looked for.
pub(super) fn written(secret: &str) -> [Zeroizing<Vec<u8>>; FORMS] {
    let json = serde_json::to_string(secret).expect("JSON can hold every text");
    let json = Zeroizing::new(json);
    let json = &json[1..json.len() - 1];
    let twice = serde_json::to_string(json).expect("JSON can hold every text");
    let twice = Zeroizing::new(twice);
    let in_form = utf8_percent_encode(secret, IN_FORM).to_string().replace("%20", "+");
    let forms = [
        secret.to_owned(),
        json.to_owned(),
        twice[1..twice.len() - 1].to_owned(),
        utf8_percent_encode(secret, IN_URL).to_string(),
        in_form,
        html(secret),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        hex(secret),
    ];
    forms.map(|form| Zeroizing::new(form.into_bytes()))
}

fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}

fn hex(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
