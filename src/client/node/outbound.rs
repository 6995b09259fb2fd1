//! What goes out over a link, and how much of it may be on its way.

use std::collections::VecDeque;

use crate::protocol::MAX_PEER_FRAME;
use crate::protocol::peer::{Cursor, Peer};
use crate::store::journal::{EpochId, Sent, Seq};

/// How many bytes of memory messages may take that were just written and are kept at hand, for all links together.
pub const AT_HAND: usize = 16 * 1024 * 1024;
/// What a message takes on the wire beyond its body, in bytes, at most.
const MESSAGE_COST: usize = 64;
/// What a frame takes of the socket's send buffer beyond its messages, in bytes: the kernel counts
/// its own structures too.
const FRAME_COST: usize = 2304;

/// What goes out over a link.
#[derive(Debug, Default)]
pub struct Outbound {
    /// How many bytes may be unacknowledged.
    pub window: usize,
    /// How many are.
    pub used: usize,
    /// What they are, oldest first.
    pub unacknowledged: VecDeque<Unacknowledged>,
    /// Everything up to here has been sent.
    pub sent: Seq,
    /// Whether what follows is to be read from the journal.
    pub more: bool,
    /// Else all that follows: what was written since, and need not be read again.
    fresh: VecDeque<Sent>,
    /// How many bytes those are.
    fresh_size: usize,
}

/// A message that was sent.
#[derive(Debug)]
pub struct Unacknowledged {
    pub seq: Seq,
    pub epoch: EpochId,
    pub cursor: Cursor,
    /// What it takes of the window, in bytes.
    pub cost: usize,
}

impl Outbound {
    /// Goes on after `sent`.
    pub fn new(window: usize, sent: Seq) -> Self {
        Self { window, sent, more: true, ..Self::default() }
    }

    /// Whether there may be something to send.
    pub fn has_more(&self) -> bool {
        self.more || !self.fresh.is_empty()
    }

    /// A message was written. It is kept at hand if it is the next, and if that makes no more than `most` bytes.
    pub fn written(&mut self, sent: Sent, most: usize) {
        let size = size_at_hand(&sent);
        if self.more || self.fresh_size + size > most {
            self.read_again();
        } else {
            self.fresh_size += size;
            self.fresh.push_back(sent);
        }
    }

    /// The message to be sent next, if it is at hand.
    pub fn next(&mut self) -> Option<Sent> {
        let sent = self.fresh.pop_front()?;
        self.fresh_size -= size_at_hand(&sent);
        Some(sent)
    }

    /// It was not the time to send it.
    pub fn not_yet(&mut self, sent: Sent) {
        self.fresh_size += size_at_hand(&sent);
        self.fresh.push_front(sent);
    }

    /// What follows is only in the journal.
    pub fn read_again(&mut self) {
        self.more = true;
        self.fresh.clear();
        self.fresh_size = 0;
    }
}

/// What a message takes in memory. Most of it for a short one is not the text.
fn size_at_hand(sent: &Sent) -> usize {
    size_of::<Sent>() + sent.message.body.len()
}

/// Messages that go out together.
pub struct Frame {
    pub messages: Vec<Peer>,
    /// How many bytes they have.
    size: usize,
    /// What the frame itself takes of the window.
    cost: usize,
}

impl Frame {
    pub fn new(out: &Outbound) -> Self {
        // The kernel always takes a first one.
        let cost = if out.unacknowledged.is_empty() { 0 } else { FRAME_COST };
        Self { messages: Vec::new(), size: 0, cost }
    }

    /// Adds the next message, or gives it back if the frame or the window has no room for it.
    pub fn add(&mut self, out: &mut Outbound, sent: Sent) -> Result<(), Sent> {
        let bytes = sent.message.body.len() + MESSAGE_COST;
        let cost = bytes + self.cost;
        let fits = self.size + bytes <= MAX_PEER_FRAME && out.used + cost <= out.window;
        // A window too small for anything still takes one message at a time.
        let first = self.messages.is_empty() && out.unacknowledged.is_empty();
        if !fits && !first {
            return Err(sent);
        }
        self.size += bytes;
        self.cost = 0;
        out.used += cost;
        out.sent = sent.seq;
        let cursor = sent.message.cursor();
        out.unacknowledged.push_back(Unacknowledged { seq: sent.seq, epoch: sent.epoch, cursor, cost });
        self.messages.push(Peer::Message(sent.message));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::peer::{Kind, Message};

    fn message(seq: Seq, bytes: usize) -> Sent {
        let number = seq.cast_unsigned();
        let message = Message { epoch: 1, number, kind: Kind::TEXT, sent: 0, body: vec![b'x'; bytes] };
        Sent { seq, epoch: 1, message }
    }

    fn caught_up() -> Outbound {
        Outbound { more: false, ..Outbound::new(10_000, 0) }
    }

    #[test]
    fn what_was_written_is_at_hand_in_order_until_it_is_too_much() {
        let mut out = caught_up();
        (1..=3).for_each(|seq| out.written(message(seq, 10), 10_000));
        let first = out.next().unwrap();
        assert_eq!(first.seq, 1);
        out.not_yet(first);
        let mut frame = Frame::new(&out);
        while let Some(sent) = out.next() {
            frame.add(&mut out, sent).unwrap();
        }
        assert_eq!((frame.messages.len(), out.sent, out.fresh_size), (3, 3, 0));
        assert!(!out.has_more());
        // Also where there is next to no text, each takes its place.
        (4..10_000).for_each(|seq| out.written(message(seq, 0), 10_000));
        assert!(out.more && out.fresh.is_empty() && out.next().is_none());
    }

    #[test]
    fn nothing_is_at_hand_that_does_not_follow() {
        let mut out = Outbound::new(10_000, 0);
        out.written(message(7, 10), 10_000);
        assert!(out.more && out.next().is_none(), "what comes before it is in the journal only");
    }

    #[test]
    fn a_window_takes_no_more_than_it_has() {
        let mut out = caught_up();
        out.window = 300;
        let mut frame = Frame::new(&out);
        assert!(frame.add(&mut out, message(1, 100)).is_ok());
        assert_eq!(frame.add(&mut out, message(2, 100)).map_err(|sent| sent.seq), Err(2));
        assert_eq!((out.sent, out.unacknowledged.len()), (1, 1));
    }
}
