//! Standard functions that mean harm, or wait: how long one call holds its thread, and what it holds besides.

use std::time::{Duration, Instant};

use picloud_executor::ExecutorConfig;
use picloud_shared::execution::Outcome;
use picloud_shared::script::{LimitPolicy, Limits};

use crate::world::{World, config, endless, limits, publish, text};

fn ceilings() -> Limits {
    Limits { timeout: Duration::from_secs(60), ..LimitPolicy::default().ceilings }
}

#[test]
fn no_pattern_holds_its_thread_for_long_whatever_the_text() {
    let world = World::new();
    // Long texts of random letters, for which an automaton would need ever new states.
    let setup = r#"
        let letters = blob();
        let x = 1;
        for n in 0..20000 { x = (x * 1103515245 + 12345) % 2147483648; letters.push(97 + (x >> 16) % 2); }
        let s = letters.as_string();
        while s.len() < 2000000 { s += s; }
        let started = timestamp();
    "#;
    let (refused, timed_out) = ("takes too long on", "the script ran longer than its timeout");
    for (call, expected) in [
        (r#"regex::find_all("[ab]*a[ab]{200}", s)"#, refused),
        (r#"regex::captures("([ab]*)a[ab]{200}", s)"#, refused),
        (r#"regex::captures("([ab]*)a[ab]{20}", s.sub_string(0, 200000))"#, "ended"),
        (r#"regex::find_all("[ab]*a[ab]{200}", s.sub_string(0, 200000))"#, refused),
        (r#"regex::is_match("a[a-z]{2000}[^ab]", s)"#, "max_operations"),
        (r#"regex::replace_all("(a|b|ab)*c", s, "$1")"#, "ended"),
        // Each match goes through all the rest.
        (r#"regex::find_all(".*[^a-z]|[a-z]", s)"#, timed_out),
        (r#"regex::split("\\b\\w*ö\\w*\\b", s.sub_string(0, 500000) + "ö")"#, "ended"),
        (r#"regex::split("\\b\\w*ö\\w*\\b", s + "ö")"#, refused),
    ] {
        let source = format!("{setup} try {{ {call}; }} catch (error) {{ return error; }} \"ended\"");
        let begun = Instant::now();
        let completion = world.eval_within(&source, Limits { timeout: Duration::from_millis(2_000), ..ceilings() });
        let told = completion.failure.as_ref().map_or_else(|| text(&completion), |failure| &failure.message);
        // On a busy machine what would end by itself may be stopped before.
        assert!(told.contains(expected) || told.contains(timed_out), "{call}: {told}");
        // Where it was measured each was over within 3 s; the rest is room for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(20), "{call}: {:?}", begun.elapsed());
        assert_eq!(text(&world.eval("\"alive\"")), "alive");
    }
}

#[test]
fn a_password_that_waits_for_its_turn_waits_no_longer_than_its_run_may() {
    let world = World::new();
    // Another app keeps the slot.
    let many = publish(&[("main", "for n in 0..12 { password::hash(\"a\"); } \"done\"")], ceilings());
    let hashing = world.start(many.call("main"));
    // Shorter than a hash takes, so that it is over whether or not the slot is free for a moment.
    let hurried = publish(&[("main", "password::hash(\"a\")")], endless(Duration::from_millis(5)));
    // Rejected where the machine is too busy to begin it in time.
    let runs = (0..100).map(|_| world.run(hurried.call("main")));
    let begun = runs.filter(|completion| completion.outcome != Outcome::Rejected).take(3).collect::<Vec<_>>();
    assert_eq!(begun.len(), 3);
    for completion in begun {
        assert_eq!(completion.outcome, Outcome::Timeout);
        assert!(completion.duration < Duration::from_secs(2), "{:?}", completion.duration);
    }
    assert_eq!(text(&world.wait(hashing)), "done");
    assert_eq!(text(&world.eval("password::verify(\"a\", password::hash(\"a\")).to_string()")), "true");
}

#[test]
fn apps_take_turns_for_passwords_whatever_the_hashes_of_others_ask_for() {
    let world = World::with(ExecutorConfig { workers: 16, ..config() });
    // As much as a hash may ask for, and so it is charged: some seven times what ours is.
    let verify = "password::verify(\"x\", \"$argon2id$v=19$m=65536,t=4,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaVObG\")";
    let charged = |operations, verify: &str| {
        let limits = Limits { max_operations: operations, ..limits() };
        world.eval_within(&format!("{verify}; 1"), limits).outcome
    };
    assert_eq!(charged(600_000, verify), Outcome::BudgetExceeded);
    assert_eq!(charged(150_000, "password::hash(\"x\")"), Outcome::Success);
    let begun = Instant::now();
    assert_eq!(charged(800_000, verify), Outcome::Success);
    let one = begun.elapsed();

    let greedy = publish(&[("main", &format!("loop {{ {verify}; }}"))], endless(one * 12));
    let runs: Vec<_> = (0..8).map(|_| world.start(greedy.call("main"))).collect();
    let begun = Instant::now();
    let three = "for n in 0..3 { password::hash(\"a\"); } 1";
    assert_eq!(world.eval_within(three, endless(Duration::from_secs(60))).outcome, Outcome::Success);
    // Before each is one that has begun; it would be eight if all stood in one row.
    assert!(begun.elapsed() < one * 8, "{:?} of {one:?}", begun.elapsed());
    assert!(runs.iter().all(|run| !run.is_finished()));
    for run in runs {
        assert_eq!(world.wait(run).outcome, Outcome::Timeout);
    }
}

#[test]
fn a_pattern_is_compiled_on_a_worker_and_then_used_at_once() {
    let world = World::new();
    let published =
        publish(&[("main", "regex::is_match(\"^only-here-[0-9]+$\", \"only-here-1\").to_string()")], limits());
    for _ in 0..5 {
        assert_eq!(text(&world.run(published.call("main"))), "true");
    }
}

#[test]
fn functions_that_differ_each_time_are_not_folded_into_the_program() {
    let world = World::new();
    for source in ["uuid::v4()", "uuid::v7()", "random::float().to_string()", "random::int(0, 9000000000).to_string()"]
    {
        let published = publish(&[("main", source)], limits());
        let (first, second) = (world.run(published.call("main")), world.run(published.call("main")));
        assert_ne!(text(&first), text(&second), "{source}");
    }
    let now = publish(&[("main", "time::now().to_string()")], limits());
    let first = world.run(now.call("main"));
    world.clock.advance(Duration::from_millis(7));
    let second = world.run(now.call("main"));
    let millis = |completion| text(completion).parse::<i64>().unwrap();
    assert_eq!(millis(&second) - millis(&first), 7);
}
