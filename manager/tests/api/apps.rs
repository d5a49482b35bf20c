//! Apps and their domains.

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use serde_json::json;

use crate::world::{World, id};

async fn an_app_is_made_found_renamed_and_deleted(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let made = owner.post("/apps", json!({ "slug": "shop", "name": " My shop " })).await;
    let etag = made.etag();
    let app = made.is(201);
    assert_eq!((app["slug"].as_str(), app["name"].as_str()), (Some("shop"), Some("My shop")));
    assert_eq!(app["my_role"], "app_admin");
    assert_eq!(app["my_capabilities"].as_array().unwrap().len(), 15);
    for address in [id(&app), "shop"] {
        let found = owner.get(&format!("/apps/{address}")).await;
        assert_eq!(found.etag(), etag);
        assert_eq!(found.is(200), app);
    }
    let renamed = owner.patch("/apps/shop", json!({ "name": "Store" })).await;
    assert_ne!(renamed.etag(), etag);
    assert_eq!(renamed.is(200)["name"], "Store");
    owner.if_match(&etag).patch("/apps/shop", json!({ "name": "Old" })).await.problem(412, "precondition_failed");
    owner.if_match(&etag).delete("/apps/shop").await.problem(412, "precondition_failed");
    owner.delete("/apps/shop").await.is(204);
    owner.get("/apps/shop").await.problem(404, "not_found");
    owner.delete("/apps/shop").await.problem(404, "not_found");
}

async fn bad_apps_are_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let fields = [
        (json!({ "slug": "Shop", "name": "x" }), "slug"),
        (json!({ "slug": "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a", "name": "x" }), "slug"),
        (json!({ "slug": "shop", "name": "" }), "name"),
        (json!({ "slug": "shop", "name": "a\u{0}b" }), "name"),
        (json!({ "slug": "shop", "name": 7 }), "name"),
        (json!({ "slug": "shop" }), "name"),
        (json!({ "slug": "shop", "name": "x", "owner": "me" }), "owner"),
    ];
    for (body, field) in fields {
        assert_eq!(owner.post("/apps", body.clone()).await.invalid_fields(), [field], "{body}");
    }
    assert_eq!(owner.patch("/apps/default", json!({ "slug": "Other" })).await.invalid_fields(), ["slug"]);
    owner.post("/apps", json!({ "slug": "default", "name": "x" })).await.problem(409, "slug_taken");
    assert_eq!(owner.get("/apps").await.is(200)["items"].as_array().unwrap().len(), 1);
}

async fn apps_are_listed_in_pages(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    for n in 0..4 {
        owner.make_app(&format!("app-{n}")).await;
    }
    let (mut slugs, mut path) = (Vec::new(), "/apps?limit=2".to_owned());
    for expected in [2, 2, 1] {
        let page = owner.get(&path).await.is(200);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), expected);
        slugs.extend(items.iter().map(|app| app["slug"].as_str().unwrap().to_owned()));
        path = format!("/apps?limit=2&cursor={}", page["next_cursor"].as_str().unwrap_or("end"));
    }
    assert!(path.ends_with("end"), "the last page has no cursor");
    slugs.sort();
    assert_eq!(slugs, ["app-0", "app-1", "app-2", "app-3", "default"]);
    assert_eq!(owner.get("/apps?limit=100000").await.is(200)["items"].as_array().unwrap().len(), 5);
    for (query, field) in [("limit=0", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor"), ("page=2", "page")] {
        assert_eq!(owner.get(&format!("/apps?{query}")).await.invalid_fields(), [field], "{query}");
    }
}

