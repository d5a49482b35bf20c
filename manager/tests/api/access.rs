//! What the table of `matrix.rs` does not tell: ids of other apps, what an admin is, and who runs restricted scripts.

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_shared::id::ScriptId;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World, id};

/// An app with one of everything.
struct Target {
    app: Value,
    script: Value,
    module: Value,
    route: Value,
    domain: Value,
}

async fn target(owner: &Client, slug: &str) -> Target {
    let app = owner.make_app(slug).await;
    let domain = owner.make_domain(&app, &format!("{slug}.localhost")).await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    let module = owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let route = owner.make_route(&script, "/").await;
    Target { app, script, module, route, domain }
}

/// Calls on something of an app, one of each kind.
const CALLS: [&str; 12] = [
    "GET /apps/{app}",
    "GET /scripts?app={app}",
    "GET /scripts/{script}",
    "GET /scripts/{script}/versions/1",
    "GET /routes/{route}",
    "POST /routes:check",
    "POST /scripts:check",
    "POST /scripts",
    "PATCH /scripts/{script}",
    "DELETE /scripts/{module}",
    "DELETE /routes/{route}",
    "DELETE /apps/{app}/domains/{domain}",
];

async fn make(client: &Client, call: &str, target: &Target) -> Answer {
    let (method, template) = call.split_once(' ').unwrap();
    let path = template
        .replace("{app}", id(&target.app))
        .replace("{script}", id(&target.script))
        .replace("{module}", id(&target.module))
        .replace("{route}", id(&target.route))
        .replace("{domain}", id(&target.domain));
    let pattern = json!({ "host_kind": "any", "path_kind": "exact", "path": "/new", "method": "GET" });
    let body = match template {
        "/routes:check" => json!({ "app_id": id(&target.app), "route": pattern }),
        "/scripts:check" => json!({ "app_id": id(&target.app), "kind": "endpoint", "source": "1" }),
        "/scripts" => json!({ "app_id": id(&target.app), "name": "new", "kind": "endpoint", "source": "1" }),
        "/scripts/{script}/routes" => pattern,
        "/apps/{app}/domains" => json!({ "pattern": "new.shop.localhost" }),
        "/apps/{app}" => json!({ "name": "New" }),
        "/scripts/{script}" if method == "PATCH" => json!({ "description": "new" }),
        "/routes/{route}" if method == "PATCH" => json!({ "method": "POST" }),
        _ => json!({}),
    };
    match method {
        "GET" => client.get(&path).await,
        "DELETE" => client.delete(&path).await,
        "POST" => client.post(&path, body).await,
        _ => client.patch(&path, body).await,
    }
}

async fn to_a_member_of_another_app_nothing_here_exists(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (target(&owner, "shop").await, target(&owner, "blog").await);
    let stranger = world.member("stranger", &blog.app, AppRole::AppAdmin).await;
    let before = owner.get("/apps/shop/routes").await.is(200);
    for call in CALLS {
        make(&stranger, call, &shop).await.problem(404, "not_found");
    }
    stranger.get("/apps/shop").await.problem(404, "not_found");
    stranger.delete("/apps/shop?force=true").await.problem(404, "not_found");
    // What exists and may not be seen reads exactly like what does not exist.
    let absent = stranger.get("/scripts/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a").await.problem(404, "not_found");
    let hidden = stranger.get(&format!("/scripts/{}", id(&shop.script))).await.problem(404, "not_found");
    assert_eq!(absent, hidden);
    assert_eq!(owner.get("/apps/shop/routes").await.is(200), before);
    assert_eq!(stranger.get("/apps").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn ids_of_two_apps_cannot_be_mixed(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (target(&owner, "shop").await, target(&owner, "blog").await);
    let ada = world.member("ada", &blog.app, AppRole::AppAdmin).await;
    ada.delete(&format!("/apps/blog/domains/{}", id(&shop.domain))).await.problem(404, "not_found");
    owner.delete(&format!("/apps/blog/domains/{}", id(&shop.domain))).await.problem(404, "not_found");
    let moved = ada.patch(&format!("/routes/{}", id(&blog.route)), json!({ "script_id": id(&shop.script) })).await;
    assert_eq!(moved.invalid_fields(), ["script_id"]);
    let pattern = json!({ "script_id": id(&shop.script), "host_kind": "any", "path_kind": "exact", "path": "/",
        "method": "PUT" });
    let check = ada.post("/routes:check", json!({ "app_id": id(&blog.app), "route": pattern })).await.is(200);
    assert_eq!(check["errors"][0]["field"], "script_id");
    assert_eq!(world.fetch("GET", "http://shop.localhost/").await, "1");
}

async fn an_admin_is_an_editor_everywhere_and_more_by_membership(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let shop = target(&owner, "shop").await;
    let admin = world.user("admin", InstanceRole::Admin).await;
    assert_eq!(admin.get("/apps/shop").await.is(200)["my_role"], "editor");
    make(&admin, "PATCH /scripts/{script}", &shop).await.is(200);
    make(&admin, "POST /apps/{app}/domains", &shop).await.is(201);
    make(&admin, "PATCH /apps/{app}", &shop).await.problem(403, "forbidden");
    admin.delete("/apps/shop?force=true").await.problem(403, "forbidden");
    world.join("admin", &shop.app, AppRole::AppAdmin).await;
    assert_eq!(admin.get("/apps/shop").await.is(200)["my_role"], "app_admin");
    admin.delete("/apps/shop?force=true").await.is(204);
}

async fn a_restricted_script_is_run_by_those_who_may_invoke_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let shop = target(&owner, "shop").await;
    let script: ScriptId = id(&shop.script).parse().unwrap();
    let viewer = world.member("viewer", &shop.app, AppRole::Viewer).await;
    let editor = world.member("editor", &shop.app, AppRole::Editor).await;
    let stranger = world.user("stranger", InstanceRole::Member).await;
    let may = async |client: &Client, script| {
        let request = client.request("GET", "/").body(()).unwrap();
        world.manager.may_invoke(request.headers(), &client.peer, script).await.unwrap()
    };
    for (client, expected) in [(&owner, true), (&editor, true), (&viewer, false), (&stranger, false)] {
        assert_eq!(may(client, script).await, expected);
    }
    assert!(!may(&world.stranger(), script).await);
    let absent = "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a".parse().unwrap();
    assert!(!may(&owner, absent).await);
    editor.send_json("POST", "/auth/logout", "").await.is(204);
    assert!(!may(&editor, script).await);
}

on_both! {
    to_a_member_of_another_app_nothing_here_exists,
    ids_of_two_apps_cannot_be_mixed,
    an_admin_is_an_editor_everywhere_and_more_by_membership,
    a_restricted_script_is_run_by_those_who_may_invoke_it,
}
