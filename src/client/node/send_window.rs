//! What goes out over a link, and how much of it may be unacknowledged.

use std::collections::VecDeque;

use crate::protocol::MAX_PEER_FRAME;
use crate::protocol::peer::{Cursor, Peer};
use crate::store::journal::{EpochId, Sent, Seq};
use crate::undo::Transactional;

/// What a message takes on the wire beyond its body, in bytes, at most.
const MESSAGE_COST: usize = 64;
/// What a frame takes of the socket's send buffer beyond its messages, in bytes: the kernel counts its own structures
/// too.
const FRAME_COST: usize = 2304;

/// See the module.
#[derive(Debug, Default)]
pub struct SendWindow {
    /// How many bytes may be unacknowledged.
    size: usize,
    progress: Progress,
    /// What is unacknowledged, oldest first.
    unacknowledged: VecDeque<Unacknowledged>,
    /// Whether what follows is to be read from the journal.
    reading: bool,
    /// Else all that follows: what was written since, and need not be read again.
    fresh: VecDeque<Sent>,
    fresh_bytes: usize,
    /// What takes back what this transaction has done.
    before: Option<Before>,
}

/// How far the link is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Everything up to here has been sent.
    sent: Seq,
    /// Everything up to here has been acknowledged over this link, or was before it.
    acknowledged: Seq,
    /// How many bytes are unacknowledged.
    used: usize,
    /// Nothing is sent for now.
    held: bool,
}

#[derive(Debug)]
struct Before {
    progress: Progress,
    /// How many of the messages that were unacknowledged still are.
    left: usize,
    /// The others of them.
    taken: Vec<Unacknowledged>,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacknowledged {
    pub seq: Seq,
    pub epoch: EpochId,
    pub cursor: Cursor,
    /// What it takes of the window, in bytes.
    cost: usize,
}

impl SendWindow {
    /// A window of `size` bytes, in which what comes after `sent` goes out.
    pub fn new(size: usize, sent: Seq) -> Self {
        let progress = Progress { sent, acknowledged: sent, ..Progress::default() };
        Self { size, progress, reading: true, ..Self::default() }
    }

    /// Whether something may go out now.
    ///
    /// Each acknowledgement frees a little, and if that were filled at once, a backlog would go out in ever smaller
    /// frames (the silly window syndrome, RFC 813): half of the window must be free.
    pub fn is_ready(&self) -> bool {
        let Progress { held, used, .. } = self.progress;
        !held && (self.reading || !self.fresh.is_empty()) && used <= self.size / 2
    }

    /// Nothing is sent until this is taken back. What is unacknowledged stays so.
    pub fn hold(&mut self, held: bool) {
        self.note();
        self.progress.held = held;
    }

    /// The other side has not taken what it has not acknowledged: that is sent again, as soon as something may be.
    pub fn rewind(&mut self) {
        self.note();
        while self.take_first().is_some() {}
        self.progress.sent = self.progress.acknowledged;
        self.read_again();
    }

    /// A message was written. It is kept at hand if it is the next, and if that makes no more than `most` bytes.
    pub fn written(&mut self, sent: Sent, most: usize) {
        let bytes = bytes_at_hand(&sent);
        if self.reading || self.fresh_bytes + bytes > most {
            self.read_again();
        } else {
            self.fresh_bytes += bytes;
            self.fresh.push_back(sent);
        }
    }

    /// The other side has committed everything up to this message: takes the oldest that it covers out of the window.
    pub fn acknowledge(&mut self, epoch: EpochId, number: Seq) -> Option<Unacknowledged> {
        self.note();
        let first = self.unacknowledged.front()?;
        if (first.epoch, first.seq) > (epoch, number) {
            return None;
        }
        let first = self.take_first()?;
        self.progress.acknowledged = first.seq;
        Some(first)
    }

    /// Takes the oldest out of the window, and notes that it was there.
    fn take_first(&mut self) -> Option<Unacknowledged> {
        let first = self.unacknowledged.pop_front()?;
        self.progress.used -= first.cost;
        if let Some(before) = self.before.as_mut().filter(|before| before.left > 0) {
            before.left -= 1;
            before.taken.push(first);
        }
        Some(first)
    }

