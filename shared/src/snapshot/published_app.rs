//! One app, arranged for the data plane from its committed rows. Knows nothing of other apps.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::app::{App, HstsMaxAge};
use crate::domain_pattern::DomainPattern;
use crate::env::EnvValue;
use crate::execution::RecordPolicy;
use crate::hashing::FastMap;
use crate::id::{RouteId, ScriptId};
use crate::name::SettingName;
use crate::route::Route;
use crate::routing::{RouteTable, Spread};
use crate::script::ScriptKind;
use crate::snapshot::published_script::{PublishedScript, ScriptRow, name_programs};
use crate::snapshot::published_secrets::PublishedSecrets;
use crate::trigger::Trigger;

/// An app as it is published. A change of a part of it makes a new app that shares the other parts with the old.
#[derive(Debug)]
pub struct PublishedApp {
    app: App,
    claims: Arc<[DomainPattern]>,
    record_policy: Arc<RecordPolicy>,
    hsts: Option<Arc<str>>,
    routes: Arc<RouteTable>,
    astray: Arc<[Arc<Route>]>,
    scripts: ById,
    names: HashSet<Named>,
    env: Arc<EnvByName>,
    secrets: PublishedSecrets,
    /// Those that can run among the others that cannot.
    triggers: Arc<[Arc<Trigger>]>,
    all_triggers: Arc<[Arc<Trigger>]>,
}

/// An app's settings by name.
pub type EnvByName = HashMap<SettingName, EnvValue>;

/// What became of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now<T> {
    /// It is this.
    Is(T),
    /// It is there, and cannot be published.
    Unfit,
    /// It is gone, and all that belongs to it.
    Gone,
}

/// What changed of an app.
#[derive(Debug, Default)]
pub struct AppChanges {
    /// All claims as they are now, where one changed.
    pub claims: Option<Vec<DomainPattern>>,
    /// Scripts that changed.
    pub scripts: Vec<(ScriptId, Now<ScriptRow>)>,
    /// Routes that changed.
    pub routes: Vec<(RouteId, Now<Route>)>,
    /// All settings as they are now, where one changed.
    pub env: Option<EnvByName>,
    /// All secrets as they are now, where one changed.
    pub secrets: Option<PublishedSecrets>,
    /// All triggers as they are now, where one changed.
    pub triggers: Option<Vec<Trigger>>,
}

impl PublishedApp {
    /// Arranges the committed rows of one app. Routes that lead to no endpoint of the app, and routes with which a search
    /// would spread too far (the newest first), are left out, since the rest must still serve; the second value lists them for
    /// a warning.
    pub fn new(
        app: App,
        claims: Vec<DomainPattern>,
        scripts: Vec<ScriptRow>,
        routes: Vec<Route>,
    ) -> (Self, Vec<Arc<Route>>) {
        let empty = Self {
            app,
            claims: claims.into(),
            record_policy: Arc::default(),
            hsts: None,
            routes: Arc::default(),
            astray: Arc::default(),
            scripts: ById::default(),
            names: HashSet::new(),
            env: Arc::default(),
            secrets: PublishedSecrets::default(),
            triggers: Arc::default(),
            all_triggers: Arc::default(),
        };
        let scripts = scripts.into_iter().map(|row| (row.id, Now::Is(row))).collect();
        let routes = routes.into_iter().map(|route| (route.id, Now::Is(route))).collect();
        empty.with(AppChanges { scripts, routes, ..AppChanges::default() })
    }

