//! SQLite's files as they are, read and not written.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::store::ACQUIRE_TIMEOUT;
use crate::store::data_file::DataFile;
use crate::store::sqlite::{SqliteFile, SqliteFiles};
use crate::store::write_health::WriteHealth;

/// The files of a store.
const NAMES: [&str; 3] = ["main", "logs", "data"];
/// How long one file is read at most. A file of 1 GiB on an SD card takes about as long.
const AT_MOST: Duration = Duration::from_secs(20);
/// Instructions of SQLite's between two looks at the clock: well under a millisecond, but for what waits for the disk.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Where Linux tells who has locked which file.
const LOCKS: &str = "/proc/locks";

/// How one file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHealth {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of what was written last, which is in a file beside it until it is carried over.
    pub wal_bytes: u64,
    /// What SQLite found: nothing that is wrong, `Ok(true)` where it was read to its end; else what is wrong.
    pub checked: Result<bool, String>,
}

/// Opens files as nobody would who writes.
pub(super) fn open(dir: &Path) -> SqliteFiles {
    let file = |name: &str| {
        let path = dir.join(format!("{name}.db"));
        let is_still = is_still(dir, &path);
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true);
        let options = options.immutable(is_still).busy_timeout(ACQUIRE_TIMEOUT).disable_statement_logging();
        let pool = || {
            let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).max_connections(1);
            pool.connect_lazy_with(options.clone())
        };
        SqliteFile { writer: pool(), readers: pool() }
    };
    let data = DataFile::new(&dir.join("data.db"), WriteHealth::default());
    SqliteFiles { main: file("main"), logs: file("logs"), data }
}

/// Whether a file can be read as one that nobody changes: then nothing is made beside it. What a process left beside it that was
/// killed is part of it.
fn is_still(dir: &Path, path: &Path) -> bool {
    served_by(dir).is_none() && !beside(path).exists()
}

fn beside(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

pub(super) fn health(dir: &Path) -> Vec<FileHealth> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let of = |name: &'static str| {
        let path = dir.join(format!("{name}.db"));
        let checked = check(&path, is_still(dir, &path));
        FileHealth { name, bytes: bytes(&path), wal_bytes: bytes(&beside(&path)), path, checked }
    };
    NAMES.map(of).into()
}

/// Has SQLite read a file through.
fn check(path: &Path, is_still: bool) -> Result<bool, String> {
    let words = |error: rusqlite::Error| error.to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri(path, is_still), flags).map_err(words)?;
    let deadline = Instant::now() + AT_MOST;
    conn.busy_timeout(AT_MOST).map_err(words)?;
    conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() >= deadline)).map_err(words)?;
    let found = conn.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
    match found {
        Ok(word) if word == "ok" => Ok(true),
        Ok(wrong) => Err(wrong),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(false),
        Err(error) => Err(words(error)),
    }
}

/// A file's address, in which only what is plain stands as it is.
fn uri(path: &Path, is_still: bool) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri + if is_still { "?immutable=1" } else { "?mode=ro" }
}

/// Who holds the lock of those who serve, without one being taken, which would keep somebody from starting.
pub(super) fn served_by(dir: &Path) -> Option<u32> {
    let inode = fs::metadata(dir.join("serve.lock")).ok()?.ino();
    holder(&fs::read_to_string(LOCKS).ok()?, inode)
}

fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, place, ..] = fields[..] else { return None };
        (place.rsplit(':').next()?.parse::<u64>().ok()? == inode).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_is_read_off_the_locks_of_the_system() {
        let locks = "1: POSIX  ADVISORY  WRITE 77 00:2f:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 b3:02:1234 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 4712 b3:02:1235 0 EOF\nnonsense\n";
        assert_eq!((holder(locks, 1234), holder(locks, 99), holder(locks, 1235)), (Some(4711), None, None));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(served_by(dir.path()), None, "there is no such file");
        let held = fs::File::create(dir.path().join("serve.lock")).unwrap();
        assert_eq!(served_by(dir.path()), None);
        held.lock().unwrap();
        assert_eq!(served_by(dir.path()), Some(std::process::id()));
    }

    #[test]
    fn a_path_is_no_part_of_an_address_but_its_place() {
        assert_eq!(uri(Path::new("/a b/c?mode=rwc#.db"), true), "file:/a%20b/c%3fmode%3drwc%23.db?immutable=1");
    }

    #[test]
    fn a_file_that_is_damaged_is_told_and_one_that_is_none_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("main.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(
            "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) \
            INSERT INTO t SELECT hex(randomblob(50)) FROM n",
        )
        .unwrap();
        drop(conn);
        let before: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(check(&path, true), Ok(true));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        assert!(check(&path, true).is_err());
        assert!(check(&dir.path().join("nowhere.db"), false).is_err());
        let after: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(before, after, "nothing is made");
    }
}
