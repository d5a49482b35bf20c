//! Listeners: binding, accepting, and the drain that ends it all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use pingora_timeout::timeout;
use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::clients::Clients;
use super::connection::serve;
use super::draining::Draining;
use super::handshake::Handshaker;
use super::room::Room;
use super::{Handler, IoLimits};
use crate::client::ListenerRole;
use crate::tls::Certificates;

/// Once we drain, what a connection gets that was opened but has sent nothing yet: its request may be on the way.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What any connection gets where another process takes our place, so that nobody waits for our end.
const LAST_CHANCE_OF_ANOTHER: Duration = Duration::from_secs(5);

/// Connections that the kernel may hold for us.
const BACKLOG: u32 = 1024;

/// Connections of health probes, which no crowd on the other listeners may keep out.
const MAX_PROBE_CONNECTIONS: usize = 64;

/// One address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 takes any free one.
    pub address: SocketAddr,
    /// What it is for.
    pub role: ListenerRole,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// Bound listeners that accept nobody yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(Listener, StdListener)>,
}

/// Listeners at work.
#[derive(Debug)]
pub struct RunningServer {
    draining: Arc<Draining>,
    connections: TaskTracker,
}

/// Whoever answers, and what all connections share.
pub(super) struct Service<H> {
    pub(super) handler: H,
    pub(super) shared: Shared,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) limits: IoLimits,
    pub(super) handshaker: Option<Handshaker>,
    pub(super) draining: Arc<Draining>,
    /// What requests take until they are over, but for their bodies.
    pub(super) head_memory: Room,
    /// Bodies that arrive in parts.
    pub(super) body_memory: Room,
    /// The large answers that are being sent.
    pub(super) answer_memory: Room,
    connections: TaskTracker,
}

impl Server {
    /// Takes the addresses. A redirect to port 0 leads to the port that HTTPS got. Must be called within the runtime.
    ///
    /// # Errors
    /// The first address that cannot be had, named.
    pub fn bind(listeners: &[Listener]) -> io::Result<Self> {
        Self::take_or_bind(listeners, |_| None)
    }

    /// As [`Server::bind`], but for listeners of which there is a socket that listens already.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn take_or_bind(
        listeners: &[Listener],
        mut take: impl FnMut(&Listener) -> Option<StdListener>,
    ) -> io::Result<Self> {
        let bind = |listener: &Listener| match take(listener).map_or_else(|| bind(listener.address), Ok) {
            Ok(socket) => {
                // Whoever made it may have made it otherwise.
                socket.set_nonblocking(true)?;
                Ok((Listener { address: socket.local_addr()?, ..*listener }, socket))
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot listen on {}: {error}", listener.address))),
        };
        let mut listeners: Vec<(Listener, StdListener)> = listeners.iter().map(bind).collect::<io::Result<_>>()?;
        let https = listeners.iter().find(|(listener, _)| listener.tls).map(|(listener, _)| listener.address.port());
        for (listener, _) in &mut listeners {
            if let (ListenerRole::RedirectToHttps { port: port @ 0 }, Some(https)) = (&mut listener.role, https) {
                *port = https;
            }
        }
        Ok(Self { listeners })
    }

    /// The listeners with the ports that they got.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().map(|(listener, _)| listener)
    }

    /// The sockets once more, for another process: as long as somebody has one, connections are let in.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn sockets(&self) -> io::Result<Vec<(Listener, StdListener)>> {
        self.listeners.iter().map(|(listener, socket)| Ok((*listener, socket.try_clone()?))).collect()
    }

    /// Begins to accept.
    ///
    /// # Errors
    /// A socket that the runtime cannot take over; TLS without its cryptography.
    pub fn start<H: Handler>(
        self,
        handler: H,
        limits: IoLimits,
        certificates: Option<Arc<Certificates>>,
    ) -> io::Result<RunningServer> {
        let handshaker = certificates.map(Handshaker::new).transpose().map_err(io::Error::other)?;
        let (draining, connections) = (Arc::new(Draining::default()), TaskTracker::new());
        let most_of_each = limits.max_connections_per_client.unwrap_or(usize::MAX);
        let public = Clients::new(limits.max_connections, most_of_each);
        let probes = Clients::new(MAX_PROBE_CONNECTIONS, usize::MAX);
        let service = Arc::new(Service {
            handler,
            shared: Shared {
                head_memory: Room::new(limits.head_memory_bytes),
                body_memory: Room::new(limits.body_memory_bytes),
                answer_memory: Room::new(limits.answer_memory_bytes),
                limits,
                handshaker,
                draining: Arc::clone(&draining),
                connections: connections.clone(),
            },
        });
        for (listener, socket) in self.listeners {
            let socket = TcpListener::from_std(socket)?;
            let clients = if listener.role == ListenerRole::Internal { &probes } else { &public };
            let door = Door { listener, clients: Arc::clone(clients), service: Arc::clone(&service) };
            connections.spawn(door.accept(socket));
        }
        Ok(RunningServer { draining, connections })
    }
}

