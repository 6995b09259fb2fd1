//! The contacts.

use std::net::SocketAddr;

use rusqlite::params;

use super::super::{Result, parsed, parsed_option};
use super::{ContactId, Journal, Seq};
use crate::protocol::{Name, PublicKey};

/// How far a request for somebody has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Nothing was asked, or it led to a link.
    None,
    /// Discovery has not yet answered.
    Unconfirmed,
    /// Discovery knows both and keeps the request.
    Kept,
}

/// A contact as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRow {
    /// The row.
    pub id: ContactId,
    /// Their name.
    pub name: Name,
    /// The pinned key.
    pub key: Option<PublicKey>,
    /// Another key that discovery has named since.
    pub offered: Option<PublicKey>,
    /// How far our request for them has come.
    pub request: Request,
    /// Whether the user wants nothing from them.
    pub blocked: bool,
    /// Where the last link reached them.
    pub reached: Option<SocketAddr>,
    /// Where discovery last said that they are.
    pub told: Option<SocketAddr>,
    /// All of ours up to here is delivered.
    pub delivered: Seq,
    /// Nothing of ours up to here is sent again. Beyond `delivered` for somebody who does not exist.
    pub base: Seq,
    /// All of theirs up to here was shown.
    pub shown: Seq,
    /// All of theirs up to here has been looked at.
    pub read: Seq,
    /// When this client last knew that they were there, in milliseconds since 1970.
    pub seen: Option<i64>,
    /// The key that the user has compared with them.
    pub verified: Option<PublicKey>,
}

impl ContactRow {
    /// Whether there turned out to be no such user: what was written to them is not sent but given back, and then
    /// they are forgotten.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.key.is_none() && self.base > self.delivered
    }
}

impl Journal {
    /// Every contact, by row.
    ///
    /// # Errors
    /// If SQLite fails or a row is damaged.
    pub fn contacts(&self) -> Result<Vec<ContactRow>> {
        let mut statement = self.prepare_cached(
            "SELECT id, name, key, offered, request, blocked, reached, told, delivered, base, shown, read,
                    seen, verified
             FROM contact ORDER BY id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(ContactRow {
                id: row.get(0)?,
                name: parsed(row, 1)?,
                key: row.get::<_, Option<_>>(2)?.map(PublicKey),
                offered: row.get::<_, Option<_>>(3)?.map(PublicKey),
                request: match row.get(4)? {
                    0 => Request::None,
                    1 => Request::Unconfirmed,
                    2 => Request::Kept,
                    other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
                },
                blocked: row.get(5)?,
                reached: parsed_option(row, 6)?,
                told: parsed_option(row, 7)?,
                delivered: row.get(8)?,
                base: row.get(9)?,
                shown: row.get(10)?,
                read: row.get(11)?,
                seen: row.get(12)?,
                verified: row.get::<_, Option<_>>(13)?.map(PublicKey),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds a contact about whom nothing but the name is known.
    ///
    /// # Errors
    /// If SQLite fails; the name must be new.
    pub fn add_contact(&self, name: &Name) -> Result<ContactRow> {
        self.prepare_cached("INSERT INTO contact (name, request) VALUES (?1, 0)")?
            .execute([name.as_str()])?;
        Ok(ContactRow {
            id: self.last_insert_rowid(),
            name: name.clone(),
            key: None,
            offered: None,
            request: Request::None,
            blocked: false,
            reached: None,
            told: None,
            delivered: 0,
            base: 0,
            shown: 0,
            read: 0,
            seen: None,
            verified: None,
        })
    }

    /// Saves everything about a contact but the name.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn save_contact(&self, contact: &ContactRow) -> Result<()> {
        let request = match contact.request {
            Request::None => 0,
            Request::Unconfirmed => 1,
            Request::Kept => 2,
        };
        self.prepare_cached(
            "UPDATE contact SET key = ?2, offered = ?3, request = ?4, blocked = ?5, reached = ?6, told = ?7,
                                delivered = ?8, base = ?9, shown = ?10, read = ?11, seen = ?12, verified = ?13
             WHERE id = ?1",
        )?
        .execute(params![
            contact.id,
            contact.key.map(|key| key.0),
            contact.offered.map(|key| key.0),
            request,
            contact.blocked,
            contact.reached.map(|address| address.to_string()),
            contact.told.map(|address| address.to_string()),
            contact.delivered,
            contact.base,
            contact.shown,
            contact.read,
            contact.seen,
            contact.verified.map(|key| key.0),
        ])?;
        Ok(())
    }

    /// Removes a contact and all that was said.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn remove_contact(&self, contact: ContactId) -> Result<()> {
        self.remove_said(contact)?;
        for sql in ["DELETE FROM cursor WHERE contact = ?1", "DELETE FROM contact WHERE id = ?1"] {
            self.prepare_cached(sql)?.execute([contact])?;
        }
        Ok(())
    }
}
