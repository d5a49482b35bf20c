//! Routes: binding, conflicts, checks and matches.

use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

struct Shop {
    owner: Client,
    app: Value,
    script: Value,
}

/// An app that claims `shop.localhost` and `*.shop.localhost` and has an endpoint.
async fn shop(world: &World) -> Shop {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.localhost").await;
    owner.make_domain(&app, "{tenant}.shop.localhost").await;
    let script = owner.make_endpoint(&app, "page", "`${ctx.request.method} ${ctx.request.path}`").await;
    Shop { owner, app, script }
}

impl Shop {
    fn routes(&self) -> String {
        format!("/scripts/{}/routes", id(&self.script))
    }
}

async fn a_route_is_bound_shown_moved_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let body = json!({ "host_kind": "wildcard", "host": "{t}.shop.localhost", "path_kind": "param",
        "path": "/users/:id", "method": "ANY" });
    let made = shop.owner.post(&shop.routes(), body).await;
    let etag = made.etag();
    let route = made.is(201);
    assert_eq!(route["host"], "*.shop.localhost");
    assert_eq!(route["url"], "https://*.shop.localhost/users/:id");
    assert_eq!((&route["app_id"], &route["script_id"]), (&shop.app["id"], &shop.script["id"]));
    let path = format!("/routes/{}", id(&route));
    assert_eq!(shop.owner.get(&path).await.etag(), etag);
    assert_eq!(shop.owner.get(&shop.routes()).await.is(200)["items"], json!([route]));
    assert_eq!(shop.owner.get("/apps/shop/routes").await.is(200)["items"], json!([route]));
    assert_eq!(world.fetch("PUT", "http://a.shop.localhost/users/7").await, "PUT /users/7");
    assert_eq!(world.fetch("PUT", "http://shop.localhost/users/7").await, "no_route");

    let moved = shop.owner.patch(&path, json!({ "host_kind": "any", "path_kind": "prefix", "path": "/u/*" })).await;
    assert_ne!(moved.etag(), etag);
    assert_eq!(moved.is(200)["url"], "https://shop.localhost/u/*");
    assert_eq!(world.fetch("PUT", "http://shop.localhost/u/7").await, "PUT /u/7");
    assert_eq!(world.fetch("PUT", "http://a.shop.localhost/users/7").await, "no_route");
    shop.owner.if_match(&etag).patch(&path, json!({ "method": "GET" })).await.problem(412, "precondition_failed");
    shop.owner.if_match(&etag).delete(&path).await.problem(412, "precondition_failed");

    let second = shop.owner.make_endpoint(&shop.app, "second", "\"second\"").await;
    shop.owner.patch(&path, json!({ "script_id": id(&second) })).await.is(200);
    assert_eq!(world.fetch("PUT", "http://shop.localhost/u/7").await, "second");
    shop.owner.delete(&path).await.is(204);
    shop.owner.delete(&path).await.problem(404, "not_found");
    assert_eq!(world.fetch("PUT", "http://shop.localhost/u/7").await, "no_route");
}

async fn the_second_of_two_equal_routes_gets_the_first_one_whole(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let first = shop.owner.make_route(&shop.script, "/users/:id").await;
    let twin = json!({ "host_kind": "any", "path_kind": "param", "path": "/users/:name", "method": "GET" });
    let refused = shop.owner.post(&shop.routes(), twin.clone()).await.problem(409, "route_conflict");
    assert_eq!(refused["conflict"], first);
    let other = shop.owner.make_route(&shop.script, "/other").await;
    let path = format!("/routes/{}", id(&other));
    let refused = shop.owner.patch(&path, twin.clone()).await.problem(409, "route_conflict");
    assert_eq!(refused["conflict"], first);
    // A route does not conflict with itself, nor with the same one of another app.
    shop.owner.patch(&format!("/routes/{}", id(&first)), twin).await.is(200);
    let blog = shop.owner.make_app("blog").await;
    let page = shop.owner.make_endpoint(&blog, "page", "1").await;
    shop.owner.make_route(&page, "/users/:id").await;
}

