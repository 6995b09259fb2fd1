//! Leases: a node holds a lock of its own as long as the connection lives on which it commits. Whether it can still commit
//! is then known without any clock.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::error::Problem;
use super::link::Database;
use super::read::get;
use crate::accounts::NodeId;

/// One half of the key of each lease; the node's id is the other one.
const CLASS: i32 = i32::from_be_bytes(*b"pchN");

/// The nodes whose leases are held, and by which of the server's processes. `$1` is [`CLASS`].
pub const HELD: &str = "
    SELECT objid::bigint AS node, pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = $1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

pub fn class() -> i64 {
    CLASS.into()
}

/// Draws an id that no node has had.
pub async fn draw(database: &Database) -> Result<NodeId, Problem> {
    get(&database.query_one("SELECT nextval('node_ids')", &[]).await?, 0)
}

/// Takes the lease of a node, and gives back any other one. An earlier connection of the node may still hold it. It has a
/// moment to come to its end, for it may be about to commit; one of which the server has not noticed that its client is gone
/// is ended then.
pub async fn take(database: &Database, node: NodeId) -> Result<(), Problem> {
    database.batch_execute("SELECT pg_advisory_unlock_all(); SET lock_timeout = '2s'").await?;
    let key = i32::try_from(node).map_err(|_| Problem::Damaged(format!("node {node}")))?;
    let lock = format!("SELECT pg_advisory_lock({CLASS}, {key})");
    let taken = database.batch_execute(&lock).await;
    let is_held = |error: &Error| error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
    if let Err(error) = taken {
        if !is_held(&error) {
            return Err(error.into());
        }
        end_holder(database, node).await?;
        database.batch_execute(&lock).await?;
    }
    Ok(database.batch_execute("SET lock_timeout = '10s'").await?)
}

/// Ends the connection that holds the lease of a node. Returns whether there was one. One that waits for a standby to
/// confirm a commit is left alone: the commit would be seen from then on, and could still be lost.
pub async fn end_holder(database: &Database, node: NodeId) -> Result<bool, Problem> {
    let sql = format!(
        "SELECT pg_terminate_backend(held.pid) FROM ({HELD}) AS held JOIN pg_stat_activity USING (pid)
         WHERE held.node = $2 AND wait_event IS DISTINCT FROM 'SyncRep'"
    );
    Ok(!database.query(&sql, &[&class(), &node]).await?.is_empty())
}
