//! Certificates: which one a handshake shows, and how the files that hold them are read again. Knows no HTTP.

mod certificate;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;

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
        self.table.store(Arc::new(read_all(&self.files, &self.provider)?));
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
    Ok(CertificateTable::new(certificates.collect::<Result<_, _>>()?))
}
