//! What is known of what a peer has of a room.

use std::collections::{BTreeMap, BTreeSet};

use super::super::room::{Chain, Room, State};
use crate::protocol::PublicKey;
use crate::protocol::room::{ChainName, Hash, Have, Mark, Proof, ReceiptName};
use crate::store::journal::ChainId;

/// How many marks are kept of what a peer has and this side may not; honest ones have no more chains than that.
const MAX_OFFERS: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct View {
    /// It has said what it has.
    pub heard: bool,
    /// It takes part, and so may ask.
    pub joined: bool,
    /// It says that it has joined.
    pub says_joined: bool,
    /// It was not in when it was greeted; what it has said to have since then.
    pub outside: Option<Vec<Have>>,
    pub has: BTreeMap<ChainId, u64>,
    /// What it has and this side may not: of each chain the last mark, and all branches of one whose author breaks the
    /// rules.
    pub offers: BTreeMap<(ChainName, Hash), Mark>,
    pub receipts: BTreeSet<ReceiptName>,
    /// What is to be sent to it of each chain: after which number, and up to which.
    pub serving: BTreeMap<ChainId, (u64, u64)>,
    pub asked_changes: bool,
    /// What it has said to be proved of chains that are begun by a change that is not here.
    pub proofs: Vec<Proof>,
    /// The owner hands on nothing of what it says, or it would not have told us what we don't wait for.
    pub alone: bool,
    /// Up to where it was told of chains that it lacks.
    pub told: BTreeMap<ChainId, u64>,
    /// The changes that it has named last, and from which number on it hands on chains of which more was asked.
    pub tips: Vec<Hash>,
    pub starts: BTreeMap<ChainName, u64>,
}

impl View {
    /// It has more of a chain, up to this mark.
    pub fn offer(&mut self, mark: &Mark, branch: Hash) {
        let place = (mark.chain, branch);
        if self.offers.len() < MAX_OFFERS || self.offers.contains_key(&place) {
            self.offers.insert(place, *mark);
        }
    }

    /// It names the changes that it knows: with others it may hand on more.
    pub fn knows_changes(&mut self, tips: &[Hash]) {
        if !tips.is_empty() && self.tips != tips {
            self.tips = tips.to_vec();
            self.starts.clear();
        }
    }

    /// Whether it offers entries of a chain after this number, as far as is known.
    pub fn may_hand_on(&self, name: &ChainName, after: u64) -> bool {
        self.starts.get(name).is_none_or(|first| *first <= after + 1)
    }

    /// Whether the peer has joined, by what is here or by its own word: to be invited is not to be in.
    pub fn takes_part(&self, room: &Room, peer: PublicKey) -> bool {
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
    pub fn may_have(&self, room: &Room, peer: PublicKey, author: PublicKey) -> bool {
        let is_outside = matches!(room.state(peer), Some(State::Left | State::Invited));
        self.takes_part(room, peer) || author == peer && is_outside
    }
}
