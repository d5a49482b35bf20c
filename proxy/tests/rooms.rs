//! Memory that all clients share, through real sockets: what arrives slowly and what is taken slowly has room, none of it all of the
//! room, and requests without a body are served beside it.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use picloud_proxy::io::IoLimits;
use support::echo::EchoServer;
use support::raw::{RawClient, send};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn bodies_that_arrive_in_parts_share_one_room_and_leave_it() {
    let limits = IoLimits { body_memory_bytes: 200_000, ..IoLimits::default() };
    let server = EchoServer::start_with(limits).await;
    let body = |bytes: usize| {
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}{bytes:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(bytes))
    };
    for (bytes, status) in [(40_000, 200), (60_000, 503), (40_000, 200), (60_000, 503), (40_000, 200)] {
        let answer = send(server.address, body(bytes).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {}", &answer[..200]);
        assert_eq!(answer.to_lowercase().contains("\nretry-after: 1\r"), status == 503, "{bytes}");
    }
}

#[tokio::test]
async fn a_client_that_uploads_all_it_may_leaves_room_for_others() {
    let server = EchoServer::start_with(IoLimits { body_memory_bytes: 200_000, ..IoLimits::default() }).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n9c40\r\n";
    let mut greedy = server.connect().await;
    greedy.write_all(format!("{head}{}", "a".repeat(39_000)).as_bytes()).await.unwrap();
    greedy.all_read().await;
    let upload = format!("{head}{}\r\n0\r\n\r\n", "a".repeat(40_000));
    let mut again = server.connect().await;
    again.write_all(upload.as_bytes()).await.unwrap();
    let refused = again.read_answer().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let mut other = RawClient::connect_from(2, server.address).await;
    other.write_all(upload.as_bytes()).await.unwrap();
    assert_eq!(other.read_answer().await.status, 200);
}

#[tokio::test]
async fn bodies_that_take_all_their_room_leave_requests_without_any_alone() {
    let server = EchoServer::start_with(IoLimits { body_memory_bytes: 200_000, ..IoLimits::default() }).await;
    let part =
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nc350\r\n{}", "a".repeat(49_000));
    let mut uploads = Vec::new();
    for client in 2..6 {
        let mut upload = RawClient::connect_from(client, server.address).await;
        upload.write_all(part.as_bytes()).await.unwrap();
        upload.all_read().await;
        uploads.push(upload);
    }
    let mut other = RawClient::connect_from(6, server.address).await;
    other.write_all(format!("{part}{}\r\n0\r\n\r\n", "a".repeat(1_000)).as_bytes()).await.unwrap();
    assert_eq!(other.read_answer().await.status, 503, "a fifth has no room");
    let mut other = RawClient::connect_from(7, server.address).await;
    let lines = "a-header-of-a-browser: with what it has to say of itself\r\n".repeat(20);
    other.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n{lines}\r\n").as_bytes()).await.unwrap();
    assert_eq!(other.read_answer().await.status, 200);
}

#[tokio::test]
async fn a_small_request_is_served_whatever_room_there_is() {
    let server = EchoServer::start_with(IoLimits { head_memory_bytes: 0, ..IoLimits::default() }).await;
    for (bytes, status) in [(1_000, 200), (20_000, 503)] {
        let mut client = server.connect().await;
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(bytes));
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(client.read_answer().await.status, status, "{bytes}");
    }
}

#[tokio::test]
async fn heads_that_arrive_slowly_share_the_room_of_their_client() {
    let server = EchoServer::start_with(IoLimits { head_memory_bytes: 200_000, ..IoLimits::default() }).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "a".repeat(20_000));
    let mut slow = server.connect().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.all_read().await;
    let mut again = server.connect().await;
    again.write_all(head.as_bytes()).await.unwrap();
    let refused = again.read_answer().await;
    assert_eq!(
        (refused.status, refused.header("retry-after"), refused.header("connection")),
        (503, Some("1"), Some("close"))
    );
    let whole = format!("{head}\r\n\r\n");
    let mut other = RawClient::connect_from(2, server.address).await;
    other.write_all(whole.as_bytes()).await.unwrap();
    assert_eq!(other.read_answer().await.status, 200);
    slow.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(slow.read_answer().await.status, 200);
    let mut again = server.connect().await;
    again.write_all(whole.as_bytes()).await.unwrap();
    assert_eq!(again.read_answer().await.status, 200, "the room is free again");
}

#[tokio::test]
async fn large_answers_that_are_being_sent_have_a_room_and_leave_it() {
    const LARGE: usize = 24 << 20;
    let server = EchoServer::start_with(IoLimits { answer_memory_bytes: 5 * LARGE, ..IoLimits::default() }).await;
    let ask = format!("GET /hold/large/{LARGE} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut slow = server.connect().await;
    slow.write_all(ask.as_bytes()).await.unwrap();
    server.holding().await;
    server.release();
    // It takes the head, and nothing of what follows.
    assert_eq!(slow.read_head().await.status, 200);

    let large = format!("GET /large/{LARGE} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut again = server.connect().await;
    again.write_all(large.as_bytes()).await.unwrap();
    let refused = again.read_answer().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.body.contains("\"code\":\"overloaded\""), "{}", refused.body);
    again.write_all(b"GET /large/65536 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(again.read_answer().await.body.len(), 65_536, "small answers need no room");
    again.write_all(large.replace("GET", "HEAD").as_bytes()).await.unwrap();
    assert_eq!(again.read_head().await.status, 200, "nor do those without a body");
    let mut other = RawClient::connect_from(2, server.address).await;
    other.write_all(large.as_bytes()).await.unwrap();
    assert_eq!(other.read_answer().await.body.len(), LARGE);

    drop(slow);
    server.gave_up().await;
    again.write_all(large.as_bytes()).await.unwrap();
    assert_eq!(again.read_answer().await.body.len(), LARGE);
}
