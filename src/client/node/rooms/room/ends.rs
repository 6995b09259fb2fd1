//! Where the chains of those who were removed end: where an owner says, and never before what was settled.

use std::collections::BTreeSet;

use super::{Chain, Room};
use crate::protocol::room::{ChainName, Hash, Mark, Signature};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal};

impl Room {
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
    /// author has signed it. What was final before this member came stays: how it became so is with the others.
    fn kept_up_to(&self, journal: &Journal, chain: &Chain) -> Result<Option<u64>> {
        let row = &chain.row;
        let limit = self.limit(row.name);
        if row.number <= limit.max(row.base) {
            return Ok(None);
        }
        let past = self.settled_before().and_then(|_| self.past_in(self.own, row.name));
        let past = past.map(|past| (past.mark.number, past.mark.hash));
        let limit = past.map_or(limit, |(number, _)| number.max(limit));
        if row.number <= limit {
            return Ok(None);
        }
        let signed = journal.heads_before(row.id, limit, 1)?.pop().unwrap_or_default();
        let mut ends = self.ends_of_removed(row.name).unwrap_or_default();
        ends.extend(past);
        for (number, hash) in ends.into_iter().rev() {
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

    /// Whether an entry is dropped, for its author was removed.
    pub fn is_cut(&self, name: ChainName, number: u64) -> bool {
        number > self.limit(name)
    }
}
