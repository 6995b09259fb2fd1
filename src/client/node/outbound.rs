//! What goes out over a link, and how much of it may be on its way.

use std::collections::VecDeque;

use crate::protocol::MAX_PEER_FRAME;
use crate::protocol::peer::{Cursor, Peer};
use crate::store::journal::{EpochId, Sent, Seq};

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

/// How many bytes of messages that were just written are kept at hand, for all links together.
pub const AT_HAND: usize = 16 * 1024 * 1024;

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
        let size = sent.message.body.len();
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
        self.fresh_size -= sent.message.body.len();
        Some(sent)
    }

    /// It was not the time to send it.
    pub fn not_yet(&mut self, sent: Sent) {
        self.fresh_size += sent.message.body.len();
        self.fresh.push_front(sent);
    }

    /// What follows is only in the journal.
    pub fn read_again(&mut self) {
        self.more = true;
        self.fresh.clear();
        self.fresh_size = 0;
    }
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
