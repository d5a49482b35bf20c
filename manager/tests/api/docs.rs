//! The browser of the documents, their indexes, and what scripts and people see of each other.

use std::time::{Duration, Instant};

use picloud_executor::port::{DocStore, PortCaller};
use picloud_manager::audit_chain::AuditChain;
use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::docs::{DocQuery, Filter, Sort};
use picloud_shared::id::AppId;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{Answer, Client, SECRET_KEY, World, id};

async fn put(client: &Client, path: &str, body: Value) -> Answer {
    client.send_json("PUT", path, body.to_string()).await
}

/// The id of the document of that number.
fn document(n: u32) -> String {
    format!("01990c6a-27b1-7cc0-9f6e-1f2e3d4c{n:04x}")
}

fn path(collection: &str, n: u32) -> String {
    format!("/apps/shop/docs/{collection}/{}", document(n))
}

async fn documents_are_set_read_found_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    owner.get(&path("orders", 1)).await.problem(404, "not_found");
    let body = json!({ "document": { "b": [1], "a": 18446744073709551615_u64, "id": document(1) } });
    let set = put(&owner, &path("orders", 1), body).await;
    let (tag, set) = (set.etag(), set.is(200));
    assert_eq!((&set["id"], &set["bytes"]), (&json!(document(1)), &json!(36)));
    assert_eq!(set["document"], json!({ "a": 1.8446744073709552e19, "b": [1] }));
    // What was sent is found as it was sent.
    let filter = "filter=%7B%22a%22:18446744073709551615%7D";
    let found = owner.get(&format!("/apps/shop/docs/orders?{filter}")).await.is(200);
    assert_eq!(found["items"][0]["id"], json!(document(1)));
    let got = owner.get(&path("orders", 1)).await;
    assert_eq!((got.etag(), got.is(200)), (tag, set));
    for n in 2..=4 {
        put(&owner, &path("orders", n), json!({ "document": { "n": n } })).await.is(200);
    }
    put(&owner, &path("users", 1), json!({ "document": {} })).await.is(200);

    let collections = owner.get("/apps/shop/docs").await.is(200);
    let names: Vec<_> = collections["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["orders", "users"]);
    assert_eq!(collections["items"][0]["documents"], 4);
    assert_eq!((&collections["documents"], &collections["max_documents"]), (&json!(5), &json!(100_000)));
    assert_eq!(collections["max_bytes"], json!(256 << 20));
    let found = |query: &str| format!("/apps/shop/docs/orders?{query}");
    let ns = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|item| item["document"]["n"].clone()).collect::<Vec<_>>()
    };
    let page = owner.get(&found("filter=%7B%22n%22:%7B%22$gte%22:2%7D%7D&sort=-n&limit=2")).await.is(200);
    assert_eq!((ns(&page), &page["scanned"]), (vec![json!(4), json!(3)], &json!(4)));
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = owner
        .get(&found(&format!("filter=%7B%22n%22:%7B%22$gte%22:2%7D%7D&sort=-n&limit=2&cursor={cursor}")))
        .await
        .is(200);
    assert_eq!((ns(&rest), &rest["next_cursor"]), (vec![json!(2)], &Value::Null));
    // A cursor leads on in its own list alone.
    assert_eq!(owner.get(&format!("/apps/shop/docs?cursor={cursor}")).await.invalid_fields(), ["cursor"]);
    assert_eq!(owner.get("/apps/shop/docs/nothing").await.is(200)["items"], json!([]));
    owner.delete(&path("orders", 1)).await.is(204);
    owner.delete(&path("orders", 1)).await.problem(404, "not_found");
}

async fn two_people_do_not_overwrite_each_others_documents(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let path = path("orders", 1);
    let n = |n: u32| json!({ "document": { "n": n } });
    for missing in ["\"0123\"", "*"] {
        put(&owner.if_match(missing), &path, n(1)).await.problem(412, "precondition_failed");
    }
    let first = put(&owner, &path, n(1)).await.etag();
    put(&owner.if_match("*"), &path, n(2)).await.is(200);
    put(&owner.if_match(&first), &path, n(3)).await.problem(412, "precondition_failed");
    owner.if_match(&first).delete(&path).await.problem(412, "precondition_failed");
    let now = owner.get(&path).await;
    let tag = now.etag();
    assert_eq!(now.is(200)["document"], json!({ "n": 2 }));
    owner.if_match(&tag).delete(&path).await.is(204);
}

