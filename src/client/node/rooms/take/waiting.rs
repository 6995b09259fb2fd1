//! What waits for its causes, in memory and within bounds.

use std::collections::BTreeMap;

use super::super::Cx;
use super::super::room::Room;
use super::Offered;
use crate::protocol::PublicKey;
use crate::protocol::room::{ChainName, Entry, EntryKind, Hash, Mark, Signature};
use crate::store::Result;
use crate::store::journal::ChainRow;

/// How many bytes of entries wait for their causes, in one room.
pub const MAX_WAITING: usize = 8 * 1024 * 1024;

/// Entries of a signed run that are not taken yet.
#[derive(Debug)]
pub struct Waiting {
    pub from: PublicKey,
    pub(super) chain: ChainName,
    /// The number of the first.
    pub(super) first: u64,
    pub(super) previous: Hash,
    /// With the hash of each.
    pub(super) entries: Vec<(Entry, Hash)>,
    pub(super) signature: Signature,
    pub(super) weight: usize,
}

impl Waiting {
    /// The number and the hash of the last.
    pub(super) fn end(&self) -> (u64, Hash) {
        let hash = self.entries.last().map_or(self.previous, |(_, hash)| *hash);
        (self.first + self.entries.len() as u64 - 1, hash)
    }

    /// Whether its author leaves with it, who was in by this change.
    pub fn ends(&self, author: PublicKey, grant: Hash) -> bool {
        let last = self.entries.last().is_some_and(|(entry, _)| entry.kind == EntryKind::LEAVE);
        last && (self.chain.author, self.chain.grant) == (author, grant)
    }

    fn has(&self, mark: &Mark) -> bool {
        let place = mark.number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.entries.get(place)).is_some_and(|(_, hash)| *hash == mark.hash)
    }
}

impl Room {
    /// Entries wait for what is not here.
    pub(super) fn wait(&mut self, it: Waiting) -> Offered {
        if self.waiting_weight() + it.weight > MAX_WAITING {
            return Offered::Refused;
        }
        // The same from another member waits once.
        let same = |other: &Waiting| other.chain == it.chain && other.first == it.first;
        if !self.waiting.iter().any(|other| same(other) && other.entries.len() >= it.entries.len()) {
            self.waiting.retain(|other| !same(other));
            let own = it.chain.author == self.own;
            self.waiting.push(it);
            if own {
                self.recount();
                self.changed = true;
            }
        }
        Offered::Taken
    }

    /// Whether an entry is here, and waits for its causes.
    pub fn waits(&self, mark: &Mark) -> bool {
        let has = |it: &Waiting| it.chain == mark.chain && it.has(mark);
        self.waiting.iter().any(has)
    }

    /// Whether a member has joined by what waits for its causes: it may have to bring them itself.
    pub(super) fn is_joining(&self, member: PublicKey) -> bool {
        let begins = |it: &Waiting| it.chain.author == member && it.first == 1 && !self.is_forked(it.chain);
        let grants = || self.waiting.iter().filter(|it| begins(it)).map(|it| it.chain.grant);
        grants().any(|grant| self.membership.active(member).any(|(active, _)| *active == grant))
    }

    /// Up to where runs of a chain are here, also those that wait for their causes.
    pub fn end_of_runs(&self, name: ChainName) -> u64 {
        let main = self.named(name, 0).and_then(|id| self.chains.get(&id));
        let (mut end, signed) = main.map_or((0, 0), |chain| (chain.row.number, chain.signed.number));
        let mut waits = false;
        while let Some(next) = self.waiting.iter().find(|it| it.chain == name && it.first == end + 1) {
            (end, waits) = (next.end().0, true);
        }
        if waits { end } else { signed }
    }

    fn waiting_weight(&self) -> usize {
        self.waiting.iter().map(|it| it.weight).sum()
    }

    /// Takes what has waited for what is here now. Returns the entries that break the rules of their authors.
    pub fn take_waiting(&mut self, cx: &mut Cx<'_>) -> Result<Vec<(ChainName, u64)>> {
        let mut against = Vec::new();
        loop {
            let before = self.waiting.iter().map(|it| it.entries.len()).sum::<usize>();
            let mut firsts = BTreeMap::new();
            for it in &self.waiting {
                let first = firsts.entry(it.chain).or_insert(it.first);
                *first = it.first.min(*first);
            }
            for it in std::mem::take(&mut self.waiting) {
                let name = it.chain;
                let goes_on = |row: &&ChainRow| row.number + 1 == it.first && row.hash == it.previous;
                let id = self.branches(name).map(|chain| &chain.row).find(goes_on).map(|row| row.id);
                let Some(id) = id else {
                    // Unless it goes on from what waits, too, another member has handed on more of it meanwhile.
                    if firsts.get(&name).is_some_and(|first| *first < it.first) {
                        self.waiting.push(it);
                    }
                    continue;
                };
                if let Offered::Forked(number) = self.go_on(cx, id, it)? {
                    against.push((name, number));
                }
            }
            let after = self.waiting.iter().map(|it| it.entries.len()).sum::<usize>();
            if self.waiting.is_empty() || after == before {
                if self.waiting.iter().any(|it| it.chain.author == self.own) {
                    self.recount();
                }
                return Ok(against);
            }
        }
    }
}
