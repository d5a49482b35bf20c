//! What is seen when something outside the process fails.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, PATIENCE, PostgresDatabase, TestCloud};
use crate::relay::Relay;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_database_gone_endpoints_answer_admin_writes_get_503_and_all_recovers_by_itself() {
    let mut database = PostgresDatabase::create();
    let mut relay = Relay::start(database.server()).await;
    database.go_through(relay.address());
    let cloud = TestCloud::start(Database::Postgres(database)).await;
    let script = cloud.publish("`before`").await;
    assert_eq!(cloud.visit("shop.test", "/").await.1, "before");

    relay.cut().await;
    for _ in 0..50 {
        assert_eq!(cloud.visit("shop.test", "/").await, (200, "before".to_owned()));
    }
    let (script, edit) = (format!("scripts/{script}"), json!({"source": "`after`"}));
    let refused = cloud.call(Method::PATCH, &script, Some(&edit)).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "store_unavailable");
    assert_eq!(cloud.visit("localhost", "/healthz").await, (200, "ok".to_owned()));
    let (status, ready) = cloud.visit("localhost", "/readyz").await;
    assert!(status == 200 && ready.contains("unreachable"), "{status} {ready}");
    assert_eq!(cloud.visit("shop.test", "/").await.1, "before");

    relay.mend().await;
    let begun = Instant::now();
    loop {
        let (status, problem) = cloud.api(Method::PATCH, &script, Some(edit.clone())).await;
        if status == 200 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no recovery: {status} {problem}");
    }
    assert_eq!(cloud.visit("shop.test", "/").await.1, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_disk_full_endpoints_answer_admin_writes_get_503_readiness_tells_and_all_recovers_by_itself() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    let script = cloud.publish("`before`").await;
    let health = async || {
        let (status, ready) = cloud.visit("localhost", "/readyz").await;
        assert_eq!(status, 200, "{ready}");
        serde_json::from_str::<Value>(&ready).unwrap()["store"].clone()
    };
    assert_eq!(health().await, "reachable");

    cloud.limit_files(Some(1));
    let (path, edit) = (format!("scripts/{script}"), json!({"source": "`after`"}));
    let (status, problem) = cloud.api(Method::PATCH, &path, Some(edit.clone())).await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
    assert_eq!(cloud.api(Method::GET, &path, None).await.1["source"], "`before`");
    for _ in 0..50 {
        assert_eq!(cloud.visit("shop.test", "/").await, (200, "before".to_owned()));
    }
    let until = async |expected: &str| {
        let begun = Instant::now();
        while health().await != expected {
            assert!(begun.elapsed() < PATIENCE, "never {expected}");
        }
    };
    until("not_writable").await;

    cloud.limit_files(None);
    // Nobody writes anything: what is asked finds out.
    until("reachable").await;
    cloud.edit(&script, "`after`").await;
    assert_eq!(cloud.visit("shop.test", "/").await.1, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_keeps_no_process_that_is_to_end() {
    let database = PostgresDatabase::create();
    let mut session = database.session();
    let mut cloud = TestCloud::start_with(Home::new(Database::Postgres(database)), |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        command.args(["--shutdown-grace-ms", "1000"]);
    });
    cloud.sign_in(OWNER.1).await;
    cloud.publish("`served`").await;
    // From here on a record waits for longer than anybody waits for one statement.
    session.run("BEGIN; LOCK TABLE executions IN EXCLUSIVE MODE");
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "served".to_owned()));
    let begun = Instant::now();
    cloud.signal("-TERM");
    assert_eq!(cloud.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
