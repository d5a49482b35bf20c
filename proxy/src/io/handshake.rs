//! The TLS handshake: which certificate is shown, and the refusal of names that have none.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::client::TlsIdentity;
use crate::tls::{ACME_TLS, Certificate, Certificates};

/// A fatal `unrecognized_name` alert (RFC 6066, 3) in a record of its own. The library would say `access_denied`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Makes handshakes.
#[derive(Debug, Clone)]
pub(super) struct Handshaker {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
}

/// Chooses by the same table that the handshaker asked, for the handshake proper.
#[derive(Debug)]
struct Resolver(Arc<Certificates>);

/// Shows one thing to everybody.
#[derive(Debug)]
struct Answer(Arc<CertifiedKey>);

impl ResolvesServerCert for Answer {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name()?).map(|certificate| Arc::clone(certificate.key()))
    }
}

impl Handshaker {
    /// TLS 1.3 and 1.2 with the provider's suites (all of them AEAD with ECDHE), HTTP/2 preferred, tickets that keep
    /// no state here and whose keys are replaced within 12 hours.
    ///
    /// # Errors
    /// A provider without randomness or without these versions.
    pub(super) fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(certificates.provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&certificates))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self { certificates, config: Arc::new(config) })
    }

    /// Shakes hands. `None` when the client was refused or went wrong; it has been told.
    pub(super) async fn accept(&self, socket: TcpStream) -> Option<(TlsStream<TcpStream>, TlsIdentity)> {
        let address = socket.local_addr().ok()?.ip().to_canonical();
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.ok()?;
        let server_name: Option<Box<str>> = start.client_hello().server_name().map(Into::into);
        if start.client_hello().alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS)) {
            self.answer_authority(start, server_name.as_deref()).await;
            return None;
        }
        let found = match &server_name {
            Some(name) => self.certificates.find(name),
            None => self.certificates.find_by_address(address),
        };
        let Some(certificate) = found else {
            tracing::debug!(server_name = server_name.as_deref(), "no certificate for this server name");
            refuse(start).await;
            return None;
        };
        let config = match server_name {
            Some(_) => Arc::clone(&self.config),
            // To the resolver a client that names no server has said nothing that it could choose by.
            None => self.showing(&certificate),
        };
        let stream = start.into_stream(config).await.ok()?;
        Some((stream, TlsIdentity { server_name, certificate }))
    }

    fn showing(&self, certificate: &Certificate) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Answer(Arc::clone(certificate.key())));
        Arc::new(config)
    }

    /// Shows an authority the answer to a pending challenge; a name without one is refused. Nothing is served over such a
    /// connection.
    async fn answer_authority(&self, start: StartHandshake<TcpStream>, server_name: Option<&str>) {
        let name = server_name.map(str::to_ascii_lowercase).unwrap_or_default();
        let Some(answer) = self.certificates.challenge_handshake(&name) else {
            return refuse(start).await;
        };
        let config = ServerConfig::builder_with_provider(self.certificates.provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
        // The provider has them: it made the configuration of all other handshakes.
        let Ok(config) = config else { return };
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Answer(answer)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        if let Ok(mut stream) = start.into_stream(Arc::new(config)).await {
            let _ = stream.shutdown().await;
        }
    }
}

async fn refuse(mut start: StartHandshake<TcpStream>) {
    let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
    let _ = start.io.shutdown().await;
}