impl Shared {
    /// Ends when a connection was silent for too long since it was opened.
    pub(super) async fn silent_for_too_long(&self) {
        let last_chance = async {
            self.draining.begins().await;
            self.last_chance(LAST_CHANCE).await;
        };
        // A timeout is what ends it as well.
        let _ = timeout(self.limits.head_timeout, last_chance).await;
    }

    /// Once we drain: ends when a connection is to be closed that asks nothing; after so long where nobody takes our place.
    pub(super) async fn last_chance(&self, at_an_end: Duration) {
        let chance = self.draining.last_chance().unwrap_or(at_an_end);
        if !chance.is_zero() {
            pingora_timeout::sleep(chance).await;
        }
    }
}

impl RunningServer {
    /// Stops accepting, closes idle connections, and waits until requests in flight are answered, at most for the
    /// grace. Tells whether all were.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.stop_accepting();
        tokio::time::timeout(grace, self.connections.wait()).await.is_ok()
    }

    /// Stops accepting for another process that accepts from the same sockets: whoever waits there is left to it.
    pub fn leave_queue(&self, grace: Duration) {
        self.draining.leave_queue(LAST_CHANCE_OF_ANOTHER.min(grace / 2));
        self.stop_accepting();
    }

    fn stop_accepting(&self) {
        self.draining.begin();
        self.connections.close();
    }
}

/// Every address of the machine is every IPv4 address where there is no IPv6.
fn bind(address: SocketAddr) -> io::Result<StdListener> {
    match bind_exactly(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        bound => bound,
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_exactly(address: SocketAddr) -> io::Result<StdListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says: `:80` is IPv4 too.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// One listener at work.
struct Door<H> {
    listener: Listener,
    clients: Arc<Clients>,
    service: Arc<Service<H>>,
}

impl<H: Handler> Door<H> {
    async fn accept(self, socket: TcpListener) {
        let mut failures = Failures::default();
        let mut draining = self.service.shared.draining.watch();
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.begins() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => failures.wait_after(&error).await,
            }
        }
        if self.service.shared.draining.leaves_queue() {
            return;
        }
        // Whoever the kernel let in already would find the connection reset.
        let Ok(socket) = socket.into_std() else {
            return;
        };
        while let Ok((stream, peer)) = socket.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.admit(stream, peer);
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let remote_ip = peer.ip().to_canonical();
        let Some(guest) = self.clients.admit(remote_ip) else {
            return;
        };
        let (listener, service) = (self.listener, Arc::clone(&self.service));
        self.service.shared.connections.spawn(async move {
            // Without it the kernel holds small answers back; a socket that refuses is gone already.
            let _ = stream.set_nodelay(true);
            serve(stream, remote_ip, guest, listener, &service).await;
        });
    }
}

/// What keeps coming back when connections cannot be accepted.
#[derive(Debug, Default)]
struct Failures {
    told: Option<Instant>,
}

impl Failures {
    async fn wait_after(&mut self, error: &io::Error) {
        if !lacks_resources(error) {
            // A client that left between connecting and now: the next one is waiting.
            tracing::debug!(%error, "cannot accept a connection");
            return;
        }
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= Duration::from_secs(1)) {
            self.told = Some(now);
            tracing::warn!(%error, "cannot accept connections");
        }
        // The next attempt would fail at once, so let some connections end.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the system is out of descriptors or memory.
fn lacks_resources(error: &io::Error) -> bool {
    Errno::from_io_error(error)
        .is_some_and(|errno| matches!(errno, Errno::NOMEM | Errno::NFILE | Errno::MFILE | Errno::NOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_lack_of_resources_delays_the_next_connection() {
        let began = Instant::now();
        let mut failures = Failures::default();
        for departed in [103, 104, 1] {
            failures.wait_after(&io::Error::from_raw_os_error(departed)).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for lack in [12, 23, 24, 105] {
            let before = Instant::now();
            failures.wait_after(&io::Error::from_raw_os_error(lack)).await;
            assert!(before.elapsed() >= Duration::from_millis(100), "{lack}");
        }
        assert_eq!(failures.told, Some(began), "told once a second");
    }

    #[test]
    fn only_a_machine_without_ipv6_is_served_by_ipv4_alone() {
        for (errno, without) in
            [(Errno::AFNOSUPPORT, true), (Errno::ADDRNOTAVAIL, true), (Errno::ADDRINUSE, false), (Errno::ACCESS, false)]
        {
            assert_eq!(is_without_ipv6(&errno.into()), without, "{errno}");
        }
    }

    #[tokio::test]
    async fn every_address_of_the_machine_is_those_of_ipv4_too() {
        let listener = bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok());
    }
}
