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
    /// Discovery keeps it, and the contact has not answered.
    Kept,
    /// The contact has answered.
    Answered,
    /// The contact has dropped us, or has not answered in time: nothing is asked unless the user does.
    Ended,
}

/// What a user is to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// This user has asked for them or has answered them.
    #[default]
    Contact,
    /// They have asked or connected, and were not answered.
    Stranger,
    /// They were a contact or a stranger, and are not to come back by themselves. Key and cursors are kept.
    Forgotten,
    /// They share a room with this user, and nothing else is known of them. Their key is the one that the room names.
    Member,
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
    pub standing: Standing,
    /// When the user was told of a stranger, in milliseconds since 1970.
    pub told_at: Option<i64>,
    /// The highest version of the protocol that they have used.
    pub version: u8,
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
    /// What of that their client has lost, as it says.
    pub lost: Lost,
}

/// Messages of ours after `after`, up to `to`; none if that is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    pub after: Seq,
    pub to: Seq,
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
    /// Only the name is known.
    pub fn new(id: ContactId, name: Name, standing: Standing) -> Self {
        Self {
            id,
            name,
            identity: Identity { standing, ..Identity::default() },
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
                    shown, read, standing, told_at, version, lost_after, lost_to
             FROM contact ORDER BY id",
            [],
            contact,
        )
    }

    /// Adds a row; the name must be new.
    pub fn add_contact(&self, name: &Name, standing: Standing) -> Result<ContactRow> {
        let sql = "INSERT INTO contact (name, standing) VALUES (?1, ?2)";
        self.run(sql, params![name.as_str(), standing as i64])?;
        Ok(ContactRow::new(self.last_insert_rowid(), name.clone(), standing))
    }

    pub fn save_identity(&self, contact: ContactId, identity: &Identity) -> Result<()> {
        let Identity { key, offered, verified, request, blocked, standing, told_at, version } = identity;
        let bytes = |key: &Option<PublicKey>| key.map(|key| key.0);
        self.run(
            "UPDATE contact SET key = ?2, offered = ?3, verified = ?4, request = ?5, blocked = ?6, standing = ?7,
                    told_at = ?8, version = ?9
             WHERE id = ?1",
            params![
                contact,
                bytes(key),
                bytes(offered),
                bytes(verified),
                *request as i64,
                blocked,
                *standing as i64,
                told_at,
                version,
            ],
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

    pub fn save_outgoing(&self, contact: ContactId, outgoing: &Outgoing) -> Result<()> {
        let Outgoing { delivered, base, lost: Lost { after, to } } = outgoing;
        let sql = "UPDATE contact SET delivered = ?2, base = ?3, lost_after = ?4, lost_to = ?5 WHERE id = ?1";
        self.run(sql, [&contact, delivered, base, after, to])
    }

    pub fn save_reading(&self, contact: ContactId, Reading { shown, read }: &Reading) -> Result<()> {
        self.run("UPDATE contact SET shown = ?2, read = ?3 WHERE id = ?1", [&contact, shown, read])
    }

    /// Removes a contact and all that was said.
    pub fn remove_contact(&self, contact: ContactId) -> Result<()> {
        self.remove_said(contact)?;
        self.run("DELETE FROM cursor WHERE contact = ?1", [contact])?;
        self.run("DELETE FROM missing WHERE contact = ?1", [contact])?;
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
                3 => Request::Answered,
                4 => Request::Ended,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(5, other)),
            },
            blocked: row.get(6)?,
            standing: match row.get(14)? {
                0 => Standing::Contact,
                1 => Standing::Stranger,
                2 => Standing::Forgotten,
                3 => Standing::Member,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(14, other)),
            },
            told_at: row.get(15)?,
            version: row.get(16)?,
        },
        whereabouts: Whereabouts {
            reached: parsed_option(row, 7)?,
            told: parsed_option(row, 8)?,
            seen: row.get(9)?,
        },
        outgoing: Outgoing {
            delivered: row.get(10)?,
            base: row.get(11)?,
            lost: Lost { after: row.get(17)?, to: row.get(18)? },
        },
        reading: Reading { shown: row.get(12)?, read: row.get(13)? },
    })
}
