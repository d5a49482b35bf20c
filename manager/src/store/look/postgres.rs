//! A PostgreSQL server as it is.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool};
use tokio::time::Instant;

use crate::repo::RepoError;
use crate::store::ACQUIRE_TIMEOUT;
use crate::store::conn::within;
use crate::store::postgres::{CONNECTIONS, DATA_CONNECTIONS, Pools, pool_options};

/// How often it is asked how long it takes to answer.
const ROUNDS: usize = 5;

const FACTS: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
    current_setting('max_connections')::bigint, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
    pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, as 170002 for 17.2.
    pub version_number: i32,
    /// Its version in words.
    pub version: String,
    /// How many connections it takes.
    pub max_connections: i64,
    /// How many there are, of anybody.
    pub connections: i64,
    /// How many one node opens at most.
    pub of_a_node: i64,
    /// Whether it follows another, and takes no writes.
    pub is_standby: bool,
    /// The middle of some times that it took to answer.
    pub latency: Duration,
    /// By how many milliseconds its clock is ahead of this machine's, less than what an answer takes aside.
    pub ahead_ms: i64,
}

/// Opens a database as nobody would who writes.
pub(super) fn open(options: &PgConnectOptions) -> Pools {
    let options = options.clone().application_name("picloud doctor").disable_statement_logging();
    let options = options.options([("default_transaction_read_only", "on")]);
    let pool = || pool_options().max_connections(1).connect_lazy_with(options.clone());
    Pools { control: pool(), data: pool() }
}

pub(super) async fn facts(pool: &PgPool, now: impl Fn() -> Timestamp) -> Result<ServerFacts, RepoError> {
    let mut conn = within(ACQUIRE_TIMEOUT, pool.acquire()).await?;
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        within(ACQUIRE_TIMEOUT, sqlx::query("SELECT 1").execute(&mut *conn)).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let asked = sqlx::query_as::<_, (i32, String, i64, i64, bool, i64)>(FACTS).fetch_one(&mut *conn);
    let (version_number, version, max_connections, connections, is_standby, its_ms) =
        within(ACQUIRE_TIMEOUT, asked).await?;
    Ok(ServerFacts {
        version_number,
        version,
        max_connections,
        connections,
        of_a_node: i64::from(CONNECTIONS + DATA_CONNECTIONS),
        is_standby,
        latency: took[ROUNDS / 2],
        ahead_ms: its_ms - now().as_millis(),
    })
}
