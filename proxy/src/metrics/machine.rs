//! What the process takes of its machine, read off the system whenever somebody asks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picloud_shared::gauges::{DiskSpace, ProcessTexts, ProcessUse};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Where Linux tells a process of itself.
const STAT: &str = "/proc/self/stat";
const IO: &str = "/proc/self/io";
const OPEN_FILES: &str = "/proc/self/fd";

/// What this process takes; `None` where the system does not tell.
pub(super) fn process() -> Option<ProcessUse> {
    let (stat, io) = (fs::read_to_string(STAT).ok()?, fs::read_to_string(IO).ok());
    let texts = ProcessTexts {
        stat: &stat,
        io: io.as_deref(),
        page_bytes: page_size() as u64,
        ticks_per_second: clock_ticks_per_second(),
    };
    Some(ProcessUse { open_files: open_files(), max_open_files: getrlimit(Resource::Nofile).current, ..texts.read()? })
}

/// Files that are open. Since Linux 6.2 their number is the directory's size; an older one is made to list them.
fn open_files() -> Option<u64> {
    match fs::metadata(OPEN_FILES).ok()?.size() {
        0 => u64::try_from(fs::read_dir(OPEN_FILES).ok()?.count()).ok(),
        count => Some(count),
    }
}

/// The room of the file system that the data folder is on, or is going to be on.
pub fn disk_of(data_dir: &Path) -> Option<DiskSpace> {
    let there = data_dir.ancestors().find(|dir| dir.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    let found = rustix::fs::statvfs(&there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(DiskSpace { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_with_its_files_and_threads() {
        let before = process().unwrap();
        assert!(before.resident_bytes > 1024 * 1024 && before.virtual_bytes >= before.resident_bytes);
        assert!(before.threads >= 1 && before.max_open_files.is_none_or(|most| most >= before.open_files.unwrap()));
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = process().unwrap();
        // Other tests of this process open and close some meanwhile.
        assert!(after.open_files.unwrap() >= before.open_files.unwrap() + 25, "{} files", held.len());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (disk_of(dir.path()).unwrap(), disk_of(&dir.path().join("a/b")).unwrap());
        assert_eq!(here.size, there.size);
        assert!(here.free <= here.size && here.size > 0);
    }
}
