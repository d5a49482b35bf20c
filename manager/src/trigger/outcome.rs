//! What a run's end means for the events that it was given: pure rules.

use std::collections::HashSet;
use std::time::Duration;

use picloud_executor::Completion;
use picloud_shared::clock::Timestamp;
use picloud_shared::event::{Event, EventSource, MAX_AGE, MAX_DEPTH};
use picloud_shared::execution::Outcome;
use picloud_shared::id::EventId;
use picloud_shared::trigger::MaxAttempts;
use rand::RngExt;
use serde::Deserialize;

use crate::events::EventRow;

/// A time that no clock shows which was set since this was written: 2026.
const CLOCKS_ARE_SET: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How long an event waits at least for which there was no capacity, and at most twice as long.
const UNTIL_CAPACITY: Duration = Duration::from_secs(1);

/// What became of one event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OfEvent {
    Handled,
    /// There was no capacity, which is not the event's fault.
    NotTried,
    Failed {
        outcome: &'static str,
        error: String,
    },
}

/// What became of all events of a run.
pub(super) enum OfRun {
    All(OfEvent),
    /// These failed, as the script said, and the others were handled.
    Some(HashSet<EventId>),
}

impl OfRun {
    pub(super) fn of(&self, id: EventId) -> OfEvent {
        match self {
            Self::All(of_event) => of_event.clone(),
            Self::Some(failed) if failed.contains(&id) => {
                failed_by_script("the script returned it among those that failed")
            }
            Self::Some(_) => OfEvent::Handled,
        }
    }
}

fn failed_by_script(error: &str) -> OfEvent {
    OfEvent::Failed { outcome: "failed", error: error.to_owned() }
}

/// What a script may return: the events that are to be tried again.
#[derive(Deserialize)]
struct Answer {
    failed: serde_json::Value,
}

/// What a run's end means for its events.
pub(super) fn of_run(completion: &Completion, given: &[Event]) -> OfRun {
    match completion.outcome {
        // What answers a request is for its caller, who is gone.
        Outcome::Success if given.iter().all(|event| event.source == EventSource::Http) => OfRun::All(OfEvent::Handled),
        Outcome::Success => of_answer(completion.response.as_ref().map_or(&[][..], |response| &response.body), given),
        Outcome::Rejected => OfRun::All(OfEvent::NotTried),
        outcome => {
            let error = completion.failure.as_ref().map_or_else(String::new, |failure| {
                let place = failure.line.map(|line| format!(" (line {line})")).unwrap_or_default();
                format!("{}{place}", failure.message)
            });
            OfRun::All(OfEvent::Failed { outcome: outcome.as_str(), error })
        }
    }
}

fn of_answer(body: &[u8], given: &[Event]) -> OfRun {
    if body.first() != Some(&b'{') {
        return OfRun::All(OfEvent::Handled);
    }
    let Ok(Answer { failed }) = serde_json::from_slice(body) else { return OfRun::All(OfEvent::Handled) };
    let listed: Option<HashSet<EventId>> = failed.as_array().and_then(|ids| {
        let id = |id: &serde_json::Value| id.as_str()?.parse().ok();
        ids.iter().map(id).collect()
    });
    match listed {
        Some(failed) if failed.iter().all(|id| given.iter().any(|event| event.id == *id)) => OfRun::Some(failed),
        // Which events it means is not known, and none may be lost.
        _ => OfRun::All(failed_by_script("`failed` is to be an array of ids of events that the script was given")),
    }
}

/// Why an event that was taken is not tried any more, if it is not.
pub(super) fn given_up(event: &EventRow, max_attempts: MaxAttempts, now: Timestamp) -> Option<String> {
    if event.depth > MAX_DEPTH {
        return Some(format!("a loop of triggers: the event stands {} events deep, over {MAX_DEPTH}", event.depth));
    }
    // This one is counted already.
    if event.attempt > max_attempts.get() {
        let last = event.last_error.as_deref().unwrap_or("it has no attempt left");
        return Some(last.to_owned());
    }
    // A clock that was not set yet says nothing of its age.
    let tried = event.first_attempt_at.filter(|first| event.attempt > 2 && *first > CLOCKS_ARE_SET);
    let first = tried.filter(|first| now.since(*first) > MAX_AGE)?;
    let last = event.last_error.as_deref().unwrap_or("there was no capacity for it");
    Some(format!("it was tried since {first}, for over seven days: {last}"))
}

/// At random up to that much: events that failed together do not come again together.
pub(super) fn jitter(most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rand::rng().random_range(0..=most))
}

/// How long an event waits for which there was no capacity.
pub(super) fn until_capacity() -> Duration {
    UNTIL_CAPACITY + jitter(UNTIL_CAPACITY)
}
