//! What a document tells beside scripts, routes and domains: triggers, env, and which secrets are wanted.

use picloud_manager::store::Store;
use serde_json::{Value, json};

use super::{changes, deploy, document, module, script, shop};
use crate::world::{Client, World, id};

/// A document of two endpoints with these further members.
fn with(members: Value) -> Value {
    let mut document =
        document(&[script("pack", "kv::set(\"packed\", env::get(\"GREETING\"))", &[]), script("ship", "1", &[])]);
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn queue(script: &str, queue: &str) -> Value {
    json!({ "script": script, "source": "queue", "config": { "queue": queue } })
}

async fn triggers_of(owner: &Client, app: &str) -> Vec<Value> {
    owner.get(&format!("/apps/{app}/triggers")).await.is(200)["items"].as_array().unwrap().clone()
}

async fn an_import_has_the_triggers_and_env_of_what_was_exported_and_no_value_of_a_secret(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let cron = json!({
        "script": "ship", "source": "cron", "config": { "expression": "25 0 * * *", "time_zone": "Europe/Zurich", "misfire": "skip" },
        "enabled": false, "max_attempts": 7, "backoff": { "base_ms": 5, "cap_ms": 6 }, "timeout_ms": 90,
    });
    let members = json!({
        "triggers": [queue("pack", "orders"), cron, { "script": "ship", "source": "dead_letter" },
            { "script": "ship", "source": "docs", "config": { "collection": "orders", "ops": ["insert"] } }],
        "env": { "GREETING": "hello", "EMPTY": "" },
    });
    let done = deploy(&owner, "shop", &with(members)).await.is(200);
    let made: Vec<_> = changes(&done).into_iter().filter(|change| !change.contains(" script ")).collect();
    let expected = [
        "create trigger queue orders",
        "create trigger cron 25 0 * * *",
        "create trigger dead_letter",
        "create trigger docs orders",
        "create env EMPTY",
        "create env GREETING",
    ];
    assert_eq!(made, expected);
    owner
        .send_json("PUT", "/apps/shop/secrets/PAYMENT_KEY", json!({ "value": "four score and seven" }).to_string())
        .await
        .is(200);

    let exported = owner.get("/apps/shop/export").await.is(200);
    assert_eq!(exported["secrets"], json!(["PAYMENT_KEY"]));
    assert!(!exported.to_string().contains("four score"), "{exported}");
    let trial = owner.post("/apps:import?slug=copy&without_domains=true&dry_run=true", exported.clone()).await.is(200);
    assert_eq!(trial["missing_secrets"], json!(["PAYMENT_KEY"]));
    owner.post("/apps:import?slug=copy&without_domains=true", exported.clone()).await.is(201);
    let mut again = owner.get("/apps/copy/export").await.is(200);
    (again["app"]["slug"], again["domains"], again["secrets"]) =
        (json!("shop"), exported["domains"].clone(), json!(["PAYMENT_KEY"]));
    assert_eq!(again, exported, "what is exported of it is what was imported");
    owner.send_message("copy", "orders", json!(1)).await;
    owner.get_until("/apps/copy/kv/default", |page| page["items"][0]["value"] == "hello").await;

    // Which secrets are wanted changes nothing, and which of them are missing is told.
    let mut same = exported;
    same.as_object_mut().unwrap().remove("domains");
    let lacking = deploy(&owner, "copy", &same).await.is(200);
    assert_eq!(lacking, json!({ "applied": false, "changes": [], "missing_secrets": ["PAYMENT_KEY"] }));
}

async fn what_a_document_does_not_tell_of_stays_and_what_it_tells_is_all_there_is(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let mut paused = queue("pack", "orders");
    paused["enabled"] = json!(false);
    let members = json!({
        "triggers": [paused, { "script": "ship", "source": "kv", "config": { "collection": "stock" } }],
        "env": { "GREETING": "hello", "COLOUR": "red" },
    });
    deploy(&owner, "shop", &with(members.clone())).await.is(200);
    let waiting = owner.send_message("shop", "orders", json!(1)).await;
    let before = triggers_of(&owner, "shop").await;
    assert_eq!(deploy(&owner, "shop", &with(json!({}))).await.is(200)["changes"], json!([]));
    assert_eq!(deploy(&owner, "shop", &with(members)).await.is(200)["changes"], json!([]));
    assert_eq!(triggers_of(&owner, "shop").await, before);

    // A queue's trigger runs another script, and stays the one that it is; the other trigger and a setting go.
    let moved = with(json!({ "triggers": [queue("ship", "orders")], "env": { "GREETING": "servus" } }));
    let done = deploy(&owner, "shop", &moved).await;
    let tag = done.etag();
    let done = done.is(200);
    assert_eq!(owner.get("/apps/shop/export").await.etag(), tag, "of what it led to");
    let expected =
        ["delete trigger kv stock", "update trigger queue orders", "delete env COLOUR", "update env GREETING"];
    assert_eq!(changes(&done), expected);
    let after = triggers_of(&owner, "shop").await;
    let of_queue = before.iter().find(|trigger| trigger["source"] == "queue").unwrap();
    assert_eq!((after.len(), id(&after[0])), (1, id(of_queue)));
    let path = format!("/apps/shop/events/{waiting}");
    owner.get_until(&path, |event| event["state"] == "done").await;
    let audit = owner.get("/audit?limit=200").await.is(200);
    for action in ["trigger.create", "trigger.update", "trigger.delete", "env.set", "env.delete"] {
        assert!(audit["items"].as_array().unwrap().iter().any(|row| row["action"] == action), "{action}");
    }

    // A trigger goes with its script, whether the document tells of triggers or not.
    let mut without = document(&[script("pack", "1", &[])]);
    let trial = owner.send_json("PUT", "/apps/shop/deployment?dry_run=true", without.to_string()).await.is(200);
    assert_eq!(changes(&trial), ["delete trigger queue orders", "delete script ship", "update script pack"]);
    without["triggers"] = json!([queue("pack", "orders")]);
    let done = deploy(&owner, "shop", &without).await.is(200);
    assert_eq!(changes(&done), [&changes(&trial)[..], &["create trigger queue orders".to_owned()]].concat());
    // So does one become a module.
    let module = document(&[module("pack", "fn f() { 1 }")]);
    deploy(&owner, "shop", &module).await.problem(409, "script_in_use");
    let mut freed = module;
    freed["triggers"] = json!([]);
    assert_eq!(changes(&deploy(&owner, "shop", &freed).await.is(200)).len(), 2);
}

async fn a_wrong_trigger_or_setting_is_told_by_its_place(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let timed = |ms: u64| json!({ "script": "pack", "source": "dead_letter", "timeout_ms": ms });
    let many: Vec<_> = (0..101).map(|n| queue("pack", &format!("q{n}"))).collect();
    let settings: serde_json::Map<_, _> = (0..201).map(|n| (format!("S{n}"), json!(""))).collect();
    let cases = [
        (json!({ "triggers": [queue("gone", "a")] }), "triggers[0].script"),
        (json!({ "triggers": [queue("lib", "a")] }), "triggers[0].script"),
        (json!({ "triggers": [queue("pack", "a"), queue("ship", "a")] }), "triggers[1].source"),
        (json!({ "triggers": [timed(1), timed(1)] }), "triggers[1].source"),
        (json!({ "triggers": [queue("pack", "a"), queue("pack", "Not A Queue")] }), "triggers[1].config.queue"),
        (json!({ "triggers": [{ "script": "pack", "source": "queue" }] }), "triggers[0].config.queue"),
        (
            json!({ "triggers": [{ "script": "pack", "source": "cron", "config": { "expression": "99 * * * *" } }] }),
            "triggers[0].config.expression",
        ),
        (json!({ "triggers": [{ "script": "pack", "source": "http" }] }), "triggers[0].source"),
        (
            json!({ "triggers": [{ "script": "pack", "source": "dead_letter", "max_attempts": 0 }] }),
            "triggers[0].max_attempts",
        ),
        (json!({ "triggers": [{ "script": "pack", "source": "dead_letter", "color": 1 }] }), "triggers[0].color"),
        (json!({ "triggers": [timed(999_999_999)] }), "triggers[0].timeout_ms"),
        (json!({ "triggers": many }), "triggers"),
        (json!({ "env": settings }), "env"),
        (json!({ "env": { "A": 1 } }), "env.A"),
        (json!({ "secrets": ["not a name"] }), "secrets[0]"),
    ];
    for (members, field) in cases {
        let mut document = with(members);
        document["scripts"].as_array_mut().unwrap().push(module("lib", "fn f() { 1 }"));
        let answer = deploy(&owner, "shop", &document).await;
        assert_eq!(answer.invalid_fields(), [field], "{document}");
    }
    assert!(triggers_of(&owner, "shop").await.is_empty());
}

async fn whoever_may_not_read_data_neither_sees_env_nor_finds_it_out(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    deploy(&owner, "shop", &with(json!({ "env": { "PIN": "1234" } }))).await.is(200);
    owner
        .send_json("PUT", "/apps/shop/secrets/KEY", json!({ "value": "four score and seven" }).to_string())
        .await
        .is(200);
    let key = async |scopes: &[&str]| {
        let key = json!({ "name": "ci", "scopes": scopes, "app_id": id(&app) });
        let key = owner.post("/api-keys", key).await.is(201);
        world.stranger().bearer(key["key"].as_str().unwrap())
    };
    let ci = key(&["apps:read", "scripts:read", "scripts:write"]).await;
    let exported = ci.get("/apps/shop/export").await;
    let exported = exported.is(200);
    assert_eq!((exported.get("env"), exported.get("secrets")), (None, None));
    for guess in ["1234", "1235"] {
        let refused = deploy(&ci, "shop", &with(json!({ "env": { "PIN": guess } }))).await;
        assert_eq!(refused.problem(403, "insufficient_scope")["scope"], "data:read");
    }
    // A trigger goes with its script by the right that deleting the script takes.
    let made = deploy(&owner, "shop", &with(json!({ "triggers": [queue("ship", "orders")] }))).await.is(200);
    assert_eq!(changes(&made), ["create trigger queue orders"]);
    let without = document(&[script("pack", "kv::set(\"packed\", env::get(\"GREETING\"))", &[])]);
    assert_eq!(
        changes(&deploy(&ci, "shop", &without).await.is(200)),
        ["delete trigger queue orders", "delete script ship"]
    );
    let tag = ci.get("/apps/shop/export").await.etag();
    let told = deploy(&ci, "shop", &json!({ "format": 1, "scripts": without["scripts"], "secrets": ["KEY", "OTHER"] }))
        .await
        .is(200);
    assert_eq!(told["missing_secrets"], json!([]));
    owner.send_json("PUT", "/apps/shop/env/PIN", json!({ "value": "5678" }).to_string()).await.is(200);
    assert_eq!(ci.get("/apps/shop/export").await.etag(), tag, "the tag tells nothing of it");

    // Changing them takes the rights that changing them one by one takes.
    deploy(&owner, "shop", &with(json!({}))).await.is(200);
    let reader = key(&["apps:read", "scripts:read", "scripts:write", "data:read"]).await;
    assert_eq!(deploy(&reader, "shop", &with(json!({ "env": { "PIN": "5678" } }))).await.is(200)["changes"], json!([]));
    let refused = deploy(&reader, "shop", &with(json!({ "env": {} }))).await;
    assert_eq!(refused.problem(403, "insufficient_scope")["scope"], "data:write");
    let refused = deploy(&reader, "shop", &with(json!({ "triggers": [queue("pack", "orders")] }))).await;
    assert_eq!(refused.problem(403, "insufficient_scope")["scope"], "triggers:write");
}

on_both! {
    an_import_has_the_triggers_and_env_of_what_was_exported_and_no_value_of_a_secret,
    what_a_document_does_not_tell_of_stays_and_what_it_tells_is_all_there_is,
    a_wrong_trigger_or_setting_is_told_by_its_place,
    whoever_may_not_read_data_neither_sees_env_nor_finds_it_out,
}
