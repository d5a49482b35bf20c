//! The request that a script is to answer, as the data plane hands it over.

mod kept;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

pub use kept::{InvalidKeptRequest, KeptRequest, NotKept, RequestKeeper};

use crate::route::RouteMethod;

/// What is known of a request before its body. Shared with the execution record, hence behind an [`Arc`].
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method as sent; a HEAD stays HEAD when a GET route answers it.
    pub method: Method,
    /// `http` or `https`, as the client spoke to this node.
    pub scheme: Scheme,
    /// The normalised host, without port.
    pub host: Box<str>,
    /// The port that the client named, if it named one.
    pub port: Option<u16>,
    /// The path as sent, not decoded.
    pub path: Box<str>,
    /// The query as sent, without `?`.
    pub query: Option<Box<str>>,
    /// All headers as sent.
    pub headers: HeaderMap,
    /// The client's address, after trusted proxies.
    pub remote_ip: IpAddr,
}

/// How the client reached this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of an address that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl RequestHead {
    /// The absolute URL of the request, one for however the host was written: as for dispatch, with the port unless it is the
    /// scheme's own (RFC 9110, 4.2.3).
    pub fn url(&self) -> String {
        let port = self.port.filter(|port| *port != self.scheme.default_port());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{port}{}{query}", self.scheme.as_str(), self.host, self.path)
    }
}

/// A method that no route can name, so that no part of this program answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request's method is GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")]
pub struct UnknownMethod;

/// Refuses methods that no route can name, by which they would reach the scripts of `ANY` routes.
///
/// # Errors
/// Any other than those of [`RouteMethod`]; names are in upper case (RFC 9110, 9.1).
pub fn check_method(method: &Method) -> Result<(), UnknownMethod> {
    RouteMethod::named(method).map(|_| ()).ok_or(UnknownMethod)
}

/// What matching bound: names to decoded values, in the order of the pattern.
pub type Params = Vec<(Arc<str>, Box<str>)>;

/// A request with everything that matching and the body reader found.
#[derive(Debug, Clone)]
pub struct ScriptRequest {
    /// The head.
    pub head: Arc<RequestHead>,
    /// Parameters of the path.
    pub params: Params,
    /// Parameters of the host, from a claim such as `{tenant}.example.com`.
    pub host_params: Params,
    /// What a prefix route left over, as sent; absent for other routes.
    pub rest: Option<Box<str>>,
    /// The whole body; empty when there is none.
    pub body: Bytes,
}

/// What the proxy knows of an admin request's sender, handed to the manager as an extension of the request.
#[derive(Debug, Clone)]
pub struct AdminPeer {
    /// The client's address, after trusted proxies.
    pub remote_ip: IpAddr,
    /// How the client reached this node.
    pub scheme: Scheme,
    /// The authority that the client used, for comparing with `Origin`.
    pub authority: Box<str>,
    /// Whether a session cookie counts here; on a host that scripts share (`localhost`) only bearer tokens do.
    pub cookies_count: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_port_unless_it_is_the_schemes_own() {
        use Scheme::{Http, Https};
        for (scheme, port, query, url) in [
            (Http, None, None, "http://[::1]/a"),
            (Http, Some(80), Some("b"), "http://[::1]/a?b"),
            (Https, Some(443), Some(""), "https://[::1]/a?"),
            (Http, Some(443), None, "http://[::1]:443/a"),
            (Https, Some(80), None, "https://[::1]:80/a"),
        ] {
            let head = RequestHead {
                method: Method::GET,
                scheme,
                host: "[::1]".into(),
                port,
                path: "/a".into(),
                query: query.map(Into::into),
                headers: HeaderMap::new(),
                remote_ip: [127, 0, 0, 1].into(),
            };
            assert_eq!(head.url(), url);
        }
    }
}
