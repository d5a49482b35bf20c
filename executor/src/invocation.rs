//! One run as its caller sees it: what is asked for, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use picloud_shared::execution::{ExecutionFailure, LogLine, Origin, Outcome};
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
    /// The request to be answered.
    pub request: ScriptRequest,
    /// What started it.
    pub origin: Origin,
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
