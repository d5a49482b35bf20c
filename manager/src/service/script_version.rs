//! The kept versions of a script's source: looking at them, and going back to one.

use picloud_shared::id::ScriptId;
use picloud_shared::script::ScriptSource;

use crate::repo::scripts::{self, Script, VersionMeta};
use crate::service::authorize::{Actor, Capability};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::Precondition;
use crate::service::script::{ScriptPatch, ScriptService, find_meta};

impl ScriptService {
    pub(crate) async fn versions(
        &self,
        actor: &Actor,
        id: ScriptId,
        size: PageSize,
        before: Option<u32>,
    ) -> Result<Page<VersionMeta, u32>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let (_, access) = find_meta(&mut conn, actor, id).await?;
        access.require(Capability::ScriptRead)?;
        let found = scripts::list_versions(&mut conn, id, size.plus_one(), before).await?;
        Ok(Page::cut(found, size, |version| version.version))
    }

    pub(crate) async fn version(
        &self,
        actor: &Actor,
        id: ScriptId,
        version: u32,
    ) -> Result<(VersionMeta, ScriptSource), ServiceError> {
        self.find_version(actor, id, version, Capability::ScriptRead).await
    }

    async fn find_version(
        &self,
        actor: &Actor,
        id: ScriptId,
        version: u32,
        needed: Capability,
    ) -> Result<(VersionMeta, ScriptSource), ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let (_, access) = find_meta(&mut conn, actor, id).await?;
        access.require(needed)?;
        scripts::find_version(&mut conn, id, version).await?.ok_or(ServiceError::NotFound("version"))
    }

    /// Saves an old source as the newest version, if the app's other scripts still allow it.
    pub(crate) async fn restore(
        &self,
        actor: &Actor,
        id: ScriptId,
        version: u32,
        precondition: &Precondition,
    ) -> Result<Script, ServiceError> {
        let (_, source) = self.find_version(actor, id, version, Capability::ScriptWrite).await?;
        let patch = ScriptPatch { source: Some(source), ..ScriptPatch::default() };
        self.update(actor, id, &patch, precondition).await
    }
}
