//! `auth/*`: the first owner, signing in and out, and one's own sessions.

use axum::Json;
use axum::extract::Request;
use axum::extract::{FromRequest, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderMap, SET_COOKIE, USER_AGENT};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::SessionId;
use picloud_shared::name::{Email, Username};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::credential::{PageOrigin, cleared_cookie, session_cookie};
use crate::api::extract::{Body, Caller, PageQuery, Path, Peer, Query, page_size, present};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::user::UserView;
use crate::repo::sessions::Session;
use crate::secret::{NewPassword, SecretToken, TypedPassword};
use crate::service::auth::{NewSession, Origin};
use crate::service::user::revision;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(set_up))
        .routes(routes!(log_in))
        .routes(routes!(log_out))
        .routes(routes!(me, update_me))
        .routes(routes!(change_password))
        .routes(routes!(list_sessions))
        .routes(routes!(revoke_session))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetUp {
    /// The token behind `#token=` in the set-up link.
    token: String,
    /// The name of the first owner.
    #[schema(value_type = String, min_length = 2, max_length = 64)]
    username: Username,
    /// The password of the first owner.
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    password: NewPassword,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogIn {
    /// The user's name.
    username: String,
    /// The user's password.
    #[schema(value_type = String, format = Password)]
    password: TypedPassword,
}

/// The user who makes a call.
#[derive(Serialize, ToSchema)]
struct MeView {
    #[serde(flatten)]
    user: UserView,
    /// What the caller may do outside of all apps, such as `AppCreate`.
    my_capabilities: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateMe {
    /// Null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<Email>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    #[schema(value_type = String, format = Password)]
    current_password: TypedPassword,
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    new_password: NewPassword,
}

/// A new session.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    /// The bearer token, shown this once.
    token: String,
    /// When the session ends if it is not used; use moves it on, up to 30 days after the login.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    user: UserView,
}

/// A session, without its token.
#[derive(Serialize, ToSchema)]
struct SessionView {
    #[schema(value_type = Uuid)]
    id: SessionId,
    /// Whether this very call was made with it.
    is_current: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// The address of the login.
    remote_ip: Option<String>,
    user_agent: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct SessionList {
    items: Vec<SessionView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

impl SessionView {
    fn new(session: Session, current: SessionId) -> Self {
        Self {
            id: session.id,
            is_current: session.id == current,
            created_at: session.created_at,
            expires_at: session.expires_at,
            last_seen_at: session.last_seen_at,
            remote_ip: session.remote_ip.map(|ip| ip.to_string()),
            user_agent: session.user_agent,
        }
    }
}

problems! {
    SetUpProblems { "401": "`wrong_setup_token`", "403": "`cross_origin`" }
    LogInProblems {
        "401": "`wrong_credentials`",
        "403": "`cross_origin`",
        "429": "`throttled` (with Retry-After)",
    }
    NoSession { "404": "`not_found`" }
    UpdateMeProblems { "412": "`precondition_failed`" }
    ChangePasswordProblems { "429": "`throttled` (with Retry-After)" }
}

/// A body of a call that signs in. A page of another host may not even try.
struct SignInBody<T> {
    body: T,
    peer: Peer,
    page: PageOrigin,
    origin: Origin,
}

impl<T: serde::de::DeserializeOwned> FromRequest<ApiState> for SignInBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let peer = <Peer as axum::extract::FromRequestParts<ApiState>>::from_request_parts(&mut parts, state).await?;
        let page = PageOrigin::of(&parts.headers, &peer.0);
        if page == PageOrigin::Foreign {
            return Err(ApiError::cross_origin());
        }
        let user_agent =
            parts.headers.get(USER_AGENT).map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        let origin = Origin { remote_ip: peer.0.remote_ip, user_agent };
        let Body(body) = Body::from_request(Request::from_parts(parts, body), state).await?;
        Ok(Self { body, peer, page, origin })
    }
}

/// Make the first owner.
///
/// Takes the token of the set-up link that a new instance prints, once, and signs the owner in.
#[utoipa::path(post, path = "/auth/setup", tag = "auth", security(), request_body = SetUp,
    responses((status = 201, description = "The owner exists and is signed in.", body = LoggedIn,
        headers(("set-cookie" = String, description = "The session, for a page of this very host."))), SetUpProblems))]
async fn set_up(State(state): State<ApiState>, call: SignInBody<SetUp>) -> Result<Response, ApiError> {
    let SetUp { token, username, password } = call.body;
    // A text that is no token is a wrong token, not a field to be corrected.
    let token = token.parse().unwrap_or_else(|_| SecretToken::generate());
    let session = state.services.auth.set_up(&token, username, password, call.origin).await?;
    Ok(logged_in(StatusCode::CREATED, session, &call.peer, call.page))
}

