//! What goes out over a link, and how much of it may be unacknowledged.
//!
//! Two things bound that. What the other side and the kernel take without waiting is fixed when the link comes up. What
//! the line carries is measured: the bytes that were under way when a frame went, by the time until that frame was
//! acknowledged. So a thin line holds a few seconds' worth, and an acknowledgement or a short message never waits behind
//! more; a fast one is at full speed after some round trips. What is longer than a frame should be on such a line goes in
//! parts, each of which is acknowledged. The law is that of FAST TCP (Wei, Jin, Low, Hegde, 2006),
//! with a fixed time in place of the one that an idle line takes: a share that shrinks and a constant that is added lead
//! two directions that delay each other's acknowledgements to equal shares.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::MAX_PEER_FRAME;
use crate::protocol::peer::{Cursor, Part, Peer};
use crate::store::journal::{EpochId, Sent, Seq};
use crate::time::Instant;
use crate::undo::Transactional;

/// What a message takes on the wire beyond its body, in bytes, at most.
const MESSAGE_COST: usize = 64;
/// What a frame takes of the socket's send buffer beyond its messages, in bytes: the kernel counts its own structures
/// too.
const FRAME_COST: usize = 2304;
/// How long what is in flight should take to be acknowledged.
const ROUND: Duration = Duration::from_secs(2);
/// How many bytes may be in flight on any line, and on one that is new: some seconds' worth on the thinnest, 1 kB/s.
const LEAST_IN_FLIGHT: usize = 6 * 1024;
/// What is added with each measurement, in bytes, so that a direction can win its share back.
const GAIN: usize = 4096;

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
    /// Of the message that follows, so many bytes of its body have gone before.
    begun: Option<(Seq, usize)>,
    /// How many acknowledgements of parts will come that were rewound.
    stale: usize,
    /// How many parts are acknowledged that stand behind a message that is not yet: that one has to be saved first.
    early: usize,
    /// Everything up to here has been acknowledged over this link, or was before it.
    acknowledged: Seq,
    /// How much of the window is taken by what is unacknowledged.
    used: usize,
    /// The same without what frames cost the kernel: what the line has to carry.
    in_flight: usize,
    /// How much the line may hold.
    limit: usize,
    probe: Option<Probe>,
    /// Nothing is sent for now.
    held: bool,
}

/// What is being measured.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Until so many more of the unacknowledged are acknowledged.
    left: usize,
    since: Instant,
    /// How many bytes were in flight then.
    bytes: usize,
}

#[derive(Debug)]
struct Before {
    progress: Progress,
    /// How many of the messages that were unacknowledged still are.
    left: usize,
    /// The others of them.
    taken: Vec<Unacknowledged>,
}

/// A message that was sent, or part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacknowledged {
    pub seq: Seq,
    pub epoch: EpochId,
    pub cursor: Cursor,
    is_part: bool,
    /// What it takes of the line, in bytes.
    bytes: usize,
    /// What it takes of the window.
    cost: usize,
}

impl SendWindow {
    /// A window of `size` bytes, in which what comes after `sent` goes out.
    pub fn new(size: usize, sent: Seq) -> Self {
        let progress = Progress { sent, acknowledged: sent, limit: LEAST_IN_FLIGHT, ..Progress::default() };
        Self { size, progress, reading: true, ..Self::default() }
    }

    /// Whether something may go out now.
    ///
    /// Each acknowledgement frees a little, and if that were filled at once, a backlog would go out in ever smaller
    /// frames (the silly window syndrome, RFC 813): half of the window must be free.
    pub fn is_ready(&self) -> bool {
        let Progress { held, used, in_flight, limit, .. } = self.progress;
        let room = used <= self.size / 2 && in_flight <= limit / 2;
        !held && room && (self.reading || !self.fresh.is_empty())
    }

    /// Nothing is sent until this is taken back. What is unacknowledged stays so.
    pub fn hold(&mut self, held: bool) {
        self.note();
        self.progress.held = held;
    }

