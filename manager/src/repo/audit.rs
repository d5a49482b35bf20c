//! The audit log: who changed what, when, from where. Rows are only ever added.

use std::net::IpAddr;
use std::sync::LazyLock;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{
    ApiKeyId, AppId, AuditId, CertificateId, DeadLetterId, DocumentId, DomainId, EventId, RouteId, ScriptId, SessionId,
    TriggerId, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, from_row, integer, listed};
use crate::repo::statement::{SqliteQuery, insert_many, insert_sqlite, statements};
use crate::store::Conn;
use crate::store::conn::on_db;

/// What an audited action was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditObject {
    /// The instance as a whole.
    Instance,
    /// A user.
    User(UserId),
    /// A login session.
    Session(SessionId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// An app.
    App(AppId),
    /// A user's membership in the app of the row.
    Member(UserId),
    /// A domain claim.
    Domain(DomainId),
    /// A script.
    Script(ScriptId),
    /// A route.
    Route(RouteId),
    /// A trigger.
    Trigger(TriggerId),
    /// A certificate.
    Certificate(CertificateId),
    /// An event.
    Event(EventId),
    /// A dead letter.
    DeadLetter(DeadLetterId),
    /// An entry of the key-value store of the row's app.
    KvEntry,
    /// A setting of the row's app.
    Env,
    /// A secret of the row's app.
    Secret,
    /// A document of the row's app.
    Document(DocumentId),
    /// The indexes of a collection of documents of the row's app.
    DocumentIndexes,
}

/// One row of the audit log, as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The row's id.
    pub id: AuditId,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it; nobody for the platform itself, the command line and strangers.
    pub user_id: Option<UserId>,
    /// The name that the user had then.
    pub username: Option<String>,
    /// By which of the user's API keys, if by one.
    pub key_id: Option<ApiKeyId>,
    /// What was done, such as `script.create`.
    pub action: String,
    /// To what kind of thing.
    pub object_kind: String,
    /// To which one.
    pub object_id: Option<Uuid>,
    /// In which app, if in one.
    pub app_id: Option<AppId>,
    /// From where, if by way of the network.
    pub remote_ip: Option<IpAddr>,
    /// The object before, without secrets.
    pub before: Option<Value>,
    /// The object after, without secrets.
    pub after: Option<Value>,
}

/// Bytes of a seal.
pub const SEAL_BYTES: usize = 32;

/// A row with its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedEntry {
    /// The place, from 1, without gaps.
    pub seq: u64,
    /// The seal over this row and the one before; empty where it was taken away.
    pub seal: Vec<u8>,
    /// The row.
    pub entry: AuditEntry,
}

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The place of the last row.
    pub seq: u64,
    /// The seal of the last row.
    pub seal: Vec<u8>,
    /// The seal over both.
    pub head_seal: Vec<u8>,
}

/// Which rows to list; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFilter {
    /// By that user.
    pub user_id: Option<UserId>,
    /// Of that action, or of all that begin so where it ends in a dot, such as `script.`.
    pub action: Option<String>,
    /// Done to a thing of that kind.
    pub object_kind: Option<String>,
    /// Done to that thing.
    pub object_id: Option<Uuid>,
    /// In that app.
    pub app_id: Option<AppId>,
    /// Done then or later.
    pub since: Option<Timestamp>,
    /// Done before then.
    pub until: Option<Timestamp>,
}

impl AuditObject {
    /// The stable word for the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::User(_) => "user",
            Self::Session(_) => "session",
            Self::ApiKey(_) => "api_key",
            Self::App(_) => "app",
            Self::Member(_) => "member",
            Self::Domain(_) => "domain",
            Self::Script(_) => "script",
            Self::Route(_) => "route",
            Self::Trigger(_) => "trigger",
            Self::Certificate(_) => "certificate",
            Self::Event(_) => "event",
            Self::DeadLetter(_) => "dead_letter",
            Self::KvEntry => "kv_entry",
            Self::Env => "env",
            Self::Secret => "secret",
            Self::Document(_) => "document",
            Self::DocumentIndexes => "document_indexes",
        }
    }

    /// The id, but for the instance and what has none.
    pub fn uuid(&self) -> Option<Uuid> {
        Some(match self {
            Self::Instance | Self::KvEntry | Self::DocumentIndexes | Self::Env | Self::Secret => return None,
            Self::Document(id) => id.as_uuid(),
            Self::User(id) | Self::Member(id) => id.as_uuid(),
            Self::Session(id) => id.as_uuid(),
            Self::ApiKey(id) => id.as_uuid(),
            Self::App(id) => id.as_uuid(),
            Self::Domain(id) => id.as_uuid(),
            Self::Script(id) => id.as_uuid(),
            Self::Route(id) => id.as_uuid(),
            Self::Trigger(id) => id.as_uuid(),
            Self::Event(id) => id.as_uuid(),
            Self::DeadLetter(id) => id.as_uuid(),
            Self::Certificate(id) => id.as_uuid(),
        })
    }
}

