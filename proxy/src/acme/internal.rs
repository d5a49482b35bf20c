//! The instance's own authority, for names that no public one signs for: a root that people tell their devices to trust, an
//! intermediate of a few weeks, and certificates of a few days.

use std::time::Duration;

use picloud_shared::certificate::{InternalAuthority, Issued, PrivateKey, SaveError, read_facts};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::failure::Failure;
use super::round::Work;

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

/// A root and its first intermediate.
fn found(now: Timestamp) -> Result<InternalAuthority, Failure> {
    let key = KeyPair::generate().map_err(broken)?;
    // So that the roots of two instances can be told apart in a list.
    let name = format!("PiCloud root {:08x}", rand::random::<u32>());
    let mut params = params(&name, now, now.max(ROOT_BEGINS).plus(ROOT_LIFE));
    params.not_before = moment(ROOT_BEGINS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
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

/// A certificate for these names, with a key of its own.
fn sign(authority: &InternalAuthority, names: &[DomainPattern], now: Timestamp) -> Result<Issued, Failure> {
    let signer = KeyPair::from_pem(authority.intermediate_key.reveal()).map_err(broken)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.intermediate, signer).map_err(broken)?;
    let key = KeyPair::generate().map_err(broken)?;
    let first = names.first().map(DomainPattern::shape_key).unwrap_or_default();
    let not_after = now.plus(LEAF_LIFE).min(authority.intermediate_not_after);
    let mut params = params(first.get(..first.len().min(64)).unwrap_or_default(), now, not_after);
    params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).map_err(broken)?.pem();
    let chain = leaf + &authority.intermediate;
    let facts = read_facts(&chain, None).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(Issued { chain, key: PrivateKey::new(key.serialize_pem()), facts })
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
            None => store.save_internal_authority(&found(now)?, None).await?,
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
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// Whether a device that trusts the root takes the chain for this name then.
    fn is_trusted(root: &str, chain: &str, name: &str, at: Timestamp) -> bool {
        let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        let anchors = [anchor_from_trusted_cert(&root).unwrap()];
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_millis(at.as_millis() as u64));
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(algorithms, &anchors, &chain[1..], at, usage, None, None).is_ok()
            && leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).is_ok()
    }

    #[test]
    fn whoever_trusts_the_root_trusts_names_wildcards_and_addresses_for_a_week() {
        let authority = found(NOW).unwrap();
        let names = ["pi.local", "*.pi.local", "192.168.1.2", "[fd00::1]"].map(|name| name.parse().unwrap());
        let issued = sign(&authority, &names, NOW).unwrap();
        for name in ["pi.local", "shop.pi.local", "192.168.1.2", "fd00::1"] {
            assert!(is_trusted(&authority.root, &issued.chain, name, NOW), "{name}");
            assert!(!is_trusted(&authority.root, &issued.chain, name, NOW.plus(LEAF_LIFE + DAY)), "{name} for ever");
        }
        assert!(!is_trusted(&authority.root, &issued.chain, "other.local", NOW));
        assert!(!is_trusted(&found(NOW).unwrap().root, &issued.chain, "pi.local", NOW), "another root");
        assert_eq!(issued.facts.issuer, "PiCloud intermediate");
    }

    #[test]
    fn a_new_intermediate_is_trusted_by_the_same_root_and_no_leaf_outlives_its_own() {
        let first = found(NOW).unwrap();
        let second = sign_intermediate(first.root.clone(), first.root_key.clone(), NOW.plus(DAY * 20)).unwrap();
        let names = ["pi.local".parse().unwrap()];
        let issued = sign(&second, &names, NOW.plus(DAY * 20)).unwrap();
        assert!(is_trusted(&first.root, &issued.chain, "pi.local", NOW.plus(DAY * 21)));
        let late = sign(&first, &names, NOW.plus(DAY * 28)).unwrap();
        assert_eq!(late.facts.not_after, first.intermediate_not_after);
    }
}