    /// The app after a change. The second value lists the routes that are left out as [`PublishedApp::new`] says and were
    /// not before.
    pub fn with(&self, changes: AppChanges) -> (Self, Vec<Arc<Route>>) {
        let (scripts, names) = match changes.scripts.is_empty() {
            true => (self.scripts.clone(), self.names.clone()),
            false => arrange_scripts(self.scripts.clone(), &changes.scripts),
        };
        let mut next = Self {
            app: self.app.clone(),
            claims: changes.claims.map_or_else(|| Arc::clone(&self.claims), Into::into),
            record_policy: Arc::clone(&self.record_policy),
            hsts: self.hsts.clone(),
            routes: Arc::clone(&self.routes),
            astray: Arc::clone(&self.astray),
            scripts,
            names,
            env: changes.env.map_or_else(|| Arc::clone(&self.env), Arc::new),
            secrets: changes.secrets.unwrap_or_else(|| self.secrets.clone()),
            triggers: Arc::clone(&self.triggers),
            all_triggers: Arc::clone(&self.all_triggers),
        };
        let other_targets = changes.scripts.iter().any(|(id, _)| self.is_endpoint(*id) != next.is_endpoint(*id));
        if other_targets || !changes.routes.is_empty() {
            next.arrange_routes(&changes.scripts, changes.routes);
        }
        if other_targets || changes.triggers.is_some() {
            next.arrange_triggers(&changes.scripts, changes.triggers);
        }
        let known = |route: &Arc<Route>| self.astray.iter().any(|known| known.id == route.id);
        let newly_astray = next.astray.iter().filter(|route| !known(route)).cloned().collect();
        (next, newly_astray)
    }

    fn arrange_routes(&mut self, scripts: &[(ScriptId, Now<ScriptRow>)], changes: Vec<(RouteId, Now<Route>)>) {
        let mut all: HashMap<RouteId, Arc<Route>> =
            self.routes.iter().chain(&*self.astray).map(|route| (route.id, Arc::clone(route))).collect();
        for (gone, _) in scripts.iter().filter(|(_, now)| matches!(now, Now::Gone)) {
            all.retain(|_, route| route.script_id != *gone);
        }
        for (id, now) in changes {
            match now {
                Now::Is(route) => all.insert(id, Arc::new(route)),
                Now::Unfit | Now::Gone => all.remove(&id),
            };
        }
        let mut routes: Vec<_> = all.into_values().collect();
        // Ids are in the order of time.
        routes.sort_unstable_by_key(|route| route.id);
        let mut spread = Spread::default();
        let (routes, astray): (Vec<_>, Vec<_>) = routes
            .into_iter()
            .partition(|route| self.is_endpoint(route.script_id) && spread.admit(&route.pattern.path.param_shape()));
        self.routes = Arc::new(RouteTable::new(routes));
        self.astray = astray.into();
    }

    fn arrange_triggers(&mut self, scripts: &[(ScriptId, Now<ScriptRow>)], changed: Option<Vec<Trigger>>) {
        if let Some(all) = changed {
            self.all_triggers = all.into_iter().map(Arc::new).collect();
        }
        let is_gone = |id: ScriptId| scripts.iter().any(|(script, now)| *script == id && matches!(now, Now::Gone));
        self.all_triggers = self.all_triggers.iter().filter(|trigger| !is_gone(trigger.script_id)).cloned().collect();
        self.triggers =
            self.all_triggers.iter().filter(|trigger| self.is_endpoint(trigger.script_id)).cloned().collect();
    }

    fn is_endpoint(&self, script: ScriptId) -> bool {
        self.scripts.get(&script).is_some_and(|script| script.row.kind == ScriptKind::Endpoint)
    }

    /// The same app, whose execution records keep what this policy says.
    pub fn with_record_policy(self, policy: RecordPolicy) -> Self {
        Self { record_policy: Arc::new(policy), ..self }
    }

    /// The same app, whose hosts browsers are told to ask by HTTPS alone for so long.
    pub fn with_hsts(self, max_age: Option<HstsMaxAge>) -> Self {
        Self { hsts: max_age.map(|max_age| max_age.to_header().into()), ..self }
    }

    /// The same app, whose scripts read these settings and secrets.
    pub fn with_settings(self, env: EnvByName, secrets: PublishedSecrets) -> Self {
        Self { env: Arc::new(env), secrets, ..self }
    }

    /// One of its settings.
    pub fn env(&self, name: &str) -> Option<&EnvValue> {
        self.env.get(name)
    }

