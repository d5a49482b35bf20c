//! A full node's end: it answers what edge nodes hand on, and nobody else.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::identity::NodeIdentity;
use super::{ControlPlane, peer, watch_the_other_end};
use crate::http::MAX_HEADER_LINES;
use crate::io::{Clients, Guest};

/// Connections at once of all edge nodes.
const CONNECTIONS: usize = 1_024;

/// Handshakes at once. Whoever makes one may be anybody, so that three quarters of them at most are of one address: an edge node has
/// room for as many as it asks at once, and a stranger keeps no other from the rest.
const HANDSHAKES: usize = 512;

/// Lines of a head: as many as a client may send to an edge node, and what that one adds.
const HEADER_LINES: usize = MAX_HEADER_LINES + 8;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a head may take. An edge node keeps a connection for a shorter time that nothing is asked on.
const HEAD: Duration = Duration::from_secs(60);

/// How long a connection that nothing is asked on stays when this node drains: an edge node may have begun to ask, and one that breaks
/// off then may not ask again. Half of the grace at most. What is asked in that time is answered with word that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// A pause where no connection can be accepted: there are too many open files.
const BREATHE: Duration = Duration::from_millis(100);

/// Where edge nodes are to be answered.
pub struct NodeListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Edge nodes are answered.
pub struct RunningNodeListener {
    accepting: JoinHandle<()>,
    closing: watch::Sender<Option<Duration>>,
    connections: TaskTracker,
}

impl NodeListener {
    /// Takes the address. Must be called within the runtime.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = match listen(address) {
            // All addresses are those of IPv4 alone where there is no IPv6.
            Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                listen((Ipv4Addr::UNSPECIFIED, address.port()).into())?
            }
            listening => listening?,
        };
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// As [`NodeListener::bind`], by a socket that listens already.
    ///
    /// # Errors
    /// The runtime cannot take it over.
    pub fn of(socket: StdListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { listener: TcpListener::from_std(socket)?, address })
    }

    /// The socket once more, for another process: as long as somebody has one, connections are let in.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn socket(&self) -> io::Result<StdListener> {
        Ok(self.listener.as_fd().try_clone_to_owned()?.into())
    }

    /// The address, with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on.
    pub fn start(self, identity: &NodeIdentity, control: Arc<dyn ControlPlane>) -> RunningNodeListener {
        let (closing, connections) = (watch::Sender::new(None), TaskTracker::new());
        let door = Door {
            acceptor: TlsAcceptor::from(Arc::clone(&identity.server)),
            control,
            closing: closing.clone(),
            connections: connections.clone(),
        };
        RunningNodeListener { accepting: tokio::spawn(accept(self.listener, door)), closing, connections }
    }
}

impl RunningNodeListener {
    /// Accepts nothing more, and lets what was begun come to its end, within that time.
    pub async fn drain(self, grace: Duration) {
        self.accepting.abort();
        self.closing.send_replace(Some(FAREWELL.min(grace / 2)));
        self.connections.close();
        if timeout(grace, self.connections.wait()).await.is_err() {
            tracing::warn!("some requests of edge nodes were cut off at the end of the grace");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct Door {
    acceptor: TlsAcceptor,
    control: Arc<dyn ControlPlane>,
    closing: watch::Sender<Option<Duration>>,
    connections: TaskTracker,
}

async fn accept(listener: TcpListener, door: Door) {
    let (hall, room) = (Clients::new(HANDSHAKES, usize::MAX), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Closed at once: an edge node asks another then.
                let Some(guest) = hall.admit(from.ip().to_canonical()) else { continue };
                let (stranger, acceptor, room) =
                    (Stranger { stream, from, guest }, door.acceptor.clone(), Arc::clone(&room));
                let (control, closing) = (Arc::clone(&door.control), door.closing.subscribe());
                door.connections.spawn(async move {
                    if let Some(node) = shake_hands(stranger, &acceptor, room).await {
                        serve(node, control, closing).await;
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection of an edge node is not accepted");
                sleep(BREATHE).await;
            }
        }
    }
}

/// Somebody who connected.
struct Stranger {
    stream: TcpStream,
    from: SocketAddr,
    guest: Guest,
}

/// Somebody who has shown the instance's key.
struct EdgeNode {
    stream: TlsStream<TcpStream>,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
}

async fn shake_hands(
    Stranger { stream, from, guest }: Stranger,
    acceptor: &TlsAcceptor,
    room: Arc<Semaphore>,
) -> Option<EdgeNode> {
    watch_the_other_end(&stream);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "whoever asked is no node of this instance");
            return None;
        }
        Err(_) => return None,
    };
    drop(guest);
    let place = room.try_acquire_owned().ok()?;
    Some(EdgeNode { stream, from, _place: place })
}

async fn serve(
    EdgeNode { stream, from, _place }: EdgeNode,
    control: Arc<dyn ControlPlane>,
    mut closing: watch::Receiver<Option<Duration>>,
) {
    let is_draining = closing.clone();
    let service = service_fn(|request| {
        let (control, is_draining) = (Arc::clone(&control), is_draining.clone());
        async move {
            let mut response = answer(request, control).await;
            if is_draining.borrow().is_some() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADER_LINES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let is_closing = async {
        // Nobody who could say so is left: it is closing as well.
        let farewell = closing.wait_for(Option::is_some).await.ok().and_then(|closing| *closing);
        sleep(farewell.unwrap_or_default()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection of an edge node broke off");
    }
}

async fn answer(request: Request<Incoming>, control: Arc<dyn ControlPlane>) -> Response<Body> {
    let mut request = request.map(Body::new);
    if peer::hear(&mut request).is_err() {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    }
    control.call(request).await
}
