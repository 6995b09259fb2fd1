//! What nodes that share a ledger learn of each other's users.
//!
//! Each node tells its own sessions what a turn of another one means for them. It applies such a turn with
//! [`Saving::Unavailable`], for of what others have changed there is nothing to save. Who has done something at another node is told of
//! it here too: a user may have come here since, and was told what was known before, for nothing could be saved.

use std::net::SocketAddr;

use super::{Action, Decisions, Registry, Saving, Turn};
use crate::accounts::reach::Reach;
use crate::accounts::{Account, Change, NodeId, Presence, Registration, Snapshot, UserId};
use crate::discovery::quota::Kind;
use crate::discovery::relations::Relation;
use crate::discovery::users::UserIndex;
use crate::protocol::rendezvous::{Register, Registered, ToClient};
use crate::time::Now;
use crate::transport::ConnectionId;

/// Whether a session is one that its own client has given up for the other one.
pub(super) fn is_older(it: &Presence, than: &Presence) -> bool {
    it.start.is_some() && it.start == than.start && it.dial < than.dial
}

impl Registry {
    /// Takes what another node has changed, or this one in a turn of which it did not know the outcome. No changes
    /// come out.
    pub fn apply(&mut self, changes: &[Change], now: Now, decisions: &mut Decisions) {
        let mut turn = self.turn(now, Saving::Unavailable, decisions);
        changes.iter().for_each(|change| turn.apply(change));
        for change in changes {
            if let Change::RemoveRequest { asker, target } = change {
                turn.with_both(*asker, *target, |turn, asker, target| turn.request_ended(asker, target));
            }
        }
    }

    /// Makes a change that concerns nodes only.
    pub fn change_nodes(&mut self, change: &Change, now: Now, decisions: &mut Decisions) {
        let news = match change {
            Change::AddNode { node } => self.presences.node(node.id) != Some(node),
            Change::LoseNode { node } => self.presences.node(*node).is_some_and(|node| !node.lost),
            Change::ForgetNode { node, .. } => self.presences.node(*node).is_some_and(|node| node.lost),
            _ => false,
        };
        if news {
            self.apply(std::slice::from_ref(change), now, decisions);
            decisions.changes.push(change.clone());
        }
    }

    /// Brings the ledger to say which sessions there are here, after a time in which nothing could be saved.
    pub fn announce(&mut self, now: Now, decisions: &mut Decisions) {
        let mut turn = self.turn(now, Saving::Available, decisions);
        for (user, session) in turn.presences.at(turn.presences.own()) {
            if turn.sessions.of(user) != Some(session) {
                turn.end_presence(user, session);
            }
        }
        let mut held: Vec<_> = turn.sessions.held().collect();
        held.sort_unstable();
        for (user, session) in held {
            turn.announce(user, session);
        }
    }

    /// What is kept, as far as this node knows: what a ledger would load.
    pub fn snapshot(&self) -> Snapshot {
        let id = |user| self.users.get(user).map(|account| account.id);
        let (connections, requests, refusals) = self.relations.all();
        let pair = |(one, other)| Some((id(one)?, id(other)?));
        let requests =
            requests.filter_map(|(users, request)| pair(users).map(|(one, other)| (one, other, request)));
        let refusals =
            refusals.filter_map(|(users, since)| pair(users).map(|(one, other)| (one, other, since)));
        let presences =
            self.presences.all().filter_map(|(user, presence)| Some((id(user)?, presence.clone())));
        let mut snapshot = Snapshot {
            accounts: self.users.all().cloned().collect(),
            last_id: self.users.last_id(),
            connections: connections.filter_map(pair).collect(),
            requests: requests.collect(),
            refusals: refusals.collect(),
            released: self.users.all_released().map(|(name, key)| (name.clone(), *key)).collect(),
            nodes: self.presences.nodes().cloned().collect(),
            presences: presences.collect(),
            mates: self.mates.all_kept().filter_map(|(user, key)| Some((id(user)?, key))).collect(),
        };
        snapshot.released.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        snapshot.presences.sort_unstable_by_key(|(user, _)| *user);
        snapshot
    }

    /// Ends all sessions: what clients were told may not hold.
    pub fn end_all(&mut self, now: Now, decisions: &mut Decisions) {
        let mut turn = self.turn(now, Saving::Unavailable, decisions);
        let mut all: Vec<_> = turn.sessions.all().collect();
        all.sort_unstable();
        all.into_iter().for_each(|session| turn.end(session));
    }
}

