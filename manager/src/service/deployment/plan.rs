//! What there is of an app, what there should be, and the steps from the one to the other. Pure: it asks nobody.

mod step;
pub(crate) mod triggers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::env::EnvValue;
use picloud_shared::id::{AppId, DomainId, RouteId, ScriptId, TriggerId};
use picloud_shared::name::{ScriptName, SettingName};
use picloud_shared::route::{Route, RoutePattern};
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind, ScriptSource};
use picloud_shared::trigger::Trigger;

use crate::repo::apps::App;
use crate::repo::domains::Domain;
use crate::repo::env::EnvSetting;
use crate::repo::scripts::{Script, ScriptMeta};
use crate::repo::triggers::{StoredTrigger, config};
use crate::service::app::AppPatch;
use crate::service::route::WantedRoute;
use crate::service::script::blank_meta;
pub(crate) use step::Step;

/// What an app is to be.
pub(crate) struct Wanted {
    /// Settings; what is absent stays.
    pub settings: AppPatch,
    /// All of its claims; absent, they stay as they are.
    pub domains: Option<Vec<DomainPattern>>,
    /// All of its scripts.
    pub scripts: Vec<WantedScript>,
    /// All of its triggers; absent, they stay as they are.
    pub triggers: Option<Vec<WantedTrigger>>,
    /// All of its settings for scripts; absent, they stay as they are.
    pub env: Option<BTreeMap<SettingName, EnvValue>>,
    /// Secrets that its scripts want to have. What they are is nothing that a document tells.
    pub secrets: BTreeSet<SettingName>,
}

/// A trigger as it is to be.
pub(crate) struct WantedTrigger {
    /// What it runs.
    pub script: ScriptName,
    /// All else; the ids in it are nobody's.
    pub like: Trigger,
}

/// A script as it is to be, with all routes that lead to it.
pub(crate) struct WantedScript {
    pub name: ScriptName,
    pub kind: ScriptKind,
    pub source: ScriptSource,
    pub description: String,
    pub timeout_ms: Option<u64>,
    pub sandbox: Sandbox,
    /// Absent, a script keeps what it has, and a new one has the instance's default.
    pub execute_access: Option<ExecuteAccess>,
    pub routes: Vec<WantedRoute>,
}

/// What an app is at one moment.
#[derive(Clone, PartialEq)]
pub(crate) struct State {
    pub app: App,
    pub domains: Vec<Domain>,
    pub scripts: Vec<Script>,
    pub routes: Vec<Route>,
    pub triggers: Vec<StoredTrigger>,
    /// `None` for who may not read it.
    pub env: Option<Vec<EnvSetting>>,
    /// The names of secrets, for who may read them.
    pub secrets: Option<Vec<SettingName>>,
    /// What a new script has that does not say.
    pub execute_access: ExecuteAccess,
    /// Rows that cannot be read, and so are part of nothing.
    pub unreadable: Unreadable,
}

impl State {
    /// In an order that tells nothing of when things were made, so that two exports differ in nothing but what differs.
    pub(crate) fn in_order(mut self) -> Self {
        self.domains.sort_by_cached_key(|domain| domain.pattern.to_string());
        self.scripts.sort_by(|one, other| one.meta.name.as_str().cmp(other.meta.name.as_str()));
        self.routes.sort_by_cached_key(|route| route_key(&route.pattern));
        let names: HashMap<ScriptId, &ScriptName> = self.scripts.iter().map(|s| (s.meta.id, &s.meta.name)).collect();
        self.triggers.sort_by_cached_key(|StoredTrigger { trigger, .. }| {
            let script = names.get(&trigger.script_id).map(|name| (*name).clone());
            let Trigger { source, enabled, max_attempts, backoff, timeout, .. } = trigger;
            let beside = (!enabled, max_attempts.get(), backoff.base(), backoff.cap(), *timeout);
            (script, source.source().as_str(), config(source).to_string(), beside, trigger.id)
        });
        self
    }

