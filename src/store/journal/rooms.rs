//! Rooms: who is in, what each member wrote, how far each member has it.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use rusqlite::{OptionalExtension, Row, params};

use super::super::{Result, parsed};
use super::{Journal, Reading, Seq};
use crate::protocol::room::{
    Cause, ChainName, Change, Entry, EntryKind, Hash, Mark, Proof, Receipt, ReceiptName, RoomKey, Signature,
};
use crate::protocol::{Name, PublicKey};
pub use said::Said;
pub use settled::StoredSettlement;

mod said;
mod settled;

/// The row of a room.
pub type RoomId = i64;
/// The row of a chain.
pub type ChainId = i64;

/// A room as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRow {
    pub id: RoomId,
    pub key: RoomKey,
    pub name: Name,
    /// 1, unless another room has the same name here.
    pub number: u32,
    /// What stands at this place of the room's order or before it is final, by the word of this entry.
    pub settled: u64,
    pub settlement: Option<Mark>,
    pub reading: Reading,
}

/// A chain as stored, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    pub id: ChainId,
    pub name: ChainName,
    /// 0; higher where the author has written two entries with one number.
    pub branch: u32,
    /// Entries up to this number are not kept here, or stand in another branch; and the hash of the last of them.
    pub base: u64,
    pub base_hash: Hash,
    /// The number of the last entry, and its hash, clock and place.
    pub number: u64,
    pub hash: Hash,
    pub clock: u64,
    pub place: u64,
    /// Up to where our own entries name it as a cause.
    pub cited: u64,
    /// Up to where the last settlement comes after it: only this may be final.
    pub settled: u64,
    /// The author has left with the last entry.
    pub ended: bool,
}

/// An entry, of what it is known where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub seq: Seq,
    pub hash: Hash,
    pub clock: u64,
    pub place: u64,
}

/// An entry to be stored.
pub struct NewEntry<'e> {
    pub seq: Seq,
    pub room: RoomId,
    pub chain: ChainId,
    pub number: u64,
    pub place: u64,
    /// In milliseconds since 1970.
    pub arrived: i64,
    pub hash: Hash,
    pub entry: &'e Entry,
    /// The chains of its causes, in their order.
    pub causes: &'e [ChainId],
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    row.get(column).map(Hash)
}

/// What stands in a column as it stands on the wire.
fn decoded<T: for<'b> minicbor::Decode<'b, ()>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    minicbor::decode(row.get_ref(column)?.as_blob()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
    })
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::protocol::codec::encode(value, &mut bytes);
    bytes
}

impl ChainRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: ChainName {
                author: PublicKey(row.get(1)?),
                grant: hash(row, 9)?,
                epoch: unsigned(row, 2)?,
            },
            branch: row.get(3)?,
            base: unsigned(row, 4)?,
            number: unsigned(row, 5)?,
            hash: hash(row, 6)?,
            clock: unsigned(row, 7)?,
            place: unsigned(row, 8)?,
            cited: unsigned(row, 10)?,
            ended: row.get(11)?,
            base_hash: hash(row, 12)?,
            settled: unsigned(row, 13)?,
        })
    }

    /// Its end.
    pub fn mark(&self) -> Mark {
        Mark { chain: self.name, number: self.number, hash: self.hash }
    }
}

impl Journal {
    pub fn rooms(&self) -> Result<Vec<RoomRow>> {
        self.all(
            "SELECT id, key, name, number, final, shown, read, settled FROM room ORDER BY id",
            [],
            |row| {
                Ok(RoomRow {
                    id: row.get(0)?,
                    key: RoomKey(row.get(1)?),
                    name: parsed(row, 2)?,
                    number: row.get(3)?,
                    settled: unsigned(row, 4)?,
                    settlement: if row.get_ref(7)?.as_blob_or_null()?.is_none() {
                        None
                    } else {
                        Some(decoded(row, 7)?)
                    },
                    reading: Reading { shown: row.get(5)?, read: row.get(6)? },
                })
            },
        )
    }

