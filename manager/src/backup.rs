//! Backups: a whole store as one file, out of either database and into either, and from one database to the other.
//!
//! A backup is taken beside nodes that serve. It is restored as a whole or not at all, and only once all of it has proved to be as it
//! was written, by who has the instance's secret key. It must not know how a database is read or written.

mod error;
mod file;
mod manifest;
mod relocate;
mod restore;
mod schedule;
mod sealed_key;

use std::path::PathBuf;

use picloud_shared::clock::Timestamp;
use tokio::runtime::Handle;

pub use crate::store::copy::{Progress, Stage, Watch};
pub use error::BackupError;
pub use manifest::Manifest;
pub use relocate::{Relocation, relocate};
pub use restore::{Checked, Restore, Restored, check, restore};
pub use schedule::BackupPlan;
pub(crate) use schedule::Schedule;
pub use sealed_key::{InvalidPassphrase, Passphrase};

use crate::secret::key_file::SecretKey;
use crate::store::DatabaseConfig;
use crate::store::copy::{self, StoreSource, key_fingerprint};
use file::BackupWriter;

/// What is told how far the work is.
pub type Watching = Box<dyn Watch + Send>;

/// A backup that is to be taken.
pub struct Backup {
    /// Of which store.
    pub database: DatabaseConfig,
    /// Where the store's secret key is.
    pub secret_key_file: PathBuf,
    /// The file to make. Nothing may be there yet.
    pub file: PathBuf,
    /// Whether records of executions go along.
    pub with_logs: bool,
    /// By which the secret key is sealed that goes along, if it does.
    pub with_key: Option<Passphrase>,
    /// The time.
    pub now: Timestamp,
}

/// A backup that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Takes a backup, of one moment, and has it on the disk.
///
/// # Errors
/// See [`BackupError`]; then there is no file.
pub async fn back_up(backup: Backup, watch: Watching) -> Result<Taken, BackupError> {
    on_a_thread(async move || take(backup, watch).await).await
}

async fn take(backup: Backup, mut watch: Watching) -> Result<Taken, BackupError> {
    let mut source = StoreSource::open(&backup.database).await?;
    let fingerprint = key_fingerprint(&mut source).await?.ok_or(BackupError::NoKeyYet)?;
    let key = SecretKey::find(&backup.secret_key_file, &fingerprint)?;
    let sealed_key = backup.with_key.map(|passphrase| sealed_key::seal(&key, &passphrase));
    let mut writer = BackupWriter::begin(&backup.file)?;
    copy::copy(&mut source, &mut writer, backup.with_logs, &mut *watch).await?;
    let manifest = Manifest::new(source.schema(), source.kind(), backup.now, fingerprint, sealed_key);
    let (manifest, bytes) = writer.finish(manifest, &key)?;
    Ok(Taken { manifest, bytes })
}

/// Runs what waits for disks on a thread where nobody else waits for it.
async fn on_a_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let working = tokio::task::spawn_blocking(move || Handle::current().block_on(work()));
    working.await.unwrap_or_else(|error| Err(BackupError::BrokeDown(error.to_string())))
}
