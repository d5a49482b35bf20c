//! Where the store is: a parsed setting whose password cannot be printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where the store is.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// SQLite files in a directory of their own, made where it is missing.
    Sqlite {
        /// The directory.
        dir: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Its address.
        url: DatabaseUrl,
    },
}

/// The address of a PostgreSQL database, `postgres://user:password@host:port/database`. Printing hides the password.
#[derive(Clone)]
pub struct DatabaseUrl(Box<PgConnectOptions>);

/// A text that is not the address of a PostgreSQL database. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a database address is written as postgres://user:password@host:port/database")]
pub struct InvalidDatabaseUrl;

impl DatabaseUrl {
    pub(super) fn connect_options(&self) -> &PgConnectOptions {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidDatabaseUrl);
        }
        text.parse().map(|options| Self(Box::new(options))).map_err(|_| InvalidDatabaseUrl)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, host, port) = (self.0.get_username(), self.0.get_host(), self.0.get_port());
        write!(f, "postgres://{user}@{host}:{port}/{}", self.0.get_database().unwrap_or(user))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_address_has_no_password() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db.example.com:5433/cloud".parse().unwrap();
        let printed = format!("{url} {url:?} {:?}", DatabaseConfig::Postgres { url: url.clone() });
        assert!(printed.contains("postgres://ada@db.example.com:5433/cloud"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn other_addresses_are_refused_without_repeating_them() {
        for bad in ["", "mysql://ada:hunter2@db/cloud", "postgres://ada:hunter2@db:port/cloud", "sqlite:hunter2"] {
            let error = bad.parse::<DatabaseUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{bad}");
        }
    }
}
