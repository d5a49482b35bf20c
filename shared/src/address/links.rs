//! This machine's own addresses and the links that it is on, by the tables that the kernel has. Those of IPv6 are given out as all
//! public ones are, and what answers there is no less this network's own; so may be those of IPv4 in a data centre.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where Linux tells its routes of IPv6, those of IPv4, and its own addresses of IPv4.
const ROUTES_6: &str = "/proc/net/ipv6_route";
const ROUTES_4: &str = "/proc/net/route";
const OWN_4: &str = "/proc/net/fib_trie";
/// A route of fewer bits leads to more than a link: where a provider is dialled up to, it leads to the whole internet.
const FEWEST_BITS: u32 = 32;
const FEWEST_BITS_4: u32 = 8;
/// What a route's flags say (linux/route.h, linux/ipv6_route.h).
const UP: u32 = 0x1;
const BY_A_ROUTER: u32 = 0x2;
const REFUSED: u32 = 0x200;
const THIS_MACHINE: u32 = 0x8000_0000;

/// The links of this machine.
#[derive(Debug, Default, Clone)]
pub struct Links {
    /// Prefixes, and their bits.
    prefixes: Vec<(u128, u32)>,
    own: Vec<u128>,
    prefixes_4: Vec<(u32, u32)>,
    own_4: Vec<u32>,
}

impl Links {
    /// Those of now. `read` gives the text of a file. A system without IPv6 has no routes of it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn gather(read: impl Fn(&str) -> io::Result<String>) -> io::Result<Self> {
        let routes_6 = match read(ROUTES_6) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            routes => routes?,
        };
        let mut links = Self::of_ipv6(&routes_6);
        links.add_routes_4(&read(ROUTES_4)?);
        links.add_own_4(&read(OWN_4)?);
        Ok(links)
    }

    /// Those of a table of routes of IPv6.
    pub fn of_ipv6(routes: &str) -> Self {
        let mut links = Self::default();
        for route in routes.lines() {
            let fields: Vec<&str> = route.split_whitespace().collect();
            let [prefix, bits, _, _, _, _, _, _, flags, _] = fields[..] else { continue };
            let number = |text| u32::from_str_radix(text, 16);
            let (Ok(prefix), Ok(bits), Ok(flags)) = (u128::from_str_radix(prefix, 16), number(bits), number(flags))
            else {
                continue;
            };
            if flags & THIS_MACHINE != 0 {
                links.own.push(prefix);
            } else if flags & UP != 0 && flags & (BY_A_ROUTER | REFUSED) == 0 && (FEWEST_BITS..=128).contains(&bits) {
                links.prefixes.push((prefix, bits));
            }
        }
        links
    }

    fn add_routes_4(&mut self, routes: &str) {
        for route in routes.lines() {
            let fields: Vec<&str> = route.split_whitespace().collect();
            let [_, prefix, _, flags, _, _, _, mask, ..] = fields[..] else { continue };
            // The kernel writes what lies in its memory in the order of the network as a number of this machine.
            let number = |text| u32::from_str_radix(text, 16);
            let (Ok(prefix), Ok(flags), Ok(mask)) = (number(prefix), number(flags), number(mask)) else { continue };
            let (prefix, bits) = (u32::from_be(prefix), mask.count_ones());
            if flags & UP != 0 && flags & (BY_A_ROUTER | REFUSED) == 0 && bits >= FEWEST_BITS_4 {
                self.prefixes_4.push((prefix, bits));
            }
        }
    }

    fn add_own_4(&mut self, trie: &str) {
        let mut address = None;
        for line in trie.lines().map(str::trim) {
            if let Some(leaf) = line.strip_prefix("|-- ") {
                address = leaf.parse::<Ipv4Addr>().ok();
            } else if line.ends_with("host LOCAL") {
                self.own_4.extend(address.map(Ipv4Addr::to_bits));
            }
        }
    }

    /// Whether another machine of these links has the address of IPv6.
    pub fn have(&self, address: Ipv6Addr) -> bool {
        !self.own.contains(&address.to_bits()) && self.reach_6(address.to_bits())
    }

    /// Whether the address is this machine's own or one of its links'.
    pub fn touch(&self, address: &IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(four) => {
                let four = four.to_bits();
                let is_in = |(prefix, bits): &(u32, u32)| (four ^ prefix).checked_shr(32 - bits).unwrap_or(0) == 0;
                self.own_4.contains(&four) || self.prefixes_4.iter().any(is_in)
            }
            IpAddr::V6(six) => self.own.contains(&six.to_bits()) || self.reach_6(six.to_bits()),
        }
    }

    fn reach_6(&self, address: u128) -> bool {
        let is_in = |(prefix, bits): &(u128, u32)| (address ^ prefix).checked_shr(128 - bits).unwrap_or(0) == 0;
        self.prefixes.iter().any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a Pi behind a home's router that gives out a prefix, with a tunnel, and of one that dials up itself.
    const HOME: &str = "\
20010db8000100020000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
20010db8000100030000000000000005 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001      wg0
20010db8000100000000000000000000 38 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
20010db8000200000000000000000000 30 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000003 00000000 00200200       lo
20000000000000000000000000000000 03 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000003 00000000 00000001     ppp0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000003 00000000 00000001     ppp0
20010db80001000200000000000000aa 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001     eth0
nonsense
";

    #[test]
    fn neighbours_are_told_from_this_machine_and_from_what_a_router_leads_to() {
        let links = Links::of_ipv6(HOME);
        for (address, expected) in [
            ("2001:db8:1:2::1", true),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::aa", false),
            ("2001:db8:1:3::5", true),
            ("2001:db8:1:3::6", false),
            ("2001:db8:1:4::1", false),
            ("2001:db8:2::1", false),
            ("2606:2800:220:1::1", false),
        ] {
            assert_eq!(links.have(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Links::of_ipv6("").have(Ipv6Addr::LOCALHOST), "where nothing is told there is no neighbour");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn own_addresses_and_links_of_ipv4_are_told() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t015B6CCB\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t005B6CCB\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n";
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 8.8.4.4\n        /32 host LOCAL\n     |-- 9.9.9.0\n        /24 link UNICAST\n";
        let links = Links::gather(|file| match file {
            ROUTES_4 => Ok(routes.to_owned()),
            OWN_4 => Ok(trie.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        });
        let links = links.unwrap();
        assert!(Links::gather(|_| Err(io::ErrorKind::NotFound.into())).is_err());
        for (address, expected) in [
            ("203.108.91.7", true),
            ("::ffff:203.108.91.7", true),
            ("203.108.92.7", false),
            ("8.8.4.4", true),
            ("8.8.4.5", false),
            ("9.9.9.0", false),
        ] {
            assert_eq!(links.touch(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
