//! What a start does: the first owner, the set-up link, the seed, once.

use std::time::Duration;

use picloud_manager::ManagerConfig;
use picloud_manager::repo::role::InstanceRole;
use picloud_manager::store::Store;
use picloud_manager::users::{self, UserError};
use serde_json::json;

use crate::test_store::TestStore;
use crate::world::{Answer, OWNER, PASSWORD, World, config, id, name};

fn without_owner() -> ManagerConfig {
    ManagerConfig { first_owner: None, ..config() }
}

async fn the_first_owner_of_the_environment_can_sign_in_and_gets_no_link(store: &Store) {
    let world = World::start(store).await;
    assert_eq!(world.manager.setup_link(), None);
    let me = world.owner().await.get("/auth/me").await.is(200);
    assert_eq!((me["username"].as_str(), me["instance_role"].as_str()), (Some(OWNER), Some("owner")));
}

async fn the_owner_of_the_environment_is_inert_once_a_user_exists(store: &Store) {
    World::start(store).await;
    let mut other = config();
    other.first_owner.as_mut().unwrap().username = name("intruder");
    let world = World::start_with(store, other).await;
    let credentials = json!({ "username": "intruder", "password": PASSWORD });
    world.stranger().post("/auth/login", credentials).await.problem(401, "wrong_credentials");
}

async fn a_setup_link_makes_one_owner_and_no_second(store: &Store) {
    let world = World::start_with(store, without_owner()).await;
    let link = world.manager.setup_link().unwrap();
    let token = link.strip_prefix("https://pi.example.com/admin/setup#token=").unwrap();
    let body = |token: &str| json!({ "token": token, "username": "Ada", "password": PASSWORD });
    let stranger = world.stranger();
    stranger.post("/auth/setup", body("guess")).await.problem(401, "wrong_setup_token");
    let wrong = stranger.clone().post("/auth/setup", body(&"A".repeat(43))).await;
    wrong.problem(401, "wrong_setup_token");
    let foreign = stranger.clone().header("origin", "https://evil.example");
    foreign.post("/auth/setup", body(token)).await.problem(403, "cross_origin");

    let session = stranger.post("/auth/setup", body(token)).await.is(201);
    assert_eq!(session["user"]["username"], "ada");
    assert_eq!(session["user"]["instance_role"], "owner");
    let owner = world.stranger().bearer(session["token"].as_str().unwrap());
    owner.get("/apps").await.is(200);
    stranger.post("/auth/setup", body(token)).await.problem(401, "wrong_setup_token");
}

async fn a_refused_setup_leaves_the_token_standing(store: &Store) {
    let world = World::start_with(store, without_owner()).await;
    let link = world.manager.setup_link().unwrap();
    let token = link.rsplit('=').next().unwrap();
    let set_up = |password: &'static str| {
        let body = json!({ "token": token, "username": "ada.lovelace", "password": password });
        let stranger = world.stranger();
        async move { stranger.post("/auth/setup", body).await }
    };
    assert_eq!(set_up("too short").await.invalid_fields(), ["password"]);
    assert_eq!(set_up("password1234").await.invalid_fields(), ["password"]);
    assert_eq!(set_up("ada.lovelaceada.lovelace").await.invalid_fields(), ["password"]);
    set_up(PASSWORD).await.is(201);
}

async fn set_up(world: &World, link: &str, username: &str) -> Answer {
    let token = link.rsplit('=').next().unwrap();
    world.stranger().post("/auth/setup", json!({ "token": token, "username": username, "password": PASSWORD })).await
}

#[test]
fn on_sqlite_a_restart_voids_the_link_of_the_start_before() {
    crate::run(async || {
        let test = TestStore::sqlite().await;
        let first = World::start_with(&test.store, without_owner()).await.manager.setup_link().unwrap();
        let world = World::start_with(&test.store, without_owner()).await;
        assert_ne!(world.manager.setup_link().unwrap(), first);
        set_up(&world, &first, "ada").await.problem(401, "wrong_setup_token");
    });
}

