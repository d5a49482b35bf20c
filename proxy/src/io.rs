//! The one module that speaks Pingora: accepting, reading heads and bodies within limits and deadlines, writing
//! answers, draining. It knows neither apps nor routes: whoever answers is a [`Handler`].
//!
//! Pingora's HTTP/1 session takes bodies in chunks apart, and the `h2` crate does HTTP/2. They run on our own accept loop, not on
//! `pingora-proxy`: nothing here has an upstream, and the accept loop is where whole-header deadlines, the strict
//! reading of heads, the refusal of unknown server names, stateless tickets and a drain that ends early belong.

mod alarm;
mod clients;
mod connection;
mod draining;
mod exchange;
mod farewell;
mod flood;
mod h1;
mod h2;
mod handshake;
mod peer;
mod room;
mod server;
mod session;
mod transport;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::http::Head;

pub(crate) use clients::{Clients, Guest};
pub use exchange::{ClientGone, Exchange};
pub use server::{Listener, RunningServer, Server};

/// Whoever takes an answer more slowly in all is cut off: what it holds is memory that others need. The mobile networks
/// of old are about as fast.
const SLOWEST_BYTES_PER_SECOND: usize = 16 * 1024;

/// Whoever answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request by [`Exchange::send`] or [`Exchange::start`]. Returning without either closes the
    /// connection (HTTP/1) or resets the stream (HTTP/2).
    fn handle(&self, client: &Arc<Client>, head: Head, exchange: &mut Exchange<'_>) -> impl Future<Output = ()> + Send;
}

/// What a client may take up.
#[derive(Debug, Clone)]
pub struct IoLimits {
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// From the first byte of a head to its last; also for a handshake, and for the first byte of a connection.
    pub head_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// From the first look at a body to its last byte.
    pub body_timeout: Duration,
    /// While the client takes nothing of an answer. A large one has a deadline besides, at 16 KiB a second.
    pub write_timeout: Duration,
    /// Connections at once, health probes apart; more are closed at once.
    pub max_connections: usize,
    /// Connections of one client at once (of an IPv4 address, of an IPv6 /64); in any case at most three times as many as are
    /// free, so that a quarter of all is left to the others.
    pub max_connections_per_client: Option<usize>,
    /// Bytes of all bodies that arrive in parts, until they are answered. Over it, or over a quarter of it for one client, 503 is
    /// answered.
    pub body_memory_bytes: usize,
    /// Bytes of all heads, and of what else each request takes until it is over, beyond a small one for each connection; bounded
    /// likewise, and apart from bodies, so that the only request of a connection is served whatever is being sent.
    pub head_memory_bytes: usize,
    /// Bytes of all answers beyond 64 KiB each, while they are sent; over it, or over a quarter of it for one client, 503
    /// is answered instead.
    pub answer_memory_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for IoLimits {
    fn default() -> Self {
        Self {
            head_bytes: 32 * 1024,
            target_bytes: 8 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_connections: 20_000,
            max_connections_per_client: None,
            body_memory_bytes: 128 * 1024 * 1024,
            head_memory_bytes: 32 * 1024 * 1024,
            answer_memory_bytes: 128 * 1024 * 1024,
            max_streams: 100,
        }
    }
}

impl IoLimits {
    /// How long it may take in all until a client has taken this much.
    fn time_for(&self, bytes: usize) -> Duration {
        self.write_timeout + Duration::from_secs((bytes / SLOWEST_BYTES_PER_SECOND) as u64)
    }
}
