//! The one-time tokens of set-up links: one of each node that started without a user.

use picloud_shared::clock::Timestamp;

use crate::repo::RepoError;
use crate::repo::column::Count;
use crate::repo::sessions::TokenHash;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

statements! {
    CLEAR = "DELETE FROM setup_tokens";
    DELETE_UNTIL = "DELETE FROM setup_tokens WHERE created_at <= $1";
    INSERT = "INSERT INTO setup_tokens (token_hash, created_at) VALUES ($1, $2)";
    TOUCH = "UPDATE setup_tokens SET created_at = $1 WHERE token_hash = $2";
    COUNT = "SELECT COUNT(*) AS count FROM setup_tokens WHERE token_hash = $1 AND created_at > $2";
}

/// Stores a token.
pub async fn insert(conn: &mut Conn, token: &TokenHash, at: Timestamp) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(&token.as_bytes()[..]).bind(at.as_millis()).execute(db).await?; Ok(()) })
}

/// Notes that whoever shows the token was there at that moment; whether the token is there.
pub async fn touch(conn: &mut Conn, token: &TokenHash, at: Timestamp) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(TOUCH.on(db)).bind(at.as_millis()).bind(&token.as_bytes()[..]);
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// Whether the token is there and was noted after that moment.
pub async fn stands(conn: &mut Conn, token: &TokenHash, after: Timestamp) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(COUNT.on(db)).bind(&token.as_bytes()[..]).bind(after.as_millis());
        Ok(query.fetch_one(db).await?.count > 0)
    })
}

/// Removes the tokens that were last noted at that moment or before.
pub async fn delete_until(conn: &mut Conn, until: Timestamp) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(DELETE_UNTIL.on(db)).bind(until.as_millis()).execute(db).await?; Ok(()) })
}

/// Removes all tokens.
pub async fn clear(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(CLEAR.on(db)).execute(db).await?; Ok(()) })
}
