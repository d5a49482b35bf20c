//! Triggers: which events run which of an app's endpoints.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, ScriptId, TriggerId};
use picloud_shared::script::{Sandbox, ScriptKind};
use picloud_shared::trigger::Trigger;
use serde_json::{Value, json};

use crate::repo::RepoError;
use crate::repo::audit::AuditObject;
use crate::repo::config::Part;
use crate::repo::scripts;
use crate::repo::triggers::{self, StoredTrigger};
use crate::service::app_limit::admit_trigger;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};
use crate::service::revision::{Precondition, Revision};
use crate::service::script_check::Checker;
use crate::store::Conn;

pub(crate) struct TriggerService {
    desk: Desk,
    checker: Checker,
}

pub(crate) fn revision(trigger: &Trigger) -> Revision {
    Revision::of(&(trigger.id, audited(trigger)))
}

fn audited(trigger: &Trigger) -> Value {
    let Trigger { script_id, source, enabled, max_attempts, backoff, timeout, .. } = trigger;
    json!({
        "script_id": script_id, "source": source.source(), "config": triggers::config(source), "enabled": enabled,
        "max_attempts": max_attempts.get(), "timeout_ms": timeout.map(millis),
        "backoff": { "base_ms": millis(backoff.base()), "cap_ms": millis(backoff.cap()) },
    })
}

/// Whole milliseconds of a span.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The triggers that run the script.
pub(crate) async fn triggers_of(conn: &mut Conn, script: ScriptId) -> Result<Vec<StoredTrigger>, ServiceError> {
    Ok(readable("trigger", triggers::list_of_script(conn, script, u32::MAX, None).await?))
}

async fn find(conn: &mut Conn, app: AppId, id: TriggerId) -> Result<StoredTrigger, ServiceError> {
    triggers::find(conn, app, id).await?.ok_or(ServiceError::NotFound("trigger"))
}

/// Makes a trigger of which is known that it may be.
pub(crate) async fn insert(change: &mut Change, app: AppId, trigger: Trigger) -> Result<StoredTrigger, ServiceError> {
    let stored = StoredTrigger { app_id: app, trigger, created_at: change.at, updated_at: change.at };
    triggers::insert(change, &stored).await?;
    let event = Event::new("trigger.create", AuditObject::Trigger(stored.trigger.id)).in_app(app);
    change.record(event.after(audited(&stored.trigger)));
    Ok(stored)
}

/// Makes a trigger another one, of which is known that it may be.
pub(crate) async fn store(
    change: &mut Change,
    old: &StoredTrigger,
    trigger: Trigger,
) -> Result<StoredTrigger, ServiceError> {
    let stored = StoredTrigger { trigger, updated_at: change.at, ..old.clone() };
    triggers::update(change, &stored).await?;
    let event = Event::new("trigger.update", AuditObject::Trigger(old.trigger.id)).in_app(old.app_id);
    change.record(event.before(audited(&old.trigger)).after(audited(&stored.trigger)));
    Ok(stored)
}

/// Removes a trigger, of which that is told, if it can be read.
pub(crate) async fn remove(
    change: &mut Change,
    app: AppId,
    id: TriggerId,
    before: Option<&Trigger>,
) -> Result<(), ServiceError> {
    triggers::delete(change, app, id).await?;
    let before = before.map_or_else(|| json!({ "unreadable": true }), audited);
    change.record(Event::new("trigger.delete", AuditObject::Trigger(id)).in_app(app).before(before));
    Ok(())
}

impl TriggerService {
    pub(crate) fn new(desk: Desk, checker: Checker) -> Self {
        Self { desk, checker }
    }

    /// What the clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<TriggerId>,
    ) -> Result<Page<StoredTrigger, TriggerId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::AppRead)?;
        let found = triggers::list_of_app(&mut conn, access.app.id, size.plus_one(), after).await?;
        Ok(Page::of_rows("trigger", found, size, |stored| stored.trigger.id.as_uuid(), TriggerId::from_uuid))
    }

    pub(crate) async fn get(&self, actor: &Actor, app: &AppRef, id: TriggerId) -> Result<StoredTrigger, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::AppRead)?;
        find(&mut conn, access.app.id, id).await
    }

    /// Makes a trigger; what it is to be is told but for its id.
    pub(crate) async fn create(
        &self,
        actor: &Actor,
        app: &AppRef,
        trigger: impl FnOnce(TriggerId) -> Trigger,
    ) -> Result<StoredTrigger, ServiceError> {
        let (mut change, app) = self.begin(actor, app).await?;
        let trigger = trigger(TriggerId::generate(change.at));
        self.refuse_invalid(&mut change, app, &trigger).await?;
        admit_trigger(&mut change, app).await?;
        let stored = insert(&mut change, app, trigger).await?;
        self.desk.publish(change, app, Part::Trigger(stored.trigger.id)).await?;
        Ok(stored)
    }

    /// Changes a trigger. `patch` makes the new one out of the old one, for a change may name a part of it.
    pub(crate) async fn update(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: TriggerId,
        patch: impl FnOnce(&Trigger) -> Result<Trigger, ServiceError>,
        precondition: &Precondition,
    ) -> Result<StoredTrigger, ServiceError> {
        let (mut change, app) = self.begin(actor, app).await?;
        let old = find(&mut change, app, id).await?;
        precondition.check(&revision(&old.trigger))?;
        let trigger = patch(&old.trigger)?;
        if trigger == old.trigger {
            return Ok(old);
        }
        self.refuse_invalid(&mut change, app, &trigger).await?;
        let stored = store(&mut change, &old, trigger).await?;
        self.desk.publish(change, app, Part::Trigger(id)).await?;
        Ok(stored)
    }

    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: TriggerId,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, app) = self.begin(actor, app).await?;
        let before = match triggers::find(&mut change, app, id).await {
            Err(RepoError::Corrupt { .. }) => {
                precondition.check_unreadable()?;
                None
            }
            found => {
                let trigger = found?.ok_or(ServiceError::NotFound("trigger"))?.trigger;
                precondition.check(&revision(&trigger))?;
                Some(trigger)
            }
        };
        remove(&mut change, app, id, before.as_ref()).await?;
        self.desk.publish(change, app, Part::Trigger(id)).await
    }

    async fn begin(&self, actor: &Actor, app: &AppRef) -> Result<(Change, AppId), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::TriggerWrite)?;
        Ok((change, access.app.id))
    }

    /// Refuses a trigger that could not run, or beside which there is one already.
    async fn refuse_invalid(&self, conn: &mut Conn, app: AppId, trigger: &Trigger) -> Result<(), ServiceError> {
        let script = scripts::find_meta(conn, trigger.script_id).await?;
        match script.filter(|script| script.app_id == app) {
            None => return Err(ServiceError::invalid("script_id", "the app has no such script")),
            Some(script) if script.kind == ScriptKind::Module => return Err(ServiceError::ModuleNotTriggerable),
            Some(_) => {}
        }
        self.checker.limits(&Sandbox::default(), trigger.timeout.map(millis))?;
        match triggers::find_rival(conn, app, &trigger.source).await? {
            Some(Ok(other)) if other.trigger.id == trigger.id => Ok(()),
            Some(other) => Err(ServiceError::TriggerExists { other: other.ok().map(Box::new) }),
            None => Ok(()),
        }
    }
}
