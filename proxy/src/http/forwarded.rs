//! What proxies tell of the client that they pass a request on for: `Forwarded` (RFC 7239), or `X-Forwarded-For` with
//! `X-Forwarded-Proto`. Each proxy adds to what came, so that the last word is the nearest one's, and whatever stands before
//! the words of those that are trusted may be the client's own.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use picloud_shared::request::Scheme;
use serde::Deserialize;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// By which header a proxy tells. It writes one and leaves the other as the client sent it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// A text that names no such header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is x-forwarded-for or forwarded")]
pub struct UnknownProxyHeader;

impl ProxyHeader {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl FromStr for ProxyHeader {
    type Err = UnknownProxyHeader;

    fn from_str(text: &str) -> Result<Self, UnknownProxyHeader> {
        let named = |header: &Self| text.eq_ignore_ascii_case(header.as_str());
        [Self::XForwardedFor, Self::Forwarded].into_iter().find(named).ok_or(UnknownProxyHeader)
    }
}

/// What the proxies told, as far as they did and it can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The client.
    pub client: Option<IpAddr>,
    /// How it spoke to the first of them.
    pub scheme: Option<Scheme>,
}

/// Whom a proxy had its request from; nobody where that cannot be read, or is kept quiet.
#[derive(Debug, Clone, Copy, Default)]
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
}

impl Forwarded {
    /// Reads what was told by that header, from the nearest proxy back to the first address that is not trusted, or that is none;
    /// what stands before it is not looked at. Where all are trusted, the client is the first.
    pub fn read(headers: &HeaderMap, by: ProxyHeader, is_trusted: impl Fn(IpAddr) -> bool) -> Self {
        match by {
            ProxyHeader::Forwarded => {
                let Hop { address, scheme } = walk(lines(headers, &FORWARDED).flat_map(hops_of_line), is_trusted);
                Self { client: address, scheme }
            }
            ProxyHeader::XForwardedFor => {
                let addresses = lines(headers, &X_FORWARDED_FOR).flat_map(|line| line.unwrap_or("none").rsplit(','));
                let hops = addresses.map(str::trim).filter(|text| !text.is_empty());
                let hops = hops.map(|text| Hop { address: parse_address(text), scheme: None });
                // A proxy that overwrites this leaves one scheme; of several, the last is the nearest proxy's.
                let scheme = lines(headers, &X_FORWARDED_PROTO).next().flatten();
                let scheme = scheme.and_then(|line| parse_scheme(line.rsplit(',').next()?));
                Self { client: walk(hops, is_trusted).address, scheme }
            }
        }
    }

    /// Whether anybody says to have passed the request on, in whatever way.
    pub fn is_told(headers: &HeaderMap) -> bool {
        [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_PROTO].iter().any(|name| headers.contains_key(name))
    }
}

/// The lines of a header, the last one first; `None` for one that is no text.
fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> + use<'h> {
    headers.get_all(name).iter().rev().map(|line| line.to_str().ok())
}

/// The first hop that is not trusted, or the last of all.
fn walk(hops: impl Iterator<Item = Hop>, is_trusted: impl Fn(IpAddr) -> bool) -> Hop {
    let mut reached = Hop::default();
    for hop in hops {
        reached = hop;
        if !hop.address.is_some_and(&is_trusted) {
            break;
        }
    }
    reached
}

/// The hops of a line of `Forwarded`, the last one first. A line is read whole or not at all: a quotation that a client opens
/// must not swallow what a proxy adds behind it.
fn hops_of_line(line: Option<&str>) -> Vec<Hop> {
    match line.and_then(|line| split_unquoted(line, ',')) {
        Some(elements) => elements.into_iter().rev().map(|element| hop(element).unwrap_or_default()).collect(),
        None => vec![Hop::default()],
    }
}

/// An element: pairs such as `for="[2001:db8::1]:4711";proto=https`, or `for=unknown`.
fn hop(element: &str) -> Option<Hop> {
    let (mut address, mut scheme) = (None, None);
    for pair in split_unquoted(element, ';')? {
        let (name, value) = pair.split_once('=')?;
        let value = unquote(value);
        let again = match name.to_ascii_lowercase().as_str() {
            "for" => address.replace(parse_address(value?)).is_some(),
            "proto" => scheme.replace(parse_scheme(value?)?).is_some(),
            _ => false,
        };
        if again {
            return None;
        }
    }
    Some(Hop { address: address?, scheme })
}

/// The parts of a text between delimiters that stand in no quotation, without those that are empty; `None` where one is left
/// open.
fn split_unquoted(text: &str, delimiter: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == delimiter && !quoted
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty()).collect();
    (!quoted).then_some(parts)
}

/// A value without the quotation marks around it. No address and no scheme has one inside.
fn unquote(value: &str) -> Option<&str> {
    let bare = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    (!bare.contains(['"', '\\'])).then_some(bare)
}

/// An address, with a port or without; IPv6 in brackets or bare.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

