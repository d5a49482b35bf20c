//! The version of the published configuration, the changes that led to it, and the instance's flags.

use std::collections::{BTreeMap, BTreeSet};

use picloud_shared::id::{AppId, DomainId, RouteId, ScriptId, TriggerId};
use sqlx::types::Json;
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::column::{Count, from_row, integer};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// Changes that are kept; who is further behind loads everything.
pub const KEPT_CHANGES: u64 = 10_000;

/// Where PostgreSQL tells the other nodes that there is a change. It says no more than that.
pub(crate) const CHANNEL: &str = "picloud_changes";

/// A fact about the instance that is decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceFlag {
    /// The default app and its Hello World were made.
    Seeded,
}

impl InstanceFlag {
    const fn key(self) -> &'static str {
        match self {
            Self::Seeded => "seeded",
        }
    }
}

/// Which part of an app a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The app itself, or so much of it that it is read as a whole.
    App,
    /// One of its scripts, and where that is gone its routes and triggers with it.
    Script(ScriptId),
    /// One of its routes.
    Route(RouteId),
    /// One of its claims.
    Domain(DomainId),
    /// Its settings.
    Env,
    /// Its secrets.
    Secrets,
    /// One of its triggers.
    Trigger(TriggerId),
}

/// What changed of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppChange {
    /// All of it, perhaps: it may be new or gone.
    Whole,
    /// These parts.
    Parts(ChangedParts),
}

/// The parts of an app that changed, each of which may be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedParts {
    /// Scripts.
    pub scripts: BTreeSet<ScriptId>,
    /// Routes.
    pub routes: BTreeSet<RouteId>,
    /// Whether any of the claims changed.
    pub claims: bool,
    /// Whether any of the settings changed.
    pub env: bool,
    /// Whether any of the secrets changed.
    pub secrets: bool,
    /// Whether any of the triggers changed.
    pub triggers: bool,
}

/// Parts of one app that are read one by one; of more the whole app is.
const MAX_PARTS: usize = 64;

/// One row of the changes.
struct Change {
    version: u64,
    stamp: i64,
    kind: String,
    id: Uuid,
    /// Nothing where the whole app is meant, whose id stands in `id` then.
    app_id: Option<AppId>,
}

from_row!(Change { version, stamp, kind, id, app_id });

impl Part {
    /// The stable word for the kind, and the id.
    fn columns(self, app: AppId) -> (&'static str, Uuid) {
        match self {
            Self::App => (APP, app.as_uuid()),
            Self::Script(id) => ("script", id.as_uuid()),
            Self::Route(id) => ("route", id.as_uuid()),
            Self::Domain(id) => ("domain", id.as_uuid()),
            Self::Env => ("env", app.as_uuid()),
            Self::Secrets => ("secrets", app.as_uuid()),
            Self::Trigger(id) => ("trigger", id.as_uuid()),
        }
    }

    /// The app and its part that a row is about; `None` for a row of a newer node.
    fn read(change: &Change) -> Option<(AppId, Self)> {
        let part = match change.kind.as_str() {
            APP => return Some((AppId::from_uuid(change.id), Self::App)),
            "script" => Self::Script(ScriptId::from_uuid(change.id)),
            "route" => Self::Route(RouteId::from_uuid(change.id)),
            "domain" => Self::Domain(DomainId::from_uuid(change.id)),
            "env" => Self::Env,
            "secrets" => Self::Secrets,
            "trigger" => Self::Trigger(TriggerId::from_uuid(change.id)),
            _ => return None,
        };
        Some((change.app_id?, part))
    }
}

impl AppChange {
    fn add(&mut self, part: Part) {
        let Self::Parts(parts) = self else {
            return;
        };
        match part {
            Part::App => *self = Self::Whole,
            Part::Domain(_) => parts.claims = true,
            Part::Env => parts.env = true,
            Part::Secrets => parts.secrets = true,
            Part::Trigger(_) => parts.triggers = true,
            Part::Script(id) => drop(parts.scripts.insert(id)),
            Part::Route(id) => drop(parts.routes.insert(id)),
        }
        if matches!(self, Self::Parts(parts) if parts.scripts.len() + parts.routes.len() > MAX_PARTS) {
            *self = Self::Whole;
        }
    }
}

/// A point in the history of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// How many changes led there.
    pub version: u64,
    /// Drawn at random by the last of them. A store that went back (a restored backup, a failover) comes to the same
    /// version again by other changes, and this tells.
    pub stamp: i64,
}

from_row!(Position { version, stamp });

/// Which secret key the store was made with.
struct KeyFingerprint {
    value: serde_json::Value,
}

from_row!(KeyFingerprint { value });

/// The kind of a change of a whole app.
const APP: &str = "app";

statements! {
    LOCK = "SELECT version AS count FROM config_version",
        "SELECT version AS count FROM config_version FOR UPDATE";
    BUMP = "UPDATE config_version SET version = version + 1, stamp = $1 RETURNING version AS count";
    INSERT_CHANGE = "INSERT INTO config_changes (version, stamp, kind, id, app_id) VALUES ($1, $2, $3, $4, $5)";
    PRUNE_CHANGES = "DELETE FROM config_changes WHERE version <= $1";
    POSITION = "SELECT version, stamp FROM config_version";
    LIST_CHANGES = "SELECT version, stamp, kind, id, app_id FROM config_changes WHERE version >= $1 ORDER BY version";
    TELL_OTHER_NODES = "SELECT 1", "SELECT pg_notify('picloud_changes', '')";
    FLAG = "SELECT COUNT(*) AS count FROM instance WHERE key = $1";
    SET_FLAG = "INSERT INTO instance (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    KEY_FINGERPRINT = "SELECT value FROM instance WHERE key = 'secret_key'";
    REPLACE_KEY_FINGERPRINT = "UPDATE instance SET value = $1 WHERE key = 'secret_key'";
    SET_KEY_FINGERPRINT = "INSERT INTO instance (key, value) VALUES ('secret_key', $1)";
}

