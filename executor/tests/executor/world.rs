//! An executor with its runtime and its records, and short ways to publish scripts and call them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use picloud_executor::port::Ports;
use picloud_executor::{
    CheckError, CheckedSource, Completion, Executor, ExecutorConfig, Invocation, ModuleSources, SourceError,
    THREAD_STACK_BYTES,
};
use picloud_shared::app::App;
use picloud_shared::clock::{ManualClock, Timestamp};
use picloud_shared::domain_pattern::Authority;
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits, ScriptKind, ScriptSource};
use picloud_shared::secret::SecretValue;
use picloud_shared::snapshot::{PublishedApp, PublishedScript, PublishedSecret, ScriptRow};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

#[derive(Default)]
pub struct Records(Mutex<Vec<ExecutionRecord>>);

impl ExecutionSink for Records {
    fn record(&self, record: ExecutionRecord) {
        self.0.lock().unwrap().push(record);
    }
}

pub struct World {
    pub runtime: Runtime,
    pub executor: Arc<Executor>,
    pub clock: Arc<ManualClock>,
    records: Arc<Records>,
}

pub fn config() -> ExecutorConfig {
    ExecutorConfig {
        workers: 2,
        worker_nice: 0,
        app_concurrency: 8,
        queue_capacity: 16,
        program_cache_bytes: 16 * 1024 * 1024,
        max_response_bytes: 1024 * 1024,
        memory_bytes: 32 * 1024 * 1024,
        total_memory_bytes: 1024 * 1024 * 1024,
        inline_threads: 2,
    }
}

pub fn limits() -> Limits {
    LimitPolicy::default().defaults
}

/// Limits that only the clock ends.
pub fn endless(timeout: Duration) -> Limits {
    Limits { max_operations: u64::MAX, timeout, ..limits() }
}

/// A script runs on the thread that polls it, so nothing is polled on a test's own thread.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: ExecutorConfig) -> Self {
        Self::reaching(runtime(), config, Arc::new(ManualClock::new(NOW)), Ports::default())
    }

    /// One whose scripts reach those ports.
    pub fn reaching(runtime: Runtime, config: ExecutorConfig, clock: Arc<ManualClock>, ports: Ports) -> Self {
        let records = Arc::new(Records::default());
        let executor = Executor::start(config, clock.clone(), records.clone(), ports).unwrap();
        Self { runtime, executor: Arc::new(executor), clock, records }
    }

    pub fn start(&self, invocation: Invocation) -> JoinHandle<Completion> {
        let executor = Arc::clone(&self.executor);
        self.runtime.spawn(async move { executor.run(invocation).await })
    }

    pub fn wait<T>(&self, task: JoinHandle<T>) -> T {
        self.runtime.block_on(task).unwrap()
    }

    pub fn run(&self, invocation: Invocation) -> Completion {
        self.wait(self.start(invocation))
    }

    /// Runs one script of an app of its own.
    pub fn eval(&self, source: &str) -> Completion {
        self.eval_within(source, limits())
    }

    pub fn eval_within(&self, source: &str, limits: Limits) -> Completion {
        self.run(publish(&[("main", source)], limits).call("main"))
    }

    pub fn check(
        &self,
        name: &str,
        kind: ScriptKind,
        source: &str,
        others: &[(&str, ScriptKind, &str)],
    ) -> Result<CheckedSource, SourceError> {
        self.check_within(name, kind, source, others, limits())
    }

    pub fn check_within(
        &self,
        name: &str,
        kind: ScriptKind,
        source: &str,
        others: &[(&str, ScriptKind, &str)],
        limits: Limits,
    ) -> Result<CheckedSource, SourceError> {
        let executor = Arc::clone(&self.executor);
        let app = AppId::generate(NOW);
        let (name, source) = (name.parse().unwrap(), source.parse().unwrap());
        let others: ModuleSources = others
            .iter()
            .map(|(name, kind, source)| (name.parse().unwrap(), (*kind, source.parse().unwrap())))
            .collect();
        let others = Arc::new(others);
        let checked = async move { executor.check(app, name, kind, source, limits, others).await };
        self.wait(self.runtime.spawn(checked)).map_err(|error| match error {
            CheckError::Source(error) => error,
            CheckError::Busy => panic!("{error}"),
        })
    }

    pub fn records(&self) -> Vec<ExecutionRecord> {
        self.records.0.lock().unwrap().clone()
    }
}

