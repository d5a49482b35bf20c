//! Matching, checked on random tables against an oracle that reads off the written rules: look at every route, keep
//! what matches, take the first in precedence.

#![allow(clippy::unwrap_used, reason = "here a failed unwrap is a failed test")]

mod oracle;

use http::Method;
use oracle::{Answer, path_match};
use picloud_shared::app::App;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::routing::{RouteTable, RouteVerdict, shadows};
use picloud_shared::snapshot::{PublishedApp, Snapshot};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Whether the store would refuse one beside the other: they take the same requests.
fn conflict(a: &RoutePattern, b: &RoutePattern) -> bool {
    a.method == b.method && a.host.shape_key() == b.host.shape_key() && a.path.shape_key() == b.path.shape_key()
}

/// The same cases in each run: a run that fails can be repeated, and one that passes passes again.
const SEED: RngSeed = RngSeed::Fixed(20_260_101);

fn host(text: &str) -> Host<'_> {
    Host::parse_authority(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host_selector() -> impl Strategy<Value = HostSelector> {
    let strict = |text| HostSelector::Strict(host(text).into_owned());
    let wildcard = |text| HostSelector::Wildcard(host(text).into_owned());
    let single = [strict("h.x"), strict("x"), strict("h.y"), strict("127.0.0.1")];
    prop_oneof![Just(HostSelector::Any), select(single.to_vec()), select(vec![wildcard("x"), wildcard("h.x")])]
}

/// A pattern of up to three segments from the given ones, of any kind. A parameter's name ends in its position, so
/// that none stands twice.
fn path_pattern(segments: &'static [&'static str]) -> impl Strategy<Value = PathPattern> {
    let kind = select(vec![PathKind::Exact, PathKind::Param, PathKind::Prefix]);
    (kind, vec(select(segments), 0..=3)).prop_map(|(kind, segments)| {
        let named = |(position, segment): (usize, &&str)| match *segment {
            ":p" | ":q" => format!("/{segment}{position}"),
            other => format!("/{other}"),
        };
        let mut text: String = segments.iter().enumerate().map(named).collect();
        match kind {
            PathKind::Prefix => text.push_str("/*"),
            _ if text.is_empty() => text.push('/'),
            _ => {}
        }
        PathPattern::parse(kind, &text).unwrap_or_else(|error| panic!("{text}: {error}"))
    })
}

fn route_pattern(segments: &'static [&'static str]) -> impl Strategy<Value = RoutePattern> {
    let method = prop_oneof![2 => select(&RouteMethod::ALL[..]), 1 => Just(RouteMethod::Get)];
    (host_selector(), path_pattern(segments), method).prop_map(|(host, path, method)| RoutePattern {
        host,
        path,
        method,
    })
}

fn route(id: u32, pattern: RoutePattern) -> Arc<Route> {
    let (app_id, script_id) = (AppId::from_uuid(Uuid::from_u128(1)), ScriptId::from_uuid(Uuid::from_u128(2)));
    let id = RouteId::from_uuid(Uuid::from_u128(id.into()));
    Arc::new(Route { id, app_id, script_id, pattern, is_async: false })
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

const PATTERN_SEGMENTS: &[&str] = &["a", "a", "b", "%61", "a%2Fb", "", "*", ":p", ":q", ":p", "%3Ap0"];
const REQUEST_SEGMENTS: &[&str] = &["a", "a", "b", "%61", "%62", "a%2fb", "", "*", ":p0", "c"];
const REQUEST_HOSTS: &[&str] = &["h.x", "k.x", "x", "h.y", "z", "a.h.x", "127.0.0.1", "H.X.:80"];

fn request() -> impl Strategy<Value = (Host<'static>, String, Method)> {
    let methods: Vec<Method> =
        "GET HEAD HEAD POST PUT PATCH DELETE OPTIONS PROPFIND get ANY".split(' ').map(|m| m.parse().unwrap()).collect();
    let path = vec(select(REQUEST_SEGMENTS), 1..=4).prop_map(|segments| format!("/{}", segments.join("/")));
    (select(REQUEST_HOSTS).prop_map(|text| host(text).into_owned()), path, select(methods))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, rng_seed: SEED, ..ProptestConfig::default() })]

    #[test]
    fn matching_equals_the_oracle(
        patterns in vec((any::<u8>(), route_pattern(PATTERN_SEGMENTS)), 0..14),
        requests in vec(request(), 12),
    ) {
        // Ids neither rise with the order of the rows nor are they all different from the pattern's point of view.
        let routes: Vec<_> = (0..).zip(patterns).map(|(n, (high, p))| route(u32::from(high) << 8 | n, p)).collect();
        let table = RouteTable::new(routes.clone());
        for (host, raw, method) in requests {
            let path = RequestPath::parse(&raw).unwrap();
            let expected = oracle::answer(&routes, host.as_str(), &raw, &method);
            prop_assert_eq!(answer(&table, &host, &path, &method), expected, "{} {}{}", method, host, raw);
        }
    }
}

