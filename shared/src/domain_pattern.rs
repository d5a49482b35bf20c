//! Hosts, and the patterns by which an app claims them.

mod host;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use host::{Authority, Host, InvalidHost};

/// Bytes of the label that a wildcard names.
const MAX_LABEL_NAME_BYTES: usize = 63;

/// Bytes of a wildcard's parent: a name has 253 (RFC 1035), of which one label and its dot take two.
const MAX_PARENT_BYTES: usize = 251;

/// What an app claims: one host, or every host one label below a parent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DomainPattern {
    /// One host, any that there is: whether it may be claimed anew is [`DomainPattern::refuse_public_suffix`]'s.
    Exact(Host<'static>),
    /// `*.parent` or `{label}.parent`. Made by parsing alone: not every name and host will do.
    #[non_exhaustive]
    Wildcard {
        /// The name under which the first label reaches `ctx.request.host_params`.
        label: Option<Box<str>>,
        /// The normalised host below which exactly one label is free.
        parent: Host<'static>,
    },
}

/// A text that is not a host, `*.host` or `{label}.host`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a domain is a host such as shop.example.com, or a wildcard such as *.example.com or {{tenant}}.example.com")]
pub struct InvalidDomainPattern;

/// A listed ICANN public suffix, or a wildcard of one. The list grows, so that an earlier claim may have become one; it
/// stays good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is a public suffix, which nobody can claim")]
pub struct PublicSuffix(String);

impl DomainPattern {
    /// The claim's shape, unique over the instance: `shop.example.com` or `*.example.com`.
    pub fn shape_key(&self) -> String {
        match self {
            Self::Exact(host) => host.to_string(),
            Self::Wildcard { parent, .. } => format!("*.{parent}"),
        }
    }

    /// Whether the claim holds this host.
    pub fn covers(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Exact(claimed) => claimed == host,
            Self::Wildcard { parent, .. } => host.split_first_label().is_some_and(|(_, rest)| rest == parent.as_str()),
        }
    }

    /// Whether the two claims have a host in common.
    pub fn overlaps(&self, other: &DomainPattern) -> bool {
        match (self, other) {
            (Self::Exact(host), pattern) | (pattern, Self::Exact(host)) => pattern.covers(host),
            (Self::Wildcard { parent: a, .. }, Self::Wildcard { parent: b, .. }) => a == b,
        }
    }

    /// Refuses what nobody may claim anew.
    ///
    /// # Errors
    /// The pattern is a public suffix, or a wildcard that covers some.
    pub fn refuse_public_suffix(&self) -> Result<(), PublicSuffix> {
        let (Self::Exact(name) | Self::Wildcard { parent: name, .. }) = self;
        if is_icann_suffix(name.as_str()) {
            return Err(PublicSuffix(name.to_string()));
        }
        // The list has rules such as `*.ck`, by which every name below is a suffix though the parent itself is none.
        if matches!(self, Self::Wildcard { .. }) && is_icann_suffix(&format!("any.{name}")) {
            return Err(PublicSuffix(self.shape_key()));
        }
        Ok(())
    }

    fn exact(text: &str) -> Result<Self, InvalidDomainPattern> {
        Ok(Self::Exact(Host::parse(text).map_err(|_| InvalidDomainPattern)?.into_owned()))
    }

    fn wildcard(label: Option<&str>, parent: &str) -> Result<Self, InvalidDomainPattern> {
        let parent = Host::parse(parent).map_err(|_| InvalidDomainPattern)?;
        if parent.is_ip() || parent.as_str().len() > MAX_PARENT_BYTES {
            return Err(InvalidDomainPattern);
        }
        Ok(Self::Wildcard { label: label.map(Box::from), parent: parent.into_owned() })
    }
}

/// Whether a name is itself a suffix in the ICANN part of the public suffix list. Suffixes that their owners listed,
/// such as `github.io`, and names that are not listed, such as `localhost`, are not.
fn is_icann_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes())
        .is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann) && suffix.as_bytes() == name.as_bytes())
}

fn is_label_name(name: &str) -> bool {
    name.len() <= MAX_LABEL_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, InvalidDomainPattern> {
        if let Some(parent) = text.strip_prefix("*.") {
            return Self::wildcard(None, parent);
        }
        match text.strip_prefix('{').map(|named| named.split_once("}.")) {
            None => Self::exact(text),
            Some(Some((label, parent))) if is_label_name(label) => Self::wildcard(Some(label), parent),
            Some(_) => Err(InvalidDomainPattern),
        }
    }
}

impl TryFrom<String> for DomainPattern {
    type Error = InvalidDomainPattern;

