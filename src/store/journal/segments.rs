//! Where a contact's messages stand.
//!
//! Messages are stored in the order of the journal, so that writing one costs the same however many contacts there
//! are. To find those of one contact, the journal is divided into segments of a few thousand messages, and for each
//! segment and contact one row says where to look. The messages since the last segment are looked through.

use rusqlite::params;

use super::super::Result;
use super::{ContactId, Journal, Seq};

/// How many messages a segment of the journal has: a fraction of a millisecond to look through if they are short.
pub const SEGMENT: Seq = 4096;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// They did.
    Theirs,
    /// We did.
    Ours,
}

/// Where messages stand that are in no segment yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// How many.
    pub count: u64,
}

impl Unsealed {
    /// Counts a message in, after all that have been.
    pub fn add(unsealed: &mut Option<Self>, seq: Seq) {
        let all = unsealed.get_or_insert(Self { first: seq, last: seq, count: 0 });
        all.last = seq;
        all.count += 1;
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

impl Journal {
    /// Makes a segment of the messages after [`Self::sealed`], up to `last`, the last in the journal.
    pub fn seal(&self, unsealed: impl Iterator<Item = (ContactId, Side, Unsealed)>, last: Seq) -> Result<()> {
        let mut add = self.prepare_cached(
            "INSERT INTO segment (contact, ours, last, first, count) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (contact, side, Unsealed { first, last, count }) in unsealed {
            add.execute(params![contact, side == Side::Ours, last, first, count.cast_signed()])?;
        }
        self.prepare_cached("UPDATE sealed SET up_to = ?1")?.execute([last])?;
        Ok(())
    }

    /// What is in no segment yet.
    pub fn unsealed(&self) -> Result<Vec<(ContactId, Side, Unsealed)>> {
        let mut found = Vec::new();
        for (side, sql) in [
            (
                Side::Ours,
                "SELECT contact, min(seq), max(seq), count(*) FROM sent
                 WHERE seq > (SELECT up_to FROM sealed) GROUP BY contact",
            ),
            (
                Side::Theirs,
                "SELECT contact, min(seq), max(seq), count(*) FROM received
                 WHERE seq > (SELECT up_to FROM sealed) GROUP BY contact",
            ),
        ] {
            let mut statement = self.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count: i64 = row.get(3)?;
                let unsealed =
                    Unsealed { first: row.get(1)?, last: row.get(2)?, count: count.unsigned_abs() };
                found.push((row.get(0)?, side, unsealed));
            }
        }
        Ok(found)
    }

    /// Everything up to here is in a segment.
    pub fn sealed(&self) -> Result<Seq> {
        Ok(self.prepare_cached("SELECT up_to FROM sealed")?.query_row([], |row| row.get(0))?)
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
            let (first, count): (Seq, i64) = (row.get(0)?, row.get(2)?);
            let whole = first > after;
            let count = whole.then_some(count.unsigned_abs());
            if !visit(Segment { first: first.max(after.saturating_add(1)), last: row.get(1)?, count })? {
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
            let count: i64 = row.get(2)?;
            let segment =
                Segment { first: row.get(0)?, last: row.get(1)?, count: Some(count.unsigned_abs()) };
            if !visit(segment)? {
                break;
            }
        }
        Ok(())
    }

    /// Removes everything said with a contact, and its words from the index.
    pub(super) fn remove_said(&self, contact: ContactId) -> Result<()> {
        for (side, forget, remove) in [
            (
                Side::Ours,
                "DELETE FROM search WHERE rowid IN (
                     SELECT seq FROM sent WHERE seq BETWEEN ?2 AND min(?3, (SELECT indexed FROM sealed))
                         AND contact = ?1 AND kind = ?4)",
                "DELETE FROM sent WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            ),
            (
                Side::Theirs,
                "DELETE FROM search WHERE rowid IN (
                     SELECT seq FROM received WHERE seq BETWEEN ?2 AND min(?3, (SELECT indexed FROM sealed))
                         AND contact = ?1 AND kind = ?4)",
                "DELETE FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            ),
        ] {
            self.segments_after(contact, side, 0, |segment| {
                let text = crate::protocol::peer::Kind::TEXT.0;
                self.prepare_cached(forget)?.execute(params![contact, segment.first, segment.last, text])?;
                self.prepare_cached(remove)?.execute([contact, segment.first, segment.last])?;
                Ok(true)
            })?;
        }
        self.prepare_cached("DELETE FROM segment WHERE contact = ?1")?.execute([contact])?;
        Ok(())
    }
}
