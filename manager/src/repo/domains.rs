//! Domain claims.

use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, DomainId};

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, from_row, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A domain claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The claim's id.
    pub id: DomainId,
    /// Whose claim it is.
    pub app_id: AppId,
    /// What is claimed, normalised.
    pub pattern: DomainPattern,
    /// Since when.
    pub created_at: Timestamp,
}

from_row!(Domain { id, app_id, pattern, created_at });

statements! {
    INSERT = "INSERT INTO domains (id, app_id, pattern, shape_key, parent, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    LIST = "SELECT id, app_id, pattern, created_at FROM domains WHERE app_id = $1 AND ($2 IS NULL OR id > $2) \
        ORDER BY id LIMIT $3",
        "SELECT id, app_id, pattern, created_at FROM domains WHERE app_id = $1 AND ($2::uuid IS NULL OR id > $2) \
        ORDER BY id LIMIT $3";
    LIST_ALL = "SELECT id, app_id, pattern, created_at FROM domains ORDER BY id LIMIT $1";
    FIND_BY_SHAPE = "SELECT id, app_id, pattern, created_at FROM domains WHERE shape_key = $1";
    LIST_OVERLAPPING_EXACT = "SELECT id, app_id, pattern, created_at FROM domains \
        WHERE shape_key = $1 OR shape_key = $2 ORDER BY id";
    LIST_OVERLAPPING_WILDCARD = "SELECT id, app_id, pattern, created_at FROM domains WHERE parent = $1 ORDER BY id";
    COUNT = "SELECT COUNT(*) AS count FROM domains WHERE app_id = $1";
    DELETE = "DELETE FROM domains WHERE id = $1";
}

/// The name one label up from what is claimed; an IP literal and a single label have none.
fn parent(pattern: &DomainPattern) -> Option<&str> {
    match pattern {
        DomainPattern::Exact(host) => host.split_first_label().map(|(_, parent)| parent),
        DomainPattern::Wildcard { parent, .. } => Some(parent.as_str()),
    }
}

/// Stores a claim.
///
/// # Errors
/// [`RepoError::Conflict`] when the shape is claimed, [`RepoError::MissingReference`] when the app is gone.
pub async fn insert(conn: &mut Conn, domain: &Domain) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(domain.id.as_uuid()).bind(domain.app_id.as_uuid()).bind(domain.pattern.to_string()).bind(domain.pattern.shape_key()).bind(parent(&domain.pattern)).bind(domain.created_at.as_millis()).execute(db).await?; Ok(()) })
}

/// Up to `limit` claims of an app in order of creation, those after `after`.
pub async fn list(
    conn: &mut Conn,
    app_id: AppId,
    limit: u32,
    after: Option<DomainId>,
) -> Result<Vec<Listed<Domain>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(app_id.as_uuid()).bind(after.map(DomainId::as_uuid));
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}

/// Up to `limit` claims of all apps in order of creation.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn list_all(conn: &mut Conn, limit: u32) -> Result<Vec<Listed<Domain>>, RepoError> {
    let rows = on_db!(conn, db => Ok(sqlx::query_as(LIST_ALL.on(db)).bind(i64::from(limit)).fetch_all(db).await?))?;
    Ok(listed(rows))
}

/// How many claims the app has.
pub async fn count(conn: &mut Conn, app_id: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).bind(app_id.as_uuid()).fetch_one(db).await?.count))
}

/// The claim of that shape, whosever it is.
pub async fn find_by_shape(conn: &mut Conn, pattern: &DomainPattern) -> Result<Option<Domain>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Domain>(FIND_BY_SHAPE.on(db)).bind(pattern.shape_key()).fetch_optional(db).await?))
}

/// All claims that have a host in common with the pattern, whosever they are, the same shape included.
pub async fn list_overlapping(conn: &mut Conn, pattern: &DomainPattern) -> Result<Vec<Listed<Domain>>, RepoError> {
    let parent = parent(pattern);
    let rows = on_db!(conn, db => Ok(match pattern {
        DomainPattern::Exact(host) => {
            let wildcard = parent.map(|parent| format!("*.{parent}"));
            let query = sqlx::query_as(LIST_OVERLAPPING_EXACT.on(db)).bind(host.as_str()).bind(wildcard);
            query.fetch_all(db).await?
        }
        DomainPattern::Wildcard { .. } => {
            sqlx::query_as(LIST_OVERLAPPING_WILDCARD.on(db)).bind(parent).fetch_all(db).await?
        }
    }))?;
    Ok(listed(rows))
}

/// Removes a claim; whether it existed.
pub async fn delete(conn: &mut Conn, id: DomainId) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE.on(db)).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}
