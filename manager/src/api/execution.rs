//! The execution log of a script and of an app.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Caller, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::api::schema::{self, FailureView, LogLineView};
use crate::repo::executions::Execution;
use crate::service::execution::{LogPage, LogQuery, MAX_COUNTED};
use crate::service::tail::Seen;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_executions_of_script))
        .routes(routes!(list_executions_of_app))
        .routes(routes!(watch_executions))
}

/// An execution as it was kept.
#[derive(Serialize, ToSchema)]
struct ExecutionView {
    /// The same as `execution_id`.
    #[schema(value_type = Uuid)]
    id: ExecutionId,
    /// What the caller saw in `x-execution-id`.
    #[schema(value_type = Uuid)]
    execution_id: ExecutionId,
    #[schema(value_type = Uuid)]
    app_id: AppId,
    #[schema(value_type = Uuid)]
    script_id: ScriptId,
    /// The version that ran; 0 for unsaved source.
    version: u32,
    #[schema(value_type = schema::ExecutionOrigin)]
    origin: Origin,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    duration_us: u64,
    #[schema(value_type = schema::Outcome)]
    outcome: Outcome,
    /// The status that the caller got.
    status: u16,
    /// How many executions this record stands for, where successes are sampled.
    sample_weight: u64,
    /// Absent where events started it.
    #[schema(value_type = Option<schema::RecordedRequest>)]
    request: Option<serde_json::Value>,
    /// What it handled, where events started it.
    #[schema(value_type = Option<Vec<schema::RecordedEvent>>)]
    events: Option<serde_json::Value>,
    /// Exactly when the outcome is `success`.
    #[schema(value_type = Option<schema::RecordedResponse>)]
    response: Option<serde_json::Value>,
    error: Option<FailureView>,
    logs: Vec<LogLineView>,
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        let mut request = execution.request;
        let events = match (execution.origin, request.get_mut("events")) {
            (Origin::Trigger(_) | Origin::Event, Some(events)) => Some(events.take()),
            _ => None,
        };
        let request = events.is_none().then_some(request);
        Self {
            id: execution.id,
            execution_id: execution.id,
            app_id: execution.app_id,
            script_id: execution.script_id,
            version: execution.version,
            origin: execution.origin,
            started_at: execution.started_at,
            duration_us: u64::try_from(execution.duration.as_micros()).unwrap_or(u64::MAX),
            outcome: execution.outcome,
            status: execution.status,
            sample_weight: execution.sample_weight,
            request,
            events,
            response: execution.response,
            error: execution.error.map(FailureView::from),
            logs: execution.logs.into_iter().map(LogLineView::from).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct ExecutionList {
    /// The newest first.
    items: Vec<ExecutionView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// How many records pass the filter on all pages; 10,000 stands for that many or more.
    #[schema(maximum = 10_000)]
    total: u64,
}

impl From<LogPage> for ExecutionList {
    fn from(LogPage { page, total }: LogPage) -> Self {
        let items = page.items.into_iter().map(ExecutionView::from).collect();
        Self { items, next_cursor: page.next.map(|id| id.to_string()), total }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExecutionQuery {
    /// Records to list: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before, or the id of a record: what is older follows.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<ExecutionId>,
    /// Records to leave out, from the newest on, in place of `cursor`: 10,000 at most.
    #[serde(default)]
    #[param(maximum = 10_000)]
    offset: u32,
    /// Only with this outcome.
    #[serde(default)]
    #[param(value_type = Option<schema::Outcome>)]
    outcome: Option<Outcome>,
    /// Only those that started then or later, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
}

impl TryFrom<ExecutionQuery> for LogQuery {
    type Error = ApiError;

    fn try_from(query: ExecutionQuery) -> Result<Self, ApiError> {
        let ExecutionQuery { limit, cursor: before, offset, outcome, since } = query;
        let invalid = |detail: &str| Err(ApiError::invalid(vec![FieldError::new("offset", detail)]));
        if offset > MAX_COUNTED {
            return invalid("an offset is 10000 at most; go on by cursor");
        }
        if offset > 0 && before.is_some() {
            return invalid("send either cursor or offset");
        }
        Ok(Self { size: page_size(limit)?, before, offset, outcome, since })
    }
}

/// Which executions of an app.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AppExecutionQuery {
    /// Records to list: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before, or the id of a record: what is older follows.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<ExecutionId>,
    /// Records to leave out, from the newest on, in place of `cursor`: 10,000 at most.
    #[serde(default)]
    #[param(maximum = 10_000)]
    offset: u32,
    /// Only of this script of the app.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
    /// Only with this outcome.
    #[serde(default)]
    #[param(value_type = Option<schema::Outcome>)]
    outcome: Option<Outcome>,
    /// Only those that started then or later, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
}

problems! {
    LogProblems { "404": "`not_found`", "422": "`invalid`" }
    WatchProblems { "404": "`not_found`", "429": "`too_many_streams` (with `most`)" }
}

/// List the executions of a script.
///
/// What was run before the call is in it.
#[utoipa::path(get, path = "/scripts/{script}/logs", tag = "logs",
    params(("script" = Uuid, Path, description = "The script's id."), ExecutionQuery),
    responses((status = 200, description = "The kept executions.", body = ExecutionList), LogProblems))]
async fn list_executions_of_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(script): Path<ScriptId>,
    Query(query): Query<ExecutionQuery>,
) -> Result<Json<ExecutionList>, ApiError> {
    Ok(Json(state.services.executions.of_script(&actor, script, query.try_into()?).await?.into()))
}

