//! `/api/v1/execute/{script_id}`: a script run by its id. It shares the dashboard's origin, so what it is shown and
//! what it may answer are both cut down to what cannot touch that origin.

use http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HeaderName, ORIGIN, SET_COOKIE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use picloud_shared::execution::Origin;
use picloud_shared::id::ScriptId;
use picloud_shared::request::{AdminPeer, Params, ScriptRequest};
use picloud_shared::script::{ExecuteAccess, ScriptKind};

use super::Gateway;
use super::admin::Place;
use super::run::{Audience, to_answer};
use crate::answer::Answer;
use crate::http::Head;
use crate::io::Exchange;

/// Headers of an answer that reach beyond the one page, in the browser: they change what it keeps of the whole origin, or have it
/// ask for a password in the dashboard's name. (`Refresh` and `Location` stay: they lead away from the page, as any link does.)
const ORIGIN_WIDE: [HeaderName; 15] = [
    SET_COOKIE,
    WWW_AUTHENTICATE,
    HeaderName::from_static("accept-ch"),
    HeaderName::from_static("critical-ch"),
    HeaderName::from_static("set-login"),
    HeaderName::from_static("secure-session-registration"),
    HeaderName::from_static("use-as-dictionary"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("strict-transport-security"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("origin-agent-cluster"),
];

impl Gateway {
    pub(super) async fn execute_by_id(
        &self,
        id: &str,
        place: Place,
        mut head: Head,
        exchange: &mut Exchange<'_>,
    ) -> Answer {
        let found = id.parse::<ScriptId>().ok().and_then(|id| {
            let snapshot = self.parts.snapshot.load();
            let (app, script) = snapshot.script(id)?;
            (script.row.kind == ScriptKind::Endpoint).then(|| (app.clone(), script.clone()))
        });
        let Some((app, script)) = found else {
            return no_script();
        };
        let credentials = take_credentials(&mut head.headers);
        let id = script.row.id;
        let is_restricted = script.row.execute_access == ExecuteAccess::Restricted;
        if is_restricted && let Err(answer) = self.authorize(&credentials, &place.peer, id).await {
            return *answer;
        }
        let body = match exchange.read_body(self.parts.body_limit).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into(),
        };
        let request = ScriptRequest {
            head: place.request.request_head(head, place.sender),
            params: Params::new(),
            host_params: Params::new(),
            rest: None,
            body,
        };
        let completion = self.run(app, script, request, Origin::ById).await;
        let audience = match completion.response {
            // Of a restricted one it is known.
            None if is_restricted || self.may_invoke(&credentials, &place.peer, id).await == Ok(true) => {
                Audience::Invokers
            }
            _ => Audience::Public,
        };
        confine(to_answer(completion, audience))
    }

    async fn authorize(&self, credentials: &HeaderMap, peer: &AdminPeer, script: ScriptId) -> Result<(), Box<Answer>> {
        match self.may_invoke(credentials, peer, script).await {
            Ok(true) => Ok(()),
            Ok(false) if credentials.is_empty() => Err(Box::new(unauthenticated())),
            Ok(false) => Err(Box::new(no_script())),
            Err(_) => Err(Box::new(store_unavailable())),
        }
    }

    /// Asks nobody about callers that show nothing.
    async fn may_invoke(
        &self,
        credentials: &HeaderMap,
        peer: &AdminPeer,
        script: ScriptId,
    ) -> Result<bool, crate::manager_link::StoreUnavailable> {
        if credentials.is_empty() {
            return Ok(false);
        }
        self.parts.control.may_invoke(credentials, peer, script).await
    }
}

/// Takes out of the request what the script must never see, and keeps it for the authorizer. What a cookie is judged by stays with both.
fn take_credentials(headers: &mut HeaderMap) -> HeaderMap {
    let mut credentials = HeaderMap::new();
    for name in [AUTHORIZATION, COOKIE] {
        for value in headers.get_all(&name) {
            credentials.append(name.clone(), value.clone());
        }
        headers.remove(name);
    }
    headers.remove(http::header::PROXY_AUTHORIZATION);
    if !credentials.is_empty() {
        for name in [ORIGIN, HeaderName::from_static("sec-fetch-site")] {
            for value in headers.get_all(&name) {
                credentials.append(name.clone(), value.clone());
            }
        }
    }
    credentials
}

/// Takes out of the answer what would reach beyond it.
fn confine(mut answer: Answer) -> Answer {
    for name in ORIGIN_WIDE {
        answer.headers.remove(name);
    }
    // A second policy adds to the script's own; a browser obeys both.
    answer.headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    answer.with(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

fn no_script() -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, "not_found", "There is no endpoint script of this id that you may run.")
}

fn unauthenticated() -> Answer {
    let detail = "This script runs only for signed-in callers who may invoke it.";
    Answer::problem(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .with(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn store_unavailable() -> Answer {
    let detail = "Whether you may run this script cannot be looked up now; try again shortly.";
    Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
        .with(http::header::RETRY_AFTER, HeaderValue::from_static("2"))
}
