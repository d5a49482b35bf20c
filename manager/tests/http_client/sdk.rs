//! What scripts send and get.

use serde_json::json;

use crate::server::{Server, answer};
use crate::stage::Stage;

fn echo() -> (Server, Stage) {
    let server = Server::start(|request, _| {
        crate::server::Act::Answer(answer("200 OK", "content-type: text/plain\r\n", request.as_bytes()))
    });
    let stage = Stage::allowing(server.address.to_string());
    (server, stage)
}

#[test]
fn each_call_sends_its_method_and_its_body() {
    let (server, stage) = echo();
    let url = server.url("/a?b=1#c");
    for (call, first, kind, body) in [
        (format!("http::get(\"{url}\")"), "GET /a?b=1 HTTP/1.1", "", ""),
        (format!("http::delete(\"{url}\")"), "DELETE /a?b=1 HTTP/1.1", "", ""),
        (format!("http::post(\"{url}\", #{{ x: 1 }})"), "POST /a?b=1 HTTP/1.1", "application/json", "{\"x\":1}"),
        (format!("http::put(\"{url}\", \"hä\")"), "PUT /a?b=1 HTTP/1.1", "text/plain; charset=utf-8", "hä"),
        (format!("http::patch(\"{url}\", [1, 2])"), "PATCH /a?b=1 HTTP/1.1", "application/json", "[1,2]"),
        (format!("http::post(\"{url}\", blob(2, 65))"), "POST /a?b=1 HTTP/1.1", "application/octet-stream", "AA"),
        (
            format!("http::post(\"{url}\", #{{ x: 1 }}, #{{ headers: #{{ \"Content-Type\": \"a/b\" }} }})"),
            "POST /a?b=1 HTTP/1.1",
            "a/b",
            "{\"x\":1}",
        ),
        (
            format!(
                "http::request(#{{ method: \"PUT\", url: \"{url}\", query: #{{ q: [\"ä b\", 2] }}, json: \"x\" }})"
            ),
            "PUT /a?b=1&q=%C3%A4+b&q=2 HTTP/1.1",
            "application/json",
            "\"x\"",
        ),
        (format!("http::post(\"{url}\", ())"), "POST /a?b=1 HTTP/1.1", "", ""),
    ] {
        let sent = stage.gives(&format!("{call}.text"));
        let (head, sent_body) = sent.as_str().unwrap().split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().next().unwrap(), sent_body), (first, body), "{call}");
        let sent_kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        assert_eq!(sent_kind, kind, "{call}");
        assert!(head.contains(&format!("host: {}", server.address)), "{head}");
        assert!(head.contains("user-agent: PiCloud/"), "{head}");
    }
}

#[test]
fn an_answer_has_status_headers_text_json_and_blob_whatever_its_status() {
    let headers = "Content-Type: application/json\r\nX-A: 1\r\nx-a: 2\r\nset-cookie: a=1, 2\r\nset-cookie: b=2\r\n";
    let server = Server::giving(answer("404 Not Found", headers, b"{\"x\":[1]}"));
    let stage = Stage::allowing(server.address.to_string());
    let source = format!(
        "let r = http::get(\"{}\"); \
         [r.status, r.headers[\"x-a\"], r.headers[\"set-cookie\"], r.text, r.json().x[0], r.blob.len()]",
        server.url("/")
    );
    assert_eq!(stage.gives(&source), json!([404, "1, 2", "a=1, 2\nb=2", "{\"x\":[1]}", 1, 9]));
}

