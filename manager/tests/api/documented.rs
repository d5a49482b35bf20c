//! Holds every answer of the suite to the OpenAPI document: its status, its headers, the code of a problem, and each member.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::world::Answer;

pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&picloud_manager::openapi_json()).unwrap());

/// What every answer has, or what HTTP itself says of it.
const PLAIN_HEADERS: [&str; 5] =
    ["cache-control", "content-length", "content-type", "cross-origin-resource-policy", "x-content-type-options"];

/// Fails where the document does not tell of such an answer.
#[track_caller]
pub fn check(method: &str, path: &str, answer: &Answer) {
    let Some(path) = path.split('?').next().filter(|path| path.starts_with("/api/v1/admin/")) else {
        return;
    };
    let place = format!("{method} {path} -> {}", answer.status);
    let Some(operation) = operation(method, path) else {
        // No call: a problem all the same.
        let code = if answer.status == 405 { "method_not_allowed" } else { "not_found" };
        conforms_to("Problem", &answer.json(), &place);
        assert_eq!(answer.json()["code"], code, "{place}");
        return;
    };
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{place} is not documented");
    let documented = response["headers"].as_object();
    for name in answer.headers.keys().map(|name| name.as_str()).filter(|name| !PLAIN_HEADERS.contains(name)) {
        assert!(documented.is_some_and(|headers| headers.contains_key(name)), "{place}: {name} is not documented");
    }
    for name in ["etag", "www-authenticate"] {
        let is_documented = documented.is_some_and(|headers| headers.contains_key(name));
        assert_eq!(answer.headers.contains_key(name), is_documented, "{place}: {name}");
    }
    let content = response["content"].as_object();
    let Some((media_type, content)) = content.and_then(|content| content.iter().next()) else {
        assert!(answer.bytes.is_empty(), "{place} has a body that is not documented");
        return;
    };
    assert_eq!(answer.headers["content-type"], *media_type, "{place}");
    if !media_type.ends_with("json") {
        return;
    }
    let body = answer.json();
    if let Err(wrong) = conforms(&content["schema"], &body) {
        panic!("{place}: {wrong} in {body}");
    }
    if answer.status.as_u16() >= 400 {
        let (code, codes) = (body["code"].as_str().unwrap(), response["description"].as_str().unwrap());
        assert!(codes.contains(&format!("`{code}`")), "{place}: {code} is none of {codes}");
        let names_fields = body["errors"].as_array().is_some_and(|errors| !errors.is_empty());
        // The one 422 that is about the address.
        let is_of_fields = answer.status == 422 && code != "module_not_invokable";
        // One of the claims or scripts of a document.
        let is_of_a_document = path.ends_with("/deployment") || path.ends_with("/apps:import");
        let is_of_its_part = is_of_a_document && ["domain_claimed", "host_reserved", "script_in_use"].contains(&code);
        assert_eq!(names_fields, is_of_fields || is_of_its_part, "{place}: {body}");
    }
}

/// The call that an address means. A word of its own wins over a parameter.
pub fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let segments: Vec<&str> = path.split('/').collect();
    let parameters = |template: &str| template.matches('{').count();
    let is_it = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        let takes = |(part, segment): (&&str, &&str)| part == segment || (part.starts_with('{') && !segment.is_empty());
        template.len() == segments.len() && template.iter().zip(&segments).all(takes)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(template, _)| is_it(template));
    let (_, item) = paths.min_by_key(|(template, _)| parameters(template))?;
    item.get(method.to_ascii_lowercase())
}

#[track_caller]
fn conforms_to(name: &str, value: &Value, place: &str) {
    if let Err(wrong) = conforms(&DOCUMENT["components"]["schemas"][name], value) {
        panic!("{place}: {wrong} in {value}");
    }
}

/// Whether a value is as a schema of this document says, with no member that it does not name.
pub fn conforms(schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolved(schema);
    if let Some(variants) = schema["oneOf"].as_array() {
        let tried: Vec<_> = variants.iter().map(|variant| conforms(variant, value)).collect();
        if tried.iter().any(Result::is_ok) {
            return Ok(());
        }
        return Err(format!("none of {:?}", tried.into_iter().filter_map(Result::err).collect::<Vec<_>>()));
    }
    let (mut members, mut required) = (Map::new(), BTreeSet::new());
    collect(schema, &mut members, &mut required);
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|wanted| is_of_type(value, wanted)) {
        return Err(format!("{value} is no {types:?}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{value} is none of the words"));
    }
    match value {
        Value::Array(items) if schema["items"].is_object() => {
            items.iter().try_for_each(|item| conforms(&schema["items"], item))
        }
        Value::Object(object) if !members.is_empty() || schema["additionalProperties"].is_object() => {
            if let Some(missing) = required.iter().find(|name| !object.contains_key(**name)) {
                return Err(format!("{missing} is missing"));
            }
            object.iter().try_for_each(|(name, member)| {
                let known = members.get(name).or_else(|| schema.get("additionalProperties"));
                let known = known.ok_or_else(|| format!("{name} is not documented"))?;
                conforms(known, member).map_err(|wrong| format!("{name}: {wrong}"))
            })
        }
        _ => Ok(()),
    }
}

pub fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// The members that a schema and all its parts name.
fn collect<'s>(schema: &'s Value, members: &mut Map<String, Value>, required: &mut BTreeSet<&'s str>) {
    members.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(resolved(part), members, required);
    }
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
