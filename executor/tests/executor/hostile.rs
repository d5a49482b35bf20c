//! Scripts that mean harm. Each must end by a limit or an error, and the next run must be served as if nothing was.

use std::time::Duration;

use picloud_shared::execution::Outcome;
use picloud_shared::script::{LimitPolicy, Limits};

use picloud_executor::ExecutorConfig;

use crate::world::{World, config, endless, limits, publish, request, text};

/// Runs it in both tiers: the first time it starts inline, then, known as long or not, a few times more.
fn ends(world: &World, source: &str, limits: Limits, expected: Outcome) {
    let published = publish(&[("main", source)], limits);
    for _ in 0..3 {
        let completion = world.run(published.call("main"));
        assert_eq!(completion.outcome, expected, "{source}\n{:?}", completion.failure);
    }
    assert_eq!(text(&world.eval("\"alive\"")), "alive");
}

#[test]
fn nothing_in_a_script_clears_the_stop() {
    let world = World::new();
    let few = Limits { max_operations: 50_000, ..limits() };
    for source in [
        "loop { try { loop { } } catch { } }",
        "try { loop { } } catch { } \"survived\"",
        "let a = []; for i in 0..100 { a.push(i); } a.sort(|x, y| { let n = 0; while n < 1000000 { n += 1; } 1 }); \"ok\"",
        "let a = [3, 2, 1]; a.sort(|x, y| { loop { } }); \"survived\"",
        "loop { let a = [3, 2, 1]; try { a.sort(|x, y| { loop { } }); } catch { } }",
        "[1].map(|x| { loop { } })",
        "[1, 2].reduce(|a, b| { loop { } })",
        "let f = || { loop { } }; f.call()",
        "for i in 0..9223372036854775807 { let x = i; }",
        "for i in range(0, 9223372036854775807, 1) { let x = i; }",
        "let x = 1; while x > 0 { x += 1; x -= 1; }",
        "do { } while true",
    ] {
        ends(&world, source, few, Outcome::BudgetExceeded);
        ends(&world, source, endless(Duration::from_millis(40)), Outcome::Timeout);
    }
}

#[test]
fn a_deadline_is_kept_within_a_few_milliseconds() {
    let world = World::new();
    for source in [
        "loop { }",
        "let s = \"\"; s.pad(200000, \"x\"); loop { let t = s + \"y\"; t.to_upper(); }",
        "let a = []; for i in 0..9000 { a.push(i); } loop { a.reverse(); let b = a; }",
        "let x = 0; let f = || x += 1; loop { f.call(); }",
    ] {
        let completion = world.eval_within(source, endless(Duration::from_millis(50)));
        assert_eq!(completion.outcome, Outcome::Timeout, "{source}");
        assert!(completion.duration < Duration::from_millis(500), "{source}: {:?}", completion.duration);
    }
}

#[test]
fn recursion_ends_at_the_call_levels_however_deep_each_level_nests() {
    let world = World::new();
    let ceilings = LimitPolicy::default().ceilings;
    let sums = format!("fn f(n) {{ {}f(n + 1){} }} f(0)", "1 + (".repeat(30), ")".repeat(30));
    let blocks = format!("fn f(n) {{ {}f(n + 1){} }} f(0)", "if true { ".repeat(50), " }".repeat(50));
    let chains = format!("fn f(n) {{ n{}+ f(n + 1) }} f(0)", "+ n ".repeat(100));
    for source in [
        "fn f() { f() } f()",
        "fn f(n) { [1].map(|x| f(n)) } f(0)",
        "fn f() { try { f() } catch { } } loop { try { f() } catch { } }",
        "fn a(n) { b(n) } fn b(n) { a(n) } a(0)",
        "let f = |f| f.call(f); f.call(f)",
        &sums,
        &blocks,
        &chains,
    ] {
        ends(&world, source, ceilings, Outcome::BudgetExceeded);
    }
}

#[test]
fn huge_thrown_and_logged_values_are_cut() {
    let world = World::new();
    let completion = world.eval("let s = \"\"; s.pad(200000, \"x\"); throw s;");
    assert_eq!(completion.failure.unwrap().message.len(), 4 * 1024);
    let completion = world.eval("let s = \"\"; s.pad(2000, \"x\"); let a = []; a.pad(100, s); throw a;");
    assert_eq!(completion.failure.unwrap().message.len(), 4 * 1024);
    let completion =
        world.eval("let s = \"\"; s.pad(60000, \"x\"); for i in 0..100 { log::info([s]); log::info(s, #{s: s}); }");
    let logged: usize = completion.logs.iter().map(|line| line.message.len()).sum();
    assert!(logged < 70_000, "{logged}");
}

#[test]
fn a_value_that_is_being_changed_is_an_error_and_not_a_hang() {
    let world = World::new();
    let source = "let a = [1, 2, 3]; a.map(|x| a.len())";
    let published = publish(&[("main", source)], limits());
    for _ in 0..3 {
        let completion = world.run(published.call("main"));
        assert!(completion.duration < Duration::from_secs(2));
    }
    assert_eq!(text(&world.eval("\"alive\"")), "alive");
}

#[test]
fn a_long_response_is_refused_by_its_limit() {
    let world = World::new();
    for source in [
        "let s = \"\"; s.pad(200000, \"x\"); let r = []; for i in 0..1 { r.push(s); } #{status: 200, body: [s, s, s, s, s, s]}",
        "let s = \"\"; s.pad(200000, \"\\u0001\"); [s]",
    ] {
        let completion = world.eval(source);
        assert_eq!(completion.outcome, Outcome::BudgetExceeded, "{source}");
    }
}

