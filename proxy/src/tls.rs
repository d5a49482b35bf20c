//! Certificates: which one a handshake shows, those that are read from files and those that the store manages, and what is
//! answered to authorities. Knows no HTTP.

mod certificate;
mod challenge;
mod probe;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use picloud_shared::clock::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use tokio::runtime::{Handle, RuntimeFlavor};

pub use certificate::{Certificate, CertificateError};
pub use challenge::PendingChallenges;
pub use probe::Probe;
pub use table::CertificateTable;

/// The protocol that authorities offer alone, to look for a challenge's answer (RFC 8737).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where a certificate's chain and key stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, the leaf first.
    pub chain: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// The certificates that handshakes choose from, swapped whole.
#[derive(Debug)]
pub struct Certificates {
    from_files: ArcSwap<CertificateTable>,
    managed: ArcSwap<CertificateTable>,
    challenges: ArcSwap<PendingChallenges>,
    probes: probe::Probes,
    files: Vec<CertificateFiles>,
    provider: Arc<CryptoProvider>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be read or used.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let from_files = ArcSwap::from_pointee(read_all(&files, &provider)?);
        Ok(Self {
            from_files,
            managed: ArcSwap::default(),
            challenges: ArcSwap::default(),
            probes: Default::default(),
            files,
            provider,
        })
    }

    /// Reads the files again. Open connections keep what they began with; when a file is bad, all certificates stay.
    ///
    /// # Errors
    /// The first file that cannot be read or used.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let read = || read_all(&self.files, &self.provider);
        // A disk that is slow must not hold up requests that this thread would serve.
        let on_a_worker = Handle::try_current().is_ok_and(|on| on.runtime_flavor() == RuntimeFlavor::MultiThread);
        let table = if on_a_worker { tokio::task::block_in_place(read)? } else { read()? };
        self.from_files.store(Arc::new(table));
        Ok(())
    }

    /// Shows these managed certificates from now on, and no others. Open connections keep what they began with.
    pub fn set_managed(&self, certificates: Vec<Arc<Certificate>>) {
        self.managed.store(Arc::new(CertificateTable::new(certificates)));
    }

    /// Answers these challenges from now on, and no others.
    pub fn set_challenges(&self, challenges: PendingChallenges) {
        self.challenges.store(Arc::new(challenges));
    }

    /// Answers a page and a handshake for that name that nobody else knows, for as long as the probe lives.
    pub fn open_probe(&self, name: &str) -> Probe {
        self.probes.open(name, &self.provider)
    }

    /// What a handshake of the challenges' protocol shows for that name, to an authority or to a probe.
    pub fn challenge_handshake(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges.load().handshake(name).cloned().or_else(|| self.probes.handshake(name))
    }

    /// What the page of that token says on that host, to an authority or to a probe.
    pub fn page(&self, host: &str, token: &str) -> Option<Arc<str>> {
        self.challenges.load().page(host, token).cloned().or_else(|| self.probes.page(token))
    }

    /// The certificate for a server name: the exact one, then the wildcard of its parent, those of files first.
    pub fn find(&self, server_name: &str) -> Option<Arc<Certificate>> {
        let (files, managed) = (self.from_files.load(), self.managed.load());
        let name = server_name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let exact = || files.exact(name).or_else(|| managed.exact(name));
        exact().or_else(|| files.wildcard(name)).or_else(|| managed.wildcard(name)).cloned()
    }

    /// The certificate for clients that name no server, since they asked for an address: the one for the address that they came
    /// to, else the first of all. (Behind a router theirs is another.) What they may ask for over it is checked with their request.
    pub fn find_by_address(&self, address: IpAddr) -> Option<Arc<Certificate>> {
        let (files, managed) = (self.from_files.load(), self.managed.load());
        let first = || files.first().or_else(|| managed.first());
        files.address(address).or_else(|| managed.address(address)).or_else(first).cloned()
    }

    /// The certificates that are shown to whoever asks for what they are for, each with the first name or address of that kind.
    pub fn shown(&self) -> Vec<(String, Arc<Certificate>)> {
        let tables = [self.from_files.load(), self.managed.load()];
        let shown_as = |certificate: &Arc<Certificate>| {
            let is_it = |found: Option<Arc<Certificate>>| found.is_some_and(|found| Arc::ptr_eq(&found, certificate));
            // Of a wildcard as such, which no exact name is: one below it may have a certificate of its own.
            let is_shown = |name: &&str| is_it(self.find(name));
            let name = certificate.names().iter().map(|name| &**name).find(is_shown).map(str::to_owned);
            let address = || certificate.addresses().iter().find(|one| is_it(self.find_by_address(**one)));
            name.or_else(|| address().map(IpAddr::to_string))
        };
        let all = tables.iter().flat_map(|table| table.all());
        all.filter_map(|certificate| Some((shown_as(certificate)?, Arc::clone(certificate)))).collect()
    }

    /// Which certificates end so soon that somebody should look, and when.
    pub fn ending(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let shown = self.shown().into_iter();
        shown.filter_map(|(name, certificate)| Some((name, certificate.ends_soon(now)?))).collect()
    }

    /// Until when the certificates are good that are shown.
    pub fn ends(&self) -> Vec<(String, Timestamp)> {
        let shown = self.shown().into_iter();
        shown.filter_map(|(name, certificate)| Some((name, certificate.not_after()?))).collect()
    }

    /// The cryptography in use.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }
}

