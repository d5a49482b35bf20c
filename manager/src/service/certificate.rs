//! Certificates, as people see them: their state and history, uploads, and the wish to renew now.

use std::sync::Arc;

use picloud_shared::certificate::{
    Attempt, CertificateFacts, CertificateRecord, CertificateSource, CertificateState, Finding, Issued, Preflight,
    PrivateKey, broken_link, read_facts,
};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::CertificateId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use crate::certificate_store::Certificates;
use crate::repo::audit::AuditObject;
use crate::repo::certificates::{self, accounts, attempts, served};
use crate::service::authorize::{Actor, Capability};
use crate::service::change::{Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};

/// Attempts that are shown of one certificate.
const SHOWN_ATTEMPTS: u32 = 50;
/// Names that one uploaded certificate may be for: as many as the largest authority takes.
const MOST_NAMES: usize = 100;

pub(crate) struct CertificateService {
    desk: Desk,
    certificates: Arc<Certificates>,
    preflight: Arc<dyn Preflight>,
}

impl CertificateService {
    pub(crate) fn new(desk: Desk, certificates: Arc<Certificates>, preflight: Arc<dyn Preflight>) -> Self {
        Self { desk, certificates, preflight }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        size: PageSize,
        after: Option<CertificateId>,
    ) -> Result<Page<CertificateRecord, CertificateId>, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        let found = certificates::list(&mut self.desk.store.read().await?, size.plus_one(), after).await?;
        Ok(Page::of_rows("certificate", found, size, |one| one.id.as_uuid(), CertificateId::from_uuid))
    }

    /// A certificate with its newest attempts first.
    pub(crate) async fn find(
        &self,
        actor: &Actor,
        id: CertificateId,
    ) -> Result<(CertificateRecord, Vec<Attempt>), ServiceError> {
        actor.require(Capability::InstanceRead)?;
        let mut conn = self.desk.store.read().await?;
        let record = certificates::find(&mut conn, id).await?.ok_or(ServiceError::NotFound("certificate"))?;
        let history = attempts::list(&mut conn, id, SHOWN_ATTEMPTS).await?;
        Ok((record, readable("attempt", history)))
    }

    /// Serves a chain that somebody got elsewhere.
    pub(crate) async fn upload(
        &self,
        actor: &Actor,
        chain: String,
        key: PrivateKey,
    ) -> Result<CertificateRecord, ServiceError> {
        actor.require(Capability::InstanceManageSettings)?;
        let facts = inspect(&chain, &key)?;
        let names = facts.names.iter().map(|name| name_of(name)).collect::<Result<Vec<_>, _>>()?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageSettings)?;
        if facts.not_after <= change.at {
            return Err(ServiceError::invalid("chain", format!("the certificate ended at {}", facts.not_after)));
        }
        let at = change.at;
        let record = CertificateRecord {
            id: CertificateId::generate(at),
            source: CertificateSource::Manual,
            name: None,
            names,
            app: None,
            state: CertificateState::Valid,
            failures: 0,
            last_error: None,
            next_attempt_at: None,
            renewal: None,
            facts: Some(facts.clone()),
            created_at: at,
            updated_at: at,
        };
        self.certificates.insert_uploaded(&mut change, &record, &Issued { chain, key, facts }).await?;
        let event = Event::new("certificate.upload", AuditObject::Certificate(record.id));
        change.record(event.after(summary(&record)));
        change.commit().await?;
        self.certificates.wake();
        Ok(record)
    }

    /// Has a managed certificate renewed now.
    pub(crate) async fn renew(&self, actor: &Actor, id: CertificateId) -> Result<CertificateRecord, ServiceError> {
        actor.require(Capability::InstanceManageSettings)?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageSettings)?;
        let found = certificates::find(&mut change, id).await?;
        let mut record = found.ok_or(ServiceError::NotFound("certificate"))?;
        if record.source == CertificateSource::Manual {
            return Err(ServiceError::UploadedCertificate);
        }
        let at = change.at;
        record.next_attempt_at = Some(at);
        if let Some(renewal) = &mut record.renewal {
            renewal.at = renewal.at.min(at);
        }
        certificates::make_due(&mut change, &record).await?;
        let event = Event::new("certificate.renew", AuditObject::Certificate(id));
        change.record(event.after(json!({ "names": record.names })));
        change.commit().await?;
        self.certificates.wake();
        Ok(record)
    }

    /// Serves an uploaded certificate no longer.
    pub(crate) async fn delete(&self, actor: &Actor, id: CertificateId) -> Result<(), ServiceError> {
        actor.require(Capability::InstanceManageSettings)?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageSettings)?;
        let found = certificates::find(&mut change, id).await?;
        let record = found.ok_or(ServiceError::NotFound("certificate"))?;
        if record.source != CertificateSource::Manual {
            return Err(ServiceError::ManagedCertificate);
        }
        certificates::delete_uploaded(&mut change, id).await?;
        served::raise_revision(&mut change).await?;
        let event = Event::new("certificate.delete", AuditObject::Certificate(id));
        change.record(event.before(summary(&record)));
        change.commit().await?;
        self.certificates.wake();
        Ok(())
    }

    /// The root of the instance's own authority in PEM, for whoever may make any call: it is as little a secret as a certificate.
    pub(crate) async fn internal_root(&self) -> Result<String, ServiceError> {
        let found = accounts::internal_authority(&mut self.desk.store.read().await?).await?;
        found.map(|authority| authority.root).ok_or(ServiceError::NoInternalAuthority)
    }

    pub(crate) async fn preflight(&self, actor: &Actor, name: &DomainPattern) -> Result<Vec<Finding>, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        Ok(self.preflight.preflight(name).await)
    }
}

