//! What is said of rooms to those who are linked, and heard from them.
//!
//! Over each link both sides say what they have, and each asks for what it lacks, a chain from one peer at a time. Its own
//! new entries a member sends without being asked. Entries go in runs, of which so many bytes may be on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ring::ALL_LINKED;
use super::room::{Chain, Room, State};
use super::say::{AT_ONCE, end_of, next_run, say, say_all, say_chains, say_changes, say_tips};
use super::take::{Offered, run_weight};
use super::write::Changed;
use super::{Cx, Effect};
use crate::protocol::PublicKey;
use crate::protocol::room::{
    ChainName, Change, Hash, Have, Mark, Proof, Pull, Receipt, ReceiptName, RoomSays, Run, Wanted,
};
use crate::store::Result;
use crate::store::journal::{ChainId, RoomId};
use crate::time::Instant;

mod pulls;

/// How long a peer may take to send something of a chain that it was asked for, before another one is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a chain is left alone of which nothing could be taken.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How many messages are kept of what one who is not in says to have, which may be in by changes that come.
const MAX_SAID_OUTSIDE: usize = 16;
/// How long receipts of others are gathered before they are handed on.
const GOSSIP: Duration = Duration::from_secs(1);
/// The same where members hand on each other's receipts at once, and this is for what got lost.
const SLOW_GOSSIP: Duration = Duration::from_secs(5);

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
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// `None`: nothing could be taken, and for a while none is asked.
    of: Option<PublicKey>,
    /// After which number, and up to which.
    after: u64,
    up_to: u64,
    since: Instant,
    patience: Duration,
}

