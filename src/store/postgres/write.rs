//! The statements that write a turn. Each writes all rows of one table that change alike, from one array a column.

use std::future::{Future, poll_fn};
use std::task::Poll;

use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::error::Problem;
use super::fold::{Rows, Step};
use super::link::Database;
use crate::accounts::{Account, Node, NodeId, Presence, Registration, UserId};
use crate::protocol::codec;
use crate::store::directory::number;

/// A statement and its parameters.
pub struct Write<'c> {
    sql: &'static str,
    parameters: Vec<Parameter<'c>>,
}

type Parameter<'c> = Box<dyn ToSql + Sync + 'c>;

/// Why a transaction was not committed.
pub enum Failure {
    /// It was not, for certain.
    Refused(Problem),
    Unsure(Problem),
}

impl<'c> Write<'c> {
    pub fn new<const N: usize>(sql: &'static str, parameters: [Parameter<'c>; N]) -> Self {
        Self { sql, parameters: parameters.into() }
    }

    async fn execute(&self, database: &Database) -> Result<(), Error> {
        let statement = database.prepared(self.sql).await?;
        let parameters: Vec<_> = self.parameters.iter().map(|it| -> &(dyn ToSql + Sync) { &**it }).collect();
        database.execute(&statement, &parameters).await.map(drop)
    }
}

/// Has statements carried out in their order, and ends the transaction. None waits for the answer to the one before: after
/// one that fails, PostgreSQL carries out none, and takes the commit for a rollback.
pub async fn commit(database: &Database, mut writes: Vec<Write<'_>>) -> Result<(), Failure> {
    writes.push(Write::new("COMMIT", []));
    for write in &writes {
        let prepared = database.prepared(write.sql).await;
        prepared.map_err(|error| Failure::Refused(error.into()))?;
    }
    let mut running: Vec<_> = writes.iter().map(|write| Some(Box::pin(write.execute(database)))).collect();
    let commit = running.len() - 1;
    let mut is_commit_sent = false;
    poll_fn(|context| {
        for (place, slot) in running.iter_mut().enumerate() {
            let Some(write) = slot else { continue };
            // The first time sends it, unless it can't be encoded: then the commit must not follow.
            match write.as_mut().poll(context) {
                Poll::Ready(Ok(())) => *slot = None,
                Poll::Ready(Err(error)) => {
                    let is_answer = error.as_db_error().is_some();
                    let is_refused = !is_commit_sent || (is_answer && place < commit);
                    let kind = if is_refused { Failure::Refused } else { Failure::Unsure };
                    return Poll::Ready(Err(kind(error.into())));
                }
                Poll::Pending => is_commit_sent |= place == commit,
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// What steps come to.
pub fn writes<'c>(steps: &[Step<'c>]) -> Vec<Write<'c>> {
    let mut writes = Vec::new();
    for step in steps {
        match step {
            Step::Rows(rows) => write_rows(rows, &mut writes),
            Step::Release { account, now } => release(account, *now, &mut writes),
            Step::AddNode(node) => writes.push(add_node(node)),
            Step::LoseNode(node) => {
                writes.push(Write::new("UPDATE nodes SET lost = true WHERE id = $1", [Box::new(*node)]));
            }
            Step::ForgetNode(node) => forget_node(*node, &mut writes),
        }
    }
    writes
}

macro_rules! column {
    ($rows:expr, $row:pat => $value:expr) => {
        Box::new($rows.iter().map(|$row| $value).collect::<Vec<_>>())
    };
}

fn write_rows<'c>(rows: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    write_users(rows, writes);
    write_sessions(rows, writes);
    write_mates(rows, writes);
    write_connections(rows, writes);
    write_requests(rows, writes);
    write_refusals(rows, writes);
}

fn write_users<'c>(Rows { added, moved, seen, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    if let Some((last, _)) = added.last_key_value() {
        let added: Vec<_> = added.values().collect();
        writes.push(Write::new(
            "INSERT INTO users (id, name, key, address, observed, strangers, registered, seen)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[],
                                  $7::bigint[], $8::bigint[])",
            [
                column!(added, (account, ..) => account.id),
                column!(added, (account, ..) => account.name.as_str()),
                column!(added, (account, ..) => &account.key.0[..]),
                column!(added, (_, registration, _) => registration.address.to_string()),
                column!(added, (_, registration, _) => registration.observed.to_string()),
                column!(added, (_, registration, _) => number(registration.strangers)),
                column!(added, (.., times) => times.registered),
                column!(added, (.., times) => times.seen),
            ],
        ));
        writes.push(Write::new(
            "UPDATE ledger SET last_user_id = $1 WHERE last_user_id < $1",
            [Box::new(*last)],
        ));
    }
    if !moved.is_empty() {
        let moved: Vec<(UserId, Registration, i64)> =
            moved.iter().map(|(user, (registration, now))| (*user, *registration, *now)).collect();
        writes.push(Write::new(
            "UPDATE users SET address = it.address, observed = it.observed, strangers = it.strangers, seen = it.seen
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
                  AS it (id, address, observed, strangers, seen)
             WHERE users.id = it.id",
            [
                column!(moved, (user, ..) => *user),
                column!(moved, (_, registration, _) => registration.address.to_string()),
                column!(moved, (_, registration, _) => registration.observed.to_string()),
                column!(moved, (_, registration, _) => number(registration.strangers)),
                column!(moved, (.., seen) => *seen),
            ],
        ));
    }
    if !seen.is_empty() {
        writes.push(Write::new(
            "UPDATE users SET seen = it.seen FROM unnest($1::bigint[], $2::bigint[]) AS it (id, seen)
             WHERE users.id = it.id",
            [column!(seen, (user, _) => *user), column!(seen, (_, seen) => *seen)],
        ));
    }
}

