//! The headers that a script gives a response.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use rhai::Dynamic;

/// Bytes of all names and values of one response's headers. Clients and proxies give up at 8 to 64 KiB.
const MAX_BYTES: usize = 32 * 1024;
/// Bytes that each header counts beside its name and value, as with HPACK (RFC 7541, 4.1), so that many empty ones are not
/// free.
const OVERHEAD: usize = 32;

/// A header that cannot be sent; the text is for the script's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// Characters that no name may hold.
    #[error("{0:?} is not a header's name")]
    Name(String),
    /// Control characters in the value.
    #[error("the header {0} has a value with control characters")]
    Value(String),
    /// Neither a string nor an array of strings.
    #[error("the header {0} is a string or an array of strings, not {1}")]
    Kind(String, &'static str),
    /// Headers of the connection, which are the server's.
    #[error("the header {0} belongs to the connection and is the server's to set")]
    OfConnection(String),
    /// Several values where there can be but one.
    #[error("the header {0} has one value, not several")]
    Single(String),
    /// All together are too long.
    #[error("a response's headers hold at most {MAX_BYTES} bytes")]
    TooLong,
}

/// Valid headers, none of them the connection's.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    map: HeaderMap,
    bytes: usize,
}

impl Headers {
    /// Sets a header, in place of what it was.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let name = parse_name(name)?;
        let value = parse_value(&name, value)?;
        self.replace(name, vec![value])
    }

    /// Gives a header once more.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let name = parse_name(name)?;
        let value = parse_value(&name, value)?;
        let bytes = self.bytes + size(&name, &value);
        if bytes > MAX_BYTES {
            return Err(InvalidHeader::TooLong);
        }
        self.map.try_append(name, value).map_err(|_| InvalidHeader::TooLong)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Sets a header to a string, or to several by an array of strings.
    pub fn set_value(&mut self, name: &str, value: &Dynamic) -> Result<(), InvalidHeader> {
        if let Ok(text) = value.as_immutable_string_ref() {
            return self.set(name, &text);
        }
        let name = parse_name(name)?;
        let kind = |value: &Dynamic| InvalidHeader::Kind(name.to_string(), value.type_name());
        let array = value.as_array_ref().map_err(|_| kind(value))?;
        // None is free, so more than this cannot fit.
        if array.len() > MAX_BYTES / OVERHEAD {
            return Err(InvalidHeader::TooLong);
        }
        let parse = |item: &Dynamic| {
            let text = item.as_immutable_string_ref().map_err(|_| kind(item))?;
            parse_value(&name, &text)
        };
        let values: Vec<_> = array.iter().map(parse).collect::<Result<_, _>>()?;
        if values.len() > 1 && is_single(&name) {
            return Err(InvalidHeader::Single(name.to_string()));
        }
        self.replace(name, values)
    }

    /// Puts these values in the place of what the header was, all or none.
    fn replace(&mut self, name: HeaderName, values: Vec<HeaderValue>) -> Result<(), InvalidHeader> {
        let freed: usize = self.map.get_all(&name).iter().map(|value| size(&name, value)).sum();
        let taken: usize = values.iter().map(|value| size(&name, value)).sum();
        let bytes = self.bytes - freed + taken;
        if bytes > MAX_BYTES {
            return Err(InvalidHeader::TooLong);
        }
        self.map.remove(&name);
        self.bytes = bytes;
        for value in values {
            // The map's own bound is thousands of names, which take more than all bytes that there are.
            self.map.try_append(&name, value).map_err(|_| InvalidHeader::TooLong)?;
        }
        Ok(())
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        headers.map
    }
}

fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + OVERHEAD
}

fn parse_value(name: &HeaderName, text: &str) -> Result<HeaderValue, InvalidHeader> {
    HeaderValue::from_str(text)
        .or_else(|_| HeaderValue::from_bytes(text.as_bytes()))
        .map_err(|_| InvalidHeader::Value(name.to_string()))
}

fn parse_name(text: &str) -> Result<HeaderName, InvalidHeader> {
    let name: HeaderName = text.parse().map_err(|_| InvalidHeader::Name(text.chars().take(100).collect()))?;
    let of_connection = matches!(
        name.as_str(),
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "content-length"
    ) || name.as_str().starts_with("proxy-") && name != "proxy-status"; // RFC 9209: it goes from end to end.
    if of_connection { Err(InvalidHeader::OfConnection(name.to_string())) } else { Ok(name) }
}