impl Turn<'_> {
    /// The session that a user is about to hold.
    pub(super) fn presence(&self, session: ConnectionId, from: SocketAddr, wanted: &Register) -> Presence {
        let (start, dial, reach) = (wanted.start, wanted.dial, Reach::of(wanted));
        Presence { node: self.presences.own(), session, start, dial, from, reach }
    }

    /// Has it saved that a user is online in a session, unless that is nothing new.
    pub(super) fn save_presence(
        &mut self,
        user: UserIndex,
        registration: Registration,
        presence: Presence,
        anew: bool,
    ) {
        let Some(&Account { id, registration: last, .. }) = self.users.get(user) else {
            return;
        };
        let is_held = self.presences.of(user) == Some(&presence);
        if self.saving == Saving::Unavailable || (is_held && registration == last) {
            return;
        }
        let now = self.now.wall;
        if is_held && self.presences.all_read(Change::MOVE) {
            return self.change(Change::Move { user: id, registration, now });
        }
        self.presences.set(user, presence.clone());
        if anew {
            self.mates.forget_kept(user);
        }
        self.change(Change::LogIn { user: id, registration, presence, anew, now });
    }

    /// Has it saved that a session of this node is over. Until that is possible the ledger says otherwise.
    pub(super) fn end_presence(&mut self, user: UserIndex, session: ConnectionId) {
        let node = self.presences.own();
        let can_save = self.saving == Saving::Available;
        let Some(id) = self.users.get(user).map(|account| account.id).filter(|_| can_save) else {
            return;
        };
        if self.presences.end(user, node, session) {
            self.change(Change::LogOut { user: id, node, session, now: self.now.wall });
            self.mates.forget_kept(user);
        }
    }

    fn announce(&mut self, user: UserIndex, session: ConnectionId) {
        let (Some(account), Some(open)) = (self.users.get(user), self.sessions.get(session)) else {
            return;
        };
        let registration = account.registration;
        let (start, dial, from, reach) = (open.start, open.dial, open.from, open.reach.clone());
        let presence = Presence { node: self.presences.own(), session, start, dial, from, reach };
        if self.presences.of(user) != Some(&presence) {
            self.save_presence(user, registration, presence, true);
        }
        self.announce_mates(user);
        // It was told of them when that could not be saved.
        let asking: Vec<_> = self.relations.asking(user).collect();
        for asker in asking {
            if let Some(request) =
                self.relations.request(asker, user).filter(|request| request.told.is_none())
            {
                self.note_told(asker, user, request);
            }
        }
    }

    /// All that is known of an account goes. Those who knew it are told of the name's next holder.
    pub(super) fn forget_account(&mut self, user: UserIndex) {
        let Some(name) = self.users.get(user).map(|account| account.name.clone()) else {
            return;
        };
        if let Some(session) = self.sessions.of(user) {
            self.end(session);
        }
        self.presences.remove(user);
        for other in self.relations.all_related(user) {
            self.awaited.wait(&name, other);
        }
        self.relations.remove_all(user);
        self.mates.forget_kept(user);
        self.users.release(user);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::AddUser { account, presence, .. } => self.user_added(account, presence),
            Change::LogIn { user, registration, presence, anew, .. } => {
                self.with(*user, |turn, user| turn.logged_in(user, *registration, presence, *anew));
            }
            Change::Move { user, registration, .. } => {
                self.with(*user, |turn, user| turn.moved(user, *registration));
            }
            Change::LogOut { user, node, session, .. } => {
                self.with(*user, |turn, user| {
                    if turn.presences.end(user, *node, *session) {
                        turn.gone(user);
                    }
                });
            }
            Change::AddConnection { one, other, .. } => self.with_both(*one, *other, |turn, one, other| {
                turn.relations.connect(one, other);
                turn.tell_each([one], other);
                turn.tell_each([other], one);
            }),
            Change::RemoveConnection { one, other } => self.with_both(*one, *other, |turn, one, other| {
                let (one, other) = (one.min(other), one.max(other));
                turn.relations.remove(Relation::Connection(one, other));
            }),
            Change::SetRequest { asker, target, request } => {
                self.with_both(*asker, *target, |turn, asker, target| {
                    turn.relations.set_request(asker, target, *request);
                    turn.tell_each([target], asker);
                    turn.tell_each([asker], target);
                });
            }
            Change::RemoveRequest { asker, target } => {
                self.with_both(*asker, *target, |turn, asker, target| {
                    turn.relations.remove(Relation::Request(asker, target));
                })
            }
            Change::AddRefusal { by, of, now } => self.with_both(*by, *of, |turn, by, of| {
                // Those that make room for it are changes of their own.
                turn.relations.refuse(by, of, *now);
                if let Some(session) = turn.sessions.of(of) {
                    turn.tell_dropped(session, by);
                }
                turn.tell_each([by], of);
            }),
            Change::RemoveRefusal { by, of } => self.with_both(*by, *of, |turn, by, of| {
                turn.relations.remove(Relation::Refusal(by, of));
            }),
            Change::ReleaseName { account, .. } => {
                self.with(account.id, |turn, user| turn.forget_account(user))
            }
            Change::SetMate { user, key, shares } => {
                self.with(*user, |turn, user| turn.mate_elsewhere(user, *key, *shares));
            }
            Change::Tell { user, message } => self.with(*user, |turn, user| {
                if let Some(session) = turn.sessions.of(user) {
                    turn.send(session, message.clone());
                }
            }),
            Change::AddNode { node } => self.presences.add_node(node.clone()),
            Change::LoseNode { node } => self.presences.lose_node(*node),
            Change::ForgetNode { node, .. } => self.node_forgotten(*node),
        }
    }

    fn with(&mut self, id: UserId, then: impl FnOnce(&mut Self, UserIndex)) {
        if let Some(user) = self.users.with_id(id) {
            then(self, user);
        }
    }

    fn with_both(&mut self, one: UserId, other: UserId, then: impl FnOnce(&mut Self, UserIndex, UserIndex)) {
        if let (Some(one), Some(other)) = (self.users.with_id(one), self.users.with_id(other)) {
            then(self, one, other);
        }
    }

    /// Nothing was said of a request that counted as unheard. Its target may have come here meanwhile, and was told of it.
    fn request_ended(&mut self, asker: UserIndex, target: UserIndex) {
        if self.relations.between(asker, target).next().is_none() {
            self.tell_each([target], asker);
        }
    }

    fn user_added(&mut self, account: &Account, presence: &Presence) {
        let user = self.users.add(account.clone());
        self.presences.set(user, presence.clone());
        self.quota.count(Kind::NewName, None, presence.from.ip(), self.now.mono);
        let waiting = self.awaited.take(&account.name);
        self.tell_each(waiting, user);
    }

    fn logged_in(&mut self, user: UserIndex, registration: Registration, presence: &Presence, anew: bool) {
        let Some(last) = self.users.get(user).map(|account| account.registration) else {
            return;
        };
        let before = self.whereabouts(user).map(|(_, reach)| reach.clone());
        let mates: Vec<_> = if anew { self.mates_of(user).collect() } else { Vec::new() };
        self.users.register(user, registration);
        self.presences.set(user, presence.clone());
        if anew {
            self.mates.forget_kept(user);
        }
        self.displace(user, presence);
        self.tell_each(mates, user);
        self.tell_moved(user, last, before.as_ref());
    }

    fn moved(&mut self, user: UserIndex, registration: Registration) {
        let Some(last) = self.users.get(user).map(|account| account.registration) else {
            return;
        };
        let reach = self.whereabouts(user).map(|(_, reach)| reach.clone());
        self.users.register(user, registration);
        self.tell_moved(user, last, reach.as_ref());
    }

    /// A session that the user holds here is over, for the user holds another one at another node.
    fn displace(&mut self, user: UserIndex, by: &Presence) {
        let Some(session) = self.sessions.of(user).filter(|_| by.node != self.presences.own()) else {
            return;
        };
        let Some(open) = self.sessions.get(session) else {
            return;
        };
        let again = open.start.is_some() && open.start == by.start;
        if again && open.dial > by.dial {
            // The ledger hears of it as soon as this node can tell it.
            return;
        }
        if !again {
            let address = by.from;
            self.send(session, ToClient::Superseded(Registered { address, observed: address }));
        }
        self.sessions.end(session);
        self.mates.end(user);
        self.decisions.actions.push(Action::Close { session });
    }

    /// A user holds no session any more at another node.
    fn gone(&mut self, user: UserIndex) {
        if self.sessions.of(user).is_none() {
            self.tell_contacts(user);
            self.tell_askers(user, false);
        }
        self.mates.forget_kept(user);
    }

    fn node_forgotten(&mut self, node: NodeId) {
        for (user, session) in self.presences.at(node) {
            self.presences.end(user, node, session);
            self.gone(user);
        }
        self.presences.forget_node(node);
    }
}
