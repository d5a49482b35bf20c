//! Full nodes, as an edge node reaches them: without one, it has no API and no dashboard.

use std::time::Duration;

use picloud_shared::doctor::Check;
use picloud_shared::node::NodeRole;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;

const ABOUT: &str = "nodes";
/// How long connecting may take: as long as an edge node waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Full nodes that are looked at.
const MOST: usize = 20;

pub async fn look(config: &Config, full_nodes: Option<&[String]>) -> Vec<Check> {
    let Some(addresses) = full_nodes.filter(|_| config.node.role == NodeRole::Edge) else { return Vec::new() };
    if addresses.is_empty() {
        let fix = "start a full node with node_listen set (docs/operations/many-nodes.md)";
        return vec![Check::wrong(
            ABOUT,
            "no full node lives that answers edge nodes: API and dashboard are 503 here",
            fix,
        )];
    }
    let mut checks = Vec::new();
    for address in addresses.iter().take(MOST) {
        checks.push(reached(address).await);
    }
    checks
}

async fn reached(address: &str) -> Check {
    let why = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return Check::ok(ABOUT, format!("a full node answers at {address}")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    let fix = "let this machine through to that port there, or set node_address there to what leads to it from here";
    Check::warning(ABOUT, format!("the full node at {address} is not reached: {why}"), fix)
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_full_node_is_reached_or_told_of() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = there.local_addr().unwrap().to_string();
        assert_eq!(reached(&address).await.state, CheckState::Ok);
        drop(there);
        let gone = reached(&address).await;
        assert!(gone.state == CheckState::Warning && gone.fix.unwrap().contains("node_address"), "{}", gone.found);
    }
}
