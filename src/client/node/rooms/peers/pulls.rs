//! What is asked of which peer: each chain of one at a time, and in vain less and less often.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Cx;
use super::super::room::Room;
use super::super::say::{AT_ONCE, say};
use super::{Asked, PATIENCE, Peer, Peers, granted, hope};
use crate::protocol::PublicKey;
use crate::protocol::room::{ChainName, Hash, MAX_RUN, Mark, Pull, RoomSays, Wanted};
use crate::store::Result;
use crate::time::Instant;

/// Where all who offer a chain were asked in vain, they are asked again after 160 seconds, and each next time takes twice
/// as long, so often at most: up to three hours.
const MOST_TRIES: u32 = 6;

impl Peers {
    /// What a peer was asked for and does not send is asked of the next one that has it, so that all are asked in turn.
    /// Returns who that is.
    fn lose_patience(&mut self, now: Instant, room: &Room) -> BTreeMap<ChainName, PublicKey> {
        let (id, mut next) = (room.row.id, BTreeMap::new());
        let over = self.pulls.iter().filter(|((of, _), asked)| *of == id && now >= asked.until());
        for ((_, name), asked) in over.map(|(place, asked)| (*place, *asked)).collect::<Vec<_>>() {
            let offers = |peer: &Peer| {
                peer.views.get(&id).is_some_and(|view| {
                    view.may_hand_on(&name, asked.after) && view.offers.keys().any(|(it, _)| *it == name)
                })
            };
            let after = |of: PublicKey| {
                let mut all = self.peers.iter().filter(|(_, peer)| offers(peer)).map(|(key, _)| *key);
                all.clone().find(|key| *key > of).or_else(|| all.next())
            };
            let has_more = |peer: Option<&Peer>| {
                let offers =
                    peer.and_then(|peer| peer.views.get(&id)).into_iter().flat_map(|view| &view.offers);
                let mut more = offers.filter(|((it, _), mark)| *it == name && mark.number > asked.up_to);
                more.next().is_some()
            };
            let Some(of) = asked.of else {
                next.extend(asked.refused.and_then(after).map(|other| (name, other)));
                self.pulls.remove(&(id, name));
                continue;
            };
            if room.limit(name) < asked.up_to {
                self.pulls.remove(&(id, name));
                // More may be kept later, and who has it already says so only once.
                if room.end_here(name) >= room.limit(name) {
                    continue;
                }
                // It was cut there; how far it goes now they say in receipts.
                let view = self.peers.get_mut(&of).and_then(|peer| peer.views.get_mut(&id));
                view.into_iter().for_each(|view| {
                    view.offers.retain(|(it, _), mark| *it != name || mark.number <= room.limit(name))
                });
                continue;
            }
            *self.tries.entry((id, name)).or_default() += 1;
            if let Some(other) = after(of).filter(|other| room.is_forked(name) || *other != of) {
                self.pulls.remove(&(id, name));
                next.insert(name, other);
            } else if asked.again || has_more(self.peers.get(&of)) {
                // It may not have had what it was asked for, or not been able to hand it on.
                self.pulls.remove(&(id, name));
            } else if let Some(asked) = self.pulls.get_mut(&(id, name)) {
                asked.since = now;
            }
        }
        next
    }

    /// More is kept of a chain than was known when it was cut: it is offered again by those who have said to have it.
    pub(super) fn offer_again(&mut self, room: &Room, name: ChainName) {
        let here = room.end_here(name);
        let ends = room.ends_of_removed(name);
        let ends = || ends.iter().map(|(number, hash)| Mark { chain: name, number: *number, hash: *hash });
        for (key, peer) in &mut self.peers {
            let Some(view) = peer.views.get_mut(&room.row.id) else {
                continue;
            };
            let has = room.branches(name).filter_map(|chain| view.has.get(&chain.row.id)).max().copied();
            let marks = ends().chain(room.receipts.claims_by(*key, name));
            let known = marks.filter(|mark| here < mark.number && Some(mark.number) <= has);
            if let Some(mark) = known.max_by_key(|mark| mark.number) {
                view.offer(&mark, if room.is_forked(name) { mark.hash } else { Hash::default() });
                hope(&mut self.tries, &mut self.pulls, (room.row.id, name), *key);
            }
        }
    }

