//! What proxies tell of the client that they pass a request on for: `Forwarded` (RFC 7239), or `X-Forwarded-For` with
//! `X-Forwarded-Proto`. Each proxy adds to what came, so that the last word is the nearest one's, and whatever stands before
//! the words of those that are trusted may be the client's own.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use picloud_shared::request::Scheme;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the proxies told, as far as they did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The client.
    pub client: Option<IpAddr>,
    /// How it spoke to the first of them.
    pub scheme: Option<Scheme>,
}

/// What a proxy told cannot be read, or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what a proxy told of its client cannot be read")]
pub struct Unreadable;

/// Whom a proxy had its request from.
#[derive(Debug, Clone, Copy)]
struct Hop {
    address: IpAddr,
    scheme: Option<Scheme>,
}

impl Forwarded {
    /// Reads what was told, from the nearest proxy back to the first address that is not trusted; what stands before it is
    /// not looked at. Where all are trusted, the client is the first.
    ///
    /// # Errors
    /// An address on that way that is none, a scheme that is none, and two kinds of headers that differ: a proxy that writes
    /// one kind leaves the other as the client sent it.
    pub fn read(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Result<Self, Unreadable> {
        let standard = walk(lines(headers, &FORWARDED).flat_map(hops_of_line), &is_trusted)?;
        let addresses = lines(headers, &X_FORWARDED_FOR).flat_map(|line| line.unwrap_or("none").rsplit(','));
        let common = walk(addresses.filter(|text| !text.trim().is_empty()).map(common_hop), &is_trusted)?;
        // A proxy that overwrites this leaves one scheme; of several, the last is the nearest proxy's.
        let scheme =
            lines(headers, &X_FORWARDED_PROTO).next().map(|line| line?.rsplit(',').next().and_then(parse_scheme));
        let scheme = scheme.map(|scheme| scheme.ok_or(Unreadable)).transpose()?;
        Ok(Self {
            client: agreed(standard.map(|hop| hop.address), common.map(|hop| hop.address))?,
            scheme: agreed(standard.and_then(|hop| hop.scheme), scheme)?,
        })
    }
}

/// The lines of a header, the last one first; `None` for one that is no text.
fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> + use<'h> {
    headers.get_all(name).iter().rev().map(|line| line.to_str().ok())
}

/// The first hop that is not trusted, or the last of all; `None` is one that cannot be read.
fn walk(
    hops: impl Iterator<Item = Option<Hop>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<Hop>, Unreadable> {
    let mut reached = None;
    for hop in hops {
        let hop = hop.ok_or(Unreadable)?;
        reached = Some(hop);
        if !is_trusted(hop.address) {
            break;
        }
    }
    Ok(reached)
}

fn agreed<T: PartialEq>(a: Option<T>, b: Option<T>) -> Result<Option<T>, Unreadable> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Err(Unreadable),
        (a, b) => Ok(a.or(b)),
    }
}

fn common_hop(text: &str) -> Option<Hop> {
    Some(Hop { address: parse_address(text.trim())?, scheme: None })
}

/// The hops of a line of `Forwarded`, the last one first. A line is read whole or not at all: a quotation that a client opens
/// must not swallow what a proxy adds behind it.
fn hops_of_line(line: Option<&str>) -> Vec<Option<Hop>> {
    match line.and_then(|line| split_unquoted(line, ',')) {
        Some(elements) => elements.into_iter().rev().map(standard_hop).collect(),
        None => vec![None],
    }
}

/// An element: pairs such as `for="[2001:db8::1]:4711";proto=https`.
fn standard_hop(element: &str) -> Option<Hop> {
    let (mut address, mut scheme) = (None, None);
    for pair in split_unquoted(element, ';')? {
        let (name, value) = pair.split_once('=')?;
        let value = unquote(value);
        let again = match name.to_ascii_lowercase().as_str() {
            "for" => address.replace(parse_address(value?)?).is_some(),
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

    /// With 10.0.0.0/8 and one of IPv6 trusted: the client and its scheme, or `None` where it cannot be read.
    fn read(lines: &[(&'static str, &str)]) -> Option<(String, Option<Scheme>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.") || ip.to_string() == "2001:db8::a";
        let told = Forwarded::read(&headers, is_trusted).ok()?;
        Some((told.client.map_or("nobody".to_owned(), |ip| ip.to_string()), told.scheme))
    }

    fn client(name: &'static str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        read(&lines).map_or("unreadable".to_owned(), |(client, _)| client)
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
            (&["nonsense"], "unreadable"),
            (&["192.0.2.1, nonsense, 10.0.0.1"], "unreadable"),
            (&["192.0.2.1, unknown"], "unreadable"),
            (&["192.0.2.1 10.0.0.1"], "unreadable"),
            (&["192.0.2.1/24"], "unreadable"),
            (&["192.0.2.1:port"], "unreadable"),
            (&["192.0.2.1", "é"], "unreadable"),
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
            (&["for=unknown"], "unreadable"),
            (&["for=192.0.2.1, for=_hidden, for=10.0.0.1"], "unreadable"),
            (&["proto=https"], "unreadable"),
            (&["for=192.0.2.1;for=192.0.2.2"], "unreadable"),
            (&["for=192.0.2.1;proto=gopher"], "unreadable"),
            (&["192.0.2.1"], "unreadable"),
            (&["for=\"192.0.2.1"], "unreadable"),
            (&["for=192.0.2.1\""], "unreadable"),
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
                assert!(["unreadable", "192.0.2.1", "2001:db8::1"].contains(&&*client), "{sent} {added}: {client}");
            }
        }
    }

    #[test]
    fn the_scheme_is_told_with_the_client_or_by_a_header_of_its_own() {
        use Scheme::{Http, Https};
        let scheme = |lines: &[(&'static str, &str)]| read(lines).map(|(_, scheme)| scheme);
        for (lines, expected) in [
            (&[("x-forwarded-proto", "https")][..], Some(Some(Https))),
            (&[("x-forwarded-proto", "HTTP")], Some(Some(Http))),
            (&[("x-forwarded-proto", "http, https")], Some(Some(Https))),
            (&[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")], Some(Some(Https))),
            (&[("x-forwarded-proto", "wss")], None),
            (&[("x-forwarded-proto", "")], None),
            (&[("forwarded", "for=192.0.2.1;proto=https, for=10.0.0.1;proto=http")], Some(Some(Https))),
            (&[("forwarded", "for=192.0.2.1, for=10.0.0.1;proto=http")], Some(None)),
            (&[("forwarded", "for=192.0.2.1;proto=https"), ("x-forwarded-proto", "https")], Some(Some(Https))),
            (&[("forwarded", "for=192.0.2.1;proto=https"), ("x-forwarded-proto", "http")], None),
            (&[("x-forwarded-for", "192.0.2.1")], Some(None)),
        ] {
            assert_eq!(scheme(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn two_kinds_of_headers_must_agree() {
        let both = |standard, common| read(&[("forwarded", standard), ("x-forwarded-for", common)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1, 10.0.0.1").unwrap().0, "192.0.2.1");
        assert_eq!(both("for=192.0.2.1", "192.0.2.2"), None);
    }
}
