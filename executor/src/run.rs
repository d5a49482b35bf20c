//! One attempt at a run, on the thread that it is called on: evaluate, answer, collect the log.
//!
//! All values of the script live and die in here, on a stack that is large enough for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use picloud_shared::clock::Clock;
use picloud_shared::execution::{ExecutionSink, LogLine};
use picloud_shared::id::AppId;
use picloud_shared::secret::GivenSecrets;
use rhai::{Dynamic, Scope};

use crate::compiled::{Program, Spent};
use crate::context::Context;
use crate::failure::{self, Failed};
use crate::invocation::{Invocation, ScriptResponse};
use crate::limits::{Allowance, Metered, Stop, stopped};
use crate::lock_waits::LockWaits;
use crate::nested;
use crate::panics;
use crate::pool::Pool;
use crate::port::Ports;
use crate::programs::Programs;
use crate::residue::{self, Residues};
use crate::response;
use crate::room::Room;
use crate::sdk;

/// Where an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// On an I/O thread, within the small allowance.
    Inline,
    /// On a worker, within the script's limits.
    Worker,
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Ended {
    /// What is sent, or why nothing is.
    pub result: Result<ScriptResponse, Failed>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// When.
    pub at: Instant,
    /// The most memory that it held at once, in bytes.
    pub peak_memory: usize,
    /// The secrets that it was given.
    pub secrets: GivenSecrets,
}

impl Ended {
    /// A run that ended before its script began.
    pub fn before_start(failed: Failed) -> Self {
        let (logs, secrets) = (Vec::new(), GivenSecrets::default());
        Self { result: Err(failed), logs, at: Instant::now(), peak_memory: 0, secrets }
    }
}

/// What all attempts share.
pub struct Surroundings {
    /// For the times of log lines.
    pub clock: Arc<dyn Clock>,
    /// Bytes of a response's body.
    pub max_response_bytes: usize,
    /// Bytes that one execution may take.
    pub memory_bytes: usize,
    /// The memory that all runs on workers share.
    pub room: Arc<Room>,
    /// What runs left behind.
    pub residues: Residues,
    /// Whose runs waited where they must not.
    pub lock_waits: LockWaits,
    /// What scripts may reach outside themselves.
    pub ports: Arc<Ports>,
    /// What runs.
    pub programs: Arc<Programs>,
    /// Who compiles it.
    pub compilers: Pool,
    /// Who takes the records.
    pub sink: Arc<dyn ExecutionSink>,
    /// Whether there is an inline tier.
    pub inline: bool,
}

impl Surroundings {
    /// Whether a run of an app's program can start on an I/O thread, if it is short.
    pub fn allows_inline(&self, program: &Program, app: AppId, now: Instant) -> bool {
        self.inline && !(program.shares && self.lock_waits.keep_off(app, now))
    }

    /// Runs a program on this thread until its end, or gives nothing when it is too long for the inline tier; then nothing
    /// that it did is left, and it can be run again. `begun` is now.
    pub fn attempt(
        self: &Arc<Self>,
        tier: Tier,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
        begun: Instant,
        deadline: Instant,
    ) -> Option<Ended> {
        let limits = &invocation.script.row.limits;
        let app = invocation.app.app().id;
        if program.shares
            && let Err(failed) = self.residues.admit(app)
        {
            return Some(Ended::before_start(failed));
        }
        let (allowance, share) = match tier {
            Tier::Inline => (Allowance::inline(limits.max_operations, begun, program.shares), None),
            Tier::Worker => match self.room.enter(app) {
                Ok(share) => (Allowance::worker(limits.max_operations, deadline, self.memory_bytes), Some(share)),
                Err(full) => return Some(Ended::before_start(failure::of_stop(Stop::Full(full), None))),
            },
        };
        let meter = Metered::start(allowance, share);
        let run = || match tier {
            // It ends before it runs another script.
            Tier::Inline => self.guarded(program, invocation),
            Tier::Worker => nested::within(self, invocation, || self.guarded(program, invocation)),
        };
        let run = || sdk::reaching(&self.ports, app, invocation.event_depth(), run);
        let ((mut result, secrets), mut logs) = sdk::logging(&self.clock, || sdk::reading(&invocation.app, run));
        let (stop, operations, called_port, at) = (meter.stop(), meter.used(), meter.called_port(), Instant::now());
        let (account, peak_memory) = (meter.account(), meter.account().peak());
        let (elapsed, shares) = (at - begun, program.shares || meter.shares());
        drop(meter);
        // The meter sees no time that passes after the last operation begins.
        if tier == Tier::Worker && at >= deadline && result.is_ok() {
            result = Err(Failed::timeout());
        }
        if shares {
            let left;
            (result, logs, left) = residue::of_run(account, result, logs);
            self.residues.add(app, left);
            if tier == Tier::Inline {
                self.lock_waits.note(app, elapsed, at);
            }
        }
        match stop {
            Some(Stop::Inline) => program.history.moved(elapsed),
            Some(Stop::CallsPort) => program.history.moved_to_port(),
            _ => {
                program.history.ended(tier == Tier::Inline, Spent { operations, elapsed, called_port });
                return Some(Ended { result, logs, at, peak_memory, secrets });
            }
        }
        None
    }

    /// Evaluates a program by this thread's meter, whatever becomes of it.
    pub fn guarded(&self, program: &Arc<Program>, invocation: &Arc<Invocation>) -> Result<ScriptResponse, Failed> {
        let run = AssertUnwindSafe(|| self.evaluate(program, invocation));
        catch_unwind(run).unwrap_or_else(|panic| {
            if let Some(stop) = stopped() {
                return Err(failure::of_stop(stop, None));
            }
            panics::report(invocation.script.row.id, &*panic);
            Err(Failed::error("the script broke the interpreter; its run was ended"))
        })
    }

    fn evaluate(&self, program: &Arc<Program>, invocation: &Arc<Invocation>) -> Result<ScriptResponse, Failed> {
        let mut scope = Scope::new();
        let (ctx, _loan) = Context::lend(invocation, program.lending);
        scope.push_constant_dynamic("ctx", Dynamic::from(ctx));
        let value = program.evaluate(&mut scope);
        let result = match (stopped(), value) {
            (None, Ok(value)) => response::answer(&value, self.max_response_bytes),
            (None, Err(error)) => match failure::exited(&error) {
                Some(value) => response::answer(value, self.max_response_bytes),
                None => Err(failure::of_error(*error)),
            },
            (Some(stop), value) => return Err(failure::of_stop(stop, value.err().map(|error| *error))),
        };
        // Writing the answer is work of the script's, and may have been too much.
        stopped().map_or(result, |stop| Err(failure::of_stop(stop, None)))
    }
}
