//! Scripts and the versions of their sources.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, ScriptId, UserId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind, ScriptSource};
use sqlx::FromRow;
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::{Count, IdOf, Ids, Listed, StoreRow, from_row, integer, listed, text};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// Versions of one script that are kept, the newest ones.
pub const KEPT_VERSIONS: u32 = 100;

/// All of a script but its source, which may be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptMeta {
    /// The id.
    pub id: ScriptId,
    /// The app that it belongs to.
    pub app_id: AppId,
    /// Its name, unique within the app.
    pub name: ScriptName,
    /// What it is for.
    pub kind: ScriptKind,
    /// What people wrote about it.
    pub description: String,
    /// The number of the current source.
    pub version: u32,
    /// The modules that the current source imports.
    pub imports: Vec<ScriptName>,
    /// The wall clock of one execution in milliseconds, where it is not the platform's default.
    pub timeout_ms: Option<u64>,
    /// The other limits.
    pub sandbox: Sandbox,
    /// Who may run it by id.
    pub execute_access: ExecuteAccess,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a field or the source last changed.
    pub updated_at: Timestamp,
}

/// A script with its current source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// All but the source.
    pub meta: ScriptMeta,
    /// The current source.
    pub source: ScriptSource,
}

/// A version of a script, without its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMeta {
    /// The script.
    pub script_id: ScriptId,
    /// The version's number.
    pub version: u32,
    /// When it was saved.
    pub created_at: Timestamp,
    /// Who saved it; nobody for the platform itself, or when the user is gone.
    pub created_by: Option<UserId>,
}

from_row!(ScriptMeta {
    id,
    app_id,
    name,
    kind,
    description,
    version,
    imports,
    timeout_ms,
    sandbox,
    execute_access,
    created_at,
    updated_at,
});
from_row!(VersionMeta { script_id, version, created_at, created_by });

impl<'r, R: StoreRow> FromRow<'r, R> for Script {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self { meta: ScriptMeta::from_row(row)?, source: row.read("source")? })
    }
}

/// A version with its source, from one row.
struct Version(VersionMeta, ScriptSource);

impl<'r, R: StoreRow> FromRow<'r, R> for Version {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self(VersionMeta::from_row(row)?, row.read("source")?))
    }
}

macro_rules! columns {
    () => {
        "id, app_id, name, kind, description, version, imports, timeout_ms, sandbox, execute_access, created_at, \
         updated_at"
    };
}

statements! {
    INSERT = concat!("INSERT INTO scripts (", columns!(), ", source) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)");
    INSERT_VERSION = "INSERT INTO script_versions (script_id, version, source, created_at, created_by) \
        VALUES ($1, $2, $3, $4, $5)";
    FIND = concat!("SELECT ", columns!(), ", source FROM scripts WHERE id = $1");
    FIND_META = concat!("SELECT ", columns!(), " FROM scripts WHERE id = $1");
    FIND_APP = "SELECT app_id AS id FROM scripts WHERE id = $1";
    LIST = concat!("SELECT ", columns!(), " FROM scripts \
        WHERE app_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"),
        concat!("SELECT ", columns!(), " FROM scripts \
        WHERE app_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3");
    HOLDINGS = "SELECT COUNT(*) AS scripts, COALESCE(SUM(OCTET_LENGTH(source)), 0) AS source_bytes FROM scripts \
        WHERE app_id = $1";
    UPDATE = "UPDATE scripts SET name = $1, kind = $2, description = $3, timeout_ms = $4, sandbox = $5, \
        execute_access = $6, updated_at = $7 WHERE id = $8";
    UPDATE_SOURCE = "UPDATE scripts SET source = $1, imports = $2, updated_at = $3, version = version + 1 \
        WHERE id = $4 RETURNING version AS count";
    PRUNE_VERSIONS = "DELETE FROM script_versions WHERE script_id = $1 AND version <= $2";
    LIST_WHOLE = concat!("SELECT ", columns!(), ", source FROM scripts WHERE app_id = $1 ORDER BY id");
    DELETE = "DELETE FROM scripts WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM scripts WHERE id = ANY($1)";
    LIST_VERSIONS = "SELECT script_id, version, created_at, created_by FROM script_versions \
        WHERE script_id = $1 AND ($2 IS NULL OR version < $2) ORDER BY version DESC LIMIT $3",
        "SELECT script_id, version, created_at, created_by FROM script_versions \
        WHERE script_id = $1 AND ($2::bigint IS NULL OR version < $2) ORDER BY version DESC LIMIT $3";
    FIND_VERSION = "SELECT script_id, version, created_at, created_by, source FROM script_versions \
        WHERE script_id = $1 AND version = $2";
}

