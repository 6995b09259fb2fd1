//! Receipts in rooms in which not all are linked with all.
//!
//! What all say to all grows with the square of how many they are. So a member says at once what it has only to those who
//! wait for that: to the owner, who settles, and to the authors, who count. The owner is linked with all: it hands receipts
//! on to the authors who are not linked with their members, and tells who lacks something what there is. All others hear of
//! receipts from it now and then. Who has no link with the owner tells all that it is linked with, who hand on what they hear,
//! and is told by them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Cx;
use super::super::receipts::SETTLED_IN_LARGE;
use super::super::room::{Chain, Room, State};
use super::super::say::{AT_ONCE, say};
use super::super::take::MAX_AHEAD;
use super::{GOSSIP, Peers, View};
use crate::protocol::PublicKey;
use crate::protocol::room::{Have, Mark, Receipt, ReceiptName, RoomSays};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal};
use crate::time::Instant;

/// How long receipts of others are gathered in a large room before all hear of them.
const RARELY: Duration = Duration::from_secs(30);
/// The same where an author has written so much that it may soon have to wait for receipts.
const HURRIED: Duration = Duration::from_secs(5);
/// From how many bytes on that is so.
const MUCH: u64 = MAX_AHEAD / 4;
/// How long the owner gathers receipts for their authors.
const GATHER: Duration = Duration::from_millis(250);
/// How long after an entry has come the owner tells those of it who have not said to have it.
const LACKING: Duration = Duration::from_secs(5);
/// The same for settlements that nothing follows: members say later that they have those.
const LACKING_SETTLEMENT: Duration = SETTLED_IN_LARGE.saturating_add(LACKING);
/// About how many bytes of receipts stand in one message, unless a single one is longer.
const RECEIPTS_AT_ONCE: usize = 24 * 1024;

/// What the owner of a large room is to do for the others.
#[derive(Debug)]
pub struct Relay {
    /// Receipts that go to authors, and when.
    receipts: BTreeMap<PublicKey, BTreeSet<ReceiptName>>,
    hand_on: Instant,
    /// When those who lack something are told what there is but settlements, and when all that there is.
    tell: Instant,
    tell_all: Instant,
}

impl Default for Relay {
    fn default() -> Self {
        let [hand_on, tell, tell_all] = [Instant::NEVER; 3];
        Self { receipts: BTreeMap::new(), hand_on, tell, tell_all }
    }
}

impl Relay {
    pub fn due(&self) -> Instant {
        self.hand_on.min(self.tell).min(self.tell_all)
    }
}

/// Whether a member waits for a receipt: to settle, or to count.
pub fn waits(room: &Room, key: PublicKey, receipt: &Receipt) -> bool {
    key == room.membership.owner || receipt.covers.iter().any(|mark| mark.chain.author == key)
}

/// Says receipts, in as few messages as they fit in.
pub fn say_receipts(cx: &mut Cx<'_>, to: PublicKey, room: &Room, receipts: Vec<Receipt>) {
    let (mut some, mut bytes) = (Vec::new(), 0);
    for receipt in receipts {
        let weight = 256 + 128 * receipt.covers.len() + 40 * receipt.tips.len();
        if !some.is_empty() && bytes + weight > RECEIPTS_AT_ONCE {
            say(cx, to, room, RoomSays::Receipts(std::mem::take(&mut some)));
            bytes = 0;
        }
        bytes += weight;
        some.push(receipt);
    }
    if !some.is_empty() {
        say(cx, to, room, RoomSays::Receipts(some));
    }
}

impl Peers {
    fn view(&mut self, room: &Room, of: PublicKey) -> Option<&mut View> {
        self.peers.get_mut(&of)?.views.get_mut(&room.row.id)
    }

    /// Whether there is a link with one who takes part in this room.
    fn is_here(&self, room: &Room, key: PublicKey) -> bool {
        let view = self.peers.get(&key).and_then(|peer| peer.views.get(&room.row.id));
        view.is_some_and(|view| view.heard && room.state(key) == Some(State::Joined))
    }

    /// Whether the owner hands our receipts on: else all who are linked are told.
    pub(super) fn has_relay(&self, room: &Room) -> bool {
        let owner = room.membership.owner;
        room.ring.is_large() && (owner == room.own || self.is_here(room, owner))
    }

    /// A receipt that is new here is passed on: at once to those who wait for it, and to all others with others.
    pub(super) fn pass_on(&mut self, cx: &mut Cx<'_>, room: &Room, receipt: &Receipt) {
        let is_large = room.ring.is_large();
        let gossip = match is_large {
            false => Some(GOSSIP),
            true if room.is_much_ahead(receipt) => Some(HURRIED),
            true => room.says_of_words(receipt).then_some(RARELY),
        };
        if let Some(due) = gossip.map(|gossip| cx.now.mono + gossip) {
            let known = self.gossip.entry(room.row.id).or_insert(due);
            *known = (*known).min(due);
        }
        if !is_large || room.membership.owner != room.own {
            return;
        }
        let member = receipt.name.member;
        let near = room.ring.neighbours(member);
        let authors: BTreeSet<PublicKey> = receipt.covers.iter().map(|mark| mark.chain.author).collect();
        for author in authors.into_iter().filter(|it| ![member, room.own].contains(it) && !near.contains(it))
        {
            let relay = self.relays.entry(room.row.id).or_default();
            relay.receipts.entry(author).or_default().insert(receipt.name);
            relay.hand_on = relay.hand_on.min(cx.now.mono + GATHER);
        }
    }

