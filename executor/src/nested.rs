//! A run within a run: a script invokes another endpoint of its app, which runs at once, on the same thread and by the same meter.
//!
//! It knows runs and records. What a script gives to it and gets of it is `crate::sdk`'s.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use picloud_shared::execution::{LogLine, Origin, Outcome};
use picloud_shared::id::{ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme, ScriptRequest};
use picloud_shared::script::ScriptKind;
use picloud_shared::snapshot::PublishedScript;

use crate::compiled::Program;
use crate::failure::{self, Failed};
use crate::invocation::{Input, Invocation, ScriptResponse};
use crate::limits::{Nested, Stop, charge, deadline, note_sharing, stopped};
use crate::memory::beside;
use crate::memory::reclaim::stack_left;
use crate::programs::COMPILING;
use crate::record::{self, Ending};
use crate::residue::copied_headers;
use crate::run::Surroundings;
use crate::sdk;

/// How many runs there may be within the one that a request started.
pub const MAX_DEPTH: usize = 8;

/// How many runs there may be in all within the one that a request started, since each leaves a record, which others' records have to
/// make room for.
pub const MAX_RUNS: usize = 256;

/// What the caller is charged for compiling, beside one operation for each byte of the source.
const COMPILE_OPERATIONS: u64 = 20_000;

/// The part of a thread's stack that those may use which invoke. Each begins its own count of call levels, and what the last of them
/// holds is dropped on what is left, which takes more than half of the stack at worst (`crate::executor`).
const STACK_SHARE: usize = 4;

/// Why a script was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRun {
    /// The app has none of that name.
    Missing,
    /// It is a module.
    Module,
    /// Too many runs are within one another.
    TooDeep,
    /// The run that a request started has invoked too often, with those within it.
    TooMany,
    /// They nest too deep, each by itself.
    StackUsed,
    /// No run that could invoke is on this thread.
    Nowhere,
}

/// A nested run that came to its end.
pub struct Ended {
    /// The id of its record.
    pub execution_id: ExecutionId,
    /// What it answered, or why it did not.
    pub result: Result<ScriptResponse, Failed>,
}

/// The innermost run on this thread.
#[derive(Clone)]
struct Innermost {
    surroundings: Arc<Surroundings>,
    invocation: Arc<Invocation>,
    depth: usize,
    /// How many runs there were within the one that a request started.
    runs: Rc<Cell<usize>>,
}

thread_local! {
    static INNERMOST: RefCell<Option<Innermost>> = const { RefCell::new(None) };
}

/// Has the script that `run` runs on this thread be the one which invokes, at the next depth.
pub fn within<T>(surroundings: &Arc<Surroundings>, invocation: &Arc<Invocation>, run: impl FnOnce() -> T) -> T {
    struct Restore(Option<Innermost>);
    impl Drop for Restore {
        fn drop(&mut self) {
            INNERMOST.set(self.0.take());
        }
    }
    let (depth, runs) = INNERMOST.with_borrow(|outer| {
        outer.as_ref().map_or_else(Default::default, |outer| (outer.depth + 1, Rc::clone(&outer.runs)))
    });
    let innermost =
        Innermost { surroundings: Arc::clone(surroundings), invocation: Arc::clone(invocation), depth, runs };
    let _restore = Restore(INNERMOST.replace(Some(innermost)));
    run()
}

/// Runs the endpoint of that name of the app whose script runs on this thread, and hands its record over. The run is on a worker.
///
/// # Errors
/// It was not run, and there is no record.
pub fn invoke(name: &str, body: Bytes) -> Result<Ended, NotRun> {
    let Innermost { surroundings, invocation: caller, depth, runs } =
        INNERMOST.with_borrow(Clone::clone).ok_or(NotRun::Nowhere)?;
    let script = endpoint_of(&caller, name)?;
    if depth >= MAX_DEPTH {
        return Err(NotRun::TooDeep);
    }
    if stack_left().is_none_or(|(left, all)| left < all - all / STACK_SHARE) {
        return Err(NotRun::StackUsed);
    }
    if runs.get() >= MAX_RUNS {
        return Err(NotRun::TooMany);
    }
    runs.set(runs.get() + 1);
    Ok(surroundings.run_nested(&caller, script, body))
}

/// The endpoint of that name of the app whose script runs on this thread.
///
/// # Errors
/// [`NotRun::Missing`], [`NotRun::Module`] or [`NotRun::Nowhere`].
pub fn endpoint(name: &str) -> Result<ScriptId, NotRun> {
    let Innermost { invocation, .. } = INNERMOST.with_borrow(Clone::clone).ok_or(NotRun::Nowhere)?;
    endpoint_of(&invocation, name).map(|script| script.row.id)
}

fn endpoint_of<'i>(invocation: &'i Invocation, name: &str) -> Result<&'i Arc<PublishedScript>, NotRun> {
    let script = invocation.app.named(name).ok_or(NotRun::Missing)?;
    if script.row.kind == ScriptKind::Endpoint { Ok(script) } else { Err(NotRun::Module) }
}

