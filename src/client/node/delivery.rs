//! Messages out and in: at least once on the wire, exactly once in the journal.
//!
//! Out: whatever the other side has not acknowledged is sent as the journal has it, oldest first, never more than a
//! window of it. In: what is above the cursor of its epoch is new and is committed; the rest has been seen. Either way
//! it is acknowledged, after the commit and up to the last.

use std::collections::BTreeMap;

use super::super::event::ConnectionId;
use super::links::WINDOW;
use super::log::Log;
use super::send_window::SendWindow;
use crate::protocol::peer::{Cursor, Hello, Hold, HoldReason, Kind, Message, Peer};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Incoming, Journal, Lost, Outgoing, Sent, Seq};
use crate::time::Instant;
use crate::undo::{Table, Transactional, Value};

/// How many bytes of memory messages may take that were just written and are kept at hand, for all links together.
const AT_HAND: usize = 16 * 1024 * 1024;
/// How often the other side may hold messages back over one link: each time they are read and sent anew.
const MAX_HOLDS: u32 = 64;
/// How many messages are read at once of those that are sent again.
const RESENT_AT_ONCE: usize = 256;

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

/// A message of ours that the other side has committed.
pub type Delivered = (Seq, Cursor);

/// What follows from a link that is up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub delivered: Vec<Delivered>,
    /// How many messages that were delivered their client does not have any more, if that is news.
    pub lost: Option<u64>,
    /// Up to where they are not sent again.
    pub skipped: Option<Cursor>,
}

/// What becomes of a message that has come in.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It is new, and has this place.
    New(Seq),
    /// It is here already, or can't be taken yet.
    Dropped,
    /// It is not taken, which is to be said.
    Held(Hold),
    /// The other side breaks the rules.
    Broken(&'static str),
}

impl Exchange {
    fn save_cursor(&mut self, journal: &Journal, contact: ContactId) -> Result<()> {
        if let Some(committed) = self.committed.as_mut().filter(|committed| committed.unsaved) {
            journal.set_cursor(contact, committed.cursor, committed.seq)?;
            committed.unsaved = false;
        }
        Ok(())
    }
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

    /// There is no such user: nothing that was written so far is sent.
    pub fn withdraw(&mut self, contact: ContactId) {
        let last = self.log.last();
        self.contacts.change(&contact, |it| it.outgoing.base = last.max(it.outgoing.delivered + 1));
    }

    /// So many messages were given back to the user.
    pub fn gave_back(&mut self, contact: ContactId, count: u64) {
        self.contacts.change(&contact, |it| it.waiting = it.waiting.saturating_sub(count));
    }

    /// The contact has another key now: nothing is sent again that went to the old one.
    pub fn start_anew(&mut self, contact: ContactId) {
        self.contacts.change(&contact, |it| {
            it.outgoing.base = it.outgoing.delivered;
            it.outgoing.lost = Lost::default();
        });
    }

    /// Sends again what the contact has lost. Returns how many messages that is.
    pub fn resend(&mut self, journal: &Journal, contact: ContactId) -> Result<u64> {
        let Lost { mut after, to } =
            self.contacts.get(&contact).map(|it| it.outgoing.lost).unwrap_or_default();
        let mut count = 0;
        while after < to {
            let mut originals = Vec::new();
            journal.sent_after(contact, after, |sent| {
                let more = sent.seq <= to && originals.len() < RESENT_AT_ONCE;
                originals.extend(more.then_some(sent.seq));
                more
            })?;
            let Some(last) = originals.last() else {
                break;
            };
            after = *last;
            count += originals.len() as u64;
            for original in originals {
                self.log.repeat(journal, contact, original)?;
            }
        }
        self.contacts.change(&contact, |it| {
            it.outgoing.lost = Lost::default();
            it.waiting += count;
        });
        let theirs = self.links.values_mut().filter(|link| link.contact == contact);
        theirs.for_each(|link| link.window.read_again());
        Ok(count)
    }

