//! Exactly one record for each run, also for those within another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picloud_executor::port::Ports;
use picloud_executor::{Executor, Invocation};
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Origin, Outcome, RecordedInput};
use picloud_shared::script::Limits;
use serde_json::json;

use super::{app, app_within, json_of};
use crate::world::{World, config, endless, limits, publish_endpoints};

#[test]
fn each_run_hands_over_a_record_of_its_own_with_its_own_log() {
    let world = World::new();
    let app = app(&[
        ("main", "log::info(\"before\"); invoke(\"callee\", #{ a: 1 }); log::info(\"after\"); respond(202, \"m\")"),
        ("callee", "log::warn(\"within\"); invoke(\"deep\"); respond(201, \"c\").header(\"x-a\", \"1\")"),
        ("deep", "print(\"deep\")"),
    ]);
    let completion = world.run(app.call("main"));
    let records = world.records();
    let told = |record: &ExecutionRecord| {
        let logs: Vec<_> = record.logs.iter().map(|line| line.message.clone()).collect();
        (record.script_id, record.origin, record.status.as_u16(), logs)
    };
    let id = |name: &str| app.script(name).row.id;
    let logs = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        records.iter().map(told).collect::<Vec<_>>(),
        [
            (id("deep"), Origin::Invoke, 204, logs(&["deep"])),
            (id("callee"), Origin::Invoke, 201, logs(&["within"])),
            (id("main"), Origin::ById, 202, logs(&["before", "after"])),
        ]
    );
    let [deep, callee, main] = <[ExecutionRecord; 3]>::try_from(records).unwrap();
    assert_eq!(main.id, completion.execution_id);
    assert!(deep.id != callee.id && callee.id != main.id);
    assert!(deep.duration <= callee.duration && callee.duration <= main.duration);
    let RecordedInput::Request { body, body_len, .. } = callee.input else { panic!("it was invoked") };
    assert_eq!((&*body, body_len), (&b"{\"a\":1}"[..], 7));
    let response = callee.response.unwrap();
    assert_eq!((&*response.body, &response.headers["x-a"]), (&b"c"[..], &"1".parse().unwrap()));
}

#[test]
fn a_failure_is_recorded_where_it_happened_and_thrown_to_the_caller_who_may_catch_it() {
    let few = Limits { max_operations: 2_000, ..limits() };
    let short = endless(Duration::from_millis(30));
    for (callee, own, outcome, says) in [
        ("let a = 1;\nthrow \"no stock\"", limits(), Outcome::Error, "failed: no stock (line 2, column 1)"),
        ("nothing()", limits(), Outcome::Error, "Function not found: nothing"),
        ("#{ status: 99 }", limits(), Outcome::Error, "a response's status is from 200 to 599"),
        ("loop { }", few, Outcome::BudgetExceeded, "the script reached its limit max_operations"),
        ("let s = \"x\"; loop { s += s; }", limits(), Outcome::BudgetExceeded, "max_string_size"),
        ("fn f() { f() } f()", limits(), Outcome::BudgetExceeded, "max_call_levels"),
        ("loop { }", short, Outcome::Timeout, "the script ran longer than its timeout"),
    ] {
        let world = World::new();
        let main = "try { invoke(\"callee\") } catch (e) { return e; }";
        // What the callee uses is its caller's as well.
        let plenty = endless(Duration::from_secs(60));
        let app = publish_endpoints(&[("main", main, plenty), ("callee", callee, own)]);
        let caught = json_of(&world.run(app.call("main")));
        let [within, main] = <[ExecutionRecord; 2]>::try_from(world.records()).unwrap();
        assert_eq!((within.outcome, main.outcome), (outcome, Outcome::Success), "{callee}");
        assert_eq!(caught["code"], outcome.as_str(), "{callee}");
        assert_eq!(caught["execution_id"], within.id.to_string());
        assert!(caught["message"].as_str().unwrap().contains(says), "{caught}");
        assert!(within.failure.is_some() && main.failure.is_none());
    }
}

#[test]
fn what_a_test_invokes_is_a_part_of_the_test() {
    let world = World::new();
    let app = app(&[("main", "invoke(\"callee\")"), ("callee", "1")]);
    world.run(Invocation { origin: Origin::Test, ..app.call("main") });
    assert_eq!(world.records().iter().map(|record| record.origin).collect::<Vec<_>>(), [Origin::Test; 2]);
}

