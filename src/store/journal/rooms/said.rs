//! What was said in rooms, as it is read: as it came in, and in the order that all members see.

use rusqlite::{OptionalExtension, Row, params};

use super::super::super::Result;
use super::super::{Journal, Seq};
use super::{ChainId, RoomId, unsigned};
use crate::protocol::PublicKey;
use crate::protocol::peer::{Cursor, Kind};

/// A text that was said in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub seq: Seq,
    pub author: PublicKey,
    /// Its name for ever, together with the room and the author.
    pub id: Cursor,
    pub kind: Kind,
    /// The author's clock when it was written, and ours when it came in, in milliseconds since 1970.
    pub sent: i64,
    pub arrived: i64,
    pub body: Vec<u8>,
    /// Where it stands in the room's order.
    pub place: u64,
}

impl Said {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            author: PublicKey(row.get(1)?),
            id: Cursor { epoch: unsigned(row, 2)?, number: unsigned(row, 3)? },
            kind: Kind(row.get(4)?),
            sent: row.get(5)?,
            arrived: row.get(6)?,
            body: row.get(7)?,
            place: unsigned(row, 8)?,
        })
    }
}

/// What [`Said::read`] reads.
macro_rules! said {
    ($which:literal) => {
        concat!(
            "SELECT seq, author, epoch, room_entry.number, kind, written, arrived, body, room_entry.place
             FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain WHERE ",
            $which
        )
    };
}

impl Journal {
    /// Calls `each` with the texts of a room after `after`, those of all members, as they came in, until it returns
    /// `false`.
    pub fn said_after(&self, room: RoomId, after: Seq, mut each: impl FnMut(Said) -> bool) -> Result<()> {
        let sql = said!("room_entry.room = ?1 AND seq > ?2 AND kind = 1 ORDER BY seq");
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query([room, after])?;
        while let Some(row) = rows.next()? {
            if !each(Said::read(row)?) {
                break;
            }
        }
        Ok(())
    }

    /// How many texts of others than `own`, and of none who is blocked, come after `after`, counted no further than `most`.
    pub fn count_said_after(&self, room: RoomId, own: PublicKey, after: Seq, most: u64) -> Result<u64> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql =
            "SELECT count(*) FROM (SELECT 1 FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
                   WHERE room_entry.room = ?1 AND seq > ?2 AND kind = 1 AND author <> ?3 AND author NOT IN
                   (SELECT key FROM contact WHERE blocked AND key NOT NULL) LIMIT ?4)";
        let count: i64 = self.one(sql, params![room, after, own.0, most], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The seq of the last entry of a room; 0 if there is none.
    pub fn last_said(&self, room: RoomId) -> Result<Seq> {
        Ok(self
            .one("SELECT coalesce(max(seq), 0) FROM room_entry WHERE room = ?1", [room], |row| row.get(0))?)
    }

    /// The last `count` texts of a room in its order, oldest first.
    pub fn room_history(&self, room: RoomId, count: u32) -> Result<Vec<Said>> {
        let sql = said!(
            "room_entry.room = ?1 AND kind = 1
             ORDER BY room_entry.place DESC, room_entry.clock DESC, author DESC, epoch DESC, room_entry.number DESC,
                 room_entry.hash DESC LIMIT ?2"
        );
        let mut said = self.all(sql, params![room, count], Said::read)?;
        said.reverse();
        Ok(said)
    }

    /// The numbers of the texts of a chain whose place is behind `settled`, the latest `most`.
    pub fn unsettled_texts(&self, chain: ChainId, settled: u64, most: usize) -> Result<Vec<u64>> {
        let sql = "SELECT number FROM room_entry WHERE chain = ?1 AND place > ?2 AND kind = 1 ORDER BY number DESC LIMIT ?3";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.all(sql, [chain, settled.cast_signed(), most], |row| unsigned(row, 0))
    }

    /// How many texts of a chain come after `after`, up to `up_to`.
    pub fn count_texts(&self, chain: ChainId, after: u64, up_to: u64) -> Result<u64> {
        let sql =
            "SELECT count(*) FROM room_entry WHERE chain = ?1 AND number > ?2 AND number <= ?3 AND kind = 1";
        Ok(self.one(sql, [chain, after.cast_signed(), up_to.cast_signed()], |row| unsigned(row, 0))?)
    }

    /// The texts of a chain after `after`, up to `up_to`, the first `count`.
    pub fn texts(&self, chain: ChainId, after: u64, up_to: u64, count: u32) -> Result<Vec<Said>> {
        let sql = said!(
            "chain = ?1 AND room_entry.number > ?2 AND room_entry.number <= ?3 AND kind = 1
             ORDER BY room_entry.number LIMIT ?4"
        );
        self.all(sql, [chain, after.cast_signed(), up_to.cast_signed(), i64::from(count)], Said::read)
    }

    /// The text of a room at this seq.
    pub(in crate::store::journal) fn said_at(&self, seq: Seq) -> Result<Option<Said>> {
        Ok(self.one(said!("seq = ?1"), [seq], Said::read).optional()?)
    }
}
