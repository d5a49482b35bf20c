//! Which addresses scripts may reach: what is public, but for what is this machine's or its network's, and what the operator lists.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picloud_shared::address::{Links, is_public};

use super::HttpAllow;

/// Where Azure answers the machines that it runs, secrets among it: an address of the public ones.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The check of addresses.
pub(super) struct Guard {
    allow: HttpAllow,
}

impl Guard {
    pub(super) fn new(allow: HttpAllow) -> Self {
        Self { allow }
    }

    /// Whether all of the addresses that a name leads to may be reached. A name that leads to others as well is one that means to
    /// get past this.
    pub(super) fn permits(&self, name: &str, port: u16, addresses: &[IpAddr]) -> bool {
        // Addresses come and go, and those of now count.
        let links = told(|file| fs::read_to_string(file));
        addresses.iter().all(|address| self.permits_one(name, port, *address, links.as_ref()))
    }

    /// Where this machine's own addresses cannot be told, all that is not listed may be one of them.
    fn permits_one(&self, name: &str, port: u16, address: IpAddr, links: Option<&Links>) -> bool {
        let canonical = address.to_canonical();
        let is_nobodys =
            canonical.is_unspecified() || canonical.is_multicast() || canonical == IpAddr::V4(Ipv4Addr::BROADCAST);
        if is_nobodys {
            return false;
        }
        self.allow.lists(name, port, address)
            || (is_open(&address) && links.is_some_and(|links| !links.touch(&address)))
    }
}

/// This machine's links, if the kernel tells of them: of each machine it tells that it has `127.0.0.1`.
fn told(read: impl Fn(&str) -> io::Result<String>) -> Option<Links> {
    let links = Links::gather(read).inspect_err(|error| {
        tracing::warn!(error = error as &dyn std::error::Error, "http: this machine's own addresses cannot be told");
    });
    links.ok().filter(|links| links.touch(&IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// Whether an address is public as it stands: none that stands for another.
fn is_open(address: &IpAddr) -> bool {
    let is_plain = match address {
        IpAddr::V4(four) => *four != AZURE && four.octets()[..3] != [192, 88, 99],
        IpAddr::V6(six) => !stands_for_another(*six),
    };
    is_plain && is_public(address)
}

/// Mapped and translated addresses (RFC 4291, RFC 6052), and what is set aside for protocols (RFC 2928).
fn stands_for_another(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    address.to_ipv4_mapped().is_some() || (first, second) == (0x64, 0xff9b) || (first == 0x2001 && second < 0x200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits_one("host.test", 80, address.parse().unwrap(), Some(&Links::default()))
    }

    #[test]
    fn where_the_machines_own_addresses_cannot_be_told_what_is_listed_alone_is_open() {
        assert!(told(|_| Err(io::ErrorKind::PermissionDenied.into())).is_none());
        assert!(told(|_| Ok(String::new())).is_none(), "not even 127.0.0.1");
        let trie = "|-- 127.0.0.1\n/32 host LOCAL\n";
        assert!(told(|file| Ok(if file.ends_with("fib_trie") { trie.to_owned() } else { String::new() })).is_some());
        let guard = Guard::new("203.0.113.0/24".parse().unwrap());
        for (address, is_open) in [("1.1.1.1", false), ("203.0.113.1", true)] {
            assert_eq!(guard.permits_one("host.test", 80, address.parse().unwrap(), None), is_open, "{address}");
        }
    }

    #[test]
    fn only_public_addresses_that_stand_for_themselves_are_open() {
        let guard = Guard::new(HttpAllow::default());
        for open in
            ["1.1.1.1", "93.184.216.34", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "2606:4700::1111"]
        {
            assert!(permits(&guard, open), "{open}");
        }
        let mut closed: Vec<String> = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::10.0.0.1",
            "::1.1.1.1",
            "::ffff:1.1.1.1",
            "::ffff:127.0.0.1",
            "::ffff:0:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "64:ff9b:1:ffff::10.0.0.1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:101:101::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ]
        .map(str::to_owned)
        .to_vec();
        // Each private network by its edges, as itself, mapped, compatible, by NAT64 and by 6to4.
        for net in ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"] {
            let net: ipnet::Ipv4Net = net.parse().unwrap();
            for four in [net.network(), net.broadcast(), Ipv4Addr::from_bits(net.network().to_bits() + 257)] {
                let [a, b, c, d] = four.octets();
                closed.push(four.to_string());
                closed.push(format!("::ffff:{four}"));
                closed.push(format!("::{four}"));
                closed.push(format!("64:ff9b::{four}"));
                closed.push(format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"));
            }
        }
        assert!(closed.len() > 130);
        for address in closed {
            assert!(!permits(&guard, &address), "{address}");
        }
    }

    #[test]
    fn an_operators_list_opens_what_it_names_and_no_more() {
        let guard = Guard::new("10.0.0.0/8,127.0.0.1:8080,host.test:80,0.0.0.0/1,ff00::/8".parse().unwrap());
        let by = |name, port, address: &str| {
            guard.permits_one(name, port, address.parse().unwrap(), Some(&Links::default()))
        };
        assert!(by("a.test", 1, "10.1.2.3") && by("a.test", 8080, "127.0.0.1") && by("host.test", 80, "fd00::1"));
        assert!(!by("a.test", 80, "192.168.0.1") && !by("a.test", 81, "fd00::1") && !by("host.test", 81, "fd00::1"));
        assert!(!by("a.test", 80, "0.0.0.0") && !by("a.test", 80, "ff02::1") && !by("host.test", 80, "::"));
    }

    #[test]
    fn one_address_that_is_closed_closes_the_name() {
        let guard = Guard::new(HttpAllow::default());
        let [open, closed] = ["1.1.1.1", "10.0.0.1"].map(|address| address.parse().unwrap());
        assert!(guard.permits("a.test", 80, &[open]));
        assert!(!guard.permits("a.test", 80, &[open, closed]));
    }
}
