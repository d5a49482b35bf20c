//! `auth/*`: the first owner, signing in and out, and one's own sessions.

use axum::Json;
use axum::extract::Request;
use axum::extract::{FromRequest, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderMap, SET_COOKIE, USER_AGENT};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{SessionId, UserId};
use picloud_shared::name::Username;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::credential::{PageOrigin, cleared_cookie, session_cookie};
use crate::api::extract::{Body, Caller, PageQuery, Path, Peer, Query, page_size};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::api::schema;
use crate::repo::role::InstanceRole;
use crate::repo::sessions::Session;
use crate::repo::users::User;
use crate::secret::{NewPassword, SecretToken, TypedPassword};
use crate::service::auth::{NewSession, Origin};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(set_up))
        .routes(routes!(log_in))
        .routes(routes!(log_out))
        .routes(routes!(me))
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

/// A user.
#[derive(Serialize, ToSchema)]
struct UserView {
    #[schema(value_type = Uuid)]
    id: UserId,
    username: String,
    email: Option<String>,
    #[schema(value_type = schema::InstanceRole)]
    instance_role: InstanceRole,
    is_active: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
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
    responses((status = 200, description = "The user who makes the call.", body = UserView)))]
async fn me(Caller(actor): Caller) -> Json<UserView> {
    Json(actor.user.into())
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
    let items = page.items.into_iter().map(|session| SessionView::new(session, actor.session)).collect();
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