async fn every_list_comes_in_pages_and_knows_its_parameters(store: &Store) {
    let world = World::start(store).await;
    let (owner, _second) = (world.owner().await, world.owner().await);
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    owner.make_endpoint(&app, "b", "1").await;
    for n in 0..2 {
        owner.make_domain(&app, &format!("s{n}.example.com")).await;
        owner.make_route(&script, &format!("/{n}")).await;
    }
    let of_script = format!("/scripts/{}/routes", id(&script));
    for path in ["/apps", "/apps/shop/domains", "/apps/shop/routes", &of_script, "/auth/me/sessions"] {
        let all = owner.get(path).await.is(200);
        assert!(all["next_cursor"].is_null(), "{path}");
        let first = owner.get(&format!("{path}?limit=1")).await.is(200);
        let second = format!("{path}?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
        let second = owner.get(&second).await.is(200);
        assert!(second["next_cursor"].is_null(), "{path}");
        assert_eq!(all["items"], json!([first["items"][0], second["items"][0]]), "{path}");
        for (query, field) in [("limit=0", "limit"), ("cursor=x", "cursor"), ("page=2", "page")] {
            assert_eq!(owner.get(&format!("{path}?{query}")).await.invalid_fields(), [field], "{path} {query}");
        }
    }
}

async fn an_app_with_scripts_goes_only_by_force_and_then_whole(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    owner.make_module(&app, "m", "fn f() { 1 }").await;
    let route = owner.make_route(&script, "/").await;
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "1");
    let refused = owner.delete("/apps/shop").await.problem(409, "has_scripts");
    assert_eq!(refused["script_count"], 2);
    owner.delete("/apps/shop?force=true").await.is(204);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "unknown_host");
    owner.get(&format!("/scripts/{}", id(&script))).await.problem(404, "not_found");
    owner.get(&format!("/routes/{}", id(&route))).await.problem(404, "not_found");
    let again = owner.make_app("shop").await;
    owner.make_domain(&again, "shop.example.com").await;
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "no_route");
}

async fn a_domain_serves_from_its_claim_to_its_release(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let script = owner.make_endpoint(&app, "a", "ctx.request.host").await;
    owner.make_route(&script, "/").await;
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "unknown_host");
    let domain = owner.make_domain(&app, "SHOP.example.com.").await;
    assert_eq!(domain["shape_key"], "shop.example.com");
    assert_eq!(domain["certificate"], json!(null));
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "shop.example.com");
    let wildcard = owner.make_domain(&app, "{tenant}.shop.example.com").await;
    assert_eq!(wildcard["shape_key"], "*.shop.example.com");
    assert_eq!(world.fetch("GET", "http://a.shop.example.com/").await, "a.shop.example.com");
    let list = owner.get("/apps/shop/domains").await.is(200);
    assert_eq!(list["items"], json!([domain, wildcard]));
    owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await.is(204);
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "unknown_host");
    owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await.problem(404, "not_found");
}

async fn what_cannot_be_claimed_is_refused(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let claim = |pattern: &'static str| {
        let owner = owner.clone();
        async move { owner.post("/apps/shop/domains", json!({ "pattern": pattern })).await }
    };
    for bad in ["", "a b", "http://a.example.com", "a.example.com:80", "a.example.com/x", "*.*.example.com", "a@b"] {
        assert_eq!(claim(bad).await.invalid_fields(), ["pattern"], "{bad}");
    }
    for suffix in ["com", "co.uk", "*.com"] {
        claim(suffix).await.problem(422, "public_suffix");
    }
    // The base URL's host, a configured one, and those of loopback.
    for host in ["pi.example.com", "admin.example.net", "localhost", "127.0.0.1", "[::1]"] {
        claim(host).await.problem(409, "host_reserved");
    }
    claim("*.pi.example.com").await.is(201);
}

async fn a_wildcard_may_cover_an_admin_host_and_gets_none_of_its_requests(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "{tenant}.example.com").await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    owner.make_route(&script, "/").await;
    let outcome = async |url: &str| {
        let answer = owner.post("/routes:match", json!({ "url": url, "method": "GET" })).await.is(200);
        answer["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome("https://pi.example.com/").await, "admin");
    assert_eq!(outcome("https://ip.example.com/").await, "matched");
}

async fn only_the_default_app_may_claim_localhost(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let domains = owner.get("/apps/default/domains").await.is(200);
    owner.delete(&format!("/apps/default/domains/{}", id(&domains["items"][0]))).await.is(204);
    owner.make_app("shop").await;
    let localhost = json!({ "pattern": "localhost" });
    owner.post("/apps/shop/domains", localhost.clone()).await.problem(409, "host_reserved");
    owner.post("/apps/default/domains", localhost).await.is(201);
}

async fn two_spellings_of_a_shape_are_one_claim_named_to_those_who_may_see_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    owner.make_domain(&shop, "{tenant}.apps.example.org").await;
    let refused = owner.post("/apps/blog/domains", json!({ "pattern": "*.apps.example.org" })).await;
    let refused = refused.problem(409, "domain_claimed");
    assert_eq!(refused["conflict"]["app"], json!({ "id": id(&shop), "slug": "shop" }));
    assert_eq!(refused["conflict"]["pattern"], "{tenant}.apps.example.org");
    let ada = world.member("ada", &blog, AppRole::AppAdmin).await;
    let refused = ada.post("/apps/blog/domains", json!({ "pattern": "*.apps.example.org" })).await;
    assert_eq!(refused.problem(409, "domain_claimed")["conflict"], json!(null));
    let own = owner.post("/apps/shop/domains", json!({ "pattern": "*.apps.example.org" })).await;
    own.problem(409, "domain_claimed");
}

