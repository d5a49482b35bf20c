//! Triggers of the source `kv`: setting them up, and what they are run for.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const TRIGGERS: &str = "/apps/shop/triggers";
const PAGE: &str = include_str!("../../../docs/services/kv.md");

/// The app `shop` with a handler of that source and a trigger of that config for it; the trigger.
async fn shop(owner: &Client, source: &str, config: Value) -> Value {
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "handler", source).await;
    owner.post(TRIGGERS, json!({ "script_id": id(&script), "source": "kv", "config": config })).await.is(201)
}

async fn set(client: &Client, key: &str, body: Value) {
    client.send_json("PUT", &format!("/apps/shop/kv/default/{key}"), body.to_string()).await.is(200);
}

async fn a_trigger_of_entries_is_set_up_shown_changed_and_published(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = shop(&owner, "1", json!({ "collection": "users" })).await;
    assert_eq!(made["source"], "kv");
    let whole = json!({ "collection": "users", "prefix": "", "ops": ["set", "delete", "expire"] });
    assert_eq!(made["config"], whole);
    let path = format!("{TRIGGERS}/{}", id(&made));
    assert_eq!(owner.get(&path).await.is(200), made);
    let patch = json!({ "config": { "prefix": "a/", "ops": ["expire", "set", "set"] } });
    let changed = owner.patch(&path, patch).await.is(200);
    assert_eq!(changed["config"], json!({ "collection": "users", "prefix": "a/", "ops": ["set", "expire"] }));
    assert_eq!(owner.patch(&path, json!({ "config": { "prefix": "" } })).await.is(200)["config"]["prefix"], "");
    // It is stored as it is shown: another node reads the same.
    let again = World::start(store).await;
    let (here, there) = (world.snapshot.load_full(), again.snapshot.load_full());
    let app = made["app_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(here.app(app).unwrap().triggers(), there.app(app).unwrap().triggers());
    assert_eq!(there.app(app).unwrap().triggers().len(), 1);
    // Any number of them may be for the same entries.
    let twin = json!({ "script_id": made["script_id"], "source": "kv", "config": whole });
    owner.post(TRIGGERS, twin).await.is(201);
}

async fn what_no_trigger_of_entries_can_be_is_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = shop(&owner, "1", json!({ "collection": "users" })).await;
    let path = format!("{TRIGGERS}/{}", id(&made));
    let long = "x".repeat(513);
    for (config, field) in [
        (json!({ "collection": "Users" }), "config.collection"),
        (json!({ "collection": null }), "config.collection"),
        (json!({ "collection": 1 }), "config.collection"),
        (json!({ "collection": "a", "prefix": long }), "config.prefix"),
        (json!({ "collection": "a", "prefix": "a\0" }), "config.prefix"),
        (json!({ "collection": "a", "prefix": null }), "config.prefix"),
        (json!({ "collection": "a", "ops": [] }), "config.ops"),
        (json!({ "collection": "a", "ops": ["set", "insert"] }), "config.ops"),
        (json!({ "collection": "a", "ops": "set" }), "config.ops"),
        (json!({ "collection": "a", "ops": null }), "config.ops"),
        (json!({ "collection": "a", "queue": "mail" }), "config.queue"),
        (json!({ "collection": "a", "batch_size": 1 }), "config.batch_size"),
        (json!({ "collection": "a", "colour": 1 }), "config.colour"),
    ] {
        let body = json!({ "script_id": made["script_id"], "source": "kv", "config": config });
        assert_eq!(owner.post(TRIGGERS, body.clone()).await.invalid_fields(), [field], "{body}");
        assert_eq!(owner.patch(&path, json!({ "config": config })).await.invalid_fields(), [field], "{config}");
    }
    let body = |config: Value| json!({ "script_id": made["script_id"], "source": "kv", "config": config });
    assert_eq!(owner.post(TRIGGERS, body(json!({}))).await.invalid_fields(), ["config.collection"]);
    let op = owner.post(TRIGGERS, body(json!({ "collection": "a", "ops": [1] }))).await.invalid_fields();
    assert!(op[0].starts_with("config.ops"), "{op:?}");
    for source in ["queue", "dead_letter"] {
        let config = json!({ "queue": "mail", "collection": "a", "prefix": "", "ops": ["set"] });
        let body = json!({ "script_id": made["script_id"], "source": source, "config": config });
        let fields = owner.post(TRIGGERS, body).await.invalid_fields();
        let expected = ["config.collection", "config.prefix", "config.ops"];
        assert!(fields.ends_with(&expected.map(str::to_owned)), "{source}: {fields:?}");
    }
}

