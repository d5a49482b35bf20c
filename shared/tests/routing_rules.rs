//! The rules of routing as tables: each test is one rule, each row one request.

#![allow(clippy::unwrap_used, reason = "here a failed unwrap is a failed test")]

use std::sync::Arc;

use http::Method;
use picloud_shared::domain_pattern::Host;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};
use picloud_shared::route::{HostSelector, Route, RoutePattern};
use picloud_shared::routing::{RouteTable, RouteVerdict, shadows};
use uuid::Uuid;

/// Whether the store would refuse one beside the other: they take the same requests.
fn conflict(a: &RoutePattern, b: &RoutePattern) -> bool {
    a.method == b.method && a.host.shape_key() == b.host.shape_key() && a.path.shape_key() == b.path.shape_key()
}

/// A pattern written `GET exact /a`, or with a host `GET exact /a on *.x`.
fn pattern(text: &str) -> RoutePattern {
    let words: Vec<&str> = text.split(' ').collect();
    let kind = match words[1] {
        "exact" => PathKind::Exact,
        "param" => PathKind::Param,
        "prefix" => PathKind::Prefix,
        other => panic!("{other} is no kind of path"),
    };
    let host = match words.get(4).map(|host| (host.strip_prefix("*."), *host)) {
        None => HostSelector::Any,
        Some((Some(parent), _)) => HostSelector::Wildcard(Host::parse(parent).unwrap().into_owned()),
        Some((None, host)) => HostSelector::Strict(Host::parse(host).unwrap().into_owned()),
    };
    let path = PathPattern::parse(kind, words[2]).unwrap_or_else(|error| panic!("{text}: {error}"));
    RoutePattern { host, path, method: words[0].parse().unwrap() }
}

/// The routes, whose ids count from 0 in the order given.
fn table(patterns: &[&str]) -> RouteTable {
    let route = |(number, text): (usize, &&str)| {
        Arc::new(Route {
            id: RouteId::from_uuid(Uuid::from_u128(number as u128)),
            app_id: AppId::from_uuid(Uuid::from_u128(1)),
            script_id: ScriptId::from_uuid(Uuid::from_u128(2)),
            pattern: pattern(text),
            is_async: false,
        })
    };
    RouteTable::new(patterns.iter().enumerate().map(route))
}

/// What the table says to `GET host/path`: the route's number with parameters and rest, or the refusal.
fn say(table: &RouteTable, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (host, path) = target.split_at(target.find('/').unwrap());
    let host = Host::parse_authority(if host.is_empty() { "h.x" } else { host }).unwrap();
    let path = RequestPath::parse(path).unwrap();
    match table.find(&host, &path, &method.parse::<Method>().unwrap()) {
        RouteVerdict::Matched(found) => {
            let mut said = found.route.id.as_uuid().as_u128().to_string();
            found.params.iter().for_each(|(name, value)| said += &format!(" {name}={value}"));
            found.rest.iter().for_each(|rest| said += &format!(" rest={rest}"));
            said
        }
        RouteVerdict::MethodNotAllowed(allow) => format!("405 {}", allow.to_header_value()),
        RouteVerdict::Options(allow) => format!("204 {}", allow.to_header_value()),
        RouteVerdict::NoRoute => "404".to_owned(),
    }
}

#[track_caller]
fn check(patterns: &[&str], requests: &[(&str, &str)]) {
    let (forward, backward) = (table(patterns), {
        let mut routes: Vec<_> = table(patterns).iter().cloned().collect();
        routes.reverse();
        RouteTable::new(routes)
    });
    for (request, said) in requests {
        assert_eq!(say(&forward, request), *said, "{request} of {patterns:?}");
        assert_eq!(say(&backward, request), *said, "{request} of {patterns:?}, made in the other order");
    }
}

#[test]
fn an_exact_path_matches_itself_alone() {
    let requests = [
        ("GET /a/b", "0"),
        ("GET /a/b/", "404"),
        ("GET /a", "404"),
        ("GET /a/b/c", "404"),
        ("GET //a/b", "404"),
        ("GET /a//b", "404"),
        ("GET /A/b", "404"),
        ("GET /", "404"),
    ];
    check(&["GET exact /a/b"], &requests);
    check(&["GET exact /"], &[("GET /", "0"), ("GET //", "404"), ("GET /a", "404")]);
}

