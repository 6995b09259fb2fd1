//! Rooms: the same entries in the same order at all members, also at those who were away, and no server.
//!
//! Decides and does nothing: it reads and writes the journal inside the caller's transaction, and says in [`Effect`]s what
//! is to be said and told. It knows peers by their keys. In reading order:
//!
//! - `membership`: who is in, by the owner's changes; `ring`: which of them are linked, and which one hands on to which;
//! - `room`: one room, and what follows from what is known of it;
//! - `take`: entries in; `write`: entries and changes out; `forks`: proof that an author breaks the rules;
//! - `receipts`: how far each member is, and what is told of our own texts; `settle`: what is final, by the owner's word;
//! - `peers`: what is said to those who are linked, by the words of `say`.
//!
//! After a transaction that has failed everything is read from the journal again.

use std::collections::BTreeMap;

use crate::protocol::peer::Cursor;
use crate::protocol::room::{
    AboutRoom, Add, Change, Deed, EntryKind, Found, Hash, MAX_CHANGES, MAX_HEADS, MAX_MEMBERS, MAX_ROOMS,
    Past, Pull, Remove, RoomKey, RoomSays, Settled, hash,
};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ChainRow, Journal, RoomId, Seq};
use crate::time::{Instant, Now};
use crate::transport::noise::Keypair;
use membership::Membership;
use peers::Peers;
pub use receipts::Spread;
pub use room::{Chain, Room, State};
pub use write::KEPT_CHANGES;

mod explain;
mod forks;
mod membership;
mod peers;
mod receipts;
mod ring;
mod room;
mod say;
mod settle;
mod take;
#[cfg(test)]
mod tests;
mod write;

/// What the machine works with in one transaction.
pub struct Cx<'a> {
    pub journal: &'a Journal,
    pub now: Now,
    pub keypair: &'a Keypair,
    /// The epoch of what this start writes.
    pub epoch: u64,
    /// Gives out the next place in the journal.
    pub seqs: &'a mut dyn FnMut() -> Seq,
    pub effects: &'a mut Vec<Effect>,
}

/// What follows from something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Say {
        to: PublicKey,
        about: AboutRoom,
    },
    /// A text of another member is here.
    Text {
        room: RoomId,
        seq: Seq,
        author: PublicKey,
    },
    /// Members have a text of ours.
    Spread {
        room: RoomId,
        id: Cursor,
        spread: Spread,
    },
    /// This account is invited to a room.
    Invited {
        room: RoomId,
        by: PublicKey,
    },
    /// What a member is has changed, by the word of the owner, or by its own (`None`).
    Member {
        room: RoomId,
        user: PublicKey,
        state: State,
        by: Option<PublicKey>,
    },
    Topic {
        room: RoomId,
    },
    Owner {
        room: RoomId,
    },
    Frozen {
        room: RoomId,
        why: &'static str,
    },
    /// Entries of a removed member are gone.
    Cut {
        room: RoomId,
    },
    /// A peer does not keep to the rules.
    Blame {
        peer: PublicKey,
        what: &'static str,
    },
}

/// Why a command can't be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotJoined,
    NotTheOwner,
    Frozen,
    /// There are as many of these as there may be.
    TooManyRooms,
    TooManyMembers,
    TooManyChanges,
    /// The changes that are left are kept for removals, and for handing over the room; or for that alone.
    KeptForRemovals,
    KeptForTransfer,
    /// This account has begun as many chains in the room as it may, or all its members have.
    Full,
    /// The user is in, or invited, already.
    AlreadyIn,
    NotAMember,
    /// The owner has to give the room to another member first.
    Owner,
    /// What the member has settled as an owner may not be here yet: this one has not said what it knows of that.
    NotYet(PublicKey),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: BTreeMap<RoomId, Room>,
    by_key: BTreeMap<RoomKey, RoomId>,
    peers: Peers,
    /// Changes of rooms to which this account may be invited, by who hands them on.
    invitations: BTreeMap<PublicKey, (RoomKey, BTreeMap<Hash, Change>)>,
    /// The disk is nearly full: nothing is taken.
    low: bool,
    /// Who is in a room has changed since [`Self::take_changed`].
    changed: bool,
}

impl Rooms {
    pub fn load(journal: &Journal, own: PublicKey) -> Result<Self> {
        let mut rooms = Self { changed: true, ..Self::default() };
        for row in journal.rooms()? {
            let (id, key) = (row.id, row.key);
            if let Some(room) = Room::load(journal, own, row)? {
                rooms.rooms.insert(id, room);
                rooms.by_key.insert(key, id);
            }
        }
        Ok(rooms)
    }

