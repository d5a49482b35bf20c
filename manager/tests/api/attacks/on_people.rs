//! Attacks on who somebody is: guesses, planted sessions, pages of others, users that are out, and who there is at all.

use std::time::{Duration, Instant};

use picloud_manager::repo::role::InstanceRole;
use picloud_manager::repo::scope::Scope;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use super::all_of;
use crate::stage::Stage;
use crate::world::{Client, OWNER, PASSWORD, World, id};

fn credentials(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

/// Signs in as a page of the dashboard does; the cookie that it gets.
async fn sign_in(page: &Client, username: &str) -> String {
    let answer = page.post("/auth/login", credentials(username, PASSWORD)).await;
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

fn page(world: &World) -> Client {
    world.stranger().header("origin", "https://pi.example.com")
}

async fn brute_force_by_a_whole_network_is_that_of_one_and_locks_nobody_out(store: &Store) {
    let world = World::start(store).await;
    let guess = async |address: &str| {
        let stranger = world.stranger().at(address);
        stranger.post("/auth/login", credentials(OWNER, "a wrong guess of it")).await
    };
    for host in 1..=5 {
        guess(&format!("2001:db8:1:2::{host}")).await.problem(401, "wrong_credentials");
    }
    for host in 6..=9 {
        guess(&format!("2001:db8:1:2:{host}::1")).await.problem(429, "throttled");
    }
    // The user, at home.
    let home = world.stranger().at("2001:db8:77::1");
    home.post("/auth/login", credentials(OWNER, PASSWORD)).await.is(200);
}

async fn session_fixation_gives_nobody_the_session_of_another(store: &Store) {
    let world = World::start(store).await;
    world.user("eve", InstanceRole::Member).await;
    let of_eve = sign_in(&page(&world), "eve").await;
    let made_up = format!("__Host-picloud={}", "A".repeat(43));
    for planted in [&of_eve, &made_up] {
        let browser = page(&world).header("cookie", planted);
        let of_owner = sign_in(&browser, OWNER).await;
        assert_ne!(&of_owner, planted, "a login makes a session of its own");
        let me = page(&world).header("cookie", &of_owner).get("/auth/me").await.is(200);
        assert_eq!(me["username"], OWNER);
    }
    // What was planted is what it was.
    let eve = page(&world).header("cookie", &of_eve).get("/auth/me").await.is(200);
    assert_eq!(eve["username"], "eve");
    page(&world).header("cookie", &made_up).get("/auth/me").await.problem(401, "unauthenticated");
}

async fn csrf_makes_no_call_that_changes_something(store: &Store) {
    let mut stage = Stage::set(store).await;
    let target = stage.target().await;
    let cookie = sign_in(&page(&stage.world), OWNER).await;
    let before = all_of(&stage, &target).await;
    let browser = stage.world.stranger().header("cookie", &cookie);
    let foreign = ["https://evil.example", "null", "http://pi.example.com", "https://pi.example.com:8443"];
    for operation in stage.operations.keys() {
        let call = stage.call(operation, &target).of(id(&target.app), id(&target.app));
        if call.method == "GET" {
            // A link leads here with the cookie, from wherever it stands.
            call.by(&browser).await;
            continue;
        }
        for origin in foreign {
            call.by(&browser.clone().header("origin", origin)).await.problem(403, "cross_origin");
        }
        // Whoever signs in without a page gets no cookie, and needs none.
        if !["log_in", "set_up"].contains(&operation.as_str()) {
            call.by(&browser).await.problem(403, "cross_origin");
        }
    }
    assert_eq!(all_of(&stage, &target).await, before);
    browser
        .header("origin", "https://pi.example.com")
        .delete(&format!("/apps/{}?force=true", target.slug))
        .await
        .is(204);
}

async fn a_deactivated_user_makes_no_call_by_session_cookie_or_key(store: &Store) {
    let mut stage = Stage::set(store).await;
    let target = stage.target().await;
    let ada = stage.world.user("ada", InstanceRole::Owner).await;
    let key = ada.post("/api-keys", json!({ "name": "ci", "scopes": Scope::ALL })).await.is(201);
    let by_key = stage.world.stranger().bearer(key["key"].as_str().unwrap());
    let by_cookie = page(&stage.world).header("cookie", &sign_in(&page(&stage.world), "ada").await);
    let path = format!("/admins/{}", id(&ada.get("/auth/me").await.is(200)));
    for client in [&ada, &by_key, &by_cookie] {
        client.get(&format!("/apps/{}", target.slug)).await.is(200);
    }
    stage.owner.patch(&path, json!({ "is_active": false })).await.is(200);
    let before = all_of(&stage, &target).await;
    for operation in stage.operations.keys().filter(|operation| !["log_in", "set_up"].contains(&operation.as_str())) {
        let call = stage.call(operation, &target).of(id(&key), id(&target.app));
        for client in [&ada, &by_key, &by_cookie] {
            call.by(client).await.problem(401, "unauthenticated");
        }
    }
    assert_eq!(all_of(&stage, &target).await, before);
}

/// A password is tried by 19 MiB of work; what is not tried is answered a hundred times as soon.
async fn enumeration_by_timing_tells_no_user_from_none(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let gone = world.user("gone", InstanceRole::Member).await.get("/auth/me").await.is(200);
    owner.patch(&format!("/admins/{}", id(&gone)), json!({ "is_active": false })).await.is(200);
    let names = [OWNER, "nobody", "gone"];
    let mut spent: [Vec<Duration>; 3] = Default::default();
    for round in 0..9 {
        for (place, name) in names.iter().enumerate() {
            // From elsewhere each time, so that nobody is made to wait.
            let stranger = world.stranger().at(&format!("203.0.113.{}", round * names.len() + place));
            let begun = Instant::now();
            let answer = stranger.post("/auth/login", credentials(name, "a wrong guess of it")).await;
            spent[place].push(begun.elapsed());
            answer.problem(401, "wrong_credentials");
        }
    }
    let [known, nobody, gone] = spent.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    for other in [nobody, gone] {
        assert!(
            other * 3 > known && other < known * 3,
            "{known:?} for a user, {nobody:?} for none, {gone:?} for one who is out"
        );
    }
}

async fn enumeration_by_message_tells_nothing_of_what_one_may_not_see(store: &Store) {
    let mut stage = Stage::set(store).await;
    let hidden = stage.target().await;
    let absent = stage.nowhere();
    let (_, outsider) = stage.callers.iter().find(|(name, _)| *name == "outsider").unwrap();
    let mut compared = 0;
    for operation in stage.operations.keys() {
        let calls = [&hidden, &absent].map(|target| stage.call(operation, target).of(id(&absent.app), id(&absent.app)));
        if calls[0].path == calls[1].path && calls[0].body == calls[1].body {
            continue;
        }
        let mut answers = Vec::new();
        for call in &calls {
            let answer = call.by(outsider).await;
            answers.push((answer.status, answer.headers.clone(), answer.text()));
        }
        // Word for word and header for header.
        assert_eq!(answers[0], answers[1], "{operation}");
        compared += 1;
    }
    assert!(compared > 35, "{compared}");
}

on_both! {
    brute_force_by_a_whole_network_is_that_of_one_and_locks_nobody_out,
    session_fixation_gives_nobody_the_session_of_another,
    csrf_makes_no_call_that_changes_something,
    a_deactivated_user_makes_no_call_by_session_cookie_or_key,
    enumeration_by_timing_tells_no_user_from_none,
    enumeration_by_message_tells_nothing_of_what_one_may_not_see,
}
