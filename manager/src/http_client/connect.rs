//! From a host to a connection: looked up once, checked, and connected to what was checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;

use super::connection::Connection;
use super::guard::Guard;
use super::pool::Key;
use super::resolve::{Resolve, Unresolved};
use super::{Failure, failure};

/// Addresses of a host that are tried, and how long each but the last is waited for.
const MOST_ADDRESSES: usize = 4;
const ATTEMPT: Duration = Duration::from_secs(2);

/// What opens connections.
pub(super) struct Connector {
    guard: Guard,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(guard: Guard, resolver: Arc<dyn Resolve>, more_roots: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(more_roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that rustls takes for safe")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // By a session that is taken up again a server could tell two apps to be of one node, and its certificate would not be looked at.
        config.resumption = Resumption::disabled();
        Self { guard, resolver, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// A fresh connection.
    pub(super) async fn connect(&self, key: &Key) -> Result<Connection, Failure> {
        let (name, mut addresses) = match &key.host {
            Host::Ipv4(four) => (four.to_string(), vec![IpAddr::from(*four)]),
            Host::Ipv6(six) => (six.to_string(), vec![IpAddr::from(*six)]),
            Host::Domain(name) => (name.clone(), self.addresses(name).await?),
        };
        if !self.guard.permits(&name, key.port, &addresses) {
            let message = format!(
                "{name} leads to an address that scripts may not reach; whoever runs this PiCloud can list it in script_http_allow"
            );
            return Err(failure("forbidden_address", message));
        }
        // Many a network promises IPv6 and leads nowhere.
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.truncate(MOST_ADDRESSES);
        let stream = reach(&addresses, key.port).await?;
        let opened = if key.is_tls {
            let name = ServerName::try_from(name).map_err(|_| failure("tls", "no certificate can be for this host"))?;
            let stream = self.tls.connect(name, stream).await;
            Connection::over(stream.map_err(|error| failure("tls", format!("there is no secure connection: {error}")))?)
                .await
        } else {
            Connection::over(stream).await
        };
        opened.map_err(|error| failure("connect", error.to_string()))
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        match self.resolver.addresses(name).await {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            Ok(_) | Err(Unresolved::None) => Err(failure("dns", format!("{name} leads nowhere: it has no address"))),
            Err(Unresolved::Failed) => {
                Err(failure("dns", format!("where {name} leads to cannot be told: the DNS does not answer")))
            }
        }
    }
}

/// The first of the addresses that takes a connection.
async fn reach(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    let mut last = "it has no address".to_owned();
    for (place, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        let connected = match place + 1 == addresses.len() {
            true => connecting.await,
            false => match timeout(ATTEMPT, connecting).await {
                Ok(connected) => connected,
                Err(_) => continue,
            },
        };
        match connected {
            Ok(stream) => {
                // Without it a small request waits for the answer to the one before; where it cannot be set it only does so.
                let _ = stream.set_nodelay(true);
                // What is dropped is reset: nothing of a call goes out once it ended, and the kernel keeps nothing of it.
                return match stream.set_zero_linger() {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(failure("connect", format!("the connection cannot be used: {}", error.kind()))),
                };
            }
            Err(error) => last = error.kind().to_string(),
        }
    }
    Err(failure("connect", format!("the server cannot be reached: {last}")))
}
