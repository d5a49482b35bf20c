//! One app, arranged for the data plane from its committed rows. Knows nothing of other apps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::app::App;
use crate::domain_pattern::DomainPattern;
use crate::execution::RecordPolicy;
use crate::id::ScriptId;
use crate::name::ScriptName;
use crate::route::Route;
use crate::routing::{RouteTable, Spread};
use crate::script::{ExecuteAccess, Limits, ScriptKind, ScriptSource};

/// A script as it is published, before its program is known.
#[derive(Debug, Clone)]
pub struct ScriptRow {
    /// The script's id.
    pub id: ScriptId,
    /// Its name, unique within the app.
    pub name: ScriptName,
    /// What it is for.
    pub kind: ScriptKind,
    /// The version of `source`.
    pub version: u32,
    /// The source.
    pub source: ScriptSource,
    /// The names of the modules that the source imports, as found when it was saved.
    pub imports: Vec<ScriptName>,
    /// The limits, defaults filled in.
    pub limits: Limits,
    /// Who may run it by id.
    pub execute_access: ExecuteAccess,
}

/// Names one compiled program: a script with its source, the names and sources of all modules it reaches, and its limits
/// but for the timeout, which is the run's. Two snapshots with the same key run the same program. The sources themselves are
/// in it, not their versions: in a restored backup a version may have another source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramKey([u8; 16]);

/// A script as it is published.
#[derive(Debug)]
pub struct PublishedScript {
    /// What the store holds.
    pub row: ScriptRow,
    /// Which program runs; nothing for unsaved source, whose program serves one run and is not kept.
    pub program: Option<ProgramKey>,
}

/// An app as it is published: whole, and replaced whole.
#[derive(Debug)]
pub struct PublishedApp {
    app: App,
    claims: Vec<DomainPattern>,
    record_policy: Arc<RecordPolicy>,
    routes: RouteTable,
    scripts: HashMap<ScriptId, Arc<PublishedScript>>,
    modules: HashMap<ScriptName, Arc<PublishedScript>>,
}

impl PublishedApp {
    /// Arranges the committed rows of one app. Routes that lead to no endpoint of the app, and routes with which a search
    /// would spread too far (the newest first), are left out, since the rest must still serve; the second value lists them for
    /// a warning.
    pub fn new(
        app: App,
        claims: Vec<DomainPattern>,
        scripts: Vec<ScriptRow>,
        mut routes: Vec<Route>,
    ) -> (Self, Vec<Route>) {
        let keys = program_keys(&scripts);
        let scripts: HashMap<_, _> = scripts
            .into_iter()
            .zip(keys)
            .map(|(row, program)| (row.id, Arc::new(PublishedScript { row, program: Some(program) })))
            .collect();
        let modules = scripts
            .values()
            .filter(|script| script.row.kind == ScriptKind::Module)
            .map(|script| (script.row.name.clone(), Arc::clone(script)))
            .collect();
        // Ids are in the order of time.
        routes.sort_unstable_by_key(|route| route.id);
        let mut spread = Spread::default();
        let (routes, astray): (Vec<_>, Vec<_>) = routes.into_iter().partition(|route| {
            let script = scripts.get(&route.script_id);
            script.is_some_and(|script| script.row.kind == ScriptKind::Endpoint) && spread.admit(&route.pattern.path)
        });
        let routes = RouteTable::new(routes.into_iter().map(Arc::new));
        (Self { app, claims, record_policy: Arc::default(), routes, scripts, modules }, astray)
    }

    /// The same app, whose execution records keep what this policy says.
    pub fn with_record_policy(self, policy: RecordPolicy) -> Self {
        Self { record_policy: Arc::new(policy), ..self }
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

    /// The module of that name.
    pub fn module(&self, name: &str) -> Option<&Arc<PublishedScript>> {
        self.modules.get(name)
    }
}

/// The program key of each script, in the order given.
fn program_keys<'s>(scripts: &'s [ScriptRow]) -> Vec<ProgramKey> {
    let modules: HashMap<&str, &ScriptRow> = scripts
        .iter()
        .filter(|script| script.kind == ScriptKind::Module)
        .map(|script| (script.name.as_str(), script))
        .collect();
    // Most scripts of an app import the same few modules, so what these reach is walked once.
    let mut reached: HashMap<&[ScriptName], [u8; 32]> = HashMap::new();
    let key = |script: &'s ScriptRow| {
        let reached = reached.entry(&script.imports).or_insert_with(|| reached_from(&script.imports, &modules));
        program_key(script, reached)
    };
    scripts.iter().map(key).collect()
}

