//! What Prometheus is told of a running `picloud`, certificates among it, and that the documentation speaks of nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use picloud_shared::clock::{Clock, SystemClock, Timestamp};
use reqwest::Method;
use serde_json::json;

use crate::certificate_troubles::until;
use crate::certificates::start_with_internal;
use crate::cloud::{Demands, Home, OWNER, PATIENCE, Pebble, TestCloud, on_both_databases, text};

/// The metrics that a text names, without what a histogram or a sample adds to its name.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with("picloud_") || word.starts_with("process_")).map(base).collect()
}

/// What a page tells of a series without labels.
fn value(page: &str, series: &str) -> f64 {
    let told = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    told.and_then(|told| told.parse().ok()).unwrap_or_else(|| panic!("{series} is not in\n{page}"))
}

fn base(word: &str) -> &str {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_is_told_and_nothing_else() {
    let pebble = Pebble::start(Demands::default()).await;
    let (cloud, internal) = start_with_internal(&pebble).await;
    let page = async || {
        let answer = reqwest::get(format!("{internal}/metrics")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    let app = cloud.app("shop", "shop.example.com").await;
    cloud.must(Method::POST, "apps/shop/domains", Some(json!({ "pattern": "shop.localhost" }))).await;
    let script = cloud.script(&app, "main", "endpoint", "\"sold\"").await;
    cloud.route(&script, "exact", "/", "GET").await;
    let valid = until(&cloud, "shop.example.com", |found| found["state"] == "valid").await;
    assert_eq!(cloud.visit("shop.example.com", "/").await, (200, "sold".to_owned()));

    let ends: Timestamp = text(&valid["not_after"]).parse().unwrap();
    let attempts = format!("authority=\"{}\",outcome=\"succeeded\"", pebble.directory());
    let lines = [
        format!("picloud_certificate_attempts_total{{{attempts}}} 1"),
        format!(
            "picloud_certificate_not_after_timestamp_seconds{{name=\"shop.example.com\"}} {}",
            ends.as_millis() / 1000
        ),
        "picloud_executions_total{app=\"shop\",outcome=\"success\"} 1".to_owned(),
        "picloud_store_writable 1".to_owned(),
    ];
    // What is served follows what is stored within moments.
    let begun = Instant::now();
    let told = loop {
        let page = page().await;
        let missing = lines.iter().find(|line| !page.lines().any(|found| found == **line));
        match missing {
            None => break page,
            Some(line) => assert!(begun.elapsed() < PATIENCE, "{line} is not in\n{page}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let documented = std::fs::read_to_string("../docs/metrics.md").unwrap();
    assert_eq!(names(&documented), names(&told));
    for shown in ["prometheus/alerts.yml", "grafana/picloud.json"] {
        let shown = std::fs::read_to_string(format!("../deploy/{shown}")).unwrap();
        assert!(names(&shown).is_subset(&names(&told)), "{:?}", names(&shown).difference(&names(&told)));
        assert!(names(&shown).len() > 10, "it shows next to nothing");
    }
    let drawn = std::fs::read_to_string("../deploy/grafana/picloud.json").unwrap();
    assert!(names(&told).is_subset(&names(&drawn)), "{:?} is drawn nowhere", names(&told).difference(&names(&drawn)));
    let now = SystemClock.now().as_millis() as f64 / 1000.0;
    assert!((now - value(&told, "process_start_time_seconds")).abs() < 600.0, "{told}");
    assert!(value(&told, "process_open_fds") < value(&told, "process_max_fds"), "{told}");
    assert!(value(&told, "picloud_disk_free_bytes") <= value(&told, "picloud_disk_size_bytes"), "{told}");
    assert!(!cloud.visit("localhost", "/metrics").await.1.contains("picloud_"), "the public is told nothing");
}

on_both_databases! {
    async fn who_is_near_a_quota_what_failed_and_what_waits_is_told_of(database: Database) {
        let mut cloud = TestCloud::start_with(Home::new(database), |command| {
            command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
            command.env("PICLOUD_INTERNAL", "127.0.0.1:0").env("PICLOUD_KV_MAX_KEYS", "5");
        });
        cloud.sign_in(OWNER.1).await;
        let app = cloud.app("shop", "shop.test").await;
        for key in 0..4 {
            cloud.must(Method::PUT, &format!("apps/shop/kv/default/{key}"), Some(json!({ "value": key }))).await;
        }
        let failing = cloud.script(&app, "failing", "endpoint", "throw 1").await;
        cloud.trigger(&failing, "queue", json!({ "queue": "broken" }), json!({ "max_attempts": 1 })).await;
        let failed = cloud.send("broken", json!(1)).await;
        cloud.until_event_is(&failed, "dead").await;
        // Nobody handles it.
        let waiting = cloud.send("idle", json!(1)).await;
        let waiting = cloud.must(Method::GET, &format!("apps/shop/events/{waiting}"), None).await;
        let since: Timestamp = text(&waiting["created_at"]).parse().unwrap();
        // It is looked at a start, and each minute.
        cloud.signal("-TERM");
        cloud.ended();
        cloud.restart();
        let internal = format!("{}/metrics", cloud.internal());
        let lines = [
            "picloud_app_quota_used_ratio{app=\"shop\",quota=\"kv_max_keys\"} 0.8".to_owned(),
            "picloud_dead_letters_unresolved{app=\"shop\"} 1".to_owned(),
            format!("picloud_oldest_event_timestamp_seconds{{app=\"shop\"}} {}", since.as_millis() / 1000),
        ];
        let begun = Instant::now();
        loop {
            let page = reqwest::get(&internal).await.unwrap().text().await.unwrap();
            let Some(missing) = lines.iter().find(|line| !page.lines().any(|found| found == **line)) else { break };
            assert!(begun.elapsed() < PATIENCE, "{missing} is not in\n{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