fn read_all(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<CertificateTable, CertificateError> {
    let certificates = files.iter().map(|files| Certificate::read(files, provider).map(Arc::new));
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    for oddity in oddities(files, &certificates) {
        tracing::warn!("{oddity}");
    }
    Ok(CertificateTable::new(certificates))
}

/// What can be used, but hardly as its operator meant it.
fn oddities(files: &[CertificateFiles], certificates: &[Arc<Certificate>]) -> Vec<String> {
    let mut oddities = Vec::new();
    let mut first_of: HashMap<&str, &CertificateFiles> = HashMap::new();
    for (files, certificate) in files.iter().zip(certificates) {
        let chain = files.chain.display();
        if certificate.names().is_empty() && certificate.addresses().is_empty() {
            oddities.push(format!(
                "the certificate in {chain} is for no name and no address (a subject alternative name): nobody asks for it"
            ));
        }
        for name in certificate.names() {
            match first_of.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(files);
                }
                // A name that a certificate lists twice is no matter of choice.
                Entry::Occupied(first) if *first.get() == files => {}
                Entry::Occupied(first) => oddities.push(format!(
                    "the certificates in {} and {chain} are both for {name}: the first is shown",
                    first.get().chain.display()
                )),
            }
        }
    }
    oddities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_little_use_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let write = |file: &str, names: &[&str]| {
            let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
            let made = made.unwrap();
            let at = |ending: &str| dir.path().join(format!("{file}.{ending}"));
            std::fs::write(at("pem"), made.cert.pem()).unwrap();
            std::fs::write(at("key"), made.signing_key.serialize_pem()).unwrap();
            CertificateFiles { chain: at("pem"), key: at("key") }
        };
        let files = [
            write("one", &["a.test", "b.test"]),
            write("nameless", &[]),
            write("address", &["127.0.0.1"]),
            write("two", &["c.test", "b.test"]),
        ];
        let certificates: Vec<_> =
            files.iter().map(|files| Arc::new(Certificate::read(files, &provider).unwrap())).collect();
        let oddities = oddities(&files, &certificates);
        assert_eq!(oddities.len(), 2, "{oddities:?}");
        assert!(oddities[0].contains("nameless.pem is for no name and no address"), "{oddities:?}");
        assert!(
            oddities[1].contains("one.pem and ") && oddities[1].contains("two.pem are both for b.test"),
            "{oddities:?}"
        );
        assert!(super::oddities(&files[..1], &certificates[..1]).is_empty());
    }
}
