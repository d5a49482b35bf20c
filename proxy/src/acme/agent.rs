//! The agent: which certificates are managed, which have their turn, and the tasks that do the work. It decides nothing about
//! one certificate; that is [`super::round`]'s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picloud_shared::certificate::{CertificateStore, ChallengeKind, SaveError, StoreFailure, TxtRecord};
use picloud_shared::clock::Clock;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::id::{CertificateId, LeaseId, NodeId};
use picloud_shared::snapshot::SnapshotCell;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::AcmeSettings;
use super::dns::Dns;
use super::follow::Follower;
use super::names::source_of;
use super::pauses::Pauses;
use super::round::Work;
use crate::metrics::Metrics;
use crate::tls::Certificates;

/// Claims that are taken up in one go.
const CLAIMS_AT_ONCE: u32 = 200;
/// How often it is looked for other nodes that do not answer a challenge yet.
const PROPAGATION_POLL: Duration = Duration::from_millis(100);
/// A node that has not been seen for so long does not count.
const NODE_GONE: Duration = Duration::from_secs(30);
/// How long work rests that the store did not let be written down.
const STORE_RECOVERS: Duration = Duration::from_secs(10);
/// How long the end waits for DNS records that are being taken away.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// What the agent works with.
pub struct AgentParts {
    /// Where certificates are kept.
    pub store: Arc<dyn CertificateStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is published: claims among it.
    pub snapshot: Arc<SnapshotCell>,
    /// What handshakes choose from.
    pub certificates: Arc<Certificates>,
    /// The hosts of the dashboard, which want certificates too.
    pub admin_hosts: Vec<Host<'static>>,
    /// What the operator says.
    pub settings: AcmeSettings,
    /// How this instance can show that a name is its own, the likeliest first.
    pub challenges: Vec<ChallengeKind>,
    /// What counts attempts.
    pub metrics: Arc<Metrics>,
}

/// What all work shares.
pub(super) struct Shared {
    pub(super) store: Arc<dyn CertificateStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) settings: AcmeSettings,
    pub(super) challenges: Vec<ChallengeKind>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dns: Dns,
    pub(super) node: NodeId,
    /// Which authorities are to be left alone.
    pub(super) pauses: Pauses,
    snapshot: Arc<SnapshotCell>,
    admin_hosts: Vec<DomainPattern>,
    /// Up to which revision this node serves and answers.
    followed: watch::Sender<u64>,
    /// That there may be something to do.
    wish: Notify,
    /// What this node works on.
    leases: Mutex<HashMap<CertificateId, LeaseId>>,
    /// What takes DNS records away beside all else.
    clearing: TaskTracker,
}

/// Gets certificates and keeps them.
#[derive(Clone)]
pub struct Agent {
    pub(super) shared: Arc<Shared>,
}

/// The agent at work.
pub struct RunningAgent {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Agent {
    /// An agent that does nothing yet but look when it is asked to. Must be made within the runtime.
    ///
    /// # Errors
    /// The machine's settings of the DNS cannot be read.
    pub fn new(parts: AgentParts) -> Result<Self, String> {
        let AgentParts { store, clock, snapshot, certificates, admin_hosts, settings, challenges, metrics } = parts;
        let dns = Dns::new(settings.resolver)?;
        let node = NodeId::generate(clock.now());
        let shared = Arc::new(Shared {
            store,
            clock,
            certificates,
            settings,
            challenges,
            metrics,
            dns,
            node,
            pauses: Pauses::default(),
            snapshot,
            admin_hosts: admin_hosts.into_iter().map(DomainPattern::Exact).collect(),
            followed: watch::Sender::new(0),
            wish: Notify::new(),
            leases: Mutex::default(),
            clearing: TaskTracker::new(),
        });
        Ok(Self { shared })
    }

