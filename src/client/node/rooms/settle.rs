//! What is final: by the owner's word, for whose order all others keep.
//!
//! An entry stands at its clock, but behind all that was final when the owner did not have it yet. So the order follows from
//! the entries alone. The owner settles what all who have joined have, by their receipts; each settlement comes after the one
//! before. An owner that starts, or is a new one, first asks whether a member knows of a settlement that is not here: one that
//! came back from a backup has forgotten its own. From when all have answered, all settlements come from this start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Cx;
use super::room::Room;
use super::write::cause_of;
use crate::protocol::PublicKey;
use crate::protocol::codec;
use crate::protocol::room::{Cause, ChainName, Entry, EntryKind, Hash, MAX_CAUSES, Mark, Settlement};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal, StoredCause, StoredSettlement};
use crate::time::Instant;

mod answers;

/// How often the owner settles at most.
const EVERY: Duration = Duration::from_secs(1);
/// How often it looks at most in large rooms whether it can: each receipt is a reason to, and to look costs more than to take
/// one.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a room rests, for each settlement that was looked at, before all are looked at again: a thousand times what
/// that takes.
const REST: Duration = Duration::from_millis(1);

/// What is known of settlements and not stored.
#[derive(Debug, Default)]
pub struct Settling {
    /// Of each chain the furthest that any comes after.
    kept: BTreeMap<ChainName, Mark>,
    /// How often the room had changed hands when the last one was made.
    rank: u32,
    /// One has come that does not come after the last.
    beside: bool,
    /// What settlements come after has to be found anew.
    again: bool,
    /// When it may be looked again what comes of those: an owner of before may make them as fast as it likes.
    beside_due: Instant,
    /// Where this start, which owns the room by this change, has asked whether others know more.
    asked: Option<(Mark, Hash)>,
    /// What was final before this member came, as far as it was looked at.
    started: Option<Mark>,
    last: Option<Instant>,
    looked: Option<Instant>,
    /// When it is to be looked whether there is more to settle.
    pub due: Option<Instant>,
}

impl Settling {
    /// What is kept of a chain, though its author was removed, for it was settled.
    pub fn kept(&self, chain: ChainName) -> Option<&Mark> {
        self.kept.get(&chain)
    }

    /// Where this start has asked what others know.
    pub fn asked(&self) -> Option<Mark> {
        self.asked.map(|(mark, _)| mark)
    }

    fn keep(&mut self, mark: &Mark) {
        let known = self.kept.entry(mark.chain).or_insert(*mark);
        *known = (*known).max(*mark);
    }
}

/// A settlement that counts if it comes after the last one.
struct Found {
    mark: Mark,
    settlement: Settlement,
    rank: u32,
    /// Of what it comes after, how far in each chain.
    ends: Vec<(ChainId, u64)>,
}

/// The change by which the author of an entry says to own the room.
fn reign_of(kind: EntryKind, body: &[u8]) -> Option<Hash> {
    match kind {
        EntryKind::OPEN => minicbor::decode(body).ok(),
        EntryKind::SETTLE => minicbor::decode::<Settlement>(body).ok().map(|it| it.reign),
        _ => None,
    }
}

impl Room {
    /// There may be more to settle.
    pub fn may_settle(&mut self) {
        if self.membership.owner == self.own {
            self.settling.due = Some(Instant::START);
        }
    }

    /// Whether the change is here by which the author of an entry owns the room, if the entry says so.
    pub fn knows_reign(&self, entry: &Entry) -> bool {
        reign_of(entry.kind, &entry.body).is_none_or(|reign| self.changes.contains_key(&reign))
    }

    /// Where an entry stands that comes now.
    pub fn place(&self, id: ChainId, number: u64, clock: u64) -> u64 {
        let is_known = self.chains.get(&id).is_some_and(|chain| number <= chain.row.settled);
        if is_known || self.row.settlement.is_none() { clock } else { clock.max(self.row.settled + 1) }
    }

