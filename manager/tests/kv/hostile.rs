//! Scripts that mean harm by way of the store.

use std::time::Duration;

use picloud_executor::ExecutorConfig;
use picloud_manager::kv::KvQuota;
use picloud_shared::execution::Outcome;
use picloud_shared::script::{LimitPolicy, Limits};
use serde_json::json;

use crate::stage::{Stage, app, given, on_both};
use crate::test_store::TestStore;
use crate::world::{config, endless, limits, publish};

on_both! {
    fn a_loop_of_calls_ends_by_its_limits_whatever_it_catches(stage: &Stage) {
        for source in [
            r#"loop { kv::get("a"); }"#,
            r#"loop { try { kv::set("a", 1); } catch { } }"#,
            r#"loop { try { throw 1; } catch { kv::incr("a", 1); } }"#,
            r#"loop { try { kv::get(""); } catch { } }"#,
            r#"let n = 0; while n < 1000000 { kv::has("a"); n += 1; }"#,
            r#"[3, 2, 1].sort(|x, y| { loop { kv::get("a"); } })"#,
        ] {
            let few = stage.eval_within(source, Limits { max_operations: 20_000, ..limits() });
            assert_eq!(few.outcome, Outcome::BudgetExceeded, "{source}: {:?}", few.failure);
            let short = stage.eval_within(source, endless(Duration::from_millis(100)));
            assert_eq!(short.outcome, Outcome::Timeout, "{source}: {:?}", short.failure);
            assert!(short.duration < Duration::from_secs(2), "{source}: {:?}", short.duration);
        }
    }

    fn what_is_read_is_charged_to_the_run(stage: &Stage) {
        let source = r#"
            let big = ""; big.pad(200000, "x");
            kv::set("a", big);
            let all = [];
            loop { all.push([kv::get("a")]); }
        "#;
        let ceilings = Limits { timeout: Duration::from_secs(30), ..LimitPolicy::default().ceilings };
        let completion = stage.eval_within(source, ceilings);
        assert_eq!(completion.outcome, Outcome::BudgetExceeded, "{:?}", completion.failure);
        assert!(completion.peak_memory <= config().memory_bytes, "{}", completion.peak_memory);
    }
}

#[test]
fn values_that_cannot_be_written_end_as_errors() {
    let stage = Stage::sqlite();
    for source in [
        "let m = #{}; let f = || m; m.f = f; kv::set(\"a\", m)",
        "let a = 1; for i in 0..200 { a = [a]; } kv::set(\"a\", a)",
        "let s = \"\"; s.pad(250000, \"\\u0001\"); kv::set(\"a\", s)",
        "kv::cas(\"a\", || 1, 1)",
    ] {
        assert_eq!(stage.eval(source).outcome, Outcome::Error, "{source}");
    }
    assert_eq!(stage.gives("\"alive\""), json!("alive"));
}

#[test]
fn a_value_that_nests_as_deep_as_one_may_comes_back_whole() {
    let stage = Stage::sqlite();
    let source = r#"
        let value = "core";
        for level in 0..128 { value = [value]; }
        kv::set("a", value);
        let found = kv::get("a");
        let depth = 0;
        while type_of(found) == "array" { found = found[0]; depth += 1; }
        [found, depth]
    "#;
    assert_eq!(stage.gives(source), json!(["core", 128]));
}

#[test]
fn a_loop_of_refused_writes_ends_after_a_few() {
    let stage = Stage::sqlite();
    let source = r#"
        if ctx.request.path == "/count" { return kv::get("tries"); }
        kv::set("text", "x");
        let tries = 0;
        loop {
            try { kv::incr("text", 1); } catch { tries += 1; kv::set("tries", tries); }
        }
    "#;
    let shop = publish(&[("main", source)], Limits { max_operations: 100_000, ..limits() });
    assert_eq!(stage.call(&shop, "main").outcome, Outcome::BudgetExceeded);
    let request = crate::world::request("GET", "https://shop.example.com/count");
    let tries = given(&stage.run(shop.call_with("main", request)), source);
    assert!(tries.as_i64().is_some_and(|tries| (50..90).contains(&tries)), "{tries}");
}

#[test]
fn a_module_that_calls_the_store_at_its_top_level_does_so_in_each_run_that_imports_it() {
    let stage = Stage::sqlite();
    let source = r#"import "config" as config; config::N"#;
    let scripts = app(&[("main", source), ("config", r#"export const N = kv::incr("n", 1);"#)]);
    for expected in 1..=3 {
        assert_eq!(given(&stage.call(&scripts, "main"), source), json!(expected));
    }
}

#[test]
fn runs_that_call_the_store_are_never_taken_for_leaks() {
    let config = ExecutorConfig { memory_bytes: 1024 * 1024, ..config() };
    let stage = Stage::with(TestStore::sqlite(), KvQuota::default(), config);
    // With a closure that captures, so that what it leaves is counted.
    let source = r#"
        let big = ""; big.pad(20000, "x");
        let keep = |n| { kv::set("k" + n, #{ text: big }); kv::get("k" + n).text.len() };
        let page = kv::list(#{ limit: 3 });
        try { kv::get(""); } catch { }
        keep.call(kv::incr("n", 1) % 7)
    "#;
    let published = publish(&[("main", source)], limits());
    for _ in 0..400 {
        let completion = stage.call(&published, "main");
        assert_eq!(completion.outcome, Outcome::Success, "{:?}", completion.failure);
    }
}
