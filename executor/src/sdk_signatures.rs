//! The guard of the SDK's version: what scripts can call, compared with the list that was kept for it.

use std::any::TypeId;
use std::collections::BTreeSet;

use picloud_shared::script::LimitPolicy;
use picloud_shared::version;
use rhai::{Array, Blob, Dynamic, FnPtr, ImmutableString, Map};

use crate::context::{AppInfo, Context, EventInfo, Request, ScriptInfo};
use crate::engine::Engines;
use crate::sdk::{Collection, Documents, HttpResponse, Response};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk_signatures.txt");

/// The name of a type that a script can have a value of. Rhai's standard functions know other kinds of numbers and ranges as
/// well, of which no script ever has one.
fn type_name(of: TypeId) -> Option<&'static str> {
    macro_rules! known {
        ($($Type:ty => $name:literal),* $(,)?) => { [$((TypeId::of::<$Type>(), $name)),*] };
    }
    let known = known![
        () => "()", bool => "bool", i64 => "int", f64 => "float", char => "char", ImmutableString => "string",
        String => "string", &str => "string", Array => "array", Blob => "blob", Map => "map", FnPtr => "Fn",
        Dynamic => "any", rhai::Instant => "timestamp", std::ops::Range<i64> => "range",
        std::ops::RangeInclusive<i64> => "range=", Context => "Context", Request => "Request", AppInfo => "App",
        EventInfo => "Event", ScriptInfo => "Script", Response => "Response", Collection => "Collection",
        HttpResponse => "HttpResponse",
        Documents => "Documents",
    ];
    known.into_iter().find(|(id, _)| *id == of).map(|(_, name)| name)
}

fn signatures() -> String {
    let engine = Engines::new(1).get(&LimitPolicy::default().defaults);
    let signature = |function: rhai::FuncInfo<'_>| {
        let types: Option<Vec<_>> = function.metadata.param_types.iter().map(|id| type_name(*id)).collect();
        let namespace = if function.namespace.is_empty() { "" } else { "::" };
        Some(format!("{}{namespace}{}({})", function.namespace, function.metadata.name, types?.join(", ")))
    };
    let all: BTreeSet<String> = engine.collect_fn_metadata(None, signature, true).into_iter().collect();
    let lines = all.iter().fold(format!("SDK {}\n", version::SDK), |lines, signature| lines + signature + "\n");
    lines.trim_end().to_owned() + "\n"
}

/// `UPDATE_GOLDEN=1` writes it anew. What is added raises the SDK's minor version, what is gone or changed its major one,
/// once a version was released.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
fn the_functions_of_scripts_are_those_of_the_sdks_version() {
    let current = signatures();
    assert!(current.contains("\nlog::info(any, map)\n") && current.contains("\nget$sdk_version(Context)\n"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &current).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let lines = |text: &'static str| -> BTreeSet<&'static str> { text.lines().collect() };
    let (golden, current) = (lines(golden.leak()), lines(current.leak()));
    let (gone, new): (Vec<_>, Vec<_>) = (golden.difference(&current).collect(), current.difference(&golden).collect());
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}\nUPDATE_GOLDEN=1 rewrites the list");
}
