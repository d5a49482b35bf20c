//! Phase two: a route's script, run, and its outcome as an answer; or its request, kept for later. The one place of the data plane that turns an
//! outcome into a status.

use std::sync::Arc;

use http::header::{RETRY_AFTER, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use picloud_executor::{Completion, Invocation};
use picloud_shared::event::MAX_PAYLOAD_BYTES;
use picloud_shared::execution::{MAX_FAILURE_BYTES, Origin, Outcome, Redactor};
use picloud_shared::id::{ExecutionId, RouteId};
use picloud_shared::request::{Params, RequestHead, Scheme, ScriptRequest};
use picloud_shared::routing::{Dispatch, RouteVerdict, dispatch};
use picloud_shared::snapshot::{PublishedApp, PublishedScript};
use uuid::fmt::Hyphenated;

use super::{Direction, Gateway, options, unknown_host};
use crate::answer::{Answer, ProblemMembers};
use crate::client::Sender;
use crate::http::{Head, RequestTarget};
use crate::io::Exchange;

/// What a route of any method may be asked.
const ALLOWED_BY_ANY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The header that names the execution.
const EXECUTION_ID: HeaderName = HeaderName::from_static("x-execution-id");

/// A route found, with all that outlives the look at the snapshot.
pub(super) struct Routed {
    app: Arc<PublishedApp>,
    script: Arc<PublishedScript>,
    route_id: RouteId,
    /// Whether the caller does not wait for the script.
    is_async: bool,
    params: Params,
    host_params: Params,
    rest: Option<Box<str>>,
    place: RequestPlace,
}

/// Where a request went, owned.
pub(super) struct RequestPlace {
    host: Box<str>,
    port: Option<u16>,
    path: Box<str>,
    query: Option<Box<str>>,
}

impl RequestPlace {
    pub(super) fn new(target: &RequestTarget<'_>) -> Self {
        Self {
            host: target.host.as_str().into(),
            port: target.port,
            path: target.path.raw().into(),
            query: target.query.map(Into::into),
        }
    }

    pub(super) fn request_head(self, head: Head, sender: Sender) -> Arc<RequestHead> {
        Arc::new(RequestHead {
            method: head.method,
            scheme: sender.scheme,
            host: self.host,
            port: self.port,
            path: self.path,
            query: self.query,
            headers: head.headers,
            remote_ip: sender.remote_ip,
        })
    }
}

impl Gateway {
    /// Both phases of the look-up, on the snapshot as it is now.
    pub(super) fn route(&self, target: &RequestTarget<'_>, method: &Method) -> Direction {
        let snapshot = self.parts.snapshot.load();
        let (app, host_params, verdict) = match dispatch(&snapshot, &target.host, &target.path, method) {
            Dispatch::UnknownHost => return unknown_host(&target.host).into(),
            Dispatch::App { app, host_params, verdict } => (app, host_params, verdict),
        };
        let found = match verdict {
            RouteVerdict::Matched(found) => found,
            RouteVerdict::NoRoute => return no_route().into(),
            RouteVerdict::Options(allow) => return options(&allow.to_header_value()).into(),
            RouteVerdict::MethodNotAllowed(allow) => return method_not_allowed(&allow.to_header_value()).into(),
        };
        // The table holds no route that leads nowhere.
        let Some(script) = app.script(found.route.script_id) else {
            return no_route().into();
        };
        // Who asks what may be done does not wait for nothing, and is to have nothing done.
        if found.route.is_async && method == Method::OPTIONS {
            return options(ALLOWED_BY_ANY).into();
        }
        Direction::Run(Routed {
            app: Arc::clone(app),
            script: Arc::clone(script),
            route_id: found.route.id,
            is_async: found.route.is_async,
            params: found.params,
            host_params,
            rest: found.rest,
            place: RequestPlace::new(target),
        })
    }

    pub(super) async fn run_route(
        &self,
        routed: Routed,
        sender: Sender,
        head: Head,
        exchange: &mut Exchange<'_>,
    ) -> Answer {
        // What is kept is longer than its body.
        let most = if routed.is_async { MAX_PAYLOAD_BYTES } else { usize::MAX };
        let body = match exchange.read_body(self.parts.body_limit.min(most)).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into(),
        };
        let request = ScriptRequest {
            head: routed.place.request_head(head, sender),
            params: routed.params,
            host_params: routed.host_params,
            rest: routed.rest,
            body,
        };
        // Over plain HTTP browsers do not heed it (RFC 6797, 8.1). A script that says something of its own is let.
        let hsts = routed.app.hsts().filter(|_| sender.scheme == Scheme::Https).cloned();
        let mut answer = match routed.is_async {
            true => Box::pin(self.run_later(&routed.app, &routed.script, routed.route_id, request)).await,
            false => {
                let completion = self.run(routed.app, routed.script, request, Origin::Route(routed.route_id)).await;
                to_answer(completion, Audience::Public)
            }
        };
        if let Some(hsts) = hsts.and_then(|value| HeaderValue::from_str(&value).ok()) {
            answer.headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(hsts);
        }
        answer
    }

    pub(super) async fn run(
        &self,
        app: Arc<PublishedApp>,
        script: Arc<PublishedScript>,
        request: ScriptRequest,
        origin: Origin,
    ) -> Completion {
        let execution_id = ExecutionId::generate(self.parts.clock.now());
        let input = request.into();
        self.parts.executor.run(Invocation { execution_id, app, script, input, origin, timeout: None }).await
    }
}

