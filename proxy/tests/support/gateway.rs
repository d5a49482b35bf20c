//! A gateway over a snapshot made by hand, with a small service in the manager's place.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use http::{HeaderMap, Response, StatusCode};
use picloud_executor::port::Ports;
use picloud_executor::{Executor, ExecutorConfig};
use picloud_proxy::admin_hosts::AdminHosts;
use picloud_proxy::client::ListenerRole;
use picloud_proxy::dispatch::{Gateway, GatewayParts};
use picloud_proxy::http::ProxyHeader;
use picloud_proxy::io::{IoLimits, Listener, RunningServer, Server};
use picloud_proxy::manager_link::{ControlPlane, StoreHealth, StoreUnavailable};
use picloud_proxy::metrics::Metrics;
use picloud_proxy::tls::Certificates;
use picloud_proxy::trusted_proxies::TrustedProxies;
use picloud_shared::app::App;
use picloud_shared::app_data::AppData;
use picloud_shared::certificate::CertificateState;
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::event::EventPayload;
use picloud_shared::execution::{ExecutionRecord, ExecutionSink};
use picloud_shared::id::{AppId, EventId, RouteId, ScriptId};
use picloud_shared::node::NodeRole;
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::request::{AdminPeer, NotKept, RequestKeeper};
use picloud_shared::route::{HostSelector, Route, RoutePattern};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits, ScriptKind};
use picloud_shared::snapshot::{PublishedApp, ScriptRow, Snapshot, SnapshotCell};
use tower::ServiceExt;

use super::raw::RawClient;

pub const BODY_LIMIT: usize = 10_000;
/// Where the proxy stands that the gateway trusts.
const TRUSTED_PROXY: &str = "127.0.0.9";

/// Keeps every record.
#[derive(Default)]
pub struct Records(Mutex<Vec<ExecutionRecord>>);

impl ExecutionSink for Records {
    fn record(&self, record: ExecutionRecord) {
        self.0.lock().expect("no recorder panicked").push(record);
    }
}

impl Records {
    pub fn take(&self) -> Vec<ExecutionRecord> {
        std::mem::take(&mut self.0.lock().expect("no recorder panicked"))
    }
}

/// An app in the making.
pub struct TestApp {
    app: App,
    claims: Vec<DomainPattern>,
    scripts: Vec<ScriptRow>,
    routes: Vec<Route>,
}

impl TestApp {
    pub fn new(slug: &str, claims: &[&str]) -> Self {
        let app = App { id: AppId::generate(SystemClock.now()), slug: slug.parse().expect("a slug") };
        let claims = claims.iter().map(|claim| claim.parse().expect("a claim")).collect();
        Self { app, claims, scripts: Vec::new(), routes: Vec::new() }
    }

    pub fn script(&mut self, name: &str, source: &str) -> ScriptId {
        self.script_with(name, source, ExecuteAccess::Open, LimitPolicy::default().defaults)
    }

    pub fn script_with(&mut self, name: &str, source: &str, execute_access: ExecuteAccess, limits: Limits) -> ScriptId {
        let id = ScriptId::generate(SystemClock.now());
        self.scripts.push(ScriptRow {
            id,
            name: name.parse().expect("a name"),
            kind: ScriptKind::Endpoint,
            version: 1,
            source: source.parse().expect("a source"),
            imports: Vec::new(),
            limits,
            execute_access,
        });
        id
    }

    pub fn module(&mut self, name: &str, source: &str) -> ScriptId {
        let id = self.script(name, source);
        self.scripts.last_mut().expect("just added").kind = ScriptKind::Module;
        id
    }

    /// Adds a script with its route.
    pub fn route(&mut self, method: &str, path: &str, source: &str) -> ScriptId {
        let script_id = self.script(&format!("s{}", self.scripts.len()), source);
        let kind = match path {
            path if path.ends_with("/*") => PathKind::Prefix,
            path if path.contains("/:") => PathKind::Param,
            _ => PathKind::Exact,
        };
        self.routes.push(Route {
            id: RouteId::generate(SystemClock.now()),
            app_id: self.app.id,
            script_id,
            pattern: RoutePattern {
                host: HostSelector::Any,
                path: PathPattern::parse(kind, path).expect("a path"),
                method: method.parse().expect("a method"),
            },
            is_async: false,
        });
        script_id
    }

    pub fn publish(self) -> Arc<PublishedApp> {
        let (app, astray) = PublishedApp::new(self.app, self.claims, self.scripts, self.routes);
        assert!(astray.is_empty());
        Arc::new(app)
    }
}

/// In the place of the events: keeps nothing.
struct NoKeeper;

#[async_trait]
impl RequestKeeper for NoKeeper {
    async fn keep(&self, _: AppId, _: ScriptId, _: EventPayload) -> Result<EventId, NotKept> {
        Err(NotKept::Unavailable)
    }
}

/// In the manager's place: echoes admin requests, and lets whoever shows `Bearer good` invoke scripts.
struct TestControl {
    router: Router,
    reachable: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
    authorizations: Arc<AtomicUsize>,
}

