//! Calls that are sent again by the same key: done once, and answered alike.

use std::time::Duration;

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_shared::clock::Clock;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World, id};

fn with_key(client: &Client, key: &str) -> Client {
    client.clone().header("idempotency-key", key)
}

fn shop() -> Value {
    json!({ "slug": "shop", "name": "Shop" })
}

#[track_caller]
fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

async fn apps(owner: &Client) -> usize {
    owner.get("/apps").await.is(200)["items"].as_array().unwrap().len()
}

async fn a_call_of_one_key_is_done_once_and_answered_alike(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let keyed = with_key(&owner, "a7f3");
    let first = keyed.post("/apps", shop()).await;
    assert!(!is_replay(&first));
    world.clock.advance(Duration::from_secs(23 * 60 * 60));
    let owner = world.owner().await;
    let keyed = with_key(&owner, "a7f3");
    let again = keyed.post("/apps", shop()).await;
    assert!(is_replay(&again));
    assert_eq!((again.status, again.etag(), again.json()), (first.status, first.etag(), first.json()));
    assert_eq!(apps(&owner).await, 2);
    // The script and its version: nothing was made twice.
    let app = first.is(201);
    let body = json!({ "app_id": id(&app), "name": "page", "kind": "endpoint", "source": "1" });
    let script = keyed.post("/scripts", body.clone()).await.is(201);
    assert_eq!(keyed.post("/scripts", body).await.is(201), script);
    let restore = format!("/scripts/{}/versions/1/restore", id(&script));
    let restored = keyed.post(&restore, json!({})).await.is(200);
    assert_eq!(keyed.post(&restore, json!({})).await.is(200), restored);
    // A day later the key is as good as another.
    world.clock.advance(Duration::from_secs(25 * 60 * 60));
    let owner = world.owner().await;
    with_key(&owner, "a7f3").post("/apps", shop()).await.problem(409, "slug_taken");
}

async fn a_key_stands_for_one_caller_one_call_and_one_body(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let admin = world.user("ada", InstanceRole::Admin).await;
    let keyed = with_key(&owner, "k");
    keyed.post("/apps", shop()).await.is(201);
    let other = keyed.post("/apps", json!({ "slug": "blog", "name": "Blog" })).await;
    assert_eq!(other.problem(422, "idempotency_key_reused")["errors"][0]["field"], "idempotency-key");
    // Another call, another user, and a key of the same user are others.
    keyed.post("/apps/shop/domains", json!({ "pattern": "shop.example.com" })).await.is(201);
    with_key(&admin, "k").post("/apps", shop()).await.problem(409, "slug_taken");
    let key = json!({ "name": "ci", "scopes": ["apps:write", "apps:read"] });
    let key = owner.post("/api-keys", key).await.is(201);
    let ci = world.stranger().bearer(key["key"].as_str().unwrap());
    with_key(&ci, "k").post("/apps", shop()).await.problem(409, "slug_taken");
    // What was refused is not kept.
    let fresh = with_key(&owner, "fresh");
    assert_eq!(fresh.post("/apps", json!({ "slug": "Bad", "name": "x" })).await.invalid_fields(), ["slug"]);
    fresh.post("/apps", json!({ "slug": "good", "name": "x" })).await.is(201);
    with_key(&world.stranger(), "k").post("/apps", shop()).await.problem(401, "unauthenticated");
}

