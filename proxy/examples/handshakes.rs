//! TLS handshakes one after the other: the load of row P5 of `make bench`.
//!
//! `handshakes full|resumed SECONDS HTTPS_ADDRESS HOST ROOT PATH BODY` opens connections, asks each once and lets it go, for so many
//! seconds on one thread; each must be TLS 1.3, by a whole handshake or by a resumed one as was said, and answer this body. It prints
//! one line of JSON.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Connections at once.
const CLIENTS: u8 = 16;

/// What is to be had of each connection.
struct Wanted {
    kind: HandshakeKind,
    address: SocketAddr,
    name: ServerName<'static>,
    request: String,
    body: String,
}

/// A client of its own: with its own tickets, where it keeps some, and from its own addresses.
struct Client {
    connector: TlsConnector,
    wanted: Arc<Wanted>,
    connections: u32,
    /// From which of its own addresses each connection comes: those of one alone have too few ports for the ones that are closed.
    number: u8,
}

impl Client {
    fn new(root: &CertificateDer<'static>, wanted: Arc<Wanted>, number: u8) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        if wanted.kind == HandshakeKind::Full {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), wanted, connections: 0, number })
    }

    /// One connection; how its handshake was made, and how long it took with the one of TCP.
    async fn connect(&mut self) -> anyhow::Result<(Option<HandshakeKind>, Duration)> {
        let socket = TcpSocket::new_v4()?;
        let [.., last] = self.connections.to_be_bytes();
        self.connections += 1;
        socket.bind((Ipv4Addr::new(127, 1, self.number, last.max(1)), 0).into())?;
        let begun = Instant::now();
        let stream = socket.connect(self.wanted.address).await?;
        stream.set_nodelay(true)?;
        let mut stream = self.connector.connect(self.wanted.name.clone(), stream).await?;
        let took = begun.elapsed();
        let connection = stream.get_ref().1;
        ensure!(connection.protocol_version() == Some(ProtocolVersion::TLSv1_3), "it is not TLS 1.3");
        let kind = connection.handshake_kind();
        // The answer comes after the tickets.
        stream.write_all(self.wanted.request.as_bytes()).await?;
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer).await {
            // A server may close without saying so.
            ensure!(error.kind() == std::io::ErrorKind::UnexpectedEof, error);
        }
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200 ") && body == self.wanted.body, "the answer is {answer:?}");
        Ok((kind, took))
    }

    /// Connects until then; how long each handshake took.
    async fn run(mut self, until: Instant) -> anyhow::Result<Vec<Duration>> {
        if self.wanted.kind == HandshakeKind::Resumed {
            self.connect().await?;
        }
        let mut taken = Vec::new();
        while Instant::now() < until {
            let (kind, took) = self.connect().await?;
            if kind != Some(self.wanted.kind) {
                bail!("the handshake was {kind:?} and not {:?}", self.wanted.kind);
            }
            taken.push(took);
        }
        Ok(taken)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, seconds, address, host, root, path, body] = arguments.as_slice() else {
        bail!("handshakes full|resumed SECONDS HTTPS_ADDRESS HOST ROOT PATH BODY");
    };
    let kind = match kind.as_str() {
        "full" => HandshakeKind::Full,
        "resumed" => HandshakeKind::Resumed,
        _ => bail!("a handshake is full or resumed"),
    };
    let root = CertificateDer::from_pem_file(root)?;
    let wanted = Arc::new(Wanted {
        kind,
        address: address.parse()?,
        name: ServerName::try_from(host.clone())?,
        request: format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        body: body.clone(),
    });
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds.parse()?);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(tokio::spawn(Client::new(&root, Arc::clone(&wanted), number)?.run(until)));
    }
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await??);
    }
    let duration = begun.elapsed();
    taken.sort_unstable();
    let percentile = |percent: usize| taken.get(taken.len() * percent / 100).map_or(0, Duration::as_micros);
    ensure!(!taken.is_empty(), "no connection was made");
    println!(
        r#"{{"handshakes": {}, "duration_us": {}, "p50_us": {}, "p99_us": {}}}"#,
        taken.len(),
        duration.as_micros(),
        percentile(50),
        percentile(99)
    );
    Ok(())
}
