//! Dead letters: how they come to be, and what people make of them.

use std::time::Duration;

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::clock::Clock;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const LETTERS: &str = "/apps/shop/dead-letters";

struct Shop {
    owner: Client,
    app: Value,
    /// Of the queue `mail`, whose script fails.
    trigger: Value,
}

async fn shop(world: &World) -> Shop {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let trigger = owner.make_failing(&app, "mail").await;
    Shop { owner, app, trigger }
}

impl Shop {
    /// A dead letter of that payload, the only one that is not resolved.
    async fn one(&self, payload: Value) -> Value {
        self.owner.send_message("shop", "mail", payload).await;
        self.owner.until_dead("shop", 1).await.remove(0)
    }

    /// Has the script handle what comes from now on.
    async fn mend(&self) {
        let script = format!("/scripts/{}", self.trigger["script_id"].as_str().unwrap());
        self.owner.patch(&script, json!({ "source": "1" })).await.is(200);
    }

    async fn until(&self, event: &Value, state: &str) -> Value {
        let path = format!("/apps/shop/events/{}", event.as_str().unwrap());
        self.owner.get_until(&path, |event| event["state"] == state).await
    }

    async fn count(&self) -> Value {
        self.owner.get(&format!("{LETTERS}:count")).await.is(200)["count"].clone()
    }

    /// The ids that a query lists.
    async fn listed(&self, query: &str) -> Vec<String> {
        let page = self.owner.get(&format!("{LETTERS}?{query}")).await.is(200);
        page["items"].as_array().unwrap().iter().map(|letter| id(letter).to_owned()).collect()
    }
}

fn path(letter: &Value) -> String {
    format!("{LETTERS}/{}", id(letter))
}

async fn an_event_that_used_up_its_attempts_is_a_dead_letter(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    assert_eq!((shop.count().await, shop.listed("").await), (json!(0), vec![]));
    let sent = shop.owner.send_message("shop", "mail", json!({ "to": "ada" })).await;
    let letter = shop.owner.until_dead("shop", 1).await.remove(0);
    assert_eq!(shop.count().await, 1);
    assert_eq!((&letter["event_id"], &letter["source"]), (&json!(sent), &json!("queue")));
    assert_eq!((&letter["op"], &letter["queue"]), (&json!("message"), &json!("mail")));
    assert_eq!((&letter["trigger_id"], &letter["script_id"]), (&shop.trigger["id"], &shop.trigger["script_id"]));
    assert_eq!((&letter["attempt_count"], &letter["bytes"]), (&json!(1), &json!(12)));
    assert_eq!((&letter["first_attempt_at"], &letter["resolution"]), (&letter["last_attempt_at"], &Value::Null));
    assert!(letter["last_error"].as_str().unwrap().contains("it cannot be done"), "{letter}");
    let mut whole = letter.clone();
    whole["app_id"] = shop.app["id"].clone();
    assert_eq!(whole["payload"], json!({ "to": "ada" }));
    assert_eq!(shop.owner.get(&path(&letter)).await.is(200), whole);
    let event = shop.owner.get(&format!("/apps/shop/events/{sent}")).await.is(200);
    assert_eq!((&event["state"], &event["dead_letter_id"]), (&json!("dead"), &letter["id"]));
    assert_eq!((&event["attempts"][0]["outcome"], &event["last_error"]), (&json!("error"), &letter["last_error"]));
    // It counts as the event did.
    let queues = shop.owner.get("/apps/shop/queues").await.is(200);
    assert_eq!((&queues["items"], &queues["events"], &queues["event_bytes"]), (&json!([]), &json!(1), &json!(12)));
}

async fn a_dead_letter_is_replayed_as_it_was_and_linked_both_ways(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let letter = shop.one(json!({ "to": "ada" })).await;
    shop.mend().await;
    let made = shop.owner.post(&format!("{}/replay", path(&letter)), json!({})).await.is(202);
    let event = shop.until(&made["event_id"], "done").await;
    assert_ne!(event["id"], letter["event_id"]);
    assert_eq!((&event["replay_of"], &event["queue"], &event["depth"]), (&letter["id"], &json!("mail"), &json!(0)));
    let replayed = shop.owner.get(&path(&letter)).await.is(200);
    assert_eq!((&replayed["resolution"], &replayed["replay_event_id"]), (&json!("replayed"), &event["id"]));
    let olive = shop.owner.get("/auth/me").await.is(200);
    assert!(replayed["resolved_at"].is_string() && replayed["resolved_by"] == olive["id"], "{replayed}");
    assert!(replayed.get("payload").is_none(), "{replayed}");
    assert_eq!((shop.count().await, shop.listed("").await), (json!(0), vec![]));
    assert_eq!(shop.listed("unresolved=false").await, [id(&letter)]);
    let queues = shop.owner.get("/apps/shop/queues").await.is(200);
    assert_eq!((&queues["events"], &queues["event_bytes"]), (&json!(0), &json!(0)));
}