impl Asked {
    /// Nothing of a chain could be taken.
    fn none(now: Instant) -> Self {
        Self { of: None, after: 0, up_to: 0, since: now, patience: LEFT_ALONE }
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

/// What is known of what a peer has of a room.
#[derive(Debug, Default)]
struct View {
    /// It has said what it has.
    heard: bool,
    /// It takes part, and so may ask.
    joined: bool,
    /// It says that it has joined.
    says_joined: bool,
    /// It was not in when it was greeted; what it has said to have since then.
    outside: Option<Vec<Have>>,
    has: BTreeMap<ChainId, u64>,
    /// What it has and this side may not: of each chain the last mark, and all branches of one whose author breaks the
    /// rules.
    offers: BTreeMap<(ChainName, Hash), Mark>,
    receipts: BTreeSet<ReceiptName>,
    /// What is to be sent to it of each chain: after which number, and up to which.
    serving: BTreeMap<ChainId, (u64, u64)>,
    asked_changes: bool,
}

impl View {
    /// Whether the peer has joined, by what is here or by its own word: to be invited is not to be in.
    fn takes_part(&self, room: &Room, peer: PublicKey) -> bool {
        match room.state(peer) {
            Some(State::Joined) => true,
            Some(State::Invited) if self.says_joined => {
                // Where nothing is known of it by that change yet.
                let is_new = |name: &ChainName| {
                    let begun = |chain: &Chain| chain.row.name.grant == name.grant && chain.row.number > 0;
                    let active = room.membership.active(peer).any(|(grant, _)| *grant == name.grant);
                    active && !room.is_forked(*name) && !room.chains_of(peer).any(begun)
                };
                self.offers.keys().any(|(name, _)| name.author == peer && is_new(name))
            }
            _ => false,
        }
    }

    /// Whether the peer is served a chain. Who has left, or is invited again, gets back what a restored backup has lost of
    /// its own.
    fn may_have(&self, room: &Room, peer: PublicKey, author: PublicKey) -> bool {
        let is_outside = matches!(room.state(peer), Some(State::Left | State::Invited));
        self.takes_part(room, peer) || author == peer && is_outside
    }
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
        // One who was removed may be the only one who knows of it.
        if room.state(room.own) == Some(State::Removed) && room.membership.is_in(to) {
            peer.views.insert(room.row.id, View::default());
            say_tips(cx, to, room);
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

    /// Sends our own receipt to all members who are linked.
    pub fn say_receipt(&mut self, cx: &mut Cx<'_>, room: &Room, receipt: Receipt) {
        for (key, peer) in &mut self.peers {
            if let Some(view) = peer.views.get_mut(&room.row.id).filter(|_| may_know(room, *key, &receipt)) {
                view.receipts.insert(receipt.name);
                say(cx, *key, room, RoomSays::Receipts(vec![receipt.clone()]));
            }
        }
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
            // Who was removed is told no more than that.
            _ if !is_in => {
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
                let size = u32::try_from(run_weight(run)).unwrap_or(u32::MAX);
                say(cx, from, room, RoomSays::Got(size));
                if !low && room.is_open() {
                    self.hear_run(cx, room, from, run)?;
                } else {
                    // It is asked for again.
                    self.pulls.insert((room.row.id, run.chain), Asked::none(cx.now.mono));
                }
            }
            RoomSays::Receipts(receipts) => self.hear_receipts(cx, room, from, receipts)?,
            RoomSays::Got(size) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.underway =
                        peer.underway.saturating_sub(usize::try_from(*size).unwrap_or(usize::MAX));
                    self.wake = Some(Instant::START);
                }
            }
            RoomSays::Proof(proof) => {
                if !room.proves(proof) {
                    blame(cx, from, "a proof that proves nothing");
                } else if room.take_proof(cx, proof)? {
                    self.spread_proof(cx, room, from, proof);
                }
            }
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
                // What waits is taken with the next run, once the disk has room.
                if !low {
                    self.take_waiting(cx, room)?;
                }
            }
        }
        Ok(())
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
        // Who says from the beginning what it has does so anew when its disk has failed, and has forgotten what it heard.
        let again = std::mem::replace(&mut view.heard, true) && !have.tips.is_empty();
        for mark in &have.heads {
            match room.find_signed(cx.journal, mark)?.map(|chain| chain.row.id) {
                Some(id) => {
                    let has = view.has.entry(id).or_default();
                    *has = (*has).max(mark.number);
                }
                None => {
                    view.offers.insert((mark.chain, mark.hash), *mark);
                    self.tries.remove(&(room.row.id, mark.chain));
                    // It has forgotten that it was asked.
                    self.pulls
                        .retain(|place, asked| *place != (room.row.id, mark.chain) || asked.of != Some(from));
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

    fn hear_pull(&mut self, cx: &mut Cx<'_>, room: &Room, from: PublicKey, pull: &Pull) -> Result<()> {
        if pull.changes {
            say_changes(cx, from, room);
        }
        // To be invited is not to be in.
        if room.state(room.own) == Some(State::Invited) {
            return Ok(());
        }
        let Some(view) = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id)) else {
            return Ok(());
        };
        for Wanted { after, up_to } in &pull.chains {
            let main = room.named(up_to.chain, 0).and_then(|id| room.chains.get(&id));
            // Of what was cut meanwhile it gets what is kept.
            let kept = main.filter(|_| room.is_cut(up_to.chain, up_to.number));
            if view.may_have(room, from, up_to.chain.author)
                && let Some(chain) = room.find(cx.journal, up_to)?.or(kept)
            {
                let base = main.map_or(0, |main| main.row.base);
                let after = (*after).max(room.past_by_any(from, up_to.chain)).max(base);
                // The signature that was there when this was offered may have given way to a later one.
                view.serving.insert(chain.row.id, (after, chain.signed.number));
            }
        }
        let wanted = pull.receipts.iter().filter_map(|name| room.receipts.kept.get(name));
        for receipt in wanted.filter(|receipt| may_know(room, from, receipt)).cloned().collect::<Vec<_>>() {
            say(cx, from, room, RoomSays::Receipts(vec![receipt]));
        }
        self.wake = Some(Instant::START);
        Ok(())
    }

    fn hear_run(&mut self, cx: &mut Cx<'_>, room: &mut Room, from: PublicKey, run: &Run) -> Result<()> {
        let last = run.first.saturating_add(run.entries.len() as u64).saturating_sub(1);
        let place = (room.row.id, run.chain);
        match room.offer(cx, from, run)? {
            Offered::Taken => {
                if let Some(asked) = self.pulls.get_mut(&place) {
                    (asked.since, asked.patience) = (cx.now.mono, PATIENCE);
                    asked.after = asked.after.max(last);
                    self.tries.remove(&place);
                    if last >= asked.up_to {
                        self.pulls.remove(&place);
                    }
                }
                let (hash, number) = end_of(room, run);
                if let Some(chain) = room.find(cx.journal, &Mark { chain: run.chain, number, hash })?
                    && let Some(peer) = self.peers.get_mut(&from)
                    && let Some(view) = peer.views.get_mut(&room.row.id)
                {
                    let has = view.has.entry(chain.row.id).or_default();
                    *has = (*has).max(last);
                }
            }
            Offered::Unknown => {
                self.pulls.remove(&place);
                self.ask_changes(cx, room, from);
            }
            Offered::From(_)
                if self
                    .pulls
                    .get(&place)
                    .is_some_and(|asked| asked.of == Some(from) && run.first > asked.after + 1) =>
            {
                // It came later than what is lacking here: another one is asked.
                self.pulls.remove(&place);
                let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
                view.into_iter().for_each(|view| view.offers.retain(|(name, _), _| *name != run.chain));
            }
            Offered::From(after) => {
                let (hash, number) = end_of(room, run);
                let up_to = Mark { chain: run.chain, number, hash };
                let (since, patience) = (cx.now.mono, PATIENCE);
                let asked = Asked { of: Some(from), after, up_to: number, since, patience };
                self.pulls.insert(place, asked);
                let chains = vec![Wanted { after, up_to }];
                say(cx, from, room, RoomSays::Pull(Pull { chains, ..Pull::default() }));
            }
            Offered::Full => {
                let (hash, number) = end_of(room, run);
                let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
                view.into_iter().for_each(|view| {
                    _ = view.offers.insert((run.chain, hash), Mark { chain: run.chain, number, hash });
                });
                self.pulls.insert(place, Asked::none(cx.now.mono));
            }
            Offered::Refused => _ = self.pulls.insert(place, Asked::none(cx.now.mono)),
            Offered::Broken(what) => blame(cx, from, what),
            Offered::Forked(number) => self.fork(cx, room, from, run, number)?,
        }
        self.take_waiting(cx, room)?;
        self.wake = Some(Instant::START);
        Ok(())
    }

    fn fork(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        run: &Run,
        number: u64,
    ) -> Result<()> {
        self.pulls.insert((room.row.id, run.chain), Asked::none(cx.now.mono));
        if let Some(proof) = room.proof(cx.journal, run, number)?
            && room.take_proof(cx, &proof)?
        {
            self.spread_proof(cx, room, from, &proof);
        }
        Ok(())
    }

    /// Takes what has waited for what has just come.
    pub fn take_waiting(&mut self, cx: &mut Cx<'_>, room: &mut Room) -> Result<()> {
        for (name, _) in room.take_waiting(cx)? {
            self.pulls.insert((room.row.id, name), Asked::none(cx.now.mono));
        }
        if room.take_deferred(cx.journal)? {
            self.gossip.entry(room.row.id).or_insert(cx.now.mono + GOSSIP);
        }
        Ok(())
    }

    fn spread_proof(&self, cx: &mut Cx<'_>, room: &Room, from: PublicKey, proof: &Proof) {
        for peer in self.peers.keys().filter(|peer| **peer != from || proof.chain.author == from) {
            if room.membership.is_in(*peer) && *peer != room.own {
                say(cx, *peer, room, RoomSays::Proof(Box::new(proof.clone())));
            }
        }
    }

    fn hear_receipts(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        receipts: &[Receipt],
    ) -> Result<()> {
        for receipt in receipts {
            let member = receipt.name.member;
            if !room.membership.knows(member) {
                self.ask_changes(cx, room, from);
                continue;
            }
            if !receipt.is_signed(room.key()) {
                blame(cx, from, "a receipt that its member has not signed");
                return Ok(());
            }
            let news = room.take_receipt(cx.journal, receipt)?;
            if let Some(view) = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id)) {
                view.receipts.insert(receipt.name);
                let covers = receipt.covers.iter().filter(|_| member == from);
                for mark in covers {
                    if let Some(chain) = room.find_signed(cx.journal, mark)? {
                        let has = view.has.entry(chain.row.id).or_default();
                        *has = (*has).max(mark.number);
                    } else {
                        let branch = if room.is_forked(mark.chain) { mark.hash } else { Hash::default() };
                        view.offers.insert((mark.chain, branch), *mark);
                    }
                }
            }
            if news {
                self.hand_on_receipt(cx, room, receipt);
                // One who has left waits for that.
                room.changed |= !room.is_joined();
                let gossip = if room.membership.members().len() > ALL_LINKED { SLOW_GOSSIP } else { GOSSIP };
                self.gossip.entry(room.row.id).or_insert(cx.now.mono + gossip);
                if receipt.tips.iter().any(|tip| !room.changes.contains_key(tip)) {
                    self.ask_changes(cx, room, from);
                }
            }
        }
        self.wake = Some(Instant::START);
        Ok(())
    }

    /// A receipt goes on at once to those who hear of it from here first.
    fn hand_on_receipt(&mut self, cx: &mut Cx<'_>, room: &mut Room, receipt: &Receipt) {
        for key in room.heirs(receipt.name.member) {
            let joined = room.state(key) == Some(State::Joined);
            let view = self.peers.get_mut(&key).and_then(|peer| peer.views.get_mut(&room.row.id));
            if let Some(view) = view.filter(|_| joined)
                && view.receipts.insert(receipt.name)
            {
                say(cx, key, room, RoomSays::Receipts(vec![receipt.clone()]));
            }
        }
    }

    /// What follows in a room: who is to be greeted, asked, and sent our own entries.
    pub fn follow(&mut self, cx: &mut Cx<'_>, room: &mut Room, low: bool) -> Result<()> {
        if room.changed || self.wake == Some(Instant::START) {
            let peers: Vec<PublicKey> = self.peers.keys().copied().collect();
            for peer in peers {
                self.greet(cx, room, peer)?;
            }
        }
        let own = room.written.iter().filter_map(|id| Some((*id, room.chains.get(id)?.signed.number)));
        let own: Vec<(ChainId, u64)> = own.collect();
        let is_member = room.state(room.own).is_some_and(|state| state != State::Removed);
        for (key, peer) in &mut self.peers {
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
        self.serve_heirs(room);
        self.pull(cx, room, low)?;
        if self.gossip.get(&room.row.id).is_some_and(|due| *due <= cx.now.mono) {
            self.gossip.remove(&room.row.id);
            let kept: Vec<ReceiptName> = room.receipts.kept.keys().copied().collect();
            for (key, peer) in &mut self.peers {
                let Some(view) =
                    peer.views.get_mut(&room.row.id).filter(|_| room.state(*key) == Some(State::Joined))
                else {
                    continue;
                };
                let theirs = |name: &&ReceiptName| name.member != *key && !view.receipts.contains(name);
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

    /// What has just come goes on to those who hear of it from here first.
    fn serve_heirs(&mut self, room: &mut Room) {
        for (id, before) in std::mem::take(&mut room.taken) {
            let Some(chain) = room.chains.get(&id) else {
                continue;
            };
            let (name, number) = (chain.row.name, chain.signed.number);
            for key in room.heirs(name.author) {
                let Some(view) = self.peers.get_mut(&key).and_then(|peer| peer.views.get_mut(&room.row.id))
                else {
                    continue;
                };
                let has = view.has.get(&id).copied().unwrap_or_default();
                if view.heard && view.takes_part(room, key) && has < number {
                    let after = has.max(before).max(room.past_of(key, name));
                    view.serving.entry(id).or_insert((after, number)).1 = number;
                }
            }
        }
    }

    /// Sends what was asked for, and what is new of our own, as far as it may be on its way.
    pub fn send_runs(&mut self, cx: &mut Cx<'_>, rooms: &BTreeMap<RoomId, Room>) -> Result<()> {
        for (key, peer) in &mut self.peers {
            let Peer { window, underway, views, .. } = peer;
            for (id, view) in views.iter_mut() {
                let Some(room) = rooms.get(id) else {
                    continue;
                };
                let author = |id| room.chain_name(id).map(|name| name.author);
                let mut serving = std::mem::take(&mut view.serving);
                serving.retain(|id, _| author(*id).is_some_and(|author| view.may_have(room, *key, author)));
                view.serving = serving;
                while *underway < *window && !view.serving.is_empty() {
                    // What came first here goes first: so nothing waits for its causes for long.
                    let mut next = None;
                    for (chain, (after, up_to)) in &view.serving {
                        let base = room.chains.get(chain).map_or(0, |chain| chain.row.base);
                        let seq = cx.journal.entry_at(*chain, base.max(*after) + 1)?.map(|entry| entry.seq);
                        let found = (seq, *chain, *after, *up_to);
                        next = Some(next.map_or(found, |other: (Option<i64>, _, _, _)| other.min(found)));
                    }
                    let Some((Some(_), chain, after, up_to)) = next else {
                        if let Some((None, chain, ..)) = next {
                            view.serving.remove(&chain);
                            continue;
                        }
                        break;
                    };
                    let Some(run) = next_run(cx, room, chain, after, up_to)? else {
                        view.serving.remove(&chain);
                        continue;
                    };
                    let last = run.first + run.entries.len() as u64 - 1;
                    *underway += run_weight(&run);
                    let has = view.has.entry(chain).or_default();
                    *has = (*has).max(last);
                    if last >= up_to {
                        view.serving.remove(&chain);
                    } else {
                        view.serving.insert(chain, (last, up_to));
                    }
                    say(cx, *key, room, RoomSays::Run(run));
                }
            }
        }
        self.wake = None;
        Ok(())
    }

    /// When something is to be done, whatever happens.
    pub fn deadline(&self) -> Instant {
        let pulls = self.pulls.values().map(Asked::until);
        let gossip = self.gossip.values().copied();
        pulls.chain(gossip).chain(self.wake).fold(Instant::NEVER, Instant::min)
    }
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

fn blame(cx: &mut Cx<'_>, peer: PublicKey, what: &'static str) {
    cx.effects.push(Effect::Blame { peer, what });
}
