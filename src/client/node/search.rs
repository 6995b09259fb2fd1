//! Searches that wait for the index of words.
//!
//! The index is updated in the background; sending never waits for it. It follows in slices while nothing else happens,
//! and in slices, between which everything else goes on, before a search is answered.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::event::{BoxId, OWN};
use super::output::Asked;
use crate::store::Result;
use crate::store::journal::{ConversationId, Journal, Seq};
use crate::time::{Instant, Now};

/// How many messages are added to the index in one transaction.
const SLICE: u32 = 256;
/// How many bytes of text.
const SLICE_BYTES: usize = 128 * 1024;
/// How long nothing must be said before the index follows.
const IDLE: Duration = Duration::from_secs(5);
/// How long it rests between two slices that no search waits for.
const REST: Duration = Duration::from_millis(50);
/// How many searches may wait for the index.
const MAX_WAITING: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Search {
    /// The first message that is not in the index.
    behind: Option<Seq>,
    /// Something has been said since the index was last looked at.
    busy: bool,
    /// When the index follows, unless a search waits for it.
    at: Instant,
    waiting: VecDeque<Query>,
}

/// What the user looks for.
#[derive(Debug, Clone)]
pub struct Query {
    pub words: Vec<String>,
    /// The one conversation that is searched; `None` for all.
    pub within: Option<ConversationId>,
    /// The last that was said when it was asked, and when that was: it waits for no more.
    pub up_to: Seq,
    pub since: Instant,
    /// The first message that was not in the index then.
    pub from: Option<Seq>,
    pub asked: Option<Asked>,
}

impl Query {
    fn asker(&self) -> BoxId {
        self.asked.as_ref().map_or(OWN, |asked| asked.by)
    }
}

impl Search {
    pub fn load(now: Now, journal: &Journal) -> Result<Self> {
        let behind = journal.not_indexed()?;
        Ok(Self { behind, busy: behind.is_some(), at: now.mono, waiting: VecDeque::new() })
    }

    /// A message was added to the journal.
    pub fn said(&mut self, seq: Seq) {
        self.behind.get_or_insert(seq);
        self.busy = true;
    }

    /// How long the oldest search has waited, if longer than that: who has asked, how many messages have been indexed for
    /// it, and of how many.
    pub fn waited(&self, now: Now, silence: Duration) -> Option<(BoxId, u64, u64)> {
        let query =
            self.waiting.front().filter(|it| self.is_wanted() && now.mono.since(it.since) >= silence)?;
        let (first, from) = (self.behind?, query.from?);
        let between = |from: Seq, to: Seq| u64::try_from(to.saturating_sub(from)).unwrap_or_default();
        Some((query.asker(), between(from, first), between(from, query.up_to).saturating_add(1)))
    }

    /// The first message that is not in the index.
    pub fn behind(&self) -> Option<Seq> {
        self.behind
    }

    /// Adds a search. Returns whether there is room for it.
    pub fn ask(&mut self, query: Query) -> bool {
        let room = self.waiting.len() < MAX_WAITING;
        if room {
            self.waiting.push_back(query);
        }
        room
    }

    /// Whether a search waits for its answer.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest search of a front end that has room for the answer, if the index has all that it asks for.
    pub fn next_ready(&mut self, room: impl Fn(BoxId) -> bool) -> Option<Query> {
        if self.is_wanted() {
            return None;
        }
        let next = self.waiting.iter().position(|query| room(query.asker()))?;
        let found =
            self.waiting.get(next).filter(|query| self.behind.is_none_or(|first| first > query.up_to));
        found.is_some().then(|| self.waiting.remove(next)).flatten()
    }

    /// A front end has gone, and with it what it looked for.
    pub fn detach(&mut self, front_end: BoxId) {
        self.waiting.retain(|query| query.asker() != front_end);
    }

    /// The searches that can't be answered any more.
    pub fn give_up(&mut self) -> VecDeque<Query> {
        std::mem::take(&mut self.waiting)
    }

    /// The disk fails: the index is left alone for this long.
    pub fn postpone(&mut self, now: Now, rest: Duration) {
        self.busy = false;
        self.at = if self.behind.is_some() { now.mono + rest.max(IDLE) } else { Instant::NEVER };
    }

