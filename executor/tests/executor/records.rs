//! Exactly one record for each run, whatever comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picloud_executor::port::Ports;
use picloud_executor::{Executor, ExecutorConfig};
use picloud_shared::execution::{
    ExecutionRecord, ExecutionSink, LogLevel, Origin, Outcome, RECORDED_BODY_BYTES, RecordPolicy, RecordedInput,
};
use picloud_shared::script::Limits;

use crate::world::{NOW, World, config, endless, limits, publish, request, text, with_body};

#[test]
fn every_outcome_hands_over_one_record_with_its_status() {
    let world = World::with(ExecutorConfig { app_concurrency: 0, ..config() });
    let few = Limits { max_operations: 1_000, ..limits() };
    for (source, limits, outcome, status) in [
        ("respond(404, \"\")", limits(), Outcome::Success, 404),
        ("throw 1", limits(), Outcome::Error, 500),
        ("let = 1", limits(), Outcome::Error, 500),
        ("#{status: 99}", limits(), Outcome::Error, 500),
        // With no share of the workers, whatever needs one is rejected.
        ("loop { }", few, Outcome::Rejected, 503),
    ] {
        let before = world.records().len();
        let completion = world.eval_within(source, limits);
        let records = world.records();
        assert_eq!(records.len(), before + 1, "{source}");
        let record = records.last().unwrap();
        assert_eq!((record.outcome, record.status.as_u16()), (outcome, status), "{source}");
        assert_eq!(record.outcome, completion.outcome);
        assert_eq!(record.response.is_some(), outcome == Outcome::Success, "{source}");
        assert_eq!(record.failure, completion.failure, "{source}");
        assert_eq!(record.id, completion.execution_id);
    }
    let world = World::new();
    assert_eq!(world.eval_within("loop { }", few).outcome, Outcome::BudgetExceeded);
    assert_eq!(world.eval_within("loop { }", endless(Duration::from_millis(20))).outcome, Outcome::Timeout);
    let statuses: Vec<_> = world.records().iter().map(|record| record.status.as_u16()).collect();
    assert_eq!(statuses, [507, 504]);
}

#[test]
fn a_record_tells_who_ran_for_what_and_keeps_the_beginning_of_the_bodies() {
    let world = World::new();
    let source = "let s = \"\"; s.pad(10000, \"x\"); log::warn(\"w\"); text(s).header(\"x-a\", \"1\")";
    let published = publish(&[("main", source)], limits());
    let request = with_body(request("POST", "https://shop.example.com/a?b=1"), "text/plain", vec![b'y'; 9_000]);
    let mut invocation = published.call_with("main", request);
    invocation.origin = Origin::Test;
    world.clock.advance(Duration::from_millis(7));
    let completion = world.run(invocation);
    let [record] = <[_; 1]>::try_from(world.records()).unwrap();
    let script = published.script("main");
    assert_eq!((record.app_id, record.script_id, record.script_version), (published.0.app().id, script.row.id, 3));
    assert_eq!((record.origin, record.started_at), (Origin::Test, NOW.plus(Duration::from_millis(7))));
    let RecordedInput::Request { head, body, body_len, .. } = &record.input else { panic!("it is a request") };
    assert_eq!((body.len(), *body_len), (RECORDED_BODY_BYTES, 9_000));
    assert_eq!(&*head.path, "/a");
    let response = record.response.unwrap();
    assert_eq!((response.body.len(), response.body_len), (RECORDED_BODY_BYTES, 10_000));
    assert_eq!(response.headers["x-a"], "1");
    assert_eq!((record.logs.len(), record.logs[0].level), (1, LogLevel::Warn));
    assert_eq!(record.logs, completion.logs);
    assert!(record.duration > Duration::ZERO);
    assert_eq!(record.duration, completion.duration);
}

#[test]
fn an_app_that_switches_bodies_off_has_none_recorded_and_answers_the_same() {
    let world = World::new();
    let published = publish(&[("main", "ctx.request.text + \"!\"")], limits());
    let mut invocation =
        published.call_with("main", with_body(request("POST", "https://a.b/"), "text/plain", "secret"));
    drop(published);
    let app = Arc::into_inner(invocation.app).unwrap();
    let policy = RecordPolicy::new([http::header::ACCEPT], false);
    invocation.app = Arc::new(app.with_record_policy(policy.clone()));
    assert_eq!(text(&world.run(invocation)), "secret!");
    let [record] = <[_; 1]>::try_from(world.records()).unwrap();
    let RecordedInput::Request { body, body_len, .. } = &record.input else { panic!("it is a request") };
    assert_eq!((body.len(), *body_len), (0, 6));
    let response = record.response.unwrap();
    assert_eq!((response.body.len(), response.body_len), (0, 7));
    assert_eq!(*record.policy, policy);
}

