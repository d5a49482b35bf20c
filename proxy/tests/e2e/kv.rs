//! What scripts keep, through the gateway of the real program and over its kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::json;

use crate::cloud::{Database, TestCloud, on_both_databases};

/// Writes the key that its address names, and then counts it.
const WRITER: &str = r#"
    let key = ctx.request.query.key;
    if ctx.request.method == "POST" { kv::set(key, "kept"); kv::incr("count", 1); }
    kv::get(key, "nothing")
"#;

on_both_databases! {
    async fn a_published_script_keeps_what_the_next_request_reads(database: Database) {
        let cloud = TestCloud::start(database).await;
        cloud.publish(r#"kv::set("n", kv::get("n", 0) + 1); `${kv::get("n")}`"#).await;
        for expected in 1..=3 {
            assert_eq!(cloud.visit("shop.test", "/").await, (200, expected.to_string()));
        }
    }

    async fn every_write_that_was_answered_is_there_after_kills_amid_them(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let script = cloud.publish(WRITER).await;
        cloud.route(&script, "exact", "/", "POST").await;
        let mut acknowledged: Vec<String> = Vec::new();
        for round in 0..3 {
            let begun = Arc::new(AtomicU32::new(0));
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let (begun, client, address) = (Arc::clone(&begun), Client::new(), cloud.address("http"));
                    tokio::spawn(async move {
                        let mut answered = Vec::new();
                        for number in 0.. {
                            let key = format!("{round}-{writer}-{number}");
                            begun.fetch_add(1, Ordering::Relaxed);
                            let request = client.post(format!("http://{address}/?key={key}")).header("host", "shop.test");
                            match request.timeout(Duration::from_secs(10)).send().await {
                                Ok(response) if response.status() == 200 => answered.push(key),
                                Ok(response) => panic!("{}", response.status()),
                                Err(_) => return answered,
                            }
                        }
                        unreachable!("the writers end when the program is killed")
                    })
                })
                .collect();
            // In the thick of it, wherever that is.
            while begun.load(Ordering::Relaxed) < 200 {
                tokio::task::yield_now().await;
            }
            cloud.signal("-KILL");
            assert!(!cloud.ended().success());
            for writer in writers {
                acknowledged.extend(writer.await.unwrap());
            }
            cloud.restart();
        }
        assert!(acknowledged.len() > 300, "{}", acknowledged.len());
        for key in &acknowledged {
            assert_eq!(cloud.visit("shop.test", &format!("/?key={key}")).await, (200, "kept".to_owned()), "{key}");
        }
        // The account agrees with what is there, and no answered write was lost from the count.
        let listed = cloud.must(Method::GET, "apps/shop/kv", None).await;
        let count = cloud.must(Method::GET, "apps/shop/kv/default/count", None).await["value"].as_u64().unwrap();
        let keys = listed["keys"].as_u64().unwrap() - 1;
        assert!(count >= acknowledged.len() as u64 && keys >= count, "{keys} {count} {}", acknowledged.len());
        assert_eq!(listed["items"], json!([{ "name": "default", "keys": keys + 1, "bytes": listed["bytes"] }]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_disk_fails_amid_a_commit_nobody_is_told_that_it_was_kept_and_all_recovers() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    let source = r#"
        if ctx.request.path == "/read" { return `${kv::get("n")}`; }
        try { `${kv::incr("n", 1)}` } catch (error) { return error.code; }
    "#;
    let script = cloud.publish(source).await;
    cloud.route(&script, "exact", "/read", "GET").await;
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "1".to_owned()));
    cloud.limit_files(Some(1));
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "unknown".to_owned()));
    assert_eq!(cloud.visit("shop.test", "/read").await, (200, "1".to_owned()));
    let entry = "apps/shop/kv/default/m";
    let (status, refused) = cloud.api(Method::PUT, entry, Some(json!({ "value": 1 }))).await;
    assert_eq!((status, &refused["code"]), (503, &json!("store_unavailable")), "{refused}");
    cloud.limit_files(None);
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "2".to_owned()));
    assert_eq!(cloud.api(Method::GET, entry, None).await.0, 404);
}
