//! HTTP/2: requests and answers, limits, drain, and clients that flood, through real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod floods;
#[path = "../support/mod.rs"]
mod support;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use picloud_proxy::io::IoLimits;
use support::raw_h2::{DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, POST, RawH2};
use support::site::Site;

/// Nothing that a test waits for takes this long unless it is broken.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), happens).await.unwrap_or_else(|_| panic!("not soon: {what}"))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://shop.test{path}")).body(()).unwrap()
}

async fn assert_serves_others(site: &Site) {
    let answer = site.h2().await.send_request(get("/"), true).unwrap().0;
    assert_eq!(soon("others are served", answer).await.unwrap().status(), 200);
}

fn hasty() -> IoLimits {
    let moment = Duration::from_millis(100);
    IoLimits { idle_timeout: moment, body_timeout: moment, write_timeout: moment, ..IoLimits::default() }
}

async fn text(response: Response<h2::RecvStream>) -> String {
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        all.extend_from_slice(&part);
    }
    String::from_utf8(all).unwrap()
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("https://shop.test{path}"))
}

#[tokio::test]
async fn http_2_requests_share_a_connection() {
    let site = Site::start().await;
    let sender = site.h2().await;
    let mut answers = Vec::new();
    for n in 0..20 {
        let mut sender = sender.clone().ready().await.unwrap();
        let (answer, mut body) = sender.send_request(post(&format!("/{n}?q")).body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        answers.push(answer);
    }
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-length"], format!("POST /{n}?q abc").len().to_string());
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(text(answer).await, format!("POST /{n}?q abc"));
    }
}

#[tokio::test]
async fn http_2_answers_without_a_body_end_with_their_head() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    for (method, path, status) in [("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/", 200)] {
        let request = Request::builder().method(method).uri(format!("https://shop.test{path}")).body(()).unwrap();
        let answer = sender.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert!(answer.body().is_end_stream(), "{method} {path}");
    }
}

#[tokio::test]
async fn an_http_2_body_that_differs_from_its_announced_length_is_refused() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    for (announced, sent) in [("5", &b"abc"[..]), ("2", b"abc"), ("0", b"abc"), ("5", b"")] {
        let request = post("/mismatch").header("content-length", announced).body(()).unwrap();
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request, sent.is_empty()).unwrap();
        if !sent.is_empty() {
            let _ = body.send_data(Bytes::from_static(sent), true);
        }
        match answer.await {
            Ok(answer) => assert_eq!(answer.status().as_u16(), 400, "{announced} for {sent:?}"),
            Err(error) => assert!(error.is_reset(), "{error}"),
        }
    }
    let request = post("/right").header("content-length", "3").body(()).unwrap();
    let (answer, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), true).unwrap();
    assert_eq!(text(answer.await.unwrap()).await, "POST /right abc");
}

#[tokio::test]
async fn an_http_2_body_over_its_limit_is_413_that_the_client_gets_to_read() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    for announced in [Some("150000"), None] {
        let mut request = post("/");
        if let Some(announced) = announced {
            request = request.header("content-length", announced);
        }
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from(vec![b'a'; 150_000]), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status().as_u16(), 413);
        assert!(text(answer).await.contains("body_too_large"));
    }
}

#[tokio::test]
async fn http_2_heads_have_a_size() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    let request = post("/").header("a", "b".repeat(40_000)).body(()).unwrap();
    match sender.send_request(request, true).unwrap().0.await {
        Ok(answer) => assert_eq!(answer.status().as_u16(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
}

#[tokio::test]
async fn http_2_heads_have_a_number_of_lines() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    // One more is that of the host, as in HTTP/1.1.
    for (lines, status) in [(127, 200), (128, 431)] {
        let request = (0..lines).fold(post("/"), |request, _| request.header("a", ""));
        let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status().as_u16(), status, "{lines}");
    }
}

