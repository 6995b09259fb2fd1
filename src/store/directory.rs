//! What discovery keeps: its key, the users, and how they stand to each other.

use std::ops::Deref;
use std::path::Path;

use rusqlite::params;

use super::{Database, Result, Schema, StoreError, insert_with_secret, keypair, parsed};
use crate::accounts::ledger::{Given, Ledger, Trouble, Turn};
use crate::accounts::{ALONE, Account, Change, NodeId, Registration, Request, Snapshot};
use crate::protocol::PublicKey;
use crate::protocol::rendezvous::Strangers;
use crate::transport::noise::Keypair;

const SCHEMA: Schema = Schema {
    what: "discovery database",
    application_id: i32::from_be_bytes(*b"pchD"),
    // Each user who comes, moves or goes changes a row of about a hundred bytes somewhere in the file, and with it a
    // page goes to the log. With pages of 4 KiB a third fewer registrations were saved in a second.
    page_size: 1024,
    format: 4,
    tables: include_str!("directory.sql"),
    older: &[],
};

/// The open database of a discovery server. Of a database, discovery needs [`open`](Self::open),
/// [`keypair`](Self::keypair), [`load`](Self::load) and [`save`](Self::save).
#[derive(Debug)]
pub struct Directory(Database);

impl Deref for Directory {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Directory {
    /// Opens the directory at `path`, or makes one with a new key.
    pub fn open(path: &Path) -> Result<Self> {
        Database::open(path, &SCHEMA, |connection| insert_key(connection, &Keypair::generate()?)).map(Self)
    }

    /// A directory in memory, for tests.
    pub fn in_memory(keypair: &Keypair) -> Result<Self> {
        Database::in_memory(&SCHEMA, |connection| insert_key(connection, keypair)).map(Self)
    }

    pub fn keypair(&self) -> Result<Keypair> {
        Ok(keypair(self, "server")?)
    }