    fn try_from(text: String) -> Result<Self, InvalidDomainPattern> {
        text.parse()
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Wildcard { label: None, parent } => write!(f, "*.{parent}"),
            Self::Wildcard { label: Some(label), parent } => write!(f, "{{{label}}}.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> DomainPattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn claims_are_shown_as_they_were_meant() {
        for (text, shown, shape_key) in [
            ("shop.example.com", "shop.example.com", "shop.example.com"),
            ("Shop.Example.COM.", "shop.example.com", "shop.example.com"),
            ("localhost", "localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("[0::1]", "[::1]", "[::1]"),
            ("*.example.com", "*.example.com", "*.example.com"),
            ("{tenant}.Example.com", "{tenant}.example.com", "*.example.com"),
            ("{_T9}.bücher.example", "{_T9}.xn--bcher-kva.example", "*.xn--bcher-kva.example"),
        ] {
            assert_eq!(pattern(text).to_string(), shown, "{text}");
            assert_eq!(pattern(text).shape_key(), shape_key, "{text}");
            assert_eq!(pattern(&pattern(text).to_string()), pattern(text), "{text}");
        }
    }

    #[test]
    fn hosts_of_the_own_network_and_private_suffixes_can_be_claimed() {
        "localhost *.localhost shop.localhost local *.local pi.lan *.lan example.com *.example.com example.co.uk
            *.example.co.uk github.io *.github.io pi.github.io www.ck *.www.ck a.b.ck пример.рф 10.0.0.1 [fd00::1]"
            .split_whitespace()
            .for_each(|text| assert_eq!(pattern(text).refuse_public_suffix(), Ok(()), "{text}"));
    }

    #[test]
    fn icann_suffixes_cannot_be_claimed() {
        for (text, suffix) in [
            ("com", "com"),
            ("COM.", "com"),
            ("*.com", "com"),
            ("{x}.com", "com"),
            ("co.uk", "co.uk"),
            ("*.co.uk", "co.uk"),
            ("рф", "xn--p1ai"),
            ("*.xn--p1ai", "xn--p1ai"),
            ("b.ck", "b.ck"),
            ("*.b.ck", "b.ck"),
        ] {
            assert_eq!(pattern(text).refuse_public_suffix(), Err(PublicSuffix(suffix.to_owned())), "{text}");
        }
        assert!(pattern("*.ck").refuse_public_suffix().is_err());
    }

    #[test]
    fn a_text_that_is_no_host_or_wildcard_of_one_is_refused() {
        let refused = |text: &str| {
            assert_eq!(text.parse::<DomainPattern>(), Err(InvalidDomainPattern), "{text}");
        };
        "* *. **.a.b *.*.a.b a.*.b a*.b.c *a.b.c {}.a.b {x} {x}. {x}a.b {x.a.b x}.a.b {1x}.a.b {x-y}.a.b {é}.a.b {x}.{y}.b
            {x}.*.b *.{x}.b shop.example.com:80 *.example.com:80 *.example.com: a@example.com *.a@example.com
            http://example.com example.com/ example.com/a *.example.com/a *.127.0.0.1 {x}.127.0.0.1 *.[::1] *.0.0.1 *.1
            ::1 a..b *..a"
            .split_whitespace()
            .for_each(refused);
        for text in ["", " ", "{ x}.a.b", " a.b", "*. a.b", "a.b\n", "a\0.b"] {
            refused(text);
        }
        refused(&format!("{{{}}}.example.com", "x".repeat(64)));
        refused(&format!("*.{}", ["a"; 126].join(".") + "x"));
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let wildcard = pattern("*.example.com");
        for (host, covered) in [
            ("a.example.com", true),
            ("_a.example.com", true),
            ("example.com", false),
            ("a.b.example.com", false),
            ("aexample.com", false),
        ] {
            assert_eq!(wildcard.covers(&Host::parse(host).unwrap()), covered, "{host}");
        }
    }

    #[test]
    fn claims_overlap_when_a_host_lies_in_both() {
        for (a, b, common) in [
            ("a.example.com", "a.example.com", true),
            ("a.example.com", "b.example.com", false),
            ("a.example.com", "*.example.com", true),
            ("a.example.com", "{x}.example.com", true),
            ("example.com", "*.example.com", false),
            ("a.b.example.com", "*.example.com", false),
            ("*.example.com", "{x}.example.com", true),
            ("*.example.com", "*.b.example.com", false),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), common, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), common, "{b} {a}");
        }
    }

    #[test]
    fn json_goes_through_the_parser() {
        let read = |json| serde_json::from_str::<DomainPattern>(json);
        assert_eq!(read("\"{t}.Example.com\"").unwrap(), pattern("{t}.example.com"));
        assert!(read("\"*.*\"").is_err());
        assert_eq!(serde_json::to_string(&pattern("{t}.example.com")).unwrap(), "\"{t}.example.com\"");
    }
}
