//! Which news of messages in rooms a person is told: the first of what had to wait, and that all have it where that took
//! long. It gets the time as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::addressee::RoomLabel;
use crate::protocol::peer::Cursor;

/// Within how long a message that all have needs no word.
const MOMENT: Duration = Duration::from_secs(5);
/// How many messages are known at most; of others it is told that all have them.
const MAX: usize = 10_000;

type Message = (RoomLabel, u64, u64);

/// The user's messages of this session that are not final yet.
#[derive(Debug, Default)]
pub struct Spreads {
    messages: BTreeMap<Message, State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// It went out at once.
    Sent(Instant),
    /// No other member had it.
    Waits,
    /// The first news of what waited has been told.
    Told,
    /// All have it.
    Complete,
}

impl Spreads {
    /// A message is safe; `linked` if it goes out at once.
    pub fn queued(&mut self, now: Instant, (room, id): (&RoomLabel, Cursor), linked: bool) {
        let state = if linked { State::Sent(now) } else { State::Waits };
        self.keep((room.clone(), id.epoch, id.number), state);
    }

    /// More members have a message. Returns whether that is told.
    pub fn spread(
        &mut self,
        now: Instant,
        (room, id): (&RoomLabel, Cursor),
        all: bool,
        is_final: bool,
    ) -> bool {
        let message = (room.clone(), id.epoch, id.number);
        let before = self.messages.get(&message).copied();
        let (told, state) = match before {
            Some(State::Complete) => (false, State::Complete),
            Some(State::Sent(at)) if all => (now.saturating_duration_since(at) >= MOMENT, State::Complete),
            _ if all => (true, State::Complete),
            Some(State::Waits) => (true, State::Told),
            Some(state) => (false, state),
            None => return false,
        };
        if all && is_final {
            self.messages.remove(&message);
        } else {
            self.keep(message, state);
        }
        told
    }

    fn keep(&mut self, message: Message, state: State) {
        if self.messages.len() < MAX || self.messages.contains_key(&message) {
            self.messages.insert(message, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::room;

    /// Which of these news are told: after how many seconds, whether all have it, and whether it is final.
    fn told(linked: Option<bool>, news: &[(u64, bool, bool)]) -> (Vec<bool>, usize) {
        let (start, lab, id) = (Instant::now(), room("#lab"), Cursor { epoch: 1, number: 2 });
        let mut it = Spreads::default();
        linked.into_iter().for_each(|linked| it.queued(start, (&lab, id), linked));
        let told = news.iter().map(|(seconds, all, is_final)| {
            it.spread(start + Duration::from_secs(*seconds), (&lab, id), *all, *is_final)
        });
        (told.collect(), it.messages.len())
    }

    #[test]
    fn what_all_have_within_a_moment_needs_no_word() {
        assert_eq!(told(Some(true), &[(1, false, false), (2, true, true)]), (vec![false, false], 0));
        assert_eq!(told(Some(true), &[(1, false, false), (5, true, true)]), (vec![false, true], 0));
    }

    #[test]
    fn the_first_news_of_what_waited_are_told_and_the_last() {
        let news =
            [(9, false, false), (10, false, false), (11, true, false), (12, true, false), (13, true, true)];
        assert_eq!(told(Some(false), &news), (vec![true, false, true, false, false], 0));
        // Of an earlier session only the last.
        assert_eq!(told(None, &news), (vec![false, false, true, false, false], 0));
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let mut it = Spreads::default();
        let id = |number| Cursor { epoch: 1, number };
        for number in 0..=MAX as u64 {
            it.queued(Instant::now(), (&room("#lab"), id(number)), false);
        }
        assert_eq!(it.messages.len(), MAX);
        assert!(it.spread(Instant::now(), (&room("#lab"), id(MAX as u64)), true, false));
        assert_eq!(it.messages.len(), MAX);
    }
}
