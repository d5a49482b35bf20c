//! What the instance's own authority may speak for: names and addresses of home networks. Its root says so itself (RFC 5280,
//! 4.2.1.10), so that whoever takes the key of a root that people trust can speak for no server of another name or address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use picloud_shared::certificate::CertificateSource;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

use super::names::source_of;
use picloud_shared::address::is_public;

/// Names under these (RFC 6761, 6762, 8375), and those in use in homes.
const NAMES: [&str; 7] = ["home.arpa", "internal", "lan", "local", "localdomain", "localhost", "test"];
/// Names that nobody's root is to speak for (RFC 2606, 7686, 9476).
const RESERVED: [&str; 4] = ["alt", "example", "invalid", "onion"];
/// Networks that are nobody's in particular (RFC 1918, 3927, 4193, 6598), and this machine.
const NETWORKS: [&str; 9] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];
/// Names beyond these that a root may speak for: a root is read by everybody who trusts it.
const MOST_OTHERS: usize = 32;

/// What a root that is made now may speak for. There is no way to write "a name of one label"; so what is beyond the networks of
/// homes, and no public authority's either, is what is known by now of such: this machine's name and what the operator says first,
/// then what tenants claim, of which nothing counts but single labels and this machine's own addresses.
pub(super) fn of_a_root(
    operators: impl IntoIterator<Item = DomainPattern>,
    tenants: impl IntoIterator<Item = DomainPattern>,
) -> NameConstraints {
    let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let machine = machine.parse::<DomainPattern>().ok();
    let tenants = tenants.into_iter().filter(|name| host_of(name).split_first_label().is_none());
    constraints(machine.into_iter().chain(operators).chain(tenants), is_this_machines)
}

fn constraints(names: impl Iterator<Item = DomainPattern>, is_own: impl Fn(IpAddr) -> bool) -> NameConstraints {
    let mut permitted: Vec<GeneralSubtree> = NAMES.map(|name| GeneralSubtree::DnsName(name.to_owned())).into();
    permitted.extend(NETWORKS.map(|network| {
        GeneralSubtree::IpAddress(network.parse().expect("each is an address, a slash and the bits of a prefix"))
    }));
    let mut others = Vec::new();
    for name in names.filter(|name| source_of(name) == CertificateSource::Internal) {
        let host = host_of(&name);
        let is_another = match host.ip() {
            // Private ones are there already; public ones are others'.
            Some(address) => is_public(&address) && is_own(address),
            None => !is_under(host, &NAMES) && !is_under(host, &RESERVED) && !holds_strangers(host),
        };
        if others.len() < MOST_OTHERS && is_another && !others.contains(host) {
            others.push(host.clone());
        }
    }
    permitted.extend(others.iter().map(alone));
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() }
}

fn host_of(name: &DomainPattern) -> &Host<'static> {
    let (DomainPattern::Exact(host) | DomainPattern::Wildcard { parent: host, .. }) = name;
    host
}

/// Whether an interface of this machine has the address: then it can be listened at. Where any address can be, as with
/// `ip_nonlocal_bind`, that is not known, and none is taken for its own.
fn is_this_machines(address: IpAddr) -> bool {
    let can_be_had = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    // Addresses for documents (RFC 5737, 3849), which nobody has.
    let nobodys = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    can_be_had(address) && !can_be_had(nobodys)
}

fn is_under(host: &Host<'_>, names: &[&str]) -> bool {
    let host = host.as_str();
    names.iter().any(|name| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Whether public names are below it: a root that may speak for `com` may speak for nearly all there is.
fn holds_strangers(host: &Host<'_>) -> bool {
    let below = format!("*.{host}").parse::<DomainPattern>();
    below.is_ok_and(|below| below.refuse_public_suffix().is_err())
}

/// That host, with what is below it.
fn alone(host: &Host<'static>) -> GeneralSubtree {
    match host.ip() {
        Some(address @ IpAddr::V4(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 32)),
        Some(address @ IpAddr::V6(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 128)),
        None => GeneralSubtree::DnsName(host.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(names: &[&str]) -> Vec<DomainPattern> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn dns_names(constraints: NameConstraints) -> Vec<String> {
        let found = constraints.permitted_subtrees.into_iter().filter_map(|subtree| match subtree {
            GeneralSubtree::DnsName(name) => Some(name),
            _ => None,
        });
        found.collect()
    }

    #[test]
    fn tenants_widen_it_by_single_labels_alone_and_keep_nothing_from_the_operator() {
        let none = dns_names(of_a_root([], []));
        let tenants =
            ["nas", "*.printer", "my_pi.example.com", "bankhome.arpa", "alt", "example", "shop.invalid", "*.onion"];
        let some = dns_names(of_a_root(parsed(&["pi"]), parsed(&tenants)));
        assert_eq!(some[none.len()..], ["pi", "nas", "printer"]);
        let many: Vec<String> = (0..100).map(|number| format!("host-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let full = dns_names(of_a_root(parsed(&["pi", "my_pi.example.com"]), parsed(&many)));
        assert_eq!(full.len(), NAMES.len() + MOST_OTHERS);
        assert_eq!(full[none.len()..none.len() + 3], ["pi", "my_pi.example.com", "host-0"]);
    }

    #[test]
    fn of_public_addresses_only_this_machines_own_is_added() {
        let own: IpAddr = "8.8.8.8".parse().unwrap();
        let names = ["9.9.9.9", "8.8.8.8", "10.0.0.1", "127.0.0.2", "[2606:2800:220:1::1]", "[fd00::1]"];
        let found = constraints(parsed(&names).into_iter(), |address| address == own || address.is_loopback());
        let addresses = found.permitted_subtrees.into_iter().filter_map(|subtree| match subtree {
            GeneralSubtree::IpAddress(subnet) => Some(subnet),
            _ => None,
        });
        let addresses: Vec<CidrSubnet> = addresses.skip(NETWORKS.len()).collect();
        assert!(matches!(addresses[..], [CidrSubnet::V4([8, 8, 8, 8], [255, 255, 255, 255])]), "{}", addresses.len());
        for (address, expected) in [("127.0.0.1", true), ("8.8.8.8", false), ("2606:2800:220:1::1", false)] {
            assert_eq!(is_this_machines(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn names_of_homes_are_known_and_others_are_added_once_each_and_not_without_end() {
        let all = |names: &[&str]| dns_names(of_a_root(parsed(names), []));
        let none = all(&[]);
        assert!(NAMES.iter().all(|name| none.iter().any(|found| found == name)) && none.len() <= NAMES.len() + 1);
        let some = all(&["pi", "*.nas", "pi", "pi.local", "local", "notlocal", "shop.example.com", "10.0.0.1"]);
        assert_eq!(some[none.len()..], ["pi", "nas", "notlocal"]);
        assert_eq!(all(&["com", "*.org", "tv", "ck", "xn--p1ai", "co.uk"]), none, "suffixes of strangers");
        let many: Vec<String> = (0..100).map(|number| format!("host-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(all(&many).len(), NAMES.len() + MOST_OTHERS);
    }
}
