//! The one-time token of the set-up link: at most one stands at a time.

use picloud_shared::clock::Timestamp;

use crate::repo::RepoError;
use crate::repo::column::Count;
use crate::repo::sessions::TokenHash;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

statements! {
    CLEAR = "DELETE FROM setup_tokens";
    INSERT = "INSERT INTO setup_tokens (token_hash, created_at) VALUES ($1, $2)";
    COUNT = "SELECT COUNT(*) AS count FROM setup_tokens WHERE token_hash = $1";
    TAKE = "DELETE FROM setup_tokens WHERE token_hash = $1";
}

/// Makes this the only token.
pub async fn replace(conn: &mut Conn, token: &TokenHash, at: Timestamp) -> Result<(), RepoError> {
    clear(conn).await?;
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(&token.as_bytes()[..]).bind(at.as_millis()).execute(db).await?; Ok(()) })
}

/// Whether the token stands.
pub async fn stands(conn: &mut Conn, token: &TokenHash) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(COUNT.on(db)).bind(&token.as_bytes()[..]);
        Ok(query.fetch_one(db).await?.count > 0)
    })
}

/// Uses the token up; whether it stood.
pub async fn take(conn: &mut Conn, token: &TokenHash) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(TAKE.on(db)).bind(&token.as_bytes()[..]).execute(db).await?.rows_affected() > 0))
}

/// Removes whatever token stands.
pub async fn clear(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(CLEAR.on(db)).execute(db).await?; Ok(()) })
}
