//! `scripts`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{ScriptKind, ScriptSource};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, Object, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
use crate::api::schema;
use crate::api::script_body::{CreateScript, SandboxView, ScriptSummary, ScriptView, UpdateScript};
use crate::repo::scripts::Script;
use crate::service::script::{SourceDraft, revision};
use crate::service::script_check::SourceProblem;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_scripts, create_script)).routes(routes!(check_script)).routes(routes!(
        get_script,
        update_script,
        delete_script
    ))
}

#[derive(Serialize, ToSchema)]
struct ScriptList {
    items: Vec<ScriptSummary>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageOfScripts {
    /// The id or slug of the app whose scripts to list.
    app: String,
    /// Scripts on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<ScriptId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckScript {
    /// The app whose modules the source may import.
    #[schema(value_type = Uuid)]
    app_id: AppId,
    /// The name of the script; a name that the app has stands for that script.
    #[schema(value_type = Option<String>)]
    name: Option<ScriptName>,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    #[schema(value_type = String)]
    source: ScriptSource,
    timeout_ms: Option<u64>,
    #[schema(value_type = Option<SandboxView>)]
    sandbox: Option<Object<SandboxView>>,
}

/// What is wrong with a source.
#[derive(Serialize, ToSchema)]
struct SourceErrorView {
    message: String,
    /// 1-based, where known.
    line: Option<u32>,
    /// 1-based, where known.
    column: Option<u32>,
    /// The script that imports this one and would no longer compile, if it is that.
    importer: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ScriptCheck {
    /// Whether the source could be saved.
    valid: bool,
    errors: Vec<SourceErrorView>,
    /// The modules that it imports.
    imports: Vec<String>,
}

impl From<Result<Vec<ScriptName>, SourceProblem>> for ScriptCheck {
    fn from(result: Result<Vec<ScriptName>, SourceProblem>) -> Self {
        match result {
            Ok(imports) => {
                let imports = imports.into_iter().map(String::from).collect();
                Self { valid: true, errors: Vec::new(), imports }
            }
            Err(SourceProblem { error, importer }) => {
                let (line, column, importer) = (error.line, error.column, importer.map(String::from));
                let error = SourceErrorView { message: error.message, line, column, importer };
                Self { valid: false, errors: vec![error], imports: Vec::new() }
            }
        }
    }
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    ScriptProblems { "404": "`not_found`" }
    CreateProblems {
        "404": "`not_found`",
        "409": "`script_name_taken`",
        "422": "`invalid`, `invalid_source` (with `line` and `column`), `limit_over_ceiling` and `app_limit_reached` (with `limit` and `ceiling`)",
    }
    CheckProblems { "404": "`not_found`", "422": "`invalid`, `limit_over_ceiling`" }
    UpdateProblems {
        "404": "`not_found`",
        "409": "`script_name_taken`, `script_in_use` (with `routes`, `triggers` and `importers`)",
        "412": "`precondition_failed`",
        "422": "`invalid`, `invalid_source` (with `line`, `column`, `importer`), `limit_over_ceiling`, `app_limit_reached`",
    }
    DeleteProblems {
        "404": "`not_found`",
        "409": "`script_in_use` (with `importers`)",
        "412": "`precondition_failed`",
    }
}

pub(crate) fn script_response(status: StatusCode, script: Script) -> impl IntoResponse {
    (status, etag(&revision(&script.meta)), Json(ScriptView::from(script)))
}

/// List the scripts of an app.
///
/// In order of creation, without their sources.
#[utoipa::path(get, path = "/scripts", tag = "scripts", params(PageOfScripts),
    responses((status = 200, description = "A page of scripts.", body = ScriptList), ListProblems))]
async fn list_scripts(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageOfScripts>,
) -> Result<Json<ScriptList>, ApiError> {
    let size = page_size(page.limit)?;
    let page = state.services.scripts.list(&actor, &app_ref(&page.app)?, size, page.cursor).await?;
    let items = page.items.into_iter().map(ScriptSummary::from).collect();
    Ok(Json(ScriptList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Create a script.
///
/// The source must compile and everything that it imports must be there.
#[utoipa::path(post, path = "/scripts", tag = "scripts", request_body = CreateScript,
    responses((status = 201, description = "The script.", body = ScriptView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), CreateProblems))]
async fn create_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(body): Body<CreateScript>,
) -> Result<impl IntoResponse, ApiError> {
    let script = state.services.scripts.create(&actor, body.into()).await?;
    Ok(script_response(StatusCode::CREATED, script))
}

/// Check a source without saving it.
#[utoipa::path(post, path = "/scripts:check", tag = "scripts", request_body = CheckScript,
    responses((status = 200, description = "Whether it could be saved.", body = ScriptCheck), CheckProblems))]
async fn check_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(body): Body<CheckScript>,
) -> Result<Json<ScriptCheck>, ApiError> {
    let CheckScript { app_id, name, kind, source, timeout_ms, sandbox } = body;
    let sandbox = sandbox.unwrap_or_default().0.into();
    let draft = SourceDraft { app_id, name, kind, source, timeout_ms, sandbox };
    Ok(Json(state.services.scripts.check(&actor, draft).await?.into()))
}

/// Get a script.
#[utoipa::path(get, path = "/scripts/{script}", tag = "scripts",
    params(("script" = Uuid, Path, description = "The script's id.")),
    responses((status = 200, description = "The script.", body = ScriptView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), ScriptProblems))]
async fn get_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ScriptId>,
) -> Result<impl IntoResponse, ApiError> {
    Ok(script_response(StatusCode::OK, state.services.scripts.get(&actor, id).await?))
}

/// Change a script.
#[utoipa::path(patch, path = "/scripts/{script}", tag = "scripts", request_body = UpdateScript,
    params(
        ("script" = Uuid, Path, description = "The script's id."),
        IfMatch,
    ),
    responses((status = 200, description = "The script as it is now.", body = ScriptView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ScriptId>,
    IfMatch(precondition): IfMatch,
    Body(body): Body<UpdateScript>,
) -> Result<impl IntoResponse, ApiError> {
    let script = state.services.scripts.update(&actor, id, &body.into(), &precondition).await?;
    Ok(script_response(StatusCode::OK, script))
}

/// Delete a script.
///
/// An endpoint goes with its routes; a module only when nothing imports it.
#[utoipa::path(delete, path = "/scripts/{script}", tag = "scripts",
    params(
        ("script" = Uuid, Path, description = "The script's id."),
        IfMatch,
    ),
    responses((status = 204, description = "The script is gone."), DeleteProblems))]
async fn delete_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ScriptId>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.scripts.delete(&actor, id, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
