//! Rows of the audit log that stand beside the apps' data until they are carried to their place in the chain.

use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_postgres;
use crate::store::data_db::{DataDb, params};

/// A row on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The id of the row in the audit log.
    pub id: Uuid,
    /// The row as JSON.
    pub entry: String,
    /// The seal over it, which says that it was this program that wrote it.
    pub seal: Vec<u8>,
}

statements! {
    INSERT = "INSERT INTO data_audit (id, entry, seal) VALUES ($1, $2, $3)";
    LIST = "SELECT id, entry, seal FROM data_audit WHERE id > $1 ORDER BY id LIMIT $2";
    DELETE = "DELETE FROM data_audit WHERE id = $1";
}

/// Adds a row, within the transaction of what it tells of.
pub(crate) fn insert_sqlite(conn: &rusqlite::Connection, row: &Outbound) -> Result<(), RepoError> {
    let mut statement = conn.prepare_cached(INSERT.sqlite)?;
    statement.execute(rusqlite::params![row.id.as_bytes(), row.entry, row.seal])?;
    Ok(())
}

/// The first rows after that one.
pub(crate) fn list_sqlite(conn: &rusqlite::Connection, after: Uuid, limit: u32) -> Result<Vec<Outbound>, RepoError> {
    let mut statement = conn.prepare_cached(LIST.sqlite)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Outbound { id: Uuid::from_bytes(row.get(0)?), entry: row.get(1)?, seal: row.get(2)? })
    };
    Ok(statement.query_map(rusqlite::params![after.as_bytes(), limit], row)?.collect::<rusqlite::Result<_>>()?)
}

/// The same for either database.
pub(crate) async fn insert<D: DataDb>(db: &mut D, row: &Outbound) -> Result<(), RepoError> {
    db.execute(&INSERT, params![row.id, &*row.entry, &*row.seal]).await.map(|_| ())
}

/// Removes rows.
pub(crate) fn delete_sqlite(conn: &rusqlite::Connection, ids: &[Uuid]) -> Result<(), RepoError> {
    let mut statement = conn.prepare_cached(DELETE.sqlite)?;
    for id in ids {
        statement.execute([id.as_bytes()])?;
    }
    Ok(())
}

/// As [`insert_sqlite`].
pub(crate) async fn insert_postgres(conn: &mut Conn, row: &Outbound) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        sqlx::query(INSERT.postgres).bind(row.id).bind(&row.entry).bind(&row.seal).execute(db).await?;
        Ok(())
    })
}

/// As [`list_sqlite`].
pub(crate) async fn list_postgres(conn: &mut Conn, after: Uuid, limit: u32) -> Result<Vec<Outbound>, RepoError> {
    on_postgres!(conn, db => {
        let rows = sqlx::query_as::<_, (Uuid, String, Vec<u8>)>(LIST.postgres).bind(after).bind(i64::from(limit));
        Ok(rows.fetch_all(db).await?.into_iter().map(|(id, entry, seal)| Outbound { id, entry, seal }).collect())
    })
}

/// As [`delete_sqlite`].
pub(crate) async fn delete_postgres(conn: &mut Conn, ids: &[Uuid]) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        for id in ids {
            sqlx::query(DELETE.postgres).bind(id).execute(&mut *db).await?;
        }
        Ok(())
    })
}
