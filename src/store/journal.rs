//! What a client keeps: its account, its contacts, and everything said.

use std::ops::Deref;
use std::path::Path;

use rusqlite::{OptionalExtension, params};

use super::{Database, Result, Schema, insert_with_secret, keypair, parsed};
use crate::protocol::{Name, PublicKey};
use crate::transport::noise::Keypair;

mod contacts;
mod messages;
mod paging;
mod rooms;
mod search;
mod segments;
mod transfer;

pub use contacts::{ContactRow, Identity, Lost, Outgoing, Reading, Request, Standing, Whereabouts};
pub use messages::{Entry, Incoming, MAX_UNKNOWN, Received, Sent, dropped};
pub use rooms::{
    ChainId, ChainRow, NewEntry, RoomId, RoomRow, Said, Standing as EntryStanding, StoredCause,
    StoredSettlement,
};
pub use search::Found;
pub use segments::{SEGMENT, Side, Unsealed};

const SCHEMA: Schema = Schema {
    what: "journal",
    application_id: i32::from_be_bytes(*b"pchJ"),
    page_size: 4096,
    format: 8,
    tables: concat!(include_str!("journal.sql"), include_str!("rooms.sql")),
    older: &[(6, concat!(include_str!("journal_6.sql"), include_str!("rooms.sql")))],
};

/// The row of a contact.
pub type ContactId = i64;
/// Where something is said: with a user, or in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConversationId {
    User(ContactId),
    Room(RoomId),
}
/// A place in the journal, see `journal.sql`.
pub type Seq = i64;
/// The row of one start of this client.
pub type EpochId = i64;

/// The open journal of one account.
#[derive(Debug)]
pub struct Journal(Database);

impl Deref for Journal {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Journal {
    /// Opens the journal of `name` at `path`, or makes one with a new key. The journal of another name is refused as
    /// damaged.
    pub fn open(path: &Path, name: &Name) -> Result<Self> {
        let journal = Self(Database::open(path, &SCHEMA, |connection| {
            insert_identity(connection, name, &Keypair::generate()?)
        })?);
        transfer::check_owner(&journal, path, name)?;
        Ok(journal)
    }

    /// A copy of it in memory, as a backup would be.
    #[cfg(test)]
    pub fn copied(&self, user: &Name, keypair: &Keypair) -> Self {
        let (directory, copy) = (tempfile::tempdir().unwrap(), Self::in_memory(user, keypair).unwrap());
        let path = directory.path().join("backup");
        self.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        copy.execute("ATTACH ?1 AS old", [path.to_str().unwrap()]).unwrap();
        let tables: Vec<String> = copy
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'search*'")
            .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
            .unwrap();
        let copied =
            tables.iter().map(|it| format!("DELETE FROM {it}; INSERT INTO {it} SELECT * FROM old.{it};"));
        let all: String = copied.collect();
        copy.execute_batch(&format!("BEGIN; PRAGMA defer_foreign_keys = ON; {all} COMMIT; DETACH old"))
            .unwrap();
        copy
    }

    /// A journal in memory, for tests.
    pub fn in_memory(name: &Name, keypair: &Keypair) -> Result<Self> {
        Database::in_memory(&SCHEMA, |connection| insert_identity(connection, name, keypair)).map(Self)
    }

    /// Whose journal it is.
    pub fn identity(&self) -> Result<(Name, Keypair)> {
        let name = self.one("SELECT name FROM identity", [], |row| parsed(row, 0))?;
        Ok((name, keypair(self, "identity")?))
    }

    /// The key pinned for the discovery at `endpoint`, and whether the account has been registered there.
    pub fn rendezvous(&self, endpoint: &str) -> Result<Option<(PublicKey, bool)>> {
        let sql = "SELECT key, registered FROM rendezvous WHERE endpoint = ?1";
        Ok(self.one(sql, [endpoint], |row| Ok((PublicKey(row.get(0)?), row.get(1)?))).optional()?)
    }

    /// Whether the account has been registered with any discovery, ever.
    pub fn registered_anywhere(&self) -> Result<bool> {
        Ok(self.one("SELECT EXISTS (SELECT 1 FROM rendezvous WHERE registered)", [], |row| row.get(0))?)
    }

    pub fn pin_rendezvous(&self, endpoint: &str, key: PublicKey) -> Result<()> {
        self.run(
            "INSERT INTO rendezvous (endpoint, key) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET key = excluded.key, registered = 0 WHERE key <> excluded.key",
            params![endpoint, key.0],
        )
    }

    /// Notes that the account is registered with the discovery at `endpoint`.
    pub fn set_registered(&self, endpoint: &str) -> Result<()> {
        self.run("UPDATE rendezvous SET registered = 1 WHERE endpoint = ?1 AND NOT registered", [endpoint])
    }
}

fn insert_identity(connection: &rusqlite::Connection, name: &Name, keypair: &Keypair) -> Result<()> {
    let sql = "INSERT INTO identity (only, name, secret) VALUES (1, ?1, zeroblob(32))";
    insert_with_secret(connection, ("identity", sql), [name.as_str()], keypair)
}

#[cfg(test)]
mod tests;
