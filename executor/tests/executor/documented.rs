//! The page on scripts shows nothing that the corpus does not run: each of its ```` ```rhai ```` blocks is a script of
//! `tests/golden/docs` or a module of one, and each of those is shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn shown(page: &str) -> BTreeSet<String> {
    let blocks = page.split("```rhai\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn run(folder: &Path) -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "rhai") {
            sources.insert(text);
            continue;
        }
        let case: Value = serde_json::from_str(&text).unwrap();
        let modules = case["modules"].as_object().into_iter().flatten();
        sources.extend(modules.map(|(_, source)| source.as_str().unwrap().to_owned()));
    }
    sources
}

#[test]
fn every_example_of_the_page_on_scripts_is_run_and_every_documented_case_is_shown() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../docs/SDK.md")).unwrap();
    assert!(page.matches("```rhai").count() >= 8, "the examples are gone");
    assert_eq!(shown(&page), run(&here.join("tests/golden/docs")));
}
