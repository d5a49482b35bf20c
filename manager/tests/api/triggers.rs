//! Triggers: setting them up, what depends on them, and what of them is published.

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::trigger::{Trigger, TriggerSource};
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const TRIGGERS: &str = "/apps/shop/triggers";

struct Shop {
    owner: Client,
    app: Value,
    script: Value,
}

async fn shop(world: &World) -> Shop {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "worker", "1").await;
    Shop { owner, app, script }
}

impl Shop {
    /// A body for a trigger of that queue.
    fn queue(&self, queue: &str) -> Value {
        json!({ "script_id": id(&self.script), "source": "queue", "config": { "queue": queue } })
    }

    /// The triggers that the data plane has.
    fn published(&self, world: &World) -> Vec<Trigger> {
        let snapshot = world.snapshot.load_full();
        let app = snapshot.app(id(&self.app).parse().unwrap()).unwrap();
        app.triggers().iter().map(|trigger| Trigger::clone(trigger)).collect()
    }
}

async fn a_trigger_is_set_up_shown_changed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let made = shop.owner.post(TRIGGERS, shop.queue("mail")).await;
    let etag = made.etag();
    let made = made.is(201);
    assert_eq!((&made["app_id"], &made["script_id"]), (&shop.app["id"], &shop.script["id"]));
    assert_eq!(made["source"], "queue");
    assert_eq!(made["config"], json!({ "queue": "mail", "batch_size": 1, "concurrency": 1 }));
    assert_eq!((&made["enabled"], &made["max_attempts"], &made["timeout_ms"]), (&json!(true), &json!(5), &Value::Null));
    assert_eq!(made["backoff"], json!({ "base_ms": 1_000, "cap_ms": 3_600_000 }));
    let path = format!("{TRIGGERS}/{}", id(&made));
    let got = shop.owner.get(&path).await;
    assert_eq!((got.etag(), got.is(200)), (etag.clone(), made.clone()));
    assert_eq!(shop.owner.get(TRIGGERS).await.is(200)["items"], json!([made]));

    let patch = json!({ "config": { "batch_size": 20 }, "backoff": { "cap_ms": 5_000 }, "timeout_ms": 500 });
    let changed = shop.owner.if_match(&etag).patch(&path, patch).await;
    assert_ne!(changed.etag(), etag);
    let changed = changed.is(200);
    assert_eq!(changed["config"], json!({ "queue": "mail", "batch_size": 20, "concurrency": 1 }));
    assert_eq!(changed["backoff"], json!({ "base_ms": 1_000, "cap_ms": 5_000 }));
    assert_eq!(changed["timeout_ms"], 500);
    shop.owner.if_match(&etag).patch(&path, json!({ "enabled": false })).await.problem(412, "precondition_failed");
    shop.owner.if_match(&etag).delete(&path).await.problem(412, "precondition_failed");
    let second = shop.owner.make_endpoint(&shop.app, "second", "2").await;
    let patch = json!({ "script_id": id(&second), "enabled": false, "max_attempts": 1, "timeout_ms": null });
    let changed = shop.owner.patch(&path, patch).await.is(200);
    assert_eq!((&changed["script_id"], &changed["enabled"]), (&second["id"], &json!(false)));
    assert_eq!((&changed["max_attempts"], &changed["timeout_ms"]), (&json!(1), &Value::Null));
    // A change that changes nothing leaves even the dates as they are.
    assert_eq!(shop.owner.patch(&path, json!({ "enabled": false })).await.is(200), changed);
    shop.owner.delete(&path).await.is(204);
    shop.owner.delete(&path).await.problem(404, "not_found");
    shop.owner.get(&path).await.problem(404, "not_found");

    let log = shop.owner.get("/audit?object_kind=trigger").await.is(200);
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().rev().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["trigger.create", "trigger.update", "trigger.update", "trigger.delete"]);
    assert_eq!(log["items"][0]["before"]["config"]["queue"], "mail");
}

