//! Who is near a quota, what failed for good, and what waits: looked at each minute, logged where somebody is to do something
//! about it, and kept for metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::app_data::{AppData, NEAR_PERCENT, Quota, QuotaUse};
use picloud_shared::clock::Clock;
use picloud_shared::id::AppId;
use picloud_shared::snapshot::SnapshotCell;
use tokio::sync::watch;
use tokio::time::interval;
use tracing::{debug, info, warn};

use crate::docs::Docs;
use crate::events::{Events, reading};
use crate::kv::Kv;
use crate::repo::RepoError;
use crate::repo::app_data::{Bounds, look};
use crate::store::Store;
use crate::survive::survive;

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(60);

/// Looks after it.
pub(crate) struct DataWatch {
    store: Store,
    clock: Arc<dyn Clock>,
    snapshot: Arc<SnapshotCell>,
    bounds: Bounds,
    found: watch::Sender<Arc<AppData>>,
    /// What was told of already.
    told: HashSet<(AppId, Quota)>,
}

impl DataWatch {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        snapshot: Arc<SnapshotCell>,
        (kv, docs, events): (&Kv, &Docs, &Events),
    ) -> Self {
        let (kv, docs, events) = (kv.quota(), docs.quota(), events.quota());
        let bounds = Bounds {
            kv: [(Quota::KvMaxKeys, kv.keys), (Quota::KvMaxBytes, kv.bytes)],
            docs: [(Quota::DocsMaxDocuments, docs.documents), (Quota::DocsMaxBytes, docs.bytes)],
            events: [(Quota::EventsMax, events.events), (Quota::EventsMaxBytes, events.bytes)],
        };
        Self { store, clock, snapshot, bounds, found: watch::Sender::default(), told: HashSet::new() }
    }

    /// What it finds.
    pub(crate) fn found(&self) -> watch::Receiver<Arc<AppData>> {
        self.found.subscribe()
    }

    /// Watches, for ever.
    pub(crate) async fn keep_watching(mut self) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Some(Err(error)) = survive("looking at what apps keep", self.look()).await {
                debug!(error = &error as &dyn std::error::Error, "what apps keep cannot be told");
                // What was so before may not be any more.
                self.found.send_replace(Arc::default());
            }
        }
    }

    async fn look(&mut self) -> Result<(), RepoError> {
        let (bounds, now) = (self.bounds, self.clock.now());
        let found: AppData = reading!(self.store, |db| look(db, bounds, now))?;
        self.tell(&found.near_quota);
        self.found.send_replace(Arc::new(found));
        Ok(())
    }

    /// Says once that an app is near a quota, and once that it no longer is.
    fn tell(&mut self, near: &[QuotaUse]) {
        let snapshot = self.snapshot.load();
        let named = |app: AppId| snapshot.app(app).map(|app| app.app().slug.to_string());
        let is_near: HashSet<_> = near.iter().map(|near| (near.app, near.quota)).collect();
        for QuotaUse { app, quota, used, most } in near {
            // One that is gone keeps its data until that is purged.
            let Some(slug) = named(*app) else { continue };
            if self.told.insert((*app, *quota)) {
                warn!(
                    app = slug,
                    quota = quota.as_str(),
                    used,
                    most,
                    "an app uses {NEAR_PERCENT} % of a quota or more"
                );
            }
        }
        self.told.retain(|(app, quota)| {
            let stays = is_near.contains(&(*app, *quota));
            if let (false, Some(slug)) = (stays, named(*app)) {
                info!(app = slug, quota = quota.as_str(), "an app uses less than {NEAR_PERCENT} % of a quota again");
            }
            stays
        });
    }
}
