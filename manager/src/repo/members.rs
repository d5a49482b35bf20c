//! Explicit memberships of users in apps.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, UserId};
use sqlx::FromRow;

use crate::repo::RepoError;
use crate::repo::column::{Listed, StoreRow, from_row, listed};
use crate::repo::role::AppRole;
use crate::repo::statement::statements;
use crate::repo::users::User;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A user's explicit role in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The app.
    pub app_id: AppId,
    /// The user.
    pub user_id: UserId,
    /// What the user is there.
    pub role: AppRole,
    /// Since when.
    pub joined_at: Timestamp,
}

from_row!(Member { app_id, user_id, role, joined_at });

/// A membership with its user, from one row.
struct Named(Member, User);

impl<'r, R: StoreRow> FromRow<'r, R> for Named {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self(Member::from_row(row)?, User::from_row(row)?))
    }
}

statements! {
    INSERT = "INSERT INTO app_members (app_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)";
    FIND = "SELECT app_id, user_id, role, joined_at FROM app_members WHERE app_id = $1 AND user_id = $2";
    LIST = "SELECT m.app_id, m.user_id, m.role, m.joined_at, u.id, u.username, u.email, u.instance_role, u.is_active, \
        u.created_at, u.updated_at, u.last_login_at \
        FROM app_members m JOIN users u ON u.id = m.user_id \
        WHERE m.app_id = $1 AND ($2 IS NULL OR m.user_id > $2) ORDER BY m.user_id LIMIT $3",
        "SELECT m.app_id, m.user_id, m.role, m.joined_at, u.id, u.username, u.email, u.instance_role, u.is_active, \
        u.created_at, u.updated_at, u.last_login_at \
        FROM app_members m JOIN users u ON u.id = m.user_id \
        WHERE m.app_id = $1 AND ($2::uuid IS NULL OR m.user_id > $2) ORDER BY m.user_id LIMIT $3";
    UPDATE_ROLE = "UPDATE app_members SET role = $1 WHERE app_id = $2 AND user_id = $3";
    DELETE = "DELETE FROM app_members WHERE app_id = $1 AND user_id = $2";
}

/// Stores a membership.
///
/// # Errors
/// [`RepoError::Conflict`] when the user is a member already, [`RepoError::MissingReference`] when the app or the user
/// is gone.
pub async fn insert(conn: &mut Conn, member: &Member) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(member.app_id.as_uuid()).bind(member.user_id.as_uuid()).bind(member.role.as_str()).bind(member.joined_at.as_millis()).execute(db).await?; Ok(()) })
}

/// The user's membership in the app.
pub async fn find(conn: &mut Conn, app_id: AppId, user_id: UserId) -> Result<Option<Member>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Member>(FIND.on(db)).bind(app_id.as_uuid()).bind(user_id.as_uuid()).fetch_optional(db).await?))
}

/// Up to `limit` members of an app with their users, in order of the users' creation, those after `after`.
pub async fn list(
    conn: &mut Conn,
    app_id: AppId,
    limit: u32,
    after: Option<UserId>,
) -> Result<Vec<Listed<(Member, User)>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(app_id.as_uuid()).bind(after.map(UserId::as_uuid));
        Ok(query.bind(i64::from(limit)).fetch_all(db).await?)
    })?;
    Ok(listed(rows).into_iter().map(|row| row.map(|Named(member, user)| (member, user))).collect())
}

/// Stores a member's role; whether there is such a member.
pub async fn update_role(conn: &mut Conn, member: &Member) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE_ROLE.on(db)).bind(member.role.as_str());
        let query = query.bind(member.app_id.as_uuid()).bind(member.user_id.as_uuid());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}

/// Removes a membership; whether there was one.
pub async fn delete(conn: &mut Conn, app_id: AppId, user_id: UserId) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(DELETE.on(db)).bind(app_id.as_uuid()).bind(user_id.as_uuid());
        Ok(query.execute(db).await?.rows_affected() > 0)
    })
}