#[test]
fn all_runs_of_a_request_have_the_log_of_one_and_so_many_records() {
    let world = World::new();
    let callee = "let s = \"\"; s.pad(10000, \"x\"); log::info(s); 1";
    let main = "let refused = 0; for i in 0..300 { try { invoke(\"callee\"); } catch (e) { if e.code == \"too_many\" { refused += 1; } } } log::info(\"m\"); refused";
    let app = app(&[("main", main), ("callee", callee)]);
    assert_eq!(json_of(&world.run(app.call("main"))), json!(300 - 256));
    let records = world.records();
    assert_eq!(records.len(), 257);
    let bytes: usize = records.iter().flat_map(|record| &record.logs).map(|line| line.message.len()).sum();
    // Beside them each says of a line that it was dropped.
    assert!(records.iter().filter(|record| record.logs.iter().any(|line| line.message.len() == 10_000)).count() == 6);
    assert!(bytes < 64 * 1024 + 257 * 100, "{bytes}");
    assert_eq!(records.last().unwrap().logs[0].message, "m", "what is left is the caller's");
}

#[test]
fn a_secret_that_one_of_them_was_given_is_named_in_the_records_of_all_that_could_tell_it() {
    let world = World::new();
    let secrets: BTreeMap<_, _> = ["A", "B", "C"].map(|name| (name.to_owned(), Some(format!("value {name}")))).into();
    let app = app(&[
        ("main", "let a = secrets::get(\"A\"); let b = invoke(\"callee\", a).body; secrets::get(\"C\"); b"),
        ("callee", "secrets::get(\"B\")"),
    ]);
    world.run(app.with_settings(&BTreeMap::new(), &secrets).call("main"));
    let given = |record: &ExecutionRecord| record.secrets.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(world.records().iter().map(given).collect::<Vec<_>>(), [vec!["A", "B"], vec!["A", "B", "C"]]);
}

#[test]
fn what_is_not_caught_fails_the_caller_as_well() {
    let world = World::new();
    let app = app(&[("main", "invoke(\"callee\")"), ("callee", "invoke(\"deep\")"), ("deep", "throw \"why\"")]);
    let failure = world.run(app.call("main")).failure.unwrap();
    assert!(failure.message.contains("why") && failure.line == Some(1), "{failure:?}");
    let outcomes: Vec<_> = world.records().iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Error; 3]);
}

#[test]
fn a_run_that_moves_to_a_worker_before_it_invokes_leaves_no_record_twice() {
    let world = World::new();
    let app = app(&[("main", "log::info(\"m\"); invoke(\"callee\").body"), ("callee", "1")]);
    for round in 1..=5 {
        let completion = world.run(app.call("main"));
        assert_eq!((json_of(&completion), completion.logs.len()), (json!(1), 1));
        assert_eq!(world.records().len(), 2 * round);
    }
}

#[test]
fn what_invokes_itself_leaves_one_record_for_each_depth() {
    let world = World::new();
    let source = r#"
        let depth = if ctx.request.body == () { 0 } else { ctx.request.body };
        try { return invoke("main", depth + 1).body; } catch (e) { return #{ depth: depth, code: e.code, message: e.message }; }
    "#;
    let app = app(&[("main", source)]);
    let given = json_of(&world.run(app.call("main")));
    assert_eq!((&given["depth"], &given["code"]), (&json!(8), &json!("too_deep")));
    assert!(given["message"].as_str().unwrap().contains("more than 8 scripts deep"), "{given}");
    assert_eq!(world.records().len(), 9);
}

#[test]
fn scripts_that_invoke_each_other_in_a_circle_are_stopped_with_a_clear_error() {
    let world = World::new();
    let app = app(&[("a", "invoke(\"b\")"), ("b", "invoke(\"a\")")]);
    let completion = world.run(app.call("a"));
    assert_eq!(completion.outcome, Outcome::Error);
    assert!(completion.failure.unwrap().message.contains("do they invoke each other in a circle?"));
    assert_eq!(world.records().len(), 9);
    // As many again, side by side.
    let wide =
        app_within(&[("main", "let n = 0; for i in 0..20 { n += invoke(\"one\").body; } n"), ("one", "1")], limits());
    assert_eq!(json_of(&world.run(wide.call("main"))), json!(20));
}

/// A sink that fails as no sink may.
#[derive(Default)]
struct Broken(AtomicUsize);

impl ExecutionSink for Broken {
    fn record(&self, _record: ExecutionRecord) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("the sink is broken");
    }
}

#[test]
fn a_sink_that_panics_ends_the_caller_and_leaves_its_thread_fit_for_the_next() {
    let (world, sink) = (World::new(), Arc::new(Broken::default()));
    let executor = Arc::new(Executor::start(config(), world.clock.clone(), sink.clone(), Ports::default()).unwrap());
    let app = app(&[("main", "log::info(\"m\"); invoke(\"callee\")"), ("callee", "1"), ("next", "loop { }")]);
    for (round, name) in ["main", "main", "main"].into_iter().enumerate() {
        let (executor, invocation) = (Arc::clone(&executor), app.call(name));
        let completion = world.wait(world.runtime.spawn(async move { executor.run(invocation).await }));
        assert_eq!(completion.outcome, Outcome::Error);
        assert_eq!(sink.0.load(Ordering::Relaxed), 2 * (round + 1));
    }
}