async fn what_cannot_be_a_document_a_search_or_an_index_is_refused_by_its_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    for (body, field) in [
        (json!({}), "document"),
        (json!({ "document": { "id": document(2) } }), "document"),
        (json!({ "document": { "a": "x".repeat(256 * 1024) } }), "document"),
        (json!({ "document": {}, "ttl": 1 }), "ttl"),
    ] {
        assert_eq!(put(&owner, &path("orders", 1), body).await.invalid_fields(), [field]);
    }
    // Ids that no search would come to.
    for id in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        let path = format!("/apps/shop/docs/orders/{id}");
        assert_eq!(put(&owner, &path, json!({ "document": {} })).await.invalid_fields(), ["id"]);
        owner.get(&path).await.problem(404, "not_found");
    }
    for path in ["/apps/shop/docs/Orders/x", "/apps/shop/docs/orders/x", "/apps/shop/docs/orders/0"] {
        put(&owner, path, json!({ "document": {} })).await.problem(404, "not_found");
        owner.get(path).await.problem(404, "not_found");
    }
    for (query, field) in [
        ("filter=%7B", "filter"),
        ("filter=%5B%5D", "filter"),
        ("filter=%7B%22a%22:%7B%22$x%22:1%7D%7D", "filter"),
        ("sort=", "sort"),
        ("sort=$a", "sort"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
    ] {
        assert_eq!(owner.get(&format!("/apps/shop/docs/orders?{query}")).await.invalid_fields(), [field], "{query}");
    }
    let many: Vec<String> = (0..17).map(|n| format!("f{n}")).collect();
    for fields in [json!([""]), json!(["a..b"]), json!(["$a"]), json!(["id"]), json!(many)] {
        let answer = put(&owner, "/apps/shop/docs/orders/indexes", json!({ "fields": fields })).await;
        assert_eq!(answer.invalid_fields(), ["fields"], "{fields}");
    }
    assert_eq!(owner.get("/apps/shop/docs").await.is(200)["documents"], 0);
}

async fn an_app_that_keeps_as_many_documents_as_it_may_is_told_so_by_the_field(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    put(&owner, &path("orders", 1), json!({ "document": {} })).await.is(200);
    test.tamper_with_data("UPDATE docs_apps SET documents = 100000").await;
    let refused = put(&owner, &path("orders", 2), json!({ "document": {} })).await.problem(422, "quota_exceeded");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("docs_documents"), &json!(100_000)));
    assert_eq!(refused["errors"][0]["field"], "document");
    // One that is there may still be changed.
    put(&owner, &path("orders", 1), json!({ "document": { "a": 1 } })).await.is(200);
}