    /// Adds a room. It is numbered if another one has its name.
    pub fn add_room(&self, key: RoomKey, name: &Name) -> Result<RoomRow> {
        let number: u32 = self.one(
            "INSERT INTO room (key, name, number)
             VALUES (?1, ?2, 1 + (SELECT coalesce(max(number), 0) FROM room WHERE name = ?2)) RETURNING number",
            params![key.0, name.as_str()],
            |row| row.get(0),
        )?;
        let (id, name) = (self.last_insert_rowid(), name.clone());
        Ok(RoomRow { id, key, name, number, settled: 0, settlement: None, reading: Reading::default() })
    }

    pub fn save_room_reading(&self, room: RoomId, reading: &Reading) -> Result<()> {
        self.run("UPDATE room SET shown = ?2, read = ?3 WHERE id = ?1", [room, reading.shown, reading.read])
    }

    pub fn changes(&self, room: RoomId) -> Result<Vec<(Hash, Change)>> {
        let sql = "SELECT hash, body FROM room_change WHERE room = ?1";
        self.all(sql, [room], |row| Ok((hash(row, 0)?, decoded(row, 1)?)))
    }

    pub fn add_change(&self, room: RoomId, hash: Hash, change: &Change) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO room_change (room, hash, body) VALUES (?1, ?2, ?3)";
        self.run(sql, params![room, hash.0, encoded(change)])
    }

    pub fn chains(&self, room: RoomId) -> Result<Vec<ChainRow>> {
        self.all(
            "SELECT id, author, epoch, branch, base, number, hash, clock, place, granted, cited, ended,
             base_hash, settled FROM room_chain WHERE room = ?1 ORDER BY id",
            [room],
            ChainRow::read,
        )
    }

    /// Adds a chain of which nothing is here.
    pub fn add_chain(&self, room: RoomId, name: ChainName, branch: u32) -> Result<ChainRow> {
        let hash = Hash::default();
        self.run(
            "INSERT INTO room_chain
             (room, author, epoch, granted, branch, base, base_hash, number, hash, clock, place, cited, settled, ended)
             VALUES (?1, ?2, ?3, ?6, ?4, 0, ?5, 0, ?5, 0, 0, 0, 0, 0)",
            params![room, name.author.0, name.epoch.cast_signed(), branch, hash.0, name.grant.0],
        )?;
        Ok(ChainRow {
            id: self.last_insert_rowid(),
            name,
            branch,
            base: 0,
            base_hash: hash,
            number: 0,
            hash,
            clock: 0,
            place: 0,
            cited: 0,
            settled: 0,
            ended: false,
        })
    }

    /// Saves where a chain ends.
    pub fn save_chain(&self, chain: &ChainRow) -> Result<()> {
        let ChainRow { id, base, base_hash, number, hash, clock, place, cited, settled, ended, .. } = chain;
        let [base, number, clock, place, cited, settled] =
            [base, number, clock, place, cited, settled].map(|it| it.cast_signed());
        self.run(
            "UPDATE room_chain SET base = ?2, number = ?3, hash = ?4, clock = ?5, place = ?6, cited = ?7,
             ended = ?8, base_hash = ?9, settled = ?10 WHERE id = ?1",
            params![id, base, number, hash.0, clock, place, cited, ended, base_hash.0, settled],
        )
    }

    pub fn add_entry(&self, new: &NewEntry<'_>) -> Result<()> {
        let NewEntry { seq, room, chain, number, place, arrived, hash, entry, causes } = new;
        let stored = StoredCause::of(causes, &entry.causes);
        let causes = (!stored.is_empty()).then(|| encoded(&stored));
        self.run(
            "INSERT INTO room_entry (seq, room, chain, number, clock, place, kind, written, arrived, hash, causes, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                seq,
                room,
                chain,
                number.cast_signed(),
                entry.clock.cast_signed(),
                place.cast_signed(),
                entry.kind.0,
                entry.sent,
                arrived,
                hash.0,
                causes,
                entry.body,
            ],
        )
    }

    /// The entry at a number of a chain.
    pub fn entry_at(&self, chain: ChainId, number: u64) -> Result<Option<Standing>> {
        let sql = "SELECT seq, hash, clock, place FROM room_entry WHERE chain = ?1 AND number = ?2";
        Ok(self
            .one(sql, [chain, number.cast_signed()], |row| {
                let (clock, place) = (unsigned(row, 2)?, unsigned(row, 3)?);
                Ok(Standing { seq: row.get(0)?, hash: hash(row, 1)?, clock, place })
            })
            .optional()?)
    }

    /// Whether an entry of a room has this place in the journal.
    pub fn has_entry(&self, seq: Seq) -> Result<bool> {
        Ok(self.one("SELECT EXISTS (SELECT 1 FROM room_entry WHERE seq = ?1)", [seq], |row| row.get(0))?)
    }

    /// Whether a room has entries with all these hashes. Looks at each of its entries at most once, the latest first.
    pub fn has_hashes(&self, room: RoomId, mut hashes: BTreeSet<Hash>) -> Result<bool> {
        let mut statement =
            self.prepare_cached("SELECT hash FROM room_entry WHERE room = ?1 ORDER BY seq DESC")?;
        let mut rows = statement.query([room])?;
        while !hashes.is_empty()
            && let Some(row) = rows.next()?
        {
            hashes.remove(&hash(row, 0)?);
        }
        Ok(hashes.is_empty())
    }

    /// Calls `each` with the entries of a chain after `after`, up to `up_to`, their hashes and their places, until it
    /// returns `false`. `name` finds the chains of their causes.
    pub fn entries_after(
        &self,
        chain: ChainId,
        after: u64,
        up_to: u64,
        name: impl Fn(ChainId) -> Option<ChainName>,
        mut each: impl FnMut(u64, Hash, Entry) -> Result<bool>,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(
            "SELECT number, hash, clock, kind, written, causes, body
             FROM room_entry WHERE chain = ?1 AND number > ?2 AND number <= ?3 ORDER BY number",
        )?;
        let most = i64::try_from(up_to).unwrap_or(i64::MAX);
        let mut rows = statement.query([chain, after.cast_signed(), most])?;
        while let Some(row) = rows.next()? {
            let entry = Entry {
                clock: unsigned(row, 2)?,
                kind: EntryKind(row.get(3)?),
                sent: row.get(4)?,
                causes: causes(row, 5)?.into_iter().filter_map(|cause| cause.named(&name)).collect(),
                body: row.get(6)?,
            };
            if !each(unsigned(row, 0)?, hash(row, 1)?, entry)? {
                break;
            }
        }
        Ok(())
    }

    /// The chains and the bodies of the entries by which members have joined a room, of those that have one.
    pub fn joins(&self, room: RoomId) -> Result<Vec<(ChainId, Vec<u8>)>> {
        let sql = "SELECT chain, body FROM room_entry WHERE room = ?1 AND kind = 2 AND length(body) > 0";
        self.all(sql, [room], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The number of the last entry of a chain that is no settlement; 0 if there is none.
    pub fn last_but_settlements(&self, chain: ChainId) -> Result<u64> {
        let sql = "SELECT number FROM room_entry WHERE chain = ?1 AND kind <> 5 ORDER BY number DESC LIMIT 1";
        Ok(self.one(sql, [chain], |row| unsigned(row, 0)).optional()?.unwrap_or_default())
    }

    /// Removes the entries of a chain after `number`, and their words from the index.
    pub fn cut_chain(&self, chain: ChainId, number: u64) -> Result<()> {
        let after = [chain, number.cast_signed()];
        self.run(
            "DELETE FROM search WHERE rowid IN (SELECT seq FROM room_entry
             WHERE chain = ?1 AND number > ?2 AND kind = 1 AND seq <= (SELECT indexed FROM sealed))",
            after,
        )?;
        self.run("DELETE FROM room_entry WHERE chain = ?1 AND number > ?2", after)?;
        self.run("DELETE FROM room_head WHERE chain = ?1 AND number > ?2", after)
    }

    /// The entry with this number is signed.
    pub fn add_head(&self, chain: ChainId, number: u64, signature: &Signature) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO room_head (chain, number, signature) VALUES (?1, ?2, ?3)";
        self.run(sql, params![chain, number.cast_signed(), signature.0])
    }

    /// The signature is not needed to check others.
    pub fn remove_head(&self, chain: ChainId, number: u64) -> Result<()> {
        self.run("DELETE FROM room_head WHERE chain = ?1 AND number = ?2", [chain, number.cast_signed()])
    }

    /// The signed entries of a chain after `after`, the first `count`.
    pub fn heads_after(&self, chain: ChainId, after: u64, count: u32) -> Result<Vec<(u64, Signature)>> {
        let sql = "SELECT number, signature FROM room_head WHERE chain = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
        let (after, count) = (after.cast_signed(), i64::from(count));
        self.all(sql, [chain, after, count], |row| Ok((unsigned(row, 0)?, Signature(row.get(1)?))))
    }

    /// The last signed entries of a chain up to `number`, the last first.
    pub fn heads_before(&self, chain: ChainId, number: u64, count: u32) -> Result<Vec<u64>> {
        let sql =
            "SELECT number FROM room_head WHERE chain = ?1 AND number <= ?2 ORDER BY number DESC LIMIT ?3";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.all(sql, [chain, number, i64::from(count)], |row| unsigned(row, 0))
    }

    pub fn receipts(&self, room: RoomId) -> Result<Vec<Receipt>> {
        let sql = "SELECT body FROM room_receipt WHERE room = ?1 ORDER BY member, epoch, counter";
        self.all(sql, [room], |row| decoded(row, 0))
    }

    pub fn add_receipt(&self, room: RoomId, receipt: &Receipt) -> Result<()> {
        let ReceiptName { member, epoch, counter } = receipt.name;
        self.run(
            "INSERT OR REPLACE INTO room_receipt (room, member, epoch, counter, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![room, member.0, epoch.cast_signed(), counter.cast_signed(), encoded(receipt)],
        )
    }

    /// Later receipts of its member say all that it says.
    pub fn remove_receipt(&self, room: RoomId, name: &ReceiptName) -> Result<()> {
        let ReceiptName { member, epoch, counter } = name;
        self.run(
            "DELETE FROM room_receipt WHERE room = ?1 AND member = ?2 AND epoch = ?3 AND counter = ?4",
            params![room, member.0, epoch.cast_signed(), counter.cast_signed()],
        )
    }

    pub fn proofs(&self, room: RoomId) -> Result<Vec<Proof>> {
        self.all("SELECT body FROM room_proof WHERE room = ?1", [room], |row| decoded(row, 0))
    }

    pub fn add_proof(&self, room: RoomId, proof: &Proof) -> Result<()> {
        let ChainName { author, grant, .. } = proof.chain;
        let sql = "INSERT OR REPLACE INTO room_proof (room, author, granted, body) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![room, author.0, grant.0, encoded(proof)])
    }

    /// How many bytes the bodies of a chain's entries after `after` have, up to `up_to`.
    pub fn chain_bytes(&self, chain: ChainId, after: u64, up_to: u64) -> Result<u64> {
        let sql = "SELECT coalesce(sum(length(body)), 0) FROM room_entry WHERE chain = ?1 AND number > ?2 AND number <= ?3";
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        Ok(self.one(sql, [chain, after.cast_signed(), up_to], |row| unsigned(row, 0))?)
    }
}

