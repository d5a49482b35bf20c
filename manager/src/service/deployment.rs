//! Whole apps at once: told as they are, made as they are to be, or made anew from what was told. All of a deployment is live
//! with the next request, or nothing has changed.

mod apply;
pub(crate) mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use picloud_executor::ModuleSources;
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, RouteId, ScriptId, TriggerId};
use picloud_shared::name::{ScriptName, SettingName};
use picloud_shared::routing::Spread;
use picloud_shared::script::{Sandbox, ScriptKind};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::repo::config::{self, Part, Position};
use crate::repo::scripts::Script;
use crate::repo::{domains, env as env_rows, routes, scripts, secrets, settings, triggers};
use crate::service::app::{self, NewApp};
use crate::service::app_limit::AppLimit;
use crate::service::authorize::{Access, Actor, AppRef, Capability};
use crate::service::change::Desk;
use crate::service::domain::DomainService;
use crate::service::env;
use crate::service::error::{InvalidField, ServiceError};
use crate::service::page::readable;
use crate::service::revision::{Precondition, Revision};
use crate::service::route::{self, WantedRoute, is_claimed};
use crate::service::script;
use crate::service::script_check::Checker;
use crate::service::trigger;
use crate::store::Conn;
use apply::apply;
use plan::triggers::are_rivals;
use plan::{SameRoute, State, Step, Unreadable, Wanted, WantedScript, steps};

/// How often a deployment is planned anew because others changed the app meanwhile.
const ATTEMPTS: u32 = 4;
/// Errors that are told of one deployment.
pub(crate) const MOST_ERRORS: usize = 20;
/// Deployments that are under way at once: each holds an app twice, as it is and as it is to be.
const AT_ONCE: usize = 2;

pub(crate) struct DeploymentService {
    desk: Desk,
    checker: Checker,
    places: Semaphore,
}

/// The place of a deployment that is under way.
pub(crate) struct Place<'s>(#[expect(dead_code, reason = "it is given back when dropped")] SemaphorePermit<'s>);

/// What a deployment did, or would do.
pub(crate) struct Deployed {
    pub steps: Vec<Step>,
    pub state: State,
    /// Secrets that the document names and the app does not have, for who may know.
    pub missing_secrets: Vec<SettingName>,
}

pub(crate) fn revision(state: &State) -> Revision {
    let scripts: Vec<_> =
        state.scripts.iter().map(|script| script::revision(&script.meta).as_str().to_owned()).collect();
    let routes: Vec<_> = state.routes.iter().map(|route| route::revision(route).as_str().to_owned()).collect();
    let domains: Vec<_> = state.domains.iter().map(|domain| domain.pattern.to_string()).collect();
    let triggers: Vec<_> =
        state.triggers.iter().map(|stored| trigger::revision(&stored.trigger).as_str().to_owned()).collect();
    let env: Vec<_> = state.env.iter().flatten().map(|setting| env::revision(setting).as_str().to_owned()).collect();
    Revision::of(&(app::revision(&state.app).as_str(), scripts, routes, domains, triggers, env))
}

impl DeploymentService {
    pub(crate) fn new(desk: Desk, checker: Checker) -> Self {
        Self { desk, checker, places: Semaphore::new(AT_ONCE) }
    }

    /// An app with all that it is made of.
    pub(crate) async fn export(&self, actor: &Actor, app: &AppRef) -> Result<State, ServiceError> {
        let mut read = self.desk.store.begin_read().await?;
        let access = actor.access(&mut read, app).await?;
        access.require(Capability::AppRead)?;
        access.require(Capability::ScriptRead)?;
        load(&mut read, &access).await
    }

    /// Whether the caller may deploy the app at all, before what it is to be is read.
    pub(crate) async fn may_deploy(&self, actor: &Actor, app: &AppRef) -> Result<(), ServiceError> {
        require_deploying(&actor.access(&mut self.desk.store.read().await?, app).await?)
    }

    /// Whether the caller may import apps at all.
    pub(crate) fn may_import(&self, actor: &Actor) -> Result<(), ServiceError> {
        actor.require(Capability::AppCreate)
    }

