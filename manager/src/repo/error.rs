//! How a repository fails, and which rule of the store a write broke.

use std::error::Error as StdError;
use std::sync::Arc;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::PgDatabaseError;

/// The cause of an error, its type hidden: only the store knows sqlx.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// Why a repository function did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The store cannot be reached, is read-only, busy for too long, or full; trying again later may help.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// The database gave the statement up in favour of another transaction, or was told to; repeating the unit of work
    /// may do.
    #[error("another change was in the way")]
    Contended(#[source] Cause),
    /// The write would break a uniqueness rule.
    #[error("{0} is taken")]
    Conflict(Constraint),
    /// The write names a row that does not exist. (Removing one removes what refers to it.)
    #[error("a row that the change refers to does not exist")]
    MissingReference,
    /// A stored value cannot be read as what it should be.
    #[error("the stored value of {column} cannot be read")]
    Corrupt {
        /// The column.
        column: String,
        /// What is wrong with its value.
        #[source]
        source: Cause,
    },
    /// The store has another secret key than this process.
    #[error("the instance's secret key was replaced: give this node the new key file, and start it again")]
    KeyReplaced,
    /// A text that no database can hold, since it has a NUL character.
    #[error("{0} holds a NUL character, which cannot be stored")]
    Unstorable(&'static str),
    /// The statement failed for another reason, which is a defect of the program.
    #[error("the statement failed")]
    Failed(#[source] Cause),
}

/// The uniqueness rules of the schema that a well-formed request can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// Two users of one name.
    Username,
    /// Two apps of one slug.
    AppSlug,
    /// Two apps in whose history one slug stands.
    HistoricalSlug,
    /// One user twice a member of an app.
    Member,
    /// Two claims of one shape.
    DomainShape,
    /// Two scripts of one app of one name.
    ScriptName,
    /// Two routes of one app that take the same requests.
    Route,
    /// Two triggers of an app for one queue, or for its dead letters.
    TriggerSource,
    /// Two setup tokens or sessions of one token, or two rows of one id.
    Identity,
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Username => "the username",
            Self::AppSlug | Self::HistoricalSlug => "the slug",
            Self::Member => "the membership",
            Self::DomainShape => "the domain",
            Self::ScriptName => "the script's name",
            Self::Route => "the route's pattern",
            Self::TriggerSource => "the source of a trigger",
            Self::Identity => "the id",
        })
    }
}

impl Constraint {
    /// The constraint of that name, as PostgreSQL forms names: `table_column_column_key`.
    fn named(name: &str) -> Self {
        match name {
            "users_username_key" => Self::Username,
            "apps_slug_key" => Self::AppSlug,
            "slug_history_slug_key" => Self::HistoricalSlug,
            "app_members_app_id_user_id_key" => Self::Member,
            "domains_shape_key_key" => Self::DomainShape,
            "scripts_app_id_name_key" => Self::ScriptName,
            "routes_app_id_host_key_path_shape_method_key" => Self::Route,
            "triggers_app_id_sole_key" => Self::TriggerSource,
            _ => Self::Identity,
        }
    }
}

/// The name that PostgreSQL would give the constraint of which SQLite writes
/// `UNIQUE constraint failed: table.column, table.column`.
fn constraint_name(sqlite_message: &str) -> String {
    let columns = sqlite_message.rsplit(": ").next().unwrap_or_default();
    let table = columns.split('.').next().unwrap_or_default();
    let mut name = table.to_owned();
    for column in columns.split(", ") {
        name.push('_');
        name.push_str(column.split_once('.').map_or(column, |(_, column)| column));
    }
    name + "_key"
}

impl RepoError {
    /// The error for each of those who failed by it together, with all that led to it.
    pub(crate) fn shared(self) -> Box<dyn Fn() -> Self> {
        fn caused(cause: Cause, error: impl Fn(Cause) -> RepoError + 'static) -> Box<dyn Fn() -> RepoError> {
            let cause: Arc<dyn StdError + Send + Sync> = cause.into();
            Box::new(move || error(Box::new(Arc::clone(&cause))))
        }
        match self {
            Self::Unavailable(cause) => caused(cause, Self::Unavailable),
            Self::Contended(cause) => caused(cause, Self::Contended),
            Self::Failed(cause) => caused(cause, Self::Failed),
            Self::Corrupt { column, source } => {
                caused(source, move |source| Self::Corrupt { column: column.clone(), source })
            }
            Self::Conflict(constraint) => Box::new(move || Self::Conflict(constraint)),
            Self::MissingReference => Box::new(|| Self::MissingReference),
            Self::KeyReplaced => Box::new(|| Self::KeyReplaced),
            Self::Unstorable(what) => Box::new(move || Self::Unstorable(what)),
        }
    }
}

