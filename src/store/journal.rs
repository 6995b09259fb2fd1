//! What a client keeps: who it is, whom it knows, and everything said.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;

use rusqlite::{OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::{Database, Result, Schema, StoreError, parsed, parsed_option};
use crate::noise::Keypair;
use crate::protocol::peer::{Cursor, Kind, MAX_CURSORS, Message};
use crate::protocol::{Name, PublicKey};

const SCHEMA: Schema = Schema {
    what: "journal",
    application_id: i32::from_be_bytes(*b"pchJ"),
    migrations: &[include_str!("journal.sql")],
};

/// The row of a contact.
pub type ContactId = i64;
/// A place in the journal, see `journal.sql`.
pub type Seq = i64;
/// The row of one start of this client.
pub type EpochId = i64;

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
    /// Nothing of ours up to here is sent again.
    pub base: Seq,
    /// All of theirs up to here was shown.
    pub shown: Seq,
}

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Where it stands.
    pub seq: Seq,
    /// The start of this client in which it was written.
    pub epoch: EpochId,
    /// As it goes out.
    pub message: Message,
}

/// A message of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it stands.
    pub seq: Seq,
    /// As it came in.
    pub message: Message,
    /// When it came in, in milliseconds since 1970.
    pub arrived: i64,
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// We said it.
    Sent(Sent),
    /// They said it.
    Received(Received),
}

