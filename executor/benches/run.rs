//! Nanoseconds of one run from its call to its record, on one thread: `cargo bench -p picloud-executor [-- WORD]`, where
//! WORD picks the scripts whose name holds it.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench fails by panicking and prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
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

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const ROUNDS: usize = 5;
const FOR: Duration = Duration::from_millis(300);

const SCRIPTS: [(&str, &str); 8] = [
    ("empty", ""),
    ("string", "\"Hello, world!\""),
    ("param", "#{hello: ctx.request.params.name}"),
    ("echo 1 KB of JSON", "ctx.request.body"),
    ("built response", "json(#{a: 1}).header(\"x-a\", \"1\")"),
    ("header and log", "log::info(ctx.request.headers[\"content-type\"]);"),
    ("closure that captures", "let n = 2; [1, 2, 3].map(|x| x * n)"),
    ("10,000 additions", "let n = 0; for i in 0..10000 { n += i; } n"),
];

struct Dropped;

impl ExecutionSink for Dropped {
    fn record(&self, record: ExecutionRecord) {
        black_box(record);
    }
}

fn app(source: &str) -> Arc<PublishedApp> {
    let row = ScriptRow {
        id: ScriptId::generate(NOW),
        name: "main".parse().expect("a valid name"),
        kind: ScriptKind::Endpoint,
        version: 1,
        source: source.parse().expect("a short source"),
        imports: Vec::new(),
        limits: LimitPolicy::default().defaults,
        execute_access: ExecuteAccess::Open,
    };
    let app = App { id: AppId::generate(NOW), slug: "bench".parse().expect("a valid slug") };
    Arc::new(PublishedApp::new(app, Vec::new(), vec![row], Vec::new()).0)
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

/// The best of the rounds, as others disturb a round but never help it.
async fn measure(executor: &Executor, invocation: &Invocation) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (begun, mut runs) = (Instant::now(), 0_u32);
        while begun.elapsed() < FOR {
            for _ in 0..10 {
                black_box(executor.run(invocation.clone()).await);
            }
            runs += 10;
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / f64::from(runs));
    }
    best
}

fn main() {
    let config = ExecutorConfig {
        workers: 2,
        app_concurrency: 8,
        queue_capacity: 16,
        program_cache_bytes: 16 * 1024 * 1024,
        max_response_bytes: 1024 * 1024,
    };
    let executor = Executor::start(config, Arc::new(SystemClock), Arc::new(Dropped)).expect("threads can be started");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let word = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let task = runtime.spawn(async move {
        for (name, source) in SCRIPTS.into_iter().filter(|(name, _)| name.contains(&word)) {
            let app = app(source);
            let script = Arc::clone(app.scripts().next().expect("the app has one script"));
            let execution_id = ExecutionId::generate(NOW);
            let invocation = Invocation { execution_id, app, script, request: request(), origin: Origin::ById };
            println!("{name:24} {:9.0} ns", measure(&executor, &invocation).await);
        }
    });
    runtime.block_on(task).expect("no run panics");
}
