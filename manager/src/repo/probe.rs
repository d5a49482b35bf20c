//! A write that changes nothing, for finding out whether writes succeed.

use crate::repo::RepoError;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

statements! {
    // The one table that each of SQLite's files has. Its first row is there as soon as the store is.
    WRITE = "UPDATE _sqlx_migrations SET description = description WHERE version = 1";
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
