//! Signing in and out, sessions, cookies, throttling.

use std::time::Duration;

use picloud_manager::repo::role::InstanceRole;
use picloud_manager::store::Store;
use picloud_shared::clock::Clock;
use picloud_shared::request::Scheme;
use serde_json::{Value, json};

use crate::world::{Client, OWNER, PASSWORD, World, id};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn credentials(password: &str) -> Value {
    json!({ "username": OWNER, "password": password })
}

async fn a_login_gives_a_token_its_end_and_the_user_but_no_secret(store: &Store) {
    let world = World::start(store).await;
    let answer = world.stranger().post("/auth/login", credentials(PASSWORD)).await;
    assert!(!answer.headers.contains_key("set-cookie"), "a terminal gets no cookie");
    assert_eq!(answer.header("cache-control"), "no-store");
    let session = answer.is(200);
    assert_eq!(session["expires_at"], "2027-01-16T08:00:00.000Z");
    let user = session["user"].as_object().unwrap();
    let fields: Vec<&str> = user.keys().map(String::as_str).collect();
    let expected = ["created_at", "email", "id", "instance_role", "is_active", "last_login_at", "username"];
    assert_eq!(fields, expected);
    assert_eq!(user["last_login_at"], "2027-01-15T08:00:00.000Z");
}

async fn unknown_users_wrong_passwords_and_deactivated_users_get_one_answer(store: &Store) {
    let world = World::start(store).await;
    world.user("gone", InstanceRole::Member).await;
    let owner = world.owner().await;
    let gone = owner.get("/admins").await.is(200)["items"][1].clone();
    owner.patch(&format!("/admins/{}", id(&gone)), json!({ "is_active": false })).await.is(200);
    let mut answers = Vec::new();
    for body in [
        credentials("not the pass phrase"),
        json!({ "username": "nobody", "password": PASSWORD }),
        json!({ "username": "gone", "password": PASSWORD }),
        json!({ "username": OWNER, "password": "" }),
    ] {
        let answer = world.stranger().post("/auth/login", body).await;
        answers.push((answer.headers.clone(), answer.problem(401, "wrong_credentials")));
    }
    // Word for word and header for header: whoever guesses learns of no name whether it is one.
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let right = json!({ "username": "still.here", "password": PASSWORD });
    world.user("still.here", InstanceRole::Member).await;
    world.stranger().post("/auth/login", right).await.is(200);
}

async fn calls_without_a_live_token_are_unauthenticated(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    for client in [
        stranger.clone(),
        stranger.clone().bearer(""),
        stranger.clone().bearer("nonsense"),
        stranger.clone().bearer(&"A".repeat(43)),
        stranger.clone().header("authorization", "Basic b2xpdmU6cGFzcw=="),
        world.owner().await.bearer(&"A".repeat(43)),
    ] {
        let answer = client.get("/apps").await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answer.problem(401, "unauthenticated");
    }
}

async fn a_session_lives_a_day_after_its_last_use_and_thirty_days_at_most(store: &Store) {
    let world = World::start(store).await;
    let (used, unused) = (world.owner().await, world.owner().await);
    for _ in 0..31 {
        world.clock.advance(23 * HOUR);
        used.get("/auth/me").await.is(200);
    }
    unused.get("/auth/me").await.problem(401, "unauthenticated");
    // 31 times 23 hours are 713; the thirtieth day ends at 720.
    world.clock.advance(7 * HOUR);
    used.get("/auth/me").await.problem(401, "unauthenticated");
}

async fn a_read_does_not_wait_for_whoever_writes_and_its_use_is_noted_once_a_minute(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let seen = async |world: &World| {
        let list = world.owner().await.get("/auth/me/sessions").await.is(200);
        list["items"].as_array().unwrap().last().unwrap()["last_seen_at"].as_str().unwrap().to_owned()
    };
    world.clock.advance(HOUR);
    let writing = store.begin().await.unwrap();
    let read = async {
        for _ in 0..3 {
            owner.get("/auth/me").await.is(200);
        }
    };
    // The writer is waited for up to 2.5 s, by whoever does wait.
    tokio::time::timeout(Duration::from_secs(2), read).await.expect("a read waits for nobody");
    drop(writing);
    let World { manager, .. } = world;
    manager.shutdown().await;
    let world = World::start(store).await;
    world.clock.advance(HOUR);
    let noted = seen(&world).await;
    assert!(noted.starts_with("2027-01-15T09:00:00"), "{noted}");
}

