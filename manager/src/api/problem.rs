//! Problem documents (RFC 9457): the one place that decides which status and which words a refusal gets.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{error, warn};

use crate::api::moved::MovedTo;
use crate::api::route::RouteView;
use crate::api::schema::{AppName, DomainHolder, ScriptName};
use crate::api::trigger::TriggerView;
use crate::repo::RepoError;
use crate::service::error::{InvalidField, ServiceError};
use crate::service::idempotency::ANSWERS_OF_A_USER;
use crate::service::script_check::SourceProblem;

/// The media type of problem documents.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// When a caller may come back after the store was away.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// When a caller may come back after too much was asked at once.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Why a route is refused with which a search would spread too far.
pub(crate) const ROUTES_TOO_AMBIGUOUS: &str =
    "the app's routes have their parameters in too many different places; put this one's where others have them";

/// What is wrong with one field.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct FieldError {
    /// The field, with dots and indices where it is nested; `body` for the body as a whole.
    pub field: String,
    /// What is wrong, in words for a person.
    pub detail: String,
}

impl FieldError {
    pub(crate) fn new(field: &str, detail: impl ToString) -> Self {
        Self { field: field.to_owned(), detail: detail.to_string() }
    }
}

impl From<InvalidField> for FieldError {
    fn from(InvalidField { field, detail }: InvalidField) -> Self {
        Self { field, detail }
    }
}

/// A refusal as the client gets it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    /// What the operator reads of it, who gets what the client must not.
    logged: Option<String>,
    /// The one answer that is no problem: the app is elsewhere.
    moved: Option<Box<MovedTo>>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new(), retry_after: None, logged: None, moved: None }
    }

    fn with(mut self, member: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("members are plain views, which JSON can hold");
        self.members.insert(member.to_owned(), value);
        self
    }

    fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(crate) fn unauthenticated() -> Self {
        let detail = "sign in with POST /api/v1/admin/auth/login and send the token as Authorization: Bearer <token>";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub(crate) fn unknown_key() -> Self {
        let detail = "this API key is unknown, revoked or expired, or its owner is no active user any more";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub(crate) fn cross_origin() -> Self {
        let detail =
            "a cookie counts for no page of another host, and a change by a cookie must come from a page of this one";
        Self::new(StatusCode::FORBIDDEN, "cross_origin", detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        let detail = format!("there is no such {what}, or it is not for you to see");
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this address does not take this method; the header Allow names those that it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(crate) fn body_too_large(max_bytes: usize) -> Self {
        let detail = format!("the request's body is longer than {max_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("max_bytes", max_bytes)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let detail = "send the body as JSON, with content-type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    pub(crate) fn idempotency_not_supported() -> Self {
        let detail = "the answer to this call is not kept to be given again, since it holds a secret or what a script answered; \
                      send it without Idempotency-Key";
        Self::new(StatusCode::BAD_REQUEST, "idempotency_not_supported", detail)
    }

    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [FieldError { field, detail }] => format!("{field}: {detail}"),
            errors => format!("{} fields are not valid", errors.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with("errors", errors)
    }

    pub(crate) fn internal(logged: impl Into<String>) -> Self {
        let detail = "this is a defect of PiCloud; its log says more";
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
        Self { logged: Some(logged.into()), ..error }
    }

    fn document(&self) -> Map<String, Value> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut document = Map::from_iter([
            ("type".to_owned(), json!(format!("urn:picloud:problem:{}", self.code))),
            ("title".to_owned(), json!(title)),
            ("status".to_owned(), json!(self.status.as_u16())),
            ("detail".to_owned(), json!(self.detail)),
            ("code".to_owned(), json!(self.code)),
        ]);
        document.extend(self.members.clone());
        document
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers
    }
}

/// A wait as clients are told it. One that comes back a moment too early only waits again: rounded up.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).max(1) as u64
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self.logged {
            Some(cause) if self.status == StatusCode::SERVICE_UNAVAILABLE => warn!(code = self.code, "{cause}"),
            Some(cause) => error!(code = self.code, "{cause}"),
            None => {}
        }
        match self.moved {
            Some(moved) => moved.into_response(),
            None => (self.status, self.headers(), axum::Json(self.document())).into_response(),
        }
    }
}

impl From<RepoError> for ApiError {
    fn from(error: RepoError) -> Self {
        let logged = chain(&error);
        match error {
            RepoError::Unavailable(_) | RepoError::Contended(_) => {
                let detail = "the store cannot be reached or written; published endpoints go on, try again";
                let unavailable = Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail);
                Self { logged: Some(logged), ..unavailable.retry_after(STORE_RETRY) }
            }
            RepoError::KeyReplaced => {
                let detail = "the instance's secret key was replaced, and this node must be started again with the new one; \
                              published endpoints go on";
                // Whoever follows the certificates has it in the log, once.
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "key_replaced", detail)
            }
            _ => Self::internal(logged),
        }
    }
}

