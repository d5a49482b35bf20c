//! API keys: minted by people, and cut to their scopes, their app and their time.

use std::time::Duration;

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_shared::clock::Clock;
use picloud_shared::id::ScriptId;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

const EVERYTHING: [&str; 13] = [
    "apps:read",
    "apps:write",
    "scripts:read",
    "scripts:write",
    "scripts:execute",
    "logs:read",
    "data:read",
    "data:write",
    "triggers:write",
    "members:write",
    "users:write",
    "instance:read",
    "instance:write",
];

async fn by_key(world: &World, owner: &Client, body: Value) -> Client {
    let made = owner.post("/api-keys", body).await.is(201);
    world.stranger().bearer(made["key"].as_str().unwrap())
}

async fn with_scopes(world: &World, owner: &Client, scopes: &[&str]) -> Client {
    by_key(world, owner, json!({ "name": "test", "scopes": scopes })).await
}

async fn a_key_is_shown_once_used_listed_and_revoked(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let body = json!({ "name": " CI ", "scopes": ["scripts:read", "apps:read", "apps:read"] });
    let made = owner.post("/api-keys", body).await.is(201);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with(made["prefix"].as_str().unwrap()) && key.len() == 92);
    assert_eq!((&made["name"], &made["scopes"]), (&json!("CI"), &json!(["apps:read", "scripts:read"])));
    let client = world.stranger().bearer(key);
    client.get("/apps").await.is(200);
    assert_eq!(client.get("/auth/me").await.is(200)["username"], "olive");

    let path = format!("/api-keys/{}", id(&made));
    let list = owner.get("/api-keys").await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(list["items"][0].get("key").is_none());
    let other = world.user("ada", InstanceRole::Owner).await;
    assert_eq!(other.get("/api-keys").await.is(200)["items"], json!([]));
    other.delete(&path).await.problem(404, "not_found");
    client.get("/apps").await.is(200);
    owner.delete(&path).await.is(204);
    client.get("/apps").await.problem(401, "unauthenticated");
    owner.delete(&path).await.problem(404, "not_found");
}

async fn bad_keys_are_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let with = |field: &str, value: Value| {
        let mut body = json!({ "name": "ci", "scopes": ["apps:read"] });
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("name", json!("")), "name"),
        (with("name", json!("a\u{0}")), "name"),
        (with("scopes", json!([])), "scopes"),
        (with("scopes", json!(["apps:read", "everything"])), "scopes[1]"),
        (with("expires_at", json!("yesterday")), "expires_at"),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), "expires_at"),
        (with("app_id", json!("0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a")), "app_id"),
        (with("user_id", json!(id(&app))), "user_id"),
        (with("key", json!("pck_mine")), "key"),
    ] {
        assert_eq!(owner.post("/api-keys", body.clone()).await.invalid_fields(), [field], "{body}");
    }
    for scope in ["users:write", "instance:read", "instance:write"] {
        let body = json!({ "name": "ci", "scopes": [scope], "app_id": id(&app) });
        assert_eq!(owner.post("/api-keys", body).await.invalid_fields(), ["scopes"]);
    }
    let stranger = world.user("eve", InstanceRole::Member).await;
    let foreign = json!({ "name": "ci", "scopes": ["apps:read"], "app_id": id(&app) });
    assert_eq!(stranger.post("/api-keys", foreign).await.invalid_fields(), ["app_id"]);
    assert_eq!(owner.get("/api-keys").await.is(200)["items"], json!([]));
}

async fn a_key_has_an_end(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let end = world.clock.now().plus(Duration::from_secs(3600));
    let key = by_key(&world, &owner, json!({ "name": "ci", "scopes": ["apps:read"], "expires_at": end })).await;
    world.clock.advance(Duration::from_secs(3590));
    key.get("/apps").await.is(200);
    world.clock.advance(Duration::from_secs(10));
    key.get("/apps").await.problem(401, "unauthenticated");
}

