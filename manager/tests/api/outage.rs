//! With the store away: admin calls say so, and what is published goes on.

use std::time::Duration;

use picloud_manager::repo::config::position;
use picloud_manager::store::Store;
use picloud_manager::{ManagerConfig, PublishTiming};
use serde_json::json;
use sqlx::Executor;

use crate::test_store::TestStore;
use crate::world::{PASSWORD, World, config, id};

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
    tokio::time::timeout(Duration::from_secs(5), changed).await.unwrap();
}

async fn a_shut_down_manager_leaves_the_snapshot_serving_and_publishes_nothing_more(store: &Store) {
    let (mut world, spare) = (World::start(store).await, World::start(store).await);
    let owner = world.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    std::mem::replace(&mut world.manager, spare.manager).shutdown().await;
    let late = owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "\"changed\"" })).await;
    late.problem(503, "not_live_yet");
    assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
}

/// Polls only in the next life of a test.
const NEVER: Duration = Duration::from_secs(60 * 60);

fn patient(patience: Duration) -> ManagerConfig {
    ManagerConfig { publish_timing: PublishTiming { poll: NEVER, patience }, ..config() }
}

/// Returns once the data plane answers so.
async fn until_it_answers(world: &World, expected: &str) {
    let answered = async { while world.fetch("GET", "http://localhost/").await != expected {} };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("it is published");
}

/// A change that another node made has the whole app read, domains included, of which saving a script reads nothing.
const HIDE: &str = "INSERT INTO config_changes (version, kind, id) SELECT version + 1, 'app', apps.id FROM config_version, apps; \
    UPDATE config_version SET version = version + 1; ALTER TABLE domains RENAME TO hidden";
const SHOW: &str = "ALTER TABLE hidden RENAME TO domains";

async fn a_change_that_cannot_be_published_in_time_is_kept_and_told_not_to_be_live(test: &TestStore) {
    let world = World::start_with(&test.store, patient(Duration::from_millis(300))).await;
    let owner = world.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    let path = format!("/scripts/{}", id(&script));
    test.tamper(HIDE).await;
    let kept = owner.patch(&path, json!({ "source": "\"changed\"" })).await;
    assert!(!kept.headers.contains_key("retry-after"), "nothing is to be repeated");
    kept.problem(503, "not_live_yet");
    assert_eq!(owner.get(&path).await.is(200)["source"], "\"changed\"");
    assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
    test.tamper(SHOW).await;
    until_it_answers(&world, "changed").await;
}

async fn a_change_waits_for_a_store_that_cannot_be_read_for_a_moment(test: &TestStore) {
    let world = World::start_with(&test.store, patient(Duration::from_secs(60))).await;
    let owner = world.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    test.tamper(HIDE).await;
    let committed = async || position(&mut test.store.read().await.unwrap()).await.unwrap();
    let before = committed().await;
    let change = tokio::spawn(async move {
        owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "\"changed\"" })).await
    });
    while committed().await == before {}
    test.tamper(SHOW).await;
    change.await.unwrap().is(200);
    assert_eq!(world.fetch("GET", "http://localhost/").await, "changed");
}

async fn a_store_that_went_back_and_came_as_far_again_is_published_as_it_is(test: &TestStore) {
    let world = World::start_with(&test.store, patient(Duration::from_secs(60))).await;
    let owner = world.owner().await;
    let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
    owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": "\"lost\"" })).await.is(200);
    assert_eq!(world.fetch("GET", "http://localhost/").await, "lost");
    // As after a failover to a database that had not got that change, and got another one by another node.
    test.tamper("UPDATE scripts SET source = '\"kept\"'; UPDATE config_changes SET stamp = 7 WHERE version = (SELECT version FROM config_version); UPDATE config_version SET stamp = 7").await;
    owner.make_app("another").await;
    assert_eq!(world.fetch("GET", "http://localhost/").await, "kept");
}

#[test]
fn on_postgres_a_node_is_told_of_the_changes_of_another_also_after_its_connection_was_lost() {
    crate::run(async || {
        let test = TestStore::postgres().await;
        let (here, there) = (World::start_with(&test.store, patient(NEVER)).await, World::start(&test.store).await);
        let owner = there.owner().await;
        let script = owner.get("/scripts?app=default").await.is(200)["items"][0].clone();
        for source in ["\"one\"", "\"two\"", "\"three\"", "\"four\""] {
            if source == "\"three\"" {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND query LIKE 'LISTEN%'";
                assert!(test.pg_connection().await.execute(cut).await.unwrap().rows_affected() > 0);
            }
            owner.patch(&format!("/scripts/{}", id(&script)), json!({ "source": source })).await.is(200);
            until_it_answers(&here, source.trim_matches('"')).await;
        }
    });
}

on_both! {
    with_the_store_away_admin_calls_are_503_and_endpoints_answer,
    a_change_of_another_node_is_published_here,
    a_shut_down_manager_leaves_the_snapshot_serving_and_publishes_nothing_more,
}

mod with_damage {
    use super::{
        a_change_that_cannot_be_published_in_time_is_kept_and_told_not_to_be_live,
        a_change_waits_for_a_store_that_cannot_be_read_for_a_moment,
        a_store_that_went_back_and_came_as_far_again_is_published_as_it_is,
    };

    on_both! {
        damaged:
        a_change_that_cannot_be_published_in_time_is_kept_and_told_not_to_be_live,
        a_change_waits_for_a_store_that_cannot_be_read_for_a_moment,
        a_store_that_went_back_and_came_as_far_again_is_published_as_it_is,
    }
}