impl Entry {
    fn seq(&self) -> Seq {
        match self {
            Self::Sent(sent) => sent.seq,
            Self::Received(received) => received.seq,
        }
    }
}

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
    /// Opens the journal of `name` at `path`, or makes one with a new key.
    ///
    /// # Errors
    /// See [`StoreError`]; the journal of another name is refused as damaged.
    pub fn open(path: &Path, name: &Name) -> Result<Self> {
        let journal = Self(Database::open(path, &SCHEMA, |connection| {
            insert_identity(connection, name, &Keypair::generate()?)
        })?);
        let wrong = |why| StoreError::Damaged { path: path.to_owned(), what: SCHEMA.what, why };
        let (owner, _) = journal.identity().map_err(|error| match error {
            StoreError::Sqlite(rusqlite::Error::QueryReturnedNoRows) => wrong("it holds no identity".into()),
            other => other,
        })?;
        if owner != *name {
            return Err(wrong(format!("it belongs to {owner}")));
        }
        Ok(journal)
    }

    /// A journal in memory, for tests.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn in_memory(name: &Name, keypair: &Keypair) -> Result<Self> {
        Database::in_memory(&SCHEMA, |connection| insert_identity(connection, name, keypair)).map(Self)
    }

    /// Whose journal it is.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn identity(&self) -> Result<(Name, Keypair)> {
        Ok(self.query_row("SELECT name, secret FROM identity", [], |row| {
            Ok((parsed(row, 0)?, Keypair::from_secret(Zeroizing::new(row.get(1)?))))
        })?)
    }

    /// The key pinned for the discovery at `endpoint`, and whether the account has been registered there.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn rendezvous(&self, endpoint: &str) -> Result<Option<(PublicKey, bool)>> {
        Ok(self
            .prepare_cached("SELECT key, registered FROM rendezvous WHERE endpoint = ?1")?
            .query_row([endpoint], |row| Ok((PublicKey(row.get(0)?), row.get(1)?)))
            .optional()?)
    }

    /// Whether the account has been registered with any discovery, ever.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn registered_anywhere(&self) -> Result<bool> {
        Ok(self
            .query_row("SELECT EXISTS (SELECT 1 FROM rendezvous WHERE registered)", [], |row| row.get(0))?)
    }

    /// Pins `key` for the discovery at `endpoint`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn pin_rendezvous(&self, endpoint: &str, key: PublicKey) -> Result<()> {
        self.prepare_cached(
            "INSERT INTO rendezvous (endpoint, key) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET key = excluded.key, registered = 0 WHERE key <> excluded.key",
        )?
        .execute(params![endpoint, key.0])?;
        Ok(())
    }

    /// Notes that the account is registered with the discovery at `endpoint`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn set_registered(&self, endpoint: &str) -> Result<()> {
        self.prepare_cached("UPDATE rendezvous SET registered = 1 WHERE endpoint = ?1 AND NOT registered")?
            .execute([endpoint])?;
        Ok(())
    }

    /// Every contact, by row.
    ///
    /// # Errors
    /// If SQLite fails or a row is damaged.
    pub fn contacts(&self) -> Result<Vec<ContactRow>> {
        let mut statement = self.prepare_cached(
            "SELECT id, name, key, offered, request, blocked, reached, told, delivered, base, shown
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
                                delivered = ?8, base = ?9, shown = ?10 WHERE id = ?1",
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
        ])?;
        Ok(())
    }

    /// Removes a contact and all that was said.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn remove_contact(&self, contact: ContactId) -> Result<()> {
        for sql in [
            "DELETE FROM sent WHERE contact = ?1",
            "DELETE FROM received WHERE contact = ?1",
            "DELETE FROM cursor WHERE contact = ?1",
            "DELETE FROM contact WHERE id = ?1",
        ] {
            self.prepare_cached(sql)?.execute([contact])?;
        }
        Ok(())
    }

    /// The last seq in the journal; 0 if there is none.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn last_seq(&self) -> Result<Seq> {
        // For each contact the end of two b-trees, however long they are.
        Ok(self.query_row(
            "SELECT max(
                 coalesce((SELECT max((SELECT max(seq) FROM sent WHERE contact = id)) FROM contact), 0),
                 coalesce((SELECT max((SELECT max(seq) FROM received WHERE contact = id)) FROM contact), 0),
                 coalesce((SELECT max(first) - 1 FROM epoch), 0))",
            [],
            |row| row.get(0),
        )?)
    }

    /// Adds a start of this client, whose first message will have the seq `first`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn add_epoch(&self, value: u64, first: Seq) -> Result<EpochId> {
        self.prepare_cached("INSERT INTO epoch (value, first) VALUES (?1, ?2)")?
            .execute(params![value.cast_signed(), first])?;
        Ok(self.last_insert_rowid())
    }

    /// The row of the start that drew `value`, if it was one of this journal's.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn epoch(&self, value: u64) -> Result<Option<EpochId>> {
        Ok(self
            .prepare_cached("SELECT id FROM epoch WHERE value = ?1")?
            .query_row([value.cast_signed()], |row| row.get(0))
            .optional()?)
    }

    /// Adds a message of ours to the outbox.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn add_sent(
        &self,
        contact: ContactId,
        seq: Seq,
        epoch: EpochId,
        kind: Kind,
        written: i64,
        body: &[u8],
    ) -> Result<()> {
        self.prepare_cached(
            "INSERT INTO sent (contact, seq, epoch, kind, written, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![contact, seq, epoch, kind.0, written, body])?;
        Ok(())
    }

    /// Calls `each` with our messages to `contact` after `after`, oldest first, until it returns `false`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn sent_after(
        &self,
        contact: ContactId,
        after: Seq,
        mut each: impl FnMut(Sent) -> bool,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(
            "SELECT seq, epoch, value, kind, written, body FROM sent JOIN epoch ON epoch.id = epoch
             WHERE contact = ?1 AND seq > ?2 ORDER BY seq",
        )?;
        let mut rows = statement.query(params![contact, after])?;
        while let Some(row) = rows.next()? {
            if !each(sent(row)?) {
                break;
            }
        }
        Ok(())
    }

    /// How many messages of ours to `contact` come after `after`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_sent_after(&self, contact: ContactId, after: Seq) -> Result<u64> {
        let count: i64 = self
            .prepare_cached("SELECT count(*) FROM sent WHERE contact = ?1 AND seq > ?2")?
            .query_row(params![contact, after], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Up to which seq `contact` has what we sent, by the cursors that their client lists (the most
    /// recent last).
    ///
    /// Whoever lists nothing has nothing. Whoever lists only epochs that this journal does not know has
    /// more than this journal does, which then was restored from a backup: `None`, and the journal's own
    /// word counts. Messages leave in order, so the latest epoch of ours that is listed covers all before it.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn resume(&self, cursors: &[Cursor]) -> Result<Option<Seq>> {
        if cursors.is_empty() {
            return Ok(Some(0));
        }
        let mut statement = self.prepare_cached(
            "SELECT id, first, (SELECT min(next.first) FROM epoch AS next WHERE next.id > epoch.id) FROM epoch
             WHERE value = ?1",
        )?;
        let mut latest: Option<(EpochId, Seq)> = None;
        for cursor in cursors {
            let found = statement
                .query_row([cursor.epoch.cast_signed()], |row| {
                    Ok((row.get::<_, EpochId>(0)?, row.get::<_, Seq>(1)?, row.get::<_, Option<Seq>>(2)?))
                })
                .optional()?;
            if let Some((id, first, next)) = found
                && latest.is_none_or(|(latest, _)| id > latest)
            {
                // Numbers of that epoch beyond its end here were written by a later state of this journal.
                let end = next.map_or(Seq::MAX, |next| next - 1);
                let number = Seq::try_from(cursor.number).unwrap_or(Seq::MAX);
                latest = Some((id, number.min(end).max(first - 1)));
            }
        }
        Ok(latest.map(|(_, seq)| seq))
    }

    /// Adds a message of theirs.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn add_received(&self, contact: ContactId, received: &Received) -> Result<()> {
        let message = &received.message;
        self.prepare_cached(
            "INSERT INTO received (contact, seq, epoch, number, kind, written, arrived, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            contact,
            received.seq,
            message.epoch.cast_signed(),
            message.number.cast_signed(),
            message.kind.0,
            message.sent,
            received.arrived,
            message.body,
        ])?;
        Ok(())
    }

    /// Calls `each` with their messages after `after`, oldest first, until it returns `false`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn received_after(
        &self,
        contact: ContactId,
        after: Seq,
        mut each: impl FnMut(Received) -> bool,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(
            "SELECT seq, epoch, number, kind, written, arrived, body FROM received
             WHERE contact = ?1 AND seq > ?2 ORDER BY seq",
        )?;
        let mut rows = statement.query(params![contact, after])?;
        while let Some(row) = rows.next()? {
            if !each(received(row)?) {
                break;
            }
        }
        Ok(())
    }

    /// The highest number committed of `contact`'s messages of `epoch`; 0 if there is none.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn cursor(&self, contact: ContactId, epoch: u64) -> Result<u64> {
        let number: Option<i64> = self
            .prepare_cached("SELECT number FROM cursor WHERE contact = ?1 AND epoch = ?2")?
            .query_row(params![contact, epoch.cast_signed()], |row| row.get(0))
            .optional()?;
        Ok(number.map_or(0, i64::cast_unsigned))
    }

    /// Notes that `contact`'s messages are committed up to `cursor`, the last of which has the seq `seq`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn set_cursor(&self, contact: ContactId, cursor: Cursor, seq: Seq) -> Result<()> {
        self.prepare_cached(
            "INSERT INTO cursor (contact, epoch, number, seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET number = excluded.number, seq = excluded.seq",
        )?
        .execute(params![contact, cursor.epoch.cast_signed(), cursor.number.cast_signed(), seq])?;
        Ok(())
    }

    /// How far `contact`'s messages are committed, the most recent epochs last, at most [`MAX_CURSORS`].
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn cursors(&self, contact: ContactId) -> Result<Vec<Cursor>> {
        let mut statement = self.prepare_cached(
            "SELECT epoch, number FROM cursor WHERE contact = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![contact, MAX_CURSORS], |row| {
            Ok(Cursor {
                epoch: row.get::<_, i64>(0)?.cast_unsigned(),
                number: row.get::<_, i64>(1)?.cast_unsigned(),
            })
        })?;
        let mut cursors = rows.collect::<Result<Vec<_>, _>>()?;
        cursors.reverse();
        Ok(cursors)
    }

    /// The last `count` entries of the conversation with `contact`, oldest first.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn history(&self, contact: ContactId, count: u32) -> Result<Vec<Entry>> {
        let mut ours = self.prepare_cached(
            "SELECT seq, epoch, value, kind, written, body FROM sent JOIN epoch ON epoch.id = epoch
             WHERE contact = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let mut theirs = self.prepare_cached(
            "SELECT seq, epoch, number, kind, written, arrived, body FROM received
             WHERE contact = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let mut entries = ours
            .query_map(params![contact, count], |row| sent(row).map(Entry::Sent))?
            .chain(theirs.query_map(params![contact, count], |row| received(row).map(Entry::Received))?)
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(Entry::seq);
        let surplus = entries.len().saturating_sub(count as usize);
        entries.drain(..surplus);
        Ok(entries)
    }
}

