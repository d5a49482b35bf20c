//! Apps that are deleted, as long as the execution log may hold something of them.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// An app that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedApp {
    /// The id that it had.
    pub id: AppId,
    /// Since when it is gone.
    pub deleted_at: Timestamp,
}

from_row!(DeletedApp { id, deleted_at });

statements! {
    INSERT = "INSERT INTO deleted_apps (id, deleted_at) VALUES ($1, $2)";
    LIST = "SELECT id, deleted_at FROM deleted_apps ORDER BY deleted_at, id LIMIT $1";
    DELETE = "DELETE FROM deleted_apps WHERE id = $1";
}

/// Notes that an app is deleted.
pub async fn insert(conn: &mut Conn, app: &DeletedApp) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(app.id.as_uuid()).bind(app.deleted_at.as_millis());
        query.execute(db).await?;
        Ok(())
    })
}

/// Up to `limit` of them, the first deleted first.
pub async fn list(conn: &mut Conn, limit: u32) -> Result<Vec<DeletedApp>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(LIST.on(db)).bind(i64::from(limit)).fetch_all(db).await?))
}

/// Forgets it: nothing of it is left; whether it was noted.
pub async fn delete(conn: &mut Conn, id: AppId) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE.on(db)).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}
