//! What is said of rooms to those who are linked, and heard from them.
//!
//! Over each link both sides say what they have, and each asks for what it lacks, a chain from one peer at a time. Its own
//! new entries a member sends without being asked. Entries go in runs, of which so many bytes may be on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::room::{Room, State};
use super::say::{AT_ONCE, say, say_all, say_chains, say_changes, say_tips};
use super::take::run_weight;
use super::write::Changed;
use super::{Cx, Effect};
use crate::protocol::PublicKey;
use crate::protocol::room::{ChainName, Change, Have, Proof, Pull, Receipt, ReceiptName, RoomSays, Run};
use crate::store::Result;
use crate::store::journal::{ChainId, RoomId};
use crate::time::Instant;
use relay::Relay;
use view::View;

mod pulls;
mod receipts;
mod relay;
mod runs;
mod serving;
mod view;

/// How long a peer may take to send something of a chain that it was asked for, before another one is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a chain is left alone of which nothing could be taken.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How many messages are kept of what one who is not in says to have, which may be in by changes that come; and how many
/// proofs about changes that are not here.
const MAX_SAID_OUTSIDE: usize = 16;
/// How long receipts of others are gathered before they are handed on.
const GOSSIP: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<PublicKey, Peer>,
    /// The chains that were asked for: from which peer, up to which number, and since when nothing has come.
    pulls: BTreeMap<(RoomId, ChainName), Asked>,
    /// How often a chain was asked for in vain.
    tries: BTreeMap<(RoomId, ChainName), u32>,
    /// When receipts of others are handed on.
    gossip: BTreeMap<RoomId, Instant>,
    relays: BTreeMap<RoomId, Relay>,
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// `None`: nothing could be taken, and for a while none is asked.
    of: Option<PublicKey>,
    /// From which peer nothing could be taken: the next one is asked first.
    refused: Option<PublicKey>,
    /// After which number, and up to which.
    after: u64,
    up_to: u64,
    /// After which number the same peer was asked for it just before: that may still be on its way.
    before: Option<u64>,
    since: Instant,
    patience: Duration,
    /// That peer has said again to have it: it may not have been able to hand it on before.
    again: bool,
}

impl Asked {
    /// Nothing of a chain could be taken, from this peer if it is one.
    fn none(now: Instant, refused: Option<PublicKey>) -> Self {
        let (after, up_to, before, patience) = (0, 0, None, LEFT_ALONE);
        Self { of: None, refused, after, up_to, before, since: now, patience, again: false }
    }

    /// A run that begins here, from this peer, is not what it was asked for last.
    fn was_asked_before(&self, peer: PublicKey, first: u64) -> bool {
        self.of == Some(peer) && self.before.is_some_and(|after| first > after)
    }

    fn until(&self) -> Instant {
        self.since + self.patience
    }
}

#[derive(Debug, Default)]
struct Peer {
    window: usize,
    /// How many bytes of runs are on their way to it.
    underway: usize,
    /// The rooms of whose changes it was asked, though it is not known to be in.
    asked: BTreeSet<RoomId>,
    views: BTreeMap<RoomId, View>,
}

impl Peers {
    pub fn add(&mut self, peer: PublicKey, window: usize) {
        self.peers.insert(peer, Peer { window, ..Peer::default() });
    }

    /// How many entries these offer, as far as they have said, that are not here yet.
    pub fn missing(&self, room: &Room) -> u64 {
        let mut ends: BTreeMap<ChainName, u64> = BTreeMap::new();
        let views = self.peers.values().filter_map(|peer| peer.views.get(&room.row.id));
        for ((name, _), mark) in views.flat_map(|view| &view.offers) {
            let end = ends.entry(*name).or_default();
            *end = mark.number.max(*end);
        }
        let missing = ends.into_iter().map(|(name, end)| {
            let here = room.branches(name).map(|chain| chain.row.number).max().unwrap_or_default();
            end.min(room.limit(name)).saturating_sub(here)
        });
        missing.fold(0, u64::saturating_add)
    }

    pub fn remove(&mut self, peer: PublicKey) {
        self.peers.remove(&peer);
        self.pulls.retain(|_, asked| asked.of != Some(peer));
        self.wake = Some(Instant::START);
    }

