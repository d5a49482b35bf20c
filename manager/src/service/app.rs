//! Apps: who sees which, and how one begins, is renamed and ends.

use picloud_shared::app::HstsMaxAge;
use picloud_shared::execution::RedactedHeaders;
use picloud_shared::id::AppId;
use picloud_shared::name::{AppName, AppSlug};
use serde_json::{Value, json};

use crate::purge::{Purge, purge_within};
use crate::repo::RepoError;
use crate::repo::apps::{self, App};
use crate::repo::audit::AuditObject;
use crate::repo::config::Part;
use crate::repo::deleted_apps::{self, DeletedApp};
use crate::repo::members::{self, Member};
use crate::repo::role::{AppRole, InstanceRole};
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};

pub(crate) struct AppService {
    desk: Desk,
    purge: Purge,
}

/// What a new app begins with.
pub(crate) struct NewApp {
    pub slug: AppSlug,
    pub name: AppName,
    /// Whether a former slug of another app may be taken, which ends its redirect.
    pub takeover: bool,
}

/// What is to change of an app; absent is unchanged.
pub(crate) struct AppPatch {
    pub name: Option<AppName>,
    pub redacted_headers: Option<RedactedHeaders>,
    pub record_bodies: Option<bool>,
    pub hsts_max_age_s: Option<HstsMaxAge>,
}

pub(crate) fn revision(app: &App) -> Revision {
    let App { id, slug, name, redacted_headers, record_bodies, hsts_max_age_s, .. } = app;
    Revision::of(&(id, slug, name, redacted_headers, record_bodies, hsts_max_age_s))
}

fn audited(app: &App) -> Value {
    let App { slug, name, redacted_headers, record_bodies, hsts_max_age_s, .. } = app;
    json!({
        "slug": slug,
        "name": name,
        "redacted_headers": redacted_headers,
        "record_bodies": record_bodies,
        "hsts_max_age_s": hsts_max_age_s,
    })
}

impl AppService {
    pub(crate) fn new(desk: Desk, purge: Purge) -> Self {
        Self { desk, purge }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        size: PageSize,
        after: Option<AppId>,
    ) -> Result<Page<Access, AppId>, ServiceError> {
        actor.require_scope_of(Capability::AppRead)?;
        let mut conn = self.desk.store.read().await?;
        if let Some(own) = actor.key().and_then(|key| key.app_id) {
            let only = actor.access(&mut conn, &AppRef::Id(own)).await.ok().filter(|_| after.is_none());
            return Ok(Page { items: only.into_iter().collect(), next: None });
        }
        let member = (actor.user.instance_role == InstanceRole::Member).then_some(actor.user.id);
        let found = apps::list(&mut conn, member, size.plus_one(), after).await?;
        let page = Page::of_rows("app", found, size, |app| app.id.as_uuid(), AppId::from_uuid);
        let mut items = Vec::with_capacity(page.items.len());
        for app in page.items {
            items.extend(actor.access_to(&mut conn, app).await?);
        }
        Ok(Page { items, next: page.next })
    }

    pub(crate) async fn get(&self, actor: &Actor, app: &AppRef) -> Result<Access, ServiceError> {
        let access = actor.access(&mut self.desk.store.read().await?, app).await?;
        access.require(Capability::AppRead)?;
        Ok(access)
    }

    pub(crate) async fn create(&self, actor: &Actor, new: NewApp) -> Result<Access, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::AppCreate)?;
        self.free_slug(&actor, &mut change, &new).await?;
        let app = insert_app(&mut change, new.slug, new.name).await?;
        let member = Member { app_id: app.id, user_id: actor.user.id, role: AppRole::AppAdmin, joined_at: change.at };
        members::insert(&mut change, &member).await?;
        let access = actor.access(&mut change, &AppRef::Id(app.id)).await?;
        self.desk.publish(change, app.id, Part::App).await?;
        Ok(access)
    }

    /// Refuses a former slug of another app, unless it is to be taken over.
    async fn free_slug(&self, actor: &Actor, change: &mut Change, new: &NewApp) -> Result<(), ServiceError> {
        if new.takeover {
            apps::delete_historical_slug(change, &new.slug).await?;
        } else if let Some(app) = apps::find_by_historical_slug(change, &new.slug).await? {
            let app = actor.access_to(change, app).await?.map(|access| Box::new(access.app));
            return Err(ServiceError::SlugHistorical { app });
        }
        Ok(())
    }

    pub(crate) async fn update(
        &self,
        actor: &Actor,
        app: &AppRef,
        patch: AppPatch,
        precondition: &Precondition,
    ) -> Result<Access, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let mut access = actor.access(&mut change, app).await?;
        access.require(Capability::AppManageSettings)?;
        precondition.check(&revision(&access.app))?;
        let old = access.app.clone();
        let AppPatch { name, redacted_headers, record_bodies, hsts_max_age_s } = patch;
        access.app.name = name.unwrap_or(access.app.name);
        access.app.redacted_headers = redacted_headers.unwrap_or(access.app.redacted_headers);
        access.app.record_bodies = record_bodies.unwrap_or(access.app.record_bodies);
        access.app.hsts_max_age_s = hsts_max_age_s.or(access.app.hsts_max_age_s);
        if access.app == old {
            return Ok(access);
        }
        access.app.updated_at = change.at;
        apps::update(&mut change, &access.app).await?;
        let id = access.app.id;
        let event = Event::new("app.update", AuditObject::App(id)).in_app(id);
        change.record(event.before(audited(&old)).after(audited(&access.app))).await?;
        self.desk.publish(change, id, Part::App).await?;
        Ok(access)
    }

    /// Removes an app; one that has scripts only by `force`, and then everything that belongs to it.
    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        app: &AppRef,
        force: bool,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let (id, before) = match (actor.access(&mut change, app).await, app) {
            (Err(ServiceError::Store(error @ RepoError::Corrupt { .. })), AppRef::Id(id)) => {
                actor.require_in(&mut change, *id, Capability::AppDelete).await?;
                precondition.check_unreadable()?;
                (*id, json!({ "unreadable": error.to_string() }))
            }
            (access, _) => {
                let access = access?;
                access.require(Capability::AppDelete)?;
                precondition.check(&revision(&access.app))?;
                (access.app.id, audited(&access.app))
            }
        };
        let script_count = apps::count_scripts(&mut change, id).await?;
        if script_count > 0 && !force {
            return Err(ServiceError::HasScripts { script_count });
        }
        apps::delete(&mut change, id).await?;
        let deleted_at = change.at;
        deleted_apps::insert(&mut change, &DeletedApp { id, deleted_at }).await?;
        if !self.desk.store.is_sqlite() {
            purge_within(&mut change, id).await?;
        }
        let event = Event::new("app.delete", AuditObject::App(id)).in_app(id);
        change.record(event.before(before)).await?;
        let published = self.desk.publish(change, id, Part::App).await;
        self.purge.ring();
        published
    }
}

/// Stores a new app with its audit row.
pub(crate) async fn insert_app(change: &mut Change, slug: AppSlug, name: AppName) -> Result<App, ServiceError> {
    let app = App {
        id: AppId::generate(change.at),
        slug,
        name,
        redacted_headers: RedactedHeaders::default(),
        record_bodies: true,
        hsts_max_age_s: None,
        created_at: change.at,
        updated_at: change.at,
    };
    apps::insert(change, &app).await?;
    let event = Event::new("app.create", AuditObject::App(app.id)).in_app(app.id);
    change.record(event.after(audited(&app))).await?;
    Ok(app)
}
