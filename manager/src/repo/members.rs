//! Explicit memberships of users in apps.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, UserId};
use sqlx::FromRow;

use crate::repo::RepoError;
use crate::repo::column::{StoreRow, from_row};
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
struct Listed(Member, User);

impl<'r, R: StoreRow> FromRow<'r, R> for Listed {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self(Member::from_row(row)?, User::from_row(row)?))
    }
}

statements! {
    INSERT = "INSERT INTO app_members (app_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)";
    FIND = "SELECT app_id, user_id, role, joined_at FROM app_members WHERE app_id = $1 AND user_id = $2";
    LIST = "SELECT m.app_id, m.user_id, m.role, m.joined_at, u.id, u.username, u.email, u.instance_role, u.is_active, \
        u.created_at, u.updated_at, u.last_login_at \
        FROM app_members m JOIN users u ON u.id = m.user_id WHERE m.app_id = $1 ORDER BY m.joined_at, m.user_id";
    LIST_OF_USER = "SELECT app_id, user_id, role, joined_at FROM app_members WHERE user_id = $1 ORDER BY app_id";
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

/// All members of an app, in order of joining.
pub async fn list(conn: &mut Conn, app_id: AppId) -> Result<Vec<(Member, User)>, RepoError> {
    let listed =
        on_db!(conn, db => Ok(sqlx::query_as::<_, Listed>(LIST.on(db)).bind(app_id.as_uuid()).fetch_all(db).await?))?;
    Ok(listed.into_iter().map(|Listed(member, user)| (member, user)).collect())
}

/// All memberships of a user.
pub async fn list_of_user(conn: &mut Conn, user_id: UserId) -> Result<Vec<Member>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Member>(LIST_OF_USER.on(db)).bind(user_id.as_uuid()).fetch_all(db).await?))
}
