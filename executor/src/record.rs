//! The record of one run, as the sink gets it: for a run that a request started and for one that another script did.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{ExecutionFailure, ExecutionRecord, LogLine, Outcome, RecordedResponse};
use picloud_shared::secret::GivenSecrets;

use crate::invocation::{Invocation, ScriptResponse};

/// How a run ended.
pub struct Ending<'e> {
    /// When it was admitted.
    pub started_at: Timestamp,
    /// From then to its end.
    pub duration: Duration,
    /// How.
    pub outcome: Outcome,
    /// What the script answered, with the headers as the record may keep them.
    pub response: Option<(&'e ScriptResponse, HeaderMap)>,
    /// Why it failed.
    pub failure: Option<&'e ExecutionFailure>,
    /// What it logged.
    pub logs: &'e [LogLine],
    /// The secrets that may stand in any of it.
    pub secrets: GivenSecrets,
}

/// The record of a run that ended so.
pub fn of(invocation: &Invocation, ending: Ending<'_>) -> ExecutionRecord {
    let Invocation { execution_id, app, script, origin, .. } = invocation;
    let Ending { started_at, duration, outcome, response, failure, logs, secrets } = ending;
    let policy = app.record_policy();
    ExecutionRecord {
        id: *execution_id,
        app_id: app.app().id,
        script_id: script.row.id,
        script_version: script.row.version,
        origin: *origin,
        started_at,
        duration,
        outcome,
        status: response.as_ref().map_or(outcome.failure_status(), |(response, _)| response.status),
        policy: Arc::clone(policy),
        input: invocation.recorded_input(policy),
        response: response.map(|(response, headers)| RecordedResponse {
            headers,
            body: policy.recorded_body(&response.body),
            body_len: response.body.len(),
        }),
        failure: failure.cloned(),
        logs: logs.to_vec(),
        secrets,
    }
}