/// Stores a new script and its first version.
///
/// # Errors
/// [`RepoError::Conflict`] when the app has a script of that name, [`RepoError::MissingReference`] when the app is
/// gone, [`RepoError::Unstorable`] when the source or the description holds a NUL character.
pub async fn insert(conn: &mut Conn, script: &Script, created_by: Option<UserId>) -> Result<(), RepoError> {
    let m = &script.meta;
    let source = text("the source", script.source.as_str())?;
    let description = text("the description", &m.description)?;
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(m.id.as_uuid()).bind(m.app_id.as_uuid()).bind(m.name.as_str());
        let query = query.bind(m.kind.as_str()).bind(description).bind(i64::from(m.version)).bind(Json(&m.imports));
        let query = query.bind(m.timeout_ms.map(integer)).bind(Json(&m.sandbox)).bind(m.execute_access.as_str());
        let query = query.bind(m.created_at.as_millis()).bind(m.updated_at.as_millis()).bind(source);
        query.execute(db).await?;
        Ok(())
    })?;
    insert_version(conn, m.id, m.version, source, created_by, m.created_at).await
}

async fn insert_version(
    conn: &mut Conn,
    id: ScriptId,
    version: u32,
    source: &str,
    created_by: Option<UserId>,
    at: Timestamp,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT_VERSION.on(db)).bind(id.as_uuid()).bind(i64::from(version)).bind(source);
        query.bind(at.as_millis()).bind(created_by.map(UserId::as_uuid)).execute(db).await?;
        Ok(())
    })
}

/// The script of that id.
pub async fn find(conn: &mut Conn, id: ScriptId) -> Result<Option<Script>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Script>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// The script of that id without its source.
pub async fn find_meta(conn: &mut Conn, id: ScriptId) -> Result<Option<ScriptMeta>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, ScriptMeta>(FIND_META.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// The app of a script, whatever else of the script can be read.
pub async fn find_app(conn: &mut Conn, id: ScriptId) -> Result<Option<AppId>, RepoError> {
    on_db!(conn, db => {
        let found = sqlx::query_as::<_, IdOf<AppId>>(FIND_APP.on(db)).bind(id.as_uuid()).fetch_optional(db).await?;
        Ok(found.map(|IdOf(id)| id))
    })
}

/// Up to `limit` of the app's scripts in order of creation, those after `after`.
pub async fn list(
    conn: &mut Conn,
    app_id: AppId,
    limit: u32,
    after: Option<ScriptId>,
) -> Result<Vec<Listed<ScriptMeta>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(app_id.as_uuid()).bind(after.map(ScriptId::as_uuid));
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// All of the app's scripts with their sources, in order of creation.
pub async fn list_whole(conn: &mut Conn, app_id: AppId) -> Result<Vec<Listed<Script>>, RepoError> {
    let rows = on_db!(conn, db => Ok(sqlx::query_as(LIST_WHOLE.on(db)).bind(app_id.as_uuid()).fetch_all(db).await?))?;
    Ok(listed(rows))
}

/// How many scripts an app has, and how long their sources are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Scripts.
    pub scripts: u64,
    /// Bytes of all current sources.
    pub source_bytes: u64,
}

from_row!(Holdings { scripts, source_bytes });

