//! Where runs start, move, wait and are refused.

use std::time::Duration;

use picloud_executor::{Completion, ExecutorConfig, Invocation};
use picloud_shared::execution::Outcome;
use picloud_shared::script::Limits;
use picloud_shared::snapshot::Snapshot;

use crate::world::{Published, World, config, endless, limits, publish, publish_each, request, text};

/// Spins when asked to with `?spin`, so that its program can be compiled beforehand.
const SPINNER: &str = "if \"spin\" in ctx.request.query { loop { } }";
/// Too long for the inline tier, short for a worker.
const LONG: &str = "let n = 0; for i in 0..20000 { n += 1; } n";

fn spin(published: &Published) -> Invocation {
    published.call_with("main", request("GET", "https://shop.example.com/?spin"))
}

/// Starts them all at once and waits for all.
fn all(world: &World, invocations: impl IntoIterator<Item = Invocation>) -> Vec<Completion> {
    let tasks: Vec<_> = invocations.into_iter().map(|invocation| world.start(invocation)).collect();
    tasks.into_iter().map(|task| world.wait(task)).collect()
}

fn count(completions: &[Completion], outcome: Outcome) -> usize {
    completions.iter().filter(|completion| completion.outcome == outcome).count()
}

#[test]
fn a_run_that_moves_to_a_worker_leaves_nothing_of_its_first_start() {
    let world = World::new();
    let source = format!("log::info(\"once\"); let b = ctx.request.query; {LONG}");
    let published = publish(&[("main", &source)], limits());
    for _ in 0..12 {
        let completion = world.run(published.call("main"));
        assert_eq!(text(&completion), "20000");
        assert_eq!(completion.logs.len(), 1);
    }
    assert_eq!(world.records().len(), 12);
}

#[test]
fn the_operations_of_a_run_count_from_its_second_start() {
    let world = World::new();
    let published = publish(&[("main", LONG)], Limits { max_operations: 100_000, ..limits() });
    for _ in 0..12 {
        assert_eq!(world.run(published.call("main")).outcome, Outcome::Success);
    }
}

#[test]
fn a_short_script_is_answered_while_others_spin_on_every_worker() {
    let world = World::new();
    let spinners = [(); 2].map(|()| publish(&[("main", "loop { }")], endless(Duration::from_secs(5))));
    let short = publish(&[("main", "\"hello\"")], limits());
    assert_eq!(text(&world.run(short.call("main"))), "hello");
    let spinning = spinners.map(|spinner| world.start(spinner.call("main")));
    for _ in 0..5 {
        assert_eq!(text(&world.run(short.call("main"))), "hello");
    }
    assert!(spinning.iter().all(|task| !task.is_finished()));
    for task in spinning {
        assert_eq!(world.wait(task).outcome, Outcome::Timeout);
    }
}

#[test]
fn sources_are_compiled_and_checked_while_others_spin_on_every_worker() {
    let world = World::new();
    let spinners = [(); 2].map(|()| publish(&[("main", "loop { }")], endless(Duration::from_secs(2))));
    let spinning = spinners.map(|spinner| world.start(spinner.call("main")));
    for number in 0..5 {
        assert_eq!(text(&world.eval(&number.to_string())), number.to_string());
    }
    let checked = world.check("main", picloud_shared::script::ScriptKind::Endpoint, "1", &[]);
    assert!(checked.is_ok());
    assert!(spinning.iter().all(|task| !task.is_finished()));
    for task in spinning {
        world.wait(task);
    }
}

#[test]
fn one_app_never_holds_all_workers() {
    let world = World::new();
    let greedy = publish(&[("main", "loop { }")], endless(Duration::from_secs(2)));
    let other = publish(&[("main", LONG)], limits());
    let greedy_runs: Vec<_> = (0..6).map(|_| world.start(greedy.call("main"))).collect();
    for _ in 0..3 {
        assert_eq!(text(&world.run(other.call("main"))), "20000");
    }
    assert!(greedy_runs.iter().all(|task| !task.is_finished()));
    let ends: Vec<_> = greedy_runs.into_iter().map(|task| world.wait(task)).collect();
    // One after the other, and some may not get their turn.
    assert!(count(&ends, Outcome::Timeout) > 0);
    assert_eq!(count(&ends, Outcome::Timeout) + count(&ends, Outcome::Rejected), 6);
}

