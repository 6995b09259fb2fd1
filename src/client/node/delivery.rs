//! Messages out and in: at least once on the wire, exactly once in the journal.
//!
//! Out: whatever the other side has not acknowledged is sent as the journal has it, oldest first, never more than a
//! window of it. In: what is above the cursor of its epoch is new and is committed; the rest has been seen. Either way
//! it is acknowledged, after the commit and up to the last.
//!
//! Here is what both directions share, and what a transaction sends and saves; `outgoing` and `incoming` are the two.

use std::collections::BTreeMap;

use super::super::event::ConnectionId;
use super::log::Log;
use super::send_window::SendWindow;
use crate::protocol::peer::{Cursor, HoldReason, Peer};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Lost, Outgoing, Sent, Seq};
use crate::time::Instant;
use crate::undo::{Table, Transactional, Value};

mod incoming;
mod outgoing;

pub use incoming::Received;
pub use outgoing::Delivered;

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    log: Log,
    contacts: Table<BTreeMap<ContactId, Exchange>>,
    links: BTreeMap<ConnectionId, Link>,
    /// The links that this transaction has opened, and has closed.
    opened: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
}

/// How far we and a contact have what the other wrote.
#[derive(Debug, Clone, Default)]
struct Exchange {
    outgoing: Outgoing,
    /// How many of ours are not delivered.
    waiting: u64,
    /// Nothing of ours beyond this was ever sent.
    transmitted: Seq,
    /// How far the epoch that they wrote in last is committed.
    committed: Option<Committed>,
    /// The start of their client whose hello was heard last.
    start: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Committed {
    cursor: Cursor,
    /// The seq of the last message.
    seq: Seq,
    /// Whether it must be saved with this transaction, which adds the messages themselves.
    unsaved: bool,
}

/// A link over which messages go.
#[derive(Debug)]
struct Link {
    contact: ContactId,
    window: SendWindow,
    /// What is committed of theirs and not yet acknowledged.
    acknowledgement: Option<Cursor>,
    inward: Value<Inward>,
    outward: Value<Outward>,
}

/// What this side does not take.
#[derive(Debug, Clone, Copy, Default)]
struct Inward {
    /// Why, if nothing is taken at the moment.
    holding: Option<HoldReason>,
    /// How many holds the other side has not yet answered. What comes before its answer leaves a gap.
    unanswered: u32,
    /// How many bytes of messages were dropped since the last hold.
    dropped: usize,
}

/// What the other side does not take.
#[derive(Debug, Clone, Copy, Default)]
struct Outward {
    held: Option<HoldReason>,
    holds: u32,
}

impl Delivery {
    /// `epoch` is the one to write under; `segment` is how many messages make a segment of the journal.
    pub fn load(journal: &Journal, rows: &[ContactRow], epoch: u64, segment: Seq) -> Result<Self> {
        let log = Log::load(journal, epoch, segment)?;
        let mut contacts = BTreeMap::new();
        for row in rows {
            let waiting = journal.count_sent_after(row.id, row.outgoing.delivered)?;
            // An earlier start may have sent all that it wrote.
            let transmitted = log.last();
            let exchange = Exchange { outgoing: row.outgoing, waiting, transmitted, ..Exchange::default() };
            contacts.insert(row.id, exchange);
        }
        let contacts = Table::new(contacts);
        Ok(Self { log, contacts, links: BTreeMap::new(), opened: Vec::new(), closed: Vec::new() })
    }

    pub fn add(&mut self, contact: ContactId) {
        self.contacts.insert(contact, Exchange::default());
    }

    pub fn remove(&mut self, contact: ContactId) {
        self.contacts.remove(&contact);
        self.log.forget(contact);
    }

    /// All that was said with the contact is gone. How far theirs is committed stays known.
    pub fn forget(&mut self, contact: ContactId) {
        let last = self.log.last();
        self.contacts.change(&contact, |it| {
            it.outgoing = Outgoing { delivered: last, base: last, lost: Lost::default() };
            it.waiting = 0;
        });
        self.log.forget(contact);
    }

    pub fn last_seq(&self) -> Seq {
        self.log.last()
    }

    /// Gives out the next place in the journal, for something that is said to no contact.
    pub fn next_seq(&mut self) -> Seq {
        self.log.next()
    }

