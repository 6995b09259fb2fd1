//! The words of what was said. Writing and receiving do not pay for them: they are added in slices, some time later.

use rusqlite::{OptionalExtension, params};

use super::super::Result;
use super::messages::{received, sent};
use super::{ContactId, Entry, Journal, Seq};
use crate::protocol::peer::Kind;

impl Journal {
    /// Whose messages are not all in the index, with the first that is not.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn not_indexed(&self) -> Result<Vec<(ContactId, Seq)>> {
        let mut statement = self.prepare_cached(
            "SELECT id, coalesce(min(ours, theirs), ours, theirs) AS first FROM (
                 SELECT id,
                     (SELECT min(seq) FROM sent WHERE contact = id AND seq > indexed) AS ours,
                     (SELECT min(seq) FROM received WHERE contact = id AND seq > indexed) AS theirs
                 FROM contact)
             WHERE first IS NOT NULL",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds the next messages of a contact to the index, about as many as `messages` and `bytes` say, and
    /// returns the first that is not in it, if there are more.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn index(&self, contact: ContactId, messages: u32, bytes: usize) -> Result<Option<Seq>> {
        // No further in either table than both are read: the mark goes over all that is below it.
        let end: Option<Seq> = self
            .prepare_cached(
                "SELECT max(seq) FROM (
                     SELECT seq FROM (SELECT seq FROM sent
                         WHERE contact = ?1 AND seq > (SELECT indexed FROM contact WHERE id = ?1)
                         ORDER BY seq LIMIT ?2)
                     UNION ALL
                     SELECT seq FROM (SELECT seq FROM received
                         WHERE contact = ?1 AND seq > (SELECT indexed FROM contact WHERE id = ?1)
                         ORDER BY seq LIMIT ?2)
                     ORDER BY seq LIMIT ?2)",
            )?
            .query_row(params![contact, messages], |row| row.get(0))?;
        let Some(end) = end else {
            return Ok(None);
        };
        let mut both = self.prepare_cached(
            "SELECT seq, kind, body FROM sent
                 WHERE contact = ?1 AND seq > (SELECT indexed FROM contact WHERE id = ?1) AND seq <= ?2
             UNION ALL
             SELECT seq, kind, body FROM received
                 WHERE contact = ?1 AND seq > (SELECT indexed FROM contact WHERE id = ?1) AND seq <= ?2
             ORDER BY seq",
        )?;
        let mut add =
            self.prepare_cached("INSERT INTO search (rowid, owner, body, contact) VALUES (?1, ?2, ?3, ?2)")?;
        let mut rows = both.query(params![contact, end])?;
        let (mut last, mut size) = (0, 0);
        while size < bytes
            && let Some(row) = rows.next()?
        {
            last = row.get(0)?;
            if Kind(row.get(1)?) == Kind::TEXT {
                let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
                size += body.len();
                add.execute(params![last, contact, String::from_utf8_lossy(body)])?;
            }
        }
        self.prepare_cached("UPDATE contact SET indexed = ?2 WHERE id = ?1")?
            .execute(params![contact, last])?;
        Ok(self
            .prepare_cached(
                "SELECT min(seq) FROM (
                     SELECT min(seq) AS seq FROM sent WHERE contact = ?1 AND seq > ?2
                     UNION ALL
                     SELECT min(seq) FROM received WHERE contact = ?1 AND seq > ?2)",
            )?
            .query_row(params![contact, last], |row| row.get(0))?)
    }

    /// Removes the words of what was said with a contact.
    pub(super) fn remove_indexed(&self, contact: ContactId) -> Result<()> {
        self.prepare_cached(
            "DELETE FROM search WHERE rowid IN (
                 SELECT seq FROM sent WHERE contact = ?1
                     AND seq <= (SELECT indexed FROM contact WHERE id = ?1) AND kind = ?2
                 UNION ALL
                 SELECT seq FROM received WHERE contact = ?1
                     AND seq <= (SELECT indexed FROM contact WHERE id = ?1) AND kind = ?2)",
        )?
        .execute(params![contact, Kind::TEXT.0])?;
        Ok(())
    }

    /// The latest `count` messages in the index that hold all these words, the last of which may go on; newest
    /// first. Only those of `contact`, if it is given.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn search(
        &self,
        words: &[String],
        contact: Option<ContactId>,
        count: u32,
    ) -> Result<Vec<(ContactId, Entry)>> {
        let mut statement = self.prepare_cached(
            "SELECT rowid, contact FROM search WHERE search MATCH ?1 ORDER BY rowid DESC LIMIT ?2",
        )?;
        let rows = statement
            .query_map(params![expression(words, contact), count], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<(Seq, ContactId)> = rows.collect::<Result<_, _>>()?;
        let mut entries = Vec::with_capacity(found.len());
        for (seq, contact) in found {
            entries.extend(self.entry(contact, seq)?.map(|entry| (contact, entry)));
        }
        Ok(entries)
    }

    /// What stands at a place of the conversation with a contact.
    fn entry(&self, contact: ContactId, seq: Seq) -> Result<Option<Entry>> {
        let ours = self
            .prepare_cached(
                "SELECT seq, epoch, value, kind, written, body FROM sent JOIN epoch ON epoch.id = epoch
                 WHERE contact = ?1 AND seq = ?2",
            )?
            .query_row(params![contact, seq], |row| sent(row).map(Entry::Sent))
            .optional()?;
        if ours.is_some() {
            return Ok(ours);
        }
        Ok(self
            .prepare_cached(
                "SELECT seq, epoch, number, kind, written, arrived, body FROM received
                 WHERE contact = ?1 AND seq = ?2",
            )?
            .query_row(params![contact, seq], |row| received(row).map(Entry::Received))
            .optional()?)
    }
}

/// What FTS5 is asked. Each word stands in quotes, so that nothing in it means anything but itself.
fn expression(words: &[String], contact: Option<ContactId>) -> String {
    let quoted: Vec<String> =
        words.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\"").replace('\0', " "))).collect();
    // A single letter would find almost everything.
    let goes_on = if words.last().is_some_and(|word| word.chars().nth(1).is_some()) { " *" } else { "" };
    let body = format!("body : ({}{goes_on})", quoted.join(" "));
    match contact {
        Some(contact) => format!("owner : \"{contact}\" AND {body}"),
        None => body,
    }
}
