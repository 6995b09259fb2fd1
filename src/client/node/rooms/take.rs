//! Entries in: what is taken of what others hand on.
//!
//! An entry is taken once, from any member that has it, when it is signed (by itself or by one behind it in its chain) and
//! all that it names as its causes is here. What comes before its causes waits in memory, within bounds.

use super::room::{Room, Signed, State};
use super::{Cx, Effect};
use crate::protocol::PublicKey;
use crate::protocol::room::{
    Cause, ChainName, Entry, EntryKind, Hash, MAX_RUN, Mark, Run, Signature, clock_after, hash,
};
use crate::protocol::{MAX_TEXT, room};
use crate::store::Result;
use crate::store::journal::{ChainId, ChainRow, Journal, NewEntry, Seq};

#[cfg(test)]
pub use waiting::MAX_WAITING;
pub use waiting::Waiting;

mod waiting;

/// How many bytes of one author are taken beyond what half of the members have. The rest waits at its author.
pub const MAX_AHEAD: u64 = 16 * 1024 * 1024;

/// How far ahead of what is here a clock may be that can't be checked.
const MAX_LEAP: u64 = 1 << 32;

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// All that is new is taken, or waits.
    Taken,
    /// Its author is not known to be in.
    Unknown,
    /// It does not go on from what is here: it is to be sent from after this number on.
    From(u64),
    /// There is too much of its author's that the others have not.
    Full,
    /// Nothing of it is taken for now.
    Refused,
    /// It is not what an honest member sends.
    Broken(&'static str),
    /// Its author has written two entries with one number, the first of which is this.
    Forked(u64),
}

/// Why an entry is not taken.
enum Obstacle {
    /// Something that it names is not here.
    Missing,
    /// It is behind where its chain ends.
    Beyond,
    /// It breaks the rules of its author.
    Against,
}

/// About how many bytes an entry takes in a frame.
pub fn weight(entry: &Entry) -> usize {
    64 + entry.body.len() + 170 * entry.causes.len()
}

/// About how many bytes a run takes.
pub fn run_weight(run: &Run) -> usize {
    run.entries.iter().map(weight).sum()
}

impl Room {
    /// Takes in a run that a member hands on, whose entries have these hashes.
    pub fn offer(&mut self, cx: &mut Cx<'_>, from: PublicKey, run: &Run, hashes: &[Hash]) -> Result<Offered> {
        let Run { chain: name, first, previous, entries, signature } = run;
        if *first == 0 || entries.is_empty() || *first > room::MAX_CLOCK {
            return Ok(Offered::Broken("a run of entries without a beginning"));
        }
        if !self.membership.knows(name.author) {
            return Ok(Offered::Unknown);
        }
        let last = hashes.last().copied().unwrap_or(*previous);
        let end = Mark { chain: *name, number: *first + entries.len() as u64 - 1, hash: last };
        if !name.author.has_signed(&hash::head(last), signature) && !self.is_kept_end(&end) {
            // Which end an owner has named need not be known here yet.
            let by_word = *signature == Signature([0; 64]);
            let broken = Offered::Broken("entries that their author has not signed");
            return Ok(if by_word { Offered::Refused } else { broken });
        }
        let id = match self.branch_for(cx, from, name, *first, *previous, hashes)? {
            Ok(id) => id,
            Err(offered) => return Ok(offered),
        };
        let Some(chain) = self.chains.get(&id) else {
            return Ok(Offered::Refused);
        };
        let (base, end) = (chain.row.base, chain.row.number);
        // A run is handed on as it came, from where the one before it ends.
        let signed = chain.signed.number.max(base);
        if *first == end + 1 && signed < end {
            return Ok(Offered::From(signed));
        }
        if *first > end + 1 {
            let goes_on = |it: &Waiting| it.chain == *name && it.end() == (*first - 1, *previous);
            if !self.waiting.iter().any(goes_on) {
                return Ok(Offered::From(end));
            }
            let weight = run_weight(run);
            let entries = entries.iter().cloned().zip(hashes.iter().copied()).collect();
            let (first, previous, signature) = (*first, *previous, *signature);
            return Ok(self.wait(Waiting {
                from,
                chain: *name,
                first,
                previous,
                entries,
                signature,
                weight,
            }));
        }
        // Where it overlaps what is here, or goes on from it, it is the same chain.
        let at_end = usize::try_from(end + 1 - *first).unwrap_or(usize::MAX).min(entries.len());
        let (known, theirs) = match at_end.checked_sub(1) {
            Some(place) => (*first + place as u64, hashes.get(place).copied().unwrap_or_default()),
            None => (end, *previous),
        };
        if known > base || (known == base && known == end) {
            let ours = if known == end {
                Some(chain.row.hash)
            } else {
                cx.journal.entry_at(id, known)?.map(|it| it.hash)
            };
            if ours.is_some_and(|ours| ours != theirs) && known > 0 {
                return self.divergence(cx, id, *first, *previous, hashes);
            }
        }
        if name.author != self.own && self.ahead(name.author) > MAX_AHEAD {
            // The others may have more of it by now.
            let chains: Vec<ChainId> = self.chains_of(name.author).map(|chain| chain.row.id).collect();
            chains.into_iter().try_for_each(|id| self.count_ahead(cx.journal, id))?;
            if self.ahead(name.author) > MAX_AHEAD {
                return Ok(Offered::Full);
            }
        }
        let rest: Vec<(Entry, Hash)> =
            entries.iter().cloned().zip(hashes.iter().copied()).skip(at_end).collect();
        let previous = if at_end == 0 { *previous } else { theirs };
        let weight = rest.iter().map(|(entry, _)| weight(entry)).sum();
        let first = *first + at_end as u64;
        let waiting =
            Waiting { from, chain: *name, first, previous, entries: rest, signature: *signature, weight };
        self.go_on(cx, id, waiting)
    }

