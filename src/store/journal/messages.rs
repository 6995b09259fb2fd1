//! What was said: the outbox, what came in, and how far each side has it.

use rusqlite::{CachedStatement, OptionalExtension, Row, params};

use super::super::Result;
use super::segments::Side;
use super::{ContactId, EpochId, Journal, Seq};
use crate::protocol::peer::{Cursor, Kind, MAX_CURSORS, Message};

/// What [`sent`] reads, of one contact (`?1`).
macro_rules! select_sent {
    ($which:literal) => {
        concat!(
            "SELECT seq, epoch, value, kind, written, body FROM sent CROSS JOIN epoch ON epoch.id = epoch
             WHERE contact = ?1 AND seq ",
            $which
        )
    };
}

/// What [`received`] reads, of one contact (`?1`).
macro_rules! select_received {
    ($which:literal) => {
        concat!(
            "SELECT seq, epoch, number, kind, written, arrived, body FROM received
             WHERE contact = ?1 AND seq ",
            $which
        )
    };
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
    /// Where it stands.
    #[must_use]
    pub fn seq(&self) -> Seq {
        match self {
            Self::Sent(sent) => sent.seq,
            Self::Received(received) => received.seq,
        }
    }
}

impl Journal {
    /// The last seq in the journal; 0 if there is none.
    pub fn last_seq(&self) -> Result<Seq> {
        // What was sealed or indexed may have been removed since: its numbers are not given out again, for nobody
        // would look for messages there.
        Ok(self.query_row(
            "SELECT max(
                 coalesce((SELECT max(seq) FROM sent), 0),
                 coalesce((SELECT max(seq) FROM received), 0),
                 coalesce((SELECT max(first) - 1 FROM epoch), 0),
                 (SELECT max(up_to, indexed) FROM sealed))",
            [],
            |row| row.get(0),
        )?)
    }

    /// Adds a start of this client, whose first message will have the seq `first`.
    pub fn add_epoch(&self, value: u64, first: Seq) -> Result<EpochId> {
        self.prepare_cached("INSERT INTO epoch (value, first) VALUES (?1, ?2)")?
            .execute(params![value.cast_signed(), first])?;
        Ok(self.last_insert_rowid())
    }

    /// The row of the start that drew `value`, if it was one of this journal's.
    pub fn epoch(&self, value: u64) -> Result<Option<EpochId>> {
        Ok(self
            .prepare_cached("SELECT id FROM epoch WHERE value = ?1")?
            .query_row([value.cast_signed()], |row| row.get(0))
            .optional()?)
    }

    /// Adds a message of ours to the outbox.
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
            "INSERT INTO sent (seq, contact, epoch, kind, written, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![seq, contact, epoch, kind.0, written, body])?;
        Ok(())
    }

    /// Calls `each` with our messages to `contact` after `after`, oldest first, until it returns `false`.
    pub fn sent_after(
        &self,
        contact: ContactId,
        after: Seq,
        mut each: impl FnMut(Sent) -> bool,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(select_sent!("BETWEEN ?2 AND ?3 ORDER BY seq"))?;
        self.segments_after(contact, Side::Ours, after, |segment| {
            let mut rows = statement.query([contact, segment.first, segment.last])?;
            while let Some(row) = rows.next()? {
                if !each(sent(row)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// How many messages of ours to `contact` come after `after`.
    pub fn count_sent_after(&self, contact: ContactId, after: Seq) -> Result<u64> {
        self.count(
            "SELECT count(*) FROM sent WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            contact,
            Side::Ours,
            after,
            u64::MAX,
        )
    }

    /// How many there are after `after`, by a statement for one segment; not counted much further than `most`.
    fn count(&self, sql: &str, contact: ContactId, side: Side, after: Seq, most: u64) -> Result<u64> {
        let mut count = 0;
        self.segments_after(contact, side, after, |segment| {
            count += match segment.count {
                Some(counted) => counted,
                None => self
                    .prepare_cached(sql)?
                    .query_row([contact, segment.first, segment.last], |row| row.get::<_, i64>(0))?
                    .unsigned_abs(),
            };
            Ok(count < most)
        })?;
        Ok(count.min(most))
    }

    /// Up to which seq `contact` has what we sent, by the cursors that their client lists (the most
    /// recent last).
    ///
    /// Whoever lists nothing has nothing. Whoever lists only epochs that this journal does not know has
    /// more than this journal does, which then was restored from a backup: `None`, and the journal's own
    /// word counts. Messages leave in order, so the latest epoch of ours that is listed covers all before it.
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

    /// Adds a message of theirs, which came in at `arrived`, in milliseconds since 1970.
    pub fn add_received(&self, contact: ContactId, seq: Seq, message: &Message, arrived: i64) -> Result<()> {
        self.incoming()?.add(contact, seq, message, arrived)
    }

    /// To add several messages of theirs.
    pub fn incoming(&self) -> Result<Incoming<'_>> {
        Ok(Incoming(self.prepare_cached(
            "INSERT INTO received (seq, contact, epoch, number, kind, written, arrived, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?))
    }

    /// Calls `each` with their messages after `after`, oldest first, until it returns `false`.
    pub fn received_after(
        &self,
        contact: ContactId,
        after: Seq,
        mut each: impl FnMut(Received) -> bool,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(select_received!("BETWEEN ?2 AND ?3 ORDER BY seq"))?;
        self.segments_after(contact, Side::Theirs, after, |segment| {
            let mut rows = statement.query([contact, segment.first, segment.last])?;
            while let Some(row) = rows.next()? {
                if !each(received(row)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// How many messages of theirs come after `after`, counted no further than `most`.
    pub fn count_received_after(&self, contact: ContactId, after: Seq, most: u64) -> Result<u64> {
        self.count(
            "SELECT count(*) FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            contact,
            Side::Theirs,
            after,
            most,
        )
    }

    /// The seq of the last message of theirs; 0 if there is none.
    pub fn last_received(&self, contact: ContactId) -> Result<Seq> {
        let mut last = None;
        self.segments_back(contact, Side::Theirs, |segment| {
            last = match segment.count {
                Some(_) => Some(segment.last),
                None => self
                    .prepare_cached(
                        "SELECT seq FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1
                         ORDER BY seq DESC LIMIT 1",
                    )?
                    .query_row([contact, segment.first, segment.last], |row| row.get(0))
                    .optional()?,
            };
            Ok(last.is_none())
        })?;
        Ok(last.unwrap_or(0))
    }

    /// The highest number committed of `contact`'s messages of `epoch`; 0 if there is none.
    pub fn cursor(&self, contact: ContactId, epoch: u64) -> Result<u64> {
        let number: Option<i64> = self
            .prepare_cached("SELECT number FROM cursor WHERE contact = ?1 AND epoch = ?2")?
            .query_row(params![contact, epoch.cast_signed()], |row| row.get(0))
            .optional()?;
        Ok(number.map_or(0, i64::cast_unsigned))
    }

    /// Notes that `contact`'s messages are committed up to `cursor`, the last of which has the seq `seq`.
    pub fn set_cursor(&self, contact: ContactId, cursor: Cursor, seq: Seq) -> Result<()> {
        self.prepare_cached(
            "INSERT INTO cursor (contact, epoch, number, seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET number = excluded.number, seq = excluded.seq",
        )?
        .execute(params![contact, cursor.epoch.cast_signed(), cursor.number.cast_signed(), seq])?;
        Ok(())
    }

    /// How far `contact`'s messages are committed, the most recent epochs last, at most [`MAX_CURSORS`].
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
    pub fn history(&self, contact: ContactId, count: u32) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (side, sql) in [
            (Side::Ours, select_sent!("BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4")),
            (Side::Theirs, select_received!("BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4")),
        ] {
            let mut statement = self.prepare_cached(sql)?;
            let mut left = i64::from(count);
            self.segments_back(contact, side, |segment| {
                let mut rows = statement.query([contact, segment.first, segment.last, left])?;
                while let Some(row) = rows.next()? {
                    entries.push(match side {
                        Side::Ours => Entry::Sent(sent(row)?),
                        Side::Theirs => Entry::Received(received(row)?),
                    });
                    left -= 1;
                }
                Ok(left > 0)
            })?;
        }
        entries.sort_by_key(Entry::seq);
        let surplus = entries.len().saturating_sub(count as usize);
        entries.drain(..surplus);
        Ok(entries)
    }

    /// What stands at a place of the conversation with a contact.
    pub(super) fn entry(&self, contact: ContactId, seq: Seq) -> Result<Option<Entry>> {
        let ours = self
            .prepare_cached(select_sent!("= ?2"))?
            .query_row([contact, seq], |row| sent(row).map(Entry::Sent))
            .optional()?;
        if ours.is_some() {
            return Ok(ours);
        }
        Ok(self
            .prepare_cached(select_received!("= ?2"))?
            .query_row([contact, seq], |row| received(row).map(Entry::Received))
            .optional()?)
    }
}

/// Adds messages of theirs: what SQLite has prepared is looked up once for all of them.
pub struct Incoming<'j>(CachedStatement<'j>);

impl Incoming<'_> {
    /// Adds one, which came in at `arrived`, in milliseconds since 1970.
    pub fn add(&mut self, contact: ContactId, seq: Seq, message: &Message, arrived: i64) -> Result<()> {
        self.0.execute(params![
            seq,
            contact,
            message.epoch.cast_signed(),
            message.number.cast_signed(),
            message.kind.0,
            message.sent,
            arrived,
            message.body,
        ])?;
        Ok(())
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
