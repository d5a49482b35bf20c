//! The scripts that mean harm, `tests/hostile`, at the limits that an operator gets who sets none.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use picloud_executor::ExecutorConfig;
use picloud_shared::script::Limits;

use crate::world::{World, config, limits, publish};
use crate::{MIB, resident};

/// Each app may leave what holds itself, some do, and it is counted: a fraction of this in all.
const STAYS: usize = 128 * MIB;
const SOON: Duration = Duration::from_secs(30);

#[test]
fn all_of_them_leave_little_behind() {
    let world = World::with(ExecutorConfig { workers: 4, memory_bytes: 64 * MIB, ..config() });
    // Two million operations; what takes longer than this does the same again and again.
    let limits = Limits { timeout: Duration::from_millis(400), ..limits() };
    world.eval("1");
    let before = resident();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let list = |folder: &Path| -> Vec<_> { fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let mut sources: Vec<String> =
        list(&root).iter().flat_map(|topic| list(topic)).map(|path| fs::read_to_string(path).unwrap()).collect();
    sources.sort();
    assert!(sources.len() > 250);
    let (mut most, mut left) = (0, 0);
    for some in sources.chunks(4) {
        let runs: Vec<_> =
            some.iter().map(|source| world.start(publish(&[("main", source)], limits).call("main"))).collect();
        runs.into_iter().for_each(|run| drop(world.wait(run)));
        most = most.max(resident());
    }
    let done = Instant::now();
    while done.elapsed() < SOON {
        left = resident().saturating_sub(before);
        if left < STAYS {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    println!("{} MiB at most, {} MiB left", (most - before) / MIB, left / MIB);
    assert!(left < STAYS, "{left} bytes are still held, of {} at most", most - before);
}