async fn a_session_that_was_just_used_outlives_its_row_and_the_housekeeping(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    world.clock.advance(23 * HOUR);
    // Nothing can be written, so that the row goes on saying that the session ends in an hour.
    let writing = store.begin().await.unwrap();
    owner.get("/auth/me").await.is(200);
    world.clock.advance(2 * HOUR);
    owner.get("/auth/me").await.is(200);
    drop(writing);
    owner.post("/apps", json!({ "slug": "shop", "name": "Shop" })).await.is(201);
    world.clock.advance(25 * HOUR);
    owner.get("/auth/me").await.problem(401, "unauthenticated");
}

async fn a_clock_that_is_set_neither_ends_a_wait_nor_lengthens_it(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    for _ in 0..6 {
        stranger.post("/auth/login", credentials("a wrong password")).await;
    }
    let now = world.clock.now();
    for set in [now.plus(48 * HOUR), now.minus(48 * HOUR)] {
        world.clock.set(set);
        let refused = stranger.post("/auth/login", credentials(PASSWORD)).await;
        assert_eq!(refused.header("retry-after"), "1");
        refused.problem(429, "throttled");
    }
    world.clock.set(now);
    world.clock.advance(Duration::from_secs(1));
    stranger.post("/auth/login", credentials(PASSWORD)).await.is(200);
}

async fn logging_out_ends_this_session_and_no_other(store: &Store) {
    let world = World::start(store).await;
    let (one, other) = (world.owner().await, world.owner().await);
    one.send_json("POST", "/auth/logout", "").await.is(204);
    one.get("/auth/me").await.problem(401, "unauthenticated");
    other.get("/auth/me").await.is(200);
}

