//! The store: SQLite files or a PostgreSQL database behind one face. It owns pools, transactions and migrations, and
//! must not know what is stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgPool, SqlitePool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::repo::{self, RepoError};

mod ballast;
mod config;
pub(crate) mod conn;
pub(crate) mod copy;
pub(crate) mod data_db;
pub(crate) mod data_file;
mod listener;
pub(crate) mod look;
pub mod migration;
mod postgres;
pub(crate) mod replacement;
pub mod serve_lock;
mod sqlite;
mod write_health;

use ballast::Ballast;
pub use config::{DatabaseConfig, DatabaseUrl, InvalidDatabaseUrl};
pub use conn::{Conn, Dialects, Tx};
use conn::{FUNCTION_TIMEOUT, Isolation, Link, within};
use data_file::{DataFile, WriteFailed};
use migration::{HISTORY, Step, newest_version};
pub(crate) use serve_lock::ServeLock;
use sqlite::SqliteFiles;
use write_health::{Verdict, WriteHealth};

/// How long a caller waits for a connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long a unit of work waits for those of this process before it. They wait without a connection, so that any number of
/// them leaves the others to readers.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to say that it is there. Less than half of [`ACQUIRE_TIMEOUT`], so that a call that meets
/// a connection that went dead still gets another.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long may be written to find out whether writes succeed again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store was written by a newer version.
    #[error("the store has schema {found}, and this version knows schemas up to {known}; use a newer picloud")]
    NewerSchema {
        /// The store's schema.
        found: i64,
        /// The newest schema that this binary knows.
        known: i64,
    },
    /// A migration that was applied has another text in this binary.
    #[error("migration {version} of the store differs from this version's; the store comes from another build")]
    EditedMigration {
        /// Its number.
        version: i64,
    },
    /// Another process serves these files.
    #[error(
        "{} is served by another picloud{}: stop that one, or give this one a directory of its own (PICLOUD_DATA_DIR)",
        dir.display(), by.map(|pid| format!(", process {pid}")).unwrap_or_default()
    )]
    Served {
        /// Their directory.
        dir: PathBuf,
        /// The process, if it has said so.
        by: Option<u32>,
    },
    /// There is no store yet.
    #[error(
        "there is no instance in {0}: `picloud serve` makes one, and `picloud migrate`; name the place of yours by PICLOUD_DATA_DIR or \
         PICLOUD_DATABASE_URL"
    )]
    NoInstance(String),
    /// The database failed.
    #[error("the store cannot be opened: {0}")]
    Repo(#[from] RepoError),
}

/// The store. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    turn: Arc<Semaphore>,
    write_health: WriteHealth,
    schema_version: i64,
    serving: Option<Arc<ServeLock>>,
    /// Whether another process serves the same SQLite files for now.
    in_company: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite(SqliteFiles),
    Postgres(postgres::Pools),
}

/// Which data, and what for.
#[derive(Debug, Clone, Copy)]
enum Need {
    ReadMain,
    WriteMain,
    ReadLogs,
    WriteLogs,
    /// In PostgreSQL: SQLite's file of data is reached otherwise.
    Data,
}

