//! Hostile and good scripts side by side for a long time: `SOAK_SECONDS=600 cargo run --release -p picloud-executor --example
//! soak`, or `make soak`. It fails when a good script does not answer, or when the process holds more memory in the last
//! sixth of the time than in the second. Scripts whose closures hold themselves lose memory for ever, which the executor counts and
//! bounds; they take part in the first sixth alone, so that whatever else stays is seen.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it is a tool, and tells people"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use picloud_executor::port::Ports;
use picloud_executor::{Executor, ExecutorConfig, Invocation, THREAD_STACK_BYTES};
use picloud_shared::app::App;
use picloud_shared::clock::{SystemClock, Timestamp};
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits, ScriptKind};
use picloud_shared::snapshot::{PublishedApp, ScriptRow};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// What the process may hold more at its end, of 128 MiB that its four workers may use at any time.
const SLACK_BYTES: u64 = 8 * 1024 * 1024;
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
const GOOD: &str = r#"
    let total = 0;
    for item in [1, 2, 3] { total += item; }
    json(#{ total: total, names: ["a", "b"].map(|name| name + total) }).header("x-a", "1")
"#;

struct Dropped;

impl ExecutionSink for Dropped {
    fn record(&self, _record: ExecutionRecord) {}
}

#[derive(Default)]
struct Counts {
    good: AtomicU64,
    rejected: AtomicU64,
    hostile: AtomicU64,
    slowest_good_us: AtomicU64,
}

fn published(source: &str, limits: Limits) -> Arc<PublishedApp> {
    let row = ScriptRow {
        id: ScriptId::generate(NOW),
        name: "main".parse().expect("a valid name"),
        kind: ScriptKind::Endpoint,
        version: 1,
        source: source.parse().expect("a short source"),
        imports: Vec::new(),
        limits,
        execute_access: ExecuteAccess::Open,
    };
    let app = App { id: AppId::generate(NOW), slug: "soak".parse().expect("a valid slug") };
    Arc::new(PublishedApp::new(app, Vec::new(), vec![row], Vec::new()).0)
}

fn call(app: &Arc<PublishedApp>) -> Invocation {
    let head = RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        host: "localhost".into(),
        port: None,
        path: "/".into(),
        query: None,
        headers: HeaderMap::new(),
        remote_ip: [127, 0, 0, 1].into(),
    };
    let request = ScriptRequest {
        head: Arc::new(head),
        params: Vec::new(),
        host_params: Vec::new(),
        rest: None,
        body: Bytes::new(),
    };
    let script = Arc::clone(app.scripts().next().expect("the app has one script"));
    Invocation {
        execution_id: ExecutionId::generate(NOW),
        app: Arc::clone(app),
        script,
        input: request.into(),
        origin: Origin::ById,
        timeout: None,
    }
}

fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("the corpus is there").map(|entry| entry.expect("it can be read").path()).collect()
    };
    let paths = list(&root).into_iter().flat_map(|topic| list(&topic));
    paths.map(|path| fs::read_to_string(path).expect("it can be read")).collect()
}

/// Bytes of memory that the process holds.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a size");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("it is a number") * 1024
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// A script of the corpus.
struct Hostile {
    app: Arc<PublishedApp>,
    /// Until when it takes part.
    until: Instant,
}

async fn hostile(executor: Arc<Executor>, scripts: Arc<Vec<Hostile>>, counts: Arc<Counts>, end: Instant) {
    while Instant::now() < end {
        let next = counts.hostile.fetch_add(1, Ordering::Relaxed) as usize;
        let Hostile { app, until } = &scripts[next % scripts.len()];
        if Instant::now() < *until {
            executor.run(call(app)).await;
        }
    }
}

/// Whether a run of it loses memory for ever.
async fn loses(executor: &Executor, app: &Arc<PublishedApp>) -> bool {
    let before = executor.load().lost_bytes;
    executor.run(call(app)).await;
    executor.load().lost_bytes > before
}

async fn good(executor: Arc<Executor>, app: Arc<PublishedApp>, counts: Arc<Counts>, end: Instant) {
    while Instant::now() < end {
        let begun = Instant::now();
        let completion = executor.run(call(&app)).await;
        let status = completion.response.map(|response| response.status);
        match completion.outcome {
            Outcome::Rejected => counts.rejected.fetch_add(1, Ordering::Relaxed),
            _ => counts.good.fetch_add(1, Ordering::Relaxed),
        };
        assert!(completion.outcome == Outcome::Rejected || status == Some(StatusCode::OK), "{:?}", completion.failure);
        counts.slowest_good_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn main() {
    let seconds = env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let config = ExecutorConfig {
        workers: 4,
        worker_nice: 0,
        app_concurrency: 16,
        queue_capacity: 256,
        program_cache_bytes: 64 * 1024 * 1024,
        memory_bytes: 32 * 1024 * 1024,
        total_memory_bytes: 256 * 1024 * 1024,
        inline_threads: 2,
        max_response_bytes: 4 * 1024 * 1024,
    };
    let executor = Executor::start(config, Arc::new(SystemClock), Arc::new(Dropped), Ports::default())
        .expect("threads can be started");
    let executor = Arc::new(executor);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("threads can be started");
    let limits = Limits { timeout: Duration::from_millis(300), ..LimitPolicy::default().defaults };
    let scripts = corpus().iter().map(|source| published(source, limits)).collect::<Vec<_>>();
    let losers: Vec<bool> = scripts.iter().map(|app| runtime.block_on(loses(&executor, app))).collect();
    let counts = Arc::new(Counts::default());
    let time = Duration::from_secs(seconds);
    let (warm, end) = (Instant::now() + time / 6, Instant::now() + time);
    let until = |loses| if loses { warm } else { end };
    let scripts = scripts.into_iter().zip(losers).map(|(app, loses)| Hostile { app, until: until(loses) });
    let scripts: Arc<Vec<_>> = Arc::new(scripts.collect());
    let tasks: Vec<_> = (0..6)
        .map(|_| runtime.spawn(hostile(Arc::clone(&executor), Arc::clone(&scripts), Arc::clone(&counts), end)))
        .chain((0..2).map(|_| {
            let app = published(GOOD, LimitPolicy::default().defaults);
            runtime.spawn(good(Arc::clone(&executor), app, Arc::clone(&counts), end))
        }))
        .collect();
    let mut samples = Vec::new();
    while Instant::now() < end {
        std::thread::sleep(SAMPLE_EVERY);
        samples.push(resident());
    }
    for task in tasks {
        runtime.block_on(task).expect("no good script is refused its answer");
    }
    // By the second sixth every script of the corpus had its turn, and each thread's allocator what it ever needs.
    let sixth = (samples.len() / 6).max(1);
    let warm = median(&samples[sixth.min(samples.len() - 1)..][..sixth]);
    let last = median(&samples[samples.len() - sixth..]);
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!(
        "{seconds} s: {} hostile runs, {} good ones ({} rejected, slowest {} us), {} MiB lost by closures; resident (medians of a sixth of the time) {} MiB warm, {} MiB at the end",
        count(&counts.hostile),
        count(&counts.good),
        count(&counts.rejected),
        count(&counts.slowest_good_us),
        executor.load().lost_bytes >> 20,
        warm >> 20,
        last >> 20,
    );
    assert!(last <= warm + SLACK_BYTES, "the process holds more than when it was warm");
}
