//! The settings of apps.

use picloud_shared::clock::Timestamp;
use picloud_shared::env::EnvValue;
use picloud_shared::id::AppId;
use picloud_shared::name::SettingName;

use crate::repo::RepoError;
use crate::repo::column::{Count, Named, from_row, text};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvSetting {
    /// Its name, unique in the app.
    pub name: SettingName,
    /// Its value.
    pub value: EnvValue,
    /// When it was last set.
    pub updated_at: Timestamp,
}

from_row!(EnvSetting { name, value, updated_at });

statements! {
    LIST = "SELECT app_id AS id, name, value, updated_at FROM app_env WHERE app_id = $1 AND ($2 IS NULL OR name > $2) \
        ORDER BY name LIMIT $3",
        "SELECT app_id AS id, name, value, updated_at FROM app_env WHERE app_id = $1 AND ($2::text IS NULL OR name > $2) \
        ORDER BY name LIMIT $3";
    FIND = "SELECT name, value, updated_at FROM app_env WHERE app_id = $1 AND name = $2";
    COUNT = "SELECT COUNT(*) AS count FROM app_env WHERE app_id = $1";
    SET = "INSERT INTO app_env (app_id, name, value, updated_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (app_id, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    DELETE = "DELETE FROM app_env WHERE app_id = $1 AND name = $2";
}

/// Up to `limit` settings of an app in order of their names' bytes, those after `after`.
pub async fn list(
    conn: &mut Conn,
    app: AppId,
    limit: u32,
    after: Option<&str>,
) -> Result<Vec<Named<EnvSetting>>, RepoError> {
    let after = after.map(|after| text("the cursor", after)).transpose()?;
    on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(app.as_uuid()).bind(after);
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })
}

/// The setting of that name.
pub async fn find(conn: &mut Conn, app: AppId, name: &SettingName) -> Result<Option<EnvSetting>, RepoError> {
    on_db!(conn, db => {
        Ok(sqlx::query_as(FIND.on(db)).bind(app.as_uuid()).bind(name.as_str()).fetch_optional(db).await?)
    })
}

/// How many settings the app has.
pub async fn count(conn: &mut Conn, app: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).bind(app.as_uuid()).fetch_one(db).await?.count))
}

/// Stores a setting, in the place of one of that name.
///
/// # Errors
/// [`RepoError::MissingReference`] when the app is gone.
pub async fn set(conn: &mut Conn, app: AppId, setting: &EnvSetting) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(SET.on(db)).bind(app.as_uuid()).bind(setting.name.as_str());
        query.bind(setting.value.as_str()).bind(setting.updated_at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// Removes a setting; whether it existed.
pub async fn delete(conn: &mut Conn, app: AppId, name: &SettingName) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE.on(db)).bind(app.as_uuid()).bind(name.as_str());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}
