//! What scripts made the process take, stack and heap, goes back when they are done.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use picloud_executor::{ExecutorConfig, give_memory_back};

use crate::world::{World, config, limits, publish};
use crate::{MIB, resident};

/// What may stay, of hundreds of MiB: arenas that are not quite empty, a stack's first pages.
const STAYS: usize = 32 * MIB;
/// When there was nothing to do for a second, on a machine that has something to do.
const SOON: Duration = Duration::from_secs(30);

fn goes_back(source: &str, at_once: usize) {
    let world =
        World::with(ExecutorConfig { workers: at_once, app_concurrency: 64, memory_bytes: 64 * MIB, ..config() });
    world.eval("1");
    let before = resident();
    let published = publish(&[("main", source)], limits());
    // What they answered is kept, as records are: it lies after all that was freed.
    let (mut most, mut answers) = (0, Vec::new());
    for _ in 0..3 {
        let runs: Vec<_> = (0..at_once).map(|_| world.start(published.call("main"))).collect();
        answers.extend(runs.into_iter().map(|run| world.wait(run)));
        most = most.max(resident());
    }
    let done = Instant::now();
    while resident() > before + STAYS {
        let more = resident() - before;
        assert!(done.elapsed() < SOON, "{more} bytes are still held, of {} at first", most - before);
        thread::sleep(Duration::from_millis(50));
    }
    drop(answers);
}

#[test]
fn the_stack_on_which_a_long_chain_was_dropped() {
    goes_back("let f = || 0; loop { let y = f; f = || y; }", 4);
}

#[test]
fn the_stack_on_which_deep_arrays_were_dropped() {
    let (open, close, index) = ("[".repeat(12), "]".repeat(12), "[0]".repeat(12));
    goes_back(&format!("let f = || 0; loop {{ let y = {open}0{close}; y{index} = f; f = || y; }}"), 4);
}

#[test]
fn the_heap_that_many_small_values_filled() {
    let filled = "fn fill() { let m = #{}; for n in 0..1900 { m[`a key of some length ${n}`] = `and a value, number ${n}`; } m }";
    let all: String = (0..20).map(|n| format!("let m{n} = fill(); ")).collect();
    goes_back(&format!("{filled} {all} let answer = \"\"; answer.pad(3000, \"x\"); answer"), 16);
}

#[test]
fn large_blocks_stay_with_no_thread() {
    let world = World::new();
    world.eval("1");
    let before = resident();
    let threads = 12;
    let (used, measured) = (Arc::new(Barrier::new(threads + 1)), Arc::new(Barrier::new(threads + 1)));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (used, measured) = (Arc::clone(&used), Arc::clone(&measured));
            thread::spawn(move || {
                // As much as a password takes, twice, since the allocator would learn from the first.
                (0..2).for_each(|_| drop(std::hint::black_box(vec![1_u8; 19 * MIB])));
                used.wait();
                measured.wait();
            })
        })
        .collect();
    used.wait();
    let more = resident().saturating_sub(before);
    measured.wait();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(more < STAYS, "{more} bytes are kept for threads");
}

#[test]
fn the_heap_of_threads_that_run_no_scripts_when_it_is_asked_back() {
    let world = World::new();
    world.eval("1");
    let before = resident();
    let many: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 1000]).collect();
    // Whatever lies last keeps all before it from being cut off.
    let last = std::hint::black_box(Box::new([1_u8; 900]));
    drop(std::hint::black_box(many));
    give_memory_back();
    let more = resident().saturating_sub(before);
    drop(last);
    assert!(more < STAYS, "{more} bytes");
}
