//! What is left of a deleted app: nothing, also where the process ended in between.

use std::time::Duration;

use picloud_manager::repo::deleted_apps::{self, DeletedApp};
use picloud_manager::repo::executions::{ExecutionFilter, ExecutionsOf, count, counters};
use picloud_manager::store::Store;
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::id::AppId;
use serde_json::json;

use crate::test_store::TestStore;
use crate::world::{World, id};

/// Records and counters of an app that the log holds.
async fn left(store: &Store, app: AppId) -> (u64, usize) {
    let mut conn = store.read_logs().await.unwrap();
    let filter = ExecutionFilter { of: ExecutionsOf::App(app), outcome: None, since: None };
    let counters = counters::list_counters(&mut conn, app, Timestamp::from_millis(0)).await.unwrap();
    (count(&mut conn, &filter, 10_000).await.unwrap(), counters.len())
}

async fn until_nothing_is_left(store: &Store, app: AppId) {
    let purged = async { while left(store, app).await != (0, 0) {} };
    tokio::time::timeout(Duration::from_secs(30), purged).await.expect("the log is purged");
}

/// A shop with some executions in the log.
async fn shop(world: &World) -> AppId {
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let script = owner.make_endpoint(&app, "page", "1").await;
    owner.make_route(&script, "/").await;
    for _ in 0..3 {
        assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "1");
    }
    owner.get("/apps/shop/logs").await.is(200);
    id(&app).parse().unwrap()
}

async fn the_log_of_a_deleted_app_is_purged_and_that_of_another_stays(test: &TestStore) {
    let store = &test.store;
    let world = World::start(store).await;
    let app = shop(&world).await;
    assert_eq!(world.fetch("GET", "http://localhost/").await, "Hello World\n");
    let owner = world.owner().await;
    let default = owner.get("/apps/default").await.is(200);
    owner.get("/apps/default/logs").await.is(200);
    assert_eq!(left(store, app).await, (3, 1));
    // What is still in the writer's buffer at the deletion goes as well.
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "1");
    owner.delete("/apps/shop?force=true").await.is(204);
    until_nothing_is_left(store, app).await;
    assert_eq!(left(store, id(&default).parse().unwrap()).await, (1, 1));
    let noted = deleted_apps::list(&mut store.read().await.unwrap(), 9).await.unwrap();
    assert_eq!(
        noted.iter().map(|noted| noted.id).collect::<Vec<_>>(),
        [app],
        "runs that are under way may still report"
    );
}

async fn a_start_purges_what_a_process_that_was_killed_did_not(test: &TestStore) {
    let store = &test.store;
    let world = World::start(store).await;
    let app = shop(&world).await;
    let long_ago = AppId::generate(world.clock.now());
    // As a deletion leaves it whose process ended before the purge.
    let mut tx = store.begin().await.unwrap();
    let deleted_at = world.clock.now();
    deleted_apps::insert(&mut tx, &DeletedApp { id: app, deleted_at }).await.unwrap();
    let deleted_at = deleted_at.minus(Duration::from_secs(48 * 60 * 60));
    deleted_apps::insert(&mut tx, &DeletedApp { id: long_ago, deleted_at }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(left(store, app).await, (3, 1));
    let again = World::start(store).await;
    until_nothing_is_left(store, app).await;
    let noted = async || deleted_apps::list(&mut store.read().await.unwrap(), 9).await.unwrap();
    let forgotten = async { while noted().await.len() > 1 {} };
    tokio::time::timeout(Duration::from_secs(30), forgotten).await.expect("of long ago nothing can come any more");
    assert_eq!(noted().await[0].id, app);
    again.manager.shutdown().await;
}

async fn of_a_deleted_app_no_table_has_a_row(test: &TestStore) {
    let world = World::start(&test.store).await;
    let app = shop(&world).await;
    let owner = world.owner().await;
    for (path, body) in [
        ("env/PLACE", json!({ "value": "here" })),
        ("secrets/KEY", json!({ "value": "correct-horse-battery" })),
        ("kv/default/key", json!({ "value": 1 })),
        ("docs/books/indexes", json!({ "fields": ["title"] })),
        ("docs/books/018f6b1e-0000-7000-8000-000000000001", json!({ "document": { "title": "Emma" } })),
    ] {
        owner.send_json("PUT", &format!("/apps/shop/{path}"), body.to_string()).await.is(200);
    }
    let shop = owner.get("/apps/shop").await.is(200);
    owner.make_failing(&shop, "orders").await;
    let handler = owner.make_endpoint(&shop, "ticks", "1").await;
    let config = json!({ "expression": "* * * * * *" });
    let trigger = json!({ "script_id": id(&handler), "source": "cron", "config": config });
    owner.post("/apps/shop/triggers", trigger).await.is(201);
    owner.send_message("shop", "orders", json!(1)).await;
    owner.until_dead("shop", 1).await;
    owner.send_message("shop", "idle", json!(1)).await;
    let tables = async |wanted: fn(i64) -> bool| {
        let rows = test.rows_of_app(app.as_uuid()).await;
        rows.into_iter().filter(|(_, rows)| wanted(*rows)).map(|(table, _)| table).collect::<Vec<_>>()
    };
    // All but these, so that a new table is not forgotten here.
    let empty = ["api_keys", "certificate_attempts", "certificates", "slug_history"];
    let filled = async { while tables(|rows| rows == 0).await.len() > empty.len() {} };
    let _ = tokio::time::timeout(Duration::from_secs(10), filled).await;
    assert_eq!(tables(|rows| rows == 0).await, empty);
    owner.delete("/apps/shop?force=true").await.is(204);
    let purged = async { while tables(|rows| rows > 0).await != ["audit_log", "config_changes"] {} };
    let _ = tokio::time::timeout(Duration::from_secs(30), purged).await;
    assert_eq!(tables(|rows| rows > 0).await, ["audit_log", "config_changes"], "all is purged but that it was there");
}

#[test]
fn on_postgres_the_log_goes_with_the_app_in_one_transaction() {
    crate::run(async || {
        let test = crate::test_store::TestStore::postgres().await;
        let mut world = World::start(&test.store).await;
        let app = shop(&world).await;
        let owner = world.owner().await;
        // Without its background tasks: what is gone is gone by the deletion itself.
        let spare = World::start(&test.store).await;
        std::mem::replace(&mut world.manager, spare.manager).shutdown().await;
        assert_eq!(left(&test.store, app).await, (3, 1));
        owner.delete("/apps/shop?force=true").await.problem(503, "not_live_yet");
        assert_eq!(left(&test.store, app).await, (0, 0));
    });
}

on_both! {
    damaged:
    of_a_deleted_app_no_table_has_a_row,
    the_log_of_a_deleted_app_is_purged_and_that_of_another_stays,
    a_start_purges_what_a_process_that_was_killed_did_not,
}