async fn an_overlap_needs_the_right_to_both_apps(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let (shop, blog) = (owner.make_app("shop").await, owner.make_app("blog").await);
    owner.make_domain(&shop, "*.apps.example.org").await;
    let ada = world.member("ada", &blog, AppRole::AppAdmin).await;
    let exact = json!({ "pattern": "blog.apps.example.org" });
    ada.post("/apps/blog/domains", exact.clone()).await.problem(409, "domain_claimed");
    world.join("ada", &shop, AppRole::Editor).await;
    let refused = ada.post("/apps/blog/domains", exact.clone()).await.problem(409, "domain_claimed");
    assert_eq!(refused["conflict"]["app"]["slug"], "shop");
    owner.post("/apps/blog/domains", exact).await.is(201);
    // The reverse: a wildcard over another app's exact host.
    owner.make_domain(&blog, "one.sites.example.org").await;
    let bob = world.member("bob", &shop, AppRole::AppAdmin).await;
    let wildcard = json!({ "pattern": "*.sites.example.org" });
    bob.post("/apps/shop/domains", wildcard).await.problem(409, "domain_claimed");
}

async fn a_domain_that_routes_need_stays(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let exact = owner.make_domain(&app, "a.shop.example.org").await;
    let wildcard = owner.make_domain(&app, "*.shop.example.org").await;
    let script = owner.make_endpoint(&app, "a", "1").await;
    owner.make_route(&script, "/any").await;
    let strict = json!({ "host_kind": "strict", "host": "a.shop.example.org", "path_kind": "exact", "path": "/",
        "method": "GET" });
    let route = owner.post(&format!("/scripts/{}/routes", id(&script)), strict).await.is(201);
    let path = |domain| format!("/apps/shop/domains/{}", id(domain));
    // Either claim covers the host; the last one that does must stay.
    owner.delete(&path(&exact)).await.is(204);
    let refused = owner.delete(&path(&wildcard)).await.problem(409, "domain_in_use");
    assert_eq!(refused["routes"], json!([route]));
    owner.delete(&format!("/routes/{}", id(&route))).await.is(204);
    owner.delete(&path(&wildcard)).await.is(204);
}

async fn creating_needs_the_right_to(store: &Store) {
    let world = World::start(store).await;
    let body = json!({ "slug": "shop", "name": "Shop" });
    let member = world.user("ada", InstanceRole::Member).await;
    let refused = member.post("/apps", body.clone()).await.problem(403, "forbidden");
    assert_eq!(refused["capability"], "AppCreate");
    let admin = world.user("bob", InstanceRole::Admin).await;
    let app = admin.post("/apps", body).await.is(201);
    assert_eq!(app["my_role"], "app_admin", "whoever creates an app is its app_admin");
}

on_both! {
    an_app_is_made_found_renamed_and_deleted,
    bad_apps_are_refused_by_field,
    apps_are_listed_in_pages,
    every_list_comes_in_pages_and_knows_its_parameters,
    an_app_with_scripts_goes_only_by_force_and_then_whole,
    a_domain_serves_from_its_claim_to_its_release,
    what_cannot_be_claimed_is_refused,
    a_wildcard_may_cover_an_admin_host_and_gets_none_of_its_requests,
    only_the_default_app_may_claim_localhost,
    two_spellings_of_a_shape_are_one_claim_named_to_those_who_may_see_it,
    an_overlap_needs_the_right_to_both_apps,
    a_domain_that_routes_need_stays,
    creating_needs_the_right_to,
}
