//! Servers and scripts that mean harm.

use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use picloud_shared::execution::Outcome;
use std::io::Write;

use crate::server::{Act, Server, answer};
use crate::stage::Stage;
use crate::world::endless;

const MOST: usize = 4 * 1024 * 1024;

fn call(server: &Server) -> String {
    format!("http::get(\"{}\")", server.url("/"))
}

#[test]
fn a_body_ends_at_four_mebibytes_however_it_comes() {
    let chunked = |len: usize| {
        let mut bytes = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{len:x}\r\n").into_bytes();
        bytes.extend(vec![b'x'; len]);
        bytes.extend(b"\r\n0\r\n\r\n");
        bytes
    };
    let gzip = |len: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; len]).unwrap();
        answer("200 OK", "content-encoding: gzip\r\n", &encoder.finish().unwrap())
    };
    // A head of gzip, and blocks of which nothing is made.
    let mut nothing = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    nothing.extend([0, 0, 0, 0xff, 0xff].repeat(MOST / 5 + 1));
    for (fits, beyond) in [
        (answer("200 OK", "", &vec![b'x'; MOST]), answer("200 OK", "", &vec![b'x'; MOST + 1])),
        (chunked(MOST), chunked(MOST + 1)),
        (gzip(MOST), gzip(100 * MOST)),
        (gzip(MOST), answer("200 OK", "content-encoding: gzip\r\n", &nothing)),
    ] {
        let server = Server::giving(fits);
        let stage = Stage::allowing(server.address.to_string());
        let source = format!("{}.text.len()", call(&server));
        assert_eq!(stage.gives(&source), MOST);
        let server = Server::giving(beyond);
        assert_eq!(Stage::allowing(server.address.to_string()).throws(&call(&server)), "too_large");
        assert!(server.saw_close());
    }
}

#[test]
fn a_head_is_bounded_in_bytes_and_headers() {
    let many = (0..10_000).map(|number| format!("a{number}: x\r\n")).collect::<String>();
    let long = format!("a: {}\r\n", "x".repeat(100_000));
    for headers in [many, long] {
        let server = Server::giving(answer("200 OK", &headers, b""));
        let stage = Stage::allowing(server.address.to_string());
        assert_eq!(stage.throws(&call(&server)), "too_large");
    }
    for garbage in [
        "no http\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let server = Server::giving(garbage);
        let stage = Stage::allowing(server.address.to_string());
        assert_eq!(stage.throws(&call(&server)), "protocol");
    }
}

#[test]
fn a_call_ends_at_its_own_time_and_its_connection_with_it() {
    for begun in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"] {
        let server = Server::start(move |_, _| Act::Stall(begun.into()));
        let stage = Stage::allowing(server.address.to_string());
        let call = format!("http::get(\"{}\", #{{ timeout_ms: 50 }})", server.url("/"));
        assert_eq!(stage.throws(&call), "timeout", "{begun:?}");
        assert!(server.saw_close());
    }
}

#[test]
fn a_run_ends_at_its_deadline_and_its_connection_with_it() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"] {
        let server = Server::start(move |_, _| Act::Stall(begun.into()));
        let stage = Stage::allowing(server.address.to_string());
        let source = format!("try {{ {} }} catch {{ \"caught\" }}", call(&server));
        let completion = stage.eval_within(&source, endless(Duration::from_millis(200)));
        assert_eq!(completion.outcome, Outcome::Timeout);
        assert!(completion.duration < Duration::from_secs(2), "{:?}", completion.duration);
        assert!(server.saw_close());
    }
}

#[test]
fn a_script_that_calls_for_ever_ends_by_its_limits_whatever_it_catches() {
    let stage = Stage::allowing("");
    let source = "loop { try { http::get(\"http://127.0.0.1/\") } catch { } }";
    assert_eq!(stage.eval(source).outcome, Outcome::BudgetExceeded);
}