/// List the executions of an app.
///
/// What was run before the call is in it.
#[utoipa::path(get, path = "/apps/{app}/logs", tag = "logs",
    params(("app" = String, Path, description = "The app's id or slug."), AppExecutionQuery),
    responses((status = 200, description = "The kept executions.", body = ExecutionList), LogProblems))]
async fn list_executions_of_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(query): Query<AppExecutionQuery>,
) -> Result<Json<ExecutionList>, ApiError> {
    let AppExecutionQuery { limit, cursor, offset, script_id, outcome, since } = query;
    let query = ExecutionQuery { limit, cursor, offset, outcome, since }.try_into()?;
    Ok(Json(state.services.executions.of_app(&actor, &app_ref(&app)?, script_id, query).await?.into()))
}

/// Watch the executions of an app.
///
/// A stream of server-sent events. `execution`: one that was kept, on whatever node, as in the list of executions, with its id as
/// the event's. `missed`: how many were kept that came too fast for this stream. It ends after an hour, and within
/// seconds of the end of the caller's session, key or right.
#[utoipa::path(get, path = "/apps/{app}/logs/tail", tag = "logs",
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "Events, as they come.", body = String, content_type = EVENT_STREAM), WatchProblems))]
async fn watch_executions(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let tail = state.services.tails.watch(actor, &app_ref(&app)?).await?;
    // Something at once, so that whoever watches sees that it has begun.
    let begun = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b": watching\n\n")) });
    let seen = stream::unfold(tail, async |mut tail| {
        let seen = tail.next().await?;
        Some((Ok(event(seen)), tail))
    });
    Ok(([(CONTENT_TYPE, EVENT_STREAM)], Body::from_stream(begun.chain(seen))))
}

/// The media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// One event, in the form of <https://html.spec.whatwg.org/multipage/server-sent-events.html>. JSON has no line breaks.
fn event(seen: Seen) -> Bytes {
    match seen {
        Seen::Execution(execution) => {
            let id = execution.id;
            let data = serde_json::to_string(&ExecutionView::from(Arc::unwrap_or_clone(execution)));
            let data = data.expect("a view is plain values, which JSON can hold");
            format!("event: execution\nid: {id}\ndata: {data}\n\n").into()
        }
        Seen::Missed(count) => format!("event: missed\ndata: {{\"count\":{count}}}\n\n").into(),
        Seen::Quiet => Bytes::from_static(b": quiet\n\n"),
    }
}
