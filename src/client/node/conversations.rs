//! What the user has seen: up to where each conversation was shown and read, and which one the user is in.
//!
//! A message is unread until the user enters its conversation, is in it when it is shown, writes there after it was shown, or
//! looks at a history that shows all that is unread. How far the user is, is kept in the journal, some time later. `rooms` is what rooms have beyond users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::addressee::{Addressee, RoomLabel};
use super::super::event::Prompt;
use super::super::notice::{Body, MANY_UNREAD, Notice};
use super::effects::Effects;
use super::roster::Roster;
use crate::protocol::peer::{Cursor, Message};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{
    ContactId, ContactRow, ConversationId, Journal, Reading, RoomId, Seq, Standing, dropped,
};
use crate::undo::{Table, Transactional, Value, transactional};
use rooms::Room;
pub use rooms::Writer;

mod rooms;

/// See the module.
#[derive(Debug)]
pub struct Conversations {
    threads: Table<BTreeMap<ConversationId, Thread>>,
    /// What the rooms are called.
    rooms: Table<BTreeMap<RoomId, Room>>,
    current: Value<Option<ConversationId>>,
    /// How many messages are unread of each contact and room that has any.
    unread: Table<BTreeMap<Addressee, u64>>,
    /// The conversations of which something in the journal is still to be told.
    behind: Value<BTreeSet<ConversationId>>,
    /// Where unread messages must be counted again.
    uncounted: Value<BTreeSet<ConversationId>>,
    /// Whose reading is to be saved, some time.
    unsaved: Value<BTreeSet<ConversationId>>,
    /// This account's key.
    own: PublicKey,
    shown: Shown,
}

/// What the prompt shows.
#[derive(Debug, Default)]
struct Shown {
    names: Arc<[Name]>,
    rooms: Arc<[RoomLabel]>,
    /// Contacts or rooms have been added or removed since `names` and `rooms` were made.
    names_changed: bool,
    waiting: u64,
    changed: bool,
}

/// How far the user is in one conversation.
#[derive(Debug, Clone, Default)]
struct Thread {
    reading: Reading,
    /// How many of theirs are unread, counted up to a bound.
    unread: u64,
    /// Up to where theirs have been given to the console; beyond, they are in the journal if `unshown`.
    handed: Seq,
    unshown: bool,
    /// Up to where deliveries have been told; beyond, they are to be told if `unannounced`.
    announced: Seq,
    unannounced: bool,
    /// Messages up to here were in the journal at the start.
    start: Seq,
    /// Up to where theirs were shown by earlier sessions.
    earlier: Seq,
}

