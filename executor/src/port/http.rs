//! The port of outgoing HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::{PortCaller, PortError};

/// Bytes of the longest body of a request, and of the longest that is read of an answer, decompressed.
pub const MAX_HTTP_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What a script sends.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Neither CONNECT nor TRACE.
    pub method: Method,
    /// Of the scheme `http` or `https`, with a host, without a user or a password.
    pub url: Url,
    /// None that belongs to the connection or frames the message.
    pub headers: HeaderMap,
    /// At most [`MAX_HTTP_BODY_BYTES`]; nothing where there is none.
    pub body: Option<Vec<u8>>,
    /// How long the call may take; the run's deadline bounds it anyway.
    pub timeout: Duration,
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// Never an informational one.
    pub status: StatusCode,
    /// Without `content-encoding` and `content-length` where the body was decompressed.
    pub headers: HeaderMap,
    /// At most [`MAX_HTTP_BODY_BYTES`].
    pub body: Bytes,
}

/// Calls of others' servers, for all apps.
pub trait HttpClient: Send + Sync {
    /// Sends a request, follows redirects, and reads the whole answer. When it returns, nothing of the call goes on.
    ///
    /// # Errors
    /// See [`PortError`]. `Unsettled` where the deadline came after a request that may change something was begun.
    fn send(&self, caller: &PortCaller, request: &HttpRequest) -> Result<HttpAnswer, PortError>;
}
