//! Which hosts answer the dashboard and the API.

pub use picloud_shared::admin_hosts::{AdminHosts, HostKind};
