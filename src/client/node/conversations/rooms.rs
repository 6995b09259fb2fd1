//! What conversations in rooms have that those with users have not.

use super::*;
use crate::store::journal::Said;

/// What a room is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub label: RoomLabel,
    pub key: RoomKey,
}

/// Who has written in a room, as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub name: Name,
    /// Whether a contact has this name, or this user, and another key.
    pub unknown: bool,
}

impl Writer {
    /// A member, `None` if this user, who has this name and key, wants to hear nothing of them.
    pub fn new(own: (&Name, &PublicKey), roster: &Roster, name: &Name, key: &PublicKey) -> Option<Self> {
        let (holder, named) = (roster.holder(key), roster.known_by(name));
        let unknown = key != own.1 && (name == own.0 || (named.is_some() && named != holder));
        let blocked = holder.is_some_and(|id| roster.is_blocked(id));
        (!blocked).then(|| Self { name: name.clone(), unknown })
    }
}

impl Conversations {
    pub fn add_room(&mut self, id: RoomId, label: RoomLabel, key: RoomKey) {
        self.rooms.insert(id, Room { label, key });
        self.threads.insert(ConversationId::Room(id), Thread::default());
        self.contacts_changed();
    }

    pub fn room(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    /// The room that is called that here.
    pub fn room_called(&self, label: &RoomLabel) -> Option<RoomId> {
        self.rooms.iter().find(|(_, room)| room.label == *label).map(|(id, _)| *id)
    }

    /// What the room that is called that here is called everywhere.
    pub fn room_key(&self, label: &RoomLabel) -> Option<RoomKey> {
        self.rooms.values().find(|room| room.label == *label).map(|room| room.key)
    }

    /// A text of another member is in the journal: it is told with the next [`Self::catch_up`].
    pub fn said_in(&mut self, room: RoomId, front_ends: impl Iterator<Item = BoxId>) {
        let id = ConversationId::Room(room);
        let Some(label) = self.rooms.get(&room).map(|room| room.label.clone()) else {
            return;
        };
        self.count(id, || Addressee::Room(label));
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        thread.last = Seq::MAX;
        let told = thread.told;
        for front_end in front_ends {
            if !self.behind.contains_key(&(id, front_end)) {
                self.behind.insert((id, front_end), told);
            }
        }
    }

    /// Texts of a room are gone: what is unread is counted again.
    pub fn cut_in(&mut self, room: RoomId) {
        self.uncounted.insert(ConversationId::Room(room));
    }

    /// Tells a front end what was left in the journal of a room. Returns up to where, and whether that is all.
    pub(super) fn catch_up_in(
        &self,
        fx: &mut Effects,
        journal: &Journal,
        (room, front_end): (RoomId, BoxId),
        mut after: Seq,
        writer: impl Fn(&PublicKey) -> Option<Writer>,
    ) -> Result<(Seq, bool)> {
        let id = ConversationId::Room(room);
        let (Some(thread), Some(Room { label, key })) = (self.threads.get(&id), self.rooms.get(&room)) else {
            return Ok((after, false));
        };
        let mut space = true;
        journal.said_after(room, after, |said| {
            space = fx.output.has_room(front_end);
            if space {
                // What is not told counts as shown with what follows.
                if said.author != self.own
                    && let Some(writer) = writer(&said.author)
                {
                    let notice = said_notice(label, *key, &writer, &said, said.seq <= thread.start);
                    fx.output.show_one(front_end, id, said.seq, Some(notice));
                }
                after = said.seq;
            }
            space
        })?;
        Ok((after, space))
    }

    /// The texts that are unread in a room, and our own among and after them, as they came in: at most so many.
    pub fn unread_in(&self, journal: &Journal, room: RoomId, most: u64) -> Result<Vec<Said>> {
        let mut texts = Vec::new();
        let Some(thread) = self.threads.get(&ConversationId::Room(room)).filter(|thread| thread.unread > 0)
        else {
            return Ok(texts);
        };
        journal.said_after(room, thread.reading.read, |said| {
            if !texts.is_empty() || said.author != self.own {
                texts.push(said);
            }
            (texts.len() as u64) < most
        })?;
        Ok(texts)
    }
}

fn said_notice(label: &RoomLabel, key: RoomKey, writer: &Writer, said: &Said, replayed: bool) -> Notice {
    Notice::Message {
        id: said.id,
        from: writer.name.clone(),
        text: Body::new(said.kind, &said.body),
        sent: said.sent,
        received: said.arrived,
        replayed,
        stranger: false,
        room: Some(label.clone()),
        room_id: Some(key),
        unknown: writer.unknown,
    }
}
