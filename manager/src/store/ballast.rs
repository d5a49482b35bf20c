//! Room for a start on a disk that has become full: a file that does nothing but take it, and gives way.
//!
//! A server that runs goes on without any: endpoints are answered from memory. One that starts has to open SQLite's files, which
//! takes some; without it a crash or a power cut on a full disk would end all sites until somebody made room.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::repo::RepoError;
use crate::store::StoreError;
use crate::store::sqlite::make_private_file;

/// What SQLite's journals and index files take at a start, and for some changes that make room.
const BYTES: u64 = 4 * 1024 * 1024;
/// Where less than this is left beside it, the file would be a reason for the disk to be full.
const LEFT_BESIDE: u64 = 64 * 1024 * 1024;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// That of a directory.
    pub(super) fn of(dir: &Path) -> Self {
        Self { path: dir.join("ballast") }
    }

    /// Whether what failed so may succeed now: it failed as on a full disk, and the ballast was there to be given up.
    pub(super) fn gives_way_to(&self, error: &StoreError) -> bool {
        let gave_way = may_lack_room(error) && fs::remove_file(&self.path).is_ok();
        if gave_way {
            tracing::warn!(%error, "the disk seems to be full: {} was given up to start; make room", self.path.display());
        }
        gave_way
    }

    /// Makes it if it is not there, and there is room for it.
    pub(super) async fn put_back(self) {
        let made = tokio::task::spawn_blocking(move || self.make());
        if let Ok(Err(error)) = made.await {
            tracing::warn!(%error, "no room could be set aside for starts on a full disk");
        }
    }

    fn make(&self) -> io::Result<()> {
        if self.path.exists() || room_beside(&self.path)? < BYTES + LEFT_BESIDE {
            return Ok(());
        }
        self.fill().inspect_err(|_| {
            // Half of it is none; the next start tries again.
            let _ = fs::remove_file(self.unfinished());
        })
    }

    fn unfinished(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn fill(&self) -> io::Result<()> {
        let unfinished = self.unfinished();
        make_private_file(&unfinished)?;
        let mut file = File::options().write(true).truncate(true).open(&unfinished)?;
        // Written, since what is only promised takes no room; and of noise, of which no file system makes less.
        let mut block = [0; 64 * 1024];
        for _ in 0..BYTES / block.len() as u64 {
            rand::fill(&mut block);
            file.write_all(&block)?;
        }
        file.sync_all()?;
        fs::rename(unfinished, &self.path)
    }
}

fn may_lack_room(error: &StoreError) -> bool {
    match error {
        StoreError::Files { source, .. } => matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        StoreError::Repo(error) => matches!(error, RepoError::Unavailable(_)),
        _ => false,
    }
}

/// Bytes that are free where the file is to be.
fn room_beside(path: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(path.parent().unwrap_or(path))?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn it_gives_way_once_to_what_fails_for_want_of_room_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(dir.path());
        let full = StoreError::Files { path: dir.path().to_owned(), source: ErrorKind::StorageFull.into() };
        assert!(!ballast.gives_way_to(&full), "there is none yet");
        for _ in 0..2 {
            ballast.clone().put_back().await;
            let file = fs::metadata(&ballast.path).unwrap();
            assert_eq!((file.len(), file.permissions().mode() & 0o777), (BYTES, 0o600));
            let served = StoreError::Served { dir: dir.path().to_owned(), by: None };
            assert!(!ballast.gives_way_to(&served), "that is no matter of room");
            assert!(ballast.gives_way_to(&full) && !ballast.path.exists());
            assert!(!ballast.gives_way_to(&full));
        }
    }
}
