//! Which addresses everybody can reach, and which are this machine's and its links'.
//!
//! Who names an address, or a host that leads to one, must not learn by it what answers on this machine and in its network.

mod links;

pub use links::Links;

use std::net::IpAddr;

/// Whether anybody can reach an address (RFC 6890). Of IPv6 it is what is given out, but for what is meant for documents and for
/// tunnels of old.
pub fn is_public(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            let this_network = a == 0;
            let shared_by_carriers = a == 100 && (64..128).contains(&b);
            let protocols_own = (a, b, c) == (192, 0, 0);
            let benchmarks = a == 198 && (18..20).contains(&b);
            // Multicast, what is reserved, and broadcast.
            let beyond = a >= 224;
            !(four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_documentation()
                || this_network
                || shared_by_carriers
                || protocols_own
                || benchmarks
                || beyond)
        }
        IpAddr::V6(six) => {
            let [first, second, .., high, low] = six.segments();
            if six.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
                // What a network that speaks IPv6 alone makes of an address of IPv4 (RFC 6052).
                let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
                return is_public(&IpAddr::from([a, b, c, d]));
            }
            let given_out = first & 0xe000 == 0x2000;
            let documents = (first, second) == (0x2001, 0xdb8) || (first, second & 0xf000) == (0x3fff, 0);
            let tunnels = (first, second) == (0x2001, 0) || first == 0x2002;
            given_out && !documents && !tunnels
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_where_everybody_can_reach_it() {
        for public in ["93.184.216.34", "2606:2800:220:1::1", "2001:470::1", "64:ff9b::5db8:d822", "100.128.0.1"] {
            assert!(is_public(&public.parse().unwrap()), "{public}");
        }
        for not in [
            "10.0.0.1",
            "192.168.1.2",
            "172.16.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::10.0.0.1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::5db8:d822",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
        ] {
            assert!(!is_public(&not.parse().unwrap()), "{not}");
        }
    }
}
