//! Who is at the other end of a connection, and through which listener and certificate they came.

use std::net::IpAddr;
use std::sync::Arc;

use picloud_shared::domain_pattern::Host;
use picloud_shared::request::Scheme;

use crate::http::Refusal;
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
    /// Answers health probes and Prometheus.
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

/// Who a request comes from: the other end of its connection, or whom a trusted proxy there passed it on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The address.
    pub remote_ip: IpAddr,
    /// How it speaks to us, or to the first of the proxies.
    pub scheme: Scheme,
    /// Whether it is at this machine.
    pub is_local: bool,
    /// Whether a trusted proxy is at the other end.
    pub is_passed_on: bool,
}

impl Client {
    /// How the client speaks to this node.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Refuses requests of another scheme than this connection's (RFC 9110, 7.4).
    ///
    /// # Errors
    /// A scheme was named, and is not the connection's.
    pub fn check_scheme(&self, named: Option<&str>) -> Result<(), Refusal> {
        match named {
            Some(scheme) if !scheme.eq_ignore_ascii_case(self.scheme().as_str()) => Err(Refusal::WrongScheme),
            _ => Ok(()),
        }
    }

    /// Refuses requests for hosts that this connection does not speak for (RFC 9110, 7.4).
    ///
    /// # Errors
    /// The host is neither the one that was asked for at the handshake nor one of the certificate that was shown.
    pub fn check_host(&self, host: &Host<'_>) -> Result<(), Refusal> {
        match &self.tls {
            Some(tls) if tls.server_name.as_deref() != Some(host.as_str()) && !tls.certificate.covers(host) => {
                Err(Refusal::Misdirected)
            }
            _ => Ok(()),
        }
    }
}
