//! What a member does not get: what was written before it came.

use std::collections::{BTreeMap, BTreeSet};

use super::super::membership::Grant;
use super::{Chain, Room};
use crate::protocol::PublicKey;
use crate::protocol::codec;
use crate::protocol::room::{ChainName, Hash, Mark, Past, Settled};
use crate::store::Result;
use crate::store::journal::{ChainRow, Journal};

/// The most chains that a member names as those that it lacks.
const MAX_LACKING: usize = 256;

impl Room {
    /// By which change this account is in.
    pub fn own_grant(&self) -> Option<(Hash, &Grant)> {
        self.grant_of(self.own)
    }

    /// By which change a member is in: of several the one by which it has joined, and else the last.
    pub fn grant_of(&self, key: PublicKey) -> Option<(Hash, &Grant)> {
        self.grants_of(key).into_iter().max_by_key(|(hash, grant)| (grant.clock, *hash))
    }

    /// The changes by which a member is in: those by which it has joined, before others.
    pub fn grants_of(&self, key: PublicKey) -> Vec<(Hash, &Grant)> {
        let rank = |hash: &Hash| {
            let theirs = || self.chains_of(key).filter(|it| it.row.name.grant == *hash && it.row.number > 0);
            // What a restored member has said before may wait, also that it left.
            let waits = key == self.own && self.waiting.iter().any(|it| it.ends(key, *hash));
            match (theirs().next().is_some(), waits || theirs().any(|chain| chain.row.ended)) {
                (true, false) => 2,
                (false, _) => 1,
                (true, true) => 0,
            }
        };
        let active = || self.membership.active(key).map(|(hash, grant)| (rank(hash), (*hash, grant)));
        let highest = active().map(|(rank, _)| rank).max();
        active().filter(|(rank, _)| Some(*rank) == highest).map(|(_, grant)| grant).collect()
    }

