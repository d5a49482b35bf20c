//! The control plane: the admin API, the services behind it, the repositories (the only SQL of the product) and the
//! publisher that turns committed rows into the snapshot which requests are answered from.
//!
//! It must not know the proxy, and it reaches scripts only through the executor's face.

mod api;
mod app_secrets;
pub mod audit_chain;
pub mod backup;
pub mod certificate_store;
mod dashboard_files;
mod data_audit;
mod data_watch;
pub mod docs;
pub mod doctor;
pub mod events;
pub mod execution_writer;
mod gauge_watch;
mod hex;
mod housekeeping;
pub mod http_client;
pub mod key_rotation;
pub mod kv;
mod manager;
mod nodes;
mod port_failure;
mod publish;
mod purge;
pub mod repo;
pub mod secret;
mod seed;
mod service;
pub mod store;
mod survive;
mod trigger;
pub mod users;
mod without_secrets;

pub use manager::{FirstOwner, Manager, ManagerConfig, Parts, StartError, StoreUnavailable};
pub use nodes::{JoinError, NodeConfig};
pub use publish::PublishTiming;
pub use secret::{NewPassword, WeakPassword};
pub use service::change::AuditedStore;
pub use service::route_url::InvalidBaseUrl;
pub use trigger::cron::CronTicks;

/// The OpenAPI document of the admin API, as it is served.
pub fn openapi_json() -> String {
    api::document().to_pretty_json().expect("the document is made of plain values, which JSON can hold")
}
