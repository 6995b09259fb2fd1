//! How far members are, and how many have an entry.

use super::super::room::{Chain, Room, State};
use super::{Spread, receipts_of};
use crate::protocol::PublicKey;
use crate::protocol::room::Mark;
use crate::store::Result;
use crate::store::journal::{ChainId, Journal};

/// How far the members are in one chain.
pub struct Counted {
    members: Vec<Count>,
}

struct Count {
    /// Up to where it does not get the chain, and up to where it would not by any change by which it is in.
    past: u64,
    past_by_all: u64,
    /// Up to where it has the chain; 0 if that does not count.
    covered: u64,
}

impl Counted {
    /// How many members have an entry, and of how many: of those who came before it was written.
    pub fn spread(&self, number: u64, is_final: bool) -> Spread {
        let gets = || self.members.iter().filter(|it| it.past < number);
        let have = gets().filter(|it| it.past_by_all < number && number <= it.covered).count();
        Spread { have: have as u64, of: gets().count() as u64, is_final }
    }
}

impl Room {
    /// Up to where a member has a chain, by its own word.
    pub fn covered(&self, member: PublicKey, chain: &Chain) -> u64 {
        if member == self.own || member == chain.row.name.author {
            return chain.row.number;
        }
        let past = self.past_of(member, chain.row.name);
        let has = self.receipts.has.get(&member).and_then(|has| has.get(&chain.row.id));
        let has = has.copied().unwrap_or_default().max(past);
        if self.is_forked(chain.row.name) {
            return has;
        }
        let claimed = self.receipts.claimed(member, chain.row.name).unwrap_or_default();
        if claimed <= has {
            return has;
        }
        // Of a chain that was cut since, it has what is kept.
        let ends = [self.limit(chain.row.name), self.waited_for(chain.row.name)];
        ends.into_iter().find(|end| claimed >= *end).map_or(has, |end| has.max(end))
    }

    /// How many bytes of a chain half of the members do not have yet.
    pub fn count_ahead(&mut self, journal: &Journal, id: ChainId) -> Result<()> {
        let Some(chain) = self.chains.get(&id) else {
            return Ok(());
        };
        let mut covered: Vec<u64> = self.joined.iter().map(|member| self.covered(*member, chain)).collect();
        covered.sort_unstable_by(|one, other| other.cmp(one));
        let half = covered.len().div_ceil(2).checked_sub(1).and_then(|at| covered.get(at)).copied();
        let half = half.unwrap_or_default().min(chain.row.number);
        let ahead =
            if half == chain.row.number { 0 } else { journal.chain_bytes(id, half, chain.row.number)? };
        self.chains.entry(id).and_modify(|chain| chain.ahead = ahead);
        Ok(())
    }

    /// How far those are who have joined.
    pub fn counted(&self, chain: &Chain) -> Counted {
        let name = chain.row.name;
        let count = |member: &PublicKey| {
            // By which of several changes one is in is not known before its own words are here.
            let pasts = self.membership.active(*member).filter_map(|(_, grant)| grant.past.get(&name));
            // Of one who knows of other changes it is not known what it gets.
            let knows = !self.receipts.knows_more_changes(*member);
            Count {
                past: self.past_of(*member, name),
                past_by_all: pasts.map(|past| past.mark.number).max().unwrap_or_default(),
                covered: if knows { self.covered(*member, chain) } else { 0 },
            }
        };
        Counted { members: self.joined.iter().map(count).collect() }
    }

    /// The parts of our chains that only this client has: after which number, and up to which. What is for no one, because no
    /// other member is in the room or invited, or because all came later, is none of them.
    pub fn ours_alone(&self) -> Vec<(ChainId, u64, u64)> {
        // What became final while this member was alone may wait for one who is invited.
        let may_wait = |chain: &&Chain| chain.row.place > self.row.settled || chain.heard < chain.said();
        let chains: Vec<&Chain> = self.chains_of(self.own).filter(may_wait).collect();
        if chains.is_empty() || !self.is_open() {
            return Vec::new();
        }
        let recipients = self.recipients();
        let parts = chains.into_iter().flat_map(|chain| {
            let parts = self.alone_in(chain, &recipients);
            parts.into_iter().map(|(after, up_to)| (chain.row.id, after, up_to))
        });
        parts.collect()
    }

