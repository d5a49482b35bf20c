//! The TLS handshake: which certificate is shown, and the refusal of names that have none.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::TlsIdentity;
use crate::tls::Certificates;

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

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name()).map(|certificate| Arc::clone(certificate.key()))
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
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.ok()?;
        let server_name: Option<Box<str>> = start.client_hello().server_name().map(Into::into);
        let Some(certificate) = self.certificates.find(server_name.as_deref()) else {
            tracing::debug!(server_name = server_name.as_deref(), "no certificate for this server name");
            let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = start.io.shutdown().await;
            return None;
        };
        let stream = start.into_stream(Arc::clone(&self.config)).await.ok()?;
        Some((stream, TlsIdentity { server_name, certificate }))
    }
}
