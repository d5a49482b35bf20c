//! The manager, as the data plane sees it: in this process, but on an edge node for what a full node answers.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, Response};
use picloud_manager::Manager;
use picloud_proxy::manager_link::{ControlPlane, RemoteManager, StoreHealth, StoreUnavailable};
use picloud_shared::app_data::AppData;
use picloud_shared::backups::Backups;
use picloud_shared::certificate::CertificateState;
use picloud_shared::id::ScriptId;
use picloud_shared::node::NodeRole;
use picloud_shared::request::AdminPeer;
use tower::ServiceExt;

/// The manager in this process.
pub struct InProcess {
    manager: Arc<Manager>,
    answering: Answering,
}

/// Who answers for the API and the dashboard.
enum Answering {
    Here(Router),
    Elsewhere(RemoteManager),
}

impl InProcess {
    /// Links to a manager that answers everything.
    pub fn new(manager: Arc<Manager>) -> Self {
        let answering = Answering::Here(manager.router());
        Self { manager, answering }
    }

    /// Links to one of an edge node.
    pub fn of_edge(manager: Arc<Manager>, elsewhere: RemoteManager) -> Self {
        Self { manager, answering: Answering::Elsewhere(elsewhere) }
    }
}

#[async_trait]
impl ControlPlane for InProcess {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let router = match &self.answering {
            Answering::Here(router) => router.clone(),
            Answering::Elsewhere(remote) => return remote.call(request).await,
        };
        let answered: Result<_, Infallible> = router.oneshot(request).await;
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn may_invoke(
        &self,
        headers: &HeaderMap,
        peer: &AdminPeer,
        script: ScriptId,
    ) -> Result<bool, StoreUnavailable> {
        self.manager.may_invoke(headers, peer, script).await.map_err(|_| StoreUnavailable)
    }

    async fn store_health(&self) -> StoreHealth {
        if !self.manager.store_reachable().await {
            StoreHealth::Unreachable
        } else if self.manager.key_replaced().await {
            StoreHealth::KeyReplaced
        } else if !self.manager.store_writable().await {
            StoreHealth::NotWritable
        } else {
            StoreHealth::Reachable
        }
    }

    async fn certificates_by_state(&self) -> Result<Vec<(CertificateState, u64)>, StoreUnavailable> {
        self.manager.certificates_by_state().await.map_err(|_| StoreUnavailable)
    }

    fn records_dropped(&self) -> u64 {
        self.manager.records_dropped()
    }

    fn app_data(&self) -> Arc<AppData> {
        self.manager.app_data()
    }

    fn live_nodes(&self) -> Vec<(NodeRole, usize)> {
        self.manager.live_nodes()
    }

    fn backups(&self) -> Backups {
        self.manager.backups()
    }
}
