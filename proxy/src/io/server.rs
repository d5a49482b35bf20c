//! Listeners: binding, accepting, and the drain that ends it all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use pingora_timeout::timeout;
use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::serve;
use super::handshake::Handshaker;
use super::{Handler, IoLimits};
use crate::client::ListenerRole;
use crate::tls::Certificates;

/// Once we drain, what a connection gets that was opened but has sent nothing yet: its request may be on the way.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Connections that the kernel may hold for us.
const BACKLOG: u32 = 1024;

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
    accepting: CancellationToken,
    connections: TaskTracker,
}

/// What every connection shares.
pub(super) struct Shared<H> {
    pub(super) handler: H,
    pub(super) limits: IoLimits,
    pub(super) handshaker: Option<Handshaker>,
    pub(super) draining: CancellationToken,
    pub(super) connections: TaskTracker,
    /// A permit for each byte of the bodies that requests hold.
    pub(super) body_memory: Arc<Semaphore>,
    capacity: Semaphore,
}

impl Server {
    /// Takes the addresses. A redirect to port 0 leads to the port that HTTPS got. Must be called within the runtime.
    ///
    /// # Errors
    /// The first address that cannot be had, named.
    pub fn bind(listeners: &[Listener]) -> io::Result<Self> {
        let bind = |listener: &Listener| match bind(listener.address) {
            Ok(socket) => Ok((Listener { address: socket.local_addr()?, ..*listener }, socket)),
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
        let (draining, connections) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            handler,
            capacity: Semaphore::new(limits.max_connections),
            body_memory: Arc::new(Semaphore::new(limits.body_memory_bytes.min(Semaphore::MAX_PERMITS))),
            limits,
            handshaker,
            draining: draining.clone(),
            connections: connections.clone(),
        });
        for (listener, socket) in self.listeners {
            let socket = TcpListener::from_std(socket)?;
            connections.spawn(accept(socket, listener, Arc::clone(&shared)));
        }
        Ok(RunningServer { accepting: draining, connections })
    }
}

impl<H> Shared<H> {
    /// Ends when a connection was silent for too long since it was opened.
    pub(super) async fn silent_for_too_long(&self) {
        let last_chance = async {
            self.draining.cancelled().await;
            pingora_timeout::sleep(LAST_CHANCE).await;
        };
        // A timeout is what ends it as well.
        let _ = timeout(self.limits.head_timeout, last_chance).await;
    }
}

impl RunningServer {
    /// Stops accepting, closes idle connections, and waits until requests in flight are answered, at most for the
    /// grace. Tells whether all were.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.accepting.cancel();
        self.connections.close();
        tokio::time::timeout(grace, self.connections.wait()).await.is_ok()
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

async fn accept<H: Handler>(socket: TcpListener, listener: Listener, shared: Arc<Shared<H>>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, listener, &shared),
            Err(error) => {
                // Out of descriptors or memory: the next attempt would fail at once, so let some connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit<H: Handler>(stream: TcpStream, peer: SocketAddr, listener: Listener, shared: &Arc<Shared<H>>) {
    let shared = Arc::clone(shared);
    if shared.capacity.available_permits() == 0 {
        tracing::debug!(%peer, "all connections are taken");
        return;
    }
    let connections = shared.connections.clone();
    connections.spawn(async move {
        let Ok(_permit) = shared.capacity.try_acquire() else {
            return;
        };
        // Without it the kernel holds small answers back; a socket that refuses is gone already.
        let _ = stream.set_nodelay(true);
        serve(stream, peer.ip().to_canonical(), listener, &shared).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
