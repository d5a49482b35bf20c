//! The proxies in front whose word on a request's client counts.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::client::{Client, Sender};
use crate::http::{Forwarded, ProxyHeader};

/// Addresses of proxies, and how they tell.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    nets: Vec<TrustedNet>,
    by: ProxyHeader,
}

/// An address such as `10.0.0.7`, or a network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedNet(IpNet);

/// A text that is neither, or everybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrustedNet {
    /// It names no address.
    #[error("it is no address such as 10.0.0.7, and no network such as 10.0.0.0/8")]
    Malformed,
    /// It names all of them.
    #[error("with every address trusted, whoever connects could pass for anybody")]
    Everybody,
}

impl FromStr for TrustedNet {
    type Err = InvalidTrustedNet;

    fn from_str(text: &str) -> Result<Self, InvalidTrustedNet> {
        let net = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical())));
        match net.map_err(|_| InvalidTrustedNet::Malformed)? {
            net if net.prefix_len() == 0 => Err(InvalidTrustedNet::Everybody),
            net => Ok(Self(net.trunc())),
        }
    }
}

impl std::fmt::Display for TrustedNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TrustedProxies {
    /// These, and nobody else.
    pub fn new(nets: Vec<TrustedNet>, by: ProxyHeader) -> Self {
        Self { nets, by }
    }

    /// The addresses and networks.
    pub fn nets(&self) -> &[TrustedNet] {
        &self.nets
    }

    /// The header that they tell by.
    pub fn header(&self) -> ProxyHeader {
        self.by
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.0.contains(&address))
    }

    /// Who a request of this connection comes from. What cannot be read leaves the proxy's address. Nobody of whom a proxy tells
    /// is at this machine, whatever the address: it would be the one thing worth lying about.
    pub fn sender(&self, client: &Client, headers: &HeaderMap) -> Sender {
        let itself = Sender {
            remote_ip: client.remote_ip,
            scheme: client.scheme(),
            is_local: client.remote_ip.is_loopback(),
            is_passed_on: false,
        };
        if !self.contain(client.remote_ip) {
            return itself;
        }
        let told = Forwarded::read(headers, self.by, |address| self.contain(address));
        Sender {
            remote_ip: told.client.unwrap_or(itself.remote_ip),
            scheme: told.scheme.unwrap_or(itself.scheme),
            is_local: itself.is_local && !Forwarded::is_told(headers),
            is_passed_on: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use picloud_shared::request::Scheme;

    use super::*;
    use crate::client::ListenerRole;

    #[test]
    fn addresses_and_networks_are_read_and_everybody_is_refused() {
        for (text, shown) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<TrustedNet>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "10.0.0", "10.0.0.7:80", "10.0.0.0/33", "proxy.example.com", "[::1]", "10.0.0.7 "] {
            assert_eq!(text.parse::<TrustedNet>(), Err(InvalidTrustedNet::Malformed), "{text}");
        }
        for text in ["0.0.0.0/0", "::/0", "10.0.0.0/0"] {
            assert_eq!(text.parse::<TrustedNet>(), Err(InvalidTrustedNet::Everybody), "{text}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_tells_of_somebody_else() {
        let proxies = TrustedProxies::new(
            vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            ProxyHeader::XForwardedFor,
        );
        let sender = |peer: &str, headers: &[(&'static str, &str)]| {
            let client = Client { remote_ip: peer.parse().unwrap(), role: ListenerRole::Public, tls: None };
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let Sender { remote_ip, scheme, is_local, is_passed_on } = proxies.sender(&client, &headers);
            (remote_ip.to_string(), scheme == Scheme::Https, is_local, is_passed_on)
        };
        let found = |ip: &str, https, local, passed_on| (ip.to_owned(), https, local, passed_on);
        let (told, broken) = (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")][..], "\"");
        assert_eq!(sender("192.0.2.7", told), found("192.0.2.7", false, false, false));
        assert_eq!(sender("127.0.0.2", told), found("127.0.0.2", false, true, false));
        assert_eq!(sender("10.0.0.1", told), found("192.0.2.1", true, false, true));
        assert_eq!(sender("127.0.0.1", told), found("192.0.2.1", true, false, true));
        assert_eq!(sender("127.0.0.1", &[]), found("127.0.0.1", false, true, true));
        assert_eq!(sender("127.0.0.1", &told[1..]), found("127.0.0.1", true, false, true));
        assert_eq!(sender("127.0.0.1", &[("x-forwarded-for", broken)]), found("127.0.0.1", false, false, true));
        assert_eq!(sender("10.0.0.1", &[("x-forwarded-for", broken), told[1]]), found("10.0.0.1", true, false, true));
        assert_eq!(sender("127.0.0.1", &[("forwarded", "for=127.0.0.1")]), found("127.0.0.1", false, false, true));
    }
}