    /// Puts a message into the outbox; over `link`, if there is one, it goes at once.
    pub fn write(
        &mut self,
        journal: &Journal,
        contact: ContactId,
        link: Option<ConnectionId>,
        kind: Kind,
        written: i64,
        body: &[u8],
    ) -> Result<Cursor> {
        let (epoch, cursor) = self.log.write(journal, contact, kind, written, body)?;
        self.contacts.change(&contact, |it| it.waiting += 1);
        let most = AT_HAND / self.links.len().max(1);
        if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
            let Cursor { epoch: value, number } = cursor;
            let message =
                Message { epoch: value, number, kind, sent: written, body: body.to_owned(), original: None };
            link.window.written(Sent { seq: self.log.last(), epoch, message }, most);
        }
        Ok(cursor)
    }

    /// How far this side has committed what the contact wrote.
    pub fn cursors(&mut self, journal: &Journal, contact: ContactId) -> Result<Vec<Cursor>> {
        self.contacts.get_mut(&contact).map_or(Ok(()), |it| it.save_cursor(journal, contact))?;
        journal.cursors(contact)
    }

    /// A link is up, which takes `window` bytes unacknowledged. The other side's hello says how far it has what we wrote:
    /// beyond the last acknowledgement it is delivered; before it, it was lost there, and is not sent by itself, for
    /// who holds only their key would say the same. `holding` is why our hello said that nothing is taken.
    pub fn open(
        &mut self,
        journal: &Journal,
        link: ConnectionId,
        contact: ContactId,
        window: usize,
        hello: &Hello,
        holding: Option<HoldReason>,
    ) -> Result<Opened> {
        let Exchange { outgoing: Outgoing { delivered, base, .. }, transmitted, start, .. } =
            self.contacts.get(&contact).cloned().unwrap_or_default();
        self.contacts.change(&contact, |it| it.start = Some(hello.epoch));
        let theirs = journal.resume(&hello.cursors)?.unwrap_or(delivered);
        let mut opened = Opened::default();
        let up_to = theirs.min(transmitted);
        if up_to > delivered {
            let news = &mut opened.delivered;
            journal.sent_after(contact, delivered, |sent| {
                let more = sent.seq <= up_to;
                news.extend(more.then(|| (sent.seq, sent.message.id())));
                more
            })?;
        }
        opened.delivered.iter().for_each(|(seq, _)| _ = self.note_delivered(contact, *seq));
        if theirs < delivered {
            // A client loses nothing while it runs: of two links at once, the hello over one is older than what was
            // acknowledged over the other.
            if start != Some(hello.epoch) {
                opened.lost = self.note_lost(journal, contact, theirs.max(base))?;
            }
            opened.skipped = journal.cursor_at(delivered)?;
        }
        let mut window = SendWindow::new(window, up_to.max(delivered).max(base));
        window.hold(hello.hold.is_some());
        let inward = Value::new(Inward { holding, ..Inward::default() });
        let outward = Value::new(Outward { held: hello.hold, holds: 0 });
        self.links.insert(link, Link { contact, window, acknowledgement: None, inward, outward });
        self.opened.push(link);
        Ok(opened)
    }

    /// The contact has lost what was delivered after `after`. Returns how many messages they have lost in all, if that
    /// is news: a thief could claim to have a little less each time, and so it is again when it has doubled.
    fn note_lost(&mut self, journal: &Journal, contact: ContactId, after: Seq) -> Result<Option<u64>> {
        let told = self.count_lost(journal, contact)?.unwrap_or_default();
        let Some(it) = self.contacts.get_mut(&contact) else {
            return Ok(None);
        };
        let (to, known) = (it.outgoing.delivered, it.outgoing.lost);
        // What lies between two stretches that were lost is sent again with them, and dropped there.
        let lost = Lost { after: if known.after < known.to { after.min(known.after) } else { after }, to };
        if lost == known {
            return Ok(None);
        }
        let before = std::mem::replace(&mut it.outgoing.lost, lost);
        let count = self.count_lost(journal, contact)?;
        if count.is_none() {
            self.contacts.change(&contact, |it| it.outgoing.lost = before);
        }
        Ok(count.filter(|count| *count >= told.saturating_mul(2)))
    }

    /// How many messages that were delivered the contact has lost, if any.
    pub fn count_lost(&self, journal: &Journal, contact: ContactId) -> Result<Option<u64>> {
        let Lost { after, to } = self.contacts.get(&contact).map(|it| it.outgoing.lost).unwrap_or_default();
        if after >= to {
            return Ok(None);
        }
        let all = journal.count_sent_after(contact, after)?;
        Ok(Some(all.saturating_sub(journal.count_sent_after(contact, to)?)).filter(|count| *count > 0))
    }

    /// Why the other side takes nothing more of ours.
    pub fn held(&self, contact: ContactId) -> Option<HoldReason> {
        self.links.values().filter(|link| link.contact == contact).find_map(|link| link.outward.held)
    }

    pub fn close(&mut self, link: ConnectionId) {
        self.closed.push(link);
    }

    /// The other side acknowledges: what is delivered by that.
    pub fn acknowledged(
        &mut self,
        now: Instant,
        journal: &Journal,
        link: ConnectionId,
        up_to: Cursor,
    ) -> Result<Vec<Delivered>> {
        let mut news = Vec::new();
        let (Some(epoch), Some(Link { contact, .. })) = (journal.epoch(up_to.epoch)?, self.links.get(&link))
        else {
            return Ok(news);
        };
        let contact = *contact;
        let number = Seq::try_from(up_to.number).unwrap_or(Seq::MAX);
        while let Some(link) = self.links.get_mut(&link)
            && let Some(first) = link.window.acknowledge(now, epoch, number)
        {
            if self.note_delivered(contact, first.seq) {
                news.push((first.seq, first.cursor));
            }
        }
        Ok(news)
    }

    /// The other side does not take what is unacknowledged, nor what follows. Returns whether it may do so once more.
    pub fn hold(&mut self, link: ConnectionId, reason: HoldReason) -> bool {
        let Some(link) = self.links.get_mut(&link) else {
            return true;
        };
        link.outward.held = Some(reason);
        link.outward.holds += 1;
        link.window.rewind();
        link.window.hold(true);
        link.outward.holds <= MAX_HOLDS
    }

    /// The other side takes messages again.
    pub fn resume(&mut self, link: ConnectionId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.outward.held = None;
            link.window.hold(false);
        }
    }

    /// This side takes messages again that it held back for `reason`: of one contact, or of all. Returns the links over
    /// which that is to be said.
    pub fn take_again(&mut self, contact: Option<ContactId>, reason: HoldReason) -> Vec<ConnectionId> {
        let mut links = Vec::new();
        for (id, link) in &mut self.links {
            let concerned = contact.is_none_or(|contact| contact == link.contact);
            if concerned && link.inward.holding == Some(reason) {
                link.inward.holding = None;
                links.push(*id);
            }
        }
        links
    }

    /// The other side has answered a hold: what follows comes after what was taken last.
    pub fn rewound(&mut self, link: ConnectionId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.inward.unanswered = link.inward.unanswered.saturating_sub(1);
        }
    }

    /// The other side does not send by itself what comes up to there: it is missing here from now on.
    pub fn skipped(&mut self, journal: &Journal, contact: ContactId, up_to: Cursor) -> Result<()> {
        let last = self.log.last();
        if let Some(it) = self.contacts.get_mut(&contact) {
            it.save_cursor(journal, contact)?;
            it.committed = None;
            let number = journal.cursor(contact, up_to.epoch)?;
            if up_to.number > number && journal.add_missing(contact, up_to.epoch, number, up_to.number)? {
                journal.set_cursor(contact, up_to, last)?;
            }
        }
        Ok(())
    }

    /// The other side has part of a message.
    pub fn part_acknowledged(&mut self, now: Instant, link: ConnectionId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.window.acknowledge_part(now);
        }
    }

    /// Returns whether that is news: it may have been sent again to a contact who had lost it.
    fn note_delivered(&mut self, contact: ContactId, seq: Seq) -> bool {
        let Some(it) = self.contacts.get_mut(&contact).filter(|it| seq > it.outgoing.delivered) else {
            return false;
        };
        it.outgoing.delivered = seq;
        it.waiting = it.waiting.saturating_sub(1);
        true
    }

    /// A message has come in at `arrived` on the wall clock. `take` says why it can't be taken, if it is new.
    pub fn received(
        &mut self,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        link: ConnectionId,
        message: &Message,
        arrived: i64,
        take: impl FnOnce() -> Result<(), HoldReason>,
    ) -> Result<Received> {
        let cursor = message.cursor();
        let Some(link) = self.links.get_mut(&link) else {
            return Ok(Received::Dropped);
        };
        let contact = link.contact;
        let Some(it) = self.contacts.get_mut(&contact) else {
            return Ok(Received::Dropped);
        };
        if link.inward.unanswered > 0 {
            // It was on the way when we said that we do not take it.
            link.inward.dropped = link.inward.dropped.saturating_add(message.body.len());
            let honest = link.inward.dropped <= 2 * WINDOW as usize;
            return Ok(if honest {
                Received::Dropped
            } else {
                Received::Broken("it sends what is not taken")
            });
        }
        if link.inward.holding.is_some() {
            return Ok(Received::Broken("it sends what is not taken"));
        }
        if message.original.is_some_and(|first| first.epoch == cursor.epoch && first.number >= cursor.number)
        {
            return Ok(Received::Broken("it repeats what comes later"));
        }
        let committed = match it.committed {
            Some(committed) if committed.cursor.epoch == cursor.epoch => committed.cursor.number,
            _ => {
                it.save_cursor(journal, contact)?;
                let number = journal.cursor(contact, cursor.epoch)?;
                let cursor = Cursor { epoch: cursor.epoch, number };
                it.committed = Some(Committed { cursor, seq: 0, unsaved: false });
                number
            }
        };
        if committed >= cursor.number {
            link.acknowledgement = Some(cursor);
            return Ok(Received::Dropped);
        }
        if let Err(reason) = take() {
            let cursor = link.acknowledgement.take();
            *link.inward =
                Inward { holding: Some(reason), unanswered: 1 + link.inward.unanswered, dropped: 0 };
            return Ok(Received::Held(Hold { reason, cursor }));
        }
        let last = self.log.last();
        if let Some(first) = message.original {
            // Its cursor is looked up, and may be that of this epoch.
            it.save_cursor(journal, contact)?;
            if first.number > journal.cursor(contact, first.epoch)? {
                journal.set_cursor(contact, first, last)?;
            } else if !journal.take_missing(contact, first)? {
                link.acknowledgement = Some(cursor);
                it.committed = Some(Committed { cursor, seq: last, unsaved: true });
                return Ok(Received::Dropped);
            }
        }
        link.acknowledgement = Some(cursor);
        let seq = self.log.receive(incoming, contact, message, arrived)?;
        it.committed = Some(Committed { cursor, seq, unsaved: true });
        Ok(Received::New(seq))
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
