//! API keys, found by the digest of the whole key.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, AppId, UserId};
use picloud_shared::name::KeyName;
use sqlx::FromRow;
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, StoreRow, from_row, listed};
use crate::repo::scope::Scope;
use crate::repo::sessions::TokenHash;
use crate::repo::statement::statements;
use crate::repo::users::User;
use crate::store::Conn;
use crate::store::conn::on_db;

/// An API key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The id, which the key's text begins with.
    pub id: ApiKeyId,
    /// In whose name it acts.
    pub user_id: UserId,
    /// What its owner calls it.
    pub name: KeyName,
    /// What it may be used for, in order and each once.
    pub scopes: Vec<Scope>,
    /// The one app that it is for, if it is for one.
    pub app_id: Option<AppId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

from_row!(ApiKey { id, user_id, name, scopes, app_id, created_at, expires_at, last_used_at });

/// A key with its owner, from one row.
struct Owned(ApiKey, User);

impl<'r, R: StoreRow> FromRow<'r, R> for Owned {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let key = ApiKey {
            id: row.read("key_id")?,
            user_id: row.read("id")?,
            name: row.read("name")?,
            scopes: row.read("scopes")?,
            app_id: row.read("app_id")?,
            created_at: row.read("key_created_at")?,
            expires_at: row.read("expires_at")?,
            last_used_at: row.read("last_used_at")?,
        };
        Ok(Self(key, User::from_row(row)?))
    }
}

macro_rules! with_user {
    ($rest:literal) => {
        concat!(
            "SELECT k.id AS key_id, k.name, k.scopes, k.app_id, k.created_at AS key_created_at, k.expires_at, \
             k.last_used_at, u.id, u.username, u.email, u.instance_role, u.is_active, u.created_at, u.updated_at, \
             u.last_login_at FROM api_keys k JOIN users u ON u.id = k.user_id ",
            $rest
        )
    };
}

statements! {
    INSERT = "INSERT INTO api_keys (id, key_hash, user_id, name, scopes, app_id, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    FIND = with_user!("WHERE k.id = $1");
    FIND_BY_HASH = with_user!("WHERE k.key_hash = $1");
    LIST_OF_USER = "SELECT id, user_id, name, scopes, app_id, created_at, expires_at, last_used_at FROM api_keys \
        WHERE user_id = $1 AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
        "SELECT id, user_id, name, scopes, app_id, created_at, expires_at, last_used_at FROM api_keys \
        WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3";
    COUNT_OF_USER = "SELECT COUNT(*) AS count FROM api_keys WHERE user_id = $1";
    TOUCH = "UPDATE api_keys SET last_used_at = $1 WHERE id = $2";
    DELETE = "DELETE FROM api_keys WHERE user_id = $1 AND id = $2";
}

/// Stores a new key.
///
/// # Errors
/// [`RepoError::MissingReference`] when the user or the app is gone.
pub async fn insert(conn: &mut Conn, key: &ApiKey, hash: &TokenHash) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(key.id.as_uuid()).bind(&hash.as_bytes()[..]);
        let query = query.bind(key.user_id.as_uuid()).bind(key.name.as_str()).bind(Json(&key.scopes));
        let query = query.bind(key.app_id.map(AppId::as_uuid)).bind(key.created_at.as_millis());
        query.bind(key.expires_at.map(Timestamp::as_millis)).execute(db).await?;
        Ok(())
    })
}

/// The key of that id with its owner, expired or not.
pub async fn find(conn: &mut Conn, id: ApiKeyId) -> Result<Option<(ApiKey, User)>, RepoError> {
    let found = on_db!(conn, db => {
        Ok(sqlx::query_as::<_, Owned>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?)
    })?;
    Ok(found.map(|Owned(key, user)| (key, user)))
}

/// The key of that digest with its owner, expired or not.
pub async fn find_by_hash(conn: &mut Conn, hash: &TokenHash) -> Result<Option<(ApiKey, User)>, RepoError> {
    let found = on_db!(conn, db => {
        let query = sqlx::query_as::<_, Owned>(FIND_BY_HASH.on(db)).bind(&hash.as_bytes()[..]);
        Ok(query.fetch_optional(db).await?)
    })?;
    Ok(found.map(|Owned(key, user)| (key, user)))
}

/// Up to `limit` of the user's keys, the newest first, those older than `before`.
pub async fn list_of_user(
    conn: &mut Conn,
    user_id: UserId,
    limit: u32,
    before: Option<ApiKeyId>,
) -> Result<Vec<Listed<ApiKey>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST_OF_USER.on(db)).bind(user_id.as_uuid());
        Ok(query.bind(before.map(ApiKeyId::as_uuid)).bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// How many keys the user has.
pub async fn count_of_user(conn: &mut Conn, user_id: UserId) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(COUNT_OF_USER.on(db)).bind(user_id.as_uuid());
        Ok(query.fetch_one(db).await?.count)
    })
}

/// Notes a use; whether the key exists.
pub async fn touch(conn: &mut Conn, id: ApiKeyId, last_used_at: Timestamp) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(TOUCH.on(db)).bind(last_used_at.as_millis()).bind(id.as_uuid());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// Revokes a key of that user; whether there was one.
pub async fn delete(conn: &mut Conn, user_id: UserId, id: ApiKeyId) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE.on(db)).bind(user_id.as_uuid()).bind(id.as_uuid());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}
