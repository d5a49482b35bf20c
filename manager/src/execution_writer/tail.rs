//! Those who watch executions as they are kept. Whoever watches too slowly misses some, and is told how many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use picloud_shared::id::AppId;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::repo::executions::insert::NewExecution;

/// Rows of one app that wait for its slowest watcher: 5 MB of the largest, held once however many watch.
const WAITING: usize = 64;

#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<AppId, Sender<Arc<NewExecution>>>>);

impl Tails {
    /// Watches an app from now on.
    pub fn watch(&self, app: AppId) -> Receiver<Arc<NewExecution>> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.entry(app).or_insert_with(|| channel(WAITING).0).subscribe()
    }

    /// Shows rows that were kept to those who watch their apps.
    pub fn show(&self, rows: &[NewExecution]) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, sender| sender.receiver_count() > 0);
        if watched.is_empty() {
            return;
        }
        for row in rows {
            if let Some(sender) = watched.get(&row.app_id) {
                // The last watcher may have left since.
                sender.send(Arc::new(row.clone())).ok();
            }
        }
    }
}