#[test]
fn what_cannot_be_sent_is_thrown_with_its_code_and_nothing_is_sent() {
    let (server, stage) = echo();
    let url = server.url("/");
    for (call, code) in [
        ("http::get(\"example.com\")".to_owned(), "invalid_url"),
        ("http::get(\"ftp://example.com/\")".to_owned(), "invalid_url"),
        ("http::get(\"http://u:p@example.com/\")".to_owned(), "invalid_url"),
        ("http::get(\"http://\")".to_owned(), "invalid_url"),
        ("let s = \"http://a.test/\"; s.pad(9000, \"x\"); http::get(s)".to_owned(), "invalid_url"),
        (format!("http::get(\"{url}\", #{{ query: #{{ a: () , b: [[1]] }} }})"), "invalid"),
        (format!("http::get(\"{url}\", #{{ timeout: 1 }})"), "invalid"),
        (format!("http::get(\"{url}\", #{{ timeout_ms: 0 }})"), "invalid"),
        (format!("http::get(\"{url}\", #{{ timeout_ms: \"1\" }})"), "invalid"),
        (format!("http::get(\"{url}\", #{{ headers: [] }})"), "invalid"),
        (format!("http::request(#{{ url: \"{url}\", body: 1, json: 1, method: \"POST\" }})"), "invalid"),
        (format!("http::request(#{{ url: \"{url}\", body: \"x\" }})"), "invalid"),
        (format!("http::request(#{{ url: \"{url}\", method: \"CONNECT\" }})"), "invalid"),
        (format!("http::request(#{{ url: \"{url}\", method: \"GET / HTTP/1.1\\r\\n\" }})"), "invalid"),
        ("http::request(#{ method: \"GET\" })".to_owned(), "invalid"),
        (format!("http::post(\"{url}\", blob(1), #{{ body: 1 }})"), "invalid"),
        (format!("let b = \"x\"; b.pad(4194305, \"x\"); http::post(\"{url}\", b)"), "too_large"),
        (
            format!("let b = \"x\"; b.pad(40000, \"x\"); http::get(\"{url}\", #{{ headers: #{{ a: b }} }})"),
            "invalid_header",
        ),
        ("http::get(\"http://nowhere.test/\")".to_owned(), "dns"),
    ] {
        assert_eq!(stage.throws(&call), code, "{call}");
    }
    for header in [
        "host",
        "Content-Length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-connection",
        "a b",
        "",
        "a\\r\\nb",
    ] {
        let call = format!("http::get(\"{url}\", #{{ headers: #{{ \"{header}\": \"1\" }} }})");
        assert_eq!(stage.throws(&call), "invalid_header", "{header}");
    }
    let call = format!("http::get(\"{url}\", #{{ headers: #{{ a: \"1\\r\\nhost: b\" }} }})");
    assert_eq!(stage.throws(&call), "invalid_header");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn gzip_and_deflate_are_decompressed_and_other_codings_are_left() {
    // Of "hello", by gzip and by zlib.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcbH\xcd\xc9\xc9\x07\x00\x86\xa6\x106\x05\x00\x00\x00";
    let zlib = b"x\x9c\xcbH\xcd\xc9\xc9\x07\x00\x06,\x02\x15";
    for (coding, body, expected) in [
        ("gzip", &gzip[..], json!(["hello", ()])),
        ("deflate", &zlib[..], json!(["hello", ()])),
        ("br", b"abc", json!(["abc", "br"])),
        ("gzip", b"", json!(["", ()])),
    ] {
        let server = Server::giving(answer("200 OK", &format!("content-encoding: {coding}\r\n"), body));
        let stage = Stage::allowing(server.address.to_string());
        let source = format!("let r = http::get(\"{}\"); [r.text, r.headers[\"content-encoding\"]]", server.url("/"));
        assert_eq!(stage.gives(&source), expected, "{coding}");
    }
    for body in [&gzip[..20], b"no gzip at all"] {
        let server = Server::giving(answer("200 OK", "content-encoding: gzip\r\n", body));
        let stage = Stage::allowing(server.address.to_string());
        assert_eq!(stage.throws(&format!("http::get(\"{}\")", server.url("/"))), "protocol");
    }
}

#[test]
fn without_a_port_the_call_is_unavailable() {
    let world = crate::world::World::new();
    let source = "try { http::get(\"http://a.test/\") } catch (error) { return error.code; }";
    assert_eq!(crate::world::text(&world.eval(source)), "unavailable");
}
