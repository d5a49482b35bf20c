//! The disk of the data folder: room, files that it may have, what it is, and whether it can be written to.

use std::fs;
use std::path::{Path, PathBuf};

use picloud_proxy::metrics::disk_of;
use picloud_shared::doctor::{Check, quoted};
use picloud_shared::gauges::DiskSpace;
use rustix::fs::StatVfsMountFlags;

use crate::config::Config;

const ABOUT: &str = "disk";
const MOUNTS: &str = "/proc/self/mountinfo";
/// Files that may still be made, of a hundred, below which it is told.
const FEW_FILES_PERCENT: u64 = 5;
const MIB: u64 = 1024 * 1024;
/// File systems that end with the machine's run.
const PASSING: [&str; 2] = ["tmpfs", "ramfs"];
/// Those whose locks SQLite cannot rely on.
const DISTANT: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"];
/// Those that know no owners.
const OWNERLESS: [&str; 4] = ["vfat", "exfat", "ntfs", "ntfs3"];

/// What a folder is on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    kind: String,
    source: String,
}

pub fn look(config: &Config) -> Vec<Check> {
    let dir = &config.data_dir;
    let there = dir.ancestors().find(|dir| dir.is_dir()).filter(|dir| !dir.as_os_str().is_empty());
    let there = fs::canonicalize(there.unwrap_or(Path::new("."))).unwrap_or_else(|_| dir.clone());
    let mut checks: Vec<Check> = disk_of(&there).map(|disk| room(disk, &there)).into_iter().collect();
    if let Ok(found) = rustix::fs::statvfs(&there) {
        checks.extend(files(found.f_favail, found.f_files, &there));
        if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
            let text = format!("{} is on a file system that is mounted read-only", there.display());
            let fix = "look why (sudo dmesg | grep -i 'remount\\|error'), then: sudo mount -o remount,rw, or replace the card";
            checks.push(Check::wrong(ABOUT, text, fix));
        }
    }
    let mounts = fs::read_to_string(MOUNTS).unwrap_or_default();
    checks.extend(mount_of(&mounts, &there).map(|mount| of_kind(&mount)));
    checks
}

fn room(disk: DiskSpace, dir: &Path) -> Check {
    let found = format!("{} MiB of {} MiB are free for {}", disk.free / MIB, disk.size / MIB, dir.display());
    let fix = format!(
        "see what takes it (sudo du -xsh {}/* /var/log), lower log_max_bytes or log_max_age_days, or move the data to a larger disk",
        quoted(dir)
    );
    match disk {
        disk if disk.free < 16 * MIB => Check::wrong(ABOUT, format!("{found}: nothing more can be kept"), fix),
        disk if disk.is_low() => Check::warning(ABOUT, found, fix),
        _ => Check::ok(ABOUT, found),
    }
}

/// Files that may still be made. Some file systems have no bound, and tell 0 of 0.
fn files(free: u64, most: u64, dir: &Path) -> Option<Check> {
    (most > 0 && free < most / 100 * FEW_FILES_PERCENT).then(|| {
        let fix = format!("see where there are so many: sudo du --inodes -xs {}/* /var", quoted(dir));
        Check::warning(ABOUT, format!("{free} of {most} files may still be made there"), fix)
    })
}

fn of_kind(mount: &Mount) -> Check {
    let Mount { place, kind, source } = mount;
    let found = format!("the data is on {source} ({kind}), mounted at {}", place.display());
    let is = |kinds: &[&str]| kinds.contains(&kind.as_str());
    if is(&PASSING) {
        return Check::warning(
            ABOUT,
            format!("{found}: it is gone when the machine is switched off"),
            "set data_dir to a folder on a disk",
        );
    }
    if kind == "overlay" {
        return Check::warning(ABOUT, format!("{found}: it is gone with the container"), "mount a volume at data_dir");
    }
    if is(&DISTANT) {
        let fix = "set data_dir to a folder on a disk of this machine, or use PostgreSQL by database_url";
        return Check::warning(ABOUT, format!("{found}, over a network: SQLite's files may be damaged there"), fix);
    }
    if is(&OWNERLESS) {
        let fix = "set data_dir to a folder on ext4, or on another file system that knows owners";
        return Check::wrong(ABOUT, format!("{found}, which knows no owners: everybody can read the data"), fix);
    }
    match source.starts_with("/dev/mmcblk") {
        true => {
            Check::ok(ABOUT, format!("{found}: an SD card wears out by what is written to it; keep a backup elsewhere"))
        }
        false => Check::ok(ABOUT, found),
    }
}

/// What a folder is on: the last mount at the longest of the places that it is below.
fn mount_of(mounts: &str, dir: &Path) -> Option<Mount> {
    let of = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let place = PathBuf::from(unescaped(mount.split_whitespace().nth(4)?));
        let mut words = file_system.split_whitespace();
        Some(Mount { place, kind: words.next()?.to_owned(), source: unescaped(words.next()?) })
    };
    let above = mounts.lines().filter_map(of).filter(|mount| dir.starts_with(&mount.place));
    above.max_by_key(|mount| mount.place.components().count())
}

/// A path as it is: the kernel writes what would end a word in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    const MOUNTED: &str = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n\
        40 22 8:1 / /mnt/my\\040disk rw - ext4 /dev/sda1 rw\n\
        41 22 0:30 / /mnt rw - tmpfs tmpfs rw\n\
        nonsense\n";

    #[test]
    fn a_folder_is_on_the_nearest_mount_above_it() {
        for (dir, source) in [
            ("/var/lib/picloud", "/dev/mmcblk0p2"),
            ("/mnt/my disk/data", "/dev/sda1"),
            ("/mnt/other", "tmpfs"),
            ("/mntother", "/dev/mmcblk0p2"),
        ] {
            assert_eq!(mount_of(MOUNTED, Path::new(dir)).unwrap().source, source, "{dir}");
        }
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn a_file_system_that_is_not_fit_is_told_with_what_to_do() {
        for (kind, source, state, word) in [
            ("ext4", "/dev/mmcblk0p2", CheckState::Ok, "SD card"),
            ("ext4", "/dev/nvme0n1p1", CheckState::Ok, "nvme"),
            ("tmpfs", "tmpfs", CheckState::Warning, "switched off"),
            ("overlay", "overlay", CheckState::Warning, "container"),
            ("nfs4", "nas:/pi", CheckState::Warning, "network"),
            ("vfat", "/dev/sda1", CheckState::Wrong, "owners"),
        ] {
            let found = of_kind(&Mount { place: "/".into(), kind: kind.into(), source: source.into() });
            assert!(found.state == state && found.found.contains(word), "{found:?}");
        }
    }

    #[test]
    fn little_room_and_few_files_are_told_before_there_are_none() {
        let gib = 1024 * MIB;
        let state = |free| room(DiskSpace { free, size: 32 * gib }, Path::new("/data")).state;
        assert_eq!(
            (state(2 * gib), state(gib / 2), state(MIB)),
            (CheckState::Ok, CheckState::Warning, CheckState::Wrong)
        );
        assert!(files(4, 100, Path::new("/")).is_some() && files(6, 100, Path::new("/")).is_none());
        assert!(files(0, 0, Path::new("/")).is_none(), "btrfs has no bound");
    }
}
