//! Queues and events: what people send, look at, take away and fire, and what is told of attempts.

use std::time::Duration;

use picloud_manager::audit_chain::AuditChain;
use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::matrix::OF_DATA;
use crate::stage::Stage;
use crate::test_store::TestStore;
use crate::world::{Client, SECRET_KEY, World, id};

const QUEUES: &str = "/apps/shop/queues";
const EVENTS: &str = "/apps/shop/events";

/// The owner of a world with the app `shop`.
async fn shop(world: &World) -> (Client, Value) {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    (owner, app)
}

/// A trigger of that queue, which is on or off.
async fn trigger(owner: &Client, app: &Value, queue: &str, source: &str, enabled: bool) -> Value {
    let script = owner.make_endpoint(app, queue, source).await;
    let body = json!({
        "script_id": id(&script), "source": "queue", "config": { "queue": queue }, "enabled": enabled, "max_attempts": 2,
        "backoff": { "base_ms": 1, "cap_ms": 1 },
    });
    owner.post("/apps/shop/triggers", body).await.is(201)
}

/// The event once it is in that state.
async fn until(owner: &Client, event: &str, state: &str) -> Value {
    owner.get_until(&format!("{EVENTS}/{event}"), |event| event["state"] == state).await
}

async fn a_message_is_sent_listed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    assert_eq!(owner.get(QUEUES).await.is(200)["items"], json!([]));
    let sent = owner.send_message("shop", "mail", json!({ "to": ["ada"] })).await;
    let later = json!({ "payload": null, "delay": 60 });
    let later = owner.post(&format!("{QUEUES}/mail"), later).await.is(202)["event_id"].clone();
    owner.send_message("shop", "sms", json!("hello")).await;

    let queues = owner.get(QUEUES).await.is(200);
    let depths: Vec<_> = queues["items"].as_array().unwrap().iter().collect();
    assert_eq!(depths.iter().map(|queue| &queue["name"]).collect::<Vec<_>>(), ["mail", "sms"]);
    assert_eq!((&depths[0]["waiting"], &depths[0]["running"]), (&json!(2), &json!(0)));
    assert_eq!((&queues["events"], &queues["event_bytes"]), (&json!(3), &json!(14 + 4 + 7)));
    assert_eq!((&queues["max_events"], &queues["max_event_bytes"]), (&json!(100_000), &json!(256 << 20)));

    let listed = owner.get(&format!("{QUEUES}/mail")).await.is(200);
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.iter().map(|event| &event["id"]).collect::<Vec<_>>(), [&later, &json!(sent)]);
    let event = &listed[1];
    assert_eq!(
        (&event["source"], &event["op"], &event["state"]),
        (&json!("queue"), &json!("message"), &json!("waiting"))
    );
    assert_eq!((&event["queue"], &event["payload"]), (&json!("mail"), &json!({ "to": ["ada"] })));
    assert_eq!((&event["attempt"], &event["depth"], &event["bytes"]), (&json!(0), &json!(0), &json!(14)));
    assert_eq!(
        (&event["trigger_id"], &event["ended_at"], &event["replay_of"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let time = |event: &Value, member: &str| event[member].as_str().unwrap().parse().unwrap();
    let delay = |event: &Value| -> Duration {
        let (due_at, created_at): (picloud_shared::clock::Timestamp, _) =
            (time(event, "due_at"), time(event, "created_at"));
        due_at.since(created_at)
    };
    assert_eq!((delay(&listed[0]), delay(&listed[1])), (Duration::from_secs(60), Duration::ZERO));
    let got = owner.get(&format!("{EVENTS}/{sent}")).await.is(200);
    assert_eq!((&got["payload"], &got["attempts"]), (&event["payload"], &json!([])));
    assert_eq!(owner.get(&format!("{QUEUES}/nothing")).await.is(200)["items"], json!([]));

    let path = format!("{QUEUES}/mail/{sent}");
    // It is of its own queue alone.
    owner.delete(&format!("{QUEUES}/sms/{sent}")).await.problem(404, "not_found");
    owner.delete(&path).await.is(204);
    owner.delete(&path).await.problem(404, "not_found");
    owner.get(&format!("{EVENTS}/{sent}")).await.problem(404, "not_found");
    let queues = owner.get(QUEUES).await.is(200);
    assert_eq!((&queues["events"], &queues["event_bytes"]), (&json!(2), &json!(4 + 7)));
}

async fn a_message_that_was_handled_is_not_deleted(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let made = trigger(&owner, &app, "mail", "log::info(ctx.event.payload.to)", true).await;
    let sent = owner.send_message("shop", "mail", json!({ "to": "ada" })).await;
    let event = until(&owner, &sent, "done").await;
    assert_eq!((&event["trigger_id"], &event["script_id"]), (&made["id"], &made["script_id"]));
    assert_eq!(
        (&event["attempt"], &event["last_error"], &event["dead_letter_id"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    assert!(event["ended_at"].is_string() && event.get("payload").is_none(), "{event}");
    owner.delete(&format!("{QUEUES}/mail/{sent}")).await.problem(409, "not_waiting");
    let queues = owner.get(QUEUES).await.is(200);
    assert_eq!((&queues["items"], &queues["events"], &queues["event_bytes"]), (&json!([]), &json!(0), &json!(0)));
}

async fn an_event_tells_of_each_of_its_attempts(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let source = "if ctx.event.attempt == 1 { throw \"not yet\" }";
    let made = trigger(&owner, &app, "mail", source, true).await;
    let sent = owner.send_message("shop", "mail", json!(1)).await;
    let failed = owner.get_until(&format!("{EVENTS}/{sent}"), |event| event["attempts"][0].is_object()).await;
    assert_eq!(failed["attempts"][0]["outcome"], "error", "{failed}");
    // The wait for the second attempt, if there is any, is on the clock of the world.
    world.clock.advance(Duration::from_millis(2));
    let event = until(&owner, &sent, "done").await;
    let attempts = event["attempts"].as_array().unwrap();
    let told = |member: &str| attempts.iter().map(|attempt| attempt[member].clone()).collect::<Vec<_>>();
    assert_eq!((told("attempt"), told("outcome")), (vec![json!(1), json!(2)], vec![json!("error"), json!("success")]));
    assert!(attempts[0]["error"].as_str().unwrap().contains("not yet") && attempts[1]["error"].is_null(), "{event}");
    assert_eq!(event["first_attempt_at"], attempts[0]["started_at"]);
    assert_eq!(event["last_attempt_at"], attempts[1]["started_at"]);
    // Each is an execution with a record of its own.
    let logs = owner.get(&format!("/scripts/{}/logs", made["script_id"].as_str().unwrap())).await.is(200);
    for attempt in attempts {
        let record =
            logs["items"].as_array().unwrap().iter().find(|record| record["execution_id"] == attempt["execution_id"]);
        let record = record.unwrap_or_else(|| panic!("{attempt} is in {logs}"));
        assert_eq!(record["origin"], json!({ "kind": "trigger", "trigger_id": id(&made) }));
        assert_eq!(record["events"][0]["id"], json!(sent));
    }
}

async fn a_trigger_that_is_fired_gets_an_event_as_from_its_source(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let off = trigger(&owner, &app, "mail", "1", false).await;
    let fire = |trigger: &Value| format!("/apps/shop/triggers/{}/fire", id(trigger));
    let fired = owner.post(&fire(&off), json!({ "payload": { "to": "ada" } })).await.is(202);
    let messages = owner.get(&format!("{QUEUES}/mail")).await.is(200);
    assert_eq!(messages["items"].as_array().unwrap().len(), 1);
    let message = &messages["items"][0];
    assert_eq!((&message["id"], &message["state"]), (&fired["event_id"], &json!("waiting")));
    assert_eq!((&message["payload"], &message["source"]), (&json!({ "to": "ada" }), &json!("queue")));
    owner.patch(&format!("/apps/shop/triggers/{}", id(&off)), json!({ "enabled": true })).await.is(200);
    until(&owner, fired["event_id"].as_str().unwrap(), "done").await;

    let handler = owner.make_endpoint(&app, "handler", "log::info(ctx.event.payload.note)").await;
    let handler = json!({ "script_id": id(&handler), "source": "dead_letter" });
    let handler = owner.post("/apps/shop/triggers", handler).await.is(201);
    let fired = owner.post(&fire(&handler), json!({ "payload": { "note": "a trial" } })).await.is(202);
    let event = until(&owner, fired["event_id"].as_str().unwrap(), "done").await;
    assert_eq!(
        (&event["source"], &event["op"], &event["queue"]),
        (&json!("dead_letter"), &json!("created"), &Value::Null)
    );
    assert_eq!(event["trigger_id"], handler["id"]);

    owner.make_app("blog").await;
    let elsewhere = format!("/apps/blog/triggers/{}/fire", id(&off));
    owner.post(&elsewhere, json!({})).await.problem(404, "not_found");
}

async fn a_message_of_a_known_key_is_the_one_that_was_sent_first(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let send = async |queue: &str, key: &str| {
        let body = json!({ "payload": 1, "dedup_key": key });
        owner.post(&format!("{QUEUES}/{queue}"), body).await.is(202)["event_id"].clone()
    };
    let first = send("mail", "order-17").await;
    assert_eq!(send("mail", "order-17").await, first);
    assert_ne!(send("mail", "order-18").await, first);
    assert_ne!(send("sms", "order-17").await, first);
    assert_eq!(owner.get(QUEUES).await.is(200)["events"], 3);
    // For a day after it was handled, too.
    trigger(&owner, &app, "mail", "1", true).await;
    until(&owner, first.as_str().unwrap(), "done").await;
    assert_eq!(send("mail", "order-17").await, first);
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    // The session has ended as well.
    let owner = world.owner().await;
    let body = json!({ "payload": 1, "dedup_key": "order-17" });
    assert_ne!(owner.post(&format!("{QUEUES}/mail"), body).await.is(202)["event_id"], first);
}

async fn a_message_sent_again_by_its_idempotency_key_is_sent_once_whatever_became_of_the_answer(test: &TestStore) {
    let world = World::start(&test.store).await;
    let (owner, app) = shop(&world).await;
    let off = trigger(&owner, &app, "mail", "1", false).await;
    for path in [format!("{QUEUES}/sms"), format!("/apps/shop/triggers/{}/fire", id(&off))] {
        let keyed = owner.clone().header("idempotency-key", "once");
        let first = keyed.post(&path, json!({ "payload": 1 })).await.is(202);
        let again = keyed.post(&path, json!({ "payload": 1 })).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.is(202), first);
        // As if the node had died before it kept the answer.
        test.tamper("DELETE FROM idempotency_keys").await;
        assert_eq!(keyed.post(&path, json!({ "payload": 1 })).await.is(202), first);
        let other = owner.clone().header("idempotency-key", "twice");
        assert_ne!(other.post(&path, json!({ "payload": 1 })).await.is(202), first);
    }
    assert_eq!(owner.get(QUEUES).await.is(200)["events"], 4);
}

async fn what_cannot_be_sent_or_asked_for_is_refused_by_its_field(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let made = trigger(&owner, &app, "mail", "1", false).await;
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    for (body, field) in [
        (json!({ "payload": "x".repeat(256 * 1024) }), "payload"),
        (json!({ "delay": -1 }), "delay"),
        (json!({ "delay": 0.5 }), "delay"),
        (json!({ "delay": 30 * 24 * 60 * 60 + 1 }), "delay"),
        (json!({ "delay": null }), "delay"),
        (json!({ "dedup_key": "" }), "dedup_key"),
        (json!({ "dedup_key": "k".repeat(257) }), "dedup_key"),
        (json!({ "dedup_key": "a\u{0}" }), "dedup_key"),
        (json!({ "colour": "red" }), "colour"),
        (json!([]), "body"),
    ] {
        let refused = owner.post(&format!("{QUEUES}/mail"), body.clone()).await;
        let text = body.to_string();
        assert_eq!(refused.invalid_fields(), [field], "{}", &text[..text.len().min(80)]);
    }
    // What is nested too deep is no JSON that is read at all.
    owner.post(&format!("{QUEUES}/mail"), json!({ "payload": deep })).await.problem(400, "malformed");
    let fire = format!("/apps/shop/triggers/{}/fire", id(&made));
    assert_eq!(owner.post(&fire, json!({ "payload": "x".repeat(256 * 1024) })).await.invalid_fields(), ["payload"]);
    assert_eq!(owner.post(&fire, json!({ "delay": 1 })).await.invalid_fields(), ["delay"]);
    for name in ["Mail", "a%00", "-a", &"q".repeat(64)] {
        owner.post(&format!("{QUEUES}/{name}"), json!({})).await.problem(404, "not_found");
        owner.get(&format!("{QUEUES}/{name}")).await.problem(404, "not_found");
        assert_eq!(owner.get(&format!("{EVENTS}?queue={name}")).await.invalid_fields(), ["queue"]);
    }
    for (query, field) in [
        ("state=gone", "state"),
        ("source=mail", "source"),
        ("trigger=7", "trigger"),
        ("cursor=7", "cursor"),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ] {
        assert_eq!(owner.get(&format!("{EVENTS}?{query}")).await.invalid_fields(), [field]);
    }
    assert_eq!(owner.get(&format!("{QUEUES}/mail?state=gone")).await.invalid_fields(), ["state"]);
    assert_eq!(owner.get(&format!("{QUEUES}?cursor=mail")).await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get(QUEUES).await.is(200)["events"], 0);
}

async fn events_are_listed_by_state_source_queue_and_trigger(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let made = trigger(&owner, &app, "mail", "1", true).await;
    let handled = owner.send_message("shop", "mail", json!(1)).await;
    let waiting = owner.send_message("shop", "sms", json!(1)).await;
    until(&owner, &handled, "done").await;
    let handler = json!({ "script_id": made["script_id"], "source": "dead_letter", "enabled": false });
    let handler = owner.post("/apps/shop/triggers", handler).await.is(201);
    let fired = owner.post(&format!("/apps/shop/triggers/{}/fire", id(&handler)), json!({})).await.is(202);
    let fired = fired["event_id"].as_str().unwrap().to_owned();
    let other = trigger(&owner, &app, "fax", "2", false).await;
    let untaken = owner.send_message("shop", "fax", json!(1)).await;
    // One that another trigger has tried, and is for the next one now.
    let failing = owner.make_endpoint(&app, "failing", "throw 1").await;
    let body = json!({
        "script_id": id(&failing), "source": "queue", "config": { "queue": "telex" },
        "backoff": { "base_ms": 86_400_000, "cap_ms": 86_400_000 },
    });
    let first = owner.post("/apps/shop/triggers", body).await.is(201);
    let tried = owner.send_message("shop", "telex", json!(1)).await;
    let path = format!("{EVENTS}/{tried}");
    owner.get_until(&path, |event| event["state"] == "waiting" && event["attempt"] == 1).await;
    owner.delete(&format!("/apps/shop/triggers/{}", id(&first))).await.is(204);
    let next = trigger(&owner, &app, "telex", "2", false).await;
    for (query, expected) in [
        (String::new(), vec![&tried, &untaken, &fired, &waiting, &handled]),
        ("state=done".to_owned(), vec![&handled]),
        ("state=waiting".to_owned(), vec![&tried, &untaken, &fired, &waiting]),
        ("state=dead".to_owned(), vec![]),
        ("source=dead_letter".to_owned(), vec![&fired]),
        ("source=queue".to_owned(), vec![&tried, &untaken, &waiting, &handled]),
        ("queue=sms".to_owned(), vec![&waiting]),
        (format!("trigger={}", id(&made)), vec![&handled]),
        (format!("trigger={}", id(&handler)), vec![&fired]),
        (format!("state=waiting&trigger={}", id(&made)), vec![]),
        // No trigger's until one has taken it, but shown to who looks at the one of its queue.
        (format!("trigger={}", id(&other)), vec![&untaken]),
        (format!("trigger={}", id(&next)), vec![&tried]),
        (format!("source=dead_letter&trigger={}", id(&other)), vec![]),
        (format!("limit=1&cursor={fired}"), vec![&waiting]),
    ] {
        let page = owner.get(&format!("{EVENTS}?{query}")).await.is(200);
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(id).collect();
        assert_eq!(ids, expected, "{query}");
    }
    // A list is no place for long payloads; the event itself has them.
    let long = owner.send_message("shop", "sms", json!("x".repeat(5_000))).await;
    let listed = owner.get(&format!("{QUEUES}/sms?limit=1")).await.is(200);
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["bytes"]), (&json!(long), &json!(5_002)));
    assert!(listed["items"][0].get("payload").is_none());
    assert_eq!(owner.get(&format!("{EVENTS}/{long}")).await.is(200)["payload"], json!("x".repeat(5_000)));
}

async fn an_app_that_has_as_many_events_as_it_may_is_told_so(test: &TestStore) {
    let world = World::start(&test.store).await;
    let (owner, app) = shop(&world).await;
    let made = trigger(&owner, &app, "mail", "1", false).await;
    owner.send_message("shop", "mail", json!(1)).await;
    let waiting = owner.send_message("shop", "mail", json!(2)).await;
    test.tamper_with_data("UPDATE event_apps SET events = 100000").await;
    for path in [format!("{QUEUES}/mail"), format!("/apps/shop/triggers/{}/fire", id(&made))] {
        let refused = owner.post(&path, json!({ "payload": 1 })).await.problem(422, "quota_exceeded");
        assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("events"), &json!(100_000)));
        assert_eq!(refused["errors"][0]["field"], "payload");
    }
    // What goes makes room.
    owner.delete(&format!("{QUEUES}/mail/{waiting}")).await.is(204);
    owner.send_message("shop", "mail", json!(1)).await;
    test.tamper_with_data("UPDATE event_apps SET events = 1, bytes = 268435455").await;
    let refused = owner.post(&format!("{QUEUES}/mail"), json!({ "payload": 10 })).await.problem(422, "quota_exceeded");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("event_bytes"), &json!(256 << 20)));
    owner.send_message("shop", "mail", json!(1)).await;
}

