//! The examples of the page of `http`: each is run against a server that answers as the page says, and gives what stands below it.

use serde_json::Value;

use crate::server::{Act, Server, answer};
use crate::stage::{Stage, app, given};

const PAGE: &str = include_str!("../../../docs/services/http.md");

/// Each example of the page, with what it gives.
fn examples() -> Vec<(&'static str, Value)> {
    let blocks = PAGE.split("```rhai\n").skip(1).map(|block| block.split_once("```\n").unwrap());
    let example = |(source, after): (&'static str, &'static str)| {
        let line = after.trim_start().lines().next().unwrap();
        let stated = line.strip_prefix("Gives `").and_then(|line| line.strip_suffix("`.")).expect(line);
        (source, serde_json::from_str(stated).unwrap())
    };
    blocks.map(example).collect()
}

#[test]
fn every_example_of_the_page_gives_what_stands_below_it() {
    assert!(examples().len() >= 4, "the examples are gone");
    let server = Server::start(|request, _| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let json = "content-type: application/json\r\n";
        Act::Answer(match head.split(' ').nth(1).unwrap() {
            "/weather?city=Bern" => answer("200 OK", json, b"{\"degrees\":21}"),
            "/orders" => answer("201 Created", "location: /orders/7\r\n", body.as_bytes()),
            _ => answer("404 Not Found", "", b"nothing is here"),
        })
    });
    let stage = Stage::allowing(server.address.to_string());
    stage.dns.set("api.example.com", &[&["127.0.0.1"]]);
    for (source, expected) in examples() {
        let source =
            source.replace("https://api.example.com/", &format!("http://api.example.com:{}/", server.address.port()));
        assert_eq!(given(&stage.run(app(&source).call("main")), &source), expected, "{source}");
    }
}
