//! The settings of an app, which its scripts read by name.

use picloud_shared::env::EnvValue;
use picloud_shared::id::AppId;
use picloud_shared::name::SettingName;
use serde_json::{Value, json};

use crate::repo::audit::AuditObject;
use crate::repo::config::Part;
use crate::repo::env::{self, EnvSetting};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};

/// Settings that an app may have: with the longest values 1.6 MiB, which stand in memory.
pub(crate) const MOST: u64 = 200;

pub(crate) struct EnvService {
    desk: Desk,
}

pub(crate) fn revision(setting: &EnvSetting) -> Revision {
    Revision::of(&(&setting.name, &setting.value))
}

/// What the audit log tells of a setting. Not its value, which is the app's.
fn audited(setting: &EnvSetting) -> Value {
    json!({ "name": setting.name, "bytes": setting.value.as_str().len() })
}

/// Sets one, in the place of `before`.
pub(crate) async fn store(
    change: &mut Change,
    app: AppId,
    before: Option<&EnvSetting>,
    name: SettingName,
    value: EnvValue,
) -> Result<EnvSetting, ServiceError> {
    let setting = EnvSetting { name, value, updated_at: change.at };
    env::set(change, app, &setting).await?;
    let mut event = Event::new("env.set", AuditObject::Env).in_app(app);
    if let Some(before) = before {
        event = event.before(audited(before));
    }
    change.record(event.after(audited(&setting)));
    Ok(setting)
}

/// Removes one.
pub(crate) async fn remove(change: &mut Change, app: AppId, before: &EnvSetting) -> Result<(), ServiceError> {
    env::delete(change, app, &before.name).await?;
    change.record(Event::new("env.delete", AuditObject::Env).in_app(app).before(audited(before)));
    Ok(())
}

impl EnvService {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk }
    }

    /// A page of an app's settings by name; a cursor is a name.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<String>,
    ) -> Result<Page<EnvSetting, String>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::DataRead)?;
        Ok(Page::of_named(
            "setting",
            env::list(&mut conn, access.app.id, size.plus_one(), after.as_deref()).await?,
            size,
        ))
    }

    pub(crate) async fn get(
        &self,
        actor: &Actor,
        app: &AppRef,
        name: &SettingName,
    ) -> Result<EnvSetting, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::DataRead)?;
        env::find(&mut conn, access.app.id, name).await?.ok_or(ServiceError::NotFound("setting"))
    }

    /// Sets one, whether it is there or not.
    pub(crate) async fn set(
        &self,
        actor: &Actor,
        app: &AppRef,
        name: SettingName,
        value: EnvValue,
        precondition: &Precondition,
    ) -> Result<EnvSetting, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::DataWrite)?;
        let app = access.app.id;
        let before = env::find(&mut change, app, &name).await?;
        match &before {
            Some(before) => precondition.check_by(|| revision(before))?,
            None => {
                precondition.check_absent()?;
                if env::count(&mut change, app).await? >= MOST {
                    return Err(ServiceError::QuotaExceeded { limit: "env", most: MOST });
                }
            }
        }
        let setting = store(&mut change, app, before.as_ref(), name, value).await?;
        self.desk.publish(change, app, Part::Env).await?;
        Ok(setting)
    }

    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        app: &AppRef,
        name: &SettingName,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::DataWrite)?;
        let app = access.app.id;
        let before = env::find(&mut change, app, name).await?.ok_or(ServiceError::NotFound("setting"))?;
        precondition.check_by(|| revision(&before))?;
        remove(&mut change, app, &before).await?;
        self.desk.publish(change, app, Part::Env).await
    }
}
