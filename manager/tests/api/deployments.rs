//! Whole apps: exported, deployed and imported.

mod at_once;
mod beside_scripts;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_shared::app::MAX_DOCUMENT_BYTES;
use serde_json::{Value, json};

use crate::world::{Answer, Client, MAX_BODY, World, id};

fn script(name: &str, source: &str, paths: &[&str]) -> Value {
    let routes: Vec<_> = paths
        .iter()
        .map(|path| {
            let kind = if path.contains("/:") { "param" } else { "exact" };
            json!({ "host_kind": "any", "path_kind": kind, "path": path, "method": "GET" })
        })
        .collect();
    json!({ "name": name, "kind": "endpoint", "source": source, "routes": routes })
}

fn module(name: &str, source: &str) -> Value {
    json!({ "name": name, "kind": "module", "source": source })
}

fn document(scripts: &[Value]) -> Value {
    json!({ "format": 1, "scripts": scripts })
}

async fn deploy(client: &Client, app: &str, document: &Value) -> Answer {
    client.send_json("PUT", &format!("/apps/{app}/deployment"), document.to_string()).await
}

/// The changes that an answer tells, such as `create script page`.
fn changes(answer: &Value) -> Vec<String> {
    let told =
        |change: &Value| ["action", "kind", "name"].map(|part| change[part].as_str().unwrap().to_owned()).join(" ");
    answer["changes"].as_array().unwrap().iter().map(told).collect()
}

async fn shop(world: &World) -> (Client, Value) {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    (owner, app)
}

async fn ten_scripts_and_their_routes_are_live_at_once(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let mut scripts: Vec<Value> = (0..9)
        .map(|n| script(&format!("page-{n}"), &format!("import \"lib\" as l; l::say({n})"), &[&format!("/{n}")]))
        .collect();
    scripts.push(module("lib", "fn say(n) { `one ${n}` }"));
    let trial =
        owner.send_json("PUT", "/apps/shop/deployment?dry_run=true", document(&scripts).to_string()).await.is(200);
    assert_eq!((&trial["applied"], changes(&trial).len()), (&json!(false), 19));
    assert_eq!(world.fetch("GET", "http://shop.example.com/3").await, "no_route");
    let done = deploy(&owner, "shop", &document(&scripts)).await.is(200);
    assert_eq!((&done["applied"], &done["changes"]), (&json!(true), &trial["changes"]), "as the trial said");
    assert_eq!(world.fetch("GET", "http://shop.example.com/3").await, "one 3");
    let again = deploy(&owner, "shop", &document(&scripts)).await.is(200);
    assert_eq!(again, json!({ "applied": false, "changes": [], "missing_secrets": [] }));

    // Another module, another route for a script, one script less.
    let before = owner.get("/scripts?app=shop&limit=200").await.is(200);
    scripts[9] = module("lib", "fn say(n) { `two ${n}` }");
    scripts[0] = script("page-0", "import \"lib\" as l; l::say(0)", &["/zero/:x"]);
    scripts.remove(8);
    let done = deploy(&owner, "shop", &document(&scripts)).await.is(200);
    let expected = [
        "delete route GET /0",
        "delete route GET /8",
        "delete script page-8",
        "update script lib",
        "create route GET /zero/:x",
    ];
    assert_eq!(changes(&done), expected);
    for (path, answer) in [("/zero/1", "two 0"), ("/3", "two 3"), ("/0", "no_route"), ("/8", "no_route")] {
        assert_eq!(world.fetch("GET", &format!("http://shop.example.com{path}")).await, answer, "{path}");
    }
    let after = owner.get("/scripts?app=shop&limit=200").await.is(200);
    let find = |list: &Value, name: &str| {
        list["items"].as_array().unwrap().iter().find(|script| script["name"] == name).unwrap().clone()
    };
    assert_eq!(find(&before, "page-3"), find(&after, "page-3"), "what did not change is not touched");
    assert_eq!(find(&before, "lib")["id"], find(&after, "lib")["id"]);
    assert_eq!(find(&after, "lib")["version"], 2);
    let audit = owner.get("/audit?action=script.&limit=200").await.is(200);
    assert_eq!(audit["items"][0]["action"], "script.update", "each change has its own row");
}