/// A digest of all modules that these imports reach.
fn reached_from(imports: &[ScriptName], modules: &HashMap<&str, &ScriptRow>) -> [u8; 32] {
    // By name, too: two modules that swap their names leave every source as it was.
    let mut reached: BTreeMap<&ScriptName, &ScriptRow> = BTreeMap::new();
    let mut open: Vec<&ScriptName> = imports.iter().collect();
    while let Some(name) = open.pop() {
        if let Some(module) = modules.get(name.as_str())
            && reached.insert(name, module).is_none()
        {
            open.extend(&module.imports);
        }
    }
    let mut hash = blake3::Hasher::new();
    for (name, module) in reached {
        // A name holds no NUL, so that what one module feeds cannot be read as what two feed.
        hash.update(name.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(module.id.as_uuid().as_bytes());
        hash.update(blake3::hash(module.source.as_str().as_bytes()).as_bytes());
    }
    hash.finalize().into()
}

fn program_key(script: &ScriptRow, reached: &[u8; 32]) -> ProgramKey {
    let mut hash = blake3::Hasher::new();
    hash.update(script.id.as_uuid().as_bytes());
    hash.update(blake3::hash(script.source.as_str().as_bytes()).as_bytes());
    hash.update(reached);
    let l = &script.limits;
    for knob in
        [l.max_operations, l.max_string_size, l.max_array_size, l.max_map_size, l.max_call_levels, l.max_expr_depth]
    {
        hash.update(&knob.to_le_bytes());
    }
    hash.update(script.kind.as_str().as_bytes());
    let mut key = [0; 16];
    hash.finalize_xof().fill(&mut key);
    ProgramKey(key)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::id::{AppId, RouteId};
    use crate::path_pattern::{PathKind, PathPattern};
    use crate::route::{HostSelector, RouteMethod, RoutePattern};
    use crate::script::LimitPolicy;
    use std::time::Duration;
    use uuid::Uuid;

    /// A module whose id is that number, at version 1.
    pub(in crate::snapshot) fn module(number: u128, name: &str, imports: &[&str]) -> ScriptRow {
        ScriptRow {
            id: ScriptId::from_uuid(Uuid::from_u128(number)),
            name: name.parse().unwrap(),
            kind: ScriptKind::Module,
            version: 1,
            source: "".parse().unwrap(),
            imports: imports.iter().map(|name| name.parse().unwrap()).collect(),
            limits: LimitPolicy::default().defaults,
            execute_access: ExecuteAccess::Open,
        }
    }

    fn endpoint(number: u128, name: &str, imports: &[&str]) -> ScriptRow {
        ScriptRow { kind: ScriptKind::Endpoint, ..module(number, name, imports) }
    }

    /// `shop` imports `cart`, which imports `money`; `blog` imports `text`; `bare` imports nothing.
    fn rows() -> Vec<ScriptRow> {
        vec![
            endpoint(1, "shop", &["cart"]),
            module(2, "cart", &["money"]),
            module(3, "money", &[]),
            endpoint(4, "blog", &["text"]),
            module(5, "text", &[]),
            endpoint(6, "bare", &[]),
        ]
    }

    /// The names of the scripts whose program is another once the rows were edited.
    fn changed(before: Vec<ScriptRow>, edit: impl Fn(&mut Vec<ScriptRow>)) -> Vec<String> {
        let mut after = before.clone();
        edit(&mut after);
        let keys = program_keys(&before).into_iter().zip(program_keys(&after));
        before.iter().zip(keys).filter(|(_, (a, b))| a != b).map(|(row, _)| row.name.to_string()).collect()
    }

    #[test]
    fn changing_a_module_changes_the_programs_of_all_that_reach_it_and_of_nothing_else() {
        assert_eq!(changed(rows(), |rows| set_source(&mut rows[2])), ["shop", "cart", "money"]);
        assert_eq!(changed(rows(), |rows| set_source(&mut rows[1])), ["shop", "cart"]);
        assert_eq!(changed(rows(), |rows| set_source(&mut rows[4])), ["blog", "text"]);
        assert_eq!(changed(rows(), |rows| set_source(&mut rows[5])), ["bare"]);
        assert_eq!(changed(rows(), |_| {}), [""; 0]);
    }

    /// Another source under the same version, as a restored backup may have it.
    fn set_source(row: &mut ScriptRow) {
        row.source = "1".parse().unwrap();
    }

    #[test]
    fn what_does_not_run_does_not_change_the_program() {
        assert_eq!(changed(rows(), |rows| rows[0].execute_access = ExecuteAccess::Restricted), [""; 0]);
        assert_eq!(changed(rows(), |rows| rows[0].limits.timeout = Duration::from_millis(1)), [""; 0]);
        assert_eq!(changed(rows(), |rows| rows[0].name = "store".parse().unwrap()), [""; 0]);
    }

    #[test]
    fn each_limit_of_the_engine_changes_the_program() {
        let knobs: [fn(&mut Limits) -> &mut u64; 6] = [
            |l| &mut l.max_operations,
            |l| &mut l.max_string_size,
            |l| &mut l.max_array_size,
            |l| &mut l.max_map_size,
            |l| &mut l.max_call_levels,
            |l| &mut l.max_expr_depth,
        ];
        for knob in knobs {
            assert_eq!(changed(rows(), |rows| *knob(&mut rows[5].limits) += 1), ["bare"]);
        }
    }

    #[test]
    fn modules_that_swap_their_names_change_the_programs_that_import_them() {
        let rows = vec![endpoint(1, "shop", &["a", "b"]), module(2, "a", &[]), module(3, "b", &[])];
        let swap = |rows: &mut Vec<ScriptRow>| {
            let name = rows[1].name.clone();
            rows[1].name = std::mem::replace(&mut rows[2].name, name);
        };
        assert_eq!(changed(rows, swap), ["shop"]);
    }

    #[test]
    fn a_missing_import_and_a_circle_still_have_a_key() {
        let circle = vec![endpoint(1, "e", &["a", "gone"]), module(2, "a", &["b"]), module(3, "b", &["a"])];
        assert_eq!(changed(circle.clone(), |rows| set_source(&mut rows[2])), ["e", "a", "b"]);
        assert_eq!(changed(circle, |rows| rows.push(module(4, "gone", &[]))), ["e"]);
    }

    #[test]
    fn an_endpoint_is_no_module_and_a_module_no_target() {
        let app = App { id: AppId::from_uuid(Uuid::from_u128(9)), slug: "shop".parse().unwrap() };
        let route = |number: u128, script: u128| Route {
            id: RouteId::from_uuid(Uuid::from_u128(number)),
            app_id: app.id,
            script_id: ScriptId::from_uuid(Uuid::from_u128(script)),
            pattern: RoutePattern {
                host: HostSelector::Any,
                path: PathPattern::parse(PathKind::Exact, &format!("/{number}")).unwrap(),
                method: RouteMethod::Get,
            },
        };
        let (good, to_module, to_nowhere) = (route(1, 1), route(2, 2), route(3, 77));
        let routes = vec![to_module.clone(), good.clone(), to_nowhere.clone()];
        let (app, astray) = PublishedApp::new(app.clone(), Vec::new(), rows(), routes);
        assert_eq!(astray, [to_module, to_nowhere]);
        assert_eq!(app.routes().iter().map(|route| route.id).collect::<Vec<_>>(), [good.id]);
        assert!(app.module("cart").is_some() && app.module("shop").is_none() && app.module("gone").is_none());
        assert_eq!(app.scripts().count(), 6);
    }

    #[test]
    fn the_newest_routes_with_which_a_search_would_spread_too_far_are_left_out() {
        let app = App { id: AppId::from_uuid(Uuid::from_u128(9)), slug: "shop".parse().unwrap() };
        let path = |number: usize| -> String {
            let segment = |bit: usize| if number >> bit & 1 == 0 { "/a".to_owned() } else { format!("/:x{bit}") };
            (0..10).map(segment).collect()
        };
        let route = |number: usize| Route {
            id: RouteId::from_uuid(Uuid::from_u128(number as u128)),
            app_id: app.id,
            script_id: ScriptId::from_uuid(Uuid::from_u128(1)),
            pattern: RoutePattern {
                host: HostSelector::Any,
                path: PathPattern::parse(PathKind::Param, &path(number)).unwrap(),
                method: RouteMethod::Get,
            },
        };
        let routes = (0..1024).rev().map(route).collect();
        let (app, astray) = PublishedApp::new(app.clone(), Vec::new(), rows(), routes);
        assert_eq!(app.routes().len() + astray.len(), 1024);
        assert!((32..=256).contains(&app.routes().len()), "{}", app.routes().len());
        assert!(app.routes().iter().any(|route| route.id.as_uuid().as_u128() == 0), "the oldest stays");
    }
}
