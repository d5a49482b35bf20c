//! With the store away: admin calls say so, and what is published goes on.

use picloud_manager::store::Store;
use serde_json::json;

use crate::world::{PASSWORD, World, id};

async fn with_the_store_away_admin_calls_are_503_and_endpoints_answer(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    store.close().await;
    for answer in [
        owner.get("/apps").await,
        owner.post("/apps", json!({ "slug": "shop", "name": "Shop" })).await,
        owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "1" })).await,
        world.stranger().post("/auth/login", json!({ "username": "olive", "password": PASSWORD })).await,
    ] {
        assert_eq!(answer.header("retry-after"), "2");
        answer.problem(503, "store_unavailable");
    }
    assert!(!world.manager.store_reachable().await);
    assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
    let headers = owner.request("GET", "/").body(()).unwrap();
    let asked = world.manager.may_invoke(headers.headers(), &owner.peer, id(&script).parse().unwrap()).await;
    assert!(asked.is_err(), "who may run it cannot be told");
}

async fn a_change_of_another_node_is_published_here(store: &Store) {
    let (here, there) = (World::start(store).await, World::start(store).await);
    let owner = there.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "\"changed\"" })).await.is(200);
    assert_eq!(there.fetch("GET", "http://localhost/").await, "changed");
    let changed = async { while here.fetch("GET", "http://localhost/").await != "changed" {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), changed).await.unwrap();
}

async fn a_shut_down_manager_leaves_the_snapshot_serving(store: &Store) {
    let World { manager, snapshot, .. } = World::start(store).await;
    let version = snapshot.load().version();
    manager.shutdown().await;
    assert_eq!(snapshot.load().version(), version);
    assert!(version > 0 && store.is_reachable().await);
}

on_both! {
    with_the_store_away_admin_calls_are_503_and_endpoints_answer,
    a_change_of_another_node_is_published_here,
    a_shut_down_manager_leaves_the_snapshot_serving,
}
