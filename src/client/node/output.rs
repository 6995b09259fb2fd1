//! What is told, and what nobody has read yet.
//!
//! The console writes at the pace of whoever reads it, and nothing else waits for that. What has not been
//! written is bounded: messages and deliveries beyond the bound stay in the journal and are told
//! later; commands wait, as long as somebody reads at all; once nobody does, other notices are
//! dropped and counted.

use std::collections::VecDeque;

use super::super::event::Action;
use super::super::notice::{Body, Code, ErrorNotice, Notice, Told};
use super::contacts::Contact;
use super::{LAZY_SAVE, Node};
use crate::protocol::Name;
use crate::protocol::peer::Message;
use crate::protocol::rendezvous::{About, ToDiscovery};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Seq};
use crate::time::Now;

/// How many bytes of notices may wait to be written before messages are left in the journal.
const ROOM: usize = 4 * 1024 * 1024;
/// How many bytes before anything else is dropped.
const LIMIT: usize = 2 * ROOM;
/// How many batches the console holds; its channel has as many places.
pub const BATCHES: usize = 256;
/// After how many milliseconds without a byte written nobody seems to read.
pub const STUCK_AFTER: u64 = 1_000;

/// What has been told.
#[derive(Debug, Default)]
pub struct Output {
    /// Whether nobody reads.
    silent: bool,
    /// Not yet given to the console.
    notices: Vec<Told>,
    weight: usize,
    shown: Vec<(ContactId, Seq)>,
    /// Given to the console, in this order, and not yet written.
    unwritten: VecDeque<Batch>,
    unwritten_weight: usize,
    /// How much of `notices` and `shown` stood there at the last commit.
    kept: (usize, usize),
    /// For whom deliveries have been told since the last commit, and up to where they were before.
    announced: Vec<(ContactId, Seq)>,
    /// When the console last wrote something, or had nothing to write.
    progress: u64,
    /// When timers were last looked at.
    looked: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Batch {
    weight: usize,
    /// Whose messages it shows or gives back, up to where.
    shown: Vec<(ContactId, Seq)>,
}

impl Output {
    pub fn new(silent: bool) -> Self {
        Self { silent, ..Self::default() }
    }

    /// Whether a message can be told; if not, it is left in the journal.
    fn takes_messages(&self) -> bool {
        !self.silent && self.has_room()
    }

    /// Whether there is room for another message.
    pub fn has_room(&self) -> bool {
        self.weight + self.unwritten_weight < ROOM && self.unwritten.len() < BATCHES
    }

