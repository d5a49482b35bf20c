//! An echo server with certificates, and clients that trust them.

use std::sync::Arc;

use bytes::Bytes;
use picloud_proxy::io::IoLimits;
use picloud_proxy::tls::{CertificateFiles, Certificates};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, TlsClient};
use super::echo::EchoServer;
use super::raw::connect_from;

pub struct Site {
    pub server: EchoServer,
    pub certificates: Arc<Certificates>,
    pub files: Vec<CertificateFiles>,
    pub trusted: Vec<CertificateDer<'static>>,
    pub dir: tempfile::TempDir,
}

impl Site {
    pub async fn start() -> Self {
        Self::start_with(IoLimits::default()).await
    }

    pub async fn start_with(limits: IoLimits) -> Self {
        let dir = tempfile::tempdir().expect("a working site");
        let (shop, shop_der) = certificate::write(dir.path(), "shop", &["shop.test", "127.0.0.1"]);
        let (wild, wild_der) = certificate::write(dir.path(), "wild", &["*.wild.test", "exact.test"]);
        let files = vec![shop, wild];
        let certificates = Arc::new(Certificates::load(files.clone()).expect("a working site"));
        let server = EchoServer::listen(limits, Some(Arc::clone(&certificates))).await;
        Self { server, certificates, files, trusted: vec![shop_der, wild_der], dir }
    }

    pub fn client(&self, protocols: &[&str]) -> TlsClient {
        TlsClient::new(&self.trusted.iter().collect::<Vec<_>>(), protocols)
    }

    /// A connection that agreed on HTTP/2 and says nothing yet.
    pub async fn h2_stream(&self) -> TlsStream<TcpStream> {
        self.client(&["h2"]).connect(self.server.address, "shop.test").await.expect("a working site")
    }

    /// A connection of HTTP/2, driven to its end.
    pub async fn h2(&self) -> h2::client::SendRequest<Bytes> {
        self.h2_from(1).await
    }

    /// The same from 127.0.0.`host`.
    pub async fn h2_from(&self, host: u8) -> h2::client::SendRequest<Bytes> {
        let socket = connect_from(host, self.server.address).await;
        let stream = self.client(&["h2"]).shake_hands(socket, "shop.test").await.expect("a working site");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = h2::client::handshake(stream).await.expect("a working site");
        tokio::spawn(connection);
        sender.ready().await.expect("a working site")
    }
}
