//! Moves an instance from one database to another: the same copy as of a backup, without the file.

use std::path::PathBuf;

use crate::backup::restore::{fill_files, fill_postgres};
use crate::backup::{BackupError, Watching, on_a_thread};
use crate::secret::key_file::SecretKey;
use crate::store::copy::{PostgresTarget, StoreSource, Watch, holds_data, key_fingerprint};
use crate::store::replacement::Replacement;
use crate::store::{DatabaseConfig, ServeLock};

/// An instance that is to be moved.
pub struct Relocation {
    /// From where; what is there stays as it is.
    pub from: DatabaseConfig,
    /// To where, where no instance is.
    pub to: DatabaseConfig,
    /// Where its secret key is, which stays there.
    pub secret_key_file: PathBuf,
}

/// Moves an instance; how many rows it has.
///
/// # Errors
/// See [`BackupError`].
pub async fn relocate(relocation: Relocation, mut watch: Watching) -> Result<u64, BackupError> {
    on_a_thread(async move || run(&relocation, &mut *watch).await).await
}

async fn run(relocation: &Relocation, watch: &mut dyn Watch) -> Result<u64, BackupError> {
    let Relocation { from, to, secret_key_file } = relocation;
    if place(from) == place(to) {
        return Err(BackupError::SamePlace);
    }
    // What a node changed from now on would be lost.
    let _serving = match from {
        DatabaseConfig::Sqlite { dir } if dir.exists() => Some(ServeLock::take(dir)?),
        _ => None,
    };
    let mut source = StoreSource::open(from).await?;
    require_unserved(&mut source, from).await?;
    let fingerprint = key_fingerprint(&mut source).await?.ok_or(BackupError::NoKeyYet)?;
    SecretKey::find(secret_key_file, &fingerprint)?;
    let schema = source.schema();
    let copied = match to {
        DatabaseConfig::Sqlite { dir } => {
            let _serving = ServeLock::take(dir)?;
            if holds_data(dir) {
                return Err(BackupError::Occupied(dir.display().to_string()));
            }
            let replacement = Replacement::begin(dir)?;
            let copied = fill_files(&replacement.dir(), schema, &mut source, true, watch).await?;
            require_unserved(&mut source, from).await?;
            replacement.commit("replaced-empty")?;
            copied
        }
        DatabaseConfig::Postgres { url } => {
            let (mut target, found) = PostgresTarget::open(url).await?;
            if found.is_served {
                return Err(BackupError::Served(url.to_string()));
            }
            if found.has_data {
                return Err(BackupError::Occupied(url.to_string()));
            }
            let copied = fill_postgres(&mut target, schema, &mut source, true, watch).await?;
            require_unserved(&mut source, from).await?;
            target.commit().await?;
            copied
        }
    };
    Ok(copied.iter().map(|(_, tally)| tally.rows()).sum())
}

async fn require_unserved(source: &mut StoreSource, place: &DatabaseConfig) -> Result<(), BackupError> {
    match place {
        DatabaseConfig::Postgres { url } if source.is_served().await? => Err(BackupError::Served(url.to_string())),
        _ => Ok(()),
    }
}

/// What tells places apart.
fn place(database: &DatabaseConfig) -> String {
    match database {
        DatabaseConfig::Sqlite { dir } => dir.canonicalize().unwrap_or_else(|_| dir.clone()).display().to_string(),
        DatabaseConfig::Postgres { url } => url.to_string(),
    }
}
