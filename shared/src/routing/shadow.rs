//! Which of two routes takes the requests of the other, said of the patterns alone.

use std::cmp::Ordering;

use crate::domain_pattern::DomainPattern;
use crate::path_pattern::{PathPattern, Segment};
use crate::route::{HostSelector, RouteMethod, RoutePattern};

/// Whether some request that `shadowed` takes alone would go to `winner` once both exist. Of two that conflict, and so
/// cannot both exist, neither shadows the other.
pub fn shadows(winner: &RoutePattern, shadowed: &RoutePattern) -> bool {
    let Some(by_path) = path_precedence(&winner.path, &shadowed.path) else {
        return false;
    };
    let by_place = host_rank(&winner.host).cmp(&host_rank(&shadowed.host)).then(by_path);
    // Here ANY stands for itself: for a request whose method no route can name.
    let goes_to_winner = |request: RouteMethod| {
        let (winner, shadowed) = (claim(winner.method, request), claim(shadowed.method, request));
        winner.zip(shadowed).is_some_and(|(winner, shadowed)| {
            let precedence = winner.is_direct.cmp(&shadowed.is_direct).then(by_place);
            precedence.then(winner.is_named.cmp(&shadowed.is_named)) == Ordering::Greater
        })
    };
    hosts_meet(&winner.host, &shadowed.host) && RouteMethod::ALL.into_iter().any(goes_to_winner)
}

/// How a route comes to take a request by its method.
struct MethodClaim {
    /// A GET route takes a HEAD only where no other route does, wherever that stands.
    is_direct: bool,
    /// Of two routes of one host and path, the named method comes before ANY.
    is_named: bool,
}

fn claim(route: RouteMethod, request: RouteMethod) -> Option<MethodClaim> {
    match (route, request) {
        (RouteMethod::Any, _) => Some(MethodClaim { is_direct: true, is_named: false }),
        (RouteMethod::Get, RouteMethod::Head) => Some(MethodClaim { is_direct: false, is_named: true }),
        _ => (route == request).then_some(MethodClaim { is_direct: true, is_named: true }),
    }
}

fn host_rank(host: &HostSelector) -> u8 {
    match host {
        HostSelector::Any => 0,
        HostSelector::Wildcard(_) => 1,
        HostSelector::Strict(_) => 2,
    }
}

fn hosts_meet(a: &HostSelector, b: &HostSelector) -> bool {
    let hosts = |selector: &HostSelector| match selector {
        HostSelector::Any => None,
        HostSelector::Strict(host) => Some(DomainPattern::Exact(host.clone())),
        HostSelector::Wildcard(parent) => Some(DomainPattern::Wildcard { label: None, parent: parent.clone() }),
    };
    hosts(a).zip(hosts(b)).is_none_or(|(a, b)| a.overlaps(&b))
}

/// What a pattern says to one more segment of a path, the stronger the greater.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The rest is taken whole, whatever it is.
    Tail,
    Param,
    /// The segment, or the path's end, is said literally.
    Literal,
}

/// Which of two paths precedes on every request path that both match; `None` where they share none. One answer holds
/// for all shared paths, since the steps that decide are the patterns', not the request's.
fn path_precedence(a: &PathPattern, b: &PathPattern) -> Option<Ordering> {
    let (mut left, mut right) = (a.segments(), b.segments());
    let mut precedence = Ordering::Equal;
    loop {
        let (left, right) = (left.next(), right.next());
        let ended = left.is_none() || right.is_none();
        if !ended && !segments_meet(left.as_ref()?, right.as_ref()?) {
            return None;
        }
        // A pattern that has ended without a tail takes nothing that the other goes on to ask for.
        if (left.is_none() && right.is_some() && !a.has_tail()) || (right.is_none() && left.is_some() && !b.has_tail())
        {
            return None;
        }
        precedence = precedence.then(step(left.as_ref(), a).cmp(&step(right.as_ref(), b)));
        if ended {
            return Some(precedence);
        }
    }
}

fn step(segment: Option<&Segment<'_>>, pattern: &PathPattern) -> Step {
    match segment {
        Some(Segment::Param(_)) => Step::Param,
        Some(Segment::Static(_)) => Step::Literal,
        None if pattern.has_tail() => Step::Tail,
        None => Step::Literal,
    }
}

fn segments_meet(a: &Segment<'_>, b: &Segment<'_>) -> bool {
    match (a, b) {
        (Segment::Static(a), Segment::Static(b)) => a == b,
        (Segment::Static(text), Segment::Param(_)) | (Segment::Param(_), Segment::Static(text)) => !text.is_empty(),
        (Segment::Param(_), Segment::Param(_)) => true,
    }
}
