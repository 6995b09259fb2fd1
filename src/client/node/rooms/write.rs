//! What this member writes: entries of its own, and, if it owns the room, changes.

use std::collections::BTreeMap;

use super::membership::Membership;
use super::room::{Chain, Room};
use super::take::weight;
use super::{Cx, Effect, Refusal, State};
use crate::protocol::PublicKey;
use crate::protocol::room::{
    Cause, ChainName, Change, Deed, Entry, EntryKind, Hash, Kept, MAX_CAUSES, MAX_CHANGES, MAX_RUN,
    MAX_RUN_BYTES, Mark, RoomKey, Signature, clock_after, hash,
};
use crate::store::Result;
use crate::store::journal::{ChainId, Journal, Seq};

/// How many of the last changes that a room may have are kept for those by which its owner removes members and hands it over:
/// else it could neither go on nor leave.
pub const KEPT_CHANGES: usize = 256;

/// How many changes there may be with this one. No change of another member is judged by that.
fn most_with(deed: &Deed) -> usize {
    match deed {
        Deed::Found(_) | Deed::Accept => MAX_CHANGES,
        // The new owner has to say yes.
        Deed::Transfer(_) => MAX_CHANGES - 1,
        Deed::Remove(_) => MAX_CHANGES - 2,
        Deed::Add(_) | Deed::Topic(_) => MAX_CHANGES - KEPT_CHANGES,
    }
}

/// Why there can't be another change like this one, where there are so many.
fn too_many_for(deed: &Deed, count: usize) -> Option<Refusal> {
    match count {
        _ if count < most_with(deed) => None,
        _ if count < MAX_CHANGES - 2 => Some(Refusal::KeptForRemovals),
        _ if count < MAX_CHANGES - 1 => Some(Refusal::KeptForTransfer),
        _ => Some(Refusal::TooManyChanges),
    }
}

/// What came of changes that were handed on.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    /// These are new.
    New(Vec<Hash>),
    /// Others come before them that are not here.
    Incomplete,
    Broken(&'static str),
}

/// A signed change.
pub fn signed(cx: &Cx<'_>, room: RoomKey, number: u64, after: Vec<Hash>, deed: Deed) -> (Hash, Change) {
    let signature = Signature([0; 64]);
    let mut change = Change { author: cx.keypair.public(), epoch: cx.epoch, number, after, deed, signature };
    let hash = hash::change(room, &change);
    change.signature = cx.keypair.sign(&hash.0);
    (hash, change)
}

/// The end of a chain, as an entry names it: what its author has signed, or others could wait for it in vain.
pub fn cause_of(journal: &Journal, chain: &Chain) -> Result<Option<(ChainId, Cause)>> {
    let row = &chain.row;
    let clock = if chain.signed.number == row.number {
        Some(row.clock)
    } else {
        journal.entry_at(row.id, chain.signed.number)?.map(|entry| entry.clock)
    };
    Ok(chain.head().zip(clock).map(|(mark, clock)| (row.id, Cause { mark, clock })))
}

impl Room {
    /// Writes an entry. Returns its number and its seq; `None` if this account can't write.
    pub fn write(&mut self, cx: &mut Cx<'_>, kind: EntryKind, body: &[u8]) -> Result<Option<(u64, Seq)>> {
        match self.chain_to_write(cx)? {
            Some(id) => self.write_in(cx, id, kind, body, self.causes(cx.journal, id)?),
            None => Ok(None),
        }
    }

    /// Leaves the room, or declines it: by all changes by which this account is in.
    pub fn leave(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        self.sign(cx)?;
        let has_left = |grant: &Hash| {
            self.chains_of(self.own).any(|chain| chain.row.name.grant == *grant && chain.row.ended)
        };
        let grants = self.membership.active(self.own).map(|(hash, _)| *hash);
        for grant in grants.filter(|grant| !has_left(grant)).collect::<Vec<_>>() {
            let writing = self.writing.and_then(|id| self.chain_name(id));
            let name = match writing.filter(|name| name.grant == grant) {
                Some(name) => name,
                None => {
                    // No two of its entries may have one epoch and one number.
                    let next = writing.map(|name| name.epoch.wrapping_add(1));
                    self.epoch = next.or(self.epoch);
                    ChainName { author: self.own, grant, epoch: self.epoch.unwrap_or(cx.epoch) }
                }
            };
            if let Some(id) = self.chain(cx.journal, name, 0)? {
                self.writing = Some(id);
                self.written.insert(id);
                self.write_in(cx, id, EntryKind::LEAVE, &[], self.causes(cx.journal, id)?)?;
                self.sign_own(cx, id)?;
            }
        }
        Ok(())
    }