#[test]
fn an_app_that_finds_all_workers_held_by_others_has_a_spare_one() {
    let world = World::new();
    let greedy = [(); 2].map(|()| publish(&[("main", "loop { }")], endless(Duration::from_secs(8))));
    let greedy_runs: Vec<_> = (0..6).map(|number| world.start(greedy[number % 2].call("main"))).collect();
    // Until both have come to the workers, the first ones may be served there.
    for _ in 0..4 {
        assert_eq!(text(&world.run(publish(&[("main", LONG)], limits()).call("main"))), "20000");
    }
    assert!(greedy_runs.iter().all(|task| !task.is_finished()));
}

/// Half a second is more than this one has.
#[test]
fn an_app_of_a_short_timeout_has_a_spare_worker_before_that_is_over() {
    let world = World::new();
    let greedy = [(); 2].map(|()| publish(&[("main", "loop { }")], endless(Duration::from_secs(20))));
    let greedy_runs: Vec<_> = (0..6).map(|number| world.start(greedy[number % 2].call("main"))).collect();
    // Once one had to wait for half a second, all others are taken.
    assert_eq!(text(&world.run(publish(&[("main", LONG)], limits()).call("main"))), "20000");
    let hasty = Limits { timeout: Duration::from_millis(480), ..limits() };
    // A busy machine may be late with the rest of it, but not each time.
    let served = (0..10).any(|_| {
        // One that waits for longer, and was there first.
        let patient = world.start(publish(&[("main", LONG)], limits()).call("main"));
        let completion = world.run(publish(&[("main", LONG)], hasty).call("main"));
        world.wait(patient);
        completion.outcome == Outcome::Success
    });
    assert!(served);
    assert!(greedy_runs.iter().all(|task| !task.is_finished()));
}

#[test]
fn a_run_that_ends_after_its_deadline_is_none_that_succeeded() {
    let world = World::new();
    let sizes = Limits { max_array_size: 16_000_000, ..endless(Duration::from_millis(300)) };
    // Its last operation begins before the deadline and takes a second where nothing is optimised; no other follows that would look.
    let completion = world.eval_within("let b = blob(8_000_000, 1); let digest = hash::blake3(b);", sizes);
    assert_eq!(completion.outcome, Outcome::Timeout, "{:?}", completion.duration);
}

#[test]
fn an_app_over_its_share_is_rejected_at_once() {
    let world = World::with(ExecutorConfig { app_concurrency: 2, ..config() });
    let published = publish(&[("main", SPINNER)], endless(Duration::from_millis(400)));
    world.run(published.call("main"));
    let completions = all(&world, (0..5).map(|_| spin(&published)));
    let over = |completion: &&Completion| {
        let message = &completion.failure.as_ref().unwrap().message;
        message == "the app already runs as many executions at once as it may"
    };
    let over: Vec<_> = completions.iter().filter(over).collect();
    assert_eq!(over.len(), 3);
    for completion in over {
        assert_eq!(completion.outcome, Outcome::Rejected);
        assert!(completion.duration < Duration::from_millis(300));
    }
}

#[test]
fn a_full_queue_rejects_whoever_comes_next() {
    let world = World::with(ExecutorConfig { workers: 1, queue_capacity: 2, ..config() });
    let apps: Vec<_> = (0..6).map(|_| publish(&[("main", SPINNER)], endless(Duration::from_millis(400)))).collect();
    for app in &apps {
        assert_eq!(world.run(app.call("main")).outcome, Outcome::Success);
    }
    let completions = all(&world, apps.iter().map(spin));
    let full = |completion: &&Completion| {
        completion.failure.as_ref().is_some_and(|failure| failure.message == "too many executions are waiting")
    };
    // One runs and two wait, perhaps longer than they may.
    assert_eq!(completions.iter().filter(full).count(), 3);
    assert_eq!(world.run(apps[0].call("main")).outcome, Outcome::Success);
}

