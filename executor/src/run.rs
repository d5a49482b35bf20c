//! One attempt at a run, on the thread that it is called on: evaluate, answer, collect the log.
//!
//! All values of the script live and die in here, on a stack that is large enough for them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use picloud_shared::clock::Clock;
use picloud_shared::execution::LogLine;
use rhai::{Dynamic, Scope};

use crate::compiled::Program;
use crate::context::Context;
use crate::executor::{Invocation, ScriptResponse};
use crate::failure::{self, Failed};
use crate::limits::{Allowance, Metered, Stop};
use crate::response;
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
}

impl Ended {
    /// A run that ended before its script began.
    pub fn before_start(failed: Failed) -> Self {
        Self { result: Err(failed), logs: Vec::new(), at: Instant::now() }
    }
}

/// What all attempts share.
pub struct Surroundings {
    /// For the times of log lines.
    pub clock: Arc<dyn Clock>,
    /// Bytes of a response's body.
    pub max_response_bytes: usize,
}

impl Surroundings {
    /// Runs a program on this thread until its end, or gives nothing when it is too long for the inline tier; then nothing
    /// that it did is left, and it can be run again. `begun` is now.
    pub fn attempt(
        &self,
        tier: Tier,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
        begun: Instant,
        deadline: Instant,
    ) -> Option<Ended> {
        let limits = &invocation.script.row.limits;
        let allowance = match tier {
            Tier::Inline => Allowance::inline(limits.max_operations, begun),
            Tier::Worker => Allowance::worker(limits.max_operations, deadline, program.captures),
        };
        let meter = Metered::start(allowance);
        let (result, logs) = sdk::logging(&self.clock, || self.guarded(&meter, program, invocation));
        let (stop, operations, at) = (meter.stop(), meter.used(), Instant::now());
        let elapsed = at - begun;
        drop(meter);
        if stop == Some(Stop::Inline) {
            program.history.moved();
            return None;
        }
        program.history.ended(operations, elapsed);
        Some(Ended { result, logs, at })
    }

    fn guarded(
        &self,
        meter: &Metered,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
    ) -> Result<ScriptResponse, Failed> {
        let run = AssertUnwindSafe(|| self.evaluate(meter, program, invocation));
        catch_unwind(run).unwrap_or_else(|panic| {
            let panic = message(&*panic);
            let script = invocation.script.row.id;
            tracing::error!(%script, execution = %invocation.execution_id, panic, "a script's run panicked");
            Err(match meter.stop() {
                Some(stop) => failure::of_stop(stop, None),
                None => Failed::error("the script broke the interpreter; its run was ended"),
            })
        })
    }

    fn evaluate(
        &self,
        meter: &Metered,
        program: &Arc<Program>,
        invocation: &Arc<Invocation>,
    ) -> Result<ScriptResponse, Failed> {
        let mut scope = Scope::new();
        scope.push_constant_dynamic("ctx", Dynamic::from(Context::new(Arc::clone(invocation))));
        let value = program.evaluate(&mut scope);
        match (meter.stop(), value) {
            (None, Ok(value)) => response::answer(&value, self.max_response_bytes),
            (None, Err(error)) => Err(failure::of_error(*error)),
            (Some(stop), value) => Err(failure::of_stop(stop, value.err().map(|error| *error))),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
