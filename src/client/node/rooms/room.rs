//! One room: what is known of it, and what follows from that alone.

use std::collections::{BTreeMap, BTreeSet};

use super::membership::{Grant, Membership};
use super::receipts::Receipts;
use super::ring::Ring;
use super::settle::Settling;
use super::take::Waiting;
use crate::protocol::PublicKey;
use crate::protocol::room::{
    ChainName, Change, Hash, MAX_RUN, MAX_RUN_BYTES, Mark, Past, Receipt, RoomKey, Settled, Signature,
};
use crate::store::Result;
use crate::store::journal::{ChainId, ChainRow, EntryStanding, Journal, RoomRow};

/// The most chains of one room that anything is known of, and of one author: no member can use up all.
const MAX_CHAINS: usize = 100_000;
const MAX_CHAINS_OF_ONE: usize = 5_000;

/// The most chains that a member names as those that it lacks.
const MAX_LACKING: usize = 256;

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
    /// Receipts of members who have written what is not here.
    pub deferred: Vec<Receipt>,
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
        Ok(Self { signed, kept: number, since_kept: 0, unsigned, ahead: 0, said, touched: false, row })
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
            deferred: Vec::new(),
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

    /// This account is in by another change than before: what was written in between is with the others.
    pub fn skip_past(&mut self, journal: &Journal) -> Result<()> {
        let names: BTreeSet<ChainName> =
            self.grants_of(self.own).iter().flat_map(|(_, grant)| grant.past.keys().copied()).collect();
        let past: Vec<Past> = names.iter().filter_map(|name| self.past_in(self.own, *name)).collect();
        for past in past {
            let Some(id) = self.chain(journal, past.mark.chain, 0)? else {
                continue;
            };
            if let Some(chain) = self.chains.get(&id).filter(|chain| chain.row.number < past.mark.number) {
                let row = after_past(&past, &chain.row);
                journal.save_chain(&row)?;
                self.chains.insert(id, Chain::load(journal, row)?);
            }
        }
        for name in names {
            self.check_beyond(journal, name)?;
        }
        self.recount();
        self.changed = true;
        Ok(())
    }

    /// By which change this account is in.
    pub fn own_grant(&self) -> Option<(Hash, &Grant)> {
        self.grant_of(self.own)
    }

    /// By which change a member is in: of several the one by which it has joined, and else the last.
    pub fn grant_of(&self, key: PublicKey) -> Option<(Hash, &Grant)> {
        self.grants_of(key).into_iter().max_by_key(|(hash, grant)| (grant.clock, *hash))
    }

    /// The changes by which a member is in: those by which it has joined, before others.
    fn grants_of(&self, key: PublicKey) -> Vec<(Hash, &Grant)> {
        let rank = |hash: &Hash| {
            let theirs = || self.chains_of(key).filter(|it| it.row.name.grant == *hash && it.row.number > 0);
            match (theirs().next().is_some(), theirs().any(|chain| chain.row.ended)) {
                (true, false) => 2,
                (false, _) => 1,
                (true, true) => 0,
            }
        };
        let active = || self.membership.active(key).map(|(hash, grant)| (rank(hash), (*hash, grant)));
        let highest = active().map(|(rank, _)| rank).max();
        active().filter(|(rank, _)| Some(*rank) == highest).map(|(_, grant)| grant).collect()
    }

    /// Up to where a member does not get a chain, for it was written before any change by which it is in.
    pub fn past_in(&self, key: PublicKey, name: ChainName) -> Option<Past> {
        self.pasts.get(&key)?.get(&name).copied()
    }

    /// Up to where every change by which a member is in keeps a chain from it. By which of them it has joined the member
    /// itself knows best.
    pub fn past_by_any(&self, key: PublicKey, name: ChainName) -> u64 {
        let past = |(_, grant): (&Hash, &Grant)| grant.past.get(&name).map_or(0, |past| past.mark.number);
        self.membership.active(key).map(past).min().unwrap_or_default()
    }

    /// What any of the grants keeps from a member by which it has joined; and what it did not get when it was in before, for
    /// which there is no place before the rest.
    fn find_pasts(&self, key: PublicKey) -> BTreeMap<ChainName, Past> {
        let grants = self.grants_of(key);
        let mut pasts = BTreeMap::<ChainName, Past>::new();
        let current = grants.iter().map(|(_, grant)| *grant);
        for (name, past) in current.chain(self.former_grants(key, &grants)).flat_map(|grant| &grant.past) {
            let known = pasts.entry(*name).or_insert(*past);
            if known.mark.number < past.mark.number {
                *known = *past;
            }
        }
        let lacking = grants.iter().filter_map(|(hash, _)| self.lacking.get(&(key, *hash)));
        for mark in lacking.flatten() {
            let past = Past { mark: *mark, clock: 0, ended: false };
            let known = pasts.entry(mark.chain).or_insert(past);
            known.mark = known.mark.max(*mark);
        }
        pasts
    }

    /// What this member lacks, and gets by no change that the others know of: what it was kept from when it was in before and
    /// is forgotten. It stands in the body of its [`EntryKind::JOIN`](crate::protocol::room::EntryKind::JOIN).
    pub fn says_to_lack(&self) -> Vec<u8> {
        let grants = self.grants_of(self.own);
        let lacks = |row: &&ChainRow| {
            let known = grants.iter().filter_map(|(_, grant)| grant.past.get(&row.name));
            let known = known.map(|past| past.mark.number).max().unwrap_or_default();
            row.branch == 0 && row.base > known && row.name.author != self.own
        };
        let rows = self.chains.values().map(|chain| &chain.row).filter(lacks);
        let marks = rows.map(|row| Mark { chain: row.name, number: row.base, hash: row.base_hash });
        let marks: Vec<Mark> = marks.take(MAX_LACKING).collect();
        let mut body = Vec::new();
        if !marks.is_empty() {
            crate::protocol::codec::encode(&marks, &mut body);
        }
        body
    }

    /// A member says what it lacks.
    pub fn note_lacking(&mut self, name: ChainName, body: &[u8]) {
        if let Some(marks) = minicbor::decode::<Vec<Mark>>(body).ok().filter(|it| it.len() <= MAX_LACKING) {
            self.lacking.insert((name.author, name.grant), marks);
        }
    }

    /// The grants by which a member has written and is not in.
    fn former_grants<'a>(
        &'a self,
        key: PublicKey,
        current: &'a [(Hash, &Grant)],
    ) -> impl Iterator<Item = &'a Grant> {
        let all = self.membership.grants.iter().filter(move |(hash, grant)| {
            // What this member has written, it may have had to drop.
            let has_written =
                |chain: &Chain| chain.row.name.grant == **hash && (chain.row.number > 0 || key == self.own);
            let is_current = current.iter().any(|(it, _)| it == *hash);
            grant.key == key && !is_current && self.chains_of(key).any(has_written)
        });
        all.map(|(_, grant)| grant)
    }

    /// What was final before this member came, which it does not get.
    pub fn settled_before(&self) -> Option<Settled> {
        let grants = self.grants_of(self.own);
        let current = grants.iter().map(|(_, grant)| *grant);
        let all = current.chain(self.former_grants(self.own, &grants));
        all.filter_map(|grant| grant.settled).max_by_key(|it| it.place)
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

    /// In large rooms, each member, with the one from whom it hears at once what an author writes.
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

    /// Up to which number entries of a chain are taken: all, unless its author was removed.
    pub fn limit(&self, name: ChainName) -> u64 {
        let ends = self.ends_of_removed(name);
        ends.map_or(u64::MAX, |ends| ends.last().map_or(0, |(number, _)| *number))
    }

    /// Where a chain may end whose author was removed: never before what was settled. There are several such ends if its
    /// author has written several branches.
    fn ends_of_removed(&self, name: ChainName) -> Option<BTreeSet<(u64, Hash)>> {
        let Some(grant) = self.membership.grants.get(&name.grant).filter(|grant| grant.key == name.author)
        else {
            // Not, or not yet known to be in.
            return Some(BTreeSet::new());
        };
        let mut ends = grant.removed.as_ref()?.get(&name.epoch).cloned().unwrap_or_default();
        ends.extend(self.settling.kept(name).map(|mark| (mark.number, mark.hash)));
        Some(ends)
    }

    /// Whether a chain may end here by an owner's word, whatever its author, who was removed, has signed.
    pub fn is_kept_end(&self, end: &Mark) -> bool {
        let ends = self.ends_of_removed(end.chain);
        end.number > 0 && ends.is_some_and(|ends| ends.contains(&(end.number, end.hash)))
    }

    /// Up to where a chain is kept here that is longer than it may be: up to where an owner says that it ends, or where its
    /// author has signed it.
    fn kept_up_to(&self, journal: &Journal, chain: &Chain) -> Result<Option<u64>> {
        let row = &chain.row;
        let limit = self.limit(row.name);
        if row.number <= limit.max(row.base) {
            return Ok(None);
        }
        let signed = journal.heads_before(row.id, limit, 1)?.pop().unwrap_or_default();
        for (number, hash) in self.ends_of_removed(row.name).into_iter().flatten().rev() {
            if number <= signed.max(row.base) {
                break;
            }
            if journal.entry_at(row.id, number)?.is_some_and(|entry| entry.hash == hash) {
                return Ok(Some(number));
            }
        }
        Ok(Some(signed.max(row.base)))
    }

    /// What is kept of a removed member can be handed on where an owner says that it ends, whatever its author has signed.
    pub fn end_by_word(&mut self, journal: &Journal, id: ChainId) -> Result<()> {
        let open = self.chains.get(&id).filter(|chain| chain.signed.number < chain.row.number);
        if open.is_some_and(|chain| self.is_kept_end(&chain.row.mark())) {
            self.sign_off(journal, id, &Signature([0; 64]))?;
            self.note_cut(id);
        }
        Ok(())
    }

    /// Cuts what removed members have written beyond what is kept. Returns whether that was anything.
    pub fn cut(&mut self, journal: &Journal) -> Result<bool> {
        let mut cuts = Vec::new();
        for chain in self.chains.values() {
            cuts.extend(self.kept_up_to(journal, chain)?.map(|number| (chain.row.id, number)));
        }
        for (id, limit) in &cuts {
            // Where it ends now is to be said.
            self.note_cut(*id);
            journal.cut_chain(*id, *limit)?;
            if let Some(chain) = self.chains.get(id) {
                let mut row = chain.row.clone();
                row.number = *limit;
                (row.hash, row.clock, row.place) = match journal.entry_at(*id, *limit)? {
                    Some(end) => (end.hash, end.clock, end.place),
                    None => (row.base_hash, self.clock_at_base(journal, &row)?, 0),
                };
                row.ended = false;
                journal.save_chain(&row)?;
                self.chains.insert(*id, Chain::load(journal, row)?);
            }
        }
        let removed = |chain: &&Chain| self.limit(chain.row.name) != u64::MAX;
        let ends: Vec<ChainId> = self.chains.values().filter(removed).map(|chain| chain.row.id).collect();
        ends.into_iter().try_for_each(|id| self.end_by_word(journal, id))?;
        if !cuts.is_empty() {
            self.settlements_cut();
        }
        Ok(!cuts.is_empty())
    }

    /// The clock of the entry after which a chain is kept here.
    fn clock_at_base(&self, journal: &Journal, row: &ChainRow) -> Result<u64> {
        let past = self.past_in(self.own, row.name);
        if let Some(past) = past.filter(|past| past.mark.number == row.base && row.branch == 0) {
            return Ok(past.clock);
        }
        Ok(self.stem(journal, row)?.map_or(0, |(_, entry)| entry.clock))
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

    /// Whether an entry was written before this member came, and so is not here.
    pub fn is_before(&self, name: ChainName, number: u64) -> bool {
        let base = self.named(name, 0).and_then(|id| self.chains.get(&id)).map(|chain| chain.row.base);
        let granted = self.past_in(self.own, name).map(|past| past.mark.number);
        number <= base.max(granted).unwrap_or_default()
    }

    /// Whether an entry is dropped, for its author was removed.
    pub fn is_cut(&self, name: ChainName, number: u64) -> bool {
        number > self.limit(name)
    }

    /// The name of a chain by its row.
    pub fn chain_name(&self, id: ChainId) -> Option<ChainName> {
        self.chains.get(&id).map(|chain| chain.row.name)
    }
}

/// A chain of which this member does not get what was written before it came.
fn after_past(Past { mark, clock, ended }: &Past, row: &ChainRow) -> ChainRow {
    ChainRow {
        base: mark.number,
        base_hash: mark.hash,
        number: mark.number,
        hash: mark.hash,
        clock: *clock,
        place: 0,
        ended: *ended,
        ..row.clone()
    }
}
