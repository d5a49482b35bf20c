//! `apps/{app}/queues`, and what else makes an event by a person's hand.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::event::{DedupKey, EventPayload, InvalidDedupKey, MAX_DELAY};
use picloud_shared::id::{EventId, TriggerId};
use picloud_shared::name::{InvalidQueueName, QueueName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::event::{EventList, StateQuery};
use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size, present};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::api::{ApiState, cursor, schema};
use crate::events::{EventFilter, EventState, QueueDepth};
use crate::service::event::{NewMessage, Queues};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_queues))
        .routes(routes!(list_messages, send_message))
        .routes(routes!(delete_message))
        .routes(routes!(fire_trigger))
}

/// The list, as its cursors name it.
const QUEUES: &str = "queues";

/// A queue that has messages.
#[derive(Serialize, ToSchema)]
struct QueueView {
    name: String,
    /// Messages that wait.
    waiting: u64,
    /// Messages that are being handled.
    running: u64,
    /// When the oldest of them was sent.
    #[schema(value_type = String, format = DateTime)]
    oldest_at: Timestamp,
}

/// The queues of an app that have messages. One without is not there.
#[derive(Serialize, ToSchema)]
struct QueueList {
    items: Vec<QueueView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// Events of all sources that have not ended, and dead letters that are not resolved.
    events: u64,
    /// Bytes of their payloads.
    event_bytes: u64,
    /// Events and dead letters that the app may have.
    max_events: u64,
    /// Bytes of payloads that the app may have.
    max_event_bytes: u64,
}

impl From<QueueDepth> for QueueView {
    fn from(QueueDepth { name, waiting, running, oldest_at }: QueueDepth) -> Self {
        Self { name: name.into(), waiting, running, oldest_at }
    }
}

/// An event that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventMade {
    #[schema(value_type = Uuid)]
    pub event_id: EventId,
}

/// A message that is to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    /// Any JSON value, of at most 256 KiB; null if absent.
    #[serde(default)]
    #[schema(required = false)]
    payload: Value,
    /// Seconds for which it is not handled; none if absent, and 30 days at most.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, maximum = 2_592_000)]
    delay: Option<u64>,
    /// 1 to 256 bytes. A message by the same key that the queue has, or that was handled within a day, is given in its place.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 256)]
    dedup_key: Option<String>,
}

/// What a trigger is to handle.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FireTrigger {
    /// Any JSON value, of at most 256 KiB; null if absent.
    #[serde(default)]
    #[schema(required = false)]
    payload: Value,
}

/// The payload of an event, out of a body's member of that name.
pub(crate) fn payload(value: &Value) -> Result<EventPayload, ApiError> {
    EventPayload::of_json(value).map_err(|error| ApiError::invalid(vec![FieldError::new("payload", error)]))
}

