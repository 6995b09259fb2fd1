//! What is told, and what the console has not written yet.
//!
//! The console writes at its reader's pace, and nothing else waits for that. What has not been written is bounded:
//! messages and deliveries beyond the bound stay in the journal and are told later; commands wait, as long as the
//! output is read at all; once it is not, other notices are dropped and counted.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::command::Reference;
use super::super::notice::{Notice, Told};
use crate::store::journal::{ConversationId, Seq};
use crate::time::{Instant, Now};
use crate::undo::{Transactional, Value};

/// How many bytes of notices may wait to be written before messages are left in the journal.
const ROOM: usize = 4 * 1024 * 1024;
/// How many bytes before anything else is dropped.
const LIMIT: usize = 2 * ROOM;
/// How many batches the console holds; its channel has as many places.
pub const BATCHES: usize = 256;
/// After how long without a byte written the output counts as unread.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Output {
    /// The output is never read: nothing is told, and no message counts as shown.
    silent: bool,
    /// What a script calls the command that is being answered.
    answering: Option<Reference>,
    /// Told in this transaction.
    fresh: Batch,
    /// Told in transactions that are committed, and not yet given to the console.
    committed: Batch,
    console: Value<Console>,
}

/// What is told together.
#[derive(Debug, Default)]
struct Batch {
    notices: Vec<Told>,
    /// Of which conversations it shows messages, up to where.
    shown: Vec<(ConversationId, Seq)>,
    /// How many bytes the notices take.
    weight: usize,
}

/// What the console is known to have done.
#[derive(Debug, Clone, Default)]
struct Console {
    /// Given to it, in this order, and not yet written: the weight of each batch, and what it shows.
    unwritten: VecDeque<(usize, Vec<(ConversationId, Seq)>)>,
    weight: usize,
    /// When it last wrote something, or had nothing to write.
    progress: Instant,
    /// When [`Output::deadline`] was last looked at.
    looked: Instant,
    dropped: u64,
}

impl Output {
    pub fn new(silent: bool) -> Self {
        Self { silent, ..Self::default() }
    }

    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether there is room for another message.
    pub fn has_room(&self) -> bool {
        self.weight() < ROOM && self.console.unwritten.len() < BATCHES
    }

    /// Whether everything told is written.
    pub fn is_read(&self) -> bool {
        self.console.unwritten.is_empty()
            && self.fresh.notices.is_empty()
            && self.committed.notices.is_empty()
    }

    /// Whether the output seems to be unread.
    pub fn is_stuck(&self, now: Now) -> bool {
        !self.console.unwritten.is_empty() && now.mono >= self.console.progress + STUCK_AFTER
    }

    /// When it will show that the output is unread, if there is no room before. [`Instant::NEVER`] once it has.
    pub fn deadline(&self) -> Instant {
        let at = self.console.progress + STUCK_AFTER;
        let waits = !self.has_room() && !self.console.unwritten.is_empty() && self.console.looked < at;
        if waits { at } else { Instant::NEVER }
    }

    /// The deadline has been looked at.
    pub fn tick(&mut self, now: Now) {
        if now.mono >= self.deadline() {
            self.console.looked = now.mono;
        }
    }

    /// What a script calls the command that is being answered.
    pub fn answering(&self) -> Option<&Reference> {
        self.answering.as_ref()
    }

    /// What follows answers a command that a script calls this. Returns what was answered before.
    pub fn answer(&mut self, reference: Option<Reference>) -> Option<Reference> {
        std::mem::replace(&mut self.answering, reference)
    }

    /// Tells the user something, unless the output has been unread for so long that there is no room.
    pub fn tell(&mut self, notice: Notice) {
        if self.silent {
            return;
        }
        if self.weight() >= LIMIT && !matches!(notice, Notice::Bye { .. }) {
            self.console.dropped += 1;
            return;
        }
        let reference = self.answering.clone().filter(|_| notice.is_answer());
        self.fresh.weight += notice.weight();
        self.fresh.notices.push(Told { notice, reference });
    }

