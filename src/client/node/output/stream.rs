//! What one front end is told, and what it has not written yet.
//!
//! A front end writes at its reader's pace, and nothing else waits for that. What has not been written is bounded:
//! messages and deliveries beyond the bound stay in the journal and are told later; commands wait, as long as the
//! output is read at all. Once it is not, other notices to the program's own front end are dropped and counted, and a box
//! on the socket is cut.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::super::notice::{Notice, Told};
use crate::store::journal::{ConversationId, Seq};
use crate::time::{Instant, Now};
use crate::undo::{Transactional, Value};

/// How many batches the program's own front end holds; its channel has as many places.
pub const BATCHES: usize = 256;
/// After how long without a byte written the output counts as unread.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How long a box may take nothing while as much waits for it as may.
pub const CUT_AFTER: Duration = Duration::from_secs(5);
/// How many batches may wait for a box that is told of a changed prompt: the latest one is all that it needs.
const PROMPT_BEHIND: usize = 4;

/// How much may wait to be written.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many bytes of notices, before messages are left in the journal.
    pub room: usize,
    /// How many bytes, before anything else is dropped.
    limit: usize,
    batches: usize,
    /// After how long without a byte written it counts as unread.
    patience: Duration,
    /// Whether it is cut then, in place of losing single notices.
    cuts: bool,
}

pub const OF_OWN: Bounds = Bounds {
    room: 4 * 1024 * 1024,
    limit: 8 * 1024 * 1024,
    batches: BATCHES,
    patience: STUCK_AFTER,
    cuts: false,
};
pub const OF_BOX: Bounds = Bounds {
    room: 1024 * 1024,
    limit: 2 * 1024 * 1024,
    batches: usize::MAX,
    patience: CUT_AFTER,
    cuts: true,
};

/// See the module.
#[derive(Debug)]
pub struct Stream {
    bounds: Bounds,
    /// Told in this transaction.
    fresh: Batch,
    /// Told in transactions that are committed, and not yet given to the front end.
    committed: Batch,
    console: Value<Console>,
}

/// What is told together.
#[derive(Debug, Default)]
struct Batch {
    notices: Vec<Told>,
    /// Of which conversations it shows messages, up to where.
    shown: Vec<(ConversationId, Seq)>,
    weight: Weight,
}

/// How many bytes notices take.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    all: usize,
    /// Of what the front end has asked for.
    answers: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.answers += other.answers;
    }

    fn subtract(&mut self, other: Self) {
        self.all -= other.all;
        self.answers -= other.answers;
    }
}

/// What the front end is known to have done.
#[derive(Debug, Clone, Default)]
struct Console {
    /// Given to it, in this order, and not yet written: the weight of each batch, and what it shows.
    unwritten: VecDeque<(Weight, Vec<(ConversationId, Seq)>)>,
    weight: Weight,
    /// When it last wrote something, or had nothing to write.
    progress: Instant,
    /// When [`Stream::deadline`] was last looked at.
    looked: Instant,
    dropped: u64,
    /// It is too far behind, and is told nothing more.
    cut: bool,
}

impl Stream {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, fresh: Batch::default(), committed: Batch::default(), console: Value::default() }
    }

    /// Whether there is room for another message.
    pub fn has_room(&self) -> bool {
        let Bounds { room, batches, .. } = self.bounds;
        self.weight().all < room && self.console.unwritten.len() < batches && !self.console.cut
    }

    /// Whether everything told is written.
    pub fn is_read(&self) -> bool {
        self.console.unwritten.is_empty()
            && self.fresh.notices.is_empty()
            && self.committed.notices.is_empty()
    }

    /// Whether the output seems to be unread.
    pub fn is_stuck(&self, now: Now) -> bool {
        !self.console.unwritten.is_empty() && now.mono >= self.console.progress + self.bounds.patience
    }

    /// When it will show that the output is unread, if there is no room before. [`Instant::NEVER`] once it has.
    pub fn deadline(&self) -> Instant {
        let at = self.console.progress + self.bounds.patience;
        let waits = !self.has_room() && !self.console.unwritten.is_empty() && self.console.looked < at;
        if waits && !self.console.cut { at } else { Instant::NEVER }
    }

    /// The deadline has been looked at.
    pub fn tick(&mut self, now: Now) {
        if now.mono >= self.deadline() {
            self.console.looked = now.mono;
            self.console.cut = self.bounds.cuts;
        }
    }

    /// Tells something; `answer` if the front end has asked for it, which costs it no other notice.
    pub fn tell(&mut self, told: Told, answer: bool) {
        let Weight { all, answers } = self.weight();
        let full = if self.bounds.cuts { all - answers } else { all } >= self.bounds.limit;
        if self.console.cut {
            return;
        }
        if full && !answer && self.bounds.cuts {
            self.console.cut = true;
            return;
        }
        if full && !self.bounds.cuts && !matches!(told.notice, Notice::Bye { .. }) {
            self.console.dropped += 1;
            return;
        }
        let weight = told.notice.weight();
        self.fresh.weight.add(Weight { all: weight, answers: if answer { weight } else { 0 } });
        self.fresh.notices.push(told);
    }

    /// What was told last, or nothing, shows a conversation up to there.
    pub fn shows(&mut self, conversation: ConversationId, seq: Seq) {
        match self.fresh.shown.last_mut() {
            Some(last) if last.0 == conversation => last.1 = seq,
            _ => self.fresh.shown.push((conversation, seq)),
        }
    }

    /// The front end has written some of its oldest batch.
    pub fn writing(&mut self, now: Now) {
        self.console.progress = now.mono;
    }

    /// The front end has written its oldest batch: up to where each conversation is shown now.
    pub fn written(&mut self, now: Now) -> Vec<(ConversationId, Seq)> {
        let console = &mut *self.console;
        let Some((weight, shown)) = console.unwritten.pop_front() else {
            return Vec::new();
        };
        console.weight.subtract(weight);
        console.progress = now.mono;
        shown
    }

    /// How many notices were dropped, once there is room to say so.
    pub fn take_dropped(&mut self) -> Option<u64> {
        let ready = self.console.dropped > 0 && self.has_room();
        ready.then(|| std::mem::take(&mut self.console.dropped))
    }

    /// Whether the front end is too far behind, and to be cut.
    pub fn is_cut(&self) -> bool {
        self.console.cut
    }

    /// Whether a changed prompt is worth telling now.
    pub fn takes_prompt(&self) -> bool {
        self.console.unwritten.len() < PROMPT_BEHIND && self.has_room()
    }

    /// What the front end is given now, if it takes another batch: what was told in committed transactions.
    pub fn take_batch(&mut self, now: Now) -> Option<Vec<Told>> {
        let nothing = self.committed.notices.is_empty() && self.committed.shown.is_empty();
        if nothing || self.console.unwritten.len() >= self.bounds.batches {
            return None;
        }
        let Batch { notices, shown, weight } = std::mem::take(&mut self.committed);
        let console = &mut *self.console;
        if console.unwritten.is_empty() {
            console.progress = now.mono;
        }
        console.weight.add(weight);
        console.unwritten.push_back((weight, shown));
        // The batch leaves with the commit: it is not taken back with what follows.
        self.console.commit();
        Some(notices)
    }

    fn weight(&self) -> Weight {
        let mut weight = self.fresh.weight;
        weight.add(self.committed.weight);
        weight.add(self.console.weight);
        weight
    }
}

