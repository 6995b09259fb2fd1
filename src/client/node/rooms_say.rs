//! The conductor for rooms: what their machine is told, and what follows from what it decides.

use std::collections::{BTreeMap, BTreeSet};

use super::super::addressee::RoomLabel;
use super::super::event::ConnectionId;
use super::super::notice::{Code, MemberState, Notice, RoomState};
use super::super::resembles::resembles;
use super::conversations::Writer;
use super::rooms::{Cx, Effect, Rooms, State};
use super::{Node, mates, room_view};
use crate::protocol::peer::Peer;
use crate::protocol::room::{AboutRoom, RoomSays};
use crate::protocol::{Name, PublicKey, codec};
use crate::store::Result;
use crate::store::journal::{ConversationId, Journal, RoomId, Standing};
use crate::undo::{Transactional, Value};

/// What is noted of the rooms beside their machine.
#[derive(Debug, Default)]
pub struct Noted {
    /// What this transaction says of rooms, by its receiver.
    says: BTreeMap<PublicKey, Vec<Peer>>,
    /// Whether this transaction has to do with rooms, and whether it has changed the journal with that.
    touched: bool,
    written: bool,
    /// How many texts of ours no other member has, of the rooms where there are any.
    waiting: BTreeMap<RoomId, u64>,
    /// The members that could be taken for contacts, which the user was warned of.
    warned: Value<BTreeSet<(RoomId, PublicKey)>>,
}

impl Noted {
    /// Whether this transaction has written anything of rooms.
    pub fn has_written(&self) -> bool {
        self.written
    }

    /// How many texts of ours in a room no other member has.
    pub fn waiting(&self, room: RoomId) -> u64 {
        self.waiting.get(&room).copied().unwrap_or_default()
    }

    /// The same of all rooms together.
    pub fn all_waiting(&self) -> u64 {
        self.waiting.values().sum()
    }

    fn begin_anew(&mut self) {
        self.says.clear();
        (self.touched, self.written) = (false, false);
    }
}

impl Transactional for Noted {
    fn commit(&mut self) {
        self.begin_anew();
        self.warned.commit();
    }

    /// What waits is counted again with [`Node::reload_rooms`].
    fn rollback(&mut self) {
        self.begin_anew();
        self.warned.rollback();
    }
}

