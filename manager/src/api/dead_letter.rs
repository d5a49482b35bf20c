//! `apps/{app}/dead-letters`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::event::{EventOp, EventPayload, EventSource};
use picloud_shared::id::{AppId, DeadLetterId, EventId, ScriptId, TriggerId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::event::queue_of;
use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size, present};
use crate::api::openapi::problems;
use crate::api::problem::ApiError;
use crate::api::queue::{EventMade, payload};
use crate::api::{ApiState, schema};
use crate::events::{DeadLetter, DeadLetterFilter, Resolution};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_dead_letters))
        .routes(routes!(count_dead_letters))
        .routes(routes!(get_dead_letter))
        .routes(routes!(replay_dead_letter))
        .routes(routes!(resolve_dead_letter))
        .routes(routes!(replay_dead_letters))
        .routes(routes!(resolve_dead_letters))
}

/// A dead letter: an event that is not tried again.
#[derive(Serialize, ToSchema)]
struct DeadLetterView {
    #[schema(value_type = Uuid)]
    id: DeadLetterId,
    /// The event that it was.
    #[schema(value_type = Uuid)]
    event_id: EventId,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = schema::EventSource)]
    source: EventSource,
    #[schema(value_type = schema::EventOp)]
    op: EventOp,
    /// The queue, where it was a message of one.
    queue: Option<String>,
    /// Whose attempts failed.
    #[schema(value_type = Option<Uuid>)]
    trigger_id: Option<TriggerId>,
    /// The script that failed last.
    #[schema(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
    attempt_count: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    first_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// Why it was given up.
    last_error: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    /// Who said what is to become of it.
    #[schema(value_type = Option<Uuid>)]
    resolved_by: Option<UserId>,
    /// What is to become of it; null while nobody has said so.
    #[schema(value_type = Option<schema::Resolution>)]
    resolution: Option<&'static str>,
    /// The event that was made of it.
    #[schema(value_type = Option<Uuid>)]
    replay_event_id: Option<EventId>,
    /// Bytes of its payload.
    bytes: u64,
    /// What the event was about; absent once the letter is resolved, and in lists where it is more than 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    payload: Option<Value>,
}

/// A dead letter with its app.
#[derive(Serialize, ToSchema)]
struct DeadLetterDetail {
    #[serde(flatten)]
    letter: DeadLetterView,
    #[schema(value_type = Uuid)]
    app_id: AppId,
}

/// Dead letters, the newest first.
#[derive(Serialize, ToSchema)]
struct DeadLetterList {
    items: Vec<DeadLetterView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

/// How many dead letters it is about.
#[derive(Serialize, ToSchema)]
struct DeadLetterCount {
    count: u64,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            event_id: letter.event,
            created_at: letter.created_at,
            source: letter.source,
            op: letter.op,
            queue: queue_of(letter.lane),
            trigger_id: letter.trigger,
            script_id: letter.script,
            attempt_count: letter.attempt_count,
            first_attempt_at: letter.first_attempt_at,
            last_attempt_at: letter.last_attempt_at,
            last_error: letter.last_error,
            resolved_at: letter.resolved_at,
            resolved_by: letter.resolved_by,
            resolution: letter.resolution.map(Resolution::as_str),
            replay_event_id: letter.replay_event,
            bytes: letter.bytes,
            payload: letter.payload.as_ref().map(EventPayload::to_json),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadLetterQuery {
    /// Dead letters on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
    /// Whether those that are resolved are left out, as they are if this is absent.
    #[serde(default)]
    unresolved: Option<bool>,
    /// Only those of events of that source.
    #[serde(default)]
    #[param(value_type = Option<schema::EventSource>)]
    source: Option<EventSource>,
    /// Only those of that script.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
    /// Only what was given up then or later, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Only what was given up before then, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
}

/// Which unresolved dead letters it is about; all of them, where nothing is said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeadLettersBody {
    /// Only those of events of that source.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::EventSource, required = false)]
    source: Option<EventSource>,
    /// Only those of that script.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Uuid, required = false)]
    script_id: Option<ScriptId>,
    /// Only what was given up then or later.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, format = DateTime, required = false)]
    since: Option<Timestamp>,
    /// Only what was given up before then.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, format = DateTime, required = false)]
    until: Option<Timestamp>,
}

impl From<DeadLettersBody> for DeadLetterFilter {
    fn from(DeadLettersBody { source, script_id, since, until }: DeadLettersBody) -> Self {
        Self { unresolved: true, source, script: script_id, since, until }
    }
}

/// How a dead letter is to be made an event again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayDeadLetter {
    /// What the event is to be about: any JSON value, of at most 256 KiB. Absent, it is what the first one was about.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Value, required = false)]
    payload: Option<Value>,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    GetProblems { "404": "`not_found`" }
    ReplayProblems {
        "404": "`not_found`",
        "409": "`already_resolved`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
    ResolveProblems { "404": "`not_found`", "409": "`already_resolved`" }
    ReplayAllProblems {
        "404": "`not_found`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
    ResolveAllProblems { "404": "`not_found`", "422": "`invalid`" }
}

/// List the dead letters of an app, the newest first.
///
/// Those that are resolved are kept for 30 days.
#[utoipa::path(get, path = "/apps/{app}/dead-letters", tag = "dead letters",
    params(("app" = String, Path, description = "The app's id or slug."), DeadLetterQuery),
    responses((status = 200, description = "A page of dead letters.", body = DeadLetterList), ListProblems))]