#[tokio::test]
async fn the_heads_of_a_clients_open_streams_share_its_room_and_leave_it() {
    // A quarter of the room holds ten of these heads with what else a stream takes, and not eleven; of the first a part is free.
    let site = Site::start_with(IoLimits { head_memory_bytes: 1_150_000, ..IoLimits::default() }).await;
    let large =
        |path| Request::get(format!("https://shop.test{path}")).header("a", "b".repeat(20_000)).body(()).unwrap();
    for round in 0..2 {
        let mut sender = site.h2().await;
        let mut held = Vec::new();
        let refused = loop {
            sender = sender.ready().await.unwrap();
            let (mut answer, _) = sender.send_request(large("/hold"), true).unwrap();
            tokio::select! {
                () = site.server.holding() => held.push(answer),
                refused = &mut answer => break refused.unwrap(),
            }
        };
        assert_eq!((held.len(), refused.status().as_u16()), (10, 503), "round {round}");
        assert_eq!(refused.headers()["retry-after"], "1");
        assert!(text(refused).await.contains("\"code\":\"overloaded\""));
        let small = sender.ready().await.unwrap().send_request(get("/"), true).unwrap().0;
        assert_eq!(soon("a small one fits", small).await.unwrap().status(), 200);
        let other = site.h2_from(2).await.send_request(large("/"), true).unwrap().0;
        assert_eq!(soon("others have their own", other).await.unwrap().status(), 200);
        // Half of them end well, the others by a reset, which the server sees with the next answer.
        for answer in held.drain(..5) {
            site.server.release();
            assert_eq!(soon("it is answered", answer).await.unwrap().status(), 200);
        }
        drop(held);
        for _ in 0..5 {
            site.server.release();
            soon("it has ended", async {
                tokio::select! { () = site.server.sent() => {}, () = site.server.gave_up() => {} }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn http_2_targets_have_a_size() {
    let site = Site::start().await;
    let request = post(&format!("/{}", "a".repeat(9_000))).body(()).unwrap();
    let answer = site.h2().await.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status().as_u16(), 414);
    assert!(text(answer).await.contains("uri_too_long"));
}

#[tokio::test]
async fn a_drain_tells_http_2_clients_and_answers_what_is_in_flight() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    let held = sender.send_request(Request::get("https://shop.test/hold").body(()).unwrap(), true).unwrap().0;
    site.server.holding().await;
    let drained = tokio::spawn({
        let server = site.server.clone();
        async move { server.drain(Duration::from_secs(10)).await }
    });
    site.server.release();
    assert_eq!(text(held.await.unwrap()).await, "released");
    drop(sender);
    assert!(drained.await.unwrap());
}

#[tokio::test]
async fn an_http_2_client_that_resets_its_stream_ends_it() {
    let site = Site::start().await;
    let mut sender = site.h2().await;
    let (answer, mut body) =
        sender.send_request(Request::get("https://shop.test/events").body(()).unwrap(), true).unwrap();
    answer.await.unwrap();
    body.send_reset(h2::Reason::CANCEL);
    tokio::time::timeout(Duration::from_secs(5), site.server.client_gone()).await.expect("the handler notices");
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed() {
    let site = Site::start_with(IoLimits { idle_timeout: Duration::from_millis(100), ..IoLimits::default() }).await;
    let stream = site.client(&["h2"]).connect(site.server.address, "shop.test").await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let answer = sender.send_request(Request::get("https://shop.test/204").body(()).unwrap(), true).unwrap().0;
    let answered = async move {
        assert_eq!(answer.await.unwrap().status(), 204);
        drop(sender);
    };
    tokio::spawn(answered);
    tokio::time::timeout(Duration::from_secs(10), connection).await.expect("the server says goodbye").unwrap();
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let site = Site::start().await;
    let answer = site.h2().await.send_request(get("/large/3000001"), true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "3000001");
    assert_eq!(text(answer).await.len(), 3_000_001);
}

#[tokio::test]
async fn a_client_that_makes_no_room_for_its_answer_loses_the_stream_only() {
    let site = Site::start_with(hasty()).await;
    let mut sender = site.h2().await;
    // What arrives is never given back, so that the window stays closed.
    let mut stuck = sender.send_request(get("/large/200000"), true).unwrap().0.await.unwrap().into_body();
    soon("it is given up", site.server.gave_up()).await;
    let broken = async {
        loop {
            match stuck.data().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    assert!(soon("the stream is reset", broken).await.is_some_and(|end| end.is_err()));
    // Its connection's window is what the client itself keeps closed; answers without a body need none.
    let answer = sender.ready().await.unwrap().send_request(get("/204"), true).unwrap().0;
    assert_eq!(soon("the next is answered", answer).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let site = Site::start_with(IoLimits { idle_timeout: Duration::from_secs(600), ..hasty() }).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut sender, mut connection) = builder.handshake::<_, Bytes>(site.h2_stream().await).await.unwrap();
    let _answer = sender.send_request(get(&format!("/hold/large/{}", 32 << 20)), true).unwrap();
    tokio::select! {
        _ = &mut connection => panic!("closed before the answer"),
        () = site.server.holding() => {}
    }
    // From here on the client reads nothing, though it made room for everything.
    site.server.release();
    soon("it is given up", site.server.gave_up()).await;
    assert!(soon("the connection is gone", site.server.drain(Duration::from_secs(9))).await);
    drop(connection);
}

#[tokio::test]
async fn a_drain_waits_for_answers_that_are_still_on_their_way() {
    // More than sockets hold of a client that reads nothing; each is handed over whole, so that its handler ends.
    const ANSWERS: usize = 400;
    let site = Site::start_with(IoLimits { max_streams: 1_000, ..IoLimits::default() }).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut sender, mut connection) = builder.handshake::<_, Bytes>(site.h2_stream().await).await.unwrap();
    let ask = async {
        let mut answers = Vec::new();
        for _ in 0..ANSWERS {
            sender = sender.clone().ready().await.unwrap();
            answers.push(sender.send_request(get("/hold/large/65536"), true).unwrap().0);
            site.server.holding().await;
        }
        answers
    };
    let answers = tokio::select! {
        _ = &mut connection => panic!("closed before the answers"),
        answers = ask => answers,
    };
    for _ in 0..ANSWERS {
        site.server.release();
    }
    for _ in 0..ANSWERS {
        soon("an answer is handed over", site.server.sent()).await;
    }
    let server = site.server.clone();
    let drained = tokio::spawn(async move { server.drain(Duration::from_secs(1_000)).await });
    // Far longer than a client gets that has nothing more to receive, on the clock of the server's timers.
    tokio::time::pause();
    for _ in 0..50 {
        tokio::time::advance(Duration::from_millis(200)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    drop(sender);
    let whole = async {
        for answer in answers {
            assert_eq!(text(answer.await.unwrap()).await.len(), 65_536);
        }
    };
    let ((), end) = soon("everything arrives", async { tokio::join!(whole, connection) }).await;
    end.unwrap();
    assert!(soon("the drain ends", drained).await.unwrap());
}

#[tokio::test]
async fn a_drain_says_goodbye() {
    let site = Site::start().await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET).await.unwrap();
    assert!(client.read_until(DATA).await.is_some());
    let server = site.server.clone();
    let drained = tokio::spawn(async move { server.drain(Duration::from_secs(10)).await });
    let goodbye = soon("a goodbye", client.read_until(GOAWAY)).await.expect("a goodbye before the end");
    assert_eq!(goodbye[4..8], [0, 0, 0, 0], "no error");
    drop(client);
    assert!(drained.await.unwrap());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_client_that_never_begins() {
    let site = Site::start_with(IoLimits { head_timeout: Duration::from_secs(600), ..IoLimits::default() }).await;
    let silent = site.h2_stream().await;
    assert_serves_others(&site).await;
    assert!(soon("a drain", site.server.drain(Duration::from_secs(9))).await);
    drop(silent);
}

#[tokio::test]
async fn a_head_that_never_ends_closes_an_idle_connection() {
    let site = Site::start_with(hasty()).await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    client.send(HEADERS, END_STREAM, 1, &GET[..5]).await.unwrap();
    assert!(soon("closed", client.read_until(GOAWAY)).await.is_some());
    soon("closed", async { while client.read().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_408() {
    let site = Site::start_with(IoLimits { idle_timeout: Duration::from_secs(600), ..hasty() }).await;
    let mut sender = site.h2().await;
    let (answer, mut body) = sender.send_request(post("/").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"a"), false).unwrap();
    let answer = soon("an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert!(text(answer).await.contains("request_timeout"));
}

#[tokio::test]
async fn two_lengths_are_refused() {
    let site = Site::start().await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    // content-length: 0, as literals without indexing.
    let length = b"\x0f\x0d\x010";
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &[POST, length, length].concat()).await.unwrap();
    let body = soon("an answer", client.read_until(DATA)).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("ambiguous_framing"), "{body:?}");
}
