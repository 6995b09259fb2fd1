//! One room: what is known of it, and what follows from that alone.
//!
//! - `past`: what a member does not get; `ends`: what is kept of those who were removed; `origin`: which room it goes on from.

use std::collections::{BTreeMap, BTreeSet};

use super::membership::Membership;
use super::receipts::Receipts;
use super::ring::Ring;
use super::settle::Settling;
use super::take::Waiting;
use crate::protocol::PublicKey;
use crate::protocol::room::{
    ChainName, Change, Hash, MAX_RUN, MAX_RUN_BYTES, Mark, Past, Receipt, ReceiptName, RoomKey, Signature,
};
use crate::store::Result;
use crate::store::journal::{ChainId, ChainRow, EntryStanding, Journal, RoomRow};
use past::after_past;

mod ends;
mod origin;
mod past;
#[cfg(test)]
mod tests;

/// The most chains of one room that anything is known of, and of one author: no member can use up all.
const MAX_CHAINS: usize = 100_000;
const MAX_CHAINS_OF_ONE: usize = 5_000;

/// See the module.
#[derive(Debug)]
pub struct Room {
    pub own: PublicKey,
    pub row: RoomRow,
    pub changes: BTreeMap<Hash, Change>,
    pub membership: Membership,
    pub chains: BTreeMap<ChainId, Chain>,
    names: BTreeMap<(ChainName, u32), ChainId>,
    /// What each account is that is or was in.
    states: BTreeMap<PublicKey, State>,
    /// Who has joined, this account among them, in the order of their keys.
    pub joined: Vec<PublicKey>,
    pub ring: Ring,
    /// The chains that have grown in this transaction by what others handed on, and from which number.
    pub taken: BTreeMap<ChainId, u64>,
    /// What members do not get, for it was written before they came.
    pasts: BTreeMap<PublicKey, BTreeMap<ChainName, Past>>,
    /// What members who have joined have said to lack beyond that.
    lacking: BTreeMap<(PublicKey, Hash), Vec<Mark>>,
    /// Whose entries were found to be against the rules, and by which changes they were in.
    pub forked: BTreeMap<PublicKey, BTreeSet<Hash>>,
    /// Entries whose causes are not here.
    pub waiting: Vec<Waiting>,
    /// Chains of removed members of which more is kept than was known when they were cut.
    pub raised: BTreeSet<ChainName>,
    /// Receipts of members who have written what is not here.
    pub deferred: BTreeMap<ReceiptName, Receipt>,
    /// Who takes part, or what the room is, has changed in this transaction.
    pub changed: bool,
    pub receipts: Receipts,
    pub settling: Settling,
    /// The chain that this start writes, once there is one.
    pub writing: Option<ChainId>,
    /// All chains that this start has written: what is new in them is sent to the others without being asked for.
    pub written: BTreeSet<ChainId>,
    /// The epoch of what is written, if this account was added again since the start.
    pub epoch: Option<u64>,
}

/// A chain, and what is not stored of it.
#[derive(Debug, Clone)]
pub struct Chain {
    pub row: ChainRow,
    /// The last entry that is signed, and with all before it can be handed on.
    pub signed: Signed,
    /// The last but one of those signatures that stay.
    pub kept: u64,
    /// About how many bytes the entries since `kept` take, and those that are not signed.
    pub since_kept: usize,
    pub unsigned: usize,
    /// How many bytes of bodies come after what half of the members have.
    pub ahead: u64,
    /// The number of the last entry that is no settlement.
    pub said: u64,
    /// The highest number that another member has said to have.
    pub heard: u64,
    /// It has changed since it was saved.
    pub touched: bool,
}

/// A signed entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signed {
    pub number: u64,
    pub hash: Hash,
}

/// What an account is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Invited,
    Joined,
    Left,
    Removed,
    /// Found to break the rules: in no count until added again.
    Forked,
}

impl Chain {
    fn load(journal: &Journal, row: ChainRow) -> Result<Self> {
        let number =
            journal.heads_before(row.id, u64::MAX, 1)?.first().copied().unwrap_or_default().max(row.base);
        let hash = match number {
            number if number == row.number => row.hash,
            number if number == row.base => row.base_hash,
            number => journal.entry_at(row.id, number)?.map(|it| it.hash).unwrap_or_default(),
        };
        let signed = Signed { number, hash };
        let said = if row.number > row.base { journal.last_but_settlements(row.id)? } else { 0 };
        // How many bytes they take does not matter where the signature before them stays.
        let unsigned = if row.number > number { MAX_RUN_BYTES } else { 0 };
        let (since_kept, ahead, heard, touched) = (0, 0, 0, false);
        Ok(Self { signed, kept: number, since_kept, unsigned, ahead, said, heard, touched, row })
    }

