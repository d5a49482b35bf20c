//! One certificate with its key, as read from files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::certificate::{addresses_of, validity_of};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::Host;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::CertificateFiles;

/// Whatever renews a certificate has done so before.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A certificate that handshakes can show.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    names: Vec<Box<str>>,
    addresses: Vec<IpAddr>,
    /// From when and until when it is good.
    validity: Option<(Timestamp, Timestamp)>,
}

/// A certificate file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read, or holds no PEM of the expected kind.
    #[error("{path} is not a readable PEM file: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    /// A text that should hold a chain or a key does not.
    #[error("{what} is not readable PEM: {source}")]
    UnreadableText {
        /// Which.
        what: &'static str,
        /// What the reader says.
        source: rustls::pki_types::pem::Error,
    },
    /// The leaf is not a usable certificate.
    #[error("{path} begins with no usable certificate: {reason}")]
    BadLeaf {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The key is of no known kind, or belongs to another certificate.
    #[error("{key} is no key for {chain}: {source}")]
    BadKey {
        /// The file of the chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What TLS says.
        source: rustls::Error,
    },
}

impl Certificate {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// Files that cannot be read, and a key that is not the certificate's.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let chain = read_chain(&files.chain)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| CertificateError::Unreadable { path: files.key.clone(), source })?;
        Self::new(chain, key, files, provider)
    }

    /// The same from texts in PEM.
    ///
    /// # Errors
    /// Texts that are no PEM, and a key that is not the certificate's.
    pub fn from_pem(chain: &str, key: &str, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let unreadable = |what| move |source| CertificateError::UnreadableText { what, source };
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().map_err(unreadable("the chain"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unreadable("the key"))?;
        let texts = CertificateFiles { chain: "the chain".into(), key: "the key".into() };
        Self::new(chain, key, &texts, provider)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or_else(|| CertificateError::Empty(files.chain.clone()))?.clone();
        let names = {
            let bad = |error: webpki::Error| CertificateError::BadLeaf {
                path: files.chain.clone(),
                reason: error.to_string(),
            };
            let parsed = EndEntityCert::try_from(&leaf).map_err(bad)?;
            parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect()
        };
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| CertificateError::BadKey {
            chain: files.chain.clone(),
            key: files.key.clone(),
            source,
        })?;
        let (addresses, validity) = (addresses_of(&leaf), validity_of(&leaf));
        Ok(Self { key: Arc::new(key), leaf, names, addresses, validity })
    }

    /// The DNS names that it is for, wildcards as `*.example.com`.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The IP addresses that it is for.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// When it ends, if that can be told.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.validity.map(|(_, not_after)| not_after)
    }

    /// When it ends, if that is so soon that somebody should look: within a week, or the last third of a short life.
    pub fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let (not_before, not_after) = self.validity?;
        let soon = SOON.min(not_after.since(not_before) / 3);
        (not_after <= now.plus(soon)).then_some(not_after)
    }

    /// The chain and key for a handshake.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether it is for this host.
    pub fn covers(&self, host: &Host<'_>) -> bool {
        // Most ask for a name of its own, and the certificate is not parsed for each request.
        if self.names.iter().any(|own| **own == *host.as_str()) {
            return true;
        }
        let subject = match host.ip() {
            Some(ip) => Ok(ServerName::from(ip)),
            None => ServerName::try_from(host.as_str()),
        };
        let Ok(subject) = subject else { return false };
        EndEntityCert::try_from(&self.leaf).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&subject).is_ok())
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}
