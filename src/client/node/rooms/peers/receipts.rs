//! Receipts: what peers say of how far members are.

use super::super::Cx;
use super::super::room::Room;
use super::super::say::say;
use super::{Peers, blame, hope, may_know, relay};
use crate::protocol::PublicKey;
use crate::protocol::room::{Hash, Receipt, RoomSays};
use crate::store::Result;
use crate::time::Instant;

impl Peers {
    pub(super) fn hear_receipts(
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
            let is_known = room.receipts.kept.get(&receipt.name) == Some(receipt);
            if !is_known && !receipt.is_signed(room.key()) {
                blame(cx, from, "a receipt that its member has not signed");
                return Ok(());
            }
            let news = room.take_receipt(cx.journal, receipt)?;
            if let Some(view) = self.peers.get_mut(&from).and_then(|peer| peer.views.get_mut(&room.row.id)) {
                let unasked = view.receipts.insert(receipt.name);
                view.alone |= unasked && member == from && !relay::waits(room, room.own, receipt);
                if news && member == from {
                    view.knows_changes(&receipt.tips);
                }
            }
            // In large rooms the owner may be faster with a receipt than its member.
            let by_relay = room.ring.is_large() && news;
            let of_member = self.peers.get_mut(&member).filter(|_| member == from || by_relay);
            if let Some(view) = of_member.and_then(|peer| peer.views.get_mut(&room.row.id)) {
                for mark in &receipt.covers {
                    if let Some(chain) = room.find_signed(cx.journal, mark)? {
                        let has = view.has.entry(chain.row.id).or_default();
                        *has = (*has).max(mark.number);
                    } else {
                        let branch = if room.is_forked(mark.chain) { mark.hash } else { Hash::default() };
                        view.offer(mark, branch);
                        hope(&mut self.tries, &mut self.pulls, (room.row.id, mark.chain), member);
                    }
                }
            }
            // One who has left waits for that.
            room.changed |= !room.is_joined();
            if news {
                self.pass_on(cx, room, receipt);
                if receipt.tips.iter().any(|tip| !room.changes.contains_key(tip)) {
                    self.ask_changes(cx, room, from);
                }
            }
        }
        self.wake = Some(Instant::START);
        Ok(())
    }

    /// Sends our own receipt to all members who are linked; in large rooms only to those who wait for it.
    pub fn say_receipt(&mut self, cx: &mut Cx<'_>, room: &Room, receipt: Receipt) {
        let to_all = !self.has_relay(room);
        for (key, peer) in &mut self.peers {
            if (to_all || relay::waits(room, *key, &receipt))
                && let Some(view) =
                    peer.views.get_mut(&room.row.id).filter(|_| may_know(room, *key, &receipt))
            {
                view.receipts.insert(receipt.name);
                say(cx, *key, room, RoomSays::Receipts(vec![receipt.clone()]));
            }
        }
    }
}