    pub fn load_settling(&mut self, journal: &Journal) -> Result<()> {
        let last = self.row.settlement;
        for stored in journal.settlements(self.row.id)? {
            let claims: Vec<Mark> = stored.causes.iter().filter_map(|cause| self.mark_of(cause)).collect();
            if let Some(found) = self.found(journal, stored)? {
                claims.iter().for_each(|mark| self.settling.keep(mark));
                if Some(found.mark) == last {
                    self.settling.rank = found.rank;
                }
            }
        }
        Ok(())
    }

    fn mark_of(&self, cause: &StoredCause) -> Option<Mark> {
        let (number, hash) = (cause.number, cause.hash);
        self.chain_name(cause.chain).map(|chain| Mark { chain, number, hash })
    }

    /// What an owner has settled is kept, also if its author is removed.
    pub fn keep_settled(&mut self, author: PublicKey, entry: &Entry) {
        let reign = reign_of(entry.kind, &entry.body).filter(|_| entry.kind == EntryKind::SETTLE);
        if reign.is_some_and(|reign| self.membership.reign(reign, author).is_some()) {
            for Cause { mark, .. } in &entry.causes {
                let limit = self.limit(mark.chain);
                self.settling.keep(mark);
                self.note_raised(mark.chain, limit);
            }
        }
    }

    /// The settlement of a stored entry, if its author may make it.
    fn found(&self, journal: &Journal, stored: StoredSettlement) -> Result<Option<Found>> {
        let StoredSettlement { chain, number, hash, clock, body, causes } = stored;
        let Some(name) = self.chain_name(chain) else {
            return Ok(None);
        };
        let settlement = minicbor::decode(&body).ok().filter(|it: &Settlement| it.place < clock);
        let ranked = settlement.and_then(|it| Some((it, self.membership.reign(it.reign, name.author)?)));
        let Some((settlement, rank)) = ranked else {
            return Ok(None);
        };
        let mut ends = vec![(chain, number - 1)];
        for cause in causes {
            // Of an author who breaks the rules the branch that is meant may have come later.
            let forked = self.mark_of(&cause).filter(|mark| self.is_forked(mark.chain));
            let branch = forked.map(|mark| self.find(journal, &mark)).transpose()?.flatten();
            ends.push((branch.map_or(cause.chain, |chain| chain.row.id), cause.number));
        }
        Ok(Some(Found { mark: Mark { chain: name, number, hash }, settlement, rank, ends }))
    }

    /// An entry has come of an author who breaks the rules: it may stand before what was settled already.
    pub fn settle_again(&mut self, mark: &Mark) {
        if self.settling.kept(mark.chain).is_some_and(|kept| kept.number >= mark.number) {
            (self.settling.beside, self.settling.again) = (true, true);
        }
    }

    /// All settlements that are here, and whose authors may make them.
    fn all_found(&self, journal: &Journal) -> Result<Vec<Found>> {
        let stored = journal.settlements(self.row.id)?.into_iter();
        stored.map(|stored| self.found(journal, stored)).filter_map(Result::transpose).collect()
    }

    /// A settlement is here.
    pub fn take_settlement(
        &mut self,
        journal: &Journal,
        id: ChainId,
        mark: &Mark,
        entry: &Entry,
        causes: &[ChainId],
    ) -> Result<()> {
        self.keep_settled(mark.chain.author, entry);
        let causes = StoredCause::of(causes, &entry.causes);
        let (number, hash, clock, body) = (mark.number, mark.hash, entry.clock, entry.body.clone());
        let stored = StoredSettlement { chain: id, number, hash, clock, body, causes };
        let Some(found) = self.found(journal, stored)? else {
            return Ok(());
        };
        if found.settlement.after == self.row.settlement
            && found.settlement.place > self.row.settled
            && found.rank >= self.settling.rank
        {
            self.heed(journal, &found)?;
            journal.settle(self.row.id, self.row.settled, self.row.settlement.as_ref())?;
        } else {
            self.settling.beside = true;
        }
        Ok(())
    }

    /// Entries were dropped, which may have settled something.
    pub fn settlements_cut(&mut self) {
        if self.row.settlement.is_some_and(|mark| self.is_cut(mark.chain, mark.number)) {
            self.settling.beside = true;
        }
    }

