//! Why a request is refused before any app or API sees it.

use http::StatusCode;

/// The methods that requests may have.
pub const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not HTTP/1 as RFC 9112 writes it.
    MalformedHead,
    /// The length of the body can be read in more than one way.
    AmbiguousFraming,
    /// A version other than 1.0, 1.1 and, over TLS, 2.
    UnsupportedVersion,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The head is over its limit.
    HeadTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request target is over its limit.
    TargetTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A method that no route can name.
    MethodNotImplemented,
    /// A target that is no path.
    InvalidTarget,
    /// No host was named.
    MissingHost,
    /// The host was named twice.
    RepeatedHost,
    /// What was named is no host.
    InvalidHost,
    /// The target and `Host` name two hosts.
    HostMismatch,
    /// The target names another scheme than the connection's.
    WrongScheme,
    /// This connection's certificate does not cover the host.
    Misdirected,
    /// `Expect` asks for something else than `100-continue`.
    ExpectationFailed,
    /// The body is over its limit.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is not framed as the head said.
    MalformedBody,
    /// Other requests take up all the memory that there is for them.
    NoRoomForRequest,
    /// Other large answers on their way to slow clients do.
    NoRoomForAnswer,
}

impl Refusal {
    /// The status to answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::MethodNotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::WrongScheme | Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoomForRequest | Self::NoRoomForAnswer => StatusCode::SERVICE_UNAVAILABLE,
            Self::MalformedHead
            | Self::AmbiguousFraming
            | Self::InvalidTarget
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::InvalidHost
            | Self::HostMismatch
            | Self::MalformedBody => StatusCode::BAD_REQUEST,
        }
    }

    /// The stable code of the problem document.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedHead => "malformed_request",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::UnsupportedVersion => "unsupported_http_version",
            Self::HeadTimeout | Self::BodyTimeout => "request_timeout",
            Self::HeadTooLarge { .. } => "header_too_large",
            Self::TargetTooLong { .. } => "uri_too_long",
            Self::MethodNotImplemented => "method_not_implemented",
            Self::InvalidTarget => "invalid_path",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::InvalidHost => "invalid_host",
            Self::HostMismatch => "host_mismatch",
            Self::WrongScheme => "wrong_scheme",
            Self::Misdirected => "misdirected_request",
            Self::ExpectationFailed => "expectation_failed",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::MalformedBody => "malformed_body",
            Self::NoRoomForRequest | Self::NoRoomForAnswer => "overloaded",
        }
    }

    /// What the client did, in words that it can act on.
    pub fn detail(self) -> String {
        let text = match self {
            Self::MalformedHead => {
                "The request's head is not valid HTTP/1.1: one request line, then header lines, each ending in CR LF."
            }
            Self::AmbiguousFraming => {
                "Send the body with one content-length of digits, or with transfer-encoding: chunked, never with both."
            }
            Self::UnsupportedVersion => "This server speaks HTTP/1.0, HTTP/1.1 and, over TLS, HTTP/2.",
            Self::HeadTimeout => "The request's head took too long to arrive.",
            Self::HeadTooLarge { limit } => {
                return format!("The request's head is over {limit} bytes or has too many header lines.");
            }
            Self::TargetTooLong { limit } => return format!("The request target is over {limit} bytes."),
            Self::MethodNotImplemented => return format!("A request's method is one of {ALLOWED_METHODS}."),
            Self::InvalidTarget => {
                "The path must begin with / and hold no . or .. segment, no encoded NUL and no invalid percent-encoding or UTF-8."
            }
            Self::MissingHost => "The request names no host; send a Host header.",
            Self::RepeatedHost => "The request names its host more than once.",
            Self::InvalidHost => "The Host header is not a DNS name or an IP address with an optional port.",
            Self::HostMismatch => "The request target and the Host header name different hosts.",
            Self::WrongScheme => "The request names another scheme than this connection's; open one of its own for it.",
            Self::Misdirected => {
                "The certificate of this connection does not cover the host; open a new connection for it."
            }
            Self::ExpectationFailed => "The only expectation that this server meets is 100-continue.",
            Self::BodyTooLarge { limit } => return format!("The request's body is over {limit} bytes."),
            Self::BodyTimeout => "The request's body took too long to arrive.",
            Self::MalformedBody => "The request's body does not have the length or the chunks that its head announced.",
            Self::NoRoomForRequest => "Too many or too large requests are being received; try again shortly.",
            Self::NoRoomForAnswer => "Too many large answers are being sent; try again shortly.",
        };
        text.to_owned()
    }
}
