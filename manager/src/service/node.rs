//! The nodes of the instance.

use picloud_shared::id::NodeId;

use crate::nodes::Nodes;
use crate::repo::nodes::SeenNode;
use crate::service::authorize::{Actor, Capability};
use crate::service::error::ServiceError;

pub(crate) struct NodeService {
    nodes: Nodes,
}

impl NodeService {
    pub(crate) fn new(nodes: Nodes) -> Self {
        Self { nodes }
    }

    /// All nodes that there are, and those that were within the last day.
    pub(crate) async fn list(&self, actor: &Actor) -> Result<Vec<SeenNode>, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        Ok(self.nodes.list().await?)
    }

    /// The one that this is.
    pub(crate) fn own(&self) -> NodeId {
        self.nodes.id()
    }
}