    /// What it settles is final; all that it does not come after stands behind that.
    fn heed(&mut self, journal: &Journal, found: &Found) -> Result<()> {
        let floor = self.row.settled + 1;
        for (id, number) in &found.ends {
            self.settle_chain(journal, *id, *number, floor)?;
        }
        self.row.settled = found.settlement.place;
        self.row.settlement = Some(found.mark);
        self.settling.rank = found.rank;
        self.stand_behind_settled(journal)?;
        self.receipts.has_news();
        Ok(())
    }

    /// A settlement comes after a chain up to this number, and the branches from which that one starts.
    fn settle_chain(&mut self, journal: &Journal, id: ChainId, number: u64, floor: u64) -> Result<()> {
        let Some(row) = self.chains.get(&id).map(|chain| chain.row.clone()) else {
            return Ok(());
        };
        if row.settled >= number {
            return Ok(());
        }
        journal.stand_behind(id, row.settled, number, floor)?;
        if let Some(chain) = self.chains.get_mut(&id) {
            (chain.row.settled, chain.touched) = (number, true);
        }
        let stem = self.stem(journal, &row)?.map(|(stem, _)| stem.row.id);
        stem.map_or(Ok(()), |stem| self.settle_chain(journal, stem, row.base, floor))
    }

    /// What the last settlement does not come after stands behind it.
    fn stand_behind_settled(&mut self, journal: &Journal) -> Result<()> {
        let floor = self.row.settled + 1;
        for (id, chain) in
            self.chains.iter_mut().filter(|(_, it)| it.row.number > it.row.settled.max(it.row.base))
        {
            journal.stand_behind(*id, chain.row.settled, u64::MAX, floor)?;
            if chain.row.place < floor {
                (chain.row.place, chain.touched) = (floor, true);
            }
        }
        Ok(())
    }

    /// What was final before this member came. One who was in before may know of settlements that the owner has forgotten,
    /// and from which it does not go on.
    fn start_settled(&mut self, journal: &Journal) -> Result<()> {
        let Some(before) = self.settled_before() else {
            return Ok(());
        };
        let is_new = self.settling.started.replace(before.mark) != Some(before.mark);
        if before.place <= self.row.settled {
            if !is_new || self.comes_after(journal, before.mark)? {
                return Ok(());
            }
            self.settling.beside = true;
            return self.settle_nothing(journal);
        }
        // One who has forgotten that it had joined may still get what was left out then.
        self.skip_past(journal)?;
        self.row.settled = before.place;
        self.row.settlement = Some(before.mark);
        let own = self.own;
        for id in self.chains.keys().copied().collect::<Vec<_>>() {
            let past = self.chain_name(id).and_then(|name| self.past_in(own, name));
            if let Some(chain) = self.chains.get_mut(&id)
                && let Some(past) = past.filter(|past| past.mark.number > chain.row.settled)
            {
                (chain.row.settled, chain.touched) = (past.mark.number, true);
            }
        }
        self.stand_behind_settled(journal)?;
        journal.settle(self.row.id, self.row.settled, self.row.settlement.as_ref())
    }

    /// Whether the last settlement is this one, or comes after it.
    fn comes_after(&self, journal: &Journal, mark: Mark) -> Result<bool> {
        let all = self.all_found(journal)?.into_iter();
        let mut after: BTreeMap<Mark, Option<Mark>> = all.map(|it| (it.mark, it.settlement.after)).collect();
        let mut at = self.row.settlement;
        while at.is_some() && at != Some(mark) {
            at = at.and_then(|it| after.remove(&it)).flatten();
        }
        Ok(at.is_some())
    }

    /// What was settled is not so any more: it was dropped with its author's entries, or the owner has settled otherwise.
    fn settle_nothing(&mut self, journal: &Journal) -> Result<()> {
        (self.row.settled, self.row.settlement) = (0, None);
        journal.stand_from(self.row.id, 0)?;
        for chain in self.chains.values_mut() {
            (chain.row.settled, chain.touched) = (chain.row.base, true);
        }
        self.start_settled(journal)?;
        self.places_have_changed(journal)
    }

    fn places_have_changed(&mut self, journal: &Journal) -> Result<()> {
        for (id, chain) in &mut self.chains {
            if let Some(entry) = journal.entry_at(*id, chain.row.number)? {
                chain.row.place = entry.place;
            }
        }
        journal.settle(self.row.id, self.row.settled, self.row.settlement.as_ref())
    }

