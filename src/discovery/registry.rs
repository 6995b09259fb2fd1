//! What discovery decides: who is who, what each client is told, and what is kept.
//!
//! A plain state machine: an [`Event`] and the time go in, [`Action`]s and [`Change`]s come out. The caller saves the
//! changes, commits the registry (it is [`Transactional`](crate::undo::Transactional)), and only then acts. If they
//! can't be saved, it rolls the registry back and has it decide on the same events once more, with
//! [`Saving::Unavailable`].

use std::net::SocketAddr;

use super::quota::Quota;
use super::relations::{Relation, Relations};
use super::sessions::{Session, Sessions};
use super::users::{UserIndex, Users};
use crate::accounts::{Account, Change, Snapshot, UserId};
use crate::protocol::rendezvous::{
    About, Asks, Identity, Refused, RefusedCode, Register, Registered, Request, Status, ToClient,
    ToDiscovery, given_out,
};
use crate::protocol::{Name, PublicKey};
use crate::time::{Instant, Now};
use crate::transport::{ConnectionId, network};
use crate::undo::{Table, transactional};

pub use super::quota::Limits;
pub use super::sessions::REGISTER_WITHIN;

/// How many requests and connections together one account may have when it asks for another user.
pub const MAX_CONTACTS: usize = 1000;
/// How many pending requests there may be for one account.
pub const MAX_REQUESTS_FOR: usize = 1000;

/// What happens to discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client has proved to hold `key`. The session's number is higher than any before.
    Opened {
        session: ConnectionId,
        key: PublicKey,
        from: SocketAddr,
    },
    Message {
        session: ConnectionId,
        message: ToDiscovery,
    },
    /// Part of a frame has arrived.
    Alive {
        session: ConnectionId,
    },
    Closed {
        session: ConnectionId,
    },
}

/// What discovery does, once what it has decided is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        session: ConnectionId,
        message: ToClient,
    },
    /// After what was to be sent before.
    Close {
        session: ConnectionId,
    },
}

/// Whether changes can be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// As far as is known.
    Available,
    /// No changes come out. An event that needs one is refused with [`RefusedCode::NOT_SAVED`], and everything else
    /// goes on: look-ups, users who log in where they were before, users who go offline.
    Unavailable,
}

#[derive(Debug, Default)]
pub struct Decisions {
    pub changes: Vec<Change>,
    pub actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    pub users: u64,
    /// Accounts that hold a session.
    pub online: u64,
    /// Connections whose key is proved, also those that have not registered.
    pub sessions: u64,
    /// Pairs of users who have been linked.
    pub connections: u64,
    pub requests: u64,
}

#[derive(Debug)]
pub struct Registry {
    users: Users,
    relations: Table<Relations>,
    sessions: Sessions,
    quota: Quota,
}

impl Registry {
    /// Starts from what is kept: every user is offline.
    pub fn new(snapshot: Snapshot, limits: Limits) -> Self {
        let Snapshot { accounts, connections, requests, released } = snapshot;
        let users = Users::new(accounts, released);
        let mut relations = Relations::default();
        let connections = connections.into_iter().map(|pair| (pair, Relation::connection as fn(_, _) -> _));
        let requests = requests.into_iter().map(|pair| (pair, Relation::Request as fn(_, _) -> _));
        for ((one, other), relation) in connections.chain(requests) {
            // Both are there, for the database checks foreign keys.
            if let (Some(one), Some(other)) = (users.with_id(one), users.with_id(other)) {
                relations.set(relation(one, other), true);
            }
        }
        Self {
            users,
            relations: Table::new(relations),
            sessions: Sessions::default(),
            quota: Quota::new(limits),
        }
    }

    pub fn handle(&mut self, event: &Event, now: Now, saving: Saving, decisions: &mut Decisions) {
        let mut turn = self.turn(now, saving, decisions);
        match event {
            Event::Opened { session, key, from } => turn.sessions.open(*session, *key, *from, now.mono),
            Event::Message { session, message } => turn.message(*session, message),
            Event::Alive { session } => _ = turn.sessions.received(*session, now.mono),
            Event::Closed { session } => turn.end(*session),
        }
    }