    /// The chain of this start, under a change by which this account is in.
    pub fn chain_to_write(&mut self, cx: &Cx<'_>) -> Result<Option<ChainId>> {
        if let Some(name) = self.writing.and_then(|id| self.chain_name(id)) {
            if self.membership.active(self.own).any(|(hash, _)| *hash == name.grant) {
                return Ok(self.writing);
            }
            self.sign(cx)?;
            // It is in by another one now, and no two of its entries may have one epoch and one number.
            self.epoch = Some(name.epoch.wrapping_add(1));
        }
        let Some((grant, _)) = self.own_grant() else {
            return Ok(None);
        };
        let name = ChainName { author: self.own, grant, epoch: self.epoch.unwrap_or(cx.epoch) };
        self.writing = self.chain(cx.journal, name, 0)?;
        self.written.extend(self.writing);
        Ok(self.writing)
    }

    pub fn write_in(
        &mut self,
        cx: &mut Cx<'_>,
        id: ChainId,
        kind: EntryKind,
        body: &[u8],
        causes: Vec<(ChainId, Cause)>,
    ) -> Result<Option<(u64, Seq)>> {
        let ids: Vec<ChainId> = causes.iter().map(|(id, _)| *id).collect();
        let causes: Vec<Cause> = causes.into_iter().map(|(_, cause)| cause).collect();
        let Some(row) = self.chains.get(&id).map(|chain| chain.row.clone()) else {
            return Ok(None);
        };
        let Some(grant) = self.membership.grants.get(&row.name.grant).filter(|_| !row.ended) else {
            return Ok(None);
        };
        let number = row.number + 1;
        let before = if number == 1 { grant.clock } else { row.clock };
        let Some(clock) = clock_after(before, &causes) else {
            return Ok(None);
        };
        let sent = cx.now.wall;
        let entry = Entry { clock, kind, sent, causes, body: body.to_vec() };
        self.sign_before(cx, id, weight(&entry))?;
        let hash = hash::entry(self.key(), &row.name, number, row.hash, &entry.header());
        let mark = Mark { chain: row.name, number, hash };
        let seq = self.append(cx, id, &mark, &entry, &ids)?;
        for (id, cause) in ids.iter().zip(&entry.causes) {
            if let Some(chain) = self.chains.get_mut(id) {
                (chain.row.cited, chain.touched) = (cause.mark.number, true);
            }
        }
        self.may_settle();
        if kind == EntryKind::TEXT {
            let of = self.recipients().len() as u64 + 1;
            self.receipts.follow(id, number, of);
        }
        Ok(Some((number, seq)))
    }

    /// The chains that have grown since this member's last entry, as far as one entry names them.
    fn causes(&self, journal: &Journal, own: ChainId) -> Result<Vec<(ChainId, Cause)>> {
        let grown =
            |chain: &&Chain| chain.row.id != own && chain.signed.number > chain.row.cited.max(chain.row.base);
        let mut chains: Vec<_> = self.chains.values().filter(grown).collect();
        chains.sort_by_key(|chain| std::cmp::Reverse(chain.row.place));
        chains.truncate(MAX_CAUSES);
        let causes = chains.into_iter().map(|chain| cause_of(journal, chain));
        causes.filter_map(Result::transpose).collect()
    }

    /// Signs what there is, if with so much more it would be too much for one run.
    fn sign_before(&mut self, cx: &Cx<'_>, id: ChainId, more: usize) -> Result<()> {
        let Some(chain) = self.chains.get(&id) else {
            return Ok(());
        };
        let full = chain.row.number - chain.signed.number.min(chain.row.number) >= MAX_RUN as u64
            || (chain.unsigned > 0 && chain.unsigned + more > MAX_RUN_BYTES);
        if full { self.sign_own(cx, id) } else { Ok(()) }
    }

    /// One signature for all that this transaction has written.
    pub fn sign(&mut self, cx: &Cx<'_>) -> Result<()> {
        self.writing.map_or(Ok(()), |id| self.sign_own(cx, id))
    }

    fn sign_own(&mut self, cx: &Cx<'_>, id: ChainId) -> Result<()> {
        let Some(chain) = self.chains.get(&id).filter(|chain| chain.row.number > chain.signed.number) else {
            return Ok(());
        };
        let signature = cx.keypair.sign(&hash::head(chain.row.hash));
        self.sign_off(cx.journal, id, &signature)
    }

    /// Makes a change. Returns its hash.
    pub fn change(&mut self, cx: &mut Cx<'_>, deed: Deed) -> Result<Result<Hash, Refusal>> {
        if let Some(refusal) = too_many_for(&deed, self.changes.len()) {
            return Ok(Err(refusal));
        }
        let own = self.changes.values().filter(|it| it.author == self.own && it.epoch == cx.epoch);
        let number = 1 + own.map(|it| it.number).max().unwrap_or_default();
        let mut after = self.membership.tips.clone();
        after.truncate(MAX_CAUSES);
        let (hash, change) = signed(cx, self.key(), number, after, deed);
        match self.take_changes(cx, &[change])? {
            Changed::New(_) => Ok(Ok(hash)),
            _ => Ok(Err(Refusal::NotTheOwner)),
        }
    }