async fn what_a_replay_is_given_takes_the_place_of_the_payload(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    for (letter, payload, expected) in [
        (json!(1), json!({ "payload": { "to": "bob" } }), json!({ "to": "bob" })),
        (json!(2), json!({ "payload": null }), json!(null)),
        (json!(3), json!({}), json!(3)),
    ] {
        let letter = shop.one(letter).await;
        let made = shop.owner.post(&format!("{}/replay", path(&letter)), payload).await.is(202);
        // It fails again.
        let again = shop.owner.until_dead("shop", 1).await.remove(0);
        assert_eq!((&again["event_id"], &again["payload"]), (&made["event_id"], &expected));
        assert_ne!(again["id"], letter["id"]);
        shop.owner.send_json("POST", &format!("{}/resolve", path(&again)), "").await.is(204);
    }
    let letter = shop.one(json!(4)).await;
    let replay = format!("{}/replay", path(&letter));
    let long = json!({ "payload": "x".repeat(256 * 1024) });
    assert_eq!(shop.owner.post(&replay, long).await.invalid_fields(), ["payload"]);
    assert_eq!(shop.owner.post(&replay, json!({ "colour": "red" })).await.invalid_fields(), ["colour"]);
    assert_eq!(shop.count().await, 1);
}

async fn what_was_resolved_or_replayed_is_neither_again(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let resolved = shop.one(json!("a secret")).await;
    let act = async |letter: &Value, act: &str| shop.owner.post(&format!("{}/{act}", path(letter)), json!({})).await;
    act(&resolved, "resolve").await.is(204);
    let got = shop.owner.get(&path(&resolved)).await.is(200);
    assert_eq!((&got["resolution"], &got["replay_event_id"]), (&json!("resolved"), &Value::Null));
    assert!(got.get("payload").is_none(), "{got}");
    let replayed = shop.one(json!(2)).await;
    shop.mend().await;
    act(&replayed, "replay").await.is(202);
    for letter in [&resolved, &replayed] {
        act(letter, "replay").await.problem(409, "already_resolved");
        act(letter, "resolve").await.problem(409, "already_resolved");
    }
    assert_eq!(shop.owner.get(&path(&resolved)).await.is(200), got);
    let events = shop.owner.get("/apps/shop/events").await.is(200);
    assert_eq!(events["items"].as_array().unwrap().len(), 3);
}