    /// What there is once the steps are done. (When a script was changed last is not told.)
    pub(crate) fn after(mut self, steps: &[Step], at: Timestamp) -> Self {
        let mut scripts: HashMap<ScriptId, Script> = self.scripts.into_iter().map(|s| (s.meta.id, s)).collect();
        let mut routes: HashMap<RouteId, Route> = self.routes.into_iter().map(|route| (route.id, route)).collect();
        for step in steps {
            match step {
                Step::ForgetRoute(_) | Step::ForgetScript(_) | Step::ForgetTrigger(_) => {
                    self.unreadable = Unreadable::default();
                }
                Step::DeleteRoute(route) => drop(routes.remove(&route.id)),
                Step::DeleteScript(script) => drop(scripts.remove(&script.meta.id)),
                Step::ReleaseDomain(gone) => self.domains.retain(|domain| domain.id != gone.id),
                Step::UpdateApp { new, .. } => self.app = new.clone(),
                Step::ClaimDomain { pattern, .. } => {
                    let (id, pattern) = (DomainId::generate(at), pattern.clone());
                    self.domains.push(Domain { id, app_id: self.app.id, pattern, created_at: at });
                }
                Step::CreateScript { script, .. } => drop(scripts.insert(script.meta.id, script.clone())),
                Step::UpdateScript { old, new, .. } => {
                    let mut new = new.clone();
                    new.meta.version += u32::from(new.source != old.source);
                    scripts.insert(new.meta.id, new);
                }
                Step::UpdateRoute { new, .. } | Step::CreateRoute(new) => drop(routes.insert(new.id, new.clone())),
                Step::DeleteTrigger { old, .. } => self.triggers.retain(|stored| stored.trigger.id != old.id),
                Step::UpdateTrigger { old, new } => {
                    let same = self.triggers.iter_mut().find(|stored| stored.trigger.id == old.trigger.id);
                    same.into_iter().for_each(|stored| stored.trigger = new.clone());
                }
                Step::CreateTrigger(new) => {
                    let (app_id, trigger) = (self.app.id, new.clone());
                    self.triggers.push(StoredTrigger { app_id, trigger, created_at: at, updated_at: at });
                }
                Step::DeleteSetting(EnvSetting { name, .. }) | Step::SetSetting { name, .. } => {
                    self.env.iter_mut().for_each(|env| env.retain(|setting| setting.name != *name));
                    if let (Step::SetSetting { value, .. }, Some(env)) = (step, &mut self.env) {
                        env.push(EnvSetting { name: name.clone(), value: value.clone(), updated_at: at });
                        env.sort_by(|one, other| one.name.cmp(&other.name));
                    }
                }
            }
        }
        self.scripts = scripts.into_values().collect();
        self.routes = routes.into_values().collect();
        self.in_order()
    }
}

/// Rows of a state that cannot be read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub scripts: Vec<ScriptId>,
    pub routes: Vec<RouteId>,
    pub triggers: Vec<TriggerId>,
}

/// Two routes of a wanted app that take the same requests: the script's place, and the second route's within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SameRoute {
    pub script: usize,
    pub route: usize,
}

