//! An edge node's end: what is for the manager goes to a full node that lives, streaming both ways.

use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use picloud_shared::request::AdminPeer;
use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::identity::NodeIdentity;
use super::{SILENCE, peer, watch_the_other_end};
use crate::answer::Answer;
use crate::io::{Clients, Guest};

/// Requests that are handed on at once, three quarters of them at most for one client; more are 503.
const AT_ONCE: usize = 256;

/// How long connecting to a full node may take, with the handshake: then another is tried.
const CONNECT: Duration = Duration::from_secs(2);

/// How long is waited until all are tried once more: one that hands over to a new process is reached by nobody for a moment.
const AGAIN: Duration = Duration::from_millis(250);

/// Connections that are kept which nothing is asked on.
const MOST_IDLE: usize = 16;

/// For how long.
const IDLE: Duration = Duration::from_secs(20);

/// Where the full nodes are that live: host and port of each.
pub type FullNodes = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The manager of another node.
pub struct RemoteManager {
    connector: TlsConnector,
    full_nodes: FullNodes,
    idle: Arc<Mutex<Vec<Idle>>>,
    clients: Arc<Clients>,
    turn: AtomicUsize,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// Why there is no answer of a full node.
#[derive(Debug, Clone, Copy)]
enum NoAnswer {
    /// None was reached.
    Unreached,
    /// One was, and is gone: it may have done what was asked.
    BrokeOff,
    /// Too many ask.
    Crowded,
}

/// What became of a try.
enum Tried {
    Answered(Response<Incoming>),
    /// Nothing was sent: the request is as it was.
    NotSent(Request<Body>),
    Failed(NoAnswer),
}

impl RemoteManager {
    /// The manager of one of those nodes, whichever lives.
    pub fn new(identity: &NodeIdentity, full_nodes: FullNodes) -> Self {
        Self {
            connector: TlsConnector::from(Arc::clone(&identity.client)),
            full_nodes,
            idle: Arc::default(),
            clients: Clients::new(AT_ONCE, usize::MAX),
            turn: AtomicUsize::new(0),
        }
    }

    /// Has a full node answer a request, which carries an [`AdminPeer`].
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        match self.hand_on(request).await {
            Ok(response) => response,
            Err(why) if is_head => Response::<Body>::from(why).map(|_| Body::empty()),
            Err(why) => why.into(),
        }
    }

    async fn hand_on(&self, mut request: Request<Body>) -> Result<Response<Body>, NoAnswer> {
        let client = request.extensions().get::<AdminPeer>().map(|peer| peer.remote_ip);
        let client = client.ok_or(NoAnswer::Unreached)?;
        let place = self.clients.admit(client).ok_or(NoAnswer::Crowded)?;
        peer::tell(&mut request).map_err(|_| NoAnswer::Unreached)?;
        let once_more = once_more(&request);
        let response = match (self.ask(request).await, once_more) {
            // What was kept may have broken off with it.
            (Err(NoAnswer::BrokeOff), Some(request)) => self.ask_anew(request).await?,
            (asked, _) => asked?,
        };
        Ok(streamed(response, place))
    }

    /// Asks on a connection that was kept, or else on a new one.
    async fn ask(&self, mut request: Request<Body>) -> Result<Response<Incoming>, NoAnswer> {
        while let Some(sender) = self.kept() {
            match self.send(sender, request).await {
                Tried::Answered(response) => return Ok(response),
                Tried::NotSent(unsent) => request = unsent,
                Tried::Failed(why) => return Err(why),
            }
        }
        self.ask_anew(request).await
    }

    /// Asks on a new connection. Where no full node is reached, and that was told soon, all are tried once more.
    async fn ask_anew(&self, request: Request<Body>) -> Result<Response<Incoming>, NoAnswer> {
        let begun = Instant::now();
        let mut tried = self.ask_any(request).await;
        if let Tried::NotSent(request) = tried {
            if begun.elapsed() >= CONNECT {
                return Err(NoAnswer::Unreached);
            }
            sleep(AGAIN).await;
            tried = self.ask_any(request).await;
        }
        match tried {
            Tried::Answered(response) => Ok(response),
            Tried::NotSent(_) => Err(NoAnswer::Unreached),
            Tried::Failed(why) => Err(why),
        }
    }

