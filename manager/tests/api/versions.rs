//! The guards of the versioned surfaces that this crate makes: the schema's history, and the API.
//!
//! A migration that stands in `migrations/SHA256SUMS` never changes. What the last release promised of the API stands in
//! `docs/released/openapi.json`, which does not exist before the first release: a change that clients would notice needs
//! another product version, and one that breaks them another API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use picloud_manager::store::migration::HISTORY;
use picloud_shared::version;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
fn asked_to(what: &str) -> bool {
    std::env::var_os(what).is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `UPDATE_GOLDEN=1` adds new migrations to the list; none that stands there is ever replaced.
#[test]
fn a_migration_never_changes_once_it_is_listed() {
    let list = root().join("migrations/SHA256SUMS");
    let mut listed: BTreeMap<String, String> = std::fs::read_to_string(&list)
        .unwrap()
        .lines()
        .map(|line| line.split_once("  ").map(|(sum, file)| (file.to_owned(), sum.to_owned())).unwrap())
        .collect();
    let files = std::fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "sql")) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let is_applied =
            HISTORY.iter().any(|step| step.text == text && name.starts_with(&format!("{:04}_", step.version)));
        assert!(is_applied, "{name} is none of the steps of HISTORY");
        let sum = hex(&Sha256::digest(&text));
        match listed.remove(&name) {
            Some(known) => assert_eq!(known, sum, "{name} was changed; add another migration in its place"),
            None if asked_to("UPDATE_GOLDEN") => {
                let mut text = std::fs::read_to_string(&list).unwrap() + &format!("{sum}  {name}\n");
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_by_key(|line| line.split_once("  ").unwrap().1);
                text = lines.join("\n") + "\n";
                std::fs::write(&list, text).unwrap();
            }
            None => panic!("{name} is new; UPDATE_GOLDEN=1 lists it"),
        }
    }
    assert!(listed.is_empty(), "{listed:?} are gone, and stores were made with them");
}

/// How a client sees that an API is another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    None,
    /// Calls of before work as before.
    Notable,
    /// This call, or something in it, does not work as before.
    Breaking(String),
}

fn difference(before: &Value, now: &Value) -> Difference {
    let calls = |document: &Value| -> BTreeMap<String, Value> {
        let paths = document["paths"].as_object().cloned().unwrap_or_default().into_iter();
        let items = paths.flat_map(|(path, item)| {
            let calls = item.as_object().cloned().unwrap_or_default();
            calls.into_iter().map(move |(method, call)| (format!("{method} {path}"), call))
        });
        items.collect()
    };
    let now_calls = calls(now);
    for (place, call) in calls(before) {
        let Some(now_call) = now_calls.get(&place) else {
            return Difference::Breaking(format!("{place} is gone"));
        };
        let schema = |document: &Value, body: &Value| {
            resolved(document, body["content"].as_object()?.values().next()?.get("schema")?)
        };
        let bodies = [schema(before, &call["requestBody"]), schema(now, &now_call["requestBody"])];
        if let [Some(old), Some(new)] = &bodies
            && let Some(field) = required(new).find(|field| !required(old).any(|known| known == *field))
        {
            return Difference::Breaking(format!("{place} now wants {field}"));
        }
        for (status, response) in call["responses"].as_object().cloned().unwrap_or_default() {
            let Some(old) = schema(before, &response).filter(|_| status.starts_with('2')) else {
                continue;
            };
            let new = schema(now, &now_call["responses"][&status]).unwrap_or_default();
            let known = |field: &String| new["properties"].as_object().is_some_and(|known| known.contains_key(field));
            let fields = old["properties"].as_object().cloned().unwrap_or_default();
            if let Some((field, _)) = fields.into_iter().find(|(field, _)| !known(field)) {
                return Difference::Breaking(format!("{place} does not answer {field} any more"));
            }
        }
    }
    let same = |member| before[member] == now[member];
    if same("paths") && same("components") { Difference::None } else { Difference::Notable }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The schema itself, with the members of all that it is made of.
fn resolved(document: &Value, schema: &Value) -> Option<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return resolved(document, document.pointer(reference.strip_prefix('#')?)?);
    }
    let mut whole = schema.clone();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let part = resolved(document, part)?;
        for (name, member) in part["properties"].as_object().into_iter().flatten() {
            whole["properties"][name] = member.clone();
        }
    }
    Some(whole)
}