    /// Nothing of what was said over the links counts.
    pub fn forget(&mut self) {
        for peer in self.peers.values_mut() {
            *peer = Peer { window: peer.window, ..Peer::default() };
        }
        self.pulls.clear();
        self.tries.clear();
        self.relays.clear();
        self.wake = Some(Instant::START);
    }

    /// A room is new here.
    pub fn meet(&mut self, rooms: &BTreeMap<RoomId, Room>, id: RoomId) {
        debug_assert!(rooms.contains_key(&id));
        self.peers.values_mut().for_each(|peer| _ = peer.views.remove(&id));
        self.wake = Some(Instant::START);
    }

    /// This account takes part in a room from now on: who has heard of it already is told what there is here.
    pub fn announce(&mut self, cx: &mut Cx<'_>, room: &Room) {
        for peer in self.peers.iter().filter(|(_, it)| it.views.contains_key(&room.row.id)) {
            if room.membership.is_in(*peer.0) {
                say_all(cx, *peer.0, room);
            }
        }
        self.wake = Some(Instant::START);
    }

    /// This account takes no part in a room any more: who has not its last entry yet is told so at once.
    pub fn depart(&self, cx: &mut Cx<'_>, room: &Room) {
        for (peer, _) in self.peers.iter().filter(|(_, it)| it.views.contains_key(&room.row.id)) {
            say(cx, *peer, room, RoomSays::Have(Have::default()));
        }
    }

    /// Says first to a peer what there is of a room.
    pub fn greet(&mut self, cx: &mut Cx<'_>, room: &Room, to: PublicKey) -> Result<()> {
        let Some(peer) = self.peers.get_mut(&to) else {
            return Ok(());
        };
        if let Some(view) = peer.views.get_mut(&room.row.id) {
            // Before, what it asked for was not given.
            if !view.joined && room.state(to) == Some(State::Joined) {
                view.joined = true;
                say_all(cx, to, room);
            }
            return Ok(());
        }
        // One who was removed may be the only one who knows of it, or that the other one was.
        if room.state(room.own) == Some(State::Removed) && room.membership.knows(to) {
            let is_in = room.membership.is_in(to);
            let outside = (!is_in).then(Vec::new);
            peer.views.insert(room.row.id, View { outside, ..View::default() });
            if is_in {
                say_tips(cx, to, room);
            } else {
                say_changes(cx, to, room);
            }
            return Ok(());
        }
        // Who has left hands on what it has all the same.
        let takes_part = matches!(room.state(room.own), Some(State::Joined | State::Invited | State::Left));
        if !takes_part || to == room.own {
            return Ok(());
        }
        match room.state(to) {
            None => return Ok(()),
            // It may not know yet that it is in, or that it is out.
            Some(state @ (State::Invited | State::Removed)) => {
                let outside = (state == State::Removed).then(Vec::new);
                peer.views.insert(room.row.id, View { outside, ..View::default() });
                say_changes(cx, to, room);
            }
            Some(state @ (State::Joined | State::Left | State::Forked)) => {
                let joined = state == State::Joined;
                peer.views.insert(room.row.id, View { joined, ..View::default() });
            }
        }
        if room.membership.is_in(to) {
            say_all(cx, to, room);
            for proof in cx.journal.proofs(room.row.id)? {
                say(cx, to, room, RoomSays::Proof(Box::new(proof)));
            }
        }
        Ok(())
    }

