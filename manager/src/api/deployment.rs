//! Whole apps: `apps/{app}/export`, `apps/{app}/deployment` and `apps:import`.

use axum::Json;
use axum::extract::State as Held;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use picloud_shared::app::{HstsMaxAge, MAX_DOCUMENT_BYTES};
use picloud_shared::at_most::AtMost;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::execution::RedactedHeaders;
use picloud_shared::name::{AppName, AppSlug, ScriptName};
use picloud_shared::path_pattern::PathKind;
use picloud_shared::route::{Route, RouteMethod, RoutePattern};
use picloud_shared::script::{ExecuteAccess, ScriptKind, ScriptSource};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::app::AppView;
use crate::api::extract::{Caller, Object, Path, Query, UnreadBody, app_ref, parse_body};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::route_body::{HostKind, PatternBody, host_text};
use crate::api::schema;
use crate::api::script_body::{Description, SandboxView};
use crate::service::app::{AppPatch, NewApp};
use crate::service::app_limit::AppLimit;
use crate::service::deployment::plan::{State, Step, Wanted, WantedScript};
use crate::service::deployment::{MOST_ERRORS, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(export_app)).routes(routes!(deploy_app)).routes(routes!(import_app))
}

/// The form of documents that this version writes and reads.
const FORMAT: u32 = 1;

/// What an app may have the most of, as far as one list tells.
const MOST_DOMAINS: usize = AppLimit::Domains.ceiling() as usize;
const MOST_SCRIPTS: usize = AppLimit::Scripts.ceiling() as usize;
const MOST_ROUTES: usize = AppLimit::Routes.ceiling() as usize;

/// An app as one document.
#[derive(Serialize, ToSchema)]
struct AppDocument {
    /// 1.
    format: u32,
    app: SettingsDocument,
    /// The claims, as they are written.
    domains: Vec<String>,
    scripts: Vec<ScriptDocument>,
}

#[derive(Serialize, ToSchema)]
struct SettingsDocument {
    slug: String,
    name: String,
    redacted_headers: Vec<String>,
    record_bodies: bool,
    #[schema(value_type = Option<u32>)]
    hsts_max_age_s: Option<HstsMaxAge>,
}

/// A script with its routes.
#[derive(Serialize, ToSchema)]
struct ScriptDocument {
    name: String,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    description: String,
    timeout_ms: Option<u64>,
    sandbox: SandboxView,
    #[schema(value_type = schema::ExecuteAccess)]
    execute_access: ExecuteAccess,
    routes: Vec<RouteDocument>,
    source: String,
}

#[derive(Serialize, ToSchema)]
struct RouteDocument {
    #[schema(value_type = schema::HostKind)]
    host_kind: HostKind,
    host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    path_kind: PathKind,
    path: String,
    #[schema(value_type = schema::RouteMethod)]
    method: RouteMethod,
    /// Whether its callers are answered at once with 202; absent where they are not.
    #[serde(rename = "async", skip_serializing_if = "is_false")]
    #[schema(required = false)]
    is_async: bool,
}

/// Documents of apps without async routes are what they were before there were any.
fn is_false(value: &bool) -> bool {
    !value
}

impl From<&Route> for RouteDocument {
    fn from(route: &Route) -> Self {
        let RoutePattern { host, path, method } = &route.pattern;
        Self {
            host_kind: HostKind::of(host),
            host: host_text(host),
            path_kind: path.kind(),
            path: path.as_str().to_owned(),
            method: *method,
            is_async: route.is_async,
        }
    }
}

impl From<State> for AppDocument {
    fn from(State { app, domains, scripts, routes, .. }: State) -> Self {
        let scripts = scripts.into_iter().map(|script| {
            let routes = routes.iter().filter(|route| route.script_id == script.meta.id);
            ScriptDocument {
                routes: routes.map(RouteDocument::from).collect(),
                name: script.meta.name.to_string(),
                kind: script.meta.kind,
                description: script.meta.description,
                timeout_ms: script.meta.timeout_ms,
                sandbox: script.meta.sandbox.into(),
                execute_access: script.meta.execute_access,
                source: script.source.into(),
            }
        });
        Self {
            format: FORMAT,
            app: SettingsDocument {
                slug: app.slug.to_string(),
                name: app.name.to_string(),
                redacted_headers: app.redacted_headers.into(),
                record_bodies: app.record_bodies,
                hsts_max_age_s: app.hsts_max_age_s,
            },
            domains: domains.into_iter().map(|domain| domain.pattern.to_string()).collect(),
            scripts: scripts.collect(),
        }
    }
}

