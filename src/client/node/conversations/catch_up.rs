//! What there was no room to tell, told from the journal once there is.

use super::super::super::event::BoxId;
use super::super::super::notice::{Body, Notice};
use super::super::effects::Effects;
use super::super::roster::Roster;
use super::{Conversations, Writer, message_notice};
use crate::protocol::PublicKey;
use crate::store::Result;
use crate::store::journal::{ContactId, ConversationId, Journal, RoomId, Seq, Standing};

impl Conversations {
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
        let behind: Vec<_> = self.behind.iter().map(|(key, after)| (*key, *after)).collect();
        for ((id, front_end), after) in behind {
            if !fx.output.has_room(front_end) {
                continue;
            }
            let (after, all) = match id {
                ConversationId::User(contact) => {
                    self.catch_up_with(fx, journal, roster, (contact, front_end), after)?
                }
                ConversationId::Room(room) => {
                    self.catch_up_in(fx, journal, (room, front_end), after, |author| writer(room, author))?
                }
            };
            if let Some(thread) = self.threads.get_mut(&id).filter(|_| all) {
                (thread.told, thread.last) = (thread.told.max(after), after);
            }
            match all {
                true => _ = self.behind.remove(&(id, front_end)),
                false => _ = self.behind.insert((id, front_end), after),
            }
        }
        let unannounced: Vec<_> = self.unannounced.iter().map(|(key, after)| (*key, *after)).collect();
        for ((contact, front_end), after) in unannounced {
            let (after, all) =
                announce(fx, journal, roster, (contact, front_end), after, delivered(contact))?;
            match all {
                true => _ = self.unannounced.remove(&(contact, front_end)),
                false => _ = self.unannounced.insert((contact, front_end), after),
            }
        }
        Ok(())
    }

    /// Tells a front end what was left in the journal of a contact. Returns up to where, and whether that is all.
    fn catch_up_with(
        &self,
        fx: &mut Effects,
        journal: &Journal,
        roster: &Roster,
        (contact, front_end): (ContactId, BoxId),
        mut after: Seq,
    ) -> Result<(Seq, bool)> {
        let id = ConversationId::User(contact);
        let (Some(thread), Some(name)) = (self.threads.get(&id), roster.name(contact)) else {
            return Ok((after, false));
        };
        let mut room = true;
        let stranger = roster.standing(contact) == Some(Standing::Stranger);
        journal.received_after(contact, after, |received| {
            room = fx.output.has_room(front_end);
            if room {
                let replayed = received.seq <= thread.start;
                let said = Body::of(&received.message, received.dropped);
                let (message, arrived) = (&received.message, received.arrived);
                let notice = message_notice(name, message, said, arrived, replayed, stranger);
                fx.output.show_one(front_end, id, received.seq, Some(notice));
                after = received.seq;
            }
            room
        })?;
        Ok((after, room))
    }
}

/// Tells a front end of deliveries that were left out. Returns up to where, and whether that is all.
fn announce(
    fx: &mut Effects,
    journal: &Journal,
    roster: &Roster,
    (contact, front_end): (ContactId, BoxId),
    mut after: Seq,
    delivered: Seq,
) -> Result<(Seq, bool)> {
    let Some(name) = roster.name(contact) else {
        return Ok((after, false));
    };
    let mut room = true;
    journal.sent_after(contact, after, |sent| {
        room = fx.output.has_room(front_end);
        let told = room && sent.seq <= delivered;
        if told {
            after = sent.seq;
            fx.output.tell_one(front_end, Notice::Delivered { id: sent.message.id(), to: name.clone() });
        }
        told
    })?;
    Ok((after, room))
}