    /// A user is invited who may be linked already.
    pub fn introduce(&mut self, cx: &mut Cx<'_>, room: &Room, to: PublicKey) -> Result<()> {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.views.remove(&room.row.id);
        }
        self.greet(cx, room, to)
    }

    /// Hands on changes that are new here.
    pub fn hand_on(&mut self, cx: &mut Cx<'_>, room: &Room, changes: Vec<Change>, from: Option<PublicKey>) {
        let knows =
            |peer: &&PublicKey| Some(**peer) != from && room.membership.knows(**peer) && **peer != room.own;
        for peer in self.peers.keys().filter(knows) {
            say(cx, *peer, room, RoomSays::Changes(changes.clone()));
        }
        self.wake = Some(Instant::START);
    }

    /// A peer says something of a room.
    pub fn hear(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        says: &RoomSays,
        low: bool,
    ) -> Result<()> {
        self.greet(cx, room, from)?;
        let is_in = room.membership.is_in(from);
        match says {
            RoomSays::Changes(changes) => self.hear_changes(cx, room, from, changes, low)?,
            // Also of what was sent before a removal.
            RoomSays::Got(size) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.underway =
                        peer.underway.saturating_sub(usize::try_from(*size).unwrap_or(usize::MAX));
                    self.wake = Some(Instant::START);
                }
            }
            // Who was removed is told no more than that. What it sends counts as taken in: it may be in again over this link.
            _ if !is_in => {
                if let RoomSays::Run(run) = says {
                    got(cx, room, from, run);
                }
                let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
                if let RoomSays::Have(have) = says
                    && let Some(said) = view.and_then(|view| view.outside.as_mut())
                    && said.len() < MAX_SAID_OUTSIDE
                {
                    said.push(have.clone());
                }
                self.ask_unknown(cx, room, from, says);
                self.tell_removed(cx, room, from);
            }
            RoomSays::Have(have) => self.hear_have(cx, room, from, have)?,
            RoomSays::Pull(pull) => self.hear_pull(cx, room, from, pull)?,
            RoomSays::Run(run) => {
                got(cx, room, from, run);
                if !low && room.is_open() {
                    self.hear_run(cx, room, from, run)?;
                } else {
                    self.ask_later(cx, room, from, run);
                }
            }
            RoomSays::Receipts(receipts) => self.hear_receipts(cx, room, from, receipts)?,
            RoomSays::Proof(proof) => self.hear_proof(cx, room, from, proof)?,
        }
        Ok(())
    }

    fn hear_proof(&mut self, cx: &mut Cx<'_>, room: &mut Room, from: PublicKey, proof: &Proof) -> Result<()> {
        // What it proves may hang on a change that is not here yet.
        if !room.membership.grants.contains_key(&proof.chain.grant) {
            let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
            if let Some(view) = view.filter(|view| view.proofs.len() < MAX_SAID_OUTSIDE) {
                view.proofs.push(proof.clone());
            }
            self.ask_changes(cx, room, from);
        } else if !room.proves(proof) {
            blame(cx, from, "a proof that proves nothing");
        } else if room.take_proof(cx, proof)? {
            self.found_out(cx, room, Some(from), proof);
        }
        Ok(())
    }

    /// One who is not known to be in has changes that are not here: it was let in by what was lost here with a backup.
    fn ask_unknown(&mut self, cx: &mut Cx<'_>, room: &Room, of: PublicKey, says: &RoomSays) {
        if let RoomSays::Have(have) = says
            && have.tips.iter().any(|tip| !room.changes.contains_key(tip))
            && let Some(peer) = self.peers.get_mut(&of)
            && peer.asked.insert(room.row.id)
        {
            say(cx, of, room, RoomSays::Pull(Pull { changes: true, ..Pull::default() }));
        }
    }

    fn tell_removed(&mut self, cx: &mut Cx<'_>, room: &Room, to: PublicKey) {
        let view = self.peers.get_mut(&to).and_then(|peer| peer.views.get_mut(&room.row.id));
        if room.membership.knows(to)
            && let Some(view) = view.filter(|view| !view.heard)
        {
            view.heard = true;
            say_changes(cx, to, room);
        }
    }

    fn hear_changes(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        changes: &[Change],
        low: bool,
    ) -> Result<()> {
        match room.take_changes(cx, changes)? {
            Changed::Broken(what) => blame(cx, from, what),
            Changed::Incomplete => self.ask_changes(cx, room, from),
            Changed::New(hashes) if hashes.is_empty() => {}
            Changed::New(hashes) => {
                let new = hashes.iter().filter_map(|hash| room.changes.get(hash)).cloned().collect();
                self.hand_on(cx, room, new, Some(from));
                let members: Vec<PublicKey> = self.peers.keys().copied().collect();
                for peer in members {
                    self.greet(cx, room, peer)?;
                    self.let_in(cx, room, peer)?;
                }
                if let Some(view) = self.peers.get_mut(&from).and_then(|it| it.views.get_mut(&room.row.id)) {
                    view.asked_changes = false;
                }
                self.hear_proofs(cx, room)?;
                // What waits is taken with the next run, once the disk has room, or with the change that thaws the room.
                if !low && room.membership.frozen.is_none() {
                    self.take_waiting(cx, room)?;
                }
            }
        }
        Ok(())
    }

    /// What was said to be proved may be understood by changes that have come.
    fn hear_proofs(&mut self, cx: &mut Cx<'_>, room: &mut Room) -> Result<()> {
        let id = room.row.id;
        let mut said = Vec::new();
        for (peer, known) in &mut self.peers {
            let proofs = known.views.get_mut(&id).map(|view| std::mem::take(&mut view.proofs));
            said.extend(proofs.into_iter().flatten().map(|proof| (*peer, proof)));
        }
        said.iter().try_for_each(|(peer, proof)| self.hear_proof(cx, room, *peer, proof))
    }

    /// A peer that was not in when it was greeted may be in by changes that have come.
    fn let_in(&mut self, cx: &mut Cx<'_>, room: &mut Room, peer: PublicKey) -> Result<()> {
        let view = self.peers.get_mut(&peer).and_then(|peer| peer.views.get_mut(&room.row.id));
        if room.membership.is_in(peer)
            && let Some(said) = view.and_then(|view| view.outside.take())
        {
            say_all(cx, peer, room);
            said.iter().try_for_each(|have| self.hear_have(cx, room, peer, have))?;
        }
        Ok(())
    }

    fn ask_changes(&mut self, cx: &mut Cx<'_>, room: &Room, of: PublicKey) {
        let view = self.peers.get_mut(&of).and_then(|peer| peer.views.get_mut(&room.row.id));
        if let Some(view) = view.filter(|view| !view.asked_changes) {
            view.asked_changes = true;
            say(cx, of, room, RoomSays::Pull(Pull { changes: true, ..Pull::default() }));
        }
    }

    fn hear_have(&mut self, cx: &mut Cx<'_>, room: &mut Room, from: PublicKey, have: &Have) -> Result<()> {
        if have.tips.iter().any(|tip| !room.changes.contains_key(tip)) {
            self.ask_changes(cx, room, from);
        }
        let Some(view) = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id)) else {
            return Ok(());
        };
        view.says_joined = have.joined;
        view.knows_changes(&have.tips);
        // Who says from the beginning what it has does so anew when its disk has failed, and has forgotten what it heard.
        let again = std::mem::replace(&mut view.heard, true) && !have.tips.is_empty();
        for mark in &have.heads {
            match room.find_signed(cx.journal, mark)?.map(|chain| chain.row.id) {
                Some(id) => {
                    let has = view.has.entry(id).or_default();
                    *has = (*has).max(mark.number);
                }
                None => {
                    view.offer(mark, mark.hash);
                    let place = (room.row.id, mark.chain);
                    // It has forgotten that it was asked.
                    self.pulls.retain(|it, asked| *it != place || asked.of != Some(from));
                    hope(&mut self.tries, &mut self.pulls, place, from);
                }
            }
        }
        if again {
            view.receipts.clear();
        }
        view.receipts.extend(have.receipts.iter().copied().filter(|name| room.membership.knows(name.member)));
        if room.is_joined() || room.leaves_unheard() {
            let receipts: Vec<_> = have.receipts.iter().copied().filter(|name| room.is_news(name)).collect();
            if !receipts.is_empty() {
                say(cx, from, room, RoomSays::Pull(Pull { receipts, ..Pull::default() }));
            }
        }
        if again && room.membership.is_in(from) {
            say_chains(cx, from, room);
        }
        self.wake = Some(Instant::START);
        Ok(())
    }

    /// What follows in a room: who is to be greeted, asked, and sent our own entries.
    pub fn follow(&mut self, cx: &mut Cx<'_>, room: &mut Room, low: bool) -> Result<()> {
        if room.changed || self.wake == Some(Instant::START) {
            let peers: Vec<PublicKey> = self.peers.keys().copied().collect();
            for peer in peers {
                self.greet(cx, room, peer)?;
            }
        }
        for name in std::mem::take(&mut room.raised) {
            self.offer_again(room, name);
        }
        let own = room.written.iter().filter_map(|id| Some((*id, room.chains.get(id)?.signed.number)));
        let own: Vec<(ChainId, u64)> = own.collect();
        let is_member = room.state(room.own).is_some_and(|state| state != State::Removed);
        let spared = self.spared(room);
        for (key, peer) in self.peers.iter_mut().filter(|(key, _)| !spared.contains(key)) {
            let Some(view) = peer.views.get_mut(&room.row.id) else {
                continue;
            };
            for (id, number) in own.iter().copied() {
                let has = view.has.get(&id).copied().unwrap_or_default();
                if !view.heard || !is_member || has >= number || !view.takes_part(room, *key) {
                    continue;
                }
                let past = room.chain_name(id).map_or(0, |name| room.past_of(*key, name));
                let after = view.has.get(&id).copied().unwrap_or_default().max(past);
                view.serving.entry(id).or_insert((after, number)).1 = number;
            }
        }
        self.serve_heirs(cx, room);
        self.relay(cx, room);
        self.pull(cx, room, low)?;
        if self.gossip.get(&room.row.id).is_some_and(|due| *due <= cx.now.mono) {
            self.gossip.remove(&room.row.id);
            if room.ring.is_large() {
                room.recount_ahead(cx.journal)?;
            }
            let kept: Vec<ReceiptName> = room.receipts.kept.keys().copied().collect();
            let to_all = !self.has_relay(room) || room.membership.owner == room.own;
            for (key, peer) in &mut self.peers {
                let Some(view) =
                    peer.views.get_mut(&room.row.id).filter(|_| room.state(*key) == Some(State::Joined))
                else {
                    continue;
                };
                let alone = std::mem::take(&mut view.alone);
                if !to_all && !alone && *key != room.membership.owner {
                    continue;
                }
                // Also its own: it may have forgotten them.
                let theirs = |name: &&ReceiptName| !view.receipts.contains(name);
                let news: Vec<ReceiptName> = kept.iter().filter(theirs).copied().collect();
                view.receipts = kept.iter().copied().collect();
                for receipts in news.chunks(AT_ONCE) {
                    let have = Have { receipts: receipts.to_vec(), joined: true, ..Have::default() };
                    say(cx, *key, room, RoomSays::Have(have));
                }
            }
        }
        Ok(())
    }

    /// When something is to be done, whatever happens.
    pub fn deadline(&self) -> Instant {
        let pulls = self.pulls.values().map(Asked::until);
        let gossip = self.gossip.values().copied();
        let relays = self.relays.values().map(Relay::due);
        pulls.chain(gossip).chain(relays).chain(self.wake).fold(Instant::NEVER, Instant::min)
    }
}