    /// A place among the few, to be taken before a document is parsed.
    ///
    /// # Errors
    /// [`ServiceError::CheckingBusy`].
    pub(crate) fn take_place(&self) -> Result<Place<'_>, ServiceError> {
        self.places.try_acquire().map(Place).map_err(|_| ServiceError::CheckingBusy)
    }

    /// Makes an app what it is to be. A trial does it as well, and takes it back.
    #[expect(clippy::too_many_arguments, reason = "they are what the call says, one by one")]
    pub(crate) async fn deploy(
        &self,
        _place: &Place<'_>,
        actor: &Actor,
        app: &AppRef,
        wanted: &Wanted,
        is_trial: bool,
        precondition: &Precondition,
        domains: &DomainService,
    ) -> Result<Deployed, ServiceError> {
        for _ in 0..ATTEMPTS {
            let mut read = self.desk.store.begin_read().await?;
            let access = actor.access(&mut read, app).await?;
            require_deploying(&access)?;
            require_reading(&access, wanted)?;
            let state = load(&mut read, &access).await?;
            let position = config::position(&mut read).await?;
            drop(read);
            precondition.check(&revision(&state))?;
            let mut steps = self.plan(&state, wanted, self.desk.clock.now())?;
            authorize(&access, &steps)?;
            self.check(&state, wanted, &mut steps).await?;
            let missing_secrets = missing(&state, wanted);
            if steps.is_empty() {
                return Ok(Deployed { steps, state, missing_secrets });
            }
            let (mut change, actor) = self.desk.begin(actor).await?;
            let access = actor.access(&mut change, &AppRef::Id(state.app.id)).await?;
            authorize(&access, &steps)?;
            if !is_current(&mut change, &access, &state, position).await? {
                continue;
            }
            apply(&mut change, &actor, &access, &steps, domains).await?;
            if is_trial {
                return Ok(Deployed { steps, state, missing_secrets });
            }
            let at = change.at;
            self.desk.publish(change, access.app.id, Part::App).await?;
            let state = state.after(&steps, at);
            return Ok(Deployed { steps, state, missing_secrets });
        }
        Err(ServiceError::Overtaken)
    }

    /// Makes a new app out of what another was told to be; the app, and what was done beside making it. A trial takes it back.
    pub(crate) async fn import(
        &self,
        _place: &Place<'_>,
        actor: &Actor,
        new: NewApp,
        wanted: &Wanted,
        is_trial: bool,
        domains: &DomainService,
    ) -> Result<(Access, Vec<Step>), ServiceError> {
        // Checked against an app that is not there yet, so that nobody waits for a compilation.
        let at = self.desk.clock.now();
        let empty = State {
            app: app::blank(AppId::generate(at), new.slug.clone(), new.name.clone(), at),
            domains: Vec::new(),
            scripts: Vec::new(),
            routes: Vec::new(),
            triggers: Vec::new(),
            env: Some(Vec::new()),
            secrets: Some(Vec::new()),
            execute_access: settings::find(&mut self.desk.store.read().await?).await?.execute_access,
            unreadable: Unreadable::default(),
        };
        let mut steps = self.plan(&empty, wanted, at)?;
        self.check(&empty, wanted, &mut steps).await?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::AppCreate)?;
        let access = app::found(&mut change, &actor, new, empty.app.id).await?;
        authorize(&access, &steps)?;
        apply(&mut change, &actor, &access, &steps, domains).await?;
        let access = actor.access(&mut change, &AppRef::Id(empty.app.id)).await?;
        if !is_trial {
            self.desk.publish(change, empty.app.id, Part::App).await?;
        }
        Ok((access, steps))
    }

    /// The steps, once all that can be told without compiling is as it should be.
    fn plan(&self, state: &State, wanted: &Wanted, at: Timestamp) -> Result<Vec<Step>, ServiceError> {
        let mut errors = Errors::default();
        refuse_excess(wanted)?;
        let mut shapes = HashSet::new();
        for (place, pattern) in wanted.domains.iter().flatten().enumerate() {
            if !shapes.insert(pattern.shape_key()) {
                errors.add(format!("domains[{place}]"), "it stands there already");
            }
        }
        let mut names = HashSet::new();
        let claims: Vec<DomainPattern> = match &wanted.domains {
            Some(domains) => domains.clone(),
            None => state.domains.iter().map(|domain| domain.pattern.clone()).collect(),
        };
        let mut spread = Spread::default();
        for (place, script) in wanted.scripts.iter().enumerate() {
            if !names.insert(&script.name) {
                errors.add(format!("scripts[{place}].name"), "another script has this name");
            }
            if let Err(ServiceError::LimitOverCeiling(limit)) = self.checker.limits(&script.sandbox, script.timeout_ms)
            {
                let knob = if limit.limit == "timeout_ms" {
                    "timeout_ms".to_owned()
                } else {
                    format!("sandbox.{}", limit.limit)
                };
                errors.add(format!("scripts[{place}].{knob}"), limit);
            }
            if script.kind == ScriptKind::Module && !script.routes.is_empty() {
                errors.add(format!("scripts[{place}].routes"), "a module cannot answer requests");
            }
            for (route, WantedRoute { pattern, .. }) in script.routes.iter().enumerate() {
                let field = |name: &str| format!("scripts[{place}].routes[{route}].{name}");
                if !is_claimed(pattern, &claims) {
                    errors.add(field("host"), "it lies in no domain of the app");
                }
                if !spread.admit(&pattern.path.param_shape()) {
                    errors.add(
                        field("path"),
                        "the app's routes would have their parameters in too many different places",
                    );
                }
            }
        }
        self.look_at_triggers(wanted, &mut errors)?;
        errors.refuse()?;
        steps(state, wanted, at).map_err(|SameRoute { script, route }| {
            let field = format!("scripts[{script}].routes[{route}].path");
            ServiceError::Invalid(vec![InvalidField {
                field,
                detail: "another route takes the same requests".to_owned(),
            }])
        })
    }

    fn look_at_triggers(&self, wanted: &Wanted, errors: &mut Errors) -> Result<(), ServiceError> {
        let wanted_triggers = wanted.triggers.as_deref().unwrap_or_default();
        for (place, trigger) in wanted_triggers.iter().enumerate() {
            let field = |name: &str| format!("triggers[{place}].{name}");
            match wanted.scripts.iter().find(|script| script.name == trigger.script).map(|script| script.kind) {
                None => errors.add(field("script"), "the document has no such script"),
                Some(ScriptKind::Module) => errors.add(field("script"), "a module is run by no trigger"),
                Some(ScriptKind::Endpoint) => {}
            }
            match self.checker.limits(&Sandbox::default(), trigger.like.timeout.map(trigger::millis)) {
                Err(ServiceError::LimitOverCeiling(limit)) => errors.add(field("timeout_ms"), limit),
                looked => drop(looked?),
            }
            let before = &wanted_triggers[..place];
            if before.iter().any(|other| are_rivals(&other.like.source, &trigger.like.source)) {
                errors.add(field("source"), "another trigger is for the same");
            }
        }
        Ok(())
    }

    /// Compiles each script that changes or reaches one that does, and notes what the changed ones import.
    async fn check(&self, state: &State, wanted: &Wanted, steps: &mut [Step]) -> Result<(), ServiceError> {
        let saved = wanted.scripts.iter().map(|script| (script.name.clone(), (script.kind, script.source.clone())));
        let saved: Arc<ModuleSources> = Arc::new(saved.collect());
        let changed: HashSet<ScriptName> = steps.iter().filter_map(Step::changes_program_of).cloned().collect();
        let unchanged: Vec<&Script> =
            state.scripts.iter().filter(|script| !changed.contains(&script.meta.name)).collect();
        let mut errors = Errors::default();
        let mut imports: HashMap<ScriptName, Vec<ScriptName>> = HashMap::new();
        for (place, script) in wanted.scripts.iter().enumerate() {
            if !changed.contains(&script.name) && !reaches(&script.name, &unchanged, &changed) {
                continue;
            }
            let limits = self.checker.limits(&script.sandbox, script.timeout_ms)?;
            let draft = script.as_new(state.app.id, state.execute_access, self.desk.clock.now());
            match self.checker.check_alone(&draft, limits, &saved).await {
                Ok(found) => drop(imports.insert(script.name.clone(), found)),
                Err(ServiceError::InvalidSource(problem)) => {
                    let line = problem.error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
                    errors.add(format!("scripts[{place}].source"), format!("{line}{}", problem.error.message));
                }
                Err(error) => return Err(error),
            }
        }
        errors.refuse()?;
        for step in steps {
            if let Step::CreateScript { script, .. } | Step::UpdateScript { new: script, .. } = step
                && let Some(found) = imports.remove(&script.meta.name)
            {
                script.meta.imports = found;
            }
        }
        Ok(())
    }
}

