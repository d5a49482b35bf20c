//! The executor's face: check a source, run a script.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::execution::{ExecutionSink, Outcome};
use picloud_shared::id::AppId;
use picloud_shared::name::ScriptName;
use picloud_shared::script::{Limits, ScriptKind, ScriptSource};
use picloud_shared::snapshot::{PublishedApp, Snapshot};
use tokio::sync::oneshot;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::compiled::{self, CheckError, CheckedSource, ModuleSources, Program, SourceError};
use crate::engine::Engines;
use crate::epoch;
use crate::failure::Failed;
use crate::invocation::{Completion, Invocation};
use crate::limits::INLINE_MEMORY;
use crate::lock_waits::LockWaits;
use crate::memory::reclaim;
use crate::panics;
use crate::pool::{LEAST_STACK_BYTES, Length, Pool, PoolLoad, PoolSize, Refused};
use crate::port::Ports;
use crate::programs::{COMPILERS, COMPILING, Programs};
use crate::record::{self, Ending};
use crate::residue::Residues;
use crate::room::Room;
use crate::run::{Ended, Surroundings, Tier};

/// Sizes of the executor.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Threads of the worker tier.
    pub workers: usize,
    /// By how much the workers are nicer than the threads that serve connections, which so wait for no slice of theirs.
    pub worker_nice: u8,
    /// Executions of one app that may run or wait at once; more are rejected.
    pub app_concurrency: usize,
    /// Executions of all apps that may wait for a worker; more are rejected.
    pub queue_capacity: usize,
    /// Bytes of compiled programs that are kept. Below 62 MiB the largest programs are not, and compiled for each run.
    pub program_cache_bytes: usize,
    /// Bytes of one response's body; a longer one is outcome `budget_exceeded`.
    pub max_response_bytes: usize,
    /// Bytes that one execution may take. It may hold half of them: any operation can copy all that is held.
    pub memory_bytes: usize,
    /// Bytes that all executions may take, those of one app half of them; what would take more is rejected. One execution
    /// always has room.
    pub total_memory_bytes: usize,
    /// Threads that poll [`Executor::run`]. Each runs a short script at a time, for which 4 MiB of the total are kept; with none,
    /// every script runs on a worker.
    pub inline_threads: usize,
}

/// Virtual memory that the stack of every thread needs that polls [`Executor::run`], since short scripts run right there.
/// Whoever builds the runtime gives it to `thread_stack_size`, and spawns what calls it: `Runtime::block_on` polls on its
/// caller's stack. A smaller stack can be overflowed by a script, which ends the process. The inline tier's 5,000 operations nest some 10 MiB deep in a debug build.
pub const THREAD_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Workers beyond those that are configured, for apps that find all of these held by others. What they hold comes out of the same
/// memory.
const SPARE_WORKERS: usize = 16;

/// How long publishing a change waits for what it has to compile.
const PREPARING: Duration = Duration::from_millis(300);

/// Compiles and runs scripts. One for the process; cheap to share behind an [`Arc`].
pub struct Executor {
    inner: Arc<Inner>,
}

/// What the executor has at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Runs that were admitted and have not ended, waiting ones too.
    pub running: usize,
    /// Those that wait for a worker.
    pub waiting: usize,
    /// Workers that run a script.
    pub busy_workers: usize,
    /// Workers in all.
    pub workers: usize,
    /// Workers beyond them that there are for apps that found these held by others.
    pub spare_workers: usize,
    /// Bytes that runs left for ever: closures that hold themselves.
    pub lost_bytes: usize,
}

