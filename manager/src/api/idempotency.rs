//! `Idempotency-Key`: a POST that carries one is done once, and answered alike each time that it is sent.

use axum::body::Body as AxumBody;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use picloud_shared::app::MAX_DOCUMENT_BYTES;

use crate::api::ApiState;
use crate::api::extract::{Caller, read_body};
use crate::api::problem::ApiError;
use crate::repo::idempotency::KeptAnswer;
use crate::service::idempotency::{Scope, Start};

/// The header that makes a call one that may be repeated.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// POSTs that may be repeated anyway, and pay a key no heed, as a GET does: those that ask and change nothing, and the one that
/// ends the very session which it is sent with. By a key, the second of a user's sessions would be told of the end of the first.
const REPEATABLE: [&str; 6] = [
    "/api/v1/admin/auth/logout",
    "/api/v1/admin/apps/slug:check",
    "/api/v1/admin/scripts:check",
    "/api/v1/admin/routes:check",
    "/api/v1/admin/routes:match",
    "/api/v1/admin/certificates:preflight",
];

/// Calls whose answers are not kept: those that hold a secret, which is shown once and stored as a digest at most, or that
/// are about passwords; and what a script answers, which is of any length.
const UNKEPT_CALLS: [&str; 7] = [
    "/api/v1/admin/scripts/{script}/invoke",
    "/api/v1/admin/auth/login",
    "/api/v1/admin/auth/setup",
    "/api/v1/admin/auth/me/password",
    "/api/v1/admin/api-keys",
    "/api/v1/admin/admins",
    "/api/v1/admin/admins/{user}/reset-password",
];

/// The one call whose body may be longer than others'.
const LONG_CALL: &str = "/api/v1/admin/apps:import";

/// The longest key.
const MAX_KEY_BYTES: usize = 255;

/// What a POST makes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Honoured,
    Refused,
    Ignored,
}

impl Keys {
    /// What the POST of that path of the document makes of them.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            path if REPEATABLE.contains(&path) => Self::Ignored,
            path if UNKEPT_CALLS.contains(&path) => Self::Refused,
            _ => Self::Honoured,
        }
    }
}

/// Does a call as its key says, if it carries one.
pub(crate) async fn honour(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let is_keyed = request.method() == Method::POST && request.headers().contains_key(KEY);
    let place = request.extensions().get::<MatchedPath>().cloned();
    let place = place.as_ref().map_or("", MatchedPath::as_str);
    match Keys::of(place) {
        Keys::Honoured if is_keyed => once(&state, place, request, next).await.unwrap_or_else(ApiError::into_response),
        Keys::Refused if is_keyed => ApiError::idempotency_not_supported().into_response(),
        _ => next.run(request).await,
    }
}

async fn once(state: &ApiState, place: &str, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let key = parse_key(&parts.headers)?;
    let Caller(mut actor) = Caller::from_request_parts(&mut parts, state).await?;
    let address = parts.uri.path_and_query().map_or("/", |address| address.as_str());
    let scope = Scope::new(&actor, parts.method.as_str(), address, &key);
    let max_bytes = if place == LONG_CALL {
        state.services.deployments.may_import(&actor)?;
        state.max_request_body_bytes.max(MAX_DOCUMENT_BYTES)
    } else {
        state.max_request_body_bytes
    };
    let body = read_body(body, max_bytes).await?;
    let running = match state.services.idempotency.begin(&actor, scope, &body).await? {
        Start::Repeated(answer) => return Ok(replay(answer)),
        Start::First(running) => running,
    };
    actor.deferral = Some(std::sync::Arc::clone(&running.deferral));
    parts.extensions.insert(actor.clone());
    let response = next.run(Request::from_parts(parts, AxumBody::from(body))).await;
    if !response.status().is_success() {
        let quicker = state.services.idempotency.find_quicker(&actor, &running).await;
        return Ok(quicker.map_or(response, replay));
    }
    let (parts, body) = response.into_parts();
    let body = collect(body).await?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| ApiError::internal("an answer is no text"))?;
    let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let other = state.services.idempotency.finish(&actor, &running, parts.status.as_u16(), etag, text).await?;
    Ok(match other {
        Some(answer) => replay(answer),
        None => Response::from_parts(parts, AxumBody::from(body)),
    })
}

fn parse_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut values = headers.get_all(KEY).iter();
    let (value, further) = (values.next().and_then(|value| value.to_str().ok()), values.next());
    let is_key =
        |value: &&str| !value.is_empty() && value.len() <= MAX_KEY_BYTES && value.bytes().all(|b| b.is_ascii_graphic());
    match value.filter(is_key).filter(|_| further.is_none()) {
        Some(key) => Ok(key.to_owned()),
        None => Err(ApiError::malformed("an Idempotency-Key is 1 to 255 visible characters of ASCII, once")),
    }
}

/// What a handler answered, which is in memory anyway.
async fn collect(body: AxumBody) -> Result<Bytes, ApiError> {
    let collected = body.collect().await.map_err(|_| ApiError::internal("an answer broke off"))?;
    Ok(collected.to_bytes())
}

fn replay(answer: KeptAnswer) -> Response {
    let KeptAnswer { status, etag, body, .. } = answer;
    let mut headers = HeaderMap::from_iter([(REPLAYED, HeaderValue::from_static("true"))]);
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(etag) = etag.and_then(|etag| etag.parse().ok()) {
        headers.insert(ETAG, etag);
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    (status, headers, body).into_response()
}