    /// Its author has said nothing in it but to leave.
    pub fn declines(&self) -> bool {
        self.row.number == 1 && self.row.ended
    }

    /// The number of the last entry that is no settlement, and can be handed on.
    pub fn said(&self) -> u64 {
        self.said.min(self.signed.number)
    }

    /// The end of what can be handed on.
    pub fn head(&self) -> Option<Mark> {
        let Signed { number, hash } = self.signed;
        (number > self.row.base).then_some(Mark { chain: self.row.name, number, hash })
    }
}

impl Room {
    pub fn load(journal: &Journal, own: PublicKey, row: RoomRow) -> Result<Option<Self>> {
        let changes: BTreeMap<Hash, Change> = journal.changes(row.id)?.into_iter().collect();
        let Some(membership) = Membership::of(row.key, &changes) else {
            return Ok(None);
        };
        let (id, key) = (row.id, row.key);
        let mut room = Self::new(own, row, changes, membership);
        for row in journal.chains(id)? {
            room.names.insert((row.name, row.branch), row.id);
            room.chains.insert(row.id, Chain::load(journal, row)?);
        }
        journal.proofs(id)?.iter().for_each(|proof| room.note_fork(proof.chain));
        room.load_settling(journal)?;
        for (chain, body) in journal.joins(id)? {
            if let Some(name) = room.chain_name(chain) {
                room.note_lacking(name, &body);
            }
        }
        room.recount();
        for receipt in journal.receipts(id)? {
            room.keep_receipt(journal, &receipt)?;
        }
        debug_assert_eq!(room.key(), key);
        room.recount_all(journal)?;
        room.load_spread(journal)?;
        Ok(Some(room))
    }

    pub fn new(
        own: PublicKey,
        row: RoomRow,
        changes: BTreeMap<Hash, Change>,
        membership: Membership,
    ) -> Self {
        Self {
            own,
            row,
            changes,
            membership,
            chains: BTreeMap::new(),
            names: BTreeMap::new(),
            states: BTreeMap::new(),
            joined: Vec::new(),
            ring: Ring::default(),
            taken: BTreeMap::new(),
            pasts: BTreeMap::new(),
            lacking: BTreeMap::new(),
            forked: BTreeMap::new(),
            waiting: Vec::new(),
            raised: BTreeSet::new(),
            deferred: BTreeMap::new(),
            changed: false,
            receipts: Receipts::default(),
            settling: Settling::default(),
            writing: None,
            written: BTreeSet::new(),
            epoch: None,
        }
    }

    pub fn key(&self) -> RoomKey {
        self.row.key
    }

    /// The author of this chain has broken the rules.
    pub fn note_fork(&mut self, name: ChainName) {
        self.forked.entry(name.author).or_default().insert(name.grant);
    }

    /// Whether what its author writes in a chain is taken only where others have it.
    pub fn is_forked(&self, name: ChainName) -> bool {
        self.forked.get(&name.author).is_some_and(|grants| grants.contains(&name.grant))
    }

    /// The chain of this name; with `branch`, another one of its author's.
    pub fn named(&self, name: ChainName, branch: u32) -> Option<ChainId> {
        self.names.get(&(name, branch)).copied()
    }

    /// All branches of a chain.
    pub fn branches(&self, name: ChainName) -> impl Iterator<Item = &Chain> {
        let ids = self.names.range((name, 0)..=(name, u32::MAX));
        ids.filter_map(|(_, id)| self.chains.get(id))
    }

    /// Finds a chain, or adds it. `None` if there are too many.
    pub fn chain(&mut self, journal: &Journal, name: ChainName, branch: u32) -> Result<Option<ChainId>> {
        if let Some(id) = self.named(name, branch) {
            return Ok(Some(id));
        }
        let are_too_many = |author| self.chains_of(author).nth(MAX_CHAINS_OF_ONE - 1).is_some();
        if self.chains.len() >= MAX_CHAINS || are_too_many(name.author) {
            return Ok(None);
        }
        let mut row = journal.add_chain(self.row.id, name, branch)?;
        if branch == 0
            && let Some(past) = self.past_in(self.own, name)
        {
            // What was written before this member came is with the others.
            row = after_past(&past, &row);
            journal.save_chain(&row)?;
        }
        let (id, begun) = (row.id, row.number > 0);
        self.names.insert((name, branch), id);
        self.chains.insert(id, Chain::load(journal, row)?);
        if begun {
            self.recount();
            self.changed = true;
            self.check_beyond(journal, name)?;
        }
        Ok(Some(id))
    }

