//! What scripts within one another may use together: what the first of them may.

use std::time::Duration;

use picloud_executor::ExecutorConfig;
use picloud_shared::execution::{ExecutionRecord, Outcome};
use picloud_shared::script::Limits;
use serde_json::json;

use super::{app_within, json_of};
use crate::world::{World, config, endless, limits, publish_endpoints, text};

const MIB: usize = 1024 * 1024;

fn outcomes(world: &World) -> Vec<Outcome> {
    world.records().iter().map(|record: &ExecutionRecord| record.outcome).collect()
}

/// Invokes, and goes on whatever comes of it.
const STUBBORN: &str = "loop { try { invoke(\"callee\") } catch { } }";

#[test]
fn the_deadline_of_the_caller_ends_both_whatever_it_catches() {
    let world = World::new();
    let app = publish_endpoints(&[
        ("main", STUBBORN, endless(Duration::from_millis(100))),
        ("callee", "loop { try { loop { } } catch { } }", endless(Duration::from_secs(60))),
    ]);
    let completion = world.run(app.call("main"));
    assert_eq!(outcomes(&world), [Outcome::Timeout; 2]);
    assert!(completion.duration < Duration::from_secs(1), "{:?}", completion.duration);
}

#[test]
fn a_shorter_timeout_of_its_own_ends_the_one_that_is_invoked_alone() {
    let world = World::new();
    let app = publish_endpoints(&[
        (
            "main",
            "let codes = []; for i in 0..3 { try { invoke(\"callee\") } catch (e) { codes.push(e.code); } } codes",
            endless(Duration::from_secs(60)),
        ),
        ("callee", "loop { }", endless(Duration::from_millis(20))),
    ]);
    assert_eq!(json_of(&world.run(app.call("main"))), json!(["timeout", "timeout", "timeout"]));
}

#[test]
fn calls_that_end_at_once_do_not_hide_the_deadline() {
    let world = World::new();
    let app = app_within(&[("main", STUBBORN), ("callee", "1")], endless(Duration::from_millis(100)));
    let completion = world.run(app.call("main"));
    assert_eq!(completion.outcome, Outcome::Timeout);
    assert!(completion.duration < Duration::from_secs(1), "{:?}", completion.duration);
}

#[test]
fn operations_of_all_count_against_the_first() {
    let work = "let n = 0; while n < 10000 { n += 1; } n";
    let main = "let n = 0; loop { n += invoke(\"callee\").body; }";
    let limits = Limits { max_operations: 300_000, timeout: Duration::from_secs(60), ..limits() };
    let world = World::new();
    let completion = world.run(app_within(&[("main", main), ("callee", work)], limits).call("main"));
    assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_operations"));
    // A round of the loop is some operations more than one.
    let runs = world.records().len();
    assert!((4..=15).contains(&runs), "{runs}");
    // Depth multiplies nothing.
    let world = World::new();
    let main = "let n = 0; while n < 10000 { n += 1; } loop { try { invoke(\"main\") } catch { } }";
    let completion = world.run(app_within(&[("main", main)], limits).call("main"));
    assert_eq!(completion.outcome, Outcome::BudgetExceeded);
    assert!(world.records().len() < 20, "{}", world.records().len());
}

#[test]
fn a_call_that_does_nothing_costs_operations_so_that_records_are_bounded() {
    let world = World::new();
    let limits = Limits { max_operations: 100_000, timeout: Duration::from_secs(60), ..limits() };
    let completion = world.run(app_within(&[("main", STUBBORN), ("callee", "1")], limits).call("main"));
    assert_eq!(completion.outcome, Outcome::BudgetExceeded);
    assert!((100..=200).contains(&world.records().len()), "{}", world.records().len());
}

/// A source that holds so many texts of 200 KiB, then does `then`.
fn holding(texts: usize, then: &str) -> String {
    let (text, doubled) = ("x".repeat(100), "t += t; ".repeat(11));
    let texts: String = (0..texts).map(|n| format!("let t = \"{text}\"; {doubled} let t{n} = t; ")).collect();
    texts + then
}

#[test]
fn memory_is_that_of_the_first_and_what_was_invoked_gives_its_own_back() {
    let config = ExecutorConfig { memory_bytes: 16 * MIB, ..config() };
    // Half of the memory may be held: 8 MiB, of which the caller has 5.
    let long = endless(Duration::from_secs(20));
    let caller = holding(25, "for i in 0..5 { invoke(\"callee\"); } t0.len()");
    let world = World::with(config.clone());
    let small = holding(8, "1");
    let app = app_within(&[("main", &caller), ("callee", &small)], long);
    assert_eq!(text(&world.run(app.call("main"))), "204800");
    let world = World::with(config);
    let large = holding(25, "1");
    let stubborn = holding(25, STUBBORN);
    let app = app_within(&[("main", &stubborn), ("callee", &large)], long);
    assert_eq!(world.run(app.call("callee")).outcome, Outcome::Success);
    let completion = world.run(app.call("main"));
    assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_memory"));
    assert!(completion.peak_memory < 24 * MIB, "{}", completion.peak_memory);
    assert_eq!(outcomes(&world), [Outcome::Success, Outcome::BudgetExceeded, Outcome::BudgetExceeded]);
}

#[test]
fn records_are_not_held_against_the_one_that_invokes() {
    let world = World::with(ExecutorConfig { memory_bytes: 4 * MIB, ..config() });
    // Each record keeps some 60 KiB of log, of body and of headers.
    let callee = r#"
        let s = ""; s.pad(30000, "x");
        log::info(s); log::info("m", #{ data: s });
        text(s).header("x-long", s.sub_string(0, 20000))
    "#;
    let main = "for i in 0..200 { invoke(\"callee\", i); } \"done\"";
    let long = endless(Duration::from_secs(60));
    let app = app_within(&[("main", main), ("callee", callee)], long);
    for _ in 0..2 {
        assert_eq!(text(&world.run(app.call("main"))), "done");
    }
    assert_eq!(world.records().len(), 402);
}

#[test]
fn an_answer_too_large_for_its_caller_is_a_limit_of_the_callers() {
    let world = World::new();
    let small = Limits { max_string_size: 1_000, ..limits() };
    let app = publish_endpoints(&[
        ("main", "try { invoke(\"callee\") } catch { }", small),
        ("callee", "let s = \"\"; s.pad(2000, \"x\"); s", limits()),
    ]);
    let failure = world.run(app.call("main")).failure.unwrap();
    assert_eq!(failure.limit.as_deref(), Some("max_string_size"));
    assert_eq!(outcomes(&world), [Outcome::Success, Outcome::BudgetExceeded]);
}

#[test]
fn what_closures_of_the_invoked_leave_for_ever_is_their_apps() {
    let world = World::with(ExecutorConfig { memory_bytes: MIB, ..config() });
    let leak = "let m = #{}; let f = || m; m.f = f; m.bytes = blob(9000, 1); 1";
    let app = app_within(&[("main", "invoke(\"leak\").body"), ("leak", leak)], limits());
    let ends: Vec<_> = (0..600).map(|_| world.run(app.call("main"))).collect();
    let good = ends.iter().take_while(|completion| completion.outcome == Outcome::Success).count();
    // Each leaves a little more than 9,000 bytes, once, and an app may leave the memory of four executions.
    assert!((400..=466).contains(&good), "{good}");
    assert!(ends[good].failure.as_ref().unwrap().message.contains("holds itself"));
    assert_eq!(text(&world.eval("let n = \"alive\"; let f = || n; f.call()")), "alive");
}
