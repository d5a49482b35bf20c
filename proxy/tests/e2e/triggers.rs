//! Events, from what makes them to what has become of them, on the real program and over its kills.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, PATIENCE, TestCloud, on_both_databases, text};

/// Sends what its address says to the queue `orders`.
const SENDER: &str = r#"queue::send("orders", #{ n: ctx.request.query.n })"#;

impl TestCloud {
    /// Makes the script `name` of the app `shop` handle what `source` and `config` say; gives the trigger's id.
    pub async fn trigger(&self, script: &str, source: &str, config: Value, more: Value) -> String {
        let mut body = json!({ "script_id": script, "source": source, "config": config });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&self.must(Method::POST, "apps/shop/triggers", Some(body)).await["id"])
    }

    /// Asks until the answer is as wanted; gives it.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.must(Method::GET, path, None).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_event_is(&self, id: &str, state: &str) -> Value {
        self.until(&format!("apps/shop/events/{id}"), |event| event["state"] == state).await
    }

    pub async fn send(&self, queue: &str, payload: Value) -> String {
        let messages = format!("apps/shop/queues/{queue}");
        text(&self.must(Method::POST, &messages, Some(json!({ "payload": payload }))).await["event_id"])
    }
}

/// A shop whose `GET /` sends to the queue `orders`; gives the id of the app.
async fn shop(cloud: &TestCloud) -> String {
    let app = cloud.app("shop", "shop.test").await;
    let sender = cloud.script(&app, "sender", "endpoint", SENDER).await;
    cloud.route(&sender, "exact", "/", "GET").await;
    app
}

