//! The secrets of apps, sealed: nothing here can open them.

use std::fmt;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;
use picloud_shared::name::SettingName;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, Named, from_row, text};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// What is told of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMeta {
    /// Its name, unique in the app.
    pub name: SettingName,
    /// Drawn at each setting.
    pub revision: i64,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

from_row!(SecretMeta { name, revision, created_at, updated_at });

/// A secret as the store has it.
pub struct SealedSecret {
    /// Its name.
    pub name: SettingName,
    /// Drawn at each setting.
    pub revision: i64,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

from_row!(SealedSecret { name, revision, sealed });

/// Without what is sealed.
impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({})", self.name)
    }
}

/// A secret for whoever seals it by another key. Its name is as it is stored, be it one or not.
pub struct SecretOfApp {
    /// Whose it is.
    pub app_id: AppId,
    /// Its name.
    pub name: String,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

from_row!(SecretOfApp { app_id, name, sealed });

statements! {
    LIST = "SELECT app_id AS id, name, revision, created_at, updated_at FROM app_secrets \
        WHERE app_id = $1 AND ($2 IS NULL OR name > $2) ORDER BY name LIMIT $3",
        "SELECT app_id AS id, name, revision, created_at, updated_at FROM app_secrets \
        WHERE app_id = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3";
    FIND = "SELECT name, revision, created_at, updated_at FROM app_secrets WHERE app_id = $1 AND name = $2";
    COUNT = "SELECT COUNT(*) AS count FROM app_secrets WHERE app_id = $1";
    SET = "INSERT INTO app_secrets (app_id, name, revision, created_at, updated_at, sealed) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app_id, name) DO UPDATE \
        SET revision = excluded.revision, updated_at = excluded.updated_at, sealed = excluded.sealed";
    DELETE = "DELETE FROM app_secrets WHERE app_id = $1 AND name = $2";
    LIST_SEALED = "SELECT app_id, name, sealed FROM app_secrets WHERE (app_id, name) > ($1, $2) \
        ORDER BY app_id, name LIMIT $3";
    RESEAL = "UPDATE app_secrets SET sealed = $3 WHERE app_id = $1 AND name = $2";
}

/// Up to `limit` secrets of an app in order of their names' bytes, those after `after`.
pub async fn list(
    conn: &mut Conn,
    app: AppId,
    limit: u32,
    after: Option<&str>,
) -> Result<Vec<Named<SecretMeta>>, RepoError> {
    let after = after.map(|after| text("the cursor", after)).transpose()?;
    on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(app.as_uuid()).bind(after);
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })
}

/// The secret of that name.
pub async fn find(conn: &mut Conn, app: AppId, name: &SettingName) -> Result<Option<SecretMeta>, RepoError> {
    on_db!(conn, db => {
        Ok(sqlx::query_as(FIND.on(db)).bind(app.as_uuid()).bind(name.as_str()).fetch_optional(db).await?)
    })
}

/// How many secrets the app has.
pub async fn count(conn: &mut Conn, app: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).bind(app.as_uuid()).fetch_one(db).await?.count))
}

/// Stores a secret, in the place of one of that name, which keeps the time when it was first set.
///
/// # Errors
/// [`RepoError::MissingReference`] when the app is gone.
pub async fn set(conn: &mut Conn, app: AppId, secret: &SecretMeta, sealed: &[u8]) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(SET.on(db)).bind(app.as_uuid()).bind(secret.name.as_str()).bind(secret.revision);
        let query = query.bind(secret.created_at.as_millis()).bind(secret.updated_at.as_millis());
        query.bind(sealed).execute(db).await?;
        Ok(())
    })
}

/// Removes a secret; whether it existed.
pub async fn delete(conn: &mut Conn, app: AppId, name: &SettingName) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE.on(db)).bind(app.as_uuid()).bind(name.as_str());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// Up to `limit` secrets of all apps, those after this one, or the first.
pub async fn list_sealed(
    conn: &mut Conn,
    after: Option<&SecretOfApp>,
    limit: u32,
) -> Result<Vec<SecretOfApp>, RepoError> {
    let (app, name) = after.map_or((Uuid::nil(), ""), |last| (last.app_id.as_uuid(), last.name.as_str()));
    on_db!(conn, db => {
        let query = sqlx::query_as(LIST_SEALED.on(db)).bind(app).bind(name);
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })
}

/// Keeps a secret sealed otherwise.
pub async fn reseal(conn: &mut Conn, secret: &SecretOfApp) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(RESEAL.on(db)).bind(secret.app_id.as_uuid()).bind(&secret.name);
        query.bind(&secret.sealed).execute(db).await?;
        Ok(())
    })
}
