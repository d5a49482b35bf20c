//! A store that is only looked at: opened without a file being made, a schema being brought up to date or a row being written,
//! whether somebody serves it or not.

mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use picloud_shared::clock::Timestamp;
use tokio::sync::Semaphore;

use crate::repo::RepoError;
use crate::store::migration::{HISTORY, newest_version};
use crate::store::sqlite::SqliteFiles;
use crate::store::write_health::WriteHealth;
use crate::store::{DatabaseConfig, Pools, Store, StoreError};
pub use postgres::ServerFacts;
pub use sqlite::FileHealth;

impl Store {
    /// Opens the store to read it, and to change nothing of it: not even its schema, which may be another than this binary's
    /// ([`Store::applied_schema`]).
    ///
    /// # Errors
    /// [`StoreError::NoInstance`], and a database that does not answer.
    pub async fn open_to_look(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let pools = match config {
            DatabaseConfig::Sqlite { dir } => {
                if !SqliteFiles::are_there(dir) {
                    return Err(StoreError::NoInstance(dir.display().to_string()));
                }
                Pools::Sqlite(sqlite::open(dir))
            }
            DatabaseConfig::Postgres { url } => {
                if !super::postgres::has_store(url.connect_options()).await? {
                    return Err(StoreError::NoInstance(url.to_string()));
                }
                Pools::Postgres(postgres::open(url.connect_options()))
            }
        };
        Ok(Self {
            pools,
            turn: Arc::new(Semaphore::new(1)),
            write_health: WriteHealth::default(),
            schema_version: newest_version(HISTORY),
            serving: None,
            in_company: Arc::default(),
        })
    }

    /// The schema that the store has; `None` for one that was made and got none.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`].
    pub async fn applied_schema(&self) -> Result<Option<i64>, RepoError> {
        crate::repo::probe::applied_schema(&mut self.read().await?).await
    }

    /// How its server is, where there is one.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`].
    pub async fn server_facts(&self, now: impl Fn() -> Timestamp) -> Result<Option<ServerFacts>, RepoError> {
        match &self.pools {
            Pools::Sqlite(_) => Ok(None),
            Pools::Postgres(pools) => postgres::facts(&pools.control, now).await.map(Some),
        }
    }
}

/// How SQLite's files are in that directory, each read through as far as there is time. It takes a minute at most.
pub async fn sqlite_health(dir: &Path) -> Vec<FileHealth> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || sqlite::health(&dir)).await.unwrap_or_default()
}

/// The process that serves the SQLite files in that directory, if one does.
pub fn served_by(dir: &Path) -> Option<u32> {
    sqlite::served_by(dir)
}