/// A cause of an entry as it stands in its row: half of what most entries take.
#[derive(Encode, Decode)]
#[cbor(array)]
pub struct StoredCause {
    #[n(0)]
    pub chain: ChainId,
    #[n(1)]
    pub number: u64,
    #[n(2)]
    clock: u64,
    #[n(3)]
    pub hash: Hash,
}

impl StoredCause {
    /// Causes with the rows of their chains.
    pub fn of(chains: &[ChainId], causes: &[Cause]) -> Vec<Self> {
        let both = chains.iter().zip(causes);
        both.map(|(chain, Cause { mark, clock })| Self {
            chain: *chain,
            number: mark.number,
            clock: *clock,
            hash: mark.hash,
        })
        .collect()
    }

    fn named(&self, name: impl Fn(ChainId) -> Option<ChainName>) -> Option<Cause> {
        let mark = Mark { chain: name(self.chain)?, number: self.number, hash: self.hash };
        Some(Cause { mark, clock: self.clock })
    }
}

fn causes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<StoredCause>> {
    if row.get_ref(column)?.as_blob_or_null()?.is_none() { Ok(Vec::new()) } else { decoded(row, column) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::noise::Keypair;

    #[test]
    fn rooms_of_one_name_are_numbered() {
        let keypair = Keypair::generate().unwrap();
        let journal = Journal::in_memory(&"alice".parse().unwrap(), &keypair).unwrap();
        let lab: Name = "lab".parse().unwrap();
        let numbers = [1, 2, 3].map(|it| journal.add_room(RoomKey([it; 32]), &lab).unwrap().number);
        assert_eq!(numbers, [1, 2, 3]);
        assert!(journal.add_room(RoomKey([1; 32]), &lab).is_err());
        assert_eq!(journal.rooms().unwrap().len(), 3);
    }

    #[test]
    fn entries_read_back_with_their_causes() {
        let keypair = Keypair::generate().unwrap();
        let journal = Journal::in_memory(&"alice".parse().unwrap(), &keypair).unwrap();
        let room = journal.add_room(RoomKey([1; 32]), &"lab".parse().unwrap()).unwrap().id;
        let names = [1, 2].map(|epoch| ChainName { author: keypair.public(), grant: Hash([4; 32]), epoch });
        let [one, other] = names.map(|name| journal.add_chain(room, name, 0).unwrap());
        let mark = Mark { chain: other.name, number: 7, hash: Hash([9; 32]) };
        let entries = [0, 1].map(|it| Entry {
            clock: 8 + it,
            kind: EntryKind::TEXT,
            sent: -5,
            causes: vec![Cause { mark, clock: 7 }; it as usize],
            body: vec![it as u8; 3],
        });
        for (number, entry) in (1..).zip(&entries) {
            let causes = vec![other.id; entry.causes.len()];
            let (hash, place) = (Hash([number as u8; 32]), 10 - number);
            journal
                .add_entry(&NewEntry {
                    seq: number as Seq,
                    room,
                    chain: one.id,
                    number,
                    place,
                    arrived: 1,
                    hash,
                    entry,
                    causes: &causes,
                })
                .unwrap();
        }
        let saved = ChainRow { number: 2, ..one.clone() };
        journal.save_chain(&saved).unwrap();
        assert_eq!(journal.chains(room).unwrap(), [saved, other.clone()]);
        let mut read = Vec::new();
        let name = |id| (id == other.id).then_some(other.name);
        journal
            .entries_after(one.id, 0, u64::MAX, name, |_, _, entry| {
                read.push(entry);
                Ok(true)
            })
            .unwrap();
        assert_eq!(read, entries);
        let has = |hashes: &[u8]| journal.has_hashes(room, hashes.iter().map(|it| Hash([*it; 32])).collect());
        assert_eq!([&[][..], &[2], &[1, 2], &[1, 3]].map(|it| has(it).unwrap()), [true, true, true, false]);
        let places: Vec<_> = journal.room_history(room, 5).unwrap().iter().map(|it| it.id.number).collect();
        assert_eq!(places, [2, 1], "in the order of the places");
        assert_eq!(journal.count_said_after(room, PublicKey([0; 32]), 1, 9).unwrap(), 1);
        assert_eq!(journal.count_said_after(room, keypair.public(), 0, 9).unwrap(), 0);
        journal.cut_chain(one.id, 1).unwrap();
        assert_eq!((journal.last_said(room).unwrap(), journal.entry_at(one.id, 2).unwrap()), (1, None));
    }
}