    /// How many bytes of an author's entries half of the members do not have yet.
    pub fn ahead(&self, author: PublicKey) -> u64 {
        self.chains_of(author).map(|chain| chain.ahead).sum()
    }

    /// The branch of a chain that a run belongs to.
    fn branch_for(
        &mut self,
        cx: &mut Cx<'_>,
        from: PublicKey,
        name: &ChainName,
        first: u64,
        previous: Hash,
        hashes: &[Hash],
    ) -> Result<Result<ChainId, Offered>> {
        if !self.is_forked(*name) {
            return Ok(self.chain(cx.journal, *name, 0)?.ok_or(Offered::Refused));
        }
        // Of an author who has broken the rules only that is taken which another member hands on, who has it.
        let takes_part =
            matches!(self.state(from), Some(State::Joined | State::Left)) || self.is_joining(from);
        if from == name.author || !takes_part {
            return Ok(Err(Offered::Refused));
        }
        // The last entry that it has in common with what is here.
        let mut common = Mark { chain: *name, number: first - 1, hash: previous };
        for (at, hash) in hashes.iter().enumerate().rev() {
            let mark = Mark { chain: *name, number: first + at as u64, hash: *hash };
            if let Some(chain) = self.find(cx.journal, &mark)? {
                if hashes.last() == Some(hash) {
                    return Ok(Ok(chain.row.id));
                }
                common = mark;
                break;
            }
        }
        let goes_on = |row: &&ChainRow| (row.number, row.hash) == (common.number, common.hash);
        if let Some(row) = self.branches(*name).map(|chain| &chain.row).find(goes_on) {
            return Ok(Ok(row.id));
        }
        // Another branch, from where it leaves those that are here.
        let branch = self.branches(*name).map(|chain| chain.row.branch + 1).max().unwrap_or_default();
        let stem = self.find(cx.journal, &common)?.map(|chain| chain.row.id);
        if common.number > 0 && stem.is_none() && !self.is_left_out(*name, common.number) {
            // It has left them before.
            let base = self.named(*name, 0).and_then(|id| self.chains.get(&id)).map_or(0, |it| it.row.base);
            return Ok(Err(Offered::From(common.number.saturating_sub(MAX_RUN as u64).max(base))));
        }
        let Some(id) = self.chain(cx.journal, *name, branch)? else {
            return Ok(Err(Offered::Refused));
        };
        let standing = match stem {
            Some(stem) => cx.journal.entry_at(stem, common.number)?,
            None => None,
        };
        if let Some(chain) = self.chains.get_mut(&id) {
            let hash = if common.number == 0 { Hash::default() } else { common.hash };
            (chain.row.base, chain.row.base_hash) = (common.number, hash);
            (chain.row.number, chain.row.hash) = (common.number, hash);
            chain.row.clock = standing.map_or(0, |it| it.clock);
            chain.signed = Signed { number: chain.row.number, hash: chain.row.hash };
            chain.kept = chain.row.number;
            cx.journal.save_chain(&chain.row)?;
        }
        Ok(Ok(id))
    }

