//! Looking for words in everything that was said.
//!
//! Nobody who writes or receives pays for the index: it follows in slices while nothing else happens, and in
//! slices, between which everything else goes on, before a search is answered.

use std::collections::VecDeque;

use super::super::command::Reference;
use super::super::notice::{Code, FoundLine, Notice};
use super::{AFTER_FAILURE, Node};
use crate::protocol::Name;
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Seq};
use crate::time::Now;

/// How many messages are added to the index in one transaction.
const SLICE: u32 = 256;
/// How many bytes of text.
const SLICE_BYTES: usize = 128 * 1024;
/// How long nothing must be said before the index follows, in milliseconds.
const IDLE: u64 = 5_000;
/// How long it rests between two slices that nobody waits for, in milliseconds.
const REST: u64 = 50;
/// How many messages are shown.
const FOUND: u32 = 20;
/// How many searches may wait for the index.
const MAX_WAITING: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// The first message that is not in it.
    behind: Option<Seq>,
    /// Something has been said in this transaction.
    busy: bool,
    /// When it follows, unless somebody waits for it.
    pub at: Option<u64>,
    waiting: VecDeque<Search>,
    /// How many of them have been answered in this transaction.
    answered: usize,
    /// How many waited at the last commit.
    kept: usize,
}

#[derive(Debug, Clone)]
struct Search {
    words: Vec<String>,
    contact: Option<ContactId>,
    /// The last that was said when it was asked: it waits for no more.
    up_to: Seq,
    reference: Option<Reference>,
}

impl Index {
    /// What is behind, by the journal.
    pub fn load(&mut self, now: Now, behind: Option<Seq>, rest: u64) {
        self.behind = behind;
        self.busy = false;
        self.at = self.behind.map(|_| now.mono.saturating_add(rest));
    }

    /// Something was said.
    pub fn add(&mut self, seq: Seq) {
        self.behind.get_or_insert(seq);
        self.busy = true;
    }

    /// Whether somebody waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.waiting.len() > self.answered
    }

    /// What was answered is answered.
    pub fn committed(&mut self) {
        self.waiting.drain(..self.answered);
        (self.answered, self.kept) = (0, self.waiting.len());
    }

    /// Whether the oldest search waits for more of the index.
    fn is_wanted(&self) -> bool {
        let search = self.waiting.get(self.answered);
        search.zip(self.behind).is_some_and(|(search, first)| first <= search.up_to)
    }
}

impl Node {
    /// Takes the index up at the start, and after a transaction that failed.
    pub(super) fn load_index(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.index.load(now, journal.not_indexed()?, IDLE.max(AFTER_FAILURE));
        Ok(())
    }

    /// The user looks for something.
    pub(super) fn search(&mut self, now: Now, words: &[String], user: Option<&Name>) -> Result<()> {
        let contact = match user.map(|name| (self.known(name), name)) {
            Some((None, name)) => {
                self.refuse_unknown(now, name);
                return Ok(());
            }
            Some((contact, _)) => contact,
            None => None,
        };
        if self.index.waiting.len() >= MAX_WAITING {
            self.refuse(now, Code::Refused, user, "too many searches at once; try again".into());
            return Ok(());
        }
        let reference = self.answering.clone();
        self.index.waiting.push_back(Search { words: words.to_vec(), contact, up_to: self.seq, reference });
        self.wake_at(now.mono);
        Ok(())
    }

    /// Answers the searches that can be answered, as far as there is room, and lets the index follow a little where it
    /// is time.
    pub(super) fn follow_index(&mut self, now: Now, journal: &Journal) -> Result<()> {
        while !self.index.is_wanted()
            && self.output.has_room()
            && let Some(search) = self.index.waiting.get(self.index.answered).cloned()
        {
            self.index.answered += 1;
            self.answer(now, journal, search)?;
        }
        if std::mem::take(&mut self.index.busy) {
            self.index.at = Some(now.mono + IDLE);
        }
        let due = self.index.at.is_some_and(|at| now.mono >= at);
        let next = self.index.is_wanted() || (due && self.index.behind.is_some());
        if next {
            self.index.behind = journal.index(SLICE, SLICE_BYTES)?;
        }
        if next || due {
            self.index.at = self.index.behind.map(|_| now.mono + REST);
        }
        // Where there is no room, what the console has written leads here again.
        if self.index.is_waiting() && self.output.has_room() {
            self.wake_at(now.mono);
        }
        Ok(())
    }

    fn answer(&mut self, now: Now, journal: &Journal, search: Search) -> Result<()> {
        let Search { words, contact, reference, .. } = search;
        let name = |id| self.contacts.get(&id).map(|contact| contact.row.name.clone());
        let mut messages = Vec::new();
        for (id, entry) in journal.search(&words, contact, FOUND)? {
            if let (Some(peer), Some(line)) = (name(id), self.history_line(id, entry)) {
                messages.push(FoundLine { peer, line });
            }
        }
        let peer = contact.and_then(name);
        self.answering = reference;
        self.tell(now, Notice::Found { words: words.join(" "), peer, messages });
        self.answering = None;
        Ok(())
    }

    /// The program ends before the searches that still wait can be answered.
    pub(super) fn refuse_searches(&mut self, now: Now) {
        let answering = self.answering.take();
        while let Some(search) = self.index.waiting.get(self.index.answered).cloned() {
            self.index.answered += 1;
            self.answering = search.reference;
            let message = "the client leaves before the index is up to date: nothing was looked for";
            self.refuse(now, Code::Refused, None, message.into());
        }
        self.answering = answering;
    }

    /// The transaction that should have brought the index on has failed, and so would the next. What was typed in it is
    /// taken in again.
    pub(super) fn give_up_searches(&mut self, now: Now) {
        let waiting = std::mem::take(&mut self.index.waiting);
        let kept = std::mem::take(&mut self.index.kept);
        self.index.answered = 0;
        for search in waiting.into_iter().take(kept) {
            self.answering = search.reference;
            let message = "the index can't be brought up to date, for the disk is full or fails: nothing was looked for";
            self.refuse(now, Code::NotSaved, None, message.into());
            self.answering = None;
        }
    }
}
