//! Entries out: what was asked for, and what is to be handed on, as far as it may be on its way.

use std::collections::BTreeMap;

use super::super::Cx;
use super::super::room::{Room, State};
use super::super::say::{next_run, say, say_changes};
use super::super::take::run_weight;
use super::{Peer, Peers, may_know, relay};
use crate::protocol::PublicKey;
use crate::protocol::room::{Pull, RoomSays, Wanted};
use crate::store::Result;
use crate::store::journal::RoomId;
use crate::time::Instant;

impl Peers {
    pub(super) fn hear_pull(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Room,
        from: PublicKey,
        pull: &Pull,
    ) -> Result<()> {
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
        if room.ring.is_large() {
            let wanted = wanted.filter(|receipt| may_know(room, from, receipt)).cloned().collect();
            relay::say_receipts(cx, from, room, wanted);
            self.wake = Some(Instant::START);
            return Ok(());
        }
        for receipt in wanted.filter(|receipt| may_know(room, from, receipt)).cloned().collect::<Vec<_>>() {
            say(cx, from, room, RoomSays::Receipts(vec![receipt]));
        }
        self.wake = Some(Instant::START);
        Ok(())
    }

    /// What has just come goes on to those who hear of it from here first.
    pub(super) fn serve_heirs(&mut self, cx: &Cx<'_>, room: &mut Room) {
        self.watch(cx, room);
        for (id, before) in std::mem::take(&mut room.taken) {
            let Some(chain) = room.chains.get(&id) else {
                continue;
            };
            let (name, number) = (chain.row.name, chain.signed.number);
            for key in self.heirs(room, name.author) {
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
}