async fn a_queue_has_one_trigger_as_dead_letters_have_and_entries_as_many_as_there_are(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let first = shop.owner.post(TRIGGERS, shop.queue("mail")).await.is(201);
    let refused = shop.owner.post(TRIGGERS, shop.queue("mail")).await.problem(409, "trigger_exists");
    assert_eq!(refused["conflict"], first);
    let other = shop.owner.post(TRIGGERS, shop.queue("sms")).await.is(201);
    let path = format!("{TRIGGERS}/{}", id(&other));
    let taken = json!({ "config": { "queue": "mail" } });
    let refused = shop.owner.patch(&path, taken.clone()).await.problem(409, "trigger_exists");
    assert_eq!(refused["conflict"], first);
    // One that does not run has its queue all the same.
    let paused = shop.owner.patch(&format!("{TRIGGERS}/{}", id(&first)), json!({ "enabled": false })).await;
    paused.is(200);
    shop.owner.patch(&path, taken.clone()).await.problem(409, "trigger_exists");
    shop.owner.delete(&format!("{TRIGGERS}/{}", id(&first))).await.is(204);
    assert_eq!(shop.owner.patch(&path, taken).await.is(200)["config"]["queue"], "mail");
    let handler = json!({ "script_id": id(&shop.script), "source": "dead_letter" });
    let made = shop.owner.post(TRIGGERS, handler.clone()).await.is(201);
    assert_eq!(made["config"], json!({}));
    assert_eq!(shop.owner.post(TRIGGERS, handler).await.problem(409, "trigger_exists")["conflict"], made);
    for _ in 0..2 {
        let config = json!({ "collection": "default" });
        let listener = json!({ "script_id": id(&shop.script), "source": "kv", "config": config });
        shop.owner.post(TRIGGERS, listener).await.is(201);
    }
    let blog = shop.owner.make_app("blog").await;
    let script = shop.owner.make_endpoint(&blog, "worker", "1").await;
    let same = json!({ "script_id": id(&script), "source": "queue", "config": { "queue": "mail" } });
    shop.owner.post("/apps/blog/triggers", same).await.is(201);
}

