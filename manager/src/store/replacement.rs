//! Other files in the place of a store's, all of them or none, whenever the power goes.
//!
//! They are made in a directory of their own beside the files that are to be replaced. Renaming that directory is the moment from
//! which on they are the store: whoever opens it from then on, and finds it, first puts each file in its place.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::sqlite::{MIGRATION_LOCK, make_private_file};

/// Where the files are made.
const MAKING: &str = "restoring";
/// The same directory, once they are the store.
const MADE: &str = "restored";
/// The file in it that says where what they replace is put.
const ASIDE: &str = "aside";
/// What a store consists of.
const FILES: [&str; 3] = ["main.db", "data.db", "logs.db"];
/// What SQLite has beside each.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Files on their way. Dropped, they never were.
pub(crate) struct Replacement {
    store: PathBuf,
    is_committed: bool,
}

impl Replacement {
    /// An empty directory beside the store's files, where the new ones are to be made.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn begin(store: &Path) -> Result<Self, StoreError> {
        let this = Self { store: store.to_owned(), is_committed: false };
        let making = this.dir();
        let begin = || -> io::Result<()> {
            remove(&making)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&making)
        };
        begin().map_err(|source| StoreError::Files { path: making.clone(), source })?;
        Ok(this)
    }

    /// Where the files are to be made.
    pub(crate) fn dir(&self) -> PathBuf {
        self.store.join(MAKING)
    }

    /// Makes them the store's. What they replace is put in a directory of that name beside them; whether there was anything.
    ///
    /// # Errors
    /// A file that cannot be moved. The files may be the store's then, and are in their places at the next opening.
    pub(crate) fn commit(mut self, aside: &str) -> Result<bool, StoreError> {
        let making = self.dir();
        let commit = || -> io::Result<()> {
            for entry in fs::read_dir(&making)? {
                let path = entry?.path();
                if !FILES.iter().any(|file| path.ends_with(file)) {
                    remove(&path)?;
                }
            }
            // Whoever runs the command may be root, who does not serve.
            let owner = fs::metadata(&self.store)?;
            let (uid, gid) = (owner.uid(), owner.gid());
            for path in FILES.iter().map(|file| making.join(file)).chain([making.clone()]) {
                let file = fs::metadata(&path)?;
                if (file.uid(), file.gid()) != (uid, gid) {
                    chown(&path, Some(uid), Some(gid))?;
                }
            }
            fs::write(making.join(ASIDE), aside)?;
            File::open(making.join(ASIDE))?.sync_all()?;
            File::open(&making)?.sync_all()?;
            fs::rename(&making, self.store.join(MADE))?;
            File::open(&self.store)?.sync_all()
        };
        commit().map_err(|source| StoreError::Files { path: making.clone(), source })?;
        self.is_committed = true;
        finish_alone(&self.store)?;
        Ok(self.store.join(aside).exists())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_committed {
            // What is left is in nobody's way.
            let _ = remove(&self.dir());
        }
    }
}

/// Removes what a restore has left that was cut short before its files were the store's. Only for who has the right to serve: nobody
/// restores meanwhile.
pub(super) fn forget_unfinished(store: &Path) {
    // What stays takes room, and no more than that.
    let _ = remove(&store.join(MAKING));
}

/// Whether there are files that are the store's and are not all in their places yet.
pub(super) fn is_pending(store: &Path) -> bool {
    store.join(MADE).is_dir()
}

/// As [`finish`], for who does not keep others from migrating and replacing the store's files: does so until what it gives is dropped.
///
/// # Errors
/// As [`finish`].
pub(super) fn finish_alone(store: &Path) -> Result<Option<File>, StoreError> {
    let path = store.join(MIGRATION_LOCK);
    let lock = || -> io::Result<File> {
        make_private_file(&path)?;
        let file = File::open(&path)?;
        file.lock()?;
        Ok(file)
    };
    match lock() {
        Ok(locked) => finish(store).map(|()| Some(locked)),
        // A disk that has failed is read as it is, for the last backup of it: nobody else changes anything there either.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && !is_pending(store) => Ok(None),
        Err(source) => Err(StoreError::Files { path: path.clone(), source }),
    }
}