#[test]
fn a_run_that_gets_no_worker_within_its_timeout_is_rejected() {
    let world = World::with(ExecutorConfig { workers: 1, ..config() });
    let hasty = Limits { timeout: Duration::from_millis(300), ..limits() };
    // Spare workers are for apps that have none.
    let app = publish_each(&[("spin", "loop { }", endless(Duration::from_secs(2))), ("wait", LONG, hasty)]);
    // Known as long, it starts on the worker.
    assert_eq!(world.run(app.call("wait")).outcome, Outcome::Success);
    let spinning = world.start(app.call("spin"));
    let completion = loop {
        // Until the spinner has come to the worker, it is simply served.
        let completion = world.run(app.call("wait"));
        if completion.outcome != Outcome::Success {
            break completion;
        }
    };
    assert_eq!(completion.outcome, Outcome::Rejected);
    assert_eq!(completion.failure.unwrap().message, "no worker was free within the script's timeout");
    assert!(completion.duration < Duration::from_millis(1_500));
    assert!(!spinning.is_finished());
    world.wait(spinning);
    assert_eq!(world.run(app.call("wait")).outcome, Outcome::Success);
}

/// As long as a source may be, which takes far longer to compile than a millisecond.
fn long_source(answer: &str) -> String {
    let mut source = String::new();
    for number in 0.. {
        let function =
            format!("fn f{number}() {{ let a = [1, #{{b: 2}}]; if a.len() > 1 {{ a[1].b }} else {{ 0 }} }}\n");
        if source.len() + function.len() + answer.len() > 128 * 1024 {
            break;
        }
        source.push_str(&function);
    }
    source + answer
}

#[test]
fn compiling_takes_nothing_of_a_scripts_timeout() {
    let world = World::new();
    let a_moment = Limits { timeout: Duration::from_millis(1), ..limits() };
    let all_at_once = all(&world, (0..20).map(|_| publish(&[("main", &long_source("1"))], a_moment).call("main")));
    for completion in all_at_once {
        assert_eq!(text(&completion), "1");
    }
    // Nor does it add to it.
    let spinner = publish(&[("main", &long_source("loop { }"))], endless(Duration::from_millis(20)));
    let completion = world.run(spinner.call("main"));
    assert_eq!(completion.outcome, Outcome::Timeout);
    assert!(completion.duration > Duration::from_millis(20));
}

#[test]
fn what_a_change_runs_is_compiled_before_it_is_published_and_only_that() {
    let world = World::new();
    let version =
        |module: &str| publish(&[("main", &long_source("import \"m\" as m; m::f()")), ("m", module)], limits());
    let prepare = |published: &Published, current: &Snapshot| {
        let (executor, apps, current) = (world.executor.clone(), [published.0.clone()], current.clone());
        world.wait(world.runtime.spawn(async move { executor.prepare(&apps, &current).await }));
    };
    let (cold, warm, same) = (version("fn f() { 1 }"), version("fn f() { 1 }"), version("fn f() { 1 }"));
    prepare(&warm, &Snapshot::default());
    prepare(&same, &Snapshot::default().with_apps(1, [(same.0.app().id, Some(same.0.clone()))]));
    let [cold, warm, same] = [cold, warm, same].map(|published| world.run(published.call("main")));
    assert!([&cold, &warm, &same].iter().all(|completion| text(completion) == "1"));
    assert!(warm.duration * 4 < cold.duration, "{:?}, {:?}", warm.duration, cold.duration);
    assert!(warm.duration * 4 < same.duration, "{:?}, {:?}", warm.duration, same.duration);
}

#[test]
fn compiling_has_room_of_its_own_however_little_there_is_for_running() {
    let world = World::with(ExecutorConfig { queue_capacity: 0, app_concurrency: 0, ..config() });
    let checked = world.check("main", picloud_shared::script::ScriptKind::Endpoint, "1", &[]);
    assert!(checked.is_ok());
    let published: Vec<_> = (0..40).map(|number| publish(&[("main", &number.to_string())], limits())).collect();
    let completions = all(&world, published.iter().map(|published| published.call("main")));
    assert_eq!(count(&completions, Outcome::Success), 40);
}

