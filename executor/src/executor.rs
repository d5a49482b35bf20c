//! The executor's face: check a source, run a script.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::execution::{
    ExecutionFailure, ExecutionRecord, ExecutionSink, LogLine, Origin, Outcome, RecordedResponse, recorded_body,
};
use picloud_shared::id::ExecutionId;
use picloud_shared::name::ScriptName;
use picloud_shared::request::ScriptRequest;
use picloud_shared::script::{Limits, ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::compiled::{self, Program};
use crate::engine::Engines;
use crate::failure::Failed;
use crate::pool::{Pool, PoolSize};
use crate::programs::Programs;
use crate::run::{Ended, Surroundings, Tier};

/// Sizes of the executor; the defaults suit a Pi with 4 GB.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Threads of the worker tier.
    pub workers: usize,
    /// Executions of one app that may run or wait at once; more are rejected.
    pub app_concurrency: usize,
    /// Executions of all apps that may wait for a worker; more are rejected.
    pub queue_capacity: usize,
    /// Bytes of compiled programs that are kept.
    pub program_cache_bytes: usize,
    /// Bytes of one response's body; a longer one is outcome `budget_exceeded`.
    pub max_response_bytes: usize,
}

/// One run to be done.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The id that the caller sees in `x-execution-id`.
    pub execution_id: ExecutionId,
    /// The app as the request's snapshot has it; modules come from here.
    pub app: Arc<PublishedApp>,
    /// The script to run.
    pub script: Arc<PublishedScript>,
    /// The request to be answered.
    pub request: ScriptRequest,
    /// What started it.
    pub origin: Origin,
}

/// What a script answered.
#[derive(Debug, Clone)]
pub struct ScriptResponse {
    /// From 200 to 599.
    pub status: StatusCode,
    /// Headers, `content-type` among them where the body has one; never a hop-by-hop header or `content-length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The id of the invocation.
    pub execution_id: ExecutionId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the script answered: exactly when the outcome is `success`.
    pub response: Option<ScriptResponse>,
    /// Why it failed: exactly when the outcome is another.
    pub failure: Option<ExecutionFailure>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// From admission to its end.
    pub duration: Duration,
}

/// The modules of an app, by name, that a source is checked against; kinds included, so that the import of an
/// endpoint can be told from a missing one.
pub type ModuleSources = HashMap<ScriptName, (ScriptKind, ScriptSource)>;

/// What a check found in a source that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSource {
    /// The modules that it imports, each once, in order of appearance.
    pub imports: Vec<ScriptName>,
}

/// Why a source cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What is wrong, naming the chain of imports where one is involved.
    pub message: String,
    /// 1-based line, where known.
    pub line: Option<u32>,
    /// 1-based column, where known.
    pub column: Option<u32>,
}

/// Virtual memory that the stack of every thread needs that polls [`Executor::run`], since short scripts run right there.
/// Whoever builds the runtime gives it to `thread_stack_size`, and spawns what calls it: `Runtime::block_on` polls on its
/// caller's stack. A smaller stack can be overflowed by a script, which ends the process. The inline tier's 5,000 operations nest some 10 MiB deep in a debug build.
pub const THREAD_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Threads that compile. Two, so that the source that takes longest to compile does not hold up all others.
const COMPILERS: usize = 2;

/// Compiles and runs scripts. One for the process; cheap to share behind an [`Arc`].
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    engines: Arc<Engines>,
    programs: Programs,
    compilers: Pool,
    workers: Pool,
    surroundings: Arc<Surroundings>,
    sink: Arc<dyn ExecutionSink>,
    /// Holds a token for each run; closed once the executor drains.
    running: TaskTracker,
}

/// When a run was admitted, by both clocks.
#[derive(Clone, Copy)]
struct Admission {
    at: Timestamp,
    instant: Instant,
}