async fn a_kept_answer_is_given_to_who_may_make_the_call_now(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let editor = with_key(&world.member("ed", &app, AppRole::Editor).await, "k");
    let ed = editor.get("/auth/me").await.is(200)["id"].as_str().unwrap().to_owned();
    let body = json!({ "app_id": id(&app), "name": "page", "kind": "endpoint", "source": "1" });
    let make = async || editor.post("/scripts", body.clone()).await;
    let made = make().await.is(201);
    let member = format!("/apps/shop/members/{ed}");
    owner.patch(&member, json!({ "role": "viewer" })).await.is(200);
    assert_eq!(make().await.problem(403, "forbidden")["capability"], "ScriptWrite");
    owner.delete(&member).await.is(204);
    make().await.problem(404, "not_found");
    owner.post("/apps/shop/members", json!({ "user_id": ed, "role": "editor" })).await.is(201);
    let again = make().await;
    assert!(is_replay(&again));
    assert_eq!(again.is(201), made);
    owner.patch(&format!("/admins/{ed}"), json!({ "is_active": false })).await.is(200);
    make().await.problem(401, "unauthenticated");

    // What is beyond apps, and what made an app.
    let admin = with_key(&world.user("ada", InstanceRole::Admin).await, "k");
    let ada = admin.get("/auth/me").await.is(200)["id"].as_str().unwrap().to_owned();
    admin.post("/apps", json!({ "slug": "blog", "name": "Blog" })).await.is(201);
    let import = json!({ "format": 1, "app": { "slug": "copy", "name": "Copy" }, "scripts": [] });
    admin.post("/apps:import", import.clone()).await.is(201);
    owner.patch(&format!("/admins/{ada}"), json!({ "instance_role": "member" })).await.is(200);
    admin.post("/apps", json!({ "slug": "blog", "name": "Blog" })).await.problem(403, "forbidden");
    admin.post("/apps:import", import).await.problem(403, "forbidden");

    // An app that is gone.
    let owners = with_key(&owner, "k");
    owners.post("/apps/shop/domains", json!({ "pattern": "shop.example.com" })).await.is(201);
    owner.delete("/apps/shop?force=true").await.is(204);
    owners.post("/apps/shop/domains", json!({ "pattern": "shop.example.com" })).await.problem(404, "not_found");
}

async fn of_one_users_answers_so_many_bytes_are_kept(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    // JSON writes a control character as six.
    let source = format!("//{}", "\u{1}".repeat(50_000));
    let page =
        |n: usize| json!({ "app_id": id(&app), "name": format!("page-{n}"), "kind": "endpoint", "source": source });
    let make = async |n: usize| with_key(&owner, &format!("k{n}")).post("/scripts", page(n)).await;
    let mut made = 0;
    let refused = loop {
        let answer = make(made).await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
    };
    assert_eq!(refused.problem(429, "too_many_idempotency_keys")["most"], 1500);
    assert_eq!(made, 1 + (16 << 20) / 300_000);
    let scripts = owner.get("/scripts?app=shop&limit=200").await.is(200);
    assert_eq!(scripts["items"].as_array().unwrap().len(), made, "what was refused is not made");
    // It is refused before anything is done.
    with_key(&owner, "new").post("/apps", json!({ "slug": "Bad" })).await.problem(429, "too_many_idempotency_keys");
    assert!(is_replay(&make(0).await), "what is kept is given again");
    with_key(&world.user("ada", InstanceRole::Admin).await, "k").post("/apps", shop_of("ada")).await.is(201);
    owner.post("/scripts", page(made)).await.is(201);
    world.clock.advance(Duration::from_secs(25 * 60 * 60));
    let owner = world.owner().await;
    with_key(&owner, "k").post("/apps", shop_of("olive")).await.is(201);
}

fn shop_of(name: &str) -> Value {
    json!({ "slug": name, "name": name })
}

async fn a_key_is_refused_where_no_answer_is_kept_and_where_it_is_none(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let user = owner.post("/admins", json!({ "username": "bob", "instance_role": "member" })).await.is(201);
    let keyed = with_key(&owner, "k");
    for (path, body) in [
        ("/api-keys".to_owned(), json!({ "name": "ci", "scopes": ["apps:read"] })),
        ("/admins".to_owned(), json!({ "username": "eve", "instance_role": "member" })),
        (format!("/admins/{}/reset-password", id(&user)), json!({})),
        ("/auth/login".to_owned(), json!({ "username": "olive", "password": "x" })),
        ("/auth/me/password".to_owned(), json!({ "current_password": "x", "new_password": "y" })),
        ("/auth/setup".to_owned(), json!({ "token": "x", "username": "eve", "password": "x" })),
        (format!("/scripts/{}/invoke", id(&user)), json!({})),
    ] {
        keyed.post(&path, body).await.problem(400, "idempotency_not_supported");
    }
    assert_eq!(owner.get("/api-keys").await.is(200)["items"], json!([]));
    for bad in ["", "two words", &"x".repeat(256)] {
        with_key(&owner, bad).post("/apps", shop()).await.problem(400, "malformed");
    }
    with_key(&keyed, "second").post("/apps", shop()).await.problem(400, "malformed");
    with_key(&owner, &"x".repeat(255)).post("/apps", shop()).await.is(201);
    // What cannot be repeated by mistake pays no heed.
    for method in ["GET", "POST"] {
        let question = json!({ "url": "http://localhost/", "method": method });
        assert!(!is_replay(&keyed.post("/routes:match", question).await));
    }
    // Each session ends by its own call, whatever key that has.
    let sessions = [with_key(&world.owner().await, "k"), with_key(&world.owner().await, "k")];
    for session in &sessions {
        session.post("/auth/logout", json!({})).await.is(204);
    }
    for session in &sessions {
        session.get("/auth/me").await.problem(401, "unauthenticated");
    }
    keyed.patch("/apps/shop", json!({ "name": "A" })).await.is(200);
    keyed.patch("/apps/shop", json!({ "name": "B" })).await.is(200);
}

