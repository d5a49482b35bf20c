//! Apps: who sees which, and how one begins, is renamed and ends.

use picloud_shared::app::HstsMaxAge;
use picloud_shared::clock::Timestamp;
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
use crate::service::app_limit::admit_former_slug;
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};
use crate::store::Conn;

pub(crate) struct AppService {
    desk: Desk,
    purge: Purge,
}

/// What a slug would be to an app that wants it.
pub(crate) enum SlugState {
    Available,
    Taken,
    Historical(Former),
}

/// A slug that leads to another app, which had it before.
#[derive(Debug)]
pub(crate) struct Former {
    /// That app, for whoever may see it.
    pub app: Option<App>,
    /// Whether the caller may take the slug from it, which takes what changing its slug takes.
    pub may_take_over: bool,
}

/// What a new app begins with.
pub(crate) struct NewApp {
    pub slug: AppSlug,
    pub name: AppName,
    /// Whether a former slug of another app may be taken, which ends its redirect.
    pub takeover: bool,
}

/// What is to change of an app; absent is unchanged.
#[derive(Default)]
pub(crate) struct AppPatch {
    pub slug: Option<AppSlug>,
    /// Whether the new slug may be a former one of another app, whose redirect ends then.
    pub takeover: bool,
    pub name: Option<AppName>,
    pub redacted_headers: Option<RedactedHeaders>,
    pub record_bodies: Option<bool>,
    pub hsts_max_age_s: Option<HstsMaxAge>,
}

impl AppPatch {
    pub(crate) fn apply(&self, app: &App) -> App {
        let mut new = app.clone();
        fn set<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut new.slug, &self.slug);
        set(&mut new.name, &self.name);
        set(&mut new.redacted_headers, &self.redacted_headers);
        set(&mut new.record_bodies, &self.record_bodies);
        new.hsts_max_age_s = self.hsts_max_age_s.or(app.hsts_max_age_s);
        new
    }
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

    /// Whether a new app could have the slug or, given one, that app.
    pub(crate) async fn check_slug(
        &self,
        actor: &Actor,
        slug: &AppSlug,
        app: Option<&AppRef>,
    ) -> Result<SlugState, ServiceError> {
        let mut read = self.desk.store.begin_read().await?;
        let own = match app {
            None => {
                actor.require(Capability::AppCreate)?;
                None
            }
            Some(app) => {
                let access = match actor.access(&mut read, app).await {
                    // A body names it, so that no address could lead on.
                    Err(ServiceError::Moved { to }) => actor.access(&mut read, &AppRef::Slug(to)).await?,
                    access => access?,
                };
                access.require(Capability::AppManageSettings)?;
                Some(access.app.id)
            }
        };
        if let Some(app) = apps::find_by_slug(&mut read, slug).await? {
            return Ok(if own == Some(app.id) { SlugState::Available } else { SlugState::Taken });
        }
        match apps::find_by_historical_slug(&mut read, slug).await?.filter(|app| own != Some(app.id)) {
            None => Ok(SlugState::Available),
            Some(app) => Ok(SlugState::Historical(former(actor, &mut read, app).await?)),
        }
    }

    pub(crate) async fn create(&self, actor: &Actor, new: NewApp) -> Result<Access, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::AppCreate)?;
        let id = AppId::generate(change.at);
        let access = found(&mut change, &actor, new, id).await?;
        self.desk.publish(change, id, Part::App).await?;
        Ok(access)
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
        let id = old.id;
        access.app = patch.apply(&old);
        if access.app == old {
            return Ok(access);
        }
        access.app.updated_at = change.at;
        let is_renamed = access.app.slug != old.slug;
        if is_renamed {
            free_slug(&actor, &mut change, &access.app.slug, Some(id), patch.takeover).await?;
        }
        store(&mut change, &old, &access.app).await?;
        if is_renamed {
            admit_former_slug(&mut change, id).await?;
            apps::insert_historical_slug(&mut change, &old.slug, id).await?;
        }
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
        change.record(event.before(before));
        let published = self.desk.publish(change, id, Part::App).await;
        self.purge.ring();
        published
    }
}

/// What the caller knows, and may do, of a slug that leads to that app.
async fn former(actor: &Actor, conn: &mut Conn, app: App) -> Result<Former, ServiceError> {
    let access = actor.access_to(conn, app).await?;
    let may_take_over = access.as_ref().is_some_and(|access| access.allows(Capability::AppManageSettings));
    Ok(Former { app: access.map(|access| access.app), may_take_over })
}

/// Makes a slug free of what leads by it to where it was before. What leads to another app than `own` stays, and the slug is
/// refused, unless it is to be taken over by somebody who may change that app's slug: whoever still calls it by this one would
/// otherwise be led, with all that they send, to an app of somebody else's choice.
async fn free_slug(
    actor: &Actor,
    change: &mut Change,
    slug: &AppSlug,
    own: Option<AppId>,
    takeover: bool,
) -> Result<(), ServiceError> {
    let Some(app) = apps::find_by_historical_slug(change, slug).await? else {
        return Ok(());
    };
    let loser = app.id;
    if own != Some(loser) {
        let former = former(actor, change, app).await?;
        if !(takeover && former.may_take_over) {
            return Err(ServiceError::SlugHistorical(Box::new(former)));
        }
        let lost = Event::new("app.slug_taken_over", AuditObject::App(loser)).in_app(loser);
        change.record(lost.before(json!({ "former_slug": slug })));
    }
    apps::delete_historical_slug(change, slug).await?;
    Ok(())
}

/// Makes an app of that id, whose app_admin is whoever makes it.
pub(crate) async fn found(change: &mut Change, actor: &Actor, new: NewApp, id: AppId) -> Result<Access, ServiceError> {
    let at = change.at;
    free_slug(actor, change, &new.slug, None, new.takeover).await?;
    insert_app(change, &blank(id, new.slug, new.name, at)).await?;
    let member = Member { app_id: id, user_id: actor.user.id, role: AppRole::AppAdmin, joined_at: at };
    members::insert(change, &member).await?;
    actor.access(change, &AppRef::Id(id)).await
}

/// An app with everything optional left out.
pub(crate) fn blank(id: AppId, slug: AppSlug, name: AppName, at: Timestamp) -> App {
    let redacted_headers = RedactedHeaders::default();
    let (record_bodies, hsts_max_age_s) = (true, None);
    App { id, slug, name, redacted_headers, record_bodies, hsts_max_age_s, created_at: at, updated_at: at }
}

/// Stores a new app with its audit row.
pub(crate) async fn insert_app(change: &mut Change, app: &App) -> Result<(), ServiceError> {
    apps::insert(change, app).await?;
    let event = Event::new("app.create", AuditObject::App(app.id)).in_app(app.id);
    change.record(event.after(audited(app)));
    Ok(())
}

/// Stores what changed of an app with its audit row.
pub(crate) async fn store(change: &mut Change, old: &App, new: &App) -> Result<(), ServiceError> {
    apps::update(change, new).await?;
    let event = Event::new("app.update", AuditObject::App(new.id)).in_app(new.id);
    change.record(event.before(audited(old)).after(audited(new)));
    Ok(())
}