/// Whether a header that comes twice says two things at once: its value is no list (RFC 9110, 5.3), and clients and caches differ in
/// which they believe.
fn is_single(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "access-control-allow-credentials"
            | "access-control-allow-origin"
            | "access-control-max-age"
            | "age"
            | "content-disposition"
            | "content-location"
            | "content-range"
            | "content-type"
            | "date"
            | "etag"
            | "expires"
            | "last-modified"
            | "location"
            | "retry-after"
            | "server"
            | "strict-transport-security"
            | "x-content-type-options"
            | "x-frame-options"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_are_refused_whatever_their_case() {
        for name in [
            "Connection",
            "keep-alive",
            "Proxy-Authenticate",
            "proxy-connection",
            "TE",
            "trailer",
            "Transfer-Encoding",
            "upgrade",
            "Content-Length",
        ] {
            let refused = Headers::default().set(name, "1");
            assert_eq!(refused, Err(InvalidHeader::OfConnection(name.to_ascii_lowercase())));
        }
    }

    #[test]
    fn what_a_proxy_says_of_the_response_is_for_whoever_reads_it() {
        assert_eq!(Headers::default().set("Proxy-Status", "picloud; error=http_request_error"), Ok(()));
    }

    #[test]
    fn a_header_whose_value_is_no_list_has_one() {
        let two = Dynamic::from_array(vec!["/a".into(), "/b".into()]);
        let one = Dynamic::from_array(vec!["/a".into()]);
        for name in ["Content-Type", "location", "ETag", "retry-after", "last-modified", "content-disposition"] {
            let mut headers = Headers::default();
            let refused = headers.set_value(name, &two);
            assert_eq!(refused, Err(InvalidHeader::Single(name.to_ascii_lowercase())));
            assert_eq!((headers.bytes, headers.map.len()), (0, 0));
            assert_eq!(headers.set_value(name, &one), Ok(()));
        }
        for name in ["link", "set-cookie", "vary", "www-authenticate", "x-a"] {
            assert_eq!(Headers::default().set_value(name, &two), Ok(()), "{name}");
        }
    }

    #[test]
    fn nothing_can_be_smuggled_in_by_a_name_or_a_value() {
        let mut headers = Headers::default();
        for name in ["", "a b", "a:", "a\r\nb", "ä", ":status"] {
            assert!(matches!(headers.set(name, "1"), Err(InvalidHeader::Name(_))), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\n", "\0"] {
            assert!(matches!(headers.set("a", value), Err(InvalidHeader::Value(_))), "{value:?}");
        }
        assert!(headers.set("x-name", "Zoë").is_ok());
    }

    #[test]
    fn setting_again_replaces_and_frees_its_bytes() {
        let mut headers = Headers::default();
        let value = "x".repeat(MAX_BYTES / 2);
        for _ in 0..10 {
            headers.set("a", &value).unwrap();
        }
        assert_eq!(headers.set("b", &value), Err(InvalidHeader::TooLong));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut headers = Headers::default();
        headers.set("a", "1").unwrap();
        let (bytes, long) = (headers.bytes, "x".repeat(MAX_BYTES));
        let mixed = Dynamic::from_array(vec!["2".into(), 1_i64.into()]);
        let too_long = Dynamic::from_array(vec!["2".into(), long.as_str().into()]);
        assert!(headers.set("a", &long).is_err() && headers.set("a", "\n").is_err());
        assert!(headers.append("a", &long).is_err());
        assert!(headers.set_value("a", &mixed).is_err() && headers.set_value("a", &too_long).is_err());
        assert_eq!((headers.bytes, headers.map.len()), (bytes, 1));
        assert_eq!(headers.map["a"], "1");
    }

    #[test]
    fn many_values_end_at_the_cap() {
        let values = Dynamic::from_array(vec!["".into(); 40_000]);
        assert_eq!(Headers::default().set_value("a", &values), Err(InvalidHeader::TooLong));
        let mixed = Dynamic::from_array(vec!["".into(), 1_i64.into()]);
        assert!(matches!(Headers::default().set_value("a", &mixed), Err(InvalidHeader::Kind(..))));
    }
}
