//! What one run costs from its call to its record, and how the scripts that only compute compare with Rhai alone:
//! `cargo bench -p picloud-executor [-- WORD]`, where WORD picks the scripts whose name holds it.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

mod ratio;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use picloud_executor::port::Ports;
use picloud_executor::{Executor, ExecutorConfig, Invocation, THREAD_STACK_BYTES};
use picloud_shared::app::App;
use picloud_shared::clock::{SystemClock, Timestamp};
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, ScriptKind};
use picloud_shared::snapshot::{PublishedApp, ScriptRow};
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

const ADDITIONS: &str = "let n = 0; for i in 0..10000 { n += i; } n";
const FIB: &str = "fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } } fib(20)";
const MODULE: &str = "fn double(n) { n * 2 }";

const SCRIPTS: [(&str, &str); 10] = [
    ("empty", ""),
    ("string", "\"Hello, world!\""),
    ("param", "#{hello: ctx.request.params.name}"),
    ("echo of 1 KB of JSON", "ctx.request.body"),
    ("built response", "json(#{a: 1}).header(\"x-a\", \"1\")"),
    ("header and log", "log::info(ctx.request.headers[\"content-type\"]);"),
    ("import", "import \"module\" as m; m::double(21)"),
    ("closure that captures", "let n = 2; [1, 2, 3].map(|x| x * n)"),
    ("10,000 additions", ADDITIONS),
    ("fib(20)", FIB),
];

struct Dropped;

impl ExecutionSink for Dropped {
    fn record(&self, record: ExecutionRecord) {
        black_box(record);
    }
}

fn app(source: &str) -> Arc<PublishedApp> {
    let row = |name: &str, kind, source: &str| ScriptRow {
        id: ScriptId::generate(NOW),
        name: name.parse().expect("a valid name"),
        kind,
        version: 1,
        source: source.parse().expect("a short source"),
        imports: Vec::new(),
        limits: LimitPolicy::default().defaults,
        execute_access: ExecuteAccess::Open,
    };
    let imports = if source.contains("import") { vec!["module".parse().expect("a valid name")] } else { Vec::new() };
    let main = ScriptRow { imports, ..row("main", ScriptKind::Endpoint, source) };
    let rows = vec![main, row("module", ScriptKind::Module, MODULE)];
    let app = App { id: AppId::generate(NOW), slug: "bench".parse().expect("a valid slug") };
    Arc::new(PublishedApp::new(app, Vec::new(), rows, Vec::new()).0)
}

fn request() -> ScriptRequest {
    let items: Vec<String> =
        (0..16).map(|n| format!(r#"{{"id":{n},"name":"item number {n}","price":{n}.5,"tags":["a","b"]}}"#)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let head = RequestHead {
        method: Method::POST,
        scheme: Scheme::Http,
        host: "localhost".into(),
        port: Some(8080),
        path: "/hello/ada".into(),
        query: None,
        headers,
        remote_ip: [127, 0, 0, 1].into(),
    };
    ScriptRequest {
        head: Arc::new(head),
        params: vec![("name".into(), "ada".into())],
        host_params: Vec::new(),
        rest: None,
        body: Bytes::from(format!("[{}]", items.join(","))),
    }
}

/// An executor and a runtime that polls it.
struct World {
    executor: Arc<Executor>,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let config = ExecutorConfig {
            workers: 2,
            worker_nice: 0,
            app_concurrency: 8,
            queue_capacity: 16,
            program_cache_bytes: 16 * 1024 * 1024,
            memory_bytes: 32 * 1024 * 1024,
            total_memory_bytes: 1024 * 1024 * 1024,
            inline_threads: 2,
            max_response_bytes: 1024 * 1024,
        };
        let executor = Executor::start(config, Arc::new(SystemClock), Arc::new(Dropped), Ports::default())
            .expect("threads can be started");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_stack_size(THREAD_STACK_BYTES)
            .enable_all()
            .build()
            .expect("a thread can be started");
        Self { executor: Arc::new(executor), runtime }
    }

    /// Within a task, since what polls a run needs a stack of [`THREAD_STACK_BYTES`].
    fn time(&self, invocation: &Invocation, times: u64) -> Duration {
        let (executor, invocation) = (Arc::clone(&self.executor), invocation.clone());
        let task = self.runtime.spawn(async move {
            let begun = Instant::now();
            for _ in 0..times {
                black_box(executor.run(invocation.clone()).await);
            }
            begun.elapsed()
        });
        self.runtime.block_on(task).expect("no run panics")
    }
}

fn invocation(source: &str) -> Invocation {
    let app = app(source);
    let script = app.scripts().find(|script| script.row.kind == ScriptKind::Endpoint).map(Arc::clone);
    let script = script.expect("the app has one endpoint");
    Invocation {
        execution_id: ExecutionId::generate(NOW),
        app,
        script,
        input: request().into(),
        origin: Origin::ById,
        timeout: None,
    }
}

fn runs(criterion: &mut Criterion) {
    let world = World::new();
    let mut group = criterion.benchmark_group("run");
    for (name, source) in SCRIPTS {
        let invocation = invocation(source);
        group.bench_function(name, |bencher| bencher.iter_custom(|times| world.time(&invocation, times)));
    }
    group.finish();
}

criterion_group!(benches, runs, ratio::to_the_engine_alone);
criterion_main!(benches);