/// What the app has.
pub async fn holdings(conn: &mut Conn, app_id: AppId) -> Result<Holdings, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(HOLDINGS.on(db)).bind(app_id.as_uuid()).fetch_one(db).await?))
}

/// Stores everything that is not the source, its version or its imports; whether the script exists.
///
/// # Errors
/// As [`insert`].
pub async fn update(conn: &mut Conn, script: &ScriptMeta) -> Result<bool, RepoError> {
    let s = script;
    let description = text("the description", &s.description)?;
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE.on(db)).bind(s.name.as_str()).bind(s.kind.as_str()).bind(description);
        let query = query.bind(s.timeout_ms.map(integer)).bind(Json(&s.sandbox)).bind(s.execute_access.as_str());
        let done = query.bind(s.updated_at.as_millis()).bind(s.id.as_uuid()).execute(db).await?;
        Ok(done.rows_affected() > 0)
    })
}

/// Stores a new source as the next version and forgets the oldest beyond [`KEPT_VERSIONS`]; the new version's number,
/// or `None` when the script does not exist.
///
/// # Errors
/// [`RepoError::Unstorable`] when the source holds a NUL character.
pub async fn update_source(
    conn: &mut Conn,
    id: ScriptId,
    source: &ScriptSource,
    imports: &[ScriptName],
    created_by: Option<UserId>,
    at: Timestamp,
) -> Result<Option<u32>, RepoError> {
    let source = text("the source", source.as_str())?;
    let bumped = on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(UPDATE_SOURCE.on(db)).bind(source).bind(Json(imports));
        Ok(query.bind(at.as_millis()).bind(id.as_uuid()).fetch_optional(db).await?)
    })?;
    let Some(version) = bumped.and_then(|bumped| u32::try_from(bumped.count).ok()) else {
        return Ok(None);
    };
    insert_version(conn, id, version, source, created_by, at).await?;
    let oldest_gone = i64::from(version) - i64::from(KEPT_VERSIONS);
    if oldest_gone > 0 {
        on_db!(conn, db => {
            sqlx::query(PRUNE_VERSIONS.on(db)).bind(id.as_uuid()).bind(oldest_gone).execute(db).await?;
            Ok(())
        })?;
    }
    Ok(Some(version))
}

/// Removes a script with its versions and routes; whether it existed.
pub async fn delete(conn: &mut Conn, id: ScriptId) -> Result<bool, RepoError> {
    Ok(delete_all(conn, &[id]).await? > 0)
}

/// Removes scripts with their versions and routes; how many of them existed.
pub async fn delete_all(conn: &mut Conn, ids: &[ScriptId]) -> Result<u64, RepoError> {
    let ids = Ids::of(ids.iter().map(|id| id.as_uuid()));
    on_db!(conn,
        Sqlite(db) => Ok(sqlx::query(DELETE.sqlite).bind(ids.sqlite()).execute(db).await?.rows_affected()),
        Postgres(db) => Ok(sqlx::query(DELETE.postgres).bind(ids.postgres()).execute(db).await?.rows_affected()))
}

/// Up to `limit` kept versions, the newest first, those older than `before`.
pub async fn list_versions(
    conn: &mut Conn,
    id: ScriptId,
    limit: u32,
    before: Option<u32>,
) -> Result<Vec<VersionMeta>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, VersionMeta>(LIST_VERSIONS.on(db)).bind(id.as_uuid()).bind(before.map(i64::from)).bind(i64::from(limit)).fetch_all(db).await?))
}

/// One kept version with its source.
pub async fn find_version(
    conn: &mut Conn,
    id: ScriptId,
    version: u32,
) -> Result<Option<(VersionMeta, ScriptSource)>, RepoError> {
    let found = on_db!(conn, db => Ok(sqlx::query_as::<_, Version>(FIND_VERSION.on(db)).bind(id.as_uuid()).bind(i64::from(version)).fetch_optional(db).await?))?;
    Ok(found.map(|Version(meta, source)| (meta, source)))
}
