//! The instance's settings, and the limits that hold on it.

use picloud_shared::script::{ExecuteAccess, LimitPolicy};
use serde_json::json;

use crate::repo::audit::AuditObject;
use crate::repo::settings::{self, Settings};
use crate::service::authorize::{Actor, Capability};
use crate::service::change::{Desk, Event};
use crate::service::error::ServiceError;
use crate::service::revision::{Precondition, Revision};

pub(crate) struct SettingsService {
    desk: Desk,
    limits: LimitPolicy,
}

/// What is to change of the settings; absent is unchanged.
pub(crate) struct SettingsPatch {
    pub execute_access: Option<ExecuteAccess>,
}

pub(crate) fn revision(settings: &Settings) -> Revision {
    Revision::of(settings)
}

impl SettingsService {
    pub(crate) fn new(desk: Desk, limits: LimitPolicy) -> Self {
        Self { desk, limits }
    }

    /// What scripts get that ask for nothing, and the most that they may ask for. Everybody who writes scripts may know.
    pub(crate) fn limits(&self) -> &LimitPolicy {
        &self.limits
    }

    pub(crate) async fn get(&self, actor: &Actor) -> Result<Settings, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        Ok(settings::find(&mut self.desk.store.read().await?).await?)
    }

    pub(crate) async fn update(
        &self,
        actor: &Actor,
        patch: SettingsPatch,
        precondition: &Precondition,
    ) -> Result<Settings, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageSettings)?;
        let old = settings::find(&mut change).await?;
        precondition.check(&revision(&old))?;
        let new = Settings { execute_access: patch.execute_access.unwrap_or(old.execute_access) };
        if new == old {
            return Ok(old);
        }
        settings::set(&mut change, &new).await?;
        let event = Event::new("settings.update", AuditObject::Instance);
        change.record(event.before(json!(old)).after(json!(new)));
        change.commit().await?;
        Ok(new)
    }
}