    /// The members that hear from this one at once what another one writes. The owner stands in for those who are away.
    pub(super) fn heirs(&self, room: &mut Room, author: PublicKey) -> Vec<PublicKey> {
        let mut heirs = room.heirs(author);
        if room.membership.owner == room.own && room.ring.is_large() {
            let parents = room.parents(author).into_iter();
            let orphans =
                parents.filter(|(_, it)| ![author, room.own].contains(it) && !self.is_here(room, *it));
            heirs.extend(orphans.map(|(key, _)| key));
        }
        heirs
    }

    /// The members that hear from others what this one writes: it is linked with more than the ring says if it owns the
    /// room.
    pub(super) fn spared(&self, room: &mut Room) -> BTreeSet<PublicKey> {
        if !room.ring.is_large() || room.membership.owner != room.own {
            return BTreeSet::new();
        }
        let parents = room.parents(room.own).into_iter();
        let spared = parents.filter(|(_, parent)| *parent != room.own && self.is_here(room, *parent));
        spared.map(|(key, _)| key).collect()
    }

    /// Entries have come to the owner: who does not say soon to have them is told.
    pub(super) fn watch(&mut self, cx: &Cx<'_>, room: &Room) {
        let (is_large, is_owner) = (room.ring.is_large(), room.membership.owner == room.own);
        let new = |id: &ChainId| room.chains.get(id).is_some_and(|chain| chain.touched);
        if is_large && is_owner && (!room.taken.is_empty() || room.written.iter().any(new)) {
            let relay = self.relays.entry(room.row.id).or_default();
            relay.tell = relay.tell.min(cx.now.mono + LACKING);
            relay.tell_all = relay.tell_all.min(cx.now.mono + LACKING_SETTLEMENT);
        }
    }

    /// What the owner does for the others, once it is time for it.
    pub(super) fn relay(&mut self, cx: &mut Cx<'_>, room: &Room) {
        let Some(relay) = self.relays.get_mut(&room.row.id) else {
            return;
        };
        let now = cx.now.mono;
        let [tell, tell_all] = [&mut relay.tell, &mut relay.tell_all].map(|due| {
            let is_due = *due <= now;
            if is_due {
                *due = Instant::NEVER;
            }
            is_due
        });
        let hand_on =
            if relay.hand_on <= now { std::mem::take(&mut relay.receipts) } else { BTreeMap::new() };
        if relay.hand_on <= now {
            relay.hand_on = Instant::NEVER;
        }
        for (author, names) in hand_on {
            let Some(view) = self.view(room, author) else {
                continue;
            };
            let wanted = names.into_iter().filter(|name| view.receipts.insert(*name));
            let receipts = wanted.filter_map(|name| room.receipts.kept.get(&name));
            let receipts =
                receipts.filter(|receipt| super::may_know(room, author, receipt)).cloned().collect();
            say_receipts(cx, author, room, receipts);
        }
        if tell_all {
            self.tell_lacking(cx, room, |chain| chain.signed.number);
        } else if tell {
            self.tell_lacking(cx, room, Chain::said);
        }
    }

    /// Tells each what there is, up to an end of each chain, that it has not said to have, and was not sent.
    fn tell_lacking(&mut self, cx: &mut Cx<'_>, room: &Room, end: fn(&Chain) -> u64) {
        for (key, peer) in &mut self.peers {
            let Some(view) =
                peer.views.get_mut(&room.row.id).filter(|_| room.state(*key) == Some(State::Joined))
            else {
                continue;
            };
            let mut heads: Vec<Mark> = Vec::new();
            for chain in room.chains.values().filter(|chain| chain.row.place > room.row.settled) {
                let (id, number) = (chain.row.id, end(chain));
                let known = view.has.get(&id).max(view.told.get(&id)).copied().unwrap_or_default();
                if known.max(room.covered(*key, chain)) < number {
                    heads.extend(chain.head());
                    view.told.insert(id, chain.signed.number);
                }
            }
            for heads in heads.chunks(AT_ONCE) {
                let have = Have { heads: heads.to_vec(), joined: room.is_joined(), ..Have::default() };
                say(cx, *key, room, RoomSays::Have(have));
            }
        }
    }
}

impl Room {
    /// Whether an author of what a receipt covers may soon have to wait for receipts.
    fn is_much_ahead(&self, receipt: &Receipt) -> bool {
        receipt.covers.iter().any(|mark| self.ahead(mark.chain.author) > MUCH)
    }

    /// Whether a receipt names more than settlements that are here: those alone are told of with other receipts.
    fn says_of_words(&self, receipt: &Receipt) -> bool {
        let settles = |mark: &Mark| {
            let mut chains = self.branches(mark.chain);
            chains.any(|chain| chain.said < mark.number && mark.number <= chain.row.number)
        };
        receipt.covers.is_empty() || !receipt.covers.iter().all(settles)
    }

    /// Others may have more by now of what was ahead of them.
    pub(super) fn recount_ahead(&mut self, journal: &Journal) -> Result<()> {
        let ahead = self.chains.values().filter(|chain| chain.ahead > MUCH / 2);
        let ahead: Vec<ChainId> = ahead.map(|chain| chain.row.id).collect();
        ahead.into_iter().try_for_each(|id| self.count_ahead(journal, id))
    }
}