    /// A transaction has failed: everything is as the journal has it, and all who are linked are asked anew.
    pub fn reload(&mut self, journal: &Journal, own: PublicKey) -> Result<()> {
        let peers = std::mem::take(&mut self.peers);
        let low = self.low;
        *self = Self { low, ..Self::load(journal, own)? };
        self.peers = peers;
        self.peers.forget();
        Ok(())
    }

    pub fn get(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub fn by_key(&self, key: RoomKey) -> Option<&Room> {
        self.by_key.get(&key).and_then(|id| self.rooms.get(id))
    }

    /// How many entries of a room others have, as far as they have said, that are not here yet.
    pub fn missing(&self, room: RoomId) -> u64 {
        self.rooms.get(&room).map_or(0, |room| self.peers.missing(room))
    }

    pub fn iter(&self) -> impl Iterator<Item = (RoomId, &Room)> {
        self.rooms.iter().map(|(id, room)| (*id, room))
    }

    /// The room that is called so here.
    pub fn named(&self, name: &Name, number: u32) -> Option<RoomId> {
        let found = self.rooms.values().find(|room| room.row.name == *name && room.row.number == number);
        found.map(|room| room.row.id)
    }

    fn are_too_many(&self, own: PublicKey) -> bool {
        let counts = |room: &&Room| matches!(room.state(own), Some(State::Joined | State::Invited));
        self.rooms.values().filter(counts).count() >= MAX_ROOMS
    }

    /// Founds a room.
    pub fn found(&mut self, cx: &mut Cx<'_>, founding: Found) -> Result<Result<RoomId, Refusal>> {
        let own = cx.keypair.public();
        if self.are_too_many(own) {
            return Ok(Err(Refusal::TooManyRooms));
        }
        let deed = Deed::Found(founding);
        let (hash, change) = write::signed(cx, RoomKey([0; 32]), 1, Vec::new(), deed);
        let changes = BTreeMap::from([(hash, change)]);
        let room = self.add(cx, RoomKey(hash.0), changes)?;
        Ok(room.ok_or(Refusal::TooManyRooms))
    }

    fn add(
        &mut self,
        cx: &mut Cx<'_>,
        key: RoomKey,
        changes: BTreeMap<Hash, Change>,
    ) -> Result<Option<RoomId>> {
        let Some(membership) = Membership::of(key, &changes) else {
            return Ok(None);
        };
        let row = cx.journal.add_room(key, &membership.name)?;
        for (hash, change) in &changes {
            cx.journal.add_change(row.id, *hash, change)?;
        }
        let id = row.id;
        let mut room = Room::new(cx.keypair.public(), row, changes, membership);
        room.recount();
        room.changed = true;
        self.rooms.insert(id, room);
        self.by_key.insert(key, id);
        self.peers.meet(&self.rooms, id);
        Ok(Some(id))
    }

    /// The room, if this account may change who is in it.
    fn owned(&mut self, cx: &Cx<'_>, id: RoomId) -> Result<&mut Room, Refusal> {
        let room = self.rooms.get_mut(&id).ok_or(Refusal::NotJoined)?;
        if room.membership.owner != cx.keypair.public() {
            return Err(Refusal::NotTheOwner);
        }
        if room.membership.frozen.is_some() { Err(Refusal::Frozen) } else { Ok(room) }
    }

    fn change(&mut self, cx: &mut Cx<'_>, id: RoomId, deed: Deed) -> Result<Result<(), Refusal>> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(Err(Refusal::NotJoined));
        };
        let hash = match room.change(cx, deed)? {
            Ok(hash) => hash,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let changes = room.changes.get(&hash).cloned().into_iter().collect();
        self.peers.hand_on(cx, room, changes, None);
        if !self.low {
            self.peers.take_waiting(cx, room)?;
        }
        Ok(Ok(()))
    }

    /// Invites a user. With `all`, it gets what was written before.
    pub fn invite(
        &mut self,
        cx: &mut Cx<'_>,
        id: RoomId,
        name: &Name,
        key: PublicKey,
        all: bool,
    ) -> Result<Result<(), Refusal>> {
        let room = match self.owned(cx, id) {
            Ok(room) => room,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if matches!(room.state(key), Some(State::Invited | State::Joined)) {
            return Ok(Err(Refusal::AlreadyIn));
        }
        if room.membership.members().len() >= MAX_MEMBERS {
            return Ok(Err(Refusal::TooManyMembers));
        }
        let mut past = Vec::new();
        if !all {
            let mut rows: Vec<_> = room.chains.values().map(|chain| &chain.row).collect();
            rows.retain(|row| row.branch == 0 && row.number > 0);
            rows.sort_by_key(|row| std::cmp::Reverse(row.place));
            let past_of = |row: &&ChainRow| {
                let (mark, clock, ended) = (row.mark(), row.clock, row.ended);
                Past { mark, clock, ended }
            };
            past = rows.iter().map(past_of).take(MAX_HEADS).collect();
        }
        let (clock, place) = (room.last_place(), room.settled());
        let settled = room.row.settlement.filter(|_| !all).map(|mark| Settled { mark, place });
        let add = Add { name: name.clone(), key, past, clock, settled };
        let done = self.change(cx, id, Deed::Add(add))?;
        if let Some(room) = self.rooms.get(&id) {
            self.peers.introduce(cx, room, key)?;
        }
        Ok(done)
    }

    /// Removes a member. One that owned the room before stays until the others have said what they know of its settlements:
    /// they are asked, where they were not yet.
    pub fn kick(&mut self, cx: &mut Cx<'_>, id: RoomId, key: PublicKey) -> Result<Result<(), Refusal>> {
        let room = match self.owned(cx, id) {
            Ok(room) => room,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !room.membership.is_in(key) {
            return Ok(Err(Refusal::NotAMember));
        }
        if key == room.own {
            return Ok(Err(Refusal::Owner));
        }
        if let Some(other) = room.lacks_word(cx, key)? {
            return Ok(Err(Refusal::NotYet(other)));
        }
        let kept = room.kept_of(key);
        self.change(cx, id, Deed::Remove(Remove { key, kept }))
    }

    pub fn give(&mut self, cx: &mut Cx<'_>, id: RoomId, key: PublicKey) -> Result<Result<(), Refusal>> {
        let room = match self.owned(cx, id) {
            Ok(room) => room,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if room.state(key) != Some(State::Joined) || key == room.own {
            return Ok(Err(Refusal::NotAMember));
        }
        if room.membership.heir.is_some() {
            return Ok(Err(Refusal::AlreadyIn));
        }
        self.change(cx, id, Deed::Transfer(key))
    }

    pub fn topic(&mut self, cx: &mut Cx<'_>, id: RoomId, topic: &str) -> Result<Result<(), Refusal>> {
        match self.owned(cx, id) {
            Ok(_) => self.change(cx, id, Deed::Topic(topic.to_owned())),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Takes an invitation. `epoch` was drawn at random: what is written by this grant stands in a chain of its own.
    pub fn join(&mut self, cx: &mut Cx<'_>, id: RoomId, epoch: u64) -> Result<Result<(), Refusal>> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(Err(Refusal::NotJoined));
        };
        match room.state(room.own) {
            Some(State::Joined) => return Ok(Err(Refusal::AlreadyIn)),
            Some(State::Invited) => {}
            _ => return Ok(Err(Refusal::NotAMember)),
        }
        if room.membership.frozen.is_some() {
            return Ok(Err(Refusal::Frozen));
        }
        (room.writing, room.epoch) = (None, Some(epoch));
        room.skip_past(cx.journal)?;
        let body = room.says_to_lack();
        if room.write(cx, EntryKind::JOIN, &body)?.is_none() {
            return Ok(Err(Refusal::Full));
        }
        room.sign(cx)?;
        self.peers.announce(cx, room);
        Ok(Ok(()))
    }

    /// Leaves a room, or declines an invitation.
    pub fn leave(&mut self, cx: &mut Cx<'_>, id: RoomId) -> Result<Result<(), Refusal>> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(Err(Refusal::NotJoined));
        };
        if !matches!(room.state(room.own), Some(State::Joined | State::Invited)) {
            return Ok(Err(Refusal::NotJoined));
        }
        if room.membership.owner == room.own && room.joined.len() > 1 {
            return Ok(Err(Refusal::Owner));
        }
        room.leave(cx)?;
        self.peers.depart(cx, room);
        Ok(Ok(()))
    }

    /// Says something in a room.
    pub fn say(
        &mut self,
        cx: &mut Cx<'_>,
        id: RoomId,
        kind: EntryKind,
        body: &[u8],
    ) -> Result<Result<(Cursor, Seq), Refusal>> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(Err(Refusal::NotJoined));
        };
        if room.membership.frozen.is_some() {
            return Ok(Err(Refusal::Frozen));
        }
        if !room.is_joined() {
            return Ok(Err(Refusal::NotJoined));
        }
        let written = room.write(cx, kind, body)?;
        let epoch = room.writing.and_then(|id| room.chain_name(id)).map_or(cx.epoch, |name| name.epoch);
        let id = |(number, seq)| (Cursor { epoch, number }, seq);
        Ok(written.map(id).ok_or(Refusal::Full))
    }

    /// Whether [`Self::mates`] may have changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The members that this account is to be linked with for the sake of its rooms.
    pub fn mates(&self) -> BTreeMap<PublicKey, Name> {
        let mut mates = BTreeMap::new();
        // Also of a frozen room: who was away is to hear so, and an accept may end it.
        for room in self.rooms.values().filter(|room| room.is_joined() || room.leaves_unheard()) {
            let members = room.membership.members();
            let others = members.iter().filter(|(key, _)| **key != room.own);
            let near = room.wants_linked();
            let wanted = others.filter(|(key, _)| near.contains(*key));
            mates.extend(wanted.map(|(key, name)| (*key, (*name).clone())));
        }
        mates
    }

    /// The disk is nearly full, or has room again.
    pub fn set_low(&mut self, low: bool) {
        self.low = low;
    }

    /// There is a link with a peer, over which so many bytes of entries may be on their way.
    pub fn linked(&mut self, cx: &mut Cx<'_>, peer: PublicKey, window: usize) -> Result<()> {
        self.peers.add(peer, window);
        self.rooms.values().try_for_each(|room| self.peers.greet(cx, room, peer))
    }

    pub fn unlinked(&mut self, peer: PublicKey) {
        self.peers.remove(peer);
        self.invitations.remove(&peer);
    }

    /// A peer says something of a room. `may_invite` is whether it may invite this account.
    pub fn hear(
        &mut self,
        cx: &mut Cx<'_>,
        from: PublicKey,
        AboutRoom { room, says }: &AboutRoom,
        may_invite: bool,
    ) -> Result<()> {
        match self.by_key.get(room).copied() {
            Some(id) => {
                let Self { rooms, peers, low, .. } = self;
                if let Some(room) = rooms.get_mut(&id) {
                    peers.hear(cx, room, from, says, *low)?;
                }
            }
            None => match says {
                RoomSays::Changes(changes) if may_invite => return self.invited(cx, from, *room, changes),
                // A member that does not know that this one has lost all of the room.
                RoomSays::Have(have) if may_invite && !have.tips.is_empty() => {
                    let says = RoomSays::Pull(Pull { changes: true, ..Pull::default() });
                    cx.effects.push(Effect::Say { to: from, about: AboutRoom { room: *room, says } });
                }
                _ => {}
            },
        }
        Ok(())
    }

    /// A peer hands on the changes of a room that is not known here.
    fn invited(&mut self, cx: &mut Cx<'_>, from: PublicKey, room: RoomKey, changes: &[Change]) -> Result<()> {
        let own = cx.keypair.public();
        let (known, all) = self.invitations.entry(from).or_insert_with(|| (room, BTreeMap::new()));
        if *known != room {
            (*known, *all) = (room, BTreeMap::new());
        }
        for change in changes {
            if !change.is_signed(room) || all.len() >= MAX_CHANGES {
                self.invitations.remove(&from);
                cx.effects.push(Effect::Blame { peer: from, what: "changes of a room that are not signed" });
                return Ok(());
            }
            all.insert(hash::change(room, change), change.clone());
        }
        let is_invited = Membership::of(room, all).is_some_and(|it| it.is_in(own) && it.frozen.is_none());
        if !is_invited || self.are_too_many(own) {
            return Ok(());
        }
        let Some((_, all)) = self.invitations.remove(&from) else {
            return Ok(());
        };
        if let Some(room) = self.add(cx, room, all)? {
            let grant = self.rooms.get(&room).and_then(|it| it.own_grant().map(|(_, grant)| grant.by));
            cx.effects.push(Effect::Invited { room, by: grant.unwrap_or(from) });
        }
        Ok(())
    }

    /// Completes a transaction: what follows in all rooms from what has happened, and from the time.
    pub fn finish(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let Self { rooms, peers, low, changed, .. } = self;
        for room in rooms.values_mut() {
            if room.changed
                && let Some(accepted) = room.inherit(cx)?
            {
                peers.hand_on(cx, room, vec![accepted], None);
            }
            room.settle(cx)?;
            room.sign(cx)?;
            if let Some(receipt) = room.receipt_due(cx.journal, cx.now, cx.keypair, cx.epoch)? {
                peers.say_receipt(cx, room, receipt);
            }
            for (id, spread) in room.spread_news(cx.journal, cx.now)? {
                cx.effects.push(Effect::Spread { room: room.row.id, id, spread });
            }
            peers.follow(cx, room, *low)?;
            room.save(cx.journal)?;
            *changed |= std::mem::take(&mut room.changed);
        }
        peers.send_runs(cx, rooms)
    }

    /// When [`Self::finish`] is due, whatever happens.
    pub fn deadline(&self) -> Instant {
        let rooms = self.rooms.values().flat_map(|room| [Some(room.receipts.deadline()), room.settling.due]);
        let rooms = rooms.flatten();
        rooms.fold(self.peers.deadline(), Instant::min)
    }
}
