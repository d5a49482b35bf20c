//! Which addresses of IPv6 are this machine's neighbours: those on a link of its own, by the routes that the kernel has. They are
//! given out as all public ones are, and what answers there is no less this network's own.

use std::fs;
use std::net::Ipv6Addr;

/// Where Linux tells its routes of IPv6.
const ROUTES: &str = "/proc/net/ipv6_route";
/// A route of fewer bits leads to more than a link: where a provider is dialled up to, it leads to the whole internet.
const FEWEST_BITS: u32 = 32;
/// What a route's flags say (linux/route.h, linux/ipv6_route.h).
const UP: u32 = 0x1;
const BY_A_ROUTER: u32 = 0x2;
const REFUSED: u32 = 0x200;
const THIS_MACHINE: u32 = 0x8000_0000;

/// The links of this machine.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Prefixes, and their bits.
    prefixes: Vec<(u128, u32)>,
    own: Vec<u128>,
}

impl Links {
    /// Those of now; none where the system does not tell.
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string(ROUTES).unwrap_or_default())
    }

    pub(super) fn parse(routes: &str) -> Self {
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

    /// Whether another machine of these links has the address.
    pub(super) fn have(&self, address: Ipv6Addr) -> bool {
        let address = address.to_bits();
        let is_in = |(prefix, bits): &(u128, u32)| (address ^ prefix).checked_shr(128 - bits).unwrap_or(0) == 0;
        !self.own.contains(&address) && self.prefixes.iter().any(is_in)
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
        let links = Links::parse(HOME);
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
        assert!(!Links::parse("").have(Ipv6Addr::LOCALHOST), "where nothing is told there is no neighbour");
    }

    #[test]
    fn the_routes_of_this_system_are_read() {
        // A Linux without IPv6 has no such file.
        let routes = fs::read_to_string(ROUTES).unwrap_or_default();
        let links = Links::read();
        assert!(routes.is_empty() || links.own.contains(&1), "its loopback is its own: {routes}");
    }
}
