//! How much one app may publish, and that a change costs by what it changes.

use std::sync::Arc;

use picloud_manager::repo::domains::{self, Domain};
use picloud_manager::repo::routes::{self, StoredRoute};
use picloud_manager::repo::scripts::{self, Script};
use picloud_manager::store::Store;
use picloud_shared::id::{AppId, DomainId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::route::Route;
use picloud_shared::script::ScriptSource;
use serde_json::{Value, json};

use crate::world::{Client, World, id};

/// The script as it is stored.
async fn stored(store: &Store, script: &Value) -> Script {
    let id = id(script).parse().unwrap();
    scripts::find(&mut store.read().await.unwrap(), id).await.unwrap().unwrap()
}

/// Stores as many more scripts of that source beside one.
async fn fill(world: &World, like: &Value, count: usize, source: &str) {
    let like = stored(&world.store, like).await;
    let source: ScriptSource = source.parse().unwrap();
    let mut tx = world.store.begin().await.unwrap();
    for n in 0..count {
        let mut script = Script { source: source.clone(), ..like.clone() };
        script.meta.id = ScriptId::generate(like.meta.created_at);
        script.meta.name = format!("filler-{n}").parse().unwrap();
        scripts::insert(&mut tx, &script, None).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn make(owner: &Client, app: &Value, name: &str, source: &str) -> crate::world::Answer {
    let body = json!({ "app_id": id(app), "name": name, "kind": "endpoint", "source": source });
    owner.post("/scripts", body).await
}

async fn an_app_has_a_thousand_scripts_and_no_more(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let first = owner.make_endpoint(&app, "first", "1").await;
    fill(&world, &first, 998, "1").await;
    let last = make(&owner, &app, "last", "1").await.is(201);
    let refused = make(&owner, &app, "more", "1").await.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("scripts"), &json!(1000)));
    assert_eq!(refused["errors"][0]["field"], "name");
    owner.patch(&format!("/scripts/{}", id(&first)), json!({ "source": "2" })).await.is(200);
    owner.delete(&format!("/scripts/{}", id(&last))).await.is(204);
    make(&owner, &app, "more", "1").await.is(201);
    let other = owner.make_app("blog").await;
    make(&owner, &other, "first", "1").await.is(201);
}

async fn all_sources_of_an_app_are_16_mib_and_no_more(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let small = owner.make_endpoint(&app, "small", "1").await;
    // 127 of the longest leave room for one, of which one byte is taken.
    fill(&world, &small, 127, &" ".repeat(ScriptSource::MAX_BYTES)).await;
    let room = ScriptSource::MAX_BYTES - 1;
    make(&owner, &app, "too-long", &" ".repeat(room + 1)).await.problem(422, "app_limit_reached");
    let fits = make(&owner, &app, "fits", &" ".repeat(room)).await.is(201);
    let refused = owner.patch(&format!("/scripts/{}", id(&small)), json!({ "source": "12" })).await;
    let refused = refused.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("source_bytes"), &json!(16 << 20)));
    assert_eq!(refused["errors"][0]["field"], "source");
    for source in ["2", "", "3"] {
        owner.patch(&format!("/scripts/{}", id(&small)), json!({ "source": source })).await.is(200);
    }
    // An old version that is longer than the one in its place does not fit either.
    owner.patch(&format!("/scripts/{}", id(&fits)), json!({ "source": "1" })).await.is(200);
    let taken = make(&owner, &app, "taken", &" ".repeat(room - 1)).await;
    taken.is(201);
    let restored = owner.post(&format!("/scripts/{}/versions/1/restore", id(&fits)), json!({})).await;
    restored.problem(422, "app_limit_reached");
}

