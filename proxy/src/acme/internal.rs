//! The instance's own authority, for names that no public one signs for: a root that people tell their devices to trust, an
//! intermediate of a few weeks, and certificates of a few days.

use std::time::Duration;

use picloud_shared::certificate::{InternalAuthority, Issued, PrivateKey, SaveError, read_facts};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::failure::Failure;
use super::round::Work;
use super::scope;

const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Since when a root is good, whatever the clock says that founds it: a small computer without a battery may not know the
/// time yet, and a root is not renewed. This is 2025-01-01.
const ROOT_BEGINS: Timestamp = Timestamp::from_millis(1_735_689_600_000);
/// Renewed at half of it, by what an intermediate has left at least.
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What a device's clock may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

fn broken(error: rcgen::Error) -> Failure {
    Failure::refused(format!("the internal authority cannot sign: {error}"))
}

fn moment(at: Timestamp) -> time::OffsetDateTime {
    // A timestamp has a year from 0 to 9999, all of which there are.
    time::OffsetDateTime::from_unix_timestamp(at.as_millis() / 1000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn params(name: &str, now: Timestamp, not_after: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(now.minus(CLOCKS_DIFFER));
    params.not_after = moment(not_after);
    params
}

/// A root, which may speak for no other names and addresses of servers than that, and its first intermediate.
fn found(scope: NameConstraints, now: Timestamp) -> Result<InternalAuthority, Failure> {
    let key = KeyPair::generate().map_err(broken)?;
    // So that the roots of two instances can be told apart in a list.
    let name = format!("PiCloud root {:08x}", rand::random::<u32>());
    let mut params = params(&name, now, now.max(ROOT_BEGINS).plus(ROOT_LIFE));
    params.not_before = moment(ROOT_BEGINS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.name_constraints = Some(scope);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let root = params.self_signed(&key).map_err(broken)?.pem();
    sign_intermediate(root, PrivateKey::new(key.serialize_pem()), now)
}

fn sign_intermediate(root: String, root_key: PrivateKey, now: Timestamp) -> Result<InternalAuthority, Failure> {
    let signer = KeyPair::from_pem(root_key.reveal()).map_err(broken)?;
    let issuer = Issuer::from_ca_cert_pem(&root, signer).map_err(broken)?;
    let key = KeyPair::generate().map_err(broken)?;
    let not_after = now.plus(INTERMEDIATE_LIFE);
    let mut params = params("PiCloud intermediate", now, not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let intermediate = params.signed_by(&key, &issuer).map_err(broken)?.pem();
    Ok(InternalAuthority {
        root,
        root_key,
        intermediate,
        intermediate_key: PrivateKey::new(key.serialize_pem()),
        intermediate_not_after: not_after,
    })
}

/// One that has more than its whole life before it was signed by a clock that stood wrong: devices do not believe it yet.
fn is_in_its_first_half(intermediate_not_after: Timestamp, now: Timestamp) -> bool {
    let left = intermediate_not_after.since(now);
    left > INTERMEDIATE_LIFE / 2 && left <= INTERMEDIATE_LIFE
}

/// A certificate for these names, with a key of its own, unless those who trust the root would not take it.
fn sign(authority: &InternalAuthority, names: &[DomainPattern], now: Timestamp) -> Result<Issued, Failure> {
    let signer = KeyPair::from_pem(authority.intermediate_key.reveal()).map_err(broken)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.intermediate, signer).map_err(broken)?;
    let key = KeyPair::generate().map_err(broken)?;
    // OpenSSL takes whatever looks like a name there for one, an address too.
    let first = names.iter().find(|name| !matches!(name, DomainPattern::Exact(host) if host.is_ip()));
    let first = first.map_or_else(|| "PiCloud".to_owned(), DomainPattern::shape_key);
    let not_after = now.plus(LEAF_LIFE).min(authority.intermediate_not_after);
    let mut params = params(first.get(..first.len().min(64)).unwrap_or_default(), now, not_after);
    params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).map_err(broken)?.pem();
    let chain = leaf + &authority.intermediate;
    if verify(&authority.root, &chain, now, KeyUsage::server_auth()) == Err(webpki::Error::NameConstraintViolation) {
        let names = names.iter().map(DomainPattern::shape_key).collect::<Vec<_>>().join(", ");
        return Err(Failure::refused(format!(
            "no authority signs for {names}: public ones do not, and the instance's own root may speak for names of home networks alone \
             (and for those that it was made for): claim a name under .local, .internal or .home.arpa"
        )));
    }
    let facts = read_facts(&chain, None).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(Issued { chain, key: PrivateKey::new(key.serialize_pem()), facts })
}

/// Whether a device that trusts the root takes the chain then, for whichever names it is.
fn verify(root: &str, chain: &str, at: Timestamp, usage: KeyUsage) -> Result<(), webpki::Error> {
    let unreadable = |_| webpki::Error::BadDer;
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(unreadable)?;
    let [leaf, intermediates @ ..] = &chain[..] else { return Err(webpki::Error::BadDer) };
    let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0)));
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let anchors = [webpki::anchor_from_trusted_cert(&root)?];
    let leaf = EndEntityCert::try_from(leaf)?;
    leaf.verify_for_usage(algorithms, &anchors, intermediates, at, usage, None, None).map(drop)
}

