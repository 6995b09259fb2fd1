//! How far each member has what the others wrote: by its own receipts, and by no other word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ring::ALL_LINKED;
use super::room::{Chain, Room};
use crate::protocol::PublicKey;
use crate::protocol::peer::Cursor;
use crate::protocol::room::{ChainName, Hash, MAX_CAUSES, Mark, Receipt, ReceiptName, Signature, hash};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal};
use crate::time::{Instant, Now};
use crate::transport::noise::Keypair;

use covered::Counted;

mod covered;

/// How often a member says at most what it has, for each [`ALL_LINKED`] members.
const EVERY: Duration = Duration::from_secs(1);
/// How long a member waits for more before it says so.
const GATHER: Duration = Duration::from_millis(100);
/// The same where only a settlement is new: so that who has missed it hears of it.
const SETTLED: Duration = Duration::from_secs(5);
/// And in large rooms.
pub const SETTLED_IN_LARGE: Duration = Duration::from_secs(30);
/// How many of our own texts are followed until they are final, at most: the latest.
const MAX_FOLLOWED: usize = 16_384;
/// How many receipts wait for what their members have written, and how many of one member.
const MAX_DEFERRED: usize = 8192;
const MAX_DEFERRED_OF_ONE: usize = 256;
/// How many marks of one chain are kept of one member that are not here: the latest.
const MAX_BEYOND: usize = 64;
/// How many changes that are not here are kept of one member.
const MAX_UNKNOWN: usize = 256;
/// How many texts are told of at once.
const TOLD_AT_ONCE: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct Receipts {
    pub kept: BTreeMap<ReceiptName, Receipt>,
    /// The furthest that each member says to have of each chain.
    claims: BTreeMap<PublicKey, BTreeMap<ChainName, Mark>>,
    /// The same, as far as it is here too.
    has: BTreeMap<PublicKey, BTreeMap<ChainId, u64>>,
    /// Claims of what is not here, by who makes them.
    beyond: BTreeMap<PublicKey, BTreeSet<Mark>>,
    /// The chains of others that have grown since our last receipt.
    grown: BTreeSet<ChainId>,
    counter: u64,
    said: Option<Instant>,
    due: Option<Instant>,
    /// Our own texts, and what was told of them.
    followed: BTreeMap<(ChainId, u64), Spread>,
    /// The changes that members have named and that are not here.
    unknown: BTreeMap<PublicKey, BTreeSet<Hash>>,
    /// What the members have has changed since it was told.
    news: bool,
    told: Option<Instant>,
}

/// How many members have a text, of how many, and whether its place is final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    pub have: u64,
    pub of: u64,
    pub is_final: bool,
}

impl Receipts {
    /// The furthest that a member says to have of a chain.
    pub fn claimed(&self, member: PublicKey, chain: ChainName) -> Option<u64> {
        Some(self.furthest(member, chain)?.number)
    }

    /// The same, with its hash.
    pub fn furthest(&self, member: PublicKey, chain: ChainName) -> Option<&Mark> {
        self.claims.get(&member)?.get(&chain)
    }

    /// What a member says to have of a chain, as far as it is known: the furthest, and what is not here.
    pub fn claims_by(&self, member: PublicKey, chain: ChainName) -> impl Iterator<Item = Mark> {
        let beyond = self.beyond.get(&member).map(|all| all.range(marks_of(chain))).into_iter().flatten();
        beyond.chain(self.furthest(member, chain)).copied()
    }

    /// A member says to have this.
    fn claim(&mut self, member: PublicKey, mark: &Mark) {
        let known =
            self.claims.entry(member).or_default().entry(mark.chain).or_insert(Mark { number: 0, ..*mark });
        if known.number < mark.number {
            *known = *mark;
        }
    }

    /// There is something to tell of our own texts.
    pub fn has_news(&mut self) {
        self.news = true;
    }

    /// Those that are kept of a member.
    pub fn of(&self, member: PublicKey) -> impl Iterator<Item = &Receipt> {
        self.kept.range(receipts_of(member)).map(|(_, receipt)| receipt)
    }

    /// Whether a member has named changes that are not here.
    pub fn knows_more_changes(&self, member: PublicKey) -> bool {
        self.unknown.contains_key(&member)
    }

    /// A text of ours is to be followed, which is for so many with this account: 1 where it waits for no one. What was told
    /// of it before is told again only if it is more.
    pub fn follow(&mut self, chain: ChainId, number: u64, of: u64) {
        let told = Spread { have: 1, of, is_final: false };
        self.followed.entry((chain, number)).or_insert(told);
        if self.followed.len() > MAX_FOLLOWED {
            self.followed.pop_first();
        }
        self.news = true;
    }

