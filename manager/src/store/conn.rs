//! Connections and units of work, one type for both databases.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use tokio::sync::OwnedSemaphorePermit;

use crate::repo::RepoError;
use crate::store::PING_TIMEOUT;
use crate::store::write_health::WriteHealth;

/// How long one repository function may take but for one that goes through everything: most take well under a millisecond, and a
/// database that is silent for longer is out of reach.
pub(crate) const FUNCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one statement may take that goes through everything, which grows with the instance: the load at the start, and the
/// measuring of the execution log. Nobody waits for either.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A connection, in a transaction or not: what every repository function works on.
#[derive(Debug)]
pub struct Conn {
    link: Link,
    /// Where it is noted what becomes of what is done on it, if it writes.
    writes: Option<WriteHealth>,
}

#[derive(Debug)]
pub(super) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTx(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTx(Transaction<'static, Postgres>),
}

/// The driver's own connection.
pub(crate) enum Driver<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// Runs a repository function's body on the driver's own connection. The body is written once and compiled for each.
macro_rules! on_db {
    ($conn:expr, $db:ident => $body:expr) => {
        $crate::store::conn::on_db!($conn, Sqlite($db) => $body, Postgres($db) => $body)
    };
    ($conn:expr, Sqlite($sqlite:ident) => $on_sqlite:expr, Postgres($postgres:ident) => $on_postgres:expr) => {
        $crate::store::conn::on_db!(
            $crate::store::conn::FUNCTION_TIMEOUT, $conn, Sqlite($sqlite) => $on_sqlite, Postgres($postgres) => $on_postgres)
    };
    ($time:expr, $conn:expr, $db:ident => $body:expr) => {
        $crate::store::conn::on_db!($time, $conn, Sqlite($db) => $body, Postgres($db) => $body)
    };
    ($time:expr, $conn:expr, Sqlite($sqlite:ident) => $on_sqlite:expr, Postgres($postgres:ident) => $on_postgres:expr) => {{
        let conn: &mut $crate::store::Conn = $conn;
        let result = match conn.driver() {
            $crate::store::conn::Driver::Sqlite($sqlite) => {
                $crate::store::conn::within::<_, $crate::repo::RepoError>($time, async move { $on_sqlite }).await
            }
            $crate::store::conn::Driver::Postgres($postgres) => {
                $crate::store::conn::within::<_, $crate::repo::RepoError>($time, async move { $on_postgres }).await
            }
        };
        conn.settle(result)
    }};
}
pub(crate) use on_db;

/// As `on_db!`, for the apps' data, for which SQLite has a way of its own.
macro_rules! on_postgres {
    ($conn:expr, $db:ident => $body:expr) => {
        $crate::store::conn::on_db!(
            $conn,
            Sqlite(_conn) => unreachable!("the apps' data in SQLite is not reached through sqlx"),
            Postgres($db) => $body
        )
    };
}
pub(crate) use on_postgres;

/// Stops waiting for a silent database.
pub(crate) async fn within<T, E: Into<RepoError>>(
    time: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, RepoError> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(RepoError::Unavailable("the database did not answer in time".into())),
    }
}

impl Conn {
    pub(super) fn new(link: Link) -> Self {
        Self { link, writes: None }
    }

    pub(crate) fn driver(&mut self) -> Driver<'_> {
        match &mut self.link {
            Link::Sqlite(link) => Driver::Sqlite(link),
            Link::SqliteTx(tx) => Driver::Sqlite(tx),
            Link::Postgres(link) => Driver::Postgres(link),
            Link::PostgresTx(tx) => Driver::Postgres(tx),
        }
    }

    /// Runs a statement past the repositories: how tests bring a connection into a state that a disk would.
    ///
    /// # Errors
    /// As any statement.
    #[doc(hidden)]
    pub async fn execute_unchecked(&mut self, sql: &'static str) -> Result<(), RepoError> {
        on_db!(self, db => {
            sqlx::query(sql).execute(db).await?;
            Ok(())
        })
    }

    /// Keeps a connection that failed from going back to the pool. One in a transaction is tested there.
    pub(crate) fn settle<T>(&mut self, result: Result<T, RepoError>) -> Result<T, RepoError> {
        if let Some(writes) = &self.writes {
            writes.note(&result);
        }
        if let Err(RepoError::Unavailable(_)) = result {
            match &mut self.link {
                Link::Sqlite(link) => link.close_on_drop(),
                Link::Postgres(link) => link.close_on_drop(),
                Link::SqliteTx(_) | Link::PostgresTx(_) => {}
            }
        }
        result
    }

    /// This connection, once the server has proved to be there. SQLite has none.
    pub(super) async fn checked(mut self) -> Result<Self, RepoError> {
        if let Link::Postgres(link) = &mut self.link {
            let result = within(PING_TIMEOUT, link.ping()).await;
            self.settle(result)?;
        }
        Ok(self)
    }
}

/// How a transaction begins, in the words of each database.
#[derive(Debug, Clone, Copy)]
pub(super) enum Isolation {
    /// Sees one moment and changes nothing.
    Snapshot,
    /// The same, for who may stop to wait: the server gives up each statement after [`FUNCTION_TIMEOUT`] as well.
    Search,
    /// Writes.
    Write,
}

impl Isolation {
    pub(super) const fn begin(self) -> Dialects {
        match self {
            Self::Snapshot => Dialects { sqlite: "BEGIN", postgres: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" },
            Self::Search => Dialects {
                sqlite: "BEGIN",
                postgres: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '10s'",
            },
            Self::Write => Dialects { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" },
        }
    }
}

/// A unit of work: everything done through it is kept by [`Tx::commit`], or nothing is.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    /// Let go of after the connection: the next unit of work finds nothing of this one.
    turn: Option<OwnedSemaphorePermit>,
}

impl Tx {
    pub(super) fn new(conn: Conn) -> Self {
        Self { conn, turn: None }
    }

    /// This unit of work, which writes.
    pub(super) fn noting(mut self, writes: &WriteHealth) -> Self {
        self.conn.writes = Some(writes.clone());
        self
    }

    /// This unit of work, which others of this process wait for.
    pub(super) fn in_turn(self, turn: OwnedSemaphorePermit) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// Keeps everything that was done.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`] when the store does not confirm it.
    pub async fn commit(self) -> Result<(), RepoError> {
        let Self { conn, turn: _turn } = self;
        let committed = match conn.link {
            Link::SqliteTx(tx) => within(FUNCTION_TIMEOUT, tx.commit()).await,
            Link::PostgresTx(tx) => within(FUNCTION_TIMEOUT, tx.commit()).await,
            Link::Sqlite(_) | Link::Postgres(_) => Ok(()),
        };
        if let Some(writes) = conn.writes {
            writes.note(&committed);
        }
        committed
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

/// A statement whose text differs between the databases.
#[derive(Debug, Clone, Copy)]
pub struct Dialects {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl Dialects {
    /// A statement that both databases understand.
    pub const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }

    /// The text for the database of that connection.
    pub(crate) fn on<C: Dialect>(&self, _conn: &C) -> &'static str {
        C::text(self)
    }
}

/// A driver's connection, which knows which text is its own.
pub(crate) trait Dialect {
    fn text(statement: &Dialects) -> &'static str;
}

impl Dialect for SqliteConnection {
    fn text(statement: &Dialects) -> &'static str {
        statement.sqlite
    }
}

impl Dialect for PgConnection {
    fn text(statement: &Dialects) -> &'static str {
        statement.postgres
    }
}
