//! What authorities are to find while certificates are ordered, arranged for look-up.

use std::collections::HashMap;
use std::sync::Arc;

use picloud_shared::certificate::{Challenge, ChallengeKind};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

/// What authorities are to find now.
#[derive(Debug, Default)]
pub struct PendingChallenges {
    /// By host and token, what a page is to say (RFC 8555, 8.3).
    pages: HashMap<(Box<str>, Box<str>), Arc<str>>,
    /// By name, what a handshake is to show (RFC 8737).
    handshakes: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl PendingChallenges {
    /// Arranges challenges.
    pub fn new(challenges: &[Challenge], provider: &CryptoProvider) -> Self {
        let mut pending = Self::default();
        for challenge in challenges {
            match challenge.kind {
                ChallengeKind::Http01 => {
                    let place = (challenge.name.as_str().into(), challenge.token.as_str().into());
                    pending.pages.insert(place, challenge.key_authorization.as_str().into());
                }
                ChallengeKind::TlsAlpn01 => match handshake(&challenge.name, &challenge.key_authorization, provider) {
                    Ok(key) => {
                        pending.handshakes.insert(challenge.name.as_str().into(), Arc::new(key));
                    }
                    Err(error) => tracing::warn!(name = challenge.name, error, "a challenge cannot be answered"),
                },
                // The answer stands in the DNS.
                ChallengeKind::Dns01 => {}
            }
        }
        pending
    }

    /// What the page of that token says on that host.
    pub fn page(&self, host: &str, token: &str) -> Option<&Arc<str>> {
        if self.pages.is_empty() {
            return None;
        }
        self.pages.get(&(host.into(), token.into()))
    }

    /// What a handshake of the challenge's protocol shows for that name.
    pub fn handshake(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.handshakes.get(name)
    }
}

/// A self-signed certificate for the name, with the digest of the key authorization in it (RFC 8737, 3).
pub(super) fn handshake(
    name: &str,
    key_authorization: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let digest = Sha256::digest(key_authorization.as_bytes());
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(|error| error.to_string())?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Not by `from_der`, which reads the certificate, and knows no such critical extension.
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use picloud_shared::clock::Timestamp;
    use picloud_shared::id::CertificateId;

    use super::*;

    #[test]
    fn each_challenge_is_found_by_its_name_and_token_alone() {
        let challenge = |kind, name: &str| Challenge {
            certificate: CertificateId::generate(Timestamp::from_millis(1)),
            kind,
            name: name.to_owned(),
            token: "token".to_owned(),
            key_authorization: format!("answer for {name}"),
        };
        let challenges = [
            challenge(ChallengeKind::Http01, "a.example.com"),
            challenge(ChallengeKind::TlsAlpn01, "b.example.com"),
            challenge(ChallengeKind::Dns01, "c.example.com"),
        ];
        let pending = PendingChallenges::new(&challenges, &rustls::crypto::ring::default_provider());
        assert_eq!(pending.page("a.example.com", "token").map(|text| &**text), Some("answer for a.example.com"));
        assert!(pending.page("a.example.com", "other").is_none() && pending.page("b.example.com", "token").is_none());
        assert!(pending.handshake("b.example.com").is_some() && pending.handshake("a.example.com").is_none());
    }
}
