//! `apps`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::app::HstsMaxAge;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::RedactedHeaders;
use picloud_shared::id::AppId;
use picloud_shared::name::{AppName as Name, AppSlug};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, app_ref, page_size, present};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
use crate::api::schema::{self, AppName};
use crate::repo::role::AppRole;
use crate::service::app::{AppPatch, Former, NewApp, SlugState, revision};
use crate::service::authorize::Access;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_apps, create_app))
        .routes(routes!(check_slug))
        .routes(routes!(get_app, update_app, delete_app))
}

/// An app, with what the caller is and may do there.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppView {
    #[schema(value_type = Uuid)]
    id: AppId,
    /// The unique short name in addresses.
    slug: String,
    /// What people call it.
    name: String,
    /// Headers that its execution records leave out, in lower case; `authorization`, `proxy-authorization`, `cookie` and
    /// `set-cookie` are left out anyway.
    redacted_headers: Vec<String>,
    /// Whether its execution records keep the first 4 KiB of each body.
    record_bodies: bool,
    /// For how many seconds browsers are told to ask for its hosts by HTTPS alone (`strict-transport-security`); null where they
    /// are told nothing.
    #[schema(value_type = Option<u32>)]
    hsts_max_age_s: Option<HstsMaxAge>,
    /// The caller's effective role in the app.
    #[schema(value_type = schema::AppRole)]
    my_role: AppRole,
    /// What the caller may do in the app, such as `ScriptWrite`.
    my_capabilities: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Access> for AppView {
    fn from(access: Access) -> Self {
        let my_capabilities = access.capabilities().iter().map(ToString::to_string).collect();
        let Access { app, role, .. } = access;
        Self {
            id: app.id,
            slug: app.slug.to_string(),
            name: app.name.to_string(),
            redacted_headers: app.redacted_headers.into(),
            record_bodies: app.record_bodies,
            hsts_max_age_s: app.hsts_max_age_s,
            my_role: role,
            my_capabilities,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct AppList {
    items: Vec<AppView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateApp {
    /// 1 to 63 of a-z, 0-9 and -.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    slug: AppSlug,
    /// 1 to 100 characters.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Name,
    /// Whether a former slug of another app may be taken, which ends its redirect and takes the right to change its slug.
    #[serde(default)]
    takeover: bool,
}

/// Changes of an app; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateApp {
    /// 1 to 63 of a-z, 0-9 and -. Calls by the old slug get 308 to the new one, until another app takes it over.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 63)]
    slug: Option<AppSlug>,
    /// Whether the slug may be a former one of another app whose slug the caller may change, and whose redirect ends then.
    #[serde(default)]
    takeover: bool,
    /// 1 to 100 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    name: Option<Name>,
    /// Headers that the execution records to come are to leave out, in place of those before.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false, max_items = 64)]
    redacted_headers: Option<RedactedHeaders>,
    /// Whether the execution records to come keep the first 4 KiB of each body.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    record_bodies: Option<bool>,
    /// For how many seconds browsers are to ask for its hosts by HTTPS alone; 0 makes them forget it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u32, required = false, maximum = 63_072_000)]
    hsts_max_age_s: Option<HstsMaxAge>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckSlug {
    slug: String,
    /// The id or slug of the app that is to be renamed; absent for a new one.
    app: Option<String>,
}

/// What a slug would be to the app that wants it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SlugResult {
    Available,
    Taken,
    /// It still leads to another app, which `takeover` would end where `may_take_over` says so.
    Historical,
    Invalid,
}

#[derive(Serialize, ToSchema)]
struct SlugCheck {
    result: SlugResult,
    /// Of `historical`: the app that it leads to, if the caller may see it.
    app: Option<AppName>,
    /// Whether it is `historical` and the caller, who may change that app's slug too, may take it over.
    may_take_over: bool,
    /// Of `invalid`: why.
    detail: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteApp {
    /// Delete the app's scripts, routes and domains with it.
    #[serde(default)]
    force: bool,
}

problems! {
    PageProblems { "422": "`invalid`" }
    CreateProblems { "409": "`slug_taken`, `slug_historical` (with `app` and `may_take_over`)" }
    AppProblems { "404": "`not_found`" }
    CheckSlugProblems { "404": "`not_found`" }
    UpdateProblems {
        "404": "`not_found`",
        "409": "`slug_taken`, `slug_historical` (with `app` and `may_take_over`)",
        "412": "`precondition_failed`",
        "422": "`invalid`, `app_limit_reached` (with `limit` and `ceiling`)",
    }
    DeleteProblems { "404": "`not_found`", "409": "`has_scripts`", "412": "`precondition_failed`" }
}

/// List apps.
///
/// Those that the caller may see, in order of creation.
#[utoipa::path(get, path = "/apps", tag = "apps", params(PageQuery),
    responses((status = 200, description = "A page of apps.", body = AppList), PageProblems))]
async fn list_apps(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<AppList>, ApiError> {
    let page = state.services.apps.list(&actor, page_size(page.limit)?, page.cursor.map(AppId::from_uuid)).await?;
    let items = page.items.into_iter().map(AppView::from).collect();
    Ok(Json(AppList { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Create an app.
///
/// Whoever creates it is its app_admin.
#[utoipa::path(post, path = "/apps", tag = "apps", request_body = CreateApp,
    responses((status = 201, description = "The app.", body = AppView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), CreateProblems))]
async fn create_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(CreateApp { slug, name, takeover }): Body<CreateApp>,
) -> Result<impl IntoResponse, ApiError> {
    let access = state.services.apps.create(&actor, NewApp { slug, name, takeover }).await?;
    Ok((StatusCode::CREATED, etag(&revision(&access.app)), Json(AppView::from(access))))
}

/// Check a slug.
///
/// For those who may create apps, or rename the one given.
#[utoipa::path(post, path = "/apps/slug:check", tag = "apps", request_body = CheckSlug,
    responses((status = 200, description = "What the slug would be.", body = SlugCheck), CheckSlugProblems))]
async fn check_slug(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(CheckSlug { slug, app }): Body<CheckSlug>,
) -> Result<Json<SlugCheck>, ApiError> {
    let app = app.as_deref().map(app_ref).transpose()?;
    let slug: Result<AppSlug, _> = slug.parse();
    // What is no slug is looked up as well, by another name, so that whoever may not ask learns nothing.
    let asked = slug.clone().unwrap_or_else(|_| "x".parse().expect("it is a slug"));
    let state = state.services.apps.check_slug(&actor, &asked, app.as_ref()).await?;
    let of = |result| SlugCheck { result, app: None, may_take_over: false, detail: None };
    Ok(Json(match (slug, state) {
        (Err(invalid), _) => SlugCheck { detail: Some(invalid.to_string()), ..of(SlugResult::Invalid) },
        (Ok(_), SlugState::Available) => of(SlugResult::Available),
        (Ok(_), SlugState::Taken) => of(SlugResult::Taken),
        (Ok(_), SlugState::Historical(Former { app, may_take_over })) => {
            SlugCheck { app: app.as_ref().map(AppName::from), may_take_over, ..of(SlugResult::Historical) }
        }
    }))
}

/// Get an app.
#[utoipa::path(get, path = "/apps/{app}", tag = "apps",
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "The app.", body = AppView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), AppProblems))]
async fn get_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let access = state.services.apps.get(&actor, &app_ref(&app)?).await?;
    Ok((etag(&revision(&access.app)), Json(AppView::from(access))))
}

/// Change an app.
#[utoipa::path(patch, path = "/apps/{app}", tag = "apps", request_body = UpdateApp,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        IfMatch,
    ),
    responses((status = 200, description = "The app as it is now.", body = AppView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    IfMatch(precondition): IfMatch,
    Body(UpdateApp { slug, takeover, name, redacted_headers, record_bodies, hsts_max_age_s }): Body<UpdateApp>,
) -> Result<impl IntoResponse, ApiError> {
    let patch = AppPatch { slug, takeover, name, redacted_headers, record_bodies, hsts_max_age_s };
    let access = state.services.apps.update(&actor, &app_ref(&app)?, patch, &precondition).await?;
    Ok((etag(&revision(&access.app)), Json(AppView::from(access))))
}

/// Delete an app.
#[utoipa::path(delete, path = "/apps/{app}", tag = "apps",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        DeleteApp,
        IfMatch,
    ),
    responses((status = 204, description = "The app is gone."), DeleteProblems))]
async fn delete_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(DeleteApp { force }): Query<DeleteApp>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    state.services.apps.delete(&actor, &app_ref(&app)?, force, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