    /// Asks the first full node that is reached.
    async fn ask_any(&self, mut request: Request<Body>) -> Tried {
        let mut addresses = (self.full_nodes)();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(first);
        for address in addresses {
            let sender = match timeout(CONNECT, self.connect(&address)).await {
                Ok(Ok(sender)) => sender,
                Ok(Err(error)) => {
                    tracing::debug!(address, error = &*error, "a full node is not reached");
                    continue;
                }
                Err(_) => continue,
            };
            match self.send(sender, request).await {
                Tried::NotSent(unsent) => request = unsent,
                tried => return tried,
            }
        }
        Tried::NotSent(request)
    }

    async fn connect(&self, address: &str) -> Result<SendRequest<Body>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        watch_the_other_end(&stream);
        let socket = stream.as_fd().try_clone_to_owned()?;
        let stream = self.connector.connect(NodeIdentity::name(), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let (full_nodes, address) = (Arc::clone(&self.full_nodes), address.to_owned());
        tokio::spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = has_long_been_dead(full_nodes, address) => {
                    // What waits for it fails, as it would not if the connection were merely dropped.
                    let _ = shutdown(&socket, Shutdown::Both);
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection with a full node broke off");
            }
        });
        Ok(sender)
    }

    async fn send(&self, mut sender: SendRequest<Body>, request: Request<Body>) -> Tried {
        match sender.try_send_request(request).await {
            Ok(response) => {
                let idle = Arc::clone(&self.idle);
                tokio::spawn(async move {
                    // Once the answer has been read to its end.
                    if sender.ready().await.is_ok() {
                        let mut idle = lock(&idle);
                        if idle.len() < MOST_IDLE {
                            idle.push(Idle { sender, since: Instant::now() });
                        }
                    }
                });
                Tried::Answered(response)
            }
            Err(mut failed) => match failed.take_message() {
                Some(request) => Tried::NotSent(request),
                None => {
                    tracing::debug!(error = %failed.error(), "a full node gave no answer");
                    Tried::Failed(NoAnswer::BrokeOff)
                }
            },
        }
    }

    /// A connection that can be used, of those that were kept.
    fn kept(&self) -> Option<SendRequest<Body>> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() < IDLE && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }
}

/// Ends once a full node has not been among those that live for some time. The machine of one that stands still (it is stopped, or has no
/// memory left) answers for it, so that the connection tells nothing.
async fn has_long_been_dead(full_nodes: FullNodes, address: String) {
    let (mut lived, mut looks) = (Instant::now(), interval(SILENCE / 10));
    loop {
        looks.tick().await;
        if full_nodes().contains(&address) {
            lived = Instant::now();
        } else if lived.elapsed() >= SILENCE {
            return;
        }
    }
}

/// A request that may be made twice (RFC 9110, 9.2.2), without the body that it does not have.
fn once_more(request: &Request<Body>) -> Option<Request<Body>> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    (is_safe && !request.headers().contains_key(CONTENT_LENGTH)).then(|| {
        let mut again = Request::new(Body::empty());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        again.headers_mut().clone_from(request.headers());
        again
    })
}

fn lock(idle: &Mutex<Vec<Idle>>) -> MutexGuard<'_, Vec<Idle>> {
    // The list is whole after any panic.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<NoAnswer> for Response<Body> {
    fn from(why: NoAnswer) -> Self {
        let detail = match why {
            NoAnswer::Unreached => "This node serves apps alone, and no full node is reached; try again shortly.",
            NoAnswer::BrokeOff => {
                "The full node that was asked is gone; whether it has done what was asked is not known. Look, and try again."
            }
            NoAnswer::Crowded => "Too many requests are handed on to full nodes; try again shortly.",
        };
        let answer = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "manager_unavailable", detail);
        let Answer { status, headers, body } = answer.with(RETRY_AFTER, HeaderValue::from_static("2"));
        let mut response = Self::new(Body::from(body));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response
    }
}

/// The answer as it comes in. Its place is free again once it has ended.
fn streamed(response: Response<Incoming>, place: Guest) -> Response<Body> {
    let mut response = response.map(|body| Body::new(Streamed { body, _place: place }));
    // Whoever sends it says when.
    response.headers_mut().remove(DATE);
    response
}

struct Streamed {
    body: Incoming,
    _place: Guest,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
