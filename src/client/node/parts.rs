//! A long message that comes in parts, as it does over a thin line.

use std::borrow::Cow;

use crate::protocol::MAX_PEER_FRAME;
use crate::protocol::peer::{Cursor, Message, Part};

/// What has come of a message so far, of one at a time.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    message: Option<Cursor>,
    body: Vec<u8>,
}

impl Parts {
    /// Keeps a part. Returns whether there was room for it.
    pub fn keep(&mut self, part: &Part) -> bool {
        if self.message != Some(part.message) {
            self.message = Some(part.message);
            self.body.clear();
        }
        self.body.extend_from_slice(&part.body);
        self.body.len() <= MAX_PEER_FRAME
    }

    /// A message, with what has come of it before.
    pub fn complete<'m>(&mut self, message: &'m Message) -> Cow<'m, Message> {
        let Self { message: begun, mut body } = std::mem::take(self);
        if begun != Some(message.id()) {
            return Cow::Borrowed(message);
        }
        body.extend_from_slice(&message.body);
        let &Message { epoch, number, kind, sent, original, .. } = message;
        Cow::Owned(Message { epoch, number, kind, sent, body, original })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::peer::Kind;

    fn message(number: u64, body: &[u8]) -> Message {
        let body = body.to_vec();
        Message { epoch: 1, number, kind: Kind::TEXT, sent: 0, body, original: None }
    }

    fn part(number: u64, body: &[u8]) -> Part {
        Part { message: Cursor { epoch: 1, number }, body: body.to_vec() }
    }

    #[test]
    fn a_message_is_made_of_its_own_parts_only() {
        let mut parts = Parts::default();
        assert!(
            parts.keep(&part(1, b"never ")) && parts.keep(&part(2, b"one ")) && parts.keep(&part(2, b"two "))
        );
        assert_eq!(*parts.complete(&message(2, b"three")), message(2, b"one two three"));
        assert_eq!(*parts.complete(&message(2, b"three")), message(2, b"three"), "they are used once");
        assert!(parts.keep(&part(3, b"three ")));
        assert_eq!(*parts.complete(&message(4, b"four")), message(4, b"four"));
        assert_eq!(*parts.complete(&message(3, b"rest")), message(3, b"rest"));
    }

    #[test]
    fn there_is_room_for_one_message() {
        let mut parts = Parts::default();
        let half = vec![0; MAX_PEER_FRAME / 2];
        assert!(parts.keep(&part(1, &half)) && parts.keep(&part(1, &half)) && !parts.keep(&part(1, &half)));
    }
}