async fn indexes_are_declared_built_and_removed(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    for n in 1..=3 {
        put(&owner, &path("orders", n), json!({ "document": { "n": n, "m": { "x": 1 } } })).await.is(200);
    }
    let indexes = "/apps/shop/docs/orders/indexes";
    assert_eq!(owner.get(indexes).await.is(200), json!({ "indexes": [] }));
    let declared = put(&owner, indexes, json!({ "fields": ["n", "m.x", "n"] })).await;
    let tag = declared.etag();
    let fields = |answer: &Value| {
        answer["indexes"].as_array().unwrap().iter().map(|index| index["field"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(fields(&declared.is(200)), ["m.x", "n"]);
    world.docs.finish_indexes().await.unwrap();
    let ready = owner.get(indexes).await;
    assert_eq!(ready.etag(), tag, "that it is built is no edit");
    assert_eq!(ready.is(200)["indexes"][1], json!({ "field": "n", "state": "ready" }));
    let found = owner.get("/apps/shop/docs/orders?filter=%7B%22n%22:2%7D").await.is(200);
    assert_eq!((&found["scanned"], &found["items"][0]["id"]), (&json!(1), &json!(document(2))));
    put(&owner.if_match("\"0123\""), indexes, json!({ "fields": [] })).await.problem(412, "precondition_failed");
    put(&owner.if_match(&tag), indexes, json!({ "fields": ["m.x"] })).await.is(200);
    world.docs.finish_indexes().await.unwrap();
    assert_eq!(fields(&owner.get(indexes).await.is(200)), ["m.x"]);
}

async fn too_many_searches_at_once_are_told_to_come_again(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = id(&owner.make_app("shop").await).parse().unwrap();
    let places = [world.docs.search_place(app).unwrap(), world.docs.search_place(app).unwrap()];
    owner.get("/apps/shop/docs/orders").await.problem(503, "overloaded");
    // What is no search goes on.
    put(&owner, &path("orders", 1), json!({ "document": {} })).await.is(200);
    owner.get(&path("orders", 1)).await.is(200);
    drop(places);
    assert_eq!(owner.get("/apps/shop/docs/orders").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn scripts_and_people_see_the_same_documents_of_one_app(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for slug in ["shop", "other"] {
        let app = owner.make_app(slug).await;
        owner.make_domain(&app, &format!("{slug}.example.com")).await;
        let source = r#"let c = docs::collection("orders"); c.insert(#{ by: "script" }); c.find().items.len()"#;
        let script = owner.make_endpoint(&app, "page", source).await;
        owner.make_route(&script, "/").await;
    }
    put(&owner, &path("orders", 1), json!({ "document": { "by": "olive" } })).await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "2");
    assert_eq!(world.fetch("GET", "http://other.example.com/").await, "1");
    let found = owner.get("/apps/shop/docs/orders?filter=%7B%22by%22:%22script%22%7D").await.is(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    // A member of the other app does not even learn that there is this one.
    let member = world.member("mo", &owner.get("/apps/other").await.is(200), AppRole::AppAdmin).await;
    member.get(&path("orders", 1)).await.problem(404, "not_found");
    put(&member, &path("orders", 1), json!({ "document": {} })).await.problem(404, "not_found");
    let theirs = path("orders", 1).replace("/shop/", "/other/");
    member.get(&theirs).await.problem(404, "not_found");
}

async fn each_change_of_documents_by_people_has_its_row_in_the_chain(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let path = path("orders", 1);
    put(&owner, &path, json!({ "document": { "a": "a secret of the shop" } })).await.is(200);
    put(&owner, &path, json!({ "document": {} })).await.is(200);
    put(&owner, &path, json!({ "document": { "id": "x" } })).await.invalid_fields();
    owner.delete(&path).await.is(204);
    for _ in 0..2 {
        put(&owner, "/apps/shop/docs/orders/indexes", json!({ "fields": ["a"] })).await.is(200);
    }
    let rows = async |kind: &str| {
        let log = owner.get(&format!("/audit?object_kind={kind}")).await.is(200);
        assert!(!log.to_string().contains("a secret of the shop"));
        log["items"].as_array().unwrap().iter().rev().cloned().collect::<Vec<Value>>()
    };
    let documents = rows("document").await;
    let actions: Vec<_> = documents.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["docs.set", "docs.set", "docs.delete"]);
    assert_eq!((&documents[0]["before"], &documents[0]["app_id"]), (&Value::Null, &app["id"]));
    assert_eq!((&documents[1]["before"]["bytes"], &documents[1]["object_id"]), (&json!(28), &json!(document(1))));
    assert_eq!((&documents[2]["before"]["id"], &documents[2]["after"]), (&json!(document(1)), &Value::Null));
    let indexes = rows("document_indexes").await;
    assert_eq!(indexes.len(), 1, "what changed nothing has no row");
    assert_eq!(indexes[0]["after"], json!({ "collection": "orders", "fields": ["a"] }));
    AuditChain::new(&SECRET_KEY).verify(store, None).await.unwrap();
}

#[test]
fn an_app_that_cannot_be_purged_keeps_no_other_from_it() {
    crate::run(async || {
        let test = TestStore::sqlite().await;
        let world = World::start(&test.store).await;
        let owner = world.owner().await;
        let mut ids: Vec<AppId> = Vec::new();
        for slug in ["stuck", "shop"] {
            ids.push(id(&owner.make_app(slug).await).parse().unwrap());
            let path = format!("/apps/{slug}/docs/orders/{}", document(1));
            put(&owner, &path, json!({ "document": { "n": 1 } })).await.is(200);
        }
        let stuck = ids[0].as_uuid().simple();
        test.tamper_with_data(&format!(
            "CREATE TRIGGER stuck BEFORE DELETE ON docs_documents WHEN OLD.app_id = x'{stuck}' BEGIN SELECT RAISE(ABORT, 'stuck'); END"
        ))
        .await;
        owner.delete("/apps/stuck").await.is(204);
        owner.delete("/apps/shop").await.is(204);
        let purged = async { while keeps_anything(&world, ids[1]).await {} };
        tokio::time::timeout(Duration::from_secs(30), purged).await.expect("the other is purged");
        assert!(keeps_anything(&world, ids[0]).await);
    });
}

#[test]
fn where_the_data_cannot_be_written_each_change_of_documents_is_503_and_each_question_is_answered() {
    crate::run(async || {
        let test = TestStore::sqlite().await;
        let world = World::start(&test.store).await;
        let owner = world.owner().await;
        owner.make_app("shop").await;
        // Read by a connection that stays; the one that writes is still to be opened.
        owner.get(&path("orders", 1)).await.problem(404, "not_found");
        let dir = test.sqlite_dir().unwrap();
        std::fs::rename(dir.join("data.db"), dir.join("gone.db")).unwrap();
        let indexes = "/apps/shop/docs/orders/indexes";
        put(&owner, &path("orders", 1), json!({ "document": {} })).await.problem(503, "store_unavailable");
        put(&owner, indexes, json!({ "fields": ["a"] })).await.problem(503, "store_unavailable");
        owner.delete(&path("orders", 1)).await.problem(503, "store_unavailable");
        assert_eq!(owner.get("/apps/shop/docs/orders").await.is(200)["items"], json!([]));
        std::fs::rename(dir.join("gone.db"), dir.join("data.db")).unwrap();
        put(&owner, &path("orders", 1), json!({ "document": {} })).await.is(200);
    });
}

/// Whether the app keeps any document, asked past the API, for which it is gone.
async fn keeps_anything(world: &World, app: AppId) -> bool {
    let docs = world.docs.clone();
    let collection = "orders".parse().unwrap();
    let query = DocQuery { collection, filter: Filter::default(), sort: Sort::default(), after: None, limit: 1 };
    let caller = PortCaller { app, deadline: Instant::now() + Duration::from_secs(10), event_depth: 0 };
    let found = tokio::task::spawn_blocking(move || DocStore::find(&docs, &caller, &query)).await.unwrap();
    !found.unwrap().documents.is_empty() || world.docs.usage(app).await.unwrap().bytes > 0
}

async fn the_documents_of_a_deleted_app_are_purged(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    put(&owner, "/apps/shop/docs/orders/indexes", json!({ "fields": ["n"] })).await.is(200);
    put(&owner, &path("orders", 1), json!({ "document": { "n": 1 } })).await.is(200);
    owner.delete("/apps/shop").await.is(204);
    let id = id(&app).parse().unwrap();
    let purged = async { while keeps_anything(&world, id).await {} };
    tokio::time::timeout(Duration::from_secs(30), purged).await.expect("the documents are purged");
}

on_both! {
    documents_are_set_read_found_and_deleted,
    two_people_do_not_overwrite_each_others_documents,
    what_cannot_be_a_document_a_search_or_an_index_is_refused_by_its_field,
    indexes_are_declared_built_and_removed,
    too_many_searches_at_once_are_told_to_come_again,
    scripts_and_people_see_the_same_documents_of_one_app,
    each_change_of_documents_by_people_has_its_row_in_the_chain,
    the_documents_of_a_deleted_app_are_purged,
}

mod damaged {
    use super::an_app_that_keeps_as_many_documents_as_it_may_is_told_so_by_the_field;

    on_both! { damaged: an_app_that_keeps_as_many_documents_as_it_may_is_told_so_by_the_field }
}
