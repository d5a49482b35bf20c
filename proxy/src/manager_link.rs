//! The hand-over of admin requests to the manager: a service called in process, streaming both ways, or on an edge node that of a
//! full node, over the network. Knows what a connection's headers are and are not worth beyond it, and nothing of what the manager
//! does.

mod edge;
mod full;
mod identity;
mod peer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::body::HttpBody;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use picloud_shared::app_data::AppData;
use picloud_shared::backups::Backups;
use picloud_shared::certificate::CertificateState;
use picloud_shared::id::ScriptId;
use picloud_shared::node::NodeRole;
use picloud_shared::request::AdminPeer;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

pub use edge::{FullNodes, RemoteManager};
pub use full::{NodeListener, RunningNodeListener};
pub use identity::{IdentityError, NodeIdentity};

use crate::answer::Answer;
use crate::client::Sender;
use crate::http::Refusal;
use crate::io::{ClientGone, Exchange};

/// After so long without a sign of life a connection with another node is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// Has a connection with another node end where that one has gone without a word, as by a power cut.
fn watch_the_other_end(stream: &TcpStream) {
    let watched = (|| {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, SILENCE / 2)?;
        sockopt::set_tcp_keepintvl(stream, SILENCE / 10)?;
        sockopt::set_tcp_keepcnt(stream, 5)?;
        sockopt::set_tcp_user_timeout(stream, u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX))?;
        Ok::<_, std::io::Error>(())
    })();
    if let Err(error) = watched {
        tracing::debug!(%error, "a connection with another node is not watched");
    }
}

/// The store cannot be asked just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be reached")]
pub struct StoreUnavailable;

/// How the store is, in words for health probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreHealth {
    /// It answers, and no write is known to fail.
    Reachable,
    /// It answers and writes fail: a disk is full, or read-only.
    NotWritable,
    /// It answers, and has another secret key by now: this process changes nothing until it is started again with that.
    KeyReplaced,
    /// It does not answer.
    Unreachable,
}

/// What the data plane asks of the control plane.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// Answers a request of the admin API or for the dashboard. The request carries an [`AdminPeer`].
    async fn call(&self, request: Request<Body>) -> Response<Body>;

    /// Whether whoever sent these headers holds ScriptInvoke for the script.
    ///
    /// # Errors
    /// The store cannot be asked.
    async fn may_invoke(
        &self,
        headers: &HeaderMap,
        peer: &AdminPeer,
        script: ScriptId,
    ) -> Result<bool, StoreUnavailable>;

    /// How the store is.
    async fn store_health(&self) -> StoreHealth;

    /// How many certificates there are in each state that some are in.
    ///
    /// # Errors
    /// The store cannot be asked.
    async fn certificates_by_state(&self) -> Result<Vec<(CertificateState, u64)>, StoreUnavailable>;

    /// Executions of this node whose record was lost.
    fn records_dropped(&self) -> u64;

    /// What apps keep, as it was when it was last looked at.
    fn app_data(&self) -> Arc<AppData>;

    /// How many nodes of each role live, as they were seen last.
    fn live_nodes(&self) -> Vec<(NodeRole, usize)>;

    /// How backups are doing that are taken by a schedule; by default there is none.
    fn backups(&self) -> Backups {
        Backups::default()
    }
}

/// A request on its way to the manager.
pub(crate) struct AdminRequest {
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: AdminPeer,
    pub(crate) body_limit: usize,
}

pub(crate) fn admin_peer(sender: Sender, authority: &str, cookies_count: bool) -> AdminPeer {
    AdminPeer { remote_ip: sender.remote_ip, scheme: sender.scheme, authority: authority.into(), cookies_count }
}

