//! The words of what was said. Writing and receiving do not pay for them: they are added in slices, some time later.

use rusqlite::params;

use super::super::Result;
use super::{ContactId, ConversationId, Entry, Journal, RoomId, Said, Seq};
use crate::protocol::peer::Kind;

/// What a search finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    With(ContactId, Entry),
    In(RoomId, Said),
}

impl Journal {
    /// The first message that is not in the index, if there is one.
    pub fn not_indexed(&self) -> Result<Option<Seq>> {
        Ok(self.one(
            "SELECT min(seq) FROM (
                 SELECT min(seq) AS seq FROM sent WHERE seq > (SELECT indexed FROM sealed)
                 UNION ALL
                 SELECT min(seq) FROM received WHERE seq > (SELECT indexed FROM sealed)
                 UNION ALL
                 SELECT min(seq) FROM room_entry WHERE seq > (SELECT indexed FROM sealed))",
            [],
            |row| row.get(0),
        )?)
    }

    /// Adds the next messages to the index, about as many as `messages` and `bytes` say, and returns the first that
    /// is not in it, if there are more.
    pub fn index(&self, messages: u32, bytes: usize) -> Result<Option<Seq>> {
        let mut both = self.prepare_cached(
            "SELECT seq, contact, kind, body, repeats IS NOT NULL FROM sent WHERE seq > (SELECT indexed FROM sealed)
             UNION ALL
             SELECT seq, contact, kind, body, 0 FROM received WHERE seq > (SELECT indexed FROM sealed)
             UNION ALL
             SELECT seq, -room, kind, body, 0 FROM room_entry WHERE seq > (SELECT indexed FROM sealed)
             ORDER BY seq LIMIT ?1",
        )?;
        let mut add =
            self.prepare_cached("INSERT INTO search (rowid, owner, body, contact) VALUES (?1, ?4, ?3, ?2)")?;
        let mut rows = both.query([messages])?;
        let (mut last, mut size) = (None, 0);
        while size < bytes
            && let Some(row) = rows.next()?
        {
            let seq: Seq = row.get(0)?;
            last = Some(seq);
            if Kind(row.get(2)?) == Kind::TEXT && !row.get::<_, bool>(4)? {
                let body = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
                size += body.len();
                let with = row.get(1)?;
                add.execute(params![seq, with, String::from_utf8_lossy(body), owner(conversation(with))])?;
            }
        }
        if let Some(last) = last {
            self.run("UPDATE sealed SET indexed = ?1", [last])?;
        }
        self.not_indexed()
    }

    /// The latest `count` messages in the index that hold all these words, the last of which may go on; newest
    /// first. Only those of one conversation, if it is given.
    pub fn search(&self, words: &[String], within: Option<ConversationId>, count: u32) -> Result<Vec<Found>> {
        let found: Vec<(Seq, i64)> = self.all(
            "SELECT rowid, contact FROM search WHERE search MATCH ?1 ORDER BY rowid DESC LIMIT ?2",
            params![expression(words, within), count],
            |row| row.try_into(),
        )?;
        let mut entries = Vec::with_capacity(found.len());
        for (seq, with) in found {
            entries.extend(match conversation(with) {
                ConversationId::User(contact) => self.entry(contact, seq)?.map(|it| Found::With(contact, it)),
                ConversationId::Room(room) => self.said_at(seq)?.map(|it| Found::In(room, it)),
            });
        }
        Ok(entries)
    }
}

/// What FTS5 is asked. Each word stands in quotes, so that nothing in it means anything but itself.
fn expression(words: &[String], within: Option<ConversationId>) -> String {
    let quoted: Vec<String> =
        words.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\"").replace('\0', " "))).collect();
    // A single letter would find almost everything.
    let goes_on = if words.last().is_some_and(|word| word.chars().nth(1).is_some()) { " *" } else { "" };
    let body = format!("body : ({}{goes_on})", quoted.join(" "));
    match within {
        Some(within) => format!("owner : \"{}\" AND {body}", owner(within)),
        None => body,
    }
}

/// The word that finds what was said in a conversation.
fn owner(with: ConversationId) -> String {
    match with {
        ConversationId::User(contact) => contact.to_string(),
        ConversationId::Room(room) => format!("r{room}"),
    }
}

/// Where it was said, as it stands in the index: rooms are the negative numbers.
fn conversation(number: i64) -> ConversationId {
    if number < 0 { ConversationId::Room(-number) } else { ConversationId::User(number) }
}
