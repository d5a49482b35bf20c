//! Beginnings and ends of the process: kills, restarts, signals, draining.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::cloud::{Database, Home, OWNER, Process, TestCloud, on_both_databases, picloud, text};
use crate::raw::RawClient;

on_both_databases! {
    async fn without_the_key_of_its_store_it_does_not_start(database: Database) {
        let home = TestCloud::start(database).await.stop();
        let (path, away) = (home.dir().join("data/secret.key"), home.dir().join("away"));
        std::fs::rename(&path, &away).unwrap();
        let serve = ["serve", "--dev", "--http", "127.0.0.1:0"];
        let (started, said) = home.run(&serve, "");
        assert!(!started && said.contains("secret.key is not there") && said.contains("put it back"), "{said}");
        std::fs::write(&path, format!("{}\n", "A".repeat(43))).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (started, said) = home.run(&serve, "");
        assert!(!started && said.contains("is not this store's"), "{said}");
        std::fs::rename(&away, &path).unwrap();
        TestCloud::start_with(home, |_| {});
    }

    async fn what_was_acknowledged_outlives_kills_and_is_seeded_once(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let script = cloud.publish("`0`").await;
        for version in 1..=3 {
            cloud.edit(&script, &format!("`{version}`")).await;
            cloud.signal("-KILL");
            assert!(!cloud.ended().success());
            cloud.restart();
            assert_eq!(cloud.visit("shop.test", "/").await, (200, version.to_string()));
        }
        let apps = cloud.must(Method::GET, "apps", None).await;
        assert_eq!(apps["items"].as_array().map(Vec::len), Some(2), "the default app and ours");
        cloud.must(Method::DELETE, &format!("scripts/{script}"), None).await;
        assert_eq!(cloud.visit("shop.test", "/").await.0, 404);
    }

    async fn requests_in_flight_at_a_signal_get_their_answers_and_leave_their_records(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let app = cloud.app("shop", "shop.test").await;
        let endless = json!({"app_id": app, "name": "endless", "kind": "endpoint", "timeout_ms": 300,
            "source": "log::info(`running`); loop { }", "sandbox": {"max_operations": 50_000_000}});
        let endless = text(&cloud.must(Method::POST, "scripts", Some(endless)).await["id"]);
        let short = cloud.script(&app, "short", "endpoint", "ctx.request.text").await;
        cloud.route(&endless, "exact", "/endless", "POST").await;
        cloud.route(&short, "exact", "/short", "POST").await;

        let (mut to_endless, mut to_short) = (begin(&cloud, "/endless").await, begin(&cloud, "/short").await);
        cloud.signal("-TERM");
        until_nobody_listens(&cloud).await;
        for (client, expected) in [(&mut to_short, 200), (&mut to_endless, 504)] {
            client.write_all(b"whole").await.unwrap();
            let answer = client.read_answer().await;
            assert_eq!((answer.status, answer.header("connection")), (expected, Some("close")), "{}", answer.body);
            assert!(expected != 200 || answer.body == "whole");
        }
        assert_eq!(cloud.ended().code(), Some(0));

        cloud.restart();
        let logs = cloud.must(Method::GET, &format!("scripts/{endless}/logs"), None).await;
        assert_eq!((&logs["total"], &logs["items"][0]["logs"][0]["message"]), (&json!(1), &json!("running")), "{logs}");
        let logs = cloud.must(Method::GET, &format!("scripts/{short}/logs"), None).await;
        assert_eq!((&logs["total"], &logs["items"][0]["outcome"]), (&json!(1), &json!("success")), "{logs}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once() {
    let mut cloud = TestCloud::start(Database::Sqlite).await;
    let script = cloud.publish("`never`").await;
    cloud.route(&script, "exact", "/", "POST").await;
    // A request that never ends arriving holds the drain for as long as its deadline and the grace allow.
    let _client = begin(&cloud, "/").await;
    let begun = Instant::now();
    cloud.signal("-TERM");
    until_nobody_listens(&cloud).await;
    cloud.signal("-TERM");
    assert!(cloud.ended().success());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_start_that_waits_for_the_database() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada@{}/cloud", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut command = picloud();
    command.args(["serve", "--dev", "--http", "127.0.0.1:0", "--database-url", &url, "--data-dir"]).arg(dir.path());
    let mut process = Process::spawn(&mut command);
    let (_held, _) = silent.accept().await.unwrap();
    let begun = Instant::now();
    process.signal("-TERM");
    assert_eq!(process.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "shorter than any patience with a database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_grace_is_given_to_requests_and_to_their_executions_together() {
    let home = Home::new(Database::Sqlite);
    let file = home.dir().join("picloud.toml");
    std::fs::write(&file, "shutdown_grace_ms = 2000\n[limits.ceilings]\nmax_operations = 1000000000000\n").unwrap();
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        command.arg("--config").arg(file);
    });
    cloud.sign_in(OWNER.1).await;
    let app = cloud.app("shop", "shop.test").await;
    let endless = json!({"app_id": app, "name": "endless", "kind": "endpoint", "timeout_ms": 60_000,
        "source": "loop { }", "sandbox": {"max_operations": 1_000_000_000_000_u64}});
    let endless = text(&cloud.must(Method::POST, "scripts", Some(endless)).await["id"]);
    cloud.route(&endless, "exact", "/endless", "POST").await;
    let mut client = begin(&cloud, "/endless").await;
    client.write_all(b"whole").await.unwrap();
    let begun = Instant::now();
    cloud.signal("-TERM");
    assert!(cloud.ended().success());
    let took = begun.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_millis(3500)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let mut cloud = TestCloud::start_with(Home::new(Database::Sqlite), |command| {
        // A pipe holds 64 KiB: some 200 of these lines.
        command.stderr(Stdio::piped()).args(["--access-log", "true"]);
    });
    for _ in 0..1000 {
        assert_eq!(cloud.visit("shop.test", "/").await.0, 404);
    }
    cloud.signal("-TERM");
    assert!(cloud.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_host_became_the_dashboards_is_told_of() {
    let cloud = TestCloud::start(Database::Sqlite).await;
    cloud.app("shop", "shop.test").await;
    let home = cloud.stop();
    let log = home.dir().join("log");
    let file = File::create(&log).unwrap();
    let mut cloud = TestCloud::start_with(home, |command| {
        command.stderr(file).args(["--admin-hosts", "pi.test,shop.test"]);
    });
    cloud.signal("-TERM");
    cloud.ended();
    let log = std::fs::read_to_string(log).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("site is not served")).collect();
    assert!(matches!(told[..], [line] if line.contains("shop.test")), "{log}");
}

/// Begins a request of five bytes: it is being answered when this returns, and waits for its body.
async fn begin(cloud: &TestCloud, path: &str) -> RawClient {
    let mut client = RawClient::connect(cloud.address("http")).await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.status, 100);
    client
}

/// Waits until the drain has begun.
async fn until_nobody_listens(cloud: &TestCloud) {
    while TcpStream::connect(cloud.address("http")).await.is_ok() {}
}