/// An error with all that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        let conflict = |code, detail: &'static str| Self::new(StatusCode::CONFLICT, code, detail);
        let unprocessable = |code, detail: String| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        match error {
            E::Unauthenticated => Self::unauthenticated(),
            E::UnknownKey => Self::unknown_key(),
            E::WrongCredentials => {
                Self::new(StatusCode::UNAUTHORIZED, "wrong_credentials", "the username or the password is wrong")
            }
            E::WrongSetupToken => {
                let detail = "the set-up link is used up or of an earlier start; the newest one stands in the log";
                Self::new(StatusCode::UNAUTHORIZED, "wrong_setup_token", detail)
            }
            E::Throttled { retry_after } => {
                let seconds = whole_seconds(retry_after);
                let detail = format!("too many attempts with a wrong password; try again in {seconds} s");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail).retry_after(retry_after)
            }
            E::HashingBusy => {
                let detail = "too many people sign in at once; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(BUSY_RETRY)
            }
            E::CheckingBusy => {
                let detail = "too many sources are being checked at once; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(BUSY_RETRY)
            }
            E::SearchingBusy => {
                let detail = "too many searches for documents run at once; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(BUSY_RETRY)
            }
            E::SearchTooLate => {
                let detail = "the search took too long; declare an index of a field that it compares, or try again when there is less to do";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(BUSY_RETRY)
            }
            E::Overtaken => {
                let detail = "others keep changing the app's scripts, which yours depends on; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(BUSY_RETRY)
            }
            E::Forbidden(capability) => {
                let detail = format!("your role does not include {capability}");
                Self::new(StatusCode::FORBIDDEN, "forbidden", detail).with("capability", capability.to_string())
            }
            E::BoundToApp(app) => {
                let detail = format!("this API key is for the app {app} alone, and this is beyond it");
                Self::new(StatusCode::FORBIDDEN, "key_bound_to_app", detail).with("app_id", app)
            }
            E::OutOfScope(scope) => {
                let detail = format!("this API key does not have the scope {scope}");
                Self::new(StatusCode::FORBIDDEN, "insufficient_scope", detail).with("scope", scope)
            }
            E::SessionRequired => {
                let detail = "an API key cannot do this: sign in with a password";
                Self::new(StatusCode::FORBIDDEN, "session_required", detail)
            }
            E::AboveOwnRole => {
                let detail = "nobody makes or changes a user above their own role";
                Self::new(StatusCode::FORBIDDEN, "above_own_role", detail)
            }
            E::Moved { to } => {
                let moved = Self::new(StatusCode::PERMANENT_REDIRECT, "moved", "the app has another slug now");
                Self { moved: Some(Box::new(MovedTo(to))), ..moved }
            }
            E::NotFound(what) => Self::not_found(what),
            E::NoInternalAuthority => {
                let detail =
                    "there is no authority of this instance's own yet: it is made for the first name that needs it";
                Self::new(StatusCode::NOT_FOUND, "not_found", detail)
            }
            E::Invalid(fields) => Self::invalid(fields.into_iter().map(FieldError::from).collect()),
            E::At { field, error } => {
                let problem = Self::from(*error);
                let wrong = FieldError::new(&field, &problem.detail);
                problem.with("errors", [wrong])
            }
            E::UsernameTaken => conflict("username_taken", "another user has this name"),
            E::OwnPassword => conflict("own_password", "change your own password at auth/me/password"),
            E::LastOwner => conflict("last_owner", "this is the last active owner; make another user an owner first"),
            E::TooManyKeys { most } => {
                conflict("too_many_keys", "you have as many API keys as one may have; revoke one").with("most", most)
            }
            E::AlreadyMember => conflict("already_member", "this user is a member of the app already"),
            E::SlugTaken => conflict("slug_taken", "another app has this slug; choose another"),
            E::SlugHistorical(former) => {
                let detail = match former.may_take_over {
                    true => "this slug still leads to another app; send \"takeover\": true to end that",
                    false => {
                        "this slug still leads to another app, and only who may change that app's slug can end that; \
                         choose another"
                    }
                };
                conflict("slug_historical", detail)
                    .with("app", former.app.as_ref().map(AppName::from))
                    .with("may_take_over", former.may_take_over)
            }
            E::HasScripts { script_count } => {
                let detail = "the app has scripts; delete it with ?force=true to delete them too";
                conflict("has_scripts", detail).with("script_count", script_count)
            }
            E::PublicSuffix(suffix) => {
                let detail = suffix.to_string();
                unprocessable("public_suffix", detail.clone()).with("errors", [FieldError::new("pattern", detail)])
            }
            E::HostReserved => conflict("host_reserved", "this is an admin host, which no app can claim"),
            E::DomainClaimed { holder } => {
                let holder =
                    holder.map(|held| DomainHolder { app: AppName::from(&held.0), pattern: held.1.to_string() });
                conflict("domain_claimed", "this domain, or one that overlaps it, is claimed already")
                    .with("conflict", holder)
            }
            E::DomainInUse { routes } => {
                let detail = "routes answer on hosts that only this domain covers; delete or change them first";
                conflict("domain_in_use", detail).with("routes", RouteView::all(routes))
            }
            E::UploadedCertificate => {
                let detail = "this certificate was uploaded: renew it where you got it, and upload the new one";
                conflict("certificate_uploaded", detail)
            }
            E::ManagedCertificate => {
                let detail = "this certificate goes by itself when nobody claims its name any more; release the claim";
                conflict("certificate_managed", detail)
            }
            E::ScriptNameTaken => conflict("script_name_taken", "the app has a script of this name; choose another"),
            E::ScriptInUse { routes, triggers, importers } => {
                let importers: Vec<ScriptName> = importers.iter().map(ScriptName::from).collect();
                conflict("script_in_use", "routes, triggers or other scripts depend on what this script is")
                    .with("routes", RouteView::all(routes))
                    .with("triggers", TriggerView::all(triggers))
                    .with("importers", importers)
            }
            E::InvalidSource(problem) => invalid_source(problem),
            E::LimitOverCeiling(limit) => {
                let (name, detail) = (limit.limit, limit.to_string());
                let field = if name == "timeout_ms" { name.to_owned() } else { format!("sandbox.{name}") };
                unprocessable("limit_over_ceiling", detail.clone())
                    .with("limit", name)
                    .with("ceiling", limit.ceiling)
                    .with("errors", [FieldError::new(&field, detail)])
            }
            E::AppLimit(limit) => {
                let (name, ceiling) = (limit.as_str(), limit.ceiling());
                let detail = format!("an app has at most {ceiling} {}", name.replace('_', " "));
                unprocessable("app_limit_reached", detail.clone())
                    .with("limit", name)
                    .with("ceiling", ceiling)
                    .with("errors", [FieldError::new(limit.field(), detail)])
            }
            E::QuotaExceeded { limit, most } => {
                let detail =
                    format!("the app keeps as much as it may, which is {most} ({limit}); delete what is not needed");
                let field = match limit {
                    limit if limit.starts_with("event") => "payload",
                    limit if limit.starts_with("docs") => "document",
                    _ => "value",
                };
                unprocessable("quota_exceeded", detail.clone())
                    .with("limit", limit)
                    .with("ceiling", most)
                    .with("errors", [FieldError::new(field, detail)])
            }
            E::NotWaiting => conflict("not_waiting", "the message is being handled, or has been"),
            E::AlreadyResolved => conflict("already_resolved", "this dead letter is replayed or resolved already"),
            E::TooManyScanned => {
                let detail = "the search would have to look at too many documents; have an index of a field that it compares or sorts by";
                unprocessable("too_many_scanned", detail.to_owned()).with("errors", [FieldError::new("filter", detail)])
            }
            E::HostNotClaimed => {
                let detail = "the route's host lies in no domain of the app; claim the domain first";
                unprocessable("host_not_claimed", detail.to_owned()).with("errors", [FieldError::new("host", detail)])
            }
            E::ModuleNotRoutable => {
                let detail = "a module cannot answer requests";
                unprocessable("module_not_routable", detail.to_owned())
                    .with("errors", [FieldError::new("script_id", detail)])
            }
            E::ModuleNotTriggerable => {
                let detail = "a module is only imported, and cannot be run by a trigger";
                unprocessable("module_not_triggerable", detail.to_owned())
                    .with("errors", [FieldError::new("script_id", detail)])
            }
            E::TriggerExists { other } => {
                conflict("trigger_exists", "another trigger of the app is for this queue, or for dead letters")
                    .with("conflict", other.map(|other| TriggerView::from(*other)))
            }
            E::ModuleNotInvokable => {
                unprocessable("module_not_invokable", "a module is only imported, never run".to_owned())
            }
            E::NotPublished => {
                conflict("not_published", "the script is not published; the log says what is wrong with it")
            }
            E::RoutesTooAmbiguous => {
                let detail = ROUTES_TOO_AMBIGUOUS;
                unprocessable("routes_too_ambiguous", detail.to_owned())
                    .with("errors", [FieldError::new("path", detail)])
            }
            E::RouteConflict { other } => conflict("route_conflict", "another route of the app takes these requests")
                .with("conflict", other.map(|other| RouteView::from(*other))),
            E::PreconditionFailed => {
                let detail = "it has changed since you read it; read it again and repeat your change";
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
            }
            E::TooManyStreams { most } => {
                let detail = format!("{most} streams are open already; close one");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail).with("most", most)
            }
            E::KeyRunning => conflict(
                "idempotency_key_running",
                "the same call is running; its answer is kept, ask again in a moment",
            ),
            E::KeyReused => {
                let detail = "this key was given to a call with another body; use a key of its own for each call";
                unprocessable("idempotency_key_reused", detail.to_owned())
                    .with("errors", [FieldError::new("idempotency-key", detail)])
            }
            E::TooManyIdempotencyKeys => {
                let detail =
                    "as many answers to your calls of the last 24 hours are kept as may be; send calls without a key";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_idempotency_keys", detail)
                    .with("most", ANSWERS_OF_A_USER)
            }
            // Without Retry-After: what was asked for is done.
            E::NotLiveYet => {
                let detail = "your change is saved, but requests are not answered by it yet; they will be as soon as the store \
                    can be read, so do not repeat it";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_live_yet", detail)
            }
            E::Store(error) => error.into(),
        }
    }
}

fn invalid_source(SourceProblem { error, importer }: SourceProblem) -> ApiError {
    let detail = match &importer {
        Some(importer) => format!("{importer}, which imports this module, would not compile: {}", error.message),
        None => error.message.clone(),
    };
    let problem = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_source", detail.clone())
        .with("line", error.line)
        .with("column", error.column)
        .with("errors", [FieldError::new("source", detail)]);
    match importer {
        Some(importer) => problem.with("importer", importer),
        None => problem,
    }
}
