//! A route: which requests of an app go to which of its endpoint scripts.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::domain_pattern::{DomainPattern, Host};
use crate::execution::UnknownWord;
use crate::id::{AppId, RouteId, ScriptId};
use crate::path_pattern::PathPattern;

/// The hosts, among its app's claims, that a route answers on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostSelector {
    /// Every host of the app.
    Any,
    /// One host.
    Strict(Host<'static>),
    /// Every host one label below this parent.
    Wildcard(Host<'static>),
}

/// The method that a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum RouteMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// Whatever the method.
    Any,
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoutePattern {
    /// On which hosts.
    pub host: HostSelector,
    /// On which paths.
    pub path: PathPattern,
    /// With which method.
    pub method: RouteMethod,
}

/// A route as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's id.
    pub id: RouteId,
    /// The app that it belongs to.
    pub app_id: AppId,
    /// The endpoint that it leads to.
    pub script_id: ScriptId,
    /// What it takes.
    pub pattern: RoutePattern,
    /// Whether its callers are answered at once with 202, and the endpoint runs later.
    pub is_async: bool,
}

impl HostSelector {
    /// The stable word for the kind: `any`, `strict` or `wildcard`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Strict(_) => "strict",
            Self::Wildcard(_) => "wildcard",
        }
    }

    /// The shape of the selector, for comparing two: empty, `shop.example.com` or `*.example.com`.
    pub fn shape_key(&self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Strict(host) => host.as_str().to_owned(),
            Self::Wildcard(parent) => format!("*.{}", parent.as_str()),
        }
    }

    /// Whether every host that this selects lies within the claim.
    pub fn lies_within(&self, claim: &DomainPattern) -> bool {
        match (self, claim) {
            (Self::Any, _) => true,
            (Self::Strict(host), claim) => claim.covers(host),
            (Self::Wildcard(own), DomainPattern::Wildcard { parent, .. }) => own == parent,
            (Self::Wildcard(_), DomainPattern::Exact(_)) => false,
        }
    }
}

impl RouteMethod {
    /// Every method that a route can name, `ANY` last.
    pub const ALL: [RouteMethod; 8] =
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options, Self::Any];

    /// The one of a request's method, if a route can name it.
    pub fn named(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::HEAD => Some(Self::Head),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            Method::OPTIONS => Some(Self::Options),
            _ => None,
        }
    }

    /// The method's name, or `ANY`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Any => "ANY",
        }
    }
}

impl fmt::Display for RouteMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RouteMethod {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or(UnknownWord("a route's method is GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or ANY"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_lies_within_a_claim_that_holds_all_its_hosts() {
        let host = |text| Host::parse(text).unwrap().into_owned();
        let (strict, wildcard) = (|text| HostSelector::Strict(host(text)), |text| HostSelector::Wildcard(host(text)));
        for (selector, claim, within) in [
            (HostSelector::Any, "example.com", true),
            (strict("a.example.com"), "a.example.com", true),
            (strict("a.example.com"), "*.example.com", true),
            (strict("a.example.com"), "{x}.example.com", true),
            (strict("example.com"), "*.example.com", false),
            (strict("a.b.example.com"), "*.example.com", false),
            (strict("a.example.com"), "b.example.com", false),
            (wildcard("example.com"), "{x}.example.com", true),
            (wildcard("example.com"), "a.example.com", false),
            (wildcard("a.example.com"), "*.example.com", false),
        ] {
            assert_eq!(selector.lies_within(&claim.parse().unwrap()), within, "{selector:?} {claim}");
        }
    }

    #[test]
    fn methods_are_read_in_upper_case_alone() {
        for method in RouteMethod::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
        }
        for other in ["", "get", "TRACE", "CONNECT", " GET"] {
            assert!(other.parse::<RouteMethod>().is_err(), "{other}");
        }
    }
}
