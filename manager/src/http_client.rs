//! Outgoing HTTP of scripts: each call runs to its end, or is dropped with its connection, while its worker waits.
//!
//! No task of the runtime holds a connection: who calls drives it (`connection`), and one that is idle is driven by nobody. Where a
//! host leads to is looked up here and checked (`guard`) before anything is connected to, and a connection is only ever to an
//! address that was checked.

mod allow;
mod body;
mod connect;
mod connection;
mod follow;
mod guard;
mod pool;
mod resolve;
mod room;

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use hyper::body::Body;
use picloud_executor::port::{HttpAnswer, HttpClient, HttpRequest, PortCaller, PortError};
use picloud_shared::version;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use allow::{HttpAllow, InvalidHttpAllow};
pub use resolve::{Resolve, SystemDns, Unresolved};

use self::connect::Connector;
use self::connection::{Connection, Lost};
use self::follow::Hop;
use self::guard::Guard;
use self::pool::{Key, Pool};
use self::room::{Entered, Room};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// Outgoing HTTP. Clones are the same.
#[derive(Clone)]
pub struct OutgoingHttp {
    /// Of the runtime that connections belong to.
    runtime: tokio::runtime::Handle,
    connector: Arc<Connector>,
    pool: Arc<Pool>,
    room: Arc<Room>,
}

/// Why a call came to nothing.
#[derive(Debug)]
struct Failure {
    code: &'static str,
    message: String,
}

fn failure(code: &'static str, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

impl OutgoingHttp {
    /// What `allow` lists may be reached beside what is public; `roots` sign for servers beside those that browsers trust. Must be
    /// called within a tokio runtime.
    pub fn new(allow: HttpAllow, resolver: Arc<dyn Resolve>, roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
            connector: Arc::new(Connector::new(Guard::new(allow), resolver, roots)),
            pool: Arc::new(Pool::default()),
            room: Arc::new(Room::default()),
        }
    }

    async fn call(
        &self,
        caller: &PortCaller,
        request: &HttpRequest,
        mut entered: Entered,
        changing: &Cell<bool>,
    ) -> Result<HttpAnswer, Failure> {
        let body = request.body.as_deref().unwrap_or_default();
        entered.grow_to(body.len())?;
        let mut hop = Hop {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.as_ref().map(|body| Bytes::copy_from_slice(body)),
        };
        for _ in 0..=MOST_REDIRECTS {
            let (answer, mut connection, key) = self.exchange(caller, &hop, changing).await?;
            connection::check_head(&answer)?;
            if let Some(next) = follow::next(&hop, &answer)? {
                if Body::is_end_stream(answer.body()) && connection.is_reusable().await {
                    self.pool.put(key, connection);
                }
                hop = next;
                continue;
            }
            let answer = body::read(answer, &hop.method, &mut connection, entered).await?;
            if connection.is_reusable().await {
                self.pool.put(key, connection);
            }
            return Ok(answer);
        }
        Err(failure("too_many_redirects", format!("more than {MOST_REDIRECTS} redirects were to be followed")))
    }

    /// Sends what a hop is about and gives the head of the answer. A connection of before may have been closed by the server: what
    /// was not sent, or only reads, is sent again by a fresh one.
    async fn exchange(
        &self,
        caller: &PortCaller,
        hop: &Hop,
        changing: &Cell<bool>,
    ) -> Result<(http::Response<connection::Incoming>, Connection, Key), Failure> {
        let key = Key::of(caller.app, &hop.url)?;
        let is_safe = matches!(hop.method, Method::GET | Method::HEAD | Method::OPTIONS);
        while let Some(mut connection) = self.pool.take(&key).await {
            changing.set(changing.get() || !is_safe);
            match connection.send(wire(hop)?).await {
                Ok(answer) => return Ok((answer, connection, key)),
                Err(Lost { unsent: true, .. }) => {}
                Err(Lost { closed: true, .. }) if is_safe => break,
                Err(lost) => return Err(lost.failure()),
            }
        }
        let mut connection = self.connector.connect(&key).await?;
        changing.set(changing.get() || !is_safe);
        match connection.send(wire(hop)?).await {
            Ok(answer) => Ok((answer, connection, key)),
            Err(lost) => Err(lost.failure()),
        }
    }
}

impl HttpClient for OutgoingHttp {
    fn send(&self, caller: &PortCaller, request: &HttpRequest) -> Result<HttpAnswer, PortError> {
        let refused = |Failure { code, message }: Failure| PortError::Refused { code, message };
        let entered = self.room.enter(caller.app).map_err(refused)?;
        let deadline = Instant::from_std(caller.deadline);
        // A time beyond what the clock counts is that of the run.
        let own = Instant::now().checked_add(request.timeout).unwrap_or(deadline);
        let changing = Cell::new(false);
        let call = async { timeout_at(own.min(deadline), self.call(caller, request, entered, &changing)).await };
        match self.runtime.block_on(call) {
            Ok(done) => done.map_err(refused),
            Err(_) if own < deadline => {
                let millis = request.timeout.as_millis();
                let told = if changing.get() { "; whether the server did what it was asked is not known" } else { "" };
                Err(refused(failure("timeout", format!("there was no whole answer within {millis} ms{told}"))))
            }
            Err(_) if changing.get() => Err(PortError::Unsettled),
            Err(_) => Err(PortError::TooLate),
        }
    }
}

/// A hop as it goes over the wire.
fn wire(hop: &Hop) -> Result<Request<connection::Outgoing>, Failure> {
    let unsendable = |_| failure("invalid_url", "the URL cannot be sent");
    let target = &hop.url[url::Position::BeforePath..url::Position::AfterQuery];
    let uri: Uri = target.parse().map_err(unsendable)?;
    let mut request = Request::new(hop.body.clone().unwrap_or_default().into());
    *request.method_mut() = hop.method.clone();
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    *headers = hop.headers.clone();
    headers.insert(HOST, HeaderValue::try_from(authority(&hop.url)).map_err(|_| unsendable_host())?);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    if !headers.contains_key(USER_AGENT) {
        let agent = format!("PiCloud/{}", version::PRODUCT);
        headers.insert(USER_AGENT, HeaderValue::try_from(agent).map_err(|_| unsendable_host())?);
    }
    Ok(request)
}

fn unsendable_host() -> Failure {
    failure("invalid_url", "the URL's host cannot be sent")
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
