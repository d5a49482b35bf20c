//! What this node is among others, and where they reach it.

use std::net::SocketAddr;

use anyhow::{bail, ensure};
use picloud_shared::node::NodeRole;

use super::settings::Settings;

/// What this node is among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// What it does.
    pub role: NodeRole,
    /// Where it answers edge nodes.
    pub listen: Option<SocketAddr>,
    /// By which host and port they reach that, where it was set.
    pub address: Option<String>,
}

impl NodeSettings {
    /// What the settings come to.
    ///
    /// # Errors
    /// An edge node without PostgreSQL, or that would answer others; an address that nobody can be reached by.
    pub fn resolve(settings: &Settings) -> anyhow::Result<Self> {
        let role = settings.node_role.unwrap_or_default();
        let listen = settings.node_listen.map(|address| address.0);
        if role == NodeRole::Edge {
            ensure!(
                settings.database_url.is_some(),
                "node_role is edge, which needs a database_url: SQLite has one node alone"
            );
            ensure!(listen.is_none(), "node_listen is for full nodes: an edge node answers no others");
        }
        if listen.is_some() {
            ensure!(settings.database_url.is_some(), "node_listen needs a database_url: SQLite has one node alone");
        }
        if let Some(address) = &settings.node_address {
            ensure!(listen.is_some(), "node_address says how node_listen is reached, which is not set");
            let port =
                address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) || address.contains(char::is_whitespace) {
                bail!("node_address: {address:?} is no host and port, such as node-1.lan:9181");
            }
        }
        Ok(Self { role, listen, address: settings.node_address.clone() })
    }

    /// By which host and port edge nodes reach the address that was taken, on the machine of that name.
    pub fn reached_by(&self, taken: SocketAddr, machine: &str) -> String {
        match &self.address {
            Some(address) => address.clone(),
            None if taken.ip().is_unspecified() => format!("{machine}:{}", taken.port()),
            None => taken.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(role: Option<NodeRole>, listen: Option<&str>, address: Option<&str>) -> Settings {
        Settings {
            node_role: role,
            node_listen: listen.map(|listen| listen.parse().unwrap()),
            node_address: address.map(str::to_owned),
            database_url: Some("postgres://db/picloud".to_owned()),
            ..Settings::default()
        }
    }

    #[test]
    fn what_makes_no_sense_together_is_refused_by_name() {
        let edge = Some(NodeRole::Edge);
        for (settings, named) in [
            (Settings { database_url: None, ..settings(edge, None, None) }, "node_role"),
            (settings(edge, Some(":9181"), None), "node_listen"),
            (Settings { database_url: None, ..settings(None, Some(":9181"), None) }, "node_listen"),
            (settings(None, None, Some("a:1")), "node_address"),
            (settings(None, Some(":9181"), Some("a")), "node_address"),
            (settings(None, Some(":9181"), Some(":1")), "node_address"),
            (settings(None, Some(":9181"), Some("a:0")), "node_address"),
            (settings(None, Some(":9181"), Some("a b:1")), "node_address"),
        ] {
            let error = NodeSettings::resolve(&settings).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
        assert!(NodeSettings::resolve(&settings(edge, None, None)).is_ok());
        assert_eq!(NodeSettings::resolve(&Settings::default()).unwrap().role, NodeRole::Full);
        assert!("none".parse::<super::super::settings::NodeAddress>().is_err());
    }

    #[test]
    fn a_node_is_reached_by_what_was_set_by_its_address_or_by_its_machines_name() {
        let reached = |listen: &str, address| {
            let node = NodeSettings::resolve(&settings(None, Some(listen), address)).unwrap();
            node.reached_by(node.listen.unwrap(), "pi-1")
        };
        assert_eq!(reached(":9181", None), "pi-1:9181");
        assert_eq!(reached("[fd00::1]:9181", None), "[fd00::1]:9181");
        assert_eq!(reached("10.0.0.1:9181", Some("node.example:1")), "node.example:1");
    }
}
