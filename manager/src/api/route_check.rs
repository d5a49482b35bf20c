//! `routes:check` and `routes:match`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::Uri;
use picloud_shared::domain_pattern::Host;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, RequestPath};
use picloud_shared::request::Params;
use picloud_shared::route::RouteMethod;
use picloud_shared::snapshot::PublishedScript;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, Object, parse_method};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError, ROUTES_TOO_AMBIGUOUS};
use crate::api::route_body::{HostKind, PatternBody, RouteView};
use crate::api::schema::{self, AppName, ScriptName};
use crate::service::route_check::{Match, MatchedRoute, RouteReport, Verdict};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(check_route)).routes(routes!(match_request))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckRoute {
    /// The app that the route would belong to.
    #[schema(value_type = Uuid)]
    app_id: AppId,
    #[schema(value_type = DraftRoute)]
    route: Object<DraftRoute>,
    /// A route that would be replaced, and so does not count.
    #[schema(value_type = Option<Uuid>)]
    except_id: Option<RouteId>,
}

/// A route that is not saved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DraftRoute {
    /// The endpoint that it would lead to, if that is to be checked too.
    #[schema(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
    #[schema(value_type = schema::HostKind)]
    host_kind: HostKind,
    host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    path_kind: PathKind,
    path: String,
    #[schema(value_type = schema::RouteMethod)]
    method: RouteMethod,
    #[serde(rename = "async", default)]
    is_async: bool,
}

#[derive(Serialize, ToSchema)]
struct RouteCheck {
    /// Whether the route could be saved as it is: no errors and no conflicts.
    valid: bool,
    errors: Vec<FieldError>,
    /// Routes that take the very same requests.
    conflicts: Vec<RouteView>,
    /// Routes that some of their requests would be taken from.
    shadows: Vec<RouteView>,
}

impl RouteCheck {
    fn new(report: RouteReport, mut errors: Vec<FieldError>) -> Self {
        if report.host_not_claimed {
            errors.push(FieldError::new("host", "it lies in no domain of the app; claim the domain first"));
        }
        if report.script_missing {
            errors.push(FieldError::new("script_id", "the app has no such script"));
        }
        if report.module_not_routable {
            errors.push(FieldError::new("script_id", "a module cannot answer requests"));
        }
        if report.too_ambiguous {
            errors.push(FieldError::new("path", ROUTES_TOO_AMBIGUOUS));
        }
        if let Some(most) = report.app_is_full {
            errors.push(FieldError::new("path", format!("an app has at most {most} routes")));
        }
        if report.unreadable_conflict {
            errors.push(FieldError::new("path", "a route that cannot be read takes these requests; delete it first"));
        }
        let conflicts = RouteView::all(report.conflicts);
        let valid = errors.is_empty() && conflicts.is_empty();
        Self { valid, errors, conflicts, shadows: RouteView::all(report.shadows) }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MatchRequest {
    /// The whole address, such as `https://shop.example.com/users/7`.
    url: String,
    method: String,
}

/// How a request would fare.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MatchOutcome {
    Matched,
    UnknownHost,
    NoRoute,
    MethodNotAllowed,
    /// The host is the dashboard's and the API's, or the path is theirs on `localhost`: no route is asked.
    Admin,
    /// A plain OPTIONS, which PiCloud answers with 204 and `Allow`.
    Options,
}

#[derive(Serialize, ToSchema)]
struct RequestMatch {
    outcome: MatchOutcome,
    app: Option<AppName>,
    route: Option<MatchedRouteView>,
    script: Option<ScriptName>,
    /// The parameters of the path.
    params: BTreeMap<String, String>,
    /// The parameters of the host.
    host_params: BTreeMap<String, String>,
    /// What a prefix route left over.
    rest: Option<String>,
    /// What `Allow` would list, where the method decides.
    allow: Option<String>,
}

/// The route that a request would get, as it is published.
#[derive(Serialize, ToSchema)]
struct MatchedRouteView {
    #[schema(value_type = Uuid)]
    id: RouteId,
    #[schema(value_type = Uuid)]
    script_id: ScriptId,
    host_kind: String,
    host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    path_kind: PathKind,
    path: String,
    #[schema(value_type = schema::RouteMethod)]
    method: RouteMethod,
    #[serde(rename = "async")]
    is_async: bool,
    url: Option<String>,
}

problems! {
    CheckProblems { "404": "`not_found`" }
}

/// Check a route without saving it.
#[utoipa::path(post, path = "/routes:check", tag = "routes", request_body = CheckRoute,
    responses((status = 200, description = "What the route would meet.", body = RouteCheck), CheckProblems))]
