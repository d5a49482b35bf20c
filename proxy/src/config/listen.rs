//! Where to listen: what was asked for, and what is taken where nobody asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::ensure;

use super::settings::{Addresses, Settings};

/// Where `--dev` listens, and whoever may not have low ports.
pub const DEV_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
pub const INTERNAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
pub const ANY_HTTP: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80);
pub const ANY_HTTPS: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);

/// Addresses of listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// Probes.
    pub internal: Vec<SocketAddr>,
    /// Whether plain HTTP only redirects.
    pub redirect: bool,
    /// Whether nobody chose the addresses, so that others will do.
    pub by_default: bool,
}

impl Listen {
    /// What the settings come to.
    ///
    /// # Errors
    /// HTTPS without a certificate, and no address at all.
    pub fn resolve(settings: &Settings, dev: bool, has_certificates: bool) -> anyhow::Result<Self> {
        let chosen = |addresses: &Option<Addresses>| addresses.as_ref().map(|addresses| addresses.0.clone());
        let (http, https) = (chosen(&settings.http), chosen(&settings.https));
        let by_default = http.is_none() && https.is_none() && !dev;
        let https = https.unwrap_or_else(|| if has_certificates && !dev { vec![ANY_HTTPS] } else { Vec::new() });
        ensure!(
            https.is_empty() || has_certificates,
            "https is set, but there is no certificate: set tls_chain and tls_key, or [[tls.certificates]] in the file"
        );
        let http = http.unwrap_or_else(|| vec![if dev { DEV_HTTP } else { ANY_HTTP }]);
        ensure!(!http.is_empty() || !https.is_empty(), "neither http nor https has an address");
        let internal = chosen(&settings.internal).unwrap_or_else(|| if dev { Vec::new() } else { vec![INTERNAL] });
        let redirect = settings.redirect_to_https.unwrap_or(!dev) && !https.is_empty();
        Ok(Self { http, https, internal, redirect, by_default })
    }

    /// Where to listen without the right to low ports.
    pub fn fallback(&self) -> Self {
        Self {
            http: vec![DEV_HTTP],
            https: Vec::new(),
            redirect: false,
            by_default: false,
            internal: self.internal.clone(),
        }
    }
}
