//! The audit log: who changed what, when, from where.

use std::net::IpAddr;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, AppId, AuditId, DomainId, RouteId, ScriptId, SessionId, UserId};
use uuid::Uuid;

use crate::repo::RepoError;
use crate::repo::statement::statements;
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
    /// A domain claim.
    Domain(DomainId),
    /// A script.
    Script(ScriptId),
    /// A route.
    Route(RouteId),
}

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// The row's id.
    pub id: AuditId,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it; nobody for the platform itself and the command line.
    pub user_id: Option<UserId>,
    /// By which of the user's API keys, if by one.
    pub key_id: Option<ApiKeyId>,
    /// What was done, such as `script.create`.
    pub action: &'static str,
    /// To what.
    pub object: AuditObject,
    /// In which app, if in one.
    pub app_id: Option<AppId>,
    /// From where, if by way of the network.
    pub remote_ip: Option<IpAddr>,
    /// The object before, without secrets.
    pub before: Option<serde_json::Value>,
    /// The object after, without secrets.
    pub after: Option<serde_json::Value>,
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
            Self::Domain(_) => "domain",
            Self::Script(_) => "script",
            Self::Route(_) => "route",
        }
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(match self {
            Self::Instance => return None,
            Self::User(id) => id.as_uuid(),
            Self::Session(id) => id.as_uuid(),
            Self::ApiKey(id) => id.as_uuid(),
            Self::App(id) => id.as_uuid(),
            Self::Domain(id) => id.as_uuid(),
            Self::Script(id) => id.as_uuid(),
            Self::Route(id) => id.as_uuid(),
        })
    }
}

statements! {
    INSERT = "INSERT INTO audit_log (id, at, user_id, key_id, action, object_kind, object_id, app_id, remote_ip, before, after) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
}

/// Adds a row. It stays when the user, the app or the object goes.
pub async fn insert(conn: &mut Conn, entry: &AuditEntry) -> Result<(), RepoError> {
    let e = entry;
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(e.id.as_uuid()).bind(e.at.as_millis());
        let query = query.bind(e.user_id.map(UserId::as_uuid)).bind(e.key_id.map(ApiKeyId::as_uuid)).bind(e.action).bind(e.object.kind()).bind(e.object.uuid());
        let query = query.bind(e.app_id.map(AppId::as_uuid)).bind(e.remote_ip.map(|ip| ip.to_string()));
        query.bind(e.before.as_ref()).bind(e.after.as_ref()).execute(db).await?;
        Ok(())
    })
}
