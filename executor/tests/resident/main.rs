//! What the process holds when scripts are done, by the kernel's count and not by our own. A test needs a process to itself, which
//! nextest gives it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod lent;
mod spent;
#[expect(dead_code, reason = "the other tests use all of it")]
#[path = "../executor/world.rs"]
mod world;

const MIB: usize = 1024 * 1024;

/// Bytes of memory that the process holds.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}
