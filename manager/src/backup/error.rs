//! Why there is no backup, or why it was not restored.

use std::path::PathBuf;

use crate::repo::RepoError;
use crate::secret::key_file::KeyFileError;
use crate::store::StoreError;
use crate::store::copy::CopyError;

/// Why there is no backup, or why it was not restored. What was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The store's key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was ever served from the store.
    #[error("the store has no secret key yet, and nothing to back up: `picloud serve` makes one")]
    NoKeyYet,
    /// The file is there already.
    #[error("{} is there already; a backup replaces no file", .0.display())]
    Exists(PathBuf),
    /// Another process writes the file.
    #[error("{} is being written by another picloud", .0.display())]
    BeingWritten(PathBuf),
    /// Something is where the file is written that no backup of this user has left.
    #[error("{} is there, and was left by no backup of this user: remove it", .0.display())]
    InTheWay(PathBuf),
    /// The file is no backup.
    #[error("{} is no backup of PiCloud, or was cut short", .0.display())]
    NoBackup(PathBuf),
    /// The file was made by a version that writes backups otherwise.
    #[error("the backup has format {found}, and this version knows formats up to {known}; use a newer picloud")]
    NewerFormat {
        /// The backup's.
        found: u32,
        /// The newest that this binary knows.
        known: u32,
    },
    /// The file was made of a newer store.
    #[error("the backup has schema {found}, and this version knows schemas up to {known}; use a newer picloud")]
    NewerSchema {
        /// The backup's.
        found: i64,
        /// The newest that this binary knows.
        known: i64,
    },
    /// The file is not as it was written.
    #[error("the backup is not as it was written: {0}")]
    Damaged(String),
    /// The key that the backup was made with is not at hand.
    #[error(
        "the backup was made with the secret key {fingerprint}, which is not in {}: put that key there, or name its place by \
         PICLOUD_SECRET_KEY_FILE{}", path.display(),
        if *has_sealed { ", or give the passphrase that it is sealed by in the backup (--passphrase-stdin)" } else { "" }
    )]
    OtherKey {
        /// The backup's key.
        fingerprint: String,
        /// Where it was looked for.
        path: PathBuf,
        /// Whether the backup has it.
        has_sealed: bool,
    },
    /// The passphrase is another.
    #[error("the passphrase is not the one that the backup's key is sealed by")]
    WrongPassphrase,
    /// There is a passphrase and nothing to open by it.
    #[error("the backup has no secret key in it, so that a passphrase opens nothing")]
    NoSealedKey,
    /// There is another key where the backup's would go.
    #[error("{} holds another secret key: --replace puts the backup's in its place, and keeps that one beside it", .0.display())]
    KeyInTheWay(PathBuf),
    /// There is an instance already.
    #[error("there is an instance in {0} already: --replace puts this one in its place, and keeps that one beside it")]
    HasData(String),
    /// There is an instance already, where nothing is ever replaced.
    #[error("there is an instance in {0} already, and an instance only moves to where there is none")]
    Occupied(String),
    /// A node works on the store.
    #[error("the store {0} is being served: stop all nodes of it, and do this again")]
    Served(String),
    /// An instance is to be moved to where it is.
    #[error("the instance is there already")]
    SamePlace,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that did the work panicked.
    #[error("the work broke down: {0}")]
    BrokeDown(String),
}

impl From<RepoError> for BackupError {
    fn from(error: RepoError) -> Self {
        Self::Store(error.into())
    }
}
