//! Ids of another app, wherever a call takes one beside the thing that its path begins with: as a further part of the path, in its
//! query and in its body. (A path that begins with another app's thing is the table's in `matrix.rs`.) They are found in the
//! document, so that a call that comes to take another is here as well.

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use serde_json::Value;

use super::all_of;
use crate::documented::{operation, resolved};
use crate::stage::{Call, Stage, Target};
use crate::world::id;

/// Where a call takes an id.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// The parameter of that name.
    Path(String),
    Query(String),
    /// The member at that pointer.
    Body(String),
}

impl Place {
    /// What kind of thing it names.
    fn name(&self) -> &str {
        match self {
            Self::Path(name) | Self::Query(name) => name,
            Self::Body(pointer) => pointer.rsplit('/').next().unwrap(),
        }
    }
}

/// All such places of a call.
fn places(method: &str, template: &str) -> Vec<Place> {
    let call = operation(method, &format!("/api/v1/admin{template}")).unwrap();
    let named = |kind: &str| -> Vec<&'static Value> {
        let parameters = call["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == kind).collect()
    };
    let is_id = |schema: &Value| schema["format"] == "uuid";
    let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
    let further = named("path").into_iter().skip(1).filter(|parameter| is_id(&parameter["schema"]));
    let asked =
        named("query").into_iter().filter(|parameter| is_id(&parameter["schema"]) || parameter["name"] == "app");
    let mut found: Vec<Place> = further.map(name).map(Place::Path).collect();
    found.extend(asked.map(name).map(Place::Query));
    let content = call["requestBody"]["content"].as_object().and_then(|content| content.values().next());
    if let Some(content) = content {
        ids_of_body(&content["schema"], "", &mut found);
    }
    found
}

fn ids_of_body(schema: &Value, pointer: &str, found: &mut Vec<Place>) {
    let schema = resolved(schema);
    let variants = ["oneOf", "allOf", "anyOf"].iter().flat_map(|name| schema[*name].as_array().into_iter().flatten());
    variants.for_each(|variant| ids_of_body(variant, pointer, found));
    // An app is told by its slug as well, where a member is called so.
    if schema["format"] == "uuid" || pointer.ends_with("/app") && schema["type"].is_array() {
        found.push(Place::Body(pointer.to_owned()));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        ids_of_body(member, &format!("{pointer}/{name}"), found);
    }
    if schema["items"].is_object() {
        ids_of_body(&schema["items"], &format!("{pointer}/0"), found);
    }
}

/// The id of a thing of that app.
fn id_in<'t>(target: &'t Target, name: &str) -> &'t str {
    match name {
        "app" => &target.slug,
        "app_id" => id(&target.app),
        "script_id" | "object_id" => id(&target.script),
        "except_id" => id(&target.route),
        "trigger" => id(&target.trigger),
        "event" => id(&target.event),
        "dead_letter" => id(&target.dead_letter),
        "domain" => id(&target.domain),
        "user" | "user_id" => id(&target.user),
        _ => panic!("say which thing of an app {name} is"),
    }
}

impl Call {
    /// The call with that id in that place.
    fn naming(mut self, place: &Place, own: &str, other: &str) -> Self {
        match place {
            Place::Path(_) => self.path = self.path.replace(own, other),
            Place::Query(name) => {
                let path = self.path.split('?').next().unwrap();
                self.path = format!("{path}?{name}={other}");
            }
            Place::Body(pointer) => {
                let (parent, member) = pointer.rsplit_once('/').unwrap();
                let parent = self.body.as_mut().unwrap().pointer_mut(parent).unwrap();
                // A user is told by one of them.
                parent.as_object_mut().unwrap().retain(|name, _| member != "user_id" || name != "username");
                parent[member] = other.into();
            }
        }
        self
    }
}

/// Calls that take ids as filters.
const FILTERED: [&str; 4] = ["list_events", "list_dead_letters", "replay_dead_letters", "resolve_dead_letters"];

async fn ids_of_another_app_are_as_good_as_none_in_every_path_query_and_body(store: &Store) {
    let mut stage = Stage::set(store).await;
    let (own, foreign, absent) = (stage.target().await, stage.target().await, stage.nowhere());
    stage.world.join("outsider", &own.app, AppRole::AppAdmin).await;
    let (_, attacker) = stage.callers.iter().find(|(name, _)| *name == "outsider").unwrap();
    let (before, own_before) = (all_of(&stage, &foreign).await, all_of(&stage, &own).await);
    let mut tried = Vec::new();
    for (name, (method, template)) in &stage.operations {
        for place in places(method, template) {
            let call = stage.call(name, &own).of(id(&absent.app), id(&absent.app));
            let mut answers = Vec::new();
            for other in [&foreign, &absent] {
                let named = |target| id_in(target, place.name());
                let answer = call.clone().naming(&place, named(&own), named(other)).by(attacker).await;
                answers.push((answer.status, answer.text()));
            }
            assert_eq!(answers[0], answers[1], "{name} tells what there is by {place:?}");
            // What is asked for by a filter that nothing passes is answered, and so is what is to be done with all of that.
            let may_be_answered =
                ["check_route", "check_slug"].contains(&name.as_str()) || FILTERED.contains(&name.as_str());
            assert!(answers[0].0.is_client_error() || may_be_answered, "{name} by {place:?}: {}", answers[0].1);
            tried.push(format!("{name} {}", place.name()));
        }
    }
    for known in ["create_script app_id", "update_route script_id", "add_member user_id", "release_domain domain"] {
        assert!(tried.iter().any(|tried| tried == known), "{known} is not among {tried:?}");
    }
    assert_eq!(all_of(&stage, &foreign).await, before);
    assert_eq!(all_of(&stage, &own).await, own_before);
}

on_both! { ids_of_another_app_are_as_good_as_none_in_every_path_query_and_body }
