//! The execution log and its counters, in the log's own file: take connections from [`crate::store::Store::read_logs`]
//! and [`crate::store::Store::begin_logs`].

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{ExecutionFailure, LogLine, Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, RouteId, ScriptId};
use sqlx::FromRow;

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, StoreRow, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

pub mod counters;
pub mod insert;
pub mod retention;

/// An execution as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// The execution's id.
    pub id: ExecutionId,
    /// The app.
    pub app_id: AppId,
    /// The script.
    pub script_id: ScriptId,
    /// The version that ran; 0 for unsaved source.
    pub version: u32,
    /// What started it.
    pub origin: Origin,
    /// When it was admitted.
    pub started_at: Timestamp,
    /// From admission to the script's end.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the caller got.
    pub status: u16,
    /// How many executions of the script and outcome this row stands for, itself included.
    pub sample_weight: u64,
    /// `{method, url, remote_ip, headers: {name: [value]}, body, body_len}`, redacted; a body that is no text has
    /// `body_base64` in place of `body`.
    pub request: serde_json::Value,
    /// `{headers, body or body_base64, body_len}` on success.
    pub response: Option<serde_json::Value>,
    /// Why it failed, otherwise.
    pub error: Option<ExecutionFailure>,
    /// What it logged.
    pub logs: Vec<LogLine>,
}

/// Of which script or app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionsOf {
    /// One script.
    Script(ScriptId),
    /// All scripts of one app.
    App(AppId),
}

/// Which executions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Of which script or app.
    pub of: ExecutionsOf,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only those that started then or later.
    pub since: Option<Timestamp>,
}

impl<'r, R: StoreRow> FromRow<'r, R> for Execution {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let word: String = row.read("origin")?;
        let origin = match (word.as_str(), row.read::<Option<RouteId>>("route_id")?) {
            ("route", Some(id)) => Origin::Route(id),
            ("by_id", None) => Origin::ById,
            ("test", None) => Origin::Test,
            _ => return Err(sqlx::Error::ColumnDecode { index: "origin".to_owned(), source: word.into() }),
        };
        Ok(Self {
            id: row.read("id")?,
            app_id: row.read("app_id")?,
            script_id: row.read("script_id")?,
            version: row.read("version")?,
            origin,
            started_at: row.read("started_at")?,
            duration: Duration::from_micros(row.read("duration_us")?),
            outcome: row.read("outcome")?,
            status: row.read("status")?,
            sample_weight: row.read("sample_weight")?,
            request: row.read("request")?,
            response: row.read("response")?,
            error: row.read("error")?,
            logs: row.read("logs")?,
        })
    }
}

macro_rules! columns {
    () => {
        "id, app_id, script_id, version, origin, route_id, started_at, duration_us, outcome, status, sample_weight, \
         request, response, error, logs"
    };
}
use columns;

macro_rules! select {
    ($what:expr, $rest:literal) => {
        concat!("SELECT ", $what, " FROM executions WHERE ", $rest)
    };
}

statements! {
    LIST_OF_SCRIPT = select!(columns!(), "script_id = $1 AND ($2 IS NULL OR outcome = $2) \
        AND started_at >= $3 ORDER BY started_at DESC, id DESC LIMIT $4 OFFSET $5"),
        select!(columns!(), "script_id = $1 AND ($2::text IS NULL OR outcome = $2) \
        AND started_at >= $3 ORDER BY started_at DESC, id DESC LIMIT $4 OFFSET $5");
    LIST_OF_APP = select!(columns!(), "app_id = $1 AND ($2 IS NULL OR outcome = $2) \
        AND started_at >= $3 ORDER BY started_at DESC, id DESC LIMIT $4 OFFSET $5"),
        select!(columns!(), "app_id = $1 AND ($2::text IS NULL OR outcome = $2) \
        AND started_at >= $3 ORDER BY started_at DESC, id DESC LIMIT $4 OFFSET $5");
    COUNT_OF_SCRIPT = select!("COUNT(*) AS count", "script_id = $1 AND ($2 IS NULL OR outcome = $2) \
        AND started_at >= $3"),
        select!("COUNT(*) AS count", "script_id = $1 AND ($2::text IS NULL OR outcome = $2) AND started_at >= $3");
    COUNT_OF_APP = select!("COUNT(*) AS count", "app_id = $1 AND ($2 IS NULL OR outcome = $2) AND started_at >= $3"),
        select!("COUNT(*) AS count", "app_id = $1 AND ($2::text IS NULL OR outcome = $2) AND started_at >= $3");
}

/// Up to `limit` kept executions after the first `offset`, the newest first.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn list(
    conn: &mut Conn,
    filter: &ExecutionFilter,
    limit: u32,
    offset: u32,
) -> Result<Vec<Listed<Execution>>, RepoError> {
    let (statement, id) = match filter.of {
        ExecutionsOf::Script(id) => (LIST_OF_SCRIPT, id.as_uuid()),
        ExecutionsOf::App(id) => (LIST_OF_APP, id.as_uuid()),
    };
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(statement.on(db)).bind(id);
        let query = query.bind(filter.outcome.map(Outcome::as_str)).bind(since(filter));
        Ok(query.bind(i64::from(limit)).bind(i64::from(offset)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// How many kept executions pass the filter.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn count(conn: &mut Conn, filter: &ExecutionFilter) -> Result<u64, RepoError> {
    let (statement, id) = match filter.of {
        ExecutionsOf::Script(id) => (COUNT_OF_SCRIPT, id.as_uuid()),
        ExecutionsOf::App(id) => (COUNT_OF_APP, id.as_uuid()),
    };
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(statement.on(db)).bind(id);
        Ok(query.bind(filter.outcome.map(Outcome::as_str)).bind(since(filter)).fetch_one(db).await?.count)
    })
}

fn since(filter: &ExecutionFilter) -> i64 {
    filter.since.map_or(i64::MIN, Timestamp::as_millis)
}