    /// A signed run is not what is here: from where on.
    fn divergence(
        &self,
        cx: &Cx<'_>,
        id: ChainId,
        first: u64,
        previous: Hash,
        hashes: &[Hash],
    ) -> Result<Offered> {
        let (Some(chain), before) = (self.chains.get(&id), first - 1) else {
            return Ok(Offered::Refused);
        };
        let base = chain.row.base;
        let ours = |number| {
            Result::<_, crate::store::StoreError>::Ok(cx.journal.entry_at(id, number)?.map(|it| it.hash))
        };
        if before > base && ours(before)? != Some(previous) {
            return Ok(Offered::From(before.saturating_sub(MAX_RUN as u64).max(base)));
        }
        for (number, hash) in (first..).zip(hashes) {
            if ours(number)?.is_some_and(|ours| ours != *hash) {
                return Ok(Offered::Forked(number));
            }
        }
        Ok(Offered::Refused)
    }

    /// Takes of a run what can be taken; the rest waits.
    fn go_on(&mut self, cx: &mut Cx<'_>, id: ChainId, mut it: Waiting) -> Result<Offered> {
        let before = self.chains.get(&id).map_or(0, |chain| chain.row.number);
        let mut taken = 0;
        let mut outcome = Offered::Taken;
        for (entry, hash) in &it.entries {
            match self.take(cx, id, it.first + taken as u64, *hash, entry)? {
                Ok(()) => taken += 1,
                Err(Obstacle::Missing) => break,
                Err(Obstacle::Beyond) => {
                    outcome = Offered::Refused;
                    break;
                }
                Err(Obstacle::Against) => {
                    outcome = Offered::Forked(it.first + taken as u64);
                    break;
                }
            }
        }
        if outcome == Offered::Refused {
            self.end_by_word(cx.journal, id)?;
        }
        if taken > 0 {
            self.taken.entry(id).or_insert(before);
            self.has_grown(cx.journal, id, cx.now)?;
        }
        if taken == it.entries.len() {
            let (number, hash) = it.end();
            let signed = self.chains.get(&id).map_or(u64::MAX, |chain| chain.signed.number);
            if number > signed {
                if taken == 0 {
                    // It can be handed on from now on.
                    self.has_grown(cx.journal, id, cx.now)?;
                }
                self.sign_at(cx.journal, id, number, hash, &it.signature)?;
            }
        } else if outcome == Offered::Taken {
            let rest = it.entries.split_off(taken);
            if let Some((_, hash)) = it.entries.last() {
                it.previous = *hash;
            }
            it.first += taken as u64;
            it.weight = rest.iter().map(|(entry, _)| weight(entry)).sum();
            it.entries = rest;
            return Ok(self.wait(it));
        }
        Ok(outcome)
    }

    /// Takes one entry, the next of its chain.
    fn take(
        &mut self,
        cx: &mut Cx<'_>,
        id: ChainId,
        number: u64,
        hash: Hash,
        entry: &Entry,
    ) -> Result<Result<(), Obstacle>> {
        let Some(chain) = self.chains.get(&id) else {
            return Ok(Err(Obstacle::Beyond));
        };
        let row = chain.row.clone();
        let name = row.name;
        if entry.body.len() > MAX_TEXT {
            return Ok(Err(Obstacle::Against));
        }
        let Some(granted) = self.membership.grants.get(&name.grant) else {
            // The change that lets its author in may still come.
            return Ok(Err(Obstacle::Missing));
        };
        if granted.key != name.author {
            return Ok(Err(Obstacle::Against));
        }
        if row.ended || number > self.limit(name) {
            return Ok(Err(Obstacle::Beyond));
        }
        let before = if number == 1 { granted.clock } else { row.clock };
        let forked = self.is_forked(name);
        if clock_after(before, &entry.causes) != Some(entry.clock) && !forked {
            return Ok(Err(Obstacle::Against));
        }
        if !self.knows_reign(entry) {
            return Ok(Err(Obstacle::Missing));
        }
        self.keep_settled(name.author, entry);
        let mark = Mark { chain: name, number, hash };
        let mut ids = Vec::with_capacity(entry.causes.len());
        for cause in &entry.causes {
            match self.cause(cx, cause)? {
                Ok(id) => ids.push(id),
                Err(Obstacle::Against) if forked => ids.push(0),
                Err(obstacle) => return Ok(Err(obstacle)),
            }
        }
        let seq = self.append(cx, id, &mark, entry, &ids)?;
        if forked {
            self.settle_again(&mark);
        }
        if entry.kind == EntryKind::TEXT {
            cx.effects.push(Effect::Text { room: self.row.id, seq, author: name.author });
        }
        Ok(Ok(()))
    }

