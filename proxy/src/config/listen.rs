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
    /// HTTPS without a certificate, no address at all, and two addresses of which only one can be had.
    pub fn resolve(settings: &Settings, dev: bool, has_certificates: bool) -> anyhow::Result<Self> {
        let chosen = |addresses: &Option<Addresses>| addresses.as_ref().map(|addresses| addresses.0.clone());
        let (http, https) = (chosen(&settings.http), chosen(&settings.https));
        let by_default = http.is_none() && https.is_none() && !dev;
        let https = https.unwrap_or_else(|| if has_certificates && !dev { vec![ANY_HTTPS] } else { Vec::new() });
        ensure!(
            https.is_empty() || has_certificates,
            "https is set, but there is no certificate: set automatic_certificates, or tls_chain and tls_key, or [[tls.certificates]] \
             in the file"
        );
        let http = http.unwrap_or_else(|| vec![if dev { DEV_HTTP } else { ANY_HTTP }]);
        ensure!(!http.is_empty() || !https.is_empty(), "neither http nor https has an address");
        let internal = chosen(&settings.internal).unwrap_or_else(|| if dev { Vec::new() } else { vec![INTERNAL] });
        refuse_clash(&[("http", &http), ("https", &https), ("internal", &internal)])?;
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

/// An address can be listened on once, and one of all addresses takes that port of each.
fn refuse_clash(settings: &[(&str, &[SocketAddr])]) -> anyhow::Result<()> {
    let all: Vec<(&str, SocketAddr)> =
        settings.iter().flat_map(|(name, addresses)| addresses.iter().map(|address| (*name, *address))).collect();
    for (at, (name, address)) in all.iter().enumerate() {
        for (other_name, other) in &all[..at] {
            ensure!(
                !clash(*address, *other),
                "{other_name} {other} and {name} {address} cannot both be listened on: they have an address in common"
            );
        }
    }
    Ok(())
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |all: SocketAddr, one: SocketAddr| match all.ip() {
        // `[::]` is IPv4, too.
        IpAddr::V6(ip) => ip.is_unspecified(),
        IpAddr::V4(ip) => ip.is_unspecified() && one.is_ipv4(),
    };
    // Each port 0 becomes another.
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_clash_where_one_holds_the_other() {
        for (a, b, expected) in [
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "0.0.0.0:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((clash(a, b), clash(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn a_clash_is_refused_by_the_names_of_both_settings() {
        let settings = Settings { http: Some(Addresses(vec!["[::]:9180".parse().unwrap()])), ..Settings::default() };
        let error = Listen::resolve(&settings, false, false).unwrap_err().to_string();
        assert!(error.starts_with("http [::]:9180 and internal 127.0.0.1:9180 cannot both"), "{error}");
    }
}