    /// The epoch under which messages are written.
    pub fn epoch(&self) -> u64 {
        self.log.epoch()
    }

    /// Messages are written under this epoch from now on.
    pub fn renew_epoch(&mut self, epoch: u64) {
        self.log.renew_epoch(epoch);
    }

    /// All of ours up to here is delivered.
    pub fn delivered(&self, contact: ContactId) -> Seq {
        self.contacts.get(&contact).map_or(0, |it| it.outgoing.delivered)
    }

    /// How many bytes the bodies of what was said with the contact take here.
    pub fn bytes(&self, contact: ContactId) -> u64 {
        self.log.bytes(contact)
    }

    /// How many of ours are not delivered to the contact.
    pub fn waiting(&self, contact: ContactId) -> u64 {
        self.contacts.get(&contact).map_or(0, |it| it.waiting)
    }

    /// The contacts to whom something of ours is not delivered, with how much.
    pub fn all_waiting(&self) -> impl Iterator<Item = (ContactId, u64)> {
        self.contacts.iter().filter(|(_, it)| it.waiting > 0).map(|(id, it)| (*id, it.waiting))
    }

    pub fn close(&mut self, link: ConnectionId) {
        self.closed.push(link);
    }

    /// What goes out now: over every link what there is and what its window takes.
    pub fn frames(&mut self, now: Instant, journal: &Journal) -> Result<Vec<(ConnectionId, Vec<Peer>)>> {
        let mut frames = Vec::new();
        for (id, link) in self.links.iter_mut().filter(|(id, _)| !self.closed.contains(id)) {
            while link.window.is_ready() {
                let contact = link.contact;
                let read =
                    |after, each: &mut dyn FnMut(Sent) -> bool| journal.sent_after(contact, after, each);
                let frame = link.window.next_frame(now, read)?;
                if frame.is_empty() {
                    break;
                }
                let sent = link.window.sent();
                self.contacts.change(&contact, |it| it.transmitted = it.transmitted.max(sent));
                frames.push((*id, frame));
            }
        }
        Ok(frames)
    }

    /// What is to be acknowledged, for this transaction commits it.
    pub fn acknowledgements(&mut self) -> Vec<(ConnectionId, Cursor)> {
        let open = self.links.iter_mut().filter(|(id, _)| !self.closed.contains(id));
        open.filter_map(|(id, link)| Some((*id, link.acknowledgement.take()?))).collect()
    }

    /// Saves what this transaction has changed. Returns whether that was anything.
    pub fn save(&mut self, journal: &Journal) -> Result<bool> {
        let (mut any, mut unsaved) = (false, Vec::new());
        for (id, before, now) in self.contacts.touched() {
            let Some(now) = now else {
                continue;
            };
            if before.map(|before| before.outgoing).unwrap_or_default() != now.outgoing {
                journal.save_outgoing(*id, &now.outgoing)?;
                any = true;
            }
            unsaved.extend(now.committed.filter(|committed| committed.unsaved).map(|_| *id));
        }
        any |= !unsaved.is_empty();
        for id in unsaved {
            self.contacts.get_mut(&id).map_or(Ok(()), |it| it.save_cursor(journal, id))?;
        }
        Ok(any)
    }

    /// Makes another segment of the journal, if there is enough for one.
    pub fn seal(&mut self, journal: &Journal) -> Result<()> {
        self.log.seal(journal)
    }
}

impl Transactional for Delivery {
    fn commit(&mut self) {
        self.log.commit();
        self.contacts.commit();
        self.closed.drain(..).for_each(|link| _ = self.links.remove(&link));
        self.opened.clear();
        for link in self.links.values_mut() {
            link.window.commit();
            link.inward.commit();
            link.outward.commit();
        }
    }

    fn rollback(&mut self) {
        self.log.rollback();
        self.contacts.rollback();
        self.opened.drain(..).for_each(|link| _ = self.links.remove(&link));
        self.closed.clear();
        for link in self.links.values_mut() {
            link.window.rollback();
            link.inward.rollback();
            link.outward.rollback();
            link.acknowledgement = None;
        }
    }
}

#[cfg(test)]
mod tests;