#[test]
fn on_postgres_the_link_of_each_node_serves_until_one_is_used_and_goes_stale_without_its_node() {
    crate::run(async || {
        let test = TestStore::postgres().await;
        let links = [World::start_with(&test.store, without_owner()).await.manager.setup_link().unwrap()];
        let later = World::start_with(&test.store, without_owner()).await;
        let [first, second] = [&links[0], &later.manager.setup_link().unwrap()];
        later.clock.advance(Duration::from_secs(30 * 60));
        set_up(&later, first, "ada").await.problem(401, "wrong_setup_token");
        let node = World::start_with(&test.store, without_owner()).await;
        let third = node.manager.setup_link().unwrap();
        set_up(&node, second, "ada").await.is(201);
        for used_up in [second, &third] {
            set_up(&node, used_up, "eve").await.problem(401, "wrong_setup_token");
        }
    });
}

async fn a_user_made_at_the_command_line_voids_the_link(store: &Store) {
    let world = World::start_with(store, without_owner()).await;
    let link = world.manager.setup_link().unwrap();
    world.user("ada", InstanceRole::Owner).await;
    let body = json!({ "token": link.rsplit('=').next().unwrap(), "username": "eve", "password": PASSWORD });
    world.stranger().post("/auth/setup", body).await.problem(401, "wrong_setup_token");
}

async fn a_fresh_instance_answers_hello_world_on_localhost(store: &Store) {
    let world = World::start(store).await;
    assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
    assert_eq!(world.fetch("GET", "http://other.example/").await, "unknown_host");
    let owner = world.owner().await;
    let app = owner.get("/apps/default").await.is(200);
    let scripts = owner.get("/scripts?app=default").await.is(200);
    assert_eq!((app["name"].as_str(), scripts["items"][0]["name"].as_str()), (Some("Default"), Some("hello")));
}

async fn what_was_seeded_once_is_not_seeded_again(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let scripts = owner.get("/scripts?app=default").await.is(200);
    owner.delete(&format!("/scripts/{}", id(&scripts["items"][0]))).await.is(204);
    let again = World::start(store).await;
    assert_eq!(again.fetch("GET", "http://localhost/").await, "no_route");
    owner.delete("/apps/default").await.is(204);
    World::start(store).await.owner().await.get("/apps/default").await.problem(404, "not_found");
}

async fn nodes_that_start_at_once_seed_one_app(store: &Store) {
    let worlds = futures_util::future::join_all((0..4).map(|_| World::start_with(store, config()))).await;
    let owner = worlds[3].owner().await;
    assert_eq!(owner.get("/apps").await.is(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(owner.get("/scripts?app=default").await.is(200)["items"].as_array().unwrap().len(), 1);
    for world in &worlds {
        assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
    }
}

async fn the_command_line_makes_and_resets_users_and_ends_their_sessions(store: &Store) {
    let world = World::start(store).await;
    world.clock.advance(Duration::from_millis(1));
    let audited = &world.audited();
    let generated = users::create_user(audited, name("ada"), InstanceRole::Admin, None).await.unwrap();
    let log_in = |password: &str| {
        let body = json!({ "username": "ada", "password": password });
        let stranger = world.stranger();
        async move { stranger.post("/auth/login", body).await }
    };
    let session = log_in(generated.reveal()).await.is(200);
    let client = world.stranger().bearer(session["token"].as_str().unwrap());
    client.get("/auth/me").await.is(200);

    let taken = users::create_user(audited, name("ada"), InstanceRole::Admin, None).await;
    assert!(matches!(taken, Err(UserError::Taken(_))));
    let password = Some(PASSWORD.parse().unwrap());
    users::reset_password(audited, &name("ada"), password).await.unwrap();
    client.get("/auth/me").await.problem(401, "unauthenticated");
    log_in(generated.reveal()).await.problem(401, "wrong_credentials");
    log_in(PASSWORD).await.is(200);
    let unknown = users::reset_password(audited, &name("nobody"), None).await;
    assert!(matches!(unknown, Err(UserError::Unknown(_))));
    let names: Vec<_> = users::list_users(store).await.unwrap().into_iter().map(|user| user.username).collect();
    assert_eq!(names, [name(OWNER), name("ada")]);
}

on_both! {
    the_first_owner_of_the_environment_can_sign_in_and_gets_no_link,
    the_owner_of_the_environment_is_inert_once_a_user_exists,
    a_setup_link_makes_one_owner_and_no_second,
    a_refused_setup_leaves_the_token_standing,
    a_user_made_at_the_command_line_voids_the_link,
    a_fresh_instance_answers_hello_world_on_localhost,
    what_was_seeded_once_is_not_seeded_again,
    nodes_that_start_at_once_seed_one_app,
    the_command_line_makes_and_resets_users_and_ends_their_sessions,
}
