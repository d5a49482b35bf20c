//! The SQLite files: who may read them, how they are opened, one writer and several readers of each.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::repo::RepoError;
use crate::store::data_file::DataFile;
use crate::store::migration::{self, Step, Target};
use crate::store::write_health::WriteHealth;
use crate::store::{ACQUIRE_TIMEOUT, StoreError, replacement};

/// Readers of one file. WAL lets them all read while the writer writes; more than a small machine has cores gain
/// nothing.
const READERS: u32 = 4;

/// The file that is locked by who migrates the others.
pub(super) const MIGRATION_LOCK: &str = "migration.lock";

/// The files of a store.
#[derive(Debug, Clone)]
pub(super) struct SqliteFiles {
    pub main: SqliteFile,
    pub logs: SqliteFile,
    pub data: DataFile,
}

/// One file: writes go one after the other through one connection, which spares them waiting for SQLite's own lock.
#[derive(Debug, Clone)]
pub(super) struct SqliteFile {
    pub writer: SqlitePool,
    pub readers: SqlitePool,
}

impl SqliteFiles {
    pub async fn open(dir: &Path, history: &[Step], health: &WriteHealth) -> Result<Self, StoreError> {
        make_private_dir(dir).map_err(|source| StoreError::Files { path: dir.to_owned(), source })?;
        let _lock = MigrationLock::take(dir.join(MIGRATION_LOCK)).await?;
        replacement::finish(dir)?;
        Ok(Self {
            main: SqliteFile::open(dir, "main", SqliteSynchronous::Full, history).await?,
            // The log is written behind anyway, so a power cut may take its last commits.
            logs: SqliteFile::open(dir, "logs", SqliteSynchronous::Normal, history).await?,
            data: {
                let (path, _) = prepare(dir, "data", SqliteSynchronous::Full, history).await?;
                DataFile::new(&path, health.clone())
            },
        })
    }

    /// Whether there is a store in that directory. A file without content was made by who was not let go on.
    pub fn are_there(dir: &Path) -> bool {
        fs::metadata(dir.join("main.db")).is_ok_and(|file| file.len() > 0) || replacement::is_pending(dir)
    }

    pub async fn close(&self) {
        self.data.close().await;
        for file in [&self.main, &self.logs] {
            file.readers.close().await;
            file.writer.close().await;
        }
    }
}

impl SqliteFile {
    async fn open(
        dir: &Path,
        name: &'static str,
        synchronous: SqliteSynchronous,
        history: &[Step],
    ) -> Result<Self, StoreError> {
        let (_, options) = prepare(dir, name, synchronous, history).await?;
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .after_release(|conn, _| Box::pin(is_out_of_transaction(conn)))
        };
        Ok(Self {
            writer: pool().max_connections(1).connect_lazy_with(options.clone()),
            // `read_only(true)` fails together with the other pragmas.
            readers: pool().max_connections(READERS).connect_lazy_with(options.pragma("query_only", "on")),
        })
    }
}

/// Makes a file where there is none, and brings its schema to the newest one. Gives its path, and how it is opened.
async fn prepare(
    dir: &Path,
    name: &'static str,
    synchronous: SqliteSynchronous,
    history: &[Step],
) -> Result<(PathBuf, SqliteConnectOptions), StoreError> {
    let path = dir.join(format!("{name}.db"));
    make_private_file(&path).map_err(|source| StoreError::Files { path: path.clone(), source })?;
    let options = connect_options(&path, synchronous);
    // Both are remembered by the file, and setting them again would wait for whoever writes.
    let creating = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental).journal_mode(SqliteJournalMode::Wal);
    migrate(&creating, dir, name, history).await?;
    Ok((path, options))
}

/// Whether a connection can be used again. When the disk is full, SQLite itself ends the transaction, and the driver,
/// whose ROLLBACK then fails, believes for ever that it is still in one.
async fn is_out_of_transaction(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // The rollback was only sent; this waits for it.
    conn.ping().await?;
    Ok(!conn.is_in_transaction())
}

fn connect_options(path: &Path, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // A read error of an SD card under mmap would be a SIGBUS.
        .pragma("mmap_size", "0")
        .pragma("journal_size_limit", (16 * 1024 * 1024).to_string())
        .optimize_on_close(false, None)
        .disable_statement_logging()
}

async fn migrate(
    options: &SqliteConnectOptions,
    dir: &Path,
    name: &'static str,
    history: &[Step],
) -> Result<(), StoreError> {
    let mut conn = options.connect().await.map_err(RepoError::from)?;
    if let Some(applied) = migration::applied_version(&mut conn).await?
        && applied < migration::newest_version(history)
    {
        back_up(&mut conn, dir.join(format!("{name}.schema-{applied}.backup.db"))).await?;
    }
    migration::apply(&mut conn, history, Target::Sqlite(name)).await?;
    Ok(conn.close().await.map_err(RepoError::from)?)
}

/// Copies the database to a file that no one else may read. A copy that an earlier, failed attempt left is replaced.
async fn back_up(conn: &mut SqliteConnection, path: PathBuf) -> Result<(), StoreError> {
    let failed = |source| StoreError::Files { path: path.clone(), source };
    let text = path.to_str().ok_or_else(|| failed(io::Error::other("the path is not UTF-8")))?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => make_private_file(&path).map_err(failed)?,
    }
    sqlx::query("VACUUM INTO $1").bind(text).execute(conn).await.map_err(RepoError::from)?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(failed)
}

/// Keeps two processes from migrating one directory at once. Held until dropped.
struct MigrationLock {
    _file: File,
}

impl MigrationLock {
    async fn take(path: PathBuf) -> Result<Self, StoreError> {
        let lock = |path: &Path| {
            make_private_file(path)?;
            let file = File::open(path)?;
            file.lock()?;
            Ok(file)
        };
        let in_thread = path.clone();
        let result =
            tokio::task::spawn_blocking(move || lock(&in_thread)).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        result.map(|file| Self { _file: file }).map_err(|source| StoreError::Files { path, source })
    }
}

pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    tighten(dir, 0o700)
}

/// Makes the file before SQLite would, which follows the umask; SQLite gives the files beside it the same mode. It is the directory's owner's:
/// whoever runs a command may be root, who does not serve.
pub(super) fn make_private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().create_new(true).append(true).mode(0o600).open(path) {
        Ok(made) => {
            if let Some(dir) = path.parent().filter(|_| geteuid().is_root()).and_then(|dir| fs::metadata(dir).ok()) {
                // Not every file system knows owners.
                let _ = fchown(&made, Some(dir.uid()), Some(dir.gid()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path)?;
        }
        Err(error) => return Err(error),
    }
    tighten(path, 0o600)
}

fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 & !mode == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}
