//! How often accounts and networks may do what tells or takes something for nothing: register new names, ask about users
//! who do not exist, and ask for users again and again.

use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;
use std::time::Duration;

use super::users::UserIndex;
use crate::time::Instant;
use crate::transport::networks;
use crate::undo::{Table, transactional};

/// In how long all of a limit is there again; a part of it is there in the same part of this.
const WINDOW: Duration = Duration::from_secs(3600);
/// How many accounts and networks are remembered, in about 6 MiB. When they are more, all are forgotten: a limit of each
/// would not stop what has so many.
const MAX_REMEMBERED: usize = 64 * 1024;
/// How much more a network may do than one of its parts: the next narrower network, or an account.
const WIDER: u32 = 4;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    NewName,
    /// A request for a user who does not exist.
    UnknownName,
    /// The question whose a key is that no user has. Counted apart, for others make a client ask it: by linking.
    UnknownKey,
    /// A request for a user where one of the two has dropped the other: else each could be asked and dropped without
    /// end, and is told every time.
    Anew,
}

/// How often something may be done in an hour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// By each account, and, if no accounts are counted, from each address (an IPv6 network of 64 bits counts as one).
    pub each: u32,
    /// Whether networks are limited too that are this machine itself.
    pub loopback: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub new_names: Limit,
    /// About users who do not exist; and as many requests where one of the two has dropped the other.
    pub questions: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum By {
    Account(UserIndex),
    /// The widths are those of [`networks`]; without them a network and its first part would be one.
    Network(usize, IpAddr),
}

#[derive(Debug)]
pub struct Quota {
    limits: Limits,
    /// When all of the limit is there again. This one moment is all that the generic cell rate algorithm (ITU-T I.371,
    /// virtual scheduling) keeps of the past.
    replenished: Table<HashMap<(Kind, By), Instant>>,
}

impl Quota {
    pub fn new(limits: Limits) -> Self {
        Self { limits, replenished: Table::default() }
    }

    pub fn allows(&self, kind: Kind, user: Option<UserIndex>, from: IpAddr, now: Instant) -> bool {
        self.counted(kind, user, from).all(|(by, interval)| {
            let replenished = self.replenished.get(&(kind, by)).copied().unwrap_or_default();
            replenished.since(now) + interval <= WINDOW
        })
    }

    pub fn count(&mut self, kind: Kind, user: Option<UserIndex>, from: IpAddr, now: Instant) {
        if self.replenished.len() >= MAX_REMEMBERED {
            self.replenished = Table::default();
        }
        for (by, interval) in self.counted(kind, user, from) {
            let replenished = self.replenished.get(&(kind, by)).copied().unwrap_or_default();
            self.replenished.insert((kind, by), replenished.max(now) + interval);
        }
    }

    /// Whose it counts as, each with the time in which one more is allowed.
    fn counted(
        &self,
        kind: Kind,
        user: Option<UserIndex>,
        from: IpAddr,
    ) -> impl Iterator<Item = (By, Duration)> + use<> {
        let Limits { new_names, questions } = self.limits;
        let Limit { each, loopback } = if kind == Kind::NewName { new_names } else { questions };
        let is_limited = loopback || !from.to_canonical().is_loopback();
        let networks = networks(from).into_iter().enumerate().rev().filter(move |_| is_limited);
        let all = user.map(By::Account).into_iter().chain(networks.map(|(width, ip)| By::Network(width, ip)));
        let limits = iter::successors(Some(each), |limit| Some(limit.saturating_mul(WIDER)));
        all.zip(limits).map(|(by, limit)| (by, WINDOW / limit.max(1)))
    }
}

transactional!(Quota { replenished });

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { each: 10, loopback: false };

    fn quota() -> Quota {
        Quota::new(Limits { new_names: LIMIT, questions: LIMIT })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many more it allows, of so many that are tried.
    fn allowed(quota: &mut Quota, user: usize, from: &str, tried: usize, now: Instant) -> usize {
        let (user, from) = (Some(UserIndex::new(user)), ip(from));
        (0..tried)
            .filter(|_| {
                let allows = quota.allows(Kind::UnknownName, user, from, now);
                if allows {
                    quota.count(Kind::UnknownName, user, from, now);
                }
                allows
            })
            .count()
    }

    #[test]
    fn what_is_used_up_comes_back_bit_by_bit() {
        let mut quota = quota();
        let start = Instant::after_start(WINDOW * 3);
        assert_eq!(allowed(&mut quota, 1, "192.0.2.1", 30, start), 10);
        assert!(
            quota.allows(Kind::UnknownKey, Some(UserIndex::new(1)), ip("192.0.2.1"), start),
            "another kind"
        );
        assert_eq!(allowed(&mut quota, 1, "192.0.2.1", 30, start + WINDOW / 10), 1);
        assert_eq!(allowed(&mut quota, 1, "192.0.2.1", 30, start + WINDOW / 2), 4);
        assert_eq!(allowed(&mut quota, 1, "192.0.2.1", 30, start + WINDOW * 9), 10, "no more is saved up");
        let here = |quota: &mut Quota| {
            (2..10).map(|user| allowed(quota, user, "127.0.0.1", 30, start)).sum::<usize>()
        };
        assert_eq!(here(&mut quota), 80, "this machine is not limited, its accounts are");
    }

    #[test]
    fn a_network_is_limited_too_with_all_its_accounts_and_parts() {
        let mut quota = quota();
        let now = Instant::START;
        let of_many = |quota: &mut Quota, from: fn(usize) -> String| {
            (0..1000).map(|user| allowed(quota, user, &from(user), 20, now)).sum::<usize>()
        };
        assert_eq!(of_many(&mut quota, |_| "2001:db8:1:1::1".into()), 40);
        assert_eq!(of_many(&mut quota, |user| format!("2001:db8:2:1{:02x}::1", user % 256)), 160);
        assert_eq!(of_many(&mut quota, |user| format!("2001:db8:3:{user:x}::1")), 640);
        assert_eq!(of_many(&mut quota, |user| format!("198.51.100.{}", user % 256)), 640);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut quota = quota();
        for user in 0..MAX_REMEMBERED {
            allowed(&mut quota, user, &format!("2001:db8:{:x}:1::1", user % 65_536), 1, Instant::START);
        }
        assert!(quota.replenished.len() <= MAX_REMEMBERED + 4);
    }
}
