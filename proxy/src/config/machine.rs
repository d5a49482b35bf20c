//! How much memory there is for this program, and what executions get of it: the machine's, or less where a control group of
//! Linux (a container's, a systemd unit's) allows less. It reads files and knows no setting.

use std::fs;
use std::path::{Path, PathBuf};

use super::bounds::{GIB, MIB};

/// What executions get of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySizes {
    /// Executions that run on workers at once.
    pub workers: usize,
    /// Bytes of one execution.
    pub execution: usize,
    /// The most that an operator can give to one.
    pub execution_ceiling: usize,
    /// Bytes of all executions together.
    pub executions: usize,
}

impl MemorySizes {
    pub fn of_this_machine() -> Self {
        Self::of(memory_bytes())
    }

    fn of(machine_bytes: u64) -> Self {
        let machine = usize::try_from(machine_bytes).unwrap_or(usize::MAX);
        // What is sold as 2 or 8 GB shows a little less.
        let (workers, execution) = match machine {
            bytes if bytes >= 7 * GIB => (16, 64 * MIB),
            bytes if bytes >= 7 * GIB / 4 => (8, 32 * MIB),
            _ => (4, 16 * MIB),
        };
        Self { workers, execution, execution_ceiling: 2 * execution, executions: machine / 4 }
    }
}

/// Bytes of memory that this program may use.
fn memory_bytes() -> u64 {
    memory_under(Path::new("/")).unwrap_or_else(|| rustix::system::sysinfo().totalram as u64)
}

/// The same with the files of the system below another directory.
fn memory_under(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_file(root, line)).flat_map(|(top, group, file)| {
        // A limit of a group holds for all groups within it; within a container its own group is the top, whatever it is named outside.
        let within = PathBuf::from(group);
        let ancestors: Vec<_> = within.ancestors().map(|group| top.join(group).join(file)).collect();
        ancestors.into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
    });
    limits.chain([total]).min()
}

/// Where the limits of memory of a line of `/proc/self/cgroup` stand: below which directory, in which group, in which file.
fn limit_file<'l>(root: &Path, line: &'l str) -> Option<(PathBuf, &'l str, &'static str)> {
    let [_, controllers, group] = line.splitn(3, ':').collect::<Vec<_>>().try_into().ok()?;
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    Some((root.join(top), group.trim_start_matches('/'), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn executions_get_what_the_machine_can_give_and_never_more_than_a_quarter() {
        for (machine, workers, execution) in
            [(512, 4, 16), (900, 4, 16), (1_850, 8, 32), (3_900, 8, 32), (7_800, 16, 64), (64_000, 16, 64)]
        {
            let sizes = MemorySizes::of(machine * 1024 * KIB);
            assert_eq!((sizes.workers, sizes.execution), (workers, execution * MIB), "{machine} MiB");
            assert_eq!(sizes.executions, usize::try_from(machine).unwrap() * MIB / 4);
            assert_eq!(sizes.execution_ceiling, 2 * execution * MIB);
            // Whoever changes nothing never meets the bound.
            assert!(workers * execution * MIB <= sizes.executions);
        }
    }

    /// What is read off these files.
    fn read(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_under(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\n");

    #[test]
    fn without_a_group_it_is_the_machines() {
        assert_eq!(read(&[MEMINFO]), Some(1000 * KIB));
        assert_eq!(read(&[MEMINFO, ("proc/self/cgroup", "0::/\n")]), Some(1000 * KIB));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("proc/meminfo", "MemFree: 1 kB\n")]), None);
        assert!(memory_bytes() > 64 * 1024 * KIB);
    }

    #[test]
    fn the_smallest_limit_of_the_group_and_those_around_it_counts() {
        let group = ("proc/self/cgroup", "0::/system.slice/picloud.service\n");
        let own = ("sys/fs/cgroup/system.slice/picloud.service/memory.max", "300000\n");
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "200000\n");
        assert_eq!(read(&[MEMINFO, group, own]), Some(300_000));
        assert_eq!(read(&[MEMINFO, group, own, slice]), Some(200_000));
        let unlimited = ("sys/fs/cgroup/system.slice/picloud.service/memory.max", "max\n");
        assert_eq!(read(&[MEMINFO, group, unlimited]), Some(1000 * KIB));
        let larger = ("sys/fs/cgroup/system.slice/memory.max", "9000000000\n");
        assert_eq!(read(&[MEMINFO, group, larger]), Some(1000 * KIB));
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/4f2a\n0::/\n");
        // Inside a container the group's own directory is not to be seen.
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000\n");
        assert_eq!(read(&[MEMINFO, groups, limit]), Some(400_000));
        let cpu = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7\n");
        assert_eq!(read(&[MEMINFO, groups, limit, cpu]), Some(400_000));
    }
}
