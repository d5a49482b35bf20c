//! Scripts that invoke each other and mean harm.

use std::time::Duration;

use picloud_executor::ExecutorConfig;
use picloud_shared::script::{LimitPolicy, Limits};

use super::app_within;
use crate::world::{World, config, text};

/// Each script nests as deep as the ceilings let it before it invokes itself, and goes on when it cannot.
#[test]
fn the_deepest_nesting_at_each_depth_overflows_no_stack() {
    let world = World::with(ExecutorConfig { memory_bytes: 64 * 1024 * 1024, ..config() });
    let ceilings = LimitPolicy::default().ceilings;
    let limits = Limits { timeout: Duration::from_secs(60), ..ceilings };
    let sums = format!("{}f(n + 1){}", "1 + (".repeat(30), ")".repeat(30));
    let blocks = format!("{}f(n + 1){}", "if true { ".repeat(40), " }".repeat(40));
    let chains = format!("n{}+ f(n + 1)", "+ n ".repeat(100));
    for (levels, deeper) in [(60, "f(n + 1)"), (18, "[1].map(|x| f(n + 1))"), (60, &sums), (60, &blocks), (60, &chains)]
    {
        let recursive = format!(
            "fn f(n) {{ if n > {levels} {{ try {{ invoke(\"main\"); }} catch {{ }} return 1; }} {deeper} }} f(0); \"done\""
        );
        let (app, before) = (app_within(&[("main", &recursive)], limits), world.records().len());
        assert_eq!(text(&world.run(app.call("main"))), "done", "{deeper}");
        // Where one takes more than its share of the stack there are fewer.
        let runs = world.records().len() - before;
        assert!((2..=9).contains(&runs), "{deeper}: {runs}");
        println!("{runs} runs");
        assert_eq!(text(&world.eval("\"alive\"")), "alive");
    }
}

/// The deepest run holds what takes the most stack to be dropped.
#[test]
fn the_longest_chain_is_dropped_at_the_deepest_run() {
    let world = World::with(ExecutorConfig { memory_bytes: 128 * 1024 * 1024, ..config() });
    let limits = Limits { timeout: Duration::from_secs(60), ..LimitPolicy::default().ceilings };
    let (open, close, index) = ("[".repeat(40), "]".repeat(40), "[0]".repeat(40));
    let source = format!(
        "fn down(n) {{ if n > 50 {{ try {{ return invoke(\"main\"); }} catch {{ return (); }} }} down(n + 1) }} \
         down(0); let f = 1; loop {{ let g = {open}0{close}; g{index} = f; f = || g; }}"
    );
    let completion = world.run(app_within(&[("main", &source)], limits).call("main"));
    assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_memory"));
    assert_eq!(text(&world.eval("\"alive\"")), "alive");
}

#[test]
fn invoking_while_all_workers_do_the_same_waits_for_none() {
    let world = World::with(ExecutorConfig { workers: 2, app_concurrency: 32, queue_capacity: 64, ..config() });
    let limits = Limits { timeout: Duration::from_secs(30), ..crate::world::limits() };
    let source =
        "let d = ctx.request.body; if d == () { d = 0; } if d < 7 { invoke(\"main\", d + 1) } else { \"deep\" }";
    let app = app_within(&[("main", source)], limits);
    let runs: Vec<_> = (0..24).map(|_| world.start(app.call("main"))).collect();
    for run in runs {
        assert_eq!(text(&world.wait(run)), "deep");
    }
    assert_eq!(world.records().len(), 24 * 8);
}
