//! The page on scripts says nothing that the tests do not hold: each of its ```` ```rhai ```` blocks is a script of
//! `tests/golden/docs`, with the result that is expected there below it, or a module of one; each of those is shown; and what the
//! page says to hold its rules exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{World, limits, publish, text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/SDK.md")).unwrap()
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The examples of the page, each with the first line below it.
fn shown(page: &str) -> BTreeMap<String, String> {
    let blocks = page.split("```rhai\n").skip(1).map(|block| block.split_once("```\n").unwrap());
    blocks.map(|(source, after)| (source.to_owned(), after.trim_start().lines().next().unwrap().to_owned())).collect()
}

/// What a case expects, as the page says it.
fn stated(case: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (request, expect) = (&case["request"], &case["expect"]);
    let method = request["method"].as_str().unwrap_or("GET");
    let path = request["url"].as_str().map_or("/", |url| url.strip_prefix("https://shop.example.com").unwrap());
    let with = request["body"].as_str().map_or(String::new(), |body| format!(" with `{body}`"));
    let gives = if expect["outcome"] == "error" {
        format!("500 and, in the record, `{}` at line {}", text(&expect["message"]), expect["line"])
    } else {
        let body = match (&expect["json"], &expect["body"]) {
            (Value::Null, Value::Null) => String::new(),
            (Value::Null, body) => format!(" `{}`", text(body)),
            (json, _) => format!(" `{json}`"),
        };
        format!("{}{body}", expect["status"].as_u64().unwrap_or(200))
    };
    format!("`{method} {path}`{with} gives {gives}.")
}

#[test]
fn every_example_of_the_page_is_run_with_the_result_below_it_and_every_documented_case_is_shown() {
    let shown = shown(&page());
    assert!(shown.len() >= 8, "the examples are gone");
    let mut run = BTreeSet::new();
    for path in list(&root().join("executor/tests/golden/docs")) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let source = fs::read_to_string(path.with_extension("rhai")).unwrap();
        assert_eq!(shown.get(&source), Some(&stated(&case)), "{}", path.display());
        run.insert(source);
        let modules = case["modules"].as_object().into_iter().flatten();
        run.extend(modules.map(|(_, source)| source.as_str().unwrap().to_owned()));
    }
    assert_eq!(shown.into_keys().collect::<BTreeSet<_>>(), run);
}

#[test]
fn what_the_page_says_to_hold_its_rules_exists() {
    fn read_into(text: &mut String, folder: &Path) {
        for path in list(folder) {
            if path.is_dir() {
                read_into(text, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut sources = String::new();
    for folder in ["shared/src", "executor/src", "executor/tests", "manager/src", "manager/tests", "proxy/tests"] {
        read_into(&mut sources, &root().join(folder));
    }
    let golden = root().join("executor/tests/golden");
    let page = page();
    let (_, table) = page.split_once("## What holds this page").unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let held: Vec<Vec<&str>> =
        rows.map(|row| row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect()).collect();
    assert!(held.len() > 40 && held.iter().all(|names| !names.is_empty()));
    let names: BTreeSet<&str> = held.into_iter().flatten().collect();
    let exists = |name: &&&str| match name.contains('/') {
        true => golden.join(name).with_extension("rhai").is_file(),
        false => sources.contains(&format!("fn {name}(")),
    };
    let missing: Vec<_> = names.iter().filter(|name| !exists(name)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
    // A topic that no rule is held by is one that the list forgot.
    let topic = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let named = |topic: &String| names.iter().any(|name| name.split('/').next() == Some(topic));
    let forgotten: Vec<_> =
        list(&golden).into_iter().map(topic).filter(|topic| topic != "docs" && !named(topic)).collect();
    assert_eq!(forgotten, Vec::<String>::new());
}

/// Each example of a page of a service, with what it gives.
fn examples(page: &str) -> Vec<(String, Value)> {
    let page = fs::read_to_string(root().join("docs/services").join(page)).unwrap();
    let blocks = page.split("```rhai\n").skip(1).map(|block| block.split_once("```\n").unwrap());
    let example = |(source, after): (&str, &str)| {
        let line = after.trim_start().lines().next().unwrap();
        let stated = line.strip_prefix("Gives `").and_then(|line| line.strip_suffix("`.")).expect(line);
        (source.to_owned(), serde_json::from_str(stated).unwrap())
    };
    blocks.map(example).collect()
}

#[test]
fn every_example_of_the_pages_of_settings_and_secrets_gives_what_stands_below_it() {
    let named = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let env = [("MODE", "live"), ("ITEMS_PER_PAGE", "20")].map(named).into();
    let secrets = [("PAYMENT_KEY".to_owned(), Some("a key".to_owned())), ("LOST".to_owned(), None)].into();
    let examples = [examples("env.md"), examples("secrets.md")].concat();
    assert!(examples.len() >= 5, "the examples are gone");
    let world = World::new();
    for (source, expected) in examples {
        let published = publish(&[("main", &source)], limits()).with_settings(&env, &secrets);
        let completion = world.run(published.call("main"));
        let given = serde_json::from_str(text(&completion)).unwrap_or_else(|_| Value::from(text(&completion)));
        assert_eq!(given, expected, "{source}");
    }
}
