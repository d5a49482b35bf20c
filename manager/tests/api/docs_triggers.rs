//! Triggers of the source `docs`: setting them up, and what they are run for.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const TRIGGERS: &str = "/apps/shop/triggers";
const PAGE: &str = include_str!("../../../docs/services/docs.md");

/// The app `shop` with a handler of that source and a trigger of that config for it; the trigger.
async fn shop(owner: &Client, source: &str, config: Value) -> Value {
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "handler", source).await;
    owner.post(TRIGGERS, json!({ "script_id": id(&script), "source": "docs", "config": config })).await.is(201)
}

/// The id of the document of that number.
fn document(n: u32) -> String {
    format!("01990c6a-27b1-7cc0-9f6e-1f2e3d4c{n:04x}")
}

fn path(collection: &str, n: u32) -> String {
    format!("/apps/shop/docs/{collection}/{}", document(n))
}

async fn put(client: &Client, path: &str, document: Value) {
    client.send_json("PUT", path, json!({ "document": document }).to_string()).await.is(200);
}

async fn a_trigger_of_documents_is_set_up_shown_changed_and_published(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = shop(&owner, "1", json!({ "collection": "orders" })).await;
    assert_eq!(made["source"], "docs");
    let whole = json!({ "collection": "orders", "ops": ["insert", "update", "delete"] });
    assert_eq!(made["config"], whole);
    let path = format!("{TRIGGERS}/{}", id(&made));
    assert_eq!(owner.get(&path).await.is(200), made);
    let patch = json!({ "config": { "ops": ["delete", "insert", "insert"] } });
    let changed = owner.patch(&path, patch).await.is(200);
    assert_eq!(changed["config"], json!({ "collection": "orders", "ops": ["insert", "delete"] }));
    let moved = owner.patch(&path, json!({ "config": { "collection": "carts" } })).await.is(200);
    assert_eq!(moved["config"], json!({ "collection": "carts", "ops": ["insert", "delete"] }));
    // It is stored as it is shown: another node reads the same.
    let again = World::start(store).await;
    let (here, there) = (world.snapshot.load_full(), again.snapshot.load_full());
    let app = made["app_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(here.app(app).unwrap().triggers(), there.app(app).unwrap().triggers());
    assert_eq!(there.app(app).unwrap().triggers().len(), 1);
    // Any number of them may be for the same documents.
    let twin = json!({ "script_id": made["script_id"], "source": "docs", "config": moved["config"] });
    owner.post(TRIGGERS, twin).await.is(201);
}

async fn what_no_trigger_of_documents_can_be_is_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = shop(&owner, "1", json!({ "collection": "orders" })).await;
    let path = format!("{TRIGGERS}/{}", id(&made));
    for (config, field) in [
        (json!({ "collection": "Orders" }), "config.collection"),
        (json!({ "collection": "" }), "config.collection"),
        (json!({ "collection": null }), "config.collection"),
        (json!({ "collection": "a", "ops": [] }), "config.ops"),
        (json!({ "collection": "a", "ops": ["insert", "set"] }), "config.ops"),
        (json!({ "collection": "a", "ops": ["expire"] }), "config.ops"),
        (json!({ "collection": "a", "ops": null }), "config.ops"),
        (json!({ "collection": "a", "prefix": "" }), "config.prefix"),
        (json!({ "collection": "a", "queue": "mail" }), "config.queue"),
        (json!({ "collection": "a", "expression": "* * * * *" }), "config.expression"),
        (json!({ "collection": "a", "filter": {} }), "config.filter"),
    ] {
        let body = json!({ "script_id": made["script_id"], "source": "docs", "config": config });
        assert_eq!(owner.post(TRIGGERS, body.clone()).await.invalid_fields(), [field], "{body}");
        assert_eq!(owner.patch(&path, json!({ "config": config })).await.invalid_fields(), [field], "{config}");
    }
    let body = json!({ "script_id": made["script_id"], "source": "docs", "config": {} });
    assert_eq!(owner.post(TRIGGERS, body).await.invalid_fields(), ["config.collection"]);
    let body =
        json!({ "script_id": made["script_id"], "source": "kv", "config": { "collection": "a", "ops": ["insert"] } });
    assert_eq!(owner.post(TRIGGERS, body).await.invalid_fields(), ["config.ops"]);
}