async fn routes_and_domains_of_an_app_are_bounded(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let app_id: AppId = id(&app).parse().unwrap();
    let script = owner.make_endpoint(&app, "page", "1").await;
    let route = owner.make_route(&script, "/").await;
    let domain = owner.make_domain(&app, "shop.example.com").await;
    let mut tx = store.begin().await.unwrap();
    let like = routes::find(&mut tx, id(&route).parse().unwrap()).await.unwrap().unwrap();
    for n in 0..9_999 {
        let mut pattern = like.route.pattern.clone();
        pattern.path = PathPattern::parse(PathKind::Exact, &format!("/{n}")).unwrap();
        let route = Route { id: RouteId::generate(like.created_at), pattern, ..like.route.clone() };
        routes::insert(&mut tx, &StoredRoute { route, created_at: like.created_at }).await.unwrap();
    }
    for n in 0..999 {
        let pattern = format!("s{n}.example.com").parse().unwrap();
        let (id, created_at) = (DomainId::generate(like.created_at), like.created_at);
        domains::insert(&mut tx, &Domain { id, app_id, pattern, created_at }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let body = json!({ "host_kind": "any", "path_kind": "exact", "path": "/more", "method": "GET" });
    let check = json!({ "app_id": id(&app), "route": body });
    let checked = owner.post("/routes:check", check.clone()).await.is(200);
    assert_eq!((&checked["valid"], &checked["errors"][0]["field"]), (&json!(false), &json!("path")));
    let refused = owner.post(&format!("/scripts/{}/routes", id(&script)), body.clone()).await;
    let refused = refused.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("routes"), &json!(10_000)));
    owner.patch(&format!("/routes/{}", id(&route)), json!({ "path": "/moved" })).await.is(200);
    owner.delete(&format!("/routes/{}", id(&route))).await.is(204);
    assert_eq!(owner.post("/routes:check", check).await.is(200)["valid"], true);
    owner.post(&format!("/scripts/{}/routes", id(&script)), body).await.is(201);

    let refused = owner.post("/apps/shop/domains", json!({ "pattern": "more.example.com" })).await;
    let refused = refused.problem(422, "app_limit_reached");
    assert_eq!((&refused["limit"], &refused["ceiling"]), (&json!("domains"), &json!(1_000)));
    owner.delete(&format!("/apps/shop/domains/{}", id(&domain))).await.is(204);
    owner.make_domain(&app, "more.example.com").await;
}

async fn a_change_leaves_what_it_does_not_touch_where_it_is(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let app_id: AppId = id(&app).parse().unwrap();
    owner.make_domain(&app, "shop.example.com").await;
    let [one, other] = [owner.make_endpoint(&app, "one", "1").await, owner.make_endpoint(&app, "other", "2").await];
    owner.make_route(&one, "/one").await;
    owner.make_route(&other, "/other").await;
    let other_id: ScriptId = id(&other).parse().unwrap();
    let kept = || Arc::clone(world.snapshot.load().app(app_id).unwrap().script(other_id).unwrap());
    let before = kept();
    owner.patch(&format!("/scripts/{}", id(&one)), json!({ "source": "3" })).await.is(200);
    assert_eq!(world.fetch("GET", "http://shop.example.com/one").await, "3");
    owner.make_route(&one, "/more").await;
    owner.make_domain(&app, "more.example.com").await;
    owner.make_module(&app, "lib", "fn f() { 1 }").await;
    owner.delete(&format!("/scripts/{}", id(&one))).await.is(204);
    for (url, answer) in [
        ("http://more.example.com/other", "2"),
        ("http://shop.example.com/one", "no_route"),
        ("http://shop.example.com/more", "no_route"),
    ] {
        assert_eq!(world.fetch("GET", url).await, answer, "{url}");
    }
    assert!(Arc::ptr_eq(&before, &kept()));
}

on_both! {
    an_app_has_a_thousand_scripts_and_no_more,
    all_sources_of_an_app_are_16_mib_and_no_more,
    routes_and_domains_of_an_app_are_bounded,
    a_change_leaves_what_it_does_not_touch_where_it_is,
}