    /// Lets the index follow a little, where it is time.
    pub fn follow(&mut self, now: Now, journal: &Journal) -> Result<()> {
        if std::mem::take(&mut self.busy) {
            self.at = now.mono + IDLE;
        }
        let due = now.mono >= self.at;
        let next = self.is_wanted() || (due && self.behind.is_some());
        if next {
            self.behind = journal.index(SLICE, SLICE_BYTES)?;
        }
        if next || due {
            self.at = if self.behind.is_some() { now.mono + REST } else { Instant::NEVER };
        }
        Ok(())
    }

    /// When [`Self::follow`] is due. At once while a search waits and the output has room for its answer: where it has
    /// none, what the console has written leads here again.
    pub fn deadline(&self, room: impl Fn(BoxId) -> bool) -> Instant {
        if self.waiting.iter().any(|query| room(query.asker())) { Instant::START } else { self.at }
    }

    /// Whether the oldest search waits for more of the index.
    fn is_wanted(&self) -> bool {
        self.waiting.front().zip(self.behind).is_some_and(|(query, first)| first <= query.up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::*;
    use super::*;
    use crate::time::millis;

    /// Adds messages to the journal, and returns its last seq.
    fn say(search: &mut Search, journal: &Journal, count: i64) -> Seq {
        let last = journal.last_seq().unwrap();
        for seq in last + 1..=last + count {
            journal.add_received(1, seq, &message(8, seq.unsigned_abs(), "word"), 0).unwrap();
            search.said(seq);
        }
        last + count
    }

    fn query(up_to: Seq) -> Query {
        Query {
            words: vec!["word".into()],
            within: None,
            up_to,
            since: at(0).mono,
            from: Some(1),
            asked: None,
        }
    }

    #[test]
    fn a_search_waits_for_what_was_said_before_it_and_for_no_more() {
        let journal = journal(&["bob"]);
        let mut search = Search::load(at(0), &journal).unwrap();
        let up_to = say(&mut search, &journal, 1_000);
        assert!(search.ask(query(up_to)) && search.ask(query(0)));
        let mut slices = 0;
        while search.next_ready(|_| true).is_none() {
            assert_eq!((search.deadline(|_| true), search.is_waiting()), (Instant::START, true));
            search.follow(at(0), &journal).unwrap();
            say(&mut search, &journal, 500);
            slices += 1;
        }
        assert_eq!(slices, 4);
        assert!(
            search.next_ready(|_| true).is_some()
                && !search.is_waiting()
                && search.next_ready(|_| true).is_none()
        );
        assert!(journal.not_indexed().unwrap().is_some_and(|first| first > up_to));
    }

    #[test]
    fn the_index_follows_by_itself_when_nothing_happens() {
        let journal = journal(&["bob"]);
        let mut search = Search::load(at(0), &journal).unwrap();
        search.follow(at(0), &journal).unwrap();
        assert_eq!(search.deadline(|_| true), Instant::NEVER);
        let (idle, rest) = (millis(IDLE), millis(REST));
        say(&mut search, &journal, 600);
        search.follow(at(0), &journal).unwrap();
        assert_eq!(search.deadline(|_| true), at(idle).mono);
        say(&mut search, &journal, 1);
        search.follow(at(idle - 1), &journal).unwrap();
        let last = 2 * idle - 1;
        for (ms, left) in
            [(last - 1, Some(1)), (last, Some(257)), (last + 1, Some(257)), (last + rest, Some(513))]
        {
            search.follow(at(ms), &journal).unwrap();
            assert_eq!(journal.not_indexed().unwrap(), left, "{ms}");
        }
        // The rest after a restart, which the disk puts off.
        let mut search = Search::load(at(0), &journal).unwrap();
        search.postpone(at(0), Duration::from_secs(60));
        assert_eq!(search.deadline(|_| true), at(60_000).mono);
        search.follow(at(60_000), &journal).unwrap();
        assert_eq!((journal.not_indexed().unwrap(), search.deadline(|_| true)), (None, Instant::NEVER));
        search.postpone(at(0), Duration::ZERO);
        assert_eq!(search.deadline(|_| true), Instant::NEVER);
    }

    #[test]
    fn not_more_searches_wait_than_may() {
        let journal = journal(&["bob"]);
        let mut search = Search::load(at(0), &journal).unwrap();
        assert_eq!((0..100).filter(|_| search.ask(query(0))).count(), MAX_WAITING);
        search.follow(at(0), &journal).unwrap();
        assert_eq!((search.deadline(|_| true), search.deadline(|_| false)), (Instant::START, Instant::NEVER));
        assert_eq!((search.give_up().len(), search.is_waiting()), (MAX_WAITING, false));
    }
}
