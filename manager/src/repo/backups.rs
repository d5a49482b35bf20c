//! When the instance's scheduled backups were begun and taken, which all nodes go by.

use picloud_shared::clock::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// How far the schedule is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheduled {
    /// When a node last began with one, or last said that it was still at it.
    pub begun_at: Option<Timestamp>,
    /// When the newest was taken that could be restored.
    pub newest: Option<Timestamp>,
    /// What went wrong since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A backup that was not taken, or that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// When it was begun.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

struct Noted {
    value: serde_json::Value,
}

from_row!(Noted { value });

statements! {
    GET = "SELECT value FROM instance WHERE key = 'scheduled_backup'";
    SET = "INSERT INTO instance (key, value) VALUES ('scheduled_backup', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
}

/// How far the schedule is. What cannot be read is as if there were none yet.
pub(crate) async fn get(conn: &mut Conn) -> Result<Scheduled, RepoError> {
    let noted = on_db!(conn, db => Ok(sqlx::query_as::<_, Noted>(GET.on(db)).fetch_optional(db).await?))?;
    Ok(noted.and_then(|noted| serde_json::from_value(noted.value).ok()).unwrap_or_default())
}

/// Notes how far the schedule is.
pub(crate) async fn set(conn: &mut Conn, scheduled: &Scheduled) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(SET.on(db)).bind(Json(scheduled)).execute(db).await?;
        Ok(())
    })
}
