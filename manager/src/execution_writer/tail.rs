//! Those who watch executions as they are kept. Whoever watches too slowly misses some, and can tell how many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;
use tokio::sync::Notify;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::execution_writer::lately::{Lately, New};
use crate::repo::executions::insert::NewExecution;
use crate::repo::executions::{Ended, Execution};

/// Rows of one app that wait for its slowest watcher: 5 MB of the largest, held once however many watch.
pub(super) const WAITING: usize = 64;

/// A row, and which one of its app it is, counted from when somebody began to watch: numbers that are left out were missed.
pub(crate) type Shown = (u64, Arc<Execution>);

#[derive(Default)]
pub(super) struct Tails {
    apps: Mutex<HashMap<AppId, Watched>>,
    begun: Notify,
}

/// An app that somebody watches.
struct Watched {
    sender: Sender<Shown>,
    count: u64,
    /// What was found in the store, where rows are looked for there.
    lately: Lately,
}

impl Watched {
    fn show(&mut self, row: Execution) {
        self.count += 1;
        // The last watcher may have left since.
        self.sender.send((self.count, Arc::new(row))).ok();
    }
}

impl Tails {
    /// Watches an app from now on; the number that its last row had. What is there already is known.
    pub fn watch(&self, app: AppId, lately: Lately) -> (u64, Receiver<Shown>) {
        let mut apps = self.apps();
        let watched = apps.entry(app).or_insert_with(|| Watched { sender: channel(WAITING).0, count: 0, lately });
        self.begun.notify_one();
        (watched.count, watched.sender.subscribe())
    }

    /// Shows rows that were kept to those who watch their apps.
    pub fn show(&self, rows: &[NewExecution]) {
        let mut apps = self.apps();
        if apps.is_empty() {
            return;
        }
        for row in rows {
            if let Some(watched) = apps.get_mut(&row.app_id) {
                watched.show(Execution::from(row));
            }
        }
    }

    /// Shows rows of one app, after so many that are not shown, to those for whom it was looked since then.
    pub fn show_after(&self, app: AppId, since: Timestamp, missed: u64, rows: Vec<Execution>) {
        if let Some(watched) = self.apps().get_mut(&app).filter(|watched| watched.lately.since == since) {
            watched.count += missed;
            rows.into_iter().for_each(|row| watched.show(row));
        }
    }

    /// The apps that are watched, as soon as there is one, and since when what ended there is looked for.
    pub async fn watched(&self) -> Vec<(AppId, Timestamp)> {
        loop {
            let watched: Vec<_> = self.apps().iter().map(|(app, watched)| (*app, watched.lately.since)).collect();
            if !watched.is_empty() {
                return watched;
            }
            self.begun.notified().await;
        }
    }

    /// Takes in what ended since then; what of it is new. All for whom it was looked may have left meanwhile, and others have come
    /// who know more: to them it is nothing.
    pub fn learn(&self, app: AppId, since: Timestamp, found: Ended, later: Timestamp) -> New {
        let mut apps = self.apps();
        let watched = apps.get_mut(&app).filter(|watched| watched.lately.since == since);
        watched.map(|watched| watched.lately.learn(found, later)).unwrap_or_default()
    }

    /// Takes what is in the store now as known to those for whom it was looked since then.
    pub fn begin_anew(&self, app: AppId, since: Timestamp, lately: Lately) {
        if let Some(watched) = self.apps().get_mut(&app).filter(|watched| watched.lately.since == since) {
            watched.lately = lately;
        }
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Watched>> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|_, watched| watched.sender.receiver_count() > 0);
        apps
    }
}

#[cfg(test)]
mod tests {
    use picloud_shared::id::ExecutionId;

    use super::*;

    #[test]
    fn whoever_comes_while_it_is_looked_for_others_hears_nothing_of_what_is_found_for_them() {
        let [before, since, later] = [1, 2, 3].map(|second| Timestamp::from_millis(1_767_225_600_000 + 1000 * second));
        let (tails, app) = (Tails::default(), AppId::generate(before));
        let known = [ExecutionId::generate(before), ExecutionId::generate(before)];
        let found = |ids: &[ExecutionId]| {
            let count = ids.len() as u64;
            Ended { ids: ids.to_vec(), count, later_count: count }
        };
        drop(tails.watch(app, Lately::begin(Ended::default(), before)));
        let (_, _rows) = tails.watch(app, Lately::begin(found(&known), since));
        let shown = || tails.watch(app, Lately::default()).0;

        assert_eq!(tails.learn(app, before, found(&known), later), New::default());
        tails.show_after(app, before, 1, Vec::new());
        tails.begin_anew(app, before, Lately::begin(Ended::default(), before));
        assert_eq!(shown(), 0);
        let more = [known[0], known[1], ExecutionId::generate(since)];
        assert_eq!(tails.learn(app, since, found(&more), later), New { ids: vec![more[2]], count: 1 });
        tails.show_after(app, later, 1, Vec::new());
        assert_eq!(shown(), 1);
    }
}
