//! The nodes that serve from this store, as each says of itself now and then.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::NodeId;
use picloud_shared::node::NodeRole;

use crate::repo::RepoError;
use crate::repo::column::{Listed, from_row, integer, listed};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// One for each run of the program.
    pub id: NodeId,
    /// The name of its machine.
    pub name: String,
    /// What it does.
    pub role: NodeRole,
    /// Its product version.
    pub product: String,
    /// What it speaks with other nodes.
    pub wire: u32,
    /// The newest migration that it knows.
    pub schema_version: i64,
    /// Where it answers edge nodes.
    pub address: Option<String>,
    /// The version of the configuration that it served when it was last seen.
    pub snapshot_version: u64,
    /// By its own clock.
    pub started_at: Timestamp,
    /// By its own clock.
    pub last_seen_at: Timestamp,
}

from_row!(Node { id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at });

/// A node, and whether it has said something of itself lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    /// The node.
    pub node: Node,
    /// Whether it counts as live.
    pub is_live: bool,
}

impl<'r, R: super::column::StoreRow> sqlx::FromRow<'r, R> for SeenNode
where
    Node: sqlx::FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self { node: Node::from_row(row)?, is_live: row.read::<i64>("is_live")? != 0 })
    }
}

statements! {
    BEAT = "INSERT INTO nodes (id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at, \
        live_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10 + $11) ON CONFLICT (id) DO UPDATE SET \
        snapshot_version = excluded.snapshot_version, last_seen_at = excluded.last_seen_at, live_until = excluded.live_until",
        "INSERT INTO nodes (id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at, \
        live_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint + $11) \
        ON CONFLICT (id) DO UPDATE SET snapshot_version = excluded.snapshot_version, last_seen_at = excluded.last_seen_at, \
        live_until = excluded.live_until";
    // On SQLite there is but one, which knows of itself.
    LIST = "SELECT id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at, \
        0 AS is_live FROM nodes ORDER BY id DESC LIMIT 500",
        "SELECT id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at, \
        (CASE WHEN live_until >= (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint THEN 1 ELSE 0 END)::bigint AS is_live \
        FROM nodes ORDER BY id DESC LIMIT 500";
    FORGET = "DELETE FROM nodes WHERE id <> $1 AND ($2 <> '' OR $3 >= 0)",
        "DELETE FROM nodes WHERE id <> $1 AND live_until < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint \
        - CASE WHEN name = $2 THEN 0 ELSE $3::bigint END";
    REMOVE = "DELETE FROM nodes WHERE id = $1";
}

/// Notes that the node lives, for so long if it says no more.
pub async fn beat(conn: &mut Conn, node: &Node, live_for: Duration) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(BEAT.on(db)).bind(node.id.as_uuid()).bind(&node.name).bind(node.role.as_str());
        let query = query.bind(&node.product).bind(i64::from(node.wire)).bind(node.schema_version).bind(&node.address);
        let query = query.bind(integer(node.snapshot_version)).bind(node.started_at.as_millis());
        query.bind(node.last_seen_at.as_millis()).bind(millis(live_for)).execute(db).await?;
        Ok(())
    })
}

/// The nodes that started last, 500 at most, the last one first.
pub async fn list(conn: &mut Conn) -> Result<Vec<Listed<SeenNode>>, RepoError> {
    let rows = on_db!(conn, db => Ok(sqlx::query_as(LIST.on(db)).fetch_all(db).await?))?;
    Ok(listed(rows))
}

/// Forgets nodes, but this one, that have been dead for so long, and those of its machine that are dead. On SQLite all others: one
/// alone may serve.
pub async fn forget(conn: &mut Conn, own: NodeId, machine: &str, dead_for: Duration) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(FORGET.on(db)).bind(own.as_uuid()).bind(machine);
        query.bind(millis(dead_for)).execute(db).await?;
        Ok(())
    })
}

/// Forgets a node that has ended.
pub async fn remove(conn: &mut Conn, id: NodeId) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(REMOVE.on(db)).bind(id.as_uuid()).execute(db).await?;
        Ok(())
    })
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