impl From<sqlx::Error> for RepoError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Database(error) => from_database(error),
            Error::ColumnDecode { index, source } => Self::Corrupt { column: index, source },
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => Self::Unavailable(error.into()),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<rusqlite::Error> for RepoError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error;
        let column = |column: usize| format!("number {column}");
        match &error {
            Error::SqliteFailure(failure, _) if sqlite_may_pass(failure.extended_code.unsigned_abs()) => {
                Self::Unavailable(error.into())
            }
            Error::FromSqlConversionFailure(at, ..) | Error::InvalidColumnType(at, ..) | Error::Utf8Error(at, _) => {
                Self::Corrupt { column: column(*at), source: error.into() }
            }
            _ => Self::Failed(error.into()),
        }
    }
}

fn from_database(error: Box<dyn DatabaseError>) -> RepoError {
    match error.kind() {
        ErrorKind::UniqueViolation => RepoError::Conflict(match error.constraint() {
            Some(name) => Constraint::named(name),
            None => Constraint::named(&constraint_name(error.message())),
        }),
        ErrorKind::ForeignKeyViolation => RepoError::MissingReference,
        _ if is_refused_text(&*error) => RepoError::Unstorable("a text"),
        _ if is_contention(&*error) => RepoError::Contended(sqlx::Error::Database(error).into()),
        _ if may_pass(&*error) => RepoError::Unavailable(sqlx::Error::Database(error).into()),
        _ => RepoError::Failed(sqlx::Error::Database(error).into()),
    }
}

/// PostgreSQL's `character_not_in_repertoire` and `untranslatable_character`: a NUL in TEXT or JSONB.
fn is_refused_text(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| matches!(error.code(), "22021" | "22P05"))
}

/// PostgreSQL's rollbacks for concurrency (deadlocks among them), locks that were not to be had, and cancelled statements.
fn is_contention(error: &dyn DatabaseError) -> bool {
    let code = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code);
    code.is_some_and(|code| code.starts_with("40") || matches!(code, "55P03" | "57014"))
}

/// Whether the failure lies in the state that the database or its disk is in, not in the statement.
fn may_pass(error: &dyn DatabaseError) -> bool {
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        // Read-only, idle for too long, then by class: connection, authorization, no such database, out of resources,
        // shutting down, system error.
        let code = error.code();
        return matches!(code, "25006" | "25P03")
            || ["08", "28", "3D", "53", "57P", "58"].iter().any(|class| code.starts_with(class));
    }
    error.code().and_then(|code| code.parse().ok()).is_some_and(sqlite_may_pass)
}

/// The same of an extended code of SQLite's, whose low byte is the primary one: busy, locked, out of memory, read-only,
/// interrupted, I/O error, corrupt, full, cannot open, locking protocol, no database file.
fn sqlite_may_pass(code: u32) -> bool {
    matches!(code & 0xff, 5..=11 | 13..=15 | 26)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_shared_keeps_its_kind_and_its_cause() {
        fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
            std::iter::successors(Some(error), |error| StdError::source(*error)).map(ToString::to_string).collect()
        }
        for make in [
            || RepoError::Unavailable(rusqlite::Error::InvalidQuery.into()),
            || RepoError::Failed(rusqlite::Error::InvalidQuery.into()),
            || RepoError::Corrupt { column: "key".to_owned(), source: "too long".into() },
            || RepoError::KeyReplaced,
        ] {
            let (one, shared) = (make(), make().shared());
            for again in [shared(), shared()] {
                assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&one));
                assert_eq!(causes(&again), causes(&one));
            }
        }
    }

    #[test]
    fn sqlite_messages_become_the_names_of_postgres() {
        for (message, name) in [
            ("UNIQUE constraint failed: apps.slug", "apps_slug_key"),
            ("UNIQUE constraint failed: app_members.app_id, app_members.user_id", "app_members_app_id_user_id_key"),
            ("UNIQUE constraint failed: domains.shape_key", "domains_shape_key_key"),
        ] {
            assert_eq!(constraint_name(message), name);
            assert_ne!(Constraint::named(name), Constraint::Identity, "{name}");
        }
        assert_eq!(Constraint::named(&constraint_name("something else")), Constraint::Identity);
    }
}
