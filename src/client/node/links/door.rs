//! How often links are let in, and how often it is said that one was not.

use std::time::Duration;

use super::super::super::notice::Code;
use super::super::effects::Effects;
use super::Links;
use crate::protocol::{Name, PublicKey};
use crate::store::journal::ContactId;
use crate::time::Instant;

/// How often it is said that a stranger was cut.
pub(super) const STRANGERS_EVERY: Duration = Duration::from_secs(10);
/// How many links of one key are accepted at once, and how long it takes to earn another. A client dials again after
/// each loss, and a second one of the same account may take turns with it.
const LINKS_AT_ONCE: u32 = 20;
const LINK_EVERY: Duration = Duration::from_secs(2);
/// Of how many keys that is counted.
const MAX_PACES: usize = 1024;
/// When it was last said that a stranger was cut, and how many have been since, with that one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strangers {
    pub(super) said: Instant,
    pub(super) since: u64,
}

impl Links {
    /// Whether another link of this key is taken. One that comes and goes is let in more slowly.
    pub fn admits(&mut self, fx: &Effects, key: PublicKey) -> bool {
        let now = fx.now.mono;
        let (left, since) = self.paces.get(&key).copied().unwrap_or((LINKS_AT_ONCE, now));
        let earned = u32::try_from(now.since(since).as_millis() / LINK_EVERY.as_millis()).unwrap_or(u32::MAX);
        let since =
            if left.saturating_add(earned) >= LINKS_AT_ONCE { now } else { since + LINK_EVERY * earned };
        let left = left.saturating_add(earned).min(LINKS_AT_ONCE);
        if left == 0 {
            return false;
        }
        if self.paces.len() >= MAX_PACES
            && let Some((oldest, _)) =
                self.paces.iter().min_by_key(|(_, (_, since))| *since).map(|(key, it)| (*key, *it))
        {
            self.paces.remove(&oldest);
        }
        self.paces.insert(key, (left - 1, since));
        true
    }

    /// Says that a stranger was cut. Strangers can come as often as they like, but not fill the screen by that.
    pub fn stranger(&mut self, fx: &mut Effects, what: &str) {
        let Strangers { said, since } = *self.strangers;
        if since > 0 && fx.now.mono < said + STRANGERS_EVERY {
            self.strangers.since += 1;
            return;
        }
        let more =
            if since > 1 { format!(" ({} more since the last of these)", since - 1) } else { String::new() };
        *self.strangers = Strangers { said: fx.now.mono, since: 1 };
        fx.error(Code::UnknownPeer, None, format!("a connection from {what}{more}"));
    }

    /// Says that a blocked contact was cut, once.
    pub fn say_blocked(&mut self, fx: &mut Effects, contact: ContactId, name: &Name) {
        if self.blocked.insert(contact) {
            let message = format!("{name} connected and was cut: {name} is blocked");
            fx.error(Code::Blocked, Some(name), message);
        }
    }

    /// That a contact was cut is news again.
    pub fn forgive(&mut self, contact: ContactId) {
        if !self.blocked.is_empty() {
            self.blocked.remove(&contact);
        }
    }
}
