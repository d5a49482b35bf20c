//! `nodes`.

use axum::Json;
use axum::extract::State;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::NodeId;
use picloud_shared::node::NodeRole;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::Caller;
use crate::api::problem::ApiError;
use crate::repo::nodes::{Node, SeenNode};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_nodes))
}

/// What a node does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NodeRoleName {
    /// Everything.
    Full,
    /// It answers requests, and runs scripts and events.
    Edge,
}

/// A node of the instance.
#[derive(Serialize, ToSchema)]
struct NodeView {
    /// One for each run of the program.
    #[schema(value_type = Uuid)]
    id: NodeId,
    /// The name of its machine.
    name: String,
    role: NodeRoleName,
    /// The version of the program.
    product: String,
    /// The version of what it exchanges with other nodes.
    wire: u32,
    /// The newest migration that it knows.
    schema: i64,
    /// Where a full node answers edge nodes, if it does.
    address: Option<String>,
    /// The version of the configuration that it served when it was last seen: nodes should agree.
    snapshot_version: u64,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// By the node's own clock.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// Whether it has said that it lives within the last 15 seconds.
    is_live: bool,
    /// Whether it is the one that answers this call.
    is_this: bool,
}

/// The nodes of the instance.
#[derive(Serialize, ToSchema)]
struct InstanceNodes {
    /// The one that started first before the others, 500 at most. Those that ended without a word stay for a day, or until their machine
    /// has started another.
    nodes: Vec<NodeView>,
}

impl NodeView {
    fn new(SeenNode { node, is_live }: SeenNode, own: NodeId) -> Self {
        let Node { id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at } =
            node;
        let role = match role {
            NodeRole::Full => NodeRoleName::Full,
            NodeRole::Edge => NodeRoleName::Edge,
        };
        Self {
            id,
            name,
            role,
            product,
            wire,
            schema: schema_version,
            address,
            snapshot_version,
            started_at,
            last_seen_at,
            is_live,
            is_this: id == own,
        }
    }
}

/// List the nodes.
///
/// For owners and admins.
#[utoipa::path(get, path = "/nodes", tag = "instance",
    responses((status = 200, description = "The nodes.", body = InstanceNodes)))]
async fn list_nodes(State(state): State<ApiState>, Caller(actor): Caller) -> Result<Json<InstanceNodes>, ApiError> {
    let service = &state.services.nodes;
    let nodes = service.list(&actor).await?;
    Ok(Json(InstanceNodes { nodes: nodes.into_iter().map(|node| NodeView::new(node, service.own())).collect() }))
}
