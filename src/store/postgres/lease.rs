//! Leases: a node holds a lock of its own as long as the connection lives on which it commits. Whether it can still commit
//! is then known without any clock.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::error::Problem;
use super::link::Database;
use super::read::get;
use crate::accounts::{ALONE, NodeId};

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

/// Takes the lease of a node that has not been there, and gives back any other one. Its id is drawn at random: of ids that are
/// counted, the last ones are given again after an old back-up was restored, and their first holders may only have hung.
pub async fn draw(database: &Database) -> Result<NodeId, Problem> {
    let is_known = "
        SELECT EXISTS (SELECT FROM nodes WHERE id = $1)
            OR EXISTS (SELECT FROM (SELECT node FROM turns ORDER BY n DESC LIMIT 10000) AS recent WHERE node = $1)";
    let is_known = database.prepared(is_known).await?;
    loop {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)?;
        let key = i32::from_be_bytes(bytes) & i32::MAX;
        let node = NodeId::from(key);
        let take = format!("SELECT pg_advisory_unlock_all(), pg_try_advisory_lock({CLASS}, {key})");
        let is_taken: bool = get(&database.query_one(&take, &[]).await?, 1)?;
        if is_taken && node != ALONE && !get::<bool>(&database.query_one(&is_known, &[&node]).await?, 0)? {
            return Ok(node);
        }
    }
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