from_row!(AuditHead { seq, seal, head_seal });
from_row!(AuditEntry {
    id,
    at,
    user_id,
    username,
    key_id,
    action,
    object_kind,
    object_id,
    app_id,
    remote_ip,
    before,
    after,
});

impl<'r, R: crate::repo::column::StoreRow> sqlx::FromRow<'r, R> for SealedEntry {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let seal: Option<Vec<u8>> = row.read("seal")?;
        Ok(Self { seq: row.read("seq")?, seal: seal.unwrap_or_default(), entry: AuditEntry::from_row(row)? })
    }
}

macro_rules! columns {
    () => {
        "id, at, user_id, username, key_id, action, object_kind, object_id, app_id, remote_ip, before, after, seq, seal"
    };
}

statements! {
    INSERT = concat!("INSERT INTO audit_log (", columns!(), ") \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"),
        concat!("INSERT INTO audit_log (", columns!(), ") \
        SELECT i, t, u, un, k, ac, ok, oi, a, ip, b::jsonb, af::jsonb, sq, se \
        FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::uuid[], \
        $9::uuid[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bytea[]) \
        AS rows (i, t, u, un, k, ac, ok, oi, a, ip, b, af, sq, se)");
    HEAD = "SELECT seq, seal, head_seal FROM audit_head";
    SET_HEAD = "INSERT INTO audit_head (id, seq, seal, head_seal) VALUES (1, $1, $2, $3) \
        ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, seal = excluded.seal, head_seal = excluded.head_seal";
    LIST = concat!("SELECT ", columns!(), " FROM audit_log WHERE seq IS NOT NULL AND ($1 IS NULL OR seq < $1) \
        AND ($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR action = $3 OR substr(action, 1, length($3)) = $4) \
        AND ($5 IS NULL OR object_kind = $5) AND ($6 IS NULL OR object_id = $6) AND ($7 IS NULL OR app_id = $7) \
        AND at >= $8 AND at < $9 ORDER BY seq DESC LIMIT $10"),
        concat!("SELECT ", columns!(), " FROM audit_log WHERE seq IS NOT NULL AND ($1::bigint IS NULL OR seq < $1) \
        AND ($2::uuid IS NULL OR user_id = $2) \
        AND ($3::text IS NULL OR action = $3 OR substr(action, 1, length($3)) = $4) \
        AND ($5::text IS NULL OR object_kind = $5) AND ($6::uuid IS NULL OR object_id = $6) \
        AND ($7::uuid IS NULL OR app_id = $7) AND at >= $8 AND at < $9 ORDER BY seq DESC LIMIT $10");
    SET_SEAL = "UPDATE audit_log SET seal = $2 WHERE seq = $1";
    IS_THERE = "SELECT COUNT(*) AS count FROM audit_log WHERE id = $1";
    LIST_CHAIN = concat!("SELECT ", columns!(), " FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2");
    COUNT_UNCHAINED = "SELECT COUNT(*) AS count FROM audit_log WHERE seq IS NULL";
}

/// Adds rows. They stay when the user, the app or the object goes.
pub async fn insert(conn: &mut Conn, rows: &[SealedEntry]) -> Result<(), RepoError> {
    on_db!(conn,
        Sqlite(db) => insert_sqlite(db, (&INSERT_MANY, INSERT.sqlite), rows, bind_row).await,
        Postgres(db) => insert_postgres(db, rows).await)
}

static INSERT_MANY: LazyLock<String> =
    LazyLock::new(|| insert_many(concat!("INSERT INTO audit_log (", columns!(), ")"), 14, ""));

fn bind_row<'q>(query: SqliteQuery<'q>, SealedEntry { seq, seal, entry: e }: &'q SealedEntry) -> SqliteQuery<'q> {
    let query = query.bind(e.id.as_uuid()).bind(e.at.as_millis());
    let query = query.bind(e.user_id.map(UserId::as_uuid)).bind(e.username.as_deref());
    let query = query.bind(e.key_id.map(ApiKeyId::as_uuid)).bind(&e.action).bind(&e.object_kind).bind(e.object_id);
    let query = query.bind(e.app_id.map(AppId::as_uuid)).bind(e.remote_ip.map(|ip| ip.to_string()));
    query.bind(e.before.as_ref()).bind(e.after.as_ref()).bind(integer(*seq)).bind(seal)
}