    /// The next messages, as many as fit into one frame and into the window. `read` calls its argument with what the
    /// journal has after a seq, until that returns `false`.
    ///
    /// # Errors
    /// That of `read`.
    pub fn next_frame<E>(
        &mut self,
        read: impl FnOnce(Seq, &mut dyn FnMut(Sent) -> bool) -> Result<(), E>,
    ) -> Result<Vec<Peer>, E> {
        self.note();
        let mut frame = Frame::new(self);
        if self.reading {
            let mut all = true;
            read(self.progress.sent, &mut |sent| {
                all = frame.add(self, sent).is_ok();
                all
            })?;
            self.reading = !all;
        } else {
            while let Some(sent) = self.fresh.pop_front() {
                let bytes = bytes_at_hand(&sent);
                if let Err(sent) = frame.add(self, sent) {
                    self.fresh.push_front(sent);
                    break;
                }
                self.fresh_bytes -= bytes;
            }
        }
        Ok(frame.messages)
    }

    /// Everything up to here has been sent.
    pub fn sent(&self) -> Seq {
        self.progress.sent
    }

    /// What follows is only in the journal.
    pub fn read_again(&mut self) {
        self.reading = true;
        self.fresh.clear();
        self.fresh_bytes = 0;
    }

    fn note(&mut self) {
        let (progress, left) = (self.progress, self.unacknowledged.len());
        self.before.get_or_insert(Before { progress, left, taken: Vec::new() });
    }
}

impl Transactional for SendWindow {
    fn commit(&mut self) {
        self.before = None;
    }

    fn rollback(&mut self) {
        if let Some(Before { progress, left, taken }) = self.before.take() {
            self.progress = progress;
            self.unacknowledged.truncate(left);
            taken.into_iter().rev().for_each(|first| self.unacknowledged.push_front(first));
        }
        // What was written may not be in the journal, which has the last word.
        self.read_again();
    }
}

/// What a message takes in memory. Most of it for a short one is not the text.
fn bytes_at_hand(sent: &Sent) -> usize {
    size_of::<Sent>() + sent.message.body.len()
}

/// Messages that go out together.
struct Frame {
    messages: Vec<Peer>,
    bytes: usize,
    /// What the frame itself takes of the window, until a message is charged with it.
    cost: usize,
}

impl Frame {
    fn new(window: &SendWindow) -> Self {
        // The kernel always takes a first one.
        let cost = if window.unacknowledged.is_empty() { 0 } else { FRAME_COST };
        Self { messages: Vec::new(), bytes: 0, cost }
    }