/// Whether an unchanged script imports a changed one, itself or through others.
fn reaches(name: &ScriptName, unchanged: &[&Script], changed: &HashSet<ScriptName>) -> bool {
    let imports = |name: &ScriptName| {
        let script = unchanged.iter().find(|script| script.meta.name == *name);
        script.map(|script| script.meta.imports.as_slice()).unwrap_or_default()
    };
    let (mut seen, mut open) = (HashSet::new(), imports(name).to_vec());
    while let Some(next) = open.pop() {
        if changed.contains(&next) {
            return true;
        }
        if seen.insert(next.clone()) {
            open.extend_from_slice(imports(&next));
        }
    }
    false
}

/// What all scripts have together; how long each list may be is seen to where the document is read.
fn refuse_excess(wanted: &Wanted) -> Result<(), ServiceError> {
    let sum = |count: fn(&WantedScript) -> usize| wanted.scripts.iter().map(count).sum::<usize>() as u64;
    let bytes = AppLimit::SourceBytes.admit(sum(|script| script.source.as_str().len()));
    let routes = AppLimit::Routes.admit(sum(|script| script.routes.len()));
    bytes.and(routes).map_err(|error| error.at("scripts"))
}

/// What a deployment takes whatever its steps are: it tells which scripts and routes there are that the document does not have.
fn require_deploying(access: &Access) -> Result<(), ServiceError> {
    access.require(Capability::ScriptWrite)?;
    access.require(Capability::ScriptRead)
}