    pub fn load(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            accounts: self.all(
                "SELECT id, name, key, address, observed, strangers FROM users ORDER BY id",
                [],
                |row| {
                    let (id, name, key) = (row.get(0)?, parsed(row, 1)?, PublicKey(row.get(2)?));
                    let (address, observed) = (parsed(row, 3)?, parsed(row, 4)?);
                    let registration = Registration { address, observed, strangers: strangers(row.get(5)?) };
                    Ok(Account { id, name, key, registration })
                },
            )?,
            connections: self.all("SELECT a, b FROM connections", [], |row| row.try_into())?,
            requests: self.all("SELECT asker, target, typed, asked, told FROM requests", [], |row| {
                let request = Request { typed: row.get(2)?, asked: row.get(3)?, told: row.get(4)? };
                Ok((row.get(0)?, row.get(1)?, request))
            })?,
            refusals: self.all("SELECT refuser, refused, since FROM refusals", [], |row| row.try_into())?,
            released: self.all("SELECT name, key FROM released", [], |row| {
                Ok((parsed(row, 0)?, PublicKey(row.get(1)?)))
            })?,
            ..Snapshot::default()
        })
    }

    /// Saves changes, all of them or none: when this returns, they are on the disk. Nothing is written for none, or for
    /// such as only other nodes would want to know.
    pub fn save(&self, changes: &[Change]) -> Result<()> {
        if !changes.iter().any(Change::is_kept_alone) {
            return Ok(());
        }
        let saved = self.begin().and_then(|()| self.apply(changes)).and_then(|()| self.commit());
        saved.inspect_err(|_| self.rollback())
    }

    /// Writes changes into the transaction that the caller has begun.
    pub fn apply(&self, changes: &[Change]) -> Result<()> {
        changes.iter().try_for_each(|change| self.write(change))
    }

    fn write(&self, change: &Change) -> Result<()> {
        match change {
            Change::AddUser { account: Account { id, name, key, registration }, now, .. } => self.run(
                "INSERT INTO users (id, name, key, address, observed, strangers, registered, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                params![
                    id,
                    name.as_str(),
                    key.0,
                    registration.address.to_string(),
                    registration.observed.to_string(),
                    number(registration.strangers),
                    now
                ],
            ),
            Change::LogIn { user, registration, now, .. } | Change::Move { user, registration, now } => {
                let Registration { address, observed, strangers } = registration;
                self.run(
                    "UPDATE users SET address = ?2, observed = ?3, strangers = ?4, seen = ?5 WHERE id = ?1",
                    params![user, address.to_string(), observed.to_string(), number(*strangers), now],
                )
            }
            Change::LogOut { user, now, .. } => {
                self.run("UPDATE users SET seen = ?2 WHERE id = ?1", params![user, now])
            }
            Change::AddConnection { one, other, now } => self.run(
                "INSERT OR IGNORE INTO connections (a, b, since) VALUES (?1, ?2, ?3)",
                params![one.min(other), one.max(other), now],
            ),
            Change::RemoveConnection { one, other } => self.run(
                "DELETE FROM connections WHERE a = ?1 AND b = ?2",
                params![one.min(other), one.max(other)],
            ),
            Change::SetRequest { asker, target, request: Request { typed, asked, told } } => self.run(
                "INSERT OR REPLACE INTO requests (asker, target, typed, asked, told) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![asker, target, typed, asked, told],
            ),
            Change::RemoveRequest { asker, target } => {
                self.run("DELETE FROM requests WHERE asker = ?1 AND target = ?2", params![asker, target])
            }
            Change::AddRefusal { by, of, now } => self.run(
                "INSERT OR REPLACE INTO refusals (refuser, refused, since) VALUES (?1, ?2, ?3)",
                params![by, of, now],
            ),
            Change::RemoveRefusal { by, of } => {
                self.run("DELETE FROM refusals WHERE refuser = ?1 AND refused = ?2", params![by, of])
            }
            Change::ReleaseName { account: Account { id, name, key, .. }, now } => {
                self.run("DELETE FROM requests WHERE asker = ?1 OR target = ?1", params![id])?;
                self.run("DELETE FROM refusals WHERE refuser = ?1 OR refused = ?1", params![id])?;
                // This reads all connections, five million in a second. Releases are rare, and an index for them would
                // cost every link.
                self.run("DELETE FROM connections WHERE a = ?1 OR b = ?1", params![id])?;
                self.run("DELETE FROM users WHERE id = ?1", params![id])?;
                self.run(
                    "INSERT OR REPLACE INTO released (name, key, freed) VALUES (?1, ?2, ?3)",
                    params![name.as_str(), key.0, now],
                )
            }
            // It is alone: what others would want to know is not kept.
            Change::SetMate { .. }
            | Change::Tell { .. }
            | Change::AddNode { .. }
            | Change::LoseNode { .. }
            | Change::ForgetNode { .. } => Ok(()),
        }
    }
}

/// Nothing but this process changes it, so it is always this node's turn, and there are no others to tell of.
impl Ledger for Directory {
    type Error = StoreError;

    fn join(&mut self) -> Result<NodeId, Trouble<StoreError>> {
        Ok(ALONE)
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<StoreError>> {
        Self::load(self).map_err(trouble)
    }

    fn take(&mut self) -> Result<Vec<Turn>, Trouble<StoreError>> {
        Ok(Vec::new())
    }

    fn give(&mut self, changes: &[Change]) -> Given<StoreError> {
        self.save(changes).map_or_else(|error| Given::Refused(trouble(error)), |()| Given::Saved)
    }

    fn roll_back(&mut self) {}

    fn position(&self) -> i64 {
        0
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<StoreError>> {
        Ok(Vec::new())
    }
}

fn trouble(error: StoreError) -> Trouble<StoreError> {
    if error.is_damage() { Trouble::Unusable(error) } else { Trouble::Down(error) }
}

pub(super) const fn number(strangers: Strangers) -> i64 {
    match strangers {
        Strangers::Open => 0,
        Strangers::Ask => 1,
        Strangers::All => 2,
        Strangers::Closed => 3,
    }
}

/// The database takes no other number.
pub(super) const fn strangers(number: i64) -> Strangers {
    match number {
        0 => Strangers::Open,
        1 => Strangers::Ask,
        2 => Strangers::All,
        _ => Strangers::Closed,
    }
}

fn insert_key(connection: &rusqlite::Connection, keypair: &Keypair) -> Result<()> {
    let sql = "INSERT INTO server (only, secret) VALUES (1, zeroblob(32))";
    insert_with_secret(connection, ("server", sql), [], keypair)
}
