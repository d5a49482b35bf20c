//! Scripts: saving, changing and deleting them, by the rules of what depends on what.

mod written;

use std::sync::Arc;

use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind, ScriptSource};
use picloud_shared::snapshot::SnapshotCell;
use serde_json::json;

use crate::repo::RepoError;
use crate::repo::config::Part;
use crate::repo::routes;
use crate::repo::scripts::{self, Script, ScriptMeta};
use crate::repo::settings;
use crate::service::app_limit::{admit_script, admit_source};
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::{Change, Desk};
use crate::service::domain::claims_of;
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize, readable};
use crate::service::revision::{Precondition, Revision};
use crate::service::route_url::UrlStyle;
use crate::service::script_check::{Checker, Family, SourceProblem};
use crate::service::trigger::triggers_of;
use crate::store::Conn;
use written::{audited, delete_script};
pub(crate) use written::{blank_meta, forget_all, insert_script, store};

/// How often a change is checked anew because others changed what it depends on meanwhile.
const ATTEMPTS: u32 = 8;

pub(crate) struct ScriptService {
    pub(super) desk: Desk,
    checker: Checker,
    urls: UrlStyle,
    snapshot: Arc<SnapshotCell>,
}

/// A script to be made.
pub(crate) struct NewScript {
    pub app_id: AppId,
    pub name: ScriptName,
    pub kind: ScriptKind,
    pub source: ScriptSource,
    pub description: String,
    pub timeout_ms: Option<u64>,
    pub sandbox: Sandbox,
    /// The instance's default, if absent.
    pub execute_access: Option<ExecuteAccess>,
}

/// What is to change of a script; absent is unchanged.
#[derive(Default)]
pub(crate) struct ScriptPatch {
    pub name: Option<ScriptName>,
    pub kind: Option<ScriptKind>,
    pub source: Option<ScriptSource>,
    pub description: Option<String>,
    pub timeout_ms: Option<Option<u64>>,
    pub sandbox: Option<Sandbox>,
    pub execute_access: Option<ExecuteAccess>,
}

/// A source to be checked without saving it.
pub(crate) struct SourceDraft {
    pub app_id: AppId,
    /// A name that the app has stands for that script; without one, nothing imports the draft.
    pub name: Option<ScriptName>,
    pub kind: ScriptKind,
    pub source: ScriptSource,
    pub timeout_ms: Option<u64>,
    pub sandbox: Sandbox,
}

pub(crate) fn revision(meta: &ScriptMeta) -> Revision {
    let ScriptMeta { id, name, kind, description, version, timeout_ms, sandbox, execute_access, .. } = meta;
    Revision::of(&(id, name, kind, description, version, timeout_ms, sandbox, execute_access))
}

/// A script that the caller may see, with the access to its app.
pub(crate) async fn find_meta(
    conn: &mut Conn,
    actor: &Actor,
    id: ScriptId,
) -> Result<(ScriptMeta, Access), ServiceError> {
    let meta = scripts::find_meta(conn, id).await?.ok_or(ServiceError::NotFound("script"))?;
    let access = access_of_script(conn, actor, meta.app_id).await?;
    Ok((meta, access))
}

async fn find_script(conn: &mut Conn, actor: &Actor, id: ScriptId) -> Result<(Script, Access), ServiceError> {
    let script = scripts::find(conn, id).await?.ok_or(ServiceError::NotFound("script"))?;
    let access = access_of_script(conn, actor, script.meta.app_id).await?;
    Ok((script, access))
}

/// The access to a script's app. Whoever may not see the app is told that there is no such script, not why.
async fn access_of_script(conn: &mut Conn, actor: &Actor, app: AppId) -> Result<Access, ServiceError> {
    match actor.access(conn, &AppRef::Id(app)).await {
        Err(ServiceError::NotFound(_)) => Err(ServiceError::NotFound("script")),
        result => result,
    }
}

impl ScriptPatch {
    fn apply(&self, script: &Script) -> Script {
        let Script { mut meta, mut source } = script.clone();
        fn set<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut source, &self.source);
        set(&mut meta.name, &self.name);
        set(&mut meta.kind, &self.kind);
        set(&mut meta.description, &self.description);
        set(&mut meta.timeout_ms, &self.timeout_ms);
        set(&mut meta.sandbox, &self.sandbox);
        set(&mut meta.execute_access, &self.execute_access);
        Script { meta, source }
    }
}

/// Whether the change touches what a check looks at.
pub(crate) fn needs_check(old: &Script, new: &Script) -> bool {
    old.source != new.source
        || old.meta.name != new.meta.name
        || old.meta.kind != new.meta.kind
        || old.meta.sandbox != new.meta.sandbox
        || old.meta.timeout_ms != new.meta.timeout_ms
}

/// A script as it is, and as a patch leaves it.
struct Edit {
    old: Script,
    new: Script,
}

impl Edit {
    async fn load(
        conn: &mut Conn,
        actor: &Actor,
        id: ScriptId,
        patch: &ScriptPatch,
        precondition: &Precondition,
    ) -> Result<Self, ServiceError> {
        let (old, access) = find_script(conn, actor, id).await?;
        access.require(Capability::ScriptWrite)?;
        precondition.check(&revision(&old.meta))?;
        let new = patch.apply(&old);
        Ok(Self { old, new })
    }