/// What is wrong with these versions after that difference, the released ones first.
fn judge(found: &Difference, product: [&str; 2], api: [u32; 2]) -> Result<(), String> {
    match found {
        Difference::None => Ok(()),
        Difference::Breaking(what) if api[0] == api[1] => Err(format!("{what}: that is another API version")),
        _ if product[0] == product[1] => Err("the API changed: that is another product version".to_owned()),
        _ => Ok(()),
    }
}

/// `RECORD_RELEASE=1`, in the commit of a release, makes today's document the one that later ones are held to.
#[test]
fn what_a_release_promised_of_the_api_changes_only_with_its_version() {
    let released = root().join("docs/released/openapi.json");
    let now: Value = serde_json::from_str(&picloud_manager::openapi_json()).unwrap();
    if asked_to("RECORD_RELEASE") {
        std::fs::create_dir_all(released.parent().unwrap()).unwrap();
        let mut record = now.clone();
        record["x-api-version"] = version::API.into();
        std::fs::write(&released, serde_json::to_string_pretty(&record).unwrap() + "\n").unwrap();
    }
    let Ok(text) = std::fs::read_to_string(&released) else {
        assert_eq!(version::PRODUCT, "0.1.0", "a release was made without RECORD_RELEASE=1");
        return;
    };
    let before: Value = serde_json::from_str(&text).unwrap();
    let api = u32::try_from(before["x-api-version"].as_u64().unwrap()).unwrap();
    let product = before["info"]["version"].as_str().unwrap();
    judge(&difference(&before, &now), [product, version::PRODUCT], [api, version::API]).unwrap();
}

#[test]
fn differences_of_apis_are_told_by_what_they_do_to_clients() {
    let now: Value = serde_json::from_str(&picloud_manager::openapi_json()).unwrap();
    let edited = |edit: fn(&mut Value)| {
        let mut document = now.clone();
        edit(&mut document);
        assert_ne!(document, now, "the edit found nothing");
        document
    };
    let without_call = edited(|document| drop(document["paths"].as_object_mut().unwrap().remove("/api/v1/admin/apps")));
    let without_field = edited(|document| {
        drop(document["components"]["schemas"]["AppView"]["properties"].as_object_mut().unwrap().remove("slug"));
    });
    let without_demand = edited(|document| {
        document["components"]["schemas"]["CreateApp"]["required"] = json!(["name"]);
    });
    assert_eq!(difference(&now, &now), Difference::None);
    for (smaller, told) in [(&without_call, "/api/v1/admin/apps is gone"), (&without_field, "does not answer slug")] {
        let Difference::Breaking(what) = difference(&now, smaller) else { panic!("{told}") };
        assert!(what.contains(told), "{what}");
        assert_eq!(difference(smaller, &now), Difference::Notable, "what is added breaks nobody");
    }
    assert_eq!(
        difference(&without_demand, &now),
        Difference::Breaking("post /api/v1/admin/apps now wants slug".to_owned())
    );

    let breaking = Difference::Breaking("it".to_owned());
    for (found, product, api, is_right) in [
        (Difference::None, ["1.0.0", "1.0.0"], [1, 1], true),
        (Difference::Notable, ["1.0.0", "1.0.0"], [1, 1], false),
        (Difference::Notable, ["1.0.0", "1.1.0"], [1, 1], true),
        (Difference::Breaking("it".to_owned()), ["1.0.0", "2.0.0"], [1, 1], false),
        (breaking, ["1.0.0", "2.0.0"], [1, 2], true),
    ] {
        assert_eq!(judge(&found, product, api).is_ok(), is_right, "{found:?} {product:?} {api:?}");
    }
}
