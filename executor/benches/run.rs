//! What one run costs from its call to its record, on one thread, and what Rhai alone takes for the two scripts that only
//! compute: `cargo bench -p picloud-executor [-- WORD]`, where WORD picks the scripts whose name holds it.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use picloud_executor::{Executor, ExecutorConfig, Invocation, THREAD_STACK_BYTES};
use picloud_shared::app::App;
use picloud_shared::clock::{SystemClock, Timestamp};
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, ScriptKind};
use picloud_shared::snapshot::{PublishedApp, ScriptRow};
use rhai::packages::{Package, StandardPackage};
use rhai::{Engine, Scope};
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
        authority: "localhost:8080".into(),
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

fn runs(criterion: &mut Criterion) {
    let config = ExecutorConfig {
        workers: 2,
        app_concurrency: 8,
        queue_capacity: 16,
        program_cache_bytes: 16 * 1024 * 1024,
        memory_bytes: 32 * 1024 * 1024,
        max_response_bytes: 1024 * 1024,
    };
    let executor = Executor::start(config, Arc::new(SystemClock), Arc::new(Dropped)).expect("threads can be started");
    let executor = Arc::new(executor);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let mut group = criterion.benchmark_group("run");
    for (name, source) in SCRIPTS {
        let app = app(source);
        let script = app.scripts().find(|script| script.row.kind == ScriptKind::Endpoint).map(Arc::clone);
        let script = script.expect("the app has one endpoint");
        let execution_id = ExecutionId::generate(NOW);
        let invocation = Invocation { execution_id, app, script, request: request(), origin: Origin::ById };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| time(&runtime, &executor, &invocation, times));
        });
    }
    group.finish();
}

/// Within a task, since what polls a run needs a stack of [`THREAD_STACK_BYTES`].
fn time(runtime: &Runtime, executor: &Arc<Executor>, invocation: &Invocation, times: u64) -> Duration {
    let (executor, invocation) = (Arc::clone(executor), invocation.clone());
    let task = runtime.spawn(async move {
        let begun = Instant::now();
        for _ in 0..times {
            black_box(executor.run(invocation.clone()).await);
        }
        begun.elapsed()
    });
    runtime.block_on(task).expect("no run panics")
}

/// Rhai as it comes, without limits: what budget P6 compares with.
fn engine_alone(criterion: &mut Criterion) {
    let mut engine = Engine::new_raw();
    StandardPackage::new().register_into_engine(&mut engine);
    let mut group = criterion.benchmark_group("engine alone");
    for (name, source) in [("10,000 additions", ADDITIONS), ("fib(20)", FIB)] {
        let ast = engine.compile(source).expect("the source compiles");
        group.bench_function(name, |bencher| {
            bencher.iter(|| engine.eval_ast_with_scope::<i64>(&mut Scope::new(), &ast).expect("the script runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, runs, engine_alone);
criterion_main!(benches);