/// An app as it is to be, in the form that an export has.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedApp {
    /// 1.
    #[schema(minimum = 1, maximum = 1)]
    format: u32,
    /// Settings; what is absent stays.
    #[serde(default)]
    #[schema(value_type = Option<WantedSettings>)]
    app: Object<WantedSettings>,
    /// All claims; absent, they stay as they are.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    domains: Option<AtMost<String, MOST_DOMAINS>>,
    /// All scripts, each with all of its routes.
    #[schema(value_type = Vec<WantedScriptBody>, max_items = 1000)]
    scripts: AtMost<Object<WantedScriptBody>, MOST_SCRIPTS>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct WantedSettings {
    /// What an import calls the app; a deployment takes no notice of it.
    #[schema(value_type = Option<String>)]
    slug: Option<AppSlug>,
    #[schema(value_type = Option<String>)]
    name: Option<AppName>,
    #[schema(value_type = Option<Vec<String>>)]
    redacted_headers: Option<RedactedHeaders>,
    record_bodies: Option<bool>,
    #[schema(value_type = Option<u32>, maximum = 63_072_000)]
    hsts_max_age_s: Option<HstsMaxAge>,
}

/// A script as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedScriptBody {
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    name: ScriptName,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    /// Rhai source of at most 128 KiB.
    #[schema(value_type = String)]
    source: ScriptSource,
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Option<Description>,
    timeout_ms: Option<u64>,
    #[schema(value_type = Option<SandboxView>)]
    sandbox: Option<Object<SandboxView>>,
    /// Absent, a script keeps what it has, and a new one has the instance's default.
    #[schema(value_type = Option<schema::ExecuteAccess>)]
    execute_access: Option<ExecuteAccess>,
    #[serde(default)]
    #[schema(value_type = Vec<PatternBody>, required = false, max_items = 10_000)]
    routes: AtMost<Object<PatternBody>, MOST_ROUTES>,
}

/// Adds to what is wrong with a document, as long as somebody may read it.
fn add(errors: &mut Vec<FieldError>, field: &str, detail: impl ToString) {
    if errors.len() < MOST_ERRORS {
        errors.push(FieldError::new(field, detail));
    }
}

/// What can be wrong with a document beyond its form.
fn parse(wanted: WantedApp, errors: &mut Vec<FieldError>) -> (WantedSettings, Wanted) {
    let WantedApp { format, app: Object(settings), domains, scripts } = wanted;
    if format != FORMAT {
        add(errors, "format", "this version reads format 1");
    }
    let domains = domains.map(|AtMost(domains)| {
        let parsed = domains.iter().enumerate().filter_map(|(place, text)| {
            let parsed = text.parse::<DomainPattern>();
            parsed.map_err(|error| add(errors, &format!("domains[{place}]"), error)).ok()
        });
        parsed.collect()
    });
    let scripts = scripts.0.into_iter().enumerate().map(|(place, Object(script))| {
        let routes = script.routes.0.iter().enumerate().filter_map(|(route, Object(body))| {
            let parsed = body.parse().map_err(|wrong| {
                for wrong in wrong {
                    add(errors, &format!("scripts[{place}].routes[{route}].{}", wrong.field), wrong.detail);
                }
            });
            parsed.ok()
        });
        WantedScript {
            routes: routes.collect(),
            name: script.name,
            kind: script.kind,
            source: script.source,
            description: script.description.map(String::from).unwrap_or_default(),
            timeout_ms: script.timeout_ms,
            sandbox: script.sandbox.unwrap_or_default().0.into(),
            execute_access: script.execute_access,
        }
    });
    let scripts = scripts.collect();
    (settings, Wanted { settings: AppPatch::default(), domains, scripts })
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
}

/// One thing that a deployment changed, or would change.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    action: Action,
    kind: ThingKind,
    /// A script's name, a route's method and path, a domain, or an app's slug; the id of what cannot be read.
    name: String,
}

impl From<&Step> for ChangeView {
    fn from(step: &Step) -> Self {
        let of_route = |route: &Route| {
            let RoutePattern { host, path, method } = &route.pattern;
            format!("{method} {}{path}", host.shape_key())
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
        };
        Self { action, kind, name }
    }
}

#[derive(Serialize, ToSchema)]
struct DeploymentView {
    /// Whether the changes are made; not so in a trial, and where there are none.
    applied: bool,
    changes: Vec<ChangeView>,
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
/// As one document, which `deployment` and `apps:import` take.
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
/// All scripts, routes and, where told, domains are as in the document then: what it does not tell is deleted. Scripts keep
/// their ids and versions by their names. All of it is live with the next request, or nothing has changed.
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
    let view = DeploymentView { applied: !dry_run && !changes.is_empty(), changes };
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
        return Ok(Json(DeploymentView { applied: false, changes }).into_response());
    }
    let tag = etag(&crate::service::app::revision(&access.app));
    Ok((StatusCode::CREATED, tag, Json(AppView::from(access))).into_response())
}