    /// Serves what there is, then goes on in tasks of its own. Where no authority is named, nothing is obtained, and elsewhere
    /// nothing until `may_order` ends: before that, an authority that looks may be answered by another process.
    pub async fn start(&self, may_order: impl Future<Output = ()> + Send + 'static) -> RunningAgent {
        let shared = Arc::clone(&self.shared);
        let mut follower = Follower::new(Arc::clone(&shared));
        follower.look().await;
        let mut tasks = vec![tokio::spawn(follower.run())];
        if !shared.settings.authorities.is_empty() {
            let manager = Manager { shared: Arc::clone(&shared), running: JoinSet::new(), ids: HashMap::new() };
            tasks.push(tokio::spawn(async move {
                may_order.await;
                manager.run().await;
            }));
        }
        RunningAgent { shared, tasks }
    }
}

impl RunningAgent {
    /// Ends all work, and lets other nodes go on with it at once.
    pub async fn shutdown(self) {
        for task in self.tasks {
            task.abort();
            // Aborted on purpose: there is nothing to learn from how it ended.
            let _ = task.await;
        }
        let leases = std::mem::take(&mut *self.shared.leases());
        for (id, lease) in leases {
            // What is not given back ends by itself.
            let _ = self.shared.store.release(id, lease).await;
        }
        self.shared.clearing.close();
        if timeout(CLEARED_WITHIN, self.shared.clearing.wait()).await.is_err() {
            tracing::warn!("DNS records that were set for an authority may stay: taking them away takes too long");
        }
    }
}

impl Shared {
    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<CertificateId, LeaseId>> {
        // The map is whole after every step.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that this node serves and answers by that revision.
    pub(super) fn has_followed(&self, revision: u64) {
        self.followed.send_replace(revision);
    }

    /// Has it looked whether there is something to do.
    pub(super) fn wish(&self) {
        self.wish.notify_one();
    }

    /// The dashboard's names, which are the operator's.
    pub(super) fn admin_names(&self) -> Vec<DomainPattern> {
        self.admin_hosts.clone()
    }

    /// The names that apps claim now.
    pub(super) fn claimed_names(&self) -> Vec<DomainPattern> {
        let snapshot = self.snapshot.load();
        let claimed = snapshot.apps().flat_map(|app| app.claims()).cloned();
        claimed.collect()
    }

    /// Whether the name is one of the dashboard's.
    pub(super) fn is_admin(&self, name: &DomainPattern) -> bool {
        self.admin_hosts.contains(name)
    }

    /// Returns once every node answers by that revision, or does not show that it does for too long: an authority that is
    /// then sent to that one is told so by what it finds.
    pub(super) async fn until_answered(&self, revision: u64) -> Result<(), StoreFailure> {
        let mut followed = self.followed.subscribe();
        let here = followed.wait_for(|current| *current >= revision);
        if timeout(self.settings.timing.propagation, here).await.is_err() {
            tracing::warn!("this node does not answer a challenge in time; the authority is let look all the same");
        }
        let deadline = Instant::now() + self.settings.timing.propagation;
        while self.store.is_shared() && Instant::now() < deadline {
            let since = self.clock.now().minus(NODE_GONE);
            if self.store.nodes_behind(self.node, revision, since).await? == 0 {
                break;
            }
            sleep(PROPAGATION_POLL).await;
        }
        Ok(())
    }

    /// Manages a certificate for every claimed name and every admin host, and for nothing else.
    async fn manage_what_is_claimed(self: &Arc<Self>) -> Result<(), StoreFailure> {
        let now = self.clock.now();
        for name in &self.admin_hosts {
            self.store.manage(name, None, source_of(name), Some(now)).await?;
        }
        loop {
            let claims = self.store.unmanaged(CLAIMS_AT_ONCE).await?;
            let some_are_left = claims.len() >= CLAIMS_AT_ONCE as usize;
            for claim in claims {
                self.store.manage(&claim.name, Some(claim.app), source_of(&claim.name), Some(now)).await?;
            }
            if !some_are_left {
                break;
            }
        }
        let orders = self.store.retire_unclaimed(&self.kept()).await?.into_iter().flatten();
        self.clear_beside(orders.flat_map(|order| order.records).collect());
        Ok(())
    }

    /// Takes DNS records away that no order is for any more, beside all else: a hook may take its time, and others have their turn
    /// meanwhile.
    pub(super) fn clear_beside(self: &Arc<Self>, records: Vec<TxtRecord>) {
        if !records.is_empty() {
            let shared = Arc::clone(self);
            self.clearing.spawn(async move { shared.clear_records(records).await });
        }
    }

    /// Takes DNS records away that were set for an authority. One that stays does no harm but clutter.
    pub(super) async fn clear_records(&self, records: Vec<TxtRecord>) {
        let Some(provider) = &self.settings.dns else { return };
        for record in records {
            if let Err(error) = provider.clear(&record).await {
                tracing::warn!(name = record.name, error, "a DNS record that was set for an authority stays");
            }
        }
    }

    /// What has a certificate without a claim.
    fn kept(&self) -> Vec<String> {
        self.admin_hosts.iter().map(DomainPattern::shape_key).collect()
    }
}

/// Gives certificates their turn.
struct Manager {
    shared: Arc<Shared>,
    running: JoinSet<()>,
    ids: HashMap<Id, CertificateId>,
}

impl Manager {
    async fn run(mut self) {
        let poll = self.shared.settings.timing.poll;
        let (mut managed_by, mut told, mut last_look) = (None, false, None);
        loop {
            let version = self.shared.snapshot.load().version();
            let now = self.shared.clock.now();
            let looked = async {
                if last_look.is_none_or(|last| now < last) {
                    // What was scheduled by a clock that stood later would wait for too long.
                    self.shared.store.reschedule(now).await?;
                }
                last_look = Some(now);
                let mut managed = Ok(());
                if managed_by != Some(version) {
                    managed = self.shared.manage_what_is_claimed().await;
                    managed_by = managed.is_ok().then_some(version);
                }
                // A claim that cannot be read keeps nothing else from being renewed.
                self.start_what_is_due().await.and(managed)
            };
            match looked.await {
                Ok(()) => told = false,
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(%error, "certificates wait until the store answers");
                }
                Err(error) => tracing::debug!(%error, "certificates still wait"),
            }
            tokio::select! {
                () = self.shared.wish.notified() => {}
                Some(ended) = self.running.join_next_with_id() => self.end(ended).await,
                () = sleep(poll) => {}
            }
        }
    }