#[derive(Clone)]
pub struct Published(pub Arc<PublishedApp>);

/// Publishes an app whose first script is its endpoint and all others are modules.
pub fn publish(scripts: &[(&str, &str)], limits: Limits) -> Published {
    publish_each(&scripts.iter().map(|(name, source)| (*name, *source, limits)).collect::<Vec<_>>())
}

/// The same, with the limits of each.
pub fn publish_each(scripts: &[(&str, &str, Limits)]) -> Published {
    let kind = |place| if place == 0 { ScriptKind::Endpoint } else { ScriptKind::Module };
    publish_kinds(scripts, kind)
}

/// Publishes an app of endpoints, but for modules, whose names begin with `module`.
pub fn publish_endpoints(scripts: &[(&str, &str, Limits)]) -> Published {
    let is_module = |place: usize| scripts[place].0.starts_with("module");
    publish_kinds(scripts, |place| if is_module(place) { ScriptKind::Module } else { ScriptKind::Endpoint })
}

fn publish_kinds(scripts: &[(&str, &str, Limits)], kind: impl Fn(usize) -> ScriptKind) -> Published {
    let names: Vec<ScriptName> = scripts.iter().map(|(name, ..)| name.parse().unwrap()).collect();
    let rows = scripts
        .iter()
        .enumerate()
        .map(|(place, (_, source, limits))| ScriptRow {
            id: ScriptId::generate(NOW),
            name: names[place].clone(),
            kind: kind(place),
            version: 3,
            source: source.parse::<ScriptSource>().unwrap(),
            imports: names.iter().filter(|name| source.contains(&format!("\"{name}\""))).cloned().collect(),
            limits: *limits,
            execute_access: ExecuteAccess::Open,
        })
        .collect();
    let app = App { id: AppId::generate(NOW), slug: "shop".parse().unwrap() };
    let (app, _astray) = PublishedApp::new(app, Vec::new(), rows, Vec::new());
    Published(Arc::new(app))
}

impl Published {
    /// The same app with these settings and secrets; no value is that of a secret that cannot be read.
    pub fn with_settings(self, env: &BTreeMap<String, String>, secrets: &BTreeMap<String, Option<String>>) -> Self {
        let app = Arc::into_inner(self.0).expect("nobody has the app yet");
        let env = env.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let secret = |value: &Option<String>| PublishedSecret {
            revision: 1,
            value: value.clone().map(|value| Arc::new(SecretValue::try_from(value).ok().unwrap())),
        };
        let secrets = secrets.iter().map(|(name, value)| (name.parse().unwrap(), secret(value))).collect();
        Self(Arc::new(app.with_settings(env, secrets)))
    }

    pub fn script(&self, name: &str) -> Arc<PublishedScript> {
        Arc::clone(self.0.scripts().find(|script| script.row.name.as_str() == name).unwrap())
    }

    pub fn call(&self, name: &str) -> Invocation {
        self.call_with(name, request("GET", "https://shop.example.com/"))
    }

    pub fn call_with(&self, name: &str, request: ScriptRequest) -> Invocation {
        Invocation {
            execution_id: ExecutionId::generate(NOW),
            app: Arc::clone(&self.0),
            script: self.script(name),
            input: request.into(),
            origin: Origin::ById,
            timeout: None,
        }
    }
}

pub fn request(method: &str, url: &str) -> ScriptRequest {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    let authority = Authority::parse(authority).unwrap();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let head = RequestHead {
        method: method.parse::<Method>().unwrap(),
        scheme: if scheme == "https" { Scheme::Https } else { Scheme::Http },
        host: authority.host.as_str().into(),
        port: authority.port,
        path: path.into(),
        query: query.map(Into::into),
        headers: HeaderMap::new(),
        remote_ip: "192.0.2.7".parse().unwrap(),
    };
    ScriptRequest { head: Arc::new(head), params: Vec::new(), host_params: Vec::new(), rest: None, body: Bytes::new() }
}

pub fn with_body(mut request: ScriptRequest, content_type: &str, body: impl Into<Bytes>) -> ScriptRequest {
    let mut head = RequestHead::clone(&request.head);
    head.headers.insert("content-type", content_type.parse().unwrap());
    request.head = Arc::new(head);
    request.body = body.into();
    request
}

pub fn text(completion: &Completion) -> &str {
    match &completion.response {
        Some(response) => str::from_utf8(&response.body).unwrap(),
        None => panic!("no response: {:?}", completion.failure),
    }
}