async fn of_many_triggers_of_one_queue_made_at_once_one_comes_to_be(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let attempts = (0..4).map(|_| {
        let (owner, body) = (shop.owner.clone(), shop.queue("mail"));
        async move { owner.post(TRIGGERS, body).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(attempts).await;
    statuses.sort();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

async fn triggers_that_could_not_run_are_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let owner = &shop.owner;
    let with = |member: &str, value: Value| {
        let mut body = shop.queue("mail");
        body[member] = value;
        body
    };
    let config = |config: Value| with("config", config);
    let handler = |config: Value| {
        let mut body = with("config", config);
        body["source"] = json!("dead_letter");
        body
    };
    for (body, fields) in [
        (with("source", json!("timer")), vec!["source"]),
        (with("source", json!(null)), vec!["source"]),
        (with("script_id", json!("0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a")), vec!["script_id"]),
        (config(json!({})), vec!["config.queue"]),
        (config(json!([])), vec!["config"]),
        (config(json!(null)), vec!["config"]),
        (config(json!({ "queue": "Mail" })), vec!["config.queue"]),
        (config(json!({ "queue": "" })), vec!["config.queue"]),
        (config(json!({ "queue": "mail", "batch_size": 0 })), vec!["config.batch_size"]),
        (config(json!({ "queue": "mail", "batch_size": 101 })), vec!["config.batch_size"]),
        (
            config(json!({ "queue": "mail", "concurrency": 65, "batch_size": -1 })),
            vec!["config.batch_size", "config.concurrency"],
        ),
        (config(json!({ "queue": "mail", "collection": "a" })), vec!["config.collection"]),
        (handler(json!({ "queue": "mail" })), vec!["config.queue"]),
        (with("max_attempts", json!(0)), vec!["max_attempts"]),
        (with("max_attempts", json!(101)), vec!["max_attempts"]),
        (with("backoff", json!([1, 2])), vec!["backoff"]),
        (with("backoff", json!({ "base_ms": 0 })), vec!["backoff.base_ms"]),
        (with("backoff", json!({ "base_ms": 10, "cap_ms": 9 })), vec!["backoff.cap_ms"]),
        (with("backoff", json!({ "cap_ms": 86_400_001 })), vec!["backoff.cap_ms"]),
        (with("timeout_ms", json!(-1)), vec!["timeout_ms"]),
        (with("colour", json!("red")), vec!["colour"]),
    ] {
        assert_eq!(owner.post(TRIGGERS, body.clone()).await.invalid_fields(), fields, "{body}");
    }
    let refused = owner.post(TRIGGERS, with("timeout_ms", json!(60_001))).await.problem(422, "limit_over_ceiling");
    assert_eq!((&refused["limit"], &refused["errors"][0]["field"]), (&json!("timeout_ms"), &json!("timeout_ms")));
    let module = owner.make_module(&shop.app, "lib", "fn f() { 1 }").await;
    let of_module = with("script_id", json!(id(&module)));
    let refused = owner.post(TRIGGERS, of_module).await.problem(422, "module_not_triggerable");
    assert_eq!(refused["errors"][0]["field"], "script_id");
    let blog = owner.make_app("blog").await;
    let foreign = owner.make_endpoint(&blog, "worker", "1").await;
    assert_eq!(owner.post(TRIGGERS, with("script_id", json!(id(&foreign)))).await.invalid_fields(), ["script_id"]);

    let made = owner.post(TRIGGERS, shop.queue("mail")).await.is(201);
    let path = format!("{TRIGGERS}/{}", id(&made));
    for (patch, field) in [
        (json!({ "source": "dead_letter" }), "source"),
        (json!({ "config": { "batch_size": 0 } }), "config.batch_size"),
        (json!({ "backoff": { "base_ms": 3_600_001 } }), "backoff.cap_ms"),
        (json!({ "script_id": id(&foreign) }), "script_id"),
    ] {
        assert_eq!(owner.patch(&path, patch.clone()).await.invalid_fields(), [field], "{patch}");
    }
    owner.patch(&path, json!({ "script_id": id(&module) })).await.problem(422, "module_not_triggerable");
    assert_eq!(owner.get(&path).await.is(200), made);
    // By the address of another app it is not there.
    owner.get(&format!("/apps/blog/triggers/{}", id(&made))).await.problem(404, "not_found");
    let elsewhere = format!("/apps/blog/triggers/{}", id(&made));
    owner.patch(&elsewhere, json!({ "enabled": false })).await.problem(404, "not_found");
    owner.delete(&elsewhere).await.problem(404, "not_found");
}

async fn a_cron_trigger_is_told_when_it_ticks(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let owner = &shop.owner;
    let cron = |config: Value| json!({ "script_id": id(&shop.script), "source": "cron", "config": config });
    let made = owner.post(TRIGGERS, cron(json!({ "expression": " 0  3 29 feb * " }))).await.is(201);
    assert_eq!(made["config"], json!({ "expression": "0 3 29 feb *", "time_zone": "UTC", "misfire": "once" }));
    assert_eq!(made["next_tick_at"], "2028-02-29T03:00:00.000Z");
    let path = format!("{TRIGGERS}/{}", id(&made));
    let zone = json!({ "config": { "time_zone": "europe/zurich", "misfire": "all" } });
    let changed = owner.patch(&path, zone).await.is(200);
    let config = json!({ "expression": "0 3 29 feb *", "time_zone": "Europe/Zurich", "misfire": "all" });
    assert_eq!((&changed["config"], &changed["next_tick_at"]), (&config, &json!("2028-02-29T02:00:00.000Z")));
    assert_eq!(owner.get(TRIGGERS).await.is(200)["items"], json!([changed]));
    let paused = owner.patch(&path, json!({ "enabled": false })).await.is(200);
    assert_eq!(paused.get("next_tick_at"), None);
    let [trigger] = &shop.published(&world)[..] else { panic!("one is published") };
    assert!(
        matches!(&trigger.source, TriggerSource::Cron { schedule, .. } if schedule.time_zone.as_str() == "Europe/Zurich")
    );

    for (config, fields) in [
        (json!({}), vec!["config.expression"]),
        (json!({ "expression": "" }), vec!["config.expression"]),
        (json!({ "expression": "* * * *" }), vec!["config.expression"]),
        (json!({ "expression": "61 * * * *" }), vec!["config.expression"]),
        (json!({ "expression": "0 0 31 2 *" }), vec!["config.expression"]),
        (json!({ "expression": "* ".repeat(65) }), vec!["config.expression"]),
        (json!({ "expression": 5 }), vec!["config.expression"]),
        (json!({ "expression": "* * * * *", "time_zone": "Europe/Bern" }), vec!["config.time_zone"]),
        (json!({ "expression": "* * * * *", "time_zone": "" }), vec!["config.time_zone"]),
        (json!({ "expression": "* * * * *", "time_zone": null }), vec!["config.time_zone"]),
        (json!({ "expression": "* * * * *", "misfire": "never" }), vec!["config.misfire"]),
        (json!({ "expression": "* * * * *", "queue": "mail" }), vec!["config.queue"]),
    ] {
        assert_eq!(owner.post(TRIGGERS, cron(config.clone())).await.invalid_fields(), fields, "{config}");
    }
    for (patch, field) in [
        (json!({ "config": { "expression": "0 0 30 2 *" } }), "config.expression"),
        (json!({ "config": { "time_zone": "Mars/Olympus" } }), "config.time_zone"),
        (json!({ "config": { "batch_size": 2 } }), "config.batch_size"),
    ] {
        assert_eq!(owner.patch(&path, patch.clone()).await.invalid_fields(), [field], "{patch}");
    }
    let mut queue = shop.queue("mail");
    queue["config"]["expression"] = json!("* * * * *");
    assert_eq!(owner.post(TRIGGERS, queue).await.invalid_fields(), ["config.expression"]);
}

async fn a_script_with_triggers_stays_an_endpoint_and_goes_with_them(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let made = shop.owner.post(TRIGGERS, shop.queue("mail")).await.is(201);
    let script = format!("/scripts/{}", id(&shop.script));
    let module = json!({ "kind": "module", "source": "fn f() { 1 }" });
    let refused = shop.owner.patch(&script, module.clone()).await.problem(409, "script_in_use");
    assert_eq!((&refused["triggers"], &refused["routes"]), (&json!([made]), &json!([])));
    // Nor by way of a deployment.
    let worker = json!({ "name": "worker", "kind": "module", "source": "fn f() { 1 }" });
    let document = json!({ "format": 1, "scripts": [worker] }).to_string();
    let refused = shop.owner.send_json("PUT", "/apps/shop/deployment", document).await.problem(409, "script_in_use");
    assert_eq!((&refused["triggers"], &refused["errors"][0]["field"]), (&json!([made]), &json!("scripts[0].kind")));
    assert_eq!(shop.owner.get(&script).await.is(200)["kind"], "endpoint");

    shop.owner.delete(&script).await.is(204);
    assert_eq!(shop.owner.get(TRIGGERS).await.is(200)["items"], json!([]));
    assert_eq!(shop.published(&world), []);
}

async fn a_change_of_a_trigger_is_published_before_it_is_answered(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    assert_eq!(shop.published(&world), []);
    let made = shop.owner.post(TRIGGERS, shop.queue("mail")).await.is(201);
    let [trigger] = &shop.published(&world)[..] else { panic!("one is published") };
    assert_eq!((trigger.id.to_string(), trigger.enabled), (id(&made).to_owned(), true));
    assert!(matches!(&trigger.source, TriggerSource::Queue { queue, .. } if queue.as_str() == "mail"));
    let path = format!("{TRIGGERS}/{}", id(&made));
    shop.owner.patch(&path, json!({ "enabled": false })).await.is(200);
    assert!(!shop.published(&world)[0].enabled);
    // What is published at a start is what was published change by change.
    let again = World::start(store).await;
    assert_eq!(shop.published(&again), shop.published(&world));
    shop.owner.delete(&path).await.is(204);
    assert_eq!(shop.published(&world), []);
}

async fn an_app_has_a_hundred_triggers_and_no_more(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    for n in 0..100 {
        shop.owner.post(TRIGGERS, shop.queue(&format!("q{n}"))).await.is(201);
    }
    let refused = shop.owner.post(TRIGGERS, shop.queue("more")).await.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("triggers"), &json!(100)));
}

async fn members_of_another_app_see_no_trigger(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let made = shop.owner.post(TRIGGERS, shop.queue("mail")).await.is(201);
    let other = shop.owner.make_app("other").await;
    let member = world.member("mo", &other, AppRole::AppAdmin).await;
    for path in [TRIGGERS.to_owned(), format!("{TRIGGERS}/{}", id(&made))] {
        member.get(&path).await.problem(404, "not_found");
    }
    member.get(&format!("/apps/other/triggers/{}", id(&made))).await.problem(404, "not_found");
}

async fn a_trigger_that_cannot_be_read_is_left_out_and_can_be_deleted(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let bad = shop.owner.post(TRIGGERS, shop.queue("bad")).await.is(201);
    let good = shop.owner.post(TRIGGERS, shop.queue("good")).await.is(201);
    test.tamper("UPDATE triggers SET config = '{\"queue\": \"bad\", \"batch_size\": 0, \"concurrency\": 1}' WHERE sole = 'queue:bad'")
        .await;
    assert_eq!(shop.owner.get(TRIGGERS).await.is(200)["items"], json!([good]));
    let path = format!("{TRIGGERS}/{}", id(&bad));
    shop.owner.get(&path).await.problem(500, "internal");
    let again = World::start(&test.store).await;
    assert_eq!(shop.published(&again).len(), 1);
    assert_eq!(
        shop.owner.post(TRIGGERS, shop.queue("bad")).await.problem(409, "trigger_exists")["conflict"],
        Value::Null
    );
    shop.owner.delete(&path).await.is(204);
    shop.owner.post(TRIGGERS, shop.queue("bad")).await.is(201);
}

on_both! {
    a_trigger_is_set_up_shown_changed_and_deleted,
    a_queue_has_one_trigger_as_dead_letters_have_and_entries_as_many_as_there_are,
    of_many_triggers_of_one_queue_made_at_once_one_comes_to_be,
    triggers_that_could_not_run_are_refused_by_field,
    a_cron_trigger_is_told_when_it_ticks,
    a_script_with_triggers_stays_an_endpoint_and_goes_with_them,
    a_change_of_a_trigger_is_published_before_it_is_answered,
    an_app_has_a_hundred_triggers_and_no_more,
    members_of_another_app_see_no_trigger,
}

mod damaged {
    use super::a_trigger_that_cannot_be_read_is_left_out_and_can_be_deleted;

    on_both! { damaged: a_trigger_that_cannot_be_read_is_left_out_and_can_be_deleted }
}