#[test]
fn a_stampede_on_a_new_version_is_served_whole() {
    let world = World::with(ExecutorConfig { app_concurrency: 1, queue_capacity: 2, ..config() });
    for version in 0..5 {
        let published = publish(&[("main", &format!("{version}"))], limits());
        let completions = all(&world, (0..200).map(|_| published.call("main")));
        assert!(completions.iter().all(|completion| text(completion) == version.to_string()));
    }
}

#[test]
fn a_stampede_on_a_broken_script_fails_whole() {
    let world = World::with(ExecutorConfig { app_concurrency: 1, queue_capacity: 2, ..config() });
    let published = publish(&[("main", "let = 1")], limits());
    let completions = all(&world, (0..200).map(|_| published.call("main")));
    assert_eq!(count(&completions, Outcome::Error), 200);
}

#[test]
fn a_run_sees_the_modules_of_its_own_snapshot() {
    let world = World::new();
    let main = r#"import "m" as m; m::f()"#;
    let old = publish(&[("main", main), ("m", "fn f() { \"old\" }")], limits());
    let new = publish(&[("main", main), ("m", "fn f() { \"new\" }")], limits());
    for (published, expected) in [(&old, "old"), (&new, "new"), (&old, "old")] {
        assert_eq!(text(&world.run(published.call("main"))), expected);
    }
}

#[test]
fn programs_that_do_not_fit_into_the_cache_still_run() {
    let world = World::with(ExecutorConfig { program_cache_bytes: 1, ..config() });
    for number in 0..20 {
        assert_eq!(text(&world.eval(&number.to_string())), number.to_string());
    }
}

#[test]
fn runs_at_once_share_a_module_without_getting_in_each_others_way() {
    // On a busy machine many of them move to the workers.
    let world = World::with(ExecutorConfig { app_concurrency: 300, queue_capacity: 300, ..config() });
    let main = r#"import "m" as m; const B = 2; fn f() { global::B } m::f(f()) + m::A.len()"#;
    let module = "const FACTOR = 10; export const A = [1, 2, 3]; fn f(x) { x * global::FACTOR }";
    let published = publish(&[("main", main), ("m", module)], limits());
    for completion in all(&world, (0..300).map(|_| published.call("main"))) {
        assert_eq!(text(&completion), "23");
    }
}

/// Reading a constant copies it, with the lock of its module's constants held. Runs that shared these would wait for each
/// other, 10 ms at a time, and panic at 50.
#[test]
fn runs_at_once_do_not_wait_for_each_other_to_read_the_constants_of_a_module() {
    // One app may hold half of the workers.
    let world = World::with(ExecutorConfig { workers: 6, ..config() });
    let main = r#"import "m" as m; let n = 0; for i in 0..200 { n += m::size(); } n"#;
    let module = format!("const T = [{}]; fn size() {{ global::T.len() }}", "\"a text\", ".repeat(2_000));
    let published = publish(&[("main", main), ("m", &module)], endless(Duration::from_secs(60)));
    for completion in all(&world, (0..8).map(|_| published.call("main"))) {
        assert_eq!(text(&completion), "400000");
    }
}

#[test]
fn closures_that_capture_run_where_they_are_called_for_until_one_waits_for_a_lock_of_its_own() {
    // A run whose thread is taken away for longer than it may take moves to a worker, and here nothing gets one: another
    // attempt says more.
    let captures = "if \"wait\" in ctx.request.query { let a = [1]; a.map(|x| a.len()) }";
    // A part of the request has a lock.
    let keeps = r#"
        fn within(size) { size.call() }
        fn keep(part) { part.within(|| part.len()) }
        if "wait" in ctx.request.query { call(Fn("keep"), ctx.request.query) }
    "#;
    for waits in [captures, keeps] {
        assert!((0..50).any(|_| programs_are_kept_off_once_one_waited(waits).is_some()), "{waits}");
    }
}

