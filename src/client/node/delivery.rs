//! Messages out and in: at least once on the wire, exactly once in the journal.
//!
//! Out: whatever the other side has not acknowledged is sent as the journal has it, oldest first, never more than a
//! window of it. In: what is above the cursor of its epoch is new and is committed; the rest has been seen. Either way
//! it is acknowledged, after the commit and up to the last.

use std::collections::BTreeMap;

use super::super::event::ConnectionId;
use super::log::Log;
use super::send_window::SendWindow;
use crate::protocol::peer::{Cursor, Kind, Message, Peer};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Incoming, Journal, Outgoing, Sent, Seq};
use crate::time::Instant;
use crate::undo::{Table, Transactional};

/// How many bytes of memory messages may take that were just written and are kept at hand, for all links together.
const AT_HAND: usize = 16 * 1024 * 1024;

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
    /// How far the epoch that they wrote in last is committed.
    committed: Option<Committed>,
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
}

/// A message of ours that the other side has committed.
pub type Delivered = (Seq, Cursor);

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
        let mut contacts = BTreeMap::new();
        for row in rows {
            let waiting = journal.count_sent_after(row.id, row.outgoing.delivered)?;
            contacts.insert(row.id, Exchange { outgoing: row.outgoing, waiting, committed: None });
        }
        let log = Log::load(journal, epoch, segment)?;
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
        self.contacts.change(&contact, |it| it.outgoing.base = it.outgoing.delivered);
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

    /// A link is up, which takes `window` bytes unacknowledged. The other side's cursors say from where to send; what
    /// it has beyond the last acknowledgement is delivered.
    pub fn open(
        &mut self,
        journal: &Journal,
        link: ConnectionId,
        contact: ContactId,
        window: usize,
        cursors: &[Cursor],
    ) -> Result<Vec<Delivered>> {
        let theirs = journal.resume(cursors)?;
        let last = self.log.last();
        let Outgoing { delivered, base } =
            self.contacts.get(&contact).map(|it| it.outgoing).unwrap_or_default();
        let from = theirs.unwrap_or(delivered).max(base).min(last);
        let mut news = Vec::new();
        if from > delivered {
            journal.sent_after(contact, delivered, |sent| {
                let more = sent.seq <= from;
                news.extend(more.then(|| (sent.seq, sent.message.cursor())));
                more
            })?;
        }
        news.iter().for_each(|(seq, _)| _ = self.note_delivered(contact, *seq));
        let window = SendWindow::new(window, from);
        self.links.insert(link, Link { contact, window, acknowledgement: None });
        self.opened.push(link);
        Ok(news)
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

    /// Returns whether that is news: it may have been sent again to a contact who had lost it.
    fn note_delivered(&mut self, contact: ContactId, seq: Seq) -> bool {
        let Some(it) = self.contacts.get_mut(&contact).filter(|it| seq > it.outgoing.delivered) else {
            return false;
        };
        it.outgoing.delivered = seq;
        it.waiting = it.waiting.saturating_sub(1);
        true
    }

    /// A message has come in at `arrived` on the wall clock. Returns its seq if it is new.
    pub fn received(
        &mut self,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        link: ConnectionId,
        contact: ContactId,
        message: &Message,
        arrived: i64,
    ) -> Result<Option<Seq>> {
        let cursor = message.cursor();
        let (Some(link), Some(it)) = (self.links.get_mut(&link), self.contacts.get_mut(&contact)) else {
            return Ok(None);
        };
        link.acknowledgement = Some(cursor);
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
            return Ok(None);
        }
        let seq = self.log.receive(incoming, contact, message, arrived)?;
        it.committed = Some(Committed { cursor, seq, unsaved: true });
        Ok(Some(seq))
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
        self.links.values_mut().for_each(|link| link.window.commit());
    }

    fn rollback(&mut self) {
        self.log.rollback();
        self.contacts.rollback();
        self.opened.drain(..).for_each(|link| _ = self.links.remove(&link));
        self.closed.clear();
        for link in self.links.values_mut() {
            link.window.rollback();
            link.acknowledgement = None;
        }
    }
}

#[cfg(test)]
mod tests;
