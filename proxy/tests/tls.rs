//! HTTPS: which certificate is shown, who is refused, reading files again, and HTTP/2, through real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use picloud_proxy::io::IoLimits;
use picloud_proxy::tls::{CertificateFiles, Certificates};
use rustls::pki_types::CertificateDer;
use support::certificate::{self, TlsClient};
use support::echo::EchoServer;
use support::raw::{self, RawClient};
use tokio::io::AsyncWriteExt;

struct Site {
    server: EchoServer,
    certificates: Arc<Certificates>,
    files: Vec<CertificateFiles>,
    trusted: Vec<CertificateDer<'static>>,
    dir: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(IoLimits::default()).await
    }

    async fn start_with(limits: IoLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (shop, shop_der) = certificate::write(dir.path(), "shop", &["shop.test", "127.0.0.1"]);
        let (wild, wild_der) = certificate::write(dir.path(), "wild", &["*.wild.test", "exact.test"]);
        let files = vec![shop, wild];
        let certificates = Arc::new(Certificates::load(files.clone()).unwrap());
        let server = EchoServer::listen(limits, Some(Arc::clone(&certificates))).await;
        Self { server, certificates, files, trusted: vec![shop_der, wild_der], dir }
    }

    fn client(&self, protocols: &[&str]) -> TlsClient {
        TlsClient::new(&self.trusted.iter().collect::<Vec<_>>(), protocols)
    }

    async fn h2(&self) -> h2::client::SendRequest<Bytes> {
        let stream = self.client(&["h2"]).connect(self.server.address, "shop.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }
}

#[tokio::test]
async fn each_name_is_shown_its_certificate() {
    let site = Site::start().await;
    for name in ["shop.test", "a.wild.test", "exact.test", "127.0.0.1", "SHOP.test"] {
        let stream = site.client(&["http/1.1"]).connect(site.server.address, name).await.unwrap();
        let mut client = RawClient::over(stream);
        client.write_all(format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(client.read_answer().await.body, "GET / ", "{name}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_as_unrecognized() {
    let site = Site::start().await;
    for name in ["other.test", "wild.test", "a.b.wild.test"] {
        let error = site.client(&[]).connect(site.server.address, name).await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let site = Site::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = TlsClient::with_versions(&[&site.trusted[0]], &[], &[version]);
        let stream = client.connect(site.server.address, "shop.test").await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_closed() {
    let site = Site::start().await;
    let answer = raw::send(site.server.address, b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    assert!(!site.server.saw("/"));
}

#[tokio::test]
async fn a_handshake_that_dawdles_is_closed() {
    let site = Site::start_with(IoLimits { head_timeout: Duration::from_millis(100), ..IoLimits::default() }).await;
    let mut client = site.server.connect().await;
    client.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_new_file_serves_the_next_handshake_and_open_connections_live_on() {
    let site = Site::start().await;
    let old = site.client(&[]).connect(site.server.address, "shop.test").await.unwrap();
    let (_, new_der) = certificate::write(site.dir.path(), "shop", &["shop.test", "new.test"]);
    site.certificates.reload().unwrap();

    let client = TlsClient::new(&[&new_der], &[]);
    client.connect(site.server.address, "new.test").await.unwrap();
    assert!(site.client(&[]).connect(site.server.address, "shop.test").await.is_err(), "the old one is gone");
    let mut old = RawClient::over(old);
    old.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    assert_eq!(old.read_answer().await.status, 200);
}

#[tokio::test]
async fn a_bad_file_leaves_all_certificates_as_they_were() {
    let site = Site::start().await;
    let (other, _) = certificate::write(site.dir.path(), "other", &["shop.test"]);
    for (chain, key) in [
        (b"no pem".to_vec(), None),
        (std::fs::read(&site.files[0].key).unwrap(), None),
        (std::fs::read(&site.files[0].chain).unwrap(), Some(std::fs::read(&other.key).unwrap())),
    ] {
        let (good_chain, good_key) =
            (std::fs::read(&site.files[0].chain).unwrap(), std::fs::read(&site.files[0].key).unwrap());
        std::fs::write(&site.files[0].chain, chain).unwrap();
        if let Some(key) = key {
            std::fs::write(&site.files[0].key, key).unwrap();
        }
        let error = site.certificates.reload().unwrap_err();
        assert!(error.to_string().contains("shop."), "{error}");
        site.client(&[]).connect(site.server.address, "shop.test").await.unwrap();
        std::fs::write(&site.files[0].chain, good_chain).unwrap();
        std::fs::write(&site.files[0].key, good_key).unwrap();
    }
    std::fs::remove_file(&site.files[0].key).unwrap();
    assert!(site.certificates.reload().is_err());
    site.client(&[]).connect(site.server.address, "shop.test").await.unwrap();
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
async fn a_client_that_resets_stream_after_stream_is_shut_out_and_others_are_served() {
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
