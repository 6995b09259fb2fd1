//! What was said: the outbox, what came in, and how far each side has it.

use rusqlite::{CachedStatement, OptionalExtension, Row, params};

use super::super::Result;
use super::segments::{Segment, Side, of_side};
use super::{ContactId, EpochId, Journal, Seq};
use crate::protocol::peer::{Cursor, Kind, MAX_CURSORS, Message};

/// How many stretches of a contact's messages may be missing: one for each time that this journal was restored, say.
const MAX_MISSING: i64 = 64;

/// How many bytes of a body are kept whose kind only a later version knows. Of a longer one only its length is: it
/// can't be read here, and would fill the disk.
pub const MAX_UNKNOWN: usize = 4096;

/// How many bytes of a message of theirs are not kept, if its body is not.
pub fn dropped(message: &Message) -> Option<u64> {
    let length = message.body.len();
    (!message.kind.is_known() && length > MAX_UNKNOWN).then_some(length as u64)
}

/// What [`Sent::read`] and [`Received::read`] read, of what a side said with one contact (`?1`).
macro_rules! select {
    ($side:expr, $which:literal) => {
        match $side {
            Side::Ours => concat!(
                "SELECT seq, value, seq, kind, written, body, epoch, repeats,
                        CASE WHEN repeats IS NOT NULL THEN
                            (SELECT its.value FROM epoch AS its WHERE its.first <= repeats ORDER BY its.id DESC LIMIT 1)
                        END
                 FROM sent CROSS JOIN epoch ON epoch.id = epoch WHERE contact = ?1 AND seq ",
                $which
            ),
            Side::Theirs => concat!(
                "SELECT seq, epoch, number, kind, written, body, arrived, length
                 FROM received WHERE contact = ?1 AND seq ",
                $which
            ),
        }
    };
}

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub seq: Seq,
    /// The start of this client in which it was written.
    pub epoch: EpochId,
    /// As it goes out.
    pub message: Message,
}

impl Sent {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let repeats: (Option<i64>, Option<i64>) = (row.get(7)?, row.get(8)?);
        let original = match repeats {
            (Some(seq), Some(epoch)) => {
                Some(Cursor { epoch: epoch.cast_unsigned(), number: seq.cast_unsigned() })
            }
            _ => None,
        };
        Ok(Self { seq: row.get(0)?, epoch: row.get(6)?, message: Message { original, ..message(row)? } })
    }
}

/// A message of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub seq: Seq,
    /// As it came in.
    pub message: Message,
    /// In milliseconds since 1970.
    pub arrived: i64,
    /// How many bytes its body had, if that was not kept: see [`MAX_UNKNOWN`].
    pub dropped: Option<u64>,
}

impl Received {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let dropped = row.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs);
        Ok(Self { seq: row.get(0)?, message: message(row)?, arrived: row.get(6)?, dropped })
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        epoch: row.get::<_, i64>(1)?.cast_unsigned(),
        number: row.get::<_, i64>(2)?.cast_unsigned(),
        kind: Kind(row.get(3)?),
        sent: row.get(4)?,
        body: row.get(5)?,
        original: None,
    })
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Sent(Sent),
    Received(Received),
}

impl Entry {
    pub fn seq(&self) -> Seq {
        match self {
            Self::Sent(sent) => sent.seq,
            Self::Received(received) => received.seq,
        }
    }

    fn read(side: Side, row: &Row<'_>) -> rusqlite::Result<Self> {
        match side {
            Side::Ours => Sent::read(row).map(Self::Sent),
            Side::Theirs => Received::read(row).map(Self::Received),
        }
    }
}