    /// Adds the next message, or gives it back if the frame or the window has no room for it.
    fn add(&mut self, window: &mut SendWindow, sent: Sent) -> Result<(), Sent> {
        let bytes = sent.message.body.len() + MESSAGE_COST;
        let cost = bytes + self.cost;
        let fits = self.bytes + bytes <= MAX_PEER_FRAME && window.progress.used + cost <= window.size;
        // A window too small for anything still takes one message at a time.
        let first = self.messages.is_empty() && window.unacknowledged.is_empty();
        if !fits && !first {
            return Err(sent);
        }
        self.bytes += bytes;
        self.cost = 0;
        window.progress.used += cost;
        window.progress.sent = sent.seq;
        let cursor = sent.message.id();
        window.unacknowledged.push_back(Unacknowledged { seq: sent.seq, epoch: sent.epoch, cursor, cost });
        self.messages.push(Peer::Message(sent.message));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::peer::{Kind, Message};
    use std::convert::Infallible;

    fn message(seq: Seq, bytes: usize) -> Sent {
        let number = seq.cast_unsigned();
        let message =
            Message { epoch: 1, number, kind: Kind::TEXT, sent: 0, body: vec![b'x'; bytes], original: None };
        Sent { seq, epoch: 1, message }
    }

    /// A journal with these messages, of ten bytes each.
    fn frame(window: &mut SendWindow, journal: std::ops::RangeInclusive<Seq>) -> Vec<u64> {
        let read = |after: Seq, each: &mut dyn FnMut(Sent) -> bool| {
            journal.into_iter().filter(|seq| *seq > after).map(|seq| message(seq, 10)).all(each);
            Ok::<_, Infallible>(())
        };
        let number = |said| match said {
            Peer::Message(message) => message.number,
            other => panic!("{other:?}"),
        };
        window.next_frame(read).unwrap().into_iter().map(number).collect()
    }

    fn caught_up(size: usize) -> SendWindow {
        SendWindow { reading: false, ..SendWindow::new(size, 0) }
    }

    #[test]
    fn what_was_written_is_at_hand_in_order_until_it_is_too_much() {
        let mut window = caught_up(10_000);
        (1..=3).for_each(|seq| window.written(message(seq, 10), 10_000));
        assert_eq!(frame(&mut window, 9..=9), [1, 2, 3]);
        assert_eq!((window.progress.sent, window.fresh_bytes), (3, 0));
        assert!(!window.is_ready());
        // Also where there is next to no text, each takes its place.
        (4..10_000).for_each(|seq| window.written(message(seq, 0), 10_000));
        assert!(window.reading && window.fresh.is_empty());
    }

    #[test]
    fn nothing_is_at_hand_that_does_not_follow() {
        let mut window = SendWindow::new(10_000, 0);
        window.written(message(7, 10), 10_000);
        assert_eq!(frame(&mut window, 5..=7), [5, 6, 7], "what comes before it is in the journal only");
    }

    #[test]
    fn a_window_takes_no_more_than_it_has_and_waits_until_half_is_free() {
        let mut window = SendWindow::new(300, 0);
        assert_eq!(frame(&mut window, 1..=9), [1, 2, 3, 4]);
        assert!(!window.is_ready());
        assert_eq!(window.acknowledge(1, 2).map(|it| it.seq), Some(1));
        assert_eq!(window.acknowledge(1, 2).map(|it| it.seq), Some(2));
        assert_eq!(window.acknowledge(1, 2), None);
        assert!(window.is_ready());
    }

    #[test]
    fn a_window_too_small_for_anything_takes_one_message_at_a_time() {
        let mut window = SendWindow::new(1, 0);
        assert_eq!(frame(&mut window, 1..=9), [1]);
        assert!(!window.is_ready());
        window.acknowledge(1, 1);
        assert_eq!(frame(&mut window, 1..=9), [2]);
    }

    #[test]
    fn a_backlog_goes_out_in_few_frames_however_little_each_acknowledgement_frees() {
        let mut window = SendWindow::new(8 << 10, 0);
        let (mut sent, mut frames) = (0, 0);
        for acknowledged in 0..=400 {
            window.acknowledge(1, acknowledged);
            while window.is_ready() {
                let frame = frame(&mut window, 1..=400);
                sent += frame.len();
                frames += usize::from(!frame.is_empty());
                assert!(window.progress.used <= window.size);
            }
        }
        assert_eq!((sent, window.progress.used), (400, 0));
        assert!(frames <= 20, "{frames} frames");
    }

    #[test]
    fn a_failed_transaction_has_sent_and_acknowledged_nothing() {
        let mut window = SendWindow::new(100_000, 0);
        assert_eq!(frame(&mut window, 1..=3), [1, 2, 3]);
        window.commit();
        let used = window.progress.used;
        window.acknowledge(1, 1);
        window.written(message(4, 10), 10_000);
        assert_eq!(frame(&mut window, 1..=4), [4]);
        (2..=4).for_each(|seq| _ = window.acknowledge(1, seq));
        window.rollback();
        assert_eq!((window.progress.used, window.unacknowledged.len()), (used, 3));
        assert_eq!(frame(&mut window, 1..=5), [4, 5]);
    }

    #[test]
    fn what_was_not_taken_is_sent_again_once_the_window_is_not_held_any_more() {
        let mut window = SendWindow::new(100_000, 0);
        assert_eq!(frame(&mut window, 1..=5), [1, 2, 3, 4, 5]);
        (1..=2).for_each(|seq| _ = window.acknowledge(1, seq));
        window.commit();
        for taken_back in [true, false] {
            window.written(message(6, 10), 10_000);
            window.rewind();
            window.hold(true);
            assert_eq!((window.progress.used, window.is_ready()), (0, false));
            if taken_back {
                window.rollback();
                assert_eq!((window.unacknowledged.len(), window.is_ready()), (3, true));
                assert_eq!(window.acknowledge(1, 3).map(|it| it.seq), Some(3));
                window.rollback();
            }
        }
        window.commit();
        window.hold(false);
        assert!(window.is_ready());
        assert_eq!(frame(&mut window, 1..=6), [3, 4, 5, 6]);
        window.rollback();
        assert!(!window.is_ready(), "it is held, as it was");
        assert_eq!((window.progress.sent, window.unacknowledged.len()), (2, 0));
    }

    #[test]
    fn what_was_sent_and_rewound_in_a_failed_transaction_is_as_it_was() {
        let mut window = SendWindow::new(100_000, 7);
        assert_eq!(frame(&mut window, 8..=9), [8, 9]);
        window.commit();
        (10..=11).for_each(|seq| window.written(message(seq, 10), 10_000));
        assert_eq!(frame(&mut window, 8..=11), [10, 11]);
        window.acknowledge(1, 8);
        window.rewind();
        assert_eq!(frame(&mut window, 8..=11), [9, 10, 11]);
        window.rollback();
        assert_eq!((window.progress.sent, window.progress.acknowledged), (9, 7));
        assert_eq!(window.unacknowledged.iter().map(|it| it.seq).collect::<Vec<_>>(), [8, 9]);
        window.rewind();
        assert_eq!(frame(&mut window, 8..=11), [8, 9, 10, 11]);
    }
}
