//! The executor's face: check a source, run a script.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::execution::{
    ExecutionFailure, ExecutionRecord, ExecutionSink, LogLine, Origin, Outcome, RecordedResponse,
};
use picloud_shared::id::{AppId, ExecutionId};
use picloud_shared::name::ScriptName;
use picloud_shared::request::ScriptRequest;
use picloud_shared::script::{Limits, ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::compiled::{self, Program};
use crate::engine::Engines;
use crate::epoch;
use crate::failure::Failed;
use crate::panics;
use crate::pool::{Pool, PoolSize, Refused};
use crate::programs::{COMPILERS, Programs};
use crate::residue::Residues;
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
    /// Bytes of compiled programs that are kept. Below 52 MiB the largest programs are not, and compiled for each run.
    pub program_cache_bytes: usize,
    /// Bytes of one response's body; a longer one is outcome `budget_exceeded`.
    pub max_response_bytes: usize,
    /// Bytes that one execution may take. It may hold half of them: any operation can copy all that is held.
    pub memory_bytes: usize,
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
    /// The most memory that the script held at once, in bytes; 0 if it did not begin.
    pub peak_memory: usize,
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

/// Why a check did not say that a source can be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is no room to check it now; it may be good.
    #[error("too many sources are being checked")]
    Busy,
    /// It cannot be saved.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Virtual memory that the stack of every thread needs that polls [`Executor::run`], since short scripts run right there.
/// Whoever builds the runtime gives it to `thread_stack_size`, and spawns what calls it: `Runtime::block_on` polls on its
/// caller's stack. A smaller stack can be overflowed by a script, which ends the process. The inline tier's 5,000 operations nest some 10 MiB deep in a debug build.
pub const THREAD_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Compiles and runs scripts. One for the process; cheap to share behind an [`Arc`].
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    engines: Arc<Engines>,
    programs: Arc<Programs>,
    compilers: Pool,
    workers: Pool,
    surroundings: Arc<Surroundings>,
    sink: Arc<dyn ExecutionSink>,
    /// Holds a token for each run; closed once the executor drains.
    running: TaskTracker,
}

/// A run from its admission to its record.
struct Admitted {
    invocation: Arc<Invocation>,
    at: Timestamp,
    instant: Instant,
    /// Whether the record was handed over, so that it is once, whatever breaks.
    recorded: AtomicBool,
}

