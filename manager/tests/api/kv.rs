//! The browser of the key-value store, and what scripts and it see of each other.

use std::time::{Duration, Instant};

use picloud_executor::port::{KvStore, PortCaller};
use picloud_manager::audit_chain::AuditChain;
use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::id::AppId;
use picloud_shared::kv::KvQuery;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Answer, Client, SECRET_KEY, World, id};

async fn put(client: &Client, path: &str, body: Value) -> Answer {
    client.send_json("PUT", path, body.to_string()).await
}

async fn entries_are_set_read_listed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = "/apps/shop/kv/users/ada%2F1";
    owner.get(path).await.problem(404, "not_found");
    let set = put(&owner, path, json!({ "value": { "b": [1], "a": 18446744073709551615_u64 } })).await;
    let (tag, set) = (set.etag(), set.is(200));
    assert_eq!((&set["key"], &set["value"]), (&json!("ada/1"), &json!({ "a": 1.8446744073709552e19, "b": [1] })));
    assert_eq!((&set["bytes"], &set["expires_at"], &set["blob"]), (&json!(36), &Value::Null, &Value::Null));
    let got = owner.get(path).await;
    assert_eq!((got.etag(), got.is(200)), (tag, set));
    put(&owner, "/apps/shop/kv/users/b", json!({ "blob": "AP8=", "ttl": 60 })).await.is(200);
    put(&owner, "/apps/shop/kv/default/x", json!({ "value": null })).await.is(200);

    let collections = owner.get("/apps/shop/kv").await.is(200);
    let expected = json!([{ "name": "default", "keys": 1, "bytes": 5 }, { "name": "users", "keys": 2, "bytes": 44 }]);
    assert_eq!(collections["items"], expected);
    assert_eq!((&collections["keys"], &collections["bytes"]), (&json!(3), &json!(49)));
    assert_eq!((&collections["max_keys"], &collections["max_bytes"]), (&json!(100_000), &json!(64 << 20)));
    let cursor = |page: &Value| page["next_cursor"].as_str().unwrap().to_owned();
    let first = owner.get("/apps/shop/kv?limit=1").await.is(200);
    assert_eq!((first["items"].as_array().unwrap().len(), &first["items"][0]["name"]), (1, &json!("default")));
    let rest = owner.get(&format!("/apps/shop/kv?limit=1&cursor={}", cursor(&first))).await.is(200);
    assert_eq!((&rest["items"][0]["name"], &rest["next_cursor"]), (&json!("users"), &Value::Null));

    let listed = owner.get("/apps/shop/kv/users?limit=1").await.is(200);
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["key"]), (1, &json!("ada/1")));
    // A cursor leads on in its own list alone.
    assert_eq!(owner.get(&format!("/apps/shop/kv?cursor={}", cursor(&listed))).await.invalid_fields(), ["cursor"]);
    let listed = owner.get(&format!("/apps/shop/kv/users?cursor={}", cursor(&listed))).await.is(200);
    assert_eq!((&listed["items"][0]["blob"], &listed["items"].as_array().unwrap().len()), (&json!("AP8="), &1));
    assert_eq!(owner.get("/apps/shop/kv/users?prefix=ada").await.is(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(owner.get("/apps/shop/kv/nothing").await.is(200)["items"], json!([]));
    world.clock.advance(Duration::from_secs(60));
    owner.get("/apps/shop/kv/users/b").await.problem(404, "not_found");
    owner.delete("/apps/shop/kv/users/b").await.problem(404, "not_found");
    owner.delete(path).await.is(204);
    owner.delete(path).await.problem(404, "not_found");
}

async fn two_people_do_not_overwrite_each_other(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = "/apps/shop/kv/default/a";
    let missing = owner.if_match("\"0123\"");
    put(&missing, path, json!({ "value": 1 })).await.problem(412, "precondition_failed");
    let whatever = owner.if_match("*");
    put(&whatever, path, json!({ "value": 1 })).await.problem(412, "precondition_failed");
    let first = put(&owner, path, json!({ "value": 1 })).await.etag();
    put(&owner.if_match(&first), path, json!({ "value": 0 })).await.is(200);
    put(&whatever, path, json!({ "value": 2 })).await.is(200);
    put(&owner.if_match(&first), path, json!({ "value": 3 })).await.problem(412, "precondition_failed");
    owner.if_match(&first).delete(path).await.problem(412, "precondition_failed");
    let now = owner.get(path).await;
    let tag = now.etag();
    assert_eq!(now.is(200)["value"], json!(2));
    owner.if_match(&tag).delete(path).await.is(204);
}

async fn what_cannot_be_set_is_refused_by_its_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = "/apps/shop/kv/default/a";
    for (body, field) in [
        (json!({}), "value"),
        (json!({ "value": 1, "blob": "" }), "value"),
        (json!({ "blob": "?" }), "blob"),
        (json!({ "value": 1, "ttl": 0 }), "ttl"),
        (json!({ "value": 1, "ttl": 315_360_001 }), "ttl"),
        (json!({ "value": 1, "ttl": -1 }), "ttl"),
        (json!({ "value": 1, "kind": "json" }), "kind"),
        (json!({ "value": "x".repeat(256 * 1024) }), "value"),
    ] {
        assert_eq!(put(&owner, path, body).await.invalid_fields(), [field]);
    }
    for path in ["/apps/shop/kv/Users/a", "/apps/shop/kv/default/a%00", &format!("/apps/shop/kv/a/{}", "k".repeat(513))]
    {
        put(&owner, path, json!({ "value": 1 })).await.problem(404, "not_found");
        owner.get(path).await.problem(404, "not_found");
    }
    assert_eq!(owner.get("/apps/shop/kv/default?limit=0").await.invalid_fields(), ["limit"]);
    assert_eq!(owner.get("/apps/shop/kv/default?cursor=").await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get("/apps/shop/kv/default?prefix=a%00").await.invalid_fields(), ["prefix"]);
    assert_eq!(owner.get("/apps/shop/kv/default?cursor=a").await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get("/apps/shop/kv?cursor=default").await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get("/apps/shop/kv").await.is(200)["keys"], 0);
}

