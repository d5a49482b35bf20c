//! The change of an app's slug: where the old one leads, and how it is taken over.

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

async fn rename(client: &Client, app: &str, slug: &str) -> crate::world::Answer {
    client.patch(&format!("/apps/{app}"), json!({ "slug": slug })).await
}

/// Where a call is sent to.
#[track_caller]
fn location(answer: &crate::world::Answer) -> &str {
    assert_eq!(answer.status, 308, "{}", answer.text());
    answer.header("location")
}

async fn the_old_slug_leads_every_call_to_the_new_one(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "page", "ctx.app.slug").await;
    owner.make_domain(&app, "shop.example.com").await;
    owner.make_route(&script, "/").await;
    let before = owner.get("/apps/shop").await.etag();
    let renamed = rename(&owner, "shop", "store").await;
    assert_ne!(renamed.etag(), before);
    assert_eq!(renamed.is(200)["slug"], "store");
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "store", "scripts see it at once");
    let api = "/api/v1/admin";
    assert_eq!(location(&owner.get("/apps/shop").await), format!("{api}/apps/store"));
    assert_eq!(location(&owner.get("/apps/shop/routes?limit=1").await), format!("{api}/apps/store/routes?limit=1"));
    assert_eq!(location(&owner.get("/scripts?app=shop").await), format!("{api}/scripts?app=store"));
    let claim = owner.post("/apps/shop/domains", json!({ "pattern": "a.example.com" })).await;
    assert_eq!(location(&claim), format!("{api}/apps/store/domains"));
    assert_eq!(location(&owner.patch("/apps/shop", json!({ "name": "x" })).await), format!("{api}/apps/store"));
    assert_eq!(location(&owner.delete("/apps/shop?force=true").await), format!("{api}/apps/store?force=true"));
    assert_eq!(owner.get("/apps/store").await.is(200)["name"], "shop", "nothing was done by the old one");
    // Each former slug leads to the newest, and the app may have its own back.
    rename(&owner, "store", "market").await.is(200);
    for former in ["shop", "store"] {
        assert_eq!(location(&owner.get(&format!("/apps/{former}")).await), format!("{api}/apps/market"));
    }
    rename(&owner, "market", "shop").await.is(200);
    owner.get("/apps/shop").await.is(200);
    assert_eq!(location(&owner.get("/apps/market").await), format!("{api}/apps/shop"));
    owner.delete("/apps/shop?force=true").await.is(204);
    owner.get("/apps/market").await.problem(404, "not_found");
    owner.make_app("market").await;
}