async fn what_is_inserted_updated_and_deleted_runs_the_script_and_other_collections_do_not(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    // What it writes itself is in another collection.
    let source = r#"
        let told = ctx.event.payload;
        let n = if "document" in told { told.document.n } else { () };
        docs::collection("log").insert(#{ op: ctx.event.op, of: told.id, n: n });
    "#;
    let trigger = shop(&owner, source, json!({ "collection": "orders" })).await;
    put(&owner, &path("carts", 1), json!({ "n": 0 })).await;
    put(&owner, &path("orders", 1), json!({ "n": 1 })).await;
    put(&owner, &path("orders", 1), json!({ "n": 2 })).await;
    owner.delete(&path("orders", 1)).await.is(204);
    owner.delete(&path("orders", 1)).await.problem(404, "not_found");
    owner.delete(&path("carts", 1)).await.is(204);
    let all_done = |page: &Value| page["items"].as_array().unwrap().len() == 3;
    let done = owner.get_until("/apps/shop/events?state=done", all_done).await;
    assert!(done["items"].as_array().unwrap().iter().all(|event| event["trigger_id"] == trigger["id"]), "{done}");
    let log = owner.get("/apps/shop/docs/log?sort=n").await.is(200);
    let told: Vec<_> = log["items"].as_array().unwrap().iter().map(|item| item["document"].clone()).collect();
    let entry = |op: &str, n: Value| json!({ "op": op, "of": document(1), "n": n });
    assert_eq!(told, [entry("delete", Value::Null), entry("insert", json!(1)), entry("update", json!(2))]);
    // What is enabled later does not hear of what was before.
    owner.patch(&format!("{TRIGGERS}/{}", id(&trigger)), json!({ "enabled": false })).await.is(200);
    put(&owner, &path("orders", 2), json!({ "n": 3 })).await;
    assert_eq!(owner.get("/apps/shop/events?source=docs").await.is(200)["items"].as_array().unwrap().len(), 3);
}

async fn the_page_tells_of_a_trigger_of_documents_that_works(store: &Store) {
    let section = PAGE.split_once("\n## Triggers\n").unwrap().1;
    let block = |fence: &str| section.split_once(fence).unwrap().1.split_once("```\n").unwrap().0;
    let told: Value = serde_json::from_str(block("```json\n")).unwrap();
    let world = World::start(store).await;
    let owner = world.owner().await;
    let trigger = shop(&owner, block("```rhai handler\n"), told["config"].clone()).await;
    assert_eq!((&told["source"], &told["config"]), (&trigger["source"], &trigger["config"]));
    put(&owner, &path("orders", 1), json!({ "customer": "ada", "total": 250 })).await;
    let done = owner.get_until("/apps/shop/events?state=done", |page| page["items"] != json!([])).await;
    let kept = owner.get(&format!("/apps/shop/kv/thanks/{}", document(1))).await.is(200);
    assert_eq!(kept["value"], "insert: ada, 250");
    let [event] = &done["items"].as_array().unwrap()[..] else { panic!("{done}") };
    assert_eq!(
        (&event["source"], &event["op"], &event["trigger_id"]),
        (&json!("docs"), &json!("insert"), &trigger["id"])
    );
    // The trigger is for what is inserted.
    put(&owner, &path("orders", 1), json!({ "customer": "alan" })).await;
    owner.delete(&path("orders", 1)).await.is(204);
    assert_eq!(owner.get("/apps/shop/events?source=docs").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn a_script_that_updates_what_it_is_run_for_ends_as_a_dead_letter_of_a_loop(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let source = r#"
        let told = ctx.event.payload;
        docs::collection(told.collection).update(told.id, #{ n: told.document.n + 1 })
    "#;
    shop(&owner, source, json!({ "collection": "orders" })).await;
    put(&owner, &path("orders", 1), json!({ "n": 0 })).await;
    let letters = owner.get_until("/apps/shop/dead-letters", |page| page["items"] != json!([])).await;
    let [letter] = &letters["items"].as_array().unwrap()[..] else { panic!("{letters}") };
    assert!(letter["last_error"].as_str().unwrap().starts_with("a loop of triggers"), "{letter}");
    assert_eq!((&letter["attempt_count"], &letter["payload"]["document"]["n"]), (&json!(0), &json!(17)));
    // The event of the person's change, and sixteen that caused one another.
    assert_eq!(owner.get(&path("orders", 1)).await.is(200)["document"]["n"], 17);
    assert_eq!(owner.get("/apps/shop/events?state=waiting").await.is(200)["items"], json!([]));
}

async fn an_event_that_somebody_fires_is_such_as_the_trigger_is_first_for(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let trigger = shop(&owner, "1", json!({ "collection": "orders", "ops": ["delete", "update"] })).await;
    let fire = format!("{TRIGGERS}/{}/fire", id(&trigger));
    let made = owner.post(&fire, json!({ "payload": { "id": document(1) } })).await.is(202);
    let event = owner.get(&format!("/apps/shop/events/{}", made["event_id"].as_str().unwrap())).await.is(200);
    assert_eq!((&event["source"], &event["op"]), (&json!("docs"), &json!("update")));
}

async fn a_change_of_a_document_by_a_person_is_refused_where_its_event_has_no_room(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let trigger = shop(&owner, "1", json!({ "collection": "orders" })).await;
    owner.patch(&format!("{TRIGGERS}/{}", id(&trigger)), json!({ "enabled": false })).await.is(200);
    put(&owner, &path("orders", 1), json!({ "n": 1 })).await;
    let full = "INSERT INTO event_apps (app_id, events, bytes) SELECT app_id, 100000, 0 FROM docs_apps WHERE true \
        ON CONFLICT (app_id) DO UPDATE SET events = 100000";
    test.tamper_with_data(full).await;
    owner.patch(&format!("{TRIGGERS}/{}", id(&trigger)), json!({ "enabled": true })).await.is(200);
    for n in [1, 2] {
        let body = json!({ "document": { "n": 2 } }).to_string();
        let problem = owner.send_json("PUT", &path("orders", n), body).await.problem(422, "quota_exceeded");
        assert_eq!((&problem["limit"], &problem["ceiling"]), (&json!("events"), &json!(100_000)));
    }
    owner.delete(&path("orders", 1)).await.problem(422, "quota_exceeded");
    assert_eq!(owner.get(&path("orders", 1)).await.is(200)["document"], json!({ "n": 1 }));
    owner.get(&path("orders", 2)).await.problem(404, "not_found");
    // Other collections are nobody's.
    put(&owner, &path("carts", 1), json!({})).await;
    // Nothing of what was refused stands in the audit log.
    let told = owner.get("/audit?action=docs.set").await.is(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(owner.get("/audit?action=docs.delete").await.is(200)["items"], json!([]));
}

on_both! {
    a_trigger_of_documents_is_set_up_shown_changed_and_published,
    what_no_trigger_of_documents_can_be_is_refused_by_field,
    what_is_inserted_updated_and_deleted_runs_the_script_and_other_collections_do_not,
    the_page_tells_of_a_trigger_of_documents_that_works,
    a_script_that_updates_what_it_is_run_for_ends_as_a_dead_letter_of_a_loop,
    an_event_that_somebody_fires_is_such_as_the_trigger_is_first_for,
}

mod full {
    use super::a_change_of_a_document_by_a_person_is_refused_where_its_event_has_no_room;

    on_both! { damaged: a_change_of_a_document_by_a_person_is_refused_where_its_event_has_no_room }
}