#[test]
fn the_interpreters_own_panics_end_only_the_run() {
    let world = World::new();
    // A shared value within an array trips an assertion of the interpreter's where it counts sizes.
    for source in [
        "let x = [1]; let f = || x; let a = [1]; a[0] = x; a += [2]; a",
        "let x = [1]; let f = || x; let m = #{}; m.x = x; m += #{y: 1}; m",
        "let x = 1; let f = || x; let a = [f]; a.push(f); a.len()",
        // An order that contradicts itself, which a sort may panic at.
        "let a = []; let n = 0; for i in 0..500 { a.push(i * 7919 % 500); } a.sort(|x, y| if (x * y) % 3 == 0 { 1 } else { -1 }); 1",
    ] {
        let completion = world.eval(source);
        assert_ne!(completion.outcome, Outcome::Rejected, "{source}");
        assert_eq!(text(&world.eval("\"alive\"")), "alive");
    }
}

#[test]
fn the_longest_chain_of_closures_is_dropped_without_overflowing_the_stack() {
    // With the most memory that an operator can give.
    let world = World::with(ExecutorConfig { memory_bytes: 128 * 1024 * 1024, ..config() });
    let ceilings = Limits { timeout: Duration::from_secs(60), ..LimitPolicy::default().ceilings };
    for source in ["let f = 1; loop { let g = f; f = || g; }", "let f = 1; loop { let g = f; f = |x| g + x; }"] {
        let completion = world.eval_within(source, ceilings);
        assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_memory"), "{source}");
    }
    assert_eq!(text(&world.eval("\"alive\"")), "alive");
}

#[test]
fn the_stack_follows_the_memory_so_that_what_is_nested_deepest_is_dropped_on_it() {
    let world = World::with(ExecutorConfig { memory_bytes: 256 * 1024 * 1024, ..config() });
    let ceilings = Limits { timeout: Duration::from_secs(60), ..LimitPolicy::default().ceilings };
    let (open, close, index) = ("[".repeat(40), "]".repeat(40), "[0]".repeat(40));
    let source = format!("let f = 1; loop {{ let g = {open}0{close}; g{index} = f; f = || g; }}");
    let completion = world.eval_within(&source, ceilings);
    assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_memory"));
    assert_eq!(text(&world.eval("\"alive\"")), "alive");
}

#[test]
fn an_app_whose_closures_hold_themselves_is_refused_before_it_has_leaked_much_and_others_go_on() {
    let memory_bytes = 1024 * 1024;
    let world = World::with(ExecutorConfig { memory_bytes, ..config() });
    for leak in [
        "let m = #{}; let f = || m; m.f = f; m.bytes = blob(9000, 1); 1",
        // A part of the request that holds itself.
        r#"
            fn keep(part) { part.itself = || part; part.bytes = blob(9000, 1); }
            call(Fn("keep"), ctx.request.query);
            1
        "#,
    ] {
        an_app_that_leaks_is_refused(&world, leak);
    }
    assert_eq!(text(&world.eval("let n = \"alive\"; let f = || n; f.call()")), "alive");
}

fn an_app_that_leaks_is_refused(world: &World, leak: &str) {
    let published = publish(&[("main", leak)], limits());
    let ends: Vec<_> = (0..1_000).map(|_| world.run(published.call("main"))).collect();
    let good = ends.iter().take_while(|completion| completion.outcome == Outcome::Success).count();
    // Each leaves a little more than 9,000 bytes, and an app may leave the memory of four executions.
    assert!((400..=466).contains(&good), "{good}");
    for refused in &ends[good..] {
        let failure = refused.failure.as_ref().unwrap();
        assert_eq!((refused.outcome, failure.limit.as_deref()), (Outcome::BudgetExceeded, Some("max_memory")));
        assert!(failure.message.contains("holds itself"), "{}", failure.message);
    }
}

#[test]
fn runs_that_leave_nothing_are_never_taken_for_leaks() {
    let world = World::with(ExecutorConfig { memory_bytes: 1024 * 1024, ..config() });
    let source = r#"
        import "module" as m;
        let n = ctx.request.query.n;
        let found = [1, 2, 3].map(|x| x + parse_int(n));
        log::info("found", #{ found: found, again: regex::find_all("[a-z" + n + "]{3}", "abcdef") });
        let text = time::format(time::now(), "Europe/Vienna") + template::render("{{ a }}", #{ a: m::double(2) });
        json(#{ found: found, text: text }).header("x-a", "b")
    "#;
    let published = publish(&[("main", source), ("module", "fn double(n) { n * 2 }")], limits());
    for n in 0..3_000 {
        let call = published.call_with("main", request("GET", &format!("https://shop.example.com/?n={n}")));
        let completion = world.run(call);
        assert_eq!(completion.outcome, Outcome::Success, "{n}: {:?}", completion.failure);
    }
}

#[test]
fn work_in_the_slot_of_passwords_is_nothing_that_a_run_left() {
    let world = World::with(ExecutorConfig { memory_bytes: 64 * 1024, ..config() });
    let source = r#"
        let n = 0;
        let count = || n += 1;
        for i in 0..1000 {
            let right = password::verify("wrong" + i, "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaVObG");
            if !right { count.call(); }
        }
        n
    "#;
    let published = publish(&[("main", source)], endless(Duration::from_secs(60)));
    // An app may leave the memory of four executions, here as much as the slot's work on 1,600 passwords.
    for _ in 0..5 {
        let completion = world.run(published.call("main"));
        assert_eq!(completion.outcome, Outcome::Success, "{:?}", completion.failure);
        assert_eq!(text(&completion), "1000");
    }
}

#[test]
fn responses_cannot_be_chained() {
    let world = World::new();
    for source in ["let r = 1; loop { r = json(r); }", "let r = 1; loop { r = respond(200, [r]); }"] {
        assert_eq!(world.eval(source).outcome, Outcome::Error, "{source}");
    }
}
