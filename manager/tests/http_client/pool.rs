//! Connections that are used again.

use crate::server::{Act, Server, answer};
use crate::stage::{Stage, app, given};

fn connections(server: &Server) -> Vec<usize> {
    server.requests().into_iter().map(|(connection, _)| connection).collect()
}

#[test]
fn an_app_uses_its_connection_again_and_no_other_app_does() {
    let server = Server::giving(answer("200 OK", "", b"x"));
    let stage = Stage::allowing(server.address.to_string());
    let source = format!("http::get(\"{}\").text", server.url("/"));
    let (one, other) = (app(&source), app(&source));
    for app in [&one, &one, &other, &one] {
        given(&stage.run(app.call("main")), &source);
    }
    assert_eq!(connections(&server), [0, 0, 1, 0]);
}

#[test]
fn a_name_has_a_connection_of_its_own_wherever_it_leads() {
    let server = Server::giving(answer("200 OK", "", b"x"));
    let stage = Stage::allowing(server.address.to_string());
    let port = server.address.port();
    for name in ["a.test", "b.test"] {
        stage.dns.set(name, &[&["127.0.0.1"]]);
    }
    let source = format!(
        "http::get(\"http://a.test:{port}/\"); http::get(\"http://b.test:{port}/\"); http::get(\"http://A.test.:{port}/\").text"
    );
    stage.gives(&source);
    assert_eq!(connections(&server), [0, 1, 0]);
}

#[test]
fn what_reads_is_sent_again_when_the_server_had_closed_the_connection_and_what_changes_is_not() {
    for (call, connections_seen, gives) in [("get(url)", vec![0, 0, 1], "x"), ("post(url, 1)", vec![0, 0], "closed")] {
        // The second request of the first connection is taken, and not answered.
        let server = Server::start(|request, number| match (number, request.starts_with("GET /first")) {
            (0, false) => Act::Last(Vec::new()),
            _ => Act::Answer(answer("200 OK", "", b"x")),
        });
        let stage = Stage::allowing(server.address.to_string());
        let source = format!(
            "let url = \"{}\"; http::get(url + \"first\"); try {{ return http::{call}.text; }} catch (e) {{ return e.code; }}",
            server.url("/")
        );
        assert_eq!(stage.gives(&source), gives);
        assert_eq!(connections(&server), connections_seen, "{call}");
    }
}
