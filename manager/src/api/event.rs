//! `apps/{app}/events`.

use axum::Json;
use axum::extract::State;
use picloud_shared::clock::Timestamp;
use picloud_shared::event::{EventOp, EventPayload, EventSource};
use picloud_shared::id::{DeadLetterId, EventId, ExecutionId, ScriptId, TriggerId};
use picloud_shared::name::{InvalidQueueName, QueueName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::extract::{Caller, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::api::{ApiState, schema};
use crate::events::{AttemptRow, EventFilter, EventRow, EventState, Lane};
use crate::service::page::Page;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_events)).routes(routes!(get_event))
}

/// An event: one thing that is to be handled.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// The same at each attempt.
    #[schema(value_type = Uuid)]
    id: EventId,
    #[schema(value_type = schema::EventSource)]
    source: EventSource,
    #[schema(value_type = schema::EventOp)]
    op: EventOp,
    #[schema(value_type = schema::EventState)]
    state: &'static str,
    /// The queue, where it is a message of one.
    queue: Option<String>,
    /// The trigger that handles it, as far as that is known.
    #[schema(value_type = Option<Uuid>)]
    trigger_id: Option<TriggerId>,
    /// The script that handled it last.
    #[schema(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
    /// Attempts that were begun.
    attempt: u32,
    /// How many events stand between it and what was not caused by one.
    depth: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when on it may be handled next.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    first_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was done or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The dead letter that it became.
    #[schema(value_type = Option<Uuid>)]
    dead_letter_id: Option<DeadLetterId>,
    /// The dead letter that it was made of again.
    #[schema(value_type = Option<Uuid>)]
    replay_of: Option<DeadLetterId>,
    /// Bytes of its payload.
    bytes: u64,
    /// What it is about; absent once it has ended, and in lists where it is more than 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    payload: Option<Value>,
}

/// An attempt that has ended.
#[derive(Serialize, ToSchema)]
struct EventAttempt {
    /// Which, from 1 on.
    attempt: u32,
    /// The execution, whose record tells more as long as it is kept.
    #[schema(value_type = Option<Uuid>)]
    execution_id: Option<ExecutionId>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// An execution's outcome; `failed` where the script returned the event as such, `lost` where its node went.
    outcome: String,
    error: Option<String>,
}

/// An event with its attempts.
#[derive(Serialize, ToSchema)]
struct EventTimeline {
    #[serde(flatten)]
    event: EventView,
    /// Those that have ended, the first one first.
    attempts: Vec<EventAttempt>,
}

/// Events, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    items: Vec<EventView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

pub(crate) fn queue_of(lane: Lane) -> Option<String> {
    match lane {
        Lane::Queue(queue) => Some(queue.into()),
        Lane::Trigger(_) | Lane::Script(_) => None,
    }
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id,
            source: row.source,
            op: row.op,
            state: row.state.as_str(),
            queue: queue_of(row.lane),
            trigger_id: row.trigger,
            script_id: row.script,
            attempt: row.attempt,
            depth: row.depth,
            created_at: row.created_at,
            due_at: row.due_at,
            first_attempt_at: row.first_attempt_at,
            last_attempt_at: row.last_attempt_at,
            last_error: row.last_error,
            ended_at: row.ended_at,
            dead_letter_id: row.dead_letter,
            replay_of: row.replay_of,
            bytes: row.bytes,
            payload: row.payload.as_ref().map(EventPayload::to_json),
        }
    }
}

impl From<AttemptRow> for EventAttempt {
    fn from(row: AttemptRow) -> Self {
        let AttemptRow { attempt, execution, started_at, ended_at, outcome, error } = row;
        Self { attempt, execution_id: execution, started_at, ended_at, outcome, error }
    }
}

impl From<Page<EventRow, EventId>> for EventList {
    fn from(page: Page<EventRow, EventId>) -> Self {
        let items = page.items.into_iter().map(EventView::from).collect();
        Self { items, next_cursor: page.next.map(|id| id.to_string()) }
    }
}

/// What has become of an event, as a query asks for it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateQuery {
    Waiting,
    Running,
    Done,
    Dead,
}

impl From<StateQuery> for EventState {
    fn from(state: StateQuery) -> Self {
        match state {
            StateQuery::Waiting => Self::Waiting,
            StateQuery::Running => Self::Running,
            StateQuery::Done => Self::Done,
            StateQuery::Dead => Self::Dead,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Events on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
    /// Only events in that state.
    #[serde(default)]
    #[param(value_type = Option<schema::EventState>)]
    state: Option<StateQuery>,
    /// Only events of that source.
    #[serde(default)]
    #[param(value_type = Option<schema::EventSource>)]
    source: Option<EventSource>,
    /// Only events that that trigger handles, and messages that wait in its queue.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    trigger: Option<TriggerId>,
    /// Only messages of that queue.
    #[serde(default)]
    queue: Option<String>,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    GetProblems { "404": "`not_found`" }
}

/// List the events of an app, the newest first.
///
/// Those that have ended are kept for a day, 10,000 at most.
#[utoipa::path(get, path = "/apps/{app}/events", tag = "triggers",
    params(("app" = String, Path, description = "The app's id or slug."), EventQuery),
    responses((status = 200, description = "A page of events.", body = EventList), ListProblems))]
async fn list_events(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(query): Query<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let EventQuery { limit, cursor, state: of_state, source, trigger, queue } = query;
    let queue = queue.map(|queue| queue.parse::<QueueName>()).transpose();
    let queue = queue.map_err(|error: InvalidQueueName| ApiError::invalid(vec![FieldError::new("queue", error)]))?;
    let filter =
        EventFilter { state: of_state.map(EventState::from), source, trigger, queue, ..EventFilter::default() };
    let (size, before) = (page_size(limit)?, cursor.map(EventId::from_uuid));
    Ok(Json(state.services.events.list(&actor, &app_ref(&app)?, filter, size, before).await?.into()))
}

/// Get an event with its attempts.
#[utoipa::path(get, path = "/apps/{app}/events/{event}", tag = "triggers",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("event" = Uuid, Path, description = "The event's id."),
    ),
    responses((status = 200, description = "The event.", body = EventTimeline), GetProblems))]
async fn get_event(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, EventId)>,
) -> Result<Json<EventTimeline>, ApiError> {
    let (event, attempts) = state.services.events.get(&actor, &app_ref(&app)?, id).await?;
    Ok(Json(EventTimeline { event: event.into(), attempts: attempts.into_iter().map(EventAttempt::from).collect() }))
}
