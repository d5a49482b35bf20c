//! What the targets share: an executor that runs one script at a time, within limits that leave thousands of runs a second.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use picloud_executor::port::Ports;
use picloud_executor::{Completion, Executor, ExecutorConfig, Invocation, THREAD_STACK_BYTES};
use picloud_shared::app::App;
use picloud_shared::clock::{SystemClock, Timestamp};
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits, ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, ScriptRow};
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// What a run may be over its memory by the copy that it is stopped after.
const OVERSHOOT_BYTES: usize = 8 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_millis(500);
/// Far more than the timeout and compiling the longest source take together, on a busy machine too.
const LATEST: Duration = Duration::from_secs(5);

struct Dropped;

impl ExecutionSink for Dropped {
    fn record(&self, _record: ExecutionRecord) {}
}

struct World {
    executor: Arc<Executor>,
    runtime: Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let config = ExecutorConfig {
        workers: 2,
        worker_nice: 0,
        app_concurrency: 8,
        queue_capacity: 8,
        program_cache_bytes: 1024 * 1024,
        max_response_bytes: 256 * 1024,
        memory_bytes: MEMORY_BYTES,
        total_memory_bytes: 16 * MEMORY_BYTES,
        inline_threads: 1,
    };
    let executor = Executor::start(config, Arc::new(SystemClock), Arc::new(Dropped), Ports::default()).expect("threads can be started");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("a thread can be started");
    World { executor: Arc::new(executor), runtime }
});

/// Runs a script for a `POST` with that body of JSON, and holds the run to what every run is held to.
pub fn run(source: ScriptSource, body: Bytes) -> Completion {
    let limits = Limits { max_operations: 20_000, timeout: TIMEOUT, ..LimitPolicy::default().defaults };
    let app = published(source, limits);
    let script = Arc::clone(app.scripts().next().expect("the app has one script"));
    let request = request(body);
    let invocation =
        Invocation { execution_id: ExecutionId::generate(NOW), app, script, input: request.into(), origin: Origin::ById, timeout: None };
    let executor = Arc::clone(&WORLD.executor);
    let begun = Instant::now();
    // Polled by the runtime, whose stacks are large enough.
    let task = WORLD.runtime.spawn(async move { executor.run(invocation).await });
    let completion = WORLD.runtime.block_on(task).expect("no run panics");
    assert!(begun.elapsed() < LATEST, "{:?}", begun.elapsed());
    assert!(completion.peak_memory <= MEMORY_BYTES + OVERSHOOT_BYTES, "{}", completion.peak_memory);
    assert_eq!(completion.response.is_some(), completion.outcome == Outcome::Success);
    assert_eq!(completion.failure.is_none(), completion.outcome == Outcome::Success);
    if let Some(failure) = &completion.failure {
        assert!(failure.message.len() <= 8 * 1024, "{}", failure.message.len());
    }
    if let Some(response) = &completion.response {
        assert!((200..600).contains(&response.status.as_u16()), "{}", response.status);
    }
    completion
}

fn published(source: ScriptSource, limits: Limits) -> Arc<PublishedApp> {
    let row = ScriptRow {
        id: ScriptId::generate(NOW),
        name: "main".parse().expect("a valid name"),
        kind: ScriptKind::Endpoint,
        version: 1,
        source,
        imports: Vec::new(),
        limits,
        execute_access: ExecuteAccess::Open,
    };
    let app = App { id: AppId::generate(NOW), slug: "fuzz".parse().expect("a valid slug") };
    Arc::new(PublishedApp::new(app, Vec::new(), vec![row], Vec::new()).0)
}

fn request(body: Bytes) -> ScriptRequest {
    let head = RequestHead {
        method: Method::POST,
        scheme: Scheme::Https,
        host: "localhost".into(),
        port: None,
        path: "/a/b".into(),
        query: Some("q=1&q=2".into()),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        remote_ip: [192, 0, 2, 7].into(),
    };
    ScriptRequest {
        head: Arc::new(head),
        params: vec![("name".into(), "ada".into())],
        host_params: Vec::new(),
        rest: None,
        body,
    }
}