async fn list_dead_letters(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(query): Query<DeadLetterQuery>,
) -> Result<Json<DeadLetterList>, ApiError> {
    let DeadLetterQuery { limit, cursor, unresolved, source, script_id, since, until } = query;
    let unresolved = unresolved.unwrap_or(true);
    let filter = DeadLetterFilter { unresolved, source, script: script_id, since, until };
    let (size, before) = (page_size(limit)?, cursor.map(DeadLetterId::from_uuid));
    let page = state.services.dead_letters.list(&actor, &app_ref(&app)?, filter, size, before).await?;
    let items = page.items.into_iter().map(DeadLetterView::from).collect();
    Ok(Json(DeadLetterList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Count the dead letters of an app that are not resolved.
#[utoipa::path(get, path = "/apps/{app}/dead-letters:count", tag = "dead letters",
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "How many there are.", body = DeadLetterCount), GetProblems))]
async fn count_dead_letters(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<Json<DeadLetterCount>, ApiError> {
    let count = state.services.dead_letters.count(&actor, &app_ref(&app)?).await?;
    Ok(Json(DeadLetterCount { count }))
}

/// Get a dead letter.
#[utoipa::path(get, path = "/apps/{app}/dead-letters/{dead_letter}", tag = "dead letters",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("dead_letter" = Uuid, Path, description = "The dead letter's id."),
    ),
    responses((status = 200, description = "The dead letter.", body = DeadLetterDetail), GetProblems))]
async fn get_dead_letter(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, DeadLetterId)>,
) -> Result<Json<DeadLetterDetail>, ApiError> {
    let (app_id, letter) = state.services.dead_letters.get(&actor, &app_ref(&app)?, id).await?;
    Ok(Json(DeadLetterDetail { letter: letter.into(), app_id }))
}

/// Make a dead letter an event again, which is handled where the first one was.
#[utoipa::path(post, path = "/apps/{app}/dead-letters/{dead_letter}/replay", tag = "dead letters",
    request_body = ReplayDeadLetter,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("dead_letter" = Uuid, Path, description = "The dead letter's id."),
    ),
    responses((status = 202, description = "The event is kept, and will be handled.", body = EventMade), ReplayProblems))]
async fn replay_dead_letter(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, DeadLetterId)>,
    Body(body): Body<ReplayDeadLetter>,
) -> Result<(StatusCode, Json<EventMade>), ApiError> {
    let (app, payload) = (app_ref(&app)?, body.payload.as_ref().map(payload).transpose()?);
    let event_id = state.services.dead_letters.replay(&actor, &app, id, payload).await?;
    Ok((StatusCode::ACCEPTED, Json(EventMade { event_id })))
}

/// Say that nothing more is to be made of a dead letter.
#[utoipa::path(post, path = "/apps/{app}/dead-letters/{dead_letter}/resolve", tag = "dead letters",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("dead_letter" = Uuid, Path, description = "The dead letter's id."),
    ),
    responses((status = 204, description = "The dead letter is resolved."), ResolveProblems))]
async fn resolve_dead_letter(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, DeadLetterId)>,
) -> Result<StatusCode, ApiError> {
    state.services.dead_letters.resolve(&actor, &app_ref(&app)?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make unresolved dead letters events again: the newest 1,000 that pass the filter, or as many as there is room for.
#[utoipa::path(post, path = "/apps/{app}/dead-letters:replay", tag = "dead letters", request_body = DeadLettersBody,
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "How many were replayed.", body = DeadLetterCount), ReplayAllProblems))]
async fn replay_dead_letters(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<DeadLettersBody>,
) -> Result<Json<DeadLetterCount>, ApiError> {
    let count = state.services.dead_letters.replay_many(&actor, &app_ref(&app)?, body.into()).await?;
    Ok(Json(DeadLetterCount { count }))
}

/// Resolve unresolved dead letters: the newest 1,000 that pass the filter.
#[utoipa::path(post, path = "/apps/{app}/dead-letters:resolve", tag = "dead letters", request_body = DeadLettersBody,
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "How many were resolved.", body = DeadLetterCount), ResolveAllProblems))]
async fn resolve_dead_letters(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<DeadLettersBody>,
) -> Result<Json<DeadLetterCount>, ApiError> {
    let count = state.services.dead_letters.resolve_many(&actor, &app_ref(&app)?, body.into()).await?;
    Ok(Json(DeadLetterCount { count }))
}