    /// Whether something is being written.
    pub fn is_waiting(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether everything is written.
    pub fn is_read(&self) -> bool {
        self.unwritten.is_empty() && self.notices.is_empty()
    }

    /// Whether nobody seems to read.
    pub fn is_stuck(&self, now: Now) -> bool {
        self.is_waiting() && now.mono >= self.progress.saturating_add(STUCK_AFTER)
    }

    /// When it will show that nobody reads, if there is no room before. Nothing to wait for once it has.
    pub fn stuck_at(&self) -> Option<u64> {
        let at = self.progress.saturating_add(STUCK_AFTER);
        (!self.has_room() && self.is_waiting() && self.looked < at).then_some(at)
    }

    /// Timers are looked at.
    pub fn look(&mut self, now: Now) {
        self.looked = now.mono;
    }

    /// What has been told since the last commit is not told, if it tells of something that was to be
    /// saved, or refuses a command, which is answered anew. What tells of connections, keys and discovery
    /// holds, and nothing would lead to it again.
    pub fn roll_back(&mut self) {
        let (notices, shown) = self.kept;
        let undone = self.notices.split_off(notices);
        let holds = |told: &Told| {
            use Notice::{Discovery, Link, Presence, Ready};
            match &told.notice {
                Notice::Error(error) => matches!(
                    error.code,
                    Code::NameTaken | Code::Superseded | Code::UnknownPeer | Code::Impostor | Code::BadPeer
                ),
                notice => matches!(notice, Ready { .. } | Discovery { .. } | Presence { .. } | Link { .. }),
            }
        };
        self.notices.extend(undone.into_iter().filter(holds));
        self.shown.truncate(shown);
        self.weight = self.notices.iter().map(|told| told.notice.weight()).sum();
    }

    /// Up to where deliveries to the contact were told at the last commit, if they have been told since.
    pub fn announced(&self, contact: ContactId) -> Option<Seq> {
        self.announced.iter().find(|(of, _)| *of == contact).map(|(_, seq)| *seq)
    }

    fn announcing(&mut self, contact: ContactId, before: Seq) {
        if self.announced(contact).is_none() {
            self.announced.push((contact, before));
        }
    }

    /// Up to where the contact's messages have been given out, beyond what was written.
    pub fn handed(&self, contact: ContactId) -> Option<Seq> {
        let of_contact = |shown: &&(ContactId, Seq)| shown.0 == contact;
        self.unwritten
            .iter()
            .flat_map(|batch| &batch.shown)
            .chain(&self.shown)
            .filter(of_contact)
            .map(|(_, seq)| *seq)
            .max()
    }

    fn push(&mut self, told: impl Into<Told>) {
        if self.silent {
            return;
        }
        let told = told.into();
        self.weight += told.notice.weight();
        self.notices.push(told);
    }

    fn push_shown(&mut self, contact: ContactId, seq: Seq) {
        // What is kept from the last commit must not change, lest it can't be rolled back.
        match self.shown.get_mut(self.kept.1..).and_then(<[_]>::last_mut) {
            Some(last) if last.0 == contact => last.1 = seq,
            _ => self.shown.push((contact, seq)),
        }
    }
}

impl Node {
    /// Tells the user something. What answers a command repeats what a script calls it.
    pub(super) fn tell(&mut self, now: Now, notice: Notice) {
        let output = &mut self.output;
        if !output.is_waiting() {
            output.progress = now.mono;
        }
        if output.weight + output.unwritten_weight >= LIMIT && !matches!(notice, Notice::Bye { .. }) {
            output.dropped += 1;
        } else {
            let reference = self.answering.clone().filter(|_| notice.is_answer());
            output.push(Told { notice, reference });
        }
    }

    /// Tells the user a message, the last in the journal; where there is no room it stays in the journal for now.
    pub(super) fn tell_message(&mut self, now: Now, contact: ContactId, message: &Message) {
        self.count_unread(contact, now.wall);
        self.index.add(self.seq);
        let room = self.output.takes_messages();
        let Some(known) = self.contacts.get_mut(&contact) else {
            return;
        };
        if known.unshown || !room {
            known.unshown = true;
            return;
        }
        known.handed = self.seq;
        let notice = message_notice(&known.row.name, message, now.wall, false);
        self.output.push_shown(contact, self.seq);
        self.output.push(notice);
    }

    /// Tells the user that a message has been delivered, if there is room.
    pub(super) fn tell_delivered(&mut self, contact: ContactId, seq: Seq, notice: Notice) {
        let room = self.output.has_room();
        let Some(known) = self.contacts.get_mut(&contact) else {
            return;
        };
        if known.unannounced || !room {
            known.unannounced = true;
            return;
        }
        self.output.announcing(contact, known.announced);
        known.announced = seq;
        self.output.push(notice);
    }

    /// The console has written its oldest batch.
    pub(super) fn printed(&mut self, now: Now) {
        let Some(batch) = self.output.unwritten.pop_front() else {
            return;
        };
        self.output.unwritten_weight -= batch.weight;
        self.output.progress = now.mono;
        for (contact, seq) in batch.shown {
            let Some(known) = self.contacts.get_mut(&contact) else {
                continue;
            };
            if known.given_back {
                known.forget = true;
                continue;
            }
            if known.row.shown < seq {
                known.row.shown = seq;
                known.dirty_later = true;
                self.save_at.get_or_insert(now.mono + LAZY_SAVE);
            }
            self.has_seen(now, contact, seq);
        }
        if self.output.dropped > 0 && self.output.has_room() {
            let dropped = std::mem::take(&mut self.output.dropped);
            self.trouble(
                now,
                Code::OutputBehind,
                None,
                format!("nobody read the output, and {dropped} notices were dropped (no messages); CONTACTS and OUTBOX say how things are"),
            );
        }
    }

    /// Tells what was left in the journal, as far as there is room.
    pub(super) fn catch_up(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let behind: Vec<ContactId> = self
            .contacts
            .iter()
            .filter(|(_, contact)| contact.unshown || contact.unannounced || contact.row.is_withdrawn())
            .map(|(id, _)| *id)
            .collect();
        for id in behind {
            self.catch_up_with(journal, id)?;
            self.give_back(now, journal, id)?;
        }
        if !self.output.is_waiting() {
            self.output.progress = now.mono;
        }
        Ok(())
    }

