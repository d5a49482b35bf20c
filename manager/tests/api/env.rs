//! Settings of apps, as people set them and as scripts read them.

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Answer, Client, World, id};

pub async fn put(client: &Client, path: &str, value: &str) -> Answer {
    client.send_json("PUT", path, json!({ "value": value }).to_string()).await
}

/// An app `shop` with an endpoint that answers on `http://shop.example.com/`.
pub async fn shop(owner: &Client, source: &str) -> Value {
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let script = owner.make_endpoint(&app, "page", source).await;
    owner.make_route(&script, "/").await;
    script
}

async fn settings_are_set_read_listed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = "/apps/shop/env/smtp.host";
    owner.get(path).await.problem(404, "not_found");
    let set = put(&owner, path, "mail.example.com").await;
    let (tag, set) = (set.etag(), set.is(200));
    assert_eq!((&set["name"], &set["value"]), (&json!("smtp.host"), &json!("mail.example.com")));
    let got = owner.get(path).await;
    assert_eq!((got.etag(), got.is(200)), (tag.clone(), set));
    put(&owner, "/apps/shop/env/EMPTY", "").await.is(200);
    put(&owner, "/apps/shop/env/smtp.Host", "ä").await.is(200);
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&owner.get("/apps/shop/env").await.is(200)), ["EMPTY", "smtp.Host", "smtp.host"]);

    put(&owner.if_match("\"0123\""), path, "other").await.problem(412, "precondition_failed");
    put(&owner.if_match("*"), "/apps/shop/env/NEW", "x").await.problem(412, "precondition_failed");
    let next = put(&owner.if_match(&tag), path, "other").await;
    assert_ne!(next.etag(), tag);
    owner.if_match(&tag).delete(path).await.problem(412, "precondition_failed");
    owner.if_match(&next.etag()).delete(path).await.is(204);
    owner.delete(path).await.problem(404, "not_found");
}

async fn what_cannot_be_set_is_refused_by_its_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    for (body, field) in [
        (json!({}), "value"),
        (json!({ "value": 1 }), "value"),
        (json!({ "value": null }), "value"),
        (json!({ "value": "a\0" }), "value"),
        (json!({ "value": "x".repeat(8 * 1024 + 1) }), "value"),
        (json!({ "value": "x", "name": "a" }), "name"),
    ] {
        let refused = owner.send_json("PUT", "/apps/shop/env/a", body.to_string()).await;
        assert_eq!(refused.invalid_fields(), [field]);
    }
    for name in ["1", "a%20b", "a%2Fb", "%C3%A9", "-a", "a%00", &"a".repeat(65)] {
        let path = format!("/apps/shop/env/{name}");
        assert_eq!(put(&owner, &path, "x").await.invalid_fields(), ["name"], "{name}");
        owner.get(&path).await.problem(404, "not_found");
        owner.delete(&path).await.problem(404, "not_found");
    }
    for query in ["limit=0", "limit=x"] {
        assert_eq!(owner.get(&format!("/apps/shop/env?{query}")).await.invalid_fields(), ["limit"]);
    }
    assert_eq!(owner.get("/apps/shop/env?cursor=a").await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get("/apps/shop/env").await.is(200)["items"], json!([]));
    put(&owner, "/apps/shop/env/a", &"x".repeat(8 * 1024)).await.is(200);
}

async fn an_app_has_at_most_200_settings(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    owner.make_app("other").await;
    for n in 0..200 {
        put(&owner, &format!("/apps/shop/env/n{n}"), "x").await.is(200);
    }
    let refused = put(&owner, "/apps/shop/env/one_more", "x").await.problem(422, "quota_exceeded");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("env"), &json!(200)));
    put(&owner, "/apps/shop/env/n7", "y").await.is(200);
    put(&owner, "/apps/other/env/n", "y").await.is(200);
    owner.delete("/apps/shop/env/n7").await.is(204);
    put(&owner, "/apps/shop/env/one_more", "x").await.is(200);
}

