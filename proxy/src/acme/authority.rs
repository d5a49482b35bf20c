//! A certificate authority: where it is, how it is trusted, and what it wants of an account.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use instant_acme::ExternalAccountKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// An authority's directory: an `https` address (RFC 8555, 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl(String);

/// A text that is no address of a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an authority's directory is an address such as https://acme-v02.api.letsencrypt.org/directory")]
pub struct InvalidDirectoryUrl;

impl DirectoryUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DirectoryUrl {
    type Err = InvalidDirectoryUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDirectoryUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidDirectoryUrl)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        match (uri.scheme_str(), authority) {
            (Some("https"), Some(_)) => Ok(Self(text.to_owned())),
            _ => Err(InvalidDirectoryUrl),
        }
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an authority knows its customer by (RFC 8555, 7.3.4). It has no `Debug` that would show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's id.
    pub id: String,
    /// The key.
    pub key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalAccount({})", self.id)
    }
}

impl From<&ExternalAccount> for ExternalAccountKey {
    fn from(account: &ExternalAccount) -> Self {
        Self::new(account.id.clone(), &account.key)
    }
}

/// Whom to believe that it is the authority that answers.
#[derive(Clone)]
pub struct AuthorityTrust {
    config: Arc<ClientConfig>,
    is_public: bool,
}

impl fmt::Debug for AuthorityTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityTrust")
    }
}

impl AuthorityTrust {
    /// The roots that browsers trust (Mozilla's list), and beside them those in a PEM text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(further_roots: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = further_roots {
            let before = roots.len();
            for root in CertificateDer::pem_slice_iter(pem) {
                let root = root.map_err(|error| error.to_string())?;
                roots.add(root).map_err(|error| error.to_string())?;
            }
            if roots.len() == before {
                return Err("it holds no certificate".to_owned());
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { config, is_public: further_roots.is_none() })
    }

    /// What a client of TLS is told.
    pub fn client_config(&self) -> ClientConfig {
        (*self.config).clone()
    }

    /// Whether it is trusted as everybody does: then it is an authority that looks from outside.
    pub(super) fn is_public(&self) -> bool {
        self.is_public
    }
}

/// A certificate authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its directory.
    pub directory: DirectoryUrl,
    /// The directory of its practice ground, where orders are rehearsed that failed before.
    pub staging: Option<DirectoryUrl>,
    /// Whom to believe that it is the authority.
    pub trust: AuthorityTrust,
    /// What it knows its customer by, where it wants one.
    pub external_account: Option<ExternalAccount>,
    /// Which kind of certificate to ask for, where it has several.
    pub profile: Option<String>,
    /// The common name of the root that its chains should lead to, where it has several.
    pub preferred_chain: Option<String>,
}

impl Authority {
    /// This authority's practice ground, as an authority of its own.
    pub(super) fn rehearsal(&self) -> Option<Self> {
        let directory = self.staging.clone()?;
        // It knows its customers by other keys, if by any.
        Some(Self { directory, staging: None, preferred_chain: None, external_account: None, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_an_https_address_without_a_user() {
        for good in ["https://ca.example/dir", "https://127.0.0.1:14000/dir"] {
            assert_eq!(good.parse::<DirectoryUrl>().unwrap().as_str(), good);
        }
        for bad in ["", "ca.example", "http://ca.example/dir", "https://", "https://user:secret@ca.example/"] {
            assert_eq!(bad.parse::<DirectoryUrl>(), Err(InvalidDirectoryUrl), "{bad}");
        }
    }

    #[test]
    fn a_root_that_is_none_is_told() {
        for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(AuthorityTrust::new(Some(bad.as_bytes())).is_err(), "{bad:?}");
        }
        let root = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        assert!(AuthorityTrust::new(Some(root.cert.pem().as_bytes())).is_ok());
    }

    #[test]
    fn a_key_that_an_authority_gave_is_not_shown() {
        let account = ExternalAccount { id: "kid".to_owned(), key: b"hunter2".to_vec() };
        assert_eq!(format!("{account:?}"), "ExternalAccount(kid)");
    }
}
