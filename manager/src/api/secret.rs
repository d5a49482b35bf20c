//! `apps/{app}/secrets`. A value comes in and never goes out.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::secret::SecretValue;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::env::{NamedPageQuery, known_name, name_to_set};
use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
use crate::api::{ApiState, cursor};
use crate::repo::secrets::SecretMeta;
use crate::service::secret::revision;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_secrets)).routes(routes!(get_secret, set_secret, delete_secret))
}

/// The list, as its cursors name it.
const LIST: &str = "secrets";

/// A secret of an app, without its value.
#[derive(Serialize, ToSchema)]
struct SecretView {
    name: String,
    /// When it was first set.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&SecretMeta> for SecretView {
    fn from(secret: &SecretMeta) -> Self {
        let SecretMeta { name, created_at, updated_at, .. } = secret;
        Self { name: name.to_string(), created_at: *created_at, updated_at: *updated_at }
    }
}

#[derive(Serialize, ToSchema)]
struct SecretList {
    items: Vec<SecretView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetSecret {
    /// A text of 4 bytes to 8 KiB without NUL. It is not told again.
    #[schema(value_type = String, format = Password, max_length = 8192)]
    value: SecretValue,
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

/// List the secrets of an app, without their values.
#[utoipa::path(get, path = "/apps/{app}/secrets", tag = "settings",
    params(("app" = String, Path, description = "The app's id or slug."), NamedPageQuery),
    responses((status = 200, description = "A page of secrets, by the bytes of their names.", body = SecretList),
        ListProblems))]
async fn list_secrets(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(NamedPageQuery { limit, cursor }): Query<NamedPageQuery>,
) -> Result<Json<SecretList>, ApiError> {
    let after = cursor::read(LIST, cursor)?;
    let page = state.services.secrets.list(&actor, &app_ref(&app)?, page_size(limit)?, after).await?;
    let items = page.items.iter().map(SecretView::from).collect();
    Ok(Json(SecretList { items, next_cursor: page.next.map(|name| cursor::write(LIST, &name)) }))
}

/// Get a secret, without its value.
#[utoipa::path(get, path = "/apps/{app}/secrets/{name}", tag = "settings",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path, description = "The secret's name."),
    ),
    responses((status = 200, description = "The secret, without its value.", body = SecretView,
        headers(("etag" = String, description = "What `If-Match` of a change takes. It tells nothing of the value."))),
        GetProblems))]
async fn get_secret(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let secret = state.services.secrets.get(&actor, &app_ref(&app)?, &known_name("secret", &name)?).await?;
    Ok((etag(&revision(&secret)), Json(SecretView::from(&secret))))
}

/// Set a secret, whether it is there or not.
///
/// The next request reads it. It is encrypted at rest, and given to nobody but the app's scripts.
#[utoipa::path(put, path = "/apps/{app}/secrets/{name}", tag = "settings", request_body = SetSecret,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path,
            description = "The secret's name: 1 to 64 of A-Z, a-z, 0-9, _, . and -, which begin with a letter or _."),
        IfMatch,
    ),
    responses((status = 200, description = "The secret, without its value.", body = SecretView,
        headers(("etag" = String, description = "What `If-Match` of a change takes. It tells nothing of the value."))),
        SetProblems))]
async fn set_secret(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    IfMatch(precondition): IfMatch,
    Body(SetSecret { value }): Body<SetSecret>,
) -> Result<impl IntoResponse, ApiError> {
    let (app, name) = (app_ref(&app)?, name_to_set(&name)?);
    let secret = state.services.secrets.set(&actor, &app, name, value, &precondition).await?;
    Ok((etag(&revision(&secret)), Json(SecretView::from(&secret))))
}

/// Delete a secret.
#[utoipa::path(delete, path = "/apps/{app}/secrets/{name}", tag = "settings",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("name" = String, Path, description = "The secret's name."),
        IfMatch,
    ),
    responses((status = 204, description = "The secret is gone."), DeleteProblems))]
async fn delete_secret(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    let (app, name) = (app_ref(&app)?, known_name("secret", &name)?);
    state.services.secrets.delete(&actor, &app, &name, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
