//! Where a contact's messages stand.
//!
//! Messages are stored in the order of the journal, so that writing one costs the same however many contacts there
//! are. To find those of one contact, the journal is divided into parts of a few thousand messages, and for each part
//! and contact one row says where to look. The messages since the last part are looked through.

use rusqlite::params;

use super::super::Result;
use super::{ContactId, Journal, Seq};

/// How many messages a part of the journal has: a fraction of a millisecond to look through if they are short.
pub const PART: Seq = 4096;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// They did.
    Theirs,
    /// We did.
    Ours,
}

/// Where messages stand that have not been filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfiled {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// How many.
    pub count: u64,
}

impl Unfiled {
    /// Counts a message in, after all that have been.
    pub fn add(unfiled: &mut Option<Self>, seq: Seq) {
        let all = unfiled.get_or_insert(Self { first: seq, last: seq, count: 0 });
        all.last = seq;
        all.count += 1;
    }
}

/// A stretch of the journal in which a contact's messages stand, among others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub first: Seq,
    pub last: Seq,
    /// How many there are, if they have been counted.
    pub count: Option<u64>,
}

impl Journal {
    /// Files where the messages stand that came after [`Self::filed`], up to `last`, the last in the journal.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn file(&self, unfiled: impl Iterator<Item = (ContactId, Side, Unfiled)>, last: Seq) -> Result<()> {
        let mut add = self.prepare_cached(
            "INSERT INTO part (contact, ours, last, first, count) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (contact, side, Unfiled { first, last, count }) in unfiled {
            add.execute(params![contact, side == Side::Ours, last, first, count.cast_signed()])?;
        }
        self.prepare_cached("UPDATE filed SET up_to = ?1")?.execute([last])?;
        Ok(())
    }

    /// What has not been filed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn unfiled(&self) -> Result<Vec<(ContactId, Side, Unfiled)>> {
        let mut found = Vec::new();
        for (side, sql) in [
            (
                Side::Ours,
                "SELECT contact, min(seq), max(seq), count(*) FROM sent
                 WHERE seq > (SELECT up_to FROM filed) GROUP BY contact",
            ),
            (
                Side::Theirs,
                "SELECT contact, min(seq), max(seq), count(*) FROM received
                 WHERE seq > (SELECT up_to FROM filed) GROUP BY contact",
            ),
        ] {
            let mut statement = self.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count: i64 = row.get(3)?;
                let unfiled = Unfiled { first: row.get(1)?, last: row.get(2)?, count: count.unsigned_abs() };
                found.push((row.get(0)?, side, unfiled));
            }
        }
        Ok(found)
    }

    /// Everything up to here is filed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn filed(&self) -> Result<Seq> {
        Ok(self.prepare_cached("SELECT up_to FROM filed")?.query_row([], |row| row.get(0))?)
    }

    /// Calls `visit` with the parts that hold messages after `after`, in order, until it returns `false`. The last
    /// is what has not been filed yet.
    pub(super) fn parts_after(
        &self,
        contact: ContactId,
        side: Side,
        after: Seq,
        mut visit: impl FnMut(Part) -> Result<bool>,
    ) -> Result<()> {
        let mut statement = self.prepare_cached(
            "SELECT first, last, count FROM part WHERE contact = ?1 AND ours = ?2 AND last > ?3 ORDER BY last",
        )?;
        let mut rows = statement.query(params![contact, side == Side::Ours, after])?;
        while let Some(row) = rows.next()? {
            let (first, count): (Seq, i64) = (row.get(0)?, row.get(2)?);
            let whole = first > after;
            let count = whole.then_some(count.unsigned_abs());
            if !visit(Part { first: first.max(after.saturating_add(1)), last: row.get(1)?, count })? {
                return Ok(());
            }
        }
        let first = self.filed()?.max(after).saturating_add(1);
        visit(Part { first, last: Seq::MAX, count: None })?;
        Ok(())
    }

    /// The same from the end, and all of them.
    pub(super) fn parts_back(
        &self,
        contact: ContactId,
        side: Side,
        mut visit: impl FnMut(Part) -> Result<bool>,
    ) -> Result<()> {
        let first = self.filed()?.saturating_add(1);
        if !visit(Part { first, last: Seq::MAX, count: None })? {
            return Ok(());
        }
        let mut statement = self.prepare_cached(
            "SELECT first, last, count FROM part WHERE contact = ?1 AND ours = ?2 ORDER BY last DESC",
        )?;
        let mut rows = statement.query(params![contact, side == Side::Ours])?;
        while let Some(row) = rows.next()? {
            let count: i64 = row.get(2)?;
            let part = Part { first: row.get(0)?, last: row.get(1)?, count: Some(count.unsigned_abs()) };
            if !visit(part)? {
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
                     SELECT seq FROM sent WHERE seq BETWEEN ?2 AND min(?3, (SELECT indexed FROM filed))
                         AND contact = ?1 AND kind = ?4)",
                "DELETE FROM sent WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            ),
            (
                Side::Theirs,
                "DELETE FROM search WHERE rowid IN (
                     SELECT seq FROM received WHERE seq BETWEEN ?2 AND min(?3, (SELECT indexed FROM filed))
                         AND contact = ?1 AND kind = ?4)",
                "DELETE FROM received WHERE seq BETWEEN ?2 AND ?3 AND contact = ?1",
            ),
        ] {
            self.parts_after(contact, side, 0, |part| {
                let text = crate::protocol::peer::Kind::TEXT.0;
                self.prepare_cached(forget)?.execute(params![contact, part.first, part.last, text])?;
                self.prepare_cached(remove)?.execute([contact, part.first, part.last])?;
                Ok(true)
            })?;
        }
        self.prepare_cached("DELETE FROM part WHERE contact = ?1")?.execute([contact])?;
        Ok(())
    }
}
