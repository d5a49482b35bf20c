//! A change is live at once and never half.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::cloud::{Database, TestCloud};

const VISITORS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_edits_under_load_show_no_error_no_mixture_and_no_step_back() {
    edit_under_load(Database::Sqlite, 1_000).await;
}

/// Fewer: in a debug build on two busy cores an edit takes some 50 ms there, and the way from a commit to the snapshot is
/// the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_under_load_on_postgres_show_no_error_no_mixture_and_no_step_back() {
    edit_under_load(Database::postgres(), 200).await;
}

async fn edit_under_load(database: Database, edits: u64) {
    let cloud = Arc::new(TestCloud::start(database).await);
    let app = cloud.app("shop", "shop.test").await;
    let lib = cloud.script(&app, "edited", "module", &module(0)).await;
    let script = cloud.script(&app, "pair", "endpoint", r#"import "edited" as e; e::pair()"#).await;
    cloud.route(&script, "exact", "/pair", "GET").await;

    let acknowledged = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = (0..VISITORS)
        .map(|_| {
            let (cloud, acknowledged, done) = (Arc::clone(&cloud), Arc::clone(&acknowledged), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut visits, mut last) = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    let floor = acknowledged.load(Ordering::Acquire).max(last);
                    last = visit(&cloud).await;
                    assert!(last >= floor, "{last} after {floor}");
                    visits += 1;
                }
                visits
            })
        })
        .collect();
    for edit in 1..=edits {
        cloud.edit(&lib, &module(edit)).await;
        assert_eq!(visit(&cloud).await, edit, "the very next request");
        acknowledged.store(edit, Ordering::Release);
    }
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        assert!(visitor.await.unwrap() > 0);
    }
}

/// The number of the version that a visit sees whole.
async fn visit(cloud: &TestCloud) -> u64 {
    let (status, body) = cloud.visit("shop.test", "/pair").await;
    assert_eq!(status, 200, "{body}");
    let pair: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(pair["first"], pair["second"], "a mixture of two versions");
    pair["first"].as_u64().unwrap()
}

/// A module whose one version says the same number twice, with something to do in between.
fn module(number: u64) -> String {
    format!("fn pair() {{ let first = {number}; for i in 0..50 {{ }} #{{first: first, second: {number}}} }}")
}