    /// Ends the sessions that have been silent for too long.
    pub fn tick(&mut self, now: Now, saving: Saving, decisions: &mut Decisions) {
        let mut turn = self.turn(now, saving, decisions);
        while let Some(session) = turn.sessions.overdue(now.mono) {
            turn.end(session);
        }
    }

    /// Releases a name, on the operator's decision: the account's session ends, its requests and connections are
    /// forgotten, and the first *other* key that wants the name has it. Returns the key that had it, if there was one.
    ///
    /// The next holder of the name is not told which users the account knew; and the account's own client, which comes
    /// back by itself, would have the name again at once if its key could take it.
    pub fn release(&mut self, name: &Name, now: Now, decisions: &mut Decisions) -> Option<PublicKey> {
        let user = self.users.named(name)?;
        let account = self.users.get(user)?.clone();
        let mut turn = self.turn(now, Saving::Available, decisions);
        if let Some(session) = turn.sessions.of(user) {
            turn.end(session);
        }
        for other in turn.relations.related(user) {
            turn.relations.remove(&Relation::connection(user, other));
            turn.relations.remove(&Relation::Request(user, other));
            turn.relations.remove(&Relation::Request(other, user));
        }
        turn.users.release(user);
        let key = account.key;
        turn.change(Change::ReleaseName { account, now: now.wall });
        Some(key)
    }

    pub fn figures(&self) -> Figures {
        Figures {
            users: self.users.count() as u64,
            online: self.sessions.online() as u64,
            sessions: self.sessions.count() as u64,
            connections: self.relations.connections,
            requests: self.relations.requests,
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.sessions.next_due()
    }

    fn turn<'r>(&'r mut self, now: Now, saving: Saving, decisions: &'r mut Decisions) -> Turn<'r> {
        let Self { users, relations, sessions, quota } = self;
        Turn { users, relations, sessions, quota, now, saving, decisions }
    }
}

// `Saving::Unavailable` leads to no changes, but to a new state, which is to be committed all the same.
transactional!(Registry { users, relations, sessions, quota });

struct Turn<'r> {
    users: &'r mut Users,
    relations: &'r mut Table<Relations>,
    sessions: &'r mut Sessions,
    quota: &'r mut Quota,
    now: Now,
    saving: Saving,
    decisions: &'r mut Decisions,
}

