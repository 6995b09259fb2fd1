//! How the schema is made, and brought from one version to the next.
//!
//! Nodes are replaced one by one, so older ones go on beside a newer schema, as long as it says that they may.

use std::cmp::Ordering;

use super::TURN_LOCK;
use super::error::Problem;
use super::link::Database;
use super::read::get;
use super::setup::random;
use crate::accounts::ledger::TurnId;
use crate::transport::noise::Keypair;

/// What `schema.sql` makes, and what the last of the [`STEPS`] leads to.
const FORMAT: i32 = 2;

/// What brings a schema of the format before to this one.
struct Step {
    format: i32,
    /// The oldest format whose discovery may still use the schema afterwards.
    least: i32,
    sql: &'static str,
}

/// One after another. A step that was released stays as it is.
const STEPS: [Step; 1] = [Step { format: 2, least: 2, sql: include_str!("step_2.sql") }];

/// Makes the schema and a key, if there is none. Returns whether it is an older one.
pub async fn make(database: &Database) -> Result<bool, Problem> {
    begin(database).await?;
    let sql = "SELECT to_regclass('peerchat.ledger') IS NOT NULL, to_regnamespace('peerchat') IS NOT NULL";
    let row = database.query_one(sql, &[]).await?;
    if !get(&row, 0)? {
        if !get(&row, 1)? {
            database.batch_execute("CREATE SCHEMA peerchat").await.map_err(Problem::NoSchema)?;
        }
        database.batch_execute(include_str!("schema.sql")).await?;
        let keypair = Keypair::generate()?;
        let least = STEPS.last().map_or(FORMAT, |step| step.least);
        let insert =
            "INSERT INTO ledger (is_only, format, least, secret, last_user_id) VALUES (true, $1, $2, $3, 0)";
        database.execute(insert, &[&FORMAT, &least, &&keypair.secret()[..]]).await?;
        // The turn before the first: also where there is none yet, one ledger is told from another.
        let first = "INSERT INTO turns (n, id, after, node, at, changes) VALUES (0, $1, $2, 0, now(), $3)";
        let no_changes = [0x80_u8];
        database.execute(first, &[&&random()?[..], &&TurnId::default()[..], &&no_changes[..]]).await?;
    }
    let is_older = format(database).await? < FORMAT;
    database.batch_execute("COMMIT").await?;
    Ok(is_older)
}

/// Brings an older schema to what this version uses, at once or not at all. Other nodes wait with their turns meanwhile.
pub async fn migrate(database: &Database) -> Result<(), Problem> {
    begin(database).await?;
    // Another node may be reading everything, or a back-up be made.
    database.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    let found = format(database).await?;
    for Step { format, least, sql } in STEPS.iter().filter(|step| step.format > found) {
        database.batch_execute(sql).await?;
        database.execute("UPDATE ledger SET format = $1, least = $2", &[format, least]).await?;
    }
    database.batch_execute("COMMIT").await?;
    if found < FORMAT {
        tracing::info!(from = found, to = FORMAT, "the schema was brought to the format of this version");
    }
    Ok(())
}

/// # Errors
/// If this version can't use the schema.
pub async fn check(database: &Database) -> Result<(), Problem> {
    let (found, known) = (format(database).await?, FORMAT);
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(Problem::OlderSchema { found, known }),
        Ordering::Greater => {
            let least = get(&database.query_one("SELECT least FROM ledger", &[]).await?, 0)?;
            if least <= known { Ok(()) } else { Err(Problem::NewerSchema { found, least, known }) }
        }
    }
}

async fn begin(database: &Database) -> Result<(), Problem> {
    Ok(database.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({TURN_LOCK})")).await?)
}

async fn format(database: &Database) -> Result<i32, Problem> {
    get(&database.query_one("SELECT format FROM ledger", &[]).await?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_to_the_format_that_is_made() {
        let formats: Vec<_> = STEPS.iter().map(|step| step.format).collect();
        assert_eq!(formats, (2..=FORMAT).collect::<Vec<_>>());
        assert!(STEPS.is_sorted_by_key(|step| step.least));
        assert!(STEPS.iter().all(|step| step.least <= step.format));
    }
}