impl Executor {
    /// Starts the worker threads. Records go to `sink`, exactly one for each [`Executor::run`].
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(config: ExecutorConfig, clock: Arc<dyn Clock>, sink: Arc<dyn ExecutionSink>) -> std::io::Result<Self> {
        let ExecutorConfig { workers, app_concurrency, queue_capacity, program_cache_bytes, max_response_bytes } =
            config;
        let workers = PoolSize { threads: workers, lane: app_concurrency, waiting: queue_capacity };
        let compilers = PoolSize { threads: COMPILERS, lane: queue_capacity, waiting: queue_capacity };
        let engines = Arc::new(Engines::new(max_response_bytes));
        let inner = Inner {
            programs: Programs::new(program_cache_bytes, Arc::clone(&engines)),
            engines,
            compilers: Pool::start("picloud-compile", compilers)?,
            workers: Pool::start("picloud-script", workers)?,
            surroundings: Arc::new(Surroundings { clock, max_response_bytes }),
            sink,
            running: TaskTracker::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a source as saving it would: it compiles within `limits`, every import is a literal name of a module among
    /// `others`, and no chain of imports comes back to `name`. Runs on a compiling thread.
    ///
    /// # Errors
    /// The first thing that is wrong, with its position; or that there is no capacity to check now.
    pub async fn check(
        &self,
        name: ScriptName,
        kind: ScriptKind,
        source: ScriptSource,
        limits: Limits,
        others: Arc<ModuleSources>,
    ) -> Result<CheckedSource, SourceError> {
        let (done, checked) = oneshot::channel();
        let engines = Arc::clone(&self.inner.engines);
        let submitted = self.inner.compilers.submit(None, move || {
            // Nobody waiting any more means that the client left.
            let _ = done.send(compiled::check(&engines.get(&limits), &name, kind, &source, &others));
        });
        let without_position = |message: &str| SourceError { message: message.to_owned(), line: None, column: None };
        match submitted {
            Ok(_) => checked.await.unwrap_or_else(|_| Err(without_position("the source breaks the interpreter"))),
            Err(_) => Err(without_position("too many sources are being checked; try again")),
        }
    }

    /// Runs a script and hands its record to the sink before it returns. A script that is likely to be short runs on the
    /// calling thread, within the first poll; one that is not runs on a worker, after its app's turn came. The timeout
    /// counts from the call on, all waiting included: a run that got no worker in time is a timeout.
    ///
    /// Dropping the future does not end the run: it ends by its limits, and its record is handed over. It must be polled
    /// by a tokio runtime with its timer enabled, on threads with stacks of [`THREAD_STACK_BYTES`].
    pub async fn run(&self, invocation: Invocation) -> Completion {
        let token = self.inner.running.token();
        let admission = Admission { at: self.inner.surroundings.clock.now(), instant: Instant::now() };
        let invocation = Arc::new(invocation);
        if self.inner.running.is_closed() {
            return self.inner.finish(
                &invocation,
                admission,
                Ended::before_start(Failed::rejected("PiCloud is shutting down")),
            );
        }
        let mut untried = true;
        if let Some(Ok(program)) = self.inner.programs.get(invocation.script.program)
            && program.starts_inline()
        {
            untried = false;
            if let Some(ended) = self.inner.inline(&program, &invocation, admission, admission.instant) {
                return self.inner.finish(&invocation, admission, ended);
            }
        }
        // A task of its own, so that the run comes to its end although the client leaves.
        let (inner, waiting) = (Arc::clone(&self.inner), Arc::clone(&invocation));
        let task = tokio::spawn(async move {
            let ended = inner.elsewhere(&waiting, admission, untried).await;
            let completion = inner.finish(&waiting, admission, ended);
            drop(token);
            completion
        });
        task.await.unwrap_or_else(|_| {
            // The runtime is going down and took the task along, before it handed a record over.
            let ended = Ended::before_start(Failed::rejected("PiCloud is shutting down"));
            self.inner.finish(&invocation, admission, ended)
        })
    }

    /// Stops admitting and waits for what runs; used when the process drains.
    pub async fn drain(&self) {
        self.inner.running.close();
        self.inner.running.wait().await;
    }
}

impl Inner {
    fn inline(
        &self,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
        admission: Admission,
        now: Instant,
    ) -> Option<Ended> {
        self.surroundings.attempt(Tier::Inline, program, invocation, now, admission.deadline(invocation))
    }

    /// Runs what cannot run at once: its program is not compiled, or it is too long for the calling thread.
    async fn elsewhere(
        self: &Arc<Self>,
        invocation: &Arc<Invocation>,
        admission: Admission,
        mut untried: bool,
    ) -> Ended {
        let deadline = admission.deadline(invocation);
        let compiled = self.programs.get_or_compile(invocation, &self.compilers);
        let program = match timeout_at(deadline.into(), compiled).await {
            Ok(Ok(program)) => program,
            Ok(Err(failed)) => return Ended::before_start(Failed::clone(&failed)),
            Err(_) => return Ended::before_start(Failed::timeout()),
        };
        if untried && program.starts_inline() {
            untried = false;
            if let Some(ended) = self.inline(&program, invocation, admission, Instant::now()) {
                return ended;
            }
        }
        self.on_worker(program, invocation, admission, untried).await
    }

    async fn on_worker(
        &self,
        program: Arc<Program>,
        invocation: &Arc<Invocation>,
        admission: Admission,
        untried: bool,
    ) -> Ended {
        let deadline = admission.deadline(invocation);
        let (done, mut ended) = oneshot::channel();
        let (surroundings, running, wanted) =
            (Arc::clone(&self.surroundings), Arc::clone(invocation), Arc::clone(&program));
        let submitted = self.workers.submit(Some(invocation.app.app().id), move || {
            if let Some(ended) = surroundings.attempt(Tier::Worker, &wanted, &running, Instant::now(), deadline) {
                // Nobody waiting any more means that the process ends.
                let _ = done.send(ended);
            }
        });
        let ticket = match submitted {
            Ok(ticket) => ticket,
            Err(refused) => {
                // A script that is short as a rule is rather tried here, however busy its long runs keep the workers.
                let last = (untried && program.may_run_inline())
                    .then(|| self.inline(&program, invocation, admission, Instant::now()));
                return last.flatten().unwrap_or_else(|| Ended::before_start(Failed::rejected(&refused.to_string())));
            }
        };
        let ended = match timeout_at(deadline.into(), &mut ended).await {
            Ok(ended) => ended,
            Err(_) if self.workers.withdraw(ticket) => return Ended::before_start(Failed::timeout()),
            // It has begun, so it sees the same deadline itself.
            Err(_) => ended.await,
        };
        ended.unwrap_or_else(|_| Ended::before_start(Failed::rejected("PiCloud is shutting down")))
    }

    /// Hands the record over and tells the caller.
    fn finish(&self, invocation: &Invocation, admission: Admission, ended: Ended) -> Completion {
        let Ended { result, logs, at } = ended;
        let duration = at - admission.instant;
        let (outcome, response, failure) = match result {
            Ok(response) => (Outcome::Success, Some(response), None),
            Err(Failed { outcome, failure }) => (outcome, None, Some(failure)),
        };
        let Invocation { execution_id, app, script, request, origin } = invocation;
        self.sink.record(ExecutionRecord {
            id: *execution_id,
            app_id: app.app().id,
            script_id: script.row.id,
            script_version: script.row.version,
            origin: *origin,
            started_at: admission.at,
            duration,
            outcome,
            status: response.as_ref().map_or(outcome.failure_status(), |response| response.status),
            request: Arc::clone(&request.head),
            request_body: recorded_body(&request.body),
            request_body_len: request.body.len(),
            response: response.as_ref().map(|response| RecordedResponse {
                headers: response.headers.clone(),
                body: recorded_body(&response.body),
                body_len: response.body.len(),
            }),
            failure: failure.clone(),
            logs: logs.clone(),
        });
        Completion { execution_id: *execution_id, outcome, response, failure, logs, duration }
    }
}

impl Admission {
    fn deadline(&self, invocation: &Invocation) -> Instant {
        self.instant + invocation.script.row.limits.timeout
    }
}