async fn a_document_with_one_error_changes_nothing_and_names_its_place(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let good = document(&[script("page", "\"old\"", &["/"]), module("lib", "fn f() { 1 }")]);
    deploy(&owner, "shop", &good).await.is(200);
    let exported = owner.get("/apps/shop/export").await.is(200);
    let strict =
        |host: &str| json!({ "host_kind": "strict", "host": host, "path_kind": "exact", "path": "/", "method": "GET" });
    let with_routes = |routes: Value| {
        let mut with = script("b", "1", &[]);
        with["routes"] = routes;
        with
    };
    let cases = [
        (vec![script("page", "\"new\"", &["/"]), script("b", "let x = ;", &[])], "scripts[1].source"),
        (vec![script("page", "import \"gone\" as g; 1", &["/"])], "scripts[0].source"),
        (
            vec![module("lib", "fn g() { 1 }"), script("b", "1", &["/u/:a"]), script("c", "1", &["/u/:b"])],
            "scripts[2].routes[0].path",
        ),
        (vec![script("a", "1", &[]), script("a", "2", &[])], "scripts[1].name"),
        (vec![script("a", "1", &[]), with_routes(json!([strict("other.example.com")]))], "scripts[1].routes[0].host"),
        (
            vec![script("a", "1", &[]), with_routes(json!([strict("shop.example.com"), strict("*.x")]))],
            "scripts[1].routes[1].host",
        ),
        (
            vec![
                json!({ "name": "m", "kind": "module", "source": "fn f() { 1 }", "routes": [strict("shop.example.com")] }),
            ],
            "scripts[0].routes",
        ),
        (
            vec![json!({ "name": "a", "kind": "endpoint", "source": "1", "timeout_ms": 999_999 })],
            "scripts[0].timeout_ms",
        ),
        (
            vec![json!({ "name": "a", "kind": "endpoint", "source": "1", "sandbox": { "max_operations": 0 } })],
            "scripts[0].sandbox.max_operations",
        ),
        (vec![json!({ "name": "Not A Name", "kind": "endpoint", "source": "1" })], "scripts[0].name"),
        (vec![json!({ "name": "a", "kind": "endpoint", "source": "1", "color": "red" })], "scripts[0].color"),
        (vec![json!({ "name": "a", "kind": "endpoint" })], "scripts[0].source"),
    ];
    for (scripts, field) in cases {
        let answer = deploy(&owner, "shop", &document(&scripts)).await;
        assert_eq!(answer.invalid_fields(), [field], "{scripts:?}");
    }
    for (mut wrong, field) in [
        (json!({ "format": 2 }), "format"),
        (json!({ "domains": ["not a host"] }), "domains[0]"),
        (json!({ "app": { "name": "" } }), "app.name"),
        (json!({ "extra": 1 }), "extra"),
    ] {
        let mut document = good.clone();
        document.as_object_mut().unwrap().append(wrong.as_object_mut().unwrap());
        assert_eq!(deploy(&owner, "shop", &document).await.invalid_fields(), [field], "{document}");
    }
    let broken = document(&(0..30).map(|n| script(&format!("s{n}"), "let", &[])).collect::<Vec<_>>());
    assert_eq!(deploy(&owner, "shop", &broken).await.invalid_fields().len(), 20, "so many are told");
    let two = document(&[script("page", "\"old\"", &["/"]), script("more", "1", &[])]);
    let claimed = |domains: Value| {
        let mut document = two.clone();
        document["domains"] = domains;
        document
    };
    let other = owner.make_app("blog").await;
    owner.make_domain(&other, "blog.example.com").await;
    deploy(&owner, "shop", &claimed(json!(["shop.example.com", "blog.example.com"])))
        .await
        .problem(409, "domain_claimed");
    deploy(&owner, "shop", &claimed(json!(["co.uk"]))).await.problem(422, "public_suffix");
    deploy(&owner, "shop", &claimed(json!(["pi.example.com"]))).await.problem(409, "host_reserved");
    assert_eq!(owner.get("/apps/shop/export").await.is(200), exported, "nothing has changed");
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "old");
}

