//! Routes: which requests of an app go to which of its endpoints.

use std::sync::Arc;

use picloud_shared::admin_hosts::AdminHosts;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::route::{Route, RoutePattern};
use picloud_shared::routing::Spread;
use picloud_shared::script::ScriptKind;
use picloud_shared::snapshot::SnapshotCell;
use serde_json::{Value, json};

use crate::repo::audit::AuditObject;
use crate::repo::config::Part;
use crate::repo::routes::{self, StoredRoute};
use crate::repo::scripts;
use crate::repo::{Listed, RepoError};
use crate::service::app_limit::admit_route;
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::domain::claims_of;
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};
use crate::service::route_url::{LocatedRoute, UrlStyle};
use crate::service::script::find_meta;
use crate::store::Conn;

/// A route as somebody wants it, wherever it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedRoute {
    pub pattern: RoutePattern,
    /// Whether its callers are answered at once.
    pub is_async: bool,
}

/// Routes of one statement.
const STORED_AT_ONCE: usize = 500;

pub(crate) struct RouteService {
    pub(super) desk: Desk,
    pub(super) urls: UrlStyle,
    pub(super) snapshot: Arc<SnapshotCell>,
    pub(super) admin_hosts: AdminHosts,
}

pub(crate) fn revision(route: &Route) -> Revision {
    Revision::of(&(route.id, audited(route)))
}

fn audited(route: &Route) -> Value {
    let RoutePattern { host, path, method } = &route.pattern;
    json!({
        "script_id": route.script_id, "host_kind": host.kind(), "host": host.shape_key(),
        "path_kind": path.kind(), "path": path.as_str(), "method": method, "async": route.is_async,
    })
}

/// A route that the caller may see, with the access to its app.
async fn find_route(conn: &mut Conn, actor: &Actor, id: RouteId) -> Result<(StoredRoute, Access), ServiceError> {
    let stored = routes::find(conn, id).await?.ok_or(ServiceError::NotFound("route"))?;
    let access = access_of_route(conn, actor, stored.route.app_id).await?;
    Ok((stored, access))
}

/// The access to a route's app. Whoever may not see the app is told that there is no such route, not why.
async fn access_of_route(conn: &mut Conn, actor: &Actor, app: AppId) -> Result<Access, ServiceError> {
    match actor.access(conn, &AppRef::Id(app)).await {
        Err(ServiceError::NotFound(_)) => Err(ServiceError::NotFound("route")),
        result => result,
    }
}

impl RouteService {
    pub(crate) fn new(desk: Desk, urls: UrlStyle, snapshot: Arc<SnapshotCell>, admin_hosts: AdminHosts) -> Self {
        Self { desk, urls, snapshot, admin_hosts }
    }

    pub(crate) async fn list_of_script(
        &self,
        actor: &Actor,
        script: ScriptId,
        size: PageSize,
        after: Option<RouteId>,
    ) -> Result<Page<LocatedRoute, RouteId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let (meta, access) = find_meta(&mut conn, actor, script).await?;
        access.require(Capability::ScriptRead)?;
        let found = routes::list_of_script(&mut conn, script, size.plus_one(), after).await?;
        self.locate_page(&mut conn, meta.app_id, found, size).await
    }

    pub(crate) async fn list_of_app(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<RouteId>,
    ) -> Result<Page<LocatedRoute, RouteId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::ScriptRead)?;
        let found = routes::list_of_app(&mut conn, access.app.id, size.plus_one(), after).await?;
        self.locate_page(&mut conn, access.app.id, found, size).await
    }

    async fn locate_page(
        &self,
        conn: &mut Conn,
        app: AppId,
        found: Vec<Listed<StoredRoute>>,
        size: PageSize,
    ) -> Result<Page<LocatedRoute, RouteId>, ServiceError> {
        let claims = claims_of(conn, app).await?;
        let page = Page::of_rows("route", found, size, |stored| stored.route.id.as_uuid(), RouteId::from_uuid);
        let items = page.items.into_iter().map(|stored| self.urls.locate(stored, &claims)).collect();
        Ok(Page { items, next: page.next })
    }

    pub(crate) async fn get(&self, actor: &Actor, id: RouteId) -> Result<LocatedRoute, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let (stored, access) = find_route(&mut conn, actor, id).await?;
        access.require(Capability::ScriptRead)?;
        let claims = claims_of(&mut conn, access.app.id).await?;
        Ok(self.urls.locate(stored, &claims))
    }

    pub(crate) async fn create(
        &self,
        actor: &Actor,
        script: ScriptId,
        wanted: WantedRoute,
    ) -> Result<LocatedRoute, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let (meta, access) = find_meta(&mut change, &actor, script).await?;
        access.require(Capability::RouteWrite)?;
        let WantedRoute { pattern, is_async } = wanted;
        let (id, app_id) = (RouteId::generate(change.at), meta.app_id);
        let route = Route { id, app_id, script_id: script, pattern, is_async };
        let claims = self.refuse_invalid(&mut change, &route).await?;
        admit_route(&mut change, meta.app_id).await?;
        let stored = insert_route(&mut change, route).await?;
        self.desk.publish(change, meta.app_id, Part::Route(stored.route.id)).await?;
        Ok(self.urls.locate(stored, &claims))
    }

    /// Changes a route. `change_route` makes what is wanted out of the old route, since an address may name a part.
    pub(crate) async fn update(
        &self,
        actor: &Actor,
        id: RouteId,
        script: Option<ScriptId>,
        change_route: impl FnOnce(&Route) -> Result<WantedRoute, ServiceError>,
        precondition: &Precondition,
    ) -> Result<LocatedRoute, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let (old, access) = find_route(&mut change, &actor, id).await?;
        access.require(Capability::RouteWrite)?;
        precondition.check(&revision(&old.route))?;
        let WantedRoute { pattern, is_async } = change_route(&old.route)?;
        let script_id = script.unwrap_or(old.route.script_id);
        let route = Route { script_id, pattern, is_async, ..old.route.clone() };
        let claims = self.refuse_invalid(&mut change, &route).await?;
        if route == old.route {
            return Ok(self.urls.locate(old, &claims));
        }
        store_all(&mut change, &[(&old.route, &route)]).await?;
        self.desk.publish(change, route.app_id, Part::Route(id)).await?;
        Ok(self.urls.locate(StoredRoute { route, created_at: old.created_at }, &claims))
    }

    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        id: RouteId,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let app_id = routes::find_app(&mut change, id).await?.ok_or(ServiceError::NotFound("route"))?;
        access_of_route(&mut change, &actor, app_id).await?.require(Capability::RouteWrite)?;
        let before = match routes::find(&mut change, id).await {
            Err(error @ RepoError::Corrupt { .. }) => {
                precondition.check_unreadable()?;
                json!({ "unreadable": error.to_string() })
            }
            found => {
                let route = found?.ok_or(ServiceError::NotFound("route"))?.route;
                precondition.check(&revision(&route))?;
                audited(&route)
            }
        };
        routes::delete(&mut change, id).await?;
        record_deletion(&mut change, app_id, id, before);
        self.desk.publish(change, app_id, Part::Route(id)).await
    }

    /// Refuses a route that could not serve or stands already; the claims of its app.
    async fn refuse_invalid(&self, conn: &mut Conn, route: &Route) -> Result<Vec<DomainPattern>, ServiceError> {
        let script = scripts::find_meta(conn, route.script_id).await?;
        match script.filter(|script| script.app_id == route.app_id) {
            None => return Err(ServiceError::invalid("script_id", "the app has no such script")),
            Some(script) if script.kind == ScriptKind::Module => return Err(ServiceError::ModuleNotRoutable),
            Some(_) => {}
        }
        let claims = claims_of(conn, route.app_id).await?;
        if !is_claimed(&route.pattern, &claims) {
            return Err(ServiceError::HostNotClaimed);
        }
        if !spreads_within_bounds(conn, route.app_id, Some(route.id), &route.pattern).await? {
            return Err(ServiceError::RoutesTooAmbiguous);
        }
        match routes::find_conflict(conn, route.app_id, &route.pattern).await? {
            Some(Ok(other)) if other.route.id == route.id => Ok(claims),
            Some(other) => {
                let other = other.ok().map(|other| Box::new(self.urls.locate(other, &claims)));
                Err(ServiceError::RouteConflict { other })
            }
            None => Ok(claims),
        }
    }
}

