//! `scripts/{script}/versions`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ScriptId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Caller, Path, Query, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::IfMatch;
use crate::api::problem::ApiError;
use crate::api::script::script_response;
use crate::api::script_body::ScriptView;
use crate::repo::scripts::VersionMeta;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_versions))
        .routes(routes!(get_version))
        .routes(routes!(restore_version))
}

/// A version without its source.
#[derive(Serialize, ToSchema)]
struct VersionSummary {
    version: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who saved it; null for the platform itself, or when the user is gone.
    #[schema(value_type = Option<Uuid>)]
    created_by: Option<UserId>,
}

/// A version with its source.
#[derive(Serialize, ToSchema)]
struct VersionView {
    #[serde(flatten)]
    summary: VersionSummary,
    source: String,
}

impl From<VersionMeta> for VersionSummary {
    fn from(meta: VersionMeta) -> Self {
        Self { version: meta.version, created_at: meta.created_at, created_by: meta.created_by }
    }
}

#[derive(Serialize, ToSchema)]
struct VersionList {
    items: Vec<VersionSummary>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageOfVersions {
    /// Versions on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<u32>,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    VersionProblems { "404": "`not_found`" }
    RestoreProblems {
        "404": "`not_found`",
        "412": "`precondition_failed`",
        "422": "`invalid_source` (with `line`, `column`, `importer`), `limit_over_ceiling`, `app_limit_reached`",
    }
}

/// List the kept versions of a script.
///
/// The newest first.
#[utoipa::path(get, path = "/scripts/{script}/versions", tag = "scripts",
    params(("script" = Uuid, Path, description = "The script's id."), PageOfVersions),
    responses((status = 200, description = "A page of versions.", body = VersionList), ListProblems))]
async fn list_versions(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ScriptId>,
    Query(page): Query<PageOfVersions>,
) -> Result<Json<VersionList>, ApiError> {
    let page = state.services.scripts.versions(&actor, id, page_size(page.limit)?, page.cursor).await?;
    let items = page.items.into_iter().map(VersionSummary::from).collect();
    Ok(Json(VersionList { items, next_cursor: page.next.map(|version| version.to_string()) }))
}

/// Get a version of a script.
#[utoipa::path(get, path = "/scripts/{script}/versions/{version}", tag = "scripts",
    params(
        ("script" = Uuid, Path, description = "The script's id."),
        ("version" = u32, Path, description = "The version's number."),
    ),
    responses((status = 200, description = "The version with its source.", body = VersionView), VersionProblems))]
async fn get_version(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((id, version)): Path<(ScriptId, u32)>,
) -> Result<Json<VersionView>, ApiError> {
    let (meta, source) = state.services.scripts.version(&actor, id, version).await?;
    Ok(Json(VersionView { summary: meta.into(), source: source.into() }))
}

/// Restore a version of a script.
///
/// Its source becomes the newest version, if it differs from the current one.
#[utoipa::path(post, path = "/scripts/{script}/versions/{version}/restore", tag = "scripts",
    params(
        ("script" = Uuid, Path, description = "The script's id."),
        ("version" = u32, Path, description = "The version's number."),
        IfMatch,
    ),
    responses((status = 200, description = "The script as it is now.", body = ScriptView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), RestoreProblems))]
async fn restore_version(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((id, version)): Path<(ScriptId, u32)>,
    IfMatch(precondition): IfMatch,
) -> Result<impl IntoResponse, ApiError> {
    let script = state.services.scripts.restore(&actor, id, version, &precondition).await?;
    Ok(script_response(StatusCode::OK, script))
}
