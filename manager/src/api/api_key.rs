//! `api-keys`: the caller's own.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, AppId};
use picloud_shared::name::KeyName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, page_size};
use crate::api::openapi::problems;
use crate::api::problem::ApiError;
use crate::api::schema;
use crate::repo::api_keys::ApiKey;
use crate::repo::scope::Scope;
use crate::secret::api_key::shown_prefix;
use crate::service::api_key::NewApiKey;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_api_keys, create_api_key)).routes(routes!(revoke_api_key))
}

/// An API key, without the key itself.
#[derive(Serialize, ToSchema)]
struct ApiKeyView {
    #[schema(value_type = Uuid)]
    id: ApiKeyId,
    /// What its owner calls it.
    name: String,
    /// How the key begins, to tell it from others.
    prefix: String,
    /// What it may be used for, as far as its owner may do it.
    #[schema(value_type = Vec<schema::Scope>)]
    scopes: Vec<Scope>,
    /// The one app that it is for, if it is for one.
    #[schema(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when on it is void.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name.to_string(),
            prefix: shown_prefix(key.id),
            scopes: key.scopes,
            app_id: key.app_id,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A new API key.
#[derive(Serialize, ToSchema)]
struct NewApiKeyView {
    #[serde(flatten)]
    api_key: ApiKeyView,
    /// The key, to be sent as `Authorization: Bearer <key>`; shown this once.
    key: String,
}

#[derive(Serialize, ToSchema)]
struct ApiKeyList {
    items: Vec<ApiKeyView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateApiKey {
    /// 1 to 100 characters.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: KeyName,
    /// What it may be used for. A key of one app has nothing of `users:*` and `instance:*`.
    #[schema(value_type = Vec<schema::Scope>, min_items = 1)]
    scopes: Vec<Scope>,
    /// The one app that it is for; all of its owner's, if absent.
    #[schema(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    /// From when on it is void; never, if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

problems! {
    ListProblems { "403": "`session_required`" }
    CreateProblems { "403": "`session_required`, `cross_origin`", "409": "`too_many_keys` (with `most`)" }
    RevokeProblems { "403": "`session_required`, `cross_origin`", "404": "`not_found`" }
}

/// List my API keys.
///
/// The newest first. Needs a session.
#[utoipa::path(get, path = "/api-keys", tag = "keys", params(PageQuery),
    responses((status = 200, description = "A page of keys.", body = ApiKeyList), ListProblems))]
async fn list_api_keys(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<ApiKeyList>, ApiError> {
    let size = page_size(page.limit)?;
    let page = state.services.api_keys.list(&actor, size, page.cursor.map(ApiKeyId::from_uuid)).await?;
    let items = page.items.into_iter().map(ApiKeyView::from).collect();
    Ok(Json(ApiKeyList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Create an API key.
///
/// It acts in the caller's name, within its scopes and its app. Needs a session.
#[utoipa::path(post, path = "/api-keys", tag = "keys", request_body = CreateApiKey,
    responses((status = 201, description = "The key.", body = NewApiKeyView), CreateProblems))]
async fn create_api_key(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(CreateApiKey { name, scopes, app_id, expires_at }): Body<CreateApiKey>,
) -> Result<impl IntoResponse, ApiError> {
    let new = NewApiKey { name, scopes, app_id, expires_at };
    let (key, token) = state.services.api_keys.create(&actor, new).await?;
    let view = NewApiKeyView { api_key: key.into(), key: token.reveal().to_owned() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revoke one of my API keys.
///
/// Needs a session.
#[utoipa::path(delete, path = "/api-keys/{key}", tag = "keys",
    params(("key" = Uuid, Path, description = "The key's id.")),
    responses((status = 204, description = "The key is void."), RevokeProblems))]
async fn revoke_api_key(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, ApiError> {
    state.services.api_keys.revoke(&actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
