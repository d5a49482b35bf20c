//! The instance's settings and limits, and the page that tells of the API.

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use serde_json::json;

use crate::world::{World, id};

async fn new_scripts_have_the_instances_default_where_they_do_not_say(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let before = owner.make_endpoint(&app, "before", "1").await;
    assert_eq!(before["execute_access"], "open");
    let read = owner.get("/settings").await;
    let etag = read.etag();
    assert_eq!(read.is(200), json!({ "execute_access": "open" }));
    let changed = owner.if_match(&etag).patch("/settings", json!({ "execute_access": "restricted" })).await;
    assert_ne!(changed.etag(), etag);
    assert_eq!(changed.is(200), json!({ "execute_access": "restricted" }));
    let stale = owner.if_match(&etag).patch("/settings", json!({ "execute_access": "open" })).await;
    stale.problem(412, "precondition_failed");
    assert_eq!(owner.make_endpoint(&app, "after", "1").await["execute_access"], "restricted");
    let said =
        json!({ "app_id": id(&app), "name": "said", "kind": "endpoint", "source": "1", "execute_access": "open" });
    assert_eq!(owner.post("/scripts", said).await.is(201)["execute_access"], "open");
    let script = |name: &str| json!({ "name": name, "kind": "endpoint", "source": "1" });
    let document = json!({ "format": 1, "scripts": [script("before"), script("deployed")] });
    owner.send_json("PUT", "/apps/shop/deployment", document.to_string()).await.is(200);
    let listed = owner.get("/scripts?app=shop").await.is(200);
    let access = |name: &str| {
        let script = listed["items"].as_array().unwrap().iter().find(|script| script["name"] == name);
        script.unwrap()["execute_access"].clone()
    };
    assert_eq!((access("before"), access("deployed")), (json!("open"), json!("restricted")));
    let audit = owner.get("/audit?action=settings.update").await.is(200);
    assert_eq!(audit["items"][0]["after"], json!({ "execute_access": "restricted" }));
    for (body, field) in [
        (json!({ "execute_access": "closed" }), "execute_access"),
        (json!({ "execute_access": null }), "execute_access"),
        (json!({ "color": "red" }), "color"),
    ] {
        assert_eq!(owner.patch("/settings", body).await.invalid_fields(), [field]);
    }
}

async fn settings_are_read_by_admins_and_changed_by_owners(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let admin = world.user("adam", InstanceRole::Admin).await;
    let member = world.member("mia", &app, AppRole::Viewer).await;
    admin.get("/settings").await.is(200);
    admin.patch("/settings", json!({ "execute_access": "open" })).await.problem(403, "forbidden");
    member.get("/settings").await.problem(403, "forbidden");
    let limits = member.get("/limits").await.is(200);
    assert_eq!(limits["defaults"]["timeout_ms"], 5_000);
    assert_eq!(limits["ceilings"]["max_operations"], 50_000_000);
    assert_eq!(limits["app"]["scripts"], 1_000);
}

async fn the_reference_page_loads_only_what_is_its_own(store: &Store) {
    let world = World::start(store).await;
    for (path, media_type) in [
        ("/api/v1/reference", "text/html; charset=utf-8"),
        ("/api/v1/reference.css", "text/css; charset=utf-8"),
        ("/api/v1/reference.js", "text/javascript; charset=utf-8"),
    ] {
        let request = world.stranger().request_to_root("GET", path).body(axum::body::Body::empty()).unwrap();
        let answer = world.stranger().send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, media_type));
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let text = answer.text();
        assert!(!text.contains("https://") && !text.contains("innerHTML") && !text.contains(" onclick="), "{path}");
        assert!(!text.contains("<style") && !text.contains(" style="), "the policy would not let it work: {path}");
    }
}

on_both! {
    new_scripts_have_the_instances_default_where_they_do_not_say,
    settings_are_read_by_admins_and_changed_by_owners,
    the_reference_page_loads_only_what_is_its_own,
}