#[test]
fn a_path_and_the_same_with_a_slash_differ() {
    check(&["GET exact /a", "GET exact /a/"], &[("GET /a", "0"), ("GET /a/", "1"), ("GET /a//", "404")]);
}

#[test]
fn a_parameter_is_one_whole_non_empty_segment() {
    let requests = [
        ("GET /users/7/posts/9", "0 id=7 post=9"),
        ("GET /users//posts/9", "404"),
        ("GET /users/7/posts/", "404"),
        ("GET /users/7/posts", "404"),
        ("GET /users/7/8/posts/9", "404"),
        ("GET /users/a%2Fb/posts/%C3%A9%20", "0 id=a/b post=é "),
        ("GET /users/:id/posts/*", "0 id=:id post=*"),
    ];
    check(&["GET param /users/:id/posts/:post"], &requests);
}

#[test]
fn a_prefix_matches_its_path_and_everything_under_it() {
    let requests = [
        ("GET /files", "0 rest="),
        ("GET /files/", "0 rest="),
        ("GET /files/a", "0 rest=a"),
        ("GET /files/a%2Fb/c%20d/", "0 rest=a%2Fb/c%20d/"),
        ("GET /files//", "0 rest=/"),
        ("GET /filesystem", "404"),
        ("GET /", "404"),
        ("GET //files", "404"),
    ];
    check(&["GET prefix /files/*"], &requests);
    check(&["GET prefix /*"], &[("GET /", "0 rest="), ("GET //", "0 rest=/"), ("GET /a/b", "0 rest=a/b")]);
    check(
        &["GET prefix /:org/*"],
        &[("GET /a/b/c", "0 org=a rest=b/c"), ("GET /a", "0 org=a rest="), ("GET //b", "404")],
    );
}

#[test]
fn segments_compare_decoded_on_both_sides() {
    let requests = [("GET /caf%C3%A9", "0"), ("GET /caf%c3%a9", "0"), ("GET /café", "0"), ("GET /%63af%C3%A9", "0")];
    check(&["GET exact /café"], &requests);
    check(&["GET exact /caf%C3%A9"], &requests);
    check(&["GET exact /a%2Fb"], &[("GET /a%2fb", "0"), ("GET /a/b", "404")]);
    check(&["GET exact /a/b"], &[("GET /a%2Fb", "404")]);
}

#[test]
fn an_exact_path_holds_no_syntax() {
    let requests = [("GET /greet/:name", "0"), ("GET /greet/%3Aname", "0"), ("GET /greet/ada", "404")];
    check(&["GET exact /greet/:name"], &requests);
    check(&["GET exact /files/*"], &[("GET /files/*", "0"), ("GET /files/a", "404")]);
}

#[test]
fn a_strict_host_precedes_a_wildcard_and_that_any() {
    let routes = ["GET exact /a on h.x", "GET exact /a on *.x", "GET exact /a"];
    let requests = [
        ("GET h.x/a", "0"),
        ("GET H.X.:80/a", "0"),
        ("GET k.x/a", "1"),
        ("GET x/a", "2"),
        ("GET a.h.x/a", "2"),
        ("GET 127.0.0.1/a", "2"),
    ];
    check(&routes, &requests);
    check(&["GET prefix /* on h.x", "GET exact /a"], &[("GET h.x/a", "0 rest=a"), ("GET k.x/a", "1")]);
}

#[test]
fn from_the_left_a_static_segment_precedes_a_parameter_and_that_a_tail() {
    let routes = ["GET exact /a/b", "GET param /a/:x", "GET param /:x/b", "GET prefix /a/*", "GET prefix /*"];
    let requests = [
        ("GET /a/b", "0"),
        ("GET /a/c", "1 x=c"),
        ("GET /c/b", "2 x=c"),
        ("GET /a", "3 rest="),
        ("GET /a/", "3 rest="),
        ("GET /a/b/c", "3 rest=b/c"),
        ("GET /c", "4 rest=c"),
    ];
    check(&routes, &requests);
    check(&["GET param /:x/b", "GET prefix /a/*"], &[("GET /a/b", "1 rest=b")]);
    check(&["GET exact /a", "GET prefix /a/*"], &[("GET /a", "0"), ("GET /a/", "1 rest=")]);
    check(&["GET exact /a/", "GET prefix /a/*"], &[("GET /a", "1 rest="), ("GET /a/", "0")]);
}