/// Has the manager answer. `Some` is an answer of our own that is still to be sent.
pub(crate) async fn forward(
    control: &Arc<dyn ControlPlane>,
    request: AdminRequest,
    exchange: &mut Exchange<'_>,
) -> Option<Answer> {
    let is_head = request.method == Method::HEAD;
    let limit = request.body_limit;
    let (parts, incoming) = mpsc::channel(1);
    let request = match to_service_request(request, Body::from_stream(body_stream(incoming))) {
        Ok(request) => request,
        Err(refusal) => return Some(refusal.into()),
    };
    let response = match call(control, request, parts, exchange, limit).await {
        Ok(response) => response,
        Err(refusal) => return Some(refusal.into()),
    };
    // A client that left has nobody to tell.
    let _ = stream_response(response, is_head, exchange).await;
    None
}

type BodyParts = mpsc::Receiver<Result<Bytes, BrokenBody>>;

/// The request's body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
struct BrokenBody;

fn body_stream(incoming: BodyParts) -> impl stream::Stream<Item = Result<Bytes, BrokenBody>> + Send {
    stream::unfold(incoming, async |mut incoming| incoming.recv().await.map(|part| (part, incoming)))
}

/// Calls the service while its body is fed to it. A body that breaks a rule ends the call.
async fn call(
    control: &Arc<dyn ControlPlane>,
    request: Request<Body>,
    parts: mpsc::Sender<Result<Bytes, BrokenBody>>,
    exchange: &mut Exchange<'_>,
    limit: usize,
) -> Result<Response<Body>, Refusal> {
    let mut response = control.call(request);
    let feed = feed(parts, exchange, limit);
    tokio::pin!(feed);
    tokio::select! {
        biased;
        response = &mut response => return Ok(response),
        fed = &mut feed => fed?,
    }
    Ok(response.await)
}

async fn feed(
    parts: mpsc::Sender<Result<Bytes, BrokenBody>>,
    exchange: &mut Exchange<'_>,
    limit: usize,
) -> Result<(), Refusal> {
    while let Ok(slot) = parts.reserve().await {
        match exchange.read_chunk(limit).await {
            Ok(Some(part)) => slot.send(Ok(part)),
            Ok(None) => return Ok(()),
            Err(refusal) => {
                slot.send(Err(BrokenBody));
                return Err(refusal);
            }
        }
    }
    // The service dropped the body unread; its answer follows.
    std::future::pending().await
}

fn to_service_request(request: AdminRequest, body: Body) -> Result<Request<Body>, Refusal> {
    let AdminRequest { method, path_and_query, mut headers, peer, .. } = request;
    strip_hop_by_hop(&mut headers);
    headers.remove(EXPECT);
    let authority = HeaderValue::from_bytes(peer.authority.as_bytes()).map_err(|_| Refusal::InvalidHost)?;
    headers.insert(HOST, authority);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path_and_query.parse().map_err(|_| Refusal::InvalidTarget)?;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(peer);
    Ok(request)
}

async fn stream_response(
    response: Response<Body>,
    is_head: bool,
    exchange: &mut Exchange<'_>,
) -> Result<(), ClientGone> {
    let (mut head, mut body) = response.into_parts();
    strip_hop_by_hop(&mut head.headers);
    let length = match head.headers.remove(CONTENT_LENGTH) {
        Some(length) if is_head => length.to_str().ok().and_then(|length| length.parse().ok()),
        _ => body.size_hint().exact(),
    };
    exchange.start(head.status, head.headers, length).await?;
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = exchange.client_gone() => return Err(ClientGone),
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(part) = frame.into_data() {
                    exchange.write(part).await?;
                }
            }
            // Not finishing tells the client that the answer broke off.
            Some(Err(_)) => return Ok(()),
            None => return exchange.finish().await,
        }
    }
}

/// Removes what is meant for one connection only (RFC 9110, 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client cannot have the framing or the credentials of its own request taken away.
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST && *name != http::header::AUTHORIZATION)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_end_here_and_credentials_do_not() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop, authorization"),
            ("x-hop", "1"),
            ("authorization", "Bearer t"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-kept"]);
    }
}
