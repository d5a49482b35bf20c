//! Whether a source may be saved: it compiles, what it imports is there, and everything that imports it still compiles.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use picloud_executor::{CheckError, Executor, ModuleSources, SourceError};
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{LimitPolicy, Limits, Sandbox, ScriptKind, ScriptSource};
use picloud_shared::snapshot::Snapshot;

use crate::repo::RepoError;
use crate::repo::scripts::{self, Script, ScriptMeta};
use crate::service::error::ServiceError;
use crate::service::page::readable;
use crate::store::Conn;

/// What is wrong with a source, or with one that imports it.
#[derive(Debug, Clone)]
pub(crate) struct SourceProblem {
    pub error: SourceError,
    /// The script that would no longer compile, where it is not the one to be saved.
    pub importer: Option<ScriptName>,
}

/// All scripts of an app at one moment.
pub(crate) struct Family {
    app_id: AppId,
    scripts: Vec<Script>,
}

impl Family {
    /// The app's scripts as they are stored. Their sources are those that the snapshot holds anyway: only what is not
    /// published, or not yet, is read.
    pub(crate) async fn load(conn: &mut Conn, snapshot: &Snapshot, app_id: AppId) -> Result<Self, ServiceError> {
        let metas = readable("script", scripts::list(conn, app_id, u32::MAX, None).await?);
        let mut scripts = Vec::with_capacity(metas.len());
        for meta in metas {
            if let Some(source) = published_source(snapshot, &meta) {
                scripts.push(Script { meta, source });
            } else {
                scripts.extend(stored(conn, meta.id).await?);
            }
        }
        Ok(Self { app_id, scripts })
    }

    /// Whether everything that the check of a script depends on is still as it was: the other modules, and where it is
    /// about a module all others that may import it.
    pub(crate) async fn is_current(
        &self,
        conn: &mut Conn,
        checked: ScriptId,
        about_module: bool,
    ) -> Result<bool, ServiceError> {
        let counts = |meta: &&ScriptMeta| meta.id != checked && (about_module || meta.kind == ScriptKind::Module);
        fn essence(meta: &ScriptMeta) -> (ScriptId, (&ScriptName, ScriptKind, u32, Sandbox)) {
            (meta.id, (&meta.name, meta.kind, meta.version, meta.sandbox))
        }
        let now = readable("script", scripts::list(conn, self.app_id, u32::MAX, None).await?);
        let now: HashMap<_, _> = now.iter().filter(counts).map(essence).collect();
        let then = self.scripts.iter().map(|script| &script.meta).filter(counts).map(essence);
        Ok(now == then.collect())
    }

    pub(crate) fn by_name(&self, name: &ScriptName) -> Option<&Script> {
        self.scripts.iter().find(|script| script.meta.name == *name)
    }

    /// A name that no script of the app has.
    pub(crate) fn free_name(&self) -> ScriptName {
        let names = (0..=self.scripts.len()).map(|n| format!("unsaved-{n}").parse().expect("it is a valid name"));
        let mut free = names.filter(|name| self.by_name(name).is_none());
        free.next().expect("of one more names than there are scripts, one is free")
    }

    /// The scripts that import the module of that name themselves.
    pub(crate) fn importers(&self, module: &ScriptName) -> Vec<ScriptMeta> {
        let imports = |script: &&Script| script.meta.imports.contains(module);
        self.scripts.iter().filter(imports).map(|script| script.meta.clone()).collect()
    }

    /// The scripts that import the module of that name, themselves or through others.
    fn reached_by(&self, module: &ScriptName) -> Vec<&Script> {
        let mut reached: BTreeSet<ScriptId> = BTreeSet::new();
        let mut found = Vec::new();
        let mut open = vec![module];
        while let Some(name) = open.pop() {
            for script in self.scripts.iter().filter(|script| script.meta.imports.contains(name)) {
                if reached.insert(script.meta.id) {
                    found.push(script);
                    open.push(&script.meta.name);
                }
            }
        }
        found
    }

