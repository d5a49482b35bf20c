//! Secrets of apps: set by people, read by scripts, and told to nobody else.

use std::time::Duration;

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::env::{put, shop};
use crate::test_store::TestStore;
use crate::world::{Client, World, id};

const SECRET: &str = "correct horse \"battery\"";

async fn secrets_are_set_listed_and_deleted_and_never_told(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let path = "/apps/shop/secrets/KEY";
    owner.get(path).await.problem(404, "not_found");
    let set = put(&owner, path, SECRET).await;
    let tag = set.etag();
    let got = owner.get(path).await;
    assert_eq!(got.etag(), tag);
    let again = put(&owner, path, SECRET).await;
    assert_ne!(again.etag(), tag, "of the same value it is another, so that nobody can test a guess by it");
    let mut answers = vec![set.text(), got.text(), again.text()];
    let (set, again) = (set.is(200), again.is(200));
    let members: Vec<&String> = set.as_object().unwrap().keys().collect();
    assert_eq!(members, ["created_at", "name", "updated_at"]);
    assert_eq!(again["created_at"], set["created_at"]);
    assert_ne!(again["updated_at"], set["updated_at"]);
    put(&owner.if_match(&tag), path, "other").await.problem(412, "precondition_failed");
    put(&owner.if_match("*"), "/apps/shop/secrets/NEW", "other").await.problem(412, "precondition_failed");
    put(&owner, "/apps/shop/secrets/B", "other").await.is(200);
    for path in ["/apps/shop/secrets", "/apps/shop/export", &format!("/audit?app_id={}", id(&app))] {
        answers.push(owner.get(path).await.is(200).to_string());
    }
    owner.if_match(&tag).delete(path).await.problem(412, "precondition_failed");
    owner.delete(path).await.is(204);
    owner.delete(path).await.problem(404, "not_found");
    let log = owner.get("/audit?object_kind=secret").await.is(200);
    let told: Vec<Value> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["action"], row["before"], row["after"]]))
        .collect();
    let key = json!({ "name": "KEY" });
    let expected = [
        json!(["secret.delete", key, null]),
        json!(["secret.set", null, { "name": "B" }]),
        json!(["secret.set", key, key]),
        json!(["secret.set", null, key]),
    ];
    assert_eq!(told, expected);
    answers.push(log.to_string());
    assert!(answers.iter().all(|answer| !answer.contains("horse")), "{answers:?}");
}

async fn what_cannot_be_set_is_refused_without_being_repeated(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = "/apps/shop/secrets/KEY";
    for (body, field) in [
        (json!({}), "value"),
        (json!({ "value": 4711 }), "value"),
        (json!({ "value": ["4711"] }), "value"),
        (json!({ "value": "471" }), "value"),
        (json!({ "value": "4711\0" }), "value"),
        (json!({ "value": "4711".repeat(2 * 1024) + "x" }), "value"),
        (json!({ "value": "x4711", "valve": "4711" }), "valve"),
    ] {
        let refused = owner.send_json("PUT", path, body.to_string()).await;
        assert!(!refused.text().contains("471"), "{}", refused.text());
        assert_eq!(refused.invalid_fields(), [field], "{body}");
    }
    for body in [r#"{"value":"4711""#, r#"{"value":4711x}"#, r#""4711""#] {
        let refused = owner.send_json("PUT", path, body).await;
        assert!(refused.status.is_client_error() && !refused.text().contains("4711"), "{}", refused.text());
    }
    for name in ["1", "a%20b", &"a".repeat(65)] {
        assert_eq!(put(&owner, &format!("/apps/shop/secrets/{name}"), "4711").await.invalid_fields(), ["name"]);
        owner.get(&format!("/apps/shop/secrets/{name}")).await.problem(404, "not_found");
    }
    assert_eq!(owner.get("/apps/shop/secrets").await.is(200)["items"], json!([]));
    for good in ["4711", &"x".repeat(8 * 1024)] {
        put(&owner, path, good).await.is(200);
    }
}

async fn an_app_has_at_most_200_secrets(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    for n in 0..200 {
        put(&owner, &format!("/apps/shop/secrets/n{n}"), "secret").await.is(200);
    }
    let refused = put(&owner, "/apps/shop/secrets/one_more", "secret").await.problem(422, "quota_exceeded");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("secrets"), &json!(200)));
    put(&owner, "/apps/shop/secrets/n7", "secret").await.is(200);
}

async fn only_who_manages_an_apps_secrets_sets_them(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let path = "/apps/shop/secrets/KEY";
    let editor = world.member("ed", &app, AppRole::Editor).await;
    assert_eq!(put(&editor, path, SECRET).await.problem(403, "forbidden")["capability"], "AppManageSecrets");
    let admin = world.member("ada", &app, AppRole::AppAdmin).await;
    put(&admin, path, SECRET).await.is(200);
    editor.get(path).await.is(200);
    editor.delete(path).await.problem(403, "forbidden");
}

