//! Up to which revision each node serves and answers.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::NodeId;

use crate::repo::RepoError;
use crate::repo::column::{Count, integer};
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// Where PostgreSQL tells the other nodes that there is something new to serve or answer.
pub(crate) const CHANNEL: &str = "picloud_certificates";

statements! {
    ACKNOWLEDGE = "INSERT INTO certificate_nodes (node_id, revision, seen_at) VALUES ($1, $2, $3) \
        ON CONFLICT (node_id) DO UPDATE SET revision = excluded.revision, seen_at = excluded.seen_at";
    FORGET = "DELETE FROM certificate_nodes WHERE seen_at < $1";
    BEHIND = "SELECT COUNT(*) AS count FROM certificate_nodes WHERE node_id <> $1 AND revision < $2 AND seen_at >= $3";
    TELL_OTHER_NODES = "SELECT 1", "SELECT pg_notify('picloud_certificates', '')";
}

/// Notes that a node serves by that revision, and forgets nodes that were not seen since then.
pub async fn acknowledge(
    conn: &mut Conn,
    node: NodeId,
    revision: u64,
    now: Timestamp,
    gone: Timestamp,
) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(ACKNOWLEDGE.on(db)).bind(node.as_uuid()).bind(integer(revision));
        query.bind(now.as_millis()).execute(&mut *db).await?;
        sqlx::query(FORGET.on(db)).bind(gone.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// How many other nodes, of those seen since then, are behind.
pub async fn behind(conn: &mut Conn, node: NodeId, revision: u64, since: Timestamp) -> Result<u64, RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query_as::<_, Count>(BEHIND.on(db)).bind(node.as_uuid()).bind(integer(revision));
        Ok(query.bind(since.as_millis()).fetch_one(db).await?.count)
    })
}

/// Hints the other nodes at something new, on PostgreSQL; on SQLite there are none.
pub(crate) async fn tell_other_nodes(conn: &mut Conn) -> Result<(), RepoError> {
    on_db!(conn, db => {
        sqlx::query(TELL_OTHER_NODES.on(db)).execute(db).await?;
        Ok(())
    })
}
