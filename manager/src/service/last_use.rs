//! When sessions were last used: noted in memory by whoever reads, and written down behind them.
//!
//! A read must not wait for a write, nor for whoever writes. Notes of one session become one, and all notes that wait
//! become one unit of work. A note that is not written yet counts all the same on this node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::SessionId;
use tokio::sync::Notify;
use tracing::debug;

use crate::repo::{RepoError, sessions};
use crate::store::Store;

/// A session's use is noted at most this often, so that reading does not mean writing.
pub(crate) const NOTE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a failed write waits to be tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Notes that may wait while the store cannot be written, some 64 bytes each. Those beyond are forgotten: the session
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
    waiting: Mutex<HashMap<SessionId, Use>>,
    bell: Notify,
}

/// A session's last use, and until when it lives by that.
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
    pub(crate) fn note(&self, session: SessionId, last: Use) {
        let mut waiting = self.waiting();
        if waiting.len() < CAPACITY || waiting.contains_key(&session) {
            waiting.insert(session, last);
            self.notes.bell.notify_one();
        }
    }

    /// The use that waits to be written, if one does.
    pub(crate) fn of(&self, session: SessionId) -> Option<Use> {
        self.waiting().get(&session).copied()
    }

    /// Writes what is noted, for ever.
    pub(crate) async fn keep_writing(self) {
        loop {
            self.notes.bell.notified().await;
            if let Err(error) = self.write().await {
                debug!(error = &error as &dyn std::error::Error, "uses of sessions are not written yet");
                tokio::time::sleep(RETRY).await;
                self.notes.bell.notify_one();
            }
        }
    }

    /// Writes what is noted by now.
    pub(crate) async fn write(&self) -> Result<(), RepoError> {
        let noted: Vec<(SessionId, Use)> = self.waiting().iter().map(|(session, last)| (*session, *last)).collect();
        if noted.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for (session, last) in &noted {
            sessions::touch(&mut tx, *session, last.seen_at, last.expires_at).await?;
        }
        tx.commit().await?;
        // Only now, so that at no moment neither the note nor the row tells of the use.
        let mut waiting = self.waiting();
        for (session, last) in noted {
            if waiting.get(&session) == Some(&last) {
                waiting.remove(&session);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SessionId, Use>> {
        // Each note stands for itself: they are whole after any panic.
        self.notes.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
