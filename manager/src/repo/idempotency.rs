//! Answers kept to be given again, each by what identifies the call that it is the answer to.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::UserId;

use crate::repo::RepoError;
use crate::repo::column::{Count, from_row};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// An answer, without the headers that every answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The SHA-256 of the body of the call.
    pub body_hash: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The `ETag`, where it had one.
    pub etag: Option<String>,
    /// The body, which is JSON or empty.
    pub body: String,
}

from_row!(KeptAnswer { body_hash, status, etag, body });

statements! {
    INSERT = "INSERT INTO idempotency_keys (scope, user_id, body_hash, status, etag, body, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    FIND = "SELECT body_hash, status, etag, body FROM idempotency_keys WHERE scope = $1 AND created_at > $2";
    COUNT_OF_USER = "SELECT COUNT(*) AS count FROM idempotency_keys WHERE user_id = $1";
    DELETE_UNTIL = "DELETE FROM idempotency_keys WHERE created_at <= $1";
}

/// Keeps an answer.
///
/// # Errors
/// [`RepoError::Conflict`] when one is kept for that call already.
pub async fn insert(
    conn: &mut Conn,
    scope: &[u8; 32],
    user: UserId,
    answer: &KeptAnswer,
    at: Timestamp,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(&scope[..]).bind(user.as_uuid()).bind(answer.body_hash.as_slice());
        let query = query.bind(i64::from(answer.status)).bind(answer.etag.as_deref()).bind(answer.body.as_str());
        query.bind(at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// The answer kept for that call after that moment.
pub async fn find(conn: &mut Conn, scope: &[u8; 32], after: Timestamp) -> Result<Option<KeptAnswer>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(FIND.on(db)).bind(&scope[..]).bind(after.as_millis());
        Ok(query.fetch_optional(db).await?)
    })
}

/// How many answers are kept for calls of the user.
pub async fn count_of_user(conn: &mut Conn, user: UserId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT_OF_USER.on(db)).bind(user.as_uuid()).fetch_one(db).await?.count))
}

/// Forgets the answers that were kept at that moment or before.
pub async fn delete_until(conn: &mut Conn, until: Timestamp) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(DELETE_UNTIL.on(db)).bind(until.as_millis()).execute(db).await?; Ok(()) })
}
