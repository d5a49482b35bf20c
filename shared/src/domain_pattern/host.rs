//! The one way from an authority to a host that can be compared. Knows nothing of claims.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Bytes of a DNS name, and of one of its labels (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Bytes of a name before IDNA: 253 A-label characters, each from at most one code point of 4 UTF-8 bytes. What is
/// longer is not worth mapping.
const MAX_UNMAPPED_BYTES: usize = 4 * MAX_NAME_BYTES;

/// All of ASCII that no host name holds: the STD3 rules, but for `_`, which names in the wild carry.
const NOT_IN_HOSTS: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// A normalised host: lower case, A-labels, no port, no trailing dot; or an IP literal (IPv6 in brackets, RFC 5952).
/// A DNS name or IPv4 address borrows its text where that was normal already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

/// What a request names its server by: the `Host` header, or `:authority`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port, where one was written.
    pub port: Option<u16>,
}

/// An authority that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a host is a DNS name or an IP address, with an optional port")]
pub struct InvalidHost;

impl<'a> Authority<'a> {
    /// Lower-cases the host, converts it to A-labels (UTS 46, non-transitional) and drops one trailing dot. As browsers do,
    /// `_` is taken anywhere and so is `-`; the port may be empty (RFC 3986, section 3.2.3).
    ///
    /// # Errors
    /// Userinfo, an empty or over-long (253 bytes) name or label (63), a bad port, characters outside a host name, a
    /// name whose last label is a number and which is not an IPv4 address of four decimal parts.
    pub fn parse(text: &'a str) -> Result<Self, InvalidHost> {
        // The colons within an IPv6 literal are not the port's.
        let host_end = text.find(']').map_or(0, |bracket| bracket + 1);
        match text[host_end..].find(':') {
            None => Ok(Self { host: Host::parse(text)?, port: None }),
            Some(colon) => {
                let (host, port) = text.split_at(host_end + colon);
                let port = parse_port(&port[1..])?;
                Ok(Self { host: Host::parse(host)?, port })
            }
        }
    }
}

impl<'a> Host<'a> {
    /// The host of an authority: as [`Authority::parse`], less the port.
    ///
    /// # Errors
    /// As [`Authority::parse`].
    pub fn parse_authority(authority: &'a str) -> Result<Self, InvalidHost> {
        Authority::parse(authority).map(|authority| authority.host)
    }

    /// A host that stands alone, as in a claim: as [`Authority::parse`], but a port is refused.
    ///
    /// # Errors
    /// As [`Authority::parse`], and any port.
    pub fn parse(text: &'a str) -> Result<Self, InvalidHost> {
        if let Some(literal) = text.strip_prefix('[') {
            let address: Ipv6Addr =
                literal.strip_suffix(']').and_then(|inner| inner.parse().ok()).ok_or(InvalidHost)?;
            return Ok(Self(Cow::Owned(format!("[{address}]"))));
        }
        let undotted = text.strip_suffix('.').unwrap_or(text);
        let name = if is_normal(undotted) && !undotted.split('.').any(|label| label.starts_with("xn--")) {
            Cow::Borrowed(undotted)
        } else {
            to_a_labels(text)?
        };
        // A client that reads `0x7f.1` or `127.1` as an address must not meet a server that reads it as a name.
        if ends_in_number(&name) && name.parse::<Ipv4Addr>().is_err() {
            return Err(InvalidHost);
        }
        Ok(Self(name))
    }

    /// The host's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same host, owning its text.
    pub fn into_owned(self) -> Host<'static> {
        Host(Cow::Owned(self.0.into_owned()))
    }

    /// Whether this is an IPv4 or IPv6 address.
    pub fn is_ip(&self) -> bool {
        self.0.starts_with('[') || ends_in_number(&self.0)
    }

    /// The address that this is, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        let literal = self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.0);
        literal.parse().ok()
    }

    /// The first label and the rest of a DNS name of two or more labels; `None` for an IP literal or a single label.
    pub fn split_first_label(&self) -> Option<(&str, &str)> {
        if self.is_ip() { None } else { self.0.split_once('.') }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_port(text: &str) -> Result<Option<u16>, InvalidHost> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true if text.is_empty() => Ok(None),
        true => text.parse().map(Some).map_err(|_| InvalidHost),
        // The parser would take a sign.
        false => Err(InvalidHost),
    }
}

/// Whether a name is within DNS' lengths and of lower case host characters alone. A-labels are not looked into.
fn is_normal(name: &str) -> bool {
    let of_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|label| (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(of_host))
}

fn to_a_labels(text: &str) -> Result<Cow<'_, str>, InvalidHost> {
    if text.len() > MAX_UNMAPPED_BYTES {
        return Err(InvalidHost);
    }
    let mapped = Uts46::new()
        .to_ascii(text.as_bytes(), NOT_IN_HOSTS, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| InvalidHost)?;
    // The dot is dropped only now, since others, such as U+3002, are mapped to it.
    let name = match mapped {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix('.').unwrap_or(name)),
        Cow::Owned(mut name) => {
            name.truncate(name.strip_suffix('.').map_or(name.len(), str::len));
            Cow::Owned(name)
        }
    };
    if is_normal(&name) { Ok(name) } else { Err(InvalidHost) }
}

