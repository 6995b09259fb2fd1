//! Messages out and in: at least once on the wire, exactly once in the journal.
//!
//! Out: whatever the other side has not acknowledged is sent as the journal has it, oldest first, never more
//! than a window of it. In: what is above the cursor of its epoch is new and is committed; the rest has
//! been seen. Either way it is acknowledged, after the commit and up to the last.

use super::super::event::LinkId;
use super::super::notice::Notice;
use super::Node;
use super::contacts::Committed;
use super::outbound::{Frame, Unacknowledged};
use crate::protocol::MAX_TEXT;
use crate::protocol::peer::{Cursor, Kind, Message, Peer};
use crate::store::Result;
use crate::store::journal::{ContactId, Incoming, Journal, Seq, Side};
use crate::time::Now;

impl Node {
    /// How far this side has committed what the contact wrote.
    pub(super) fn cursors(&mut self, journal: &Journal, contact: ContactId) -> Result<Vec<Cursor>> {
        if let Some(known) = self.contacts.get_mut(&contact) {
            known.save_cursor(journal)?;
        }
        journal.cursors(contact)
    }

    /// The other side has said how far it is: from where to send. What it has beyond the last
    /// acknowledgement is delivered.
    pub(super) fn resume(
        &mut self,
        journal: &Journal,
        contact: ContactId,
        cursors: &[Cursor],
    ) -> Result<Seq> {
        let theirs = journal.resume(cursors)?;
        let last = self.seq;
        let Some(known) = self.contacts.get(&contact) else {
            return Ok(last);
        };
        let from = theirs.unwrap_or(known.row.delivered).max(known.row.base).min(last);
        if from > known.row.delivered {
            let mut delivered = Vec::new();
            journal.sent_after(contact, known.row.delivered, |sent| {
                let more = sent.seq <= from;
                if more {
                    delivered.push((sent.seq, sent.message.cursor()));
                }
                more
            })?;
            for (seq, cursor) in delivered {
                self.delivered(contact, seq, cursor);
            }
        }
        Ok(from)
    }

    /// The other side has committed a message of ours.
    fn delivered(&mut self, contact: ContactId, seq: Seq, id: Cursor) {
        let Some(known) = self.contacts.get_mut(&contact) else {
            return;
        };
        if seq <= known.row.delivered {
            // Sent again to somebody who had lost it.
            return;
        }
        known.row.delivered = seq;
        known.dirty = true;
        known.waiting = known.waiting.saturating_sub(1);
        let to = known.row.name.clone();
        self.tell_delivered(contact, seq, Notice::Delivered { id, to });
    }

    /// The other side acknowledges.
    pub(super) fn acknowledged(
        &mut self,
        journal: &Journal,
        id: LinkId,
        contact: ContactId,
        ack: Cursor,
    ) -> Result<()> {
        let Some(epoch) = journal.epoch(ack.epoch)? else {
            return Ok(());
        };
        let number = Seq::try_from(ack.number).unwrap_or(Seq::MAX);
        while let Some(link) = self.links.get_mut(&id) {
            let out = &mut link.outbound;
            let covered = |first: &mut Unacknowledged| (first.epoch, first.seq) <= (epoch, number);
            let Some(first) = out.unacknowledged.pop_front_if(covered) else {
                break;
            };
            out.used -= first.cost;
            link.touched = self.batch;
            self.delivered(contact, first.seq, first.cursor);
        }
        Ok(())
    }

    /// Sends over every link what there is and what its window takes.
    pub(super) fn send_messages(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let ready: Vec<(LinkId, ContactId)> = self
            .links
            .iter()
            .filter(|(_, link)| link.outbound.has_more())
            .filter_map(|(id, link)| Some((*id, link.contact()?)))
            .collect();
        for (id, contact) in ready {
            while let Some(frame) = self.next_frame(journal, id, contact)? {
                self.say(now, id, frame);
            }
        }
        Ok(())
    }

    /// The next messages for a contact, as many as fit into one frame and into the window.
    fn next_frame(&mut self, journal: &Journal, id: LinkId, contact: ContactId) -> Result<Option<Vec<Peer>>> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(None);
        };
        let out = &mut link.outbound;
        // Each acknowledgement frees a little, and if that were filled at once, a backlog would go out in
        // ever smaller frames (the silly window syndrome, RFC 813).
        if !out.has_more() || out.used > out.window / 2 {
            return Ok(None);
        }
        let mut frame = Frame::new(out);
        if out.more {
            let mut all = true;
            journal.sent_after(contact, out.sent, |sent| {
                all = frame.add(out, sent).is_ok();
                all
            })?;
            out.more = !all;
        } else {
            while let Some(sent) = out.next() {
                if let Err(sent) = frame.add(out, sent) {
                    out.not_yet(sent);
                    break;
                }
            }
        }
        link.touched = self.batch;
        Ok(Some(frame.messages).filter(|messages| !messages.is_empty()))
    }

    /// A message has come in.
    pub(super) fn received(
        &mut self,
        now: Now,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        id: LinkId,
        contact: ContactId,
        message: &Message,
    ) -> Result<()> {
        if message.kind == Kind::TEXT && message.body.len() > MAX_TEXT {
            self.bad_peer(now, id, "a text longer than a message may be");
            return Ok(());
        }
        let cursor = message.cursor();
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        link.touched = self.batch;
        link.ack = Some(cursor);
        if self.committed_up_to(journal, contact, cursor.epoch)? >= cursor.number {
            return Ok(());
        }
        self.seq += 1;
        incoming.add(contact, self.seq, message, now.wall)?;
        if let Some(known) = self.contacts.get_mut(&contact) {
            known.committed = Some(Committed { cursor, seq: self.seq, unsaved: true });
            known.said(Side::Theirs, self.seq);
        }
        self.tell_message(now, contact, message);
        Ok(())
    }

    /// The highest number committed of the contact's messages of `epoch`, which is kept at hand.
    fn committed_up_to(&mut self, journal: &Journal, contact: ContactId, epoch: u64) -> Result<u64> {
        let Some(known) = self.contacts.get_mut(&contact) else {
            return Ok(0);
        };
        if let Some(committed) = &known.committed
            && committed.cursor.epoch == epoch
        {
            return Ok(committed.cursor.number);
        }
        known.save_cursor(journal)?;
        let number = journal.cursor(contact, epoch)?;
        known.committed = Some(Committed { cursor: Cursor { epoch, number }, seq: 0, unsaved: false });
        Ok(number)
    }

    /// Acknowledges what this transaction commits.
    pub(super) fn acknowledge(&mut self, now: Now) {
        let due: Vec<(LinkId, Cursor)> =
            self.links.iter_mut().filter_map(|(id, link)| Some((*id, link.ack.take()?))).collect();
        for (id, cursor) in due {
            self.say(now, id, vec![Peer::Ack(cursor)]);
        }
    }
}
