//! Certificates by server name.

use std::collections::HashMap;
use std::sync::Arc;

use super::certificate::Certificate;

/// Certificates by the names that they are for. Of two for one name the first stays.
#[derive(Debug, Default)]
pub struct CertificateTable {
    first: Option<Arc<Certificate>>,
    exact: HashMap<Box<str>, Arc<Certificate>>,
    wildcards: HashMap<Box<str>, Arc<Certificate>>,
}

impl CertificateTable {
    /// Arranges certificates.
    pub fn new(certificates: Vec<Arc<Certificate>>) -> Self {
        let mut table = Self { first: certificates.first().cloned(), ..Self::default() };
        for certificate in certificates {
            for name in certificate.names() {
                let (names, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcards, parent),
                    None => (&mut table.exact, &**name),
                };
                names.entry(key.into()).or_insert_with(|| Arc::clone(&certificate));
            }
        }
        table
    }

    /// The certificate for a server name: the exact one, then the wildcard of its parent. Clients that name nothing
    /// (they asked for an address) get the first; what they may ask for over it is checked with their request.
    pub fn find(&self, server_name: Option<&str>) -> Option<Arc<Certificate>> {
        let Some(name) = server_name else {
            return self.first.clone();
        };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).cloned()
    }
}