impl Journal {
    /// The last seq in the journal; 0 if there is none.
    pub fn last_seq(&self) -> Result<Seq> {
        // What was sealed, indexed, delivered or received may have been removed since: its numbers are not given out
        // again, for messages there would not be looked for, or would count as delivered.
        Ok(self.one(
            "SELECT max(
                 coalesce((SELECT max(seq) FROM sent), 0),
                 coalesce((SELECT max(seq) FROM received), 0),
                 coalesce((SELECT max(seq) FROM room_entry), 0),
                 coalesce((SELECT max(shown) FROM room), 0),
                 coalesce((SELECT max(first) - 1 FROM epoch), 0),
                 coalesce((SELECT max(delivered) FROM contact), 0),
                 coalesce((SELECT max(seq) FROM cursor), 0),
                 (SELECT max(up_to, indexed) FROM sealed))",
            [],
            |row| row.get(0),
        )?)
    }

    /// Adds a start of this client, whose first message will have the seq `first`.
    pub fn add_epoch(&self, value: u64, first: Seq) -> Result<EpochId> {
        self.run("INSERT INTO epoch (value, first) VALUES (?1, ?2)", [value.cast_signed(), first])?;
        Ok(self.last_insert_rowid())
    }

    /// The row of the start that drew `value`, if it was one of this journal's.
    pub fn epoch(&self, value: u64) -> Result<Option<EpochId>> {
        let sql = "SELECT id FROM epoch WHERE value = ?1";
        Ok(self.one(sql, [value.cast_signed()], |row| row.get(0)).optional()?)
    }

    /// The name for ever of the message of ours that stands at `seq`, or stood there.
    pub fn cursor_at(&self, seq: Seq) -> Result<Option<Cursor>> {
        let sql = "SELECT value FROM epoch WHERE first <= ?1 ORDER BY id DESC LIMIT 1";
        let epoch: Option<i64> = self.one(sql, [seq], |row| row.get(0)).optional()?;
        Ok(epoch.map(|epoch| Cursor { epoch: epoch.cast_unsigned(), number: seq.cast_unsigned() }))
    }

    pub fn add_sent(
        &self,
        contact: ContactId,
        seq: Seq,
        epoch: EpochId,
        kind: Kind,
        written: i64,
        body: &[u8],
    ) -> Result<()> {
        self.run(
            "INSERT INTO sent (seq, contact, epoch, kind, written, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![seq, contact, epoch, kind.0, written, body],
        )
    }

    /// Adds the message that stands at `original` once more, as one that the contact has lost. Returns how many bytes its
    /// body has.
    pub fn repeat_sent(&self, seq: Seq, epoch: EpochId, original: Seq) -> Result<u64> {
        Ok(self.one(
            "INSERT INTO sent (seq, contact, epoch, kind, written, body, repeats)
             SELECT ?1, contact, ?2, kind, written, body, coalesce(repeats, seq) FROM sent WHERE seq = ?3
             RETURNING length(body)",
            [seq, epoch, original],
            |row| row.get(0).map(i64::unsigned_abs),
        )?)
    }

    /// Calls `each` with our messages to `contact` after `after`, oldest first, until it returns `false`.
    pub fn sent_after(&self, contact: ContactId, after: Seq, each: impl FnMut(Sent) -> bool) -> Result<()> {
        self.read_after(contact, Side::Ours, after, Sent::read, each)
    }

    /// Calls `each` with their messages after `after`, oldest first, until it returns `false`.
    pub fn received_after(
        &self,
        contact: ContactId,
        after: Seq,
        each: impl FnMut(Received) -> bool,
    ) -> Result<()> {
        self.read_after(contact, Side::Theirs, after, Received::read, each)
    }

    fn read_after<T>(
        &self,
        contact: ContactId,
        side: Side,
        after: Seq,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
        mut each: impl FnMut(T) -> bool,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(select!(side, "BETWEEN ?2 AND ?3 ORDER BY seq"))?;
        self.segments_after(contact, side, after, |segment| {
            let mut rows = statement.query([contact, segment.first, segment.last])?;
            while let Some(row) = rows.next()? {
                if !each(read(row)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// How many messages of ours to `contact` come after `after`.
    pub fn count_sent_after(&self, contact: ContactId, after: Seq) -> Result<u64> {
        self.count_after(contact, Side::Ours, after, u64::MAX)
    }

    /// How many messages of theirs come after `after`, counted no further than `most`.
    pub fn count_received_after(&self, contact: ContactId, after: Seq, most: u64) -> Result<u64> {
        self.count_after(contact, Side::Theirs, after, most)
    }

    fn count_after(&self, contact: ContactId, side: Side, after: Seq, most: u64) -> Result<u64> {
        let sql = of_side!(side, "SELECT count(*) FROM", "WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1");
        let mut count = 0;
        self.segments_after(contact, side, after, |Segment { first, last, count: counted }| {
            count += match counted {
                Some(counted) => counted,
                None => self.one(sql, [contact, first, last], |row| row.get::<_, i64>(0))?.unsigned_abs(),
            };
            Ok(count < most)
        })?;
        Ok(count.min(most))
    }

    /// Up to which seq `contact` has what we sent, by the cursors that their client lists (the most
    /// recent last).
    ///
    /// A client that lists nothing has nothing. One that lists only epochs that this journal does not know has
    /// more than this journal does, which then was restored from a backup: `None`, and the journal's own
    /// word counts. Messages leave in order, so the latest epoch of ours that is listed covers all before it.
    pub fn resume(&self, cursors: &[Cursor]) -> Result<Option<Seq>> {
        if cursors.is_empty() {
            return Ok(Some(0));
        }
        let sql = "SELECT id, first, (SELECT min(next.first) FROM epoch AS next WHERE next.id > epoch.id) FROM epoch
                   WHERE value = ?1";
        let mut latest: Option<(EpochId, Seq)> = None;
        for cursor in cursors {
            let found: Option<(EpochId, Seq, Option<Seq>)> =
                self.one(sql, [cursor.epoch.cast_signed()], |row| row.try_into()).optional()?;
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

    /// Notes that `contact` does not send by itself what comes after `after`, up to `up_to`. Returns `false` if there are
    /// too many such notes.
    pub fn add_missing(&self, contact: ContactId, epoch: u64, after: u64, up_to: u64) -> Result<bool> {
        let sql = "SELECT count(*) < ?2 FROM missing WHERE contact = ?1";
        let room: bool = self.one(sql, [contact, MAX_MISSING], |row| row.get(0))?;
        if room {
            self.run(
                "INSERT OR REPLACE INTO missing (contact, epoch, after, up_to) VALUES (?1, ?2, ?3, ?4)",
                [contact, epoch.cast_signed(), after.cast_signed(), up_to.cast_signed()],
            )?;
        }
        Ok(room)
    }

    /// Whether there is such a note about messages of `contact` that were written in this epoch.
    pub fn misses(&self, contact: ContactId, epoch: u64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM missing WHERE contact = ?1 AND epoch = ?2)";
        Ok(self.one(sql, [contact, epoch.cast_signed()], |row| row.get(0))?)
    }

    /// Whether a message of `contact` is missing here, by those notes. It is not from now on, nor is any before it.
    pub fn take_missing(&self, contact: ContactId, Cursor { epoch, number }: Cursor) -> Result<bool> {
        let place = [contact, epoch.cast_signed(), number.cast_signed()];
        let sql =
            "UPDATE missing SET after = ?3 WHERE contact = ?1 AND epoch = ?2 AND after < ?3 AND up_to >= ?3";
        if self.prepare_cached(sql)?.execute(place)? == 0 {
            return Ok(false);
        }
        self.run("DELETE FROM missing WHERE contact = ?1 AND epoch = ?2 AND up_to = ?3", place)?;
        Ok(true)
    }

    /// How many messages of theirs there are, and how many bytes their bodies have. Reads all of them.
    pub fn received_size(&self, contact: ContactId) -> Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1";
        let (mut messages, mut bytes) = (0, 0);
        self.segments_after(contact, Side::Theirs, 0, |Segment { first, last, .. }| {
            let (more, size): (i64, i64) = self.one(sql, [contact, first, last], |row| row.try_into())?;
            messages += more.unsigned_abs();
            bytes += size.unsigned_abs();
            Ok(true)
        })?;
        Ok((messages, bytes))
    }

    /// Adds a message of theirs, which came in at `arrived`, in milliseconds since 1970.
    pub fn add_received(&self, contact: ContactId, seq: Seq, message: &Message, arrived: i64) -> Result<()> {
        self.incoming()?.add(contact, seq, message, arrived).map(drop)
    }

    /// To add several messages of theirs.
    pub fn incoming(&self) -> Result<Incoming<'_>> {
        Ok(Incoming(self.prepare_cached(
            "INSERT INTO received (seq, contact, epoch, number, kind, written, arrived, body, length)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?))
    }

    /// The seq of the last message of theirs; 0 if there is none.
    pub fn last_received(&self, contact: ContactId) -> Result<Seq> {
        let mut last = None;
        self.segments_back(contact, Side::Theirs, |segment| {
            last = match segment.count {
                Some(_) => Some(segment.last),
                None => self.one(
                    "SELECT max(seq) FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
                    [contact, segment.first, segment.last],
                    |row| row.get(0),
                )?,
            };
            Ok(last.is_none())
        })?;
        Ok(last.unwrap_or(0))
    }

    /// The highest number committed of `contact`'s messages of `epoch`; 0 if there is none.
    pub fn cursor(&self, contact: ContactId, epoch: u64) -> Result<u64> {
        let sql = "SELECT number FROM cursor WHERE contact = ?1 AND epoch = ?2";
        let number = self.one(sql, [contact, epoch.cast_signed()], |row| row.get(0)).optional()?;
        Ok(number.map_or(0, i64::cast_unsigned))
    }

    /// Notes that `contact`'s messages are committed up to `cursor`, the last of which has the seq `seq`.
    pub fn set_cursor(&self, contact: ContactId, cursor: Cursor, seq: Seq) -> Result<()> {
        self.run(
            "INSERT INTO cursor (contact, epoch, number, seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET number = excluded.number, seq = excluded.seq",
            [contact, cursor.epoch.cast_signed(), cursor.number.cast_signed(), seq],
        )
    }

    /// How far `contact`'s messages are committed, the most recent epochs last, at most [`MAX_CURSORS`].
    pub fn cursors(&self, contact: ContactId) -> Result<Vec<Cursor>> {
        let mut cursors = self.all(
            "SELECT epoch, number FROM cursor WHERE contact = ?1 ORDER BY seq DESC LIMIT ?2",
            params![contact, MAX_CURSORS],
            |row| {
                let (epoch, number): (i64, i64) = row.try_into()?;
                Ok(Cursor { epoch: epoch.cast_unsigned(), number: number.cast_unsigned() })
            },
        )?;
        cursors.reverse();
        Ok(cursors)
    }

    /// The last `count` entries of the conversation with `contact`, oldest first.
    pub fn history(&self, contact: ContactId, count: u32) -> Result<Vec<Entry>> {
        self.history_before(contact, count, Seq::MAX)
    }

    /// The same of what stands before a place in the journal.
    pub fn history_before(&self, contact: ContactId, count: u32, before: Seq) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for side in [Side::Ours, Side::Theirs] {
            let sql = match side {
                // What was sent again stands where it was said first.
                Side::Ours => {
                    select!(Side::Ours, "BETWEEN ?2 AND ?3 AND repeats IS NULL ORDER BY seq DESC LIMIT ?4")
                }
                Side::Theirs => select!(Side::Theirs, "BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4"),
            };
            let mut statement = self.prepare_cached(sql)?;
            let mut left = i64::from(count);
            self.segments_back(contact, side, |segment| {
                let last = segment.last.min(before.saturating_sub(1));
                let mut rows = statement.query([contact, segment.first, last, left])?;
                while let Some(row) = rows.next()? {
                    entries.push(Entry::read(side, row)?);
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

    /// The first `count` entries of the conversation with a contact after `after`, oldest first.
    pub fn history_after(&self, contact: ContactId, count: u32, after: Seq) -> Result<Vec<Entry>> {
        let most = count as usize;
        let (mut entries, mut theirs) = (Vec::new(), Vec::new());
        if most == 0 {
            return Ok(entries);
        }
        self.sent_after(contact, after, |sent| {
            // What was sent again stands where it was said first.
            if sent.message.original.is_none() {
                entries.push(Entry::Sent(sent));
            }
            entries.len() < most
        })?;
        self.received_after(contact, after, |received| {
            theirs.push(Entry::Received(received));
            theirs.len() < most
        })?;
        entries.append(&mut theirs);
        entries.sort_by_key(Entry::seq);
        entries.truncate(most);
        Ok(entries)
    }

    /// What stands at a place of the conversation with a contact.
    pub(super) fn entry(&self, contact: ContactId, seq: Seq) -> Result<Option<Entry>> {
        for side in [Side::Ours, Side::Theirs] {
            let found =
                self.one(select!(side, "= ?2"), [contact, seq], |row| Entry::read(side, row)).optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Adds messages of theirs: what SQLite has prepared is looked up once for all of them.
pub struct Incoming<'j>(CachedStatement<'j>);

impl Incoming<'_> {
    /// Adds one, which came in at `arrived`, in milliseconds since 1970. Returns how many bytes of its body are kept.
    pub fn add(&mut self, contact: ContactId, seq: Seq, message: &Message, arrived: i64) -> Result<u64> {
        let dropped = dropped(message);
        let body = if dropped.is_some() { &[] } else { &*message.body };
        let id = message.id();
        self.0.execute(params![
            seq,
            contact,
            id.epoch.cast_signed(),
            id.number.cast_signed(),
            message.kind.0,
            message.sent,
            arrived,
            body,
            dropped.map(u64::cast_signed),
        ])?;
        Ok(body.len() as u64)
    }
}