    /// What an account is here. `None` if it never was in.
    pub fn state(&self, key: PublicKey) -> Option<State> {
        self.states.get(&key).copied()
    }

    fn find_state(&self, key: PublicKey) -> State {
        if !self.membership.is_in(key) {
            return State::Removed;
        }
        let forked = self.forked.get(&key);
        let mut honest =
            self.membership.active(key).filter(|(hash, _)| forked.is_none_or(|it| !it.contains(hash)));
        let mut states = honest.by_ref().map(|(hash, grant)| {
            let theirs =
                || self.chains_of(key).filter(|chain| chain.row.name.grant == *hash && chain.row.number > 0);
            // A restored member that has left before is not given what its own words wait for.
            let has_left = key == self.own && self.waiting.iter().any(|it| it.ends(key, *hash));
            match (theirs().next(), has_left || theirs().any(|chain| chain.row.ended)) {
                // Who founds a room is in from then on.
                (None, false) if grant.by == key => State::Joined,
                (None, false) => State::Invited,
                (_, true) => State::Left,
                (_, false) => State::Joined,
            }
        });
        let Some(first) = states.next() else {
            return State::Forked;
        };
        states.fold(first, |one, other| match (one, other) {
            (State::Joined, _) | (_, State::Joined) => State::Joined,
            (State::Invited, _) | (_, State::Invited) => State::Invited,
            _ => State::Left,
        })
    }

    /// Whether an account has left without having joined by the changes by which it is in.
    pub fn has_declined(&self, key: PublicKey) -> bool {
        let grants: BTreeMap<&Hash, _> = self.membership.active(key).collect();
        let begun = |chain: &&Chain| chain.row.number > 0 && grants.contains_key(&chain.row.name.grant);
        let mut begun = self.chains_of(key).filter(begun);
        // Who founds a room has joined without a word.
        self.state(key) == Some(State::Left)
            && grants.values().all(|grant| grant.by != key)
            && begun.all(Chain::declines)
    }

    /// The other members for whom what is said is: those that are in it, and those that are invited.
    pub fn recipients(&self) -> Vec<PublicKey> {
        let is_one = |state: &State| matches!(state, State::Joined | State::Invited);
        let all = self.states.iter().filter(|(key, state)| **key != self.own && is_one(state));
        all.map(|(key, _)| *key).collect()
    }

    /// Whether this account takes part.
    pub fn is_joined(&self) -> bool {
        self.state(self.own) == Some(State::Joined)
    }

    /// Whether anything new is taken.
    pub fn is_open(&self) -> bool {
        self.is_joined() && self.membership.frozen.is_none()
    }

    /// Members may have come or gone: by a change, by a chain that begins or ends, or by a proof.
    pub fn recount(&mut self) {
        let known = self.membership.all();
        self.states = known.iter().map(|key| (*key, self.find_state(*key))).collect();
        let joined = self.states.iter().filter(|(_, state)| **state == State::Joined);
        self.joined = joined.map(|(key, _)| *key).collect();
        self.ring = Ring::new(self.key(), self.membership.members().into_keys());
        let pasts = known.into_iter().map(|key| (key, self.find_pasts(key)));
        self.pasts = pasts.filter(|(_, past)| !past.is_empty()).collect();
        self.may_settle();
    }

    /// The members that hear from this one at once what another one writes.
    pub fn heirs(&mut self, author: PublicKey) -> Vec<PublicKey> {
        let (own, joined) = (self.own, &self.joined);
        self.ring.heirs(author, own, |key| joined.binary_search(&key).is_ok())
    }

    /// In large rooms, each member, with the one that tells it at once what an author writes.
    pub fn parents(&mut self, author: PublicKey) -> Vec<(PublicKey, PublicKey)> {
        let joined = &self.joined;
        self.ring.parents(author, |key| joined.binary_search(&key).is_ok())
    }

    /// The members that this one wants to be linked with: in large rooms all want a link with the owner, too, who waits for
    /// their receipts.
    pub fn wants_linked(&self) -> BTreeSet<PublicKey> {
        let (owner, members) = (self.membership.owner, self.membership.members());
        if owner == self.own {
            return members.into_keys().filter(|key| *key != self.own).collect();
        }
        let mut near = self.ring.neighbours(self.own);
        near.insert(owner);
        near
    }

