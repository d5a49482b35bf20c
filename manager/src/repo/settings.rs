//! What the owners of the instance set, as one document.

use picloud_shared::script::ExecuteAccess;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// The settings. What is not stored is as it is by default; what a newer version stored is let be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Who may run a new script by its id, where its author does not say.
    pub execute_access: ExecuteAccess,
}

impl Default for Settings {
    fn default() -> Self {
        Self { execute_access: ExecuteAccess::Open }
    }
}

struct Stored {
    value: Settings,
}

from_row!(Stored { value });

statements! {
    FIND = "SELECT value FROM instance WHERE key = 'settings'";
    SET = "INSERT INTO instance (key, value) VALUES ('settings', $1) \
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
}

/// The settings as they are.
pub async fn find(conn: &mut Conn) -> Result<Settings, RepoError> {
    let found = on_db!(conn, db => Ok(sqlx::query_as::<_, Stored>(FIND.on(db)).fetch_optional(db).await?))?;
    Ok(found.map(|stored| stored.value).unwrap_or_default())
}

/// Stores the settings.
pub async fn set(conn: &mut Conn, settings: &Settings) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(SET.on(db)).bind(Json(settings)).execute(db).await?;
        Ok(())
    })
}
