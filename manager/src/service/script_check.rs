//! Whether a source may be saved: it compiles, what it imports is there, and everything that imports it still compiles.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use picloud_executor::{CheckError, Executor, ModuleSources, SourceError};
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{LimitPolicy, Limits, Sandbox, ScriptKind};

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
    pub(crate) async fn load(conn: &mut Conn, app_id: AppId) -> Result<Self, ServiceError> {
        let scripts = readable("script", scripts::list_with_sources(conn, app_id).await?);
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

    /// What a script of that id is checked against, once the draft is saved.
    fn others(&self, draft: &Script, checked: ScriptId) -> ModuleSources {
        let saved = self.scripts.iter().filter(|script| script.meta.id != draft.meta.id).chain([draft]);
        let others = saved.filter(|script| script.meta.id != checked);
        others.map(|script| (script.meta.name.clone(), (script.meta.kind, script.source.clone()))).collect()
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
        let imports = self.check_one(family, draft, draft, limits).await.map_err(|error| refused(error, None))?;
        if draft.meta.kind == ScriptKind::Module {
            for importer in family.reached_by(&draft.meta.name) {
                if importer.meta.id != draft.meta.id {
                    self.check_importer(family, draft, importer).await?;
                }
            }
        }
        Ok(imports)
    }

    async fn check_importer(&self, family: &Family, draft: &Script, importer: &Script) -> Result<(), ServiceError> {
        // A ceiling that was lowered since must not keep the module from being changed.
        let limits = self.limits.resolve(&importer.meta.sandbox, importer.meta.timeout_ms);
        let limits = limits.unwrap_or(self.limits.ceilings);
        let checked = self.check_one(family, draft, importer, limits).await;
        checked.map(drop).map_err(|error| refused(error, Some(importer.meta.name.clone())))
    }

    async fn check_one(
        &self,
        family: &Family,
        draft: &Script,
        checked: &Script,
        limits: Limits,
    ) -> Result<Vec<ScriptName>, CheckError> {
        let others = Arc::new(family.others(draft, checked.meta.id));
        let (name, kind, source) = (checked.meta.name.clone(), checked.meta.kind, checked.source.clone());
        Ok(self.executor.check(family.app_id, name, kind, source, limits, others).await?.imports)
    }
}

fn refused(error: CheckError, importer: Option<ScriptName>) -> ServiceError {
    match error {
        CheckError::Busy => ServiceError::CheckingBusy,
        CheckError::Source(error) => ServiceError::InvalidSource(SourceProblem { error, importer }),
    }
}
