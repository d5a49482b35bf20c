//! The request that a script is to answer, as the data plane hands it over.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

/// What is known of a request before its body. Shared with the execution record, hence behind an [`Arc`].
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method as sent; a HEAD stays HEAD when a GET route answers it.
    pub method: Method,
    /// `http` or `https`, as the client spoke to this node.
    pub scheme: Scheme,
    /// The normalised host, without port.
    pub host: Box<str>,
    /// The authority as the client wrote it (host and port), for `ctx.request.url`.
    pub authority: Box<str>,
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
}

impl RequestHead {
    /// The absolute URL of the request.
    pub fn url(&self) -> String {
        let (scheme, query) = (self.scheme.as_str(), self.query.as_deref());
        let mark = if query.is_some() { "?" } else { "" };
        format!("{scheme}://{}{}{mark}{}", self.authority, self.path, query.unwrap_or_default())
    }
}

/// Why no part of this program answers a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedMethod {
    /// CONNECT and TRACE.
    #[error("CONNECT and TRACE are answered for no path")]
    Tunnel,
    /// Not a name in upper case.
    #[error("a method is written in upper-case letters, digits, - and _, such as GET")]
    Malformed,
}

/// Refuses methods that no part of this program answers. Any other token in upper case may be some route's business.
///
/// # Errors
/// CONNECT and TRACE; a name that is not made of upper-case letters, digits, `-` and `_`, or longer than 32.
pub fn check_method(method: &Method) -> Result<(), RefusedMethod> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(RefusedMethod::Tunnel);
    }
    let name = method.as_str().as_bytes();
    let shaped = name.len() <= 32
        && name.first().is_some_and(u8::is_ascii_uppercase)
        && name.iter().all(|&b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if shaped { Ok(()) } else { Err(RefusedMethod::Malformed) }
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
