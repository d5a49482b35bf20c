//! Users made and helped from the command line, on the store directly, with the audit rows of any other change.

use picloud_shared::name::Username;

use crate::repo::RepoError;
pub use crate::repo::role::InstanceRole;
pub use crate::repo::users::User;
use crate::repo::{setup_tokens, users};
use crate::secret::NewPassword;
use crate::service::change::{AuditedStore, Author};
use crate::service::error::ServiceError;
use crate::service::page::readable;
use crate::service::password::hash_now;
use crate::service::user::{insert_user, set_password};
use crate::store::Store;

/// Users that are listed in one go; a Pi's operator has a handful.
const LIST_LIMIT: u32 = 1_000;

/// Why a user was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is another user's.
    #[error("there is a user {0} already")]
    Taken(Username),
    /// Nobody has the name.
    #[error("there is no user {0}")]
    Unknown(Username),
    /// The password is the name.
    #[error("a password must not merely repeat the username")]
    RepeatsUsername,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ServiceError> for UserError {
    fn from(error: ServiceError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<RepoError> for UserError {
    fn from(error: RepoError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// Makes a user, with a generated password where none is given; the password that was set. A set-up link that stands
/// is void from then on.
///
/// # Errors
/// A name that is taken, a password that repeats it, or a store that fails.
pub async fn create_user(
    audited: &AuditedStore,
    username: Username,
    role: InstanceRole,
    password: Option<NewPassword>,
) -> Result<NewPassword, UserError> {
    let password = chosen(&username, password)?;
    let hash = hash_now(&password);
    let mut change = audited.begin_as(Author::PLATFORM).await?;
    match insert_user(&mut change, username.clone(), None, role, &hash).await {
        Err(ServiceError::UsernameTaken) => return Err(UserError::Taken(username)),
        result => drop(result?),
    }
    setup_tokens::clear(&mut change).await?;
    change.commit().await?;
    Ok(password)
}

/// Sets a user's password, a generated one where none is given, and ends all of the user's sessions; the password that
/// was set.
///
/// # Errors
/// A name that nobody has, a password that repeats it, or a store that fails.
pub async fn reset_password(
    audited: &AuditedStore,
    username: &Username,
    password: Option<NewPassword>,
) -> Result<NewPassword, UserError> {
    let password = chosen(username, password)?;
    let hash = hash_now(&password);
    let mut change = audited.begin_as(Author::PLATFORM).await?;
    let found = users::find_by_username(&mut change, username).await?;
    let (user, _) = found.ok_or_else(|| UserError::Unknown(username.clone()))?;
    set_password(&mut change, "user.reset_password", &user, &hash, None).await?;
    change.commit().await?;
    Ok(password)
}

/// Whether the instance has any user.
///
/// # Errors
/// A store that fails.
pub async fn any_user(store: &Store) -> Result<bool, UserError> {
    Ok(users::count(&mut store.read().await?).await? > 0)
}

/// The instance's users, in order of creation, up to a thousand.
///
/// # Errors
/// A store that fails.
pub async fn list_users(store: &Store) -> Result<Vec<User>, UserError> {
    Ok(readable("user", users::list(&mut store.read().await?, LIST_LIMIT, None).await?))
}

fn chosen(username: &Username, password: Option<NewPassword>) -> Result<NewPassword, UserError> {
    match password {
        Some(password) if password.merely_repeats(username) => Err(UserError::RepeatsUsername),
        Some(password) => Ok(password),
        None => Ok(NewPassword::generate()),
    }
}
