//! For which names a public authority signs, and for which the instance's own does.

use picloud_shared::certificate::CertificateSource;
use picloud_shared::domain_pattern::{DomainPattern, Host};

/// Last labels that no public authority signs for: reserved (RFC 2606, 6761, 6762, 8375, 9476), or in use in homes.
const NOT_PUBLIC: [&str; 10] =
    ["alt", "example", "internal", "invalid", "lan", "local", "localdomain", "localhost", "onion", "test"];

/// Where a certificate for that name can come from.
pub(super) fn source_of(name: &DomainPattern) -> CertificateSource {
    let host = match name {
        DomainPattern::Exact(host) | DomainPattern::Wildcard { parent: host, .. } => host,
    };
    if is_public(host) { CertificateSource::Automatic } else { CertificateSource::Internal }
}

fn is_public(host: &Host<'_>) -> bool {
    let Some((_, rest)) = host.split_first_label() else { return false };
    let last = rest.rsplit('.').next().unwrap_or(rest);
    let name = host.as_str();
    // `_` is in no name that an authority signs for.
    !NOT_PUBLIC.contains(&last) && !name.ends_with("home.arpa") && !name.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_homes_and_addresses_are_the_instances_own() {
        for (name, expected) in [
            ("shop.example.com", CertificateSource::Automatic),
            ("*.example.com", CertificateSource::Automatic),
            ("xn--bcher-kva.example", CertificateSource::Internal),
            ("example.co.uk", CertificateSource::Automatic),
            ("localhost", CertificateSource::Internal),
            ("pi", CertificateSource::Internal),
            ("pi.local", CertificateSource::Internal),
            ("*.pi.local", CertificateSource::Internal),
            ("nas.home.arpa", CertificateSource::Internal),
            ("nas.fritz.lan", CertificateSource::Internal),
            ("192.168.1.2", CertificateSource::Internal),
            ("[fd00::1]", CertificateSource::Internal),
            ("my_pi.example.com", CertificateSource::Internal),
        ] {
            assert_eq!(source_of(&name.parse().unwrap()), expected, "{name}");
        }
    }
}