/// Whether a search among the app's routes stays bounded with one more of that pattern, in the place of `except`.
pub(crate) async fn spreads_within_bounds(
    conn: &mut Conn,
    app: AppId,
    except: Option<RouteId>,
    pattern: &RoutePattern,
) -> Result<bool, ServiceError> {
    let mut spread = Spread::default();
    for shape in routes::list_param_shapes(conn, app, except).await? {
        spread.admit(&shape);
    }
    Ok(spread.admit(&pattern.path.param_shape()))
}

/// Whether the hosts of the pattern lie within the app's claims.
pub(crate) fn is_claimed(pattern: &RoutePattern, claims: &[DomainPattern]) -> bool {
    pattern.host.kind() == "any" || claims.iter().any(|claim| pattern.host.lies_within(claim))
}

/// Stores what changed of routes, each as it was and as it is to be, with an audit row for each.
pub(crate) async fn store_all(change: &mut Change, routes: &[(&Route, &Route)]) -> Result<(), ServiceError> {
    for some in routes.chunks(STORED_AT_ONCE) {
        let new: Vec<&Route> = some.iter().map(|(_, new)| *new).collect();
        if !routes::update_all(change, &new).await? {
            return Err(ServiceError::NotFound("route"));
        }
    }
    for (old, new) in routes {
        let event = Event::new("route.update", AuditObject::Route(new.id)).in_app(new.app_id);
        change.record(event.before(audited(old)).after(audited(new)));
    }
    Ok(())
}

/// Removes routes, of which some may not be readable, with an audit row for each.
pub(crate) async fn forget_all(
    change: &mut Change,
    app_id: AppId,
    routes: &[(RouteId, Option<&Route>)],
) -> Result<(), ServiceError> {
    let ids: Vec<RouteId> = routes.iter().map(|(id, _)| *id).collect();
    routes::delete_all(change, &ids).await?;
    for (id, route) in routes {
        let before = route.map_or_else(|| json!({ "unreadable": true }), audited);
        record_deletion(change, app_id, *id, before);
    }
    Ok(())
}

fn record_deletion(change: &mut Change, app_id: AppId, id: RouteId, before: Value) {
    let event = Event::new("route.delete", AuditObject::Route(id)).in_app(app_id);
    change.record(event.before(before));
}

/// Stores a new route with its audit row.
pub(crate) async fn insert_route(change: &mut Change, route: Route) -> Result<StoredRoute, ServiceError> {
    let stored = StoredRoute { route, created_at: change.at };
    insert_routes(change, std::slice::from_ref(&stored)).await?;
    Ok(stored)
}

/// Stores new routes, each with its audit row.
pub(crate) async fn insert_routes(change: &mut Change, stored: &[StoredRoute]) -> Result<(), ServiceError> {
    for some in stored.chunks(STORED_AT_ONCE) {
        routes::insert_all(change, some).await?;
    }
    for StoredRoute { route, .. } in stored {
        let event = Event::new("route.create", AuditObject::Route(route.id)).in_app(route.app_id);
        change.record(event.after(audited(route)));
    }
    Ok(())
}