async fn what_people_do_to_events_is_in_the_audit_log_without_payloads(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let made = trigger(&owner, &app, "mail", "1", false).await;
    let sent = owner.send_message("shop", "sms", json!("a secret of the shop")).await;
    owner.delete(&format!("{QUEUES}/sms/{sent}")).await.is(204);
    owner.delete(&format!("{QUEUES}/sms/{sent}")).await.problem(404, "not_found");
    let fire = format!("/apps/shop/triggers/{}/fire", id(&made));
    let fired = owner.post(&fire, json!({ "payload": "a secret of the shop" })).await.is(202);
    let rows = |kind: &str| format!("/audit?object_kind={kind}&app_id={}", id(&app));
    let log = owner.get(&rows("event")).await.is(200);
    let rows_of_event: Vec<_> = log["items"].as_array().unwrap().iter().rev().collect();
    assert_eq!(rows_of_event.iter().map(|row| &row["action"]).collect::<Vec<_>>(), ["queue.send", "queue.delete"]);
    for row in &rows_of_event {
        assert_eq!((&row["object_id"], &row["username"]), (&json!(sent), &json!("olive")));
    }
    assert_eq!(rows_of_event[0]["after"], json!({ "queue": "sms", "bytes": 22 }));
    assert_eq!(rows_of_event[1]["before"], json!({ "queue": "sms", "bytes": 22 }));
    let log = owner.get(&rows("trigger")).await.is(200);
    assert_eq!((&log["items"][0]["action"], &log["items"][0]["object_id"]), (&json!("trigger.fire"), &made["id"]));
    assert_eq!(log["items"][0]["after"], json!({ "event_id": fired["event_id"], "bytes": 22 }));
    assert!(!owner.get("/audit?limit=200").await.text().contains("a secret of the shop"));
    AuditChain::new(&SECRET_KEY).verify(store, None).await.unwrap();
}

