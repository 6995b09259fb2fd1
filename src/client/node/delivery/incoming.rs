//! Messages in: what is new, what is here already, and what is not taken.

use super::super::super::event::ConnectionId;
use super::super::links::WINDOW;
use super::{Committed, Delivery, Exchange, Inward};
use crate::protocol::peer::{Cursor, Hold, HoldReason, Message};
use crate::store::Result;
use crate::store::journal::{ContactId, Incoming, Journal, Seq};

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
    pub(super) fn save_cursor(&mut self, journal: &Journal, contact: ContactId) -> Result<()> {
        if let Some(committed) = self.committed.as_mut().filter(|committed| committed.unsaved) {
            journal.set_cursor(contact, committed.cursor, committed.seq)?;
            committed.unsaved = false;
        }
        Ok(())
    }
}

impl Delivery {
    /// How far this side has committed what the contact wrote.
    pub fn cursors(&mut self, journal: &Journal, contact: ContactId) -> Result<Vec<Cursor>> {
        self.contacts.get_mut(&contact).map_or(Ok(()), |it| it.save_cursor(journal, contact))?;
        journal.cursors(contact)
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
            let before = journal.cursor(contact, first.epoch)?;
            if first.number > before {
                // What comes before it may still follow: after another restore, copies of an earlier repetition come first.
                if first.number > before + 1 && !journal.misses(contact, first.epoch)? {
                    journal.add_missing(contact, first.epoch, before, first.number - 1)?;
                }
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
}
