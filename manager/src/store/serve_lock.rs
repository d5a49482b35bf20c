//! Keeps two processes from serving one directory of SQLite files, and tells by whom it is served.
//!
//! The lock is the operating system's and ends with the process, however that ends. A process that hands its sockets over hands
//! the lock over, too: it is on the open file, which both then have, so that it is never free in between. Commands that work on
//! the store beside a server do not take it: SQLite keeps their writes apart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::StoreError;
use crate::store::sqlite::{make_private_dir, make_private_file};

/// The file's name.
const NAME: &str = "serve.lock";

/// Bytes of the file that count.
const MOST_BYTES: u64 = 16 * 1024;

/// Bytes of a line: those of the longest path.
const LINE_BYTES: usize = 4096;

/// The right to serve a directory. Held until dropped, and until whoever it was handed to has dropped it.
#[derive(Debug)]
pub struct ServeLock {
    file: File,
    note: Mutex<Note>,
}

#[derive(Debug, Default)]
struct Note {
    binary: PathBuf,
    failures: u64,
    failure: String,
}

/// Who serves a directory, as that process has written it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Its number.
    pub pid: u32,
    /// The binary that it would hand over to.
    pub binary: PathBuf,
    /// How many hand-overs of it have failed.
    pub failures: u64,
    /// Why the last one of them did; empty where none has.
    pub failure: String,
}

impl ServeLock {
    /// Takes the lock and leaves this process's number for whoever comes to a closed door.
    ///
    /// # Errors
    /// [`StoreError::Served`] where another process has it; a file that cannot be used.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let failed = |source| StoreError::Files { path: path.clone(), source };
        make_private_dir(dir).and_then(|()| make_private_file(&path)).map_err(failed)?;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let by = read(&file).ok().flatten().map(|serving| serving.pid);
                return Err(StoreError::Served { dir: dir.to_owned(), by });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let lock = Self { file, note: Mutex::default() };
        lock.write().map_err(failed)?;
        Ok(lock)
    }

    /// The lock of another process, which handed its open file over. That one still serves, and stays written down.
    pub fn handed_over(file: OwnedFd) -> Self {
        Self { file: file.into(), note: Mutex::default() }
    }

    /// What is handed over.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes down that this process serves, and by which binary another one would be started.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_serving(&self, binary: &Path) -> io::Result<()> {
        binary.clone_into(&mut self.note().binary);
        self.write()
    }

    /// Writes down why a hand-over failed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_failure(&self, failure: &str) -> io::Result<()> {
        {
            let mut note = self.note();
            note.failures += 1;
            note.failure = one_line(failure);
        }
        self.write()
    }

    /// Who serves a directory; `None` where nobody does.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn find(dir: &Path) -> io::Result<Option<Serving>> {
        let file = match File::open(dir.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => read(&file),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn note(&self) -> std::sync::MutexGuard<'_, Note> {
        // It is whole after every step.
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At a place rather than where the file stands, which two processes share. By one write, so that it is read whole.
    fn write(&self) -> io::Result<()> {
        let text = {
            let Note { binary, failures, failure } = &*self.note();
            format!("{}\n{}\n{failures} {failure}\n", std::process::id(), one_line(&binary.to_string_lossy()))
        };
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len().try_into().unwrap_or(u64::MAX))
    }
}

/// Who holds the lock, unless it has not written itself down yet.
fn read(mut file: &File) -> io::Result<Option<Serving>> {
    let mut text = Vec::new();
    Read::take(&mut file, MOST_BYTES).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Option<Serving> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let binary = lines.next().unwrap_or_default().into();
    let (failures, failure) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    Some(Serving { pid, binary, failures: failures.parse().unwrap_or(0), failure: failure.to_owned() })
}

/// A text as one line of bounded length.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    while line.len() > LINE_BYTES {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_is_told_while_it_does_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ServeLock::find(dir.path()).unwrap(), None);
        let lock = ServeLock::take(dir.path()).unwrap();
        lock.note_serving(Path::new("/usr/bin/picloud")).unwrap();
        let mut serving =
            Serving { pid: std::process::id(), binary: "/usr/bin/picloud".into(), failures: 0, failure: String::new() };
        assert_eq!(ServeLock::find(dir.path()).unwrap().as_ref(), Some(&serving));
        lock.note_failure("a first reason, which is long").unwrap();
        lock.note_failure("two\nlines").unwrap();
        (serving.failures, serving.failure) = (2, "two lines".to_owned());
        assert_eq!(ServeLock::find(dir.path()).unwrap().as_ref(), Some(&serving));
        assert!(matches!(ServeLock::take(dir.path()), Err(StoreError::Served { by: Some(_), .. })));
        drop(lock);
        assert_eq!(ServeLock::find(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_lock_that_was_handed_over_is_never_free_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let first = ServeLock::take(dir.path()).unwrap();
        let second = ServeLock::handed_over(first.as_fd().try_clone_to_owned().unwrap());
        drop(first);
        assert!(matches!(ServeLock::take(dir.path()), Err(StoreError::Served { .. })));
        drop(second);
        ServeLock::take(dir.path()).unwrap();
    }

    #[test]
    fn what_others_wrote_into_the_file_is_nobody() {
        for (text, pid) in [("", None), ("x\n", None), ("-1\n", None), ("7", Some(7)), ("7\n/b\n1 r\nrest", Some(7))] {
            assert_eq!(parse(text).map(|serving| serving.pid), pid, "{text}");
        }
    }
}