/// Waits for the unit of work that another connection has begun, and holds up later ones.
pub(crate) async fn lock(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(LOCK.on(db)).execute(db).await?;
        Ok(())
    })
}

/// Notes, within the change's own transaction, that a part of the app changed or went; the new version.
pub async fn bump(conn: &mut Conn, app_id: AppId, part: Part) -> Result<u64, RepoError> {
    let (kind, id) = part.columns(app_id);
    let stamp: i64 = rand::random();
    on_db!(conn, db => {
        let version = sqlx::query_as::<_, Count>(BUMP.on(db)).bind(stamp).fetch_one(&mut *db).await?.count;
        let query = sqlx::query(INSERT_CHANGE.on(db)).bind(integer(version)).bind(stamp);
        query.bind(kind).bind(id).bind(app_id.as_uuid()).execute(&mut *db).await?;
        let gone = version.saturating_sub(KEPT_CHANGES);
        sqlx::query(PRUNE_CHANGES.on(db)).bind(integer(gone)).execute(db).await?;
        Ok(version)
    })
}

/// Hints the other nodes at a change that is committed, on PostgreSQL; on SQLite there are none.
pub(crate) async fn tell_other_nodes(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(TELL_OTHER_NODES.on(db)).execute(db).await?;
        Ok(())
    })
}

/// Where the committed configuration stands.
pub async fn position(conn: &mut Conn) -> Result<Position, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(POSITION.on(db)).fetch_one(db).await?))
}

/// What changed since then, app by app; `None` when that is not known any more, or was never so, and all must be loaded.
pub async fn changes_since(conn: &mut Conn, known: Position) -> Result<Option<BTreeMap<AppId, AppChange>>, RepoError> {
    let current = position(conn).await?;
    let mut changes: Vec<Change> = on_db!(conn, db => {
        Ok(sqlx::query_as(LIST_CHANGES.on(db)).bind(integer(known.version)).fetch_all(db).await?)
    })?;
    // What led to the known position must be what leads there here. Nothing leads to the first.
    let here = match known.version {
        0 => known == Position::default(),
        _ if known == current => true,
        _ => changes.first().is_some_and(|last| (last.version, last.stamp) == (known.version, known.stamp)),
    };
    changes.retain(|change| change.version > known.version);
    // A gap means that changes were forgotten, a version from the future that an older state was restored, and an
    // unknown kind that a newer node wrote it.
    let complete = here
        && known.version <= current.version
        && changes.iter().zip(known.version + 1..).all(|(change, expected)| change.version == expected)
        && changes.len() as u64 >= current.version - known.version;
    let parts = changes.iter().map(Part::read).collect::<Option<Vec<_>>>();
    Ok(parts.filter(|_| complete).map(|parts| {
        let mut apps = BTreeMap::new();
        for (app, part) in parts {
            apps.entry(app).or_insert_with(|| AppChange::Parts(ChangedParts::default())).add(part);
        }
        apps
    }))
}

/// Whether the flag is set.
pub async fn flag(conn: &mut Conn, flag: InstanceFlag) -> Result<bool, RepoError> {
    Ok(on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(FLAG.on(db)).bind(flag.key()).fetch_one(db).await?.count))? > 0)
}

/// Sets the flag; `false` when it was set already.
pub async fn set_flag(conn: &mut Conn, flag: InstanceFlag) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(SET_FLAG.on(db)).bind(flag.key()).bind(Json(true)).execute(db).await?.rows_affected() > 0))
}

/// The fingerprint of the secret key that the store was made with; `None` where it has none yet.
pub async fn key_fingerprint(conn: &mut Conn) -> Result<Option<String>, RepoError> {
    let found = on_db!(conn, db => {
        Ok(sqlx::query_as::<_, KeyFingerprint>(KEY_FINGERPRINT.on(db)).fetch_optional(db).await?)
    })?;
    match found.map(|found| found.value) {
        None => Ok(None),
        Some(serde_json::Value::String(fingerprint)) => Ok(Some(fingerprint)),
        Some(_) => Err(RepoError::Corrupt { column: "value".to_owned(), source: "it is no text".into() }),
    }
}

/// Notes the fingerprint of the first secret key.
///
/// # Errors
/// [`RepoError::Conflict`] where one is noted.
pub async fn set_key_fingerprint(conn: &mut Conn, fingerprint: &str) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(SET_KEY_FINGERPRINT.on(db)).bind(Json(fingerprint)).execute(db).await?;
        Ok(())
    })
}

/// Notes that the store has another secret key from now on.
pub async fn replace_key_fingerprint(conn: &mut Conn, fingerprint: &str) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(REPLACE_KEY_FINGERPRINT.on(db)).bind(Json(fingerprint)).execute(db).await?;
        Ok(())
    })
}