async fn the_next_request_is_given_what_was_set(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    shop(&owner, r#"secrets::get("KEY", "none")"#).await;
    let fetch = async || world.fetch("GET", "http://shop.example.com/").await;
    assert_eq!(fetch().await, "none");
    for value in ["first", SECRET] {
        put(&owner, "/apps/shop/secrets/KEY", value).await.is(200);
        assert_eq!(fetch().await, value);
    }
    assert_eq!(World::start(store).await.fetch("GET", "http://shop.example.com/").await, SECRET);
    owner.delete("/apps/shop/secrets/KEY").await.is(204);
    assert_eq!(fetch().await, "none");
}

/// All that the record of the newest execution says.
async fn newest_record(owner: &Client) -> Value {
    owner.get("/apps/shop/logs?limit=1").await.is(200)["items"][0].clone()
}

async fn what_is_kept_of_a_run_holds_no_secret_that_it_was_given(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let source = r#"
        let key = secrets::get("KEY");
        log::info("key: " + key, #{ key: key, list: [key] });
        print([key]);
        log::info(url::encode(key) + " " + base64::encode(key));
        if ctx.request.query.fail == "1" { throw #{ key: key }; }
        let padding = ""; padding.pad(4090, "x");
        text(if ctx.request.query.long == "1" { padding + key } else { key + "!" }).header("x-key", "Bearer " + key)
    "#;
    shop(&owner, source).await;
    put(&owner, "/apps/shop/secrets/KEY", SECRET).await.is(200);
    put(&owner, "/apps/shop/secrets/OTHER", "example").await.is(200);
    let answered = world.fetch("GET", "http://shop.example.com/").await;
    assert_eq!(answered, format!("{SECRET}!"), "what a script sends is the script's");
    for query in ["?a=correct%20horse%20%22battery%22", "?fail=1", "?long=1"] {
        world.clock.advance(Duration::from_millis(1));
        world.fetch("GET", &format!("http://shop.example.com/{query}")).await;
        let record = newest_record(&owner).await;
        let text = record.to_string();
        assert!(!text.contains("horse") && !text.contains("Y29ycmVjdCBob3JzZSA"), "{query}: {text}");
        assert!(text.contains("shop.example.com"), "of what it was not given it keeps all");
        assert_eq!(record["logs"][0]["message"], "key: [secret KEY]");
        assert_eq!(record["logs"][0]["data"], json!({ "key": "[secret KEY]", "list": ["[secret KEY]"] }));
        assert_eq!(record["logs"][1]["message"], r#"["[secret KEY]"]"#);
        match query {
            "?fail=1" => assert_eq!(record["error"]["message"], r#"{"key":"[secret KEY]"}"#),
            "?long=1" => {
                let before = "x".repeat(4096 - 15);
                assert_eq!(record["response"]["body"], before, "as much goes before a cut whatever it is");
                assert_eq!(record["response"]["body_len"], 4090 + SECRET.len());
            }
            _ => {
                assert_eq!(record["request"]["url"], "http://shop.example.com/?a=[secret KEY]");
                assert_eq!(record["response"]["body"], "[secret KEY]!");
                assert_eq!(record["response"]["headers"]["x-key"], json!(["Bearer [secret KEY]"]));
            }
        }
    }
}

async fn a_test_shows_no_secret_in_its_log_and_its_failure(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let script = shop(&owner, r#"log::warn(secrets::get("KEY")); secrets::get("KEY")"#).await;
    put(&owner, "/apps/shop/secrets/KEY", SECRET).await.is(200);
    let path = format!("/scripts/{}/invoke", id(&script));
    let tried = owner.post(&path, json!({})).await.is(200);
    assert_eq!(tried["response"]["body"], SECRET, "what a script sends is the script's");
    assert_eq!(tried["logs"][0]["message"], "[secret KEY]");
    let failing = json!({ "source": r#"log::warn("x"); throw "no " + secrets::get("KEY")"# });
    let tried = owner.post(&path, failing).await.is(200);
    assert_eq!((&tried["error"]["message"], &tried["logs"][0]["message"]), (&json!("no [secret KEY]"), &json!("x")));
}

/// The store's files, or its dump, hold no secret in the clear.
async fn what_is_stored_is_sealed_for_its_place(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let source =
        r#"fn read(name) { try { secrets::get(name) } catch (error) { return error.code; } } [read("A"), read("B")]"#;
    shop(&owner, source).await;
    put(&owner, "/apps/shop/secrets/A", "the first").await.is(200);
    put(&owner, "/apps/shop/secrets/B", "the second").await.is(200);
    if let Some(dir) = test.sqlite_dir() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(9).any(|window| window == b"the first"));
        }
    }
    // Whoever writes to the database moves one secret to where another is shown, which does not open there.
    test.tamper("UPDATE app_secrets SET sealed = (SELECT sealed FROM app_secrets WHERE name = 'A'), revision = 7 WHERE name = 'B'").await;
    let again = World::start(&test.store).await;
    let fetch = async || again.fetch("GET", "http://shop.example.com/").await;
    assert_eq!(fetch().await, r#"["the first","unreadable"]"#);
    let owner = again.owner().await;
    owner.get("/apps/shop/secrets/B").await.is(200);
    put(&owner, "/apps/shop/secrets/B", "the third").await.is(200);
    assert_eq!(fetch().await, r#"["the first","the third"]"#);
}

on_both! {
    secrets_are_set_listed_and_deleted_and_never_told,
    what_cannot_be_set_is_refused_without_being_repeated,
    an_app_has_at_most_200_secrets,
    only_who_manages_an_apps_secrets_sets_them,
    the_next_request_is_given_what_was_set,
    what_is_kept_of_a_run_holds_no_secret_that_it_was_given,
    a_test_shows_no_secret_in_its_log_and_its_failure,
}

mod damaged {
    use super::what_is_stored_is_sealed_for_its_place;

    on_both! { damaged: what_is_stored_is_sealed_for_its_place }
}
