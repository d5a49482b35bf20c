//! The publisher: committed rows -> a new immutable snapshot -> swap.
//!
//! One task does it all, so that publishes follow one another and any number of waiting changes become one. It loads
//! only what changed. It must not know why that changed, nor ever publish what is not committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use picloud_executor::Executor;
use picloud_shared::id::AppId;
use picloud_shared::route::Route;
use picloud_shared::script::LimitPolicy;
use picloud_shared::snapshot::{PublishedApp, PublishedSecrets, Snapshot, SnapshotCell};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::app_secrets::AppSecrets;
use crate::repo::config::{AppChange, Position};
use crate::repo::snapshot::{AppRows, Loaded, LoadedParts, RowProblem, load_all, load_app, load_parts};
use crate::repo::{RepoError, config};
use crate::store::{Conn, Store};
use crate::survive::{survive, survive_now};

/// How soon a publish that failed is tried again; each time after that twice as long, up to the poll.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// How often it is asked for changes of the process that serves from the same SQLite files during a hand-over, which tells of none.
const POLL_IN_COMPANY: Duration = Duration::from_millis(25);

/// How long publishing waits for what.
#[derive(Debug, Clone, Copy)]
pub struct PublishTiming {
    /// How often the store is asked for changes that other processes made. PostgreSQL tells of them at once as a rule; this
    /// is what holds.
    pub poll: Duration,
    /// How long the answer to a change waits for its snapshot. The change is kept whatever happens; longer waits help
    /// nobody.
    pub patience: Duration,
}

impl Default for PublishTiming {
    fn default() -> Self {
        Self { poll: Duration::from_secs(1), patience: Duration::from_secs(5) }
    }
}

/// A change is committed and requests are not answered by it yet. They will be, as soon as the store can be read.
#[derive(Debug)]
pub(crate) struct NotLiveYet;

/// Asks the publishing task for a publish and waits for it.
#[derive(Clone)]
pub(crate) struct Publisher {
    store: Store,
    wishes: Arc<Wishes>,
    /// Up to which wish all has been published.
    granted: watch::Receiver<u64>,
    patience: Duration,
}

/// Publishes that were asked for. They are counted, since the store's version tells nobody whether a change is live: a store that
/// went back (a restored backup, a failover) counts from there again.
#[derive(Default)]
struct Wishes {
    count: AtomicU64,
    come: Notify,
}

impl Wishes {
    /// Asks for another; which one it is.
    fn add(&self) -> u64 {
        let number = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        self.come.notify_one();
        number
    }

    /// The last one so far.
    fn last(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

impl Publisher {
    /// Publishes what is committed, then goes on publishing in tasks of its own, which are handed back.
    ///
    /// # Errors
    /// When the store cannot be read at the start.
    pub(crate) async fn start(
        store: Store,
        snapshot: Arc<SnapshotCell>,
        executor: Arc<Executor>,
        limits: LimitPolicy,
        secrets: AppSecrets,
        timing: PublishTiming,
    ) -> Result<(Self, [JoinHandle<()>; 2]), RepoError> {
        let wishes = Arc::new(Wishes::default());
        let (grant, granted) = watch::channel(0);
        let mut task = PublishingTask {
            store: store.clone(),
            snapshot,
            executor,
            limits,
            secrets,
            grant,
            wishes: Arc::clone(&wishes),
            published: Position::default(),
        };
        task.publish_all().await?;
        let publishing = tokio::spawn(task.run(timing.poll));
        let (listening, wake) = (store.clone(), Arc::clone(&wishes));
        let listening = tokio::spawn(async move { listening.listen(config::CHANNEL, || wake.come.notify_one()).await });
        Ok((Self { store, wishes, granted, patience: timing.patience }, [publishing, listening]))
    }

    /// Returns once the snapshot holds the committed change of that version.
    ///
    /// # Errors
    /// The store could not be read for as long as an answer may wait, or this node is shutting down.
    pub(crate) async fn publish(&self, version: u64) -> Result<(), NotLiveYet> {
        let wish = self.wishes.add();
        self.tell_other_nodes();
        let mut granted = self.granted.clone();
        match timeout(self.patience, granted.wait_for(|last| *last >= wish)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                warn!(version, "a change is committed and not yet published; publishing goes on in the background");
                Err(NotLiveYet)
            }
        }
    }

    /// After the commit and beside it, since a database that knows no NOTIFY would otherwise take no change at all.
    fn tell_other_nodes(&self) {
        if self.store.is_sqlite() {
            return;
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            let told = async { config::tell_other_nodes(&mut store.read().await?).await };
            if let Err(error) = told.await {
                debug!(error = &error as &dyn std::error::Error, "other nodes learn of a change by asking");
            }
        });
    }
}