fn alternative_name(name: &DomainPattern) -> Result<SanType, Failure> {
    let text = name.shape_key();
    let address = text.trim_start_matches('[').trim_end_matches(']');
    match address.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(text.try_into().map_err(broken)?)),
    }
}

impl Work {
    /// Has the internal authority sign.
    pub(super) async fn sign_internally(&mut self) -> Result<(), SaveError> {
        match self.signed_internally().await {
            Ok(issued) => self.finish(issued).await,
            Err(failure) => {
                let (reason, _) = failure.told()?;
                self.fail(reason, None).await
            }
        }
    }

    async fn signed_internally(&mut self) -> Result<Issued, Failure> {
        let (store, now) = (&self.shared.store, self.now());
        let authority = match store.internal_authority().await? {
            None => {
                // Its own name among tenants': an admin host is among the operator's as well.
                let tenants = self.record.names.iter().cloned().chain(self.shared.claimed_names());
                let scope = scope::of_a_root(self.shared.admin_names(), tenants);
                store.save_internal_authority(&found(scope, now)?, None).await?
            }
            Some(old) if !is_in_its_first_half(old.intermediate_not_after, now) => {
                let ended = old.intermediate_not_after;
                let new = sign_intermediate(old.root, old.root_key, now)?;
                store.save_internal_authority(&new, Some(ended)).await?
            }
            Some(current) => current,
        };
        sign(&authority, &self.record.names, now)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn found_for(names: &[&str]) -> InternalAuthority {
        found(scope::of_a_root(names.iter().map(|name| name.parse().unwrap()), []), NOW).unwrap()
    }

    fn signed(authority: &InternalAuthority, names: &[&str], now: Timestamp) -> Result<Issued, Failure> {
        sign(authority, &names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>(), now)
    }

    /// Whether a device that trusts the root takes the chain for this name then.
    fn is_trusted(root: &str, chain: &str, name: &str, at: Timestamp) -> bool {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let name = ServerName::try_from(name).unwrap();
        verify(root, chain, at, KeyUsage::server_auth()).is_ok()
            && EndEntityCert::try_from(&leaf).unwrap().verify_is_valid_for_subject_name(&name).is_ok()
    }

    #[test]
    fn whoever_trusts_the_root_trusts_names_wildcards_and_addresses_for_a_week() {
        let authority = found_for(&[]);
        let issued = signed(&authority, &["pi.local", "*.pi.local", "192.168.1.2", "[fd00::1]"], NOW).unwrap();
        for name in ["pi.local", "shop.pi.local", "192.168.1.2", "fd00::1"] {
            assert!(is_trusted(&authority.root, &issued.chain, name, NOW), "{name}");
            assert!(!is_trusted(&authority.root, &issued.chain, name, NOW.plus(LEAF_LIFE + DAY)), "{name} for ever");
        }
        assert!(!is_trusted(&authority.root, &issued.chain, "other.local", NOW));
        assert!(!is_trusted(&found_for(&[]).root, &issued.chain, "pi.local", NOW), "another root");
        assert_eq!(issued.facts.issuer, "PiCloud intermediate");
    }

    #[test]
    fn a_root_speaks_for_names_of_homes_and_what_it_was_made_for_whoever_has_its_key() {
        let authority = found_for(&["pi", "*.nas", "my_pi.example.com", "8.8.8.8", "bank.example.com", "com", "onion"]);
        for name in [
            "localhost",
            "shop.localhost",
            "pi.local",
            "*.pi.local",
            "nas.home.arpa",
            "a.b.internal",
            "fritz.lan",
            "shop.test",
            "pi",
            "shop.nas",
            "my_pi.example.com",
            "10.1.2.3",
            "127.0.0.1",
            "[::1]",
            "[fe80::1]",
        ] {
            let issued = signed(&authority, &[name], NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(verify(&authority.root, &issued.chain, NOW, KeyUsage::server_auth()), Ok(()), "{name}");
        }
        let others = [
            "bank.example",
            "bank.example.com",
            "*.bank.example.com",
            "notlocal",
            "tv",
            "local.example.org",
            "8.8.8.8",
            "[2606::1]",
            "shop.onion",
        ];
        for name in others {
            // As by whoever holds the key and looks at nothing.
            let refused = signed(&authority, &[name], NOW).map(drop).unwrap_err();
            assert!(refused.to_string().contains(&format!("no authority signs for {name}")), "{refused}");
            assert!(signed(&authority, &["pi.local", name], NOW).is_err(), "{name} beside one that is");
        }
        // An intermediate that somebody else has the root sign is bound by it as well.
        let other = sign_intermediate(authority.root.clone(), authority.root_key.clone(), NOW).unwrap();
        assert!(signed(&other, &["bank.example.com"], NOW).is_err());
    }

    #[test]
    fn what_the_intermediate_signs_is_for_servers_alone() {
        let authority = found_for(&[]);
        let signer = KeyPair::from_pem(authority.intermediate_key.reveal()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority.intermediate, signer).unwrap();
        // As by whoever holds its key, for a person who signs in by a certificate.
        let mut params = params("ada", NOW, NOW.plus(DAY));
        params.subject_alt_names = vec![alternative_name(&"pi.local".parse().unwrap()).unwrap()];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem();
        let chain = leaf + &authority.intermediate;
        assert_eq!(verify(&authority.root, &chain, NOW, KeyUsage::server_auth()), Ok(()));
        assert!(verify(&authority.root, &chain, NOW, KeyUsage::client_auth()).is_err());
    }

    #[test]
    fn a_root_of_an_earlier_version_goes_on_to_sign_for_what_it_did() {
        let all = NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: Vec::new() };
        let authority = found(all, NOW).unwrap();
        let issued = signed(&authority, &["printer", "shop.example"], NOW).unwrap();
        assert!(is_trusted(&authority.root, &issued.chain, "printer", NOW));
    }

    #[test]
    fn a_new_intermediate_is_trusted_by_the_same_root_and_no_leaf_outlives_its_own() {
        let first = found_for(&[]);
        let second = sign_intermediate(first.root.clone(), first.root_key.clone(), NOW.plus(DAY * 20)).unwrap();
        let issued = signed(&second, &["pi.local"], NOW.plus(DAY * 20)).unwrap();
        assert!(is_trusted(&first.root, &issued.chain, "pi.local", NOW.plus(DAY * 21)));
        let late = signed(&first, &["pi.local"], NOW.plus(DAY * 28)).unwrap();
        assert_eq!(late.facts.not_after, first.intermediate_not_after);
    }
}
