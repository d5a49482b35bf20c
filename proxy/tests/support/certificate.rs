//! Certificates made for a test, as files and as what a client trusts.

use std::path::Path;
use std::sync::Arc;

use picloud_proxy::tls::CertificateFiles;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Writes a self-signed certificate for these names.
pub fn write(dir: &Path, file: &str, names: &[&str]) -> (CertificateFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>())
        .expect("names for a certificate");
    let files = CertificateFiles { chain: dir.join(format!("{file}.pem")), key: dir.join(format!("{file}.key")) };
    std::fs::write(&files.chain, made.cert.pem()).expect("a writable directory");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a writable directory");
    (files, made.cert.der().clone())
}

/// A client that trusts these and offers these protocols.
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    pub fn new(trusted: &[&CertificateDer<'static>], protocols: &[&str]) -> Self {
        Self::with_versions(trusted, protocols, rustls::ALL_VERSIONS)
    }

    pub fn with_versions(
        trusted: &[&CertificateDer<'static>],
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add((*certificate).clone()).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    pub async fn connect(&self, address: std::net::SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake_hands(TcpStream::connect(address).await?, name).await
    }

    pub async fn shake_hands(&self, socket: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        // Else what is sent in small pieces waits for the kernel's next acknowledgement.
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await
    }
}
