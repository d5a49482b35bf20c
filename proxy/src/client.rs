//! Who is at the other end of a connection, and through which listener and certificate they came.

use std::net::IpAddr;
use std::sync::Arc;

use picloud_shared::domain_pattern::Host;
use picloud_shared::request::Scheme;

use crate::tls::Certificate;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// Answers apps and the admin API.
    Public,
    /// Sends everybody to HTTPS on this port.
    RedirectToHttps {
        /// The port of the HTTPS listener as clients see it.
        port: u16,
    },
    /// Answers health probes, whatever their host.
    Internal,
}

/// One connection's other end.
#[derive(Debug)]
pub struct Client {
    /// The peer's address; an IPv4 address that came in over IPv6 is IPv4 here.
    pub remote_ip: IpAddr,
    /// What the listener is for.
    pub role: ListenerRole,
    /// What the TLS handshake agreed on; absent over plain HTTP.
    pub tls: Option<TlsIdentity>,
}

/// What a handshake agreed on.
#[derive(Debug)]
pub struct TlsIdentity {
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The certificate that it was shown.
    pub certificate: Arc<Certificate>,
}

impl Client {
    /// How the client speaks to this node.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Whether requests that name this scheme may be answered on this connection (RFC 9110, 7.4).
    pub fn speaks(&self, scheme: &str) -> bool {
        scheme.eq_ignore_ascii_case(self.scheme().as_str())
    }

    /// Whether requests for this host may be answered on this connection (RFC 9110, 7.4).
    pub fn may_ask_for(&self, host: &Host<'_>) -> bool {
        match &self.tls {
            None => true,
            Some(tls) => tls.server_name.as_deref() == Some(host.as_str()) || tls.certificate.covers(host),
        }
    }

    /// Whether the peer is this machine.
    pub fn is_loopback(&self) -> bool {
        self.remote_ip.is_loopback()
    }
}
