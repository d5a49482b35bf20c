//! What the listeners do with bytes, good and bad, through real sockets: framing, limits, deadlines, keep-alive and
//! drain, with a handler that only echoes.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::time::Duration;

use picloud_proxy::io::IoLimits;
use support::echo::EchoServer;
use support::raw::{RawClient, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_request_is_answered_with_length_and_date_and_the_connection_goes_on() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.write_all(b"POST /a?b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await.unwrap();
        let answer = client.read_answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, "POST /a?b abc");
        assert_eq!(answer.header("content-length"), Some("13"));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert!(answer.header("date").is_some());
        assert_eq!(answer.header("server"), None);
    }
}

#[tokio::test]
async fn chunked_bodies_are_put_together_wherever_the_network_cuts_them() {
    let server = EchoServer::start().await;
    let request = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nt: r\r\n\r\n";
    let mut client = server.connect().await;
    for cut in 1..request.len() {
        client.write_all(&request[..cut]).await.unwrap();
        client.all_read().await;
        client.write_all(&request[cut..]).await.unwrap();
        let answer = client.read_answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "POST / abcde"), "cut at {cut}");
    }
}

#[tokio::test]
async fn requests_of_every_framing_follow_one_another_wherever_the_network_cuts_them() {
    let server = EchoServer::start().await;
    let requests = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc\
        GET /2 HTTP/1.1\r\nhost: x\r\n\r\n\
        POST /3 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        POST /4 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n\
        POST /5 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nde";
    let mut client = server.connect().await;
    for cut in (1..requests.len()).step_by(3) {
        client.write_all(&requests[..cut]).await.unwrap();
        client.all_read().await;
        client.write_all(&requests[cut..]).await.unwrap();
        for expected in ["POST /1 abc", "GET /2 ", "POST /3 abc", "POST /4 ", "POST /5 de"] {
            let answer = client.read_answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, expected), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_no_request() {
    let server = EchoServer::start().await;
    for request in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut client = server.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client.read_answer().await.status, 400, "{request:?}");
    }
}

