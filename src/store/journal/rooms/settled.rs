//! What is final in a room, and where entries stand for that.

use rusqlite::{OptionalExtension, params};

use super::super::super::Result;
use super::super::Journal;
use super::{ChainId, RoomId, StoredCause, causes, encoded, hash, unsigned};
use crate::protocol::room::{Hash, Mark};

/// A settlement as stored, with how far it names other chains.
pub struct StoredSettlement {
    pub chain: ChainId,
    pub number: u64,
    pub hash: Hash,
    pub clock: u64,
    pub body: Vec<u8>,
    pub causes: Vec<StoredCause>,
}

impl Journal {
    /// Entries of a chain after `after`, up to `up_to`, stand at `floor` at least: at most those that stand before it now.
    pub fn stand_behind(&self, chain: ChainId, after: u64, up_to: u64, floor: u64) -> Result<()> {
        let most = i64::try_from(up_to).unwrap_or(i64::MAX);
        self.run(
            "UPDATE room_entry SET place = ?4 WHERE chain = ?1 AND number > ?2 AND number <= ?3 AND place < ?4",
            [chain, after.cast_signed(), most, floor.cast_signed()],
        )
    }

    /// The entries of a room that stand at `first` or behind it stand where their clocks say, but not before that.
    pub fn stand_from(&self, room: RoomId, first: u64) -> Result<()> {
        let sql = "UPDATE room_entry SET place = max(clock, ?2) WHERE room = ?1 AND place >= ?2";
        self.run(sql, [room, first.cast_signed()])
    }

    /// The number of the last entry of a chain that stands at `place` or before it; 0 if there is none.
    pub fn last_up_to(&self, chain: ChainId, place: u64) -> Result<u64> {
        let sql = "SELECT coalesce(max(number), 0) FROM room_entry WHERE chain = ?1 AND place <= ?2";
        Ok(self.one(sql, [chain, place.cast_signed()], |row| unsigned(row, 0))?)
    }

    /// All settlements of a room.
    pub fn settlements(&self, room: RoomId) -> Result<Vec<StoredSettlement>> {
        self.all(
            "SELECT chain, number, hash, body, causes, clock FROM room_entry WHERE room = ?1 AND kind = 5",
            [room],
            |row| {
                let causes = causes(row, 4)?;
                let (number, hash, clock) = (unsigned(row, 1)?, hash(row, 2)?, unsigned(row, 5)?);
                Ok(StoredSettlement { chain: row.get(0)?, number, hash, clock, body: row.get(3)?, causes })
            },
        )
    }

    /// The highest place up to `up_to`, behind `after`, at which anything but a settlement stands.
    pub fn last_to_settle(&self, room: RoomId, after: u64, up_to: u64) -> Result<Option<u64>> {
        let sql = "SELECT place FROM room_entry WHERE room = ?1 AND place > ?2 AND place <= ?3 AND kind <> 5
                   ORDER BY place DESC LIMIT 1";
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        Ok(self.one(sql, [room, after.cast_signed(), up_to], |row| unsigned(row, 0)).optional()?)
    }

    /// What stands up to this place is final, by the word of this entry.
    pub fn settle(&self, room: RoomId, place: u64, settlement: Option<&Mark>) -> Result<()> {
        let sql = "UPDATE room SET final = ?2, settled = ?3 WHERE id = ?1";
        self.run(sql, params![room, place.cast_signed(), settlement.map(encoded)])
    }
}
