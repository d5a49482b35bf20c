//! Routes that answer at once, and the requests that are kept for them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use picloud_manager::store::Store;
use picloud_shared::clock::Clock;
use picloud_shared::id::{AppId, EventId, RouteId, ScriptId};
use picloud_shared::request::{KeptRequest, NotKept, RequestHead, RequestKeeper, Scheme, ScriptRequest};
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const PAGE: &str = include_str!("../../../docs/services/async.md");

/// What credentials hold that nobody may be shown.
const CREDENTIAL: &str = "hunter2";

struct Shop {
    owner: Client,
    app: Value,
}

async fn shop(world: &World) -> Shop {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    Shop { owner, app }
}

impl Shop {
    /// Has a request be kept for a script, as the data plane does.
    async fn keep(&self, world: &World, script: &Value, body: &str) -> Result<EventId, NotKept> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("authorization", "Bearer hunter2"),
            ("cookie", "session=hunter2"),
            ("x-token", "hunter2"),
            ("x-plain", "plain"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let head = RequestHead {
            method: Method::POST,
            scheme: Scheme::Https,
            host: "shop.localhost".into(),
            port: None,
            path: "/orders".into(),
            query: None,
            headers,
            remote_ip: [203, 0, 113, 9].into(),
        };
        let (params, host_params, body) = (Vec::new(), Vec::new(), Bytes::copy_from_slice(body.as_bytes()));
        let request = ScriptRequest { head: Arc::new(head), params, host_params, rest: None, body };
        let kept = KeptRequest { route: RouteId::generate(world.clock.now()), request };
        let (app, script): (AppId, ScriptId) = (id(&self.app).parse().unwrap(), id(script).parse().unwrap());
        world.events.keep(app, script, kept.payload().unwrap()).await
    }

    async fn until(&self, event: &EventId, is_it: impl Fn(&Value) -> bool) -> Value {
        self.owner.get_until(&format!("/apps/shop/events/{event}"), is_it).await
    }

    async fn kept_value(&self, key: &str) -> Value {
        self.owner.get(&format!("/apps/shop/kv/default/{key}")).await.is(200)["value"].clone()
    }
}

/// Has what waits for the script be tried at once and for the last time: another request wakes who hands it out.
async fn try_for_the_last_time(test: &TestStore, world: &World, shop: &Shop, script: &Value) {
    test.tamper_with_data("UPDATE events SET attempt = 4, due_at = 0 WHERE state = 'waiting'").await;
    shop.keep(world, script, "{\"skip\":true}").await.unwrap();
}

/// Fails until it is mended, but for requests that say so.
const FAILING: &str = r#"
    if "skip" in ctx.request.body { return; }
    if !kv::has("mended") { throw "out of order" }
    let headers = ctx.request.headers;
    kv::set(`seen-${ctx.request.body.n}`, [headers.get("authorization"), headers.get("x-plain")]);
"#;

async fn a_route_is_async_where_somebody_says_so_and_as_long_as_nobody_says_otherwise(store: &Store) {
    let world = World::start(store).await;
    let Shop { owner, app } = shop(&world).await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    let routes = format!("/scripts/{}/routes", id(&script));
    let body = |path: &str| json!({ "host_kind": "any", "path_kind": "exact", "path": path, "method": "POST" });
    assert_eq!(owner.post(&routes, body("/waits")).await.is(201)["async"], false);
    let mut orders = body("/orders");
    orders["async"] = json!(true);
    let made = owner.post(&routes, orders.clone()).await;
    let etag = made.etag();
    let route = made.is(201);
    assert_eq!(route["async"], true);
    assert_eq!(owner.get("/apps/shop/routes").await.is(200)["items"][1], route);
    let question = json!({ "url": "https://shop.localhost/orders", "method": "POST" });
    assert_eq!(owner.post("/routes:match", question).await.is(200)["route"]["async"], true);
    let draft = json!({ "app_id": id(&app), "route": orders, "except_id": id(&route) });
    assert_eq!(owner.post("/routes:check", draft).await.is(200)["valid"], true);

    // It goes with the document of its app.
    let export = owner.get("/apps/shop/export").await.is(200);
    let told: Vec<_> = export["scripts"][0]["routes"].as_array().unwrap().iter().map(|r| r.get("async")).collect();
    assert_eq!(told, [Some(&json!(true)), None]);

    let path = format!("/routes/{}", id(&route));
    assert_eq!(owner.patch(&path, json!({ "path": "/sales" })).await.is(200)["async"], true);
    let changed = owner.patch(&path, json!({ "path": "/orders", "async": false })).await;
    assert_ne!(changed.etag(), etag);
    assert_eq!(changed.is(200)["async"], false);
    for wrong in [json!(null), json!("yes"), json!(1)] {
        assert_eq!(owner.patch(&path, json!({ "async": wrong })).await.invalid_fields(), ["async"]);
    }

    let deployed = owner.send_json("PUT", "/apps/shop/deployment", export.to_string()).await;
    deployed.is(200);
    assert_eq!(owner.get(&path).await.is(200)["async"], true);
    let last = owner.get("/audit?limit=1").await.is(200)["items"][0].clone();
    assert!(last.to_string().contains("\"async\":true"), "{last}");
}

