//! Where a contact's messages stand.
//!
//! Messages are stored in the order of the journal, so that writing one costs the same however many contacts there
//! are. To find those of one contact, the journal is divided into segments of a few thousand messages, and for each
//! segment and contact one row says where to look. The messages since the last segment are looked through.

use rusqlite::{Row, params};

use super::super::Result;
use super::{ContactId, Journal, Seq};
use crate::protocol::peer::Kind;

/// How many messages a segment of the journal has: a fraction of a millisecond to look through if they are short.
pub const SEGMENT: Seq = 4096;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Theirs,
    Ours,
}

/// A statement on the table that holds what a side said.
macro_rules! of_side {
    ($side:expr, $before:literal, $after:literal) => {
        match $side {
            $crate::store::journal::Side::Ours => concat!($before, " sent ", $after),
            $crate::store::journal::Side::Theirs => concat!($before, " received ", $after),
        }
    };
}
pub(super) use of_side;

/// Where messages stand that are in no segment yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    pub first: Seq,
    pub last: Seq,
    pub count: u64,
    /// How many bytes of bodies are kept of them.
    pub bytes: u64,
}

impl Unsealed {
    /// Counts a message in, after all that have been. `bytes` are kept of its body.
    pub fn add(unsealed: &mut Option<Self>, seq: Seq, bytes: u64) {
        let all = unsealed.get_or_insert(Self { first: seq, last: seq, count: 0, bytes: 0 });
        all.last = seq;
        all.count += 1;
        all.bytes += bytes;
    }
}

/// A stretch of the journal in which a contact's messages stand, among others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub first: Seq,
    pub last: Seq,
    /// How many there are, if they have been counted.
    pub count: Option<u64>,
}

impl Segment {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let count: i64 = row.get(2)?;
        Ok(Self { first: row.get(0)?, last: row.get(1)?, count: Some(count.unsigned_abs()) })
    }
}

impl Journal {
    /// Makes a segment of the messages after [`Self::sealed`], up to `last`, the last in the journal.
    pub fn seal(&self, unsealed: impl Iterator<Item = (ContactId, Side, Unsealed)>, last: Seq) -> Result<()> {
        let mut add = self.prepare_cached(
            "INSERT INTO segment (contact, ours, last, first, count) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (contact, side, Unsealed { first, last, count, bytes }) in unsealed {
            add.execute(params![contact, side == Side::Ours, last, first, count.cast_signed()])?;
            self.run("UPDATE contact SET bytes = bytes + ?2 WHERE id = ?1", [contact, bytes.cast_signed()])?;
        }
        self.run("UPDATE sealed SET up_to = ?1", [last])
    }

    /// What is in no segment yet.
    pub fn unsealed(&self) -> Result<Vec<(ContactId, Side, Unsealed)>> {
        let mut found = Vec::new();
        for side in [Side::Ours, Side::Theirs] {
            let sql = of_side!(
                side,
                "SELECT contact, min(seq), max(seq), count(*), sum(length(body)) FROM",
                "WHERE seq > (SELECT up_to FROM sealed) GROUP BY contact"
            );
            found.extend(self.all(sql, [], |row| {
                let number = |column| row.get(column).map(i64::unsigned_abs);
                let (first, last) = (row.get(1)?, row.get(2)?);
                Ok((row.get(0)?, side, Unsealed { first, last, count: number(3)?, bytes: number(4)? }))
            })?);
        }
        Ok(found)
    }

    /// How many bytes of bodies are in segments, with each contact, on both sides.
    pub fn sealed_bytes(&self) -> Result<Vec<(ContactId, u64)>> {
        self.all("SELECT id, bytes FROM contact WHERE bytes > 0", [], |row| {
            Ok((row.get(0)?, row.get(1).map(i64::unsigned_abs)?))
        })
    }

    /// Everything up to here is in a segment.
    pub fn sealed(&self) -> Result<Seq> {
        Ok(self.one("SELECT up_to FROM sealed", [], |row| row.get(0))?)
    }

    /// Calls `visit` with the segments that hold messages after `after`, in order, until it returns `false`. The last
    /// is what is in none yet.
    pub(super) fn segments_after(
        &self,
        contact: ContactId,
        side: Side,
        after: Seq,
        mut visit: impl FnMut(Segment) -> Result<bool>,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(
            "SELECT first, last, count FROM segment WHERE contact = ?1 AND ours = ?2 AND last > ?3 ORDER BY last",
        )?;
        let mut rows = statement.query(params![contact, side == Side::Ours, after])?;
        while let Some(row) = rows.next()? {
            let mut segment = Segment::read(row)?;
            if segment.first <= after {
                segment = Segment { first: after.saturating_add(1), count: None, ..segment };
            }
            if !visit(segment)? {
                return Ok(());
            }
        }
        let first = self.sealed()?.max(after).saturating_add(1);
        visit(Segment { first, last: Seq::MAX, count: None })?;
        Ok(())
    }

    /// The same from the end, and all of them.
    pub(super) fn segments_back(
        &self,
        contact: ContactId,
        side: Side,
        mut visit: impl FnMut(Segment) -> Result<bool>,
    ) -> Result<()> {
        let first = self.sealed()?.saturating_add(1);
        if !visit(Segment { first, last: Seq::MAX, count: None })? {
            return Ok(());
        }
        let mut statement = self.prepare_cached(
            "SELECT first, last, count FROM segment WHERE contact = ?1 AND ours = ?2 ORDER BY last DESC",
        )?;
        let mut rows = statement.query(params![contact, side == Side::Ours])?;
        while let Some(row) = rows.next()? {
            if !visit(Segment::read(row)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Removes everything said with a contact, and its words from the index. How far their messages were committed stays
    /// known.
    ///
    /// The bodies are overwritten: else copies of the journal would hold them until their place is used again.
    pub fn remove_said(&self, contact: ContactId) -> Result<()> {
        self.pragma_update(None, "secure_delete", true)?;
        let removed = self.overwrite_said(contact);
        self.pragma_update(None, "secure_delete", "FAST")?;
        removed
    }

    fn overwrite_said(&self, contact: ContactId) -> Result<()> {
        for side in [Side::Ours, Side::Theirs] {
            let forget = of_side!(
                side,
                "DELETE FROM search WHERE rowid IN (SELECT seq FROM",
                "WHERE seq BETWEEN ?2 AND min(?3, (SELECT indexed FROM sealed)) AND contact = ?1 AND kind = ?4)"
            );
            let remove = of_side!(side, "DELETE FROM", "WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1");
            self.segments_after(contact, side, 0, |Segment { first, last, .. }| {
                self.run(forget, params![contact, first, last, Kind::TEXT.0])?;
                self.run(remove, [contact, first, last])?;
                Ok(true)
            })?;
        }
        self.run("DELETE FROM segment WHERE contact = ?1", [contact])?;
        self.run("UPDATE contact SET bytes = 0 WHERE id = ?1", [contact])
    }
}
