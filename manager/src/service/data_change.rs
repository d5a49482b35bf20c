//! What people's changes of the apps' data have in common. They are not in the control data's own unit of work.

use picloud_shared::id::AppId;
use tracing::warn;

use crate::repo::apps::App;
use crate::repo::data_audit::Outbound;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Author, Desk, Event, as_of_now};
use crate::service::error::ServiceError;

impl Desk {
    /// The app, for who may read so much of it.
    pub(crate) async fn access(&self, actor: &Actor, app: &AppRef, needed: Capability) -> Result<AppId, ServiceError> {
        Ok(self.access_to_app(actor, app, needed).await?.id)
    }

    /// The same, with what else there is to know of the app.
    pub(crate) async fn access_to_app(
        &self,
        actor: &Actor,
        app: &AppRef,
        needed: Capability,
    ) -> Result<App, ServiceError> {
        let access = actor.access(&mut self.store.read().await?, app).await?;
        access.require(needed)?;
        Ok(access.app)
    }

    /// The same for a change: who makes it is looked at as they are now, and the node must have the store's key, by which the
    /// audit log is told.
    pub(crate) async fn access_to_change(
        &self,
        actor: &Actor,
        app: &AppRef,
        needed: Capability,
    ) -> Result<(AppId, Actor), ServiceError> {
        let mut conn = self.store.read().await?;
        let actor = as_of_now(&mut conn, actor, self.clock.now()).await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(needed)?;
        self.chain.require_key(&mut conn).await?;
        Ok((access.app.id, actor))
    }

    /// The row of the audit log that is kept beside the data, of what that author did now.
    pub(crate) fn outbound_of(&self, author: &Author, event: Event) -> Outbound {
        self.audited.outbound(&author.entry(event, self.clock.now()))
    }

    /// Carries rows to the audit log that changes of data left beside it. What fails is done by housekeeping.
    pub(crate) async fn tell_of_data(&self) {
        if let Err(error) = self.carry_data_audit().await {
            warn!(error = &error as &dyn std::error::Error, "the audit log hears of a change of data later");
        }
    }
}