fn sent(row: &Row<'_>) -> rusqlite::Result<Sent> {
    let seq: Seq = row.get(0)?;
    Ok(Sent {
        seq,
        epoch: row.get(1)?,
        message: Message {
            epoch: row.get::<_, i64>(2)?.cast_unsigned(),
            number: seq.cast_unsigned(),
            kind: Kind(row.get(3)?),
            sent: row.get(4)?,
            body: row.get(5)?,
        },
    })
}

fn received(row: &Row<'_>) -> rusqlite::Result<Received> {
    Ok(Received {
        seq: row.get(0)?,
        message: Message {
            epoch: row.get::<_, i64>(1)?.cast_unsigned(),
            number: row.get::<_, i64>(2)?.cast_unsigned(),
            kind: Kind(row.get(3)?),
            sent: row.get(4)?,
            body: row.get(6)?,
        },
        arrived: row.get(5)?,
    })
}

fn insert_identity(connection: &rusqlite::Connection, name: &Name, keypair: &Keypair) -> Result<()> {
    connection.execute(
        "INSERT INTO identity (only, name, secret) VALUES (1, ?1, ?2)",
        params![name.as_str(), keypair.secret()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        Journal::in_memory(&"alice".parse().unwrap(), &Keypair::generate().unwrap()).unwrap()
    }

    fn cursor(epoch: u64, number: u64) -> Cursor {
        Cursor { epoch, number }
    }

    #[test]
    fn the_journal_of_somebody_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.journal");
        let key = Journal::open(&path, &"alice".parse().unwrap()).unwrap().identity().unwrap().1.public();
        assert!(matches!(Journal::open(&path, &"bob".parse().unwrap()), Err(StoreError::Damaged { .. })));
        let again = Journal::open(&path, &"alice".parse().unwrap()).unwrap();
        assert_eq!(again.identity().unwrap().1.public(), key);
    }

    #[test]
    fn a_missing_identity_is_an_error_and_not_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.journal");
        let name = "alice".parse().unwrap();
        Journal::open(&path, &name).unwrap().execute("DELETE FROM identity", []).unwrap();
        assert!(matches!(Journal::open(&path, &name), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_contact_reads_back() {
        let journal = journal();
        let mut bob = journal.add_contact(&"bob".parse().unwrap()).unwrap();
        bob.key = Some(PublicKey([7; 32]));
        bob.offered = Some(PublicKey([8; 32]));
        bob.request = Request::Kept;
        bob.blocked = true;
        bob.reached = Some("192.0.2.1:5".parse().unwrap());
        bob.told = Some("[2001:db8::1]:6".parse().unwrap());
        (bob.delivered, bob.base, bob.shown) = (1, 2, 3);
        journal.save_contact(&bob).unwrap();
        assert_eq!(journal.contacts().unwrap(), [bob]);
    }

    #[test]
    fn seqs_go_on_where_the_journal_ends() {
        let journal = journal();
        assert_eq!(journal.last_seq().unwrap(), 0);
        let [bob, carol] =
            ["bob", "carol"].map(|name| journal.add_contact(&name.parse().unwrap()).unwrap().id);
        let epoch = journal.add_epoch(u64::MAX, 1).unwrap();
        journal.add_sent(bob, 1, epoch, Kind::TEXT, 0, b"one").unwrap();
        journal.add_sent(carol, 2, epoch, Kind::TEXT, 0, b"two").unwrap();
        assert_eq!(journal.last_seq().unwrap(), 2);
        // The last ones may be withdrawn; their numbers are not used again.
        journal.remove_contact(carol).unwrap();
        journal.add_epoch(5, 3).unwrap();
        assert_eq!(journal.last_seq().unwrap(), 2);
    }

    #[test]
    fn resumes_where_the_receiver_is() {
        let journal = journal();
        for (epoch, first) in [(10, 1), (20, 51), (30, 71)] {
            journal.add_epoch(epoch, first).unwrap();
        }
        for (cursors, expected) in [
            (vec![], Some(0)),
            (vec![cursor(10, 30)], Some(30)),
            (vec![cursor(10, 50), cursor(20, 60)], Some(60)),
            // Listed in another order than they were written: the latest of ours counts.
            (vec![cursor(20, 60), cursor(10, 50)], Some(60)),
            // They have more of an epoch than this journal wrote before it was restored.
            (vec![cursor(10, 80), cursor(99, 7)], Some(50)),
            (vec![cursor(99, 7)], None),
            (vec![cursor(30, u64::MAX)], Some(Seq::MAX)),
            (vec![cursor(20, 0)], Some(50)),
        ] {
            assert_eq!(journal.resume(&cursors).unwrap(), expected, "{cursors:?}");
        }
    }

    #[test]
    fn cursors_list_the_most_recent_last() {
        let journal = journal();
        let bob = journal.add_contact(&"bob".parse().unwrap()).unwrap().id;
        for epoch in 1..=40 {
            journal.set_cursor(bob, cursor(epoch, epoch * 2), epoch.cast_signed()).unwrap();
        }
        journal.set_cursor(bob, cursor(20, 99), 41).unwrap();
        let cursors = journal.cursors(bob).unwrap();
        assert_eq!(cursors.len(), MAX_CURSORS as usize);
        assert_eq!(cursors.last(), Some(&cursor(20, 99)));
        assert_eq!(journal.cursor(bob, 20).unwrap(), 99);
        assert_eq!(journal.cursor(bob, 41).unwrap(), 0);
    }

    #[test]
    fn a_conversation_stands_in_order() {
        let journal = journal();
        let bob = journal.add_contact(&"bob".parse().unwrap()).unwrap().id;
        let epoch = journal.add_epoch(7, 1).unwrap();
        for seq in 1..=6 {
            if seq % 2 == 1 {
                journal.add_sent(bob, seq, epoch, Kind::TEXT, 0, &[]).unwrap();
            } else {
                let message = Message { epoch: 1, number: 1, kind: Kind(9), sent: 0, body: vec![] };
                journal.add_received(bob, &Received { seq, message, arrived: 5 }).unwrap();
            }
        }
        let seqs = |count| journal.history(bob, count).unwrap().iter().map(Entry::seq).collect::<Vec<_>>();
        assert_eq!(seqs(100), [1, 2, 3, 4, 5, 6]);
        assert_eq!(seqs(3), [4, 5, 6]);
        assert_eq!(journal.count_sent_after(bob, 1).unwrap(), 2);
    }
}
