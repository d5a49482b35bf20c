//! How the store is: a write that changes nothing, for finding out whether writes succeed, and the schema that it has.

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

struct Applied {
    version: Option<i64>,
}

from_row!(Applied { version });

statements! {
    // The one table that each of SQLite's files has. Its first row is there as soon as the store is.
    APPLIED = "SELECT MAX(version) AS version FROM _sqlx_migrations";
    WRITE = "UPDATE _sqlx_migrations SET description = description WHERE version = 1";
}

/// The newest migration that the store has.
pub(crate) async fn applied_schema(conn: &mut Conn) -> Result<Option<i64>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Applied>(APPLIED.on(db)).fetch_one(db).await?.version))
}

/// Writes a row as it is.
pub(crate) async fn write(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(WRITE.on(db)).execute(db).await?;
        Ok(())
    })
}

/// The same in the file of the apps' data.
pub(crate) fn write_data(conn: &rusqlite::Connection) -> Result<(), RepoError> {
    conn.execute(WRITE.sqlite, ())?;
    Ok(())
}
