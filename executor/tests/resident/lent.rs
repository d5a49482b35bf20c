//! What a run is lent of its request is gone with the run, whatever the script ties it to.

use picloud_shared::execution::Outcome;

use crate::world::{World, limits, publish, request, with_body};
use crate::{MIB, resident};

/// Requests with a MiB each. All that they may leave together is a tenth of that: a program's stack, an allocator's pages.
const REQUESTS: usize = 300;

fn leaves_no_request_behind(source: &str) {
    let world = World::new();
    let published = publish(&[("main", source)], limits());
    let call = || {
        let request = with_body(request("POST", "https://shop.example.com/?a=1"), "text/plain", vec![b'x'; MIB]);
        let completion = world.run(published.call_with("main", request));
        assert_eq!(completion.outcome, Outcome::Success, "{:?}", completion.failure);
    };
    (0..20).for_each(|_| call());
    let before = resident();
    (0..REQUESTS).for_each(|_| call());
    let more = resident().saturating_sub(before);
    assert!(more < REQUESTS / 10 * MIB, "{more} bytes more after {REQUESTS} requests");
}

#[test]
fn what_a_method_puts_into_a_part() {
    leaves_no_request_behind("fn f(o) { this.x = o; } ctx.request.query.f(ctx); 1");
}

#[test]
fn what_a_method_puts_into_a_part_as_a_function() {
    leaves_no_request_behind("fn f(o) { this.x = || o; } ctx.request.query.f(ctx); 1");
}

#[test]
fn what_a_function_puts_into_a_part_that_it_is_handed() {
    leaves_no_request_behind("fn f(part, o) { part.x = o; } call(Fn(\"f\"), ctx.request.query, ctx); 1");
}

#[test]
fn a_closure_that_holds_itself_and_the_request() {
    leaves_no_request_behind("let m = #{}; let f = || m; m.f = f; m.ctx = ctx; 1");
}