async fn an_answer_that_was_kept_by_a_clock_far_ahead_does_not_count(store: &Store) {
    let world = World::start(store).await;
    let now = world.clock.now();
    // Half a day ahead is what clocks may be; a year would have the key count for a year.
    for (slug, ahead_h, is_kept) in [("shop", 12, true), ("blog", 365 * 24, false)] {
        world.clock.set(now.plus(Duration::from_secs(ahead_h * 60 * 60)));
        let key = format!("of-{slug}");
        let owner = world.owner().await;
        with_key(&owner, &key).post("/apps", shop_of(slug)).await.is(201);
        world.clock.set(now);
        let again = with_key(&world.owner().await, &key).post("/apps", shop_of(slug)).await;
        match is_kept {
            true => assert!(is_replay(&again)),
            false => drop(again.problem(409, "slug_taken")),
        }
    }
}

async fn of_many_calls_of_one_key_at_once_on_two_nodes_one_is_done(store: &Store) {
    let nodes = [World::start(store).await, World::start(store).await];
    let owners = [nodes[0].owner().await, nodes[1].owner().await];
    let calls = (0..8).map(|n| {
        let keyed = with_key(&owners[n % 2], "same");
        async move { keyed.post("/apps", shop()).await }
    });
    let mut made = Vec::new();
    for answer in futures_util::future::join_all(calls).await {
        match answer.status.as_u16() {
            201 => made.push(answer.json()),
            _ => drop(answer.problem(409, "idempotency_key_running")),
        }
    }
    assert!(!made.is_empty() && made.iter().all(|app| *app == made[0]), "{made:?}");
    assert_eq!(apps(&owners[0]).await, 2);
    let actions = owners[0].get("/audit?action=app.create").await.is(200);
    assert_eq!(actions["items"].as_array().unwrap().iter().filter(|row| row["after"]["slug"] == "shop").count(), 1);
    assert_eq!(with_key(&owners[1], "same").post("/apps", shop()).await.is(201), made[0]);
}

async fn a_change_that_is_not_live_yet_is_kept_with_its_answer(store: &Store) {
    let (mut world, spare) = (World::start(store).await, World::start(store).await);
    let owner = world.owner().await;
    std::mem::replace(&mut world.manager, spare.manager).shutdown().await;
    let keyed = with_key(&owner, "k");
    keyed.post("/apps", shop()).await.problem(503, "not_live_yet");
    let again = keyed.post("/apps", shop()).await;
    assert!(is_replay(&again));
    assert_eq!(again.is(201), owner.get("/apps/shop").await.is(200));
}

on_both! {
    a_call_of_one_key_is_done_once_and_answered_alike,
    a_key_stands_for_one_caller_one_call_and_one_body,
    a_kept_answer_is_given_to_who_may_make_the_call_now,
    of_one_users_answers_so_many_bytes_are_kept,
    a_key_is_refused_where_no_answer_is_kept_and_where_it_is_none,
    an_answer_that_was_kept_by_a_clock_far_ahead_does_not_count,
    of_many_calls_of_one_key_at_once_on_two_nodes_one_is_done,
    a_change_that_is_not_live_yet_is_kept_with_its_answer,
}
