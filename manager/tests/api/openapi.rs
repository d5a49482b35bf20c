//! The OpenAPI document: its golden copy, and that it tells the whole of every call.

use serde_json::Value;

use crate::documented::conforms;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

fn document() -> Value {
    serde_json::from_str(&picloud_manager::openapi_json()).unwrap()
}

/// `UPDATE_GOLDEN=1` writes it anew; the API's version and the changelog then want a look.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
fn the_document_is_the_golden_one() {
    let current = format!("{}\n", picloud_manager::openapi_json());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &current).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(golden == current, "the API differs from docs/openapi.json; UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn every_call_has_a_summary_a_tag_and_problems_with_codes() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // The data plane's, which has other problems.
        if path == "/api/v1/execute/{script}" {
            continue;
        }
        assert!(path.starts_with("/api/v1/admin/"), "{path}");
        for (method, call) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(call["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{place} has no summary");
            assert_eq!(call["tags"].as_array().map(Vec::len), Some(1), "{place}");
            names.push(call["operationId"].as_str().unwrap().to_owned());
            let is_open = ["/auth/login", "/auth/setup"].iter().any(|open| path.ends_with(open));
            let security = call["security"].as_array().unwrap();
            assert_eq!(security.is_empty(), is_open, "{place}");
            let responses = call["responses"].as_object().unwrap();
            for status in ["401", "403", "500", "503"] {
                assert!(responses.contains_key(status), "{place} does not tell of {status}");
            }
            assert_eq!(responses.contains_key("415"), call["requestBody"].is_object(), "{place}");
            let parameters = call["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let takes_headers = parameters.iter().any(|parameter| parameter["in"] == "header");
            let can_be_malformed = takes_headers || call["requestBody"].is_object();
            assert_eq!(responses.contains_key("400"), can_be_malformed, "{place}");
            if parameters.iter().any(|parameter| parameter["in"] == "query") {
                assert!(responses.contains_key("422"), "{place} can be asked wrongly");
            }
            for parameter in parameters {
                assert!(!parameter["schema"]["type"].is_array(), "{place}: {} cannot be null", parameter["name"]);
                assert!(parameter["name"] != "limit" || parameter["schema"]["minimum"] == 1, "{place}");
            }
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{place} {status}");
                assert!(response["description"].as_str().unwrap().contains('`'), "{place} {status} names no code");
            }
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two calls share an operation id");
}

#[test]
fn every_body_has_an_example_that_is_as_its_schema_says() {
    let document = document();
    let mut examples = 0;
    let mut look = |place: &str, described: &Value, is_needed: bool| {
        for content in described["content"].as_object().into_iter().flat_map(|content| content.values()) {
            match content.get("example") {
                Some(example) => {
                    conforms(&content["schema"], example).unwrap_or_else(|wrong| panic!("{place}: {wrong}"))
                }
                None => assert!(!is_needed, "{place} has no example: tell one in examples.rs"),
            }
            examples += usize::from(content.get("example").is_some());
        }
    };
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            look(&format!("the body of {method} {path}"), &call["requestBody"], true);
            for (status, response) in call["responses"].as_object().unwrap() {
                look(&format!("{status} of {method} {path}"), response, status.starts_with('2'));
            }
        }
    }
    assert!(examples > 100, "{examples}");
}

#[test]
fn every_object_of_the_document_names_its_members() {
    fn bare(place: &str, value: &Value, found: &mut Vec<String>) {
        if let Value::Object(schema) = value {
            let is_object = schema.get("type").is_some_and(|kind| {
                kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
            });
            if is_object && !schema.contains_key("properties") && !schema.contains_key("additionalProperties") {
                found.push(place.to_owned());
            }
            schema.iter().for_each(|(name, member)| bare(&format!("{place}/{name}"), member, found));
        }
        if let Value::Array(items) = value {
            items.iter().for_each(|item| bare(place, item, found));
        }
    }
    let mut found = Vec::new();
    bare("", &document(), &mut found);
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}
