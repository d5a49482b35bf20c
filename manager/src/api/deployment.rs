//! Whole apps: `apps/{app}/export`, `apps/{app}/deployment` and `apps:import`.

mod document;

use axum::Json;
use axum::extract::State as Held;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use picloud_shared::app::MAX_DOCUMENT_BYTES;
use picloud_shared::name::{AppSlug, SettingName};
use picloud_shared::route::{Route, RoutePattern};
use picloud_shared::trigger::{Trigger, TriggerSource};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::app::AppView;
use crate::api::extract::{Caller, Path, Query, UnreadBody, app_ref, parse_body};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::service::app::{AppPatch, NewApp};
use crate::service::deployment::plan::Step;
use crate::service::deployment::revision;
use document::{AppDocument, WantedApp, WantedSettings, parse};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(export_app)).routes(routes!(deploy_app)).routes(routes!(import_app))
}

/// What is done to a thing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Create,
    Update,
    Delete,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ThingKind {
    App,
    Domain,
    Script,
    Route,
    Trigger,
    Env,
}

/// One thing that a deployment changed, or would change.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    action: Action,
    kind: ThingKind,
    /// A script's name, a route's method and path, a trigger's source with what it is for, the name of an env setting, a domain, or an
    /// app's slug; the id of what cannot be read.
    name: String,
}

impl From<&Step> for ChangeView {
    fn from(step: &Step) -> Self {
        let of_route = |route: &Route| {
            let RoutePattern { host, path, method } = &route.pattern;
            format!("{method} {}{path}", host.shape_key())
        };
        let of_trigger = |trigger: &Trigger| {
            let source = trigger.source.source().as_str();
            match &trigger.source {
                TriggerSource::Queue { queue, .. } => format!("{source} {queue}"),
                TriggerSource::Kv { collection, .. } | TriggerSource::Docs { collection, .. } => {
                    format!("{source} {collection}")
                }
                TriggerSource::Cron { schedule, .. } => format!("{source} {}", schedule.expression),
                TriggerSource::DeadLetter => source.to_owned(),
            }
        };
        let (action, kind, name) = match step {
            Step::ForgetRoute(id) => (Action::Delete, ThingKind::Route, id.to_string()),
            Step::ForgetScript(id) => (Action::Delete, ThingKind::Script, id.to_string()),
            Step::DeleteRoute(route) => (Action::Delete, ThingKind::Route, of_route(route)),
            Step::DeleteScript(script) => (Action::Delete, ThingKind::Script, script.meta.name.to_string()),
            Step::ReleaseDomain(domain) => (Action::Delete, ThingKind::Domain, domain.pattern.to_string()),
            Step::UpdateApp { new, .. } => (Action::Update, ThingKind::App, new.slug.to_string()),
            Step::ClaimDomain { pattern, .. } => (Action::Create, ThingKind::Domain, pattern.to_string()),
            Step::CreateScript { script, .. } => (Action::Create, ThingKind::Script, script.meta.name.to_string()),
            Step::UpdateScript { new, .. } => (Action::Update, ThingKind::Script, new.meta.name.to_string()),
            Step::UpdateRoute { new, .. } => (Action::Update, ThingKind::Route, of_route(new)),
            Step::CreateRoute(route) => (Action::Create, ThingKind::Route, of_route(route)),
            Step::ForgetTrigger(id) => (Action::Delete, ThingKind::Trigger, id.to_string()),
            Step::DeleteTrigger { old, .. } => (Action::Delete, ThingKind::Trigger, of_trigger(old)),
            Step::UpdateTrigger { new, .. } => (Action::Update, ThingKind::Trigger, of_trigger(new)),
            Step::CreateTrigger(new) => (Action::Create, ThingKind::Trigger, of_trigger(new)),
            Step::DeleteSetting(old) => (Action::Delete, ThingKind::Env, old.name.to_string()),
            Step::SetSetting { old, name, .. } => {
                (if old.is_some() { Action::Update } else { Action::Create }, ThingKind::Env, name.to_string())
            }
        };
        Self { action, kind, name }
    }
}

#[derive(Serialize, ToSchema)]
struct DeploymentView {
    /// Whether the changes are made; not so in a trial, and where there are none.
    applied: bool,
    changes: Vec<ChangeView>,
    /// Secrets that the document names and the app does not have: they are to be set by themselves. Empty for who may not read
    /// their names.
    #[schema(value_type = Vec<String>)]
    missing_secrets: Vec<SettingName>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeployQuery {
    /// Tell what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// The new app's slug, in place of the document's.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    slug: Option<AppSlug>,
    /// Whether a former slug of another app may be taken, which ends its redirect and takes the right to change its slug.
    #[serde(default)]
    takeover: bool,
    /// Claim none of the document's domains.
    #[serde(default)]
    without_domains: bool,
    /// Tell what would be created, and create nothing.
    #[serde(default)]
    dry_run: bool,
}

problems! {
    ExportProblems { "404": "`not_found`" }
    DeployProblems {
        "404": "`not_found`",
        "409": "`domain_claimed`, `host_reserved`, `route_conflict`, `script_name_taken`, `script_in_use` (with `triggers`)",
        "412": "`precondition_failed`",
        "422": "`invalid`, `public_suffix`, `app_limit_reached` (each with the place of what is wrong in the document)",
    }
    ImportProblems {
        "409": "`slug_taken`, `slug_historical` (with `app` and `may_take_over`), `domain_claimed`, `host_reserved`",
        "422": "`invalid`, `public_suffix`, `app_limit_reached` (each with the place of what is wrong in the document)",
    }
}

/// Export an app.
///
/// As one document, which `deployment` and `apps:import` take. Values of secrets are not in it, nor what scripts have kept; env and the
/// names of secrets are for who may read data.
#[utoipa::path(get, path = "/apps/{app}/export", tag = "apps",
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 200, description = "The app.", body = AppDocument,
        headers(
            ("etag" = String, description = "What `If-Match` of a deployment takes."),
            ("content-disposition" = String, description = "A name for the file."),
        )), ExportProblems))]
