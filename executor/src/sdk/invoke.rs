//! `invoke(script, payload)`: another endpoint of the app runs at once, and what it answers is a map that is a response itself; and
//! `invoke_async`: it runs later, and nobody waits for it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use picloud_shared::event::EventPayload;
use picloud_shared::execution::ExecutionFailure;
use rhai::{Array, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext};

use super::native::{Fallible, cut};
use super::port::{self, refused};
use super::queue::written;
use crate::context::ContentType;
use crate::failure::Failed;
use crate::invocation::ScriptResponse;
use crate::json::{self, Left, ReadError, SizeLimits, TooLarge, WriteError};
use crate::limits::{before_port, charge, charge_bytes, charge_copied, go_on, reserve_bytes};
use crate::nested::{self, Ended, MAX_DEPTH, MAX_RUNS, NotRun};
use crate::port::{PortCaller, Ports};

/// What a call costs beside what the script itself does: a context, a record and its way to the log, some 10 us.
const CALL_OPERATIONS: u64 = 500;

/// Bytes of a payload, as a request's body has by default.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// Registers it.
pub fn register(module: &mut Module) {
    let function = || FuncRegistration::new("invoke").in_global_namespace().with_volatility(true);
    function().set_into_module(module, |call: NativeCallContext, script: ImmutableString| {
        invoke(&call, &script, &Dynamic::UNIT)
    });
    function().set_into_module(module, |call: NativeCallContext, script: ImmutableString, payload: Dynamic| {
        invoke(&call, &script, &payload)
    });
    let function = || FuncRegistration::new("invoke_async").in_global_namespace().with_volatility(true);
    function().set_into_module(module, |call: NativeCallContext, script: ImmutableString| {
        invoke_later(&call, &script, &Dynamic::UNIT)
    });
    function().set_into_module(module, |call: NativeCallContext, script: ImmutableString, payload: Dynamic| {
        invoke_later(&call, &script, &payload)
    });
}

/// Has a script be called by an event; the event's id.
fn invoke_later(call: &NativeCallContext, script: &str, payload: &Dynamic) -> Fallible<ImmutableString> {
    const NAME: &str = "invoke_async";
    // Which app's script it is stands where runs may wait.
    before_port()?;
    let payload = written(call, NAME, payload)?;
    let script = nested::endpoint(script).map_err(|not_run| not_run.thrown(call, NAME, script))?;
    let work = |ports: &Ports, caller: &PortCaller| {
        let payload = EventPayload::of_written(&*payload).unwrap_or_default();
        Some(ports.queues.as_deref()?.call(caller, script, payload))
    };
    port::call(call, work, |id| Ok(id.to_string().into()))
}

fn invoke(call: &NativeCallContext, script: &str, payload: &Dynamic) -> Fallible<Map> {
    // The run leaves a record, and so must not begin twice.
    before_port()?;
    charge(CALL_OPERATIONS)?;
    let payload = json::write(payload, MAX_PAYLOAD_BYTES).map_err(|error| match error {
        WriteError::TooLong => {
            refused(call, "invalid", &format!("invoke: a payload has at most {MAX_PAYLOAD_BYTES} bytes as JSON"))
        }
        other => refused(call, "invalid", &format!("invoke: {other}")),
    })?;
    let ended = nested::invoke(script, payload.into()).map_err(|not_run| not_run.thrown(call, "invoke", script));
    // What ended a run for good ends its caller, whatever that would catch.
    go_on()?;
    let Ended { execution_id, result } = ended?;
    match result {
        Ok(response) => answer(call, &response),
        Err(Failed { outcome, failure }) => {
            let mut error = refused(call, outcome.as_str(), &told(script, &failure));
            if let EvalAltResult::ErrorRuntime(thrown, _) = &mut *error
                && let Ok(mut thrown) = thrown.as_map_mut()
            {
                thrown.insert("execution_id".into(), execution_id.to_string().into());
            }
            Err(error)
        }
    }
}

impl NotRun {
    fn thrown(self, call: &NativeCallContext, function: &str, script: &str) -> Box<EvalAltResult> {
        let name = cut(script);
        let (code, message) = match self {
            Self::Missing => ("not_found", format!("{function}: the app has no script {name:?}")),
            Self::Module => ("invalid", format!("{function}: {name:?} is a module, which is imported and not invoked")),
            Self::TooDeep => (
                "too_deep",
                format!(
                    "invoke: {name:?} would be more than {MAX_DEPTH} scripts deep; do they invoke each other in a circle?"
                ),
            ),
            Self::TooMany => {
                ("too_many", format!("invoke: a request and all that it invokes may invoke {MAX_RUNS} times"))
            }
            Self::StackUsed => {
                ("too_deep", "invoke: the scripts that invoke each other have nested too many calls".to_owned())
            }
            Self::Nowhere => ("unavailable", format!("{function}: this service is not available here")),
        };
        refused(call, code, &message)
    }
}

/// Why a script failed, with where: all scripts of an app are its author's.
fn told(script: &str, failure: &ExecutionFailure) -> String {
    let place = match (failure.line, failure.column) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        (Some(line), None) => format!(" (line {line})"),
        _ => String::new(),
    };
    format!("the script {script:?} failed: {}{place}", failure.message)
}

/// A response as the caller gets it, which it can return as its own.
fn answer(call: &NativeCallContext, response: &ScriptResponse) -> Fallible<Map> {
    let left = || Left::new(SizeLimits::of(call.engine()));
    let too_large = |what: TooLarge| what.thrown(call.call_position());
    let mut answer = Map::new();
    answer.insert("status".into(), i64::from(response.status.as_u16()).into());
    answer.insert("headers".into(), headers(&response.headers, &left()).map_err(too_large)?);
    answer.insert("body".into(), body(call, response, &left)?);
    Ok(answer)
}

/// Headers by lower-case name; one that comes several times is an array.
fn headers(headers: &HeaderMap, left: &Left) -> Result<Dynamic, TooLarge> {
    let mut map = Map::new();
    for name in headers.keys() {
        left.entry()?;
        left.string(name.as_str())?;
        let mut values = Array::new();
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            left.string(&value)?;
            left.element()?;
            values.push(value.as_ref().into());
        }
        let value = if values.len() == 1 { values.swap_remove(0) } else { Dynamic::from_array(values) };
        map.insert(name.as_str().into(), value);
    }
    Ok(Dynamic::from_map(map))
}

/// The body by its content type, as a request's: JSON is a value, text a string, anything else a blob, none `()`. What is not what it
/// claims to be is the next of these.
fn body(call: &NativeCallContext, response: &ScriptResponse, left: &dyn Fn() -> Left) -> Fallible<Dynamic> {
    let too_large = |what: TooLarge| what.thrown(call.call_position());
    let body = &response.body;
    if body.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    let header = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = ContentType::parse(header.unwrap_or_default());
    if kind.is_json() {
        charge_bytes(body.len())?;
        match json::read_within(body, &left()) {
            Err(ReadError::Invalid(_)) => {}
            read => return read.map_err(|error| error.thrown(call.call_position())),
        }
    }
    if kind.is_json() || kind.is_form() || kind.is_text() {
        charge_copied(body.len())?;
        reserve_bytes(kind.decoded_len(body))?;
        if let Ok(text) = kind.decode(body) {
            left().string(&text).map_err(too_large)?;
            return Ok(text.as_ref().into());
        }
    }
    left().blob(body).map_err(too_large)?;
    charge_copied(body.len())?;
    reserve_bytes(body.len())?;
    Ok(Dynamic::from_blob(body.to_vec()))
}
