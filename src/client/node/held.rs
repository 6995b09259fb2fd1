//! What the user is told of messages that wait because of a bound of the other side.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::notice::{HeldReason, Notice};
use super::effects::Effects;
use crate::protocol::Name;
use crate::store::journal::ContactId;
use crate::time::Instant;
use crate::undo::{Table, Value, transactional};

/// For how long nothing has changed before it is said again what waits. The other side, which can hold and resume as fast
/// as it likes, does not fill the screen with it.
const QUIET: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Held {
    contacts: Table<BTreeMap<ContactId, Waiting>>,
    wake: Value<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    reason: HeldReason,
    /// How many wait, and since when that has not changed; 0 once the bound is gone, which may be for a moment only.
    now: u64,
    since: Instant,
    /// What the user was told last.
    told: (HeldReason, u64),
}

impl Held {
    pub fn new() -> Self {
        Self { contacts: Table::default(), wake: Value::new(Instant::NEVER) }
    }

    /// `waiting` messages wait for the contact, because of `reason`; nothing does if there is none.
    pub fn note(
        &mut self,
        fx: &mut Effects,
        id: ContactId,
        to: &Name,
        reason: Option<HeldReason>,
        waiting: u64,
    ) {
        let now = if reason.is_some() { waiting } else { 0 };
        let since = fx.now.mono;
        match (self.contacts.get(&id).copied(), reason) {
            (Some(it), _) if it.now == now && reason.is_none_or(|reason| reason == it.reason) => {}
            (Some(it), reason) => {
                let reason = reason.unwrap_or(it.reason);
                self.contacts.insert(id, Waiting { reason, now, since, ..it });
                *self.wake = (*self.wake).min(since + QUIET);
            }
            (None, Some(reason)) if now > 0 => {
                self.contacts.insert(id, Waiting { reason, now, since, told: (reason, now) });
                fx.tell(Notice::Held { to: to.clone(), reason, waiting });
            }
            (None, _) => {}
        }
    }

    /// Nothing waits for the contact any more.
    pub fn forget(&mut self, id: ContactId) {
        self.contacts.remove(&id);
    }

    /// Why messages of ours wait for the contact.
    pub fn reason(&self, id: ContactId) -> Option<HeldReason> {
        self.contacts.get(&id).filter(|it| it.now > 0).map(|it| it.reason)
    }

    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    pub fn ids(&self) -> Vec<ContactId> {
        self.contacts.keys().copied().collect()
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        *self.wake
    }

    /// Says how much waits, where that has changed and things are quiet.
    pub fn tick<'r>(&mut self, fx: &mut Effects, name: impl Fn(ContactId) -> Option<&'r Name>) {
        let now = fx.now.mono;
        if now < *self.wake {
            return;
        }
        let mut wake = Instant::NEVER;
        for id in self.ids() {
            let is_news = |it: &Waiting| it.told != (it.reason, it.now);
            let Some(it) = self.contacts.get(&id).copied().filter(is_news) else {
                continue;
            };
            if now < it.since + QUIET {
                wake = wake.min(it.since + QUIET);
            } else if it.now == 0 {
                self.forget(id);
            } else if let Some(to) = name(id) {
                self.contacts.insert(id, Waiting { told: (it.reason, it.now), ..it });
                fx.tell(Notice::Held { to: to.clone(), reason: it.reason, waiting: it.now });
            }
        }
        *self.wake = wake;
    }
}

transactional!(Held { contacts, wake });

#[cfg(test)]
mod tests {
    use super::super::tests::support::*;
    use super::*;

    #[test]
    fn how_much_waits_is_said_at_once_and_again_when_things_are_quiet() {
        let (mut it, mut fx, bob) = (Held::new(), effects(), name("bob"));
        let waiting = |fx: &mut Effects| {
            let told = told(fx).into_iter();
            let held = |notice| {
                if let Notice::Held { reason, waiting, .. } = notice { Some((reason, waiting)) } else { None }
            };
            told.filter_map(held).collect::<Vec<_>>()
        };
        let reason = Some(HeldReason::NotAnswered);
        it.note(&mut fx, 1, &bob, reason, 0);
        assert!(it.is_empty() && waiting(&mut fx).is_empty(), "nothing waits");
        for count in 1..=3 {
            it.note(&mut fx, 1, &bob, reason, count);
        }
        assert_eq!(waiting(&mut fx), [(HeldReason::NotAnswered, 1)]);
        for (ms, expected) in [(1_999, vec![]), (2_000, vec![(HeldReason::NotAnswered, 3)]), (9_000, vec![])]
        {
            fx.now = at(ms);
            it.tick(&mut fx, |_| Some(&bob));
            assert_eq!(waiting(&mut fx), expected, "{ms}");
        }
        assert_eq!(it.deadline(), Instant::NEVER);
        // Another reason is news, once it lasts.
        for reason in [HeldReason::DiskFull, HeldReason::NotAnswered].repeat(50) {
            it.note(&mut fx, 1, &bob, Some(reason), 3);
            it.note(&mut fx, 1, &bob, None, 3);
        }
        it.note(&mut fx, 1, &bob, Some(HeldReason::DiskFull), 3);
        for (ms, expected) in [(9_001, vec![]), (11_000, vec![(HeldReason::DiskFull, 3)]), (14_000, vec![])] {
            fx.now = at(ms);
            it.tick(&mut fx, |_| Some(&bob));
            assert_eq!(waiting(&mut fx), expected, "{ms}");
        }
        it.note(&mut fx, 1, &bob, None, 3);
        assert_eq!(it.reason(1), None);
        fx.now = at(16_000);
        it.tick(&mut fx, |_| Some(&bob));
        assert!(it.is_empty() && waiting(&mut fx).is_empty());
    }
}
