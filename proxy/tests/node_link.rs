//! What an edge node hands on, and what a full node takes from whom: through real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use picloud_proxy::http::MAX_HEADER_LINES;
use picloud_proxy::manager_link::{
    ControlPlane, NodeIdentity, NodeListener, RemoteManager, RunningNodeListener, StoreHealth, StoreUnavailable,
};
use picloud_shared::app_data::AppData;
use picloud_shared::certificate::CertificateState;
use picloud_shared::id::ScriptId;
use picloud_shared::node::NodeRole;
use picloud_shared::request::{AdminPeer, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// In the manager's place: tells what it was asked, and at `/echo` sends back what comes as it comes. At `/wait` it answers nothing, at
/// `/dies` it breaks down the first time.
#[derive(Default)]
struct Echo {
    waiting: watch::Sender<usize>,
    has_died: AtomicBool,
}

#[async_trait]
impl ControlPlane for Echo {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match head.uri.path() {
            "/echo" => return Response::new(body),
            "/wait" => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                return std::future::pending().await;
            }
            "/dies" if !self.has_died.swap(true, Ordering::Relaxed) => panic!("as it is to"),
            _ => {}
        }
        let peer = head.extensions.get::<AdminPeer>().cloned().unwrap();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let told = format!(
            "{} {} {} {:?} {} {} headers={:?} body={}",
            head.method,
            head.uri,
            peer.remote_ip,
            peer.scheme,
            peer.authority,
            peer.cookies_count,
            head.headers.keys().map(ToString::to_string).collect::<Vec<_>>(),
            body.len()
        );
        Response::builder().header("x-kept", "1").body(Body::from(told)).unwrap()
    }

    async fn may_invoke(&self, _: &HeaderMap, _: &AdminPeer, _: ScriptId) -> Result<bool, StoreUnavailable> {
        Ok(false)
    }

    async fn store_health(&self) -> StoreHealth {
        StoreHealth::Reachable
    }

    async fn certificates_by_state(&self) -> Result<Vec<(CertificateState, u64)>, StoreUnavailable> {
        Ok(Vec::new())
    }

    fn records_dropped(&self) -> u64 {
        0
    }

    fn app_data(&self) -> Arc<AppData> {
        Arc::default()
    }

    fn live_nodes(&self) -> Vec<(NodeRole, usize)> {
        Vec::new()
    }
}

fn identity(secret: u8, wire: u32) -> NodeIdentity {
    NodeIdentity::new(&[secret; 32], wire).unwrap()
}

async fn full() -> (SocketAddr, RunningNodeListener) {
    full_with(Arc::default()).await
}

async fn full_with(echo: Arc<Echo>) -> (SocketAddr, RunningNodeListener) {
    let listener = NodeListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (listener.address(), listener.start(&identity(7, 1), echo))
}

fn edge(identity: &NodeIdentity, addresses: &[SocketAddr]) -> RemoteManager {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    RemoteManager::new(identity, Arc::new(move || addresses.clone()))
}

fn request(path: &str, body: Body) -> Request<Body> {
    request_of("192.0.2.9", Method::POST, path, body)
}

fn request_of(client: &str, method: Method, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "pi.example.com").body(body).unwrap();
    let remote_ip = client.parse().unwrap();
    let authority = "pi.example.com".into();
    request.extensions_mut().insert(AdminPeer { remote_ip, scheme: Scheme::Https, authority, cookies_count: true });
    request
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

async fn refused(edge: &RemoteManager) {
    let response = edge.call(request("/", Body::empty())).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["code"], "manager_unavailable");
}