async fn a_route_outlives_the_script_that_it_led_to(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    deploy(&owner, "shop", &document(&[script("old", "`old`", &["/"])])).await.is(200);
    let done = deploy(&owner, "shop", &document(&[script("new", "`new`", &["/"])])).await.is(200);
    assert_eq!(changes(&done).len(), 4, "{done}");
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "new");
}

async fn a_document_of_nothing_but_mistakes_is_told_some_of_them(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let wrong = json!({ "format": 1, "scripts": [], "domains": vec![""; 1_000] });
    let problem = deploy(&owner, "shop", &wrong).await.problem(422, "invalid");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 20);
}

async fn a_list_of_too_many_is_refused_by_its_name_and_its_limit(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let page = script("page", "1", &[]);
    let mut of_routes = page.clone();
    let route = script("x", "1", &["/"])["routes"][0].clone();
    of_routes["routes"] = json!(vec![route.clone(); 10_001]);
    let mut shared = vec![page.clone(); 2];
    for (n, script) in shared.iter_mut().enumerate() {
        script["name"] = json!(format!("page-{n}"));
        script["routes"] = json!(vec![route.clone(); 6_000]);
    }
    for (document, field, limit) in [
        (json!({ "format": 1, "scripts": [], "domains": vec![""; 1_001] }), "domains", "1000"),
        (document(&vec![page.clone(); 1_001]), "scripts", "1000"),
        (document(&[page.clone(), of_routes]), "scripts[1].routes", "10000"),
        (
            json!({ "format": 1, "scripts": [], "app": { "redacted_headers": vec![""; 65] } }),
            "app.redacted_headers",
            "64",
        ),
    ] {
        let refused = deploy(&owner, "shop", &document).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], field);
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains(limit), "{refused}");
        let mut import = document;
        import["app"]["slug"] = json!("new");
        import["app"]["name"] = json!("New");
        assert_eq!(owner.post("/apps:import", import).await.invalid_fields(), [field]);
    }
    let refused = deploy(&owner, "shop", &document(&shared)).await.problem(422, "app_limit_reached");
    assert_eq!((&refused["errors"][0]["field"], &refused["ceiling"]), (&json!("scripts"), &json!(10_000)));
}

/// A body that cannot be read, as whoever reads it would tell.
fn unreadable() -> Body {
    Body::from_stream(futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("it was read")) }))
}

async fn whoever_may_not_deploy_is_told_so_before_anything_is_read(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let viewer = world.member("vi", &app, AppRole::Viewer).await;
    let outsider = world.user("out", InstanceRole::Member).await;
    let deploy = async |client: &Client| client.send_json("PUT", "/apps/shop/deployment", unreadable()).await;
    deploy(&viewer).await.problem(403, "forbidden");
    deploy(&outsider).await.problem(404, "not_found");
    deploy(&world.stranger()).await.problem(401, "unauthenticated");
    deploy(&owner).await.problem(400, "malformed");
    let import = async |client: &Client| client.send_json("POST", "/apps:import", unreadable()).await;
    for keyed in [outsider.clone(), outsider.header("idempotency-key", "k")] {
        import(&keyed).await.problem(403, "forbidden");
    }
    import(&owner).await.problem(400, "malformed");
}