fn parse_scheme(text: &str) -> Option<Scheme> {
    let named = |scheme: &Scheme| text.trim().eq_ignore_ascii_case(scheme.as_str());
    [Scheme::Http, Scheme::Https].into_iter().find(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 10.0.0.0/8 and one of IPv6 trusted: the client and its scheme.
    fn read(by: &str, lines: &[(&'static str, &str)]) -> (String, Option<Scheme>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.") || ip.to_string() == "2001:db8::a";
        let told = Forwarded::read(&headers, by.parse().unwrap(), is_trusted);
        (told.client.map_or("nobody".to_owned(), |ip| ip.to_string()), told.scheme)
    }

    fn client(name: &'static str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        read(name, &lines).0
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.1 ,10.0.0.2"], "192.0.2.1"),
            (&["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.1", "192.0.2.1,10.1.1.1", "10.0.0.1"], "192.0.2.1"),
            (&["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::1, 2001:db8::a"], "2001:db8::1"),
            (&["[2001:db8::1]:80"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, ,"], "192.0.2.1"),
            (&["nonsense, 192.0.2.1"], "192.0.2.1"),
            (&["\"", "192.0.2.1"], "192.0.2.1"),
            (&["é", "192.0.2.1"], "192.0.2.1"),
            (&[""], "nobody"),
            (&["nonsense"], "nobody"),
            (&["192.0.2.1, nonsense, 10.0.0.1"], "nobody"),
            (&["192.0.2.1, unknown"], "nobody"),
            (&["192.0.2.1 10.0.0.1"], "nobody"),
            (&["192.0.2.1/24"], "nobody"),
            (&["192.0.2.1:port"], "nobody"),
            (&["192.0.2.1", "é"], "nobody"),
        ] {
            assert_eq!(client("x-forwarded-for", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_standard_header_says_the_same_in_its_own_words() {
        for (lines, expected) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=\"192.0.2.1:4711\";by=10.0.0.1;proto=https"], "192.0.2.1"),
            (&["for=198.51.100.1, for=192.0.2.1 , for=10.0.0.1"], "192.0.2.1"),
            (&["for=198.51.100.1", "for=192.0.2.1", "for=10.0.0.1"], "192.0.2.1"),
            (&["by=\"a,b;c\\\"d\"; for=\"[2001:db8::1]\", for=\"[2001:db8::a]:80\""], "2001:db8::1"),
            (&["for=unknown, for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"", "for=192.0.2.1"], "192.0.2.1"),
            (&["for=unknown"], "nobody"),
            (&["for=192.0.2.1, for=_hidden, for=10.0.0.1"], "nobody"),
            (&["proto=https"], "nobody"),
            (&["for=192.0.2.1;for=192.0.2.2"], "nobody"),
            (&["for=192.0.2.1;proto=gopher"], "nobody"),
            (&["192.0.2.1"], "nobody"),
            (&["for=\"192.0.2.1"], "nobody"),
            (&["for=192.0.2.1\""], "nobody"),
        ] {
            assert_eq!(client("forwarded", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn no_quotation_of_a_client_swallows_what_a_proxy_adds() {
        for added in ["for=192.0.2.1", "for=\"[2001:db8::1]\"", "for=\"192.0.2.1:1\";by=\"10.0.0.1:1\";proto=https"] {
            for sent in
                ["for=\"", "for=10.6.6.6, for=\"", "for=10.6.6.6;by=\"x", "for=10.6.6.6;by=\"x\\", "\"", "for=a\\\""]
            {
                let client = client("forwarded", &[&format!("{sent}, {added}")]);
                assert!(["nobody", "192.0.2.1", "2001:db8::1"].contains(&&*client), "{sent} {added}: {client}");
            }
        }
    }

    #[test]
    fn the_scheme_is_told_with_the_client_or_by_a_header_of_its_own() {
        use Scheme::{Http, Https};
        for (by, lines, expected) in [
            ("x-forwarded-for", &[("x-forwarded-proto", "https")][..], Some(Https)),
            ("x-forwarded-for", &[("x-forwarded-proto", "HTTP")], Some(Http)),
            ("x-forwarded-for", &[("x-forwarded-proto", "http, https")], Some(Https)),
            ("x-forwarded-for", &[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")], Some(Https)),
            ("x-forwarded-for", &[("x-forwarded-proto", "https"), ("x-forwarded-for", "nonsense")], Some(Https)),
            ("x-forwarded-for", &[("x-forwarded-proto", "wss")], None),
            ("x-forwarded-for", &[("x-forwarded-proto", "")], None),
            ("x-forwarded-for", &[("x-forwarded-for", "192.0.2.1")], None),
            ("forwarded", &[("forwarded", "for=192.0.2.1;proto=https, for=10.0.0.1;proto=http")], Some(Https)),
            ("forwarded", &[("forwarded", "for=192.0.2.1, for=10.0.0.1;proto=http")], None),
            ("forwarded", &[("forwarded", "for=_hidden;proto=https")], Some(Https)),
            ("forwarded", &[("forwarded", "proto=https")], None),
        ] {
            assert_eq!(read(by, lines).1, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_does_not_write_says_nothing() {
        let both = [
            ("forwarded", "for=192.0.2.1;proto=http"),
            ("x-forwarded-for", "192.0.2.2"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(read("x-forwarded-for", &both), ("192.0.2.2".to_owned(), Some(Scheme::Https)));
        assert_eq!(read("Forwarded", &both), ("192.0.2.1".to_owned(), Some(Scheme::Http)));
        assert_eq!("via".parse::<ProxyHeader>(), Err(UnknownProxyHeader));
    }
}
