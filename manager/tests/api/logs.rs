//! The execution log through the API.

use std::time::Duration;

use picloud_manager::store::Store;
use serde_json::json;

use crate::world::{World, id};

async fn one_sees_the_request_that_one_just_made(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let source = "log::warn(\"low\", #{ left: 2 }); if ctx.request.query.bad == \"1\" { throw \"bad\" } \"ok\"";
    let script = owner.make_endpoint(&app, "page", source).await;
    let route = owner.make_route(&script, "/").await;
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "ok");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.fetch("GET", "http://shop.localhost/?bad=1").await, "error");

    let path = format!("/scripts/{}/logs", id(&script));
    let all = owner.get(&path).await.is(200);
    assert_eq!(all["total"], 2);
    let (failed, good) = (&all["items"][0], &all["items"][1]);
    assert_eq!((&failed["outcome"], &failed["status"]), (&json!("error"), &json!(500)));
    assert!(failed["error"]["message"].as_str().unwrap().contains("bad"));
    assert_eq!((&good["outcome"], &good["status"], &good["version"]), (&json!("success"), &json!(200), &json!(1)));
    assert_eq!(good["logs"][0]["message"], "low");
    assert_eq!(good["logs"][0]["data"], json!({ "left": 2 }));
    assert_eq!(good["origin"], json!({ "kind": "route", "route_id": id(&route) }));
    assert_eq!(good["id"], good["execution_id"]);
    for member in ["started_at", "duration_us", "request", "response"] {
        assert!(!good[member].is_null(), "{member}");
    }
    assert_eq!(owner.get("/apps/shop/logs").await.is(200), all);

    let total = |query: &str| {
        let (owner, path) = (owner.clone(), format!("{path}?{query}"));
        async move { owner.get(&path).await.is(200)["total"].as_u64().unwrap() }
    };
    assert_eq!(total("outcome=error").await, 1);
    assert_eq!(total("outcome=timeout").await, 0);
    assert_eq!(total("since=2027-01-15T08:00:05Z").await, 1);
    let page = owner.get(&format!("{path}?limit=1&offset=1")).await.is(200);
    assert_eq!((&page["items"], &page["total"]), (&json!([good]), &json!(2)));
    assert_eq!(owner.get("/apps/default/logs").await.is(200)["total"], 0);
    let first = owner.get(&format!("{path}?limit=1")).await.is(200);
    assert_eq!(first["items"], json!([failed]));
    let next = format!("{path}?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = owner.get(&next).await.is(200);
    assert_eq!((&second["items"], &second["total"]), (&json!([good]), &json!(2)));
    assert!(second["next_cursor"].is_null());
}

async fn records_keep_what_their_app_lets_them(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    assert_eq!((&app["redacted_headers"], &app["record_bodies"]), (&json!([]), &json!(true)));
    let source = "respond(200, \"answer\").header(\"x-answer\", \"hunter2\")";
    let script = owner.make_endpoint(&app, "page", source).await;
    let request = json!({ "method": "POST", "headers": { "x-token": "hunter2", "cookie": "hunter2", "x-a": "1" },
        "body": "asked" });
    let newest = async || {
        owner.post(&format!("/scripts/{}/invoke", id(&script)), request.clone()).await.is(200);
        owner.get("/apps/shop/logs?limit=1").await.is(200)["items"][0].clone()
    };
    let all = newest().await;
    assert_eq!(all["request"]["headers"], json!({ "x-token": ["hunter2"], "x-a": ["1"] }));
    assert_eq!((&all["request"]["body"], &all["response"]["body"]), (&json!("asked"), &json!("answer")));
    assert_eq!(all["response"]["headers"]["x-answer"], json!(["hunter2"]));

    let etag = owner.get("/apps/shop").await.etag();
    let policy = json!({ "redacted_headers": ["X-Token", "x-answer"], "record_bodies": false });
    let patched = owner.if_match(&etag).patch("/apps/shop", policy).await;
    assert_ne!(patched.etag(), etag);
    assert_eq!(patched.is(200)["redacted_headers"], json!(["x-token", "x-answer"]));
    let less = newest().await;
    assert_eq!(less["request"]["headers"], json!({ "x-a": ["1"] }));
    assert_eq!((&less["request"]["body"], &less["request"]["body_len"]), (&json!(""), &json!(5)));
    assert!(less["response"]["headers"].get("x-answer").is_none() && less["response"]["body"] == "", "{less}");
    // A name alone changes nothing of it, and another start keeps it.
    let renamed = owner.patch("/apps/shop", json!({ "name": "Store" })).await.is(200);
    assert_eq!((&renamed["record_bodies"], &renamed["name"]), (&json!(false), &json!("Store")));
    let again = World::start(store).await.owner().await;
    again.post(&format!("/scripts/{}/invoke", id(&script)), request).await.is(200);
    let kept = again.get("/apps/shop/logs?limit=1").await.is(200)["items"][0].clone();
    assert_eq!(kept["request"], less["request"]);

    for bad in [json!(["x y"]), json!("x-token"), json!(vec!["a"; 65]), json!(null), json!([1])] {
        let refused = owner.patch("/apps/shop", json!({ "redacted_headers": bad })).await.invalid_fields();
        assert!(refused[0].starts_with("redacted_headers"), "{refused:?}");
    }
}

async fn bad_filters_are_refused_by_name(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999", "offset"),
        ("offset=10001", "offset"),
        ("offset=1&cursor=0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a", "offset"),
        ("cursor=x", "cursor"),
        ("outcome=fine", "outcome"),
        ("since=yesterday", "since"),
        ("level=warn", "level"),
    ] {
        assert_eq!(owner.get(&format!("/apps/default/logs?{query}")).await.invalid_fields(), [field], "{query}");
    }
    owner.get("/apps/default/logs?limit=999").await.is(200);
}

on_both! {
    one_sees_the_request_that_one_just_made,
    records_keep_what_their_app_lets_them,
    bad_filters_are_refused_by_name,
}
