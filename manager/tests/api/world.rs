//! A manager in process, with clients that speak to its router, and a data plane to see what is published.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use picloud_executor::port::Ports;
use picloud_executor::{Completion, Executor, ExecutorConfig, Invocation};
use picloud_manager::certificate_store::Certificates;
use picloud_manager::docs::{DocQuota, Docs};
use picloud_manager::events::{EventQuota, Events};
use picloud_manager::execution_writer::{ExecutionWriter, LogPolicy};
use picloud_manager::kv::{Kv, KvQuota};
use picloud_manager::repo::members::{self, Member};
use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::repo::users;
use picloud_manager::secret::key_file::SecretKey;
use picloud_manager::store::Store;
use picloud_manager::{AuditedStore, FirstOwner, Manager, ManagerConfig, NodeConfig, Parts, PublishTiming, StartError};
use picloud_shared::certificate::{Check, Finding, Preflight, Verdict};
use picloud_shared::clock::{Clock, ManualClock, Timestamp};
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::execution::Origin;
use picloud_shared::gauges::{NodeGauges, NodeSample};
use picloud_shared::id::{AppId, ExecutionId};
use picloud_shared::name::Username;
use picloud_shared::node::NodeRole;
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::request::{AdminPeer, RequestHead, Scheme, ScriptRequest};
use picloud_shared::routing::{Dispatch, RouteVerdict, dispatch};
use picloud_shared::script::LimitPolicy;
use picloud_shared::snapshot::SnapshotCell;
use serde_json::{Value, json};
use tower::ServiceExt;

pub const OWNER: &str = "olive";
pub const PASSWORD: &str = "a quiet pass phrase";
/// The key of every store under test.
pub const SECRET_KEY: SecretKey = SecretKey::from_bytes([7; 32]);
/// The longest body that the manager under test reads.
pub const MAX_BODY: usize = 512 * 1024;

/// For how long events are handed out.
pub const LEASE: Duration = Duration::from_secs(30);

/// A world without a network: names are looked at elsewhere, by a data plane.
struct NothingStandsInTheWay;

#[async_trait::async_trait]
impl Preflight for NothingStandsInTheWay {
    async fn preflight(&self, name: &DomainPattern) -> Vec<Finding> {
        let detail = format!("{} leads here.", name.shape_key());
        vec![Finding { check: Check::Resolution, verdict: Verdict::Passed, detail }]
    }
}

/// How a node is, as a test says.
#[derive(Default)]
pub struct GaugesOfTest(pub Mutex<NodeSample>);

impl NodeGauges for GaugesOfTest {
    fn sample(&self) -> NodeSample {
        self.0.lock().unwrap().clone()
    }
}

/// One node under test.
pub struct World {
    pub manager: Manager,
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub snapshot: Arc<SnapshotCell>,
    pub executor: Arc<Executor>,
    pub kv: Kv,
    pub docs: Docs,
    pub events: Events,
    pub gauges: Arc<GaugesOfTest>,
    router: Router,
}

pub fn config() -> ManagerConfig {
    ManagerConfig {
        node: NodeConfig { name: "pi".to_owned(), role: NodeRole::Full, address: None },
        public_base_url: "https://pi.example.com".to_owned(),
        admin_hosts: vec![Host::parse_authority("admin.example.net").unwrap()],
        session_ttl: Duration::from_secs(24 * 60 * 60),
        limits: LimitPolicy::default(),
        first_owner: Some(FirstOwner { username: name(OWNER), password: PASSWORD.parse().unwrap() }),
        max_request_body_bytes: MAX_BODY,
        automatic_certificates: true,
        publish_timing: PublishTiming::default(),
        backups: None,
    }
}

pub fn name(text: &str) -> Username {
    text.parse().unwrap()
}

impl World {
    /// A node with the first owner.
    pub async fn start(store: &Store) -> Self {
        Self::start_with(store, config()).await
    }

