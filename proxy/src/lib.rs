//! The data plane: listeners, the request rules, dispatch to scripts, and the hand-over of admin requests.
//!
//! This library owns the hot path from accept to the last byte of the answer. It knows the published snapshot, the
//! executor, and the manager only as a service that answers requests; it never sees the store.

pub mod access_log;
pub mod acme;
pub mod admin_hosts;
pub mod answer;
pub mod client;
pub mod dispatch;
pub mod http;
pub mod io;
pub mod manager_link;
pub mod metrics;
pub mod tls;
pub mod trusted_proxies;
