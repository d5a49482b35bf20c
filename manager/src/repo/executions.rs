//! The execution log and its counters, in the log's own file: take connections from [`crate::store::Store::read_logs`]
//! and [`crate::store::Store::begin_logs`].

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{ExecutionFailure, LogLine, Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, RouteId, ScriptId, TriggerId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, Ids, Listed, StoreRow, from_row, listed};
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
    /// `body_base64` in place of `body`. Of events `{events: [{id, source, op, attempt, payload, payload_len}]}`.
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
        let (route, trigger) = (row.read::<Option<RouteId>>("route_id")?, row.read::<Option<TriggerId>>("trigger_id")?);
        let origin = match (word.as_str(), route, trigger) {
            ("route", Some(id), None) => Origin::Route(id),
            ("trigger", None, Some(id)) => Origin::Trigger(id),
            ("by_id", None, None) => Origin::ById,
            ("test", None, None) => Origin::Test,
            ("invoke", None, None) => Origin::Invoke,
            ("event", None, None) => Origin::Event,
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
        "id, app_id, script_id, version, origin, route_id, trigger_id, started_at, duration_us, outcome, status, sample_weight, \
         request, response, error, logs"
    };
}
use columns;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM executions ", $rest)
    };
}

macro_rules! count {
    ($rest:literal) => {
        concat!("SELECT COUNT(*) AS count FROM (SELECT 1 FROM executions ", $rest, ") AS found")
    };
}

// Counted before they are cut off, so that one statement, which sees one moment, tells both.
macro_rules! ended {
    ($of:literal, $order:literal) => {
        concat!(
            "SELECT id, COUNT(*) OVER () AS ended, COUNT(*) FILTER (WHERE started_at * 1000 + duration_us >= $4) OVER () \
             AS ended_later FROM executions ",
            $of,
            " AND started_at * 1000 + duration_us >= $3 ",
            $order,
            " LIMIT $5"
        )
    };
}

// Without statistics SQLite takes the index without the outcome for either, so it is told which one. PostgreSQL would rather go
// through all newest rows by the primary key where an app has many of them; an order that begins with the app is not that key's.
statements! {
    LIST_OF_SCRIPT = select!("WHERE script_id = $1 AND id < $2 AND id >= $3 \
        AND started_at >= $4 ORDER BY id DESC LIMIT $5 OFFSET $6"),
        select!("WHERE (script_id, id) < ($1, $2) AND (script_id, id) >= ($1, $3) \
        AND started_at >= $4 ORDER BY script_id DESC, id DESC LIMIT $5 OFFSET $6");
    LIST_OF_SCRIPT_BY_OUTCOME = select!("INDEXED BY executions_script_id_outcome_id_idx \
        WHERE script_id = $1 AND outcome = $7 AND id < $2 AND id >= $3 AND started_at >= $4 ORDER BY id DESC LIMIT $5 OFFSET $6"),
        select!("WHERE (script_id, outcome, id) < ($1, $7, $2) AND (script_id, outcome, id) >= ($1, $7, $3) \
        AND started_at >= $4 ORDER BY script_id DESC, outcome DESC, id DESC LIMIT $5 OFFSET $6");
    LIST_OF_APP = select!("WHERE app_id = $1 AND id < $2 AND id >= $3 \
        AND started_at >= $4 ORDER BY id DESC LIMIT $5 OFFSET $6"),
        select!("WHERE (app_id, id) < ($1, $2) AND (app_id, id) >= ($1, $3) \
        AND started_at >= $4 ORDER BY app_id DESC, id DESC LIMIT $5 OFFSET $6");
    LIST_OF_APP_BY_OUTCOME = select!("INDEXED BY executions_app_id_outcome_id_idx \
        WHERE app_id = $1 AND outcome = $7 AND id < $2 AND id >= $3 AND started_at >= $4 ORDER BY id DESC LIMIT $5 OFFSET $6"),
        select!("WHERE (app_id, outcome, id) < ($1, $7, $2) AND (app_id, outcome, id) >= ($1, $7, $3) \
        AND started_at >= $4 ORDER BY app_id DESC, outcome DESC, id DESC LIMIT $5 OFFSET $6");
    COUNT_OF_SCRIPT = count!("WHERE script_id = $1 AND id >= $2 AND started_at >= $3 LIMIT $4"),
        count!("WHERE (script_id, id) >= ($1, $2) AND script_id <= $1 AND started_at >= $3 ORDER BY script_id, id LIMIT $4");
    COUNT_OF_SCRIPT_BY_OUTCOME = count!("INDEXED BY executions_script_id_outcome_id_idx \
        WHERE script_id = $1 AND outcome = $5 AND id >= $2 AND started_at >= $3 LIMIT $4"),
        count!("WHERE script_id = $1 AND outcome = $5 AND id >= $2 AND started_at >= $3 LIMIT $4");
    COUNT_OF_APP = count!("WHERE app_id = $1 AND id >= $2 AND started_at >= $3 LIMIT $4"),
        count!("WHERE (app_id, id) >= ($1, $2) AND app_id <= $1 AND started_at >= $3 ORDER BY app_id, id LIMIT $4");
    COUNT_OF_APP_BY_OUTCOME = count!("INDEXED BY executions_app_id_outcome_id_idx \
        WHERE app_id = $1 AND outcome = $5 AND id >= $2 AND started_at >= $3 LIMIT $4"),
        count!("WHERE app_id = $1 AND outcome = $5 AND id >= $2 AND started_at >= $3 LIMIT $4");
    FIND_ALL = select!("WHERE id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY id"),
        select!("WHERE id = ANY($1) ORDER BY id");
    ENDED_OF_APP = ended!("WHERE app_id = $1 AND id >= $2", "ORDER BY id DESC"),
        ended!("WHERE (app_id, id) >= ($1, $2) AND app_id <= $1", "ORDER BY app_id DESC, id DESC");
}

