//! The PostgreSQL pool.

use std::time::Duration;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::store::conn::within;
use crate::store::migration::{self, Step, Target, repo_error};
use crate::store::{ACQUIRE_TIMEOUT, PING_TIMEOUT, StoreError};

/// Connections of one node for all but the apps' data. Requests to the admin API hold one for well under a millisecond at a time.
pub(super) const CONNECTIONS: u32 = 10;

/// Connections of one node for the apps' data. Scripts that wait for each other there keep nobody else waiting.
pub(super) const DATA_CONNECTIONS: u32 = 16;

/// The pools, which open their connections when they are asked for some.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    /// For all but the apps' data.
    pub control: PgPool,
    /// For the apps' data.
    pub data: PgPool,
}

impl Pools {
    pub(super) async fn close(&self) {
        self.control.close().await;
        self.data.close().await;
    }
}

/// Ends the transaction of a node that vanished, whose lock would hold up all others, lets the server notice within
/// a minute that a node is gone, and spares the answer that [`is_fit`] mostly gets: there was nothing to roll back.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = '30s'; SET tcp_keepalives_idle = 30; \
    SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET client_min_messages = 'error'";

pub(super) async fn open(options: &PgConnectOptions, history: &[Step]) -> Result<Pools, StoreError> {
    let options = options.clone().application_name("picloud").disable_statement_logging();
    migrate(&options, history).await?;
    let pool = |connections| {
        pool_options()
            .max_connections(connections)
            .idle_timeout(Duration::from_secs(600))
            .after_release(|conn, _| Box::pin(is_fit(conn)))
            .connect_lazy_with(options.clone())
    };
    Ok(Pools { control: pool(CONNECTIONS), data: pool(DATA_CONNECTIONS) })
}

/// What is the same of every pool.
pub(super) fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false).after_connect(|conn, _| {
        Box::pin(async move {
            sqlx::raw_sql(SETTINGS).execute(conn).await?;
            Ok(())
        })
    })
}

/// Migrates on a connection of its own: closing it lets go of the migration lock, whatever happened. The lock is taken
/// before the first look, since of two nodes that create the table of migrations at once one fails.
async fn migrate(options: &PgConnectOptions, history: &[Step]) -> Result<(), StoreError> {
    let mut conn = within(ACQUIRE_TIMEOUT, options.connect()).await?;
    let result = match conn.lock().await {
        Ok(()) => migration::apply(&mut conn, history, Target::Postgres).await,
        Err(error) => Err(StoreError::Repo(repo_error(error))),
    };
    // The server lets go as well when this fails.
    conn.close().await.ok();
    result
}

/// Whether there is a store in that database.
pub(super) async fn has_store(options: &PgConnectOptions) -> Result<bool, StoreError> {
    let find = async {
        let mut conn = options.connect().await?;
        let table = &Migrator::DEFAULT.table_name;
        let found: bool =
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&**table).fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok::<_, sqlx::Error>(found)
    };
    Ok(within(ACQUIRE_TIMEOUT, find).await?)
}

/// Whether a connection may go back to the pool. The pool asks the server too, but waits for the answer for ever, and a
/// network that went silent would take all connections that the pool may have. Asks by ending what may be open: sqlx 0.9 forgets
/// a transaction whose beginning was given up before the server had answered, and the next user would find itself in it.
async fn is_fit(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, sqlx::raw_sql("ROLLBACK").execute(conn)).await {
        Ok(answer) => answer.map(|_| true),
        // An error, since a mere no would have the pool say goodbye to the server and wait for that.
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