on_both_databases! {
    async fn a_message_that_a_script_sends_is_handled_with_its_id_payload_and_attempt(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        let source = r#"
            let e = ctx.event;
            kv::set("told", `${e.source} ${e.op} ${e.attempt} ${e.payload.n} ${e.batch.len()} ${ctx.request == ()}`);
            kv::set("id", e.id);
        "#;
        let handler = cloud.script(&app, "handler", "endpoint", source).await;
        let trigger = cloud.trigger(&handler, "queue", json!({ "queue": "orders" }), json!({})).await;
        let (status, id) = cloud.visit("shop.test", "/?n=7").await;
        assert_eq!(status, 200, "{id}");
        let event = cloud.until_event_is(&id, "done").await;
        let told = cloud.must(Method::GET, "apps/shop/kv/default/told", None).await;
        assert_eq!(told["value"], "queue message 1 7 1 true");
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/id", None).await["value"], event["id"]);
        assert_eq!((&event["queue"], &event["trigger_id"]), (&json!("orders"), &json!(trigger)));
        let [attempt] = &event["attempts"].as_array().unwrap()[..] else { panic!("{event}") };
        assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(1), &json!("success")));
        // The attempt's execution tells of the trigger and the event.
        let logged = |page: &Value| page["items"].as_array().unwrap().iter().find(|r| r["id"] == attempt["execution_id"]).cloned();
        let record = logged(&cloud.until("apps/shop/logs", |page| logged(page).is_some()).await).unwrap();
        assert_eq!(record["origin"], json!({ "kind": "trigger", "trigger_id": trigger }));
        assert!(record["request"].is_null(), "{record}");
        assert_eq!((&record["events"][0]["id"], &record["events"][0]["payload"]), (&event["id"], &json!("{\"n\":\"7\"}")));
    }

    async fn what_fails_is_tried_as_often_as_said_and_becomes_a_dead_letter_that_is_replayed(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        let broken = r#"kv::incr("attempts", 1); throw "no stock for " + ctx.event.payload.n"#;
        let handler = cloud.script(&app, "handler", "endpoint", broken).await;
        let quick = json!({ "max_attempts": 3, "backoff": { "base_ms": 1, "cap_ms": 1 } });
        let trigger = cloud.trigger(&handler, "queue", json!({ "queue": "orders" }), quick).await;
        let collector = r#"kv::set("letter", ctx.event.payload.event_id); kv::set("why", ctx.event.payload.last_error);"#;
        let collector = cloud.script(&app, "collector", "endpoint", collector).await;
        cloud.trigger(&collector, "dead_letter", json!({}), json!({})).await;

        let id = cloud.send("orders", json!({ "n": 1 })).await;
        let event = cloud.until_event_is(&id, "dead").await;
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/attempts", None).await["value"], 3);
        let outcomes: Vec<_> = event["attempts"].as_array().unwrap().iter().map(|a| &a["outcome"]).collect();
        assert_eq!(outcomes, ["error", "error", "error"]);
        assert_eq!(cloud.must(Method::GET, "apps/shop/dead-letters:count", None).await["count"], 1);
        let letter = cloud.must(Method::GET, &format!("apps/shop/dead-letters/{}", text(&event["dead_letter_id"])), None).await;
        assert_eq!((&letter["attempt_count"], &letter["trigger_id"]), (&json!(3), &json!(trigger)));
        assert_eq!((&letter["payload"], &letter["event_id"]), (&json!({ "n": 1 }), &json!(id)));
        assert!(letter["last_error"].as_str().unwrap().starts_with("no stock for 1"), "{letter}");
        // Whoever handles dead letters was told.
        let told = cloud.until("apps/shop/events?source=dead_letter&state=done", |page| page["items"] != json!([])).await;
        assert_eq!(told["items"][0]["op"], "created");
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/letter", None).await["value"], json!(id));

        cloud.edit(&handler, r#"kv::set("sold", ctx.event.payload.n)"#).await;
        let replay = format!("apps/shop/dead-letters/{}/replay", text(&letter["id"]));
        let made = cloud.must(Method::POST, &replay, Some(json!({ "payload": { "n": 2 } }))).await;
        let again = cloud.until_event_is(&text(&made["event_id"]), "done").await;
        assert_eq!(again["replay_of"], letter["id"]);
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/sold", None).await["value"], 2);
        assert_eq!(cloud.api(Method::POST, &replay, Some(json!({}))).await.0, 409);
        assert_eq!(cloud.must(Method::GET, "apps/shop/dead-letters:count", None).await["count"], 0);
    }

    async fn messages_of_a_queue_of_one_run_at_a_time_are_handled_in_their_order_and_in_batches(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        for n in 0..25 {
            cloud.send("orders", json!(n)).await;
        }
        // Atomic as it is: no two runs at a time.
        let source = r#"
            let seen = kv::get("seen", []);
            for e in ctx.event.batch { seen.push(e.payload); }
            kv::set("seen", seen);
            kv::set("batches", kv::get("batches", []) + [ctx.event.batch.len()]);
        "#;
        let handler = cloud.script(&app, "handler", "endpoint", source).await;
        cloud.trigger(&handler, "queue", json!({ "queue": "orders", "batch_size": 10 }), json!({})).await;
        cloud.until("apps/shop/queues", |queues| queues["items"] == json!([])).await;
        let seen = cloud.must(Method::GET, "apps/shop/kv/default/seen", None).await;
        assert_eq!(seen["value"], json!((0..25).collect::<Vec<_>>()));
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/batches", None).await["value"], json!([10, 10, 5]));
    }

    async fn what_a_batch_says_failed_is_tried_again_alone(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        for n in 0..4 {
            cloud.send("orders", json!(n)).await;
        }
        let source = r#"
            let failed = [];
            for e in ctx.event.batch {
                kv::incr(`tried-${e.payload}`, 1);
                if e.payload == 2 && e.attempt == 1 { failed.push(e.id); }
            }
            #{ failed: failed }
        "#;
        let handler = cloud.script(&app, "handler", "endpoint", source).await;
        let quick = json!({ "backoff": { "base_ms": 1, "cap_ms": 1 } });
        cloud.trigger(&handler, "queue", json!({ "queue": "orders", "batch_size": 4 }), quick).await;
        cloud.until("apps/shop/queues", |queues| queues["items"] == json!([])).await;
        for (n, tried) in [(0, 1), (1, 1), (2, 2), (3, 1)] {
            let entry = cloud.must(Method::GET, &format!("apps/shop/kv/default/tried-{n}"), None).await;
            assert_eq!(entry["value"], tried, "{n}");
        }
    }

    async fn a_call_that_nobody_waits_for_is_handled_by_its_script_and_tried_again(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = cloud.app("shop", "shop.test").await;
        let caller = r#"invoke_async("later", #{ n: 1 })"#;
        let caller = cloud.script(&app, "caller", "endpoint", caller).await;
        cloud.route(&caller, "exact", "/", "GET").await;
        let (status, refused) = cloud.visit("shop.test", "/").await;
        assert_eq!(status, 500, "there is no such script yet: {refused}");
        let source = r#"
            let e = ctx.event;
            if e.attempt == 1 { throw "once" }
            kv::set("told", `${e.source} ${e.op} ${e.attempt} ${e.payload.n}`);
        "#;
        cloud.script(&app, "later", "endpoint", source).await;
        let (status, id) = cloud.visit("shop.test", "/").await;
        assert_eq!(status, 200, "{id}");
        cloud.until_event_is(&id, "done").await;
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/told", None).await["value"], "invoke call 2 1");
        let logged = |page: &Value| page["items"].as_array().unwrap().iter().any(|r| r["origin"] == json!({ "kind": "event" }));
        cloud.until("apps/shop/logs", logged).await;
    }

    async fn why_a_script_failed_is_kept_without_the_secrets_that_it_was_given(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        cloud.must(Method::PUT, "apps/shop/secrets/KEY", Some(json!({ "value": "correct-horse-battery" }))).await;
        let handler = cloud.script(&app, "handler", "endpoint", r#"throw "bad key " + secrets::get("KEY")"#).await;
        cloud.trigger(&handler, "queue", json!({ "queue": "orders" }), json!({ "max_attempts": 1 })).await;
        let id = cloud.send("orders", json!(1)).await;
        let event = cloud.until_event_is(&id, "dead").await;
        let letter = cloud.must(Method::GET, &format!("apps/shop/dead-letters/{}", text(&event["dead_letter_id"])), None).await;
        assert!(letter["last_error"].as_str().unwrap().starts_with("bad key [secret KEY]"), "{letter}");
        assert!(!format!("{event}{letter}").contains("correct-horse"), "{event}{letter}");
    }

    async fn a_trigger_that_is_off_for_a_moment_handles_what_came_meanwhile(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        let handler = cloud.script(&app, "handler", "endpoint", "kv::incr(\"runs\", 1);").await;
        let trigger = cloud.trigger(&handler, "queue", json!({ "queue": "orders" }), json!({})).await;
        let trigger = format!("apps/shop/triggers/{trigger}");
        for round in 1..=5 {
            cloud.must(Method::PATCH, &trigger, Some(json!({ "enabled": false }))).await;
            let id = cloud.send("orders", json!(round)).await;
            cloud.must(Method::PATCH, &trigger, Some(json!({ "enabled": true }))).await;
            cloud.until_event_is(&id, "done").await;
        }
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/runs", None).await["value"], 5);
    }

    async fn a_script_that_sends_to_its_own_queue_for_ever_is_stopped_as_a_loop(database: Database) {
        let cloud = TestCloud::start(database).await;
        let app = shop(&cloud).await;
        let source = r#"kv::incr("rounds", 1); queue::send("orders", ctx.event.payload)"#;
        let handler = cloud.script(&app, "handler", "endpoint", source).await;
        cloud.trigger(&handler, "queue", json!({ "queue": "orders" }), json!({})).await;
        cloud.send("orders", json!(1)).await;
        let letters = cloud.until("apps/shop/dead-letters", |letters| letters["items"] != json!([])).await;
        assert!(letters["items"][0]["last_error"].as_str().unwrap().contains("loop"), "{letters}");
        assert_eq!(letters["items"][0]["attempt_count"], 0);
        assert_eq!(cloud.must(Method::GET, "apps/shop/kv/default/rounds", None).await["value"], 17);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_work_handle_nothing_twice_and_one_takes_over_what_the_other_had() {
    let mut cloud = TestCloud::start_with(Home::new(Database::postgres()), |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        command.env("PICLOUD_EVENT_LEASE_MS", "3000");
    });
    cloud.sign_in(OWNER.1).await;
    let app = shop(&cloud).await;
    // Where it ends in 0 it waits for long, so that a node can die amid it.
    let source = r#"
        let n = ctx.event.payload;
        kv::incr(`begun-${n}`, 1);
        kv::incr("busy", 1);
        if n % 10 == 0 && kv::get("hold", true) { loop { if !kv::get("hold", true) { break; } } }
        kv::incr(`done-${n}`, 1);
    "#;
    let limits = json!({ "timeout_ms": 30_000, "sandbox": { "max_operations": 50_000_000 } });
    let handler = cloud.script(&app, "handler", "endpoint", source).await;
    cloud.must(Method::PATCH, &format!("scripts/{handler}"), Some(limits)).await;
    let other = cloud.another_node(|_| {});
    cloud.trigger(&handler, "queue", json!({ "queue": "orders", "concurrency": 4 }), json!({})).await;
    let mut ids = BTreeMap::new();
    for n in 1..=40 {
        ids.insert(n, cloud.send("orders", json!(n)).await);
    }
    // All that may run at once hold on, on both nodes or on one.
    cloud.until("apps/shop/queues", |queues| queues["items"][0]["running"] == 4).await;
    let held = cloud.must(Method::GET, "apps/shop/kv/default/busy", None).await;
    other.signal("-KILL");
    drop(other);
    let killed = Instant::now();
    cloud.must(Method::PUT, "apps/shop/kv/default/hold", Some(json!({ "value": false }))).await;
    cloud.until("apps/shop/queues", |queues| queues["items"] == json!([])).await;
    assert!(killed.elapsed() < Duration::from_secs(30), "{:?} {held}", killed.elapsed());
    for (n, id) in ids {
        let event = cloud.must(Method::GET, &format!("apps/shop/events/{id}"), None).await;
        assert_eq!(event["state"], "done", "{n}: {event}");
        let lost = event["attempts"].as_array().unwrap().iter().filter(|a| a["outcome"] == "lost").count() as u64;
        let count = async |what: &str| {
            cloud.must(Method::GET, &format!("apps/shop/kv/default/{what}-{n}"), None).await["value"].as_u64().unwrap()
        };
        let (begun, done) = (count("begun").await, count("done").await);
        assert!(done >= 1 && begun <= 1 + lost, "{n} was begun {begun} times, and {lost} attempts were lost");
    }
}