impl Store {
    /// Opens the store, and brings its schema to the newest one.
    ///
    /// # Errors
    /// A place that cannot be used, a schema that this binary does not know, or a database that does not answer.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        Self::open_at(config, HISTORY).await
    }

    /// As [`Store::open`], for a command on an instance that there is: where there is none, a place was mistaken for its.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::NoInstance`], with nothing made.
    pub async fn open_existing(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let (is_there, place) = match config {
            DatabaseConfig::Sqlite { dir } => (SqliteFiles::are_there(dir), dir.display().to_string()),
            DatabaseConfig::Postgres { url } => (postgres::has_store(url.connect_options()).await?, url.to_string()),
        };
        if is_there { Self::open(config).await } else { Err(StoreError::NoInstance(place)) }
    }

    /// As [`Store::open`], for serving, which of SQLite files one process may do at a time, but for a hand-over, where the lock of
    /// the process before this one comes with it. That is looked at before anything else of the store. Room is kept there for
    /// opening them on a disk that is full.
    ///
    /// On PostgreSQL the lock of the directory only tells who serves: where another node has it, this one goes without.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::Served`].
    pub async fn open_to_serve(
        config: &DatabaseConfig,
        data_dir: &Path,
        handed_over: Option<ServeLock>,
    ) -> Result<Self, StoreError> {
        let DatabaseConfig::Sqlite { dir } = config else {
            let serving = handed_over.or_else(|| ServeLock::take(data_dir).ok()).map(Arc::new);
            return Ok(Self { serving, ..Self::open(config).await? });
        };
        let ballast = Ballast::of(dir);
        if let Some(lock) = handed_over {
            let store = Self { serving: Some(Arc::new(lock)), ..Self::open(config).await? };
            store.set_in_company(true);
            return Ok(store);
        }
        let mut opened = Self::lock_and_open(dir, config).await;
        if let Err(error) = &opened
            && ballast.gives_way_to(error)
        {
            opened = Self::lock_and_open(dir, config).await;
        }
        if opened.is_ok() {
            // Nothing waits for it.
            tokio::spawn(ballast.put_back());
        }
        opened
    }

    async fn lock_and_open(dir: &Path, config: &DatabaseConfig) -> Result<Self, StoreError> {
        let lock = Arc::new(ServeLock::take(dir)?);
        replacement::forget_unfinished(dir);
        Ok(Self { serving: Some(lock), ..Self::open(config).await? })
    }

    /// As [`Store::open`], with another history than the product's: how upgrades are tested.
    #[doc(hidden)]
    pub async fn open_at(config: &DatabaseConfig, history: &[Step]) -> Result<Self, StoreError> {
        let write_health = WriteHealth::default();
        let pools = match config {
            DatabaseConfig::Sqlite { dir } => Pools::Sqlite(SqliteFiles::open(dir, history, &write_health).await?),
            DatabaseConfig::Postgres { url } => Pools::Postgres(postgres::open(url.connect_options(), history).await?),
        };
        Ok(Self {
            pools,
            turn: Arc::new(Semaphore::new(1)),
            write_health,
            schema_version: newest_version(history),
            serving: None,
            in_company: Arc::default(),
        })
    }

    /// The number of the newest migration: the fifth versioned surface.
    pub fn schema_version(&self) -> i64 {
        self.schema_version
    }

    /// Whether the store is SQLite files, for defaults that depend on it.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.pools, Pools::Sqlite(_))
    }

    /// Whether no other process serves from the store: SQLite files, but for the time of a hand-over.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_sqlite() && !self.is_in_company()
    }

    /// Whether two processes serve from SQLite files, which tell each other nothing.
    pub(crate) fn is_in_company(&self) -> bool {
        *self.in_company.borrow()
    }

    /// Ends once they do.
    pub(crate) async fn comes_into_company(&self) {
        // The store keeps the other end.
        let _ = self.in_company.subscribe().wait_for(|is_so| *is_so).await;
    }

    /// Says whether another process serves from the same SQLite files. It means nothing on PostgreSQL.
    pub fn set_in_company(&self, is_so: bool) {
        self.in_company.send_replace(is_so && self.is_sqlite());
    }

    /// The right to serve, where this process has it.
    pub fn serve_lock(&self) -> Option<&ServeLock> {
        self.serving.as_deref()
    }

    /// Begins a unit of work on the control data. Units of work follow one another, on either database and over all
    /// nodes: what one reads stays true until it commits.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`], after about 2.5 s where nothing answers at all, and after 10 s in the queue of this process.
    pub async fn begin(&self) -> Result<Tx, RepoError> {
        let turn = self.turn().await?;
        let mut tx = self.transaction(Need::WriteMain, Isolation::Write).await?.in_turn(turn);
        if !self.is_sqlite() {
            // SQLite lets one write at a time; this makes PostgreSQL do the same.
            repo::config::lock(&mut tx).await?;
        }
        Ok(tx)
    }

    /// Begins a reading of the control data at one moment. It ends when it is dropped; there is nothing to commit.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_read(&self) -> Result<Tx, RepoError> {
        self.transaction(Need::ReadMain, Isolation::Snapshot).await
    }

    /// A connection that reads the control data, each statement for itself.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn read(&self) -> Result<Conn, RepoError> {
        self.connection(Need::ReadMain).await
    }

    /// Begins a unit of work on the execution log. These do not wait for those of the control data.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_logs(&self) -> Result<Tx, RepoError> {
        self.transaction(Need::WriteLogs, Isolation::Write).await
    }

    /// A connection that reads the execution log.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn read_logs(&self) -> Result<Conn, RepoError> {
        self.connection(Need::ReadLogs).await
    }

    /// Where the apps' data is.
    pub(crate) fn data(&self) -> DataPlace<'_> {
        match &self.pools {
            Pools::Sqlite(files) => DataPlace::File(&files.data),
            Pools::Postgres(_) => DataPlace::Postgres(PostgresData { store: self }),
        }
    }

    /// Whether the store answers.
    pub async fn is_reachable(&self) -> bool {
        let answer = async { repo::config::position(&mut self.read().await?).await };
        answer.await.is_ok()
    }

    /// Whether writes succeed, as far as is known: those of a disk that is full or read-only are known to fail once one has.
    pub async fn is_writable(&self) -> bool {
        match self.write_health.verdict() {
            Verdict::Writable => true,
            Verdict::Failing => false,
            Verdict::Uncertain => {
                // What fails is noted on the way; what is silent for too long leaves it uncertain.
                let is_writable = within(PROBE_TIMEOUT, self.probe()).await.is_ok();
                if is_writable {
                    self.write_health.recovered();
                }
                is_writable
            }
        }
    }

    /// Writes to each of SQLite's files.
    async fn probe(&self) -> Result<(), RepoError> {
        let write = async |mut tx: Tx| {
            repo::probe::write(&mut tx).await?;
            tx.commit().await
        };
        write(self.begin().await?).await?;
        write(self.begin_logs().await?).await?;
        match self.data() {
            DataPlace::File(file) => file.write(repo::probe::write_data).await.map_err(WriteFailed::into_repo_error),
            DataPlace::Postgres(_) => Ok(()),
        }
    }

    /// Wakes whenever another node may have told of a change on that channel. Never ends on PostgreSQL; on SQLite, which no
    /// other node shares, it ends at once.
    pub(crate) async fn listen(&self, channel: &str, wake: impl Fn()) {
        if let Pools::Postgres(pools) = &self.pools {
            listener::listen(&pools.control, channel, wake).await;
        }
    }

    /// Closes all connections, once what runs on them has ended.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite(files) => files.close().await,
            Pools::Postgres(pools) => pools.close().await,
        }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, RepoError> {
        match timeout(TURN_TIMEOUT, Arc::clone(&self.turn).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(RepoError::Unavailable("too many changes are under way".into())),
        }
    }

    async fn transaction(&self, need: Need, isolation: Isolation) -> Result<Tx, RepoError> {
        let begin = isolation.begin();
        let mut patience = Patience::new(self, need);
        loop {
            let begun = match self.pool(need) {
                // Waiting for another process takes as long as SQLite's busy timeout.
                Pool::Sqlite(pool) => within(FUNCTION_TIMEOUT, pool.begin_with(begin.sqlite)).await.map(Link::SqliteTx),
                Pool::Postgres(pool) => {
                    within(ACQUIRE_TIMEOUT, pool.begin_with(begin.postgres)).await.map(Link::PostgresTx)
                }
            };
            if let Some(result) = patience.judge(begun) {
                return match isolation {
                    Isolation::Snapshot | Isolation::Search => Ok(Tx::new(Conn::new(result?))),
                    Isolation::Write => {
                        self.write_health.note(&result);
                        Ok(Tx::new(Conn::new(result?)).noting(&self.write_health))
                    }
                };
            }
        }
    }

    async fn connection(&self, need: Need) -> Result<Conn, RepoError> {
        let mut patience = Patience::new(self, need);
        loop {
            let acquired = match self.pool(need) {
                Pool::Sqlite(pool) => pool.acquire().await.map(Link::Sqlite),
                Pool::Postgres(pool) => pool.acquire().await.map(Link::Postgres),
            };
            let checked = match acquired {
                Ok(link) => Conn::new(link).checked().await,
                Err(error) => Err(error.into()),
            };
            if let Some(result) = patience.judge(checked) {
                return result;
            }
        }
    }

    /// Connections in the pool that a stopped server may have killed.
    fn perhaps_dead(&self, need: Need) -> usize {
        match self.pool(need) {
            Pool::Sqlite(_) => 0,
            Pool::Postgres(pool) => pool.num_idle(),
        }
    }

    fn pool(&self, need: Need) -> Pool<'_> {
        match (&self.pools, need) {
            (Pools::Sqlite(files), Need::ReadMain) => Pool::Sqlite(&files.main.readers),
            (Pools::Sqlite(files), Need::WriteMain) => Pool::Sqlite(&files.main.writer),
            (Pools::Sqlite(files), Need::ReadLogs) => Pool::Sqlite(&files.logs.readers),
            (Pools::Sqlite(files), Need::WriteLogs) => Pool::Sqlite(&files.logs.writer),
            (Pools::Sqlite(_), Need::Data) => unreachable!("the apps' data in SQLite is not reached through sqlx"),
            (Pools::Postgres(pools), Need::Data) => Pool::Postgres(&pools.data),
            (Pools::Postgres(pools), _) => Pool::Postgres(&pools.control),
        }
    }
}