/// Sign in.
///
/// A page of this very host also gets the session as a cookie; a terminal gets the token alone.
#[utoipa::path(post, path = "/auth/login", tag = "auth", security(), request_body = LogIn,
    responses((status = 200, description = "Signed in.", body = LoggedIn,
        headers(("set-cookie" = String, description = "The session, for a page of this very host."))), LogInProblems))]
async fn log_in(State(state): State<ApiState>, call: SignInBody<LogIn>) -> Result<Response, ApiError> {
    let LogIn { username, password } = call.body;
    let username: Username =
        username.parse().map_err(|error| ApiError::invalid(vec![FieldError::new("username", error)]))?;
    let session = state.services.auth.login(&username, password, call.origin).await?;
    Ok(logged_in(StatusCode::OK, session, &call.peer, call.page))
}

fn logged_in(status: StatusCode, new: NewSession, peer: &Peer, page: PageOrigin) -> Response {
    let NewSession { token, session, user } = new;
    let mut headers = HeaderMap::new();
    if page == PageOrigin::Same
        && let Some(cookie) = session_cookie(&peer.0, &token)
    {
        headers.insert(SET_COOKIE, cookie);
    }
    let view =
        LoggedIn { token: token.reveal().to_owned(), expires_at: session.expires_at, user: UserView::from(user) };
    (status, headers, Json(view)).into_response()
}

/// Sign out.
///
/// Ends the session that the call is made with.
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204, description = "The session is over.",
        headers(("set-cookie" = String, description = "Takes a browser's session back."))), NoSession))]
async fn log_out(State(state): State<ApiState>, Caller(actor): Caller, Peer(peer): Peer) -> Result<Response, ApiError> {
    state.services.auth.logout(&actor).await?;
    let cleared = HeaderMap::from_iter(cleared_cookie(&peer).map(|cookie| (SET_COOKIE, cookie)));
    Ok((StatusCode::NO_CONTENT, cleared).into_response())
}

/// Who am I.
#[utoipa::path(get, path = "/auth/me", tag = "auth",
    responses((status = 200, description = "The user who makes the call.", body = MeView,
        headers(("etag" = String, description = "What `If-Match` of a change takes.")))))]
async fn me(Caller(actor): Caller) -> impl IntoResponse {
    let my_capabilities = actor.capabilities().iter().map(ToString::to_string).collect();
    (etag(&revision(&actor.user)), Json(MeView { user: actor.user.into(), my_capabilities }))
}

/// Change my email.
///
/// Needs a session.
#[utoipa::path(patch, path = "/auth/me", tag = "auth", request_body = UpdateMe, params(IfMatch),
    responses((status = 200, description = "The user as it is now.", body = UserView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateMeProblems))]
async fn update_me(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    IfMatch(precondition): IfMatch,
    Body(UpdateMe { email }): Body<UpdateMe>,
) -> Result<impl IntoResponse, ApiError> {
    let user = state.services.users.update_self(&actor, email, &precondition).await?;
    Ok((etag(&revision(&user)), Json(UserView::from(user))))
}

/// Change my password.
///
/// Ends all of one's other sessions. Wrong guesses are slowed down as those of a login are. Needs a session.
#[utoipa::path(post, path = "/auth/me/password", tag = "auth", request_body = ChangePassword,
    responses((status = 204, description = "The password is changed."), ChangePasswordProblems))]
async fn change_password(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(ChangePassword { current_password, new_password }): Body<ChangePassword>,
) -> Result<StatusCode, ApiError> {
    state.services.users.change_password(&actor, current_password, new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List my sessions.
#[utoipa::path(get, path = "/auth/me/sessions", tag = "auth", params(PageQuery),
    responses((status = 200, description = "A page of live sessions, the newest first.", body = SessionList)))]
async fn list_sessions(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<SessionList>, ApiError> {
    let page =
        state.services.auth.sessions(&actor, page_size(page.limit)?, page.cursor.map(SessionId::from_uuid)).await?;
    let current = actor.session()?;
    let items = page.items.into_iter().map(|session| SessionView::new(session, current)).collect();
    Ok(Json(SessionList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// End one of my sessions.
#[utoipa::path(delete, path = "/auth/me/sessions/{session}", tag = "auth",
    params(("session" = Uuid, Path, description = "The session's id.")),
    responses((status = 204, description = "The session is over."), NoSession))]
async fn revoke_session(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, ApiError> {
    state.services.auth.revoke(&actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
