//! Who answers which request, and what callers see of a script's end: the gateway over a snapshot made by hand.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod execute_by_id;
mod http_2;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use picloud_shared::execution::Outcome;
use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits};
use support::gateway::{BODY_LIMIT, TestApp, TestGateway, on_large_stacks};
use support::raw::{RawAnswer, send};
use tokio::io::AsyncWriteExt;

async fn ask(gateway: &TestGateway, method: &str, host: &str, path: &str) -> RawAnswer {
    ask_with(gateway, method, host, path, "", "").await
}

async fn ask_with(gateway: &TestGateway, method: &str, host: &str, path: &str, headers: &str, body: &str) -> RawAnswer {
    let mut client = gateway.connect().await;
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{length}{headers}\r\n{body}");
    client.write_all(request.as_bytes()).await.unwrap();
    if method == "HEAD" { client.read_head().await } else { client.read_answer().await }
}

fn code(answer: &RawAnswer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(body["status"], answer.status);
    body["code"].as_str().expect("a code").to_owned()
}

fn shop() -> TestApp {
    let mut shop = TestApp::new("shop", &["shop.test", "*.wild.test"]);
    shop.route("GET", "/", "\"hello\"");
    shop.route("GET", "/hello/:name", "#{hello: ctx.request.params.name}");
    shop.route("POST", "/echo", "ctx.request.text");
    shop.route("GET", "/files/*", "ctx.request.rest");
    shop.route("ANY", "/any", "ctx.request.method");
    shop.route("GET", "/nothing", "()");
    shop.route("GET", "/url/*", "ctx.request.url");
    shop.route("GET", "/api/v1/admin/apps", "\"my own\"");
    shop
}

#[test]
fn a_route_answers_with_its_script() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let answer = ask(&gateway, "GET", "shop.test", "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let record = gateway.records.take().remove(0);
        assert_eq!(answer.header("x-execution-id"), Some(record.id.to_string().as_str()));
        assert_eq!((record.outcome, record.status.as_u16()), (Outcome::Success, 200));

        for (method, host, path, body) in [
            ("GET", "SHOP.test:8080", "/hello/w%C3%B6rld?x=1", "{\"hello\":\"wörld\"}"),
            ("GET", "a.wild.test", "/files/a%2Fb/c", "a%2Fb/c"),
            ("GET", "Bücher.wild.test", "/files/x", "x"),
            ("PATCH", "shop.test", "/any", "PATCH"),
            ("GET", "shop.test", "/api/v1/admin/apps", "my own"),
        ] {
            assert_eq!(ask(&gateway, method, host, path).await.body, body, "{method} {path}");
        }
        assert_eq!(ask_with(&gateway, "POST", "shop.test", "/echo", "", "a body").await.body, "a body");
        let nothing = ask(&gateway, "GET", "shop.test", "/nothing").await;
        assert_eq!((nothing.status, nothing.header("content-length")), (204, None));
        let head = ask(&gateway, "HEAD", "shop.test", "/").await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    });
}

#[test]
fn a_url_is_one_for_however_its_host_is_written() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for (host, origin) in [
            ("shop.test", "http://shop.test"),
            ("SHOP.Test.", "http://shop.test"),
            ("shop.test:80", "http://shop.test"),
            ("shop.test.:0080", "http://shop.test"),
            ("shop.test:", "http://shop.test"),
            ("shop.test:443", "http://shop.test:443"),
            ("Bücher.wild.test:8080", "http://xn--bcher-kva.wild.test:8080"),
        ] {
            assert_eq!(ask(&gateway, "GET", host, "/url/%61?").await.body, format!("{origin}/url/%61?"), "{host}");
        }
    });
}