/// Bytes that are gone through at most to take the secrets out of why a script failed, on a thread that serves: about a millisecond.
const MOST_WORK: usize = 1024 * 1024;

/// Who reads why a script failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody: that it failed, and nothing of why.
    Public,
    /// Holders of ScriptInvoke: the message and where.
    Invokers,
}

pub(super) fn to_answer(completion: Completion, audience: Audience) -> Answer {
    let id = completion.execution_id;
    let answer = match completion.response {
        Some(response) => Answer { status: response.status, headers: response.headers, body: response.body },
        None => failed(completion, audience),
    };
    match HeaderValue::from_str(id.as_uuid().hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH])) {
        Ok(id) => answer.with(EXECUTION_ID, id),
        Err(_) => answer,
    }
}

fn failed(completion: Completion, audience: Audience) -> Answer {
    let (code, detail) = match completion.outcome {
        Outcome::Timeout => ("script_timeout", "The script did not finish in time."),
        Outcome::BudgetExceeded => ("script_budget_exceeded", "The script used up one of its limits."),
        Outcome::Rejected => ("overloaded", "There is no capacity to run the script now; try again shortly."),
        Outcome::Error | Outcome::Success => ("script_error", "The script failed."),
    };
    let failure = completion.failure.filter(|_| audience == Audience::Invokers);
    let (message, line, column, limit) = match failure {
        Some(mut failure) => {
            Redactor::new(&completion.secrets, MAX_FAILURE_BYTES, MOST_WORK).failure(&mut failure);
            (Some(failure.message), failure.line, failure.column, failure.limit)
        }
        None => (None, None, None, None),
    };
    let execution_id = Some(completion.execution_id.to_string());
    let members = ProblemMembers { execution_id, message, line, column, limit, ..ProblemMembers::default() };
    let status = match completion.outcome {
        Outcome::Success => StatusCode::INTERNAL_SERVER_ERROR,
        failure => failure.failure_status(),
    };
    let answer = Answer::problem_with(status, code, detail, members);
    match completion.outcome {
        Outcome::Rejected => answer.with(RETRY_AFTER, HeaderValue::from_static("1")),
        _ => answer,
    }
}

fn no_route() -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, "no_route", "The app at this host has no route for this path.")
}

fn method_not_allowed(allow: &str) -> Answer {
    let allow = HeaderValue::from_str(allow).unwrap_or(HeaderValue::from_static(""));
    Answer::method_not_allowed(allow)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use picloud_shared::clock::Timestamp;
    use picloud_shared::execution::ExecutionFailure;
    use picloud_shared::secret::{GivenSecrets, SecretValue};

    use super::*;

    #[test]
    fn why_a_script_failed_is_told_without_the_secrets_that_it_was_given() {
        let mut secrets = GivenSecrets::default();
        let secret = SecretValue::try_from("hunter2".to_owned()).ok().map(Arc::new).unwrap();
        secrets.note(&"KEY".parse().unwrap(), &secret);
        let message = "refused: hunter2".to_owned();
        let completion = Completion {
            execution_id: ExecutionId::generate(Timestamp::from_millis(0)),
            outcome: Outcome::Error,
            response: None,
            failure: Some(ExecutionFailure { message, line: Some(1), column: None, limit: None }),
            logs: Vec::new(),
            duration: Duration::ZERO,
            peak_memory: 0,
            secrets,
        };
        let body = |audience| {
            let answer = to_answer(completion.clone(), audience);
            String::from_utf8(answer.body.to_vec()).unwrap()
        };
        assert!(body(Audience::Invokers).contains("refused: [secret KEY]"), "{}", body(Audience::Invokers));
        assert!(!body(Audience::Public).contains("refused"));
    }
}
