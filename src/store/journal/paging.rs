//! A room read page by page, from any of its texts in either direction.

use rusqlite::params;

use super::super::Result;
use super::{Journal, RoomId, Said, Seq};

/// The texts of a room on one side of the one at a seq, the nearest of them first, in the order that all members see.
macro_rules! beside {
    ($side:literal, $order:literal) => {
        concat!(
            "SELECT seq FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
             WHERE room_entry.room = ?1 AND kind = 1
               AND (room_entry.place, room_entry.clock, author, epoch, room_entry.number, room_entry.hash) ",
            $side,
            " (SELECT room_entry.place, room_entry.clock, author, epoch, room_entry.number, room_entry.hash
               FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
               WHERE seq = ?2 AND room_entry.room = ?1)
             ORDER BY room_entry.place ",
            $order,
            ", room_entry.clock ",
            $order,
            ", author ",
            $order,
            ", epoch ",
            $order,
            ", room_entry.number ",
            $order,
            ", room_entry.hash ",
            $order,
            " LIMIT ?3"
        )
    };
}

impl Journal {
    /// The last `count` texts of a room that stand before the one at `before`, in the order that all members see, the
    /// first of them first. None where no text of the room stands there.
    pub fn room_history_before(&self, room: RoomId, count: u32, before: Seq) -> Result<Vec<Said>> {
        let mut said = self.texts_at(beside!("<", "DESC"), room, count, before)?;
        said.reverse();
        Ok(said)
    }

    /// The first `count` texts of a room that stand after the one at `after`, likewise; after 0, the first of all.
    pub fn room_history_after(&self, room: RoomId, count: u32, after: Seq) -> Result<Vec<Said>> {
        if after > 0 {
            return self.texts_at(beside!(">", "ASC"), room, count, after);
        }
        let first = "SELECT seq FROM room_entry CROSS JOIN room_chain ON room_chain.id = chain
                     WHERE room_entry.room = ?1 AND kind = 1 AND seq > ?2
                     ORDER BY room_entry.place, room_entry.clock, author, epoch, room_entry.number, room_entry.hash
                     LIMIT ?3";
        self.texts_at(first, room, count, after)
    }

    fn texts_at(&self, places: &str, room: RoomId, count: u32, beside: Seq) -> Result<Vec<Said>> {
        let places: Vec<Seq> = self.all(places, params![room, beside, count], |row| row.get(0))?;
        let mut said = Vec::new();
        for place in places {
            said.extend(self.said_at(place)?);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rooms::NewEntry;
    use super::*;
    use crate::protocol::room::{ChainName, Entry, EntryKind, Hash, RoomKey};
    use crate::transport::noise::Keypair;

    #[test]
    fn pages_in_both_directions_are_what_stands_between() {
        let keypair = Keypair::generate().unwrap();
        let journal = Journal::in_memory(&"alice".parse().unwrap(), &keypair).unwrap();
        let room = journal.add_room(RoomKey([1; 32]), &"lab".parse().unwrap()).unwrap().id;
        // Of several at one place the clock counts first.
        for (seq, epoch, clock) in [(1, 2, 7), (2, 1, 9), (3, 3, 8)] {
            let name = ChainName { author: keypair.public(), grant: Hash([4; 32]), epoch };
            let chain = journal.add_chain(room, name, 0).unwrap().id;
            let body = vec![b'x'];
            let entry = &Entry { clock, kind: EntryKind::TEXT, sent: 0, causes: Vec::new(), body };
            let (hash, causes) = (Hash([seq as u8; 32]), &[]);
            let entry = NewEntry { seq, room, chain, number: 1, place: 5, arrived: 1, hash, entry, causes };
            journal.add_entry(&entry).unwrap();
        }
        let seqs = |said: Vec<Said>| said.iter().map(|it| it.seq).collect::<Vec<_>>();
        let order = seqs(journal.room_history(room, 9).unwrap());
        assert_eq!(order, [1, 3, 2]);
        for (at, seq) in order.iter().enumerate() {
            assert_eq!(seqs(journal.room_history_before(room, 9, *seq).unwrap()), order[..at]);
            assert_eq!(seqs(journal.room_history_after(room, 9, *seq).unwrap()), order[at + 1..]);
        }
        assert_eq!(seqs(journal.room_history_after(room, 2, 0).unwrap()), order[..2]);
    }
}
