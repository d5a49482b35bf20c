//! From the store to handshakes: whatever any node gets is served here too, and whatever any node orders is answered here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::certificate::{CertificateSource, Served, StoreFailure};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::CertificateId;
use tokio::time::{Instant, sleep};

use super::agent::{Shared, comes_first};
use crate::tls::{Certificate, PendingChallenges};

/// How often a node shows that it is there, where others could wait for it.
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// How long after one could not be read it is tried again.
const RELOAD_AFTER: Duration = Duration::from_secs(60);
/// How often certificates that end soon are told of.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps this node at what the store says.
pub(super) struct Follower {
    shared: Arc<Shared>,
    revision: Option<u64>,
    loaded: HashMap<CertificateId, Loaded>,
    /// When what could not be read is tried again.
    reload_at: Option<Instant>,
    /// When the first of the certificates loses its place by its age.
    rearrange_at: Option<Timestamp>,
    shown: Option<Instant>,
    /// When certificates that end soon were told of last.
    warned: Option<Instant>,
    told: bool,
}

/// A certificate as it is served.
struct Loaded {
    revision: u64,
    certificate: Arc<Certificate>,
    is_manual: bool,
    is_admin: bool,
    not_after: Timestamp,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            revision: None,
            loaded: HashMap::new(),
            reload_at: None,
            rearrange_at: None,
            shown: None,
            warned: None,
            told: false,
        }
    }

    pub(super) async fn run(mut self) {
        let poll = self.shared.settings.timing.poll;
        loop {
            tokio::select! {
                // Something may be due as well.
                () = self.shared.store.changed() => self.shared.wish(),
                () = sleep(poll) => {}
            }
            self.look().await;
            self.warn_of_ends();
        }
    }

    /// Looks whether there is something new. When the store does not answer, all stays.
    pub(super) async fn look(&mut self) {
        match self.catch_up().await {
            Ok(()) => self.told = false,
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                tracing::warn!(%error, "the certificates that are served stay as they are until they can be read");
            }
            Err(error) => tracing::debug!(%error, "certificates still cannot be read"),
        }
    }

    /// Tells of certificates that end soon, once a day.
    fn warn_of_ends(&mut self) {
        if self.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        for (name, ends) in self.shared.certificates.ending(self.shared.clock.now()) {
            tracing::warn!(name, ends_at = %ends, "a certificate ends soon and has not been renewed");
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreFailure> {
        let store = Arc::clone(&self.shared.store);
        let now = self.shared.clock.now();
        let revision = store.revision().await?;
        let is_new = self.revision != Some(revision);
        let is_to_load = is_new || self.reload_at.is_some_and(|at| at <= Instant::now());
        if is_to_load {
            self.load().await?;
        }
        if is_new {
            let challenges = store.challenges().await?;
            let provider = self.shared.certificates.provider();
            self.shared.certificates.set_challenges(PendingChallenges::new(&challenges, &provider));
        }
        if is_to_load || self.rearrange_at.is_some_and(|at| at <= now) {
            self.arrange(now);
        }
        if is_new {
            self.revision = Some(revision);
            self.shared.has_followed(revision);
        }
        let is_to_show = is_new || self.shown.is_none_or(|shown| shown.elapsed() >= SHOW_EVERY);
        if store.is_shared() && is_to_show {
            store.acknowledge(self.shared.node, revision, now).await?;
            self.shown = Some(Instant::now());
        }
        Ok(())
    }

    /// Loads what changed, and lets go what is gone. One that cannot be read leaves what was served before.
    async fn load(&mut self) -> Result<(), StoreFailure> {
        let revisions: HashMap<CertificateId, u64> = self.shared.store.served_revisions().await?.into_iter().collect();
        self.loaded.retain(|id, _| revisions.contains_key(id));
        self.reload_at = None;
        for (id, revision) in revisions {
            if self.loaded.get(&id).is_some_and(|loaded| loaded.revision == revision) {
                continue;
            }
            match self.shared.store.served(id).await {
                Ok(Some(served)) => self.take(served),
                Ok(None) => {
                    self.loaded.remove(&id);
                }
                Err(error) => {
                    tracing::error!(certificate_id = %id, %error, "a certificate cannot be served");
                    self.reload_at = Some(Instant::now() + RELOAD_AFTER);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, served: Served) {
        let provider = self.shared.certificates.provider();
        let issued = &served.issued;
        let certificate = match Certificate::from_pem(&issued.chain, issued.key.reveal(), &provider) {
            Ok(certificate) => Arc::new(certificate),
            Err(error) => return tracing::error!(certificate_id = %served.id, %error, "a certificate cannot be served"),
        };
        let loaded = Loaded {
            revision: served.revision,
            certificate,
            is_manual: served.source == CertificateSource::Manual,
            is_admin: comes_first(&self.shared, &issued.facts.names),
            not_after: issued.facts.not_after,
        };
        self.loaded.insert(served.id, loaded);
    }

    /// Of two for one name that which is good comes first, then that which somebody uploaded, then that which lasts longest.
    fn arrange(&mut self, now: Timestamp) {
        let mut all: Vec<&Loaded> = self.loaded.values().collect();
        all.sort_by_key(|one| (!one.is_admin, one.not_after <= now, !one.is_manual, std::cmp::Reverse(one.not_after)));
        self.rearrange_at = all.iter().map(|one| one.not_after).filter(|at| *at > now).min();
        self.shared.certificates.set_managed(all.into_iter().map(|one| Arc::clone(&one.certificate)).collect());
    }
}