/// The first id that a moment can have. Ids are in the order of time.
fn first_id_at(moment: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(u64::try_from(moment.as_millis()).unwrap_or(0)) << 80)
}

/// An id is made just before its execution is admitted; a second is more than any machine takes in between.
const ADMITTED_WITHIN: Duration = Duration::from_secs(1);

impl ExecutionFilter {
    fn of_uuid(&self) -> Uuid {
        match self.of {
            ExecutionsOf::Script(id) => id.as_uuid(),
            ExecutionsOf::App(id) => id.as_uuid(),
        }
    }

    /// From which id on to look, which an index finds, and from which moment on exactly.
    fn since(&self) -> (Uuid, i64) {
        match self.since {
            None => (Uuid::nil(), i64::MIN),
            Some(since) => (first_id_at(since.minus(ADMITTED_WITHIN)), since.as_millis()),
        }
    }
}

/// Up to `limit` kept executions from before `before`, without the first `offset` of them, the newest first.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn list(
    conn: &mut Conn,
    filter: &ExecutionFilter,
    limit: u32,
    before: Option<ExecutionId>,
    offset: u32,
) -> Result<Vec<Listed<Execution>>, RepoError> {
    let statement = match (filter.of, filter.outcome) {
        (ExecutionsOf::Script(_), None) => LIST_OF_SCRIPT,
        (ExecutionsOf::Script(_), Some(_)) => LIST_OF_SCRIPT_BY_OUTCOME,
        (ExecutionsOf::App(_), None) => LIST_OF_APP,
        (ExecutionsOf::App(_), Some(_)) => LIST_OF_APP_BY_OUTCOME,
    };
    let (from_id, from) = filter.since();
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(statement.on(db)).bind(filter.of_uuid());
        let query = query.bind(before.map_or(Uuid::max(), ExecutionId::as_uuid)).bind(from_id).bind(from);
        let query = query.bind(i64::from(limit)).bind(i64::from(offset));
        Ok(match filter.outcome {
            None => query.fetch_all(db).await?,
            Some(outcome) => query.bind(outcome.as_str()).fetch_all(db).await?,
        })
    })?;
    Ok(listed(rows))
}

/// How many kept executions pass the filter, counted no further than to `most`.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn count(conn: &mut Conn, filter: &ExecutionFilter, most: u32) -> Result<u64, RepoError> {
    let statement = match (filter.of, filter.outcome) {
        (ExecutionsOf::Script(_), None) => COUNT_OF_SCRIPT,
        (ExecutionsOf::Script(_), Some(_)) => COUNT_OF_SCRIPT_BY_OUTCOME,
        (ExecutionsOf::App(_), None) => COUNT_OF_APP,
        (ExecutionsOf::App(_), Some(_)) => COUNT_OF_APP_BY_OUTCOME,
    };
    let (from_id, from) = filter.since();
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(statement.on(db)).bind(filter.of_uuid());
        let query = query.bind(from_id).bind(from).bind(i64::from(most));
        Ok(match filter.outcome {
            None => query.fetch_one(db).await?.count,
            Some(outcome) => query.bind(outcome.as_str()).fetch_one(db).await?.count,
        })
    })
}

/// Those of the executions that are kept, the one that began first first.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn find_all(conn: &mut Conn, ids: &[ExecutionId]) -> Result<Vec<Listed<Execution>>, RepoError> {
    let ids = Ids::of(ids.iter().map(|id| id.as_uuid()));
    let rows = on_db!(conn,
        Sqlite(db) => Ok(sqlx::query_as(FIND_ALL.sqlite).bind(ids.sqlite()).fetch_all(db).await?),
        Postgres(db) => Ok(sqlx::query_as(FIND_ALL.postgres).bind(ids.postgres()).fetch_all(db).await?))?;
    Ok(listed(rows))
}

/// What of an app ended since a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// The executions, the one that began last first; the first ones, where there are more than were asked for.
    pub ids: Vec<ExecutionId>,
    /// How many there are.
    pub count: u64,
    /// How many of them ended since the later moment.
    pub later_count: u64,
}

struct EndedRow {
    id: ExecutionId,
    ended: u64,
    ended_later: u64,
}

from_row!(EndedRow { id, ended, ended_later });

/// Up to `most` executions of an app that ended at `since` or later, and how many did so, and how many at `later` or later. None
/// that is looked for took longer than `longest`.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn ended_since(
    conn: &mut Conn,
    app: AppId,
    (since, later): (Timestamp, Timestamp),
    longest: Duration,
    most: u32,
) -> Result<Ended, RepoError> {
    let from_id = first_id_at(since.minus(longest).minus(ADMITTED_WITHIN));
    let rows: Vec<EndedRow> = on_db!(conn, db => {
        let query = sqlx::query_as(ENDED_OF_APP.on(db)).bind(app.as_uuid()).bind(from_id);
        let query = query.bind(since.as_millis() * 1000).bind(later.as_millis() * 1000);
        Ok(query.bind(i64::from(most)).fetch_all(db).await?)
    })?;
    let (count, later_count) = rows.first().map(|row| (row.ended, row.ended_later)).unwrap_or_default();
    Ok(Ended { ids: rows.into_iter().map(|row| row.id).collect(), count, later_count })
}