    pub async fn start_with(store: &Store, config: ManagerConfig) -> Self {
        Self::try_start_with(store, config).await.unwrap()
    }

    /// The same, if the manager starts.
    pub async fn try_start_with(store: &Store, config: ManagerConfig) -> Result<Self, StartError> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let log = ExecutionWriter::start(store.clone(), Arc::clone(&shared_clock), LogPolicy::for_store(store));
        let sizes = ExecutorConfig {
            workers: 2,
            worker_nice: 0,
            app_concurrency: 16,
            queue_capacity: 64,
            program_cache_bytes: 8 << 20,
            max_response_bytes: 1 << 20,
            memory_bytes: 32 << 20,
            total_memory_bytes: 1 << 30,
            inline_threads: 2,
        };
        let snapshot = Arc::new(SnapshotCell::default());
        let events = Events::new(store.clone(), Arc::clone(&shared_clock), EventQuota::default(), LEASE);
        let (clock_of, shown) = (|| Arc::clone(&shared_clock), || Arc::clone(&snapshot));
        let kv = Kv::new(store.clone(), clock_of(), KvQuota::default(), events.clone(), shown());
        let docs = Docs::new(store.clone(), clock_of(), DocQuota::default(), events.clone(), shown());
        let ports = Ports {
            kv: Some(Arc::new(kv.clone())),
            docs: Some(Arc::new(docs.clone())),
            queues: Some(Arc::new(events.clone())),
            ..Ports::default()
        };
        let executor = Arc::new(Executor::start(sizes, Arc::clone(&shared_clock), log.sink(), ports).unwrap());
        let gauges = Arc::<GaugesOfTest>::default();
        let parts = Parts {
            store: store.clone(),
            secret_key: SECRET_KEY,
            clock: shared_clock,
            snapshot: Arc::clone(&snapshot),
            executor: Arc::clone(&executor),
            execution_log: log,
            kv: kv.clone(),
            docs: docs.clone(),
            events: events.clone(),
            certificates: Arc::new(Certificates::new(store.clone(), clock.clone(), &SECRET_KEY)),
            preflight: Arc::new(NothingStandsInTheWay),
            gauges: gauges.clone(),
        };
        let manager = Manager::start(config, parts).await?;
        let router = manager.router();
        Ok(Self { manager, store: store.clone(), clock, snapshot, executor, kv, docs, events, router, gauges })
    }

    /// The store as the command line works on it.
    pub fn audited(&self) -> AuditedStore {
        AuditedStore::new(self.store.clone(), self.clock.clone(), &SECRET_KEY)
    }

    /// The time of the world, as the API writes it.
    pub fn clock_text(&self) -> String {
        self.clock.now().to_string()
    }

    /// Somebody who is not signed in, at a terminal elsewhere, over HTTPS.
    pub fn stranger(&self) -> Client {
        let peer = AdminPeer {
            remote_ip: "192.0.2.7".parse().unwrap(),
            scheme: Scheme::Https,
            authority: "pi.example.com".into(),
            cookies_count: true,
        };
        Client { router: self.router.clone(), clock: Arc::clone(&self.clock), peer, headers: HeaderMap::new() }
    }

    pub async fn owner(&self) -> Client {
        self.log_in(OWNER).await
    }

    pub async fn log_in(&self, username: &str) -> Client {
        let credentials = json!({ "username": username, "password": PASSWORD });
        let session = self.stranger().post("/auth/login", credentials).await.is(200);
        self.stranger().bearer(session["token"].as_str().unwrap())
    }

    /// A user of that role on the instance, signed in.
    pub async fn user(&self, username: &str, role: InstanceRole) -> Client {
        self.clock.advance(Duration::from_millis(1));
        let password = Some(PASSWORD.parse().unwrap());
        picloud_manager::users::create_user(&self.audited(), name(username), role, password).await.unwrap();
        self.log_in(username).await
    }

    /// A member of the instance with that role in the app, signed in.
    pub async fn member(&self, username: &str, app: &Value, role: AppRole) -> Client {
        let client = self.user(username, InstanceRole::Member).await;
        self.join(username, app, role).await;
        client
    }

    pub async fn join(&self, username: &str, app: &Value, role: AppRole) {
        let mut tx = self.store.begin().await.unwrap();
        let (user, _) = users::find_by_username(&mut tx, &name(username)).await.unwrap().unwrap();
        let app_id: AppId = id(app).parse().unwrap();
        let member = Member { app_id, user_id: user.id, role, joined_at: self.clock.now() };
        members::insert(&mut tx, &member).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What the data plane answers: the body of the matched script, or the verdict's name.
    pub async fn fetch(&self, method: &str, url: &str) -> String {
        match self.run(method, url).await {
            Ok(completion) => match completion.response {
                Some(response) => String::from_utf8(response.body.to_vec()).unwrap(),
                None => completion.outcome.to_string(),
            },
            Err(verdict) => verdict.to_owned(),
        }
    }

    async fn run(&self, method: &str, url: &str) -> Result<Completion, &'static str> {
        let snapshot = self.snapshot.load_full();
        let uri: Uri = url.parse().unwrap();
        let method: Method = method.parse().unwrap();
        let host = Host::parse_authority(uri.authority().unwrap().as_str()).unwrap();
        let path = RequestPath::parse(uri.path()).unwrap();
        let (app, host_params, found) = match dispatch(&snapshot, &host, &path, &method) {
            Dispatch::UnknownHost => return Err("unknown_host"),
            Dispatch::App { app, host_params, verdict: RouteVerdict::Matched(found) } => (app, host_params, found),
            Dispatch::App { verdict: RouteVerdict::NoRoute, .. } => return Err("no_route"),
            Dispatch::App { .. } => return Err("other_method"),
        };
        let head = RequestHead {
            method,
            scheme: Scheme::Http,
            host: host.as_str().into(),
            port: None,
            path: uri.path().into(),
            query: uri.query().map(Into::into),
            headers: HeaderMap::new(),
            remote_ip: IpAddr::from([192, 0, 2, 1]),
        };
        let (params, rest) = (found.params, found.rest);
        let request = ScriptRequest { head: Arc::new(head), params, host_params, rest, body: Bytes::new() };
        let invocation = Invocation {
            execution_id: ExecutionId::generate(self.clock.now()),
            app: Arc::clone(app),
            script: Arc::clone(app.script(found.route.script_id).unwrap()),
            input: request.into(),
            origin: Origin::Route(found.route.id),
            timeout: None,
        };
        Ok(self.executor.run(invocation).await)
    }
}

