//! Messages out: what is written, what the other side has of it, has lost or does not take.

use super::super::super::event::ConnectionId;
use super::super::send_window::SendWindow;
use super::{Delivery, Exchange, Inward, Link, Outward};
use crate::protocol::peer::{Cursor, Hello, HoldReason, Kind, Message};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Lost, Outgoing, Sent, Seq};
use crate::time::Instant;
use crate::undo::Value;

/// How many bytes of memory messages may take that were just written and are kept at hand, for all links together.
const AT_HAND: usize = 16 * 1024 * 1024;
/// How often the other side may hold messages back over one link: each time they are read and sent anew.
pub(super) const MAX_HOLDS: u32 = 64;
/// How many messages are read at once of those that are sent again.
const RESENT_AT_ONCE: usize = 256;

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

impl Delivery {
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

    /// Why the other side takes nothing more of ours.
    pub fn held(&self, contact: ContactId) -> Option<HoldReason> {
        let open = self.links.iter().filter(|(id, _)| !self.closed.contains(id));
        open.filter(|(_, link)| link.contact == contact).find_map(|(_, link)| link.outward.held)
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
}
