//! With the store damaged: what cannot be read is left out, and nothing is changed without its audit row.

use serde_json::json;

use crate::test_store::TestStore;
use crate::world::{World, id};

async fn a_row_that_cannot_be_read_is_left_out_and_the_rest_serves(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    for app in [&shop, &blog] {
        owner.make_domain(app, &format!("{}.localhost", app["slug"].as_str().unwrap())).await;
        for name in ["one", "two"] {
            let script = owner.make_endpoint(app, name, &format!("\"{name}\"")).await;
            owner.make_route(&script, &format!("/{name}")).await;
        }
    }
    test.tamper(
        "UPDATE scripts SET name = 'No Name' WHERE name = 'one' AND app_id = (SELECT id FROM apps WHERE slug = 'shop')",
    )
    .await;
    let again = World::start(&test.store).await;
    assert_eq!(again.fetch("GET", "http://shop.localhost/one").await, "no_route");
    assert_eq!(again.fetch("GET", "http://shop.localhost/two").await, "two");
    assert_eq!(again.fetch("GET", "http://blog.localhost/one").await, "one");
    // The damaged app can still be worked on, and its next publish leaves the same row out.
    let owner = again.owner().await;
    owner.make_domain(&shop, "second.localhost").await;
    assert_eq!(again.fetch("GET", "http://second.localhost/two").await, "two");
}

async fn nothing_is_changed_without_its_audit_row(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let domain = owner.make_domain(&app, "shop.localhost").await;
    let script = owner.make_endpoint(&app, "page", "\"old\"").await;
    let route = owner.make_route(&script, "/").await;
    test.tamper("DROP TABLE audit_log").await;
    let (script_path, route_path) = (format!("/scripts/{}", id(&script)), format!("/routes/{}", id(&route)));
    let pattern = json!({ "host_kind": "any", "path_kind": "exact", "path": "/new", "method": "GET" });
    let new_script = json!({ "app_id": id(&app), "name": "new", "kind": "endpoint", "source": "1" });
    for answer in [
        owner.post("/apps", json!({ "slug": "new", "name": "New" })).await,
        owner.patch("/apps/shop", json!({ "name": "New" })).await,
        owner.delete("/apps/shop?force=true").await,
        owner.post("/apps/shop/domains", json!({ "pattern": "new.localhost" })).await,
        owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await,
        owner.post("/scripts", new_script).await,
        owner.patch(&script_path, json!({ "source": "\"new\"" })).await,
        owner.delete(&script_path).await,
        owner.post(&format!("{script_path}/routes"), pattern).await,
        owner.patch(&route_path, json!({ "path": "/new" })).await,
        owner.delete(&route_path).await,
        owner.send_json("POST", "/auth/logout", "").await,
    ] {
        answer.problem(500, "internal");
    }
    assert_eq!(owner.get("/apps").await.is(200)["items"].as_array().unwrap().len(), 2);
    assert_eq!(owner.get("/apps/shop").await.is(200), app);
    assert_eq!(owner.get("/apps/shop/domains").await.is(200)["items"], json!([domain]));
    assert_eq!(owner.get("/apps/shop/routes").await.is(200)["items"], json!([route]));
    assert_eq!(owner.get(&script_path).await.is(200), script);
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "old");
}

on_both! { damaged: a_row_that_cannot_be_read_is_left_out_and_the_rest_serves, nothing_is_changed_without_its_audit_row }