async fn what_is_wrong_with_a_domain_is_told_by_its_place_and_in_a_trial_too(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let blog = owner.make_app("blog").await;
    owner.make_domain(&blog, "blog.example.com").await;
    for (domains, status, code, place) in [
        (["shop.example.com", "blog.example.com"], 409, "domain_claimed", 1),
        (["co.uk", "shop.example.com"], 422, "public_suffix", 0),
        (["shop.example.com", "pi.example.com"], 409, "host_reserved", 1),
        (["a.example.com", "A.example.com"], 422, "invalid", 1),
    ] {
        let document = json!({ "format": 1, "scripts": [script("page", "1", &["/"])], "domains": domains });
        let mut import = document.clone();
        import["app"] = json!({ "slug": "new", "name": "New" });
        // What the shop has already is another's there.
        import["domains"] = json!(domains.map(|domain| domain.replace("shop.example.com", "free.example.com")));
        for query in ["", "?dry_run=true"] {
            let path = format!("/apps/shop/deployment{query}");
            let refused = owner.send_json("PUT", &path, document.to_string()).await.problem(status, code);
            assert_eq!(refused["errors"][0]["field"], format!("domains[{place}]"), "{refused}");
            let refused = owner.post(&format!("/apps:import{query}"), import.clone()).await.problem(status, code);
            assert_eq!(refused["errors"][0]["field"], format!("domains[{place}]"), "{refused}");
        }
    }
    owner.get("/apps/new").await.problem(404, "not_found");
}

async fn a_trial_of_an_import_tells_what_would_be_made_and_makes_nothing(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let mut wanted = document(&[script("page", "`new`", &["/"])]);
    wanted["app"] = json!({ "slug": "shop", "name": "New" });
    wanted["domains"] = json!(["new.example.com"]);
    owner.post("/apps:import?dry_run=true", wanted.clone()).await.problem(409, "slug_taken");
    let trial = owner.post("/apps:import?dry_run=true&slug=new", wanted.clone()).await.is(200);
    assert_eq!(trial["applied"], false);
    let told = changes(&trial);
    assert_eq!(told[..3], ["create app new", "create domain new.example.com", "create script page"]);
    assert_eq!(told.len(), 4, "and its route");
    owner.get("/apps/new").await.problem(404, "not_found");
    assert_eq!(world.fetch("GET", "http://new.example.com/").await, "unknown_host");
    let audit = owner.get("/audit?action=app.create").await.is(200);
    assert!(audit["items"].as_array().unwrap().iter().all(|row| row["after"]["slug"] != "new"), "{audit}");
    owner.post("/apps:import?slug=new", wanted).await.is(201);
    assert_eq!(world.fetch("GET", "http://new.example.com/").await, "new");
}