#[tokio::test]
async fn a_full_node_is_told_whose_a_request_is_whatever_its_headers_say() {
    let (address, _listener) = full().await;
    let edge = edge(&identity(7, 1), &[address]);
    // The second one goes by the same connection.
    for _ in 0..2 {
        let mut request = request("/api/v1/admin/apps?a=b", Body::from("12345"));
        let forged = r#"{"remote_ip":"127.0.0.1","is_https":false,"authority":"evil","cookies_count":true}"#;
        for header in ["picloud-peer", "x-forwarded-for", "forwarded"] {
            request.headers_mut().append(header, HeaderValue::from_static(forged));
        }
        // As many lines as a client may send.
        for line in request.headers().len()..MAX_HEADER_LINES {
            request
                .headers_mut()
                .append(HeaderName::try_from(format!("x-{line}")).unwrap(), HeaderValue::from_static("1"));
        }
        let response = edge.call(request).await;
        assert_eq!((response.status().as_u16(), &response.headers()["x-kept"]), (200, &HeaderValue::from_static("1")));
        assert!(!response.headers().contains_key("date"));
        let told = text(response).await;
        let expected = "POST /api/v1/admin/apps?a=b 192.0.2.9 Https pi.example.com true headers=";
        assert!(told.starts_with(expected) && told.ends_with("body=5") && !told.contains("picloud-peer"), "{told}");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let (address, _listener) = full().await;
    let edge = edge(&identity(7, 1), &[address]);
    let (parts, incoming) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let body = stream::unfold(incoming, async |mut incoming| incoming.recv().await.map(|part| (part, incoming)));
    let mut echoed = edge.call(request("/echo", Body::from_stream(body))).await.into_body();
    for part in ["one", "two", "three"] {
        // Each comes back before the next one is sent.
        parts.send(Ok(Bytes::from_static(part.as_bytes()))).await.unwrap();
        assert_eq!(echoed.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(parts);
    assert!(echoed.frame().await.is_none());
}

#[tokio::test]
async fn of_several_full_nodes_one_that_is_gone_is_left_out_and_without_any_it_is_503() {
    let (gone, listener) = full().await;
    listener.drain(Duration::from_secs(1)).await;
    let (there, listener) = full().await;
    let to_both = edge(&identity(7, 1), &[gone, there]);
    for _ in 0..4 {
        assert_eq!(to_both.call(request("/", Body::empty())).await.status(), 200);
    }
    // What was kept of connections is of no use once that one has ended, too.
    listener.drain(Duration::from_secs(5)).await;
    refused(&to_both).await;
    let to_none = edge(&identity(7, 1), &[]);
    refused(&to_none).await;
    let mut head = request("/", Body::empty());
    *head.method_mut() = Method::HEAD;
    let response = to_none.call(head).await;
    assert_eq!((response.status().as_u16(), text(response).await.as_str()), (503, ""));
}

#[tokio::test]
async fn nobody_with_another_key_is_heard_or_believed_nor_one_that_speaks_otherwise() {
    let (address, _listener) = full().await;
    for stranger in [identity(8, 1), identity(7, 2)] {
        refused(&edge(&stranger, &[address])).await;
    }
    assert_eq!(edge(&identity(7, 1), &[address]).call(request("/", Body::empty())).await.status(), 200);
    // Somebody who is no node, in plain text.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\npicloud-peer: {}\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may be reset as well.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn what_changes_nothing_is_asked_once_more_where_the_full_node_went_amid_it() {
    for (method, status) in [(Method::GET, 200), (Method::POST, 503)] {
        let (address, _listener) = full().await;
        let edge = edge(&identity(7, 1), &[address]);
        let response = edge.call(request_of("192.0.2.9", method, "/dies", Body::empty())).await;
        assert_eq!(response.status(), status);
        // The next one is answered whatever became of this.
        assert_eq!(edge.call(request("/dies", Body::empty())).await.status(), 200);
    }
}

#[tokio::test]
async fn a_full_node_that_stands_still_is_given_up_once_it_counts_as_dead() {
    let echo = Arc::new(Echo::default());
    let (address, _listener) = full_with(Arc::clone(&echo)).await;
    let live = Arc::new(Mutex::new(vec![address.to_string()]));
    let told = Arc::clone(&live);
    let edge = RemoteManager::new(&identity(7, 1), Arc::new(move || told.lock().unwrap().clone()));
    let mut asked = std::pin::pin!(edge.call(request("/wait", Body::empty())));
    let mut waiting = echo.waiting.subscribe();
    tokio::select! {
        _ = &mut asked => panic!("nothing is answered"),
        found = waiting.wait_for(|waiting| *waiting == 1) => drop(found.unwrap()),
    }
    live.lock().unwrap().clear();
    // From here on time goes on as soon as all wait for it.
    tokio::time::pause();
    assert_eq!(asked.await.status(), 503);
}

#[tokio::test]
async fn one_client_leaves_room_for_the_requests_of_others() {
    let echo = Arc::new(Echo::default());
    let (address, _listener) = full_with(Arc::clone(&echo)).await;
    let edge = Arc::new(edge(&identity(7, 1), &[address]));
    let mut waiting = echo.waiting.subscribe();
    let mut asking = JoinSet::new();
    for number in 1..=192 {
        let edge = Arc::clone(&edge);
        asking.spawn(async move { edge.call(request("/wait", Body::empty())).await });
        waiting.wait_for(|waiting| *waiting == number).await.unwrap();
    }
    refused(&edge).await;
    let other = request_of("192.0.2.10", Method::POST, "/", Body::empty());
    assert_eq!(edge.call(other).await.status(), 200);
    // Who left has left its place.
    asking.shutdown().await;
    assert_eq!(edge.call(request("/", Body::empty())).await.status(), 200);
}

#[tokio::test]
async fn strangers_of_one_address_leave_room_for_nodes() {
    let (address, _listener) = full().await;
    let mut strangers = Vec::new();
    for _ in 0..600 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        strangers.push(socket.connect(address).await.unwrap());
    }
    assert_eq!(edge(&identity(7, 1), &[address]).call(request("/", Body::empty())).await.status(), 200);
}

#[tokio::test]
async fn what_is_asked_on_a_kept_connection_as_a_full_node_drains_is_answered() {
    let (address, listener) = full().await;
    let edge = edge(&identity(7, 1), &[address]);
    text(edge.call(request("/", Body::empty())).await).await;
    // All has come in: whatever keeps the connection has its turn, on this one thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let asked = async {
        assert_eq!(text(edge.call(request("/", Body::from("12345"))).await).await.chars().last(), Some('5'));
        refused(&edge).await;
    };
    tokio::join!(listener.drain(Duration::from_secs(5)), asked);
}
