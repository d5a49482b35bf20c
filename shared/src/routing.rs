//! Matching: host -> app, then path and method -> route. Pure, on borrowed data, without allocation where the route
//! is static.
//!
//! Of the routes that take a request, the first difference decides: a single host before a wildcard before any; then,
//! segment by segment from the left, static before parameter before a prefix's tail; then the named method before ANY.
//! A GET route answers a HEAD that no route takes by its name or by ANY. No route hides another that takes what it
//! does not.

mod method_set;
mod shadow;
mod spread;
mod trie;

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;

use crate::domain_pattern::Host;
use crate::path_pattern::RequestPath;
use crate::request::Params;
use crate::route::{Route, RouteMethod};
use crate::snapshot::{PublishedApp, Snapshot};

use method_set::MethodSet;
pub use shadow::shadows;
pub use spread::Spread;
use trie::{Found, Trie};

/// The routes of one app, arranged for matching.
#[derive(Debug, Default)]
pub struct RouteTable {
    trie: Trie,
    entries: Box<[Entry]>,
}

#[derive(Debug)]
struct Entry {
    route: Arc<Route>,
    /// From the left. Shared by the routes that name their parameters alike.
    param_names: Arc<[Arc<str>]>,
}

/// A route found within an app.
#[derive(Debug)]
pub struct RouteMatch<'t> {
    /// The route.
    pub route: &'t Arc<Route>,
    /// Its parameters, decoded.
    pub params: Params,
    /// For a prefix route what the prefix left over, as sent and without its leading `/`.
    pub rest: Option<Box<str>>,
}

/// What an app's routes say to a path and a method.
#[derive(Debug)]
pub enum RouteVerdict<'t> {
    /// This route takes it.
    Matched(RouteMatch<'t>),
    /// The path matches, the method does not. Holds what `Allow` lists.
    MethodNotAllowed(AllowedMethods),
    /// A plain OPTIONS that no route takes: answer 204 with this `Allow`.
    Options(AllowedMethods),
    /// No route has such a path.
    NoRoute,
}

/// The methods that a path answers, HEAD wherever GET is and OPTIONS always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedMethods(MethodSet);

impl AllowedMethods {
    /// The value of an `Allow` header, such as `GET, HEAD, OPTIONS`.
    pub fn to_header_value(self) -> String {
        let names: Vec<&str> =
            RouteMethod::ALL.into_iter().filter(|m| self.0.contains(*m)).map(|m| m.as_str()).collect();
        names.join(", ")
    }

    fn of(routes: MethodSet) -> Self {
        let head = if routes.contains(RouteMethod::Get) { routes.with(RouteMethod::Head) } else { routes };
        Self(head.with(RouteMethod::Options))
    }
}

impl RouteTable {
    /// Arranges routes. Of two routes of one pattern (which the store refuses) the one with the smaller id stays.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let mut trie = Trie::default();
        let mut placed: Vec<_> = routes.into_iter().map(|route| (trie.insert(&route.pattern), route)).collect();
        placed.sort_by_key(|(place, route)| (*place, route.pattern.method, route.id));
        placed.dedup_by_key(|(place, route)| (*place, route.pattern.method));
        let mut names = ParamNames::default();
        let mut entries = Vec::with_capacity(placed.len());
        for (index, (place, route)) in (0..).zip(placed) {
            let leaf = trie.leaf_mut(place);
            if leaf.methods == MethodSet::EMPTY {
                leaf.first = index;
            }
            leaf.methods = leaf.methods.with(route.pattern.method);
            entries.push(Entry { param_names: names.of(&route), route });
        }
        trie.shrink_to_fit();
        Self { trie, entries: entries.into_boxed_slice() }
    }

    /// Finds the route for a request. `host` decides between strict, wildcard and any.
    pub fn find(&self, host: &Host<'_>, path: &RequestPath<'_>, method: &Method) -> RouteVerdict<'_> {
        let roots = self.trie.roots(host);
        let mut seen = MethodSet::EMPTY;
        let mut search = |wanted| {
            let found =
                roots.iter().flatten().find_map(|root| self.trie.find(*root, path.segments(), wanted, &mut seen));
            found.and_then(|found| self.matched(&found, wanted, path))
        };
        // GET comes in only once no host and path is left where HEAD or ANY would take the request.
        let get_for_head = || (method == Method::HEAD).then(|| MethodSet::of(&[RouteMethod::Get]));
        let matched = match search(MethodSet::asked_for(method)) {
            None => get_for_head().and_then(search),
            found => found,
        };
        match matched {
            Some(matched) => RouteVerdict::Matched(matched),
            None if seen == MethodSet::EMPTY => RouteVerdict::NoRoute,
            None if method == Method::OPTIONS => RouteVerdict::Options(AllowedMethods::of(seen)),
            None => RouteVerdict::MethodNotAllowed(AllowedMethods::of(seen)),
        }
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The routes, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route)
    }

    fn matched(&self, found: &Found, wanted: MethodSet, path: &RequestPath<'_>) -> Option<RouteMatch<'_>> {
        let index = found.leaf.first + found.leaf.methods.position_of_first(wanted)?;
        let Entry { route, param_names } = &self.entries[index as usize];
        let mut params = Params::with_capacity(param_names.len());
        // From the right, as the trie is walked up to its root; it is not walked for a static route.
        let mut positions = self.trie.param_positions(found);
        for name in param_names.iter().rev() {
            let value = &path.segments()[positions.next()?];
            params.push((Arc::clone(name), value.as_ref().into()));
        }
        params.reverse();
        let rest = found.place.has_tail().then(|| path.rest_after(found.depth).into());
        Some(RouteMatch { route, params, rest })
    }
}

/// The parameter names of one table's routes, each text and each list held once.
#[derive(Default)]
struct ParamNames {
    names: HashSet<Arc<str>>,
    lists: HashSet<Arc<[Arc<str>]>>,
}

impl ParamNames {
    fn of(&mut self, route: &Route) -> Arc<[Arc<str>]> {
        let names: Vec<Arc<str>> = route.pattern.path.param_names().map(|name| shared(&mut self.names, name)).collect();
        shared(&mut self.lists, names.as_slice())
    }
}

fn shared<T>(known: &mut HashSet<Arc<T>>, value: &T) -> Arc<T>
where
    T: ?Sized + Eq + std::hash::Hash,
    for<'v> Arc<T>: From<&'v T>,
{
    if let Some(known) = known.get(value) {
        return Arc::clone(known);
    }
    let value = Arc::from(value);
    known.insert(Arc::clone(&value));
    value
}

/// What the whole instance says to a request.
#[derive(Debug)]
pub enum Dispatch<'s> {
    /// Nobody claims the host.
    UnknownHost,
    /// The host's app.
    App {
        /// The app.
        app: &'s Arc<PublishedApp>,
        /// Parameters of the host.
        host_params: Params,
        /// What its routes say.
        verdict: RouteVerdict<'s>,
    },
}

/// Both phases: what the data plane does with a request, and what `routes:match` tells.
pub fn dispatch<'s>(snapshot: &'s Snapshot, host: &Host<'_>, path: &RequestPath<'_>, method: &Method) -> Dispatch<'s> {
    let Some(claim) = snapshot.find_host(host) else {
        return Dispatch::UnknownHost;
    };
    Dispatch::App {
        app: claim.app,
        host_params: claim.host_params,
        verdict: claim.app.routes().find(host, path, method),
    }
}