/// Who sends requests, and how.
#[derive(Clone)]
pub struct Client {
    router: Router,
    clock: Arc<ManualClock>,
    pub peer: AdminPeer,
    headers: HeaderMap,
}

impl Client {
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        self
    }

    pub fn if_match(&self, etag: &str) -> Self {
        self.clone().header("if-match", etag)
    }

    pub fn at(mut self, remote_ip: &str) -> Self {
        self.peer.remote_ip = remote_ip.parse().unwrap();
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    /// GET without reading the answer's body, which may never end.
    pub async fn open(&self, path: &str) -> Response<Body> {
        let request = self.request("GET", path).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// GET as often as it takes, until the answer is as it is to be. The clock stands meanwhile.
    pub async fn get_until(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let response = self.open(path).await;
                assert_eq!(response.status(), 200, "{path}");
                let bytes = response.into_body().collect().await.unwrap().to_bytes();
                let answer = serde_json::from_slice(&bytes).unwrap();
                if is_it(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap_or_else(|_| panic!("{path} comes to be so"))
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_json("POST", path, body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send_json("PATCH", path, body.to_string()).await
    }

    pub async fn send_json(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = self.request(method, path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A request with this client's headers to a path below the API's root.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        self.request_to_root(method, &format!("/api/v1/admin{path}"))
    }

    pub fn request_to_root(&self, method: &str, path: &str) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(path);
        request.headers_mut().unwrap().extend(self.headers.clone());
        request.extension(self.peer.clone())
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let bytes = match parts.headers.get(CONTENT_TYPE).is_some_and(|media_type| media_type == "text/event-stream") {
            // Of what never ends by itself, the beginning.
            true => body.frame().await.unwrap().unwrap().into_data().unwrap(),
            false => body.collect().await.unwrap().to_bytes(),
        };
        // Things made one after the other are listed so: ids sort by the millisecond.
        self.clock.advance(Duration::from_millis(1));
        let answer = Answer { status: parts.status, headers: parts.headers, bytes };
        crate::documented::check(&method, &path, &answer);
        answer
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// The document of a problem that must have this status and code, and is whole.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let document = self.json();
        assert_eq!(document["code"], code, "{document}");
        assert_eq!(document["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {document}");
        }
        document
    }

    /// The names of the fields that a 422 complains of.
    #[track_caller]
    pub fn invalid_fields(self) -> Vec<String> {
        let document = self.problem(422, "invalid");
        let errors = document["errors"].as_array().unwrap();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub fn etag(&self) -> String {
        self.header("etag").to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The `id` of a thing that the API returned.
#[track_caller]
pub fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id in {thing}"))
}

/// What tests make again and again.
impl Client {
    pub async fn make_app(&self, slug: &str) -> Value {
        self.post("/apps", json!({ "slug": slug, "name": slug })).await.is(201)
    }

    pub async fn make_domain(&self, app: &Value, pattern: &str) -> Value {
        self.post(&format!("/apps/{}/domains", id(app)), json!({ "pattern": pattern })).await.is(201)
    }

    pub async fn make_endpoint(&self, app: &Value, name: &str, source: &str) -> Value {
        self.make_script(app, name, "endpoint", source).await
    }

    pub async fn make_module(&self, app: &Value, name: &str, source: &str) -> Value {
        self.make_script(app, name, "module", source).await
    }

    async fn make_script(&self, app: &Value, name: &str, kind: &str, source: &str) -> Value {
        let body = json!({ "app_id": id(app), "name": name, "kind": kind, "source": source });
        self.post("/scripts", body).await.is(201)
    }

    /// A trigger of that queue whose script fails, and which gives up at once; its script is called as the queue is.
    pub async fn make_failing(&self, app: &Value, queue: &str) -> Value {
        let script = self.make_endpoint(app, queue, "throw \"it cannot be done\"").await;
        let body =
            json!({ "script_id": id(&script), "source": "queue", "config": { "queue": queue }, "max_attempts": 1 });
        self.post(&format!("/apps/{}/triggers", id(app)), body).await.is(201)
    }

    /// Sends a message to a queue; its id.
    pub async fn send_message(&self, slug: &str, queue: &str, payload: Value) -> String {
        let made = self.post(&format!("/apps/{slug}/queues/{queue}"), json!({ "payload": payload })).await.is(202);
        made["event_id"].as_str().unwrap().to_owned()
    }

    /// The dead letters of an app that are not resolved, the newest first, once there are so many.
    pub async fn until_dead(&self, slug: &str, count: usize) -> Vec<Value> {
        let letters = |page: &Value| page["items"].as_array().unwrap().clone();
        let path = format!("/apps/{slug}/dead-letters?limit=200");
        let page = self.get_until(&path, |page| letters(page).len() == count).await;
        letters(&page)
    }

    /// A GET route for any host, param where the path has one.
    pub async fn make_route(&self, script: &Value, path: &str) -> Value {
        let kind = if path.contains("/:") { "param" } else { "exact" };
        let body = json!({ "host_kind": "any", "path_kind": kind, "path": path, "method": "GET" });
        self.post(&format!("/scripts/{}/routes", id(script)), body).await.is(201)
    }
}
