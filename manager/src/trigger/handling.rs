//! How events are handled: what their trigger says, or the defaults where there is none. Pure rules.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::id::TriggerId;
use picloud_shared::snapshot::PublishedApp;
use picloud_shared::trigger::{Backoff, MaxAttempts, Trigger, TriggerSource};

use crate::events::{Handler, Lane};

/// Events that one run of a trigger is given that has no size of batches, and such runs at once.
const ONE: u32 = 1;
const OTHERS_AT_ONCE: u32 = 4;

/// How events are handled.
pub(super) struct Handling {
    /// The trigger; none for what was made for the script itself.
    pub trigger: Option<TriggerId>,
    pub max_attempts: MaxAttempts,
    pub backoff: Backoff,
    pub timeout: Option<Duration>,
    /// Events that one run is given at most, and runs at once.
    pub batch: u32,
    pub concurrency: u32,
}

impl Handling {
    pub(super) fn of_trigger(trigger: &Trigger) -> Self {
        let (batch, concurrency) = match &trigger.source {
            TriggerSource::Queue { batch_size, concurrency, .. } => (batch_size.get(), concurrency.get()),
            _ => (ONE, OTHERS_AT_ONCE),
        };
        let Trigger { id, max_attempts, backoff, timeout, .. } = *trigger;
        Self { trigger: Some(id), max_attempts, backoff, timeout, batch, concurrency }
    }

    /// Of what was made for a script itself.
    pub(super) fn of_script() -> Self {
        Self {
            trigger: None,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            timeout: None,
            batch: ONE,
            concurrency: OTHERS_AT_ONCE,
        }
    }
}

/// Where the events of a trigger wait.
pub(super) fn lane_of(trigger: &Trigger) -> Lane {
    match &trigger.source {
        TriggerSource::Queue { queue, .. } => Lane::Queue(queue.clone()),
        TriggerSource::Cron { .. }
        | TriggerSource::Kv { .. }
        | TriggerSource::Docs { .. }
        | TriggerSource::DeadLetter => Lane::Trigger(trigger.id),
    }
}

/// Who is told of the dead letters of an app.
pub(super) fn handler_of(app: &PublishedApp) -> Option<Handler> {
    let handles = |trigger: &&Arc<Trigger>| trigger.enabled && trigger.source == TriggerSource::DeadLetter;
    app.triggers()
        .iter()
        .find(handles)
        .map(|trigger| Handler { trigger: trigger.id, shown: Arc::clone(app.record_policy()) })
}