async fn the_page_tells_of_a_trigger_that_works(store: &Store) {
    let section = PAGE.split_once("\n## Triggers\n").unwrap().1;
    let block = |fence: &str| section.split_once(fence).unwrap().1.split_once("```\n").unwrap().0;
    let told: Value = serde_json::from_str(block("```json\n")).unwrap();
    let world = World::start(store).await;
    let owner = world.owner().await;
    let trigger = shop(&owner, block("```rhai handler\n"), told["config"].clone()).await;
    assert_eq!((&told["source"], &told["config"]), (&trigger["source"], &trigger["config"]));
    set(&owner, "users%2Fada", json!({ "value": { "name": "Ada" } })).await;
    set(&owner, "carts%2Fada", json!({ "value": { "name": "Ada" } })).await;
    let done = owner.get_until("/apps/shop/events?state=done", |page| page["items"] != json!([])).await;
    assert_eq!(owner.get("/apps/shop/kv/log/users%2Fada").await.is(200)["value"], "set: Ada");
    let [event] = &done["items"].as_array().unwrap()[..] else { panic!("{done}") };
    assert_eq!((&event["source"], &event["op"], &event["trigger_id"]), (&json!("kv"), &json!("set"), &trigger["id"]));
    owner.delete("/apps/shop/kv/default/users%2Fada").await.is(204);
    // The trigger is for what is set.
    assert_eq!(owner.get("/apps/shop/events?source=kv").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn a_script_that_sets_what_it_is_run_for_ends_as_a_dead_letter_of_a_loop(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    shop(&owner, r#"kv::incr("n", 1)"#, json!({ "collection": "default", "prefix": "n" })).await;
    set(&owner, "n", json!({ "value": 0 })).await;
    let letters = owner.get_until("/apps/shop/dead-letters", |page| page["items"] != json!([])).await;
    let [letter] = &letters["items"].as_array().unwrap()[..] else { panic!("{letters}") };
    assert!(letter["last_error"].as_str().unwrap().starts_with("a loop of triggers"), "{letter}");
    assert_eq!((&letter["attempt_count"], &letter["payload"]["value"]), (&json!(0), &json!(17)));
    // The event of the person's change, and sixteen that caused one another.
    assert_eq!(owner.get("/apps/shop/kv/default/n").await.is(200)["value"], 17);
    assert_eq!(owner.get("/apps/shop/events?state=waiting").await.is(200)["items"], json!([]));
}

async fn a_change_by_a_person_is_refused_where_its_event_has_no_room(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let trigger = shop(&owner, "1", json!({ "collection": "default" })).await;
    owner.patch(&format!("{TRIGGERS}/{}", id(&trigger)), json!({ "enabled": false })).await.is(200);
    set(&owner, "a", json!({ "value": 1 })).await;
    let full = "INSERT INTO event_apps (app_id, events, bytes) SELECT app_id, 100000, 0 FROM kv_apps WHERE true \
        ON CONFLICT (app_id) DO UPDATE SET events = 100000";
    test.tamper_with_data(full).await;
    owner.patch(&format!("{TRIGGERS}/{}", id(&trigger)), json!({ "enabled": true })).await.is(200);
    let refused = owner.send_json("PUT", "/apps/shop/kv/default/a", json!({ "value": 2 }).to_string()).await;
    let problem = refused.problem(422, "quota_exceeded");
    assert_eq!((&problem["limit"], &problem["ceiling"]), (&json!("events"), &json!(100_000)));
    assert_eq!(owner.get("/apps/shop/kv/default/a").await.is(200)["value"], 1);
    owner.delete("/apps/shop/kv/default/a").await.problem(422, "quota_exceeded");
    // Nothing of it stands in the audit log.
    let told = owner.get("/audit?action=kv.set").await.is(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1, "{told}");
}

on_both! {
    a_trigger_of_entries_is_set_up_shown_changed_and_published,
    what_no_trigger_of_entries_can_be_is_refused_by_field,
    the_page_tells_of_a_trigger_that_works,
    a_script_that_sets_what_it_is_run_for_ends_as_a_dead_letter_of_a_loop,
}

mod full {
    use super::a_change_by_a_person_is_refused_where_its_event_has_no_room;

    on_both! { damaged: a_change_by_a_person_is_refused_where_its_event_has_no_room }
}