#[tokio::test]
async fn bad_framing_is_400_and_close() {
    let server = EchoServer::start().await;
    let chunked = |body: &str| format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    for request in [
        chunked("zz\r\nabc\r\n0\r\n\r\n"),
        chunked("3\r\nabcX\r\n0\r\n\r\n"),
        chunked("-1\r\n\r\n"),
        chunked("3\r\nabc0\r\n\r\n"),
        chunked("3\nabc\r\n0\r\n\r\n"),
        chunked("fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        chunked("\r\nabc\r\n0\r\n\r\n"),
        chunked("3;a\nb\r\nabc\r\n0\r\n\r\n"),
        chunked("0\r\nGET /g HTTP/1.1\r\n\r\n"),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nhost: x\n\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n".to_owned(),
        "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n".to_owned(),
    ] {
        // What an attacker smuggles behind it must not be read as a request.
        let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let answers = send(server.address, smuggled.as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{request:?}: {answers}");
        assert!(answers.to_lowercase().contains("connection: close"), "{request:?}: {answers}");
        assert!(answers.contains("application/problem+json"), "{request:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answers}");
        assert!(!server.saw("/smuggled"), "{request:?}");
    }
}

#[tokio::test]
async fn a_chunk_that_goes_wrong_after_its_head_was_read_is_400_and_close() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(client.read_head().await.status, 100);
    client.write_all(b"3;a\nb\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = client.read_answer().await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    assert_eq!(client.read_to_end().await, "");
    assert!(!server.saw("/smuggled"));
}

#[tokio::test]
async fn a_connection_ends_whichever_line_asks_for_it() {
    let server = EchoServer::start().await;
    for lines in ["connection: close", "connection: keep-alive\r\nconnection: close", "connection: x, Close"] {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n");
        let answers = send(server.address, request.repeat(2).as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{lines}: {answers}");
        assert!(answers.to_lowercase().contains("connection: close"), "{lines}: {answers}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = EchoServer::start().await;
    let answers = send(
        server.address,
        b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nabGET /2 HTTP/1.1\r\nhost: x\r\n\r\n\
          POST /3 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n\
          GET /4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nGET /5 HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    let order: Vec<_> = ["POST /1 ab", "GET /2 ", "POST /3 c", "GET /4 "].map(|body| answers.find(body)).into();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{answers}");
    assert!(!server.saw("/5"), "{answers}");
}

#[tokio::test]
async fn what_comes_behind_a_last_request_is_taken_so_that_its_answer_can_be_read() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nGET /5 HTTP/1.1\r\n").await.unwrap();
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 200 "));
    // A connection that was reset would take nothing of it.
    client.write_all(b"host: x\r\n").await.unwrap();
    client.all_read().await;
    assert!(!server.saw("/5"));
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_become_the_next_request() {
    let server = EchoServer::start().await;
    let body = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let request = format!("POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let request = format!("{request}GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answers = send(server.address, request.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(server.saw("/next") && !server.saw("/smuggled"));
}

#[tokio::test]
async fn a_body_over_its_limit_is_413_that_the_client_gets_to_read() {
    let server = EchoServer::start().await;
    let announced =
        [b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n".to_vec(), vec![b'a'; 200_000]].concat();
    let chunks: Vec<u8> = b"1000\r\n".iter().copied().chain([b'a'; 4096]).chain(*b"\r\n").collect();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let streamed = [head, chunks.repeat(40), b"0\r\n\r\n".to_vec()].concat();
    for request in [announced, streamed] {
        let mut client = server.connect().await;
        client.write_all(&request).await.unwrap();
        let answer = client.read_answer().await;
        assert_eq!(answer.status, 413);
        assert!(answer.body.contains("\"code\":\"body_too_large\""), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let limits = IoLimits { write_timeout: Duration::from_millis(100), ..IoLimits::default() };
    let server = EchoServer::start_with(limits).await;
    let mut client = server.connect().await;
    client.write_all(format!("GET /large/{} HTTP/1.1\r\nhost: x\r\n\r\n", 24 << 20).as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.gave_up()).await.expect("it is given up");
    assert!(server.drain(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn heads_and_targets_have_a_size() {
    let server = EchoServer::start().await;
    let target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(9000));
    assert!(send(server.address, target.as_bytes()).await.starts_with("HTTP/1.1 414 "));
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(40_000));
    assert!(send(server.address, header.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let endless = format!("GET / HTTP/1.1\r\nhost: x\r\n{}", "a: b\r\n".repeat(200));
    assert!(send(server.address, endless.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let fits = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {}\r\n\r\n", "a".repeat(30_000));
    assert!(send(server.address, fits.as_bytes()).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await.unwrap();
    assert_eq!(client.read_answer().await.status, 100);
    client.write_all(b"abc").await.unwrap();
    let answer = client.read_answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "POST / abc"));
    assert_eq!(answer.header("connection"), Some("keep-alive"));

    client
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9999999\r\n\r\n")
        .await
        .unwrap();
    let answer = client.read_answer().await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));

    let other = send(server.address, b"POST / HTTP/1.1\r\nhost: x\r\nexpect: x\r\ncontent-length: 1\r\n\r\na").await;
    assert!(other.starts_with("HTTP/1.1 417 "), "{other}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed_unless_it_asks_otherwise() {
    let server = EchoServer::start().await;
    let answer = send(server.address, b"GET / HTTP/1.0\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("GET / "), "{answer}");
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n").await.unwrap();
        assert_eq!(client.read_answer().await.header("connection"), Some("keep-alive"));
    }
    let streamed = send(server.address, b"GET /stream HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n").await;
    assert!(streamed.ends_with("\r\n\r\npart1part2"), "{streamed}");
    let version = send(server.address, b"GET / HTTP/3.0\r\nhost: x\r\n\r\n").await;
    assert!(version.starts_with("HTTP/1.1 505 "), "{version}");
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_head_keeps_the_length() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    client.write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\nGET /204 HTTP/1.1\r\nhost: x\r\n\r\nGET /304 HTTP/1.1\r\nhost: x\r\n\r\nGET /205 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let head = client.read_head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("7")));
    let (no_content, not_modified, reset) =
        (client.read_head().await, client.read_head().await, client.read_head().await);
    assert_eq!((no_content.status, no_content.header("content-length")), (204, None));
    assert_eq!((not_modified.status, not_modified.header("content-length")), (304, None));
    assert_eq!((reset.status, reset.header("content-length")), (205, Some("0")));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(client.read_answer().await.body, "GET / ");
}

#[tokio::test]
async fn a_streamed_answer_arrives_in_chunks() {
    let server = EchoServer::start().await;
    let answer = send(server.address, b"GET /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.to_lowercase().contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.ends_with("5\r\npart1\r\n5\r\npart2\r\n0\r\n\r\n"), "{answer}");
}

fn hasty() -> IoLimits {
    let moment = Duration::from_millis(100);
    IoLimits { head_timeout: moment, idle_timeout: moment, body_timeout: moment, ..IoLimits::default() }
}

#[tokio::test]
async fn whoever_dawdles_is_closed() {
    let server = EchoServer::start_with(hasty()).await;
    // Nothing at all, and nothing after an answer: closed without a word.
    assert_eq!(send(server.address, b"").await, "");
    let answers = send(server.address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    // A head or a body that never ends: told why.
    let head = send(server.address, b"GET / HTTP/1.1\r\nhost: x\r\n").await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    let body = send(server.address, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na").await;
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
}

#[tokio::test]
async fn a_head_that_trickles_is_closed_though_each_byte_is_in_time() {
    let server = EchoServer::start_with(hasty()).await;
    let mut client = server.connect().await;
    let trickle = async {
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            if client.write_all(b"a").await.is_err() {
                return;
            }
            let mut seen = [0; 64];
            if let Ok(Ok(1..)) = tokio::time::timeout(Duration::ZERO, client.read(&mut seen)).await {
                assert!(seen.starts_with(b"HTTP/1.1 408 "));
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), trickle).await.expect("a trickle is cut off");
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_what_is_in_flight() {
    let server = EchoServer::start().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    idle.read_answer().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.holding().await;

    let drained = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(10)).await }
    });
    assert_eq!(idle.read_to_end().await, "");
    server.release();
    let answer = busy.read_answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(drained.await.unwrap());
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_connections_that_say_nothing() {
    let limits = IoLimits { head_timeout: Duration::from_secs(600), ..IoLimits::default() };
    let server = EchoServer::start_with(limits).await;
    let mut silent = server.connect().await;
    // Connections are accepted in order: once the second is answered, the first was accepted.
    send(server.address, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(server.drain(Duration::from_secs(10)).await);
    assert_eq!(silent.read_to_end().await, "");
}

#[tokio::test]
async fn a_drain_ends_with_its_grace() {
    let server = EchoServer::start().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.holding().await;
    assert!(!server.drain(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_drain_serves_whoever_the_kernel_had_let_in() {
    let server = EchoServer::start().await;
    // Nothing here gives way to the server between these, so it learns of the connection and of the drain at once.
    let mut waiting = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut waiting, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(server.drain(Duration::from_secs(10)).await);
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = RawClient::over(tokio::net::TcpStream::from_std(waiting).unwrap());
    let answer = waiting.read_answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream() {
    let server = EchoServer::start().await;
    let mut client = server.connect().await;
    client.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    client.read_head().await;
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), server.client_gone()).await.expect("the handler notices");
}

/// A connection from 127.0.0.`host`, if it is let in.
async fn enter(server: &EchoServer, host: u8) -> Option<RawClient> {
    let mut client = RawClient::connect_from(host, server.address).await;
    // One too many may be closed before it has asked.
    let asked = client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    if asked.is_err() || !client.is_answered().await {
        return None;
    }
    assert_eq!(client.read_answer().await.status, 200);
    Some(client)
}

#[tokio::test]
async fn a_flood_of_one_clients_connections_leaves_some_for_others() {
    let server = EchoServer::start_with(IoLimits { max_connections: 200, ..IoLimits::default() }).await;
    let mut held = Vec::new();
    for host in 1..=3 {
        while let Some(client) = enter(&server, host).await {
            held.push(client);
        }
        assert!(enter(&server, 9).await.is_some(), "another is served beside {host} that want all");
    }
    assert!(held.len() > 180, "{}", held.len());
    held.clear();
    assert!(enter(&server, 1).await.is_some(), "those that left make room");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_the_others_served() {
    let server = EchoServer::start_with(IoLimits { max_connections: 2, ..IoLimits::default() }).await;
    let mut first = enter(&server, 1).await.unwrap();
    let _second = enter(&server, 2).await.unwrap();
    assert!(enter(&server, 3).await.is_none());
    let probe = send(server.probes, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(probe.starts_with("HTTP/1.1 200 "), "probes have connections of their own: {probe}");
    first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(first.read_answer().await.status, 200);
}
