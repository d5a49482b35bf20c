//! HTTPS from configured files.

use std::io;
use std::time::Instant;

use tokio::io::AsyncWriteExt;

use crate::certificate::{self, TlsClient};
use crate::cloud::{Database, Home, PATIENCE, TestCloud};
use crate::raw::RawClient;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_served_from_files_and_read_again_at_a_signal() {
    let home = Home::new(Database::Sqlite);
    let names = ["shop.test", "pi.test"];
    let (files, old) = certificate::write(home.dir(), "cert", &names);
    let dir = home.dir().to_owned();
    let cloud = TestCloud::start_with(home, |command| {
        command.args(["--https", "127.0.0.1:0", "--tls-chain"]).arg(&files.chain).arg("--tls-key").arg(&files.key);
        command.args(["--redirect-to-https", "true", "--public-base-url", "https://pi.test"]);
    });
    let https = cloud.address("https");
    let ask = async |trusted, name: &str, host: &str| {
        let stream = TlsClient::new(&[trusted], &[]).connect(https, name).await?;
        let mut client = RawClient::over(stream);
        client.write_all(format!("GET /version HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
        io::Result::Ok(client.read_answer().await.status)
    };
    assert_eq!(ask(&old, "pi.test", "pi.test").await.unwrap(), 200);
    assert_eq!(ask(&old, "shop.test", "pi.test").await.unwrap(), 200, "the same certificate covers it");
    assert_eq!(ask(&old, "shop.test", "other.test").await.unwrap(), 421);
    let mut plain = RawClient::connect(cloud.address("http")).await;
    plain.write_all(b"GET /version HTTP/1.1\r\nhost: pi.test\r\n\r\n").await.unwrap();
    let redirect = plain.read_answer().await;
    assert_eq!(redirect.header("location"), Some(&*format!("https://pi.test:{}/version", https.port())));
    assert_eq!(redirect.status, 308);

    let (_, new) = certificate::write(&dir, "cert", &names);
    assert!(ask(&new, "pi.test", "pi.test").await.is_err(), "files are read when they are to be");
    cloud.signal("-HUP");
    let begun = Instant::now();
    while ask(&new, "pi.test", "pi.test").await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the new certificate is shown");
    }
}

#[test]
fn a_certificates_name_is_never_taken_for_the_dashboard() {
    let home = Home::new(Database::Sqlite);
    let (files, _) = certificate::write(home.dir(), "cert", &["*.shop.test", "shop.test"]);
    let (chain, key) = (files.chain.to_str().unwrap(), files.key.to_str().unwrap());
    let https = [
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
        "--internal",
        "none",
        "--tls-chain",
        chain,
        "--tls-key",
        key,
    ];
    for command in [&["serve"][..], &["config", "check"]] {
        for more in [&["--redirect-to-https", "true"][..], &["--http", "none"]] {
            let plain = if more[0] == "--http" { &https[2..] } else { &https[..] };
            let (good, said) = home.run(&[command, plain, more].concat(), "");
            assert!(!good && said.contains("public_base_url must be set"), "{command:?} {more:?}: {said}");
        }
    }
    let cloud = TestCloud::start_with(home, |command| {
        command.args(&https[2..]).args(["--redirect-to-https", "false"]);
    });
    let plain = cloud.address("http").port();
    assert_eq!(cloud.announced("Dashboard:"), Some(&*format!("http://127.0.0.1:{plain}/admin/")));
}

#[test]
fn a_dashboard_that_no_certificate_is_for_is_told_of() {
    let home = Home::new(Database::Sqlite);
    let (files, _) = certificate::write(home.dir(), "cert", &["*.shop.test", "pi.test"]);
    let (chain, key) = (files.chain.to_str().unwrap(), files.key.to_str().unwrap());
    let check = |url: &str, https: &str, automatic: &str| {
        let files = ["--tls-chain", chain, "--tls-key", key, "--automatic-certificates", automatic];
        home.run(&[&["config", "check", "--https", https, "--public-base-url", url][..], &files].concat(), "")
    };
    for (url, https, automatic, told) in [
        ("https://pi.test", ":444", "false", false),
        ("https://a.shop.test:444", ":444", "false", false),
        ("https://other.test", ":444", "false", true),
        ("https://127.0.0.1", ":444", "false", true),
        // One will be obtained.
        ("https://other.test", ":444", "true", false),
        // Plain HTTP alone is served here, and HTTPS by somebody in front, perhaps.
        ("https://other.test", "none", "false", false),
        ("http://other.test", ":444", "false", false),
    ] {
        let (good, said) = check(url, https, automatic);
        assert!(good, "{url}: {said}");
        assert_eq!(said.contains("browsers will refuse the dashboard"), told, "{url} {https}: {said}");
    }
}