async fn what_looks_like_a_key_and_is_none_is_unauthenticated(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = owner.post("/api-keys", json!({ "name": "ci", "scopes": ["apps:read"] })).await.is(201);
    let key = made["key"].as_str().unwrap();
    let flipped = if key.ends_with('0') { "1" } else { "0" };
    for text in [format!("{}{flipped}", &key[..91]), key[..91].to_owned(), format!("{key}0"), "pck_".to_owned()] {
        let problem = world.stranger().bearer(&text).get("/apps").await.problem(401, "unauthenticated");
        assert!(problem["detail"].as_str().unwrap().contains("API key is unknown, revoked or expired"), "{problem}");
    }
    let problem = world.stranger().bearer("made up").get("/apps").await.problem(401, "unauthenticated");
    assert!(problem["detail"].as_str().unwrap().contains("sign in"), "{problem}");
    // As a cookie it is nothing: a browser is signed in by its session alone.
    let cookie = world.stranger().header("cookie", &format!("__Host-picloud={key}"));
    cookie.get("/apps").await.problem(401, "unauthenticated");
}

async fn a_key_does_what_its_scopes_say_and_no_more(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    let (script, new) = (format!("/scripts/{}", id(&script)), json!({ "pattern": "shop.localhost" }));
    let calls = async |key: &Client, scope: &str| match scope {
        "apps:read" => key.get("/apps").await,
        "apps:write" => key.post("/apps/shop/domains", new.clone()).await,
        "scripts:read" => key.get(&script).await,
        "scripts:write" => key.patch(&script, json!({ "description": "new" })).await,
        "scripts:execute" => key.post(&format!("{script}/invoke"), json!({})).await,
        "logs:read" => key.get("/apps/shop/logs").await,
        _ => key.get("/admins").await,
    };
    let scopes =
        ["apps:read", "apps:write", "scripts:read", "scripts:write", "scripts:execute", "logs:read", "users:write"];
    for scope in scopes {
        let rest: Vec<&str> = EVERYTHING.into_iter().filter(|other| *other != scope).collect();
        let without = with_scopes(&world, &owner, &rest).await;
        assert_eq!(calls(&without, scope).await.problem(403, "insufficient_scope")["scope"], scope);
        let with = with_scopes(&world, &owner, &[scope]).await;
        let answer = calls(&with, scope).await;
        assert!(answer.status.is_success(), "{scope}: {}", answer.text());
    }
    // Unsaved source is as good as writing.
    let runs = with_scopes(&world, &owner, &["scripts:execute"]).await;
    let unsaved = json!({ "source": "2" });
    runs.post(&format!("{script}/invoke"), unsaved).await.problem(403, "insufficient_scope");
}

async fn a_key_has_no_more_than_its_owner(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let viewer = world.member("ada", &app, AppRole::Viewer).await;
    let key = with_scopes(&world, &viewer, &EVERYTHING).await;
    assert_eq!(key.get("/apps/shop").await.is(200)["my_role"], "viewer");
    assert_eq!(key.get("/apps/shop").await.is(200)["my_capabilities"].as_array().unwrap().len(), 4);
    key.post("/apps/shop/domains", json!({ "pattern": "a.localhost" })).await.problem(403, "forbidden");
    key.get("/admins").await.problem(403, "forbidden");
    key.get("/apps/default").await.problem(404, "not_found");
    key.post("/apps", json!({ "slug": "mine", "name": "Mine" })).await.problem(403, "forbidden");
}

async fn some_things_are_for_people_alone(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let ada = owner.post("/admins", json!({ "username": "ada", "instance_role": "member" })).await.is(201);
    let ada = format!("/admins/{}", id(&ada));
    let key = with_scopes(&world, &owner, &EVERYTHING).await;
    let sessions = owner.get("/auth/me/sessions").await.is(200);
    let (session, own_key) = (id(&sessions["items"][0]), owner.get("/api-keys").await.is(200));
    for answer in [
        key.post("/api-keys", json!({ "name": "more", "scopes": ["apps:read"] })).await,
        key.get("/api-keys").await,
        key.delete(&format!("/api-keys/{}", id(&own_key["items"][0]))).await,
        key.post("/admins", json!({ "username": "eve", "instance_role": "owner" })).await,
        key.post(&format!("{ada}/reset-password"), json!({})).await,
        key.patch(&ada, json!({ "instance_role": "owner" })).await,
        key.patch("/auth/me", json!({ "email": null })).await,
        key.post("/auth/me/password", json!({ "current_password": "x", "new_password": "a quiet other phrase" })).await,
        key.get("/auth/me/sessions").await,
        key.delete(&format!("/auth/me/sessions/{session}")).await,
        key.send_json("POST", "/auth/logout", "").await,
    ] {
        answer.problem(403, "session_required");
    }
    key.patch(&ada, json!({ "email": "ada@example.com", "is_active": false })).await.is(200);
    assert_eq!(owner.get("/admins").await.is(200)["items"].as_array().unwrap().len(), 2);
}

