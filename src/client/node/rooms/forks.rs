//! Proof that an author has broken the rules, which convinces any member who sees it.

use super::room::Room;
use super::{Cx, Effect};
use crate::protocol::room::{
    ChainName, Hash, Header, MAX_RUN, Proof, RoomKey, Run, Stretch, clock_after, hash,
};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal};

/// The hashes of a stretch, if its author has signed its end.
fn hashes(room: RoomKey, name: &ChainName, stretch: &Stretch) -> Option<Vec<Hash>> {
    if stretch.first == 0 || stretch.headers.is_empty() || stretch.headers.len() > MAX_RUN + 1 {
        return None;
    }
    let mut hashes = Vec::new();
    let mut last = stretch.previous;
    for (number, header) in (stretch.first..).zip(&stretch.headers) {
        last = hash::entry(room, name, number, last, header);
        hashes.push(last);
    }
    name.author.has_signed(&hash::head(last), &stretch.signature).then_some(hashes)
}

impl Room {
    /// Whether it proves what it says.
    pub fn proves(&self, proof: &Proof) -> bool {
        let Proof { chain, one, other } = proof;
        let Some(ours) = hashes(self.key(), chain, one) else {
            return false;
        };
        if let Some(other) = other {
            let theirs = hashes(self.key(), chain, other);
            return theirs.is_some_and(|theirs| one.first == other.first && theirs.first() != ours.first());
        }
        let follows =
            |before: u64, header: &Header| clock_after(before, &header.causes) == Some(header.clock);
        let start = one.headers.first().filter(|_| one.first == 1);
        let granted = self.membership.grants.get(&chain.grant);
        let good_start = start.zip(granted).is_none_or(|(header, grant)| follows(grant.clock, header));
        let pairs = one.headers.iter().zip(one.headers.iter().skip(1));
        !good_start || pairs.into_iter().any(|(before, header)| !follows(before.clock, header))
    }

    /// What proves that a run, which its author has signed, and what is here can't both be honest; or that its entry with
    /// this number can't be.
    pub fn proof(&self, journal: &Journal, run: &Run, number: u64) -> Result<Option<Proof>> {
        let name = run.chain;
        let skip = |number: u64| usize::try_from(number.saturating_sub(run.first)).unwrap_or(usize::MAX);
        let headers: Vec<Header> = run.entries.iter().map(crate::protocol::room::Entry::header).collect();
        let previous = |number: u64| {
            let before = (run.first..number).zip(&headers);
            before.fold(run.previous, |last, (number, header)| {
                hash::entry(self.key(), &name, number, last, header)
            })
        };
        let theirs = |first: u64| Stretch {
            first,
            previous: previous(first),
            headers: headers.iter().skip(skip(first)).cloned().collect(),
            signature: run.signature,
        };
        for chain in self.branches(name).filter(|chain| chain.row.number >= number && number > chain.row.base)
        {
            if let Some(ours) = self.stretch(journal, chain.row.id, number)? {
                let proof = Proof { chain: name, one: ours, other: Some(theirs(number)) };
                if self.proves(&proof) {
                    return Ok(Some(proof));
                }
            }
        }
        let first = number.saturating_sub(1).max(1);
        let one = if first >= run.first {
            theirs(first)
        } else {
            // The entry before the run is here.
            let Some(id) = self.named(name, 0) else {
                return Ok(None);
            };
            let mut before = None;
            journal.entries_after(
                id,
                first - 1,
                first,
                |id| self.chain_name(id),
                |_, _, entry| {
                    before = Some(entry.header());
                    Ok(false)
                },
            )?;
            let Some(before) = before else {
                return Ok(None);
            };
            let previous = if first == 1 {
                Hash::default()
            } else {
                journal.entry_at(id, first - 1)?.map(|it| it.hash).unwrap_or_default()
            };
            let mut stretch = theirs(run.first);
            stretch.headers.insert(0, before);
            Stretch { first, previous, ..stretch }
        };
        let proof = Proof { chain: name, one, other: None };
        Ok(Some(proof).filter(|proof| self.proves(proof)))
    }

    /// What is here of a chain from a number on, to the next signed entry.
    fn stretch(&self, journal: &Journal, id: ChainId, first: u64) -> Result<Option<Stretch>> {
        let Some((end, signature)) = journal.heads_after(id, first - 1, 1)?.pop() else {
            return Ok(None);
        };
        let previous = match first {
            1 => Hash::default(),
            _ => match journal.entry_at(id, first - 1)? {
                Some(entry) => entry.hash,
                None => return Ok(None),
            },
        };
        let mut headers = Vec::new();
        journal.entries_after(
            id,
            first - 1,
            end,
            |id| self.chain_name(id),
            |_, _, entry| {
                headers.push(entry.header());
                Ok(true)
            },
        )?;
        Ok(Some(Stretch { first, previous, headers, signature }))
    }

    /// An author has broken the rules. Returns whether that is news.
    pub fn take_proof(&mut self, cx: &mut Cx<'_>, proof: &Proof) -> Result<bool> {
        let author = proof.chain.author;
        if self.is_forked(proof.chain) || !self.membership.knows(author) {
            return Ok(false);
        }
        cx.journal.add_proof(self.row.id, proof)?;
        self.note_fork(proof.chain);
        self.recount();
        self.changed = true;
        let state = super::State::Forked;
        cx.effects.push(Effect::Member { room: self.row.id, user: author, state, by: None });
        Ok(true)
    }
}