/// A peer has more of a chain than was known: what others were asked for in vain is soon asked of it.
fn hope(
    tries: &mut BTreeMap<(RoomId, ChainName), u32>,
    pulls: &mut BTreeMap<(RoomId, ChainName), Asked>,
    place: (RoomId, ChainName),
    peer: PublicKey,
) {
    tries.remove(&place);
    pulls.entry(place).and_modify(|asked| {
        asked.patience = asked.patience.min(PATIENCE);
        asked.again |= asked.of == Some(peer);
    });
}

/// Whether a receipt is for this member: one who has left hears who has what it has written.
fn may_know(room: &Room, key: PublicKey, receipt: &Receipt) -> bool {
    match room.state(key) {
        Some(State::Joined) => true,
        Some(State::Left) => receipt.covers.iter().any(|mark| mark.chain.author == key),
        _ => false,
    }
}

/// From where on this member gets a chain of which nothing is here.
fn granted(room: &Room, name: &ChainName) -> u64 {
    room.past_of(room.own, *name)
}

/// Says that a run has been taken in, whatever becomes of it.
fn got(cx: &mut Cx<'_>, room: &Room, from: PublicKey, run: &Run) {
    let size = u32::try_from(run_weight(run)).unwrap_or(u32::MAX);
    say(cx, from, room, RoomSays::Got(size));
}

fn blame(cx: &mut Cx<'_>, peer: PublicKey, what: &'static str) {
    cx.effects.push(Effect::Blame { peer, what });
}