    /// Its secrets.
    pub fn secrets(&self) -> &PublishedSecrets {
        &self.secrets
    }

    /// The same app with these triggers.
    pub fn with_triggers(mut self, triggers: Vec<Trigger>) -> Self {
        self.arrange_triggers(&[], Some(triggers));
        self
    }

    /// Its triggers, enabled or not, whose script is an endpoint of it.
    pub fn triggers(&self) -> &[Arc<Trigger>] {
        &self.triggers
    }

    /// What browsers are told of HTTPS (RFC 6797), if anything.
    pub fn hsts(&self) -> Option<&Arc<str>> {
        self.hsts.as_ref()
    }

    /// What its execution records keep.
    pub fn record_policy(&self) -> &Arc<RecordPolicy> {
        &self.record_policy
    }

    /// The app itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The hosts that it claims.
    pub fn claims(&self) -> &[DomainPattern] {
        &self.claims
    }

    /// Its routes.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// One of its scripts.
    pub fn script(&self, id: ScriptId) -> Option<&Arc<PublishedScript>> {
        self.scripts.get(&id)
    }

    /// All of its scripts.
    pub fn scripts(&self) -> impl Iterator<Item = &Arc<PublishedScript>> {
        self.scripts.values()
    }

    /// The script of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<PublishedScript>> {
        self.names.get(name).map(|Named(script)| script)
    }

    /// The module of that name.
    pub fn module(&self, name: &str) -> Option<&Arc<PublishedScript>> {
        self.named(name).filter(|script| script.row.kind == ScriptKind::Module)
    }
}

/// A script that is found by its name, without a copy of that.
#[derive(Debug, Clone)]
struct Named(Arc<PublishedScript>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        self.0.row.name.as_str()
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.row.name == other.0.row.name
    }
}

impl Eq for Named {}

type ById = FastMap<ScriptId, Arc<PublishedScript>>;