struct PublishingTask {
    store: Store,
    snapshot: Arc<SnapshotCell>,
    executor: Arc<Executor>,
    limits: LimitPolicy,
    secrets: AppSecrets,
    grant: watch::Sender<u64>,
    wishes: Arc<Wishes>,
    /// What the snapshot holds.
    published: Position,
}

impl PublishingTask {
    async fn run(mut self, poll: Duration) {
        let mut health = Health { poll, retry: None };
        loop {
            tokio::select! {
                () = self.wishes.come.notified() => {}
                () = sleep(health.wait()) => {}
                () = self.poll_in_company() => {}
            }
            // Whoever asks from now on may have committed too late for this one.
            let last = self.wishes.last();
            // A publish that failed is repeated: the store still stands elsewhere than the snapshot.
            let published = survive("publishing", self.publish_changes()).await;
            if let Some(Ok(())) = &published {
                self.grant.send_replace(last);
            }
            health.note(published);
        }
    }

    /// Ends soon while another process changes the same files; as long as none does, it never ends.
    async fn poll_in_company(&self) {
        self.store.comes_into_company().await;
        sleep(POLL_IN_COMPANY).await;
    }

    /// Brings the snapshot to what is committed, unless it is there.
    async fn publish_changes(&mut self) -> Result<(), RepoError> {
        if config::position(&mut self.store.read().await?).await? == self.published {
            return Ok(());
        }
        let current = self.snapshot.load_full();
        let mut read = self.store.begin_read().await?;
        let position = config::position(&mut read).await?;
        let Some(changed) = config::changes_since(&mut read, self.published).await? else {
            drop(read);
            return self.publish_all().await;
        };
        let mut changes = Vec::with_capacity(changed.len());
        for (id, change) in changed {
            let app = self.load_changed(&mut read, &current, id, change).await?;
            changes.push((id, app));
        }
        drop(read);
        let apps: Vec<_> = changes.iter().filter_map(|(_, app)| app.clone()).collect();
        self.executor.prepare(&apps, &current).await;
        self.swap(position, current.with_apps(position.version, changes));
        Ok(())
    }

    /// An app as it is after a change; `None` where it is gone or cannot be published.
    async fn load_changed(
        &self,
        read: &mut Conn,
        current: &Snapshot,
        id: AppId,
        change: AppChange,
    ) -> Result<Option<Arc<PublishedApp>>, RepoError> {
        let (AppChange::Parts(parts), Some(app)) = (change, current.app(id)) else {
            let loaded = load_app(read, &self.limits, id).await?;
            return Ok(arrange(loaded, |rows| self.publishable(rows, current)).pop());
        };
        let LoadedParts { mut changes, secrets, problems } = load_parts(read, &self.limits, id, &parts).await?;
        tell(&problems);
        changes.secrets = secrets.map(|rows| self.secrets.publish(id, rows, Some(app.secrets())));
        Ok(arrange_app(id, || told(app.with(changes))))
    }

    /// Builds the snapshot from all rows. Apps of the snapshot that the store does not have go.
    async fn publish_all(&mut self) -> Result<(), RepoError> {
        let mut read = self.store.begin_read().await?;
        let position = config::position(&mut read).await?;
        let loaded = load_all(&mut read, &self.limits).await?;
        drop(read);
        let current = self.snapshot.load_full();
        let apps = arrange(loaded, |rows| self.publishable(rows, &current));
        let changes = apps.into_iter().map(|app| (app.app().id, Some(app)));
        self.swap(position, Snapshot::default().with_apps(position.version, changes));
        Ok(())
    }

    fn publishable(&self, mut rows: AppRows, current: &Snapshot) -> PublishedApp {
        let (id, sealed) = (rows.app.id, std::mem::take(&mut rows.secrets));
        let secrets = self.secrets.publish(id, sealed, current.app(id).map(|app| app.secrets()));
        publishable(rows, secrets)
    }

