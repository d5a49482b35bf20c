//! Login sessions, found by the digest of their token.

use std::net::IpAddr;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{SessionId, UserId};
use sqlx::FromRow;

use crate::repo::RepoError;
use crate::repo::column::{Listed, StoreRow, from_row, listed, text};
use crate::repo::statement::statements;
use crate::repo::users::User;
use crate::store::Conn;
use crate::store::conn::on_db;

/// The SHA-256 of a secret token. Cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The digest as computed.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A login session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id, by which its user can revoke it.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// When.
    pub created_at: Timestamp,
    /// Until when it lives if it is not used; moves on with use.
    pub expires_at: Timestamp,
    /// Until when it lives at most.
    pub absolute_expires_at: Timestamp,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// From where the user signed in.
    pub remote_ip: Option<IpAddr>,
    /// With what the user signed in.
    pub user_agent: Option<String>,
}

from_row!(Session { id, user_id, created_at, expires_at, absolute_expires_at, last_seen_at, remote_ip, user_agent });

/// A session with its user, from one row.
struct SignedIn(Session, User);

impl<'r, R: StoreRow> FromRow<'r, R> for SignedIn {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let session = Session {
            id: row.read("session_id")?,
            user_id: row.read("id")?,
            created_at: row.read("session_created_at")?,
            expires_at: row.read("expires_at")?,
            absolute_expires_at: row.read("absolute_expires_at")?,
            last_seen_at: row.read("last_seen_at")?,
            remote_ip: row.read("remote_ip")?,
            user_agent: row.read("user_agent")?,
        };
        Ok(Self(session, User::from_row(row)?))
    }
}

macro_rules! with_user {
    ($rest:literal) => {
        concat!(
            "SELECT s.id AS session_id, s.created_at AS session_created_at, s.expires_at, s.absolute_expires_at, \
             s.last_seen_at, s.remote_ip, s.user_agent, u.id, u.username, u.email, u.instance_role, u.is_active, \
             u.created_at, u.updated_at, u.last_login_at FROM sessions s JOIN users u ON u.id = s.user_id ",
            $rest
        )
    };
}

statements! {
    INSERT = "INSERT INTO sessions (id, token_hash, user_id, created_at, expires_at, absolute_expires_at, \
        last_seen_at, remote_ip, user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    FIND = with_user!("WHERE s.id = $1");
    FIND_BY_TOKEN_HASH = with_user!("WHERE s.token_hash = $1");
    LIST_OF_USER = "SELECT id, user_id, created_at, expires_at, absolute_expires_at, last_seen_at, remote_ip, \
        user_agent FROM sessions WHERE user_id = $1 AND expires_at > $2 AND ($3 IS NULL OR id < $3) \
        ORDER BY id DESC LIMIT $4",
        "SELECT id, user_id, created_at, expires_at, absolute_expires_at, last_seen_at, remote_ip, \
        user_agent FROM sessions WHERE user_id = $1 AND expires_at > $2 AND ($3::uuid IS NULL OR id < $3) \
        ORDER BY id DESC LIMIT $4";
    DELETE_SURPLUS = "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN \
        (SELECT id FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT $2)";
    TOUCH = "UPDATE sessions SET last_seen_at = $1, expires_at = $2 WHERE id = $3";
    DELETE = "DELETE FROM sessions WHERE user_id = $1 AND id = $2";
    DELETE_OF_USER = "DELETE FROM sessions WHERE user_id = $1 AND ($2 IS NULL OR id <> $2)",
        "DELETE FROM sessions WHERE user_id = $1 AND ($2::uuid IS NULL OR id <> $2)";
    DELETE_EXPIRED = "DELETE FROM sessions WHERE expires_at <= $1 OR absolute_expires_at <= $1";
}

/// Stores a new session.
///
/// # Errors
/// [`RepoError::MissingReference`] when the user is gone.
pub async fn insert(conn: &mut Conn, session: &Session, token: &TokenHash) -> Result<(), RepoError> {
    let user_agent = session.user_agent.as_deref().map(|agent| text("the user agent", agent)).transpose()?;
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(session.id.as_uuid()).bind(&token.as_bytes()[..]).bind(session.user_id.as_uuid()).bind(session.created_at.as_millis()).bind(session.expires_at.as_millis()).bind(session.absolute_expires_at.as_millis()).bind(session.last_seen_at.as_millis()).bind(session.remote_ip.map(|ip| ip.to_string())).bind(user_agent).execute(db).await?; Ok(()) })
}

/// The session of that id with its user, expired or not.
pub async fn find(conn: &mut Conn, id: SessionId) -> Result<Option<(Session, User)>, RepoError> {
    let found = on_db!(conn, db => {
        Ok(sqlx::query_as::<_, SignedIn>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?)
    })?;
    Ok(found.map(|SignedIn(session, user)| (session, user)))
}

/// The session of that token with its user, expired or not.
pub async fn find_by_token_hash(conn: &mut Conn, token: &TokenHash) -> Result<Option<(Session, User)>, RepoError> {
    let found = on_db!(conn, db => Ok(sqlx::query_as::<_, SignedIn>(FIND_BY_TOKEN_HASH.on(db)).bind(&token.as_bytes()[..]).fetch_optional(db).await?))?;
    Ok(found.map(|SignedIn(session, user)| (session, user)))
}

/// Up to `limit` of the user's sessions that live at that moment, the newest first, those older than `before`.
pub async fn list_of_user(
    conn: &mut Conn,
    user_id: UserId,
    now: Timestamp,
    limit: u32,
    before: Option<SessionId>,
) -> Result<Vec<Listed<Session>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST_OF_USER.on(db)).bind(user_id.as_uuid()).bind(now.as_millis());
        Ok(query.bind(before.map(SessionId::as_uuid)).bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// Ends the user's sessions but for the `kept` newest ones.
pub async fn delete_surplus(conn: &mut Conn, user_id: UserId, kept: u32) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE_SURPLUS.on(db)).bind(user_id.as_uuid()).bind(i64::from(kept));
        query.execute(db).await?;
        Ok(())
    })
}

/// Notes a use; whether the session exists.
pub async fn touch(
    conn: &mut Conn,
    id: SessionId,
    last_seen_at: Timestamp,
    expires_at: Timestamp,
) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(TOUCH.on(db)).bind(last_seen_at.as_millis()).bind(expires_at.as_millis()).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// Ends a session of that user; whether there was one.
pub async fn delete(conn: &mut Conn, user_id: UserId, id: SessionId) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE.on(db)).bind(user_id.as_uuid()).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// Ends the user's sessions but one; how many.
pub async fn delete_of_user(conn: &mut Conn, user_id: UserId, except: Option<SessionId>) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE_OF_USER.on(db)).bind(user_id.as_uuid()).bind(except.map(SessionId::as_uuid)).execute(db).await?.rows_affected()))
}

/// Deletes what has expired; how many.
pub async fn delete_expired(conn: &mut Conn, now: Timestamp) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE_EXPIRED.on(db)).bind(now.as_millis()).execute(db).await?.rows_affected()))
}
