//! What an operator lets scripts reach beside what is public.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

/// Networks, addresses, and hosts with a port; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAllow(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Net(IpNet),
    Address(IpAddr, u16),
    Name(String, u16),
}

/// An entry that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no network such as 192.168.1.0/24, no address such as 10.0.0.7, and no host with a port such as nas.lan:8080"
)]
pub struct InvalidHttpAllow(String);

impl HttpAllow {
    /// Whether one of the entries lets that address be reached by that name and port.
    pub(super) fn lists(&self, name: &str, port: u16, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|entry| match entry {
            Entry::Net(net) => net.contains(&address),
            Entry::Address(listed, at) => (*listed, *at) == (address, port),
            Entry::Name(listed, at) => (listed.as_str(), *at) == (name, port),
        })
    }
}

impl FromStr for HttpAllow {
    type Err = InvalidHttpAllow;

    fn from_str(text: &str) -> Result<Self, InvalidHttpAllow> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(entry).collect::<Result<_, _>>().map(Self)
    }
}

fn entry(text: &str) -> Result<Entry, InvalidHttpAllow> {
    let invalid = || InvalidHttpAllow(text.to_owned());
    if let Ok(net) = text.parse::<IpNet>() {
        // All addresses are no list.
        return if net.prefix_len() == 0 { Err(invalid()) } else { Ok(Entry::Net(net.trunc())) };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Entry::Net(address.to_canonical().into()));
    }
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).ok_or_else(invalid)?;
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| invalid())?;
    let is_bare = url.path() == "/" && url.username().is_empty() && url.password().is_none();
    match url.host().filter(|_| is_bare && url.query().is_none() && url.fragment().is_none()) {
        Some(Host::Domain(name)) => Ok(Entry::Name(name.trim_end_matches('.').to_owned(), port)),
        Some(Host::Ipv4(four)) => Ok(Entry::Address(four.into(), port)),
        Some(Host::Ipv6(six)) => Ok(Entry::Address(IpAddr::from(six).to_canonical(), port)),
        None => Err(invalid()),
    }
}

impl fmt::Display for HttpAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, entry) in self.0.iter().enumerate() {
            f.write_str(if place > 0 { "," } else { "" })?;
            match entry {
                Entry::Net(net) => write!(f, "{net}")?,
                Entry::Address(IpAddr::V6(six), port) => write!(f, "[{six}]:{port}")?,
                Entry::Address(address, port) => write!(f, "{address}:{port}")?,
                Entry::Name(name, port) => write!(f, "{name}:{port}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_shown_alike() {
        let text = "192.168.1.0/24,10.0.0.7/32,127.0.0.1:8080,[::1]:80,nas.lan:8080,fd00::/8";
        assert_eq!(text.parse::<HttpAllow>().unwrap().to_string(), text);
        assert_eq!("".parse::<HttpAllow>().unwrap(), HttpAllow::default());
    }

    #[test]
    fn what_names_everything_or_nothing_is_refused() {
        for text in ["0.0.0.0/0", "::/0", "nas.lan", "nas.lan:", "nas.lan:x", "a b:80", "u@nas.lan:80", "nas.lan/x:80"]
        {
            assert!(text.parse::<HttpAllow>().is_err(), "{text}");
        }
    }
}
