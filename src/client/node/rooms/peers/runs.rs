//! Entries in: what becomes of a run, and what is asked next.

use super::super::Cx;
use super::super::room::Room;
use super::super::say::{end_of, hashes_of, say};
use super::super::take::Offered;
use super::{Asked, PATIENCE, Peers, blame};
use crate::protocol::PublicKey;
use crate::protocol::room::{ChainName, Mark, Proof, Pull, RoomSays, Run, Wanted};
use crate::store::Result;
use crate::time::Instant;

impl Peers {
    pub(super) fn hear_run(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        run: &Run,
    ) -> Result<()> {
        let last = run.first.saturating_add(run.entries.len() as u64).saturating_sub(1);
        let place = (room.row.id, run.chain);
        let hashes = hashes_of(room, run);
        let hash = hashes.last().copied().unwrap_or(run.previous);
        let up_to = Mark { chain: run.chain, number: last, hash };
        // What it had sent before it heard what was asked begins later.
        let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
        if let Some(first) = view.and_then(|view| view.starts.get_mut(&run.chain)) {
            *first = run.first.min(*first);
        }
        match room.offer(cx, from, run, &hashes)? {
            Offered::Taken => {
                if let Some(asked) = self.pulls.get_mut(&place) {
                    (asked.since, asked.patience) = (cx.now.mono, PATIENCE);
                    asked.after = asked.after.max(last);
                    self.tries.remove(&place);
                    if last >= asked.up_to {
                        self.pulls.remove(&place);
                    }
                }
                let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
                if let Some(view) = view {
                    match room.find(cx.journal, &up_to)?.map(|chain| chain.row.id) {
                        Some(id) => {
                            let has = view.has.entry(id).or_default();
                            *has = (*has).max(last);
                        }
                        // It waits for its causes, and comes again from here if that is in vain.
                        None if !room.is_forked(run.chain) => view.offer(&up_to, hash),
                        None => {}
                    }
                }
            }
            Offered::Unknown => {
                self.pulls.remove(&place);
                self.ask_changes(cx, room, from);
            }
            Offered::From(_)
                if self.pulls.get(&place).is_some_and(|asked| asked.was_asked_before(from, run.first)) => {}
            Offered::From(_)
                if self
                    .pulls
                    .get(&place)
                    .is_some_and(|asked| asked.of == Some(from) && run.first > asked.after + 1) =>
            {
                // It came later than what is lacking here: another one is asked.
                self.pulls.remove(&place);
                let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
                view.into_iter().for_each(|view| _ = view.starts.insert(run.chain, run.first));
            }
            Offered::From(after) if !self.may_hand_on(room, from, &run.chain, after) => {}
            Offered::From(after) => {
                let (since, patience) = (cx.now.mono, PATIENCE);
                let before = self.pulls.get(&place).filter(|asked| asked.of == Some(from));
                let asked = Asked {
                    of: Some(from),
                    refused: None,
                    after,
                    up_to: last,
                    before: before.map(|asked| asked.after),
                    since,
                    patience,
                    again: false,
                };
                self.pulls.insert(place, asked);
                let chains = vec![Wanted { after, up_to }];
                say(cx, from, room, RoomSays::Pull(Pull { chains, ..Pull::default() }));
            }
            Offered::Full => self.ask_later(cx, room, from, run),
            Offered::Refused => _ = self.pulls.insert(place, Asked::none(cx.now.mono, Some(from))),
            Offered::Broken(what) => blame(cx, from, what),
            Offered::Forked(number) => self.fork(cx, room, from, run, number)?,
        }
        self.take_waiting(cx, room)?;
        self.wake = Some(Instant::START);
        Ok(())
    }

    fn may_hand_on(&self, room: &Room, peer: PublicKey, name: &ChainName, after: u64) -> bool {
        let view = self.peers.get(&peer).and_then(|peer| peer.views.get(&room.row.id));
        view.is_none_or(|view| view.may_hand_on(name, after))
    }

    /// A run can't be taken now, and is asked for some time.
    pub(super) fn ask_later(&mut self, cx: &Cx<'_>, room: &Room, from: PublicKey, run: &Run) {
        self.note_offer(room, from, run);
        self.pulls.insert((room.row.id, run.chain), Asked::none(cx.now.mono, None));
    }

    /// A peer has what is not taken yet of its run.
    fn note_offer(&mut self, room: &Room, from: PublicKey, run: &Run) {
        let (hash, number) = end_of(room, run);
        let view = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id));
        let mark = Mark { chain: run.chain, number, hash };
        view.into_iter().for_each(|view| view.offer(&mark, hash));
    }

    fn fork(
        &mut self,
        cx: &mut Cx<'_>,
        room: &mut Room,
        from: PublicKey,
        run: &Run,
        number: u64,
    ) -> Result<()> {
        if let Some(proof) = room.proof(cx.journal, run, number)?
            && room.take_proof(cx, &proof)?
        {
            // Who has brought one of two entries need not know the other.
            self.found_out(cx, room, None, &proof);
            if from != run.chain.author {
                self.note_offer(room, from, run);
            }
        } else {
            self.pulls.insert((room.row.id, run.chain), Asked::none(cx.now.mono, Some(from)));
        }
        Ok(())
    }

    /// Takes what has waited for what has just come.
    pub fn take_waiting(&mut self, cx: &mut Cx<'_>, room: &mut Room) -> Result<()> {
        for (name, _) in room.take_waiting(cx)? {
            self.pulls.insert((room.row.id, name), Asked::none(cx.now.mono, None));
        }
        for receipt in room.take_deferred(cx.journal)? {
            self.pass_on(cx, room, &receipt);
        }
        Ok(())
    }

    /// A proof is new here: all are told but the one who has said it, and what could not be taken of its author before is
    /// asked for at once, from those who have it.
    pub(super) fn found_out(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Room,
        said_by: Option<PublicKey>,
        proof: &Proof,
    ) {
        for peer in self.peers.keys().filter(|peer| Some(**peer) != said_by) {
            if room.membership.is_in(*peer) && *peer != room.own {
                say(cx, *peer, room, RoomSays::Proof(Box::new(proof.clone())));
            }
        }
        let by = |name: &ChainName| (name.author, name.grant);
        self.pulls.retain(|(id, name), _| *id != room.row.id || by(name) != by(&proof.chain));
        self.wake = Some(Instant::START);
    }
}
