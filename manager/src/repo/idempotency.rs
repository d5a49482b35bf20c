//! Answers kept to be given again, each by what identifies the call that it is the answer to.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// The name of a capability that a call took, and the app that it took it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand(pub Option<AppId>, pub String);

/// An answer, without the headers that every answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// What tells the body of the call from others.
    pub body_mac: Vec<u8>,
    /// What the call took.
    pub demands: Vec<Demand>,
    /// The status.
    pub status: u16,
    /// The `ETag`, where it had one.
    pub etag: Option<String>,
    /// The body, which is JSON or empty.
    pub body: String,
}

from_row!(KeptAnswer { body_mac, demands, status, etag, body });

/// How many answers are kept, and how long their bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Answers.
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

from_row!(Kept { answers, bytes });

/// When an answer must have been kept to count: after the one moment, and not after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptWithin {
    /// Not at this moment or before.
    pub after: Timestamp,
    /// No later.
    pub until: Timestamp,
}

statements! {
    INSERT = "INSERT INTO idempotency_keys (scope, user_id, body_mac, demands, status, etag, body, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    FIND = "SELECT body_mac, demands, status, etag, body FROM idempotency_keys \
        WHERE scope = $1 AND created_at > $2 AND created_at <= $3";
    KEPT_OF_USER = "SELECT COUNT(*) AS answers, COALESCE(SUM(OCTET_LENGTH(body)), 0) AS bytes FROM idempotency_keys \
        WHERE user_id = $1 AND created_at > $2 AND created_at <= $3";
    DELETE_OTHERS = "DELETE FROM idempotency_keys WHERE created_at <= $1 OR created_at > $2";
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
        let query = sqlx::query(INSERT.on(db)).bind(&scope[..]).bind(user.as_uuid()).bind(answer.body_mac.as_slice());
        let query = query.bind(Json(&answer.demands));
        let query = query.bind(i64::from(answer.status)).bind(answer.etag.as_deref()).bind(answer.body.as_str());
        query.bind(at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// The answer kept for that call in that time.
pub async fn find(conn: &mut Conn, scope: &[u8; 32], within: KeptWithin) -> Result<Option<KeptAnswer>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(FIND.on(db)).bind(&scope[..]).bind(within.after.as_millis()).bind(within.until.as_millis());
        Ok(query.fetch_optional(db).await?)
    })
}

/// The answers kept in that time for calls of the user.
pub async fn kept_of_user(conn: &mut Conn, user: UserId, within: KeptWithin) -> Result<Kept, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(KEPT_OF_USER.on(db)).bind(user.as_uuid());
        Ok(query.bind(within.after.as_millis()).bind(within.until.as_millis()).fetch_one(db).await?)
    })
}

/// Forgets the answers that were not kept in that time.
pub async fn delete_others(conn: &mut Conn, within: KeptWithin) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE_OTHERS.on(db)).bind(within.after.as_millis());
        query.bind(within.until.as_millis()).execute(db).await?;
        Ok(())
    })
}
