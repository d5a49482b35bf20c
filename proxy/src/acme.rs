//! Certificates by themselves: which names want one, when, from which authority, and what is done while getting it. It
//! speaks ACME (RFC 8555) and serves what it got through [`crate::tls`]; where certificates are kept it is handed as a
//! trait. It knows no request but an authority's.

mod account;
mod agent;
mod attempt;
mod authority;
mod dns;
mod failure;
mod follow;
mod internal;
mod names;
mod order;
mod pauses;
mod preflight;
mod renewal;
mod round;
mod schedule;
mod scope;
mod wire;

pub use agent::{Agent, AgentParts, RunningAgent};
pub use authority::{Authority, AuthorityTrust, DirectoryUrl, ExternalAccount, InvalidDirectoryUrl};
pub use dns::{DnsProvider, DnsUpdate, TsigKey};
pub use instant_acme::LetsEncrypt;
pub use preflight::where_leads;
pub use schedule::Timing;

use std::net::SocketAddr;

/// What the operator says of certificates.
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    /// The authorities, each tried when those before it fail.
    pub authorities: Vec<Authority>,
    /// Where an authority may write to, such as `mailto:ada@example.com`.
    pub contact: Option<String>,
    /// By what TXT records are set, if by anything.
    pub dns: Option<DnsProvider>,
    /// The DNS server that names are looked up at; those of this machine without one.
    pub resolver: Option<SocketAddr>,
    /// The ports that the public reaches this instance by.
    pub outside: OutsidePorts,
    /// How long to wait for what.
    pub timing: Timing,
}

/// The ports that authorities look at, wherever this instance listens.
#[derive(Debug, Clone, Copy)]
pub struct OutsidePorts {
    /// For HTTP.
    pub http: u16,
    /// For HTTPS.
    pub https: u16,
}

impl Default for OutsidePorts {
    fn default() -> Self {
        Self { http: 80, https: 443 }
    }
}

impl AcmeSettings {
    /// Those of an instance that obtains no certificates, and serves what it has.
    pub fn none() -> Self {
        Self {
            authorities: Vec::new(),
            contact: None,
            dns: None,
            resolver: None,
            outside: OutsidePorts::default(),
            timing: Timing::default(),
        }
    }
}