async fn scripts_and_people_see_the_same_entries_of_one_app(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for slug in ["shop", "other"] {
        let app = owner.make_app(slug).await;
        owner.make_domain(&app, &format!("{slug}.example.com")).await;
        let script = owner.make_endpoint(&app, "page", r#"kv::incr("n", 1)"#).await;
        owner.make_route(&script, "/").await;
    }
    put(&owner, "/apps/shop/kv/default/n", json!({ "value": 41 })).await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "42");
    assert_eq!(world.fetch("GET", "http://other.example.com/").await, "1");
    assert_eq!(owner.get("/apps/shop/kv/default/n").await.is(200)["value"], 42);
    // A member of the other app does not even learn that there is this one.
    let member = world.member("mo", &owner.get("/apps/other").await.is(200), AppRole::AppAdmin).await;
    member.get("/apps/shop/kv/default/n").await.problem(404, "not_found");
    put(&member, "/apps/shop/kv/default/n", json!({ "value": 1 })).await.problem(404, "not_found");
    assert_eq!(member.get("/apps/other/kv/default/n").await.is(200)["value"], 1);
}

async fn each_change_of_data_has_its_row_in_the_chain_and_scripts_have_none(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let script = owner.make_endpoint(&app, "page", r#"kv::set("n", 1)"#).await;
    owner.make_route(&script, "/").await;
    world.fetch("GET", "http://shop.example.com/").await;
    let path = "/apps/shop/kv/default/a";
    put(&owner, path, json!({ "value": "a secret of the shop" })).await.is(200);
    put(&owner, path, json!({ "value": 1 })).await.is(200);
    put(&owner, path, json!({ "value": 1, "ttl": 0 })).await.invalid_fields();
    owner.delete(path).await.is(204);
    let log = owner.get("/audit?object_kind=kv_entry").await.is(200);
    let rows: Vec<_> = log["items"].as_array().unwrap().iter().rev().collect();
    assert_eq!(rows.iter().map(|row| &row["action"]).collect::<Vec<_>>(), ["kv.set", "kv.set", "kv.delete"]);
    for row in &rows {
        assert_eq!((&row["app_id"], &row["username"]), (&app["id"], &json!("olive")));
    }
    assert_eq!(rows[0]["before"], Value::Null);
    assert_eq!(rows[1]["before"]["bytes"], 22);
    assert_eq!((&rows[2]["before"]["key"], &rows[2]["after"]), (&json!("a"), &Value::Null));
    assert!(!log.to_string().contains("a secret of the shop"));
    AuditChain::new(&SECRET_KEY).verify(store, None).await.unwrap();
}

async fn rows_that_somebody_put_beside_the_data_stay_out_of_the_chain_and_hold_up_nothing(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    put(&owner, "/apps/shop/kv/default/a", json!({ "value": 1 })).await.is(200);
    let before = owner.get("/audit").await.is(200);
    let entry = r#"{"id":"0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a","at":"2026-01-01T00:00:00.000Z","user_id":null,"username":"olive",
        "key_id":null,"action":"kv.set","object_kind":"kv_entry","object_id":null,"app_id":null,"remote_ip":null,"before":null,
        "after":null}"#;
    // More than are carried together, and before all others.
    let rows = (0..250).map(|row| match test.sqlite_dir() {
        Some(_) => format!("(X'0190c6a27b1e7cc09f6e1f2e3d4c{row:04x}', '{entry}', zeroblob(32))"),
        None => format!("('0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c{row:04x}', '{entry}', decode(repeat('00', 32), 'hex'))"),
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    test.tamper_with_data(&format!("INSERT INTO data_audit (id, entry, seal) VALUES {rows}")).await;
    world.audited().carry_data_audit().await.unwrap();
    assert_eq!(owner.get("/audit").await.is(200), before);
    // What is genuine still comes through beside it.
    put(&owner, "/apps/shop/kv/default/a", json!({ "value": 2 })).await.is(200);
    let log = owner.get("/audit?object_kind=kv_entry").await.is(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 2);
    AuditChain::new(&SECRET_KEY).verify(&test.store, None).await.unwrap();
}

#[test]
fn where_the_data_cannot_be_written_each_change_is_503_and_each_question_is_answered() {
    crate::run(async || {
        let test = TestStore::sqlite().await;
        let world = World::start(&test.store).await;
        let owner = world.owner().await;
        owner.make_app("shop").await;
        let path = "/apps/shop/kv/default/a";
        // Read by a connection that stays; the one that writes is still to be opened.
        owner.get(path).await.problem(404, "not_found");
        let dir = test.sqlite_dir().unwrap();
        std::fs::rename(dir.join("data.db"), dir.join("gone.db")).unwrap();
        put(&owner, path, json!({ "value": 1 })).await.problem(503, "store_unavailable");
        owner.delete(path).await.problem(503, "store_unavailable");
        assert_eq!(owner.get("/apps/shop/kv/default").await.is(200)["items"], json!([]));
        assert!(!world.store.is_writable().await);
        std::fs::rename(dir.join("gone.db"), dir.join("data.db")).unwrap();
        put(&owner, path, json!({ "value": 1 })).await.is(200);
    });
}

/// Whether the app keeps anything in its default collection, asked past the API, for which it is gone.
async fn keeps_anything(world: &World, app: AppId) -> bool {
    let kv = world.kv.clone();
    let query = KvQuery { collection: "default".parse().unwrap(), prefix: String::new(), after: None, limit: 1 };
    let caller = PortCaller { app, deadline: Instant::now() + Duration::from_secs(10), event_depth: 0 };
    let listed = tokio::task::spawn_blocking(move || KvStore::list(&kv, &caller, &query)).await.unwrap();
    !listed.unwrap().entries.is_empty()
}

async fn what_a_deleted_app_kept_is_purged(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    put(&owner, "/apps/shop/kv/default/a", json!({ "value": 1 })).await.is(200);
    owner.delete("/apps/shop").await.is(204);
    let id = id(&app).parse().unwrap();
    let purged = async { while keeps_anything(&world, id).await {} };
    tokio::time::timeout(Duration::from_secs(30), purged).await.expect("the data is purged");
}

on_both! {
    entries_are_set_read_listed_and_deleted,
    two_people_do_not_overwrite_each_other,
    what_cannot_be_set_is_refused_by_its_field,
    scripts_and_people_see_the_same_entries_of_one_app,
    each_change_of_data_has_its_row_in_the_chain_and_scripts_have_none,
    what_a_deleted_app_kept_is_purged,
}

mod damaged {
    use super::rows_that_somebody_put_beside_the_data_stay_out_of_the_chain_and_hold_up_nothing;

    on_both! { damaged: rows_that_somebody_put_beside_the_data_stay_out_of_the_chain_and_hold_up_nothing }
}
