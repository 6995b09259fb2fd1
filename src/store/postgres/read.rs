//! Turns and everything that is kept, as the database has them.

use std::pin::pin;
use std::str::FromStr;

use futures_util::TryStreamExt;
use minicbor::Decoder;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::Problem;
use super::link::Database;
use crate::accounts::ledger::{Turn, TurnId};
use crate::accounts::{Account, Change, Node, NodeId, Presence, Registration, Request, Snapshot};
use crate::protocol::PublicKey;
use crate::store::directory::strangers;

/// The turn with that number and those after it, the first one without its changes. Each with whether that node is lost,
/// which is null if it is not there.
pub const TURNS: &str = "
    SELECT n, id, after, node, CASE WHEN n > $1 THEN changes END, (SELECT lost FROM nodes WHERE nodes.id = $2)
    FROM turns WHERE n >= $1 ORDER BY n";

/// A turn that has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub number: i64,
    pub id: TurnId,
}

/// The turns after the one that was seen last, if all of them follow each other, and whether the node is lost, if it is
/// there.
pub fn follow(mut last: Mark, rows: &[Row]) -> Result<(Vec<Turn>, Mark, Option<bool>), Problem> {
    let broken = |last: Mark| Problem::Broken(last.number);
    let (first, rows) = rows.split_first().ok_or_else(|| broken(last))?;
    if (get::<i64>(first, 0)?, id(first, 1)?) != (last.number, last.id) {
        return Err(broken(last));
    }
    let mut turns = Vec::with_capacity(rows.len());
    for row in rows {
        let turn = Turn { number: get(row, 0)?, id: id(row, 1)?, node: get(row, 3)?, changes: changes(row)? };
        if (turn.number, id(row, 2)?) != (last.number + 1, last.id) {
            return Err(broken(last));
        }
        last = Mark { number: turn.number, id: turn.id };
        turns.push(turn);
    }
    Ok((turns, last, get(first, 5)?))
}

fn changes(row: &Row) -> Result<Vec<Change>, Problem> {
    let turn = get(row, 0)?;
    let unknown = |why: String| Problem::Unknown { turn, why };
    let bytes: &[u8] = get(row, 4)?;
    let mut decoder = Decoder::new(bytes);
    let changes = decoder.decode().map_err(|error| unknown(error.to_string()))?;
    if decoder.position() == bytes.len() { Ok(changes) } else { Err(unknown("more follows".into())) }
}

/// Reads everything, within the caller's transaction.
pub async fn load(database: &Database) -> Result<(Snapshot, Mark), Problem> {
    let mut all = Snapshot::default();
    let mut last = None;
    each(database, "SELECT n, id FROM turns ORDER BY n DESC LIMIT 1", |row| {
        last = Some(Mark { number: get(row, 0)?, id: id(row, 1)? });
        Ok(())
    })
    .await?;
    let last = last.ok_or_else(|| Problem::Damaged("there is no turn".into()))?;
    each(database, "SELECT last_user_id FROM ledger", |row| {
        all.last_id = get(row, 0)?;
        Ok(())
    })
    .await?;
    each(database, "SELECT id, name, key, address, observed, strangers FROM users", |row| {
        let registration = Registration {
            address: parsed(row, 3)?,
            observed: parsed(row, 4)?,
            strangers: strangers(get::<i16>(row, 5)?.into()),
        };
        all.accounts.push(Account {
            id: get(row, 0)?,
            name: parsed(row, 1)?,
            key: key(row, 2)?,
            registration,
        });
        Ok(())
    })
    .await?;
    // The order of the table is nearly that of the ids, so this costs less than an index would.
    all.accounts.sort_by_key(|account| account.id);
    each(database, "SELECT a, b FROM connections", |row| {
        all.connections.push((get(row, 0)?, get(row, 1)?));
        Ok(())
    })
    .await?;
    each(database, "SELECT asker, target, typed, asked, told FROM requests", |row| {
        let request = Request { typed: get(row, 2)?, asked: get(row, 3)?, told: get(row, 4)? };
        all.requests.push((get(row, 0)?, get(row, 1)?, request));
        Ok(())
    })
    .await?;
    each(database, "SELECT refuser, refused, since FROM refusals", |row| {
        all.refusals.push((get(row, 0)?, get(row, 1)?, get(row, 2)?));
        Ok(())
    })
    .await?;
    each(database, "SELECT name, key FROM released", |row| {
        all.released.push((parsed(row, 0)?, key(row, 1)?));
        Ok(())
    })
    .await?;
    each(database, "SELECT id, name, address, lost, reads FROM nodes ORDER BY id", |row| {
        all.nodes.push(node(row)?);
        Ok(())
    })
    .await?;
    each(database, "SELECT user_id, presence FROM sessions", |row| {
        let presence: Presence =
            minicbor::decode(get(row, 1)?).map_err(|error| Problem::Damaged(error.to_string()))?;
        all.presences.push((get(row, 0)?, presence));
        Ok(())
    })
    .await?;
    each(database, "SELECT user_id, key FROM mates", |row| {
        all.mates.push((get(row, 0)?, key(row, 1)?));
        Ok(())
    })
    .await?;
    Ok((all, last))
}

/// Takes one row after another, so that not all of a large table are in memory twice.
async fn each(
    database: &Database,
    sql: &'static str,
    mut take: impl FnMut(&Row) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let statement = database.prepared(sql).await?;
    let mut rows = pin!(database.query_raw(&statement, std::iter::empty::<i64>()).await?);
    while let Some(row) = rows.try_next().await? {
        take(&row)?;
    }
    Ok(())
}

/// Of a row with id, name, address, whether it is lost and what it reads.
pub fn node(row: &Row) -> Result<Node, Problem> {
    let id: NodeId = get(row, 0)?;
    Ok(Node { id, name: get(row, 1)?, address: parsed(row, 2)?, lost: get(row, 3)?, reads: get(row, 4)? })
}

pub fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Problem> {
    row.try_get(column).map_err(|error| Problem::Damaged(error.to_string()))
}

fn parsed<T: FromStr>(row: &Row, column: usize) -> Result<T, Problem> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| Problem::Damaged(format!("{text:?} can't be what it should be")))
}

fn key(row: &Row, column: usize) -> Result<PublicKey, Problem> {
    PublicKey::from_slice(get(row, column)?).ok_or_else(|| Problem::Damaged("a key is too short".into()))
}

fn id(row: &Row, column: usize) -> Result<TurnId, Problem> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| Problem::Damaged("the id of a turn is too short".into()))
}
