//! What the user has seen: up to where each conversation was shown and read, and which one the user is in.
//!
//! A message is unread until the user enters its conversation, is in it when it is shown, writes there after it was shown, or
//! looks at a history that shows all that is unread. How far the user is, is kept in the journal, some time later.
//!
//! Each front end has a conversation of its own, and is told everything once: where there was no room for it, from the
//! journal, later. One that comes is told what none has shown yet.
//!
//! `rooms` is what rooms have beyond users; `catch_up` tells what there was no room for; `prompts` is what prompts show.

use std::collections::{BTreeMap, BTreeSet};

use super::super::addressee::{Addressee, RoomLabel};
use super::super::event::{BoxId, WITNESS};
use super::super::notice::{Body, MANY_UNREAD, Notice};
use super::effects::Effects;
use super::roster::Roster;
use crate::protocol::peer::{Cursor, Message};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, ConversationId, Journal, Reading, RoomId, Seq, dropped};
use crate::undo::{Table, Value, transactional};
use prompts::Prompts;
use rooms::Room;
pub use rooms::Writer;

mod catch_up;
mod prompts;
mod rooms;

/// See the module.
#[derive(Debug)]
pub struct Conversations {
    threads: Table<BTreeMap<ConversationId, Thread>>,
    /// What the rooms are called.
    rooms: Table<BTreeMap<RoomId, Room>>,
    /// Where each front end is, if it is in a conversation.
    current: Table<BTreeMap<BoxId, ConversationId>>,
    /// How many messages are unread of each contact and room that has any.
    unread: Table<BTreeMap<Addressee, u64>>,
    /// The front ends that are still to be told something of a conversation that is in the journal, and from where on.
    behind: Table<BTreeMap<(ConversationId, BoxId), Seq>>,
    /// Up to where theirs were shown to others than these front ends, before they came, and were not read then.
    missed: Table<BTreeMap<(ConversationId, BoxId), Seq>>,
    /// Those that are still to be told of deliveries, and from where on.
    unannounced: Table<BTreeMap<(ContactId, BoxId), Seq>>,
    /// The front ends that say themselves what is read there.
    reads: Value<BTreeSet<BoxId>>,
    /// Where unread messages must be counted again.
    uncounted: Value<BTreeSet<ConversationId>>,
    /// Whose reading is to be saved, some time.
    unsaved: Value<BTreeSet<ConversationId>>,
    /// This account's key.
    own: PublicKey,
    prompts: Prompts,
}

/// How far the user is in one conversation.
#[derive(Debug, Clone, Default)]
struct Thread {
    reading: Reading,
    /// How many of theirs are unread, counted up to a bound.
    unread: u64,
    /// Up to where theirs have been told to every front end that is not behind.
    told: Seq,
    /// The last of theirs that is known of; [`Seq::MAX`] as long as that was not looked for.
    last: Seq,
    /// Messages up to here were in the journal at the start.
    start: Seq,
}

/// How far a conversation is read, where that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadUpTo {
    pub who: Addressee,
    pub up_to: Seq,
    pub unread: u64,
}

impl Thread {
    /// As it is at the start, whose last seq that is.
    fn load(reading: Reading, unread: u64, start: Seq) -> Self {
        Self { reading, unread, told: reading.shown, last: Seq::MAX, start }
    }
}

