//! Questions about routes that change nothing: whether one would be valid, and which one a request would get.

use std::sync::Arc;

use http::Method;
use picloud_shared::admin_hosts::{HostKind, is_admin_path};
use picloud_shared::domain_pattern::Host;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::request::Params;
use picloud_shared::route::{Route, RoutePattern};
use picloud_shared::routing::{AllowedMethods, Dispatch, RouteVerdict, dispatch, shadows};
use picloud_shared::script::ScriptKind;
use picloud_shared::snapshot::PublishedScript;

use crate::repo::apps::App;
use crate::repo::{routes, scripts};
use crate::service::app_limit::{AppLimit, admit_route};
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::domain::claims_of;
use crate::service::error::ServiceError;
use crate::service::page::readable;
use crate::service::route::{RouteService, is_claimed, spreads_within_bounds};
use crate::service::route_url::LocatedRoute;

/// What a route would meet.
#[derive(Default)]
pub(crate) struct RouteReport {
    pub host_not_claimed: bool,
    pub script_missing: bool,
    pub module_not_routable: bool,
    pub too_ambiguous: bool,
    /// The app has as many routes as one may have: that many.
    pub app_is_full: Option<u64>,
    /// A route that cannot be read takes the very same requests.
    pub unreadable_conflict: bool,
    pub conflicts: Vec<LocatedRoute>,
    pub shadows: Vec<LocatedRoute>,
}

/// What a request would get, as far as the caller may see it.
pub(crate) enum Match {
    /// The dashboard, the API, or the refusal of a path that is neither.
    Admin,
    UnknownHost,
    Found {
        app: App,
        host_params: Params,
        verdict: Verdict,
    },
}

pub(crate) enum Verdict {
    Matched(Box<MatchedRoute>),
    MethodNotAllowed(AllowedMethods),
    Options(AllowedMethods),
    NoRoute,
}

pub(crate) struct MatchedRoute {
    pub route: Arc<Route>,
    pub url: Option<String>,
    pub script: Option<Arc<PublishedScript>>,
    pub params: Params,
    pub rest: Option<Box<str>>,
}

impl RouteService {
    /// Whether a route would be valid in the app, and what it would conflict with or take requests from. It asks what saving
    /// asks ([`RouteService::create`]), so that what it lets through can be saved.
    pub(crate) async fn check(
        &self,
        actor: &Actor,
        app: AppId,
        script: Option<ScriptId>,
        pattern: Option<&RoutePattern>,
        except: Option<RouteId>,
    ) -> Result<RouteReport, ServiceError> {
        let mut read = self.desk.store.begin_read().await?;
        actor.access(&mut read, &AppRef::Id(app)).await?.require(Capability::ScriptRead)?;
        let mut report = RouteReport::default();
        if let Some(id) = script {
            let found = scripts::find_meta(&mut read, id).await?.filter(|script| script.app_id == app);
            report.script_missing = found.is_none();
            report.module_not_routable = found.is_some_and(|script| script.kind == ScriptKind::Module);
        }
        let Some(pattern) = pattern else {
            return Ok(report);
        };
        let claims = claims_of(&mut read, app).await?;
        report.host_not_claimed = !is_claimed(pattern, &claims);
        report.too_ambiguous = !spreads_within_bounds(&mut read, app, except, pattern).await?;
        if except.is_none() && matches!(admit_route(&mut read, app).await, Err(ServiceError::AppLimit(_))) {
            report.app_is_full = Some(AppLimit::Routes.ceiling());
        }
        match routes::find_conflict(&mut read, app, pattern).await? {
            Some(Ok(other)) if Some(other.route.id) == except => {}
            Some(Ok(other)) => report.conflicts.push(self.urls.locate(other, &claims)),
            Some(Err(other)) => report.unreadable_conflict = except.map(RouteId::as_uuid) != Some(other.id),
            None => {}
        }
        for stored in readable("route", routes::list_of_app(&mut read, app, u32::MAX, None).await?) {
            if Some(stored.route.id) != except && shadows(pattern, &stored.route.pattern) {
                report.shadows.push(self.urls.locate(stored, &claims));
            }
        }
        Ok(report)
    }

    /// Which route a request would get, by the code and the snapshot that the data plane answers from. A host of an
    /// app that the caller may not see is a host that nobody claims.
    pub(crate) async fn match_request(
        &self,
        actor: &Actor,
        host: &Host<'_>,
        path: &RequestPath<'_>,
        method: &Method,
    ) -> Result<Match, ServiceError> {
        // Asked from this machine, since from elsewhere a name of loopback leads nowhere.
        match self.admin_hosts.kind_of(host, true) {
            HostKind::Admin => return Ok(Match::Admin),
            HostKind::Shared if is_admin_path(path) => return Ok(Match::Admin),
            HostKind::Shared | HostKind::App => {}
        }
        let snapshot = self.snapshot.load_full();
        let Dispatch::App { app, host_params, verdict } = dispatch(&snapshot, host, path, method) else {
            return Ok(Match::UnknownHost);
        };
        let Some(access) = self.visible(actor, app.app().id).await? else {
            return Ok(Match::UnknownHost);
        };
        let verdict = match verdict {
            RouteVerdict::Matched(found) => Verdict::Matched(Box::new(MatchedRoute {
                url: self.urls.url(found.route, app.claims()),
                script: app.script(found.route.script_id).cloned(),
                route: Arc::clone(found.route),
                params: found.params,
                rest: found.rest,
            })),
            RouteVerdict::MethodNotAllowed(allowed) => Verdict::MethodNotAllowed(allowed),
            RouteVerdict::Options(allowed) => Verdict::Options(allowed),
            RouteVerdict::NoRoute => Verdict::NoRoute,
        };
        Ok(Match::Found { app: access.app, host_params, verdict })
    }

    async fn visible(&self, actor: &Actor, app: AppId) -> Result<Option<Access>, ServiceError> {
        match actor.access(&mut self.desk.store.read().await?, &AppRef::Id(app)).await {
            Ok(access) => Ok(Some(access).filter(|access| access.allows(Capability::ScriptRead))),
            Err(ServiceError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
