//! What is asked of a server before it is used, and what it keeps for all nodes.

use zeroize::Zeroizing;

use super::error::Problem;
use super::link::Database;
use super::read::get;
use crate::accounts::ledger::TurnId;
use crate::transport::noise::Keypair;

/// The first one with all the settings below.
const LEAST_SERVER: u32 = 14;

/// How a connection behaves, whatever the server's configuration says.
///
/// A commit counts once it is on the disk, and on that of a standby where one is waited for. The snapshot of a statement
/// is its own, so that what is read after a lock was waited for is what the last holder left. A session whose client is gone
/// or hangs in its turn soon ends, for it holds up all others. Rows are found by their indexes: plans are made
/// while tables are empty, and kept. Otherwise PostgreSQL would make one for each small turn, which takes longer than the turn.
const SETTINGS: &str = "
    SET search_path = peerchat;
    SET default_transaction_isolation = 'read committed';
    SET default_transaction_read_only = off;
    SET synchronous_commit = on;
    SET statement_timeout = '10s';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '5s';
    SET client_connection_check_interval = '2s';
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 10000;
    SET jit = off;
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off";

/// Prepares a connection that is new.
///
/// # Errors
/// If the server is too old.
pub async fn settle_in(database: &Database) -> Result<(), Problem> {
    let version =
        "SELECT current_setting('server_version'), current_setting('server_version_num')::integer / 10000";
    let row = database.query_one(version, &[]).await?;
    if get::<i32>(&row, 1)?.cast_unsigned() < LEAST_SERVER {
        return Err(Problem::OldServer { found: get(&row, 0)?, least: LEAST_SERVER });
    }
    Ok(database.batch_execute(SETTINGS).await?)
}

/// What asks for the log and can't be made a server that takes changes: a back-up.
const ARCHIVERS: &str = "('pg_basebackup', 'pg_receivewal')";

/// # Errors
/// If a commit could be lost although it was confirmed, because a standby takes over that has not been waited for. One that
/// is not connected may still come back and take over, if there is a slot for it that lasts. Or if that can't be seen.
pub async fn check_replication(database: &Database) -> Result<(), Problem> {
    // The server hides the state from a role without `pg_read_all_stats`.
    let sql = format!(
        "
        WITH sender AS MATERIALIZED (
            SELECT pid, coalesce(application_name, '') NOT IN {ARCHIVERS} AS may_be_standby, state
            FROM pg_stat_replication
            WHERE pid NOT IN (SELECT active_pid FROM pg_replication_slots
                              WHERE slot_type = 'logical' AND active_pid IS NOT NULL))
        SELECT current_setting('synchronous_standby_names') = '',
               EXISTS (SELECT FROM sender WHERE may_be_standby AND state <> 'backup')
               OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary
                          AND (active_pid IS NULL OR active_pid NOT IN (SELECT pid FROM sender))),
               EXISTS (SELECT FROM sender WHERE may_be_standby AND state IS NULL),
               quote_ident(current_user),
               current_setting('fsync') = 'off'"
    );
    let row = database.query_one(&sql, &[]).await?;
    if get(&row, 4)? {
        tracing::warn!("fsync is off in PostgreSQL: what was confirmed is lost if its machine fails");
    }
    match (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?) {
        (true, true, _) => Err(Problem::Asynchronous),
        (true, false, true) => Err(Problem::Hidden { role: get(&row, 3)? }),
        _ => Ok(()),
    }
}

/// The driver keeps what it has read until it is overwritten by something else.
pub async fn keypair(database: &Database) -> Result<Keypair, Problem> {
    let row = database.query_one("SELECT secret FROM ledger", &[]).await?;
    let mut seed = Zeroizing::new([0; 32]);
    let read: &[u8] = get(&row, 0)?;
    let damaged = || Problem::Damaged("there is no secret key".into());
    if read.len() != seed.len() {
        return Err(damaged());
    }
    seed.copy_from_slice(read);
    Keypair::from_secret(&seed).ok_or_else(damaged)
}

pub fn random() -> Result<TurnId, Problem> {
    let mut id = TurnId::default();
    getrandom::fill(&mut id)?;
    Ok(id)
}
