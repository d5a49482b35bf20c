//! Behind a proxy: who a request comes from is whom a trusted one tells of, and nobody else tells of anybody.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use picloud_proxy::tls::Certificates;
use picloud_shared::execution::RecordedInput;
use support::certificate::{self, TlsClient};
use support::gateway::{TestApp, TestGateway, on_large_stacks};
use support::raw::{RawAnswer, RawClient, connect_from};
use tokio::io::AsyncWriteExt;

/// 127.0.0.9, which the gateway trusts, and somebody beside it.
const PROXY: u8 = 9;
const ANYBODY: u8 = 8;

fn shop() -> TestApp {
    let mut shop = TestApp::new("shop", &["shop.test", "localhost"]);
    shop.route("ANY", "/*", "`${ctx.request.remote_ip} ${ctx.request.url}`");
    shop
}

fn request(target: &str, host: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n")
}

async fn ask(from: u8, address: SocketAddr, host: &str, headers: &[&str]) -> RawAnswer {
    let mut client = RawClient::connect_from(from, address).await;
    client.write_all(request("/healthz", host, headers).as_bytes()).await.unwrap();
    client.read_answer().await
}

#[test]
fn a_script_sees_the_client_of_a_trusted_proxy_and_nobody_that_others_invent() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for (from, headers, seen) in [
            (PROXY, &["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: https"][..], "192.0.2.1 https"),
            (PROXY, &["forwarded: for=\"[2001:db8::1]:4711\";proto=https"], "127.0.0.9 http"),
            (PROXY, &["x-forwarded-for: 198.51.100.1, 192.0.2.1"], "192.0.2.1 http"),
            (PROXY, &["x-forwarded-for: 192.0.2.1, 127.0.0.9"], "192.0.2.1 http"),
            (PROXY, &["x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.2;proto=https"], "192.0.2.1 http"),
            (PROXY, &["x-forwarded-for: somebody", "x-forwarded-proto: https"], "127.0.0.9 https"),
            (PROXY, &[], "127.0.0.9 http"),
            (ANYBODY, &["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: https"], "127.0.0.8 http"),
            (ANYBODY, &["forwarded: for=192.0.2.1;proto=https"], "127.0.0.8 http"),
        ] {
            let headers = [headers, &["x-forwarded-host: evil.test"]].concat();
            let answer = ask(from, gateway.address, "shop.test", &headers).await;
            assert_eq!(answer.body, format!("{seen}://shop.test/healthz"), "{from} {headers:?}");
        }
        let records = gateway.records.take();
        let RecordedInput::Request { head, .. } = &records[0].input else { panic!("it was a request") };
        assert_eq!(head.remote_ip.to_string(), "192.0.2.1");
    });
}

#[test]
fn the_manager_is_told_of_the_same_client() {
    on_large_stacks(async {
        let gateway = TestGateway::start(Vec::new());
        let mut client = RawClient::connect_from(PROXY, gateway.address).await;
        let headers = ["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: https"];
        client.write_all(request("/api/v1/admin/apps", "pi.test", &headers).as_bytes()).await.unwrap();
        let said: serde_json::Value = serde_json::from_str(&client.read_answer().await.body).unwrap();
        assert_eq!((&said["remote_ip"], &said["scheme"]), (&"192.0.2.1".into(), &"https".into()));
    });
}

#[test]
fn nobody_whom_a_proxy_tells_of_is_at_this_machine() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for host in ["127.0.0.1", "localhost"] {
            for (from, headers, is_here) in [
                (PROXY, &[][..], true),
                (ANYBODY, &["x-forwarded-for: 192.0.2.1"], true),
                (PROXY, &["x-forwarded-for: 192.0.2.1"], false),
                (PROXY, &["x-forwarded-for: 127.0.0.1"], false),
                (PROXY, &["x-forwarded-for: \""], false),
                (PROXY, &["x-forwarded-proto: http"], false),
            ] {
                let answer = ask(from, gateway.address, host, headers).await;
                assert_eq!(answer.body == "ok", is_here, "{host} {from} {headers:?}: {answer:?}");
            }
        }
    });
}

#[test]
fn a_client_that_a_proxy_serves_by_https_is_not_sent_there() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for (from, scheme, status) in [(PROXY, "https", 200), (PROXY, "http", 308), (ANYBODY, "https", 308)] {
            let header = format!("x-forwarded-proto: {scheme}");
            let answer = ask(from, gateway.redirect, "shop.test", &[&header]).await;
            assert_eq!(answer.status, status, "{from} {scheme}");
        }
    });
}

#[test]
fn a_proxy_asks_for_any_host_and_scheme_on_one_connection() {
    on_large_stacks(async {
        let dir = tempfile::tempdir().unwrap();
        let (files, trusted) = certificate::write(dir.path(), "pi", &["pi.test"]);
        let certificates = Arc::new(Certificates::load(vec![files]).unwrap());
        let gateway = TestGateway::start_with(vec![shop().publish()], Some(certificates));
        for (from, status) in [(PROXY, 200), (ANYBODY, 421)] {
            for target in ["/", "http://shop.test/"] {
                let socket = connect_from(from, gateway.address).await;
                let stream = TlsClient::new(&[&trusted], &["http/1.1"]).shake_hands(socket, "pi.test").await.unwrap();
                let mut client = RawClient::over(stream);
                client.write_all(request(target, "shop.test", &[]).as_bytes()).await.unwrap();
                assert_eq!(client.read_answer().await.status, status, "{from} {target}");
            }
        }
    });
}