#[test]
fn a_run_whose_caller_left_ends_by_its_limits_and_is_recorded_once() {
    let world = World::new();
    let published = publish(&[("main", "loop { }")], endless(Duration::from_millis(50)));
    let executor = Arc::clone(&world.executor);
    let invocation = published.call("main");
    world.wait(world.runtime.spawn(async move {
        let run = executor.run(invocation);
        // Long enough to be polled once, too short for the script.
        assert!(tokio::time::timeout(Duration::from_millis(1), run).await.is_err());
        executor.drain().await;
    }));
    let outcomes: Vec<_> = world.records().iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Timeout]);
}

#[test]
fn a_draining_executor_rejects_and_records() {
    let world = World::new();
    let executor = Arc::clone(&world.executor);
    world.wait(world.runtime.spawn(async move { executor.drain().await }));
    let completion = world.eval("1");
    assert_eq!(completion.outcome, Outcome::Rejected);
    assert_eq!(world.records().len(), 1);
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
fn a_sink_that_panics_is_handed_no_second_record() {
    let (world, sink) = (World::new(), Arc::new(Broken::default()));
    let executor = Executor::start(config(), world.clock.clone(), sink.clone(), Ports::default()).unwrap();
    let invocation = publish(&[("main", "1")], limits()).call("main");
    let completion = world.wait(world.runtime.spawn(async move { executor.run(invocation).await }));
    assert_eq!(completion.outcome, Outcome::Error);
    assert_eq!(completion.failure.unwrap().message, "the run broke and was ended");
    assert_eq!(sink.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_record_names_the_secrets_that_its_run_was_given_and_no_others() {
    // With no share of the workers, what does not run inline is rejected.
    let world = World::with(ExecutorConfig { app_concurrency: 0, ..config() });
    let secrets: BTreeMap<_, _> = ["A", "B", "C"].map(|name| (name.to_owned(), Some(format!("value {name}")))).into();
    for (source, expected) in [
        ("1", &[][..]),
        ("secrets::get(\"NONE\"); env::get(\"A\")", &[]),
        ("secrets::get(\"B\"); secrets::get(\"A\", ()); secrets::get(\"B\")", &["B", "A"]),
        ("throw secrets::get(\"C\")", &["C"]),
    ] {
        let published = publish(&[("main", source)], limits()).with_settings(&BTreeMap::new(), &secrets);
        let completion = world.run(published.call("main"));
        assert_ne!(completion.outcome, Outcome::Rejected, "{source}");
        let record = world.records().pop().unwrap();
        let given: Vec<(&str, &str)> = record.secrets.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let values: Vec<String> = expected.iter().map(|name| format!("value {name}")).collect();
        assert_eq!(given, expected.iter().copied().zip(values.iter().map(String::as_str)).collect::<Vec<_>>());
        assert_eq!(completion.secrets.iter().len(), expected.len());
        let shown = format!("{:?} {:?}", record.secrets, completion.secrets);
        assert!(!shown.contains("value"), "{shown}");
    }
}

#[test]
fn a_run_that_moved_to_a_worker_was_given_what_it_asked_for_there() {
    let world = World::new();
    let secrets = [("A".to_owned(), Some("value".to_owned()))].into();
    let source = "let s = secrets::get(\"A\"); let n = 0; for i in 0..20000 { n += 1; } s";
    let published = publish(&[("main", source)], limits()).with_settings(&BTreeMap::new(), &secrets);
    for _ in 0..3 {
        assert_eq!(text(&world.run(published.call("main"))), "value");
    }
    assert!(world.records().iter().all(|record| record.secrets.iter().len() == 1));
}

#[test]
fn what_a_run_was_given_does_not_count_as_left_behind() {
    let world = World::new();
    let secrets: BTreeMap<_, _> = (0..200).map(|n| (format!("N{n}"), Some("x".repeat(8 * 1024)))).collect();
    // A closure that captures, so that what is left is counted.
    let source = "let n = 0; let more = || n += 1; for i in 0..200 { secrets::get(`N${i}`); } more.call(); n";
    let published = publish(&[("main", source)], limits()).with_settings(&BTreeMap::new(), &secrets);
    for _ in 0..5 {
        assert_eq!(text(&world.run(published.call("main"))), "1");
    }
    assert_eq!(world.executor.load().lost_bytes, 0);
}
