//! The people the user knows.
//!
//! A contact's row has several owners in the client, each of whom saves its own part of it.

use std::net::SocketAddr;

use rusqlite::{Row, params};

use super::super::{Result, parsed, parsed_option};
use super::{ContactId, Journal, Seq};
use crate::protocol::{Name, PublicKey};

/// How far our request for a contact is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Request {
    #[default]
    None,
    /// Discovery has not yet confirmed it.
    Unconfirmed,
    /// Discovery keeps it.
    Kept,
}

/// Who a contact is, and what the user has decided about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// The pinned key; unknown until discovery has answered the request.
    pub key: Option<PublicKey>,
    /// Another key that discovery has named since, until the user decides.
    pub offered: Option<PublicKey>,
    /// The key that the user has compared with them.
    pub verified: Option<PublicKey>,
    pub request: Request,
    pub blocked: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Where the last link reached them.
    pub reached: Option<SocketAddr>,
    /// Where discovery last said that they are.
    pub told: Option<SocketAddr>,
    /// When they were last linked, or online as discovery says, in milliseconds since 1970.
    pub seen: Option<i64>,
}

/// How far a contact has what we wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// All of ours up to here is delivered.
    pub delivered: Seq,
    /// Nothing of ours up to here is sent again, whatever they say: it went to an earlier key. Beyond `delivered`
    /// with no key known: there is no such user, and it is to be given back.
    pub base: Seq,
}

/// How far the user has what a contact wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// All of theirs up to here was shown.
    pub shown: Seq,
    /// All of theirs up to here was read.
    pub read: Seq,
}

/// A contact as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRow {
    pub id: ContactId,
    pub name: Name,
    pub identity: Identity,
    pub whereabouts: Whereabouts,
    pub outgoing: Outgoing,
    pub reading: Reading,
}

impl ContactRow {
    /// A contact of whom only the name is known.
    pub fn new(id: ContactId, name: Name) -> Self {
        Self {
            id,
            name,
            identity: Identity::default(),
            whereabouts: Whereabouts::default(),
            outgoing: Outgoing::default(),
            reading: Reading::default(),
        }
    }

    /// Whether there turned out to be no such user: what was written to them is not sent but given back, and then
    /// the contact is removed.
    pub fn is_withdrawn(&self) -> bool {
        self.identity.key.is_none() && self.outgoing.base > self.outgoing.delivered
    }
}

impl Journal {
    /// Every contact, in the order in which they were added.
    pub fn contacts(&self) -> Result<Vec<ContactRow>> {
        self.all(
            "SELECT id, name, key, offered, verified, request, blocked, reached, told, seen, delivered, base,
                    shown, read
             FROM contact ORDER BY id",
            [],
            contact,
        )
    }

    /// Adds a contact; the name must be new.
    pub fn add_contact(&self, name: &Name) -> Result<ContactRow> {
        self.run("INSERT INTO contact (name) VALUES (?1)", [name.as_str()])?;
        Ok(ContactRow::new(self.last_insert_rowid(), name.clone()))
    }

    pub fn save_identity(&self, contact: ContactId, identity: &Identity) -> Result<()> {
        let Identity { key, offered, verified, request, blocked } = identity;
        let bytes = |key: &Option<PublicKey>| key.map(|key| key.0);
        let request = match request {
            Request::None => 0,
            Request::Unconfirmed => 1,
            Request::Kept => 2,
        };
        self.run(
            "UPDATE contact SET key = ?2, offered = ?3, verified = ?4, request = ?5, blocked = ?6 WHERE id = ?1",
            params![contact, bytes(key), bytes(offered), bytes(verified), request, blocked],
        )
    }

    pub fn save_whereabouts(&self, contact: ContactId, whereabouts: &Whereabouts) -> Result<()> {
        let Whereabouts { reached, told, seen } = whereabouts;
        let text = |address: &Option<SocketAddr>| address.map(|address| address.to_string());
        self.run(
            "UPDATE contact SET reached = ?2, told = ?3, seen = ?4 WHERE id = ?1",
            params![contact, text(reached), text(told), seen],
        )
    }

    pub fn save_outgoing(&self, contact: ContactId, Outgoing { delivered, base }: &Outgoing) -> Result<()> {
        let sql = "UPDATE contact SET delivered = ?2, base = ?3 WHERE id = ?1";
        self.run(sql, [&contact, delivered, base])
    }

    pub fn save_reading(&self, contact: ContactId, Reading { shown, read }: &Reading) -> Result<()> {
        self.run("UPDATE contact SET shown = ?2, read = ?3 WHERE id = ?1", [&contact, shown, read])
    }

    /// Removes a contact and all that was said.
    pub fn remove_contact(&self, contact: ContactId) -> Result<()> {
        self.remove_said(contact)?;
        self.run("DELETE FROM cursor WHERE contact = ?1", [contact])?;
        self.run("DELETE FROM contact WHERE id = ?1", [contact])
    }
}

fn contact(row: &Row<'_>) -> rusqlite::Result<ContactRow> {
    let key = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<_>>(column)?.map(PublicKey));
    Ok(ContactRow {
        id: row.get(0)?,
        name: parsed(row, 1)?,
        identity: Identity {
            key: key(2)?,
            offered: key(3)?,
            verified: key(4)?,
            request: match row.get(5)? {
                0 => Request::None,
                1 => Request::Unconfirmed,
                2 => Request::Kept,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(5, other)),
            },
            blocked: row.get(6)?,
        },
        whereabouts: Whereabouts {
            reached: parsed_option(row, 7)?,
            told: parsed_option(row, 8)?,
            seen: row.get(9)?,
        },
        outgoing: Outgoing { delivered: row.get(10)?, base: row.get(11)? },
        reading: Reading { shown: row.get(12)?, read: row.get(13)? },
    })
}