impl Executor {
    /// Starts the worker threads. Records go to `sink`, exactly one for each [`Executor::run`].
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(config: ExecutorConfig, clock: Arc<dyn Clock>, sink: Arc<dyn ExecutionSink>) -> std::io::Result<Self> {
        let ExecutorConfig { workers, app_concurrency, queue_capacity, program_cache_bytes, .. } = config;
        let ExecutorConfig { max_response_bytes, memory_bytes, .. } = config;
        panics::silence_scripts();
        epoch::start()?;
        let workers = PoolSize { threads: workers, lane: app_concurrency, waiting: queue_capacity };
        let engines = Arc::new(Engines::new(max_response_bytes));
        let inner = Inner {
            programs: Arc::new(Programs::new(program_cache_bytes, Arc::clone(&engines))),
            engines,
            compilers: Pool::start("picloud-compile", COMPILERS)?,
            workers: Pool::start("picloud-script", workers)?,
            surroundings: Arc::new(Surroundings {
                clock,
                max_response_bytes,
                memory_bytes,
                residues: Residues::new(memory_bytes),
            }),
            sink,
            running: TaskTracker::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a source as saving it would: it compiles within `limits`, every import is a literal name of a module among
    /// `others`, and no chain of imports comes back to `name`. Runs on a compiling thread, when it is the app's turn.
    ///
    /// # Errors
    /// The first thing that is wrong, with its position; or that there is no capacity to check now.
    pub async fn check(
        &self,
        app: AppId,
        name: ScriptName,
        kind: ScriptKind,
        source: ScriptSource,
        limits: Limits,
        others: Arc<ModuleSources>,
    ) -> Result<CheckedSource, CheckError> {
        let (done, checked) = oneshot::channel();
        let engines = Arc::clone(&self.inner.engines);
        let submitted = self.inner.compilers.submit(app, move || {
            // Nobody waiting any more means that the client left.
            let _ = done.send(compiled::check(&engines.get(&limits), &name, kind, &source, &others));
        });
        submitted.map_err(|_| CheckError::Busy)?;
        let broken =
            || SourceError { message: "the source breaks the interpreter".to_owned(), line: None, column: None };
        Ok(checked.await.unwrap_or_else(|_| Err(broken()))?)
    }

    /// Runs a script and hands its record to the sink before it returns. A script that is likely to be short runs on the
    /// calling thread, within the first poll; one that is not runs on a worker, after its app's turn came. The timeout
    /// counts from the call on, all waiting included: a run that could not begin in time is rejected.
    ///
    /// Dropping the future does not end the run: it ends by its limits, and its record is handed over. It must be polled
    /// by a tokio runtime with its timer enabled, on threads with stacks of [`THREAD_STACK_BYTES`].
    pub async fn run(&self, invocation: Invocation) -> Completion {
        let inner = &self.inner;
        let token = inner.running.token();
        let admitted = Admitted {
            invocation: Arc::new(invocation),
            at: inner.surroundings.clock.now(),
            instant: Instant::now(),
            recorded: AtomicBool::new(false),
        };
        if inner.running.is_closed() {
            return inner.finish(&admitted, Ended::before_start(Failed::rejected(SHUTTING_DOWN)));
        }
        let mut untried = true;
        if let Some(Ok(program)) = inner.programs.get(&admitted.invocation.script)
            && program.starts_inline()
        {
            untried = false;
            if let Some(ended) = inner.inline(&program, &admitted, admitted.instant) {
                return inner.finish(&admitted, ended);
            }
        }
        // A task of its own, so that the run comes to its end although the client leaves.
        let admitted = Arc::new(admitted);
        let (inner, waiting) = (Arc::clone(inner), Arc::clone(&admitted));
        let task = tokio::spawn(async move {
            let ended = inner.elsewhere(&waiting, untried).await;
            let completion = inner.finish(&waiting, ended);
            drop(token);
            completion
        });
        task.await.unwrap_or_else(|error| {
            let failed = if error.is_panic() { broken() } else { Failed::rejected(SHUTTING_DOWN) };
            self.inner.finish(&admitted, Ended::before_start(failed))
        })
    }

    /// Stops admitting and waits for what runs; used when the process drains.
    pub async fn drain(&self) {
        self.inner.running.close();
        self.inner.running.wait().await;
    }
}

/// The runtime goes down, and takes along what waits.
const SHUTTING_DOWN: &str = "PiCloud is shutting down";

/// Something panicked that should not; it is in the program's log.
fn broken() -> Failed {
    Failed::error("the run broke and was ended")
}

impl Inner {
    fn inline(&self, program: &Arc<Program>, admitted: &Admitted, now: Instant) -> Option<Ended> {
        self.surroundings.attempt(Tier::Inline, program, &admitted.invocation, now, admitted.deadline())
    }

    /// Runs what cannot run at once: its program is not compiled, or it is too long for the calling thread.
    async fn elsewhere(&self, admitted: &Admitted, mut untried: bool) -> Ended {
        let compiled = self.programs.get_or_compile(&admitted.invocation, &self.compilers);
        let program = match timeout_at(admitted.deadline().into(), compiled).await {
            Ok(Ok(program)) => program,
            Ok(Err(failed)) => return Ended::before_start(Failed::clone(&failed)),
            Err(_) => {
                let why = "the script was not compiled within its timeout; try again";
                return Ended::before_start(Failed::rejected(why));
            }
        };
        if untried && program.starts_inline() {
            untried = false;
            if let Some(ended) = self.inline(&program, admitted, Instant::now()) {
                return ended;
            }
        }
        self.on_worker(program, admitted, untried).await
    }

    async fn on_worker(&self, program: Arc<Program>, admitted: &Admitted, untried: bool) -> Ended {
        let deadline = admitted.deadline();
        let (done, mut ended) = oneshot::channel();
        let (surroundings, running, wanted) =
            (Arc::clone(&self.surroundings), Arc::clone(&admitted.invocation), Arc::clone(&program));
        let submitted = self.workers.submit(admitted.invocation.app.app().id, move || {
            if let Some(ended) = surroundings.attempt(Tier::Worker, &wanted, &running, Instant::now(), deadline) {
                // Nobody waiting any more means that the process ends.
                let _ = done.send(ended);
            }
        });
        let ticket = match submitted {
            Ok(ticket) => ticket,
            Err(refused) => {
                // A script that is short as a rule is rather tried here, however busy its long runs keep the workers.
                let last =
                    (untried && program.may_run_inline()).then(|| self.inline(&program, admitted, Instant::now()));
                return last.flatten().unwrap_or_else(|| Ended::before_start(no_capacity(refused)));
            }
        };
        let ended = match timeout_at(deadline.into(), &mut ended).await {
            Ok(ended) => ended,
            Err(_) if self.workers.withdraw(ticket) => {
                return Ended::before_start(Failed::rejected("no worker was free within the script's timeout"));
            }
            // It has begun, so it sees the same deadline itself.
            Err(_) => ended.await,
        };
        // The workers live as long as this executor, so a job that is gone without a word has panicked.
        ended.unwrap_or_else(|_| Ended::before_start(broken()))
    }

    /// Hands the record over, once, and tells the caller.
    fn finish(&self, admitted: &Admitted, ended: Ended) -> Completion {
        let Ended { result, logs, at, peak_memory } = ended;
        let duration = at - admitted.instant;
        let (outcome, response, failure) = match result {
            Ok(response) => (Outcome::Success, Some(response), None),
            Err(Failed { outcome, failure }) => (outcome, None, Some(failure)),
        };
        let Invocation { execution_id, app, script, request, origin } = &*admitted.invocation;
        let completion =
            Completion { execution_id: *execution_id, outcome, response, failure, logs, duration, peak_memory };
        if admitted.recorded.swap(true, Ordering::Relaxed) {
            return completion;
        }
        let Completion { response, failure, logs, .. } = &completion;
        let policy = app.record_policy();
        self.sink.record(ExecutionRecord {
            id: *execution_id,
            app_id: app.app().id,
            script_id: script.row.id,
            script_version: script.row.version,
            origin: *origin,
            started_at: admitted.at,
            duration,
            outcome,
            status: response.as_ref().map_or(outcome.failure_status(), |response| response.status),
            policy: Arc::clone(policy),
            request: Arc::clone(&request.head),
            request_body: policy.recorded_body(&request.body),
            request_body_len: request.body.len(),
            response: response.as_ref().map(|response| RecordedResponse {
                headers: response.headers.clone(),
                body: policy.recorded_body(&response.body),
                body_len: response.body.len(),
            }),
            failure: failure.clone(),
            logs: logs.clone(),
        });
        completion
    }
}

/// No worker can be waited for.
fn no_capacity(refused: Refused) -> Failed {
    Failed::rejected(match refused {
        Refused::Lane => "the app already runs as many executions at once as it may",
        Refused::Queue => "too many executions are waiting",
    })
}

impl Admitted {
    fn deadline(&self) -> Instant {
        self.instant + self.invocation.script.row.limits.timeout
    }
}
