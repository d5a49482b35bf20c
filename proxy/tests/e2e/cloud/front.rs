//! A front before Pebble that a test can have fail: refuse, dawdle, or hold a request while something is killed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, Pebble};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Pebble answers it.
    Passes,
    /// It is answered so, and Pebble never sees it.
    Refused(u16, &'static str),
    /// The connection ends without an answer.
    CutOff,
    /// It waits, and Pebble does not see it before it is let go.
    HeldBefore,
    /// Pebble has done it, and the answer waits.
    HeldAfter,
    /// Pebble answers it, and where an order is done it is told to be at work on it, to be asked for after so many seconds.
    StillIssuing(u64),
    /// Pebble answers it, and an order that failed is told to be pending still, with what went wrong.
    StillPending,
}

type Rule = Box<dyn Fn(&str) -> Fate + Send + Sync>;

struct State {
    rule: Mutex<Rule>,
    seen: Mutex<Vec<String>>,
    held: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
    pebble: String,
    authority: String,
    client: Client,
    /// What it says of renewal, where it says something: beginning and end of a window, as RFC 3339.
    window: Mutex<Option<(String, String)>>,
    /// The orders that were asked for, as they were put.
    orders: Mutex<Vec<Value>>,
}

/// A front before Pebble; gone when dropped.
pub struct Front {
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Front {
    /// Opens one beside that Pebble.
    pub async fn open(pebble: &Pebble) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((pebble.ip, 0))).await.expect("an address");
        let authority = listener.local_addr().expect("an address").to_string();
        let client = pebble.trusted_client().http1_only().build().expect("a client");
        let state = Arc::new(State {
            rule: Mutex::new(Box::new(|_| Fate::Passes)),
            seen: Mutex::default(),
            held: watch::Sender::new(0),
            let_go: watch::Sender::new(true),
            pebble: pebble.directory().trim_end_matches("/dir").to_owned(),
            authority,
            client,
            window: Mutex::default(),
            orders: Mutex::default(),
        });
        let chain = CertificateDer::from_pem_file(pebble.root_file()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(pebble.root_file().with_extension("key")).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key).expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(Arc::clone(&state), request));
                    // A client that was killed ends it.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { state, task }
    }

    /// Where the directory is, seen from here.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.state.authority)
    }

    /// From now on each request has the fate that the rule gives its path.
    pub fn rule(&self, rule: impl Fn(&str) -> Fate + Send + Sync + 'static) {
        self.state.let_go.send_replace(false);
        *self.state.rule.lock().expect("no test holds it while it panics") = Box::new(rule);
    }

    /// Everything passes again, what was held as well.
    pub fn let_go(&self) {
        *self.state.rule.lock().expect("no test holds it while it panics") = Box::new(|_| Fate::Passes);
        self.state.let_go.send_replace(true);
    }

    /// Returns once that many requests have been held in all.
    pub async fn until_held(&self, count: usize) {
        let mut held = self.state.held.subscribe();
        let waited = tokio::time::timeout(PATIENCE, held.wait_for(|so_far| *so_far >= count)).await;
        waited.expect("a request that is to be held").expect("the front is there");
    }

    /// From now on says that all certificates are to be renewed within that window (RFC 9773, which this Pebble does not know).
    pub fn wants_renewal(&self, start: &str, end: &str) {
        *self.state.window.lock().expect("no test holds it while it panics") = Some((start.to_owned(), end.to_owned()));
    }

    /// What the orders that were placed said of this, those that said something.
    pub fn orders_said(&self, member: &str) -> Vec<String> {
        let orders = self.state.orders.lock().expect("no test holds it while it panics");
        orders.iter().filter_map(|order| order[member].as_str()).map(str::to_owned).collect()
    }

    /// How many orders were under way at once: placed, and the certificate not yet fetched.
    pub fn most_at_once(&self) -> usize {
        let seen = self.state.seen.lock().expect("no test holds it while it panics");
        let (mut open, mut most) = (0_usize, 0);
        for path in seen.iter() {
            if path == "/order-plz" {
                open += 1;
            } else if path.starts_with("/certZ/") {
                open = open.saturating_sub(1);
            }
            most = most.max(open);
        }
        most
    }

    /// How many requests to paths that begin so Pebble has done.
    pub fn done(&self, path: &str) -> usize {
        let seen = self.state.seen.lock().expect("no test holds it while it panics");
        seen.iter().filter(|one| one.starts_with(path)).count()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> std::io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let fate = state.rule.lock().expect("no test holds it while it panics")(&path);
    if let Fate::Refused(status, headers) = fate {
        let mut refusal = Response::builder().status(status);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").expect("a header");
            refusal = refusal.header(name, value);
        }
        return Ok(refusal.body(Full::default()).expect("an answer"));
    }
    if fate == Fate::CutOff {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    if fate == Fate::HeldBefore {
        hold(&state).await;
    }
    let window = state.window.lock().expect("no test holds it while it panics").clone();
    if let (Some((start, end)), true) = (&window, path.starts_with("/renewal-info/")) {
        let told = json!({ "suggestedWindow": { "start": start, "end": end } }).to_string();
        let answer = Response::builder().header("content-type", "application/json").header("retry-after", "21600");
        return Ok(answer.body(told.into()).expect("an answer"));
    }
    let order = (path == "/order-plz").then(|| payload(&body)).flatten();
    let url = format!("{}{path}", state.pebble);
    let mut forwarded = state.client.request(head.method, url).body(body);
    for (name, value) in &head.headers {
        if name != hyper::header::HOST && name != hyper::header::CONTENT_LENGTH {
            forwarded = forwarded.header(name, value);
        }
    }
    // Pebble makes its addresses of the host that it is asked by.
    let answered = forwarded.header(hyper::header::HOST, &state.authority).send().await;
    let Ok(answered) = answered else {
        return Ok(Response::builder().status(502).body(Full::default()).expect("an answer"));
    };
    let mut answer = Response::builder().status(answered.status());
    for (name, value) in answered.headers() {
        if name != hyper::header::CONTENT_LENGTH && name != hyper::header::TRANSFER_ENCODING {
            answer = answer.header(name, value);
        }
    }
    let is_done = answered.status().is_success();
    let mut body = answered.bytes().await.unwrap_or_default();
    if let (Fate::StillIssuing(seconds), Ok(Value::Object(mut told))) = (fate, serde_json::from_slice(&body))
        && told.remove("certificate").is_some()
    {
        told.insert("status".to_owned(), "processing".into());
        body = Value::Object(told).to_string().into();
        answer = answer.header("retry-after", seconds);
    }
    if let (Fate::StillPending, Ok(Value::Object(mut told))) = (fate, serde_json::from_slice(&body))
        && told.contains_key("error")
    {
        told.insert("status".to_owned(), "pending".into());
        body = Value::Object(told).to_string().into();
    }
    if let (true, Ok(Value::Object(mut told))) = (is_done && window.is_some(), serde_json::from_slice(&body)) {
        if path == "/dir" {
            told.insert("renewalInfo".to_owned(), format!("https://{}/renewal-info", state.authority).into());
        }
        if let Some(replaces) = order.as_ref().and_then(|order| order.get("replaces")) {
            told.insert("replaces".to_owned(), replaces.clone());
        }
        body = Value::Object(told).to_string().into();
    }
    if is_done {
        state.orders.lock().expect("no test holds it while it panics").extend(order);
        state.seen.lock().expect("no test holds it while it panics").push(path);
    }
    if fate == Fate::HeldAfter && is_done {
        hold(&state).await;
    }
    Ok(answer.body(Full::new(body)).expect("an answer"))
}

/// What a request says, which a JWS signs and does not hide.
fn payload(body: &[u8]) -> Option<Value> {
    let signed: Value = serde_json::from_slice(body).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(signed["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

async fn hold(state: &State) {
    state.held.send_modify(|count| *count += 1);
    // A sender that is gone lets everything go.
    let _ = state.let_go.subscribe().wait_for(|let_go| *let_go).await;
}
