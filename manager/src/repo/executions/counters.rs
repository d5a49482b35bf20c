//! Counters of executions by minute, exact whatever rows are kept.

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::Outcome;
use picloud_shared::id::{AppId, ScriptId};
use sqlx::{PgConnection, SqliteConnection};

use crate::repo::RepoError;
use crate::repo::column::{from_row, integer};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::{LOAD_TIMEOUT, on_db};

/// Executions of one script, minute and outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// The app.
    pub app_id: AppId,
    /// The script.
    pub script_id: ScriptId,
    /// The minute's beginning.
    pub minute: Timestamp,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
    /// The sum of their durations in microseconds.
    pub duration_us_sum: u64,
}

from_row!(Counter { app_id, script_id, minute, outcome, count, duration_us_sum });

/// Of what to add counters up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountersOf {
    /// Of everything.
    All,
    /// Of one app, or of one script of it.
    App(AppId, Option<ScriptId>),
}

/// Executions of one outcome from one moment to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterSum {
    /// From when.
    pub at: Timestamp,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
    /// The sum of their durations in microseconds.
    pub duration_us_sum: u64,
}

from_row!(CounterSum { at, outcome, count, duration_us_sum });

macro_rules! sum {
    ($of:literal) => {
        concat!(
            "SELECT minute - minute % $3 AS at, outcome, CAST(SUM(count) AS BIGINT) AS count, \
             CAST(SUM(duration_us_sum) AS BIGINT) AS duration_us_sum FROM execution_counters \
             WHERE minute >= $1 AND minute < $2",
            $of,
            " GROUP BY minute - minute % $3, outcome ORDER BY 1"
        )
    };
}

statements! {
    SUM = sum!("");
    SUM_OF_APP = sum!(" AND app_id = $4");
    SUM_OF_SCRIPT = sum!(" AND app_id = $4 AND script_id = $5");
    ADD_COUNTER = "INSERT INTO execution_counters (app_id, script_id, minute, outcome, count, duration_us_sum) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app_id, script_id, minute, outcome) DO UPDATE \
        SET count = execution_counters.count + excluded.count, \
        duration_us_sum = execution_counters.duration_us_sum + excluded.duration_us_sum",
        "INSERT INTO execution_counters (app_id, script_id, minute, outcome, count, duration_us_sum) \
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) \
        ON CONFLICT (app_id, script_id, minute, outcome) DO UPDATE \
        SET count = execution_counters.count + excluded.count, \
        duration_us_sum = execution_counters.duration_us_sum + excluded.duration_us_sum";
    LIST_COUNTERS = "SELECT app_id, script_id, minute, outcome, count, duration_us_sum FROM execution_counters \
        WHERE app_id = $1 AND minute >= $2 ORDER BY minute, script_id, outcome";
    DELETE_OF_APP = "DELETE FROM execution_counters WHERE (app_id, script_id, minute, outcome) IN \
        (SELECT app_id, script_id, minute, outcome FROM execution_counters WHERE app_id = $1 LIMIT $2)";
    DELETE_COUNTERS_BEFORE = "DELETE FROM execution_counters WHERE minute < $1";
}

/// Adds to counters; each key must stand in `counters` once. Within [`crate::store::Store::begin_logs`].
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn add_counters(conn: &mut Conn, counters: &[Counter]) -> Result<(), RepoError> {
    if counters.is_empty() {
        return Ok(());
    }
    // Whoever adds to the same rows locks them in the same order, so that of two nodes one only waits.
    let mut counters: Vec<&Counter> = counters.iter().collect();
    counters.sort_unstable_by_key(|c| (c.app_id, c.script_id, c.minute, c.outcome.as_str()));
    on_db!(conn,
        Sqlite(db) => add_counters_sqlite(db, &counters).await,
        Postgres(db) => add_counters_postgres(db, &counters).await)
}

async fn add_counters_sqlite(db: &mut SqliteConnection, counters: &[&Counter]) -> Result<(), RepoError> {
    for counter in counters {
        let query = sqlx::query(ADD_COUNTER.sqlite).bind(counter.app_id.as_uuid()).bind(counter.script_id.as_uuid());
        let query = query.bind(counter.minute.as_millis()).bind(counter.outcome.as_str());
        query.bind(integer(counter.count)).bind(integer(counter.duration_us_sum)).execute(&mut *db).await?;
    }
    Ok(())
}

async fn add_counters_postgres(db: &mut PgConnection, counters: &[&Counter]) -> Result<(), RepoError> {
    fn column<T>(counters: &[&Counter], value: impl Fn(&Counter) -> T) -> Vec<T> {
        counters.iter().map(|counter| value(counter)).collect()
    }
    let query = sqlx::query(ADD_COUNTER.postgres)
        .bind(column(counters, |counter| counter.app_id.as_uuid()))
        .bind(column(counters, |counter| counter.script_id.as_uuid()))
        .bind(column(counters, |counter| counter.minute.as_millis()))
        .bind(column(counters, |counter| counter.outcome.as_str()))
        .bind(column(counters, |counter| integer(counter.count)))
        .bind(column(counters, |counter| integer(counter.duration_us_sum)));
    query.execute(db).await?;
    Ok(())
}

/// Adds the counters of the minutes from `since` to before `until` up, in steps of so many milliseconds, in order of time.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn sum(
    conn: &mut Conn,
    of: CountersOf,
    since: Timestamp,
    until: Timestamp,
    step_ms: i64,
) -> Result<Vec<CounterSum>, RepoError> {
    let statement = match of {
        CountersOf::All => SUM,
        CountersOf::App(_, None) => SUM_OF_APP,
        CountersOf::App(_, Some(_)) => SUM_OF_SCRIPT,
    };
    on_db!(conn, db => {
        let query = sqlx::query_as(statement.on(db)).bind(since.as_millis()).bind(until.as_millis()).bind(step_ms);
        Ok(match of {
            CountersOf::All => query.fetch_all(db).await?,
            CountersOf::App(app, None) => query.bind(app.as_uuid()).fetch_all(db).await?,
            CountersOf::App(app, Some(script)) => {
                query.bind(app.as_uuid()).bind(script.as_uuid()).fetch_all(db).await?
            }
        })
    })
}

/// The app's counters from that minute on, in order of time.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn list_counters(conn: &mut Conn, app_id: AppId, since: Timestamp) -> Result<Vec<Counter>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Counter>(LIST_COUNTERS.on(db)).bind(app_id.as_uuid());
        Ok(query.bind(since.as_millis()).fetch_all(db).await?)
    })
}

/// Deletes up to `limit` counters of the app; how many.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn delete_of_app(conn: &mut Conn, app_id: AppId, limit: u32) -> Result<u64, RepoError> {
    on_db!(LOAD_TIMEOUT, conn, db => {
        let query = sqlx::query(DELETE_OF_APP.on(db)).bind(app_id.as_uuid()).bind(i64::from(limit));
        Ok(query.execute(db).await?.rows_affected())
    })
}

/// Deletes counters of minutes before that one.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn delete_counters_before(conn: &mut Conn, minute: Timestamp) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE_COUNTERS_BEFORE.on(db)).bind(minute.as_millis());
        Ok(query.execute(db).await?.rows_affected())
    })
}
