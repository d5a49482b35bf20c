//! Hints by PostgreSQL's LISTEN. Any of them may be lost, so that whoever is woken looks by itself; no hint says what
//! happened.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Executor, PgPool};
use tokio::time::timeout;

use crate::repo::RepoError;
use crate::store::conn::within;
use crate::store::{ACQUIRE_TIMEOUT, PING_TIMEOUT, postgres};

/// After this silence the connection is tried: a network that lost it would never say so.
const SILENCE: Duration = Duration::from_secs(30);

/// How long to wait before listening again: meanwhile there are no hints.
const RETRY: Duration = Duration::from_secs(5);

/// Listens for ever, and wakes at each hint and whenever hints may have been lost.
pub(super) async fn listen(pool: &PgPool, channel: &str, wake: impl Fn()) {
    let mut told = false;
    loop {
        let Err(error) = listen_once(pool, channel, &wake, &mut told).await;
        tell(&error, std::mem::replace(&mut told, true));
        tokio::time::sleep(RETRY).await;
    }
}

fn tell(error: &RepoError, again: bool) {
    let error = error as &dyn std::error::Error;
    match again {
        false => tracing::warn!(error, "PostgreSQL gives no hints of changes; they are asked for all the same"),
        true => tracing::debug!(error, "PostgreSQL still gives no hints of changes"),
    }
}

async fn listen_once(pool: &PgPool, channel: &str, wake: impl Fn(), told: &mut bool) -> Result<Infallible, RepoError> {
    // The connection is held for good, so it is none of those that requests share.
    let own = postgres::pool_options().max_connections(1).connect_lazy_with(pool.connect_options().as_ref().clone());
    let mut listener = within(ACQUIRE_TIMEOUT, PgListener::connect_with(&own)).await?;
    within(PING_TIMEOUT, listener.listen(channel)).await?;
    *told = false;
    // What was told before nobody heard.
    wake();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // Nothing: the connection was lost and there is another.
            Ok(Ok(Some(_) | None)) => wake(),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                within(PING_TIMEOUT, listener.execute("SELECT 1")).await?;
            }
        }
    }
}