async fn export_app(
    Held(state): Held<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let found = state.services.deployments.export(&actor, &app_ref(&app)?).await?;
    let file = format!("attachment; filename=\"{}.json\"", found.app.slug);
    let file = HeaderValue::from_str(&file).expect("a slug is visible ASCII without quotation marks");
    Ok((etag(&revision(&found)), [(CONTENT_DISPOSITION, file)], Json(AppDocument::from(found))))
}

/// Make an app what it is to be.
///
/// All scripts, routes and, where told, domains, triggers and env are as in the document then: what it does not tell is deleted. Scripts
/// keep their ids and versions by their names, triggers of queues theirs by their queues while their script stays. A trigger goes with its
/// script. All of it is live with the next request, or nothing has changed.
#[utoipa::path(put, path = "/apps/{app}/deployment", tag = "apps", request_body = WantedApp,
    params(("app" = String, Path, description = "The app's id or slug."), DeployQuery, IfMatch),
    responses((status = 200, description = "What was changed, or would be.", body = DeploymentView,
        headers(("etag" = String, description = "What `If-Match` of a deployment takes."))), DeployProblems))]
async fn deploy_app(
    Held(state): Held<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(DeployQuery { dry_run }): Query<DeployQuery>,
    IfMatch(precondition): IfMatch,
    body: UnreadBody,
) -> Result<impl IntoResponse, ApiError> {
    let (services, app) = (&state.services, app_ref(&app)?);
    services.deployments.may_deploy(&actor, &app).await?;
    let body = body.read(state.max_request_body_bytes.max(MAX_DOCUMENT_BYTES)).await?;
    let place = services.deployments.take_place()?;
    let mut errors = Vec::new();
    let (WantedSettings { name, redacted_headers, record_bodies, hsts_max_age_s, .. }, mut wanted) =
        parse(parse_body(body)?, &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    wanted.settings = AppPatch { name, redacted_headers, record_bodies, hsts_max_age_s, ..AppPatch::default() };
    let (deployments, domains) = (&services.deployments, &services.domains);
    let done = deployments.deploy(&place, &actor, &app, &wanted, dry_run, &precondition, domains).await?;
    let changes: Vec<_> = done.steps.iter().map(ChangeView::from).collect();
    let missing_secrets = done.missing_secrets;
    let view = DeploymentView { applied: !dry_run && !changes.is_empty(), changes, missing_secrets };
    Ok((etag(&revision(&done.state)), Json(view)))
}

/// Import an app.
///
/// Creates an app out of an exported document. Whoever imports it is its app_admin.
#[utoipa::path(post, path = "/apps:import", tag = "apps", request_body = WantedApp, params(ImportQuery),
    responses(
        (status = 201, description = "The app.", body = AppView,
            headers(("etag" = String, description = "What `If-Match` of a change takes."))),
        (status = 200, description = "What would be created.", body = DeploymentView),
        ImportProblems))]
async fn import_app(
    Held(state): Held<ApiState>,
    Caller(actor): Caller,
    Query(ImportQuery { slug, takeover, without_domains, dry_run }): Query<ImportQuery>,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let services = &state.services;
    services.deployments.may_import(&actor)?;
    let body = body.read(state.max_request_body_bytes.max(MAX_DOCUMENT_BYTES)).await?;
    let place = services.deployments.take_place()?;
    let mut body: WantedApp = parse_body(body)?;
    if without_domains {
        body.domains = None;
    }
    let mut errors = Vec::new();
    let (settings, mut wanted) = parse(body, &mut errors);
    let WantedSettings { slug: told, name, redacted_headers, record_bodies, hsts_max_age_s } = settings;
    let slug = slug.or(told);
    if slug.is_none() {
        errors.push(FieldError::new("app.slug", "a new app needs a slug"));
    }
    if name.is_none() {
        errors.push(FieldError::new("app.name", "a new app needs a name"));
    }
    let (Some(slug), Some(name), true) = (slug, name, errors.is_empty()) else {
        return Err(ApiError::invalid(errors));
    };
    wanted.settings = AppPatch { redacted_headers, record_bodies, hsts_max_age_s, ..AppPatch::default() };
    let new = NewApp { slug, name, takeover };
    let (access, steps) = services.deployments.import(&place, &actor, new, &wanted, dry_run, &services.domains).await?;
    if dry_run {
        let app = ChangeView { action: Action::Create, kind: ThingKind::App, name: access.app.slug.to_string() };
        let changes = std::iter::once(app).chain(steps.iter().map(ChangeView::from)).collect();
        let view = DeploymentView { applied: false, changes, missing_secrets: wanted.secrets.into_iter().collect() };
        return Ok(Json(view).into_response());
    }
    let tag = etag(&crate::service::app::revision(&access.app));
    Ok((StatusCode::CREATED, tag, Json(AppView::from(access))).into_response())
}