impl Transactional for Stream {
    fn commit(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        if self.committed.notices.is_empty() && self.committed.shown.is_empty() {
            self.committed = fresh;
        } else {
            self.committed.notices.append(&mut fresh.notices);
            self.committed.shown.append(&mut fresh.shown);
            self.committed.weight.add(fresh.weight);
        }
        self.console.commit();
    }

    fn rollback(&mut self) {
        self.fresh = Batch::default();
        self.console.rollback();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::notice::{Code, ErrorNotice};
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Instant::after_start(Duration::from_secs(seconds)), wall: 0 }
    }

    fn told(bytes: usize) -> Told {
        Notice::Error(ErrorNotice::new(Code::Refused, "x".repeat(bytes))).into()
    }

    #[test]
    fn what_a_failed_transaction_tells_is_not_told() {
        let mut stream = Stream::new(OF_OWN);
        stream.tell(told(1), false);
        stream.commit();
        stream.tell(told(2), false);
        stream.shows(ConversationId::User(1), 5);
        stream.rollback();
        assert_eq!(stream.take_batch(at(1)).map(|told| told.len()), Some(1));
        assert_eq!(stream.take_batch(at(1)), None);
        assert_eq!(stream.written(at(1)), []);
        assert!(stream.is_read());
        stream.rollback();
        assert!(!stream.is_read(), "that it was written is decided again");
    }

    #[test]
    fn an_output_that_is_unread_is_noticed_once() {
        let mut stream = Stream::new(OF_OWN);
        for batch in 0..BATCHES {
            stream.tell(told(0), false);
            stream.shows(ConversationId::Room(1), batch as Seq);
            stream.commit();
            assert!(stream.take_batch(at(1)).is_some());
        }
        assert!(!stream.has_room() && !stream.is_stuck(at(1)));
        assert_eq!(stream.deadline(), at(2).mono);
        stream.tick(at(2));
        assert!(stream.is_stuck(at(2)));
        assert_eq!(stream.deadline(), Instant::NEVER);
        assert_eq!(stream.written(at(3)), [(ConversationId::Room(1), 0)]);
        assert!(stream.has_room() && !stream.is_stuck(at(3)));
    }

    /// A box that has been given so many bytes at the first second and has written none.
    fn behind(bytes: usize, answer: bool) -> Stream {
        let mut stream = Stream::new(OF_BOX);
        stream.tell(told(bytes), answer);
        stream.commit();
        assert!(stream.take_batch(at(1)).is_some());
        stream
    }

    #[test]
    fn a_box_that_takes_nothing_is_cut_once_it_is_far_behind() {
        let mut near = behind(OF_BOX.room / 2, false);
        assert_eq!(near.deadline(), Instant::NEVER);
        near.tick(at(100));
        assert!(!near.is_cut() && near.has_room());
        let mut far = behind(OF_BOX.room, false);
        assert!(!far.has_room());
        // As long as it takes some it is only slow.
        far.writing(at(5));
        far.tick(at(6));
        assert!(!far.is_cut());
        far.tick(at(10));
        assert!(far.is_cut() && far.deadline() == Instant::NEVER);
        far.tell(told(1), true);
        far.commit();
        assert_eq!(far.take_batch(at(10)), None);
    }

    #[test]
    fn what_a_box_has_asked_for_cuts_it_not() {
        let mut stream = behind(10 * OF_BOX.limit, true);
        stream.tell(told(1), false);
        assert!(!stream.is_cut() && !stream.has_room());
        stream.tell(told(OF_BOX.limit), false);
        stream.tell(told(1), true);
        assert!(!stream.is_cut());
        stream.tell(told(1), false);
        assert!(stream.is_cut());
    }
}
