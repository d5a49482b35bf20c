//! How the nodes of an instance know each other: by a key pair that each derives from the instance's secret key. Whoever has that
//! key is a node, and nobody else is. Nothing has to be handed out, nothing expires, and no authority is asked.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version::TLS13,
};
use webpki::EndEntityCert;

/// What stands before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410, 7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The name that nodes call each other by. Nobody looks at it: the key is what counts.
const NAME: &str = "node.picloud.internal";

/// A node's end of connections with others.
#[derive(Clone)]
pub struct NodeIdentity {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// The nodes' keys cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the keys by which nodes know each other cannot be made: {0}")]
pub struct IdentityError(String);

impl IdentityError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl NodeIdentity {
    /// The identity that all nodes have that were given these bytes, for this version of what they speak: others end the
    /// handshake.
    ///
    /// # Errors
    /// The libraries take no such key, which they do.
    pub fn new(secret: &[u8; 32], wire: u32) -> Result<Self, IdentityError> {
        let pkcs8 = || PrivatePkcs8KeyDer::from([&PKCS8_ED25519[..], &secret[..]].concat());
        let key = KeyPair::try_from(&pkcs8()).map_err(IdentityError::new)?;
        let params = CertificateParams::new([NAME.to_owned()]).map_err(IdentityError::new)?;
        let certificate = params.self_signed(&key).map_err(IdentityError::new)?.der().clone();
        let provider = Arc::new(ring::default_provider());
        let same_key = Arc::new(SameKey {
            key: EndEntityCert::try_from(&certificate)
                .map_err(IdentityError::new)?
                .subject_public_key_info()
                .into_owned(),
            algorithms: provider.signature_verification_algorithms,
        });
        let alpn = vec![format!("picloud-nodes/{wire}").into_bytes()];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(IdentityError::new)?
            .with_client_cert_verifier(Arc::clone(&same_key) as _)
            .with_single_cert(vec![certificate.clone()], pkcs8().into())
            .map_err(IdentityError::new)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(IdentityError::new)?
            .dangerous()
            .with_custom_certificate_verifier(same_key)
            .with_client_auth_cert(vec![certificate], pkcs8().into())
            .map_err(IdentityError::new)?;
        server.alpn_protocols.clone_from(&alpn);
        client.alpn_protocols = alpn;
        // Each handshake shows the key anew.
        client.resumption = Resumption::disabled();
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The name that is asked for.
    pub(super) fn name() -> ServerName<'static> {
        ServerName::try_from(NAME).expect("it is a name")
    }
}

/// Takes whoever has the same key.
#[derive(Debug)]
struct SameKey {
    key: SubjectPublicKeyInfoDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SameKey {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let shown = EndEntityCert::try_from(certificate).map_err(|error| Error::General(error.to_string()))?;
        if shown.subject_public_key_info().as_ref() == self.key.as_ref() {
            Ok(())
        } else {
            Err(Error::General("it is no node of this instance: it has another secret key".to_owned()))
        }
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

fn no_tls_1_2() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("nodes speak TLS 1.3".to_owned()))
}

impl ServerCertVerifier for SameKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls_1_2()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for SameKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls_1_2()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