    /// When something is to be said or told.
    pub fn deadline(&self) -> Instant {
        let told =
            if self.news { self.told.map_or(Instant::START, |told| told + EVERY) } else { Instant::NEVER };
        self.due.unwrap_or(Instant::NEVER).min(told)
    }

    fn newest(&self, member: PublicKey, epoch: u64) -> Option<&Receipt> {
        let names = [0, u64::MAX].map(|counter| ReceiptName { member, epoch, counter });
        self.kept.range(names[0]..=names[1]).next_back().map(|(_, receipt)| receipt)
    }
}

/// The names of all receipts of a member.
fn receipts_of(member: PublicKey) -> std::ops::RangeInclusive<ReceiptName> {
    let name = |it| ReceiptName { member, epoch: it, counter: it };
    name(0)..=name(u64::MAX)
}

/// All marks of a chain.
fn marks_of(chain: ChainName) -> std::ops::RangeInclusive<Mark> {
    let mark = |number, byte| Mark { chain, number, hash: Hash([byte; 32]) };
    mark(0, 0)..=mark(u64::MAX, u8::MAX)
}

impl Room {
    /// Whether a receipt may say something that is not known.
    pub fn is_news(&self, name: &ReceiptName) -> bool {
        self.membership.knows(name.member) && !self.receipts.kept.contains_key(name)
    }

    /// Takes in a receipt that is signed. Returns whether it says something new.
    pub fn take_receipt(&mut self, journal: &Journal, receipt: &Receipt) -> Result<bool> {
        let name = receipt.name;
        if self.receipts.kept.contains_key(&name) || !self.membership.knows(name.member) {
            return Ok(false);
        }
        let newest = self.receipts.newest(name.member, name.epoch);
        if newest.is_some_and(|newest| newest.name.counter > name.counter) {
            let mut says_something = false;
            for mark in &receipt.covers {
                says_something = says_something || !self.knows_claim(journal, name.member, mark)?;
            }
            if !says_something {
                return Ok(false);
            }
        }
        if self.lacks_what_it_says(receipt) {
            let of_one = self.deferred.range(receipts_of(name.member)).count();
            if self.deferred.len() < MAX_DEFERRED && of_one < MAX_DEFERRED_OF_ONE {
                self.deferred.entry(name).or_insert_with(|| receipt.clone());
            }
            return Ok(false);
        }
        journal.add_receipt(self.row.id, receipt)?;
        self.keep_receipt(journal, receipt)?;
        self.prune_receipts(journal, name.member)?;
        Ok(true)
    }

    /// Whether it is known already that a member has this entry, by its own word.
    fn knows_claim(&self, journal: &Journal, member: PublicKey, mark: &Mark) -> Result<bool> {
        let claim = self.receipts.claims.get(&member).and_then(|all| all.get(&mark.chain));
        if !self.is_forked(mark.chain) {
            return Ok(claim.is_some_and(|claim| claim.number > mark.number || claim == mark));
        }
        let here = self.find(journal, mark)?.map(|chain| chain.row.id);
        let has = here.and_then(|id| self.receipts.has.get(&member)?.get(&id));
        Ok(has.is_some_and(|has| *has >= mark.number))
    }

    /// Whether something is not here yet that the member who has signed a receipt has written: it must not be known to
    /// have what it may lose with its journal.
    fn lacks_what_it_says(&self, receipt: &Receipt) -> bool {
        let member = receipt.name.member;
        let mut own = receipt.covers.iter().filter(|mark| mark.chain.author == member && member != self.own);
        own.any(|mark| self.end_here(mark.chain) < mark.number.min(self.waited_for(mark.chain)))
    }

    /// Takes in the receipts that had to wait and need not any more. Returns those that say something new.
    pub fn take_deferred(&mut self, journal: &Journal) -> Result<Vec<Receipt>> {
        let ready = self.deferred.values().filter(|receipt| !self.lacks_what_it_says(receipt));
        let mut news = Vec::new();
        for name in ready.map(|receipt| receipt.name).collect::<Vec<_>>() {
            if let Some(receipt) = self.deferred.remove(&name)
                && self.take_receipt(journal, &receipt)?
            {
                news.push(receipt);
            }
        }
        Ok(news)
    }