#[async_trait]
impl ControlPlane for TestControl {
    async fn call(&self, request: http::Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    async fn may_invoke(&self, headers: &HeaderMap, _: &AdminPeer, _: ScriptId) -> Result<bool, StoreUnavailable> {
        self.authorizations.fetch_add(1, Ordering::Relaxed);
        if !self.reachable.load(Ordering::Relaxed) {
            return Err(StoreUnavailable);
        }
        Ok(headers.get("authorization").is_some_and(|value| value == "Bearer good"))
    }

    async fn store_health(&self) -> StoreHealth {
        self.probes.fetch_add(1, Ordering::Relaxed);
        match self.reachable.load(Ordering::Relaxed) {
            true => StoreHealth::Reachable,
            false => StoreHealth::Unreachable,
        }
    }

    async fn certificates_by_state(&self) -> Result<Vec<(CertificateState, u64)>, StoreUnavailable> {
        match self.reachable.load(Ordering::Relaxed) {
            true => Ok(vec![(CertificateState::Valid, 3)]),
            false => Err(StoreUnavailable),
        }
    }

    fn records_dropped(&self) -> u64 {
        5
    }

    fn app_data(&self) -> Arc<AppData> {
        Arc::default()
    }

    fn live_nodes(&self) -> Vec<(NodeRole, usize)> {
        vec![(NodeRole::Full, 1), (NodeRole::Edge, 0)]
    }
}

async fn echo(request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<AdminPeer>().expect("admin requests carry their peer").clone();
    let mut names: Vec<_> = head.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return (StatusCode::IM_A_TEAPOT, "the body broke off").into_response();
    };
    axum::Json(serde_json::json!({
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": names,
        "authority": &*peer.authority,
        "scheme": peer.scheme.as_str(),
        "cookies_count": peer.cookies_count,
        "remote_ip": peer.remote_ip.to_string(),
        "body_length": body.len(),
    }))
    .into_response()
}

pub struct TestGateway {
    pub address: SocketAddr,
    pub redirect: SocketAddr,
    pub internal: SocketAddr,
    pub records: Arc<Records>,
    pub snapshot: Arc<SnapshotCell>,
    pub executor: Arc<Executor>,
    store_reachable: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
    authorizations: Arc<AtomicUsize>,
    running: RunningServer,
}

impl TestGateway {
    pub fn start(apps: Vec<Arc<PublishedApp>>) -> Self {
        Self::start_with(apps, None)
    }

    pub fn start_with(apps: Vec<Arc<PublishedApp>>, certificates: Option<Arc<Certificates>>) -> Self {
        let records = Arc::new(Records::default());
        let config = ExecutorConfig {
            workers: 2,
            worker_nice: 0,
            app_concurrency: 4,
            queue_capacity: 8,
            program_cache_bytes: 1 << 20,
            max_response_bytes: 1 << 20,
            memory_bytes: 32 << 20,
            total_memory_bytes: 1 << 30,
            inline_threads: 2,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::default());
        let sink = metrics.counting(records.clone());
        let executor = Arc::new(Executor::start(config, Arc::clone(&clock), sink, Ports::default()).expect("threads"));
        let snapshot = Arc::new(SnapshotCell::default());
        let published = apps.into_iter().map(|app| (app.app().id, Some(app)));
        snapshot.store(Arc::new(Snapshot::default().with_apps(1, published)));
        let store_reachable = Arc::new(AtomicBool::new(true));
        let router = Router::new().route("/api/v1/admin/events", axum::routing::get(events)).fallback(echo);
        let (probes, authorizations) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let control = TestControl {
            router,
            reachable: Arc::clone(&store_reachable),
            probes: Arc::clone(&probes),
            authorizations: Arc::clone(&authorizations),
        };
        let admin = Host::parse_authority("pi.test").expect("a host").into_owned();
        let gateway = Gateway::new(GatewayParts {
            certificates: Arc::new(Certificates::load(Vec::new()).expect("no files")),
            plain_http_until_certificate: false,
            snapshot: Arc::clone(&snapshot),
            executor: Arc::clone(&executor),
            clock,
            requests: Arc::new(NoKeeper),
            control: Arc::new(control),
            admin_hosts: AdminHosts::new([admin]),
            version_document: "{\"product\":\"test\"}".into(),
            trusted_proxies: TrustedProxies::new(
                vec![TRUSTED_PROXY.parse().expect("an address")],
                ProxyHeader::XForwardedFor,
            ),
            body_limit: BODY_LIMIT,
            access_log: true,
            metrics,
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(&[
            Listener { address: any, role: ListenerRole::Public, tls: certificates.is_some() },
            Listener { address: any, role: ListenerRole::RedirectToHttps { port: 8443 }, tls: false },
            Listener { address: any, role: ListenerRole::Internal, tls: false },
        ])
        .expect("free ports");
        let addresses: Vec<_> = server.listeners().map(|listener| listener.address).collect();
        let running = server.start(gateway, IoLimits::default(), certificates).expect("a running server");
        Self {
            address: addresses[0],
            redirect: addresses[1],
            internal: addresses[2],
            records,
            snapshot,
            executor,
            store_reachable,
            probes,
            authorizations,
            running,
        }
    }

    pub async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    pub fn cut_store(&self) {
        self.store_reachable.store(false, Ordering::Relaxed);
    }

    /// How often the store was asked whether it answers.
    pub fn store_probes(&self) -> usize {
        self.probes.load(Ordering::Relaxed)
    }

    /// How often it was asked who may invoke a script, since this was last told.
    pub fn take_authorizations(&self) -> usize {
        self.authorizations.swap(0, Ordering::Relaxed)
    }

    pub async fn drain(&self) -> bool {
        self.running.drain(Duration::from_secs(10)).await
    }
}

/// A stream that never ends by itself.
async fn events() -> Response<Body> {
    let ticks = futures_util::stream::iter([Ok::<_, std::io::Error>("data: 1\n\n"), Ok("data: 2\n\n")]);
    let body = Body::from_stream(futures_util::StreamExt::chain(ticks, futures_util::stream::pending()));
    ([("content-type", "text/event-stream")], body).into_response()
}

/// Runs a test where scripts may run: on threads with large stacks.
pub fn on_large_stacks(test: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(picloud_executor::THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::spawn(test).await }).expect("the test passes");
}