    /// The chain that an author wrote in this epoch, as far as it is here.
    pub fn chain_in(&self, author: PublicKey, epoch: u64) -> Option<&Chain> {
        self.chains_of(author).find(|chain| chain.row.name.epoch == epoch)
    }

    pub fn chains_of(&self, author: PublicKey) -> impl Iterator<Item = &Chain> {
        let [first, last] = [([0; 32], 0), ([255; 32], u64::MAX)].map(|(grant, epoch)| ChainName {
            author,
            grant: Hash(grant),
            epoch,
        });
        let ids = self.names.range((first, 0)..=(last, u32::MAX));
        ids.filter_map(|(_, id)| self.chains.get(id))
    }

    /// The branch from which another one starts, and the entry after which it does.
    pub fn stem(&self, journal: &Journal, row: &ChainRow) -> Result<Option<(&Chain, EntryStanding)>> {
        for other in self.branches(row.name).filter(|other| other.row.id != row.id && row.branch != 0) {
            if let Some(entry) = journal.entry_at(other.row.id, row.base)?
                && entry.hash == row.base_hash
            {
                return Ok(Some((other, entry)));
            }
        }
        Ok(None)
    }

    /// The highest place of what is here.
    pub fn last_place(&self) -> u64 {
        let granted = self.own_grant().map(|(_, grant)| grant.clock);
        let all = self.chains.values().map(|chain| chain.row.place).chain(granted);
        all.fold(self.row.settled, u64::max)
    }

    /// The chain's last entry is signed, up to which it can be handed on.
    pub fn sign_off(&mut self, journal: &Journal, id: ChainId, signature: &Signature) -> Result<()> {
        let end = self.chains.get(&id).map(|chain| (chain.row.number, chain.row.hash));
        end.map_or(Ok(()), |(number, hash)| self.sign_at(journal, id, number, hash, signature))
    }

    /// The chain is signed up to this entry, which is here. Of the signatures before, those stay that are needed for runs
    /// that are not too long.
    pub fn sign_at(
        &mut self,
        journal: &Journal,
        id: ChainId,
        number: u64,
        hash: Hash,
        signature: &Signature,
    ) -> Result<()> {
        let Some(chain) = self.chains.get_mut(&id) else {
            return Ok(());
        };
        let last = chain.signed.number;
        if number <= last {
            return Ok(());
        }
        let fits =
            number - chain.kept <= MAX_RUN as u64 && chain.since_kept + chain.unsigned <= MAX_RUN_BYTES;
        if last > chain.kept && fits {
            journal.remove_head(id, last)?;
        } else {
            (chain.kept, chain.since_kept) = (last, 0);
        }
        chain.since_kept += std::mem::take(&mut chain.unsigned);
        chain.signed = Signed { number, hash };
        journal.add_head(id, number, signature)
    }

    /// Saves the ends of the chains that have grown.
    pub fn save(&mut self, journal: &Journal) -> Result<()> {
        for chain in self.chains.values_mut().filter(|chain| chain.touched) {
            journal.save_chain(&chain.row)?;
            chain.touched = false;
        }
        Ok(())
    }

    pub fn membership_owner(&self) -> PublicKey {
        self.membership.owner
    }

    /// What stands up to this place is final.
    pub fn settled(&self) -> u64 {
        self.row.settled
    }

    /// The chain of an entry, if it is here and can be handed on.
    pub fn find_signed(&self, journal: &Journal, mark: &Mark) -> Result<Option<&Chain>> {
        Ok(self.find(journal, mark)?.filter(|chain| chain.signed.number.max(chain.row.base) >= mark.number))
    }

    /// Whether an entry can be handed on, if it is here: its author has signed it, or one behind it.
    pub fn is_signed(&self, name: ChainName, number: u64) -> bool {
        self.branches(name).any(|chain| chain.signed.number >= number)
    }

    /// Whether all is final that was said, and can be handed on.
    pub fn is_settled(&self, journal: &Journal) -> Result<bool> {
        for chain in self.chains.values().filter(|chain| chain.row.place > self.row.settled) {
            if journal
                .entry_at(chain.row.id, chain.said())?
                .is_some_and(|entry| entry.place > self.row.settled)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The name of a chain by its row.
    pub fn chain_name(&self, id: ChainId) -> Option<ChainName> {
        self.chains.get(&id).map(|chain| chain.row.name)
    }
}
