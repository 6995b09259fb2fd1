//! How fast each session may send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::rendezvous::{Mate, ToDiscovery};

/// What one message costs its session. In the long run it can't send more than one in this time: more than
/// a client sends that waits for each answer, and a small part of what the loop can do. Requests, which have to
/// be saved, need not cost more: there can only be so many that stand.
const MESSAGE_COST: Duration = Duration::from_micros(100);
/// What it costs to drop a user or a mate: else a session could have requests saved and removed, and the other one told
/// of it, without end.
const DROP_COST: Duration = Duration::from_millis(1);
/// What a registration costs until the loop knows better: every contact may have to be told, a thousand of them.
const REGISTER_COST: Duration = Duration::from_millis(100);
/// What it costs at least: each may have to be saved.
const REGISTER_LEAST: Duration = Duration::from_millis(1);
/// What each message costs that it has led to.
const TOLD_COST: Duration = Duration::from_micros(100);
/// How much a session may spend at once, and saves up again while it is quiet. Enough to ask for every
/// contact and to answer each after a login; all others wait while the loop deals with it.
const BURST: Duration = Duration::from_millis(400);

/// What the loop gives back to a session, in microseconds, until its reader takes it.
#[derive(Clone, Default)]
pub struct Refunds(Arc<AtomicU64>);

impl Refunds {
    /// A registration has led to so many messages.
    pub fn registered(&self, told: usize) {
        let told = TOLD_COST.saturating_mul(u32::try_from(told).unwrap_or(u32::MAX));
        let back = REGISTER_COST.saturating_sub(REGISTER_LEAST + told);
        // It is less than a tenth of a second each time.
        self.0.fetch_add(u64::try_from(back.as_micros()).unwrap_or_default(), Ordering::Relaxed);
    }

    fn take(&self) -> Duration {
        Duration::from_micros(self.0.swap(0, Ordering::Relaxed))
    }
}

/// How fast one session may send. One that is faster is read more slowly.
pub struct Pace {
    credit: Duration,
    /// Up to when credit has been counted; in the future while a debt is being paid.
    counted: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { credit: BURST, counted: now }
    }

    /// How long to wait before the messages of one frame are passed on.
    pub fn delay(&mut self, messages: &[ToDiscovery], refunds: &Refunds, now: Instant) -> Duration {
        // A frame with nothing in it that is known here has to be opened and taken in too.
        let cost = |message: &ToDiscovery| match message {
            ToDiscovery::Register(_) => REGISTER_COST,
            ToDiscovery::Drop(_) | ToDiscovery::Mate(Mate { shares: false, .. }) => DROP_COST,
            _ => MESSAGE_COST,
        };
        let cost = messages.iter().map(cost).sum::<Duration>().max(MESSAGE_COST);
        self.give_back(refunds.take());
        self.spend(cost, now)
    }

    fn give_back(&mut self, cost: Duration) {
        self.credit = BURST.min(self.credit + cost);
    }

    /// How long to wait before something of this cost is passed on.
    fn spend(&mut self, cost: Duration, now: Instant) -> Duration {
        self.credit = BURST.min(self.credit + now.saturating_duration_since(self.counted));
        let debt = cost.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(cost);
        self.counted = now + debt;
        debt
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::MAX_CONTACTS;
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_each_message_waits_its_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.spend(BURST, start), Duration::ZERO);
        assert_eq!(pace.spend(MESSAGE_COST, start), MESSAGE_COST);
        let paid = start + MESSAGE_COST;
        assert_eq!(pace.spend(MESSAGE_COST, paid), MESSAGE_COST);
        let later = paid + MESSAGE_COST * 3;
        assert_eq!(pace.spend(MESSAGE_COST * 2, later), Duration::ZERO);
        let rested = later + BURST * 10;
        assert_eq!(pace.spend(BURST + MESSAGE_COST, rested), MESSAGE_COST);
    }

    #[test]
    fn a_client_that_waits_for_each_answer_is_never_made_to_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let waited = (1..20_000).map(|n| pace.spend(MESSAGE_COST, start + MESSAGE_COST * n));
        assert_eq!(waited.sum::<Duration>(), Duration::ZERO);
    }

    #[test]
    fn a_registration_costs_what_it_leads_to() {
        let start = Instant::now();
        let refunds = Refunds::default();
        let registrations = |told: usize| {
            let mut pace = Pace::new(start);
            let mut waited = Duration::ZERO;
            for _ in 0..1000 {
                waited += pace.spend(REGISTER_COST, start + waited);
                refunds.registered(told);
                pace.give_back(refunds.take());
            }
            waited
        };
        assert!(registrations(2) < Duration::from_secs(2));
        let all = registrations(MAX_CONTACTS);
        assert!((Duration::from_secs(99)..Duration::from_secs(101)).contains(&all), "{all:?}");
    }

    #[test]
    fn every_contact_can_be_asked_for_and_answered_at_once() {
        let start = Instant::now();
        let login = REGISTER_COST + MESSAGE_COST * (2 * MAX_CONTACTS as u32);
        assert_eq!(Pace::new(start).spend(login, start), Duration::ZERO);
    }
}
