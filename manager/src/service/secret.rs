//! The secrets of an app: set and never given out again, but to its scripts.

use picloud_shared::name::SettingName;
use picloud_shared::secret::SecretValue;
use serde_json::{Value, json};

use crate::app_secrets::AppSecrets;
use crate::repo::audit::AuditObject;
use crate::repo::config::Part;
use crate::repo::secrets::{self, SecretMeta};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};

/// Secrets that an app may have: with the longest values 1.6 MiB, which stand in memory.
pub(crate) const MOST: u64 = 200;

pub(crate) struct SecretService {
    desk: Desk,
    secrets: AppSecrets,
}

/// Of what was drawn when the secret was set. Were it of the value, whoever may read it could try guesses.
pub(crate) fn revision(secret: &SecretMeta) -> Revision {
    Revision::of(&(&secret.name, secret.revision))
}

/// What the audit log tells of a secret: not even how long it is.
fn audited(secret: &SecretMeta) -> Value {
    json!({ "name": secret.name })
}

impl SecretService {
    pub(crate) fn new(desk: Desk, secrets: AppSecrets) -> Self {
        Self { desk, secrets }
    }

    /// A page of an app's secrets by name; a cursor is a name.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<String>,
    ) -> Result<Page<SecretMeta, String>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::DataRead)?;
        let found = secrets::list(&mut conn, access.app.id, size.plus_one(), after.as_deref()).await?;
        Ok(Page::of_named("secret", found, size))
    }

    pub(crate) async fn get(
        &self,
        actor: &Actor,
        app: &AppRef,
        name: &SettingName,
    ) -> Result<SecretMeta, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::DataRead)?;
        secrets::find(&mut conn, access.app.id, name).await?.ok_or(ServiceError::NotFound("secret"))
    }

    /// Sets one, whether it is there or not.
    pub(crate) async fn set(
        &self,
        actor: &Actor,
        app: &AppRef,
        name: SettingName,
        value: SecretValue,
        precondition: &Precondition,
    ) -> Result<SecretMeta, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::AppManageSecrets)?;
        let app = access.app.id;
        let before = secrets::find(&mut change, app, &name).await?;
        let mut event = Event::new("secret.set", AuditObject::Secret).in_app(app);
        match &before {
            Some(before) => {
                precondition.check_by(|| revision(before))?;
                event = event.before(audited(before));
            }
            None => {
                precondition.check_absent()?;
                if secrets::count(&mut change, app).await? >= MOST {
                    return Err(ServiceError::QuotaExceeded { limit: "secrets", most: MOST });
                }
            }
        }
        let sealed = self.secrets.seal(app, &name, &value);
        let created_at = before.map_or(change.at, |before| before.created_at);
        let secret = SecretMeta { name, revision: rand::random(), created_at, updated_at: change.at };
        secrets::set(&mut change, app, &secret, &sealed).await?;
        change.record(event.after(audited(&secret)));
        self.desk.publish(change, app, Part::Secrets).await?;
        Ok(secret)
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
        access.require(Capability::AppManageSecrets)?;
        let app = access.app.id;
        let before = secrets::find(&mut change, app, name).await?.ok_or(ServiceError::NotFound("secret"))?;
        precondition.check_by(|| revision(&before))?;
        secrets::delete(&mut change, app, name).await?;
        change.record(Event::new("secret.delete", AuditObject::Secret).in_app(app).before(audited(&before)));
        self.desk.publish(change, app, Part::Secrets).await
    }
}