fn write_sessions<'c>(Rows { ended, sessions, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    if !ended.is_empty() {
        writes.push(Write::new(
            "WITH gone AS (
                 DELETE FROM sessions
                 USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS it (user_id, node, session)
                 WHERE sessions.user_id = it.user_id AND sessions.node = it.node AND sessions.session = it.session
                 RETURNING sessions.user_id)
             DELETE FROM mates USING gone WHERE mates.user_id = gone.user_id",
            [
                column!(ended, (user, ..) => *user),
                column!(ended, (_, node, _) => *node),
                column!(ended, (.., session) => session.cast_signed()),
            ],
        ));
    }
    let (held, over): (Vec<_>, Vec<_>) = sessions.iter().partition(|(_, held)| held.is_some());
    let held: Vec<(UserId, &'c Presence)> =
        held.into_iter().filter_map(|(user, held)| Some((*user, (*held)?))).collect();
    if !held.is_empty() {
        writes.push(Write::new(
            "INSERT INTO sessions (user_id, node, session, presence)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
             ON CONFLICT (user_id) DO UPDATE
             SET node = excluded.node, session = excluded.session, presence = excluded.presence",
            [
                column!(held, (user, _) => *user),
                column!(held, (_, presence) => presence.node),
                column!(held, (_, presence) => presence.session.cast_signed()),
                column!(held, (_, presence) => encoded(*presence)),
            ],
        ));
    }
    if !over.is_empty() {
        writes.push(Write::new(
            "DELETE FROM sessions WHERE user_id = ANY ($1)",
            [column!(over, (user, _) => **user)],
        ));
    }
}

fn write_mates<'c>(Rows { parted, mates, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    if !parted.is_empty() {
        writes
            .push(Write::new("DELETE FROM mates WHERE user_id = ANY ($1)", [column!(parted, user => *user)]));
    }
    let (named, unnamed): (Vec<_>, Vec<_>) = mates.iter().partition(|(_, shares)| **shares);
    for (sql, pairs) in [
        (
            "INSERT INTO mates (user_id, key) SELECT * FROM unnest($1::bigint[], $2::bytea[]) ON CONFLICT DO NOTHING",
            named,
        ),
        (
            "DELETE FROM mates USING unnest($1::bigint[], $2::bytea[]) AS it (user_id, key)
             WHERE mates.user_id = it.user_id AND mates.key = it.key",
            unnamed,
        ),
    ] {
        if !pairs.is_empty() {
            let users = column!(pairs, ((user, _), _) => *user);
            writes.push(Write::new(sql, [users, column!(pairs, ((_, key), _) => key.0.to_vec())]));
        }
    }
}

fn write_connections<'c>(Rows { connections, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    let (added, removed) = split(connections.iter());
    if !added.is_empty() {
        writes.push(Write::new(
            "INSERT INTO connections (a, b, since) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
             ON CONFLICT (a, b) DO UPDATE SET since = excluded.since",
            [
                column!(added, (one, ..) => *one),
                column!(added, (_, other, _) => *other),
                column!(added, (.., since) => *since),
            ],
        ));
    }
    remove(
        "DELETE FROM connections USING unnest($1::bigint[], $2::bigint[]) AS it (a, b)
         WHERE connections.a = it.a AND connections.b = it.b",
        &removed,
        writes,
    );
}

