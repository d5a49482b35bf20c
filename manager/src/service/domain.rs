//! Domain claims: which app answers on which hosts.

use std::collections::HashMap;

use picloud_shared::admin_hosts::{AdminHosts, HostKind};
use picloud_shared::certificate::CertificateRecord;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, DomainId};
use picloud_shared::route::HostSelector;
use serde_json::{Value, json};

use crate::repo::Listed;
use crate::repo::apps;
use crate::repo::audit::AuditObject;
use crate::repo::certificates;
use crate::repo::config::Part;
use crate::repo::domains::{self, Domain};
use crate::repo::routes;
use crate::service::app_limit::admit_domain;
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};
use crate::service::route_url::UrlStyle;
use crate::store::Conn;

/// The slug of the app that answers on `localhost`.
pub(crate) const DEFAULT_APP_SLUG: &str = "default";
/// The one admin host that an app may claim, and only the default app.
pub(crate) const DEFAULT_APP_HOST: &str = "localhost";

pub(crate) struct DomainService {
    desk: Desk,
    admin_hosts: AdminHosts,
    urls: UrlStyle,
}

impl DomainService {
    pub(crate) fn new(desk: Desk, admin_hosts: AdminHosts, urls: UrlStyle) -> Self {
        Self { desk, admin_hosts, urls }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<DomainId>,
    ) -> Result<Page<(Domain, Option<CertificateRecord>), DomainId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::AppRead)?;
        let found = domains::list(&mut conn, access.app.id, size.plus_one(), after).await?;
        let page = Page::of_rows("domain", found, size, |domain: &Domain| domain.id.as_uuid(), DomainId::from_uuid);
        let managed = readable("certificate", certificates::list_of_app(&mut conn, access.app.id).await?);
        let mut by_shape: HashMap<String, CertificateRecord> =
            managed.into_iter().filter_map(|record| Some((record.name.as_ref()?.shape_key(), record))).collect();
        let with_certificate = |domain: Domain| {
            let certificate = by_shape.remove(&domain.pattern.shape_key());
            (domain, certificate)
        };
        Ok(Page { items: page.items.into_iter().map(with_certificate).collect(), next: page.next })
    }

    pub(crate) async fn claim(
        &self,
        actor: &Actor,
        app: &AppRef,
        pattern: DomainPattern,
    ) -> Result<Domain, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::AppManageDomains)?;
        let domain = self.take(&mut change, &actor, &access, pattern).await?;
        self.desk.publish(change, domain.app_id, Part::Domain(domain.id)).await?;
        Ok(domain)
    }

    /// Claims within a change, unless the host is not to be had.
    pub(crate) async fn take(
        &self,
        change: &mut Change,
        actor: &Actor,
        access: &Access,
        pattern: DomainPattern,
    ) -> Result<Domain, ServiceError> {
        pattern.refuse_public_suffix()?;
        self.refuse_reserved(access, &pattern)?;
        for other in readable("domain", domains::list_overlapping(change, &pattern).await?) {
            self.refuse_foreign(actor, change, access, &pattern, other).await?;
        }
        admit_domain(change, access.app.id).await?;
        insert_domain(change, access.app.id, pattern).await
    }

    /// An admin host can be claimed by nobody, but for the one that the default app shares. A wildcard may cover one: the
    /// data plane tells admin hosts from apps' before it looks at claims, so that the claim says nothing there.
    fn refuse_reserved(&self, access: &Access, pattern: &DomainPattern) -> Result<(), ServiceError> {
        let DomainPattern::Exact(host) = pattern else {
            return Ok(());
        };
        match self.admin_hosts.kind_of(host, true) {
            HostKind::App => Ok(()),
            HostKind::Shared if access.app.slug.as_str() == DEFAULT_APP_SLUG => Ok(()),
            HostKind::Shared | HostKind::Admin => Err(ServiceError::HostReserved),
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
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        let app_id = access.app.id;
        let mut claims = domains::list(&mut change, app_id, u32::MAX, None).await?.into_iter();
        let is_it = |claim: &Listed<Domain>| match claim {
            Ok(domain) => domain.id == id,
            Err(unreadable) => unreadable.id == id.as_uuid(),
        };
        let domain = claims.find(is_it).ok_or(ServiceError::NotFound("domain"))?;
        access.require(Capability::AppManageDomains)?;
        let before = match domain {
            Ok(domain) => {
                self.refuse_in_use(&mut change, &domain).await?;
                json!({ "pattern": domain.pattern })
            }
            Err(error) => json!({ "unreadable": error.detail }),
        };
        give_up(&mut change, app_id, id, before).await?;
        self.desk.publish(change, app_id, Part::Domain(id)).await
    }

    async fn refuse_in_use(&self, conn: &mut Conn, domain: &Domain) -> Result<(), ServiceError> {
        let claims = claims_of(conn, domain.app_id).await?;
        let remaining: Vec<&DomainPattern> = claims.iter().filter(|claim| **claim != domain.pattern).collect();
        let mut stranded = readable("route", routes::list_of_app(conn, domain.app_id, u32::MAX, None).await?);
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

/// Removes a claim with its audit row.
pub(crate) async fn give_up(
    change: &mut Change,
    app_id: AppId,
    id: DomainId,
    before: Value,
) -> Result<(), ServiceError> {
    domains::delete(change, id).await?;
    let event = Event::new("domain.delete", AuditObject::Domain(id)).in_app(app_id);
    change.record(event.before(before));
    Ok(())
}

/// The hosts that an app claims.
pub(crate) async fn claims_of(conn: &mut Conn, app: AppId) -> Result<Vec<DomainPattern>, ServiceError> {
    let claims = readable("domain", domains::list(conn, app, u32::MAX, None).await?);
    Ok(claims.into_iter().map(|domain| domain.pattern).collect())
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
    change.record(event.after(json!({ "pattern": domain.pattern })));
    Ok(domain)
}
