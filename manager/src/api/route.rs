//! `routes`, and those of a script and of an app.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::id::{RouteId, ScriptId};
use picloud_shared::route::Route;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
pub(crate) use crate::api::route_body::RouteView;
use crate::api::route_body::{PatternBody, PatternPatch};
use crate::service::error::ServiceError;
use crate::service::page::Page;
use crate::service::route::revision;
use crate::service::route_url::LocatedRoute;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_routes_of_script, create_route))
        .routes(routes!(list_routes_of_app))
        .routes(routes!(get_route, update_route, delete_route))
}

#[derive(Serialize, ToSchema)]
struct RouteList {
    items: Vec<RouteView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

impl From<Page<LocatedRoute, RouteId>> for RouteList {
    fn from(page: Page<LocatedRoute, RouteId>) -> Self {
        Self { items: RouteView::all(page.items), next_cursor: page.next.map(|id| id.to_string()) }
    }
}

problems! {
    RouteProblems { "404": "`not_found`" }
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    CreateProblems {
        "404": "`not_found`",
        "409": "`route_conflict` (with `conflict`, the other route)",
        "422": "`invalid`, `host_not_claimed`, `module_not_routable`, `routes_too_ambiguous`, `app_limit_reached` (with `limit` and `ceiling`)",
    }
    UpdateProblems {
        "404": "`not_found`",
        "409": "`route_conflict` (with `conflict`, the other route)",
        "412": "`precondition_failed`",
        "422": "`invalid`, `host_not_claimed`, `module_not_routable`, `routes_too_ambiguous`",
    }
    DeleteProblems { "404": "`not_found`", "412": "`precondition_failed`" }
}

fn route_response(status: StatusCode, route: LocatedRoute) -> impl IntoResponse {
    (status, etag(&revision(&route.stored.route)), Json(RouteView::from(route)))
}

/// List the routes of a script.
#[utoipa::path(get, path = "/scripts/{script}/routes", tag = "routes",
    params(("script" = Uuid, Path, description = "The script's id."), PageQuery),
    responses((status = 200, description = "A page of routes, in order of creation.", body = RouteList), ListProblems))]
async fn list_routes_of_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(script): Path<ScriptId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<RouteList>, ApiError> {
    let size = page_size(page.limit)?;
    Ok(Json(
        state.services.routes.list_of_script(&actor, script, size, page.cursor.map(RouteId::from_uuid)).await?.into(),
    ))
}

/// List the routes of an app.
#[utoipa::path(get, path = "/apps/{app}/routes", tag = "routes",
    params(("app" = String, Path, description = "The app's id or slug."), PageQuery),
    responses((status = 200, description = "A page of routes, in order of creation.", body = RouteList), ListProblems))]
async fn list_routes_of_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<RouteList>, ApiError> {
    let size = page_size(page.limit)?;
    Ok(Json(
        state
            .services
            .routes
            .list_of_app(&actor, &app_ref(&app)?, size, page.cursor.map(RouteId::from_uuid))
            .await?
            .into(),
    ))
}

/// Bind a route to a script.
#[utoipa::path(post, path = "/scripts/{script}/routes", tag = "routes", request_body = PatternBody,
    params(("script" = Uuid, Path, description = "The script's id.")),
    responses((status = 201, description = "The route.", body = RouteView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), CreateProblems))]
async fn create_route(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(script): Path<ScriptId>,
    Body(body): Body<PatternBody>,
) -> Result<impl IntoResponse, ApiError> {
    let wanted = body.parse().map_err(ServiceError::Invalid)?;
    let route = state.services.routes.create(&actor, script, wanted).await?;
    Ok(route_response(StatusCode::CREATED, route))
}

/// Get a route.
#[utoipa::path(get, path = "/routes/{route}", tag = "routes",
    params(("route" = Uuid, Path, description = "The route's id.")),
    responses((status = 200, description = "The route.", body = RouteView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), RouteProblems))]
async fn get_route(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<RouteId>,
) -> Result<impl IntoResponse, ApiError> {
    Ok(route_response(StatusCode::OK, state.services.routes.get(&actor, id).await?))
}

/// Change a route.
#[utoipa::path(patch, path = "/routes/{route}", tag = "routes", request_body = PatternPatch,
    params(
        ("route" = Uuid, Path, description = "The route's id."),
        IfMatch,
    ),
    responses((status = 200, description = "The route as it is now.", body = RouteView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_route(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<RouteId>,
    IfMatch(precondition): IfMatch,
    Body(patch): Body<PatternPatch>,
) -> Result<impl IntoResponse, ApiError> {
    let routes = &state.services.routes;
    let wanted = |old: &Route| patch.onto(old).parse().map_err(ServiceError::Invalid);
    let changed = routes.update(&actor, id, patch.script_id, wanted, &precondition).await?;
    Ok(route_response(StatusCode::OK, changed))
}

/// Delete a route.
#[utoipa::path(delete, path = "/routes/{route}", tag = "routes",
    params(
        ("route" = Uuid, Path, description = "The route's id."),
        IfMatch,
    ),
    responses((status = 204, description = "The route is gone."), DeleteProblems))]
async fn delete_route(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<RouteId>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.routes.delete(&actor, id, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