impl Turn<'_> {
    fn message(&mut self, session: ConnectionId, message: &ToDiscovery) {
        let Some(&Session { user, .. }) = self.sessions.received(session, self.now.mono) else {
            return;
        };
        match (message, user) {
            (ToDiscovery::Register(register), _) => self.register(session, register),
            (ToDiscovery::Ping, _) => self.send(session, ToClient::Pong),
            (ToDiscovery::Logout, _) => self.end(session),
            (ToDiscovery::Request(about), Some(asker)) => self.request(session, asker, &about.name),
            (ToDiscovery::Drop(_), Some(_)) => {}
            (ToDiscovery::Identify(asked), Some(_)) => self.identify(session, asked.key),
            (ToDiscovery::Request(Request { name, .. }) | ToDiscovery::Drop(About { name }), None) => {
                self.refuse(session, RefusedCode::NOT_REGISTERED, Some(name));
            }
            (ToDiscovery::Identify(_), None) => self.refuse(session, RefusedCode::NOT_REGISTERED, None),
        }
    }

    fn register(&mut self, session: ConnectionId, wanted: &Register) {
        let Some(&Session { key, from, .. }) = self.sessions.get(session) else {
            return;
        };
        let name = &wanted.name;
        self.sessions.set_start(session, wanted.start);
        match (self.users.named(name), self.users.holder(&key)) {
            (Some(named), Some(holder)) if named == holder => self.log_in(session, from, named, wanted),
            (Some(_), _) => self.refuse(session, RefusedCode::NAME_TAKEN, Some(name)),
            (None, Some(_)) => self.refuse(session, RefusedCode::KEY_IN_USE, Some(name)),
            (None, None) => {
                if let Err(code) = self.sign_up(session, key, from, wanted) {
                    self.refuse(session, code, Some(name));
                }
            }
        }
    }

    fn sign_up(
        &mut self,
        session: ConnectionId,
        key: PublicKey,
        from: SocketAddr,
        Register { name, listen, .. }: &Register,
    ) -> Result<(), RefusedCode> {
        if self.users.released_from(name) == Some(key) {
            return Err(RefusedCode::RELEASED);
        }
        let network = network(from.ip());
        if !self.quota.allows(network, self.now.mono) {
            return Err(RefusedCode::TOO_MANY_NAMES);
        }
        self.can_save()?;
        let address = given_out(*listen, from.ip());
        let (user, account) = self.users.add(name.clone(), key, address);
        self.change(Change::AddUser { account, now: self.now.wall });
        self.quota.count(network);
        self.welcome(session, user, address);
        Ok(())
    }

    /// Gives a session to the user it belongs to, or notes that the user has moved.
    fn log_in(&mut self, session: ConnectionId, from: SocketAddr, user: UserIndex, wanted: &Register) {
        let address = given_out(wanted.listen, from.ip());
        let held = self.sessions.of(user);
        let start_of = |session| self.sessions.get(session).and_then(|session| session.start);
        let same_start =
            |other| other != session && start_of(session).is_some() && start_of(other) == start_of(session);
        let again = held.is_some_and(same_start);
        if let Some(newer) = held.filter(|held| *held > session) {
            // This message was under way for so long that a session opened later has overtaken it.
            if !again && let Some(address) = self.sessions.get(newer).map(|newer| newer.from) {
                self.send(session, ToClient::Superseded(Registered { address }));
            }
            return self.end(session);
        }
        let Some(&Account { id, address: last, .. }) = self.users.get(user) else {
            return;
        };
        let moved = last != address;
        if moved && let Err(code) = self.can_save() {
            return self.refuse(session, code, Some(&wanted.name));
        }
        let changed = moved || held.is_none();
        if changed {
            self.change(Change::SetAddress { user: id, address, now: self.now.wall });
        }
        if moved {
            self.users.set_address(user, address);
        }
        if let Some(older) = held.filter(|older| *older != session) {
            if !again {
                self.send(older, ToClient::Superseded(Registered { address: from }));
            }
            self.sessions.end(older);
            self.decisions.actions.push(Action::Close { session: older });
        }
        self.welcome(session, user, address);
        if changed {
            self.tell_related(user);
        }
    }

    /// The session is the user's from now on, and is told everything that concerns the user.
    fn welcome(&mut self, session: ConnectionId, user: UserIndex, address: SocketAddr) {
        self.sessions.register(session, user);
        self.send(session, ToClient::Registered(Registered { address }));
        for other in self.relations.related(user) {
            self.tell(session, user, other);
        }
        self.send(session, ToClient::Synced);
    }

    fn request(&mut self, session: ConnectionId, asker: UserIndex, name: &Name) {
        let Some(target) = self.users.named(name) else {
            return self.send(session, ToClient::NoSuchUser(About { name: name.clone() }));
        };
        if target == asker {
            return self.refuse(session, RefusedCode::YOURSELF, Some(name));
        }
        if !self.relations.connected(asker, target) && !self.relations.asks(asker, target) {
            let answers = self.relations.asks(target, asker);
            let done = if answers { self.connect(asker, target) } else { self.ask(asker, target) };
            if let Err(code) = done {
                return self.refuse(session, code, Some(name));
            }
            if let Some(theirs) = self.sessions.of(target) {
                self.tell(theirs, target, asker);
            }
        }
        self.tell(session, asker, target);
    }

    fn ask(&mut self, asker: UserIndex, target: UserIndex) -> Result<(), RefusedCode> {
        let known = self.relations.of(asker);
        if known.asked.len() + known.connected.len() >= MAX_CONTACTS {
            return Err(RefusedCode::TOO_MANY_REQUESTS);
        }
        if self.relations.of(target).asked_by.len() >= MAX_REQUESTS_FOR {
            return Err(RefusedCode::TARGET_FULL);
        }
        self.can_save()?;
        self.relations.insert(Relation::Request(asker, target), ());
        if let Some([asker, target]) = self.ids([asker, target]) {
            self.change(Change::AddRequest { asker, target, now: self.now.wall });
        }
        Ok(())
    }

    fn connect(&mut self, user: UserIndex, other: UserIndex) -> Result<(), RefusedCode> {
        let full = |user| self.relations.of(user).connected.len() >= MAX_CONTACTS;
        if !self.relations.connected(user, other) {
            if full(user) {
                return Err(RefusedCode::TOO_MANY_REQUESTS);
            }
            if full(other) {
                return Err(RefusedCode::TARGET_FULL);
            }
        }
        self.can_save()?;
        self.relations.insert(Relation::connection(user, other), ());
        if let Some([one, other]) = self.ids([user, other]) {
            self.change(Change::AddConnection { one, other, now: self.now.wall });
        }
        self.settle(user, other);
        self.settle(other, user);
        Ok(())
    }

    /// Forgets a request, if there is one.
    fn settle(&mut self, asker: UserIndex, target: UserIndex) {
        if self.relations.remove(&Relation::Request(asker, target)).is_some()
            && let Some([asker, target]) = self.ids([asker, target])
        {
            self.change(Change::RemoveRequest { asker, target });
        }
    }

    fn identify(&mut self, session: ConnectionId, key: PublicKey) {
        let holder = self.users.holder(&key).and_then(|user| self.users.get(user));
        let name = holder.map(|account| account.name.clone());
        self.send(session, ToClient::Identity(Identity { key, name }));
    }

    /// Ends a session. If a user holds it, the user is offline from now on.
    fn end(&mut self, session: ConnectionId) {
        let Some(user) = self.sessions.end(session) else {
            return;
        };
        self.decisions.actions.push(Action::Close { session });
        let Some(user) = user else {
            return;
        };
        if let Some(id) = self.users.get(user).map(|account| account.id) {
            self.change(Change::SetSeen { user: id, now: self.now.wall });
        }
        self.tell_related(user);
    }

    fn tell_related(&mut self, user: UserIndex) {
        for other in self.relations.related(user) {
            if let Some(session) = self.sessions.of(other) {
                self.tell(session, other, user);
            }
        }
    }

    /// Tells `told`, in `session`, what is known of `user`.
    fn tell(&mut self, session: ConnectionId, told: UserIndex, user: UserIndex) {
        if let Some(Account { name, key, address, .. }) = self.users.get(user) {
            let status = Status {
                name: name.clone(),
                key: *key,
                address: Some(*address),
                online: Some(self.sessions.of(user).is_some()),
                asks: if self.relations.asks(user, told) { Asks::Typed } else { Asks::No },
                connected: self.relations.connected(user, told),
            };
            self.send(session, ToClient::Status(status));
        }
    }

    fn refuse(&mut self, session: ConnectionId, code: RefusedCode, name: Option<&Name>) {
        self.send(session, ToClient::Refused(Refused { code, name: name.cloned() }));
    }

    fn send(&mut self, session: ConnectionId, message: ToClient) {
        self.decisions.actions.push(Action::Send { session, message });
    }

    fn can_save(&self) -> Result<(), RefusedCode> {
        if self.saving == Saving::Available { Ok(()) } else { Err(RefusedCode::NOT_SAVED) }
    }

    /// Has a change saved. Where nothing can be saved, only changes that may be lost come here.
    fn change(&mut self, change: Change) {
        if self.saving == Saving::Available {
            self.decisions.changes.push(change);
        }
    }

    fn ids(&self, [one, other]: [UserIndex; 2]) -> Option<[UserId; 2]> {
        Some([self.users.get(one)?.id, self.users.get(other)?.id])
    }
}

#[cfg(test)]
mod tests;