/// Where the apps' data is. Reading and writing it differ too much to be written once: on SQLite they do not go through sqlx.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DataPlace<'s> {
    /// In a SQLite file of its own.
    File(&'s DataFile),
    /// With all else in PostgreSQL.
    Postgres(PostgresData<'s>),
}

/// The connections to PostgreSQL, for the apps' data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostgresData<'s> {
    store: &'s Store,
}

impl PostgresData<'_> {
    /// Begins a unit of work, which waits for none on the control data.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub(crate) async fn begin(&self) -> Result<Tx, RepoError> {
        self.store.transaction(Need::Data, Isolation::Write).await
    }

    /// Begins a reading of one moment, which ends when it is dropped. The server works on no statement of it for longer than 10 s, though
    /// nobody may wait for it any more.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub(crate) async fn begin_search(&self) -> Result<Tx, RepoError> {
        self.store.transaction(Need::Data, Isolation::Search).await
    }

    /// A connection that reads.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub(crate) async fn read(&self) -> Result<Conn, RepoError> {
        self.store.connection(Need::Data).await
    }
}

/// A pool of either driver.
enum Pool<'s> {
    Sqlite(&'s SqlitePool),
    Postgres(&'s PgPool),
}

/// Tries until a connection proves to be live: those in a pool may have died with a server that has come back since.
/// Each failed try takes one of them out of the pool.
struct Patience<'s> {
    store: &'s Store,
    need: Need,
    deadline: Instant,
    perhaps_dead: usize,
}

impl<'s> Patience<'s> {
    fn new(store: &'s Store, need: Need) -> Self {
        let (deadline, perhaps_dead) = (Instant::now() + ACQUIRE_TIMEOUT, store.perhaps_dead(need));
        Self { store, need, deadline, perhaps_dead }
    }

    /// What to answer after a try; `None`: try again.
    fn judge<T>(&mut self, tried: Result<T, RepoError>) -> Option<Result<T, RepoError>> {
        let had_pooled = std::mem::replace(&mut self.perhaps_dead, self.store.perhaps_dead(self.need)) > 0;
        let again = had_pooled && matches!(tried, Err(RepoError::Unavailable(_))) && Instant::now() < self.deadline;
        (!again).then_some(tried)
    }
}
