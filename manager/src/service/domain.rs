//! Domain claims: which app answers on which hosts.

use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::id::{AppId, DomainId};
use picloud_shared::route::HostSelector;
use serde_json::json;

use crate::repo::apps;
use crate::repo::audit::AuditObject;
use crate::repo::domains::{self, Domain};
use crate::repo::routes;
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::route_url::UrlStyle;
use crate::store::Conn;

/// The slug of the app that answers on `localhost`.
pub(crate) const DEFAULT_APP_SLUG: &str = "default";
/// The one admin host that an app may claim, and only the default app.
pub(crate) const DEFAULT_APP_HOST: &str = "localhost";

pub(crate) struct DomainService {
    desk: Desk,
    /// The hosts of the admin API and the dashboard.
    admin_hosts: Vec<DomainPattern>,
    urls: UrlStyle,
}

impl DomainService {
    pub(crate) fn new(desk: Desk, admin_hosts: impl IntoIterator<Item = Host<'static>>, urls: UrlStyle) -> Self {
        Self { desk, admin_hosts: admin_hosts.into_iter().map(DomainPattern::Exact).collect(), urls }
    }

    pub(crate) async fn list(&self, actor: &Actor, app: &AppRef) -> Result<Vec<Domain>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::AppRead)?;
        Ok(domains::list(&mut conn, access.app.id).await?)
    }

    pub(crate) async fn claim(
        &self,
        actor: &Actor,
        app: &AppRef,
        pattern: DomainPattern,
    ) -> Result<Domain, ServiceError> {
        let mut change = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::AppManageDomains)?;
        self.refuse_reserved(&access, &pattern)?;
        for other in domains::list_overlapping(&mut change, &pattern).await? {
            self.refuse_foreign(actor, &mut change, &access, &pattern, other).await?;
        }
        let app_id = access.app.id;
        let domain = insert_domain(&mut change, app_id, pattern).await?;
        self.desk.publish(change, app_id).await?;
        Ok(domain)
    }

    /// An admin host can be claimed by nobody, nor can a wildcard that would put an app's pages beside the dashboard.
    fn refuse_reserved(&self, access: &Access, pattern: &DomainPattern) -> Result<(), ServiceError> {
        let is_default_host = matches!(pattern, DomainPattern::Exact(host) if host.as_str() == DEFAULT_APP_HOST);
        if is_default_host && access.app.slug.as_str() == DEFAULT_APP_SLUG {
            return Ok(());
        }
        match self.admin_hosts.iter().any(|reserved| reserved.overlaps(pattern)) {
            true => Err(ServiceError::HostReserved),
            false => Ok(()),
        }
    }

    /// A claim of the same shape is taken; one that merely overlaps another app's needs the right to both.
    async fn refuse_foreign(
        &self,
        actor: &Actor,
        conn: &mut Conn,
        access: &Access,
        pattern: &DomainPattern,
        other: Domain,
    ) -> Result<(), ServiceError> {
        let same_shape = other.pattern.shape_key() == pattern.shape_key();
        if other.app_id == access.app.id && !same_shape {
            return Ok(());
        }
        let theirs = match apps::find(conn, other.app_id).await? {
            Some(app) => actor.access_to(conn, app).await?,
            None => None,
        };
        let both = theirs.as_ref().is_some_and(|theirs| theirs.allows(Capability::AppManageDomains));
        if both && !same_shape {
            return Ok(());
        }
        Err(ServiceError::DomainClaimed { holder: theirs.map(|theirs| Box::new((theirs.app, other.pattern))) })
    }

    /// Gives a claim up, unless routes are bound to hosts that only this claim covers.
    pub(crate) async fn release(&self, actor: &Actor, app: &AppRef, id: DomainId) -> Result<(), ServiceError> {
        let mut change = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::AppRead)?;
        let app_id = access.app.id;
        let found = domains::find(&mut change, id).await?.filter(|domain| domain.app_id == app_id);
        let domain = found.ok_or(ServiceError::NotFound("domain"))?;
        access.require(Capability::AppManageDomains)?;
        self.refuse_in_use(&mut change, &domain).await?;
        domains::delete(&mut change, id).await?;
        let event = Event::new("domain.delete", AuditObject::Domain(id)).in_app(app_id);
        change.record(event.before(json!({ "pattern": domain.pattern }))).await?;
        self.desk.publish(change, app_id).await
    }

    async fn refuse_in_use(&self, conn: &mut Conn, domain: &Domain) -> Result<(), ServiceError> {
        let claims = claims_of(conn, domain.app_id).await?;
        let remaining: Vec<&DomainPattern> = claims.iter().filter(|claim| **claim != domain.pattern).collect();
        let mut stranded = routes::list_of_app(conn, domain.app_id).await?;
        stranded.retain(|stored| match &stored.route.pattern.host {
            // A route for any host goes on with whatever hosts the app has.
            HostSelector::Any => false,
            host => host.lies_within(&domain.pattern) && !remaining.iter().any(|claim| host.lies_within(claim)),
        });
        if stranded.is_empty() {
            return Ok(());
        }
        let routes = stranded.into_iter().map(|stored| self.urls.locate(stored, &claims)).collect();
        Err(ServiceError::DomainInUse { routes })
    }
}

/// The hosts that an app claims.
pub(crate) async fn claims_of(conn: &mut Conn, app: AppId) -> Result<Vec<DomainPattern>, ServiceError> {
    Ok(domains::list(conn, app).await?.into_iter().map(|domain| domain.pattern).collect())
}

/// Stores a claim with its audit row.
pub(crate) async fn insert_domain(
    change: &mut Change,
    app_id: AppId,
    pattern: DomainPattern,
) -> Result<Domain, ServiceError> {
    let domain = Domain { id: DomainId::generate(change.at), app_id, pattern, created_at: change.at };
    domains::insert(change, &domain).await?;
    let event = Event::new("domain.create", AuditObject::Domain(domain.id)).in_app(app_id);
    change.record(event.after(json!({ "pattern": domain.pattern }))).await?;
    Ok(domain)
}