#[test]
fn the_named_method_precedes_any_of_the_same_path_alone() {
    let requests = [("GET /a", "1"), ("POST /a", "0"), ("HEAD /a", "0"), ("OPTIONS /a", "0"), ("PURGE /a", "0")];
    check(&["ANY exact /a", "GET exact /a"], &requests);
    check(&["ANY exact /a", "GET param /:x"], &[("GET /a", "0")]);
}

#[test]
fn the_search_is_exhaustive() {
    let requests = [("GET /a/b/c", "1 x=b"), ("GET /a/b/d", "0"), ("GET /a/c/d", "404")];
    check(&["GET exact /a/b/d", "GET param /a/:x/c"], &requests);
    let deep = ["GET exact /a/a/a/b", "GET param /a/a/:z/c", "GET param /a/:y/a/d", "GET prefix /:x/a/*"];
    let requests = [
        ("GET /a/a/a/b", "0"),
        ("GET /a/a/a/c", "1 z=a"),
        ("GET /a/a/a/d", "2 y=a"),
        ("GET /a/a/a/e", "3 x=a rest=a/e"),
    ];
    check(&deep, &requests);
}

#[test]
fn a_more_specific_route_does_not_hide_a_less_specific_one_that_has_the_method() {
    check(&["POST exact /a/b", "GET param /a/:x"], &[("GET /a/b", "1 x=b"), ("POST /a/b", "0")]);
    check(&["POST exact /a on h.x", "GET exact /a on *.x"], &[("GET h.x/a", "1")]);
    check(&["GET exact /a/b on h.x", "GET param /a/:x"], &[("GET h.x/a/c", "1 x=c")]);
}

#[test]
fn head_uses_get_only_where_no_head_or_any_route_matches_at_all() {
    check(&["GET exact /a"], &[("HEAD /a", "0")]);
    check(&["GET exact /a", "HEAD exact /a"], &[("HEAD /a", "1")]);
    check(&["GET exact /a", "ANY exact /a"], &[("HEAD /a", "1")]);
    check(&["GET exact /a on h.x", "HEAD prefix /*"], &[("HEAD h.x/a", "1 rest=a"), ("GET h.x/a", "0")]);
    check(&["GET exact /a on h.x", "ANY prefix /*"], &[("HEAD h.x/a", "1 rest=a"), ("GET h.x/a", "0")]);
    check(&["GET param /:x", "GET exact /a on h.x"], &[("HEAD h.x/a", "1"), ("HEAD k.x/a", "0 x=a")]);
    check(&["POST exact /a"], &[("HEAD /a", "405 POST, OPTIONS")]);
}

#[test]
fn a_path_that_matches_but_for_its_method_is_405_with_the_methods_of_all_its_routes() {
    check(&["GET exact /a"], &[("POST /a", "405 GET, HEAD, OPTIONS"), ("POST /b", "404")]);
    let spread = ["DELETE exact /a/b on h.x", "PUT param /a/:x on *.x", "PATCH prefix /*", "POST exact /a/b on k.x"];
    check(&spread, &[("GET h.x/a/b", "405 PUT, PATCH, DELETE, OPTIONS"), ("GET z/a/b", "405 PATCH, OPTIONS")]);
    check(&["OPTIONS exact /a"], &[("GET /a", "405 OPTIONS")]);
    check(&["HEAD exact /a"], &[("GET /a", "405 HEAD, OPTIONS")]);
}

#[test]
fn a_plain_options_tells_what_is_allowed_unless_a_route_takes_it() {
    let requests = [("OPTIONS /a", "204 GET, HEAD, POST, OPTIONS"), ("OPTIONS /b", "404")];
    check(&["GET exact /a", "POST param /:x on k.x", "POST exact /a"], &requests);
    check(&["GET exact /a", "OPTIONS prefix /*"], &[("OPTIONS /a", "1 rest=a")]);
    check(&["GET exact /a", "ANY prefix /*"], &[("OPTIONS /a", "1 rest=a")]);
}