async fn events_of_another_app_are_not_there(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let sent = owner.send_message("shop", "mail", json!(1)).await;
    let other = owner.make_app("other").await;
    let member = world.member("mo", &other, AppRole::AppAdmin).await;
    for path in [QUEUES.to_owned(), format!("{QUEUES}/mail"), EVENTS.to_owned(), format!("{EVENTS}/{sent}")] {
        member.get(&path).await.problem(404, "not_found");
    }
    member.post(&format!("{QUEUES}/mail"), json!({})).await.problem(404, "not_found");
    for app in ["shop", "other"] {
        member.get(&format!("/apps/{app}/events/{sent}")).await.problem(404, "not_found");
        member.delete(&format!("/apps/{app}/queues/mail/{sent}")).await.problem(404, "not_found");
    }
    assert_eq!(member.get("/apps/other/queues/mail").await.is(200)["items"], json!([]));
    assert_eq!(owner.get(QUEUES).await.is(200)["events"], 1);
}

async fn a_message_of_a_script_is_handled_as_one_of_a_person_is(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    owner.make_domain(&app, "shop.example.com").await;
    let page = owner.make_endpoint(&app, "page", r#"queue::send("mail", #{ to: "ada" })"#).await;
    owner.make_route(&page, "/").await;
    let sent = world.fetch("GET", "http://shop.example.com/").await.trim_matches('"').to_owned();
    let event = owner.get(&format!("{EVENTS}/{sent}")).await.is(200);
    assert_eq!((&event["queue"], &event["payload"]), (&json!("mail"), &json!({ "to": "ada" })));
    trigger(&owner, &app, "mail", r#"queue::send("next", ctx.event.payload.to)"#, true).await;
    until(&owner, &sent, "done").await;
    // What an event caused stands deeper.
    let next = owner.get(&format!("{QUEUES}/next")).await.is(200);
    assert_eq!((&next["items"][0]["payload"], &next["items"][0]["depth"]), (&json!("ada"), &json!(1)));
    // Scripts leave no row in the audit log.
    assert_eq!(owner.get("/audit?object_kind=event").await.is(200)["items"], json!([]));
}

async fn where_the_data_cannot_be_written_each_change_is_refused_and_changes_nothing(test: &TestStore) {
    let mut stage = Stage::set(&test.store).await;
    let target = stage.target().await;
    let path = |kind: &str| format!("/apps/{}/{kind}", target.slug);
    let (queues, letters) = (path("queues"), path("dead-letters:count"));
    let before = (stage.owner.get(&queues).await.is(200), stage.owner.get(&letters).await.is(200));
    // Each of them tells the audit log in the transaction of its change.
    test.tamper_with_data("ALTER TABLE data_audit RENAME TO hidden").await;
    for operation in OF_DATA {
        let answer = stage.call(operation, &target).by(&stage.owner).await;
        assert!(answer.status.is_server_error(), "{operation}: {}", answer.text());
    }
    assert_eq!((stage.owner.get(&queues).await.is(200), stage.owner.get(&letters).await.is(200)), before);
    test.tamper_with_data("ALTER TABLE hidden RENAME TO data_audit").await;
    stage.call("send_message", &target).by(&stage.owner).await.is(202);
}

async fn what_a_deleted_app_had_waiting_is_purged(test: &TestStore) {
    let world = World::start(&test.store).await;
    let (owner, _) = shop(&world).await;
    owner.send_message("shop", "mail", json!(1)).await;
    owner.make_app("other").await;
    owner.send_message("other", "mail", json!(1)).await;
    owner.delete("/apps/shop").await.is(204);
    let purged = async { while test.count_of_data("events").await > 1 {} };
    tokio::time::timeout(Duration::from_secs(30), purged).await.expect("the events are purged");
    assert_eq!(owner.get("/apps/other/queues").await.is(200)["events"], 1);
}

on_both! {
    a_message_is_sent_listed_and_deleted,
    a_message_that_was_handled_is_not_deleted,
    an_event_tells_of_each_of_its_attempts,
    a_trigger_that_is_fired_gets_an_event_as_from_its_source,
    a_message_of_a_known_key_is_the_one_that_was_sent_first,
    what_cannot_be_sent_or_asked_for_is_refused_by_its_field,
    events_are_listed_by_state_source_queue_and_trigger,
    what_people_do_to_events_is_in_the_audit_log_without_payloads,
    events_of_another_app_are_not_there,
    a_message_of_a_script_is_handled_as_one_of_a_person_is,
}

mod damaged {
    use super::{
        a_message_sent_again_by_its_idempotency_key_is_sent_once_whatever_became_of_the_answer,
        an_app_that_has_as_many_events_as_it_may_is_told_so, what_a_deleted_app_had_waiting_is_purged,
        where_the_data_cannot_be_written_each_change_is_refused_and_changes_nothing,
    };

    on_both! {
        damaged:
        a_message_sent_again_by_its_idempotency_key_is_sent_once_whatever_became_of_the_answer,
        an_app_that_has_as_many_events_as_it_may_is_told_so,
        what_a_deleted_app_had_waiting_is_purged,
        where_the_data_cannot_be_written_each_change_is_refused_and_changes_nothing,
    }
}
