//! The manager in this process, as the data plane sees it.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, Response};
use picloud_manager::Manager;
use picloud_proxy::manager_link::{ControlPlane, StoreHealth, StoreUnavailable};
use picloud_shared::app_data::AppData;
use picloud_shared::certificate::CertificateState;
use picloud_shared::id::ScriptId;
use picloud_shared::request::AdminPeer;
use tower::ServiceExt;

/// The manager in this process.
pub struct InProcess {
    manager: Arc<Manager>,
    router: Router,
}

impl InProcess {
    /// Links to a manager.
    pub fn new(manager: Arc<Manager>) -> Self {
        let router = manager.router();
        Self { manager, router }
    }
}

#[async_trait]
impl ControlPlane for InProcess {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let answered: Result<_, Infallible> = self.router.clone().oneshot(request).await;
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
}
