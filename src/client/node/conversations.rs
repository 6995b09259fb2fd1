//! What the user has seen: up to where each conversation was shown and read, and which one the user is in.
//!
//! A message is unread until the user enters its conversation, is in it when it is shown, writes to its sender, or looks
//! at the history. How far the user is, is kept in the journal, some time later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::event::Prompt;
use super::super::notice::{Body, MANY_UNREAD, Notice};
use super::effects::Effects;
use super::roster::Roster;
use crate::protocol::Name;
use crate::protocol::peer::{Cursor, Message};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Reading, Seq, Standing, dropped};
use crate::undo::{Table, Transactional, Value, transactional};

/// See the module.
#[derive(Debug)]
pub struct Conversations {
    threads: Table<BTreeMap<ContactId, Thread>>,
    current: Value<Option<ContactId>>,
    /// How many messages are unread of each contact who has any.
    unread: Table<BTreeMap<Name, u64>>,
    /// The contacts about whom something in the journal is still to be told.
    behind: Value<BTreeSet<ContactId>>,
    /// Whose unread messages must be counted again.
    uncounted: Value<BTreeSet<ContactId>>,
    /// Whose reading is to be saved, some time.
    unsaved: Value<BTreeSet<ContactId>>,
    /// Messages up to here were in the journal at the start.
    start: Seq,
    shown: Shown,
}

/// What the prompt shows.
#[derive(Debug, Default)]
struct Shown {
    names: Arc<[Name]>,
    /// Contacts have been added or removed since `names` was made.
    names_changed: bool,
    waiting: u64,
    changed: bool,
}

/// How far the user is with one contact.
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
}

impl Conversations {
    /// `start` is the last seq in the journal.
    pub fn load(journal: &Journal, rows: &[ContactRow], start: Seq) -> Result<Self> {
        let (mut threads, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let unread = journal.count_received_after(row.id, row.reading.read, MANY_UNREAD)?;
            if unread > 0 {
                counts.insert(row.name.clone(), unread);
            }
            let thread = Thread {
                reading: row.reading,
                unread,
                handed: row.reading.shown,
                unshown: true,
                announced: row.outgoing.delivered,
                unannounced: false,
            };
            threads.insert(row.id, thread);
        }
        Ok(Self {
            behind: Value::new(threads.keys().copied().collect()),
            threads: Table::new(threads),
            current: Value::new(None),
            unread: Table::new(counts),
            uncounted: Value::default(),
            unsaved: Value::default(),
            start,
            shown: Shown { names_changed: true, changed: true, ..Shown::default() },
        })
    }

    pub fn add(&mut self, id: ContactId) {
        self.threads.insert(id, Thread::default());
        self.contacts_changed();
    }

    pub fn remove(&mut self, id: ContactId, name: &Name) {
        self.threads.remove(&id);
        self.unread.remove(name);
        for ids in [&mut self.behind, &mut self.uncounted, &mut self.unsaved] {
            ids.remove(&id);
        }
        if *self.current == Some(id) {
            *self.current = None;
        }
        self.contacts_changed();
    }

    pub fn contacts_changed(&mut self) {
        self.shown.names_changed = true;
    }

    pub fn current(&self) -> Option<ContactId> {
        *self.current
    }

    /// The user enters a conversation, or with `None` leaves the one that they are in. Returns whether that is news.
    pub fn enter(&mut self, conversation: Option<ContactId>) -> bool {
        let changed = *self.current != conversation;
        *self.current = conversation;
        self.shown.changed |= changed;
        changed
    }

    /// How many of the contact's messages are unread, counted up to [`MANY_UNREAD`].
    pub fn unread(&self, id: ContactId) -> u64 {
        self.threads.get(&id).map_or(0, |thread| thread.unread)
    }

    /// Up to where the contact's messages have been given to the console.
    pub fn handed(&self, id: ContactId) -> Seq {
        self.threads.get(&id).map_or(0, |thread| thread.handed)
    }