impl Conversations {
    /// `own` is this account's key, and `start` the last seq in the journal.
    pub fn load(journal: &Journal, own: PublicKey, rows: &[ContactRow], start: Seq) -> Result<Self> {
        let (mut threads, mut counts, mut rooms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for row in journal.rooms()? {
            let room = Room { label: RoomLabel { name: row.name, number: row.number }, key: row.key };
            let unread = journal.count_said_after(row.id, own, row.reading.read, MANY_UNREAD)?;
            if unread > 0 {
                counts.insert(Addressee::Room(room.label.clone()), unread);
            }
            rooms.insert(row.id, room);
            threads.insert(ConversationId::Room(row.id), Thread::load(row.reading, unread, start));
        }
        for row in rows {
            let unread = journal.count_received_after(row.id, row.reading.read, MANY_UNREAD)?;
            if unread > 0 {
                counts.insert(Addressee::User(row.name.clone()), unread);
            }
            let thread = Thread::load(row.reading, unread, start);
            threads.insert(ConversationId::User(row.id), thread);
        }
        Ok(Self {
            threads: Table::new(threads),
            rooms: Table::new(rooms),
            current: Table::default(),
            unread: Table::new(counts),
            behind: Table::default(),
            missed: Table::default(),
            unannounced: Table::default(),
            reads: Value::default(),
            uncounted: Value::default(),
            unsaved: Value::default(),
            own,
            prompts: Prompts::default(),
        })
    }

    /// A front end has come: it is told what none has shown yet.
    pub fn attach(&mut self, front_end: BoxId) {
        let unshown = self.threads.iter().filter(|(_, thread)| thread.last > thread.reading.shown);
        let unshown: Vec<_> = unshown.map(|(id, thread)| (*id, thread.reading.shown)).collect();
        for (id, shown) in unshown {
            self.behind.insert((id, front_end), shown);
        }
        let is_missed = |thread: &Thread| thread.unread > 0 && thread.reading.read < thread.reading.shown;
        let missed = self.threads.iter().filter(|(_, thread)| is_missed(thread));
        let missed: Vec<_> = missed.map(|(id, thread)| (*id, thread.reading.shown)).collect();
        missed.into_iter().for_each(|(id, shown)| _ = self.missed.insert((id, front_end), shown));
    }

    /// A front end has gone.
    pub fn detach(&mut self, front_end: BoxId) {
        let told: Vec<_> = self.behind.keys().filter(|(_, it)| *it == front_end).copied().collect();
        told.iter().for_each(|key| _ = self.behind.remove(key));
        let missed: Vec<_> = self.missed.keys().filter(|(_, it)| *it == front_end).copied().collect();
        missed.iter().for_each(|key| _ = self.missed.remove(key));
        let told: Vec<_> = self.unannounced.keys().filter(|(_, it)| *it == front_end).copied().collect();
        told.iter().for_each(|key| _ = self.unannounced.remove(key));
        self.current.remove(&front_end);
        if self.reads.contains(&front_end) {
            self.reads.remove(&front_end);
        }
        self.prompts.detach(front_end);
    }

    pub fn add(&mut self, id: ContactId) {
        self.threads.insert(ConversationId::User(id), Thread::default());
        self.contacts_changed();
    }

    pub fn remove(&mut self, id: ContactId, name: &Name) {
        self.unread.remove(&Addressee::User(name.clone()));
        self.remove_thread(ConversationId::User(id));
    }

    fn remove_thread(&mut self, id: ConversationId) {
        self.threads.remove(&id);
        self.uncounted.remove(&id);
        self.unsaved.remove(&id);
        let told: Vec<_> = self.behind.keys().filter(|(it, _)| *it == id).copied().collect();
        told.iter().for_each(|key| _ = self.behind.remove(key));
        let missed: Vec<_> = self.missed.keys().filter(|(it, _)| *it == id).copied().collect();
        missed.iter().for_each(|key| _ = self.missed.remove(key));
        if let ConversationId::User(contact) = id {
            let told: Vec<_> = self.unannounced.keys().filter(|(it, _)| *it == contact).copied().collect();
            told.iter().for_each(|key| _ = self.unannounced.remove(key));
        }
        for front_end in self.in_it(id) {
            self.current.remove(&front_end);
        }
        self.contacts_changed();
    }

    /// Contacts or rooms have other names than before.
    pub fn contacts_changed(&mut self) {
        self.prompts.names_changed();
    }

    /// Where a front end is.
    pub fn current(&self, front_end: BoxId) -> Option<ConversationId> {
        self.current.get(&front_end).copied()
    }

    /// The front ends that are in a conversation.
    pub fn in_it(&self, id: ConversationId) -> Vec<BoxId> {
        self.current.iter().filter(|(_, current)| **current == id).map(|(front_end, _)| *front_end).collect()
    }

    /// Whether the user is in the conversation with the contact, in any front end.
    pub fn is_with(&self, id: ContactId) -> bool {
        self.current.values().any(|current| *current == ConversationId::User(id))
    }

    /// A front end enters a conversation, or with `None` leaves the one that it is in. Returns whether that is news.
    pub fn enter(&mut self, front_end: BoxId, conversation: Option<ConversationId>) -> bool {
        let changed = self.current(front_end) != conversation;
        match conversation {
            Some(conversation) => _ = self.current.insert(front_end, conversation),
            None => _ = self.current.remove(&front_end),
        }
        if changed {
            self.prompts.changed(front_end);
        }
        changed
    }

    /// How many of the others' messages are unread, counted up to [`MANY_UNREAD`].
    pub fn unread(&self, id: ConversationId) -> u64 {
        self.threads.get(&id).map_or(0, |thread| thread.unread)
    }

    /// Up to where the others' messages have been given to a front end.
    fn handed(&self, front_end: BoxId, id: ConversationId) -> Seq {
        let told = || self.threads.get(&id).map_or(0, |thread| thread.told);
        self.behind.get(&(id, front_end)).copied().unwrap_or_else(told)
    }

    /// Who is at the other side of a conversation, or which room it is.
    pub fn addressee(&self, roster: &Roster, id: ConversationId) -> Option<Addressee> {
        match id {
            ConversationId::User(id) => roster.name(id).cloned().map(Addressee::User),
            ConversationId::Room(id) => self.rooms.get(&id).map(|room| Addressee::Room(room.label.clone())),
        }
    }

    /// The conversation that a front end is in.
    pub fn with(&self, front_end: BoxId, roster: &Roster) -> Option<Addressee> {
        self.addressee(roster, self.current(front_end)?)
    }

    /// The first message of a contact that is unread.
    pub fn oldest_unread(&self, journal: &Journal, id: ContactId) -> Result<Option<Seq>> {
        let mut oldest = None;
        let thread = self.threads.get(&ConversationId::User(id));
        if let Some(thread) = thread.filter(|thread| thread.unread > 0) {
            journal.received_after(id, thread.reading.read, |received| {
                oldest = Some(received.seq);
                false
            })?;
        }
        Ok(oldest)
    }

    /// How many of ours stand among and after what is unread of a contact.
    pub fn own_among_unread(&self, journal: &Journal, id: ContactId) -> Result<u64> {
        let oldest = self.oldest_unread(journal, id)?;
        oldest.map_or(Ok(0), |oldest| journal.count_sent_after(id, oldest))
    }

    /// A message has come in. Where there is no room to tell it, it stays in the journal for now.
    pub fn received(
        &mut self,
        fx: &mut Effects,
        id: ContactId,
        name: &Name,
        stranger: bool,
        seq: Seq,
        message: &Message,
    ) {
        let id = ConversationId::User(id);
        self.count(id, || Addressee::User(name.clone()));
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        thread.last = seq;
        if fx.output.readers().next().is_none() {
            return;
        }
        let before = std::mem::replace(&mut thread.told, seq);
        let said = Body::of(message, dropped(message));
        let notice = message_notice(name, message, said, fx.now.wall, false, stranger);
        let behind = &self.behind;
        let full = fx.output.show(id, seq, notice, |front_end| behind.contains_key(&(id, front_end)));
        for front_end in full {
            self.behind.insert((id, front_end), before);
        }
    }

    /// One more message is unread.
    fn count(&mut self, id: ConversationId, from: impl FnOnce() -> Addressee) {
        if let Some(thread) = self.threads.get_mut(&id)
            && thread.unread < MANY_UNREAD
        {
            thread.unread += 1;
            self.unread.insert(from(), thread.unread);
            self.prompts.all_changed();
        }
    }

    /// A message of ours has been delivered. Where there is no room to tell it, that is left for later.
    pub fn delivered(&mut self, fx: &mut Effects, id: ContactId, name: &Name, seq: Seq, message: Cursor) {
        if !self.threads.contains_key(&ConversationId::User(id)) {
            return;
        }
        let (notice, unannounced) = (Notice::Delivered { id: message, to: name.clone() }, &self.unannounced);
        let full = fx.output.tell_ready(notice, |front_end| unannounced.contains_key(&(id, front_end)));
        full.into_iter().for_each(|front_end| _ = self.unannounced.insert((id, front_end), seq - 1));
    }

    /// A front end has written the others' messages up to there. In its conversation they are read with that.
    pub fn written(&mut self, front_end: BoxId, id: ConversationId, seq: Seq) {
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        if thread.reading.shown < seq && front_end != WITNESS {
            thread.reading.shown = seq;
            self.unsaved.insert(id);
        }
        if self.current(front_end) == Some(id) {
            self.mark_read(id, seq);
        }
    }

    /// A front end says itself what is read there, from now on.
    pub fn reads(&mut self, front_end: BoxId) {
        self.reads.insert(front_end);
    }

    /// The user writes there in a front end, and has read what that has shown. Where something unread was shown before it
    /// came, by an earlier session or another box, that may be long gone from the screen, and all stays unread.
    pub fn wrote(&mut self, front_end: BoxId, id: ConversationId) {
        if self.reads.contains(&front_end) {
            return;
        }
        let missed = self.missed.get(&(id, front_end)).copied().unwrap_or_default();
        let seen = self.threads.get(&id).filter(|thread| thread.reading.read >= missed);
        if let Some(shown) = seen.map(|thread| thread.reading.shown) {
            self.mark_read(id, shown.min(self.handed(front_end, id)));
        }
    }

    /// The user has read everything that the others wrote up to there.
    pub fn mark_read(&mut self, id: ConversationId, up_to: Seq) {
        let news = |thread: &Thread| thread.unread > 0 && thread.reading.read < up_to;
        if self.threads.get(&id).is_some_and(news)
            && let Some(thread) = self.threads.get_mut(&id)
        {
            thread.reading.read = up_to;
            self.unsaved.insert(id);
            self.uncounted.insert(id);
        }
    }

    /// Counts again what is unread, where something was read, and says how far that is.
    pub fn recount(&mut self, journal: &Journal, roster: &Roster) -> Result<Vec<ReadUpTo>> {
        if self.uncounted.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = Vec::new();
        for id in std::mem::take(&mut *self.uncounted) {
            let who = self.addressee(roster, id);
            let (Some(thread), Some(who)) = (self.threads.get_mut(&id), who) else {
                continue;
            };
            let last = match id {
                ConversationId::User(contact) => journal.last_received(contact)?,
                ConversationId::Room(room) => journal.last_said(room)?,
            };
            // A seq beyond may be given out again, if its message is removed.
            thread.reading.read = thread.reading.read.min(last);
            let up_to = thread.reading.read;
            thread.unread = match id {
                ConversationId::User(contact) => journal.count_received_after(contact, up_to, MANY_UNREAD)?,
                ConversationId::Room(room) => journal.count_said_after(room, self.own, up_to, MANY_UNREAD)?,
            };
            match thread.unread {
                0 => _ = self.unread.remove(&who),
                unread => _ = self.unread.insert(who.clone(), unread),
            }
            read.push(ReadUpTo { who, up_to, unread: thread.unread });
            self.prompts.all_changed();
        }
        Ok(read)
    }

    /// How far a conversation is read, and what is unread then.
    pub fn read_up_to(&self, id: ConversationId) -> Option<(Seq, u64)> {
        self.threads.get(&id).map(|thread| (thread.reading.read, thread.unread))
    }

    /// Whether something is to be saved, some time.
    pub fn is_behind(&self) -> bool {
        !self.unsaved.is_empty()
    }

    pub fn save(&mut self, journal: &Journal) -> Result<()> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        for id in std::mem::take(&mut *self.unsaved) {
            if let Some(thread) = self.threads.get(&id) {
                match id {
                    ConversationId::User(contact) => journal.save_reading(contact, &thread.reading)?,
                    ConversationId::Room(room) => journal.save_room_reading(room, &thread.reading)?,
                }
            }
        }
        Ok(())
    }
}

fn message_notice(
    from: &Name,
    message: &Message,
    text: Body,
    arrived: i64,
    replayed: bool,
    stranger: bool,
) -> Notice {
    Notice::Message {
        id: message.id(),
        from: from.clone(),
        text,
        sent: message.sent,
        received: arrived,
        replayed,
        stranger,
        room: None,
        room_id: None,
        unknown: false,
    }
}

transactional!(Conversations {
    threads,
    rooms,
    current,
    unread,
    behind,
    missed,
    unannounced,
    reads,
    uncounted,
    unsaved,
    prompts
});

#[cfg(test)]
mod tests;