    /// A settlement has come that does not come after the last one: where it counts before another one, what comes after
    /// that one is settled anew. Returns how many settlements there are.
    fn settle_beside(&mut self, journal: &Journal) -> Result<usize> {
        let all = self.all_found(journal)?;
        let by_mark: BTreeMap<Mark, &Found> = all.iter().map(|it| (it.mark, it)).collect();
        let mut before = Vec::new();
        let mut at = self.row.settlement;
        while let Some(found) = at.and_then(|mark| by_mark.get(&mark)).filter(|_| before.len() < all.len()) {
            before.push(*found);
            at = found.settlement.after;
        }
        before.reverse();
        let again = std::mem::take(&mut self.settling.again);
        if again || at.is_some_and(|mark| self.is_cut(mark.chain, mark.number)) {
            self.settle_nothing(journal)?;
            (at, before) = (self.row.settlement, Vec::new());
        }
        // What all of them come after: nothing, or what was final when this member came.
        let first = self.settled_before().filter(|it| Some(it.mark) == at);
        if at.is_some() && first.is_none() {
            return Ok(all.len());
        }
        // What a member was let in with, others must not settle otherwise.
        let granted = self.membership.grants.values().filter(|grant| grant.removed.is_none());
        let mut kept = BTreeSet::new();
        for mut at in granted.map(|grant| grant.settled.map(|it| it.mark)) {
            while let Some(found) = at.and_then(|mark| by_mark.get(&mark))
                && kept.insert(found.mark)
            {
                at = found.settlement.after;
            }
        }
        let which = |one, other| self.which(&kept, one, other);
        let mut settled = first.map_or(0, |it| it.place);
        let (mut rank, mut now) = (0, Vec::<&Found>::new());
        loop {
            let next =
                |it: &&Found| it.settlement.after == at && it.settlement.place > settled && it.rank >= rank;
            let Some(found) = all.iter().filter(next).reduce(which) else {
                break;
            };
            (at, settled, rank) = (Some(found.mark), found.settlement.place, found.rank);
            now.push(found);
        }
        let same = before.iter().zip(&now).take_while(|(one, other)| one.mark == other.mark).count();
        if same == before.len() && same == now.len() {
            return Ok(all.len());
        }
        let last = now.iter().take(same).next_back();
        self.row.settled = last.map_or(first.map_or(0, |it| it.place), |it| it.settlement.place);
        self.row.settlement = last.map_or(first.map(|it| it.mark), |it| Some(it.mark));
        journal.stand_from(self.row.id, self.row.settled + 1)?;
        let mut ends: BTreeMap<ChainId, u64> = BTreeMap::new();
        for (id, number) in now.iter().take(same).flat_map(|it| &it.ends) {
            let end = ends.entry(*id).or_default();
            *end = (*end).max(*number);
        }
        let settled = self.row.settled;
        for (id, chain) in &mut self.chains {
            let end = ends.get(id).copied().unwrap_or_default();
            chain.row.settled = end.max(journal.last_up_to(*id, settled)?.max(chain.row.base));
            chain.touched = true;
        }
        for found in now.iter().skip(same) {
            self.heed(journal, found)?;
        }
        self.stand_behind_settled(journal)?;
        self.places_have_changed(journal)?;
        Ok(all.len())
    }

    /// Which of two settlements counts that come after the same one: no honest owner makes both and knows it. The one
    /// with which a member was let in, which are `kept`; then the one that all were asked for: it names what is known of the
    /// start that made the other.
    fn which<'f>(&self, kept: &BTreeSet<Mark>, one: &'f Found, other: &'f Found) -> &'f Found {
        let names = |it: &Found, chain| it.ends.iter().any(|(id, _)| self.chain_name(*id) == Some(chain));
        let [first, second] = [names(one, other.mark.chain), names(other, one.mark.chain)];
        let lower = (one.mark.number, one.mark.hash) < (other.mark.number, other.mark.hash);
        let rank = |it: &Found| (it.rank, kept.contains(&it.mark));
        if (rank(one), first, lower) > (rank(other), second, !lower) { one } else { other }
    }

