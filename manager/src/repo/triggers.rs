//! Triggers: what runs an app's scripts without a request. (What they are given to handle are events, in the apps' data.)

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::cron::{CronExpression, CronSchedule, CronZone, Misfire};
use picloud_shared::id::{AppId, ScriptId, TriggerId};
use picloud_shared::kv::KvPrefix;
use picloud_shared::name::{CollectionName, QueueName};
use picloud_shared::trigger::{Backoff, BatchSize, Concurrency, EventOps, Trigger, TriggerSource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, IdOf, Lenient, Listed, StoreRow, listed};
use crate::repo::error::Cause;
use crate::repo::statement::statements;
use crate::store::conn::on_db;
use crate::store::{Conn, Dialects};

/// A trigger with its app and its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTrigger {
    /// The app that it belongs to.
    pub app_id: AppId,
    /// The trigger.
    pub trigger: Trigger,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a queue's trigger is stored as.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueConfig {
    queue: QueueName,
    batch_size: i64,
    concurrency: i64,
}

/// What a trigger of entries is stored as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KvConfig {
    collection: CollectionName,
    prefix: KvPrefix,
    ops: Vec<String>,
}

/// What a trigger of documents is stored as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocsConfig {
    collection: CollectionName,
    ops: Vec<String>,
}

/// What a cron trigger is stored as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CronConfig {
    expression: CronExpression,
    time_zone: CronZone,
    misfire: Misfire,
}

/// Of a source that needs to be told nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoConfig {}

/// What the source needs to know, as the API shows it.
pub(crate) fn config(source: &TriggerSource) -> Value {
    match source {
        TriggerSource::Queue { queue, batch_size, concurrency } => {
            json!({ "queue": queue, "batch_size": batch_size.get(), "concurrency": concurrency.get() })
        }
        TriggerSource::Kv { collection, prefix, ops } => {
            json!({ "collection": collection, "prefix": prefix, "ops": ops.as_slice() })
        }
        TriggerSource::Docs { collection, ops } => json!({ "collection": collection, "ops": ops.as_slice() }),
        TriggerSource::Cron { schedule: CronSchedule { expression, time_zone }, misfire } => {
            json!({ "expression": expression, "time_zone": time_zone, "misfire": misfire })
        }
        TriggerSource::DeadLetter => json!({}),
    }
}

/// What no other trigger of the app may be for.
fn sole(source: &TriggerSource) -> Option<String> {
    match source {
        TriggerSource::Queue { queue, .. } => Some(format!("queue:{queue}")),
        TriggerSource::DeadLetter => Some("dead_letter".to_owned()),
        TriggerSource::Cron { .. } | TriggerSource::Kv { .. } | TriggerSource::Docs { .. } => None,
    }
}

fn source(kind: &str, config: Value) -> Result<TriggerSource, Cause> {
    match kind {
        "queue" => {
            let QueueConfig { queue, batch_size, concurrency } = serde_json::from_value(config)?;
            let (batch_size, concurrency) = (BatchSize::try_from(batch_size)?, Concurrency::try_from(concurrency)?);
            Ok(TriggerSource::Queue { queue, batch_size, concurrency })
        }
        "kv" => {
            let KvConfig { collection, prefix, ops } = serde_json::from_value(config)?;
            Ok(TriggerSource::Kv { collection, prefix, ops: EventOps::of_words(&ops, EventOps::OF_KV)? })
        }
        "docs" => {
            let DocsConfig { collection, ops } = serde_json::from_value(config)?;
            Ok(TriggerSource::Docs { collection, ops: EventOps::of_words(&ops, EventOps::OF_DOCS)? })
        }
        "cron" => {
            let CronConfig { expression, time_zone, misfire } = serde_json::from_value(config)?;
            Ok(TriggerSource::Cron { schedule: CronSchedule { expression, time_zone }, misfire })
        }
        "dead_letter" => {
            let NoConfig {} = serde_json::from_value(config)?;
            Ok(TriggerSource::DeadLetter)
        }
        _ => Err("no source of triggers is called so".into()),
    }
}

fn unreadable(column: &str, source: impl Into<Cause>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

impl<'r, R: StoreRow> FromRow<'r, R> for StoredTrigger {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let kind: String = row.read("source")?;
        let (base_ms, cap_ms) = (row.read("backoff_base_ms")?, row.read("backoff_cap_ms")?);
        let timeout_ms: Option<u64> = row.read("timeout_ms")?;
        let trigger = Trigger {
            id: row.read("id")?,
            script_id: row.read("script_id")?,
            source: source(&kind, row.read("config")?).map_err(|error| unreadable("config", error))?,
            enabled: row.read("enabled")?,
            max_attempts: row.read("max_attempts")?,
            backoff: Backoff::new(base_ms, cap_ms).map_err(|error| unreadable("backoff_base_ms", error))?,
            timeout: timeout_ms.map(Duration::from_millis),
        };
        let (created_at, updated_at) = (row.read("created_at")?, row.read("updated_at")?);
        Ok(Self { app_id: row.read("app_id")?, trigger, created_at, updated_at })
    }
}

macro_rules! columns {
    () => {
        "id, app_id, script_id, source, config, enabled, max_attempts, backoff_base_ms, backoff_cap_ms, timeout_ms, \
         created_at, updated_at"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM triggers ", $rest)
    };
}

