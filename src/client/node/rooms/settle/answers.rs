//! What the others know of settlements, and of who is in: an owner asks before it settles, or removes one who did.

use super::super::Cx;
use super::super::room::{Chain, Room, State};
use crate::protocol::PublicKey;
use crate::protocol::codec;
use crate::protocol::room::{EntryKind, MAX_CAUSES, Mark, Receipt};
use crate::store::Result;
use crate::store::journal::Journal;

impl Room {
    /// Whether others are invited, and none has joined, as far as this member knows: it may come from a backup, and they
    /// may have joined since.
    pub(super) fn waits_for_first(&self) -> bool {
        let others = self.membership.members();
        let may_join = |key: &&PublicKey| self.state(**key) == Some(State::Invited);
        self.others().is_empty() && others.keys().any(|key| may_join(&key))
    }

    /// Asks all whether they know of a settlement that is not here. Returns whether all have answered.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>) -> Result<bool> {
        let others = self.others();
        Ok(self.unanswered(cx, &others)?.is_none())
    }

    /// Whose word is missing before a member may be removed that owned the room before: with it, what it has settled and is
    /// not here would be cut off. `None` if none is. Its own word is not waited for, and of two former owners that are gone
    /// the later one can be removed first.
    pub fn lacks_word(&mut self, cx: &mut Cx<'_>, member: PublicKey) -> Result<Option<PublicKey>> {
        let Some(theirs) = self.membership.last_rank(member) else {
            return Ok(None);
        };
        // What this reign has settled comes after all that they have.
        if self.membership.last_rank(self.own).is_some_and(|own| own <= self.settling.rank) {
            return Ok(None);
        }
        let mut others = self.others();
        others.retain(|other| self.membership.last_rank(*other).is_none_or(|rank| rank > theirs));
        self.unanswered(cx, &others)
    }

    /// The first of these that has not said yet, since this start has asked, which settlements it knows.
    fn unanswered(&mut self, cx: &mut Cx<'_>, others: &[PublicKey]) -> Result<Option<PublicKey>> {
        let Some(first) = others.first() else {
            return Ok(None);
        };
        let (reign, id) = (self.membership.reign, self.chain_to_write(cx)?);
        let name = id.and_then(|id| self.chain_name(id));
        let asked = self.settling.asked.filter(|(mark, of)| Some(mark.chain) == name && *of == reign);
        let Some((asked, _)) = asked else {
            let mut body = Vec::new();
            codec::encode(&reign, &mut body);
            self.write(cx, EntryKind::OPEN, &body)?;
            let mark = self.writing.and_then(|id| self.chains.get(&id)).map(|chain| chain.row.mark());
            self.settling.asked = mark.map(|mark| (mark, reign));
            return Ok(Some(*first));
        };
        for member in others {
            if !self.has_answered(cx.journal, *member, &asked)? {
                return Ok(Some(*member));
            }
        }
        Ok(None)
    }

    /// Whether a member has said which settlement it knows, and that one is here.
    pub fn has_answered(&self, journal: &Journal, member: PublicKey, asked: &Mark) -> Result<bool> {
        // One who was added since then does not get the question, and knows what it was added with.
        let is_new = self.past_of(member, asked.chain) >= asked.number;
        let answers = |receipt: &&Receipt| {
            let mut covers = receipt.covers.iter();
            covers.any(|it| it.chain == asked.chain && it.number >= asked.number)
                || is_new && self.names_tips(receipt)
        };
        for receipt in self.receipts.of(member).filter(answers) {
            let is_here = match &receipt.settled {
                Some(mark) => Some(*mark) == self.row.settlement || self.find(journal, mark)?.is_some(),
                None => true,
            };
            if is_here {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether its member knew all changes that are known here.
    pub fn names_tips(&self, receipt: &Receipt) -> bool {
        self.membership.tips.iter().take(MAX_CAUSES).all(|tip| receipt.tips.contains(tip))
    }

    /// Whether all who have joined know who has, and this member knows all that they know: so none that has joined is
    /// forgotten after a restored backup.
    pub fn all_know_all(&self) -> bool {
        for member in self.others() {
            if self.is_ahead(member)
                || self.receipts.knows_more_changes(member)
                || !self.receipts.of(member).any(|receipt| self.names_tips(receipt))
            {
                return false;
            }
        }
        // The first entry of a chain says that its author has joined.
        let has_joined_before = |member: &&PublicKey| {
            let is_known = |chain: &Chain| chain.row.settled.max(chain.row.base) > 0;
            self.membership.active(**member).any(|(grant, _)| {
                self.chains_of(**member).any(|chain| chain.row.name.grant == *grant && is_known(chain))
            })
        };
        let new = self.joined.iter().filter(|member| !has_joined_before(member));
        let is_current = |chain: &&Chain| {
            let name = chain.row.name;
            chain.row.number > 0 && self.membership.active(name.author).any(|(grant, _)| *grant == name.grant)
        };
        let mut firsts = new.flat_map(|member| self.chains_of(*member)).filter(is_current);
        firsts.all(|chain| self.joined.iter().all(|member| self.covered(*member, chain) > 0))
    }
}
