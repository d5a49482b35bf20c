//! Many connections at once, in a process that may open few files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::cloud::{Database, Home, OWNER, TestCloud, with_open_files};
use crate::raw::RawClient;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_connections_need_no_higher_soft_limit_of_open_files() {
    let cloud = limited(64, 2000).await;
    assert_eq!(hold(&cloud, 300).await.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_of_connections_leaves_files_for_a_write() {
    let cloud = limited(64, 400).await;
    let mut held = hold(&cloud, 300).await;
    assert!((100..=144).contains(&held.len()), "{} are answered", held.len());
    let last = held.last_mut().unwrap();
    let credentials = json!({"username": OWNER.0, "password": OWNER.1}).to_string();
    let head = format!(
        "POST /api/v1/admin/auth/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        credentials.len()
    );
    last.write_all(format!("{head}{credentials}").as_bytes()).await.unwrap();
    let answer = last.read_answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Idle connections, and as many whose heads never end.
const EACH: usize = 5_000;

/// What a connection may hold, idle or slow: the budget of an idle one.
const CONNECTION_BYTES: u64 = 40 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_and_slow_connections_leave_others_served_and_hold_little() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * EACH as u64 + 512;
    assert!(limit.maximum.is_none_or(|most| most >= wanted), "this test needs {wanted} open files: raise `ulimit -Hn`");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    let mut cloud = TestCloud::start_with(Home::new(Database::Sqlite), |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        // All are there at once, however long it takes to open them.
        for setting in ["PICLOUD_REQUEST_HEAD_TIMEOUT_MS", "PICLOUD_IDLE_TIMEOUT_MS"] {
            command.env(setting, "600000");
        }
    });
    cloud.sign_in(OWNER.1).await;
    let before = cloud.resident_bytes();
    let mut held = Vec::new();
    for number in 0..2 * EACH {
        let mut client = RawClient::connect_from((2 + number % 50) as u8, cloud.address("http")).await;
        if number % 2 == 0 {
            client.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            assert_eq!(client.read_answer().await.status, 200);
        } else {
            client.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await.unwrap();
        }
        held.push(client);
    }
    let grown = cloud.resident_bytes().saturating_sub(before);
    assert!(grown < held.len() as u64 * CONNECTION_BYTES, "{grown} bytes for {} connections", held.len());
    let app = cloud.app("shop", "shop.test").await;
    let script = cloud.script(&app, "page", "endpoint", "\"served\"").await;
    cloud.route(&script, "exact", "/", "GET").await;
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "served".to_owned()));
    // The slow ones are waited for, and each that comes to its end is answered.
    for client in held.iter_mut().skip(1).step_by(1_000) {
        client.write_all(b"alhost\r\n\r\n").await.unwrap();
        assert_eq!(client.read_answer().await.status, 200);
    }
}

/// A cloud with an owner, in a process that may open only so many files.
async fn limited(soft: u32, hard: u32) -> TestCloud {
    TestCloud::start_with(Home::new(Database::Sqlite), |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        *command = with_open_files(command, soft, hard);
    })
}

/// Opens connections, and keeps those that are answered.
async fn hold(cloud: &TestCloud, count: usize) -> Vec<RawClient> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut client = RawClient::connect(cloud.address("http")).await;
        // One too many may be closed before it has asked.
        let asked = client.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        if asked.is_ok() && client.is_answered().await {
            assert_eq!(client.read_answer().await.status, 200);
            held.push(client);
        }
    }
    held
}
