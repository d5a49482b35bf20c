//! One run as its caller sees it: what is asked for, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use picloud_shared::event::Event;
use picloud_shared::execution::{
    EventAttempt, ExecutionFailure, LogLine, Origin, Outcome, RecordPolicy, RecordedInput,
};
use picloud_shared::id::ExecutionId;
use picloud_shared::request::ScriptRequest;
use picloud_shared::secret::GivenSecrets;
use picloud_shared::snapshot::{PublishedApp, PublishedScript};

/// One run to be done.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The id that the caller sees in `x-execution-id`.
    pub execution_id: ExecutionId,
    /// The app as the request's snapshot has it; modules come from here.
    pub app: Arc<PublishedApp>,
    /// The script to run.
    pub script: Arc<PublishedScript>,
    /// What it is given.
    pub input: Input,
    /// What started it.
    pub origin: Origin,
    /// How long it may take, where that is less than the script's own timeout.
    pub timeout: Option<Duration>,
}

/// What a run is given.
#[derive(Debug, Clone)]
pub enum Input {
    /// A request to be answered.
    Request(ScriptRequest),
    /// Events to be handled: one at least.
    Events(Arc<[Event]>),
    /// A request that was answered when it came, and the event that it was kept as. What the script answers reaches nobody.
    Deferred(ScriptRequest, Event),
}

impl From<ScriptRequest> for Input {
    fn from(request: ScriptRequest) -> Self {
        Self::Request(request)
    }
}

impl Input {
    /// The request, where there is one.
    pub(crate) fn request(&self) -> Option<&ScriptRequest> {
        match self {
            Self::Request(request) | Self::Deferred(request, _) => Some(request),
            Self::Events(_) => None,
        }
    }

    /// The events, if there are any.
    pub(crate) fn events(&self) -> &[Event] {
        match self {
            Self::Request(_) => &[],
            Self::Events(events) => events,
            Self::Deferred(_, event) => std::slice::from_ref(event),
        }
    }
}

impl Invocation {
    /// How long it may take.
    pub(crate) fn timeout(&self) -> Duration {
        let own = self.script.row.limits.timeout;
        self.timeout.map_or(own, |timeout| timeout.min(own))
    }

    /// How many events stand between those that it makes and what was not caused by one.
    pub(crate) fn event_depth(&self) -> u32 {
        self.input.events().iter().map(|event| event.depth).max().map_or(0, |depth| depth.saturating_add(1))
    }

    /// What its record tells of what it is given.
    pub(crate) fn recorded_input(&self, policy: &RecordPolicy) -> RecordedInput {
        let events = self.input.events();
        let Some(ScriptRequest { head, body, .. }) = self.input.request() else {
            return RecordedInput::Events(policy.recorded_events(events));
        };
        RecordedInput::Request {
            head: Arc::clone(head),
            body: policy.recorded_body(body),
            body_len: body.len(),
            event: events.first().map(|event| EventAttempt { id: event.id, attempt: event.attempt }),
        }
    }
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
    /// From admission to its end, compiling included.
    pub duration: Duration,
    /// The most memory that the script held at once, in bytes; 0 if it did not begin.
    pub peak_memory: usize,
    /// The secrets that it was given. They may stand in `failure` and `logs`, which are shown to nobody before they are taken out.
    pub secrets: GivenSecrets,
}
