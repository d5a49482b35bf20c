//! `admins`: the users of the instance.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::UserId;
use picloud_shared::name::{Email, Username};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, page_size, present};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
use crate::api::schema;
use crate::repo::role::InstanceRole;
use crate::repo::users::User;
use crate::secret::NewPassword;
use crate::service::user::{NewUser, UserPatch, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_users, create_user))
        .routes(routes!(get_user, update_user, delete_user))
        .routes(routes!(reset_password))
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserView {
    #[schema(value_type = Uuid)]
    pub id: UserId,
    pub username: String,
    pub email: Option<String>,
    #[schema(value_type = schema::InstanceRole)]
    pub instance_role: InstanceRole,
    /// Whether the user may sign in, and the user's API keys work.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_login_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username.to_string(),
            email: user.email.map(String::from),
            instance_role: user.instance_role,
            is_active: user.is_active,
            created_at: user.created_at,
            last_login_at: user.last_login_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct UserList {
    items: Vec<UserView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

/// A user, and a password that was made up.
#[derive(Serialize, ToSchema)]
struct UserWithPassword {
    #[serde(flatten)]
    user: UserView,
    /// The password, where it was made up; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl UserWithPassword {
    fn new((user, password): (User, Option<NewPassword>)) -> Self {
        Self { user: user.into(), password: password.map(|password| password.reveal().to_owned()) }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateUser {
    /// 2 to 64 of a-z, 0-9, ., _ and -.
    #[schema(value_type = String, min_length = 2, max_length = 64)]
    username: Username,
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Email>,
    /// At most the caller's own.
    #[schema(value_type = schema::InstanceRole)]
    instance_role: InstanceRole,
    /// Made up and shown once, if absent.
    #[schema(value_type = Option<String>, format = Password, min_length = 12, max_length = 256)]
    password: Option<NewPassword>,
}

/// Changes of a user; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateUser {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 2, max_length = 64)]
    username: Option<Username>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<Email>>,
    /// At most the caller's own.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::InstanceRole, required = false)]
    instance_role: Option<InstanceRole>,
    /// False ends the user's sessions and suspends the user's API keys at once.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    is_active: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetPassword {
    /// Made up and shown once, if absent.
    #[schema(value_type = Option<String>, format = Password, min_length = 12, max_length = 256)]
    password: Option<NewPassword>,
}

problems! {
    CreateProblems {
        "403": "`forbidden`, `above_own_role`, `session_required`, `insufficient_scope`, `key_bound_to_app`, `cross_origin`",
        "409": "`username_taken`",
    }
    UserProblems { "404": "`not_found`" }
    UpdateProblems {
        "403": "`forbidden`, `above_own_role`, `session_required`, `insufficient_scope`, `key_bound_to_app`, `cross_origin`",
        "404": "`not_found`",
        "409": "`username_taken`, `last_owner`",
        "412": "`precondition_failed`",
    }
    DeleteProblems {
        "403": "`forbidden`, `above_own_role`, `insufficient_scope`, `key_bound_to_app`, `cross_origin`",
        "404": "`not_found`",
        "409": "`last_owner`",
        "412": "`precondition_failed`",
    }
    ResetProblems {
        "403": "`forbidden`, `above_own_role`, `session_required`, `cross_origin`",
        "404": "`not_found`",
        "409": "`own_password`",
    }
}

/// List users.
#[utoipa::path(get, path = "/admins", tag = "users", params(PageQuery),
    responses((status = 200, description = "A page of users, in order of creation.", body = UserList)))]
async fn list_users(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<UserList>, ApiError> {
    let page = state.services.users.list(&actor, page_size(page.limit)?, page.cursor.map(UserId::from_uuid)).await?;
    let items = page.items.into_iter().map(UserView::from).collect();
    Ok(Json(UserList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Create a user.
#[utoipa::path(post, path = "/admins", tag = "users", request_body = CreateUser,
    responses((status = 201, description = "The user.", body = UserWithPassword,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), CreateProblems))]
async fn create_user(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(CreateUser { username, email, instance_role, password }): Body<CreateUser>,
) -> Result<impl IntoResponse, ApiError> {
    let made = state.services.users.create(&actor, NewUser { username, email, instance_role, password }).await?;
    Ok((StatusCode::CREATED, etag(&revision(&made.0)), Json(UserWithPassword::new(made))))
}

/// Get a user.
#[utoipa::path(get, path = "/admins/{user}", tag = "users",
    params(("user" = Uuid, Path, description = "The user's id.")),
    responses((status = 200, description = "The user.", body = UserView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UserProblems))]
async fn get_user(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<UserId>,
) -> Result<impl IntoResponse, ApiError> {
    let user = state.services.users.get(&actor, id).await?;
    Ok((etag(&revision(&user)), Json(UserView::from(user))))
}

/// Change a user.
///
/// Role and activity of the last active owner stay.
#[utoipa::path(patch, path = "/admins/{user}", tag = "users", request_body = UpdateUser,
    params(("user" = Uuid, Path, description = "The user's id."), IfMatch),
    responses((status = 200, description = "The user as it is now.", body = UserView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_user(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<UserId>,
    IfMatch(precondition): IfMatch,
    Body(UpdateUser { username, email, instance_role, is_active }): Body<UpdateUser>,
) -> Result<impl IntoResponse, ApiError> {
    let patch = UserPatch { username, email, instance_role, is_active };
    let user = state.services.users.update(&actor, id, &patch, &precondition).await?;
    Ok((etag(&revision(&user)), Json(UserView::from(user))))
}

/// Delete a user.
///
/// What the user did stays in the audit log; memberships, sessions and API keys go.
#[utoipa::path(delete, path = "/admins/{user}", tag = "users",
    params(("user" = Uuid, Path, description = "The user's id."), IfMatch),
    responses((status = 204, description = "The user is gone."), DeleteProblems))]
async fn delete_user(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<UserId>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.users.delete(&actor, id, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a user a new password.
///
/// Ends the user's sessions. One's own password is changed at `auth/me/password`.
#[utoipa::path(post, path = "/admins/{user}/reset-password", tag = "users", request_body = ResetPassword,
    params(("user" = Uuid, Path, description = "The user's id.")),
    responses((status = 200, description = "The user.", body = UserWithPassword), ResetProblems))]
async fn reset_password(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<UserId>,
    Body(ResetPassword { password }): Body<ResetPassword>,
) -> Result<Json<UserWithPassword>, ApiError> {
    Ok(Json(UserWithPassword::new(state.services.users.reset_password(&actor, id, password).await?)))
}