struct Inner {
    engines: Arc<Engines>,
    workers: Pool,
    surroundings: Arc<Surroundings>,
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
    /// Starts the worker threads. Records go to `sink`, exactly one for each [`Executor::run`]; scripts reach what `ports` has.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(
        config: ExecutorConfig,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn ExecutionSink>,
        ports: Ports,
    ) -> std::io::Result<Self> {
        let ExecutorConfig { workers, worker_nice, app_concurrency, queue_capacity, program_cache_bytes, .. } = config;
        let ExecutorConfig { max_response_bytes, memory_bytes, total_memory_bytes, inline_threads, .. } = config;
        panics::silence_scripts();
        epoch::start()?;
        reclaim::configure_allocator();
        let workers = PoolSize {
            threads: workers,
            spares: SPARE_WORKERS,
            lane: app_concurrency,
            waiting: queue_capacity,
            stack_bytes: worker_stack_bytes(memory_bytes),
            nice: worker_nice,
        };
        let engines = Arc::new(Engines::new(max_response_bytes));
        let room = total_memory_bytes.saturating_sub(inline_threads.saturating_mul(INLINE_MEMORY));
        let inner = Inner {
            workers: Pool::start("picloud-script", workers)?,
            surroundings: Arc::new(Surroundings {
                clock,
                max_response_bytes,
                memory_bytes,
                room: Arc::new(Room::new(room, memory_bytes)),
                residues: Residues::new(memory_bytes),
                lock_waits: LockWaits::default(),
                ports: Arc::new(ports),
                programs: Arc::new(Programs::new(program_cache_bytes, Arc::clone(&engines))),
                compilers: Pool::start("picloud-compile", COMPILERS)?,
                sink,
                inline: inline_threads > 0,
            }),
            engines,
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
        let submitted = self.inner.surroundings.compilers.submit(app, Length::Long, COMPILING, move || {
            // Nobody waiting any more means that the client left.
            let _ = done.send(compiled::check(&engines.get(&limits), &name, kind, &source, &others));
        });
        submitted.map_err(|_| CheckError::Busy)?;
        let broken =
            || SourceError { message: "the source breaks the interpreter".to_owned(), line: None, column: None };
        Ok(checked.await.unwrap_or_else(|_| Err(broken()))?)
    }

    /// Compiles what these apps' endpoints run once they stand in the place of `current`, before requests come for it. What is
    /// not compiled within 300 ms is left to the first request.
    pub async fn prepare(&self, apps: &[Arc<PublishedApp>], current: &Snapshot) {
        let Surroundings { programs, compilers, .. } = &*self.inner.surroundings;
        let compile = async {
            for app in apps {
                let before = current.app(app.app().id);
                for script in app.scripts().filter(|script| script.row.kind == ScriptKind::Endpoint) {
                    let was = before.and_then(|app| app.script(script.row.id));
                    if was.is_none_or(|was| was.program != script.program) {
                        // What does not compile is told to whoever asks for it.
                        let _ = programs.get_or_compile(app, script, compilers).await;
                    }
                }
            }
        };
        if timeout(PREPARING, compile).await.is_err() {
            tracing::debug!("a change is published before all that it runs is compiled");
        }
    }

    /// Runs a script and hands its record to the sink before it returns. A script that is likely to be short runs on the
    /// calling thread, within the first poll; one that is not runs on a worker, after its app's turn came. The timeout
    /// counts from the call on, all waiting included but for a program that is still to be compiled: a run that could not
    /// begin in time is rejected.
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
        let program = inner.surroundings.programs.get(&admitted.invocation.script).and_then(Result::ok);
        let tried = program.as_ref().filter(|program| inner.starts_inline(program, &admitted));
        if let Some(ended) = tried.and_then(|program| inner.inline(program, &admitted, admitted.instant)) {
            return inner.finish(&admitted, ended);
        }
        let tried = tried.is_some();
        // A task of its own, so that the run comes to its end although the client leaves.
        let admitted = Arc::new(admitted);
        let (inner, waiting) = (Arc::clone(inner), Arc::clone(&admitted));
        let task = tokio::spawn(async move {
            let ended = match program {
                Some(program) => inner.on_worker(program, &waiting, waiting.instant, !tried).await,
                None => inner.once_compiled(&waiting).await,
            };
            let completion = inner.finish(&waiting, ended);
            drop(token);
            completion
        });
        task.await.unwrap_or_else(|error| {
            let failed = if error.is_panic() { broken() } else { Failed::rejected(SHUTTING_DOWN) };
            self.inner.finish(&admitted, Ended::before_start(failed))
        })
    }

    /// What it has at hand now.
    pub fn load(&self) -> Load {
        let PoolLoad { waiting, busy, threads, spares } = self.inner.workers.load();
        Load {
            running: self.inner.running.len(),
            waiting,
            busy_workers: busy,
            workers: threads,
            spare_workers: spares,
            lost_bytes: self.inner.surroundings.residues.total(),
        }
    }

    /// Stops admitting and waits for what runs; used when the process drains.
    pub async fn drain(&self) {
        self.inner.running.close();
        self.inner.running.wait().await;
    }
}

/// The runtime goes down, and takes along what waits.
const SHUTTING_DOWN: &str = "PiCloud is shutting down";