async fn a_request_that_keeps_failing_is_a_dead_letter_whose_credentials_nobody_is_shown(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let Shop { owner, app } = &shop;
    owner.patch("/apps/shop", json!({ "redacted_headers": ["X-Token"] })).await.is(200);
    let script = owner.make_endpoint(app, "orders", FAILING).await;
    let collector = "kv::set(\"told\", ctx.event.payload.payload)";
    let collector = owner.make_endpoint(app, "collector", collector).await;
    let handler = json!({ "script_id": id(&collector), "source": "dead_letter", "config": {} });
    owner.post("/apps/shop/triggers", handler).await.is(201);

    let event = shop.keep(&world, &script, "{\"n\":1}").await.unwrap();
    let waiting = shop.until(&event, |event| event["state"] == "waiting" && event["attempt"] == 1).await;
    assert_eq!((&waiting["source"], &waiting["op"]), (&json!("http"), &json!("async")));
    assert_eq!(waiting["payload"]["headers"], json!({ "content-type": ["application/json"], "x-plain": ["plain"] }));
    assert_eq!((&waiting["payload"]["path"], &waiting["payload"]["body"]), (&json!("/orders"), &json!("{\"n\":1}")));

    try_for_the_last_time(test, &world, &shop, &script).await;
    let dead = shop.until(&event, |event| event["state"] == "dead").await;
    let path = format!("/apps/shop/dead-letters/{}", dead["dead_letter_id"].as_str().unwrap());
    let letter = owner.get(&path).await.is(200);
    assert_eq!((&letter["script_id"], &letter["attempt_count"]), (&script["id"], &json!(5)));
    assert_eq!(letter["payload"], waiting["payload"]);
    let told = "/apps/shop/events?source=dead_letter";
    let told = owner.get_until(told, |page| page["items"][0]["state"] == "done").await;
    assert_eq!(shop.kept_value("told").await, letter["payload"]);
    let logs = owner.get("/apps/shop/logs").await.is(200);
    let attempts: Vec<_> = logs["items"].as_array().unwrap().iter().map(|item| &item["request"]["event"]).collect();
    assert!(attempts.contains(&&json!({ "id": event, "attempt": 5 })), "{logs}");
    let lists = [owner.get("/apps/shop/dead-letters").await.is(200), owner.get("/apps/shop/events").await.is(200)];
    for shown in [&waiting, &dead, &letter, &told, &logs, &lists[0], &lists[1]] {
        assert!(!shown.to_string().contains(CREDENTIAL), "{shown}");
    }

    // As it is it has them again.
    owner.send_json("PUT", "/apps/shop/kv/default/mended", "{\"value\":true}").await.is(200);
    let replay = format!("{path}/replay");
    assert_eq!(owner.post(&replay, json!({ "payload": { "n": 2 } })).await.invalid_fields(), ["payload"]);
    let made = owner.post(&replay, json!({})).await.is(202);
    shop.until(&made["event_id"].as_str().unwrap().parse().unwrap(), |event| event["state"] == "done").await;
    assert_eq!(shop.kept_value("seen-1").await, json!(["Bearer hunter2", "plain"]));
}