fn write_requests<'c>(Rows { requests, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    let (set, removed) = split(requests.iter());
    if !set.is_empty() {
        writes.push(Write::new(
            "INSERT INTO requests (asker, target, typed, asked, told)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bigint[])
             ON CONFLICT (asker, target) DO UPDATE
             SET typed = excluded.typed, asked = excluded.asked, told = excluded.told",
            [
                column!(set, (asker, ..) => *asker),
                column!(set, (_, target, _) => *target),
                column!(set, (.., request) => request.typed),
                column!(set, (.., request) => request.asked),
                column!(set, (.., request) => request.told),
            ],
        ));
    }
    remove(
        "DELETE FROM requests USING unnest($1::bigint[], $2::bigint[]) AS it (asker, target)
         WHERE requests.asker = it.asker AND requests.target = it.target",
        &removed,
        writes,
    );
}

fn write_refusals<'c>(Rows { refusals, .. }: &Rows<'c>, writes: &mut Vec<Write<'c>>) {
    let (added, removed) = split(refusals.iter());
    if !added.is_empty() {
        writes.push(Write::new(
            "INSERT INTO refusals (refuser, refused, since)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
             ON CONFLICT (refuser, refused) DO UPDATE SET since = excluded.since",
            [
                column!(added, (by, ..) => *by),
                column!(added, (_, of, _) => *of),
                column!(added, (.., since) => *since),
            ],
        ));
    }
    remove(
        "DELETE FROM refusals USING unnest($1::bigint[], $2::bigint[]) AS it (refuser, refused)
         WHERE refusals.refuser = it.refuser AND refusals.refused = it.refused",
        &removed,
        writes,
    );
}

fn remove(sql: &'static str, pairs: &[(UserId, UserId)], writes: &mut Vec<Write<'_>>) {
    if !pairs.is_empty() {
        let (ones, others) = (column!(pairs, (one, _) => *one), column!(pairs, (_, other) => *other));
        writes.push(Write::new(sql, [ones, others]));
    }
}

type Pairs = Vec<(UserId, UserId)>;

/// Those that stay, and those that go.
fn split<'r, T: Copy + 'r>(
    pairs: impl Iterator<Item = (&'r (UserId, UserId), &'r Option<T>)>,
) -> (Vec<(UserId, UserId, T)>, Pairs) {
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for (&(one, other), value) in pairs {
        match value {
            Some(value) => stay.push((one, other, *value)),
            None => go.push((one, other)),
        }
    }
    (stay, go)
}

fn release<'c>(account: &'c Account, now: i64, writes: &mut Vec<Write<'c>>) {
    for sql in [
        "DELETE FROM connections WHERE a = $1",
        "DELETE FROM connections WHERE b = $1",
        "DELETE FROM requests WHERE asker = $1",
        "DELETE FROM requests WHERE target = $1",
        "DELETE FROM refusals WHERE refuser = $1",
        "DELETE FROM refusals WHERE refused = $1",
        "DELETE FROM sessions WHERE user_id = $1",
        "DELETE FROM mates WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        writes.push(Write::new(sql, [Box::new(account.id)]));
    }
    writes.push(Write::new(
        "INSERT INTO released (name, key, freed) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET key = excluded.key, freed = excluded.freed",
        [Box::new(account.name.as_str()), Box::new(&account.key.0[..]), Box::new(now)],
    ));
}

fn add_node(Node { id, name, address, lost, reads }: &Node) -> Write<'_> {
    Write::new(
        "INSERT INTO nodes (id, name, address, lost, reads, beat) VALUES ($1, $2, $3, $4, $5, 0)
         ON CONFLICT (id) DO UPDATE
         SET name = excluded.name, address = excluded.address, lost = excluded.lost, reads = excluded.reads",
        [
            Box::new(*id),
            Box::new(name.as_str()),
            Box::new(address.to_string()),
            Box::new(*lost),
            Box::new(*reads),
        ],
    )
}

fn forget_node(node: NodeId, writes: &mut Vec<Write<'_>>) {
    for sql in [
        "DELETE FROM mates USING sessions WHERE sessions.node = $1 AND mates.user_id = sessions.user_id",
        "DELETE FROM sessions WHERE node = $1",
        "DELETE FROM nodes WHERE id = $1",
    ] {
        writes.push(Write::new(sql, [Box::new(node)]));
    }
}

pub fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(value, &mut bytes);
    bytes
}