    /// All scripts, once the draft is saved.
    fn with(&self, draft: &Script) -> ModuleSources {
        let saved = self.scripts.iter().filter(|script| script.meta.id != draft.meta.id).chain([draft]);
        saved.map(|script| (script.meta.name.clone(), (script.meta.kind, script.source.clone()))).collect()
    }
}

/// The source of that version, if it is what is published.
fn published_source(snapshot: &Snapshot, meta: &ScriptMeta) -> Option<ScriptSource> {
    let (_, script) = snapshot.script(meta.id)?;
    (script.row.version == meta.version).then(|| script.row.source.clone())
}

/// A script as it is stored; nothing where its source cannot be read, as it is with every row of a list.
async fn stored(conn: &mut Conn, id: ScriptId) -> Result<Option<Script>, ServiceError> {
    match scripts::find(conn, id).await {
        Err(error @ RepoError::Corrupt { .. }) => {
            tracing::warn!(script_id = %id, error = &error as &dyn std::error::Error, "a script is left out of a list");
            Ok(None)
        }
        found => Ok(found?),
    }
}

/// Checks sources by the executor.
#[derive(Clone)]
pub(crate) struct Checker {
    executor: Arc<Executor>,
    limits: LimitPolicy,
}

impl Checker {
    pub(crate) fn new(executor: Arc<Executor>, limits: LimitPolicy) -> Self {
        Self { executor, limits }
    }

    /// The limits of a script, the defaults filled in.
    ///
    /// # Errors
    /// A limit over the operator's ceiling.
    pub(crate) fn limits(&self, sandbox: &Sandbox, timeout_ms: Option<u64>) -> Result<Limits, ServiceError> {
        Ok(self.limits.resolve(sandbox, timeout_ms)?)
    }

    /// Checks a draft as the next state of its script, and then all that import it; the names that it imports.
    pub(crate) async fn check(&self, family: &Family, draft: &Script) -> Result<Vec<ScriptName>, ServiceError> {
        let limits = self.limits(&draft.meta.sandbox, draft.meta.timeout_ms)?;
        // What a script is checked against may hold the script itself: its own name is told apart first.
        let saved = Arc::new(family.with(draft));
        let imports = self.check_one(draft, limits, &saved).await.map_err(|error| refused(error, None))?;
        if draft.meta.kind == ScriptKind::Module {
            for importer in family.reached_by(&draft.meta.name) {
                if importer.meta.id != draft.meta.id {
                    self.check_importer(importer, &saved).await?;
                }
            }
        }
        Ok(imports)
    }

    /// Checks a source as one of those that are saved, and no other; the names that it imports.
    pub(crate) async fn check_alone(
        &self,
        checked: &Script,
        limits: Limits,
        saved: &Arc<ModuleSources>,
    ) -> Result<Vec<ScriptName>, ServiceError> {
        self.check_one(checked, limits, saved).await.map_err(|error| refused(error, None))
    }

    async fn check_importer(&self, importer: &Script, saved: &Arc<ModuleSources>) -> Result<(), ServiceError> {
        // A ceiling that was lowered since must not keep the module from being changed.
        let limits = self.limits.resolve(&importer.meta.sandbox, importer.meta.timeout_ms);
        let limits = limits.unwrap_or(self.limits.ceilings);
        let checked = self.check_one(importer, limits, saved).await;
        checked.map(drop).map_err(|error| refused(error, Some(importer.meta.name.clone())))
    }

    async fn check_one(
        &self,
        checked: &Script,
        limits: Limits,
        saved: &Arc<ModuleSources>,
    ) -> Result<Vec<ScriptName>, CheckError> {
        let Script { meta, source } = checked;
        let (name, source, saved) = (meta.name.clone(), source.clone(), Arc::clone(saved));
        Ok(self.executor.check(meta.app_id, name, meta.kind, source, limits, saved).await?.imports)
    }
}

fn refused(error: CheckError, importer: Option<ScriptName>) -> ServiceError {
    match error {
        CheckError::Busy => ServiceError::CheckingBusy,
        CheckError::Source(error) => ServiceError::InvalidSource(SourceProblem { error, importer }),
    }
}