async fn check_route(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(CheckRoute { app_id, route: Object(route), except_id }): Body<CheckRoute>,
) -> Result<Json<RouteCheck>, ApiError> {
    let DraftRoute { script_id, host_kind, host, path_kind, path, method, is_async } = route;
    let parsed = PatternBody { host_kind, host, path_kind, path, method, is_async }.parse();
    let pattern = parsed.as_ref().ok().map(|wanted| &wanted.pattern);
    let report = state.services.routes.check(&actor, app_id, script_id, pattern, except_id).await?;
    let errors = parsed.err().into_iter().flatten().map(FieldError::from).collect();
    Ok(Json(RouteCheck::new(report, errors)))
}

/// Tell which route a request would get.
///
/// By the very code and data that requests are answered from. The host of an app that the caller may not see counts
/// as unknown.
#[utoipa::path(post, path = "/routes:match", tag = "routes", request_body = MatchRequest,
    responses((status = 200, description = "What the request would get.", body = RequestMatch)))]
async fn match_request(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(MatchRequest { url, method }): Body<MatchRequest>,
) -> Result<Json<RequestMatch>, ApiError> {
    let invalid = |field: &str, detail: String| ApiError::invalid(vec![FieldError::new(field, detail)]);
    let method = parse_method(&method).map_err(|error| ApiError::invalid(vec![error]))?;
    let no_url = || invalid("url", "send a whole address, such as https://shop.example.com/users/7".to_owned());
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let authority = uri.authority().ok_or_else(no_url)?;
    let host = Host::parse_authority(authority.as_str()).map_err(|error| invalid("url", error.to_string()))?;
    let path = RequestPath::parse(uri.path()).map_err(|error| invalid("url", error.to_string()))?;
    Ok(Json(state.services.routes.match_request(&actor, &host, &path, &method).await?.into()))
}

impl From<Match> for RequestMatch {
    fn from(found: Match) -> Self {
        let mut view = Self {
            outcome: MatchOutcome::UnknownHost,
            app: None,
            route: None,
            script: None,
            params: BTreeMap::new(),
            host_params: BTreeMap::new(),
            rest: None,
            allow: None,
        };
        let (app, host_params, verdict) = match found {
            Match::UnknownHost => return view,
            Match::Admin => return Self { outcome: MatchOutcome::Admin, ..view },
            Match::Found { app, host_params, verdict } => (app, host_params, verdict),
        };
        view.app = Some(AppName::from(&app));
        view.host_params = params_view(host_params);
        match verdict {
            Verdict::NoRoute => view.outcome = MatchOutcome::NoRoute,
            Verdict::MethodNotAllowed(allowed) => {
                view.outcome = MatchOutcome::MethodNotAllowed;
                view.allow = Some(allowed.to_header_value());
            }
            Verdict::Options(allowed) => {
                view.outcome = MatchOutcome::Options;
                view.allow = Some(allowed.to_header_value());
            }
            Verdict::Matched(matched) => view.add(*matched),
        }
        view
    }
}

impl RequestMatch {
    fn add(&mut self, matched: MatchedRoute) {
        let MatchedRoute { route, url, script, params, rest } = matched;
        let pattern = &route.pattern;
        self.outcome = MatchOutcome::Matched;
        self.params = params_view(params);
        self.rest = rest.map(String::from);
        self.script = script.as_deref().map(script_name);
        self.route = Some(MatchedRouteView {
            id: route.id,
            script_id: route.script_id,
            host_kind: pattern.host.kind().to_owned(),
            host: Some(pattern.host.shape_key()).filter(|host| !host.is_empty()),
            path_kind: pattern.path.kind(),
            path: pattern.path.as_str().to_owned(),
            method: pattern.method,
            is_async: route.is_async,
            url,
        });
    }
}

fn script_name(script: &PublishedScript) -> ScriptName {
    ScriptName { id: script.row.id, name: script.row.name.to_string() }
}

fn params_view(params: Params) -> BTreeMap<String, String> {
    params.into_iter().map(|(name, value)| (name.to_string(), value.into_string())).collect()
}