    async fn start_what_is_due(&mut self) -> Result<(), StoreFailure> {
        let timing = &self.shared.settings.timing;
        let free = timing.at_once.saturating_sub(self.running.len());
        if free == 0 {
            return Ok(());
        }
        let mut all_read = Ok(());
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        for id in self.shared.store.due(self.shared.clock.now(), &self.shared.kept(), limit).await? {
            if self.shared.leases().contains_key(&id) {
                // The clock was set forward, so that the lease seems to be over until it is prolonged.
                continue;
            }
            let leased = match self.shared.store.lease(id, timing.lease).await {
                Ok(Some(leased)) => leased,
                Ok(None) => continue,
                Err(error) => {
                    all_read = Err(error);
                    continue;
                }
            };
            self.shared.leases().insert(id, leased.lease);
            let work = Work::new(Arc::clone(&self.shared), leased);
            let task = self.running.spawn(under_lease(work));
            self.ids.insert(task.id(), id);
        }
        all_read
    }

    /// Takes note of the end of a piece of work. One that broke down counts as failed, and has its turn again later.
    async fn end(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, panic) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(id) = self.ids.remove(&task) else { return };
        let lease = self.shared.leases().remove(&id);
        let Some(lease) = lease else { return };
        if let Some(panic) = panic {
            tracing::error!(certificate_id = %id, %panic, "work on a certificate broke down, which is a defect of PiCloud");
            let _ = self.shared.store.release(id, lease).await;
            self.note_breakdown(id).await;
            return;
        }
        // What is not given back ends by itself.
        let _ = self.shared.store.release(id, lease).await;
    }

    async fn note_breakdown(&self, id: CertificateId) {
        let timing = &self.shared.settings.timing;
        let Ok(Some(leased)) = self.shared.store.lease(id, timing.lease).await else { return };
        let lease = leased.lease;
        let mut work = Work::new(Arc::clone(&self.shared), leased);
        let noted = work.fail("the work on it broke down, which is a defect of PiCloud".to_owned(), None).await;
        if let Err(error) = noted {
            tracing::warn!(certificate_id = %id, %error, "the breakdown is not written down");
        }
        let _ = self.shared.store.release(id, lease).await;
    }
}

/// Does the work, and keeps its lease meanwhile. Without the lease it ends: somebody else is at it.
async fn under_lease(mut work: Work) {
    let (shared, id, lease) = (Arc::clone(&work.shared), work.record.id, work.lease);
    let span = shared.settings.timing.lease;
    let kept = async {
        loop {
            sleep(span / 3).await;
            if let Err(SaveError::Lost(lost)) = shared.store.prolong(id, lease, span).await {
                break lost;
            }
        }
    };
    tokio::select! {
        done = work.run() => match done {
            Ok(()) => {}
            Err(SaveError::Lost(lost)) => tracing::info!(certificate_id = %id, %lost, "work on a certificate ended"),
            Err(error) => {
                tracing::warn!(certificate_id = %id, %error, "work on a certificate ended early");
                // What lasts, such as something sealed that does not open, is told and tried less and less often.
                if work.back_off(error.to_string(), None).await.is_err() {
                    // It is due still, and would begin again at once.
                    sleep(STORE_RECOVERS).await;
                }
            }
        },
        lost = kept => tracing::info!(certificate_id = %id, %lost, "work on a certificate ended"),
    }
}

/// What a certificate's place among others depends on: those of admin hosts first, for clients that name no host.
pub(super) fn comes_first(shared: &Shared, names: &[String]) -> bool {
    names.iter().filter_map(|name| name.parse().ok()).any(|name| shared.is_admin(&name))
}
