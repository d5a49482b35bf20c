//! HTTPS: which certificate is shown, who is refused, and reading files again, through real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use picloud_proxy::io::IoLimits;
use picloud_proxy::tls::{CertificateFiles, Certificates};
use support::certificate::{self, TlsClient};
use support::echo::EchoServer;
use support::raw::{self, RawClient};
use support::site::Site;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
async fn who_asks_for_an_address_is_shown_the_certificate_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, first_der) = certificate::write(dir.path(), "first", &["first.test"]);
    let (here, here_der) = certificate::write(dir.path(), "here", &["127.0.0.1"]);
    let served = async |files: Vec<CertificateFiles>| {
        let certificates = Arc::new(Certificates::load(files).unwrap());
        EchoServer::listen(IoLimits::default(), Some(certificates)).await
    };
    let server = served(vec![first.clone(), here]).await;
    let stream = TlsClient::new(&[&here_der], &["http/1.1"]).connect(server.address, "127.0.0.1").await.unwrap();
    let mut client = RawClient::over(stream);
    client.write_all(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    assert_eq!(client.read_answer().await.body, "GET / ");
    TlsClient::new(&[&first_der], &[]).connect(server.address, "first.test").await.unwrap();

    // Where none is for the address, the first of all is shown, which such a client does not take.
    let server = served(vec![first]).await;
    let error = TlsClient::new(&[&first_der], &[]).connect(server.address, "127.0.0.1").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
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
async fn a_connection_that_stayed_idle_is_closed_in_the_words_of_tls() {
    let site = Site::start_with(IoLimits { idle_timeout: Duration::from_millis(100), ..IoLimits::default() }).await;
    let mut client =
        RawClient::over(site.client(&["http/1.1"]).connect(site.server.address, "shop.test").await.unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    assert_eq!(client.read_answer().await.body, "GET / ");
    // Without them it would be an unexpected end.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
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