    /// Asks for what others have, each chain of one of them.
    pub fn pull(&mut self, cx: &mut Cx<'_>, room: &Room, low: bool) -> Result<()> {
        let (now, id) = (cx.now.mono, room.row.id);
        if low || !room.is_open() {
            self.pulls.retain(|(of, _), _| *of != id);
            return Ok(());
        }
        let next = self.lose_patience(now, room);
        self.ask(cx, room, &next)?;
        // What the next one has offered may be here by now, or wait; so all others are asked.
        if next.keys().any(|name| !self.pulls.contains_key(&(id, *name))) {
            self.ask(cx, room, &BTreeMap::new())?;
        }
        Ok(())
    }

    /// Asks for each chain that is not asked for; for those in `next` only that peer.
    fn ask(&mut self, cx: &mut Cx<'_>, room: &Room, next: &BTreeMap<ChainName, PublicKey>) -> Result<()> {
        let (now, id) = (cx.now.mono, room.row.id);
        let mut count: BTreeMap<ChainName, u32> = BTreeMap::new();
        for view in self.peers.values().filter_map(|peer| peer.views.get(&id)) {
            let names: BTreeSet<&ChainName> = view.offers.keys().map(|(name, _)| name).collect();
            names.into_iter().for_each(|name| *count.entry(*name).or_default() += 1);
        }
        let sources = |name: &ChainName| count.get(name).copied().unwrap_or_default();
        for (key, peer) in &mut self.peers {
            let Some(view) = peer.views.get_mut(&id).filter(|_| room.membership.is_in(*key)) else {
                continue;
            };
            let mut chains = Vec::new();
            let mut here = Vec::new();
            for (place @ (name, _), mark) in &view.offers {
                if self.pulls.contains_key(&(id, *name))
                    || next.get(name).is_some_and(|next| next != key)
                    || room.waits(mark)
                {
                    continue;
                }
                if room.find_signed(cx.journal, mark)?.is_some() {
                    here.push(*place);
                    continue;
                }
                // What is here, and its author's signature is not, comes again.
                let found = room.find(cx.journal, mark)?.map(|chain| chain.signed.number);
                let main = room.branches(*name).find(|chain| chain.row.branch == 0);
                let is_old = main.is_some_and(|chain| mark.number <= chain.row.base);
                if is_old || found.is_none() && room.is_left_out(*name, mark.number) {
                    here.push(*place);
                    continue;
                }
                // A settlement or a receipt that is still to come may keep what a removal has cut; and what waits may
                // bring the signature.
                let (limit, end) = (room.limit(*name), main.map_or(0, |chain| chain.row.number));
                let goes_on = || view.offers.iter().any(|((it, _), mark)| it == name && mark.number > end);
                let may_bring_it = || room.end_of_runs(*name) > end && goes_on();
                if limit < mark.number && end >= limit || found.is_some() && may_bring_it() {
                    continue;
                }
                let forked = room.is_forked(*name);
                let after = if let Some(signed) = found {
                    signed
                } else if forked || end >= mark.number {
                    end.min(mark.number).saturating_sub(MAX_RUN as u64)
                } else {
                    room.end_of_runs(*name)
                };
                let after = after.max(main.map_or_else(|| granted(room, name), |chain| chain.row.base));
                if !view.may_hand_on(name, after) {
                    continue;
                }
                chains.push(Wanted { after, up_to: *mark });
                let tries = self.tries.get(&(id, *name)).copied().unwrap_or_default();
                let patience = match tries.checked_sub(sources(name)) {
                    None => PATIENCE,
                    Some(more) => PATIENCE * (16 << more.min(MOST_TRIES)),
                };
                let asked = Asked {
                    of: Some(*key),
                    refused: None,
                    after,
                    up_to: mark.number,
                    before: None,
                    since: now,
                    patience,
                    again: false,
                };
                self.pulls.insert((id, *name), asked);
                if chains.len() >= AT_ONCE {
                    break;
                }
            }
            here.iter().for_each(|place| _ = view.offers.remove(place));
            if !chains.is_empty() {
                say(cx, *key, room, RoomSays::Pull(Pull { chains, ..Pull::default() }));
            }
        }
        Ok(())
    }
}