    /// The same of one of our chains.
    pub(super) fn alone_in(&self, chain: &Chain, recipients: &[PublicKey]) -> Vec<(u64, u64)> {
        let (name, end) = (chain.row.name, chain.said());
        let had = |member: &PublicKey| (self.past_of(*member, name), self.covered(*member, chain));
        let mut had: Vec<(u64, u64)> = recipients.iter().map(had).collect();
        had.sort_unstable();
        // What each of them has, or does not get, stands in the order of where it begins.
        let (mut alone, mut after) = (Vec::new(), had.first().map_or(end, |(past, _)| *past));
        for (past, covered) in had.into_iter().filter(|(past, covered)| past < covered) {
            if after < past.min(end) {
                alone.push((after, past.min(end)));
            }
            after = after.max(covered);
        }
        if after < end {
            alone.push((after, end));
        }
        alone
    }

    /// Whether this account has left, and the owner has not said that it knows, who counts the members; or none has, where
    /// the owner is not in.
    pub fn leaves_unheard(&self) -> bool {
        // It may have left and joined before.
        let is_in = |grant| self.membership.active(self.own).any(|(active, _)| *active == grant);
        let ended = |chain: &&Chain| chain.row.ended && is_in(chain.row.name.grant);
        let ends = || self.chains_of(self.own).filter(ended);
        let knows = |member: &PublicKey| ends().all(|chain| self.has_said(*member, chain));
        let owner = self.membership.owner;
        if self.state(self.own) != Some(State::Left) || ends().next().is_none() {
            return false;
        }
        match self.state(owner) {
            // It owns the room, and so has joined: but of what was written since this account left nothing is here.
            Some(State::Joined | State::Invited) => !knows(&owner),
            _ => !self.joined.is_empty() && !self.joined.iter().any(knows),
        }
    }

    /// Whether a member has said to have all of a chain: also in a receipt that waits for what the member has written, which
    /// does not come any more to one who has left.
    fn has_said(&self, member: PublicKey, chain: &Chain) -> bool {
        let row = &chain.row;
        let mut claims = self.deferred.range(receipts_of(member)).flat_map(|(_, receipt)| &receipt.covers);
        self.covered(member, chain) >= row.number
            || claims.any(|mark| mark.chain == row.name && mark.number >= row.number)
    }

    /// The other members that have joined.
    pub fn others(&self) -> Vec<PublicKey> {
        self.joined.iter().copied().filter(|member| *member != self.own).collect()
    }

    /// How many of the entries that are here a member, by its own word, has not.
    pub fn behind(&self, member: PublicKey) -> u64 {
        let chains = self.chains.values();
        chains
            .map(|chain| {
                let end = chain.said().max(chain.row.base);
                end - self.covered(member, chain).clamp(chain.row.base, end)
            })
            .sum()
    }

    /// Whether a member's word is missing for anything to become final: it has not said to have what is here, or has said
    /// to have what is not.
    pub fn holds_up(&self, member: PublicKey) -> bool {
        let unsettled = |chain: &&Chain| chain.row.place > self.row.settled;
        self.chains.values().filter(unsettled).any(|chain| self.covered(member, chain) < chain.said())
            || self.is_ahead(member)
    }

    /// Whether a member has said to have what is not here, and may still come.
    pub fn is_ahead(&self, member: PublicKey) -> bool {
        self.ahead_of_us(member).next().is_some()
    }

    /// What a member has said to have, is not here, and may still come. What all have lost who had it does not; then the
    /// member holds up what is final until it is removed.
    pub fn ahead_of_us(&self, member: PublicKey) -> impl Iterator<Item = &Mark> {
        self.receipts.beyond.get(&member).into_iter().flatten().filter(|Mark { chain, number, .. }| {
            self.end_here(*chain) < (*number).min(self.waited_for(*chain)) && !self.is_forked(*chain)
        })
    }
}