impl SendMessage {
    fn message(self, queue: QueueName) -> Result<NewMessage, ApiError> {
        let invalid = |field: &str, detail: String| ApiError::invalid(vec![FieldError::new(field, detail)]);
        let payload = payload(&self.payload)?;
        let (delay, longest) = (Duration::from_secs(self.delay.unwrap_or(0)), MAX_DELAY.as_secs());
        if delay > MAX_DELAY {
            return Err(invalid("delay", format!("it is from 0 to {longest} seconds")));
        }
        let dedup_key = self.dedup_key.map(|key| key.parse::<DedupKey>()).transpose();
        let dedup_key = dedup_key.map_err(|error: InvalidDedupKey| invalid("dedup_key", error.to_string()))?;
        Ok(NewMessage { queue, payload, delay, dedup_key })
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QueueQuery {
    /// Queues on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageQuery {
    /// Messages on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
    /// Only messages in that state.
    #[serde(default)]
    #[param(value_type = Option<schema::EventState>)]
    state: Option<StateQuery>,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    MakeProblems {
        "404": "`not_found`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
    DeleteProblems { "404": "`not_found`", "409": "`not_waiting`" }
}

/// A queue in the address. What is no name names none.
fn queue(text: &str) -> Result<QueueName, ApiError> {
    text.parse().map_err(|_: InvalidQueueName| ApiError::not_found("queue"))
}

/// List the queues of an app that have messages.
#[utoipa::path(get, path = "/apps/{app}/queues", tag = "data",
    params(("app" = String, Path, description = "The app's id or slug."), QueueQuery),
    responses((status = 200, description = "A page of queues, by name.", body = QueueList), ListProblems))]
async fn list_queues(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(QueueQuery { limit, cursor }): Query<QueueQuery>,
) -> Result<Json<QueueList>, ApiError> {
    let after = cursor::read(QUEUES, cursor)?;
    let held = state.services.events.queues(&actor, &app_ref(&app)?, page_size(limit)?, after).await?;
    let Queues { usage, quota, queues } = held;
    Ok(Json(QueueList {
        items: queues.items.into_iter().map(QueueView::from).collect(),
        next_cursor: queues.next.map(|name| cursor::write(QUEUES, name.as_str())),
        events: usage.events,
        event_bytes: usage.bytes,
        max_events: quota.events,
        max_event_bytes: quota.bytes,
    }))
}

/// List the messages of a queue, the newest first.
///
/// Those that have ended are among them as long as events are kept.
#[utoipa::path(get, path = "/apps/{app}/queues/{queue}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("queue" = String, Path, description = "The queue's name."),
        MessageQuery,
    ),
    responses((status = 200, description = "A page of messages.", body = EventList), ListProblems))]
async fn list_messages(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    Query(MessageQuery { limit, cursor, state: of_state }): Query<MessageQuery>,
) -> Result<Json<EventList>, ApiError> {
    let state_filter = of_state.map(EventState::from);
    let filter = EventFilter { state: state_filter, queue: Some(queue(&name)?), ..EventFilter::default() };
    let (size, before) = (page_size(limit)?, cursor.map(EventId::from_uuid));
    Ok(Json(state.services.events.list(&actor, &app_ref(&app)?, filter, size, before).await?.into()))
}

/// Send a message to a queue, which is there as soon as it has one.
#[utoipa::path(post, path = "/apps/{app}/queues/{queue}", tag = "data", request_body = SendMessage,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("queue" = String, Path, description = "The queue's name."),
    ),
    responses((status = 202, description = "The message is kept, and will be handled.", body = EventMade), MakeProblems))]
async fn send_message(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<SendMessage>,
) -> Result<(StatusCode, Json<EventMade>), ApiError> {
    let (app, message) = (app_ref(&app)?, body.message(queue(&name)?)?);
    let event_id = state.services.events.send(&actor, &app, message).await?;
    Ok((StatusCode::ACCEPTED, Json(EventMade { event_id })))
}

/// Delete a message of a queue that waits.
#[utoipa::path(delete, path = "/apps/{app}/queues/{queue}/{event}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("queue" = String, Path, description = "The queue's name."),
        ("event" = Uuid, Path, description = "The message's id."),
    ),
    responses((status = 204, description = "The message is gone."), DeleteProblems))]
async fn delete_message(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, id)): Path<(String, String, EventId)>,
) -> Result<StatusCode, ApiError> {
    state.services.events.delete_message(&actor, &app_ref(&app)?, queue(&name)?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make an event for a trigger, as if something had happened at its source.
///
/// It is handled as any other is: the trigger of a queue gets a message, which waits while the trigger is not enabled.
#[utoipa::path(post, path = "/apps/{app}/triggers/{trigger}/fire", tag = "triggers", request_body = FireTrigger,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("trigger" = Uuid, Path, description = "The trigger's id."),
    ),
    responses((status = 202, description = "The event is kept, and will be handled.", body = EventMade), MakeProblems))]
async fn fire_trigger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, TriggerId)>,
    Body(body): Body<FireTrigger>,
) -> Result<(StatusCode, Json<EventMade>), ApiError> {
    let (app, payload) = (app_ref(&app)?, payload(&body.payload)?);
    let event_id = state.services.events.fire(&actor, &app, id, payload).await?;
    Ok((StatusCode::ACCEPTED, Json(EventMade { event_id })))
}
