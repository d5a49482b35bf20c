//! An edge node's end: what is for the manager goes to a full node that lives, streaming both ways.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::identity::NodeIdentity;
use super::{peer, watch_the_other_end};
use crate::answer::Answer;

/// Requests that are handed on at once; more are 503.
const AT_ONCE: usize = 256;

/// How long connecting to a full node may take, with the handshake: then another is tried.
const CONNECT: Duration = Duration::from_secs(2);

/// Connections that are kept which nothing is asked on.
const MOST_IDLE: usize = 16;

/// For how long.
const IDLE: Duration = Duration::from_secs(20);

/// Where the full nodes are that live: host and port of each.
pub type FullNodes = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// The manager of another node.
pub struct RemoteManager {
    connector: TlsConnector,
    full_nodes: FullNodes,
    idle: Arc<Mutex<Vec<Idle>>>,
    room: Arc<Semaphore>,
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
            room: Arc::new(Semaphore::new(AT_ONCE)),
            turn: AtomicUsize::new(0),
        }
    }

    /// Has a full node answer a request, which carries an [`picloud_shared::request::AdminPeer`].
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        match self.hand_on(request).await {
            Ok(response) => response,
            Err(why) if is_head => Response::<Body>::from(why).map(|_| Body::empty()),
            Err(why) => why.into(),
        }
    }

    async fn hand_on(&self, mut request: Request<Body>) -> Result<Response<Body>, NoAnswer> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| NoAnswer::Crowded)?;
        peer::tell(&mut request).map_err(|_| NoAnswer::Unreached)?;
        while let Some(sender) = self.kept() {
            match self.send(sender, request).await {
                Tried::Answered(response) => return Ok(streamed(response, place)),
                Tried::NotSent(unsent) => request = unsent,
                Tried::Failed(why) => return Err(why),
            }
        }
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
                Tried::Answered(response) => return Ok(streamed(response, place)),
                Tried::NotSent(unsent) => request = unsent,
                Tried::Failed(why) => return Err(why),
            }
        }
        Err(NoAnswer::Unreached)
    }

    async fn connect(&self, address: &str) -> Result<SendRequest<Body>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        watch_the_other_end(&stream);
        let stream = self.connector.connect(NodeIdentity::name(), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
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
fn streamed(response: Response<Incoming>, place: OwnedSemaphorePermit) -> Response<Body> {
    let mut response = response.map(|body| Body::new(Streamed { body, _place: place }));
    // Whoever sends it says when.
    response.headers_mut().remove(DATE);
    response
}

struct Streamed {
    body: Incoming,
    _place: OwnedSemaphorePermit,
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
