//! Restores a backup, into either database, once all of it has proved to be as it was written.
//!
//! A whole store is made out of it first: for SQLite in a directory beside the files that it is to replace, for PostgreSQL in a
//! transaction. So a restore that is broken off anywhere leaves what was there, and one that is done leaves the new.

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use picloud_shared::clock::Timestamp;
use rustix::process::geteuid;

use crate::audit_chain::{AuditChain, AuditViolation};
use crate::backup::file::BackupReader;
use crate::backup::{Backup, BackupError, Manifest, Passphrase, Watching, on_a_thread, sealed_key, take};
use crate::repo::tables::Table;
use crate::secret::key_file::{KeyFileError, SecretKey};
use crate::store::copy::{
    self, CopyError, PostgresTarget, Source, SqliteSource, SqliteTarget, Tally, Watch, holds_data, key_fingerprint,
};
use crate::store::replacement::Replacement;
use crate::store::{DatabaseConfig, DatabaseUrl, ServeLock, Store};

/// A backup that is to be restored.
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// Where to.
    pub database: DatabaseConfig,
    /// Where there is room for trying it, and for what it replaces in PostgreSQL.
    pub data_dir: PathBuf,
    /// Where the secret key is, or goes.
    pub secret_key_file: PathBuf,
    /// By which the key in the backup is opened.
    pub passphrase: Option<Passphrase>,
    /// Whether it may take the place of an instance.
    pub replace: bool,
    /// The time.
    pub now: Timestamp,
}

/// A backup that proved to be good.
#[derive(Debug)]
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What is wrong with the audit log in it, which was so when it was taken.
    pub audit_log: Option<AuditViolation>,
}

/// A backup that was restored.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub checked: Checked,
    /// Where that is now which it replaced.
    pub aside: Option<PathBuf>,
    /// Where the secret key is now that was replaced by the backup's.
    pub key_aside: Option<PathBuf>,
}

/// Restores a backup.
///
/// # Errors
/// See [`BackupError`].
pub async fn restore(restore: Restore, watch: Watching) -> Result<Restored, BackupError> {
    on_a_thread(async move || run(restore, watch).await).await
}

/// Tries out a backup: restores it into a folder beside it, which is removed.
///
/// # Errors
/// It would not be restored either.
pub async fn check(
    file: PathBuf,
    secret_key_file: PathBuf,
    passphrase: Option<Passphrase>,
    mut watch: Watching,
) -> Result<Checked, BackupError> {
    let work = async move || {
        let beside = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new().prefix(".picloud-check-").tempdir_in(beside);
        let folder = folder.map_err(|source| BackupError::File { path: beside.to_owned(), source })?;
        check_in(folder.path(), &file, &secret_key_file, passphrase.as_ref(), &mut *watch).await
    };
    on_a_thread(work).await
}

/// As [`check`], in that empty folder.
pub(super) async fn check_in(
    folder: &Path,
    file: &Path,
    secret_key_file: &Path,
    passphrase: Option<&Passphrase>,
    watch: &mut dyn Watch,
) -> Result<Checked, BackupError> {
    let (mut reader, key) = open(file, secret_key_file, passphrase)?;
    let audit_log = try_out(&mut reader, &key, folder, watch).await?;
    Ok(Checked { manifest: reader.manifest().clone(), audit_log })
}

