//! What many changes come to, table by table: each row is then written once, and all rows of a table by one statement.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::{Account, Change, Node, NodeId, Presence, Registration, Request, UserId};
use crate::protocol::PublicKey;
use crate::transport::ConnectionId;

/// What is written one after another, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'c> {
    Rows(Box<Rows<'c>>),
    /// These are rare, and what they take away is known only to the database.
    Release {
        account: &'c Account,
        now: i64,
    },
    AddNode(&'c Node),
    LoseNode(NodeId),
    ForgetNode(NodeId),
}

/// The last state of each row that changes, written in the order of the fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows<'c> {
    pub added: BTreeMap<UserId, (&'c Account, Registration, Times)>,
    pub moved: BTreeMap<UserId, (Registration, i64)>,
    pub seen: BTreeMap<UserId, i64>,
    /// Sessions that are over, if these are the ones that their users hold, with what was said of mates in them.
    pub ended: BTreeSet<(UserId, NodeId, ConnectionId)>,
    /// None: the user is offline.
    pub sessions: BTreeMap<UserId, Option<&'c Presence>>,
    /// Users who have no mates any more, before those that follow.
    pub parted: BTreeSet<UserId>,
    pub mates: BTreeMap<(UserId, PublicKey), bool>,
    pub connections: BTreeMap<(UserId, UserId), Option<i64>>,
    pub requests: BTreeMap<(UserId, UserId), Option<Request>>,
    pub refusals: BTreeMap<(UserId, UserId), Option<i64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub registered: i64,
    pub seen: i64,
}

/// See the module. What the steps do, done in their order, is what the changes do, done in theirs.
pub fn fold(changes: &[Change]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rows = Rows::default();
    for change in changes {
        let step = match change {
            Change::ReleaseName { account, now } => Some(Step::Release { account, now: *now }),
            Change::AddNode { node } => Some(Step::AddNode(node)),
            Change::LoseNode { node } => Some(Step::LoseNode(*node)),
            Change::ForgetNode { node, .. } => Some(Step::ForgetNode(*node)),
            _ => None,
        };
        if step.is_some() || rows.has_to_be_written_before(change) {
            end(&mut rows, &mut steps);
        }
        match step {
            Some(step) => steps.push(step),
            None => rows.take(change),
        }
    }
    end(&mut rows, &mut steps);
    steps
}

fn end<'c>(rows: &mut Rows<'c>, steps: &mut Vec<Step<'c>>) {
    let done = std::mem::take(rows);
    if done != Rows::default() {
        steps.push(Step::Rows(Box::new(done)));
    }
}

impl<'c> Rows<'c> {
    /// Whether what the change does depends on a session of which only the database knows whether it is over.
    fn has_to_be_written_before(&self, change: &Change) -> bool {
        match change {
            Change::LogIn { user, anew: false, .. } => self.ends(*user).next().is_some(),
            Change::LogOut { user, .. } => {
                !self.sessions.contains_key(user) && self.mates_of(*user).next().is_some()
            }
            _ => false,
        }
    }

    fn take(&mut self, change: &'c Change) {
        match change {
            Change::AddUser { account, presence, now } => {
                let times = Times { registered: *now, seen: *now };
                self.added.insert(account.id, (account, account.registration, times));
                self.sessions.insert(account.id, Some(presence));
            }
            Change::LogIn { user, registration, presence, anew, now } => {
                self.move_user(*user, *registration, *now);
                self.sessions.insert(*user, Some(presence));
                if *anew {
                    self.part(*user);
                }
            }
            Change::Move { user, registration, now } => self.move_user(*user, *registration, *now),
            Change::LogOut { user, node, session, now } => {
                self.see(*user, *now);
                match self.sessions.get(user) {
                    None => _ = self.ended.insert((*user, *node, *session)),
                    Some(Some(held)) if (held.node, held.session) == (*node, *session) => {
                        self.sessions.insert(*user, None);
                        self.part(*user);
                    }
                    Some(_) => {}
                }
            }
            Change::AddConnection { one, other, now } => {
                self.connections.insert(pair(*one, *other), Some(*now));
            }
            Change::RemoveConnection { one, other } => {
                self.connections.insert(pair(*one, *other), None);
            }
            Change::SetRequest { asker, target, request } => {
                self.requests.insert((*asker, *target), Some(*request));
            }
            Change::RemoveRequest { asker, target } => {
                self.requests.insert((*asker, *target), None);
            }
            Change::AddRefusal { by, of, now } => {
                self.refusals.insert((*by, *of), Some(*now));
            }
            Change::RemoveRefusal { by, of } => {
                self.refusals.insert((*by, *of), None);
            }
            Change::SetMate { user, key, shares } => {
                self.mates.insert((*user, *key), *shares);
            }
            // It is in the turn, and nowhere else.
            Change::Tell { .. } => {}
            // Steps of their own.
            Change::ReleaseName { .. }
            | Change::AddNode { .. }
            | Change::LoseNode { .. }
            | Change::ForgetNode { .. } => {}
        }
    }