/// Puts files in their places that are the store's already, if there are any. Broken off, it is begun again.
///
/// # Errors
/// A file that cannot be moved.
pub(super) fn finish(store: &Path) -> Result<(), StoreError> {
    let made = store.join(MADE);
    let finish = || -> io::Result<()> {
        let Some(aside) = read_name(&made.join(ASIDE))? else {
            // All is moved but this.
            return remove(&made);
        };
        let aside = store.join(aside);
        for file in FILES.iter().filter(|file| made.join(file).exists()) {
            for suffix in SUFFIXES {
                let name = format!("{file}{suffix}");
                if store.join(&name).exists() {
                    DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
                    fs::rename(store.join(&name), aside.join(&name))?;
                }
            }
            // An index or a journal of the old file must never be seen beside the new one.
            if aside.exists() {
                File::open(&aside)?.sync_all()?;
            }
            File::open(store)?.sync_all()?;
            fs::rename(made.join(file), store.join(file))?;
        }
        File::open(store)?.sync_all()?;
        remove(&made)?;
        File::open(store)?.sync_all()
    };
    if !is_pending(store) {
        return Ok(());
    }
    finish().map_err(|source| StoreError::Files { path: made.clone(), source })
}

/// A name that stands in a file.
fn read_name(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(name) if name.contains('/') || name.is_empty() => Err(ErrorKind::InvalidData.into()),
        read => read.map(Some),
    }
}

/// Removes a file or a directory with all in it, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store whose files say which they are, with new ones on their way.
    fn store() -> (tempfile::TempDir, Replacement) {
        let dir = tempfile::tempdir().unwrap();
        for file in FILES {
            for suffix in SUFFIXES {
                fs::write(dir.path().join(format!("{file}{suffix}")), "old").unwrap();
            }
        }
        let replacement = Replacement::begin(dir.path()).unwrap();
        for file in FILES.iter().chain(&["migration.lock", "main.schema-3.backup.db"]) {
            fs::write(replacement.dir().join(file), "new").unwrap();
        }
        (dir, replacement)
    }

    fn read(dir: &Path) -> Vec<(String, String)> {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let mut files: Vec<_> = files
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn is_new(dir: &Path) {
        let _ = fs::remove_file(dir.join(MIGRATION_LOCK));
        let of = |names: &[&str], text: &str| {
            let mut files: Vec<_> = names.iter().map(|name| ((*name).to_owned(), text.to_owned())).collect();
            files.sort();
            files
        };
        assert_eq!(read(dir), of(&FILES, "new"));
        let all: Vec<String> = FILES.iter().flat_map(|file| SUFFIXES.map(|suffix| format!("{file}{suffix}"))).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(read(&dir.join("replaced")), of(&all, "old"));
        assert_eq!(fs::read_dir(dir).unwrap().count(), FILES.len() + 1, "nothing else is left");
    }

    #[test]
    fn what_is_replaced_stands_aside_and_nothing_else_is_left() {
        let (dir, replacement) = store();
        assert!(replacement.commit("replaced").unwrap());
        is_new(dir.path());
    }

    #[test]
    fn what_is_not_committed_never_was() {
        let (dir, replacement) = store();
        finish(dir.path()).unwrap();
        drop(replacement);
        assert!(read(dir.path()).iter().all(|(_, text)| text == "old"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 9);
    }

    #[test]
    fn wherever_the_moving_is_broken_off_it_is_finished_by_the_next() {
        // The moves in the order in which they are made; so many were made before the power went.
        for moves in 0..=13 {
            let (dir, mut replacement) = store();
            for leftover in ["migration.lock", "main.schema-3.backup.db"] {
                fs::remove_file(replacement.dir().join(leftover)).unwrap();
            }
            fs::write(replacement.dir().join(ASIDE), "replaced").unwrap();
            let (store, made) = (dir.path(), dir.path().join(MADE));
            fs::rename(replacement.dir(), &made).unwrap();
            replacement.is_committed = true;
            let mut steps: Vec<(PathBuf, PathBuf)> = Vec::new();
            for file in FILES {
                for suffix in SUFFIXES {
                    let name = format!("{file}{suffix}");
                    steps.push((store.join(&name), store.join("replaced").join(&name)));
                }
                steps.push((made.join(file), store.join(file)));
            }
            if moves > 0 {
                fs::create_dir(store.join("replaced")).unwrap();
            }
            for (from, to) in steps.iter().take(moves) {
                fs::rename(from, to).unwrap();
            }
            if moves > steps.len() {
                fs::remove_file(made.join(ASIDE)).unwrap();
            }
            finish(store).unwrap();
            is_new(store);
            finish(store).unwrap();
        }
    }
}
