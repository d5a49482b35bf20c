//! What matching costs in memory: nothing for a static route, and few bytes for each route that is kept.

#![allow(clippy::unwrap_used, reason = "here a failed unwrap is a failed test")]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use http::Method;
use picloud_shared::domain_pattern::Host;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern, RequestPath};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::routing::{RouteTable, RouteVerdict};
use uuid::Uuid;

/// Counts what this thread asks of the system's allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The bytes that a block takes up: glibc heads each with 8 bytes and hands out multiples of 16, at least 32.
fn block_bytes(layout: Layout) -> i64 {
    let bytes = (layout.size() + 8).next_multiple_of(16).max(32);
    i64::try_from(bytes).expect("a layout is at most isize::MAX")
}

// SAFETY: each call goes to `System` unchanged, which keeps the contract; the counters are thread-local cells that are
// initialised at compile time and need no destructor, so that touching them neither allocates nor runs code of ours.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        HELD_BYTES.set(HELD_BYTES.get() + block_bytes(layout));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD_BYTES.set(HELD_BYTES.get() - block_bytes(layout));
        // SAFETY: the caller keeps the contract of `dealloc`, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn route(number: u128, kind: PathKind, path: &str, host: HostSelector) -> Arc<Route> {
    let path = PathPattern::parse(kind, path).unwrap();
    Arc::new(Route {
        id: RouteId::from_uuid(Uuid::from_u128(number)),
        app_id: AppId::from_uuid(Uuid::from_u128(1)),
        script_id: ScriptId::from_uuid(Uuid::from_u128(2)),
        pattern: RoutePattern { host, path, method: RouteMethod::Get },
        is_async: false,
    })
}

#[test]
fn matching_a_static_route_allocates_nothing() {
    let strict = HostSelector::Strict(Host::parse("shop.example.com").unwrap().into_owned());
    let table = RouteTable::new([
        route(1, PathKind::Exact, "/", HostSelector::Any),
        route(2, PathKind::Exact, "/api/orders/open", HostSelector::Any),
        route(3, PathKind::Param, "/api/:what/all", HostSelector::Any),
        route(4, PathKind::Exact, "/api/orders/all", strict),
    ]);
    for (authority, raw, number) in [
        ("shop.example.com", "/api/orders/open", 2),
        ("shop.example.com:8443", "/", 1),
        ("shop.example.com", "/api/orders/all", 4),
        ("127.0.0.1:8080", "/api/orders/open", 2),
    ] {
        let before = CALLS.get();
        let (host, path) = (Host::parse_authority(authority).unwrap(), RequestPath::parse(raw).unwrap());
        let verdict = table.find(&host, &path, &Method::GET);
        let calls = CALLS.get() - before;
        let RouteVerdict::Matched(found) = verdict else { panic!("{raw} is not found") };
        assert_eq!(found.route.id, RouteId::from_uuid(Uuid::from_u128(number)));
        assert_eq!(calls, 0, "{authority}{raw}");
    }
}

#[test]
fn a_parameter_costs_its_value_and_the_list_alone() {
    let table = RouteTable::new([route(1, PathKind::Param, "/hello/:name", HostSelector::Any)]);
    let (host, path) = (Host::parse_authority("localhost").unwrap(), RequestPath::parse("/hello/ada").unwrap());
    let before = CALLS.get();
    let verdict = table.find(&host, &path, &Method::GET);
    assert_eq!(CALLS.get() - before, 2);
    assert!(matches!(verdict, RouteVerdict::Matched(_)));
}

#[test]
fn a_route_takes_at_most_400_bytes() {
    let before = HELD_BYTES.get();
    let tables: Vec<RouteTable> = (0..100)
        .map(|app| {
            RouteTable::new((0..100).map(|number| match number % 4 {
                0 => route(number, PathKind::Exact, &format!("/api/v1/resource-{app}-{number}"), HostSelector::Any),
                1 => route(number, PathKind::Param, &format!("/users/:user/things-{number}/:thing"), HostSelector::Any),
                2 => route(number, PathKind::Prefix, &format!("/files/{number}/public/*"), HostSelector::Any),
                _ => route(number, PathKind::Exact, &format!("/page-{number}"), HostSelector::Any),
            }))
        })
        .collect();
    let held = HELD_BYTES.get() - before;
    let routes: usize = tables.iter().map(RouteTable::len).sum();
    let each = held / i64::try_from(routes).unwrap();
    assert_eq!(routes, 10_000);
    assert!((100..=400).contains(&each), "{each} bytes a route");
}
