//! `queue::send`: messages to the app's queues.

use std::sync::LazyLock;
use std::time::Duration;

use picloud_shared::event::{
    DedupKey, EventPayload, InvalidDedupKey, InvalidPayload, MAX_DELAY, MAX_PAYLOAD_BYTES, QueueMessage,
};
use picloud_shared::name::{InvalidQueueName, QueueName};
use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use super::native::{self, Fallible};
use super::port::{self, refused};
use crate::json::{self, WriteError};
use crate::port::{PortCaller, Ports};

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("send")
            .with_volatility(true)
            .set_into_module(module, |call: NativeCallContext, name: ImmutableString, payload: Dynamic| {
                send(&call, &name, &payload, None)
            });
        FuncRegistration::new("send").with_volatility(true).set_into_module(
            module,
            |call: NativeCallContext, name: ImmutableString, payload: Dynamic, options: Map| {
                send(&call, &name, &payload, Some(&options))
            },
        );
    })
});

/// The module `queue`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn send(call: &NativeCallContext, name: &str, payload: &Dynamic, options: Option<&Map>) -> Fallible<ImmutableString> {
    let queue: QueueName = name.parse().map_err(|error: InvalidQueueName| invalid(call, &error.to_string()))?;
    let payload = written(call, "queue::send", payload)?;
    let Options { delay, dedup_key } = options.map_or(Ok(Options::default()), |options| read(call, options))?;
    // Another thread may drop what is handed over, so that it is made beside the run.
    let work = |ports: &Ports, caller: &PortCaller| {
        let payload = EventPayload::of_written(&*payload).unwrap_or_default();
        let dedup_key = dedup_key.as_deref().and_then(|key| key.parse::<DedupKey>().ok());
        let message = QueueMessage { queue: queue.as_str().parse().ok()?, payload, delay, dedup_key };
        Some(ports.queues.as_deref()?.send(caller, message))
    };
    port::call(call, work, |id| Ok(id.to_string().into()))
}

/// How a message is sent.
#[derive(Default)]
struct Options {
    delay: Duration,
    dedup_key: Option<ImmutableString>,
}

fn read(call: &NativeCallContext, options: &Map) -> Fallible<Options> {
    let mut known = Options::default();
    for (name, value) in options {
        match name.as_str() {
            "delay" => {
                let seconds = value.as_int().ok().and_then(|seconds| u64::try_from(seconds).ok());
                let within = seconds.map(Duration::from_secs).filter(|delay| *delay <= MAX_DELAY);
                let most = MAX_DELAY.as_secs();
                known.delay =
                    within.ok_or_else(|| invalid(call, &format!("delay is an integer of seconds from 0 to {most}")))?;
            }
            "dedup_key" => {
                let key = value.as_immutable_string_ref().ok().map(|key| (*key).clone());
                let key = key.ok_or_else(|| invalid(call, "dedup_key is a string"))?;
                let parsed: Result<DedupKey, InvalidDedupKey> = key.parse();
                parsed.map_err(|error| invalid(call, &error.to_string()))?;
                known.dedup_key = Some(key);
            }
            other => {
                let message = format!("there is no option {}; there are delay and dedup_key", native::cut(other));
                return Err(invalid(call, &message));
            }
        }
    }
    Ok(known)
}

/// The payload as it is stored: a blob becomes base64, as it does within JSON anywhere.
pub(super) fn written(call: &NativeCallContext, function: &str, payload: &Dynamic) -> Fallible<String> {
    let invalid = |what: &str| refused(call, "invalid", &format!("{function}: {what}"));
    let text = json::write(payload, MAX_PAYLOAD_BYTES).map_err(|error| match error {
        WriteError::TooLong => invalid(&InvalidPayload::TooLong.to_string()),
        other => invalid(&other.to_string()),
    })?;
    String::from_utf8(text).map_err(|_| invalid(&InvalidPayload::NotJson.to_string()))
}

fn invalid(call: &NativeCallContext, what: &str) -> Box<EvalAltResult> {
    refused(call, "invalid", &format!("queue::send: {what}"))
}