    fn move_user(&mut self, user: UserId, registration: Registration, now: i64) {
        if let Some((_, last, times)) = self.added.get_mut(&user) {
            (*last, times.seen) = (registration, now);
        } else {
            self.moved.insert(user, (registration, now));
            self.seen.remove(&user);
        }
    }

    fn see(&mut self, user: UserId, now: i64) {
        if let Some((.., times)) = self.added.get_mut(&user) {
            times.seen = now;
        } else if let Some((_, seen)) = self.moved.get_mut(&user) {
            *seen = now;
        } else {
            self.seen.insert(user, now);
        }
    }

    /// Whatever was said of mates before does not count any more, however the user's session ended.
    fn part(&mut self, user: UserId) {
        let ended: Vec<_> = self.ends(user).collect();
        ended.iter().for_each(|it| _ = self.ended.remove(it));
        let named: Vec<_> = self.mates_of(user).collect();
        named.iter().for_each(|it| _ = self.mates.remove(it));
        self.parted.insert(user);
    }

    fn ends(&self, user: UserId) -> impl Iterator<Item = (UserId, NodeId, ConnectionId)> {
        let all = (user, NodeId::MIN, ConnectionId::MIN)..=(user, NodeId::MAX, ConnectionId::MAX);
        self.ended.range(all).copied()
    }

    fn mates_of(&self, user: UserId) -> impl Iterator<Item = (UserId, PublicKey)> {
        let [first, last] = [0, u8::MAX].map(|byte| (user, PublicKey([byte; 32])));
        self.mates.range(first..=last).map(|(pair, _)| *pair)
    }
}

fn pair(one: UserId, other: UserId) -> (UserId, UserId) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rendezvous::Strangers;

    fn account(id: UserId) -> Account {
        let registration = Registration {
            address: "192.0.2.1:4000".parse().unwrap(),
            observed: "192.0.2.1".parse().unwrap(),
            strangers: Strangers::Open,
        };
        let key = PublicKey([id.try_into().unwrap(); 32]);
        Account { id, name: format!("user{id}").parse().unwrap(), key, registration }
    }

    fn presence(session: ConnectionId) -> Presence {
        Presence::new(1, session, "192.0.2.1:5000".parse().unwrap())
    }

    fn log_in(user: UserId, session: ConnectionId, anew: bool) -> Change {
        let (registration, presence) = (account(user).registration, presence(session));
        Change::LogIn { user, registration, presence, anew, now: 2 }
    }

    fn log_out(user: UserId, session: ConnectionId) -> Change {
        Change::LogOut { user, node: 1, session, now: 3 }
    }

    fn mate(user: UserId) -> Change {
        Change::SetMate { user, key: account(9).key, shares: true }
    }

    fn rows(steps: Vec<Step<'_>>) -> Vec<Rows<'_>> {
        let rows = steps.into_iter().map(|step| match step {
            Step::Rows(rows) => *rows,
            step => panic!("{step:?}"),
        });
        rows.collect()
    }

    #[test]
    fn a_user_who_comes_and_goes_at_once_is_written_once() {
        let added = Change::AddUser { account: account(1), presence: presence(1), now: 1 };
        let changes =
            [added, log_in(1, 2, true), mate(1), log_out(1, 1), log_out(1, 2), mate(2), log_in(3, 1, true)];
        let [rows] = &rows(fold(&changes))[..] else { panic!() };
        assert_eq!(rows.added[&1].2, Times { registered: 1, seen: 3 });
        assert_eq!(rows.sessions[&1], None);
        assert_eq!(rows.mates.keys().map(|(user, _)| *user).collect::<Vec<_>>(), [2]);
        assert_eq!((rows.moved.len(), rows.ended.len()), (1, 0));
    }

    #[test]
    fn what_depends_on_a_session_that_only_the_database_knows_comes_after_it() {
        let split = |changes: &[Change]| rows(fold(changes)).len();
        assert_eq!(split(&[log_out(1, 1), mate(1)]), 1);
        assert_eq!(split(&[log_out(1, 1), log_in(1, 2, true), mate(1)]), 1);
        assert_eq!(split(&[mate(1), log_out(1, 1)]), 2);
        assert_eq!(split(&[log_out(1, 1), log_in(1, 1, false)]), 2);
    }

    #[test]
    fn what_is_rare_stands_by_itself() {
        let changes = [
            mate(1),
            Change::ReleaseName { account: account(1), now: 1 },
            Change::ForgetNode { node: 4, now: 1 },
            mate(2),
        ];
        let steps = fold(&changes);
        assert!(
            matches!(steps[..], [Step::Rows(_), Step::Release { .. }, Step::ForgetNode(4), Step::Rows(_)]),
            "{steps:?}"
        );
    }
}