const CLAIMS: &[&str] =
    &["h.x", "k.x", "x", "*.x", "{label}.x", "*.h.x", "{_l}.h.x", "a.h.x", "h.y", "127.0.0.1", "*.a.h.x"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, rng_seed: SEED, ..ProptestConfig::default() })]

    /// Claims come and go, app by app; after each change the host table is what the standing claims say.
    #[test]
    fn finding_a_host_equals_the_oracle(changes in vec((0..4_u128, vec(select(CLAIMS), 0..5)), 1..8)) {
        let mut snapshot = Snapshot::default();
        let mut claimed: BTreeMap<u128, Vec<DomainPattern>> = BTreeMap::new();
        for (version, (number, claims)) in (1..).zip(changes) {
            // As the store sees to it, no two claims of the instance have one shape.
            let mut taken: BTreeSet<String> = claimed.iter().filter(|(app, _)| **app != number)
                .flat_map(|(_, claims)| claims.iter().map(DomainPattern::shape_key)).collect();
            let claims: Vec<DomainPattern> = claims.iter().map(|claim| claim.parse::<DomainPattern>().unwrap())
                .filter(|claim| taken.insert(claim.shape_key())).collect();
            let app = App { id: AppId::from_uuid(Uuid::from_u128(number)), slug: format!("app-{number}").parse().unwrap() };
            let published = PublishedApp::new(app, claims.clone(), Vec::new(), Vec::new()).0;
            let change = (!claims.is_empty()).then(|| Arc::new(published));
            snapshot = snapshot.with_apps(version, [(AppId::from_uuid(Uuid::from_u128(number)), change)]);
            claimed.insert(number, claims);
            let all: Vec<(u128, String)> =
                claimed.iter().flat_map(|(app, claims)| claims.iter().map(|claim| (*app, claim.to_string()))).collect();
            for sent in REQUEST_HOSTS {
                let host = host(sent);
                let found = snapshot.find_host(&host).map(|found| {
                    let params = found.host_params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
                    (found.app.app().id.as_uuid().as_u128(), params.collect::<Vec<_>>())
                });
                prop_assert_eq!(found, oracle::owner(&all, host.as_str()), "{} of {:?}", sent, all);
            }
        }
    }
}

/// All paths of up to three segments, each one of a pattern's own, one that no pattern names, or the empty one; and
/// those of three with one more behind them, which only a prefix reaches. Where the patterns have three segments at
/// most, whatever they do to any path, they do to one of these.
fn telling_paths(a: &PathPattern, b: &PathPattern) -> Vec<String> {
    let own = a.as_str().split('/').chain(b.as_str().split('/'));
    let segments: BTreeSet<&str> = own.chain(["other", ""]).collect();
    let mut last = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..3 {
        last = last.iter().flat_map(|path| segments.iter().map(move |segment| format!("{path}/{segment}"))).collect();
        all.extend_from_slice(&last);
    }
    all.extend(last.iter().map(|path| format!("{path}/other")));
    all
}

/// Says by trying requests what `shadows` says by looking at the patterns.
fn shadows_by_trial(winner: &RoutePattern, shadowed: &RoutePattern) -> bool {
    let alone = RouteTable::new([route(2, shadowed.clone())]);
    let both = RouteTable::new([route(2, shadowed.clone()), route(1, winner.clone())]);
    let is = |answer: Answer, wanted: u32| matches!(answer, Answer::Route { id, .. } if id == RouteId::from_uuid(Uuid::from_u128(wanted.into())));
    let methods = "GET HEAD POST OPTIONS PROPFIND".split(' ').map(|m| m.parse::<Method>().unwrap());
    let hosts = ["h.x", "k.x", "x", "a.h.x", "h.y", "127.0.0.1", "z"].map(host);
    let raws = telling_paths(&winner.path, &shadowed.path);
    let paths: Vec<_> = raws.iter().map(|raw| RequestPath::parse(raw).unwrap()).collect();
    methods.into_iter().any(|method| {
        hosts.iter().any(|host| {
            paths
                .iter()
                .any(|path| is(answer(&alone, host, path, &method), 2) && is(answer(&both, host, path, &method), 1))
        })
    })
}

fn few_methods() -> impl Strategy<Value = RouteMethod> {
    select(vec![RouteMethod::Get, RouteMethod::Head, RouteMethod::Post, RouteMethod::Options, RouteMethod::Any])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, rng_seed: SEED, ..ProptestConfig::default() })]

    #[test]
    fn shadowing_is_what_a_request_finds(
        mut winner in route_pattern(&["a", "a", "", ":p", ":p"]),
        mut shadowed in route_pattern(&["a", "a", "", ":p", ":p"]),
        methods in (few_methods(), few_methods()),
        same_host in any::<bool>(),
    ) {
        (winner.method, shadowed.method) = methods;
        if same_host {
            winner.host = shadowed.host.clone();
        }
        if conflict(&winner, &shadowed) {
            prop_assert!(!shadows(&winner, &shadowed));
        } else {
            prop_assert_eq!(shadows(&winner, &shadowed), shadows_by_trial(&winner, &shadowed));
        }
    }

    #[test]
    fn equal_shape_keys_match_equal_paths_and_no_others_do(
        a in path_pattern(&["a", "%61", "", "*", ":p", ":q", "%3Ap0"]),
        b in path_pattern(&["a", "%61", "", "*", ":p", ":q", "%3Ap0"]),
    ) {
        let paths = telling_paths(&a, &b);
        let matched = |pattern: &PathPattern| -> Vec<bool> {
            paths.iter().map(|path| path_match(pattern.kind(), pattern.as_str(), path).is_some()).collect()
        };
        prop_assert_eq!(a.shape_key() == b.shape_key(), matched(&a) == matched(&b), "{} {}", a.shape_key(), b.shape_key());
    }
}