async fn an_exported_app_is_imported_as_another(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let body = json!({
        "app_id": id(&app), "name": "page", "kind": "endpoint", "source": "import \"lib\" as l; `${l::f()} ${ctx.app.slug}`",
        "description": "The page.", "timeout_ms": 250, "sandbox": { "max_operations": 5000 }, "execute_access": "restricted",
    });
    owner.make_module(&app, "lib", "fn f() { 1 }").await;
    let page = owner.post("/scripts", body).await.is(201);
    owner.make_route(&page, "/").await;
    let strict = json!({ "host_kind": "strict", "host": "shop.example.com", "path_kind": "prefix", "path": "/f/:x/*", "method": "ANY" });
    owner.post(&format!("/scripts/{}/routes", id(&page)), strict).await.is(201);
    owner
        .patch("/apps/shop", json!({ "name": "My shop", "redacted_headers": ["x-token"], "record_bodies": false }))
        .await
        .is(200);
    let exported = owner.get("/apps/shop/export").await;
    assert_eq!(exported.header("content-disposition"), "attachment; filename=\"shop.json\"");
    let etag = exported.etag();
    let exported = exported.is(200);
    owner.post("/apps:import", exported.clone()).await.problem(409, "slug_taken");
    owner.post("/apps:import?slug=copy", exported.clone()).await.problem(409, "domain_claimed");
    owner.get("/apps/copy").await.problem(404, "not_found");
    // Without its domains the strict route has no host to answer on.
    let refused = owner.post("/apps:import?slug=copy&without_domains=true", exported.clone()).await;
    assert_eq!(refused.invalid_fields(), ["scripts[1].routes[1].host"]);
    let mut moved = exported.clone();
    moved["domains"] = json!(["copy.example.com"]);
    moved["scripts"][1]["routes"][1]["host"] = json!("copy.example.com");
    let copy = owner.post("/apps:import?slug=copy", moved.clone()).await.is(201);
    assert_eq!((&copy["slug"], &copy["my_role"]), (&json!("copy"), &json!("app_admin")));
    assert_eq!(world.fetch("GET", "http://copy.example.com/").await, "1 copy");
    let mut again = owner.get("/apps/copy/export").await.is(200);
    again["app"]["slug"] = json!("shop");
    assert_eq!(again, moved, "what is exported of it is what was imported");

    // A deployment of what was exported changes nothing, and one by an old reading is refused.
    let by_etag = |etag: &str| owner.if_match(etag);
    assert_eq!(deploy(&by_etag(&etag), "shop", &exported).await.is(200)["changes"], json!([]));
    owner.patch(&format!("/scripts/{}", id(&page)), json!({ "source": "2" })).await.is(200);
    deploy(&by_etag(&etag), "shop", &exported).await.problem(412, "precondition_failed");
    let done = deploy(&owner, "shop", &exported).await;
    let new_etag = done.etag();
    assert_eq!(changes(&done.is(200)), ["update script page"]);
    assert_eq!(owner.get("/apps/shop/export").await.etag(), new_etag);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "1 shop");
}

async fn a_deployment_needs_the_right_to_each_of_its_changes(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let [viewer, editor, app_admin] = [AppRole::Viewer, AppRole::Editor, AppRole::AppAdmin];
    let viewer = world.member("vi", &app, viewer).await;
    let editor = world.member("ed", &app, editor).await;
    let app_admin = world.member("ann", &app, app_admin).await;
    let outsider = world.user("out", InstanceRole::Member).await;
    let scripts = document(&[script("page", "1", &["/"])]);
    let mut renamed = scripts.clone();
    renamed["app"] = json!({ "name": "Mine" });
    let mut moved = scripts.clone();
    moved["domains"] = json!(["a.example.com"]);
    deploy(&viewer, "shop", &scripts).await.problem(403, "forbidden");
    deploy(&outsider, "shop", &scripts).await.problem(404, "not_found");
    outsider.get("/apps/shop/export").await.problem(404, "not_found");
    outsider.post("/apps:import?slug=x", renamed.clone()).await.problem(403, "forbidden");
    viewer.get("/apps/shop/export").await.is(200);
    deploy(&editor, "shop", &scripts).await.is(200);
    assert_eq!(deploy(&editor, "shop", &renamed).await.problem(403, "forbidden")["capability"], "AppManageSettings");
    assert_eq!(deploy(&editor, "shop", &moved).await.problem(403, "forbidden")["capability"], "AppManageDomains");
    deploy(&app_admin, "shop", &renamed).await.is(200);
    deploy(&app_admin, "shop", &moved).await.is(200);
    assert_eq!(world.fetch("GET", "http://a.example.com/").await, "1");
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "unknown_host");
    let key = async |scopes: &[&str]| {
        let key = json!({ "name": "ci", "scopes": scopes, "app_id": id(&app) });
        let key = owner.post("/api-keys", key).await.is(201);
        world.stranger().bearer(key["key"].as_str().unwrap())
    };
    // Whoever may only write is told of nothing that is there.
    let blind = key(&["scripts:write", "apps:read"]).await;
    let path = "/apps/shop/deployment?dry_run=true";
    let refused = blind.send_json("PUT", path, document(&[]).to_string()).await.problem(403, "insufficient_scope");
    assert_eq!(refused["scope"], "scripts:read");
    let refused = key(&["scripts:read"]).await.get("/apps/shop/export").await.problem(403, "insufficient_scope");
    assert_eq!(refused["scope"], "apps:read");
    let ci = key(&["scripts:write", "scripts:read"]).await;
    deploy(&ci, "shop", &document(&[script("page", "2", &["/"])])).await.is(200);
    deploy(&ci, "shop", &scripts).await.is(200);
    assert_eq!(deploy(&ci, "shop", &renamed_again()).await.problem(403, "insufficient_scope")["scope"], "apps:write");
}