/// Whether the last label is a decimal or hexadecimal number, as the WHATWG URL standard tells addresses from names.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => last.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(authority: &str) -> String {
        Host::parse_authority(authority).map_or_else(|_| "refused".to_owned(), |host| host.to_string())
    }

    #[test]
    fn a_host_is_lower_case_a_labels_without_port_and_one_trailing_dot() {
        let label63 = "a".repeat(63);
        let longest = format!("{label63}.{label63}.{label63}.{}", "a".repeat(61));
        for (authority, host) in [
            ("example.com", "example.com"),
            ("Shop.EXAMPLE.com", "shop.example.com"),
            ("example.com:8080", "example.com"),
            ("example.com:", "example.com"),
            ("example.com:00080", "example.com"),
            ("example.com.", "example.com"),
            ("EXAMPLE.com.:443", "example.com"),
            ("localhost", "localhost"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("faß.de", "xn--fa-hia.de"),
            ("a\u{3002}example\u{ff0e}com\u{3002}", "a.example.com"),
            ("ａｂｃ.example", "abc.example"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("my_host.lan", "my_host.lan"),
            ("r3---sn.example.com", "r3---sn.example.com"),
            ("-a-.example.com", "-a-.example.com"),
            ("1.example", "1.example"),
            ("4u.e2", "4u.e2"),
            ("a.0xyz", "a.0xyz"),
            (&label63, &label63),
            (&longest, &longest),
            (&format!("{longest}.:80"), &longest),
        ] {
            assert_eq!(normal(authority), host, "{authority}");
        }
    }

    #[test]
    fn ip_literals_are_normalised() {
        for (authority, host) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("１２７.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
            ("[2001:db8:0:1:1:1:1:1]", "[2001:db8:0:1:1:1:1:1]"),
            ("[::FFFF:192.0.2.1]", "[::ffff:192.0.2.1]"),
        ] {
            assert_eq!(normal(authority), host, "{authority}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        let refused = |authority: &str| assert_eq!(normal(authority), "refused", "{authority:?}");
        // Userinfo, paths, other syntax, ports.
        r"user@a user:pw@a a@b:80 http://a a/b a\b a?b a#b a%41 %61 a,b a;b a*b *.a {x}.a a:b a:-1 a:+80 a:65536
            a:99999999999 a:80:80 a:8٠ : :80 . .. a..b .a a.b.. a.。"
            .split_whitespace()
            .for_each(refused);
        // IPv6 that is none, and IPv4 in forms that only some clients read as an address.
        r"::1 1:: [::1 ::1] [] [ ] [::1]x [::1]. [::1]:x [::1]]:80 [[::1]] [fe80::1%eth0] [fe80::1%25eth0] [127.0.0.1]
            [example.com] [v1.a] x[::1] a]:80 1.2.3 1.2.3.4.5 1.2.3.256 01.2.3.4 1.2.3.04 0x7f.1 0x7f000001 2130706433 0
            127.0.0.0x1 127.0.0.0x a.1 example.com.1 a.0X1F"
            .split_whitespace()
            .for_each(refused);
        // White space, control characters, and what IDNA maps to syntax, to nothing, or not at all.
        for authority in ["", " ", "a b", " a", "a ", "a: 80", "a\tb", "a\0", "a\r\nb", "a\u{7f}"] {
            refused(authority);
        }
        for authority in ["a\u{ff0f}b", "a\u{ff1a}80", "\u{2100}.a", "\u{ad}", "a.\u{ad}.b", "\u{202e}a", "\u{fffd}"] {
            refused(authority);
        }
        "xn-- xn--a xn--ü.a a.xn--zzzzzzz99999".split_whitespace().for_each(refused);
        let (label63, label64) = ("a".repeat(63), "a".repeat(64));
        refused(&label64);
        refused(&format!("a.{label64}.b"));
        refused(&format!("{label63}.{label63}.{label63}.{}", "a".repeat(62)));
        refused(&"ü".repeat(64));
        refused(&"\u{ad}".repeat(5_000));
    }

    #[test]
    fn a_port_is_known_where_one_is_written() {
        for (authority, port) in
            [("a", None), ("a:", None), ("a:00080", Some(80)), ("[::1]", None), ("[::1]:65535", Some(65535))]
        {
            assert_eq!(Authority::parse(authority).unwrap().port, port, "{authority}");
        }
    }

    #[test]
    fn a_host_alone_bears_no_port() {
        assert_eq!(Host::parse("[::1]").unwrap().as_str(), "[::1]");
        for text in ["a:80", "a:", "[::1]:80"] {
            assert_eq!(Host::parse(text), Err(InvalidHost), "{text}");
        }
    }

    #[test]
    fn a_normal_host_is_borrowed() {
        for authority in ["shop.example.com:8080", "shop.example.com.", "127.0.0.1", "xn--bcher-kva.example"] {
            let host = Host::parse_authority(authority).unwrap();
            assert!(matches!(host.0, Cow::Borrowed(_)), "{authority}");
        }
    }

    #[test]
    fn only_names_of_two_labels_have_a_parent() {
        let split = |text| Host::parse(text).unwrap().split_first_label().map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(split("a.b.c"), Some(("a".into(), "b.c".into())));
        assert_eq!(split("1.2.3.x4"), Some(("1".into(), "2.3.x4".into())));
        for whole in ["localhost", "127.0.0.1", "[::1]", "[::ffff:1.2.3.4]"] {
            assert_eq!(split(whole), None, "{whole}");
        }
    }
}