impl Thread {
    /// As it is at the start, whose last seq that is.
    fn load(reading: Reading, unread: u64, announced: Seq, start: Seq) -> Self {
        Self {
            reading,
            unread,
            handed: reading.shown,
            unshown: true,
            announced,
            unannounced: false,
            start,
            earlier: reading.shown,
        }
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
            threads.insert(ConversationId::Room(row.id), Thread::load(row.reading, unread, 0, start));
        }
        for row in rows {
            let unread = journal.count_received_after(row.id, row.reading.read, MANY_UNREAD)?;
            if unread > 0 {
                counts.insert(Addressee::User(row.name.clone()), unread);
            }
            let thread = Thread::load(row.reading, unread, row.outgoing.delivered, start);
            threads.insert(ConversationId::User(row.id), thread);
        }
        Ok(Self {
            behind: Value::new(threads.keys().copied().collect()),
            threads: Table::new(threads),
            rooms: Table::new(rooms),
            current: Value::new(None),
            unread: Table::new(counts),
            uncounted: Value::default(),
            unsaved: Value::default(),
            own,
            shown: Shown { names_changed: true, changed: true, ..Shown::default() },
        })
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
        for ids in [&mut self.behind, &mut self.uncounted, &mut self.unsaved] {
            ids.remove(&id);
        }
        if *self.current == Some(id) {
            *self.current = None;
        }
        self.contacts_changed();
    }

    /// Contacts or rooms have other names than before.
    pub fn contacts_changed(&mut self) {
        self.shown.names_changed = true;
    }

    pub fn current(&self) -> Option<ConversationId> {
        *self.current
    }

    /// Whether the user is in the conversation with the contact.
    pub fn is_with(&self, id: ContactId) -> bool {
        self.current() == Some(ConversationId::User(id))
    }

    /// The user enters a conversation, or with `None` leaves the one that they are in. Returns whether that is news.
    pub fn enter(&mut self, conversation: Option<ConversationId>) -> bool {
        let changed = *self.current != conversation;
        *self.current = conversation;
        self.shown.changed |= changed;
        changed
    }

    /// How many of the others' messages are unread, counted up to [`MANY_UNREAD`].
    pub fn unread(&self, id: ConversationId) -> u64 {
        self.threads.get(&id).map_or(0, |thread| thread.unread)
    }

    /// Who is at the other side of a conversation, or which room it is.
    pub fn addressee(&self, roster: &Roster, id: ConversationId) -> Option<Addressee> {
        match id {
            ConversationId::User(id) => roster.name(id).cloned().map(Addressee::User),
            ConversationId::Room(id) => self.rooms.get(&id).map(|room| Addressee::Room(room.label.clone())),
        }
    }

    /// The conversation that the user is in.
    pub fn with(&self, roster: &Roster) -> Option<Addressee> {
        self.addressee(roster, self.current()?)
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
        if thread.unshown || fx.output.is_silent() || !fx.output.has_room() {
            thread.unshown = true;
            self.leave_behind(id);
        } else {
            thread.handed = seq;
            let said = Body::of(message, dropped(message));
            let notice = message_notice(name, message, said, fx.now.wall, false, stranger);
            fx.output.show(id, seq, Some(notice));
        }
    }

    /// Something in the journal is still to be told.
    fn leave_behind(&mut self, id: ConversationId) {
        // A set that is changed is copied.
        if !self.behind.contains(&id) {
            self.behind.insert(id);
        }
    }

    /// One more message is unread.
    fn count(&mut self, id: ConversationId, from: impl FnOnce() -> Addressee) {
        if let Some(thread) = self.threads.get_mut(&id)
            && thread.unread < MANY_UNREAD
        {
            thread.unread += 1;
            self.unread.insert(from(), thread.unread);
            self.shown.changed = true;
        }
    }

    /// A message of ours has been delivered. Where there is no room to tell it, that is left for later.
    pub fn delivered(&mut self, fx: &mut Effects, id: ContactId, name: &Name, seq: Seq, message: Cursor) {
        let id = ConversationId::User(id);
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        if thread.unannounced || !fx.output.has_room() {
            thread.unannounced = true;
            self.behind.insert(id);
        } else {
            thread.announced = seq;
            fx.tell(Notice::Delivered { id: message, to: name.clone() });
        }
    }

    /// The console has written the others' messages up to there. In their conversation they are read with that.
    pub fn written(&mut self, id: ConversationId, seq: Seq) {
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        if thread.reading.shown < seq {
            thread.reading.shown = seq;
            self.unsaved.insert(id);
        }
        if *self.current == Some(id) {
            self.mark_read(id, seq);
        }
    }

    /// The user writes there, and has read what this session has shown. Where an earlier one has shown something unread, it
    /// may be long gone from the screen, and all stays unread.
    pub fn wrote(&mut self, id: ConversationId) {
        let seen = self.threads.get(&id).filter(|thread| thread.reading.read >= thread.earlier);
        if let Some(shown) = seen.map(|thread| thread.reading.shown) {
            self.mark_read(id, shown);
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

    /// Tells what was left in the journal, as far as there is room. `delivered` says up to where a contact has ours,
    /// `writer` who has written in a room.
    pub fn catch_up(
        &mut self,
        fx: &mut Effects,
        journal: &Journal,
        roster: &Roster,
        delivered: impl Fn(ContactId) -> Seq,
        writer: impl Fn(RoomId, &PublicKey) -> Option<Writer>,
    ) -> Result<()> {
        // In silence there is nothing to catch up with.
        if self.behind.is_empty() || fx.output.is_silent() {
            return Ok(());
        }
        for id in self.behind.clone() {
            let all_told = match id {
                ConversationId::User(contact) => {
                    self.catch_up_with(fx, journal, roster, contact, delivered(contact))?
                }
                ConversationId::Room(room) => {
                    self.catch_up_in(fx, journal, room, |author| writer(room, author))?
                }
            };
            if all_told {
                self.behind.remove(&id);
            }
        }
        Ok(())
    }

    /// Tells what was left in the journal of a contact. Returns whether that is all.
    fn catch_up_with(
        &mut self,
        fx: &mut Effects,
        journal: &Journal,
        roster: &Roster,
        contact: ContactId,
        delivered: Seq,
    ) -> Result<bool> {
        let id = ConversationId::User(contact);
        let (Some(thread), Some(name)) = (self.threads.get_mut(&id), roster.name(contact)) else {
            return Ok(false);
        };
        let mut room = true;
        let stranger = roster.standing(contact) == Some(Standing::Stranger);
        if thread.unshown {
            journal.received_after(contact, thread.handed, |received| {
                room = fx.output.has_room();
                if room {
                    let replayed = received.seq <= thread.start;
                    let said = Body::of(&received.message, received.dropped);
                    let (message, arrived) = (&received.message, received.arrived);
                    let notice = message_notice(name, message, said, arrived, replayed, stranger);
                    fx.output.show(id, received.seq, Some(notice));
                    thread.handed = received.seq;
                }
                room
            })?;
            thread.unshown = !room;
        }
        if thread.unannounced {
            journal.sent_after(contact, thread.announced, |sent| {
                room = fx.output.has_room();
                let told = room && sent.seq <= delivered;
                if told {
                    thread.announced = sent.seq;
                    fx.tell(Notice::Delivered { id: sent.message.id(), to: name.clone() });
                }
                told
            })?;
            thread.unannounced = !room;
        }
        Ok(!thread.unshown && !thread.unannounced)
    }

    /// Counts again what is unread, where something was read.
    pub fn recount(&mut self, journal: &Journal, roster: &Roster) -> Result<()> {
        if self.uncounted.is_empty() {
            return Ok(());
        }
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
            let read = thread.reading.read;
            thread.unread = match id {
                ConversationId::User(contact) => journal.count_received_after(contact, read, MANY_UNREAD)?,
                ConversationId::Room(room) => journal.count_said_after(room, self.own, read, MANY_UNREAD)?,
            };
            match thread.unread {
                0 => _ = self.unread.remove(&who),
                unread => _ = self.unread.insert(who, unread),
            }
            self.shown.changed = true;
        }
        Ok(())
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

    /// What the prompt is to show, if that has changed. `waiting` is how many messages of the conversation that the user is in
    /// wait here, because there is no link.
    pub fn prompt(&mut self, roster: &Roster, waiting: u64) -> Option<Prompt> {
        let conversation = self.with(roster);
        let shown = &mut self.shown;
        if std::mem::take(&mut shown.names_changed) {
            let mut names: Vec<Name> = roster.known().map(|(_, person)| person.name.clone()).collect();
            names.sort_unstable();
            shown.names = names.into();
            let mut rooms: Vec<RoomLabel> = self.rooms.values().map(|room| room.label.clone()).collect();
            rooms.sort_unstable();
            shown.rooms = rooms.into();
            shown.changed = true;
        }
        shown.changed |= std::mem::replace(&mut shown.waiting, waiting) != waiting;
        std::mem::take(&mut shown.changed).then(|| Prompt {
            conversation,
            waiting,
            unread: self.unread.clone(),
            contacts: Arc::clone(&shown.names),
            rooms: Arc::clone(&shown.rooms),
        })
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

transactional!(Conversations { threads, rooms, current, unread, behind, uncounted, unsaved, shown });

impl Transactional for Shown {
    fn commit(&mut self) {}

    /// At worst the same is shown once more.
    fn rollback(&mut self) {
        self.changed = true;
        self.names_changed = true;
    }
}

#[cfg(test)]
mod tests;