/// What it takes to be told whether things are as a document tells them.
fn require_reading(access: &Access, wanted: &Wanted) -> Result<(), ServiceError> {
    if wanted.triggers.is_some() {
        access.require(Capability::AppRead)?;
    }
    if wanted.env.is_some() {
        access.require(Capability::DataRead)?;
    }
    Ok(())
}

/// Secrets that a document names and the app does not have.
fn missing(state: &State, wanted: &Wanted) -> Vec<SettingName> {
    let Some(there) = &state.secrets else { return Vec::new() };
    wanted.secrets.iter().filter(|name| !there.contains(name)).cloned().collect()
}

/// Each kind of step needs what doing it alone would need.
fn authorize(access: &Access, steps: &[Step]) -> Result<(), ServiceError> {
    steps.iter().try_for_each(|step| access.require(step.capability()))
}

async fn load(conn: &mut Conn, access: &Access) -> Result<State, ServiceError> {
    let id = access.app.id;
    let mut state = State {
        app: access.app.clone(),
        domains: Vec::new(),
        scripts: Vec::new(),
        routes: Vec::new(),
        triggers: Vec::new(),
        env: None,
        secrets: None,
        execute_access: settings::find(conn).await?.execute_access,
        unreadable: Unreadable::default(),
    };
    state.domains.extend(domains::list(conn, id, u32::MAX, None).await?.into_iter().flatten());
    for listed in scripts::list_whole(conn, id).await? {
        match listed {
            Ok(script) => state.scripts.push(script),
            Err(unreadable) => state.unreadable.scripts.push(ScriptId::from_uuid(unreadable.id)),
        }
    }
    for listed in routes::list_of_app(conn, id, u32::MAX, None).await? {
        match listed {
            Ok(stored) => state.routes.push(stored.route),
            Err(unreadable) => state.unreadable.routes.push(RouteId::from_uuid(unreadable.id)),
        }
    }
    for listed in triggers::list_of_app(conn, id, u32::MAX, None).await? {
        match listed {
            Ok(stored) => state.triggers.push(stored),
            Err(unreadable) => state.unreadable.triggers.push(TriggerId::from_uuid(unreadable.id)),
        }
    }
    if access.allows(Capability::DataRead) {
        let rows = env_rows::list(conn, id, u32::MAX, None).await?;
        state.env = Some(readable("setting", rows.into_iter().map(|named| named.row).collect()));
        let rows = secrets::list(conn, id, u32::MAX, None).await?;
        let found = readable("secret", rows.into_iter().map(|named| named.row).collect());
        state.secrets = Some(found.into_iter().map(|secret| secret.name).collect());
    }
    Ok(state.in_order())
}

/// Whether the app is still as it was when the configuration stood there. Others wait for the answer, so that the app is read again
/// only where the changes since are not known any more.
async fn is_current(conn: &mut Conn, access: &Access, state: &State, position: Position) -> Result<bool, ServiceError> {
    match config::changes_since(conn, position).await? {
        Some(changes) if changes.contains_key(&state.app.id) => Ok(false),
        // The one thing in it that is not the app's.
        Some(_) => Ok(settings::find(conn).await?.execute_access == state.execute_access),
        None => Ok(load(conn, access).await? == *state),
    }
}

/// What is wrong with a wanted app, up to so much.
#[derive(Default)]
struct Errors(Vec<InvalidField>);

impl Errors {
    fn add(&mut self, field: String, detail: impl ToString) {
        if self.0.len() < MOST_ERRORS {
            self.0.push(InvalidField { field, detail: detail.to_string() });
        }
    }

    fn refuse(self) -> Result<(), ServiceError> {
        if self.0.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(self.0)) }
    }
}