    /// Stores an entry at the end of its chain.
    pub fn append(
        &mut self,
        cx: &mut Cx<'_>,
        id: ChainId,
        mark: &Mark,
        entry: &Entry,
        causes: &[ChainId],
    ) -> Result<Seq> {
        let (seq, room, arrived) = ((cx.seqs)(), self.row.id, cx.now.wall);
        let Mark { chain: name, number, hash } = *mark;
        let place = self.place(id, number, entry.clock);
        cx.journal.add_entry(&NewEntry {
            seq,
            room,
            chain: id,
            number,
            place,
            arrived,
            hash,
            entry,
            causes,
        })?;
        let before = self.state(name.author);
        if let Some(chain) = self.chains.get_mut(&id) {
            (chain.row.number, chain.row.hash) = (number, hash);
            (chain.row.clock, chain.row.place) = (entry.clock, place);
            chain.row.ended = entry.kind == EntryKind::LEAVE;
            if entry.kind != EntryKind::SETTLE {
                chain.said = number;
            }
            chain.unsigned += weight(entry);
            chain.ahead += entry.body.len() as u64;
            chain.touched = true;
        }
        if entry.kind == EntryKind::JOIN {
            self.note_lacking(name, &entry.body);
        }
        if number == 1 || entry.kind == EntryKind::LEAVE {
            self.note_state(cx, name.author, before);
        }
        if entry.kind == EntryKind::SETTLE {
            self.take_settlement(cx.journal, id, mark, entry, causes)?;
        }
        Ok(seq)
    }

    /// Whether a clock is so far ahead of what is here that members could not go on from there.
    fn is_far_ahead(&self, clock: u64) -> bool {
        clock > self.last_place().saturating_add(MAX_LEAP)
    }

    /// The chain of a cause.
    fn cause(&mut self, cx: &mut Cx<'_>, cause: &Cause) -> Result<Result<ChainId, Obstacle>> {
        let Mark { chain: name, number, hash } = cause.mark;
        // Also the change that lets its author in may still come.
        let known = self.membership.grants.get(&name.grant).is_some_and(|grant| grant.key == name.author);
        if !known || self.is_far_ahead(cause.clock) {
            return Ok(Err(Obstacle::Missing));
        }
        let mut exempt = None;
        for chain in self.branches(name) {
            let row = &chain.row;
            if number <= row.base && row.branch == 0 {
                exempt = Some(row.id);
            } else if let Some(clock) = self.clock_at(cx.journal, row, number, hash)? {
                return Ok(if cause.clock == clock { Ok(row.id) } else { Err(Obstacle::Against) });
            }
            if self.waited_for(name) < number {
                exempt = Some(row.id);
            }
        }
        if exempt.is_none()
            && let Some(id) = self.chain(cx.journal, name, 0)?
        {
            exempt = (self.is_left_out(name, number) || self.waited_for(name) < number).then_some(id);
        }
        Ok(exempt.ok_or(Obstacle::Missing))
    }

    /// The clock of an entry, if it stands in this branch.
    fn clock_at(&self, journal: &Journal, row: &ChainRow, number: u64, hash: Hash) -> Result<Option<u64>> {
        if number == row.number {
            return Ok((hash == row.hash).then_some(row.clock));
        }
        if number > row.number {
            return Ok(None);
        }
        let entry = journal.entry_at(row.id, number)?.filter(|entry| entry.hash == hash);
        Ok(entry.map(|entry| entry.clock))
    }
}