async fn of_many_replays_at_once_one_makes_an_event(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let letter = shop.one(json!(1)).await;
    shop.mend().await;
    let replays = (0..4).map(|_| {
        let (owner, path) = (shop.owner.clone(), format!("{}/replay", path(&letter)));
        async move { owner.post(&path, json!({})).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(replays).await;
    statuses.sort();
    assert_eq!(statuses, [202, 409, 409, 409]);
}

async fn dead_letters_are_listed_by_source_script_and_time(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let other = shop.owner.make_failing(&shop.app, "sms").await;
    let resolved = shop.one(json!(0)).await;
    shop.owner.post(&format!("{}/resolve", path(&resolved)), json!({})).await.is(204);
    let first = shop.one(json!(1)).await;
    world.clock.advance(Duration::from_secs(60));
    let between = world.clock.now().to_string();
    shop.owner.send_message("shop", "sms", json!(2)).await;
    let second = shop.owner.until_dead("shop", 2).await.remove(0);
    let [first, second, resolved] = [&first, &second, &resolved].map(id);
    let of = |trigger: &Value| format!("script_id={}", trigger["script_id"].as_str().unwrap());
    for (query, expected) in [
        (String::new(), vec![second, first]),
        ("unresolved=true".to_owned(), vec![second, first]),
        ("unresolved=false".to_owned(), vec![second, first, resolved]),
        ("source=queue".to_owned(), vec![second, first]),
        ("source=dead_letter".to_owned(), vec![]),
        (of(&other), vec![second]),
        (format!("{}&unresolved=false", of(&shop.trigger)), vec![first, resolved]),
        (format!("since={between}"), vec![second]),
        (format!("until={between}"), vec![first]),
        (format!("limit=1&cursor={second}"), vec![first]),
    ] {
        assert_eq!(shop.listed(&query).await, expected, "{query}");
    }
    for (query, field) in [
        ("unresolved=perhaps", "unresolved"),
        ("source=mail", "source"),
        ("script_id=7", "script_id"),
        ("since=yesterday", "since"),
        ("until=", "until"),
        ("cursor=7", "cursor"),
        ("limit=0", "limit"),
        ("state=dead", "state"),
    ] {
        assert_eq!(shop.owner.get(&format!("{LETTERS}?{query}")).await.invalid_fields(), [field], "{query}");
    }
}

async fn many_are_replayed_or_resolved_by_a_filter(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let other = shop.owner.make_failing(&shop.app, "sms").await;
    for (queue, count) in [("mail", 3), ("sms", 2)] {
        for n in 0..count {
            shop.owner.send_message("shop", queue, json!(n)).await;
        }
    }
    shop.owner.until_dead("shop", 5).await;
    let act = async |act: &str, body: Value| shop.owner.post(&format!("{LETTERS}:{act}"), body).await;
    let of = |trigger: &Value| json!({ "script_id": trigger["script_id"] });
    assert_eq!(act("resolve", json!({ "source": "dead_letter" })).await.is(200)["count"], 0);
    assert_eq!(act("resolve", json!({ "until": "2020-01-01T00:00:00.000Z" })).await.is(200)["count"], 0);
    assert_eq!(act("resolve", of(&other)).await.is(200)["count"], 2);
    assert_eq!(shop.count().await, 3);
    shop.mend().await;
    assert_eq!(act("replay", of(&shop.trigger)).await.is(200)["count"], 3);
    assert_eq!(act("replay", json!({})).await.is(200)["count"], 0);
    let letters = shop.owner.get(&format!("{LETTERS}?unresolved=false")).await.is(200);
    for letter in letters["items"].as_array().unwrap() {
        let expected = if letter["script_id"] == other["script_id"] { "resolved" } else { "replayed" };
        assert_eq!(letter["resolution"], expected);
        if expected == "replayed" {
            assert_eq!(shop.until(&letter["replay_event_id"], "done").await["replay_of"], letter["id"]);
        }
    }
    for (body, field) in [
        (json!({ "source": "mail" }), "source"),
        (json!({ "script_id": null }), "script_id"),
        (json!({ "since": "yesterday" }), "since"),
        (json!({ "unresolved": false }), "unresolved"),
        (json!([]), "body"),
    ] {
        for name in ["replay", "resolve"] {
            assert_eq!(act(name, body.clone()).await.invalid_fields(), [field], "{name}");
        }
    }
}

async fn a_handler_is_given_each_dead_letter_and_its_own_failures_make_none(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let handler =
        shop.owner.make_endpoint(&shop.app, "handler", "kv::set(\"letter\", ctx.event.payload); throw \"no\"").await;
    let handler = json!({ "script_id": id(&handler), "source": "dead_letter", "max_attempts": 1 });
    let handler = shop.owner.post("/apps/shop/triggers", handler).await.is(201);
    let letter = shop.one(json!({ "to": "ada" })).await;
    let events = shop.owner.get(&format!("/apps/shop/events?trigger={}", id(&handler))).await.is(200);
    let handling = &events["items"][0];
    assert_eq!((&handling["source"], &handling["op"]), (&json!("dead_letter"), &json!("created")));
    assert_eq!(handling["depth"], 1);
    shop.until(&handling["id"], "dead").await;
    let given = shop.owner.get("/apps/shop/kv/default/letter").await.is(200)["value"].clone();
    for member in ["id", "event_id", "queue", "source", "op", "trigger_id", "script_id", "last_error", "payload"] {
        assert_eq!(given[member], letter[member], "{member}");
    }
    assert_eq!(shop.listed("unresolved=false").await, [id(&letter)]);
    let queues = shop.owner.get("/apps/shop/queues").await.is(200);
    assert_eq!(queues["events"], 1);
}

async fn a_dead_letter_outlives_the_trigger_and_the_script_that_failed(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let letter = shop.one(json!(1)).await;
    shop.owner.delete(&format!("/scripts/{}", shop.trigger["script_id"].as_str().unwrap())).await.is(204);
    assert_eq!(shop.owner.get("/apps/shop/triggers").await.is(200)["items"], json!([]));
    assert_eq!(shop.owner.get(&path(&letter)).await.is(200)["trigger_id"], shop.trigger["id"]);
    // The queue is still there to wait in.
    let made = shop.owner.post(&format!("{}/replay", path(&letter)), json!({})).await.is(202);
    let listed = shop.owner.get("/apps/shop/queues/mail?state=waiting").await.is(200);
    assert_eq!(listed["items"][0]["id"], made["event_id"]);
}

async fn what_people_make_of_dead_letters_is_in_the_audit_log_without_payloads(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let first = shop.one(json!("a secret of the shop")).await;
    let edited = json!({ "payload": "another secret of the shop" });
    shop.owner.post(&format!("{}/replay", path(&first)), edited).await.is(202);
    let second = shop.owner.until_dead("shop", 1).await.remove(0);
    shop.owner.post(&format!("{}/resolve", path(&second)), json!({})).await.is(204);
    shop.owner.post(&format!("{}/resolve", path(&second)), json!({})).await.problem(409, "already_resolved");
    let third = shop.one(json!(3)).await;
    shop.owner.post(&format!("{LETTERS}:resolve"), json!({})).await.is(200);
    let log = shop.owner.get(&format!("/audit?object_kind=dead_letter&app_id={}", id(&shop.app))).await.is(200);
    let rows: Vec<_> = log["items"].as_array().unwrap().iter().rev().collect();
    let told: Vec<_> = rows.iter().map(|row| (&row["action"], &row["object_id"], &row["after"])).collect();
    let resolved = json!({ "resolution": "resolved" });
    assert_eq!(
        told,
        [
            (&json!("dead_letter.replay"), &first["id"], &json!({ "resolution": "replayed", "payload_edited": true })),
            (&json!("dead_letter.resolve"), &second["id"], &resolved),
            (&json!("dead_letter.resolve"), &third["id"], &resolved),
        ]
    );
    assert!(!shop.owner.get("/audit?limit=200").await.text().contains("secret of the shop"));
}

async fn dead_letters_of_another_app_are_not_there(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let letter = shop.one(json!(1)).await;
    let other = shop.owner.make_app("other").await;
    let member = world.member("mo", &other, AppRole::AppAdmin).await;
    member.get(LETTERS).await.problem(404, "not_found");
    member.get(&format!("{LETTERS}:count")).await.problem(404, "not_found");
    for act in ["replay", "resolve"] {
        member.post(&format!("{LETTERS}:{act}"), json!({})).await.problem(404, "not_found");
        assert_eq!(member.post(&format!("/apps/other/dead-letters:{act}"), json!({})).await.is(200)["count"], 0);
        for app in ["shop", "other"] {
            let path = format!("/apps/{app}/dead-letters/{}/{act}", id(&letter));
            member.post(&path, json!({})).await.problem(404, "not_found");
        }
    }
    for app in ["shop", "other"] {
        member.get(&format!("/apps/{app}/dead-letters/{}", id(&letter))).await.problem(404, "not_found");
    }
    assert_eq!(shop.count().await, 1);
    assert_eq!(member.get("/apps/other/dead-letters:count").await.is(200)["count"], 0);
}

async fn where_there_is_no_room_nothing_is_replayed(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let letter = shop.one(json!(1)).await;
    shop.mend().await;
    // Its own bytes are given back: what is as long fits always.
    test.tamper_with_data("UPDATE event_apps SET events = 100000, bytes = 268435456").await;
    let replay = format!("{}/replay", path(&letter));
    let refused = shop.owner.post(&replay, json!({ "payload": 10 })).await.problem(422, "quota_exceeded");
    assert_eq!((&refused["limit"], &refused["errors"][0]["field"]), (&json!("event_bytes"), &json!("payload")));
    assert_eq!(shop.count().await, 1);
    let made = shop.owner.post(&replay, json!({})).await.is(202);
    shop.until(&made["event_id"], "done").await;
}

on_both! {
    an_event_that_used_up_its_attempts_is_a_dead_letter,
    a_dead_letter_is_replayed_as_it_was_and_linked_both_ways,
    what_a_replay_is_given_takes_the_place_of_the_payload,
    what_was_resolved_or_replayed_is_neither_again,
    of_many_replays_at_once_one_makes_an_event,
    dead_letters_are_listed_by_source_script_and_time,
    many_are_replayed_or_resolved_by_a_filter,
    a_handler_is_given_each_dead_letter_and_its_own_failures_make_none,
    a_dead_letter_outlives_the_trigger_and_the_script_that_failed,
    what_people_make_of_dead_letters_is_in_the_audit_log_without_payloads,
    dead_letters_of_another_app_are_not_there,
}

mod damaged {
    use super::where_there_is_no_room_nothing_is_replayed;

    on_both! { damaged: where_there_is_no_room_nothing_is_replayed }
}