    /// The grants by which a member had joined and is not in.
    pub fn former_grants<'a>(
        &'a self,
        key: PublicKey,
        current: &'a [(Hash, &Grant)],
    ) -> impl Iterator<Item = &'a Grant> {
        let all = self.membership.grants.iter().filter(move |(hash, grant)| {
            let has_joined = |chain: &Chain| {
                let row = &chain.row;
                // What this member has written, it may have had to drop.
                let has_dropped = || row.number == 0 && key == self.own && self.has_skipped(grant);
                row.name.grant == **hash && (row.number > 0 && !chain.declines() || has_dropped())
            };
            let is_current = current.iter().any(|(it, _)| it == *hash);
            grant.key == key && !is_current && self.chains_of(key).any(has_joined)
        });
        all.map(|(_, grant)| grant)
    }

    /// Whether nothing of what was written before a grant is still to come.
    fn has_skipped(&self, grant: &Grant) -> bool {
        grant.past.iter().all(|(name, past)| {
            let here = self.named(*name, 0).and_then(|id| self.chains.get(&id));
            here.is_some_and(|chain| chain.row.number >= past.mark.number.min(self.waited_for(*name)))
        })
    }

    /// Up to where a member does not get a chain, for it was written before any change by which it is in.
    pub fn past_in(&self, key: PublicKey, name: ChainName) -> Option<Past> {
        self.pasts.get(&key)?.get(&name).copied()
    }

    /// Up to which number a member does not get a chain, for it was written before.
    pub fn past_of(&self, member: PublicKey, name: ChainName) -> u64 {
        self.past_in(member, name).map_or(0, |past| past.mark.number)
    }

    /// Up to where every change by which a member is in keeps a chain from it. By which of them it has joined the member
    /// itself knows best.
    pub fn past_by_any(&self, key: PublicKey, name: ChainName) -> u64 {
        let past = |(_, grant): (&Hash, &Grant)| grant.past.get(&name).map_or(0, |past| past.mark.number);
        self.membership.active(key).map(past).min().unwrap_or_default()
    }

    /// What any of the grants keeps from a member by which it has joined; and what it did not get when it was in before, for
    /// which there is no place before the rest.
    pub fn find_pasts(&self, key: PublicKey) -> BTreeMap<ChainName, Past> {
        let grants = self.grants_of(key);
        let mut pasts = BTreeMap::<ChainName, Past>::new();
        let current = grants.iter().map(|(_, grant)| *grant);
        let granted = current.chain(self.former_grants(key, &grants)).flat_map(|grant| grant.past.values());
        let lacking = grants.iter().filter_map(|(hash, _)| self.lacking.get(&(key, *hash)));
        let lacking = lacking.flatten().filter_map(|mark| self.past_at(key, mark));
        for past in granted.chain(lacking) {
            let known = pasts.entry(past.mark.chain).or_insert(*past);
            if known.mark.number < past.mark.number {
                *known = *past;
            }
        }
        pasts
    }

    /// What a change keeps from a member up to this place, or has kept when the member was in by it. What a member says to
    /// lack counts only so: the clock there is known, and the next entry's can be checked.
    fn past_at(&self, key: PublicKey, mark: &Mark) -> Option<&Past> {
        let mut pasts = self.membership.grants_of(key).filter_map(|(_, grant)| grant.past.get(&mark.chain));
        pasts.find(|past| past.mark == *mark)
    }

    /// Whether an entry was written before this member came, and so is not here.
    pub fn is_before(&self, name: ChainName, number: u64) -> bool {
        let base = self.named(name, 0).and_then(|id| self.chains.get(&id)).map(|chain| chain.row.base);
        let granted = self.past_in(self.own, name).map(|past| past.mark.number);
        number <= base.max(granted).unwrap_or_default()
    }

    /// Whether an entry that is not here, though the chain goes that far, stands in another branch, from before this member
    /// came: it gets that from no one. Of what was written before, it may get more by a later invitation.
    pub fn is_left_out(&self, name: ChainName, number: u64) -> bool {
        let main = self.named(name, 0).and_then(|id| self.chains.get(&id));
        main.is_some_and(|chain| number <= chain.row.number) && self.is_before(name, number)
    }

    /// Up to where a chain is here, or, if nothing of it is, was written before this member came.
    pub fn end_here(&self, name: ChainName) -> u64 {
        let ends = self.branches(name).map(|chain| chain.row.number);
        ends.max().unwrap_or_else(|| self.past_of(self.own, name))
    }

    /// What was final before this member came, which it does not get: by what it is in now, if that says so.
    pub fn settled_before(&self) -> Option<Settled> {
        let grants = self.grants_of(self.own);
        let current = grants.iter().filter_map(|(_, grant)| grant.settled).max_by_key(|it| it.place);
        let former = || self.former_grants(self.own, &grants).filter_map(|grant| grant.settled);
        current.or_else(|| former().max_by_key(|it| it.place)).filter(|it| it.place > 0)
    }

    /// This account is in by another change than before: what was written in between is with the others.
    pub fn skip_past(&mut self, journal: &Journal) -> Result<()> {
        let grants = self.grants_of(self.own);
        let current = grants.iter().map(|(_, grant)| *grant);
        let all = current.chain(self.former_grants(self.own, &grants));
        let names: BTreeSet<ChainName> = all.flat_map(|grant| grant.past.keys().copied()).collect();
        let past: Vec<Past> = names.iter().filter_map(|name| self.past_in(self.own, *name)).collect();
        for past in past {
            let Some(id) = self.chain(journal, past.mark.chain, 0)? else {
                continue;
            };
            // What is here up to there and not signed no one hands on to this member again.
            let Some(chain) = self.chains.get(&id).filter(|it| it.signed.number < past.mark.number) else {
                continue;
            };
            let mark = past.mark;
            let row = if chain.row.number <= mark.number {
                after_past(&past, &chain.row)
            } else if journal.entry_at(id, mark.number)?.is_some_and(|entry| entry.hash == mark.hash) {
                ChainRow { base: mark.number, base_hash: mark.hash, ..chain.row.clone() }
            } else {
                continue;
            };
            journal.save_chain(&row)?;
            self.chains.insert(id, Chain::load(journal, row)?);
        }
        for name in names {
            self.check_beyond(journal, name)?;
        }
        self.recount();
        self.changed = true;
        Ok(())
    }

    /// The clock of the entry after which a chain is kept here.
    pub fn clock_at_base(&self, journal: &Journal, row: &ChainRow) -> Result<u64> {
        let base = Mark { chain: row.name, number: row.base, hash: row.base_hash };
        if let Some(past) = self.past_at(self.own, &base).filter(|_| row.branch == 0) {
            return Ok(past.clock);
        }
        Ok(self.stem(journal, row)?.map_or(0, |(_, entry)| entry.clock))
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
            codec::encode(&marks, &mut body);
        }
        body
    }

    /// A member says what it lacks.
    pub fn note_lacking(&mut self, name: ChainName, body: &[u8]) {
        if let Some(marks) = minicbor::decode::<Vec<Mark>>(body).ok().filter(|it| it.len() <= MAX_LACKING) {
            self.lacking.insert((name.author, name.grant), marks);
        }
    }
}

/// A chain of which this member does not get what was written before it came.
pub fn after_past(Past { mark, clock, ended }: &Past, row: &ChainRow) -> ChainRow {
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