    fn swap(&mut self, position: Position, next: Snapshot) {
        self.snapshot.store(Arc::new(next));
        self.published = position;
        debug!(version = position.version, "published");
    }
}

/// How publishing fares, which decides when it is tried next and what is told of it.
struct Health {
    poll: Duration,
    /// After a failure: how long the last wait was.
    retry: Option<Duration>,
}

impl Health {
    fn wait(&self) -> Duration {
        self.retry.unwrap_or(self.poll)
    }

    /// Takes note of a publish; `None` where it panicked.
    fn note(&mut self, published: Option<Result<(), RepoError>>) {
        let failed_before = self.retry.is_some();
        self.retry = match &published {
            Some(Ok(())) => None,
            _ => Some(self.retry.map_or(FIRST_RETRY, |wait| wait * 2).min(self.poll)),
        };
        if let Some(Err(error)) = published {
            let error = &error as &dyn std::error::Error;
            match failed_before {
                false => warn!(error, "changes cannot be read; the snapshot stays"),
                true => debug!(error, "changes still cannot be read"),
            }
        }
    }
}

/// Arranges each app by itself. What cannot be published is told of, and the rest serves.
fn arrange(loaded: Loaded, publish: impl Fn(AppRows) -> PublishedApp) -> Vec<Arc<PublishedApp>> {
    tell(&loaded.problems);
    loaded.apps.into_iter().filter_map(|rows| arrange_app(rows.app.id, || publish(rows))).collect()
}

fn arrange_app(id: AppId, publish: impl FnOnce() -> PublishedApp) -> Option<Arc<PublishedApp>> {
    let published = survive_now("arranging an app", publish);
    if published.is_none() {
        error!(app_id = %id, "an app is left out: its rows cannot be arranged");
    }
    published.map(Arc::new)
}

fn publishable(rows: AppRows, secrets: PublishedSecrets) -> PublishedApp {
    let AppRows { app, record_policy, hsts, claims, scripts, routes, env, secrets: _, triggers } = rows;
    let published = told(PublishedApp::new(app, claims, scripts, routes)).with_triggers(triggers);
    published.with_record_policy(record_policy).with_hsts(hsts).with_settings(env.into_iter().collect(), secrets)
}

fn tell(problems: &[RowProblem]) {
    for problem in problems {
        warn!(app_id = %problem.app_id, "{problem}");
    }
}

/// The app, once it is told which of its routes are left out.
fn told((app, astray): (PublishedApp, Vec<Arc<Route>>)) -> PublishedApp {
    for route in astray {
        warn!(app_id = %route.app_id, route_id = %route.id, "a route is left out: it leads to no published endpoint, or the app's routes spread too far with it");
    }
    app
}

#[cfg(test)]
mod tests {
    use picloud_shared::app::App;
    use picloud_shared::clock::Timestamp;
    use picloud_shared::execution::RecordPolicy;
    use picloud_shared::id::AppId;

    use super::*;

    fn rows(slug: &str) -> AppRows {
        let app = App { id: AppId::generate(Timestamp::from_millis(1)), slug: slug.parse().unwrap() };
        AppRows {
            app,
            record_policy: RecordPolicy::default(),
            hsts: None,
            claims: Vec::new(),
            scripts: Vec::new(),
            routes: Vec::new(),
            env: Vec::new(),
            secrets: Vec::new(),
            triggers: Vec::new(),
        }
    }

    #[test]
    fn an_app_whose_rows_make_arranging_panic_is_left_out_alone() {
        let loaded = Loaded { apps: vec![rows("a"), rows("bad"), rows("c")], problems: Vec::new() };
        let arranged = arrange(loaded, |rows| {
            assert_ne!(rows.app.slug.as_str(), "bad", "on purpose");
            publishable(rows, PublishedSecrets::default())
        });
        assert_eq!(arranged.iter().map(|app| app.app().slug.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[tokio::test]
    async fn publishing_that_panicked_is_tried_again_soon_and_less_and_less_often() {
        let mut health = Health { poll: Duration::from_secs(1), retry: None };
        let mut waits = Vec::new();
        for _ in 0..6 {
            health.note(survive("a publish", async { panic!("on purpose") }).await);
            waits.push(health.wait().as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        health.note(survive("a publish", async { Ok(()) }).await);
        assert_eq!(health.wait(), health.poll);
    }
}