async fn a_key_of_one_app_knows_no_other(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    let hidden = owner.make_endpoint(&blog, "page", "1").await;
    let scopes: Vec<&str> = EVERYTHING[..10].to_vec();
    let key = by_key(&world, &owner, json!({ "name": "ci", "scopes": scopes, "app_id": id(&shop) })).await;
    let list = key.get("/apps").await.is(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["slug"]), (1, &json!("shop")));
    let second = format!("/apps?cursor={}", id(&shop));
    assert_eq!(key.get(&second).await.is(200)["items"], json!([]));
    assert_eq!(key.get("/apps/shop").await.is(200)["my_role"], "app_admin");
    key.get("/apps/blog").await.problem(404, "not_found");
    key.get(&format!("/scripts/{}", id(&hidden))).await.problem(404, "not_found");
    key.delete("/apps/blog?force=true").await.problem(404, "not_found");
    let elsewhere = json!({ "app_id": id(&blog), "name": "x", "kind": "endpoint", "source": "1" });
    key.post("/scripts", elsewhere).await.problem(404, "not_found");
    let refused = key.post("/apps", json!({ "slug": "new", "name": "New" })).await.problem(403, "key_bound_to_app");
    assert_eq!(refused["app_id"], shop["id"], "it is the key that lacks it, not the role");
    let ada = world.member("ada", &shop, AppRole::AppAdmin).await;
    let of_ada = by_key(&world, &ada, json!({ "name": "ci", "scopes": scopes, "app_id": id(&shop) })).await;
    of_ada.post("/apps", json!({ "slug": "new", "name": "New" })).await.problem(403, "forbidden");
    assert_eq!(key.get("/auth/me").await.is(200)["my_capabilities"], json!([]));
    key.make_endpoint(&shop, "page", "1").await;
    // The key goes with its app.
    owner.delete("/apps/shop?force=true").await.is(204);
    key.get("/apps").await.problem(401, "unauthenticated");
}

async fn the_last_use_is_noted_behind_the_reads(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let key = with_scopes(&world, &owner, &["apps:read"]).await;
    assert_eq!(owner.get("/api-keys").await.is(200)["items"][0]["last_used_at"], Value::Null);
    let writing = store.begin().await.unwrap();
    let read = async { key.get("/apps").await.is(200) };
    tokio::time::timeout(Duration::from_secs(2), read).await.expect("a read waits for nobody");
    drop(writing);
    let World { manager, .. } = world;
    manager.shutdown().await;
    let again = World::start(store).await;
    let list = again.owner().await.get("/api-keys").await.is(200);
    assert!(list["items"][0]["last_used_at"].as_str().unwrap().starts_with("2027-01-15T08:00:00"), "{list}");
}

async fn a_key_runs_a_restricted_script_with_the_scope_for_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script: ScriptId = id(&owner.make_endpoint(&app, "page", "1").await).parse().unwrap();
    for (scope, expected) in [("scripts:execute", true), ("scripts:write", false)] {
        let key = with_scopes(&world, &owner, &[scope]).await;
        let request = key.request("GET", "/").body(()).unwrap();
        let may = world.manager.may_invoke(request.headers(), &key.peer, script).await;
        assert_eq!(may.unwrap(), expected, "{scope}");
    }
}

on_both! {
    a_key_is_shown_once_used_listed_and_revoked,
    bad_keys_are_refused_by_field,
    a_key_has_an_end,
    what_looks_like_a_key_and_is_none_is_unauthenticated,
    a_key_does_what_its_scopes_say_and_no_more,
    a_key_has_no_more_than_its_owner,
    some_things_are_for_people_alone,
    a_key_of_one_app_knows_no_other,
    the_last_use_is_noted_behind_the_reads,
    a_key_runs_a_restricted_script_with_the_scope_for_it,
}
