//! A server whose handler says what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use picloud_proxy::answer::Answer;
use picloud_proxy::client::{Client, ListenerRole};
use picloud_proxy::http::Head;
use picloud_proxy::io::{Exchange, Handler, IoLimits, Listener, RunningServer, Server};
use picloud_proxy::tls::Certificates;
use tokio::sync::{Notify, Semaphore};

use super::raw::RawClient;

const BODY_LIMIT: usize = 100_000;

struct Seen {
    targets: Mutex<Vec<String>>,
    holding: Semaphore,
    released: Semaphore,
    client_gone: Notify,
    sent: Semaphore,
    gave_up: Notify,
}

impl Default for Seen {
    fn default() -> Self {
        let none = || Semaphore::new(0);
        let (client_gone, gave_up) = (Notify::new(), Notify::new());
        Self { targets: Mutex::default(), holding: none(), released: none(), client_gone, sent: none(), gave_up }
    }
}

/// Waits for something that happens as often as it is waited for.
async fn once(happens: &Semaphore) {
    happens.acquire().await.expect("never closed").forget();
}

struct Echo(Arc<Seen>);

#[derive(Clone)]
pub struct EchoServer {
    pub address: SocketAddr,
    pub probes: SocketAddr,
    seen: Arc<Seen>,
    running: Arc<RunningServer>,
}

impl EchoServer {
    pub async fn start() -> Self {
        Self::start_with(IoLimits::default()).await
    }

    pub async fn start_with(limits: IoLimits) -> Self {
        Self::listen(limits, None).await
    }

    pub async fn listen(limits: IoLimits, certificates: Option<Arc<Certificates>>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener { address: any, role: ListenerRole::Public, tls: certificates.is_some() };
        let probes = Listener { address: any, role: ListenerRole::Internal, tls: false };
        let server = Server::bind(&[listener, probes]).expect("free ports");
        let addresses: Vec<_> = server.listeners().map(|listener| listener.address).collect();
        let seen = Arc::new(Seen::default());
        let running = server.start(Echo(Arc::clone(&seen)), limits, certificates).expect("a running server");
        Self { address: addresses[0], probes: addresses[1], seen, running: Arc::new(running) }
    }

    pub async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    pub fn saw(&self, target: &str) -> bool {
        self.seen.targets.lock().expect("no handler panicked").iter().any(|seen| seen == target)
    }

    pub async fn holding(&self) {
        once(&self.seen.holding).await;
    }

    pub fn release(&self) {
        self.seen.released.add_permits(1);
    }

    pub async fn client_gone(&self) {
        self.seen.client_gone.notified().await;
    }

    /// Waits until an answer was sent, as far as its handler can know.
    pub async fn sent(&self) {
        once(&self.seen.sent).await;
    }

    /// Waits until an answer was not taken.
    pub async fn gave_up(&self) {
        self.seen.gave_up.notified().await;
    }

    pub async fn drain(&self, grace: Duration) -> bool {
        self.running.drain(grace).await
    }
}

impl Handler for Echo {
    async fn handle(&self, _client: &Arc<Client>, head: Head, exchange: &mut Exchange<'_>) {
        let target = head.target().to_owned();
        self.0.targets.lock().expect("no handler panicked").push(target.clone());
        let status = |code: u16| Answer {
            body: Bytes::from_static(b"never sent"),
            ..Answer::empty(StatusCode::from_u16(code).expect("a status"))
        };
        if target.starts_with("/hold") {
            self.0.holding.add_permits(1);
            once(&self.0.released).await;
        }
        let answer = match target.as_str() {
            "/unread" => Answer::text(StatusCode::OK, "unread"),
            "/204" => status(204),
            "/205" => status(205),
            "/304" => status(304),
            "/hold" => Answer::text(StatusCode::OK, "released"),
            large if large.contains("/large/") => {
                let bytes = large.rsplit('/').next().and_then(|bytes| bytes.parse().ok()).expect("a size");
                Answer { body: vec![b'l'; bytes].into(), ..Answer::text(StatusCode::OK, "") }
            }
            "/stream" => {
                exchange.start(StatusCode::OK, HeaderMap::new(), None).await.expect("a client");
                exchange.write(Bytes::from_static(b"part1")).await.expect("a client");
                exchange.write(Bytes::from_static(b"part2")).await.expect("a client");
                return exchange.finish().await.expect("a client");
            }
            "/events" => {
                exchange.start(StatusCode::OK, HeaderMap::new(), None).await.expect("a client");
                exchange.write(Bytes::from_static(b"event")).await.expect("a client");
                exchange.client_gone().await;
                return self.0.client_gone.notify_one();
            }
            target => match exchange.read_body(BODY_LIMIT).await {
                Ok(body) => {
                    let said = format!("{} {target} {}", head.method, String::from_utf8_lossy(&body));
                    Answer { body: said.into(), ..Answer::text(StatusCode::OK, "") }
                }
                Err(refusal) => refusal.into(),
            },
        };
        match exchange.send(answer).await {
            Ok(()) => self.0.sent.add_permits(1),
            Err(_) => self.0.gave_up.notify_one(),
        }
    }
}