    /// The other side has not taken what it has not acknowledged: that is sent again, as soon as something may be.
    pub fn rewind(&mut self) {
        self.note();
        while let Some(first) = self.take_first() {
            self.progress.stale += usize::from(first.is_part);
        }
        self.progress.stale = self.progress.stale.saturating_sub(std::mem::take(&mut self.progress.early));
        self.progress.sent = self.progress.acknowledged;
        self.progress.begun = None;
        self.progress.probe = None;
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
    pub fn acknowledge(&mut self, now: Instant, epoch: EpochId, number: Seq) -> Option<Unacknowledged> {
        self.note();
        loop {
            let first = self.unacknowledged.front()?;
            let early = first.is_part && self.progress.early > 0;
            if !early && (first.epoch, first.seq) > (epoch, number) {
                return None;
            }
            self.progress.early -= usize::from(early);
            let first = self.acknowledge_first(now)?;
            if !first.is_part {
                self.progress.acknowledged = first.seq;
                return Some(first);
            }
        }
    }

    /// The other side has the oldest part that it has not acknowledged.
    pub fn acknowledge_part(&mut self, now: Instant) {
        self.note();
        if self.progress.stale > 0 {
            self.progress.stale -= 1;
        } else if self.unacknowledged.front().is_some_and(|first| first.is_part) {
            self.acknowledge_first(now);
        } else if self.unacknowledged.iter().filter(|it| it.is_part).count() > self.progress.early {
            self.progress.early += 1;
        }
    }

    fn acknowledge_first(&mut self, now: Instant) -> Option<Unacknowledged> {
        let first = self.take_first()?;
        if let Some(probe) = self.progress.probe.as_mut() {
            probe.left = probe.left.saturating_sub(1);
        }
        if let Some(probe) = self.progress.probe.take_if(|probe| probe.left == 0) {
            self.adapt(&probe, now.since(probe.since));
        }
        Some(first)
    }

    /// What was in flight has arrived after so long.
    fn adapt(&mut self, probe: &Probe, took: Duration) {
        let limit = &mut self.progress.limit;
        let share = probe.bytes as u128 * ROUND.as_micros() / took.as_micros().max(1);
        let fits = usize::try_from(share).unwrap_or(usize::MAX).saturating_add(GAIN);
        if took > ROUND {
            *limit = fits.min(*limit + GAIN);
        } else if probe.bytes >= *limit / 2 {
            // Only a line that was used shows what it carries.
            *limit = fits.clamp(*limit, *limit * 2);
        }
        *limit = (*limit).min(self.size).max(LEAST_IN_FLIGHT);
    }

    /// Takes the oldest out of the window, and notes that it was there.
    fn take_first(&mut self) -> Option<Unacknowledged> {
        let first = self.unacknowledged.pop_front()?;
        self.progress.used -= first.cost;
        self.progress.in_flight -= first.bytes;
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
        now: Instant,
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
        if !frame.messages.is_empty() {
            self.measure(now);
        }
        Ok(frame.messages)
    }

    /// Everything up to here has been sent.
    pub fn sent(&self) -> Seq {
        self.progress.sent
    }

    /// A frame goes out. One is measured at a time, with all that go at the same moment.
    fn measure(&mut self, now: Instant) {
        let Progress { in_flight: bytes, probe, .. } = &mut self.progress;
        if probe.is_none_or(|probe| probe.since == now) {
            *probe = Some(Probe { left: self.unacknowledged.len(), since: now, bytes: *bytes });
        }
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

    /// Adds the next message, or gives it back if the frame or the window has no room for it, or only for a part of it.
    fn add(&mut self, window: &mut SendWindow, mut sent: Sent) -> Result<(), Sent> {
        let Progress { limit, begun, .. } = window.progress;
        let begun = begun.filter(|(seq, _)| *seq == sent.seq).map_or(0, |(_, bytes)| bytes);
        let longest = MAX_PEER_FRAME.min(limit / 2);
        let rest = sent.message.body.len().saturating_sub(begun) + MESSAGE_COST;
        if rest > longest {
            if self.messages.is_empty() && self.takes(window, longest) {
                let until = begun + longest - MESSAGE_COST;
                let body = sent.message.body.get(begun..until).unwrap_or_default().to_vec();
                window.progress.begun = Some((sent.seq, until));
                self.put(window, &sent, longest, true);
                self.messages.push(Peer::Part(Part { message: sent.message.id(), body }));
            }
            return Err(sent);
        }
        if self.bytes + rest > longest || !self.takes(window, rest) {
            return Err(sent);
        }
        self.put(window, &sent, rest, false);
        window.progress.sent = sent.seq;
        window.progress.begun = None;
        sent.message.body.drain(..begun);
        self.messages.push(Peer::Message(sent.message));
        Ok(())
    }

    /// Whether the window has room for so many bytes. One too small for anything still takes one message at a time.
    fn takes(&self, window: &SendWindow, bytes: usize) -> bool {
        let Progress { used, in_flight, limit, .. } = window.progress;
        let fits = used + bytes + self.cost <= window.size && in_flight + bytes <= limit;
        fits || (self.messages.is_empty() && window.unacknowledged.is_empty())
    }

    fn put(&mut self, window: &mut SendWindow, sent: &Sent, bytes: usize, is_part: bool) {
        let cost = bytes + std::mem::take(&mut self.cost);
        self.bytes += bytes;
        window.progress.used += cost;
        window.progress.in_flight += bytes;
        let Sent { seq, epoch, ref message } = *sent;
        let cursor = message.id();
        window.unacknowledged.push_back(Unacknowledged { seq, epoch, cursor, is_part, bytes, cost });
    }
}

#[cfg(test)]
mod tests;