fn summary(record: &CertificateRecord) -> Value {
    let facts = record.facts.as_ref();
    json!({
        "names": record.names,
        "issuer": facts.map(|facts| &facts.issuer),
        "serial": facts.map(|facts| &facts.serial),
        "not_after": facts.map(|facts| facts.not_after),
    })
}

/// What an uploaded chain says of itself, if it can be served with the key.
fn inspect(chain: &str, key: &PrivateKey) -> Result<CertificateFacts, ServiceError> {
    let bad_chain = |detail: String| ServiceError::invalid("chain", detail);
    // It is kept as it came, where all who read the store can read it.
    let mut blocks = chain.split("-----BEGIN ").skip(1);
    if blocks.any(|block| !block.starts_with("CERTIFICATE-----")) {
        return Err(bad_chain("it holds more than certificates; a private key belongs in key".to_owned()));
    }
    let facts = read_facts(chain, None).map_err(|error| bad_chain(error.to_string()))?;
    if let Some(place) = broken_link(chain) {
        return Err(bad_chain(format!(
            "certificate {place} was not issued by the one behind it; the server's own comes first, and each is followed by its issuer's"
        )));
    }
    if facts.names.is_empty() {
        return Err(bad_chain("the certificate is for no name (a subject alternative name)".to_owned()));
    }
    if facts.names.len() > MOST_NAMES {
        return Err(bad_chain(format!("the certificate is for more than {MOST_NAMES} names")));
    }
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| bad_chain(error.to_string()))?;
    let bad_key = |detail: String| ServiceError::invalid("key", detail);
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes());
    // The reader's own words could quote what it read.
    let key = key.map_err(|_| bad_key("it is no private key in PEM".to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(certificates, key, &provider) {
        Ok(_) => Ok(facts),
        Err(rustls::Error::InconsistentKeys(_)) => Err(bad_key("it is the key of another certificate".to_owned())),
        Err(error) => Err(bad_key(format!("it cannot be used: {error}"))),
    }
}

fn name_of(name: &str) -> Result<DomainPattern, ServiceError> {
    let bracketed = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let parsed = bracketed.parse();
    parsed.map_err(|_| ServiceError::invalid("chain", format!("the certificate is for {name}, which is no host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, PrivateKey) {
        let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let made = made.unwrap();
        (made.cert.pem(), PrivateKey::new(made.signing_key.serialize_pem()))
    }

    fn refused(chain: &str, key: &PrivateKey) -> String {
        match inspect(chain, key) {
            Err(ServiceError::Invalid(fields)) => format!("{}: {}", fields[0].field, fields[0].detail),
            other => panic!("not refused as it should be: {other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_the_field_that_is_at_fault() {
        let (chain, key) = made(&["a.example.com", "*.b.example.com", "192.168.1.2"]);
        assert_eq!(inspect(&chain, &key).unwrap().names.len(), 3);
        let (_, other) = made(&["a.example.com"]);
        assert_eq!(refused(&chain, &other), "key: it is the key of another certificate");
        assert_eq!(refused(&chain, &PrivateKey::new(chain.clone())), "key: it is no private key in PEM");
        assert!(refused(key.reveal(), &key).starts_with("chain: "));
        assert!(refused("", &key).starts_with("chain: "));
        let combined = format!("{chain}{}", key.reveal());
        assert_eq!(refused(&combined, &key), "chain: it holds more than certificates; a private key belongs in key");
        let (nameless, its_key) = made(&[]);
        assert!(refused(&nameless, &its_key).starts_with("chain: the certificate is for no name"));
    }

    #[test]
    fn a_chain_is_in_order_and_whole_as_far_as_it_goes() {
        use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

        let params = |name: &str| {
            let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let key = || KeyPair::generate().unwrap();
        let (mut root, mut between, leaf) = (params("root"), params("between"), params("leaf"));
        root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        between.is_ca = root.is_ca;
        let (root_key, between_key, leaf_key) = (key(), key(), key());
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let between_pem = between.signed_by(&between_key, &root).unwrap().pem();
        let between = Issuer::new(between, between_key);
        let leaf_pem = leaf.signed_by(&leaf_key, &between).unwrap().pem();
        let leaf_key = PrivateKey::new(leaf_key.serialize_pem());
        for good in [leaf_pem.clone(), format!("{leaf_pem}{between_pem}"), format!("{leaf_pem}{between_pem}{root_pem}")]
        {
            assert!(inspect(&good, &leaf_key).is_ok());
        }
        for (bad, place) in [
            (format!("{leaf_pem}{root_pem}"), 1),
            (format!("{leaf_pem}{leaf_pem}{between_pem}"), 1),
            (format!("{leaf_pem}{between_pem}{leaf_pem}"), 2),
        ] {
            let refusal = refused(&bad, &leaf_key);
            assert!(refusal.starts_with(&format!("chain: certificate {place} was not issued by")), "{refusal}");
        }
    }

    #[test]
    fn a_refusal_quotes_nothing_of_the_key() {
        let (chain, _) = made(&["a.example.com"]);
        let secret = "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----\n";
        assert!(!refused(&chain, &PrivateKey::new(secret.to_owned())).contains("hunter2"));
    }

    #[test]
    fn names_of_certificates_are_hosts() {
        for name in ["a.example.com", "*.example.com", "192.168.1.2", "fd00::1"] {
            assert!(name_of(name).is_ok(), "{name}");
        }
        assert!(name_of("two words").is_err());
    }
}
