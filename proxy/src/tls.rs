//! Certificates: which one a handshake shows, and how the files that hold them are read again. Knows no HTTP.

mod certificate;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use tokio::runtime::{Handle, RuntimeFlavor};

pub use certificate::{Certificate, CertificateError};
pub use table::CertificateTable;

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
    table: ArcSwap<CertificateTable>,
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
        let table = ArcSwap::from_pointee(read_all(&files, &provider)?);
        Ok(Self { table, files, provider })
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
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// The certificate for a server name; without a name the first one of the configuration.
    pub fn find(&self, server_name: Option<&str>) -> Option<Arc<Certificate>> {
        self.table.load().find(server_name)
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
        if certificate.names().is_empty() {
            oddities.push(format!(
                "the certificate in {chain} is for no DNS name (a subject alternative name): no server name chooses it"
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
            write("address", &["127.0.0.1"]),
            write("two", &["c.test", "b.test"]),
        ];
        let certificates: Vec<_> =
            files.iter().map(|files| Arc::new(Certificate::read(files, &provider).unwrap())).collect();
        let oddities = oddities(&files, &certificates);
        assert_eq!(oddities.len(), 2, "{oddities:?}");
        assert!(oddities[0].contains("address.pem is for no DNS name"), "{oddities:?}");
        assert!(
            oddities[1].contains("one.pem and ") && oddities[1].contains("two.pem are both for b.test"),
            "{oddities:?}"
        );
        assert!(super::oddities(&files[..1], &certificates[..1]).is_empty());
    }
}