    /// How many of ours stand among and after what is unread of a contact.
    pub fn own_among_unread(&self, journal: &Journal, id: ContactId) -> Result<u64> {
        let Some(thread) = self.threads.get(&id).filter(|thread| thread.unread > 0) else {
            return Ok(0);
        };
        let mut oldest = None;
        journal.received_after(id, thread.reading.read, |received| {
            oldest = Some(received.seq);
            false
        })?;
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
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        if thread.unread < MANY_UNREAD {
            thread.unread += 1;
            self.unread.insert(name.clone(), thread.unread);
            self.shown.changed = true;
        }
        if thread.unshown || fx.output.is_silent() || !fx.output.has_room() {
            thread.unshown = true;
            // A set that is changed is copied.
            if !self.behind.contains(&id) {
                self.behind.insert(id);
            }
        } else {
            thread.handed = seq;
            let said = Body::of(message, dropped(message));
            let notice = message_notice(name, message, said, fx.now.wall, false, stranger);
            fx.output.show(id, seq, Some(notice));
        }
    }

    /// A message of ours has been delivered. Where there is no room to tell it, that is left for later.
    pub fn delivered(&mut self, fx: &mut Effects, id: ContactId, name: &Name, seq: Seq, message: Cursor) {
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

    /// The console has written the contact's messages up to there. In their conversation they are read with that.
    pub fn written(&mut self, id: ContactId, seq: Seq) {
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

    /// The user has read everything that the contact wrote up to there.
    pub fn mark_read(&mut self, id: ContactId, up_to: Seq) {
        let news = |thread: &Thread| thread.unread > 0 && thread.reading.read < up_to;
        if self.threads.get(&id).is_some_and(news)
            && let Some(thread) = self.threads.get_mut(&id)
        {
            thread.reading.read = up_to;
            self.unsaved.insert(id);
            self.uncounted.insert(id);
        }
    }

    /// Tells what was left in the journal, as far as there is room. `delivered` says up to where a contact has ours.
    pub fn catch_up(
        &mut self,
        fx: &mut Effects,
        journal: &Journal,
        roster: &Roster,
        delivered: impl Fn(ContactId) -> Seq,
    ) -> Result<()> {
        // In silence there is nothing to catch up with.
        if self.behind.is_empty() || fx.output.is_silent() {
            return Ok(());
        }
        for id in self.behind.clone() {
            let (Some(thread), Some(name)) = (self.threads.get_mut(&id), roster.name(id)) else {
                continue;
            };
            let mut room = true;
            let stranger = roster.standing(id) == Some(Standing::Stranger);
            if thread.unshown {
                journal.received_after(id, thread.handed, |received| {
                    room = fx.output.has_room();
                    if room {
                        let replayed = received.seq <= self.start;
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
                let delivered = delivered(id);
                journal.sent_after(id, thread.announced, |sent| {
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
            if !thread.unshown && !thread.unannounced {
                self.behind.remove(&id);
            }
        }
        Ok(())
    }

    /// Counts again what is unread, where something was read.
    pub fn recount(&mut self, journal: &Journal, roster: &Roster) -> Result<()> {
        if self.uncounted.is_empty() {
            return Ok(());
        }
        for id in std::mem::take(&mut *self.uncounted) {
            let (Some(thread), Some(name)) = (self.threads.get_mut(&id), roster.name(id)) else {
                continue;
            };
            // A seq beyond may be given out again, if its message is removed.
            thread.reading.read = thread.reading.read.min(journal.last_received(id)?);
            thread.unread = journal.count_received_after(id, thread.reading.read, MANY_UNREAD)?;
            match thread.unread {
                0 => _ = self.unread.remove(name),
                unread => _ = self.unread.insert(name.clone(), unread),
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
                journal.save_reading(id, &thread.reading)?;
            }
        }
        Ok(())
    }

    /// What the prompt is to show, if that has changed. `waiting` is how many messages wait for the contact with whom
    /// the user is in conversation, because there is no link.
    pub fn prompt(&mut self, roster: &Roster, waiting: u64) -> Option<Prompt> {
        let shown = &mut self.shown;
        if std::mem::take(&mut shown.names_changed) {
            let mut names: Vec<Name> = roster.known().map(|(_, person)| person.name.clone()).collect();
            names.sort_unstable();
            shown.names = names.into();
            shown.changed = true;
        }
        shown.changed |= std::mem::replace(&mut shown.waiting, waiting) != waiting;
        std::mem::take(&mut shown.changed).then(|| Prompt {
            conversation: self.current.and_then(|id| roster.name(id)).cloned(),
            waiting,
            unread: self.unread.clone(),
            contacts: Arc::clone(&shown.names),
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
    }
}

transactional!(Conversations { threads, current, unread, behind, uncounted, unsaved, shown });

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
