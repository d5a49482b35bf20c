//! When sessions and API keys were last used: noted in memory by whoever reads, and written down behind them.
//!
//! A read must not wait for a write, nor for whoever writes. Notes of one become one, and all notes that wait
//! become one unit of work. A note that is not written yet counts all the same on this node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, SessionId};
use tokio::sync::Notify;
use tracing::debug;

use crate::repo::{RepoError, api_keys, sessions};
use crate::store::Store;
use crate::survive::survive;

/// A use is noted at most this often, so that reading does not mean writing.
pub(crate) const NOTE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a failed write waits to be tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Notes that may wait while the store cannot be written, some 64 bytes each. Those beyond are forgotten: a session
/// ends a little earlier.
const CAPACITY: usize = 10_000;

/// Notes uses. Clones note in one place.
#[derive(Clone)]
pub(crate) struct LastUse {
    store: Store,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes {
    waiting: Mutex<HashMap<UsedBy, Use>>,
    bell: Notify,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum UsedBy {
    Session(SessionId),
    Key(ApiKeyId),
}

/// A last use, and until when a session lives by that; a key's end stands from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub seen_at: Timestamp,
    pub expires_at: Timestamp,
}

impl LastUse {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, notes: Arc::default() }
    }

    /// Notes a use.
    pub(crate) fn note(&self, by: UsedBy, last: Use) {
        let mut waiting = self.waiting();
        if waiting.len() < CAPACITY || waiting.contains_key(&by) {
            waiting.insert(by, last);
            self.notes.bell.notify_one();
        }
    }

    /// The use that waits to be written, if one does.
    pub(crate) fn of(&self, by: UsedBy) -> Option<Use> {
        self.waiting().get(&by).copied()
    }

    /// Writes what is noted, for ever.
    pub(crate) async fn keep_writing(self) {
        loop {
            self.notes.bell.notified().await;
            let failed = match survive("writing last uses", self.write()).await {
                Some(Ok(())) => false,
                Some(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "last uses are not written yet");
                    true
                }
                None => true,
            };
            if failed {
                tokio::time::sleep(RETRY).await;
                self.notes.bell.notify_one();
            }
        }
    }

    /// Writes what is noted by now.
    pub(crate) async fn write(&self) -> Result<(), RepoError> {
        let noted: Vec<(UsedBy, Use)> = self.waiting().iter().map(|(by, last)| (*by, *last)).collect();
        if noted.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for (by, last) in &noted {
            match by {
                UsedBy::Session(id) => sessions::touch(&mut tx, *id, last.seen_at, last.expires_at).await?,
                UsedBy::Key(id) => api_keys::touch(&mut tx, *id, last.seen_at).await?,
            };
        }
        tx.commit().await?;
        // Only now, so that at no moment neither the note nor the row tells of the use.
        let mut waiting = self.waiting();
        for (by, last) in noted {
            if waiting.get(&by) == Some(&last) {
                waiting.remove(&by);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<UsedBy, Use>> {
        // Each note stands for itself: they are whole after any panic.
        self.notes.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
