//! `apps/{app}/triggers`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::id::TriggerId;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
pub(crate) use crate::api::trigger_body::TriggerView;
use crate::api::trigger_body::{CreateTrigger, UpdateTrigger};
use crate::repo::triggers::StoredTrigger;
use crate::service::error::ServiceError;
use crate::service::trigger::revision;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_triggers, create_trigger)).routes(routes!(
        get_trigger,
        update_trigger,
        delete_trigger
    ))
}

#[derive(Serialize, ToSchema)]
struct TriggerList {
    items: Vec<TriggerView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

problems! {
    GetProblems { "404": "`not_found`" }
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    CreateProblems {
        "404": "`not_found`",
        "409": "`trigger_exists` (with `conflict`, the other trigger of the queue)",
        "422": "`invalid`, `module_not_triggerable`, `limit_over_ceiling`, `app_limit_reached` (with `limit` and `ceiling`)",
    }
    UpdateProblems {
        "404": "`not_found`",
        "409": "`trigger_exists` (with `conflict`, the other trigger of the queue)",
        "412": "`precondition_failed`",
        "422": "`invalid`, `module_not_triggerable`, `limit_over_ceiling` (with `limit` and `ceiling`)",
    }
    DeleteProblems { "404": "`not_found`", "412": "`precondition_failed`" }
}

fn trigger_response(state: &ApiState, status: StatusCode, stored: StoredTrigger) -> impl IntoResponse + use<> {
    let now = state.services.triggers.now();
    (status, etag(&revision(&stored.trigger)), Json(TriggerView::at(now, stored)))
}

/// List the triggers of an app.
#[utoipa::path(get, path = "/apps/{app}/triggers", tag = "triggers",
    params(("app" = String, Path, description = "The app's id or slug."), PageQuery),
    responses((status = 200, description = "A page of triggers, in order of creation.", body = TriggerList), ListProblems))]
async fn list_triggers(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<TriggerList>, ApiError> {
    let (size, after) = (page_size(page.limit)?, page.cursor.map(TriggerId::from_uuid));
    let page = state.services.triggers.list(&actor, &app_ref(&app)?, size, after).await?;
    let now = state.services.triggers.now();
    let items = page.items.into_iter().map(|stored| TriggerView::at(now, stored)).collect();
    Ok(Json(TriggerList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Set up a trigger.
#[utoipa::path(post, path = "/apps/{app}/triggers", tag = "triggers", request_body = CreateTrigger,
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 201, description = "The trigger.", body = TriggerView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), CreateProblems))]
async fn create_trigger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<CreateTrigger>,
) -> Result<impl IntoResponse, ApiError> {
    let trigger = body.parse().map_err(ServiceError::Invalid)?;
    let stored = state.services.triggers.create(&actor, &app_ref(&app)?, trigger).await?;
    Ok(trigger_response(&state, StatusCode::CREATED, stored))
}

/// Get a trigger.
#[utoipa::path(get, path = "/apps/{app}/triggers/{trigger}", tag = "triggers",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("trigger" = Uuid, Path, description = "The trigger's id."),
    ),
    responses((status = 200, description = "The trigger.", body = TriggerView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), GetProblems))]
async fn get_trigger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, TriggerId)>,
) -> Result<impl IntoResponse, ApiError> {
    Ok(trigger_response(&state, StatusCode::OK, state.services.triggers.get(&actor, &app_ref(&app)?, id).await?))
}

/// Change a trigger.
#[utoipa::path(patch, path = "/apps/{app}/triggers/{trigger}", tag = "triggers", request_body = UpdateTrigger,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("trigger" = Uuid, Path, description = "The trigger's id."),
        IfMatch,
    ),
    responses((status = 200, description = "The trigger as it is now.", body = TriggerView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_trigger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, TriggerId)>,
    IfMatch(precondition): IfMatch,
    Body(patch): Body<UpdateTrigger>,
) -> Result<impl IntoResponse, ApiError> {
    let (app, patch) = (app_ref(&app)?, |old: &_| patch.onto(old));
    let changed = state.services.triggers.update(&actor, &app, id, patch, &precondition).await?;
    Ok(trigger_response(&state, StatusCode::OK, changed))
}

/// Delete a trigger. Messages of its queue stay.
#[utoipa::path(delete, path = "/apps/{app}/triggers/{trigger}", tag = "triggers",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("trigger" = Uuid, Path, description = "The trigger's id."),
        IfMatch,
    ),
    responses((status = 204, description = "The trigger is gone."), DeleteProblems))]
async fn delete_trigger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, TriggerId)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.triggers.delete(&actor, &app_ref(&app)?, id, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
