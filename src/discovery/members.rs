//! Which of the other nodes are lost.
//!
//! A node holds a lease on the connection that commits its turns, and says at intervals that it is alive. Where the lease
//! is free its holder can't commit any more. One that holds its lease and says nothing, hangs: its connection is ended,
//! which frees the lease. What a lost node's users hold is forgotten after a while, in which they can come back elsewhere.
//!
//! No clock of another machine counts: silence is measured here, by how often this node looked in vain.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::accounts::{Change, NodeId};
use crate::time::{Instant, Now};

/// How long a node may say nothing.
pub const SILENCE: Duration = Duration::from_secs(5);
/// How long none is taken for lost after this node has come to the ledger: a ledger that restarts takes the leases of all.
pub const SETTLING: Duration = Duration::from_secs(10);
/// How long the users of a lost node have to come back elsewhere before they are called offline.
pub const COME_BACK: Duration = Duration::from_secs(20);
/// A look that comes later than this after the one before says nothing of what was meanwhile.
const LATE: Duration = Duration::from_secs(3);

/// What the ledger says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub node: NodeId,
    pub lost: bool,
    /// Grows while the node is alive.
    pub beat: i64,
    /// Whether it holds its lease.
    pub leased: bool,
}

/// What is to be done about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In a turn of this node.
    Change(Box<Change>),
    /// Its connections are to be ended.
    End(NodeId),
}

impl Verdict {
    fn change(change: Change) -> Self {
        Self::Change(Box::new(change))
    }
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    beat: i64,
    /// How long its beat has not changed.
    silent: Duration,
    lost_since: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Members {
    watched: BTreeMap<NodeId, Watched>,
    last_look: Option<Instant>,
    settled: Instant,
}

impl Members {
    /// This node has come to the ledger, or come back to it.
    pub fn connected(&mut self, now: Instant) {
        self.last_look = None;
        self.settled = now + SETTLING;
        for it in self.watched.values_mut() {
            // While there was no ledger, no user could come back elsewhere.
            (it.silent, it.lost_since) = (Duration::ZERO, None);
        }
    }

    /// Judges the other nodes by what the ledger says of them at this moment.
    pub fn look(&mut self, others: &[Seen], now: Now) -> Vec<Verdict> {
        let passed = self.last_look.map_or(Duration::ZERO, |last| now.mono.since(last));
        self.last_look = Some(now.mono);
        self.watched.retain(|node, _| others.iter().any(|seen| seen.node == *node));
        let mut verdicts = Vec::new();
        for seen in others {
            verdicts.extend(self.judge(seen, passed, now));
        }
        verdicts
    }

    fn judge(&mut self, seen: &Seen, passed: Duration, now: Now) -> Option<Verdict> {
        let Seen { node, lost, beat, leased } = *seen;
        let new = Watched { beat, silent: Duration::ZERO, lost_since: None };
        let it = self.watched.entry(node).or_insert(new);
        if it.beat != beat || passed > LATE {
            (it.beat, it.silent) = (beat, Duration::ZERO);
        } else {
            it.silent += passed;
        }
        if lost {
            let since = *it.lost_since.get_or_insert(now.mono);
            let over = now.mono.since(since) >= COME_BACK;
            return over.then(|| Verdict::change(Change::ForgetNode { node, now: now.wall }));
        }
        it.lost_since = None;
        if now.mono < self.settled {
            return None;
        }
        if !leased {
            return Some(Verdict::change(Change::LoseNode { node }));
        }
        if it.silent >= SILENCE {
            it.silent = Duration::ZERO;
            return Some(Verdict::End(node));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Instant::after_start(Duration::from_secs(seconds)), wall: 7 }
    }

    fn seen(beat: i64, leased: bool) -> Seen {
        Seen { node: 2, lost: false, beat, leased }
    }

    fn settled() -> Members {
        let mut members = Members::default();
        members.connected(Instant::START);
        members
    }

    #[test]
    fn a_node_without_its_lease_is_lost_and_its_users_have_time_to_come_back() {
        let mut members = settled();
        let lost = vec![Verdict::change(Change::LoseNode { node: 2 })];
        assert_eq!(members.look(&[seen(1, false)], at(9)), [], "the leases of all may be gone");
        assert_eq!(members.look(&[seen(1, false)], at(10)), lost);
        let gone = Seen { lost: true, ..seen(1, false) };
        assert_eq!(members.look(std::slice::from_ref(&gone), at(11)), []);
        assert_eq!(members.look(std::slice::from_ref(&gone), at(30)), []);
        let forgotten = vec![Verdict::change(Change::ForgetNode { node: 2, now: 7 })];
        assert_eq!(members.look(&[gone], at(31)), forgotten);
        assert_eq!(members.look(&[], at(32)), []);
    }

    #[test]
    fn users_have_time_to_come_back_once_there_is_a_ledger_again() {
        let mut members = settled();
        let gone = [Seen { lost: true, ..seen(1, false) }];
        assert_eq!(members.look(&gone, at(11)), []);
        members.connected(at(29).mono);
        assert_eq!(members.look(&gone, at(30)), []);
        assert_eq!(members.look(&gone, at(49)), []);
        assert_eq!(members.look(&gone, at(50)).len(), 1);
    }

    #[test]
    fn a_node_that_hangs_is_ended_and_one_that_beats_is_not() {
        let mut members = settled();
        let verdicts = |members: &mut Members, from: u64, beat: fn(u64) -> i64| {
            let looks = (from..from + 12)
                .map(|second| (second, members.look(&[seen(beat(second), true)], at(second))));
            looks.filter(|(_, verdicts)| !verdicts.is_empty()).map(|(second, _)| second).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&mut members, 20, u64::cast_signed), Vec::<u64>::new());
        assert_eq!(verdicts(&mut members, 32, |_| 3), [37, 42]);
    }

    #[test]
    fn who_did_not_look_knows_nothing_of_the_others() {
        let mut members = settled();
        assert_eq!(members.look(&[seen(1, true)], at(20)), []);
        // This node was stopped itself, or cut off.
        assert_eq!(members.look(&[seen(1, true)], at(60)), []);
        members.connected(at(61).mono);
        assert_eq!(members.look(&[seen(1, false)], at(62)), []);
    }
}