statements! {
    INSERT = concat!("INSERT INTO triggers (", columns!(), ", sole) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)");
    FIND = select!("WHERE app_id = $1 AND id = $2");
    FIND_ID = "SELECT id FROM triggers WHERE app_id = $1 AND id = $2";
    LIST_OF_APP = select!("WHERE app_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"),
        select!("WHERE app_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3");
    LIST_OF_SCRIPT = select!("WHERE script_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"),
        select!("WHERE script_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3");
    FIND_BY_SOLE = select!("WHERE app_id = $1 AND sole = $2");
    UPDATE = "UPDATE triggers SET script_id = $1, config = $2, sole = $3, enabled = $4, max_attempts = $5, \
        backoff_base_ms = $6, backoff_cap_ms = $7, timeout_ms = $8, updated_at = $9 WHERE app_id = $10 AND id = $11";
    DELETE = "DELETE FROM triggers WHERE app_id = $1 AND id = $2";
    COUNT = "SELECT COUNT(*) AS count FROM triggers WHERE app_id = $1";
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Stores a trigger.
///
/// # Errors
/// [`RepoError::Conflict`] when another trigger of the app is for that queue or for dead letters, [`RepoError::MissingReference`] when the app has
/// no such script.
pub async fn insert(conn: &mut Conn, stored: &StoredTrigger) -> Result<(), RepoError> {
    let StoredTrigger { app_id, trigger: t, created_at, updated_at } = stored;
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(t.id.as_uuid()).bind(app_id.as_uuid()).bind(t.script_id.as_uuid());
        let query = query.bind(t.source.source().as_str()).bind(Json(config(&t.source))).bind(t.enabled);
        let query = query.bind(i64::from(t.max_attempts));
        let query = query.bind(millis(t.backoff.base())).bind(millis(t.backoff.cap()));
        let query = query.bind(t.timeout.map(millis)).bind(created_at.as_millis()).bind(updated_at.as_millis());
        query.bind(sole(&t.source)).execute(db).await?;
        Ok(())
    })
}

/// The trigger of that id, if the app has it.
pub async fn find(conn: &mut Conn, app_id: AppId, id: TriggerId) -> Result<Option<StoredTrigger>, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as(FIND.on(db)).bind(app_id.as_uuid()).bind(id.as_uuid());
        Ok(query.fetch_optional(db).await?)
    })
}

/// Whether the app has a trigger of that id, whatever of it can be read.
pub async fn exists(conn: &mut Conn, app_id: AppId, id: TriggerId) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, IdOf<TriggerId>>(FIND_ID.on(db)).bind(app_id.as_uuid()).bind(id.as_uuid());
        Ok(query.fetch_optional(db).await?.is_some())
    })
}

/// Up to `limit` of the app's triggers in order of creation, those after `after`.
pub async fn list_of_app(
    conn: &mut Conn,
    app_id: AppId,
    limit: u32,
    after: Option<TriggerId>,
) -> Result<Vec<Listed<StoredTrigger>>, RepoError> {
    list(conn, LIST_OF_APP, app_id.as_uuid(), limit, after).await
}

/// Up to `limit` triggers that run the script in order of creation, those after `after`.
pub async fn list_of_script(
    conn: &mut Conn,
    script_id: ScriptId,
    limit: u32,
    after: Option<TriggerId>,
) -> Result<Vec<Listed<StoredTrigger>>, RepoError> {
    list(conn, LIST_OF_SCRIPT, script_id.as_uuid(), limit, after).await
}

async fn list(
    conn: &mut Conn,
    statement: Dialects,
    of: Uuid,
    limit: u32,
    after: Option<TriggerId>,
) -> Result<Vec<Listed<StoredTrigger>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(statement.on(db)).bind(of).bind(after.map(TriggerId::as_uuid));
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// The app's trigger that keeps others from being for that source.
pub async fn find_rival(
    conn: &mut Conn,
    app_id: AppId,
    source: &TriggerSource,
) -> Result<Option<Listed<StoredTrigger>>, RepoError> {
    let Some(sole) = sole(source) else { return Ok(None) };
    on_db!(conn, db => {
        let query = sqlx::query_as(FIND_BY_SOLE.on(db)).bind(app_id.as_uuid()).bind(sole);
        Ok(query.fetch_optional(db).await?.map(|Lenient(row)| row))
    })
}

/// How many triggers the app has.
pub async fn count(conn: &mut Conn, app_id: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).bind(app_id.as_uuid()).fetch_one(db).await?.count))
}

/// Stores all of a trigger but its source and when it was created; whether it exists.
///
/// # Errors
/// As [`insert`].
pub async fn update(conn: &mut Conn, stored: &StoredTrigger) -> Result<bool, RepoError> {
    let StoredTrigger { app_id, trigger: t, updated_at, .. } = stored;
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE.on(db)).bind(t.script_id.as_uuid()).bind(Json(config(&t.source)));
        let query = query.bind(sole(&t.source)).bind(t.enabled);
        let query = query.bind(i64::from(t.max_attempts));
        let query = query.bind(millis(t.backoff.base())).bind(millis(t.backoff.cap()));
        let query = query.bind(t.timeout.map(millis)).bind(updated_at.as_millis());
        let done = query.bind(app_id.as_uuid()).bind(t.id.as_uuid()).execute(db).await?;
        Ok(done.rows_affected() > 0)
    })
}

/// Removes a trigger; whether the app had it.
pub async fn delete(conn: &mut Conn, app_id: AppId, id: TriggerId) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let done = sqlx::query(DELETE.on(db)).bind(app_id.as_uuid()).bind(id.as_uuid()).execute(db).await?;
        Ok(done.rows_affected() > 0)
    })
}
