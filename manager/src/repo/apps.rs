//! Apps, and the slugs that they had before.

use picloud_shared::app::HstsMaxAge;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{RecordPolicy, RedactedHeaders};
use picloud_shared::id::{AppId, UserId};
use picloud_shared::name::{AppName, AppSlug};
use sqlx::types::Json;

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, from_row, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// An app as the admin API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The id, which never changes.
    pub id: AppId,
    /// The unique short name in addresses.
    pub slug: AppSlug,
    /// What people call it.
    pub name: AppName,
    /// Headers that its execution records do not keep, beside those that hold credentials.
    pub redacted_headers: RedactedHeaders,
    /// Whether its execution records keep the beginnings of bodies.
    pub record_bodies: bool,
    /// For how long browsers are told to ask for its hosts by HTTPS alone, if they are told.
    pub hsts_max_age_s: Option<HstsMaxAge>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a field last changed.
    pub updated_at: Timestamp,
}

impl App {
    /// What its execution records keep.
    pub(crate) fn record_policy(&self) -> RecordPolicy {
        RecordPolicy::new(self.redacted_headers.names().iter().cloned(), self.record_bodies)
    }
}

from_row!(App { id, slug, name, redacted_headers, record_bodies, hsts_max_age_s, created_at, updated_at });

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.slug, a.name, a.redacted_headers, a.record_bodies, a.hsts_max_age_s, a.created_at, a.updated_at FROM ",
            $rest
        )
    };
}

statements! {
    INSERT = "INSERT INTO apps (id, slug, name, redacted_headers, record_bodies, created_at, updated_at, hsts_max_age_s) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    FIND = select!("apps a WHERE a.id = $1");
    FIND_BY_SLUG = select!("apps a WHERE a.slug = $1");
    LIST = select!("apps a WHERE ($1 IS NULL OR a.id > $1) ORDER BY a.id LIMIT $2"),
        select!("apps a WHERE ($1::uuid IS NULL OR a.id > $1) ORDER BY a.id LIMIT $2");
    LIST_OF_MEMBER = select!("app_members m JOIN apps a ON a.id = m.app_id \
        WHERE m.user_id = $3 AND ($1 IS NULL OR a.id > $1) ORDER BY a.id LIMIT $2"),
        select!("app_members m JOIN apps a ON a.id = m.app_id \
        WHERE m.user_id = $3 AND ($1::uuid IS NULL OR a.id > $1) ORDER BY a.id LIMIT $2");
    UPDATE = "UPDATE apps SET slug = $1, name = $2, redacted_headers = $3, record_bodies = $4, updated_at = $5, \
        hsts_max_age_s = $7 WHERE id = $6";
    DELETE = "DELETE FROM apps WHERE id = $1";
    COUNT_SCRIPTS = "SELECT COUNT(*) AS count FROM scripts WHERE app_id = $1";
    FIND_BY_HISTORICAL_SLUG = select!("slug_history h JOIN apps a ON a.id = h.app_id WHERE h.slug = $1");
    INSERT_HISTORICAL_SLUG = "INSERT INTO slug_history (slug, app_id) VALUES ($1, $2)";
    COUNT_HISTORICAL_SLUGS = "SELECT COUNT(*) AS count FROM slug_history WHERE app_id = $1";
    DELETE_HISTORICAL_SLUG = "DELETE FROM slug_history WHERE slug = $1";
}

/// Stores a new app.
///
/// # Errors
/// [`RepoError::Conflict`] when the slug is taken. A slug in the history is no conflict here.
pub async fn insert(conn: &mut Conn, app: &App) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(INSERT.on(db)).bind(app.id.as_uuid()).bind(app.slug.as_str()).bind(app.name.as_str());
        let query = query.bind(Json(&app.redacted_headers)).bind(app.record_bodies);
        let query = query.bind(app.created_at.as_millis()).bind(app.updated_at.as_millis());
        query.bind(app.hsts_max_age_s.map(i64::from)).execute(db).await?;
        Ok(())
    })
}

/// The app of that id.
pub async fn find(conn: &mut Conn, id: AppId) -> Result<Option<App>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, App>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// The app that has that slug now.
pub async fn find_by_slug(conn: &mut Conn, slug: &AppSlug) -> Result<Option<App>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, App>(FIND_BY_SLUG.on(db)).bind(slug.as_str()).fetch_optional(db).await?))
}

/// Up to `limit` apps in order of creation, those after `after`; of a `member`, only the apps it belongs to.
pub async fn list(
    conn: &mut Conn,
    member: Option<UserId>,
    limit: u32,
    after: Option<AppId>,
) -> Result<Vec<Listed<App>>, RepoError> {
    let (after, limit) = (after.map(AppId::as_uuid), i64::from(limit));
    let rows = on_db!(conn, db => Ok(match member {
        None => sqlx::query_as(LIST.on(db)).bind(after).bind(limit).fetch_all(db).await?,
        Some(user) => {
            let query = sqlx::query_as(LIST_OF_MEMBER.on(db)).bind(after).bind(limit).bind(user.as_uuid());
            query.fetch_all(db).await?
        }
    }))?;
    Ok(listed(rows))
}

/// Stores all of an app but its id and its beginning; whether it exists.
///
/// # Errors
/// [`RepoError::Conflict`] when the slug is taken.
pub async fn update(conn: &mut Conn, app: &App) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE.on(db)).bind(app.slug.as_str()).bind(app.name.as_str());
        let query = query.bind(Json(&app.redacted_headers)).bind(app.record_bodies);
        let query = query.bind(app.updated_at.as_millis()).bind(app.id.as_uuid());
        let done = query.bind(app.hsts_max_age_s.map(i64::from)).execute(db).await?;
        Ok(done.rows_affected() > 0)
    })
}

/// Removes an app with its scripts, routes, domains, members and slug history; whether it existed.
pub async fn delete(conn: &mut Conn, id: AppId) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE.on(db)).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// How many scripts the app has.
pub async fn count_scripts(conn: &mut Conn, id: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT_SCRIPTS.on(db)).bind(id.as_uuid()).fetch_one(db).await?.count))
}

/// The app to which a former slug leads.
pub async fn find_by_historical_slug(conn: &mut Conn, slug: &AppSlug) -> Result<Option<App>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, App>(FIND_BY_HISTORICAL_SLUG.on(db)).bind(slug.as_str()).fetch_optional(db).await?))
}

/// Lets a former slug lead to the app.
///
/// # Errors
/// [`RepoError::Conflict`] when the slug stands in the history already.
pub async fn insert_historical_slug(conn: &mut Conn, slug: &AppSlug, id: AppId) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(INSERT_HISTORICAL_SLUG.on(db)).bind(slug.as_str()).bind(id.as_uuid()).execute(db).await?; Ok(()) })
}

/// How many former slugs lead to the app.
pub async fn count_historical_slugs(conn: &mut Conn, id: AppId) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT_HISTORICAL_SLUGS.on(db)).bind(id.as_uuid()).fetch_one(db).await?.count))
}

/// Ends the redirect of a former slug; whether there was one.
pub async fn delete_historical_slug(conn: &mut Conn, slug: &AppSlug) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE_HISTORICAL_SLUG.on(db)).bind(slug.as_str()).execute(db).await?.rows_affected() > 0))
}