/// Nothing, when a run was moved by a machine that had no time for it.
fn programs_are_kept_off_once_one_waited(waits: &str) -> Option<()> {
    // Nothing gets a worker.
    let world = World::with(ExecutorConfig { app_concurrency: 0, ..config() });
    let sources = [
        ("main", "let n = 2; [1, 2].map(|x| x * n)"),
        ("m", "fn f(k) { [1, 2].map(|x| x * k) }"),
        ("with-module", "import \"m\" as m; m::f(3)"),
        ("waits", waits),
        ("plain", "[1, 2].map(|x| x * 2)"),
    ];
    let (published, other) = (publish(&sources, limits()), publish(&sources, limits()));
    let unmoved = |invocation| Some(world.run(invocation)).filter(|done| done.outcome != Outcome::Rejected);
    assert_eq!(text(&unmoved(published.call("main"))?), "[2,4]");
    assert_eq!(text(&unmoved(published.call("with-module"))?), "[3,6]");
    let waits = published.call_with("waits", request("GET", "https://shop.example.com/?wait"));
    assert_eq!(unmoved(published.call("waits"))?.outcome, Outcome::Success);
    assert_eq!(unmoved(waits)?.outcome, Outcome::Error);
    for name in ["main", "with-module", "waits"] {
        assert_eq!(world.run(published.call(name)).outcome, Outcome::Rejected, "{name}");
        assert_eq!(unmoved(other.call(name))?.outcome, Outcome::Success, "{name}");
    }
    assert_eq!(text(&unmoved(published.call("plain"))?), "[2,4]");
    Some(())
}

#[test]
fn without_inline_threads_every_script_runs_on_a_worker() {
    let world = World::with(ExecutorConfig { inline_threads: 0, app_concurrency: 0, ..config() });
    assert_eq!(world.eval("1").outcome, Outcome::Rejected);
    let world = World::with(ExecutorConfig { inline_threads: 0, ..config() });
    assert_eq!(text(&world.eval("1")), "1");
}

/// A source that holds so many texts of 200 KiB, then does `then`.
fn holding(texts: usize, then: &str) -> String {
    // One value may not have as much.
    let (text, doubled) = ("x".repeat(100), "t += t; ".repeat(11));
    let texts: String = (0..texts).map(|n| format!("let t = \"{text}\"; {doubled} let t{n} = t; ")).collect();
    texts + then
}

#[test]
fn what_all_scripts_hold_is_bounded_and_one_app_has_half_of_it() {
    let mib = 1024 * 1024;
    let sizes = ExecutorConfig { workers: 8, memory_bytes: 16 * mib, total_memory_bytes: 40 * mib, ..config() };
    let world = World::with(sizes);
    let long = endless(Duration::from_secs(15));
    // Of the 32 MiB that the inline tier leaves, twice what a run holds: 12, 5 and 9 of them.
    let (large, small, medium) = (holding(30, "loop { }"), holding(12, ""), holding(22, ""));
    let apps = [(); 2].map(|()| publish(&[("large", &large), ("small", &small)], long));
    let other = publish(&[("medium", &medium)], long);
    let mut spinning = apps.each_ref().map(|app| world.start(app.call("large")));
    let refused =
        |completion: Completion| (completion.outcome == Outcome::Rejected).then(|| completion.failure.unwrap().message);
    for (app, large) in apps.iter().zip(&mut spinning) {
        let why = loop {
            if let Some(why) = refused(world.run(app.call("small"))) {
                break why;
            }
            // Whichever of the two grows last is refused.
            if large.is_finished() {
                *large = world.start(app.call("large"));
            }
        };
        assert_eq!(why, "the app's scripts that run take as much memory as one app may");
    }
    let why = refused(world.run(other.call("medium"))).expect("both hold much and spin");
    assert_eq!(why, "the scripts that run take all the memory that there is for them");
    // What takes little is served, on a worker too.
    assert_eq!(text(&world.eval(LONG)), "20000");
    for task in spinning {
        assert_eq!(world.wait(task).outcome, Outcome::Timeout);
    }
    // What was held is given back.
    assert_eq!(world.run(other.call("medium")).outcome, Outcome::Success);
}
