//! Certificates by server name and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::certificate::Certificate;

/// Certificates by the names and addresses that they are for. Of two for one name the first stays.
#[derive(Debug, Default)]
pub struct CertificateTable {
    all: Vec<Arc<Certificate>>,
    exact: HashMap<Box<str>, Arc<Certificate>>,
    wildcards: HashMap<Box<str>, Arc<Certificate>>,
    addresses: HashMap<IpAddr, Arc<Certificate>>,
}

impl CertificateTable {
    /// Arranges certificates.
    pub fn new(certificates: Vec<Arc<Certificate>>) -> Self {
        let mut table = Self { all: certificates, ..Self::default() };
        for certificate in &table.all {
            for name in certificate.names() {
                let (names, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcards, parent),
                    None => (&mut table.exact, &**name),
                };
                names.entry(key.into()).or_insert_with(|| Arc::clone(certificate));
            }
            for address in certificate.addresses() {
                table.addresses.entry(*address).or_insert_with(|| Arc::clone(certificate));
            }
        }
        table
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// The first of them all.
    pub fn first(&self) -> Option<&Arc<Certificate>> {
        self.all.first()
    }

    /// The one for this very name, in lower case.
    pub fn exact(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.exact.get(name)
    }

    /// The one for all names beside this one, in lower case.
    pub fn wildcard(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.wildcards.get(name.split_once('.')?.1)
    }

    /// The one for this address.
    pub fn address(&self, address: IpAddr) -> Option<&Arc<Certificate>> {
        self.addresses.get(&address)
    }
}
