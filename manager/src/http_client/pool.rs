//! Idle connections, each for the app, the scheme, the host and the port that it was opened for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::id::AppId;
use tokio::time::{Instant, sleep};
use url::{Host, Url};

use super::connection::Connection;
use super::{Failure, failure};

/// How long a connection stays idle, and how long it is used: after that it is looked up and checked anew where the host leads to.
const IDLE: Duration = Duration::from_secs(30);
const OLDEST: Duration = Duration::from_secs(300);
/// Idle connections of all apps, and of one.
const MOST: usize = 64;
const MOST_OF_APP: usize = 8;

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) app: AppId,
    pub(super) is_tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Key {
    pub(super) fn of(app: AppId, url: &Url) -> Result<Self, Failure> {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(failure("invalid_url", "the URL has no host"));
        };
        let host = match host.to_owned() {
            // The dot that ends a whole name is none of the name that a certificate is for.
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').map_or(name.clone(), str::to_owned)),
            address => address,
        };
        Ok(Self { app, is_tls: url.scheme() == "https", host, port })
    }
}

/// The connections.
#[derive(Default)]
pub(super) struct Pool(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// By the time that they became idle.
    idle: VecDeque<Idle>,
    /// Whether a task closes them when their time has come.
    is_swept: bool,
}

struct Idle {
    key: Key,
    since: Instant,
    connection: Connection,
}

impl Pool {
    /// One that is not closed yet, as far as can be told.
    pub(super) async fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            let mut found = {
                let mut held = self.lock();
                let place = held.idle.iter().rposition(|idle| idle.key == *key)?;
                held.idle.remove(place)?
            };
            let now = Instant::now();
            let is_fresh = now < found.since + IDLE && now < found.connection.opened + OLDEST;
            if is_fresh && found.connection.is_reusable().await {
                return Some(found.connection);
            }
        }
    }

    /// Keeps one for the next request. Where there are too many, the one that is idle for longest is closed.
    pub(super) fn put(self: &Arc<Self>, key: Key, connection: Connection) {
        let mut closed = Vec::new();
        let mut held = self.lock();
        let of_app = |idle: &Idle| idle.key.app == key.app;
        if held.idle.iter().filter(|idle| of_app(idle)).count() >= MOST_OF_APP {
            let oldest = held.idle.iter().position(of_app);
            closed.extend(oldest.and_then(|place| held.idle.remove(place)));
        }
        if held.idle.len() >= MOST {
            closed.extend(held.idle.pop_front());
        }
        held.idle.push_back(Idle { key, since: Instant::now(), connection });
        if !std::mem::replace(&mut held.is_swept, true) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
        drop(held);
        drop(closed);
    }

    /// Closes what was idle for too long, until nothing is left.
    async fn sweep(pool: std::sync::Weak<Self>) {
        loop {
            sleep(IDLE / 6).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut held = pool.lock();
            let now = Instant::now();
            let expired = held.idle.partition_point(|idle| now >= idle.since + IDLE);
            let closed: Vec<Idle> = held.idle.drain(..expired).collect();
            held.is_swept = !held.idle.is_empty();
            let is_done = !held.is_swept;
            drop(held);
            drop(closed);
            if is_done {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing that is done under the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