    /// Takes in changes that a member hands on, or that this one has made.
    pub fn take_changes(&mut self, cx: &mut Cx<'_>, changes: &[Change]) -> Result<Changed> {
        let mut all: BTreeMap<Hash, Change> = BTreeMap::new();
        for change in changes {
            let hash = hash::change(self.key(), change);
            if self.changes.contains_key(&hash) {
                continue;
            }
            if !change.is_signed(self.key()) {
                return Ok(Changed::Broken("a change of a room that its author has not signed"));
            }
            all.insert(hash, change.clone());
        }
        if all.is_empty() {
            return Ok(Changed::New(Vec::new()));
        }
        let new: Vec<Hash> = all.keys().copied().collect();
        let known = |hash: &Hash| self.changes.contains_key(hash) || all.contains_key(hash);
        if !all.values().flat_map(|change| &change.after).all(known) {
            return Ok(Changed::Incomplete);
        }
        if self.changes.len() + all.len() > MAX_CHANGES {
            return Ok(Changed::Broken("more changes of a room than there may be"));
        }
        let added = all.clone();
        all.extend(self.changes.iter().map(|(hash, change)| (*hash, change.clone())));
        let Some(membership) = Membership::of(self.key(), &all) else {
            return Ok(Changed::Broken("a change of a room that was not for its author to make"));
        };
        for (hash, change) in &added {
            cx.journal.add_change(self.row.id, *hash, change)?;
        }
        let limits = self.limits();
        let before = std::mem::replace(&mut self.membership, membership);
        self.changes = all;
        limits.into_iter().for_each(|(name, limit)| self.note_raised(name, limit));
        self.recount();
        self.tell_changes(cx, &before, added.values());
        if self.cut(cx.journal)? {
            // Of what came in this transaction and is gone again no one is told.
            let mut gone = Vec::new();
            for effect in &*cx.effects {
                if let Effect::Text { room, seq, .. } = effect
                    && *room == self.row.id
                    && !cx.journal.has_entry(*seq)?
                {
                    gone.push(*seq);
                }
            }
            let is_gone = |it: &Effect| matches!(it, Effect::Text { room, seq, .. } if *room == self.row.id && gone.contains(seq));
            cx.effects.retain(|effect| !is_gone(effect));
            cx.effects.push(Effect::Cut { room: self.row.id });
        }
        self.recount();
        self.follow_what_waits(cx.journal)?;
        self.changes_have_grown(cx.now);
        self.changed = true;
        Ok(Changed::New(new))
    }

    fn tell_changes<'c>(
        &self,
        cx: &mut Cx<'_>,
        before: &Membership,
        changes: impl Iterator<Item = &'c Change>,
    ) {
        let room = self.row.id;
        for Change { author, deed, .. } in changes {
            let by = Some(*author);
            cx.effects.push(match deed {
                Deed::Add(add) => Effect::Member { room, user: add.key, state: State::Invited, by },
                Deed::Remove(remove) => Effect::Member { room, user: remove.key, state: State::Removed, by },
                Deed::Topic(_) => Effect::Topic { room },
                Deed::Accept => Effect::Owner { room },
                Deed::Found(_) | Deed::Transfer(_) => continue,
            });
        }
        if let Some(why) = self.membership.frozen.filter(|_| before.frozen.is_none()) {
            cx.effects.push(Effect::Frozen { room, why });
        }
    }

    /// A member has begun a chain, or ended one: with that it may have joined or left.
    pub fn note_state(&mut self, cx: &mut Cx<'_>, member: PublicKey, before: Option<State>) {
        self.recount();
        self.changed = true;
        if let Some(state @ (State::Joined | State::Left)) = self.state(member)
            && Some(state) != before
        {
            cx.effects.push(Effect::Member { room: self.row.id, user: member, state, by: None });
            if member == self.own {
                // What it has could not be said before.
                self.changes_have_grown(cx.now);
            }
        }
    }

    /// The member who is to own the room says yes. Returns that change.
    pub fn inherit(&mut self, cx: &mut Cx<'_>) -> Result<Option<Change>> {
        if self.membership.heir != Some(self.own) || !self.is_open() {
            return Ok(None);
        }
        let accepted = self.change(cx, Deed::Accept)?;
        Ok(accepted.ok().and_then(|hash| self.changes.get(&hash)).cloned())
    }

    /// How far each of a member's chains is here.
    pub fn kept_of(&self, member: PublicKey) -> Vec<Kept> {
        let own = self.chains_of(member).filter(|chain| chain.row.number > 0);
        own.map(|chain| {
            let (epoch, number, hash) = (chain.row.name.epoch, chain.row.number, chain.row.hash);
            Kept { epoch, number, hash }
        })
        .collect()
    }
}