    /// A receipt counts from now on.
    pub fn keep_receipt(&mut self, journal: &Journal, receipt: &Receipt) -> Result<()> {
        let member = receipt.name.member;
        for mark in &receipt.covers {
            let limit = self.limit(mark.chain);
            self.receipts.claim(member, mark);
            self.note_raised(mark.chain, limit);
            self.check_claim(journal, member, mark)?;
        }
        let unknown = receipt.tips.iter().filter(|tip| !self.changes.contains_key(tip)).copied();
        let unknown = unknown.collect::<Vec<_>>();
        if !unknown.is_empty() {
            let all = self.receipts.unknown.entry(member).or_default();
            all.extend(unknown);
            while all.len() > MAX_UNKNOWN {
                all.pop_first();
            }
        }
        self.receipts.kept.insert(receipt.name, receipt.clone());
        self.receipts.has_news();
        self.may_settle();
        Ok(())
    }

    /// Notes whether what a member says to have is here.
    fn check_claim(&mut self, journal: &Journal, member: PublicKey, mark: &Mark) -> Result<()> {
        let here = self.find(journal, mark)?.map(|chain| chain.row.id);
        match here {
            Some(id) => {
                let has = self.receipts.has.entry(member).or_default().entry(id).or_default();
                *has = (*has).max(mark.number);
                if member != self.own
                    && let Some(chain) = self.chains.get_mut(&id)
                {
                    chain.heard = chain.heard.max(mark.number);
                }
                if let Some(beyond) = self.receipts.beyond.get_mut(&member) {
                    beyond.remove(mark);
                }
            }
            None => {
                let beyond = self.receipts.beyond.entry(member).or_default();
                beyond.insert(*mark);
                // Of one branch the furthest would do, but which marks are of one can't be told before they are here.
                if beyond.range(marks_of(mark.chain)).count() > MAX_BEYOND
                    && let Some(first) = beyond.range(marks_of(mark.chain)).next().copied()
                {
                    beyond.remove(&first);
                }
            }
        }
        Ok(())
    }

    /// The branch in which this entry stands, if it is here.
    pub fn find(&self, journal: &Journal, mark: &Mark) -> Result<Option<&Chain>> {
        for chain in self.branches(mark.chain).filter(|chain| chain.row.number >= mark.number) {
            // What was written before this member came is with the others, and is taken as it is.
            let hash = if chain.row.branch == 0 && mark.number <= chain.row.base {
                Some(mark.hash)
            } else if mark.number == chain.row.number {
                Some(chain.row.hash)
            } else {
                journal.entry_at(chain.row.id, mark.number)?.map(|it| it.hash)
            };
            if hash == Some(mark.hash) {
                return Ok(Some(chain));
            }
        }
        Ok(None)
    }

    /// A chain has grown: what members say to have may be here now, and others hear of it.
    pub fn has_grown(&mut self, journal: &Journal, id: ChainId, now: Now) -> Result<()> {
        let Some(name) = self.chain_name(id) else {
            return Ok(());
        };
        self.check_beyond(journal, name)?;
        self.receipts.has_news();
        self.may_settle();
        if name.author != self.own || self.writing != Some(id) {
            self.receipts.grown.insert(id);
            let said = self.chains.get(&id).map_or(0, |chain| chain.said);
            let waits = self.receipts.claimed(self.own, name) < Some(said);
            let settled = if self.ring.is_large() { SETTLED_IN_LARGE } else { SETTLED };
            self.say_soon(now, if waits { GATHER } else { settled });
        }
        Ok(())
    }

    /// What members say to have of a chain may be here now.
    pub fn check_beyond(&mut self, journal: &Journal, name: ChainName) -> Result<()> {
        let beyond = self.receipts.beyond.iter();
        let of = |(member, all): (&PublicKey, &BTreeSet<Mark>)| {
            let marks: Vec<_> = all.range(marks_of(name)).map(|mark| (*member, *mark)).collect();
            marks
        };
        for (member, mark) in beyond.flat_map(of).collect::<Vec<_>>() {
            self.check_claim(journal, member, &mark)?;
        }
        Ok(())
    }

    /// A receipt is due. What all say to all grows with the square of how many they are, so in large rooms each says it
    /// less often.
    fn say_soon(&mut self, now: Now, gather: Duration) {
        let size = u32::try_from(self.joined.len().div_ceil(ALL_LINKED)).unwrap_or(u32::MAX).max(1);
        let earliest = self.receipts.said.map_or(Instant::START, |said| said + EVERY * size);
        let due = (now.mono + gather).max(earliest);
        self.receipts.due = Some(self.receipts.due.map_or(due, |before| before.min(due)));
    }