async fn of_many_equal_routes_at_once_one_is_bound(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let body = json!({ "host_kind": "any", "path_kind": "exact", "path": "/", "method": "GET" });
    let attempts = (0..4).map(|_| {
        let (owner, path, body) = (shop.owner.clone(), shop.routes(), body.clone());
        async move { owner.post(&path, body).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(attempts).await;
    statuses.sort();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

async fn routes_that_could_not_serve_are_refused(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let owner = &shop.owner;
    let module = owner.make_module(&shop.app, "lib", "fn f() { 1 }").await;
    let blog = owner.make_app("blog").await;
    let foreign = owner.make_endpoint(&blog, "page", "1").await;
    let body = |host_kind: &str, host: Option<&str>, path_kind: &str, path: &str| json!({ "host_kind": host_kind, "host": host, "path_kind": path_kind, "path": path, "method": "GET" });
    let fields = [
        (body("any", Some("shop.localhost"), "exact", "/"), vec!["host"]),
        (body("strict", None, "exact", "/"), vec!["host"]),
        (body("strict", Some("*.shop.localhost"), "exact", "x"), vec!["host", "path"]),
        (body("any", None, "prefix", "/files"), vec!["path"]),
        (body("any", None, "param", "/:a/:a"), vec!["path"]),
        (body("any", None, "exact", "/a/../b"), vec!["path"]),
        (body("some", None, "exact", "/"), vec!["host_kind"]),
    ];
    for (body, expected) in fields {
        assert_eq!(owner.post(&shop.routes(), body.clone()).await.invalid_fields(), expected, "{body}");
    }
    for (kind, host) in [("strict", "other.localhost"), ("strict", "a.b.shop.localhost"), ("wildcard", "*.localhost")] {
        owner.post(&shop.routes(), body(kind, Some(host), "exact", "/")).await.problem(422, "host_not_claimed");
    }
    let good = body("any", None, "exact", "/");
    let of_module = format!("/scripts/{}/routes", id(&module));
    let refused = owner.post(&of_module, good.clone()).await.problem(422, "module_not_routable");
    assert_eq!(refused["errors"][0]["field"], "script_id");
    let route = owner.post(&shop.routes(), good).await.is(201);
    let path = format!("/routes/{}", id(&route));
    assert_eq!(owner.patch(&path, json!({ "script_id": id(&foreign) })).await.invalid_fields(), ["script_id"]);
    owner.patch(&path, json!({ "script_id": id(&module) })).await.problem(422, "module_not_routable");
    assert_eq!(owner.patch(&path, json!({ "id": id(&foreign) })).await.invalid_fields(), ["id"]);
}

async fn a_check_names_errors_conflicts_and_what_it_would_shadow(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let wide = shop.owner.make_route(&shop.script, "/users/:id").await;
    let same = shop.owner.make_route(&shop.script, "/users/me").await;
    let check = |route: Value, except: Option<&str>| {
        let body = json!({ "app_id": id(&shop.app), "route": route, "except_id": except });
        let owner = shop.owner.clone();
        async move { owner.post("/routes:check", body).await.is(200) }
    };
    let exact = |path: &str| json!({ "host_kind": "any", "path_kind": "exact", "path": path, "method": "GET" });
    let clash = check(exact("/users/me"), None).await;
    assert_eq!((&clash["valid"], &clash["conflicts"]), (&json!(false), &json!([same])));
    let replaced = check(exact("/users/me"), Some(id(&same))).await;
    assert_eq!((&replaced["valid"], &replaced["conflicts"]), (&json!(true), &json!([])));
    assert_eq!(replaced["shadows"], json!([wide]));
    let free = check(exact("/free"), None).await;
    assert_eq!(free, json!({ "valid": true, "errors": [], "conflicts": [], "shadows": [] }));
    let strict =
        json!({ "host_kind": "strict", "host": "x.example", "path_kind": "exact", "path": "/", "method": "GET" });
    let unclaimed = check(strict, None).await;
    assert_eq!((&unclaimed["valid"], &unclaimed["errors"][0]["field"]), (&json!(false), &json!("host")));
    assert_eq!(check(exact("nonsense"), None).await["errors"][0]["field"], "path");
    assert_eq!(shop.owner.get("/apps/shop/routes").await.is(200)["items"].as_array().unwrap().len(), 2);
}

async fn what_a_check_lets_through_can_be_saved_and_nothing_else(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    // Each route has its parameters in other places, so that the places that a path may come to double.
    let path = |number: usize| -> String {
        (0..10).map(|bit| if number >> bit & 1 == 0 { format!("/s{bit}") } else { format!("/:p{bit}") }).collect()
    };
    let (mut saved, mut refused) = (Vec::new(), Vec::new());
    for number in 0..64 {
        let route =
            json!({ "host_kind": "any", "path_kind": "param", "path": path(number * 37 % 1024), "method": "GET" });
        let check = json!({ "app_id": id(&shop.app), "route": route });
        let checked = shop.owner.post("/routes:check", check).await.is(200);
        let answer = shop.owner.post(&shop.routes(), route.clone()).await;
        assert_eq!(checked["valid"], answer.status == 201, "{route}");
        if answer.status == 201 {
            saved.push(answer.json());
            continue;
        }
        let detail = checked["errors"][0]["detail"].clone();
        assert_eq!(checked["errors"], json!([{ "field": "path", "detail": detail }]));
        let problem = answer.problem(422, "routes_too_ambiguous");
        assert_eq!(problem["errors"], checked["errors"]);
        refused.push(route);
    }
    assert!(saved.len() > 16 && !refused.is_empty(), "{} {}", saved.len(), refused.len());
    // In the place of a route the same question is asked without it.
    let (last, patch) = (saved.last().unwrap(), json!({ "path": refused[0]["path"] }));
    let check = json!({ "app_id": id(&shop.app), "route": refused[0], "except_id": id(last) });
    assert_eq!(shop.owner.post("/routes:check", check).await.is(200)["valid"], true);
    shop.owner.patch(&format!("/routes/{}", id(last)), patch).await.is(200);
}

async fn a_match_tells_what_the_data_plane_does(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let route = shop.owner.make_route(&shop.script, "/users/:id").await;
    let ask = |method: &str, url: &str| {
        let (owner, body) = (shop.owner.clone(), json!({ "url": url, "method": method }));
        async move { owner.post("/routes:match", body).await.is(200) }
    };
    let found = ask("GET", "https://acme.shop.localhost:8443/users/a%20b?q=1").await;
    assert_eq!(found["outcome"], "matched");
    assert_eq!(found["app"]["slug"], "shop");
    assert_eq!((&found["route"]["id"], &found["route"]["url"]), (&route["id"], &route["url"]));
    assert_eq!(found["script"], json!({ "id": id(&shop.script), "name": "page" }));
    assert_eq!(found["params"], json!({ "id": "a b" }));
    assert_eq!(found["host_params"], json!({ "tenant": "acme" }));
    let outcomes = [
        ("GET", "http://nobody.example/", "unknown_host"),
        ("GET", "http://shop.localhost/x", "no_route"),
        ("POST", "http://shop.localhost/users/7", "method_not_allowed"),
        ("OPTIONS", "http://shop.localhost/users/7", "options"),
        ("HEAD", "http://shop.localhost/users/7", "matched"),
    ];
    for (method, url, outcome) in outcomes {
        assert_eq!(ask(method, url).await["outcome"], outcome, "{method} {url}");
    }
    assert_eq!(ask("POST", "http://shop.localhost/users/7").await["allow"], "GET, HEAD, OPTIONS");
    // Where the admin paths win, no route is asked.
    for (url, outcome) in [
        ("https://pi.example.com/users/7", "admin"),
        ("https://admin.example.net/", "admin"),
        ("http://127.0.0.1:8080/x", "admin"),
        ("http://localhost/admin/", "admin"),
        ("http://localhost/%61pi/x", "admin"),
        ("http://localhost/healthz", "admin"),
        ("http://localhost/", "matched"),
        ("http://localhost/x", "no_route"),
        ("http://shop.localhost/admin/", "no_route"),
    ] {
        assert_eq!(ask("GET", url).await["outcome"], outcome, "{url}");
    }
    for method in ["TRACE", "CONNECT", "FOO", "ANY", "get", "", "G T"] {
        let body = json!({ "url": "http://shop.localhost/users/7", "method": method });
        assert_eq!(shop.owner.post("/routes:match", body).await.invalid_fields(), ["method"], "{method}");
        let invoke = format!("/scripts/{}/invoke", id(&shop.script));
        let answer = shop.owner.post(&invoke, json!({ "method": method })).await;
        assert_eq!(answer.invalid_fields(), ["method"], "{method}");
    }
    for url in ["", "/users/7", "shop.localhost", "http://", "http://shop.localhost/%zz", "http://a b/"] {
        let answer = shop.owner.post("/routes:match", json!({ "url": url, "method": "GET" })).await;
        assert_eq!(answer.invalid_fields(), ["url"], "{url}");
    }
    let blog = shop.owner.make_app("blog").await;
    let stranger = world.member("ada", &blog, AppRole::AppAdmin).await;
    let body = json!({ "url": "http://shop.localhost/users/7", "method": "GET" });
    let hidden = stranger.post("/routes:match", body).await.is(200);
    assert_eq!((&hidden["outcome"], &hidden["app"]), (&json!("unknown_host"), &json!(null)));
}

async fn a_test_sees_what_host_and_path_bind_as_a_request_would(store: &Store) {
    let world = World::start(store).await;
    let shop = shop(&world).await;
    let source = "`${ctx.request.host_params.tenant} ${ctx.request.params.id}`";
    let script = shop.owner.make_endpoint(&shop.app, "who", source).await;
    shop.owner.make_route(&script, "/users/:id").await;
    let body = json!({ "host": "acme.shop.localhost", "path": "/users/7" });
    let tested = shop.owner.post(&format!("/scripts/{}/invoke", id(&script)), body).await.is(200);
    assert_eq!(tested["response"]["body"], "acme 7");
    assert_eq!(world.fetch("GET", "http://acme.shop.localhost/users/7").await, "acme 7");
}

on_both! {
    a_test_sees_what_host_and_path_bind_as_a_request_would,
    a_route_is_bound_shown_moved_and_deleted,
    the_second_of_two_equal_routes_gets_the_first_one_whole,
    of_many_equal_routes_at_once_one_is_bound,
    routes_that_could_not_serve_are_refused,
    a_check_names_errors_conflicts_and_what_it_would_shadow,
    what_a_check_lets_through_can_be_saved_and_nothing_else,
    a_match_tells_what_the_data_plane_does,
}
