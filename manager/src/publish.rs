//! The publisher: committed rows -> a new immutable snapshot -> swap.
//!
//! One task does it all, so that publishes follow one another and any number of waiting changes become one. It loads
//! only the apps that changed. It must not know why they changed, nor ever publish what is not committed.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::script::LimitPolicy;
use picloud_shared::snapshot::{PublishedApp, Snapshot, SnapshotCell};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use crate::repo::snapshot::{AppRows, Loaded, load_all, load_app};
use crate::repo::{RepoError, config};
use crate::store::Store;

/// How often the store is asked for changes that other processes made.
const POLL: Duration = Duration::from_secs(1);
/// How long a committed change waits for its snapshot. It is kept whatever happens; longer waits help nobody.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the publishing task for a publish and waits for it.
#[derive(Clone)]
pub(crate) struct Publisher {
    wish: Arc<Notify>,
    published: watch::Receiver<u64>,
}

impl Publisher {
    /// Publishes what is committed, then goes on publishing in a task of its own.
    ///
    /// # Errors
    /// When the store cannot be read at the start.
    pub(crate) async fn start(
        store: Store,
        snapshot: Arc<SnapshotCell>,
        limits: LimitPolicy,
    ) -> Result<(Self, JoinHandle<()>), RepoError> {
        let wish = Arc::new(Notify::new());
        let (announce, published) = watch::channel(0);
        let task = PublishingTask { store, snapshot, limits, announce, wish: Arc::clone(&wish) };
        task.publish_all().await?;
        Ok((Self { wish, published }, tokio::spawn(task.run())))
    }

    /// Returns once the snapshot holds the committed change of that version. Where the store cannot be read for
    /// longer, the change is published later, as soon as it can be.
    pub(crate) async fn publish(&self, version: u64) {
        self.wish.notify_one();
        let mut published = self.published.clone();
        let swapped = timeout(PATIENCE, published.wait_for(|current| *current >= version)).await;
        if !matches!(swapped, Ok(Ok(_))) {
            warn!(version, "a change is committed and not yet published; publishing goes on in the background");
        }
    }
}

struct PublishingTask {
    store: Store,
    snapshot: Arc<SnapshotCell>,
    limits: LimitPolicy,
    announce: watch::Sender<u64>,
    wish: Arc<Notify>,
}

impl PublishingTask {
    async fn run(self) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            tokio::select! {
                () = self.wish.notified() => {}
                _ = poll.tick() => {}
            }
            // A failed publish is repeated at the next tick: the version in the store stays ahead of the snapshot's.
            match self.publish_changes().await {
                Ok(()) => reachable = true,
                Err(error) if reachable => {
                    warn!(error = &error as &dyn std::error::Error, "changes cannot be read; the snapshot stays");
                    reachable = false;
                }
                Err(error) => debug!(error = &error as &dyn std::error::Error, "changes still cannot be read"),
            }
        }
    }

    /// Brings the snapshot to the committed version, if it is behind.
    async fn publish_changes(&self) -> Result<(), RepoError> {
        let current = self.snapshot.load_full();
        if config::current_version(&mut self.store.read().await?).await? == current.version() {
            return Ok(());
        }
        let mut read = self.store.begin_read().await?;
        let version = config::current_version(&mut read).await?;
        // A store that went back (a restored backup) has another history: load everything.
        let changed = match version > current.version() {
            true => config::changes_since(&mut read, current.version()).await?,
            false => None,
        };
        let Some(changed) = changed else {
            drop(read);
            return self.publish_all().await;
        };
        let mut changes = Vec::with_capacity(changed.len());
        for id in changed {
            let loaded = load_app(&mut read, &self.limits, id).await?;
            let app = arrange(loaded).pop();
            changes.push((id, app));
        }
        self.swap(current.with_apps(version, changes));
        Ok(())
    }

    /// Builds the snapshot from all rows. Apps of the snapshot that the store does not have go.
    async fn publish_all(&self) -> Result<(), RepoError> {
        let mut read = self.store.begin_read().await?;
        let version = config::current_version(&mut read).await?;
        let loaded = load_all(&mut read, &self.limits).await?;
        drop(read);
        let changes = arrange(loaded).into_iter().map(|app| (app.app().id, Some(app)));
        self.swap(Snapshot::default().with_apps(version, changes));
        Ok(())
    }

    fn swap(&self, next: Snapshot) {
        let version = next.version();
        self.snapshot.store(Arc::new(next));
        self.announce.send_replace(version);
        debug!(version, "published");
    }
}

/// Arranges rows for matching. What cannot be published is a warning, and the rest serves.
fn arrange(loaded: Loaded) -> Vec<Arc<PublishedApp>> {
    for problem in &loaded.problems {
        warn!(app_id = %problem.app_id, "{problem}");
    }
    let arrange_one = |AppRows { app, claims, scripts, routes }| {
        let (published, astray) = PublishedApp::new(app, claims, scripts, routes);
        for route in astray {
            warn!(app_id = %route.app_id, route_id = %route.id, "a route is left out: it leads to no published endpoint, or the app's routes spread too far with it");
        }
        Arc::new(published)
    };
    loaded.apps.into_iter().map(arrange_one).collect()
}
