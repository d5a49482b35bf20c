//! Content types, character sets and form encoding.

use std::borrow::Cow;

use rhai::{Dynamic, Map};

use crate::json::{Left, SizeLimits, TooLarge};

/// A content type as RFC 9110, 8.3 writes it, as far as it decides how a body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    essence: String,
    charset: Option<String>,
}

impl ContentType {
    /// Reads a `content-type` header; anything goes, since an unknown type only means bytes.
    pub fn parse(header: &str) -> Self {
        let mut parts = header.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let named = name.trim().eq_ignore_ascii_case("charset");
            named.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        Self { essence, charset }
    }

    /// `application/json` and all `+json`.
    pub fn is_json(&self) -> bool {
        self.essence == "application/json" || self.essence.ends_with("+json")
    }

    /// An HTML form's default encoding.
    pub fn is_form(&self) -> bool {
        self.essence == "application/x-www-form-urlencoded"
    }

    /// Text that is neither.
    pub fn is_text(&self) -> bool {
        self.essence.starts_with("text/")
            || self.essence.ends_with("+xml")
            || matches!(&*self.essence, "application/xml" | "application/javascript" | "application/yaml")
    }

    /// Bytes of the text that [`ContentType::decode`] gives, at most: what is beyond ASCII in Latin-1 takes two in UTF-8.
    pub fn decoded_len(&self, body: &[u8]) -> usize {
        match self.charset.as_deref() {
            Some("iso-8859-1" | "latin1") => body.len() + body.iter().filter(|byte| !byte.is_ascii()).count(),
            _ => body.len(),
        }
    }

    /// The text of a body in this type's character set, UTF-8 where it names none. A byte order mark is left out.
    ///
    /// # Errors
    /// Bytes that are not of that character set, or one that is not supported; the text says so.
    pub fn decode<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, str>, String> {
        match self.charset.as_deref() {
            None | Some("utf-8" | "utf8") => {
                let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
                str::from_utf8(body).map(Cow::Borrowed).map_err(|_| "the body is not valid UTF-8".to_owned())
            }
            Some("us-ascii" | "ascii") if body.is_ascii() => Ok(String::from_utf8_lossy(body)),
            Some("us-ascii" | "ascii") => Err("the body is not ASCII, as its charset says".to_owned()),
            Some("iso-8859-1" | "latin1") => Ok(body.iter().map(|&byte| char::from(byte)).collect()),
            Some(other) => Err(format!("the charset {other:?} is not supported; read ctx.request.bytes instead")),
        }
    }
}

/// A map of a query or form: `+` is a space, `%xx` is decoded, and a repeated key gives an array.
///
/// # Errors
/// It holds more than `limits` allow.
pub fn form(encoded: &[u8], limits: SizeLimits) -> Result<Dynamic, TooLarge> {
    let left = Left::new(limits);
    let mut map = Map::new();
    for (key, value) in form_urlencoded::parse(encoded) {
        left.string(&value)?;
        let value = Dynamic::from(value.into_owned());
        match map.get_mut(&*key) {
            None => {
                left.string(&key)?;
                left.entry()?;
                map.insert((&*key).into(), value);
            }
            Some(held) if held.is_array() => {
                left.element()?;
                if let Ok(mut array) = held.as_array_mut() {
                    array.push(value);
                }
            }
            Some(held) => {
                left.element()?;
                left.element()?;
                *held = Dynamic::from_array(vec![held.take(), value]);
            }
        }
    }
    Ok(Dynamic::from_map(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::to_text;

    #[test]
    fn content_types_are_read_whatever_their_case_and_parameters() {
        for (header, json, form, text) in [
            ("application/json", true, false, false),
            ("Application/JSON ; charset=UTF-8", true, false, false),
            ("application/problem+json", true, false, false),
            ("application/x-www-form-urlencoded", false, true, false),
            ("text/csv; header=present", false, false, true),
            ("image/svg+xml", false, false, true),
            ("application/octet-stream", false, false, false),
            ("", false, false, false),
        ] {
            let kind = ContentType::parse(header);
            assert_eq!((kind.is_json(), kind.is_form(), kind.is_text()), (json, form, text), "{header}");
        }
    }

    #[test]
    fn bodies_are_decoded_by_their_charset() {
        let decode = |header: &str, body: &'static [u8]| ContentType::parse(header).decode(body).map(Cow::into_owned);
        assert_eq!(decode("text/plain", "ä".as_bytes()).as_deref(), Ok("ä"));
        assert_eq!(decode("text/plain", b"\xef\xbb\xbfa").as_deref(), Ok("a"));
        assert_eq!(decode("text/plain; charset=\"ISO-8859-1\"", b"\xe4").as_deref(), Ok("ä"));
        assert!(decode("text/plain", b"\xe4").is_err());
        assert!(decode("text/plain; charset=us-ascii", b"\xe4").is_err());
        assert!(decode("text/plain; charset=utf-16", b"a").is_err());
    }

    #[test]
    fn a_repeated_key_of_a_form_gives_an_array() {
        let limits = SizeLimits { string: 100, array: 3, map: 3 };
        let text = |encoded: &str| to_text(&form(encoded.as_bytes(), limits).unwrap(), 1_000);
        assert_eq!(text("a=1&b=x+y%21&a=2&a=3&c"), r#"{"a":["1","2","3"],"b":"x y!","c":""}"#);
        assert_eq!(text("%zz=%ff&=&&"), "{\"\":\"\",\"%zz\":\"\u{fffd}\"}");
        assert_eq!(text(""), "{}");
    }

    #[test]
    fn a_form_is_held_to_the_limits_while_it_is_read() {
        let limits = SizeLimits { string: 8, array: 3, map: 2 };
        let over = |encoded: &str| form(encoded.as_bytes(), limits).err();
        for within in ["a=1&b=2", "a=1&a=2&a=3", "abcd=efgh"] {
            assert_eq!(over(within), None, "{within}");
        }
        assert_eq!(over("a&b&c"), Some(TooLarge("Size of object map")));
        assert_eq!(over("a&a&a&a"), Some(TooLarge("Size of array/BLOB")));
        for long in ["abcd=efghi", "abcdefghi=", "a=12345678"] {
            assert_eq!(over(long), Some(TooLarge("Length of string")), "{long}");
        }
    }

    #[test]
    fn the_length_of_a_text_is_known_before_it_is_made() {
        for (header, body) in [("text/plain; charset=latin1", &b"a\xe4\xff"[..]), ("text/plain", "aä".as_bytes())] {
            let kind = ContentType::parse(header);
            assert_eq!(kind.decoded_len(body), kind.decode(body).unwrap().len(), "{header}");
        }
    }
}