#[test]
fn what_no_route_takes_is_told_apart() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let refused = ask(&gateway, "DELETE", "shop.test", "/echo").await;
        assert_eq!((refused.status, code(&refused).as_str()), (405, "method_not_allowed"));
        assert_eq!(refused.header("allow"), Some("POST, OPTIONS"));
        let options = ask(&gateway, "OPTIONS", "shop.test", "/hello/x").await;
        assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
        let server = ask(&gateway, "OPTIONS", "shop.test", "*").await;
        assert_eq!((server.status, server.header("allow").is_some()), (204, true));
        for (method, host, path, status, expected) in [
            ("GET", "shop.test", "/nowhere", 404, "no_route"),
            ("GET", "other.test", "/", 404, "unknown_host"),
            ("GET", "a.b.wild.test", "/", 404, "unknown_host"),
            ("GET", "shop.test", "/../x", 400, "invalid_path"),
            ("GET", "shop.test", "/%2e%2e/x", 400, "invalid_path"),
            ("GET", "shop.test", "/%00", 400, "invalid_path"),
            ("GET", "shop.test", "/%ff", 400, "invalid_path"),
            ("GET", "shop.test", "*", 400, "invalid_path"),
            ("GET", "user@shop.test", "/", 400, "invalid_host"),
            ("GET", "shop.test:x", "/", 400, "invalid_host"),
            ("GET", "", "/", 400, "missing_host"),
            ("CONNECT", "shop.test", "shop.test:443", 501, "method_not_implemented"),
            ("TRACE", "shop.test", "/any", 501, "method_not_implemented"),
            ("FOO", "shop.test", "/any", 501, "method_not_implemented"),
            ("get", "shop.test", "/any", 501, "method_not_implemented"),
            ("FOO", "pi.test", "/api/v1/admin/apps", 501, "method_not_implemented"),
        ] {
            let answer = ask(&gateway, method, host, path).await;
            assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{method} {host} {path}");
        }
        assert!(gateway.records.take().is_empty());
    });
}

#[test]
fn the_host_is_named_once_in_one_way() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: shop.test\r\nhost: shop.test\r\n\r\n", 400),
            ("GET http://shop.test/ HTTP/1.1\r\nhost: other.test\r\n\r\n", 400),
            ("GET http://SHOP.test/ HTTP/1.1\r\nhost: shop.test\r\n\r\n", 200),
            ("GET http://shop.test/ HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n", 200),
            ("GET http://shop.test/hello/x HTTP/1.0\r\n\r\n", 200),
            ("GET http://shop.test?x=1 HTTP/1.1\r\nhost: shop.test\r\n\r\n", 200),
            ("GET https://shop.test/ HTTP/1.1\r\nhost: shop.test\r\n\r\n", 421),
            ("GET /hello/x HTTP/1.0\r\nhost: shop.test.\r\n\r\n", 200),
        ] {
            let close = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            let answer = send(gateway.address, close.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        }
    });
}

#[test]
fn a_request_that_breaks_a_rule_ends_its_connection() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let next = "GET /hello/next HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
        for (bad, status, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", 400, "missing_host"),
            ("GET / HTTP/1.1\r\nhost:\r\n\r\n", 400, "missing_host"),
            ("GET / HTTP/1.1\r\nhost: shop.test\r\nhost: shop.test\r\n\r\n", 400, "repeated_host"),
            ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400, "invalid_host"),
            ("GET http:///x HTTP/1.1\r\nhost: shop.test\r\n\r\n", 400, "invalid_host"),
            ("GET http://shop.test/ HTTP/1.1\r\na: b\r\n\r\n", 400, "missing_host"),
            ("GET http://shop.test/ HTTP/1.1\r\nhost: b\r\n\r\n", 400, "host_mismatch"),
            ("GET http:/shop.test/ HTTP/1.1\r\nhost: shop.test\r\n\r\n", 400, "invalid_path"),
            ("GET ftp://shop.test/ HTTP/1.1\r\nhost: shop.test\r\n\r\n", 400, "invalid_path"),
            ("GET /../x HTTP/1.1\r\nhost: shop.test\r\n\r\n", 400, "invalid_path"),
            ("GET /%00 HTTP/1.1\r\nhost: shop.test\r\n\r\n", 400, "invalid_path"),
            ("POST /%ff HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 3\r\n\r\nabc", 400, "invalid_path"),
            ("CONNECT shop.test:443 HTTP/1.1\r\nhost: shop.test\r\n\r\n", 501, "method_not_implemented"),
            ("CONNECT /any HTTP/1.1\r\nhost: shop.test\r\n\r\n", 501, "method_not_implemented"),
        ] {
            let mut client = gateway.connect().await;
            client.write_all(format!("{bad}{next}").as_bytes()).await.unwrap();
            let refused = client.read_answer().await;
            assert_eq!((refused.status, code(&refused).as_str()), (status, expected), "{bad}");
            assert_eq!(refused.header("connection"), Some("close"), "{bad}");
            assert_eq!(client.read_to_end().await, "", "{bad}");
        }
        // What is only not here says nothing of how the request is to be read.
        let fine = "GET /nowhere HTTP/1.1\r\nhost: shop.test\r\n\r\n";
        assert_eq!(send(gateway.address, format!("{fine}{next}").as_bytes()).await.matches("HTTP/1.1 ").count(), 2);
    });
}