    fn catch_up_with(&mut self, journal: &Journal, id: ContactId) -> Result<()> {
        let Some(Contact { row, handed, announced, unshown, unannounced, .. }) = self.contacts.get_mut(&id)
        else {
            return Ok(());
        };
        let output = &mut self.output;
        if *unshown {
            let mut all = true;
            journal.received_after(row.id, *handed, |received| {
                all = output.takes_messages();
                if all {
                    output.push_shown(row.id, received.seq);
                    let replayed = received.seq <= self.start;
                    output.push(message_notice(&row.name, &received.message, received.arrived, replayed));
                    *handed = received.seq;
                }
                all
            })?;
            *unshown = !all;
        }
        if *unannounced {
            let mut all = true;
            output.announcing(row.id, *announced);
            journal.sent_after(row.id, *announced, |sent| {
                if sent.seq > row.delivered {
                    return false;
                }
                all = output.has_room();
                if all {
                    *announced = sent.seq;
                    output.push(Notice::Delivered { id: sent.message.cursor(), to: row.name.clone() });
                }
                all
            })?;
            *unannounced = !all;
        }
        Ok(())
    }

    /// Gives back what was written to somebody who turned out not to exist, as far as there is room, and
    /// forgets them once all of it has been written.
    fn give_back(&mut self, now: Now, journal: &Journal, id: ContactId) -> Result<()> {
        let Some(contact) = self.contacts.get_mut(&id).filter(|contact| contact.row.is_withdrawn()) else {
            return Ok(());
        };
        let output = &mut self.output;
        let Contact { row, announced, waiting, given_back, .. } = contact;
        // Where nobody reads, who was sent for something says what came of it, and the rest is for the next start.
        let errand = self.errand.as_ref().is_some_and(|errand| errand.is_for(&row.name));
        if contact.forget || (output.silent && errand) {
            return self.forget(now, journal, id);
        }
        if output.silent || *given_back {
            return Ok(());
        }
        output.announcing(id, *announced);
        let mut all = true;
        journal.sent_after(id, *announced, |sent| {
            all = output.has_room();
            if all {
                *announced = sent.seq;
                *waiting = waiting.saturating_sub(1);
                output.push(Notice::Error(ErrorNotice {
                    code: Code::Undeliverable,
                    message: format!("not sent to {}: there is no such user", row.name),
                    peer: Some(row.name.clone()),
                    id: Some(sent.message.cursor()),
                    text: Some(String::from_utf8_lossy(&sent.message.body).into_owned()),
                }));
            }
            all
        })?;
        if all {
            *given_back = true;
            output.push_shown(id, *announced);
        }
        Ok(())
    }

    fn forget(&mut self, now: Now, journal: &Journal, id: ContactId) -> Result<()> {
        let Some(Contact { row, exists, .. }) = self.contacts.get(&id) else {
            return Ok(());
        };
        let (name, exists) = (row.name.clone(), *exists);
        self.remove_contact(journal, id)?;
        if exists {
            // It has said so to somebody who was not listening.
            self.ask_discovery(now, ToDiscovery::Request(About { name }));
        }
        Ok(())
    }

    /// Gives the console what has been told, if it takes another batch.
    pub(super) fn print(&mut self) {
        let output = &mut self.output;
        let something = !output.notices.is_empty() || !output.shown.is_empty();
        if something && output.unwritten.len() < BATCHES {
            let weight = std::mem::take(&mut output.weight);
            let shown = std::mem::take(&mut output.shown);
            output.unwritten_weight += weight;
            output.unwritten.push_back(Batch { weight, shown });
            self.actions.push(Action::Print(std::mem::take(&mut output.notices)));
        }
        output.kept = (output.notices.len(), output.shown.len());
        output.announced.clear();
        if let Some(at) = output.stuck_at() {
            self.wake_at(at);
        }
    }
}

fn message_notice(from: &Name, message: &Message, arrived: i64, replayed: bool) -> Notice {
    Notice::Message {
        id: message.cursor(),
        from: from.clone(),
        text: Body::new(message.kind, &message.body),
        sent: message.sent,
        received: arrived,
        replayed,
    }
}
