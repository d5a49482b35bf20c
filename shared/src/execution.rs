//! The record of one run of a script, and the trait of whoever keeps such records.

mod record_policy;
mod redactor;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{EventOp, EventSource};
use crate::id::{AppId, EventId, ExecutionId, RouteId, ScriptId, TriggerId};
use crate::request::RequestHead;
use crate::secret::GivenSecrets;

pub use record_policy::{InvalidRedactedHeaders, RecordPolicy, RedactedHeaders};
pub use redactor::Redactor;

/// Bytes of each body that a record keeps.
pub const RECORDED_BODY_BYTES: usize = 4 * 1024;
/// Bytes of a failure's message, but for the module that it names; a longer one is cut.
pub const MAX_FAILURE_BYTES: usize = 4 * 1024;
/// Log lines that one execution may write.
pub const MAX_LOG_LINES: usize = 256;
/// Bytes of log messages and data that one execution may write.
pub const MAX_LOG_BYTES: usize = 64 * 1024;

/// A text that is none of the known words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownWord(pub &'static str);

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The script returned; the status it chose does not matter.
    Success,
    /// An uncaught throw, a type error, or a response that cannot be sent.
    Error,
    /// The wall clock passed the script's timeout.
    Timeout,
    /// One of the limits was reached.
    BudgetExceeded,
    /// There was no capacity to run it.
    Rejected,
}

impl Outcome {
    /// The stable word for storage and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Rejected => "rejected",
        }
    }

    /// The status that a caller gets where the script gave no response.
    pub const fn failure_status(self) -> StatusCode {
        match self {
            Self::Success => StatusCode::OK,
            Self::Error => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BudgetExceeded => StatusCode::INSUFFICIENT_STORAGE,
            Self::Rejected => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Ok(match text {
            "success" => Self::Success,
            "error" => Self::Error,
            "timeout" => Self::Timeout,
            "budget_exceeded" => Self::BudgetExceeded,
            "rejected" => Self::Rejected,
            _ => {
                return Err(UnknownWord("an outcome is success, error, timeout, budget_exceeded or rejected"));
            }
        })
    }
}

/// What started an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OriginJson", into = "OriginJson")]
pub enum Origin {
    /// A request that matched this route.
    Route(RouteId),
    /// `/api/v1/execute/{script_id}`.
    ById,
    /// The test panel.
    Test,
    /// Another script of the app, by `invoke`.
    Invoke,
    /// Events, which this trigger is for.
    Trigger(TriggerId),
    /// An event that was made for the script itself: a call that nobody waits for.
    Event,
}

/// An origin as JSON has it, where each id is named for what it is of.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum OriginJson {
    Route { route_id: RouteId },
    ById,
    Test,
    Invoke,
    Trigger { trigger_id: TriggerId },
    Event,
}

impl From<Origin> for OriginJson {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Route(route_id) => Self::Route { route_id },
            Origin::ById => Self::ById,
            Origin::Test => Self::Test,
            Origin::Invoke => Self::Invoke,
            Origin::Trigger(trigger_id) => Self::Trigger { trigger_id },
            Origin::Event => Self::Event,
        }
    }
}

impl From<OriginJson> for Origin {
    fn from(origin: OriginJson) -> Self {
        match origin {
            OriginJson::Route { route_id } => Self::Route(route_id),
            OriginJson::ById => Self::ById,
            OriginJson::Test => Self::Test,
            OriginJson::Invoke => Self::Invoke,
            OriginJson::Trigger { trigger_id } => Self::Trigger(trigger_id),
            OriginJson::Event => Self::Event,
        }
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// `log::trace` and Rhai's `debug(...)`.
    Trace,
    /// `log::info` and `print`.
    Info,
    /// `log::warn`.
    Warn,
    /// `log::error`.
    Error,
}

/// One line that a script logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was logged.
    pub time: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// The structured data given with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// Why an execution did not return a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionFailure {
    /// What went wrong, for those who may read the script.
    pub message: String,
    /// 1-based line in the script, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// 1-based column in that line, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The name of the limit that was reached, such as `max_operations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// What a record tells of what a script was given.
#[derive(Debug, Clone)]
pub enum RecordedInput {
    /// A request.
    Request {
        /// Its head.
        head: Arc<RequestHead>,
        /// The first [`RECORDED_BODY_BYTES`] of its body, as far as the app lets bodies be kept.
        body: Bytes,
        /// The length of the whole body, in bytes.
        body_len: usize,
        /// The event that it was kept as, if it was answered when it came.
        event: Option<EventAttempt>,
    },
    /// Events.
    Events(Box<[RecordedEvent]>),
}

/// An attempt at the event that a request was kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EventAttempt {
    /// Its id, the same at each attempt.
    pub id: EventId,
    /// Which attempt it was.
    pub attempt: u32,
}

/// What a record tells of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedEvent {
    /// Its id, the same at each attempt.
    pub id: EventId,
    /// Where it comes from.
    pub source: EventSource,
    /// What happened there.
    pub op: EventOp,
    /// Which attempt it was.
    pub attempt: u32,
    /// The beginning of the JSON of its payload, as far as the app lets bodies be kept.
    pub payload: Box<str>,
    /// The length of the whole payload, in bytes.
    pub payload_len: usize,
}

/// The response part of a record.
#[derive(Debug, Clone)]
pub struct RecordedResponse {
    /// The headers that the script set.
    pub headers: HeaderMap,
    /// The first [`RECORDED_BODY_BYTES`] of the body, as far as the app lets bodies be kept.
    pub body: Bytes,
    /// The length of the whole body, in bytes.
    pub body_len: usize,
}

/// One run of a script, whatever started it. Nothing of it is redacted yet, neither headers nor secrets: the sink does that by the
/// record's policy and by what the run was given, off the request's path.
#[derive(Debug, Clone)]
pub struct ExecutionRecord {
    /// The execution's id, which the caller saw in `x-execution-id`.
    pub id: ExecutionId,
    /// The app.
    pub app_id: AppId,
    /// The script.
    pub script_id: ScriptId,
    /// The version of the script that ran; 0 for unsaved source.
    pub script_version: u32,
    /// What started it.
    pub origin: Origin,
    /// When it was admitted.
    pub started_at: Timestamp,
    /// From admission to the script's end, waiting included.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the caller got.
    pub status: StatusCode,
    /// What of the headers may be kept.
    pub policy: Arc<RecordPolicy>,
    /// What the script was given.
    pub input: RecordedInput,
    /// What the script answered, on success.
    pub response: Option<RecordedResponse>,
    /// Why it failed, otherwise.
    pub failure: Option<ExecutionFailure>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// The secrets that it was given, of which nothing may be kept.
    pub secrets: GivenSecrets,
}

/// Whoever keeps execution records.
pub trait ExecutionSink: Send + Sync + 'static {
    /// Takes a record. Never waits and never fails: a sink that is full drops the record and counts it.
    fn record(&self, record: ExecutionRecord);
}