fn renamed_again() -> Value {
    let mut document = document(&[script("page", "1", &["/"])]);
    document["app"] = json!({ "name": "Another" });
    document
}

async fn documents_may_be_longer_than_other_bodies_and_no_longer_than_their_bound(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let long = " ".repeat(120_000);
    let scripts: Vec<_> = (0..6).map(|n| script(&format!("s{n}"), &format!("{n}{long}"), &[])).collect();
    let document = document(&scripts);
    assert!(document.to_string().len() > MAX_BODY);
    deploy(&owner, "shop", &document).await.is(200);
    let mut import = document.clone();
    import["app"] = json!({ "slug": "copy", "name": "Copy" });
    let keyed = owner.clone().header("idempotency-key", "k");
    let made = keyed.post("/apps:import", import.clone()).await.is(201);
    assert_eq!(keyed.post("/apps:import", import).await.is(201), made);
    let endless = format!("{{\"format\": 1, \"scripts\": [{}]}}", " ".repeat(MAX_DOCUMENT_BYTES));
    owner.send_json("PUT", "/apps/shop/deployment", endless).await.problem(413, "body_too_large");
}

async fn a_deployment_answers_the_tag_of_what_it_led_to(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let page = |source: &str, paths: &[&str]| script("page", source, paths);
    let mut described = page("2", &["/a/:x", "/c"]);
    described["description"] = json!("Of all.");
    let mut whole = document(&[described.clone(), script("new", "3", &["/b"])]);
    whole["domains"] = json!(["other.example.com"]);
    whole["app"] = json!({ "name": "Another" });
    for wanted in [
        document(&[page("1", &["/a/:id", "/b"]), module("lib", "fn f() { 1 }")]),
        document(&[page("2", &["/a/:id", "/b"]), module("lib", "fn f() { 1 }")]),
        document(&[described]),
        whole,
        document(&[]),
    ] {
        world.clock.advance(Duration::from_secs(1));
        let at = world.clock_text();
        let done = deploy(&owner, "shop", &wanted).await;
        let tag = done.etag();
        done.is(200);
        assert_eq!(owner.get("/apps/shop/export").await.etag(), tag, "{wanted}");
        assert_eq!(deploy(&owner, "shop", &wanted).await.etag(), tag);
        let again = owner.if_match(&tag).send_json("PUT", "/apps/shop/deployment", wanted.to_string()).await.is(200);
        assert_eq!(again["changes"], json!([]));
        if wanted["app"].is_object() {
            assert_eq!(owner.get("/apps/shop").await.is(200)["updated_at"], at);
        }
    }
}

on_both! {
    ten_scripts_and_their_routes_are_live_at_once,
    a_document_with_one_error_changes_nothing_and_names_its_place,
    a_route_outlives_the_script_that_it_led_to,
    a_document_of_nothing_but_mistakes_is_told_some_of_them,
    a_list_of_too_many_is_refused_by_its_name_and_its_limit,
    whoever_may_not_deploy_is_told_so_before_anything_is_read,
    what_is_wrong_with_a_domain_is_told_by_its_place_and_in_a_trial_too,
    a_trial_of_an_import_tells_what_would_be_made_and_makes_nothing,
    an_exported_app_is_imported_as_another,
    a_deployment_needs_the_right_to_each_of_its_changes,
    documents_may_be_longer_than_other_bodies_and_no_longer_than_their_bound,
    a_deployment_answers_the_tag_of_what_it_led_to,
}
