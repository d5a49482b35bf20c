//! The rules of routing, said as plainly as code can and without a thought of cost. Shares no code with what it checks.

use std::sync::Arc;

use http::Method;
use picloud_shared::id::RouteId;
use picloud_shared::path_pattern::PathKind;
use picloud_shared::route::{HostSelector, Route, RouteMethod};

/// What a table says to a request, in values that compare.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Route { id: RouteId, params: Vec<(String, String)>, rest: Option<String> },
    MethodNotAllowed(String),
    Options(String),
    NoRoute,
}

/// How a pattern matched a path: for each step from the left 0 for static, 1 for a parameter, 2 for the prefix tail.
pub struct PathMatch {
    steps: Vec<u8>,
    params: Vec<(String, String)>,
    rest: Option<String>,
}

pub fn answer(routes: &[Arc<Route>], host: &str, path: &str, method: &Method) -> Answer {
    let matching: Vec<_> = routes
        .iter()
        .filter_map(|route| {
            let rank = host_rank(&route.pattern.host, host)?;
            let matched = path_match(route.pattern.path.kind(), route.pattern.path.as_str(), path)?;
            Some((rank, matched, route))
        })
        .collect();
    let takes = |wanted: &str| {
        matching
            .iter()
            .filter(|(_, _, route)| route.pattern.method.as_str() == wanted || route.pattern.method == RouteMethod::Any)
            .min_by_key(|(rank, matched, route)| {
                (*rank, &matched.steps, route.pattern.method == RouteMethod::Any, route.id)
            })
    };
    let taken = match takes(method.as_str()) {
        None if method == Method::HEAD => takes("GET"),
        taken => taken,
    };
    if let Some((_, matched, route)) = taken {
        return Answer::Route { id: route.id, params: matched.params.clone(), rest: matched.rest.clone() };
    }
    if matching.is_empty() {
        return Answer::NoRoute;
    }
    let has = |name: &str| matching.iter().any(|(_, _, route)| route.pattern.method.as_str() == name);
    let allow = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .filter(|name| has(name) || *name == "OPTIONS" || (*name == "HEAD" && has("GET")))
        .collect::<Vec<_>>()
        .join(", ");
    if method == Method::OPTIONS { Answer::Options(allow) } else { Answer::MethodNotAllowed(allow) }
}

/// The app that a host leads to, with what a named wildcard stands for: of the claims that hold it, one without a wildcard
/// comes first.
pub fn owner(claims: &[(u128, String)], host: &str) -> Option<(u128, Vec<(String, String)>)> {
    let exact = claims.iter().find(|(_, claim)| claim == host).map(|(app, _)| (*app, Vec::new()));
    exact.or_else(|| {
        claims.iter().find_map(|(app, claim)| {
            let (star, parent) = claim.split_once('.')?;
            let named = star.strip_prefix('{').and_then(|star| star.strip_suffix('}'));
            let label = host.strip_suffix(parent)?.strip_suffix('.')?;
            let is_held = (star == "*" || named.is_some()) && !label.is_empty() && !label.contains('.');
            is_held.then(|| (*app, named.iter().map(|name| ((*name).to_owned(), label.to_owned())).collect()))
        })
    })
}

fn host_rank(selector: &HostSelector, host: &str) -> Option<u8> {
    match selector {
        HostSelector::Strict(own) => (own.as_str() == host).then_some(0),
        HostSelector::Wildcard(parent) => {
            let label = host.strip_suffix(parent.as_str())?.strip_suffix('.')?;
            (!label.is_empty() && !label.contains('.')).then_some(1)
        }
        HostSelector::Any => Some(2),
    }
}

pub fn path_match(kind: PathKind, pattern: &str, path: &str) -> Option<PathMatch> {
    let mut pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    if kind == PathKind::Prefix {
        assert_eq!(pattern.pop(), Some("*"), "a prefix ends in its tail");
        if path.len() < pattern.len() {
            return None;
        }
    } else if path.len() != pattern.len() {
        return None;
    }
    let mut matched = PathMatch { steps: Vec::new(), params: Vec::new(), rest: None };
    for (own, sent) in pattern.iter().zip(&path) {
        match own.strip_prefix(':').filter(|_| kind != PathKind::Exact) {
            Some(_) if sent.is_empty() => return None,
            Some(name) => {
                matched.steps.push(1);
                matched.params.push((name.to_owned(), decoded(sent)));
            }
            None if decoded(own) == decoded(sent) => matched.steps.push(0),
            None => return None,
        }
    }
    if kind == PathKind::Prefix {
        matched.steps.push(2);
        matched.rest = Some(path[pattern.len()..].join("/"));
    }
    Some(matched)
}

fn decoded(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = segment.split('%');
    bytes.extend(parts.next().into_iter().flat_map(str::bytes));
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("the alphabets hold whole escapes only"));
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).expect("the alphabets decode to UTF-8")
}