    /// A chain ends earlier than it did: others hear where.
    pub fn note_cut(&mut self, id: ChainId) {
        self.receipts.grown.insert(id);
    }

    /// The changes have grown: others hear that this member has them.
    pub fn changes_have_grown(&mut self, now: Now) {
        self.say_soon(now, GATHER);
        let changes = &self.changes;
        self.receipts.unknown.retain(|_, unknown| {
            unknown.retain(|tip| !changes.contains_key(tip));
            !unknown.is_empty()
        });
        self.receipts.has_news();
        self.may_settle();
    }

    /// Our next receipt, where it is time for one.
    pub fn receipt_due(
        &mut self,
        journal: &Journal,
        now: Now,
        keypair: &Keypair,
        epoch: u64,
    ) -> Result<Option<Receipt>> {
        if self.receipts.due.is_none_or(|due| due > now.mono) {
            return Ok(None);
        }
        if !self.is_joined() {
            self.receipts.due = None;
            return Ok(None);
        }
        let mut covers = Vec::new();
        while covers.len() + 1 < MAX_CAUSES
            && let Some(id) = self.receipts.grown.pop_first()
        {
            // What is not signed yet can't be handed on, and is not to be asked for.
            covers.extend(self.chains.get(&id).and_then(Chain::head));
        }
        // What this member has written itself, too: so who is to count it waits for that.
        let own = self.writing.and_then(|id| self.chains.get(&id)).map(|chain| chain.row.mark());
        let news = |mark: &Mark| self.receipts.claimed(self.own, mark.chain) < Some(mark.number);
        covers.extend(own.filter(news));
        self.receipts.counter += 1;
        self.receipts.said = Some(now.mono);
        self.receipts.due = (!self.receipts.grown.is_empty()).then_some(now.mono);
        let name = ReceiptName { member: self.own, epoch, counter: self.receipts.counter };
        let tips = self.membership.tips.iter().copied().take(MAX_CAUSES).collect();
        let settled = self.row.settlement;
        let mut receipt = Receipt { name, covers, tips, signature: Signature([0; 64]), settled };
        receipt.signature = keypair.sign(&hash::receipt(self.key(), &receipt).0);
        self.take_receipt(journal, &receipt)?;
        Ok(Some(receipt))
    }

    /// The receipts go on from where the last start has left them.
    pub fn recount_all(&mut self, journal: &Journal) -> Result<()> {
        let own = self.own;
        let said = |id: &ChainId| self.receipts.has.get(&own).and_then(|has| has.get(id)).copied();
        let ends = self.chains.iter().filter_map(|(id, chain)| Some((*id, chain.head()?.number)));
        let grown: Vec<ChainId> = ends.filter(|(id, end)| said(id) < Some(*end)).map(|(id, _)| id).collect();
        self.receipts.grown.extend(grown);
        // The owner settles nothing before it has been told that this member knows the changes.
        let named = self.receipts.of(own).any(|receipt| self.names_tips(receipt));
        if !named || !self.receipts.grown.is_empty() {
            self.receipts.due = Some(Instant::START);
        }
        for id in self.chains.keys().copied().collect::<Vec<_>>() {
            self.count_ahead(journal, id)?;
        }
        Ok(())
    }

    /// Removes the receipts of a member that say nothing that later ones do not say.
    fn prune_receipts(&mut self, journal: &Journal, member: PublicKey) -> Result<()> {
        let of_member = || self.receipts.kept.range(receipts_of(member));
        let is_newest = |name: &ReceiptName| {
            self.receipts.newest(member, name.epoch).is_some_and(|newest| newest.name == *name)
        };
        let mut needless = Vec::new();
        for (name, receipt) in of_member().filter(|(name, _)| !is_newest(name)) {
            let mut says_something = false;
            for mark in &receipt.covers {
                says_something = says_something || self.says_last(journal, member, mark)?;
            }
            if !says_something {
                needless.push(*name);
            }
        }
        for name in needless {
            journal.remove_receipt(self.row.id, &name)?;
            self.receipts.kept.remove(&name);
        }
        Ok(())
    }