    fn changes_nothing(&self) -> bool {
        self.old == self.new
    }

    fn needs_check(&self) -> bool {
        needs_check(&self.old, &self.new)
    }
}

/// A draft that can be saved as long as what it was checked against is as it was.
struct Checked {
    family: Family,
    draft: Script,
}

impl Checked {
    /// Whether the check holds for an edit as it is now, with nobody else at work.
    async fn holds_for(&self, conn: &mut Conn, Edit { old, new }: &Edit) -> Result<bool, ServiceError> {
        let about_module = [old, new].iter().any(|script| script.meta.kind == ScriptKind::Module);
        if needs_check(&self.draft, new) || !self.family.is_current(conn, new.meta.id, about_module).await? {
            return Ok(false);
        }
        refuse_importers(&self.family, old, new)?;
        Ok(true)
    }
}

impl ScriptService {
    pub(crate) fn new(desk: Desk, checker: Checker, urls: UrlStyle, snapshot: Arc<SnapshotCell>) -> Self {
        Self { desk, checker, urls, snapshot }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<ScriptId>,
    ) -> Result<Page<ScriptMeta, ScriptId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::ScriptRead)?;
        let found = scripts::list(&mut conn, access.app.id, size.plus_one(), after).await?;
        Ok(Page::of_rows("script", found, size, |script| script.id.as_uuid(), ScriptId::from_uuid))
    }

    pub(crate) async fn get(&self, actor: &Actor, id: ScriptId) -> Result<Script, ServiceError> {
        let (script, access) = find_script(&mut self.desk.store.read().await?, actor, id).await?;
        access.require(Capability::ScriptRead)?;
        Ok(script)
    }

    /// Checks a source as saving it would, under the name given.
    pub(crate) async fn check(
        &self,
        actor: &Actor,
        draft: SourceDraft,
    ) -> Result<Result<Vec<ScriptName>, SourceProblem>, ServiceError> {
        let family = self.family(actor, draft.app_id).await?;
        let at = self.desk.clock.now();
        let SourceDraft { app_id, name, kind, source, timeout_ms, sandbox } = draft;
        let name = name.unwrap_or_else(|| family.free_name());
        let id = family.by_name(&name).map_or_else(|| ScriptId::generate(at), |script| script.meta.id);
        let meta = ScriptMeta { sandbox, timeout_ms, ..blank_meta(id, app_id, name, kind, at) };
        match self.checker.check(&family, &Script { meta, source }).await {
            Ok(imports) => Ok(Ok(imports)),
            Err(ServiceError::InvalidSource(problem)) => Ok(Err(problem)),
            Err(error) => Err(error),
        }
    }

    async fn family(&self, actor: &Actor, app_id: AppId) -> Result<Family, ServiceError> {
        let mut read = self.desk.store.begin_read().await?;
        actor.access(&mut read, &AppRef::Id(app_id)).await?.require(Capability::ScriptWrite)?;
        Family::load(&mut read, &self.snapshot.load_full(), app_id).await
    }

    pub(crate) async fn create(&self, actor: &Actor, new: NewScript) -> Result<Script, ServiceError> {
        let NewScript { app_id, name, kind, source, description, timeout_ms, sandbox, execute_access } = new;
        let at = self.desk.clock.now();
        let blank = blank_meta(ScriptId::generate(at), app_id, name, kind, at);
        let meta = ScriptMeta { description, timeout_ms, sandbox, ..blank };
        let mut script = Script { meta, source };
        // Checked before the change begins, so that no other change waits for a compilation; again where somebody was
        // quicker meanwhile.
        for _ in 0..ATTEMPTS {
            let family = self.family(actor, app_id).await?;
            self.check_new(&family, &mut script).await?;
            let (mut change, actor) = self.desk.begin(actor).await?;
            actor.access(&mut change, &AppRef::Id(app_id)).await?.require(Capability::ScriptWrite)?;
            if family.is_current(&mut change, script.meta.id, kind == ScriptKind::Module).await? {
                admit_script(&mut change, app_id, &script.source).await?;
                script.meta.execute_access = match execute_access {
                    Some(access) => access,
                    None => settings::find(&mut change).await?.execute_access,
                };
                insert_script(&mut change, &script, Some(&actor)).await?;
                self.desk.publish(change, app_id, Part::Script(script.meta.id)).await?;
                return Ok(script);
            }
        }
        Err(ServiceError::Overtaken)
    }

    async fn check_new(&self, family: &Family, script: &mut Script) -> Result<(), ServiceError> {
        if family.by_name(&script.meta.name).is_some() {
            return Err(ServiceError::ScriptNameTaken);
        }
        script.meta.imports = self.checker.check(family, script).await?;
        Ok(())
    }

    pub(crate) async fn update(
        &self,
        actor: &Actor,
        id: ScriptId,
        patch: &ScriptPatch,
        precondition: &Precondition,
    ) -> Result<Script, ServiceError> {
        for _ in 0..ATTEMPTS {
            let mut read = self.desk.store.begin_read().await?;
            let edit = Edit::load(&mut read, actor, id, patch, precondition).await?;
            if edit.changes_nothing() {
                return Ok(edit.old);
            }
            let family = match edit.needs_check() {
                true => Some(Family::load(&mut read, &self.snapshot.load_full(), edit.old.meta.app_id).await?),
                false => None,
            };
            // Whoever held a connection while waiting for another would, ten at a time, keep all from going on.
            drop(read);
            let checked = match family {
                Some(family) => Some(self.check_edit(family, edit).await?),
                None => None,
            };
            let (mut change, actor) = self.desk.begin(actor).await?;
            let mut edit = Edit::load(&mut change, &actor, id, patch, precondition).await?;
            if edit.changes_nothing() {
                return Ok(edit.old);
            }
            if edit.needs_check() {
                match checked {
                    Some(checked) if checked.holds_for(&mut change, &edit).await? => {
                        edit.new.meta.imports = checked.draft.meta.imports;
                    }
                    _ => continue,
                }
            }
            return self.store(&actor, change, &edit.old, edit.new).await;
        }
        Err(ServiceError::Overtaken)
    }

    async fn check_edit(&self, family: Family, Edit { old, mut new }: Edit) -> Result<Checked, ServiceError> {
        refuse_importers(&family, &old, &new)?;
        if family.by_name(&new.meta.name).is_some_and(|other| other.meta.id != new.meta.id) {
            return Err(ServiceError::ScriptNameTaken);
        }
        new.meta.imports = self.checker.check(&family, &new).await?;
        Ok(Checked { family, draft: new })
    }

    async fn store(
        &self,
        actor: &Actor,
        mut change: Change,
        old: &Script,
        new: Script,
    ) -> Result<Script, ServiceError> {
        let (id, app_id) = (new.meta.id, new.meta.app_id);
        if old.meta.kind == ScriptKind::Endpoint && new.meta.kind == ScriptKind::Module {
            self.refuse_callers(&mut change, &old.meta).await?;
        }
        admit_source(&mut change, app_id, &old.source, &new.source).await?;
        let new = store(&mut change, actor, old, new).await?;
        self.desk.publish(change, app_id, Part::Script(id)).await?;
        Ok(new)
    }

    /// Refuses to make a module of what requests or events are to run.
    async fn refuse_callers(&self, conn: &mut Conn, meta: &ScriptMeta) -> Result<(), ServiceError> {
        let found = readable("route", routes::list_of_script(conn, meta.id, u32::MAX, None).await?);
        let triggers = triggers_of(conn, meta.id).await?;
        if found.is_empty() && triggers.is_empty() {
            return Ok(());
        }
        let claims = claims_of(conn, meta.app_id).await?;
        let routes = found.into_iter().map(|stored| self.urls.locate(stored, &claims)).collect();
        Err(ServiceError::ScriptInUse { routes, triggers, importers: Vec::new() })
    }

    /// Deletes a script: an endpoint with its routes and triggers, a module only when nothing imports it.
    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        id: ScriptId,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let app_id = scripts::find_app(&mut change, id).await?.ok_or(ServiceError::NotFound("script"))?;
        access_of_script(&mut change, &actor, app_id).await?.require(Capability::ScriptWrite)?;
        let before = match scripts::find_meta(&mut change, id).await {
            // What cannot be read is not published either, so that nothing that works depends on it.
            Err(error @ RepoError::Corrupt { .. }) => {
                precondition.check_unreadable()?;
                json!({ "unreadable": error.to_string() })
            }
            found => {
                let meta = found?.ok_or(ServiceError::NotFound("script"))?;
                precondition.check(&revision(&meta))?;
                refuse_imported(&mut change, &meta).await?;
                audited(&meta)
            }
        };
        delete_script(&mut change, app_id, id, before).await?;
        self.desk.publish(change, app_id, Part::Script(id)).await
    }
}

fn in_use_by(importers: Vec<ScriptMeta>) -> ServiceError {
    ServiceError::ScriptInUse { routes: Vec::new(), triggers: Vec::new(), importers }
}

async fn refuse_imported(conn: &mut Conn, meta: &ScriptMeta) -> Result<(), ServiceError> {
    if meta.kind != ScriptKind::Module {
        return Ok(());
    }
    let mut importers = readable("script", scripts::list(conn, meta.app_id, u32::MAX, None).await?);
    importers.retain(|other| other.imports.contains(&meta.name));
    match importers.is_empty() {
        true => Ok(()),
        false => Err(in_use_by(importers)),
    }
}

/// Imports go by name and reach modules only: a module keeps both while others import it.
fn refuse_importers(family: &Family, old: &Script, new: &Script) -> Result<(), ServiceError> {
    let stays = new.meta.kind == ScriptKind::Module && new.meta.name == old.meta.name;
    let importers = family.importers(&old.meta.name);
    match old.meta.kind == ScriptKind::Module && !stays && !importers.is_empty() {
        true => Err(in_use_by(importers)),
        false => Ok(()),
    }
}
