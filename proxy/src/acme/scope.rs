//! What the instance's own authority may speak for: names and addresses of home networks. Its root says so itself (RFC 5280,
//! 4.2.1.10), so that whoever takes the key of a root that people trust can speak for nothing else.

use std::net::IpAddr;

use picloud_shared::certificate::CertificateSource;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

use super::names::source_of;

/// Names under these (RFC 6761, 6762, 8375), and those in use in homes.
const NAMES: [&str; 7] = ["home.arpa", "internal", "lan", "local", "localdomain", "localhost", "test"];
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
/// homes, and no public authority's either, is what is known by now of such: this machine's name and what `names` says.
pub(super) fn of_a_root(names: impl IntoIterator<Item = DomainPattern>) -> NameConstraints {
    let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let machine = machine.parse::<DomainPattern>().ok();
    let mut permitted: Vec<GeneralSubtree> = NAMES.map(|name| GeneralSubtree::DnsName(name.to_owned())).into();
    permitted.extend(NETWORKS.map(|network| {
        GeneralSubtree::IpAddress(network.parse().expect("each is an address, a slash and the bits of a prefix"))
    }));
    let mut others = Vec::new();
    for name in machine.into_iter().chain(names).filter(|name| source_of(name) == CertificateSource::Internal) {
        let (DomainPattern::Exact(host) | DomainPattern::Wildcard { parent: host, .. }) = &name;
        if others.len() < MOST_OTHERS && !is_under(host, &NAMES) && !holds_strangers(host) && !others.contains(host) {
            others.push(host.clone());
        }
    }
    permitted.extend(others.iter().map(alone));
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() }
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

    #[test]
    fn names_of_homes_are_known_and_others_are_added_once_each_and_not_without_end() {
        let all = |names: &[&str]| {
            let names: Vec<DomainPattern> = names.iter().map(|name| name.parse().unwrap()).collect();
            let found = of_a_root(names).permitted_subtrees.into_iter().filter_map(|subtree| match subtree {
                GeneralSubtree::DnsName(name) => Some(name),
                _ => None,
            });
            found.collect::<Vec<_>>()
        };
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