/// What tells routes of one app apart.
pub(crate) type RouteKey = (String, String, &'static str);

pub(crate) fn route_key(pattern: &RoutePattern) -> RouteKey {
    (pattern.host.shape_key(), pattern.path.shape_key(), pattern.method.as_str())
}

impl WantedScript {
    /// The script as a new one.
    pub(crate) fn as_new(&self, app: AppId, execute_access: ExecuteAccess, at: Timestamp) -> Script {
        let blank = blank_meta(ScriptId::generate(at), app, self.name.clone(), self.kind, at);
        self.over(ScriptMeta { execute_access, ..blank })
    }

    /// The script in the place of another of its name.
    fn over(&self, mut meta: ScriptMeta) -> Script {
        meta.kind = self.kind;
        meta.description.clone_from(&self.description);
        meta.timeout_ms = self.timeout_ms;
        meta.sandbox = self.sandbox;
        meta.execute_access = self.execute_access.unwrap_or(meta.execute_access);
        Script { meta, source: self.source.clone() }
    }
}

/// The steps from a state to what is wanted. Scripts are told apart by their names, routes by what they take.
///
/// # Errors
/// Two wanted routes that take the same requests.
pub(crate) fn steps(state: &State, wanted: &Wanted, at: Timestamp) -> Result<Vec<Step>, SameRoute> {
    let mut steps: Vec<Step> = state.unreadable.routes.iter().map(|id| Step::ForgetRoute(*id)).collect();
    steps.extend(state.unreadable.scripts.iter().map(|id| Step::ForgetScript(*id)));

    let old_scripts: HashMap<&ScriptName, &Script> = state.scripts.iter().map(|s| (&s.meta.name, s)).collect();
    let scripts: Vec<Script> = wanted
        .scripts
        .iter()
        .map(|script| match old_scripts.get(&script.name) {
            Some(old) => script.over(old.meta.clone()),
            None => script.as_new(state.app.id, state.execute_access, at),
        })
        .collect();
    let mut wanted_routes: HashMap<RouteKey, (ScriptId, &WantedRoute)> = HashMap::new();
    let mut keys = Vec::new();
    for (script, of) in wanted.scripts.iter().enumerate() {
        for (route, wanted) in of.routes.iter().enumerate() {
            let key = route_key(&wanted.pattern);
            if wanted_routes.insert(key.clone(), (scripts[script].meta.id, wanted)).is_some() {
                return Err(SameRoute { script, route });
            }
            keys.push(key);
        }
    }

    // A route goes with its script, as a trigger does: one that is to lead to another then is made anew.
    let staying: HashSet<ScriptId> = scripts.iter().map(|script| script.meta.id).collect();
    let mut kept: HashSet<RouteKey> = HashSet::new();
    let mut changed_routes = Vec::new();
    for old in &state.routes {
        let key = route_key(&old.pattern);
        match wanted_routes.get(&key).filter(|_| staying.contains(&old.script_id)) {
            None => steps.push(Step::DeleteRoute(old.clone())),
            Some((script_id, WantedRoute { pattern, is_async })) => {
                let (script_id, pattern, is_async) = (*script_id, pattern.clone(), *is_async);
                let new = Route { script_id, pattern, is_async, ..old.clone() };
                if new != *old {
                    changed_routes.push(Step::UpdateRoute { old: old.clone(), new });
                }
                kept.insert(key);
            }
        }
    }
    let names: HashSet<&ScriptName> = wanted.scripts.iter().map(|script| &script.name).collect();
    let gone = state.scripts.iter().filter(|script| !names.contains(&script.meta.name));
    steps.extend(gone.map(|script| Step::DeleteScript(script.clone())));

    let wanted_domains = wanted.domains.as_deref();
    let surplus = |domain: &&Domain| wanted_domains.is_some_and(|wanted| !wanted.contains(&domain.pattern));
    steps.extend(state.domains.iter().filter(surplus).map(|domain| Step::ReleaseDomain(domain.clone())));
    let mut new = wanted.settings.apply(&state.app);
    if new != state.app {
        new.updated_at = at;
        steps.push(Step::UpdateApp { old: state.app.clone(), new });
    }
    for (place, pattern) in wanted_domains.into_iter().flatten().enumerate() {
        if !state.domains.iter().any(|domain| domain.pattern == *pattern) {
            steps.push(Step::ClaimDomain { place, pattern: pattern.clone() });
        }
    }

    for (place, new) in scripts.iter().cloned().enumerate() {
        match old_scripts.get(&new.meta.name) {
            None => steps.push(Step::CreateScript { place, script: new }),
            Some(old) if **old != new => steps.push(Step::UpdateScript { place, old: Box::new((*old).clone()), new }),
            Some(_) => {}
        }
    }
    steps.extend(changed_routes);
    let added = keys.iter().filter(|key| !kept.contains(*key)).map(|key| {
        let (script_id, WantedRoute { pattern, is_async }) = wanted_routes[key];
        let (id, app_id, pattern) = (RouteId::generate(at), state.app.id, pattern.clone());
        Step::CreateRoute(Route { id, app_id, script_id, pattern, is_async: *is_async })
    });
    steps.extend(added.collect::<Vec<_>>());
    if let Some(wanted) = &wanted.triggers {
        steps.extend(state.unreadable.triggers.iter().map(|id| Step::ForgetTrigger(*id)));
        steps.extend(triggers::steps(state, wanted, &scripts, at));
    } else {
        let goes = |stored: &&StoredTrigger| !staying.contains(&stored.trigger.script_id);
        let gone = state.triggers.iter().filter(goes);
        steps.extend(gone.map(|stored| Step::DeleteTrigger { old: stored.trigger.clone(), with_script: true }));
    }
    if let Some(wanted) = &wanted.env {
        steps.extend(setting_steps(state.env.as_deref().unwrap_or_default(), wanted));
    }
    // In the order of kinds, and within one kind as they came.
    steps.sort_by_key(Step::rank);
    Ok(steps)
}

fn setting_steps(there: &[EnvSetting], wanted: &BTreeMap<SettingName, EnvValue>) -> Vec<Step> {
    let surplus = there.iter().filter(|setting| !wanted.contains_key(&setting.name));
    let mut steps: Vec<Step> = surplus.map(|setting| Step::DeleteSetting(setting.clone())).collect();
    for (name, value) in wanted {
        let old = there.iter().find(|setting| setting.name == *name);
        if old.is_none_or(|old| old.value != *value) {
            steps.push(Step::SetSetting { old: old.cloned(), name: name.clone(), value: value.clone() });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use picloud_shared::execution::RedactedHeaders;
    use picloud_shared::path_pattern::{PathKind, PathPattern};
    use picloud_shared::route::{HostSelector, RouteMethod};

    use super::*;

    pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);

    fn app() -> App {
        App {
            id: AppId::generate(NOW),
            slug: "shop".parse().unwrap(),
            name: "Shop".parse().unwrap(),
            redacted_headers: RedactedHeaders::default(),
            record_bodies: true,
            hsts_max_age_s: None,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    pub(super) fn empty() -> State {
        let (domains, scripts, routes) = (Vec::new(), Vec::new(), Vec::new());
        let (execute_access, unreadable) = (ExecuteAccess::Open, Unreadable::default());
        let (triggers, env, secrets) = (Vec::new(), Some(Vec::new()), Some(Vec::new()));
        State { app: app(), domains, scripts, routes, triggers, env, secrets, execute_access, unreadable }
    }

    pub(super) fn script(name: &str, source: &str, routes: &[&str]) -> WantedScript {
        let route = |path: &&str| {
            let path = PathPattern::parse(PathKind::Param, path).unwrap();
            let pattern = RoutePattern { host: HostSelector::Any, path, method: RouteMethod::Get };
            WantedRoute { pattern, is_async: false }
        };
        WantedScript {
            name: name.parse().unwrap(),
            kind: ScriptKind::Endpoint,
            source: source.parse().unwrap(),
            description: String::new(),
            timeout_ms: None,
            sandbox: Sandbox::default(),
            execute_access: None,
            routes: routes.iter().map(route).collect(),
        }
    }

    pub(super) fn wanted(scripts: Vec<WantedScript>, domains: Option<&[&str]>) -> Wanted {
        let domains = domains.map(|domains| domains.iter().map(|text| text.parse().unwrap()).collect());
        let (triggers, env, secrets) = (None, None, BTreeSet::new());
        Wanted { settings: AppPatch::default(), domains, scripts, triggers, env, secrets }
    }

    fn told(steps: &[Step]) -> Vec<String> {
        let tell = |step: &Step| match step {
            Step::ForgetRoute(_) => "forget route".to_owned(),
            Step::ForgetScript(_) => "forget script".to_owned(),
            Step::DeleteRoute(route) => format!("- {}", route.pattern.path),
            Step::DeleteScript(script) => format!("- {}", script.meta.name),
            Step::ReleaseDomain(domain) => format!("- {}", domain.pattern),
            Step::UpdateApp { new, .. } => format!("~ {}", new.name),
            Step::ClaimDomain { pattern, .. } => format!("+ {pattern}"),
            Step::CreateScript { script, .. } => format!("+ {}", script.meta.name),
            Step::UpdateScript { new, .. } => format!("~ {}", new.meta.name),
            Step::UpdateRoute { new, .. } => format!("~ {}", new.pattern.path),
            Step::CreateRoute(route) => format!("+ {}", route.pattern.path),
            Step::ForgetTrigger(_) => "forget trigger".to_owned(),
            Step::DeleteTrigger { old, .. } => format!("- {}", config(&old.source)),
            Step::UpdateTrigger { new, .. } => format!("~ {}", config(&new.source)),
            Step::CreateTrigger(new) => format!("+ {}", config(&new.source)),
            Step::DeleteSetting(old) => format!("- {}", old.name),
            Step::SetSetting { name, value, .. } => format!("= {name} {value}"),
        };
        steps.iter().map(tell).collect()
    }

    #[test]
    fn steps_lead_to_what_is_wanted_and_then_there_are_none() {
        let first =
            wanted(vec![script("a", "1", &["/a", "/x/:id"]), script("b", "2", &["/b"])], Some(&["a.example.com"]));
        let start = empty();
        let built = steps(&start, &first, NOW).unwrap();
        assert_eq!(told(&built), ["+ a.example.com", "+ a", "+ b", "+ /a", "+ /x/:id", "+ /b"]);
        let state = start.after(&built, NOW);
        assert_eq!(told(&steps(&state, &first, NOW).unwrap()), [""; 0]);

        // `/x/:id` goes to another script under another name of its parameter, `a` changes, `b` goes, `c` comes and has its route.
        let second = wanted(
            vec![script("a", "3", &["/a"]), script("c", "4", &["/x/:key", "/c", "/b"])],
            Some(&["b.example.com"]),
        );
        let changed = steps(&state, &second, NOW).unwrap();
        let expected = ["- /b", "- b", "- a.example.com", "+ b.example.com", "+ c", "~ a", "~ /x/:key", "+ /c", "+ /b"];
        assert_eq!(told(&changed), expected);
        let state = state.after(&changed, NOW);
        assert_eq!(told(&steps(&state, &second, NOW).unwrap()), [""; 0]);
        let without_domains = wanted(second.scripts, None);
        assert_eq!(told(&steps(&state, &without_domains, NOW).unwrap()), [""; 0], "claims stay where none are told");
    }

    #[test]
    fn an_updated_script_stays_the_same_script() {
        let state = empty().after(&steps(&empty(), &wanted(vec![script("a", "1", &[])], None), NOW).unwrap(), NOW);
        let found = steps(&state, &wanted(vec![script("a", "2", &[])], None), NOW).unwrap();
        let [Step::UpdateScript { place: 0, old, new }] = &found[..] else { panic!("{:?}", told(&found)) };
        assert_eq!((old.meta.id, old.meta.version), (new.meta.id, new.meta.version));
        assert_eq!(found[0].changes_program_of(), Some(&"a".parse().unwrap()));
        let described = WantedScript { description: "A.".to_owned(), ..script("a", "1", &[]) };
        let found = steps(&state, &wanted(vec![described], None), NOW).unwrap();
        assert_eq!((told(&found), found[0].changes_program_of()), (vec!["~ a".to_owned()], None));
    }

    #[test]
    fn two_routes_that_take_the_same_are_told_by_place() {
        let same = wanted(vec![script("a", "1", &["/u/:id"]), script("b", "1", &["/b", "/u/:name"])], None);
        assert_eq!(steps(&empty(), &same, NOW).err(), Some(SameRoute { script: 1, route: 1 }));
    }

    #[test]
    fn what_cannot_be_read_is_cleared_away() {
        let mut state = empty();
        let (scripts, routes) = (vec![ScriptId::generate(NOW)], vec![RouteId::generate(NOW)]);
        state.unreadable = Unreadable { scripts, routes, triggers: vec![TriggerId::generate(NOW)] };
        let mut nothing = wanted(Vec::new(), None);
        assert_eq!(told(&steps(&state, &nothing, NOW).unwrap()), ["forget route", "forget script"]);
        nothing.triggers = Some(Vec::new());
        assert_eq!(told(&steps(&state, &nothing, NOW).unwrap()), ["forget trigger", "forget route", "forget script"]);
    }
}
