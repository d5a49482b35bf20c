//! Keeps two processes from serving one directory of SQLite files: each would publish its own changes only.
//!
//! The lock is the operating system's and ends with the process, however that ends. Commands that work on the store beside a
//! server do not take it: SQLite keeps their writes apart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::store::StoreError;
use crate::store::sqlite::{make_private_dir, make_private_file};

/// The right to serve a directory. Held until dropped.
#[derive(Debug)]
pub(crate) struct ServeLock {
    _file: File,
}

impl ServeLock {
    /// Takes the lock and leaves this process's number for whoever comes to a closed door.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("serve.lock");
        let failed = |source| StoreError::Files { path: path.clone(), source };
        make_private_dir(dir).and_then(|()| make_private_file(&path)).map_err(failed)?;
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Served { dir: dir.to_owned(), by: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The number of the process that holds the lock, unless it has not written it down yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