    /// Whether none of a member's receipts says more of that branch of a chain.
    fn says_last(&self, journal: &Journal, member: PublicKey, mark: &Mark) -> Result<bool> {
        if self.receipts.claimed(member, mark.chain) == Some(mark.number) {
            return Ok(true);
        }
        if self.receipts.beyond.get(&member).is_some_and(|beyond| beyond.contains(mark)) {
            return Ok(true);
        }
        // With one branch, it was named again.
        if !self.is_forked(mark.chain) {
            return Ok(false);
        }
        let here = self.find(journal, mark)?.map(|chain| chain.row.id);
        let has = self.receipts.has.get(&member);
        Ok(here.is_some_and(|id| has.and_then(|has| has.get(&id)) == Some(&mark.number)))
    }

    /// Our own texts that were not final when the last start ended.
    pub fn load_spread(&mut self, journal: &Journal) -> Result<()> {
        self.follow_what_waits(journal)?;
        let ids: Vec<ChainId> = self
            .chains_of(self.own)
            .filter(|chain| chain.row.place > self.row.settled)
            .map(|chain| chain.row.id)
            .collect();
        for id in ids {
            for number in journal.unsettled_texts(id, self.row.settled, MAX_FOLLOWED)? {
                self.receipts.follow(id, number, 1);
            }
        }
        Ok(())
    }

    /// Our own texts that no other member has and that wait for some, perhaps only since those were invited.
    pub fn follow_what_waits(&mut self, journal: &Journal) -> Result<()> {
        let of = self.recipients().len() as u64 + 1;
        for (id, after, up_to) in self.ours_alone() {
            let texts = journal.unsettled_texts(id, 0, MAX_FOLLOWED)?;
            for number in texts.into_iter().filter(|number| (after + 1..=up_to).contains(number)) {
                self.receipts.follow(id, number, of);
            }
        }
        Ok(())
    }

    fn is_final(&self, journal: &Journal, id: ChainId, number: u64) -> Result<bool> {
        Ok(journal.entry_at(id, number)?.is_some_and(|entry| entry.place <= self.row.settled))
    }

    /// What there is to tell of our own texts.
    pub fn spread_news(&mut self, journal: &Journal, now: Now) -> Result<Vec<(Cursor, Spread)>> {
        let waits = self.receipts.told.is_some_and(|told| told + EVERY > now.mono);
        if !self.receipts.news || waits || !self.is_joined() {
            return Ok(Vec::new());
        }
        self.receipts.news = false;
        let mut told = Vec::new();
        let mut followed = std::mem::take(&mut self.receipts.followed);
        let mut over = Vec::new();
        let mut counted: Option<(ChainId, Counted, bool)> = None;
        let mut alone: Option<(ChainId, Vec<(u64, u64)>)> = None;
        let recipients = self.recipients();
        for (&(id, number), before) in &mut followed {
            let here = self.chains.get(&id).filter(|it| it.row.base < number && number <= it.row.number);
            let Some(chain) = here else {
                over.push((id, number));
                continue;
            };
            if told.len() >= TOLD_AT_ONCE {
                self.receipts.news = true;
                break;
            }
            let (_, counted, are_final) = match counted.take() {
                Some(it @ (of, ..)) if of == id => counted.insert(it),
                _ => counted.insert((id, self.counted(chain), true)),
            };
            // What is final stays so, and what comes behind an entry that is not final isn't either.
            *are_final = before.is_final || *are_final && self.is_final(journal, id, number)?;
            let spread = counted.spread(number, *are_final);
            if spread.of <= 1 {
                // No other member is to have it yet, or none any more: that is told of what has waited.
                let (_, parts) = match alone.take() {
                    Some(it @ (of, _)) if of == id => alone.insert(it),
                    _ => alone.insert((id, self.alone_in(chain, &recipients))),
                };
                if !parts.iter().any(|(after, up_to)| (after + 1..=*up_to).contains(&number)) {
                    if before.have <= 1 && before.of > 1 {
                        told.push((Cursor { epoch: chain.row.name.epoch, number }, spread));
                    }
                    over.push((id, number));
                }
                *before = Spread { of: recipients.len() as u64 + 1, is_final: spread.is_final, ..*before };
                continue;
            }
            if (spread.have, spread.is_final) != (before.have, before.is_final) {
                told.push((Cursor { epoch: chain.row.name.epoch, number }, spread));
                *before = spread;
            }
            if spread.is_final && spread.have >= spread.of {
                over.push((id, number));
            }
        }
        over.iter().for_each(|it| _ = followed.remove(it));
        self.receipts.followed = followed;
        if !told.is_empty() {
            self.receipts.told = Some(now.mono);
        }
        Ok(told)
    }
}