    /// Tells something of a conversation that is noted as shown up to `seq` once it is written.
    pub fn show(&mut self, conversation: ConversationId, seq: Seq, notice: Option<Notice>) {
        notice.into_iter().for_each(|notice| self.tell(notice));
        match self.fresh.shown.last_mut() {
            Some(last) if last.0 == conversation => last.1 = seq,
            _ => self.fresh.shown.push((conversation, seq)),
        }
    }

    /// The console has written its oldest batch: up to where each conversation is shown now.
    pub fn written(&mut self, now: Now) -> Vec<(ConversationId, Seq)> {
        let console = &mut *self.console;
        let Some((weight, shown)) = console.unwritten.pop_front() else {
            return Vec::new();
        };
        console.weight -= weight;
        console.progress = now.mono;
        shown
    }

    /// How many notices were dropped, once there is room to say so.
    pub fn take_dropped(&mut self) -> Option<u64> {
        let ready = self.console.dropped > 0 && self.has_room();
        ready.then(|| std::mem::take(&mut self.console.dropped))
    }

    /// What the console is given now, if it takes another batch: what was told in committed transactions.
    pub fn take_batch(&mut self, now: Now) -> Option<Vec<Told>> {
        let nothing = self.committed.notices.is_empty() && self.committed.shown.is_empty();
        if nothing || self.console.unwritten.len() >= BATCHES {
            return None;
        }
        let Batch { notices, shown, weight } = std::mem::take(&mut self.committed);
        let console = &mut *self.console;
        if console.unwritten.is_empty() {
            console.progress = now.mono;
        }
        console.weight += weight;
        console.unwritten.push_back((weight, shown));
        // The batch leaves with the commit: it is not taken back with what follows.
        self.console.commit();
        Some(notices)
    }

    fn weight(&self) -> usize {
        self.fresh.weight + self.committed.weight + self.console.weight
    }
}

impl Transactional for Output {
    fn commit(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        if self.committed.notices.is_empty() && self.committed.shown.is_empty() {
            self.committed = fresh;
        } else {
            self.committed.notices.append(&mut fresh.notices);
            self.committed.shown.append(&mut fresh.shown);
            self.committed.weight += fresh.weight;
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
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Instant::after_start(Duration::from_secs(seconds)), wall: 0 }
    }

    fn notice(bytes: usize) -> Notice {
        Notice::Discovery { state: super::super::super::notice::UpDown::Up, detail: "x".repeat(bytes) }
    }

    #[test]
    fn what_a_failed_transaction_tells_is_not_told() {
        let mut output = Output::new(false);
        output.tell(notice(1));
        output.commit();
        output.show(ConversationId::User(1), 5, Some(notice(2)));
        output.rollback();
        assert_eq!(output.take_batch(at(1)).map(|told| told.len()), Some(1));
        assert_eq!(output.take_batch(at(1)), None);
        assert_eq!(output.written(at(1)), []);
        assert!(output.is_read());
        output.rollback();
        assert!(!output.is_read(), "that it was written is decided again");
    }

    #[test]
    fn an_output_that_is_unread_is_noticed_once() {
        let mut output = Output::new(false);
        for batch in 0..BATCHES {
            output.show(ConversationId::Room(1), batch as Seq, Some(notice(0)));
            output.commit();
            assert!(output.take_batch(at(1)).is_some());
        }
        assert!(!output.has_room() && !output.is_stuck(at(1)));
        assert_eq!(output.deadline(), at(2).mono);
        output.tick(at(2));
        assert!(output.is_stuck(at(2)));
        assert_eq!(output.deadline(), Instant::NEVER);
        assert_eq!(output.written(at(3)), [(ConversationId::Room(1), 0)]);
        assert!(output.has_room() && !output.is_stuck(at(3)));
    }
}