impl Node {
    /// Has the machine of rooms do something, and does what follows from it.
    pub(super) fn in_rooms<T>(
        &mut self,
        journal: &Journal,
        work: impl FnOnce(&mut Rooms, &mut Cx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut effects = Vec::new();
        let before = journal.total_changes();
        let Self { rooms, delivery, setup, fx, .. } = self;
        let (now, epoch) = (fx.now, delivery.epoch());
        let seqs = &mut || delivery.next_seq();
        let mut cx = Cx { journal, now, keypair: &setup.keypair, epoch, seqs, effects: &mut effects };
        let done = work(rooms, &mut cx)?;
        self.noted.touched = true;
        self.noted.written |= journal.total_changes() != before;
        effects.into_iter().for_each(|effect| self.room_does(effect));
        Ok(done)
    }

    /// A peer says something of a room.
    pub(super) fn room_says(&mut self, journal: &Journal, id: ConnectionId, about: &AboutRoom) -> Result<()> {
        let Some(key) = self.links.get(id).map(|link| link.key) else {
            return Ok(());
        };
        let may_invite = self.may_invite(key, about);
        self.in_rooms(journal, |rooms, cx| rooms.hear(cx, key, about, may_invite))
    }

    /// Whether this may be an invitation: a contact may always invite, and what a stranger says counts among its messages.
    fn may_invite(&mut self, key: PublicKey, about: &AboutRoom) -> bool {
        if !matches!(&about.says, RoomSays::Changes(_) | RoomSays::Have(_)) {
            return false;
        }
        let person = self.roster.holder(&key).and_then(|id| Some((id, self.roster.get(id)?)));
        let Some((id, person)) = person.filter(|_| self.rooms.by_key(about.room).is_none()) else {
            return false;
        };
        match person.identity.standing {
            _ if !self.intake.hears(person) => false,
            Standing::Contact => true,
            Standing::Stranger => {
                let mut bytes = Vec::new();
                codec::encode(&about.says, &mut bytes);
                self.intake.take(id, bytes.len()).is_ok()
            }
            Standing::Forgotten | Standing::Member => false,
        }
    }

    /// A link is up with one who may be in a room with this user.
    pub(super) fn room_link_up(&mut self, journal: &Journal, key: PublicKey, id: ConnectionId) -> Result<()> {
        // What was said over an older link is said again.
        self.noted.says.remove(&key);
        let window = self.links.room_share(id);
        self.in_rooms(journal, |rooms, cx| rooms.linked(cx, key, window))
    }

    /// The disk is nearly full, or has room again.
    pub(super) fn set_rooms_low(&mut self, low: bool) {
        self.rooms.set_low(low);
        self.noted.touched = true;
    }

    /// What follows in all rooms from this transaction, or from the time.
    pub(super) fn finish_rooms(&mut self, journal: &Journal) -> Result<()> {
        let now = self.fx.now.mono;
        let due = now >= self.rooms.deadline() && now >= self.rests_until;
        if !self.noted.touched && !due {
            return Ok(());
        }
        self.in_rooms(journal, |rooms, cx| rooms.finish(cx))?;
        self.note_rooms(journal)
    }

    /// Notes what waits, and who is to be linked.
    pub(super) fn note_rooms(&mut self, journal: &Journal) -> Result<()> {
        let mut waiting = BTreeMap::new();
        for (id, room) in self.rooms.iter() {
            let mut texts = 0;
            for (chain, after, up_to) in room.ours_alone() {
                texts += journal.count_texts(chain, after, up_to)?;
            }
            if texts > 0 {
                waiting.insert(id, texts);
            }
        }
        self.noted.waiting = waiting;
        if self.rooms.take_changed() {
            let members = self.rooms.mates().into_iter().map(|(key, name)| (name, key));
            mates::set(self, members.collect());
        }
        Ok(())
    }

    /// A transaction has failed: the rooms are as the journal has them. `linked` are those that had a link when it
    /// failed.
    pub(super) fn reload_rooms(&mut self, journal: &Journal, linked: &[PublicKey]) -> Result<()> {
        self.rooms.reload(journal, self.setup.key())?;
        for key in linked.iter().filter(|key| self.mates.link(key).is_none()) {
            self.rooms.unlinked(*key);
        }
        let links: Vec<_> = self.mates.linked().filter(|(key, _)| !linked.contains(key)).collect();
        for (key, link) in links {
            self.room_link_up(journal, key, link)?;
        }
        self.note_rooms(journal)
    }

    /// Says what this transaction says of rooms, to each in as few frames as possible.
    pub(super) fn say_of_rooms(&mut self) {
        for (key, messages) in std::mem::take(&mut self.noted.says) {
            self.say_to(&key, messages);
        }
    }

    fn room_does(&mut self, effect: Effect) {
        match effect {
            Effect::Say { to, about } => {
                self.noted.says.entry(to).or_default().push(Peer::Room(Box::new(about)));
            }
            Effect::Text { room, seq, author } => {
                self.search.said(seq);
                let Self { setup, roster, rooms, .. } = self;
                let is_told =
                    author != setup.key() && room_view::writer(setup, roster, rooms, room, &author).is_some();
                if is_told {
                    self.progress.received(self.fx.now, ConversationId::Room(room));
                    self.conversations.said_in(room, self.fx.output.readers());
                }
            }
            Effect::Spread { room, id, spread } => {
                if let Some(to) = self.label(room) {
                    let (have, of, is_final) = (spread.have, spread.of, spread.is_final);
                    self.fx.tell(Notice::Spread { id, to, have, of, is_final });
                }
            }
            Effect::Invited { room, by } => {
                self.meet_room(room);
                if by == self.setup.key() {
                    // It was founded here, and a backup did not have it.
                    self.tell_room(room, RoomState::Joined, String::new());
                } else {
                    self.tell_invited(room, by);
                }
            }
            Effect::Member { room, user, state, by } => self.tell_member(room, user, state, by),
            Effect::Topic { room } => {
                let topic = self.rooms.get(room).map(|it| it.membership.topic.clone());
                self.tell_room(room, RoomState::Topic, topic.unwrap_or_default());
            }
            Effect::Owner { room } => {
                let owner = self.rooms.get(room).map(|it| it.membership.owner);
                let owner = owner.and_then(|owner| self.member_name(room, owner));
                self.tell_room(room, RoomState::Owner, owner.map_or_else(String::new, |it| it.to_string()));
            }
            Effect::Frozen { room, why } => self.tell_room(room, RoomState::Frozen, why.into()),
            Effect::Cut { room } => self.conversations.cut_in(room),
            Effect::Blame { peer, what } => {
                if let Some(link) = self.mates.link(&peer) {
                    self.bad_peer(link, what);
                }
            }
        }
    }

    /// A link to one who may be a member of rooms has come or gone.
    pub(super) fn tell_linked(&mut self, key: &PublicKey) {
        let rooms: Vec<_> = self.rooms.iter().filter(|(_, room)| room.others().contains(key)).collect();
        let counted = rooms.into_iter().map(|(id, room)| {
            let linked = room.others().iter().filter(|key| self.mates.link(key).is_some()).count();
            (id, linked as u64, room.joined.len() as u64)
        });
        for (id, linked, members) in counted.collect::<Vec<_>>() {
            if let Some(room) = self.conversations.room(id) {
                let (room, room_id) = (room.label.clone(), room.key);
                self.fx.tell(Notice::Linked { room, room_id, linked, members });
            }
        }
    }

    /// What a room is called here.
    pub(super) fn label(&self, room: RoomId) -> Option<RoomLabel> {
        self.conversations.room(room).map(|room| room.label.clone())
    }

    /// What a member is called in a room, or was.
    pub(super) fn member_name(&self, room: RoomId, key: PublicKey) -> Option<Name> {
        self.rooms.get(room)?.membership.name_of(key).cloned()
    }

    /// A room is new here.
    pub(super) fn meet_room(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.get(id) {
            let label = RoomLabel { name: room.row.name.clone(), number: room.row.number };
            self.conversations.add_room(id, label, room.key());
        }
    }

    /// Tells the user of something that has become of a room.
    pub(super) fn tell_room(&mut self, id: RoomId, state: RoomState, why: String) {
        if let Some(room) = self.conversations.room(id) {
            let (room, room_id) = (room.label.clone(), room.key);
            let declined = state == RoomState::Left && self.has_declined(id, self.setup.key());
            self.fx.tell(Notice::Room { room, room_id, state, why, declined });
        }
    }

    fn has_declined(&self, id: RoomId, key: PublicKey) -> bool {
        self.rooms.get(id).is_some_and(|room| room.has_declined(key))
    }

    fn tell_invited(&mut self, id: RoomId, by: PublicKey) {
        let (Some(label), Some(room)) = (self.label(id), self.rooms.get(id)) else {
            return;
        };
        let Some(from) = room.membership.name_of(by).cloned() else {
            return;
        };
        let others = room.membership.members().into_iter().filter(|(key, _)| *key != self.setup.key());
        let others: Vec<(PublicKey, Name)> = others.map(|(key, name)| (key, name.clone())).collect();
        let mut members: Vec<Name> = others.iter().map(|(_, name)| name.clone()).collect();
        members.sort_unstable();
        let (room_id, topic) = (room.key(), room.membership.topic.clone());
        let holder = self.roster.holder(&by).and_then(|id| self.roster.get(id));
        let stranger = !holder.is_some_and(|person| person.is_wanted());
        let past = room_view::past(self, id);
        self.fx.tell(Notice::Invite { room: label, room_id, from, members, topic, past, stranger });
        others.into_iter().for_each(|(key, _)| self.warn_of(id, key));
    }

    fn tell_member(&mut self, id: RoomId, key: PublicKey, state: State, by: Option<PublicKey>) {
        let by_name = by.and_then(|by| self.member_name(id, by));
        if key == self.setup.key() {
            match (state, by) {
                (State::Invited, Some(by)) => return self.tell_invited(id, by),
                (State::Joined, _) => return self.tell_room(id, RoomState::Joined, String::new()),
                (State::Left, _) => return self.tell_room(id, RoomState::Left, String::new()),
                (State::Removed, _) => {
                    let why = by_name.map_or_else(String::new, |by| format!("its owner, {by}, has done so"));
                    return self.tell_room(id, RoomState::Removed, why);
                }
                (State::Invited | State::Forked, _) => {}
            }
        }
        let (Some(user), Some(room)) = (self.member_name(id, key), self.conversations.room(id)) else {
            return;
        };
        let (room, room_id) = (room.label.clone(), room.key);
        let declined = state == State::Left && self.has_declined(id, key);
        let told = MemberState::from(state);
        self.fx.tell(Notice::Member { room, room_id, user, state: told, by: by_name, declined });
        if matches!(state, State::Invited | State::Joined) {
            self.warn_of(id, key);
        }
    }

    /// The user is told, once, of a member who could be taken for a contact, or for this user.
    fn warn_of(&mut self, id: RoomId, key: PublicKey) {
        let Some(name) = self.member_name(id, key) else {
            return;
        };
        let Self { roster, setup, conversations, .. } = &*self;
        let Some((label, room_id)) = conversations.room(id).map(|room| (room.label.clone(), room.key)) else {
            return;
        };
        let holder = roster.holder(&key).and_then(|id| roster.get(id));
        let is_contact = |standing| standing == Standing::Contact;
        let own_key = setup.key();
        if key == own_key || holder.is_some_and(|person| is_contact(person.identity.standing)) {
            return;
        }
        let Some(writer) = Writer::new((&setup.name, &own_key), roster, &name, &key) else {
            return;
        };
        let contacts = roster.known().filter(|(_, it)| is_contact(it.identity.standing));
        let like = resembles(&name, contacts.map(|(_, contact)| &contact.name));
        let message = if name == setup.name {
            format!("a member of {label} is called {name} like you, and has another key: {key}")
        } else if writer.unknown {
            format!("{name} in {label} is not your contact {name}, but has another key: {key}")
        } else if let Some(like) = like {
            format!(
                "{name} in {label} is not your contact {like}, whose name looks much like it; the key is {key}"
            )
        } else {
            return;
        };
        if self.noted.warned.contains(&(id, key)) {
            return;
        }
        self.noted.warned.insert((id, key));
        self.fx.room_error(Code::Impostor, (&label, Some(room_id)), Some(&name), message);
    }
}

impl From<State> for MemberState {
    fn from(state: State) -> Self {
        match state {
            State::Invited => Self::Invited,
            State::Joined => Self::Joined,
            State::Left => Self::Left,
            State::Removed => Self::Removed,
            State::Forked => Self::Forked,
        }
    }
}
