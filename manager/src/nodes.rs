//! The nodes of an instance: each says of itself that it lives and what it serves, and knows the others by what they say.
//!
//! On PostgreSQL each writes its row every few seconds, and as soon as it serves another version. A store of SQLite has one node,
//! which writes its row when it starts and never again: its card is not worn by it.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Clock;
use picloud_shared::id::NodeId;
use picloud_shared::node::NodeRole;
use picloud_shared::snapshot::SnapshotCell;
use picloud_shared::version;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use crate::repo::nodes::{self, Node, SeenNode};
use crate::repo::{Listed, RepoError};
use crate::store::Store;
use crate::survive::survive;

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(5);

/// How often it looks whether it serves another version, which it says at once.
const LOOK: Duration = Duration::from_secs(1);

/// A node that has said nothing for so long counts as dead: two beats may fail.
const LIVE_FOR: Duration = Duration::from_secs(15);

/// A node that has been dead for so long is forgotten, and sooner where its machine has started another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Beats one soon after the other once the store is back: what is seen by the first is that nobody could say that it lives.
const AFTER_FAILURE: u32 = 5;

/// How long the end of a node waits to say so. Where it is not said, the node counts as live until [`LIVE_FOR`] is over.
const LEAVING: Duration = Duration::from_secs(1);

/// What a node is.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The name of its machine.
    pub name: String,
    /// What it does.
    pub role: NodeRole,
    /// Where it answers edge nodes: host and port.
    pub address: Option<String>,
}

/// Why a node does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A live node speaks otherwise.
    #[error(
        "this version of PiCloud ({}) speaks version {} to other nodes, and node {name} ({product}), which is live, version {wire}: \
         upgrade or stop that one first",
        version::PRODUCT,
        version::WIRE
    )]
    Wire {
        /// The name of its machine.
        name: String,
        /// Its product version.
        product: String,
        /// What it speaks.
        wire: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] RepoError),
}

/// The nodes of the instance, as this one knows them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Nodes(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    snapshot: Arc<SnapshotCell>,
    own: Node,
    /// As they were seen last.
    seen: watch::Sender<Arc<Vec<SeenNode>>>,
}

impl Nodes {
    /// Says that this node is there, unless a live one speaks otherwise.
    pub(crate) async fn join(
        store: Store,
        clock: Arc<dyn Clock>,
        snapshot: Arc<SnapshotCell>,
        NodeConfig { name, role, address }: NodeConfig,
    ) -> Result<Self, JoinError> {
        let now = clock.now();
        let own = Node {
            id: NodeId::generate(now),
            name,
            role,
            product: version::PRODUCT.to_owned(),
            wire: version::WIRE,
            schema_version: store.schema_version(),
            address,
            snapshot_version: 0,
            started_at: now,
            last_seen_at: now,
        };
        let nodes = Self(Arc::new(Inner { store, clock, snapshot, own, seen: watch::Sender::default() }));
        nodes.beat().await?;
        Ok(nodes)
    }

    /// Says that this node lives and what it serves, and looks who else is there.
    async fn beat(&self) -> Result<(), JoinError> {
        let Inner { store, own, seen, .. } = &*self.0;
        let mut tx = store.begin().await?;
        nodes::forget(&mut tx, own.id, &own.name, FORGOTTEN_AFTER).await?;
        let others = readable(nodes::list(&mut tx).await?);
        let is_new = !others.iter().any(|other| other.node.id == own.id);
        // One that has been there all the time does not end because of one that came later.
        if is_new && let Some(other) = others.iter().find(|other| other.is_live && other.node.wire != own.wire) {
            let Node { name, product, wire, .. } = other.node.clone();
            return Err(JoinError::Wire { name, product, wire });
        }
        let now = self.own();
        nodes::beat(&mut tx, &now, LIVE_FOR).await?;
        tx.commit().await?;
        seen.send_replace(Arc::new(with_own(others, now)));
        Ok(())
    }

    /// This node, as it is now.
    fn own(&self) -> Node {
        let Inner { clock, snapshot, own, .. } = &*self.0;
        Node { snapshot_version: snapshot.load().version(), last_seen_at: clock.now(), ..own.clone() }
    }

    /// Goes on saying so, for ever.
    pub(crate) async fn keep_beating(self) {
        if self.0.store.is_sqlite() {
            return;
        }
        let mut turns = interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut beaten): (Option<u64>, Option<Instant>) = (None, None);
        let (mut is_known_to_fail, mut soon) = (false, 0_u32);
        loop {
            turns.tick().await;
            let version = self.0.snapshot.load().version();
            if said == Some(version) && beaten.is_some_and(|at| at.elapsed() < BEAT) {
                continue;
            }
            match survive("saying that this node lives", self.beat()).await {
                Some(Ok(())) => {
                    (said, beaten) = (Some(version), (soon == 0).then(Instant::now));
                    (is_known_to_fail, soon) = (false, soon.saturating_sub(1));
                }
                Some(Err(error)) if !is_known_to_fail => {
                    (is_known_to_fail, soon) = (true, AFTER_FAILURE);
                    warn!(error = &error as &dyn std::error::Error, "other nodes are not told that this one lives");
                }
                _ => debug!("other nodes are still not told that this one lives"),
            }
        }
    }

    /// Says that this node has ended.
    pub(crate) async fn leave(&self) {
        let left = async {
            let mut tx = self.0.store.begin().await?;
            nodes::remove(&mut tx, self.0.own.id).await?;
            tx.commit().await
        };
        // The others notice.
        if !matches!(timeout(LEAVING, left).await, Ok(Ok(()))) {
            debug!("other nodes are not told that this one has ended");
        }
    }

    /// All nodes that there are, and those that were not long ago, as the store knows them now.
    pub(crate) async fn list(&self) -> Result<Vec<SeenNode>, RepoError> {
        let found = readable(nodes::list(&mut self.0.store.read().await?).await?);
        Ok(with_own(found, self.own()))
    }

    /// Which this one is.
    pub(crate) fn id(&self) -> NodeId {
        self.0.own.id
    }

    /// All nodes, as they were seen last.
    pub(crate) fn seen(&self) -> watch::Receiver<Arc<Vec<SeenNode>>> {
        self.0.seen.subscribe()
    }
}

/// A row that cannot be read, perhaps of a newer version, hides no other.
fn readable(rows: Vec<Listed<SeenNode>>) -> Vec<SeenNode> {
    rows.into_iter().filter_map(|row| row.inspect_err(|error| debug!(%error, "a node cannot be read")).ok()).collect()
}

/// This node knows best how it is itself.
fn with_own(mut nodes: Vec<SeenNode>, own: Node) -> Vec<SeenNode> {
    nodes.retain(|seen| seen.node.id != own.id);
    nodes.push(SeenNode { node: own, is_live: true });
    nodes.sort_by_key(|seen| seen.node.id);
    nodes
}
