//! One script as it is published, and the name of the program that it runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::id::ScriptId;
use crate::name::ScriptName;
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
#[derive(Debug, Clone)]
pub struct PublishedScript {
    /// What the store holds.
    pub row: ScriptRow,
    /// Which program runs; nothing for unsaved source, whose program serves one run and is not kept.
    pub program: Option<ProgramKey>,
    /// Of the source, so that a change elsewhere in the app does not read all sources again.
    source_digest: [u8; 32],
}

impl PublishedScript {
    /// A script that runs once and whose program is not kept.
    pub fn unsaved(row: ScriptRow) -> Self {
        let source_digest = blake3::hash(row.source.as_str().as_bytes()).into();
        Self { row, program: None, source_digest }
    }
}

/// Names the programs of all scripts of an app. One that runs what it ran before stays the same value.
pub(super) fn name_programs<'s>(scripts: impl Iterator<Item = &'s mut Arc<PublishedScript>>) {
    let mut scripts: Vec<_> = scripts.collect();
    let keys = program_keys(scripts.iter().map(|script| &***script));
    for (script, key) in scripts.iter_mut().zip(keys) {
        if script.program != Some(key) {
            Arc::make_mut(script).program = Some(key);
        }
    }
}

/// The program key of each script, in the order given.
fn program_keys<'s>(scripts: impl Iterator<Item = &'s PublishedScript> + Clone) -> Vec<ProgramKey> {
    let modules: HashMap<&str, &PublishedScript> = scripts
        .clone()
        .filter(|script| script.row.kind == ScriptKind::Module)
        .map(|script| (script.row.name.as_str(), script))
        .collect();
    // Most scripts of an app import the same few modules, so what these reach is walked once.
    let mut reached: HashMap<&[ScriptName], [u8; 32]> = HashMap::new();
    let key = |script: &'s PublishedScript| {
        let imports = &script.row.imports;
        let reached = reached.entry(imports).or_insert_with(|| reached_from(imports, &modules));
        program_key(script, reached)
    };
    scripts.map(key).collect()
}

/// A digest of all modules that these imports reach.
fn reached_from(imports: &[ScriptName], modules: &HashMap<&str, &PublishedScript>) -> [u8; 32] {
    // By name, too: two modules that swap their names leave every source as it was.
    let mut reached: BTreeMap<&ScriptName, &PublishedScript> = BTreeMap::new();
    let mut open: Vec<&ScriptName> = imports.iter().collect();
    while let Some(name) = open.pop() {
        if let Some(module) = modules.get(name.as_str())
            && reached.insert(name, module).is_none()
        {
            open.extend(&module.row.imports);
        }
    }
    let mut hash = blake3::Hasher::new();
    for (name, module) in reached {
        // A name holds no NUL, so that what one module feeds cannot be read as what two feed.
        hash.update(name.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(module.row.id.as_uuid().as_bytes());
        hash.update(&module.source_digest);
    }
    hash.finalize().into()
}

fn program_key(script: &PublishedScript, reached: &[u8; 32]) -> ProgramKey {
    let mut hash = blake3::Hasher::new();
    hash.update(script.row.id.as_uuid().as_bytes());
    hash.update(&script.source_digest);
    hash.update(reached);
    let l = &script.row.limits;
    for knob in
        [l.max_operations, l.max_string_size, l.max_array_size, l.max_map_size, l.max_call_levels, l.max_expr_depth]
    {
        hash.update(&knob.to_le_bytes());
    }
    hash.update(script.row.kind.as_str().as_bytes());
    let mut key = [0; 16];
    hash.finalize_xof().fill(&mut key);
    ProgramKey(key)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
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

    pub(in crate::snapshot) fn endpoint(number: u128, name: &str, imports: &[&str]) -> ScriptRow {
        ScriptRow { kind: ScriptKind::Endpoint, ..module(number, name, imports) }
    }

    /// `shop` imports `cart`, which imports `money`; `blog` imports `text`; `bare` imports nothing.
    pub(in crate::snapshot) fn rows() -> Vec<ScriptRow> {
        vec![
            endpoint(1, "shop", &["cart"]),
            module(2, "cart", &["money"]),
            module(3, "money", &[]),
            endpoint(4, "blog", &["text"]),
            module(5, "text", &[]),
            endpoint(6, "bare", &[]),
        ]
    }

    fn keys(rows: &[ScriptRow]) -> Vec<ProgramKey> {
        let scripts: Vec<_> = rows.iter().cloned().map(PublishedScript::unsaved).collect();
        program_keys(scripts.iter())
    }

    /// The names of the scripts whose program is another once the rows were edited.
    fn changed(before: Vec<ScriptRow>, edit: impl Fn(&mut Vec<ScriptRow>)) -> Vec<String> {
        let mut after = before.clone();
        edit(&mut after);
        let keys = keys(&before).into_iter().zip(keys(&after));
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
}
