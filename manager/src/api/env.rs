//! `apps/{app}/env`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::env::EnvValue;
use picloud_shared::name::{InvalidSettingName, SettingName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::{ApiState, cursor};
use crate::repo::env::EnvSetting;
use crate::service::env::revision;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_env)).routes(routes!(get_env, set_env, delete_env))
}

/// The list, as its cursors name it.
const LIST: &str = "env";

/// A setting of an app.
#[derive(Serialize, ToSchema)]
struct EnvView {
    name: String,
    value: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&EnvSetting> for EnvView {
    fn from(setting: &EnvSetting) -> Self {
        let EnvSetting { name, value, updated_at } = setting;
        Self { name: name.to_string(), value: value.to_string(), updated_at: *updated_at }
    }
}

#[derive(Serialize, ToSchema)]
struct EnvList {
    items: Vec<EnvView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetEnv {
    /// A text of at most 8 KiB without NUL.
    #[schema(value_type = String, max_length = 8192)]
    value: EnvValue,
}

/// Which page of a list by names.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NamedPageQuery {
    /// Things on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    GetProblems { "404": "`not_found`" }
    SetProblems {
        "404": "`not_found`",
        "412": "`precondition_failed`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
    DeleteProblems { "404": "`not_found`", "412": "`precondition_failed`" }
}

/// A name in the address of what is there. What is no name names nothing.
pub(crate) fn known_name(what: &str, text: &str) -> Result<SettingName, ApiError> {
    text.parse().map_err(|_: InvalidSettingName| ApiError::not_found(what))
}

/// A name in the address of what is set.
pub(crate) fn name_to_set(text: &str) -> Result<SettingName, ApiError> {
    text.parse().map_err(|error: InvalidSettingName| ApiError::invalid(vec![FieldError::new("name", error)]))
}

/// List the settings of an app.
#[utoipa::path(get, path = "/apps/{app}/env", tag = "settings",
    params(("app" = String, Path, description = "The app's id or slug."), NamedPageQuery),
    responses((status = 200, description = "A page of settings, by the bytes of their names.", body = EnvList), ListProblems))]
async fn list_env(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(NamedPageQuery { limit, cursor }): Query<NamedPageQuery>,
) -> Result<Json<EnvList>, ApiError> {
    let after = cursor::read(LIST, cursor)?;
    let page = state.services.env.list(&actor, &app_ref(&app)?, page_size(limit)?, after).await?;
    let items = page.items.iter().map(EnvView::from).collect();
    Ok(Json(EnvList { items, next_cursor: page.next.map(|name| cursor::write(LIST, &name)) }))
}

/// Get a setting.
#[utoipa::path(get, path = "/apps/{app}/env/{name}", tag = "settings",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path, description = "The setting's name."),
    ),
    responses((status = 200, description = "The setting.", body = EnvView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), GetProblems))]
async fn get_env(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let setting = state.services.env.get(&actor, &app_ref(&app)?, &known_name("setting", &name)?).await?;
    Ok((etag(&revision(&setting)), Json(EnvView::from(&setting))))
}

/// Set a setting, whether it is there or not.
///
/// The next request reads it.
#[utoipa::path(put, path = "/apps/{app}/env/{name}", tag = "settings", request_body = SetEnv,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path,
            description = "The setting's name: 1 to 64 of A-Z, a-z, 0-9, _, . and -, which begin with a letter or _."),
        IfMatch,
    ),
    responses((status = 200, description = "The setting as it is now.", body = EnvView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), SetProblems))]
async fn set_env(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    IfMatch(precondition): IfMatch,
    Body(SetEnv { value }): Body<SetEnv>,
) -> Result<impl IntoResponse, ApiError> {
    let (app, name) = (app_ref(&app)?, name_to_set(&name)?);
    let setting = state.services.env.set(&actor, &app, name, value, &precondition).await?;
    Ok((etag(&revision(&setting)), Json(EnvView::from(&setting))))
}

/// Delete a setting.
#[utoipa::path(delete, path = "/apps/{app}/env/{name}", tag = "settings",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path, description = "The setting's name."),
        IfMatch,
    ),
    responses((status = 204, description = "The setting is gone."), DeleteProblems))]
async fn delete_env(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    let (app, name) = (app_ref(&app)?, known_name("setting", &name)?);
    state.services.env.delete(&actor, &app, &name, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