fn arrange_scripts(mut scripts: ById, changes: &[(ScriptId, Now<ScriptRow>)]) -> (ById, HashSet<Named>) {
    for (id, now) in changes {
        match now {
            Now::Is(row) => scripts.insert(*id, Arc::new(PublishedScript::unsaved(row.clone()))),
            Now::Unfit | Now::Gone => scripts.remove(id),
        };
    }
    name_programs(scripts.values_mut());
    let names = scripts.values().map(|script| Named(Arc::clone(script))).collect();
    (scripts, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AppId, TriggerId};
    use crate::path_pattern::{PathKind, PathPattern};
    use crate::route::{HostSelector, RouteMethod, RoutePattern};
    use crate::snapshot::published_script::tests::{endpoint, module, rows};
    use crate::trigger::{Backoff, MaxAttempts, TriggerSource};
    use uuid::Uuid;

    fn app() -> App {
        App { id: AppId::from_uuid(Uuid::from_u128(9)), slug: "shop".parse().unwrap() }
    }

    fn script_id(number: u128) -> ScriptId {
        ScriptId::from_uuid(Uuid::from_u128(number))
    }

    fn route(number: u128, script: u128, path: &str) -> Route {
        Route {
            id: RouteId::from_uuid(Uuid::from_u128(number)),
            app_id: app().id,
            script_id: script_id(script),
            pattern: RoutePattern {
                host: HostSelector::Any,
                path: PathPattern::parse(PathKind::Param, path).unwrap(),
                method: RouteMethod::Get,
            },
            is_async: false,
        }
    }

    fn served(app: &PublishedApp) -> Vec<u128> {
        let mut served: Vec<u128> = app.routes().iter().map(|route| route.id.as_uuid().as_u128()).collect();
        served.sort_unstable();
        served
    }

    fn script_change(row: ScriptRow) -> AppChanges {
        AppChanges { scripts: vec![(row.id, Now::Is(row))], ..AppChanges::default() }
    }

    #[test]
    fn an_endpoint_is_no_module_and_a_module_no_target() {
        let (good, to_module, to_nowhere) = (route(1, 1, "/1"), route(2, 2, "/2"), route(3, 77, "/3"));
        let routes = vec![to_module.clone(), good.clone(), to_nowhere.clone()];
        let (app, astray) = PublishedApp::new(app(), Vec::new(), rows(), routes);
        assert_eq!(astray.iter().map(|route| &**route).collect::<Vec<_>>(), [&to_module, &to_nowhere]);
        assert_eq!(served(&app), [1]);
        assert!(app.module("cart").is_some() && app.module("shop").is_none() && app.module("gone").is_none());
        let named = |name: &str| app.named(name).map(|script| script.row.id);
        assert_eq!([named("shop"), named("cart"), named("gone")], [Some(script_id(1)), Some(script_id(2)), None]);
        assert_eq!(app.scripts().count(), 6);
    }

    #[test]
    fn the_newest_routes_with_which_a_search_would_spread_too_far_are_left_out() {
        let path = |number: usize| -> String {
            let segment = |bit: usize| if number >> bit & 1 == 0 { "/a".to_owned() } else { format!("/:x{bit}") };
            (0..10).map(segment).collect()
        };
        let routes = (0..1024).rev().map(|number| route(number as u128, 1, &path(number))).collect();
        let (app, astray) = PublishedApp::new(app(), Vec::new(), rows(), routes);
        assert_eq!(app.routes().len() + astray.len(), 1024);
        assert!((32..=256).contains(&app.routes().len()), "{}", app.routes().len());
        assert!(served(&app).contains(&0), "the oldest stays");
        let room = (0..1023).map(|number| (RouteId::from_uuid(Uuid::from_u128(number)), Now::Gone)).collect();
        let (app, astray) = app.with(AppChanges { routes: room, ..AppChanges::default() });
        assert_eq!((served(&app), astray.len()), (vec![1023], 0), "what was left out comes in where there is room");
    }

    fn trigger(number: u128, script: u128) -> Trigger {
        Trigger {
            id: TriggerId::from_uuid(Uuid::from_u128(number)),
            script_id: script_id(script),
            source: TriggerSource::DeadLetter,
            enabled: true,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            timeout: None,
        }
    }

    #[test]
    fn a_trigger_is_there_as_long_as_its_script_is_an_endpoint() {
        let numbers = |app: &PublishedApp| -> Vec<u128> {
            app.triggers().iter().map(|trigger| trigger.id.as_uuid().as_u128()).collect()
        };
        let start = PublishedApp::new(app(), Vec::new(), rows(), Vec::new()).0;
        let start = start.with_triggers(vec![trigger(1, 1), trigger(2, 2), trigger(3, 4), trigger(4, 77)]);
        assert_eq!(numbers(&start), [1, 3], "one is of a module and one of nothing");
        let (broken, _) = start.with(AppChanges { scripts: vec![(script_id(1), Now::Unfit)], ..AppChanges::default() });
        assert_eq!(numbers(&broken), [3]);
        let (mended, _) = broken.with(script_change(endpoint(1, "shop", &[])));
        assert_eq!(numbers(&mended), [1, 3]);
        let (gone, _) = mended.with(AppChanges { scripts: vec![(script_id(4), Now::Gone)], ..AppChanges::default() });
        assert_eq!(numbers(&gone), [1]);
        let now = AppChanges { triggers: Some(vec![trigger(5, 1), trigger(6, 6)]), ..AppChanges::default() };
        assert_eq!(numbers(&gone.with(now).0), [5, 6]);
        let routed =
            AppChanges { routes: vec![(route(1, 1, "/1").id, Now::Is(route(1, 1, "/1")))], ..AppChanges::default() };
        assert!(Arc::ptr_eq(&gone.triggers, &gone.with(routed).0.triggers), "others share them");
    }

    #[test]
    fn a_change_of_one_script_shares_all_that_it_does_not_touch() {
        let (before, _) = PublishedApp::new(app(), vec!["a.x".parse().unwrap()], rows(), vec![route(1, 1, "/1")]);
        let money = ScriptRow { source: "1".parse().unwrap(), version: 2, ..module(3, "money", &[]) };
        let (after, _) = before.with(script_change(money));
        let same =
            |number| Arc::ptr_eq(before.script(script_id(number)).unwrap(), after.script(script_id(number)).unwrap());
        assert_eq!([1, 2, 3, 4, 5, 6].map(same), [false, false, false, true, true, true], "what reaches it is another");
        assert!(Arc::ptr_eq(&before.routes, &after.routes) && Arc::ptr_eq(&before.claims, &after.claims));
        assert!(Arc::ptr_eq(&before.env, &after.env));
        let [shop_before, shop_after] = [&before, &after].map(|app| app.script(script_id(1)).unwrap());
        assert!(std::ptr::eq(shop_before.row.source.as_str(), shop_after.row.source.as_str()));
        assert_eq!(after.module("money").unwrap().row.version, 2);
    }

    #[test]
    fn a_change_of_settings_leaves_all_else_as_it_is() {
        let (before, _) = PublishedApp::new(app(), Vec::new(), rows(), vec![route(1, 1, "/1")]);
        let env = |value: &str| EnvByName::from([("MODE".parse().unwrap(), value.parse().unwrap())]);
        let before = before.with_settings(env("test"), PublishedSecrets::default());
        let (after, _) = before.with(AppChanges { env: Some(env("live")), ..AppChanges::default() });
        let mode = |app: &PublishedApp| app.env("MODE").unwrap().as_str().to_owned();
        assert_eq!((mode(&before), mode(&after)), ("test".to_owned(), "live".to_owned()));
        assert!(after.env("mode").is_none());
        assert!(Arc::ptr_eq(&before.routes, &after.routes));
        assert!(Arc::ptr_eq(before.script(script_id(1)).unwrap(), after.script(script_id(1)).unwrap()));
        let (after, _) = after.with(script_change(endpoint(7, "new", &[])));
        assert_eq!(mode(&after), "live");
    }

    #[test]
    fn a_change_part_by_part_comes_to_what_the_whole_would_be() {
        let routes = || vec![route(1, 1, "/1"), route(2, 4, "/2"), route(3, 6, "/:x")];
        let (start, _) = PublishedApp::new(app(), vec!["a.x".parse().unwrap()], rows(), routes());
        let steps = [
            script_change(endpoint(7, "new", &["text"])),
            AppChanges { scripts: vec![(script_id(4), Now::Unfit)], ..AppChanges::default() },
            AppChanges {
                routes: vec![(route(3, 6, "/:x").id, Now::Is(route(3, 7, "/:y/z")))],
                ..AppChanges::default()
            },
            AppChanges { scripts: vec![(script_id(1), Now::Gone)], ..AppChanges::default() },
            AppChanges { claims: Some(vec!["b.x".parse().unwrap()]), ..AppChanges::default() },
            script_change(endpoint(4, "blog", &[])),
        ];
        let (mut app, mut served_after) = (start, Vec::new());
        for step in steps {
            app = app.with(step).0;
            served_after.push(served(&app));
        }
        assert_eq!(served_after, [vec![1, 2, 3], vec![1, 3], vec![1, 3], vec![3], vec![3], vec![2, 3]]);
        let mut rows = rows();
        rows.remove(0);
        rows[2] = endpoint(4, "blog", &[]);
        rows.push(endpoint(7, "new", &["text"]));
        let all = vec![route(2, 4, "/2"), route(3, 7, "/:y/z")];
        let (whole, _) = PublishedApp::new(app.app().clone(), vec!["b.x".parse().unwrap()], rows, all);
        assert_eq!((served(&whole), whole.claims()), (served(&app), app.claims()));
        let programs = |app: &PublishedApp| app.scripts().map(|s| (s.row.id, s.program)).collect::<HashMap<_, _>>();
        assert_eq!(programs(&whole), programs(&app));
        assert_eq!(app.names.len(), whole.names.len());
    }
}