async fn a_request_that_somebody_edits_is_replayed_with_what_they_were_shown_and_no_more(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let script = shop.owner.make_endpoint(&shop.app, "orders", FAILING).await;
    let event = shop.keep(&world, &script, "{\"n\":1}").await.unwrap();
    shop.until(&event, |event| event["state"] == "waiting" && event["attempt"] == 1).await;
    try_for_the_last_time(test, &world, &shop, &script).await;
    let letter = shop.owner.until_dead("shop", 1).await.remove(0);
    shop.owner.send_json("PUT", "/apps/shop/kv/default/mended", "{\"value\":true}").await.is(200);
    let mut payload = letter["payload"].clone();
    payload["body"] = json!("{\"n\":2}");
    let replay = format!("/apps/shop/dead-letters/{}/replay", id(&letter));
    let made = shop.owner.post(&replay, json!({ "payload": payload })).await.is(202);
    shop.until(&made["event_id"].as_str().unwrap().parse().unwrap(), |event| event["state"] == "done").await;
    assert_eq!(shop.kept_value("seen-2").await, json!([null, "plain"]));
}

async fn a_request_that_cannot_be_read_any_more_is_a_dead_letter_and_holds_up_no_other(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let script = shop.owner.make_endpoint(&shop.app, "orders", FAILING).await;
    let event = shop.keep(&world, &script, "{\"n\":1}").await.unwrap();
    shop.until(&event, |event| event["state"] == "waiting" && event["attempt"] == 1).await;
    test.tamper_with_data("UPDATE events SET payload = '{\"method\":\"GET\"}', due_at = 0 WHERE state = 'waiting'")
        .await;
    let other = shop.keep(&world, &script, "{\"skip\":true}").await.unwrap();
    let letter = shop.owner.until_dead("shop", 1).await.remove(0);
    assert!(letter["last_error"].as_str().unwrap().contains("the payload is no request"), "{letter}");
    assert_eq!(letter["event_id"], json!(event));
    shop.until(&other, |event| event["state"] == "done").await;
}

async fn what_a_script_returns_for_a_request_makes_nothing_of_its_event(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    // As a batch's run says what failed of it.
    let source = "#{ status: 500, body: #{ failed: [ctx.event.id] } }";
    let script = shop.owner.make_endpoint(&shop.app, "orders", source).await;
    let event = shop.keep(&world, &script, "1").await.unwrap();
    let done = shop.until(&event, |event| event["state"] == "done").await;
    assert_eq!((&done["attempt"], &done["attempts"][0]["outcome"]), (&json!(1), &json!("success")));
}

async fn requests_are_refused_at_three_quarters_of_the_quota_and_scripts_send_on(test: &TestStore) {
    let world = World::start(&test.store).await;
    let shop = shop(&world).await;
    let script = shop.owner.make_endpoint(&shop.app, "orders", "1").await;
    shop.owner.send_message("shop", "mail", json!(1)).await;
    for full in ["events = 75000", "events = 1, bytes = 201326592"] {
        test.tamper_with_data(&format!("UPDATE event_apps SET {full}")).await;
        let refused = shop.keep(&world, &script, "1").await;
        assert!(matches!(refused, Err(NotKept::Full(_))), "{full}: {refused:?}");
        shop.owner.send_message("shop", "mail", json!(1)).await;
    }
    test.tamper_with_data("UPDATE event_apps SET events = 74999, bytes = 0").await;
    let event = shop.keep(&world, &script, "1").await.unwrap();
    shop.until(&event, |event| event["state"] == "done").await;
}

async fn the_example_of_the_page_does_what_stands_below_it(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let (source, below) = PAGE.split_once("```rhai\n").unwrap().1.split_once("```\n").unwrap();
    let quoted: Vec<&str> = below.split('`').skip(1).step_by(2).take(3).collect();
    let [body, value, key] = quoted[..] else { panic!("{below}") };
    let script = shop.owner.make_endpoint(&shop.app, "orders", source).await;
    let event = shop.keep(&world, &script, body).await.unwrap();
    shop.until(&event, |event| event["state"] == "done").await;
    assert_eq!(shop.kept_value(key).await, serde_json::from_str::<Value>(value).unwrap());
    assert_eq!(shop.kept_value("orders").await, 1);
}

on_both! {
    a_route_is_async_where_somebody_says_so_and_as_long_as_nobody_says_otherwise,
    what_a_script_returns_for_a_request_makes_nothing_of_its_event,
    the_example_of_the_page_does_what_stands_below_it,
}

mod damaged {
    use super::*;

    on_both! {
        damaged:
        a_request_that_keeps_failing_is_a_dead_letter_whose_credentials_nobody_is_shown,
        a_request_that_somebody_edits_is_replayed_with_what_they_were_shown_and_no_more,
        a_request_that_cannot_be_read_any_more_is_a_dead_letter_and_holds_up_no_other,
        requests_are_refused_at_three_quarters_of_the_quota_and_scripts_send_on,
    }
}
