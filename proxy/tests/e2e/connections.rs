//! Many connections at once, in a process that may open few files.

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