impl Surroundings {
    fn run_nested(self: &Arc<Self>, caller: &Invocation, script: &Arc<PublishedScript>, body: Bytes) -> Ended {
        let (started_at, begun) = (self.clock.now(), Instant::now());
        let execution_id = ExecutionId::generate(started_at);
        // The record takes it to another thread, which may be the one that frees it.
        let head = beside(|| Arc::new(head(caller)));
        let invocation = Arc::new(Invocation {
            execution_id,
            app: Arc::clone(&caller.app),
            script: Arc::clone(script),
            input: Input::Request(ScriptRequest {
                head: Arc::clone(&head),
                params: Vec::new(),
                host_params: Vec::new(),
                rest: None,
                body,
            }),
            timeout: None,
            // What a test invokes is a part of the test.
            origin: if caller.origin == Origin::Test { Origin::Test } else { Origin::Invoke },
        });
        let (result, logs) = match self.compiled(&invocation) {
            Ok(program) => {
                let ended = self.evaluate_nested(&program, &invocation);
                // What else held it may have let go of it, and its memory is not the run's.
                beside(|| drop(program));
                ended
            }
            Err(failed) => (Err(failed), Vec::new()),
        };
        let duration = begun.elapsed();
        beside(|| {
            let (outcome, response, failure) = match &result {
                Ok(response) => (Outcome::Success, Some((response, copied_headers(&response.headers))), None),
                Err(Failed { outcome, failure }) => (*outcome, None, Some(failure)),
            };
            let secrets = sdk::given();
            let ending = Ending { started_at, duration, outcome, response, failure, logs: &logs, secrets };
            self.sink.record(record::of(&invocation, ending));
        });
        drop(invocation);
        beside(|| drop(head));
        Ended { execution_id, result }
    }

    /// The program of a script; compiled by the threads that do it, which the caller pays for, and waits for within its deadline.
    fn compiled(&self, Invocation { app, script, .. }: &Invocation) -> Result<Arc<Program>, Failed> {
        if let Some(compiled) = self.programs.get(script) {
            return compiled.map_err(copied);
        }
        let source_bytes = u64::try_from(script.row.source.as_str().len()).unwrap_or(u64::MAX);
        charge(COMPILE_OPERATIONS.saturating_add(source_bytes)).map_err(|_| callers_stop())?;
        let now = Instant::now();
        let until = deadline().map_or(now, |deadline| deadline.min(now + COMPILING));
        match beside(|| wait_until(until, self.programs.get_or_compile(app, script, &self.compilers))) {
            Some(compiled) => compiled.map_err(copied),
            None if deadline().is_some_and(|deadline| Instant::now() >= deadline) => Err(Failed::timeout()),
            None => Err(Failed::rejected("the script is not compiled yet; try again")),
        }
    }

    /// Runs a program within the run on this thread.
    fn evaluate_nested(
        self: &Arc<Self>,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
    ) -> (Result<ScriptResponse, Failed>, Vec<LogLine>) {
        let limits = &invocation.script.row.limits;
        if program.shares {
            // What it leaves is found when the outermost run ends.
            note_sharing();
            if let Err(failed) = self.residues.admit(invocation.app.app().id) {
                return (Err(failed), Vec::new());
            }
        }
        let Ok(nested) = Nested::begin(limits.max_operations, limits.timeout) else {
            return (Err(callers_stop()), Vec::new());
        };
        let run = || within(self, invocation, || self.guarded(program, invocation));
        let (result, logs) = sdk::logging(&self.clock, run);
        // The meter sees no time that passes after the last operation begins.
        let late = result.is_ok() && Instant::now() >= nested.deadline();
        (if late { Err(Failed::timeout()) } else { result }, logs)
    }
}

/// A failure of the run's own, of one that others hold as well and may let go of.
fn copied(failed: Arc<Failed>) -> Failed {
    let copy = Failed::clone(&failed);
    beside(|| drop(failed));
    copy
}

/// Why a script was not begun whose caller has to end.
fn callers_stop() -> Failed {
    failure::of_stop(stopped().unwrap_or(Stop::Timeout), None)
}

/// The request that a script is invoked by: no client sent it, and what its caller's client sent is not in it, but for where to. A
/// caller that handles events had none, and the app's slug stands for the host.
fn head(caller: &Invocation) -> RequestHead {
    let (scheme, host, port, remote_ip) = match caller.input.request() {
        Some(ScriptRequest { head, .. }) => (head.scheme, head.host.clone(), head.port, head.remote_ip),
        None => (Scheme::Https, caller.app.app().slug.as_str().into(), None, Ipv4Addr::UNSPECIFIED.into()),
    };
    RequestHead {
        method: Method::POST,
        scheme,
        host,
        port,
        path: "/".into(),
        query: None,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        remote_ip,
    }
}

/// Waits on this thread for a future that other threads bring to its end; nothing when the moment came first.
fn wait_until<T>(moment: Instant, future: impl Future<Output = T>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_others_bring_to_its_end_is_waited_for_until_the_moment_comes() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let (done, told) = tokio::sync::oneshot::channel();
        let other = thread::spawn(move || done.send(7));
        assert_eq!(wait_until(Instant::now() + Duration::from_secs(60), told), Some(Ok(7)));
        assert_eq!(other.join().unwrap(), Ok(()));
        assert_eq!(wait_until(soon(), std::future::pending::<()>()), None);
        assert_eq!(wait_until(Instant::now(), std::future::ready(1)), Some(1));
    }
}
