//! The corpus of scripts that mean harm, `tests/hostile/<topic>/<name>.rhai`. The first line of each says how it ends within the
//! default limits of sizes; with the ceilings and no limit of operations it must end by its deadline. `UPDATE_GOLDEN=1`
//! rewrites first lines with what came, for a reviewer to judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picloud_executor::{Completion, ExecutorConfig};
use picloud_shared::execution::Outcome;
use picloud_shared::script::{LimitPolicy, Limits};

use crate::world::{World, config, limits, text};

const MIB: usize = 1024 * 1024;
/// What a run may take over its memory, for the one copy that it is stopped after.
const OVERSHOOT: usize = 8 * MIB;
/// Where nothing but the clock and the memory ends a run.
const DEADLINE: Duration = Duration::from_millis(200);
/// A tenth over the deadline is what the run may take, the rest is for compiling without optimisation.
const LATEST: Duration = Duration::from_millis(220 + 200);
/// By the clock on the wall, where runs of others are in the way.
const LATEST_OF_ALL: Duration = Duration::from_millis(220 + 500);

struct Script {
    path: PathBuf,
    expected: String,
    source: String,
}

fn scripts(topic: &str) -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(topic);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let (first, source) = text.split_once('\n').unwrap();
        let expected = first.strip_prefix("// ends: ").unwrap_or_else(|| panic!("{path:?} does not say how it ends"));
        Script { expected: expected.to_owned(), source: source.to_owned(), path }
    };
    paths.into_iter().map(read).collect()
}

fn world(memory_bytes: usize) -> World {
    World::with(ExecutorConfig { memory_bytes, ..config() })
}

fn told(completion: &Completion) -> String {
    let limit = completion.failure.as_ref().and_then(|failure| failure.limit.as_deref());
    match (completion.outcome, limit) {
        (outcome, Some(limit)) => format!("{} {limit}", outcome.as_str()),
        (outcome, None) => outcome.as_str().to_owned(),
    }
}

/// Each ends as it says, within its memory, however often it runs; and whoever comes next is served.
#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
fn end_by_their_limits(topic: &str) {
    let tight = world(16 * MIB);
    let few = Limits { max_operations: 20_000, timeout: Duration::from_secs(60), ..limits() };
    let mut failures = String::new();
    for script in scripts(topic) {
        println!("{}", script.path.display());
        for round in 0..2 {
            // Where each operation waits for a lock, few operations take minutes.
            let timeout = if script.expected == "timeout" { DEADLINE } else { few.timeout };
            let completion = tight.eval_within(&script.source, Limits { timeout, ..few });
            let told = told(&completion);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&script.path, format!("// ends: {told}\n{}", script.source)).unwrap();
            } else if told != script.expected {
                let why = completion.failure.map(|failure| failure.message);
                failures += &format!("{} ({round}): {told} {why:?}\n", script.path.display());
            }
            if completion.peak_memory > 16 * MIB + OVERSHOOT {
                failures += &format!("{} took {} bytes\n", script.path.display(), completion.peak_memory);
            }
        }
        assert_eq!(text(&tight.eval("\"alive\"")), "alive");
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Each is over soon after its deadline, within the most memory that an operator can give, and a neighbour is served.
fn end_by_the_clock(topic: &str) {
    let wide = world(128 * MIB);
    let ceilings = LimitPolicy::default().ceilings;
    let endless = Limits { max_operations: u64::MAX, timeout: DEADLINE, ..ceilings };
    let mut failures = String::new();
    for script in scripts(topic) {
        println!("{}", script.path.display());
        let (completion, busy) = begun(|| wide.eval_within(&script.source, endless));
        // The time of the processor says what the run took, whatever else the machine had to do meanwhile.
        if completion.duration.min(busy) > LATEST || completion.duration > LATEST_OF_ALL {
            let (told, took) = (told(&completion), completion.duration);
            failures += &format!("{}: {told} after {took:?}, {busy:?} of them busy\n", script.path.display());
        }
        if completion.peak_memory > 128 * MIB + OVERSHOOT {
            failures += &format!("{} took {} bytes\n", script.path.display(), completion.peak_memory);
        }
        assert_eq!(text(&wide.eval("\"alive\"")), "alive");
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// A run that began, and this process's busy time meanwhile. On a busy machine a deadline may be over before there is a worker.
fn begun(run: impl Fn() -> Completion) -> (Completion, Duration) {
    for _ in 0..10 {
        let before = busy_time();
        let completion = run();
        if completion.outcome != Outcome::Rejected {
            return (completion, busy_time() - before);
        }
    }
    panic!("no worker was free ten times");
}

/// The time that processors worked for this process, which runs one test.
fn busy_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

macro_rules! topics {
    ($($topic:ident)+) => {
        $(mod $topic {
            #[test]
            fn scripts_end_by_their_limits_and_within_their_memory() {
                super::end_by_their_limits(stringify!($topic));
            }

            #[test]
            fn scripts_end_by_the_clock_and_leave_their_neighbours_served() {
                super::end_by_the_clock(stringify!($topic));
            }
        })+

        #[test]
        fn every_topic_is_run_and_the_corpus_is_whole() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
            let mut there: Vec<_> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            there.sort();
            let mut run = vec![$(stringify!($topic)),+];
            run.sort();
            assert_eq!(there, run);
            assert!(run.iter().map(|topic| scripts(topic).len()).sum::<usize>() >= 150);
        }
    };
}

topics! { arrays blobs calls endings functions invoke loops maps parsing shared strings }
