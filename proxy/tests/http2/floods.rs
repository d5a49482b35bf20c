//! Clients that ask for work and for no answers.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use picloud_proxy::io::IoLimits;
use tokio::io::AsyncWriteExt;

use crate::support::raw_h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, POST, PRIORITY, RST_STREAM, RawH2,
    SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::site::Site;
use crate::{assert_serves_others, get, hasty, soon};

#[tokio::test]
async fn a_client_that_resets_stream_after_slow_stream_is_shut_out_and_others_are_served() {
    let site = Site::start_with(IoLimits { max_streams: 10, ..IoLimits::default() }).await;
    let mut sender = site.h2().await;
    let mut held = 0;
    let attack = async {
        loop {
            sender = sender.ready().await?;
            let request = Request::get("https://shop.test/hold").body(()).unwrap();
            let (answer, mut stream) = sender.send_request(request, true)?;
            tokio::select! {
                () = site.server.holding() => {
                    held += 1;
                    stream.send_reset(h2::Reason::CANCEL);
                }
                shut_out = answer => shut_out.map(drop)?,
            }
        }
    };
    let end: Result<std::convert::Infallible, h2::Error> =
        tokio::time::timeout(Duration::from_secs(10), attack).await.expect("the attack is ended");
    let error = end.unwrap_err();
    assert!(error.is_go_away() || error.is_io(), "{error}");
    assert_eq!(held, 20, "twice what the connection may have open");
    let mut other = site.h2().await;
    let answer = other.send_request(Request::get("https://shop.test/").body(()).unwrap(), true).unwrap().0;
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_resets_quick_streams_is_shut_out_and_one_that_gives_up_some_is_not() {
    let site = Site::start().await;
    // What is reset is reset before it can be answered: the frames arrive in one piece.
    let give_up = async |sender: &mut h2::client::SendRequest<Bytes>, reset: usize| {
        for _ in 0..reset {
            let (_, mut stream) = sender.clone().ready().await?.send_request(get("/"), true)?;
            stream.send_reset(h2::Reason::CANCEL);
        }
        sender.clone().ready().await?.send_request(get("/"), true)?.0.await
    };
    let mut patient = site.h2().await;
    for _ in 0..150 {
        give_up(&mut patient, 1).await.unwrap();
    }
    let mut attacker = site.h2().await;
    let attack = async {
        loop {
            if let Err(error) = give_up(&mut attacker, 10).await {
                return error;
            }
        }
    };
    let error = soon("the attack is ended", attack).await;
    assert!(error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) || error.is_io(), "{error}");
    assert_serves_others(&site).await;
}

#[tokio::test]
async fn a_flood_of_continuations_is_cut_off() {
    let site = Site::start().await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    client.send(HEADERS, END_STREAM, 1, GET).await.unwrap();
    let flood = async { while client.send(CONTINUATION, 0, 1, b"\x00\x01a\x01b").await.is_ok() {} };
    soon("cut off", flood).await;
    assert_serves_others(&site).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_ends_the_connection_wherever_it_stops() {
    let limits = IoLimits { head_timeout: Duration::from_millis(200), ..IoLimits::default() };
    let site = Site::start_with(limits).await;
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET);
    for (what, sent) in [
        ("between two frames", frame(HEADERS, END_STREAM, 1, GET)),
        ("within a frame", whole[..whole.len() - 1].to_vec()),
    ] {
        let mut client = RawH2::begin(site.h2_stream().await).await;
        client.0.write_all(&sent).await.unwrap();
        client.0.flush().await.unwrap();
        let goodbye = soon(what, client.read_until(GOAWAY)).await;
        assert_eq!(goodbye.expect(what)[4..8], 11_u32.to_be_bytes(), "{what}: ENHANCE_YOUR_CALM");
    }
    // One that asks for something now and then goes on.
    let mut sender = site.h2().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        sender = sender.ready().await.unwrap();
        assert_eq!(sender.send_request(get("/"), true).unwrap().0.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_flood_of_frames_that_bring_nothing_is_cut_off_though_their_answers_are_read() {
    let site = Site::start().await;
    let open = [frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, 0, 1, b"a")].concat();
    let padded = 8;
    for (what, flood) in [
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("PING that answers none", frame(PING, 1, 0, b"12345678")),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("DATA without data", frame(DATA, 0, 1, &[])),
        ("padding alone", frame(DATA, padded, 1, &[3, 0, 0, 0])),
        ("an unknown frame", frame(0xee, 0, 0, b"12345678")),
    ] {
        let client = RawH2::begin(site.h2_stream().await).await;
        let (mut read, mut write) = tokio::io::split(client.0);
        let answers = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
        write.write_all(&open).await.unwrap();
        let frames = flood.repeat(50);
        let flood = async {
            let mut sent = 0;
            while write.write_all(&frames).await.is_ok() && write.flush().await.is_ok() {
                sent += 50;
            }
            sent
        };
        let sent = soon(what, flood).await;
        assert!(sent >= 1_000, "{what}: {sent} are no flood");
        answers.abort();
        assert_serves_others(&site).await;
    }
}

#[tokio::test]
async fn who_floods_is_told_to_calm_down() {
    let site = Site::start().await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    // Twice what is taken at once: the rest would take ten seconds to earn. The server may close before it has read all.
    let _ = client.0.write_all(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(2_000)).await;
    let goodbye = soon("a goodbye", client.read_until(GOAWAY)).await.expect("a goodbye before the end");
    assert_eq!(goodbye[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
}

#[tokio::test]
async fn a_client_of_many_requests_floods_nobody() {
    let site = Site::start().await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    for n in 0..1_000 {
        let stream = 2 * n + 1;
        let close = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        let more = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(3);
        client.send(HEADERS, END_HEADERS | END_STREAM, stream, GET).await.unwrap();
        assert!(soon("an answer", client.read_until(DATA)).await.is_some(), "{n}");
        client.0.write_all(&[close, more].concat()).await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_of_pings_whose_answers_nobody_reads_is_cut_off() {
    let site = Site::start_with(IoLimits { idle_timeout: Duration::from_secs(600), ..hasty() }).await;
    let mut client = RawH2::begin(site.h2_stream().await).await;
    let flood = async { while client.send(PING, 0, 0, b"12345678").await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), flood).await.expect("cut off");
    assert_serves_others(&site).await;
}
