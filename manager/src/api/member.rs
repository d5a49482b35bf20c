//! `apps/{app}/members`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::UserId;
use picloud_shared::name::Username;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::schema;
use crate::repo::role::{AppRole, InstanceRole};
use crate::service::member::{Candidate, NamedMember, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_members, add_member)).routes(routes!(
        get_member,
        update_member,
        remove_member
    ))
}

/// A member of an app.
#[derive(Serialize, ToSchema)]
struct MemberView {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    username: String,
    email: Option<String>,
    #[schema(value_type = schema::InstanceRole)]
    instance_role: InstanceRole,
    /// The role in the app, as given; the one on the instance may come to more.
    #[schema(value_type = schema::AppRole)]
    role: AppRole,
    /// Whether the user may sign in.
    is_active: bool,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

impl From<NamedMember> for MemberView {
    fn from((member, user): NamedMember) -> Self {
        Self {
            user_id: user.id,
            username: user.username.to_string(),
            email: user.email.map(String::from),
            instance_role: user.instance_role,
            role: member.role,
            is_active: user.is_active,
            joined_at: member.joined_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct MemberList {
    items: Vec<MemberView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

/// Whom to add: `user_id` by whoever may list users, else the exact `username`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddMember {
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<UserId>,
    #[schema(value_type = Option<String>)]
    username: Option<Username>,
    #[schema(value_type = schema::AppRole)]
    role: AppRole,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateMember {
    #[schema(value_type = schema::AppRole)]
    role: AppRole,
}

problems! {
    MemberProblems { "404": "`not_found`" }
    AddProblems { "404": "`not_found`", "409": "`already_member`" }
    ChangeProblems { "404": "`not_found`", "412": "`precondition_failed`" }
}

fn member_response(status: StatusCode, member: NamedMember) -> impl IntoResponse {
    (status, etag(&revision(&member.0)), Json(MemberView::from(member)))
}

/// List the members of an app.
///
/// Those that were added to it; owners and admins of the instance need not be.
#[utoipa::path(get, path = "/apps/{app}/members", tag = "members",
    params(("app" = String, Path, description = "The app's id or slug."), PageQuery),
    responses((status = 200, description = "A page of members.", body = MemberList), MemberProblems))]
async fn list_members(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MemberList>, ApiError> {
    let size = page_size(page.limit)?;
    let page = state.services.members.list(&actor, &app_ref(&app)?, size, page.cursor.map(UserId::from_uuid)).await?;
    let items = page.items.into_iter().map(MemberView::from).collect();
    Ok(Json(MemberList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Add a member to an app.
#[utoipa::path(post, path = "/apps/{app}/members", tag = "members", request_body = AddMember,
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 201, description = "The member.", body = MemberView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), AddProblems))]
async fn add_member(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(AddMember { user_id, username, role }): Body<AddMember>,
) -> Result<impl IntoResponse, ApiError> {
    let candidate = match (user_id, username) {
        (Some(id), None) => Candidate::Id(id),
        (None, Some(name)) => Candidate::Name(name),
        _ => return Err(ApiError::invalid(vec![FieldError::new("username", "send either username or user_id")])),
    };
    let member = state.services.members.add(&actor, &app_ref(&app)?, candidate, role).await?;
    Ok(member_response(StatusCode::CREATED, member))
}

/// Get a member of an app.
#[utoipa::path(get, path = "/apps/{app}/members/{user}", tag = "members",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("user" = Uuid, Path, description = "The user's id."),
    ),
    responses((status = 200, description = "The member.", body = MemberView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), MemberProblems))]
async fn get_member(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, user)): Path<(String, UserId)>,
) -> Result<impl IntoResponse, ApiError> {
    let member = state.services.members.get(&actor, &app_ref(&app)?, user).await?;
    Ok(member_response(StatusCode::OK, member))
}

/// Change a member's role.
#[utoipa::path(patch, path = "/apps/{app}/members/{user}", tag = "members", request_body = UpdateMember,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("user" = Uuid, Path, description = "The user's id."),
        IfMatch,
    ),
    responses((status = 200, description = "The member as it is now.", body = MemberView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), ChangeProblems))]
async fn update_member(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, user)): Path<(String, UserId)>,
    IfMatch(precondition): IfMatch,
    Body(UpdateMember { role }): Body<UpdateMember>,
) -> Result<impl IntoResponse, ApiError> {
    let member = state.services.members.change_role(&actor, &app_ref(&app)?, user, role, &precondition).await?;
    Ok(member_response(StatusCode::OK, member))
}

/// Remove a member from an app.
#[utoipa::path(delete, path = "/apps/{app}/members/{user}", tag = "members",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("user" = Uuid, Path, description = "The user's id."),
        IfMatch,
    ),
    responses((status = 204, description = "The user is no member any more."), ChangeProblems))]
async fn remove_member(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, user)): Path<(String, UserId)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.members.remove(&actor, &app_ref(&app)?, user, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
