//! Mass assignment: members that a body does not have, which a careless server would take for those of the thing itself.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use super::all_of;
use crate::documented::{operation, resolved};
use crate::stage::Stage;
use crate::world::id;

/// What things have, and their bodies do not; each where it is not asked for.
const MEMBERS: [&str; 16] = [
    "id",
    "user_id",
    "app_id",
    "script_id",
    "role",
    "instance_role",
    "is_active",
    "is_admin",
    "my_role",
    "my_capabilities",
    "password_hash",
    "scopes",
    "version",
    "created_at",
    "updated_at",
    "expires_at",
];

/// Each object of a body, by its pointer, with the members that it may have. Those that may be left out are put in.
fn objects(schema: &Value, body: &mut Value, pointer: String, found: &mut Vec<(String, Vec<String>)>) {
    let schema = resolved(schema);
    for variant in schema["oneOf"].as_array().into_iter().flatten().filter(|variant| variant["type"] != "null") {
        objects(variant, body, pointer.clone(), found);
    }
    if let Some(members) = schema["properties"].as_object() {
        let is_optional = schema["required"].as_array().is_none_or(Vec::is_empty);
        if body.is_null() && is_optional {
            *body = json!({});
        }
        if !body.is_object() {
            return;
        }
        for (name, member) in members {
            let is_there = body.get(name).is_some();
            objects(member, &mut body[name.as_str()], format!("{pointer}/{name}"), found);
            if !is_there && body[name.as_str()].is_null() {
                body.as_object_mut().unwrap().remove(name);
            }
        }
        found.push((pointer, members.keys().cloned().collect()));
    } else if let Some(first) = body.get_mut(0) {
        objects(&schema["items"], first, format!("{pointer}/0"), found);
    }
}

/// A pointer as errors name it: `scripts[0].sandbox`.
fn field(pointer: &str, member: &str) -> String {
    let parts = pointer.split('/').skip(1).chain([member]);
    parts.fold(String::new(), |field, part| match part.parse::<usize>() {
        Ok(place) => format!("{field}[{place}]"),
        Err(_) if field.is_empty() => part.to_owned(),
        Err(_) => format!("{field}.{part}"),
    })
}

async fn mass_assignment_is_refused_by_every_object_of_every_body(store: &Store) {
    let mut stage = Stage::set(store).await;
    let target = stage.target().await;
    let before = all_of(&stage, &target).await;
    let mut tried = Vec::new();
    for (name, (method, template)) in &stage.operations {
        let documented = operation(method, &format!("/api/v1/admin{template}")).unwrap();
        let Some(content) = documented["requestBody"]["content"].as_object().and_then(|all| all.values().next()) else {
            continue;
        };
        let mut call = stage.call(name, &target);
        let mut found = Vec::new();
        objects(&content["schema"], call.body.as_mut().unwrap(), String::new(), &mut found);
        assert!(!found.is_empty(), "{name} has no object");
        for (pointer, known) in found {
            for member in MEMBERS.into_iter().filter(|member| !known.iter().any(|known| known == member)) {
                let mut call = call.clone();
                call.body.as_mut().unwrap().pointer_mut(&pointer).unwrap()[member] = json!(id(&target.user));
                let answer = call.by(&stage.owner).await;
                assert_eq!(answer.invalid_fields(), [field(&pointer, member)], "{name}");
            }
            tried.push(format!("{name}{pointer}"));
        }
    }
    for known in
        ["create_user", "update_me", "check_route/route", "deploy_app/scripts/0/routes/0", "create_script/sandbox"]
    {
        assert!(tried.iter().any(|tried| tried == known), "{known} is not among {tried:?}");
    }
    assert_eq!(all_of(&stage, &target).await, before);
}

on_both! { mass_assignment_is_refused_by_every_object_of_every_body }
