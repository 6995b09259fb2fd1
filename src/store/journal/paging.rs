//! A room read page by page, from any of its texts backwards.

use rusqlite::params;

use super::super::Result;
use super::{Journal, RoomId, Said, Seq};

impl Journal {
    /// The last `count` texts of a room that stand before the one at `before`, in the order that all members see, the
    /// first of them first. None where no text of the room stands there.
    pub fn room_history_before(&self, room: RoomId, count: u32, before: Seq) -> Result<Vec<Said>> {
        let sql = "SELECT seq FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
                   WHERE room_entry.room = ?1 AND kind = 1
                     AND (room_entry.place, author, epoch, room_entry.number, room_entry.hash) <
                         (SELECT room_entry.place, author, epoch, room_entry.number, room_entry.hash
                          FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
                          WHERE seq = ?2 AND room_entry.room = ?1)
                   ORDER BY room_entry.place DESC, author DESC, epoch DESC, room_entry.number DESC, room_entry.hash DESC
                   LIMIT ?3";
        let places: Vec<Seq> = self.all(sql, params![room, before, count], |row| row.get(0))?;
        let mut said = Vec::new();
        for place in places.into_iter().rev() {
            said.extend(self.said_at(place)?);
        }
        Ok(said)
    }
}