/// A backup that is as it was written, and the key that it was made with.
fn open(
    file: &Path,
    secret_key_file: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<(BackupReader, SecretKey), BackupError> {
    let mut reader = BackupReader::open(file)?;
    let manifest = reader.manifest();
    let key = match (passphrase, &manifest.sealed_key) {
        (Some(passphrase), Some(sealed)) => sealed_key::open(sealed, &manifest.key, passphrase)?,
        (Some(_), None) => return Err(BackupError::NoSealedKey),
        (None, sealed) => SecretKey::find(secret_key_file, &manifest.key).map_err(|error| match error {
            KeyFileError::Missing(path) | KeyFileError::Other(path) => {
                BackupError::OtherKey { fingerprint: manifest.key.clone(), path, has_sealed: sealed.is_some() }
            }
            error => error.into(),
        })?,
    };
    reader.prove(&key)?;
    Ok((reader, key))
}

async fn run(restore: Restore, mut watch: Watching) -> Result<Restored, BackupError> {
    let (mut reader, key) = open(&restore.file, &restore.secret_key_file, restore.passphrase.as_ref())?;
    let key_place = KeyPlace::find(&key, &restore)?;
    // A name that has no colons, which some file systems do not take.
    let aside = format!("replaced-{}", restore.now.to_string().replace(':', "-"));
    let (audit_log, aside, key_aside) = match &restore.database {
        DatabaseConfig::Sqlite { dir } => {
            let _serving = ServeLock::take(dir)?;
            if !restore.replace && holds_data(dir) {
                return Err(BackupError::HasData(dir.display().to_string()));
            }
            let replacement = Replacement::begin(dir)?;
            let audit_log = try_out(&mut reader, &key, &replacement.dir(), &mut *watch).await?;
            let key_aside = key_place.prepare(&key, &restore, &aside)?;
            let has_replaced = replacement.commit(&aside)?;
            (audit_log, has_replaced.then(|| dir.join(&aside)), key_aside)
        }
        DatabaseConfig::Postgres { url } => {
            let (mut target, found) = PostgresTarget::open(url).await?;
            if found.is_served {
                return Err(BackupError::Served(url.to_string()));
            }
            if found.has_data && !restore.replace {
                return Err(BackupError::HasData(url.to_string()));
            }
            // What one before left that was cut short goes with it.
            let trial = Replacement::begin(&restore.data_dir)?;
            let audit_log = try_out(&mut reader, &key, &trial.dir(), &mut *watch).await?;
            drop(trial);
            let kept = if found.has_data { Some(keep(url, &restore, &aside).await?) } else { None };
            let schema = reader.manifest().schema;
            fill_postgres(&mut target, schema, &mut reader, true, &mut *watch).await?;
            let key_aside = key_place.prepare(&key, &restore, &aside)?;
            target.commit().await?;
            (audit_log, kept, key_aside)
        }
    };
    key_place.settle(&key, &restore)?;
    Ok(Restored { checked: Checked { manifest: reader.manifest().clone(), audit_log }, aside, key_aside })
}

/// Makes a store of a backup in that directory, and looks at it in every way.
async fn try_out(
    reader: &mut BackupReader,
    key: &SecretKey,
    dir: &Path,
    watch: &mut dyn Watch,
) -> Result<Option<AuditViolation>, BackupError> {
    let manifest = reader.manifest().clone();
    let copied = fill_files(dir, manifest.schema, reader, true, watch).await?;
    for (table, tally) in &copied {
        let part = manifest.parts.iter().find(|part| part.table == table.name);
        if part.is_none_or(|part| (part.rows, &*part.digest) != (tally.rows(), &*tally.digest())) {
            return Err(BackupError::Damaged(format!("the table {} has other rows", table.name)));
        }
    }
    if let Some(part) = manifest.parts.iter().find(|part| copied.iter().all(|(table, _)| table.name != part.table)) {
        return Err(BackupError::Damaged(format!("this version knows no table {}", part.table)));
    }
    if key_fingerprint(&mut SqliteSource::open(dir)?).await?.as_ref() != Some(&manifest.key) {
        return Err(BackupError::Damaged("its store has another key than it says".to_owned()));
    }
    // Opening it brings it to the newest schema.
    let store = Store::open(&DatabaseConfig::Sqlite { dir: dir.to_owned() }).await?;
    let verified = AuditChain::new(key).verify(&store, None).await;
    store.close().await;
    match verified {
        Ok(_) => Ok(None),
        Err(AuditViolation::Store(error)) => Err(error.into()),
        Err(violation) => Ok(Some(violation)),
    }
}

/// Makes SQLite files of what a source has, and reads them again.
pub(super) async fn fill_files(
    dir: &Path,
    schema: i64,
    source: &mut impl Source,
    with_logs: bool,
    watch: &mut dyn Watch,
) -> Result<Vec<(&'static Table, Tally)>, CopyError> {
    let mut target = SqliteTarget::make(dir, schema).await?;
    let copied = copy::copy(source, &mut target, with_logs, watch).await?;
    target.finish()?;
    copy::verify(&mut SqliteSource::open(dir)?, &copied, watch).await?;
    Ok(copied)
}

/// Makes a PostgreSQL store of what a source has, and reads it again.
pub(super) async fn fill_postgres(
    target: &mut PostgresTarget,
    schema: i64,
    source: &mut impl Source,
    with_logs: bool,
    watch: &mut dyn Watch,
) -> Result<Vec<(&'static Table, Tally)>, CopyError> {
    target.make(schema).await?;
    let copied = copy::copy(source, target, with_logs, watch).await?;
    copy::verify(&mut target.written, &copied, watch).await?;
    Ok(copied)
}

/// Keeps what is in a PostgreSQL database as a backup.
async fn keep(url: &DatabaseUrl, restore: &Restore, aside: &str) -> Result<PathBuf, BackupError> {
    let file = restore.data_dir.join(format!("{aside}.picloud-backup"));
    let backup = Backup {
        database: DatabaseConfig::Postgres { url: url.clone() },
        secret_key_file: restore.secret_key_file.clone(),
        file: file.clone(),
        with_logs: true,
        with_key: None,
        now: restore.now,
    };
    take(backup, Box::new(|_| true)).await?;
    // Whoever runs the command may be root, who does not serve.
    if let Some(dir) = std::fs::metadata(&restore.data_dir).ok().filter(|_| geteuid().is_root()) {
        // Not every file system knows owners.
        let _ = lchown(&file, Some(dir.uid()), Some(dir.gid()));
    }
    Ok(file)
}

/// What is where the secret key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyPlace {
    /// That key.
    HasIt,
    /// None.
    Empty,
    /// Another, which is to be replaced.
    HasOther,
}

impl KeyPlace {
    fn find(key: &SecretKey, restore: &Restore) -> Result<Self, BackupError> {
        let path = &restore.secret_key_file;
        match SecretKey::read(path)? {
            None => Ok(Self::Empty),
            Some(found) if found.fingerprint() == key.fingerprint() => Ok(Self::HasIt),
            Some(_) if restore.replace => Ok(Self::HasOther),
            Some(_) => Err(BackupError::KeyInTheWay(path.clone())),
        }
    }

    /// Puts the key where it is found as soon as the store has its fingerprint.
    fn prepare(self, key: &SecretKey, restore: &Restore, aside: &str) -> Result<Option<PathBuf>, KeyFileError> {
        let path = &restore.secret_key_file;
        let kept = if self == Self::HasOther { Some(SecretKey::keep_aside(path, aside)?) } else { None };
        if self != Self::HasIt {
            key.stand_by(path)?;
        }
        Ok(kept)
    }

    /// Puts the key in its place.
    fn settle(self, key: &SecretKey, restore: &Restore) -> Result<(), KeyFileError> {
        if self == Self::HasIt { Ok(()) } else { key.put_in_place(&restore.secret_key_file) }
    }
}