async fn users_see_and_end_their_own_sessions_only(store: &Store) {
    let world = World::start(store).await;
    let ada = world.user("ada", InstanceRole::Admin).await;
    let owner = world.owner().await;
    world.clock.advance(HOUR);
    let second = world.stranger().header("user-agent", "browser").post("/auth/login", credentials(PASSWORD)).await;
    let second = world.stranger().bearer(second.is(200)["token"].as_str().unwrap());

    let list = owner.get("/auth/me/sessions").await.is(200);
    let sessions = list["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["user_agent"], "browser");
    assert_eq!(sessions[0]["remote_ip"], "192.0.2.7");
    assert_eq!((&sessions[0]["is_current"], &sessions[1]["is_current"]), (&json!(false), &json!(true)));
    let path = format!("/auth/me/sessions/{}", id(&sessions[0]));
    ada.delete(&path).await.problem(404, "not_found");
    second.get("/auth/me").await.is(200);
    owner.delete(&path).await.is(204);
    second.get("/auth/me").await.problem(401, "unauthenticated");
    owner.delete(&path).await.problem(404, "not_found");
}

async fn guessing_is_slowed_down_until_the_wait_is_over(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    for _ in 0..5 {
        stranger.post("/auth/login", credentials("a wrong password")).await.problem(401, "wrong_credentials");
    }
    let refused = stranger.post("/auth/login", credentials(PASSWORD)).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(429, "throttled");
    stranger.clone().at("198.51.100.4").post("/auth/login", credentials(PASSWORD)).await.is(200);
    world.clock.advance(Duration::from_secs(1));
    stranger.post("/auth/login", credentials(PASSWORD)).await.is(200);
}

async fn parallel_guesses_are_not_free(store: &Store) {
    let world = World::start(store).await;
    let stranger = world.stranger();
    let guesses = (0..30).map(|n| {
        let stranger = stranger.clone();
        async move { stranger.post("/auth/login", credentials(&format!("wrong password {n}"))).await.status.as_u16() }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 25);
}

fn browser(world: &World) -> Client {
    world.stranger().header("origin", "https://pi.example.com")
}

fn cookie_of(set_cookie: &str) -> &str {
    set_cookie.split(';').next().unwrap()
}

async fn a_browser_signs_in_by_cookie_and_writes_with_its_origin_only(store: &Store) {
    let world = World::start(store).await;
    let answer = browser(&world).post("/auth/login", credentials(PASSWORD)).await;
    let cookie = cookie_of(answer.header("set-cookie")).to_owned();
    assert!(cookie.starts_with("__Host-picloud="));
    let page = browser(&world).header("cookie", &cookie);
    let body = json!({ "slug": "shop", "name": "Shop" });
    page.get("/apps").await.is(200);
    page.post("/apps", body.clone()).await.is(201);

    let no_origin = world.stranger().header("cookie", &cookie);
    no_origin.get("/apps").await.is(200);
    no_origin.post("/apps", body.clone()).await.problem(403, "cross_origin");
    no_origin.delete("/apps/shop").await.problem(403, "cross_origin");
    for site in ["same-site", "cross-site"] {
        let elsewhere = no_origin.clone().header("sec-fetch-site", site);
        elsewhere.get("/apps").await.problem(403, "cross_origin");
    }
    no_origin.clone().header("sec-fetch-site", "same-origin").get("/apps").await.is(200);
    for origin in ["https://evil.example", "null", "http://pi.example.com", "https://pi.example.com:8443"] {
        let foreign = world.stranger().header("cookie", &cookie).header("origin", origin);
        foreign.post("/apps", body.clone()).await.problem(403, "cross_origin");
    }
    let gone = page.send_json("POST", "/auth/logout", "").await;
    assert!(gone.header("set-cookie").starts_with("__Host-picloud=; Path=/; Max-Age=0;"));
    page.get("/apps").await.problem(401, "unauthenticated");
}

async fn a_page_of_another_host_cannot_sign_in(store: &Store) {
    let world = World::start(store).await;
    let foreign = world.stranger().header("origin", "https://evil.example");
    foreign.post("/auth/login", credentials(PASSWORD)).await.problem(403, "cross_origin");
}

async fn on_a_host_that_scripts_share_cookies_are_neither_given_nor_read(store: &Store) {
    let world = World::start(store).await;
    let mut loopback = world.stranger().at("127.0.0.1");
    loopback.peer.scheme = Scheme::Http;
    loopback.peer.authority = "127.0.0.1:8080".into();
    let page = loopback.clone().header("origin", "http://127.0.0.1:8080");
    let answer = page.post("/auth/login", credentials(PASSWORD)).await;
    let cookie = cookie_of(answer.header("set-cookie")).to_owned();
    loopback.clone().header("cookie", &cookie).get("/auth/me").await.is(200);

    let mut shared = world.stranger().at("127.0.0.1");
    shared.peer.scheme = Scheme::Http;
    shared.peer.authority = "localhost:8080".into();
    shared.peer.cookies_count = false;
    shared.clone().header("cookie", &cookie).get("/auth/me").await.problem(401, "unauthenticated");
    let page = shared.header("origin", "http://localhost:8080");
    assert!(!page.post("/auth/login", credentials(PASSWORD)).await.headers.contains_key("set-cookie"));
}

async fn a_cookie_does_not_count_over_plain_http_from_afar(store: &Store) {
    let world = World::start(store).await;
    let mut lan = world.stranger().at("192.168.1.7").header("origin", "http://192.168.1.2");
    lan.peer.scheme = Scheme::Http;
    lan.peer.authority = "192.168.1.2".into();
    let answer = lan.post("/auth/login", credentials(PASSWORD)).await;
    assert!(!answer.headers.contains_key("set-cookie"));
    let token = answer.is(200)["token"].as_str().unwrap().to_owned();
    lan.clone().header("cookie", &format!("picloud={token}")).get("/auth/me").await.problem(401, "unauthenticated");
    lan.bearer(&token).get("/auth/me").await.is(200);
}

async fn only_so_many_sessions_of_a_user_stand(store: &Store) {
    let world = World::start(store).await;
    let first = world.owner().await;
    for _ in 0..50 {
        world.clock.advance(Duration::from_secs(1));
        world.owner().await;
    }
    first.get("/auth/me").await.problem(401, "unauthenticated");
    let list = world.owner().await.get("/auth/me/sessions").await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 50);
}

on_both! {
    a_login_gives_a_token_its_end_and_the_user_but_no_secret,
    unknown_users_wrong_passwords_and_deactivated_users_get_one_answer,
    calls_without_a_live_token_are_unauthenticated,
    a_session_lives_a_day_after_its_last_use_and_thirty_days_at_most,
    a_read_does_not_wait_for_whoever_writes_and_its_use_is_noted_once_a_minute,
    a_session_that_was_just_used_outlives_its_row_and_the_housekeeping,
    a_clock_that_is_set_neither_ends_a_wait_nor_lengthens_it,
    logging_out_ends_this_session_and_no_other,
    users_see_and_end_their_own_sessions_only,
    guessing_is_slowed_down_until_the_wait_is_over,
    parallel_guesses_are_not_free,
    a_browser_signs_in_by_cookie_and_writes_with_its_origin_only,
    a_page_of_another_host_cannot_sign_in,
    on_a_host_that_scripts_share_cookies_are_neither_given_nor_read,
    a_cookie_does_not_count_over_plain_http_from_afar,
    only_so_many_sessions_of_a_user_stand,
}
