//! What discovery keeps: its key, the users, who is connected to whom and who has asked for whom.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;

use rusqlite::params;
use zeroize::Zeroizing;

use super::{Database, Result, Schema, StoreError, parsed};
use crate::protocol::{Name, PublicKey};
use crate::transport::noise::Keypair;

const SCHEMA: Schema = Schema {
    what: "discovery database",
    application_id: i32::from_be_bytes(*b"pchD"),
    // Each user who comes, moves or goes changes a row of about a hundred bytes somewhere in the file, and with it a
    // page goes to the log. With pages of 4 KiB a third fewer registrations were saved in a second.
    page_size: 1024,
    migrations: &[include_str!("directory.sql"), include_str!("released.sql")],
};

/// The row of a user.
pub type UserId = i64;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The row.
    pub id: UserId,
    /// The name, for good unless the operator frees it.
    pub name: Name,
    /// The key that the name is bound to.
    pub key: PublicKey,
    /// Where the user was last reachable.
    pub address: SocketAddr,
    /// When the user was last known to be there, in milliseconds since 1970.
    pub seen: i64,
}

/// The open database of a discovery server.
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
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self> {
        Database::open(path, &SCHEMA, |connection| insert_key(connection, &Keypair::generate()?)).map(Self)
    }

    /// A directory in memory, for tests.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn in_memory(keypair: &Keypair) -> Result<Self> {
        Database::in_memory(&SCHEMA, |connection| insert_key(connection, keypair)).map(Self)
    }

    /// The server's key.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn keypair(&self) -> Result<Keypair> {
        let secret = self.query_row("SELECT secret FROM server", [], |row| row.get(0))?;
        Ok(Keypair::from_secret(Zeroizing::new(secret)))
    }

    /// Calls `each` with every user.
    ///
    /// # Errors
    /// If SQLite fails or a row is damaged.
    pub fn users(&self, mut each: impl FnMut(UserRow)) -> Result<()> {
        let mut statement = self.prepare("SELECT id, name, key, address, seen FROM users ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(UserRow {
                id: row.get(0)?,
                name: parsed(row, 1)?,
                key: PublicKey(row.get(2)?),
                address: parsed(row, 3)?,
                seen: row.get(4)?,
            });
        }
        Ok(())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// If SQLite fails; name and key must be new.
    pub fn add_user(&self, name: &Name, key: PublicKey, address: SocketAddr, now: i64) -> Result<UserId> {
        self.prepare_cached(
            "INSERT INTO users (name, key, address, registered, seen) VALUES (?1, ?2, ?3, ?4, ?4)",
        )?
        .execute(params![name.as_str(), key.0, address.to_string(), now])?;
        Ok(self.last_insert_rowid())
    }

    /// Notes where a user is and that the user is there now.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn set_address(&self, user: UserId, address: SocketAddr, now: i64) -> Result<()> {
        self.prepare_cached("UPDATE users SET address = ?2, seen = ?3 WHERE id = ?1")?.execute(params![
            user,
            address.to_string(),
            now
        ])?;
        Ok(())
    }

    /// Notes when a user was last there.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn set_seen(&self, user: UserId, now: i64) -> Result<()> {
        self.prepare_cached("UPDATE users SET seen = ?2 WHERE id = ?1")?.execute(params![user, now])?;
        Ok(())
    }

    /// Calls `each` with every pair of connected users.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn connections(&self, each: impl FnMut(UserId, UserId)) -> Result<()> {
        self.pairs("SELECT a, b FROM connections", each)
    }

    /// Calls `each` with every pending request: who asks, for whom.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn requests(&self, each: impl FnMut(UserId, UserId)) -> Result<()> {
        self.pairs("SELECT asker, target FROM requests", each)
    }

    fn pairs(&self, sql: &str, mut each: impl FnMut(UserId, UserId)) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get(0)?, row.get(1)?);
        }
        Ok(())
    }

    /// Notes that two users have been linked.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn add_connection(&self, one: UserId, other: UserId, now: i64) -> Result<()> {
        self.prepare_cached("INSERT OR IGNORE INTO connections (a, b, since) VALUES (?1, ?2, ?3)")?
            .execute(params![one.min(other), one.max(other), now])?;
        Ok(())
    }

    /// Keeps a request.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn add_request(&self, asker: UserId, target: UserId, now: i64) -> Result<()> {
        self.prepare_cached("INSERT OR IGNORE INTO requests (asker, target, asked) VALUES (?1, ?2, ?3)")?
            .execute(params![asker, target, now])?;
        Ok(())
    }

    /// Forgets a request that is done.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn remove_request(&self, asker: UserId, target: UserId) -> Result<()> {
        self.prepare_cached("DELETE FROM requests WHERE asker = ?1 AND target = ?2")?
            .execute(params![asker, target])?;
        Ok(())
    }

    /// Forgets a user with all requests and connections, and keeps from whom the name was taken.
    ///
    /// Goes through all connections, for a second where there are five million. It is a rare decision, and an
    /// index for it would cost every link.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn release(&self, user: UserId, name: &Name, key: PublicKey, now: i64) -> Result<()> {
        self.execute("DELETE FROM requests WHERE asker = ?1 OR target = ?1", [user])?;
        self.execute("DELETE FROM connections WHERE a = ?1 OR b = ?1", [user])?;
        self.execute("DELETE FROM users WHERE id = ?1", [user])?;
        self.execute(
            "INSERT OR REPLACE INTO released (name, key, freed) VALUES (?1, ?2, ?3)",
            params![name.as_str(), key.0, now],
        )?;
        Ok(())
    }

    /// Calls `each` with every name that was freed, and the key that it was taken from last.
    ///
    /// # Errors
    /// If SQLite fails or a row is damaged.
    pub fn released(&self, mut each: impl FnMut(Name, PublicKey)) -> Result<()> {
        let mut statement = self.prepare("SELECT name, key FROM released")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(parsed(row, 0)?, PublicKey(row.get(1)?));
        }
        Ok(())
    }
}

fn insert_key(connection: &rusqlite::Connection, keypair: &Keypair) -> Result<(), StoreError> {
    connection.execute("INSERT INTO server (only, secret) VALUES (1, ?1)", [keypair.secret()])?;
    Ok(())
}