/// Virtual memory of a worker's stack, on which all that a script holds can be dropped at once. A run may hold half of its memory,
/// and what is nested deepest takes 184 bytes of stack for each 40 that it holds (arrays of one element, measured): 2.3 times the
/// memory. Chains of closures take less.
fn worker_stack_bytes(memory_bytes: usize) -> usize {
    memory_bytes.saturating_mul(4).max(LEAST_STACK_BYTES)
}

/// Something panicked that should not; it is in the program's log.
fn broken() -> Failed {
    Failed::error("the run broke and was ended")
}

impl Inner {
    fn starts_inline(&self, program: &Program, admitted: &Admitted) -> bool {
        let history = &program.history;
        history.is_short() && !history.calls_ports() && self.allows_inline(program, admitted)
    }

    fn allows_inline(&self, program: &Program, Admitted { invocation, instant, .. }: &Admitted) -> bool {
        self.surroundings.allows_inline(program, invocation.app.app().id, *instant)
    }

    fn inline(&self, program: &Arc<Program>, admitted: &Admitted, begun: Instant) -> Option<Ended> {
        let deadline = begun + admitted.invocation.timeout();
        self.surroundings.attempt(Tier::Inline, program, &admitted.invocation, begun, deadline)
    }

    /// Runs what is not compiled yet. The script's time begins when it is: it is not the script that compiling keeps waiting.
    async fn once_compiled(&self, admitted: &Admitted) -> Ended {
        let Invocation { app, script, .. } = &*admitted.invocation;
        let Surroundings { programs, compilers, .. } = &*self.surroundings;
        let compiled = programs.get_or_compile(app, script, compilers);
        let program = match timeout(COMPILING, compiled).await {
            Ok(Ok(program)) => program,
            Ok(Err(failed)) => return Ended::before_start(Failed::clone(&failed)),
            Err(_) => return Ended::before_start(Failed::rejected("the script is not compiled yet; try again")),
        };
        let begun = Instant::now();
        let untried = !self.starts_inline(&program, admitted);
        if !untried && let Some(ended) = self.inline(&program, admitted, begun) {
            return ended;
        }
        self.on_worker(program, admitted, begun, untried).await
    }

    /// Runs a program on a worker; `untried` says that it was not just too long for the calling thread.
    async fn on_worker(&self, program: Arc<Program>, admitted: &Admitted, begun: Instant, untried: bool) -> Ended {
        let timeout = admitted.invocation.timeout();
        let deadline = begun + timeout;
        let (done, mut ended) = oneshot::channel();
        let (surroundings, running, wanted) =
            (Arc::clone(&self.surroundings), Arc::clone(&admitted.invocation), Arc::clone(&program));
        let length = if program.history.is_short() { Length::Short } else { Length::Long };
        let submitted = self.workers.submit(admitted.invocation.app.app().id, length, timeout, move || {
            if let Some(ended) = surroundings.attempt(Tier::Worker, &wanted, &running, Instant::now(), deadline) {
                // Nobody waiting any more means that the process ends.
                let _ = done.send(ended);
            }
        });
        let ticket = match submitted {
            Ok(ticket) => ticket,
            Err(refused) => {
                // A script that is short as a rule is rather tried here, however busy its long runs keep the workers.
                let may = program.history.may_be_short() && !program.history.calls_ports();
                let last = untried && may && self.allows_inline(&program, admitted);
                let last = last.then(|| self.inline(&program, admitted, Instant::now()));
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
        let Ended { result, logs, at, peak_memory, secrets } = ended;
        let duration = at - admitted.instant;
        let (outcome, response, failure) = match result {
            Ok(response) => (Outcome::Success, Some(response), None),
            Err(Failed { outcome, failure }) => (outcome, None, Some(failure)),
        };
        let execution_id = admitted.invocation.execution_id;
        let completion = Completion { execution_id, outcome, response, failure, logs, duration, peak_memory, secrets };
        if admitted.recorded.swap(true, Ordering::Relaxed) {
            return completion;
        }
        let Completion { response, failure, logs, secrets, .. } = &completion;
        let response = response.as_ref().map(|response| (response, response.headers.clone()));
        let failure = failure.as_ref();
        let ending =
            Ending { started_at: admitted.at, duration, outcome, response, failure, logs, secrets: secrets.clone() };
        self.surroundings.sink.record(record::of(&admitted.invocation, ending));
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
