//! Any table of routes and any requests: the router says what the written rules say, read off by looking at every route.
#![no_main]

#[path = "../../../shared/tests/matching_oracle/oracle.rs"]
mod oracle;

use std::sync::Arc;

use arbitrary::Arbitrary;
use http::Method;
use libfuzzer_sys::fuzz_target;
use oracle::Answer;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::routing::{RouteTable, RouteVerdict};
use picloud_shared::snapshot::{PublishedApp, Snapshot};
use uuid::Uuid;

/// Hosts and methods are few, so that they meet; paths are any text.
#[derive(Debug, Arbitrary)]
struct Input<'a> {
    routes: Vec<(u8, u8, u8, &'a str)>,
    requests: Vec<(u8, u8, &'a str)>,
    claims: Vec<(u8, &'a str)>,
}

const HOSTS: [&str; 6] = ["h.x", "x", "k.x", "a.h.x", "127.0.0.1", "[::1]"];

fn host(number: u8) -> Host<'static> {
    Host::parse_authority(HOSTS[usize::from(number) % HOSTS.len()]).expect("it is a host").into_owned()
}

fn selector(number: u8) -> HostSelector {
    match number % 8 {
        0..=2 => HostSelector::Any,
        3 => HostSelector::Wildcard(host(0)),
        4 => HostSelector::Wildcard(host(1)),
        _ => HostSelector::Strict(host(number)),
    }
}

fn route((number, (hosts, kind, method, path)): (usize, &(u8, u8, u8, &str))) -> Option<Arc<Route>> {
    let kind = [PathKind::Exact, PathKind::Param, PathKind::Prefix][usize::from(kind % 3)];
    Some(Arc::new(Route {
        id: RouteId::from_uuid(Uuid::from_u128(number as u128)),
        app_id: AppId::from_uuid(Uuid::from_u128(1)),
        script_id: ScriptId::from_uuid(Uuid::from_u128(2)),
        pattern: RoutePattern {
            host: selector(*hosts),
            path: PathPattern::parse(kind, path).ok()?,
            method: RouteMethod::ALL[usize::from(*method) % RouteMethod::ALL.len()],
        },
        is_async: false,
    }))
}

fn answer(table: &RouteTable, host: &Host<'_>, path: &RequestPath<'_>, method: &Method) -> Answer {
    match table.find(host, path, method) {
        RouteVerdict::Matched(found) => Answer::Route {
            id: found.route.id,
            params: found.params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            rest: found.rest.map(String::from),
        },
        RouteVerdict::MethodNotAllowed(allowed) => Answer::MethodNotAllowed(allowed.to_header_value()),
        RouteVerdict::Options(allowed) => Answer::Options(allowed.to_header_value()),
        RouteVerdict::NoRoute => Answer::NoRoute,
    }
}

fn requests_lead_where_the_rules_say(input: &Input<'_>) {
    let routes: Vec<_> = input.routes.iter().take(12).enumerate().filter_map(route).collect();
    let table = RouteTable::new(routes.clone());
    let methods =
        ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"].map(|name| name.parse::<Method>().expect("it is one"));
    for (place, method, raw) in input.requests.iter().take(12) {
        let Ok(path) = RequestPath::parse(raw) else {
            continue;
        };
        let (host, method) = (host(*place), &methods[usize::from(*method) % methods.len()]);
        assert_eq!(answer(&table, &host, &path, method), oracle::answer(&routes, host.as_str(), raw, method), "{raw}");
    }
}

fn hosts_lead_to_who_claimed_them(input: &Input<'_>) {
    let mut taken: Vec<(u128, DomainPattern)> = Vec::new();
    for (number, text) in input.claims.iter().take(12) {
        let Ok(claim) = text.parse::<DomainPattern>() else {
            continue;
        };
        // The store sees to it that no two claims have one shape.
        if taken.iter().all(|(_, held)| held.shape_key() != claim.shape_key()) {
            taken.push((u128::from(number % 3), claim));
        }
    }
    let apps = (0..3_u128).map(|number| {
        let id = AppId::from_uuid(Uuid::from_u128(number));
        let app = picloud_shared::app::App { id, slug: format!("app-{number}").parse().expect("it is one") };
        let claims = taken.iter().filter(|(owner, _)| *owner == number).map(|(_, claim)| claim.clone()).collect();
        (id, Some(Arc::new(PublishedApp::new(app, claims, Vec::new(), Vec::new()).0)))
    });
    let snapshot = Snapshot::default().with_apps(1, apps);
    let all: Vec<_> = taken.iter().map(|(owner, claim)| (*owner, claim.to_string())).collect();
    let asked = input.claims.iter().map(|(_, text)| text.trim_start_matches(['*', '.']));
    for text in asked.chain(HOSTS) {
        let Ok(host) = Host::parse_authority(text) else {
            continue;
        };
        let found = snapshot.find_host(&host).map(|found| {
            let params = found.host_params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            (found.app.app().id.as_uuid().as_u128(), params.collect::<Vec<_>>())
        });
        assert_eq!(found, oracle::owner(&all, host.as_str()), "{text}");
    }
}

fuzz_target!(|input: Input<'_>| {
    requests_lead_where_the_rules_say(&input);
    hosts_lead_to_who_claimed_them(&input);
});
