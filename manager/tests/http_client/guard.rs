//! Where scripts get to, and where they do not.

use crate::server::{Act, Server, answer};
use crate::stage::Stage;

#[test]
fn no_spelling_of_a_closed_address_is_reached() {
    let server = Server::giving(answer("200 OK", "", b"secret"));
    let port = server.address.port();
    let stage = Stage::allowing("");
    stage.dns.set("localhost", &[&["127.0.0.1"]]);
    stage.dns.set("inner.test", &[&["10.0.0.1"]]);
    stage.dns.set("both.test", &[&["93.184.216.34", "127.0.0.1"]]);
    stage.dns.set("mapped.test", &[&["::ffff:127.0.0.1"]]);
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST.",
        "inner.test",
        "both.test",
        "mapped.test",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        assert_eq!(stage.throws(&format!("http::get(\"http://{host}:{port}/\")")), "forbidden_address", "{host}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let server = Server::start(|_, _| Act::Last(answer("200 OK", "connection: close\r\n", b"x")));
    let stage = Stage::allowing(server.address.to_string());
    let url = format!("http://rebinds.test:{}/", server.address.port());
    stage.dns.set("rebinds.test", &[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(stage.gives(&format!("http::get(\"{url}\").text")), "x");
    assert_eq!(stage.dns.asked.lock().unwrap().len(), 1, "a name is looked up once for a connection");
    assert_eq!(stage.throws(&format!("http::get(\"{url}\")")), "forbidden_address");
}

#[test]
fn a_redirect_is_checked_as_any_call_is() {
    for to in ["http://127.0.0.2/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "//inner.test/"] {
        let server = Server::giving(answer("302 Found", &format!("location: {to}\r\n"), b""));
        let stage = Stage::allowing(server.address.to_string());
        stage.dns.set("inner.test", &[&["10.0.0.1"]]);
        assert_eq!(stage.throws(&format!("http::get(\"{}\")", server.url("/"))), "forbidden_address", "{to}");
    }
}

#[test]
fn redirects_are_followed_five_times_and_no_more() {
    let server = Server::start(|request, _| {
        let left: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        match left {
            0 => Act::Answer(answer("200 OK", "", b"there")),
            left => Act::Answer(answer("302 Found", &format!("location: /{}\r\n", left - 1), b"moved")),
        }
    });
    let stage = Stage::allowing(server.address.to_string());
    assert_eq!(stage.gives(&format!("http::get(\"{}\").text", server.url("/5"))), "there");
    assert_eq!(stage.throws(&format!("http::get(\"{}\")", server.url("/6"))), "too_many_redirects");
}

#[test]
fn credentials_do_not_cross_to_another_origin() {
    let other = Server::giving(answer("200 OK", "", b"other"));
    let to = other.url("/");
    let server = Server::start(move |_, _| Act::Answer(answer("307 Moved", &format!("location: {to}\r\n"), b"")));
    let stage = Stage::allowing(format!("{},{}", server.address, other.address));
    let headers = "authorization: \"s1\", cookie: \"s2\", \"proxy-authorization\": \"s3\", \"x-api-key\": \"s4\"";
    let call = format!("http::post(\"{}\", \"body\", #{{ headers: #{{ {headers} }} }}).text", server.url("/"));
    assert_eq!(stage.gives(&call), "other");
    let sent = |server: &Server| server.requests()[0].1.clone();
    for secret in ["s1", "s2", "s3", "s4"] {
        assert!(sent(&server).contains(secret) && !sent(&other).contains(secret), "{secret}");
    }
    assert!(sent(&other).ends_with("\r\n\r\nbody"));
}