#[test]
fn admin_hosts_answer_the_dashboard_and_the_api_and_no_app() {
    on_large_stacks(async {
        let mut default = TestApp::new("default", &["localhost"]);
        default.route("GET", "/", "\"hello\"");
        default.route("GET", "/*", "\"all\"");
        let gateway = TestGateway::start(vec![shop().publish(), default.publish()]);
        for host in ["pi.test", "127.0.0.1:8080", "[::1]", "localhost"] {
            assert_eq!(ask(&gateway, "GET", host, "/healthz").await.body, "ok", "{host}");
            assert_eq!(ask(&gateway, "GET", host, "/version").await.body, "{\"product\":\"test\"}", "{host}");
            assert_eq!(ask(&gateway, "HEAD", host, "/version").await.header("content-length"), Some("18"), "{host}");
            let write = ask(&gateway, "POST", host, "/version").await;
            assert_eq!((write.status, write.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
            let other = ask(&gateway, "GET", host, "/api/v2/admin/apps").await;
            assert_eq!((other.status, code(&other).as_str()), (404, "unsupported_api_version"), "{host}");
            assert!(other.body.contains("\"supported_version\":1"), "{}", other.body);
            for path in ["/admin/", "/admin", "/admin/x", "/api/v1/admin/apps?limit=1", "/api/v1/openapi.json"] {
                let answer = ask(&gateway, "GET", host, path).await;
                let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(said["uri"], path, "{host}");
                assert_eq!(said["cookies_count"], host != "localhost", "{host}");
                assert_eq!(said["authority"], host);
                assert_eq!((&said["scheme"], &said["remote_ip"]), (&"http".into(), &"127.0.0.1".into()));
            }
        }
        // What is not theirs: the default app's on localhost, nobody's elsewhere.
        for path in ["/", "/administration", "/versions", "/x/api/v1/admin"] {
            assert_eq!(ask(&gateway, "GET", "localhost", path).await.status, 200, "{path}");
            let expected = if path == "/" { 302 } else { 404 };
            assert_eq!(ask(&gateway, "GET", "pi.test", path).await.status, expected, "{path}");
        }
        assert_eq!(ask(&gateway, "GET", "pi.test", "/").await.header("location"), Some("/admin/"));
        // On an app's own host its paths are its own.
        assert_eq!(code(&ask(&gateway, "GET", "shop.test", "/healthz").await), "no_route");
        assert_eq!(code(&ask(&gateway, "GET", "shop.test", "/admin/").await), "no_route");
    });
}

#[test]
fn admin_requests_are_handed_over_whole_and_without_what_ends_here() {
    on_large_stacks(async {
        let gateway = TestGateway::start(Vec::new());
        let headers = "connection: x-hop\r\nx-hop: 1\r\nte: trailers\r\nupgrade: h2c\r\nauthorization: Bearer t\r\n";
        let body = "b".repeat(BODY_LIMIT);
        let answer = ask_with(&gateway, "POST", "pi.test", "/api/v1/admin/apps", headers, &body).await;
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(said["headers"], serde_json::json!(["authorization", "content-length", "host"]));
        assert_eq!(said["body_length"], BODY_LIMIT);

        let large = ask_with(&gateway, "POST", "pi.test", "/api/v1/admin/apps", "", &format!("{body}b")).await;
        assert_eq!((large.status, code(&large).as_str()), (413, "body_too_large"));
        let broken =
            b"POST /api/v1/admin/apps HTTP/1.1\r\nhost: pi.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX";
        assert!(send(gateway.address, broken).await.starts_with("HTTP/1.1 400 "));
        let head = ask(&gateway, "HEAD", "pi.test", "/api/v1/admin/apps").await;
        assert_eq!(head.status, 200);
    });
}

#[test]
fn events_reach_the_client_as_they_happen() {
    on_large_stacks(async {
        let gateway = TestGateway::start(Vec::new());
        let mut client = gateway.connect().await;
        client.write_all(b"GET /api/v1/admin/events HTTP/1.1\r\nhost: pi.test\r\n\r\n").await.unwrap();
        let head = client.read_head().await;
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(client.read_bytes(2 * (3 + 9 + 2)).await, "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n");
        drop(client);
        assert!(gateway.drain().await, "a stream whose client left ends");
    });
}

#[test]
fn the_other_listeners_do_only_what_they_are_for() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let redirect =
            send(gateway.redirect, b"GET /a%20b?q HTTP/1.1\r\nhost: shop.test:80\r\nconnection: close\r\n\r\n").await;
        assert!(redirect.starts_with("HTTP/1.1 308 "), "{redirect}");
        assert!(redirect.contains("https://shop.test:8443/a%20b?q"), "{redirect}");
        let ready =
            send(gateway.internal, b"GET /readyz HTTP/1.1\r\nhost: 10.0.0.7\r\nconnection: close\r\n\r\n").await;
        assert!(ready.ends_with("{\"snapshot_version\":1,\"store\":\"reachable\",\"warnings\":[]}"), "{ready}");
        let alone = TestGateway::start(vec![shop().publish()]);
        alone.cut_store();
        let ready = send(alone.internal, b"GET /readyz HTTP/1.0\r\n\r\n").await;
        assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("\"unreachable\""), "{ready}");
        let app = send(gateway.internal, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert!(app.starts_with("HTTP/1.1 404 "), "{app}");
    });
}

