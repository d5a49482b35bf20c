//! What Prometheus is told, by whom, and who is not: through real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use picloud_shared::snapshot::Snapshot;
use support::gateway::{TestApp, TestGateway, on_large_stacks};
use support::raw::send;

fn shop() -> TestApp {
    let mut shop = TestApp::new("shop", &["shop.test"]);
    shop.route("GET", "/", "\"hello\"");
    shop.route("GET", "/throw", "throw \"on purpose\"");
    shop
}

/// GET on a connection of its own, which ends once the request is counted.
async fn get(address: SocketAddr, host: &str, path: &str) -> String {
    send(address, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await
}

async fn page(gateway: &TestGateway) -> String {
    let page = get(gateway.internal, "localhost", "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    page
}

#[track_caller]
fn tells(page: &str, line: &str) {
    assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
}

#[test]
fn requests_and_executions_are_told_and_questions_for_them_are_not_counted() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for path in ["/", "/", "/throw", "/nowhere"] {
            get(gateway.address, "shop.test", path).await;
        }
        get(gateway.address, "pi.test", "/api/v1/admin/apps").await;
        get(gateway.address, "pi.test", "/healthz").await;
        get(gateway.address, "pi.test", "/api/v1/execute/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a").await;
        page(&gateway).await;
        let page = page(&gateway).await;
        for (destination, status, count) in
            [("app", "2xx", 2), ("app", "4xx", 1), ("app", "5xx", 1), ("none", "4xx", 1), ("admin", "2xx", 2)]
        {
            let labels = format!("destination=\"{destination}\",status=\"{status}\"");
            tells(&page, &format!("picloud_http_requests_total{{{labels}}} {count}"));
        }
        tells(&page, "picloud_http_request_duration_seconds_count{destination=\"app\"} 4");
        tells(&page, "picloud_executions_total{app=\"shop\",outcome=\"success\"} 2");
        tells(&page, "picloud_executions_total{app=\"shop\",outcome=\"error\"} 1");
        tells(&page, "picloud_execution_duration_seconds_count{app=\"shop\"} 3");
        tells(&page, "picloud_executions_running 0");
        tells(&page, "picloud_workers 2");
        tells(&page, "picloud_execution_records_dropped_total 5");
        tells(&page, "picloud_certificates{state=\"valid\"} 3");
        tells(&page, "picloud_snapshot_version 1");

        // An app that is gone leaves nothing behind.
        let gone = gateway.snapshot.load().apps().map(|app| app.app().id).next().unwrap();
        let without: Arc<Snapshot> = Arc::new(gateway.snapshot.load().with_apps(2, [(gone, None)]));
        gateway.snapshot.store(without);
        let page = self::page(&gateway).await;
        tells(&page, "picloud_snapshot_version 2");
        assert!(!page.contains("app=\"shop\""), "{page}");
    });
}

#[test]
fn nobody_is_told_by_a_listener_of_the_public() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for host in ["shop.test", "pi.test", "localhost", "127.0.0.1", "unknown.test"] {
            for address in [gateway.address, gateway.redirect] {
                let answer = get(address, host, "/metrics").await;
                assert!(!answer.contains("picloud_") && !answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
            }
        }
        let posted = send(gateway.internal, b"POST /metrics HTTP/1.0\r\ncontent-length: 0\r\n\r\n").await;
        assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    });
}

#[test]
fn without_the_store_all_else_is_told() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        gateway.cut_store();
        let page = page(&gateway).await;
        tells(&page, "picloud_store_reachable 0");
        tells(&page, "picloud_store_writable 0");
        assert!(page.contains("picloud_workers 2") && !page.contains("picloud_certificates{"), "{page}");
    });
}