async fn the_next_request_reads_what_was_set(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    shop(&owner, r#"env::get("MODE", "none")"#).await;
    let fetch = async || world.fetch("GET", "http://shop.example.com/").await;
    assert_eq!(fetch().await, "none");
    for value in ["test", "live"] {
        put(&owner, "/apps/shop/env/MODE", value).await.is(200);
        assert_eq!(fetch().await, value);
    }
    // A node that starts reads the same.
    assert_eq!(World::start(store).await.fetch("GET", "http://shop.example.com/").await, "live");
    owner.delete("/apps/shop/env/MODE").await.is(204);
    assert_eq!(fetch().await, "none");
}

async fn a_script_reads_its_apps_settings_alone(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    shop(&owner, r#"[env::get("MODE"), secrets::get("KEYS")]"#).await;
    owner.make_app("other").await;
    put(&owner, "/apps/other/env/MODE", "theirs").await.is(200);
    put(&owner, "/apps/other/secrets/KEYS", "theirs").await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "[null,null]");
    // Nobody reads those of an app that is not theirs either.
    let app = owner.get("/apps/shop").await.is(200);
    let member = world.member("ada", &app, AppRole::AppAdmin).await;
    for path in ["/apps/other/env", "/apps/other/env/MODE", "/apps/other/secrets", "/apps/other/secrets/KEYS"] {
        member.get(path).await.problem(404, "not_found");
    }
}

async fn each_change_has_its_row_in_the_audit_log_without_the_value(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    put(&owner, "/apps/shop/env/MODE", "a value").await.is(200);
    put(&owner, "/apps/shop/env/MODE", "other").await.is(200);
    owner.delete("/apps/shop/env/MODE").await.is(204);
    let log = owner.get(&format!("/audit?object_kind=env&app_id={}", id(&app))).await.is(200);
    let told: Vec<Value> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["action"], row["before"], row["after"]]))
        .collect();
    let of = |bytes: usize| json!({ "name": "MODE", "bytes": bytes });
    let expected =
        [json!(["env.delete", of(5), null]), json!(["env.set", of(7), of(5)]), json!(["env.set", null, of(7)])];
    assert_eq!(told, expected);
    assert!(!log.to_string().contains("a value"));
}

async fn a_row_that_cannot_be_read_is_left_out_and_the_rest_serves(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    shop(&owner, r#"[env::get("A"), env::get("B")]"#).await;
    for name in ["A", "B", "C"] {
        put(&owner, &format!("/apps/shop/env/{name}"), name).await.is(200);
    }
    test.tamper("UPDATE app_env SET name = 'no name' WHERE name = 'A'").await;
    put(&owner, "/apps/shop/env/C", "c").await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, r#"[null,"B"]"#);
    assert_eq!(World::start(&test.store).await.fetch("GET", "http://shop.example.com/").await, r#"[null,"B"]"#);
    let listed = owner.get("/apps/shop/env").await.is(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    // Page by page it is but a page that lacks one.
    let mut seen = Vec::new();
    let mut query = "limit=1".to_owned();
    loop {
        let page = owner.get(&format!("/apps/shop/env?{query}")).await.is(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=1&cursor={next}");
    }
    assert_eq!(seen, ["B", "C"]);
}

on_both! {
    settings_are_set_read_listed_and_deleted,
    what_cannot_be_set_is_refused_by_its_field,
    an_app_has_at_most_200_settings,
    the_next_request_reads_what_was_set,
    a_script_reads_its_apps_settings_alone,
    each_change_has_its_row_in_the_audit_log_without_the_value,
}

mod damaged {
    use super::a_row_that_cannot_be_read_is_left_out_and_the_rest_serves;

    on_both! { damaged: a_row_that_cannot_be_read_is_left_out_and_the_rest_serves }
}