#[test]
fn the_internal_listener_tells_nothing_to_a_page_whose_name_was_led_here() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let ask = async |path: &str, host: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            send(gateway.internal, request.as_bytes()).await
        };
        for path in ["/metrics", "/readyz", "/healthz"] {
            for host in [
                "rebound.example",
                "rebound.example:9180",
                "shop.test",
                "localhost.rebound.example",
                "127.0.0.1.nip.io",
                "picloud.local.rebound.example",
                "notlocal.example.home",
                "rebound.arpa",
            ] {
                let refused = ask(path, host).await;
                assert!(refused.starts_with("HTTP/1.1 421 ") && !refused.contains("picloud_"), "{host}: {refused}");
            }
            for host in [
                "127.0.0.1:9180",
                "[::1]",
                "10.0.0.7",
                "localhost:9180",
                "LOCALHOST",
                "picloud:9180",
                "raspberrypi.local:9180",
                "pi.home.arpa",
                "pi.test",
            ] {
                assert!(ask(path, host).await.starts_with("HTTP/1.1 200 "), "{host}");
            }
        }
    });
}

#[test]
fn many_probes_ask_the_store_once() {
    on_large_stacks(async {
        let gateway = TestGateway::start(Vec::new());
        let probe = || send(gateway.internal, b"GET /readyz HTTP/1.0\r\n\r\n");
        let answers = tokio::join!(probe(), probe(), probe(), probe());
        assert!([answers.0, answers.1, answers.2, answers.3].iter().all(|answer| answer.contains("\"reachable\"")));
        assert_eq!(gateway.store_probes(), 1);
    });
}

#[test]
fn the_first_request_for_a_long_source_with_a_short_timeout_is_answered() {
    on_large_stacks(async {
        let functions: String =
            (0..1_500).map(|n| format!("fn f{n}(x) {{ let y = [x, #{{a: {n}}}]; y[1].a }}\n")).collect();
        let source = functions + "f7(1)";
        assert!(source.len() > 60 * 1024);
        let mut app = TestApp::new("shop", &["shop.test"]);
        let ten_ms = Limits { timeout: Duration::from_millis(10), ..LimitPolicy::default().defaults };
        let id = app.script_with("long", &source, ExecuteAccess::Open, ten_ms);
        let gateway = TestGateway::start(vec![app.publish()]);
        let answer = ask(&gateway, "GET", "pi.test", &format!("/api/v1/execute/{id}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "7"));
    });
}

#[test]
fn a_body_is_limited_before_the_script_runs() {
    on_large_stacks(async {
        let gateway = TestGateway::start(vec![shop().publish()]);
        let fits = ask_with(&gateway, "POST", "shop.test", "/echo", "", &"a".repeat(BODY_LIMIT)).await;
        assert_eq!((fits.status, fits.body.len()), (200, BODY_LIMIT));
        gateway.records.take();
        let large = ask_with(&gateway, "POST", "shop.test", "/echo", "", &"a".repeat(BODY_LIMIT + 1)).await;
        assert_eq!((large.status, code(&large).as_str()), (413, "body_too_large"));
        assert!(gateway.records.take().is_empty());
    });
}
