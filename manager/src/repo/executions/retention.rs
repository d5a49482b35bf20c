//! How much the log holds, and deleting from it.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;

use crate::repo::RepoError;
use crate::repo::column::{Count, from_row, integer};
use crate::repo::executions::first_id_at;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::{LOAD_TIMEOUT, on_db};

/// How much the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Executions.
    pub records: u64,
    /// Bytes that they take with their indexes.
    pub bytes: u64,
}

/// How many executions an app has.
struct AppCount {
    app_id: AppId,
    count: u64,
}

from_row!(Usage { records, bytes });
from_row!(AppCount { app_id, count });

statements! {
    DELETE_OLDEST_BEFORE = "DELETE FROM executions WHERE id IN \
        (SELECT id FROM executions WHERE id < $1 ORDER BY id LIMIT $2)";
    DELETE_OLDEST_OF_APP = "DELETE FROM executions WHERE id IN \
        (SELECT id FROM executions WHERE app_id = $1 ORDER BY id LIMIT $2)";
    DELETE_OF_APP = "DELETE FROM executions WHERE app_id = $1";
    APPS_OVER = "SELECT app_id, COUNT(*) AS count FROM executions GROUP BY app_id HAVING COUNT(*) > $1";
    USAGE = "SELECT (SELECT COUNT(*) FROM executions) AS records, \
        (p.page_count - f.freelist_count) * s.page_size AS bytes \
        FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s",
        "SELECT records, records * (300 + COALESCE((SELECT AVG(pg_column_size(e.*)) FROM \
        (SELECT * FROM executions ORDER BY id DESC LIMIT 1000) e), 0)::bigint) AS bytes \
        FROM (SELECT COUNT(*) AS records FROM executions) counted";
    VACUUM_SOME = "PRAGMA incremental_vacuum(1000)", "SELECT 1";
    FREE_PAGES = "SELECT freelist_count AS count FROM pragma_freelist_count", "SELECT 0::bigint AS count";
}

/// Deletes up to `limit` of the oldest executions that are older than `before`; how many. Ids are in order of time, so
/// the primary key finds them.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn delete_older_than(conn: &mut Conn, before: Timestamp, limit: u32) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE_OLDEST_BEFORE.on(db)).bind(first_id_at(before)).bind(i64::from(limit));
        Ok(query.execute(db).await?.rows_affected())
    })
}

/// Deletes up to `limit` of the app's oldest executions; how many.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn delete_oldest_of_app(conn: &mut Conn, app_id: AppId, limit: u32) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE_OLDEST_OF_APP.on(db)).bind(app_id.as_uuid()).bind(i64::from(limit));
        Ok(query.execute(db).await?.rows_affected())
    })
}

/// Deletes all executions of the app in one go.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn delete_of_app(conn: &mut Conn, app_id: AppId) -> Result<(), RepoError> {
    on_db!(LOAD_TIMEOUT, conn, db => {
        sqlx::query(DELETE_OF_APP.on(db)).bind(app_id.as_uuid()).execute(db).await?;
        Ok(())
    })
}

/// The apps with more than `limit` executions, each with how many more.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn apps_over(conn: &mut Conn, limit: u64) -> Result<Vec<(AppId, u64)>, RepoError> {
    let over = on_db!(LOAD_TIMEOUT, conn, db => {
        Ok(sqlx::query_as::<_, AppCount>(APPS_OVER.on(db)).bind(integer(limit)).fetch_all(db).await?)
    })?;
    Ok(over.into_iter().map(|app| (app.app_id, app.count - limit)).collect())
}

/// What the log takes. On PostgreSQL estimated from the newest records with 300 bytes each for the indexes and the
/// row's header (`ROW_BYTES`): a table's own size does not fall when rows are deleted.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn usage(conn: &mut Conn) -> Result<Usage, RepoError> {
    on_db!(LOAD_TIMEOUT, conn, db => Ok(sqlx::query_as::<_, Usage>(USAGE.on(db)).fetch_one(db).await?))
}

/// Gives up to 1,000 free pages of the log's file (4 MiB) back to the disk; how many are left. PostgreSQL does that by itself.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn vacuum_some(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        sqlx::query(VACUUM_SOME.on(db)).fetch_all(&mut *db).await?;
        Ok(sqlx::query_as::<_, Count>(FREE_PAGES.on(db)).fetch_one(db).await?.count)
    })
}
