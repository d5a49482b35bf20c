//! Users of the admin API, and the hashes of their passwords.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::UserId;
use picloud_shared::name::{Email, Username};
use sqlx::FromRow;

use crate::repo::RepoError;
use crate::repo::column::{Count, Listed, StoreRow, from_row, listed};
use crate::repo::role::InstanceRole;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A user, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The unique name.
    pub username: Username,
    /// The address, where given.
    pub email: Option<Email>,
    /// The role on the instance.
    pub instance_role: InstanceRole,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When a field last changed.
    pub updated_at: Timestamp,
    /// When the user last signed in.
    pub last_login_at: Option<Timestamp>,
}

/// A password's hash in PHC form (`$argon2id$...`). Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash in PHC form.
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    /// The hash in PHC form.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

from_row!(User { id, username, email, instance_role, is_active, created_at, updated_at, last_login_at });

/// A user and the hash of the password.
struct Credentials {
    user: User,
    password_hash: PasswordHash,
}

impl<'r, R: StoreRow> FromRow<'r, R> for Credentials {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self { user: User::from_row(row)?, password_hash: PasswordHash(row.read("password_hash")?) })
    }
}

macro_rules! columns {
    () => {
        "id, username, email, instance_role, is_active, created_at, updated_at, last_login_at"
    };
}

statements! {
    INSERT = concat!("INSERT INTO users (", columns!(), ", password_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    FIND = concat!("SELECT ", columns!(), " FROM users WHERE id = $1");
    FIND_CREDENTIALS = concat!("SELECT ", columns!(), ", password_hash FROM users WHERE id = $1");
    FIND_CREDENTIALS_BY_NAME = concat!("SELECT ", columns!(), ", password_hash FROM users WHERE username = $1");
    COUNT = "SELECT COUNT(*) AS count FROM users";
    COUNT_ACTIVE_OWNERS = "SELECT COUNT(*) AS count FROM users WHERE instance_role = 'owner' AND is_active";
    UPDATE_PASSWORD = "UPDATE users SET password_hash = $1, updated_at = $2 WHERE id = $3";
    TOUCH_LOGIN = "UPDATE users SET last_login_at = $1 WHERE id = $2";
    UPDATE = "UPDATE users SET username = $1, email = $2, instance_role = $3, is_active = $4, updated_at = $5 \
        WHERE id = $6";
    DELETE = "DELETE FROM users WHERE id = $1";
    LIST = concat!("SELECT ", columns!(), " FROM users WHERE $1 IS NULL OR id > $1 ORDER BY id LIMIT $2"),
        concat!("SELECT ", columns!(), " FROM users WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2");
}

/// Stores a new user.
///
/// # Errors
/// [`RepoError::Conflict`] when the username is taken.
pub async fn insert(conn: &mut Conn, user: &User, password: &PasswordHash) -> Result<(), RepoError> {
    on_db!(conn, db => { sqlx::query(INSERT.on(db)).bind(user.id.as_uuid()).bind(user.username.as_str()).bind(user.email.as_ref().map(Email::as_str)).bind(user.instance_role.as_str()).bind(user.is_active).bind(user.created_at.as_millis()).bind(user.updated_at.as_millis()).bind(user.last_login_at.map(Timestamp::as_millis)).bind(password.as_phc()).execute(db).await?; Ok(()) })
}

/// The user of that id.
pub async fn find(conn: &mut Conn, id: UserId) -> Result<Option<User>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, User>(FIND.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))
}

/// The user of that name, with what its password is checked against.
pub async fn find_by_username(conn: &mut Conn, username: &Username) -> Result<Option<(User, PasswordHash)>, RepoError> {
    let found = on_db!(conn, db => Ok(sqlx::query_as::<_, Credentials>(FIND_CREDENTIALS_BY_NAME.on(db)).bind(username.as_str()).fetch_optional(db).await?))?;
    Ok(found.map(|found| (found.user, found.password_hash)))
}

/// What the user's password is checked against.
pub async fn find_password(conn: &mut Conn, id: UserId) -> Result<Option<PasswordHash>, RepoError> {
    let found = on_db!(conn, db => Ok(sqlx::query_as::<_, Credentials>(FIND_CREDENTIALS.on(db)).bind(id.as_uuid()).fetch_optional(db).await?))?;
    Ok(found.map(|found| found.password_hash))
}

/// How many users there are.
pub async fn count(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT.on(db)).fetch_one(db).await?.count))
}

/// How many owners may sign in.
pub async fn count_active_owners(conn: &mut Conn) -> Result<u64, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as::<_, Count>(COUNT_ACTIVE_OWNERS.on(db)).fetch_one(db).await?.count))
}

/// Changes the password; whether the user exists.
pub async fn update_password(
    conn: &mut Conn,
    id: UserId,
    password: &PasswordHash,
    at: Timestamp,
) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(UPDATE_PASSWORD.on(db)).bind(password.as_phc()).bind(at.as_millis()).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// Notes that the user signed in; whether it exists.
pub async fn touch_login(conn: &mut Conn, id: UserId, at: Timestamp) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(TOUCH_LOGIN.on(db)).bind(at.as_millis()).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// Stores the fields of a user that people change, and `updated_at`; whether the user exists.
///
/// # Errors
/// [`RepoError::Conflict`] when the username is taken, [`RepoError::Unstorable`] when the email holds a NUL character.
pub async fn update(conn: &mut Conn, user: &User) -> Result<bool, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(UPDATE.on(db)).bind(user.username.as_str()).bind(user.email.as_ref().map(Email::as_str));
        let query = query.bind(user.instance_role.as_str()).bind(user.is_active).bind(user.updated_at.as_millis());
        Ok(query.bind(user.id.as_uuid()).execute(db).await?.rows_affected() > 0)
    })
}

/// Removes a user with the user's sessions, memberships and keys; whether it existed.
pub async fn delete(conn: &mut Conn, id: UserId) -> Result<bool, RepoError> {
    on_db!(conn, db => Ok(sqlx::query(DELETE.on(db)).bind(id.as_uuid()).execute(db).await?.rows_affected() > 0))
}

/// Up to `limit` users in order of creation, those after `after`.
pub async fn list(conn: &mut Conn, limit: u32, after: Option<UserId>) -> Result<Vec<Listed<User>>, RepoError> {
    let rows = on_db!(conn, db => {
        let query = sqlx::query_as(LIST.on(db)).bind(after.map(UserId::as_uuid)).bind(i64::from(limit));
        Ok(query.fetch_all(db).await?)
    })?;
    Ok(listed(rows))
}
