//! What the process may take of the machine: files, and memory.

use std::fs;
use std::path::{Path, PathBuf};

use picloud_shared::doctor::Check;
use rustix::process::{Resource, getrlimit};

use crate::config::Config;

const FILES: &str = "open files";
const MEMORY: &str = "memory";
/// Files beside those of connections.
const KEPT_BACK: u64 = 256;
const MIB: u64 = 1024 * 1024;
/// Below which scripts hardly find room beside the rest.
const LITTLE: u64 = 192 * MIB;

pub fn look(config: &Config, serving: Option<u32>) -> Vec<Check> {
    let connections = config.io.max_connections as u64;
    let process = serving.map(|pid| Path::new("/proc").join(pid.to_string()));
    let limits = process.as_ref().and_then(|process| fs::read_to_string(process.join("limits")).ok());
    // Where none runs, it would have what this one may have at most.
    let most = match &limits {
        Some(limits) => open_files(limits),
        None => getrlimit(Resource::Nofile).maximum,
    };
    let open = process.as_ref().and_then(|process| Some(fs::read_dir(process.join("fd")).ok()?.count() as u64));
    let mut checks = vec![files(most, open, connections)];
    let group = process.unwrap_or_else(|| PathBuf::from("/proc/self")).join("cgroup");
    let dirs = fs::read_to_string(group).map(|groups| group_dirs(&groups)).unwrap_or_default();
    let number = |dir: &PathBuf, file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = dirs.iter().filter_map(|dir| number(dir, "memory.max")).min();
    let total = rustix::system::sysinfo().totalram as u64;
    checks.push(memory(limit.unwrap_or(total).min(total)));
    let killed = dirs.first().and_then(|dir| fs::read_to_string(dir.join("memory.events")).ok());
    checks.extend(killed.as_deref().and_then(killed_for_memory));
    checks
}

/// How many files may be open, by `/proc/PID/limits`; `None` where there is no limit.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn files(most: Option<u64>, open: Option<u64>, connections: u64) -> Check {
    let Some(most) = most else { return Check::ok(FILES, "there is no limit") };
    let fix = format!(
        "set LimitNOFILE={} in the unit (sudo systemctl edit picloud), or lower max_connections",
        connections + KEPT_BACK
    );
    let of = open.map_or_else(String::new, |open| format!("{open} are open, of "));
    match (most < connections + KEPT_BACK, open.is_some_and(|open| open > most / 10 * 9)) {
        (true, _) => {
            Check::warning(FILES, format!("{most} may be open, too few for max_connections ({connections})"), fix)
        }
        (_, true) => Check::warning(FILES, format!("{of}{most}: beyond that no connection is taken"), fix),
        _ => Check::ok(FILES, format!("{of}{most} that may be, enough for {connections} connections")),
    }
}

/// The folders of a process's control group and of those around it, the nearest first.
fn group_dirs(groups: &str) -> Vec<PathBuf> {
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    Path::new(group).ancestors().map(|group| Path::new("/sys/fs/cgroup").join(group)).collect()
}

fn memory(bytes: u64) -> Check {
    let found = format!("{} MiB may be used", bytes / MIB);
    match bytes < LITTLE {
        true => Check::warning(
            MEMORY,
            format!("{found}, little beside what PiCloud takes itself"),
            "raise MemoryMax of the unit, or the container's limit",
        ),
        false => Check::ok(MEMORY, found),
    }
}

fn killed_for_memory(events: &str) -> Option<Check> {
    let killed: u64 = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())?;
    (killed > 0).then(|| {
        let fix = "raise MemoryMax of the unit, or lower executor_memory_bytes and executor_workers";
        Check::warning(MEMORY, format!("the system has killed it {killed} times for want of memory"), fix)
    })
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn limits_of_a_process_are_read_and_judged() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files  unlimited unlimited files\n"), None);
        assert_eq!(files(Some(1024), None, 20_000).state, CheckState::Warning);
        assert_eq!(files(Some(65_536), Some(60_000), 20_000).state, CheckState::Warning);
        assert_eq!(files(Some(65_536), Some(60), 20_000).state, CheckState::Ok);
        assert!(files(Some(1024), None, 20_000).fix.unwrap().contains("LimitNOFILE=20256"));
    }

    #[test]
    fn a_group_is_looked_at_with_those_around_it() {
        let dirs = group_dirs("1:cpu:/x\n0::/system.slice/picloud.service\n");
        let expected =
            ["/sys/fs/cgroup/system.slice/picloud.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/"];
        assert_eq!(dirs, expected.map(PathBuf::from));
        assert!(killed_for_memory("low 0\noom 3\noom_kill 2\n").unwrap().found.contains("2 times"));
        assert_eq!(killed_for_memory("oom_kill 0\n"), None);
        assert_eq!((memory(MIB).state, memory(1024 * MIB).state), (CheckState::Warning, CheckState::Ok));
    }
}