    /// Completes a transaction: heeds what was settled, and settles what all have, if this account owns the room.
    pub fn settle(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        if self.changed && self.is_joined() {
            self.start_settled(cx.journal)?;
        }
        if self.settling.beside && self.settling.beside_due <= cx.now.mono {
            self.settling.beside = false;
            let looked_at = self.settle_beside(cx.journal)?;
            self.settling.beside_due = cx.now.mono + REST * u32::try_from(looked_at).unwrap_or(u32::MAX);
        } else if self.settling.beside {
            let soon = self.settling.due.unwrap_or(Instant::NEVER).min(self.settling.beside_due);
            self.settling.due = Some(soon);
        }
        let due = self.settling.due.take_if(|due| *due <= cx.now.mono).is_some();
        if !due || self.settling.beside || self.membership.owner != self.own || !self.is_open() {
            return Ok(());
        }
        let next = self.settling.looked.map_or(Instant::START, |looked| looked + LOOK_EVERY);
        if self.ring.is_large() && next > cx.now.mono {
            self.settling.due = Some(next);
            return Ok(());
        }
        self.settling.looked = Some(cx.now.mono);
        let (journal, room) = (cx.journal, self.row.id);
        // Only what is signed counts.
        self.sign(cx)?;
        if self.is_settled(journal)? || self.waits_for_first() || !self.ask(cx)? {
            return Ok(());
        }
        if let Some(last) = self.settling.last.filter(|last| *last + EVERY > cx.now.mono) {
            self.settling.due = Some(last + EVERY);
            return Ok(());
        }
        let Some(id) = self.chain_to_write(cx)? else {
            return Ok(());
        };
        if !self.all_know_all() {
            return Ok(());
        }
        let (causes, up_to) = self.to_settle(journal, id)?;
        if let Some(place) = journal.last_to_settle(room, self.row.settled, up_to)? {
            let settlement = Settlement { reign: self.membership.reign, place, after: self.row.settlement };
            let mut body = Vec::new();
            codec::encode(&settlement, &mut body);
            self.write_in(cx, id, EntryKind::SETTLE, &body, causes)?;
            self.settling.last = Some(cx.now.mono);
            self.settling.due = Some(cx.now.mono + EVERY);
        }
        Ok(())
    }

    /// The chains that have grown since the last settlement, and up to which place all have all.
    fn to_settle(&self, journal: &Journal, own: ChainId) -> Result<(Vec<(ChainId, Cause)>, u64)> {
        let mut up_to = self.last_place();
        let others = self.others();
        for chain in self.chains.values().filter(|chain| chain.row.place > self.row.settled) {
            // What this member has it must have said, too.
            let said = self.receipts.claimed(self.own, chain.row.name).unwrap_or_default();
            let own =
                if others.is_empty() || chain.row.name.author == self.own { chain.row.number } else { said };
            let theirs = others.iter().map(|member| self.covered(*member, chain));
            let all = theirs.fold(own, u64::min);
            if all < chain.said() {
                let next = journal.entry_at(chain.row.id, all.max(chain.row.base) + 1)?;
                up_to = up_to.min(next.map_or(0, |entry| entry.place.saturating_sub(1)));
            }
        }
        let grown = self.chains.values().filter(|chain| {
            chain.row.id != own && chain.signed.number > chain.row.settled.max(chain.row.base)
        });
        let mut chains = Vec::new();
        for chain in grown {
            let first = journal.entry_at(chain.row.id, chain.row.settled.max(chain.row.base) + 1)?;
            chains.push((first.map_or(0, |entry| entry.place), chain));
        }
        // What can't be named is settled next time.
        chains.sort_by_key(|(first, chain)| (*first, chain.row.id));
        if let Some((first, _)) = chains.get(MAX_CAUSES) {
            up_to = up_to.min(first.saturating_sub(1));
            chains.truncate(MAX_CAUSES);
        }
        let causes = chains.into_iter().map(|(_, chain)| cause_of(journal, chain));
        Ok((causes.filter_map(Result::transpose).collect::<Result<_>>()?, up_to))
    }
}
