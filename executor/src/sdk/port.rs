//! How native functions call ports: the run is on a worker, or the port answers at once; the call is paid for, and what it failed with is
//! an error that a script can catch, with a `code` and a `message`.

use std::cell::RefCell;
use std::sync::Arc;

use picloud_shared::id::AppId;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, NativeCallContext};

use super::native::Fallible;
use crate::limits::{before_port, charge, deadline, is_inline, time_out, time_out_unsettled};
use crate::memory::beside;
use crate::port::{PortCaller, PortError, Ports};

/// What a call costs beside its bytes: that many operations take some 5 us, as the quickest call of a port does.
const CALL_OPERATIONS: u64 = 100;

/// What is charged beside that for a call that is refused: it changed nothing, so that no disk made its script wait, and still took
/// the time of those who write for all.
const REFUSED_OPERATIONS: u64 = 1_000;

thread_local! {
    static REACH: RefCell<Option<Reach>> = const { RefCell::new(None) };
}

/// What the script on this thread reaches, and as whom.
#[derive(Clone)]
struct Reach {
    ports: Arc<Ports>,
    app: AppId,
    event_depth: u32,
}

/// Has the script of an app that `run` runs on this thread reach these ports, and make events that are so deep.
pub fn reaching<T>(ports: &Arc<Ports>, app: AppId, event_depth: u32, run: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            REACH.take();
        }
    }
    REACH.set(Some(Reach { ports: Arc::clone(ports), app, event_depth }));
    let _reset = Reset;
    run()
}

/// Calls a port, which `work` picks, or finds missing. `read` makes of the answer what the script gets.
///
/// The answer comes from other threads and the memory of what makes it is shared, so it is made and dropped beside the run's;
/// only what `read` makes is the run's.
pub fn call<A, T>(
    call: &NativeCallContext,
    work: impl FnOnce(&Ports, &PortCaller) -> Option<Result<A, PortError>>,
    read: impl FnOnce(&A) -> Fallible<T>,
) -> Fallible<T> {
    before_port()?;
    charge(CALL_OPERATIONS)?;
    let (reach, caller) = reach().ok_or_else(|| unavailable(call))?;
    let answer = beside(|| work(&reach.ports, &caller));
    made_of(call, answer, read)
}

/// The same of what a port answers at once where `is_quick` says so: then the run may stay on the thread that began it. There
/// `at_once` is called; it gives nothing where it might have to wait, and the run moves to a worker.
pub fn ask<A, T>(
    call: &NativeCallContext,
    is_quick: impl FnOnce(&Ports) -> bool,
    at_once: impl FnOnce(&Ports, &PortCaller) -> Option<Result<A, PortError>>,
    work: impl FnOnce(&Ports, &PortCaller) -> Option<Result<A, PortError>>,
    read: impl FnOnce(&A) -> Fallible<T>,
) -> Fallible<T> {
    let (reach, caller) = reach().ok_or_else(|| unavailable(call))?;
    if !is_quick(&reach.ports) {
        before_port()?;
    }
    charge(CALL_OPERATIONS)?;
    if !is_inline() {
        return made_of(call, beside(|| work(&reach.ports, &caller)), read);
    }
    let answer = beside(|| at_once(&reach.ports, &caller));
    if answer.is_none() {
        before_port()?;
    }
    made_of(call, answer, read)
}

fn reach() -> Option<(Reach, PortCaller)> {
    let reach = REACH.with_borrow(Clone::clone)?;
    let caller = PortCaller { app: reach.app, deadline: deadline()?, event_depth: reach.event_depth };
    Some((reach, caller))
}

/// What the script gets, of memory that is its own.
fn made_of<A, T>(
    call: &NativeCallContext,
    answer: Option<Result<A, PortError>>,
    read: impl FnOnce(&A) -> Fallible<T>,
) -> Fallible<T> {
    match answer {
        None => Err(unavailable(call)),
        Some(Ok(answer)) => {
            let made = read(&answer);
            beside(|| drop(answer));
            made
        }
        Some(Err(error)) => {
            let thrown = match &error {
                PortError::Refused { code, message } => {
                    charge(REFUSED_OPERATIONS).err().unwrap_or_else(|| refused(call, code, message))
                }
                PortError::TooLate => time_out(),
                PortError::Unsettled => time_out_unsettled(),
            };
            beside(|| drop(error));
            Err(thrown)
        }
    }
}

/// An error of a call, as scripts catch it.
pub fn refused(call: &NativeCallContext, code: &'static str, message: &str) -> Box<EvalAltResult> {
    let mut error = Map::new();
    error.insert("code".into(), Dynamic::from(ImmutableString::from(code)));
    error.insert("message".into(), Dynamic::from(ImmutableString::from(message)));
    EvalAltResult::ErrorRuntime(Dynamic::from_map(error), call.call_position()).into()
}

fn unavailable(call: &NativeCallContext) -> Box<EvalAltResult> {
    refused(call, "unavailable", "this service is not available here")
}