async fn a_former_slug_is_taken_over_in_two_steps(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let shop = owner.make_app("shop").await;
    rename(&owner, "shop", "store").await.is(200);
    let blog = owner.make_app("blog").await;
    let check = async |client: &Client, body: Value| client.post("/apps/slug:check", body).await.is(200);
    let of = |result: &str| json!({ "result": result, "app": null, "may_take_over": false, "detail": null });
    for (body, expected) in [
        (json!({ "slug": "free" }), of("available")),
        (json!({ "slug": "store" }), of("taken")),
        (
            json!({ "slug": "shop" }),
            json!({ "result": "historical", "app": { "id": id(&shop), "slug": "store" }, "may_take_over": true, "detail": null }),
        ),
        (json!({ "slug": "store", "app": "store" }), of("available")),
        (json!({ "slug": "shop", "app": "store" }), of("available")),
        (json!({ "slug": "shop", "app": "shop" }), of("available")),
        (json!({ "slug": "blog", "app": "shop" }), of("taken")),
    ] {
        assert_eq!(check(&owner, body.clone()).await, expected, "{body}");
    }
    let invalid = check(&owner, json!({ "slug": "No Slug" })).await;
    assert!(invalid["result"] == "invalid" && invalid["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    let refused = rename(&owner, "blog", "shop").await.problem(409, "slug_historical");
    assert_eq!(refused["app"], json!({ "id": id(&shop), "slug": "store" }));
    owner.post("/apps", json!({ "slug": "shop", "name": "x" })).await.problem(409, "slug_historical");
    owner.patch("/apps/blog", json!({ "slug": "store", "takeover": true })).await.problem(409, "slug_taken");
    owner.patch("/apps/blog", json!({ "slug": "shop", "takeover": true })).await.is(200);
    assert_eq!(owner.get("/apps/shop").await.is(200)["id"], blog["id"], "the redirect is over");
    let audit = owner.get("/audit?action=app.slug_taken_over").await.is(200);
    assert_eq!(audit["items"][0]["app_id"], shop["id"], "who lost it is told");
    assert_eq!(audit["items"][0]["before"], json!({ "former_slug": "shop" }));
}

async fn slugs_are_for_those_who_may_change_them(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    rename(&owner, "shop", "store").await.is(200);
    let editor = world.member("ed", &shop, AppRole::Editor).await;
    let app_admin = world.member("ann", &blog, AppRole::AppAdmin).await;
    let admin = world.user("adam", InstanceRole::Admin).await;
    rename(&editor, "store", "mine").await.problem(403, "forbidden");
    rename(&admin, "store", "mine").await.problem(403, "forbidden");
    // Who may not see the app is led nowhere, and is not told whose the slug was.
    app_admin.get("/apps/shop").await.problem(404, "not_found");
    world.stranger().get("/apps/shop").await.problem(401, "unauthenticated");
    assert_eq!(rename(&app_admin, "blog", "shop").await.problem(409, "slug_historical")["app"], json!(null));
    let body = json!({ "slug": "shop", "app": "blog" });
    let checked = app_admin.post("/apps/slug:check", body.clone()).await.is(200);
    assert_eq!((&checked["result"], &checked["app"]), (&json!("historical"), &json!(null)));
    for (client, body) in [
        (&app_admin, json!({ "slug": "shop" })),
        (&editor, json!({ "slug": "shop", "app": "store" })),
        (&editor, json!({ "slug": "Not A Slug", "app": "store" })),
    ] {
        client.post("/apps/slug:check", body).await.problem(403, "forbidden");
    }
    editor.post("/apps/slug:check", body).await.problem(404, "not_found");
    assert_eq!(location(&editor.get("/apps/shop").await), "/api/v1/admin/apps/store");
}

async fn a_former_slug_is_taken_from_an_app_by_those_who_may_change_its_slug(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    rename(&owner, "shop", "store").await.is(200);
    let thief = world.member("thief", &blog, AppRole::AppAdmin).await;
    let seer = world.member("seer", &blog, AppRole::AppAdmin).await;
    world.join("seer", &shop, AppRole::Editor).await;
    let admin = world.user("adam", InstanceRole::Admin).await;
    let key = json!({ "name": "blog", "scopes": ["apps:read", "apps:write"], "app_id": id(&blog) });
    let key = owner.post("/api-keys", key).await.is(201);
    let bound = world.stranger().bearer(key["key"].as_str().unwrap());
    let import = json!({ "format": 1, "app": { "slug": "shop", "name": "x" }, "scripts": [] });
    // Somebody who knows nothing of the app, and somebody who may work in it; the owner's own key that is for another app.
    for (client, sees) in [(&thief, false), (&seer, true), (&bound, false)] {
        for takeover in [false, true] {
            let body = json!({ "slug": "shop", "takeover": takeover });
            let refused = client.patch("/apps/blog", body).await.problem(409, "slug_historical");
            assert_eq!((refused["app"].is_object(), &refused["may_take_over"]), (sees, &json!(false)));
            assert!(!refused["detail"].as_str().unwrap().contains("takeover"), "{refused}");
        }
        let checked = client.post("/apps/slug:check", json!({ "slug": "shop", "app": "blog" })).await.is(200);
        assert_eq!((&checked["result"], &checked["may_take_over"]), (&json!("historical"), &json!(false)));
    }
    let create = json!({ "slug": "shop", "name": "x", "takeover": true });
    admin.post("/apps", create.clone()).await.problem(409, "slug_historical");
    admin.post("/apps:import?takeover=true", import).await.problem(409, "slug_historical");
    assert_eq!(location(&owner.get("/apps/shop").await), "/api/v1/admin/apps/store", "it leads where it led");
    // With the right on both it is theirs to decide.
    world.join("adam", &shop, AppRole::AppAdmin).await;
    assert_eq!(admin.post("/apps/slug:check", json!({ "slug": "shop" })).await.is(200)["may_take_over"], true);
    admin.post("/apps", create).await.is(201);
}

async fn an_app_leads_a_hundred_slugs_to_itself_and_no_more(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop-0").await;
    let path = format!("/apps/{}", id(&app));
    for n in 1..=100 {
        owner.patch(&path, json!({ "slug": format!("shop-{n}") })).await.is(200);
    }
    let refused = owner.patch(&path, json!({ "slug": "shop-101" })).await.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("former_slugs"), &json!(100)));
    owner.patch(&path, json!({ "slug": "shop-7" })).await.is(200);
    let stolen = json!({ "slug": "shop-8", "name": "Thief", "takeover": true });
    owner.post("/apps", stolen).await.is(201);
    owner.patch(&path, json!({ "slug": "shop-101" })).await.is(200);
}

on_both! {
    the_old_slug_leads_every_call_to_the_new_one,
    a_former_slug_is_taken_over_in_two_steps,
    slugs_are_for_those_who_may_change_them,
    a_former_slug_is_taken_from_an_app_by_those_who_may_change_its_slug,
    an_app_leads_a_hundred_slugs_to_itself_and_no_more,
}
