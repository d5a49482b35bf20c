//! Adding executions, many at a time: several rows a statement on SQLite, arrays on PostgreSQL.

use std::sync::LazyLock;
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::integer;
use crate::repo::executions::{Execution, columns};
use crate::repo::statement::{SqliteQuery, insert_many, insert_sqlite, statements};
use crate::store::Conn;
use crate::store::conn::on_db;

/// An execution about to be kept, its documents as JSON text without NUL characters.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// The execution's id.
    pub id: ExecutionId,
    /// The app.
    pub app_id: AppId,
    /// The script.
    pub script_id: ScriptId,
    /// The version that ran.
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
    /// How many executions it stands for.
    pub sample_weight: u64,
    /// As in [`super::Execution`].
    pub request: String,
    /// As in [`super::Execution`].
    pub response: Option<String>,
    /// As in [`super::Execution`].
    pub error: Option<String>,
    /// As in [`super::Execution`].
    pub logs: String,
}

/// Bytes that a row takes beside its documents: its other columns, its header and its places in the indexes.
pub(crate) const ROW_BYTES: u64 = 300;

impl NewExecution {
    /// About how many bytes the row takes in the store.
    pub fn bytes(&self) -> u64 {
        let documents = [Some(&self.request), self.response.as_ref(), self.error.as_ref(), Some(&self.logs)];
        ROW_BYTES + documents.into_iter().flatten().map(|text| text.len() as u64).sum::<u64>()
    }
}

impl From<&NewExecution> for Execution {
    /// The row as it would be read.
    fn from(row: &NewExecution) -> Self {
        // What was written as JSON can be read as JSON.
        fn read<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
            serde_json::from_str(text).ok()
        }
        Self {
            id: row.id,
            app_id: row.app_id,
            script_id: row.script_id,
            version: row.version,
            origin: row.origin,
            started_at: row.started_at,
            duration: row.duration,
            outcome: row.outcome,
            status: row.status,
            sample_weight: row.sample_weight,
            request: read(&row.request).unwrap_or_default(),
            response: row.response.as_deref().and_then(read),
            error: row.error.as_deref().and_then(read),
            logs: read(&row.logs).unwrap_or_default(),
        }
    }
}

statements! {
    INSERT = concat!("INSERT INTO executions (", columns!(), ") \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING"),
        concat!("INSERT INTO executions (", columns!(), ") \
        SELECT i, a, s, v, o, r, tr, t, d, oc, st, w, rq::jsonb, rs::jsonb, e::jsonb, l::jsonb \
        FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::uuid[], $7::uuid[], $8::bigint[], \
        $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[]) \
        AS rows (i, a, s, v, o, r, tr, t, d, oc, st, w, rq, rs, e, l) ON CONFLICT DO NOTHING");
    COMMIT_LATER = "SELECT 1", "SET LOCAL synchronous_commit = off";
}

/// Its word, its route and its trigger.
fn origin_columns(origin: Origin) -> (&'static str, Option<Uuid>, Option<Uuid>) {
    match origin {
        Origin::Route(id) => ("route", Some(id.as_uuid()), None),
        Origin::ById => ("by_id", None, None),
        Origin::Test => ("test", None, None),
        Origin::Invoke => ("invoke", None, None),
        Origin::Event => ("event", None, None),
        Origin::Trigger(id) => ("trigger", None, Some(id.as_uuid())),
    }
}

static INSERT_MANY: LazyLock<String> =
    LazyLock::new(|| insert_many(concat!("INSERT INTO executions (", columns!(), ")"), 16, " ON CONFLICT DO NOTHING"));

/// Adds executions. One that is there already is left as it is. Within [`crate::store::Store::begin_logs`].
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn insert_batch(conn: &mut Conn, batch: &[NewExecution]) -> Result<(), RepoError> {
    if batch.is_empty() {
        return Ok(());
    }
    on_db!(conn,
        Sqlite(db) => insert_sqlite(db, (&INSERT_MANY, INSERT.sqlite), batch, bind_row).await,
        Postgres(db) => insert_postgres(db, batch).await)
}

fn bind_row<'q>(query: SqliteQuery<'q>, row: &'q NewExecution) -> SqliteQuery<'q> {
    let (origin, route_id, trigger_id) = origin_columns(row.origin);
    let query = query.bind(row.id.as_uuid()).bind(row.app_id.as_uuid()).bind(row.script_id.as_uuid());
    let query = query.bind(i64::from(row.version)).bind(origin).bind(route_id);
    let query = query.bind(trigger_id).bind(row.started_at.as_millis());
    let query = query.bind(micros(row.duration)).bind(row.outcome.as_str()).bind(i64::from(row.status));
    let query = query.bind(integer(row.sample_weight)).bind(row.request.as_str()).bind(row.response.as_deref());
    query.bind(row.error.as_deref()).bind(row.logs.as_str())
}

async fn insert_postgres(db: &mut PgConnection, batch: &[NewExecution]) -> Result<(), RepoError> {
    fn column<'b, T>(batch: &'b [NewExecution], value: impl Fn(&'b NewExecution) -> T) -> Vec<T> {
        batch.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT.postgres)
        .bind(column(batch, |row| row.id.as_uuid()))
        .bind(column(batch, |row| row.app_id.as_uuid()))
        .bind(column(batch, |row| row.script_id.as_uuid()))
        .bind(column(batch, |row| i64::from(row.version)))
        .bind(column(batch, |row| origin_columns(row.origin).0))
        .bind(column(batch, |row| origin_columns(row.origin).1))
        .bind(column(batch, |row| origin_columns(row.origin).2))
        .bind(column(batch, |row| row.started_at.as_millis()))
        .bind(column(batch, |row| micros(row.duration)))
        .bind(column(batch, |row| row.outcome.as_str()))
        .bind(column(batch, |row| i64::from(row.status)))
        .bind(column(batch, |row| integer(row.sample_weight)))
        .bind(column(batch, |row| row.request.as_str()))
        .bind(column(batch, |row| row.response.as_deref()))
        .bind(column(batch, |row| row.error.as_deref()))
        .bind(column(batch, |row| row.logs.as_str()));
    query.execute(db).await?;
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Lets this transaction's commit return before the disk has it (PostgreSQL; SQLite's log file is set so as a whole).
pub(crate) async fn commit_later(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(COMMIT_LATER.on(db)).execute(db).await?;
        Ok(())
    })
}