/// All by one: a statement costs a way over the network.
async fn insert_postgres(db: &mut PgConnection, rows: &[SealedEntry]) -> Result<(), RepoError> {
    fn column<'r, T>(rows: &'r [SealedEntry], value: impl Fn(&'r AuditEntry) -> T) -> Vec<T> {
        rows.iter().map(|row| value(&row.entry)).collect()
    }
    let query = sqlx::query(INSERT.postgres)
        .bind(column(rows, |e| e.id.as_uuid()))
        .bind(column(rows, |e| e.at.as_millis()))
        .bind(column(rows, |e| e.user_id.map(UserId::as_uuid)))
        .bind(column(rows, |e| e.username.as_deref()))
        .bind(column(rows, |e| e.key_id.map(ApiKeyId::as_uuid)))
        .bind(column(rows, |e| e.action.as_str()))
        .bind(column(rows, |e| e.object_kind.as_str()))
        .bind(column(rows, |e| e.object_id))
        .bind(column(rows, |e| e.app_id.map(AppId::as_uuid)))
        .bind(column(rows, |e| e.remote_ip.map(|ip| ip.to_string())))
        .bind(column(rows, |e| e.before.as_ref().map(Value::to_string)))
        .bind(column(rows, |e| e.after.as_ref().map(Value::to_string)))
        .bind(rows.iter().map(|row| integer(row.seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.seal.as_slice()).collect::<Vec<_>>());
    query.execute(db).await?;
    Ok(())
}

/// The end of the chain; `None` before its first row.
pub async fn head(conn: &mut Conn) -> Result<Option<AuditHead>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, AuditHead>(HEAD.on(db)).fetch_optional(db).await?))
}

/// Moves the end of the chain.
pub async fn set_head(conn: &mut Conn, head: &AuditHead) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(SET_HEAD.on(db)).bind(integer(head.seq)).bind(&head.seal).bind(&head.head_seal);
        query.execute(db).await?;
        Ok(())
    })
}

/// Up to `limit` rows that pass the filter, the newest first, those before the place `before`.
pub async fn list(
    conn: &mut Conn,
    filter: &AuditFilter,
    limit: u32,
    before: Option<u64>,
) -> Result<Vec<Listed<SealedEntry>>, RepoError> {
    let prefix = filter.action.as_deref().filter(|action| action.ends_with('.'));
    let (since, until) = (filter.since.map_or(i64::MIN, Timestamp::as_millis), filter.until);
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(before.map(integer)).bind(filter.user_id.map(UserId::as_uuid));
        let query = query.bind(filter.action.as_deref()).bind(prefix).bind(filter.object_kind.as_deref());
        let query = query.bind(filter.object_id).bind(filter.app_id.map(AppId::as_uuid)).bind(since);
        let query = query.bind(until.map_or(i64::MAX, Timestamp::as_millis)).bind(i64::from(limit));
        Ok(query.fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// Whether there is a row of that id.
pub async fn is_there(conn: &mut Conn, id: AuditId) -> Result<bool, RepoError> {
    let id = id.as_uuid();
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(IS_THERE.on(db)).bind(id).fetch_one(db).await?.count > 0))
}

/// Up to `limit` rows of the chain in its order, those after the place `after`.
///
/// # Errors
/// [`RepoError::Corrupt`] where one cannot be read.
pub async fn list_chain(conn: &mut Conn, after: u64, limit: u32) -> Result<Vec<SealedEntry>, RepoError> {
    on_db!(conn, db => {
        Ok(sqlx::query_as(LIST_CHAIN.on(db)).bind(integer(after)).bind(i64::from(limit)).fetch_all(db).await?)
    })
}

/// Seals rows otherwise: the place of each, and its seal.
pub async fn set_seals(conn: &mut Conn, seals: &[(u64, Vec<u8>)]) -> Result<(), RepoError> {
    on_db!(conn, db => {
        for (seq, seal) in seals {
            sqlx::query(SET_SEAL.on(db)).bind(integer(*seq)).bind(seal).execute(&mut *db).await?;
        }
        Ok(())
    })
}

/// How many rows stand in no chain.
pub async fn count_unchained(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT_UNCHAINED.on(db)).fetch_one(db).await?.count))
}
