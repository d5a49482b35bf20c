//! What is refused before any service is asked, and that everything refused is a problem document.

use axum::body::Body;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{MAX_BODY, World, id};

async fn everything_that_is_not_there_is_a_problem_document(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for path in ["/nothing", "/apps/shop", "/apps/Not%20A%20Slug", "/scripts/7", "/scripts/%ff", "/routes/x", "/"] {
        owner.get(path).await.problem(404, "not_found");
    }
    let refused = owner.delete("/apps").await;
    assert_eq!(refused.header("allow"), "GET,HEAD,POST");
    refused.problem(405, "method_not_allowed");
    let put = owner.send_json("PUT", "/scripts:check", "{}").await;
    assert_eq!(put.header("allow"), "POST");
    put.problem(405, "method_not_allowed");
}

async fn bad_bodies_are_refused_each_in_its_way(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let deep = format!("{{\"slug\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for bad in ["", "{", "null x", "{\"slug\":\"a\",\"name\":\"b\"} x", "{\"slug\":\"a\",}", deep.as_str()] {
        owner.send_json("POST", "/apps", bad.to_owned()).await.problem(400, "malformed");
    }
    owner.send_json("POST", "/apps", vec![b'"', 0xff, 0xfe, b'"']).await.problem(400, "malformed");
    owner.send_json("POST", "/apps", b"{\"slug\":\"\xc3\x28\"}".to_vec()).await.problem(400, "malformed");
    for other in ["null", "7", "[]", "[\"shop\", \"Shop\", false]"] {
        assert_eq!(owner.send_json("POST", "/apps", other).await.invalid_fields(), ["body"], "{other}");
    }
    assert_eq!(
        owner.send_json("POST", "/apps", r#"{"slug":"a","slug":"b","name":"c"}"#).await.invalid_fields(),
        ["slug"]
    );

    let huge = owner.send_json("POST", "/apps", vec![b' '; MAX_BODY + 1]).await.problem(413, "body_too_large");
    assert_eq!(huge["max_bytes"], MAX_BODY);
    let form = owner.request("POST", "/apps").header("content-type", "application/x-www-form-urlencoded");
    owner.send(form.body(Body::from("slug=a")).unwrap()).await.problem(415, "unsupported_media_type");
    let none = owner.request("POST", "/apps").body(Body::from("{}")).unwrap();
    owner.send(none).await.problem(415, "unsupported_media_type");
    let charset = owner.request("POST", "/apps").header("content-type", "Application/JSON; charset=utf-8");
    let body = Body::from(json!({ "slug": "shop", "name": "Shop" }).to_string());
    owner.send(charset.body(body).unwrap()).await.is(201);
}

async fn a_list_is_no_object_at_any_depth(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    let path = format!("/scripts/{}", id(&script));
    for sandbox in [json!([]), json!([1]), json!([1, 2, 3, 4, 5, 6])] {
        let check = json!({ "app_id": id(&app), "kind": "endpoint", "source": "1", "sandbox": sandbox });
        assert_eq!(owner.post("/scripts:check", check.clone()).await.invalid_fields(), ["sandbox"]);
        let mut new = check;
        new["name"] = json!("b");
        assert_eq!(owner.post("/scripts", new).await.invalid_fields(), ["sandbox"]);
        assert_eq!(owner.patch(&path, json!({ "sandbox": sandbox })).await.invalid_fields(), ["sandbox"]);
    }
    let route = json!([null, "any", null, "exact", "/", "GET"]);
    let check = json!({ "app_id": id(&app), "route": route });
    assert_eq!(owner.post("/routes:check", check).await.invalid_fields(), ["route"]);
    assert_eq!(owner.get(&path).await.is(200), script);
}

async fn a_null_changes_nothing_that_cannot_be_null(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    let pattern = json!({
        "host_kind": "strict", "host": "shop.localhost", "path_kind": "exact", "path": "/", "method": "GET",
    });
    let route = owner.post(&format!("/scripts/{}/routes", id(&script)), pattern).await.is(201);
    let trigger = json!({ "script_id": id(&script), "source": "queue", "config": { "queue": "jobs" } });
    let trigger = owner.post("/apps/shop/triggers", trigger).await.is(201);
    let table: [(String, &Value, &[&str]); 4] = [
        (format!("/apps/{}", id(&app)), &app, &["name", "redacted_headers", "record_bodies"]),
        (format!("/scripts/{}", id(&script)), &script, &["name", "kind", "source", "description", "execute_access"]),
        (format!("/routes/{}", id(&route)), &route, &["host_kind", "host", "path_kind", "path", "method", "script_id"]),
        (
            format!("/apps/shop/triggers/{}", id(&trigger)),
            &trigger,
            &["script_id", "config", "enabled", "max_attempts", "backoff"],
        ),
    ];
    for (path, thing, fields) in table {
        for field in fields {
            let body = Value::Object([((*field).to_owned(), Value::Null)].into_iter().collect());
            assert_eq!(owner.patch(&path, body).await.invalid_fields(), [*field], "{path}");
        }
        assert_eq!(owner.get(&path).await.is(200), *thing);
        owner.patch(&path, json!({})).await.is(200);
    }
    let any = json!({ "host_kind": "any", "host": null });
    assert_eq!(owner.patch(&format!("/routes/{}", id(&route)), any).await.is(200)["host"], Value::Null);
}

async fn a_body_that_breaks_off_is_malformed(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let broken = futures_util::stream::iter([Ok("{\"slug\":"), Err(std::io::Error::other("gone"))]);
    let request = owner.request("POST", "/apps").header("content-type", "application/json");
    owner.send(request.body(Body::from_stream(broken)).unwrap()).await.problem(400, "malformed");
}

async fn a_stranger_is_refused_before_the_body_is_read(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    stranger.send_json("POST", "/apps", vec![b' '; MAX_BODY + 1]).await.problem(401, "unauthenticated");
}

async fn nothing_answered_may_be_cached_or_guessed_at(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for path in ["/apps", "/nothing"] {
        let answer = owner.get(path).await;
        assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    }
}

/// Whether the dashboard is built or not.
async fn every_page_of_the_dashboard_is_under_a_strict_policy(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    let get =
        async |path: &str| stranger.send(stranger.request_to_root("GET", path).body(Body::empty()).unwrap()).await;
    let moved = get("/admin").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/admin/"));
    for path in ["/admin/", "/admin/setup", "/admin/apps/shop"] {
        let page = get(path).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    get("/admin/nothing.js").await.problem(404, "not_found");
    let posted = stranger.send(stranger.request_to_root("POST", "/admin/").body(Body::empty()).unwrap()).await;
    posted.problem(405, "method_not_allowed");
}

on_both! {
    everything_that_is_not_there_is_a_problem_document,
    bad_bodies_are_refused_each_in_its_way,
    a_list_is_no_object_at_any_depth,
    a_null_changes_nothing_that_cannot_be_null,
    a_body_that_breaks_off_is_malformed,
    a_stranger_is_refused_before_the_body_is_read,
    nothing_answered_may_be_cached_or_guessed_at,
    every_page_of_the_dashboard_is_under_a_strict_policy,
}