#[test]
fn a_method_that_no_route_can_name_is_taken_by_any_alone() {
    check(
        &["GET exact /a", "ANY param /:x"],
        &[("PROPFIND /a", "1 x=a"), ("get /a", "1 x=a"), ("CONNECT /a", "1 x=a")],
    );
    check(&["GET exact /a"], &[("TRACE /a", "405 GET, HEAD, OPTIONS"), ("ANY /a", "405 GET, HEAD, OPTIONS")]);
}

#[test]
fn routes_of_one_path_keep_their_own_parameter_names() {
    let routes = ["GET param /users/:id", "POST param /users/:name", "GET param /users/:user/posts"];
    let requests = [("GET /users/7", "0 id=7"), ("POST /users/7", "1 name=7"), ("GET /users/7/posts", "2 user=7")];
    check(&routes, &requests);
}

#[test]
fn of_two_routes_of_one_pattern_the_smaller_id_stays() {
    let patterns = ["GET param /a/:x", "GET param /a/:y", "GET prefix /a/:z/*"];
    check(&patterns, &[("GET /a/1", "0 x=1"), ("GET /a/1/2", "2 z=1 rest=2")]);
    assert_eq!(table(&patterns).len(), 2);
}

#[test]
fn an_empty_table_has_no_route() {
    check(&[], &[("GET /", "404"), ("OPTIONS /a/b", "404")]);
    assert!(RouteTable::default().is_empty());
    assert_eq!(say(&RouteTable::default(), "GET /"), "404");
}

#[test]
fn a_path_far_deeper_than_any_pattern_is_searched_within_the_patterns_alone() {
    let deep = format!("GET {}", "/a".repeat(100_000));
    assert_eq!(say(&table(&["GET param /:x/:y", "GET exact /a/a/a"]), &deep), "404");
    assert!(say(&table(&["GET prefix /a/*"]), &deep).starts_with("0 rest=a/a/"));
}

#[test]
fn routes_conflict_when_host_key_path_shape_and_method_are_equal() {
    for (a, b, expected) in [
        ("GET param /users/:id", "GET param /users/:name", true),
        ("GET exact /a", "GET param /a", true),
        ("GET exact /caf%C3%A9", "GET exact /café", true),
        ("GET exact /a on H.x", "GET exact /a on h.x", true),
        ("GET exact /a", "POST exact /a", false),
        ("GET exact /a", "ANY exact /a", false),
        ("GET exact /a", "GET exact /a/", false),
        ("GET exact /a", "GET exact /a on h.x", false),
        ("GET exact /a on h.x", "GET exact /a on *.x", false),
        ("GET exact /users/:id", "GET param /users/:id", false),
        ("GET prefix /a/*", "GET exact /a/*", false),
    ] {
        assert_eq!(conflict(&pattern(a), &pattern(b)), expected, "{a} {b}");
        assert_eq!(conflict(&pattern(b), &pattern(a)), expected, "{b} {a}");
    }
}

#[test]
fn a_route_shadows_another_when_it_takes_a_request_of_its() {
    for (winner, shadowed, expected) in [
        ("GET exact /a", "GET prefix /*", true),
        ("GET prefix /*", "GET exact /a", false),
        ("GET exact /a on h.x", "GET exact /a", true),
        ("GET exact /a on h.x", "GET exact /a on *.x", true),
        ("GET exact /a on h.y", "GET exact /a on *.x", false),
        ("GET exact /a", "ANY exact /a", true),
        ("ANY exact /a", "GET exact /a", true), // The HEAD requests, which the GET route takes alone.
        ("HEAD prefix /*", "GET exact /a on h.x", true),
        ("POST exact /a", "GET prefix /*", false),
        ("GET param /a/:x", "GET param /:y/b", true),
        ("GET param /:y/b", "GET param /a/:x", false),
        ("GET param /:x", "GET exact /", false),
        ("GET exact /a", "GET exact /a", false),
    ] {
        assert_eq!(shadows(&pattern(winner), &pattern(shadowed)), expected, "{winner} / {shadowed}");
    }
}
