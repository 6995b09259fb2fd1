//! What discovery decides: who is who, what each client is told, and what is kept.
//!
//! A plain state machine: an [`Event`] and the time go in, [`Action`]s and [`Change`]s come out. The caller saves the
//! changes, commits the registry (it is [`Transactional`](crate::undo::Transactional)), and only then acts. If they
//! can't be saved, it rolls the registry back and has it decide on the same events once more, with
//! [`Saving::Unavailable`].

use std::net::SocketAddr;
use std::time::Duration;

use super::awaited::Awaited;
use super::mates::Mates;
use super::presences::Presences;
use super::quota::{Kind, Quota};
use super::relations::Relations;
use super::sessions::{Session, Sessions};
use super::users::{ByStrangers, UserIndex, Users};
use crate::accounts::{ALONE, Account, Change, NodeId, Registration, Snapshot, UserId};
use crate::protocol::rendezvous::{
    About, Punch, Refused, RefusedCode, Register, Registered, Request, Strangers, ToClient, ToDiscovery,
    given_out,
};
use crate::protocol::{Name, PublicKey};
use crate::time::{Instant, Now};
use crate::transport::ConnectionId;
use crate::undo::{Value, transactional};
use helping::Punched;
use sharing::is_older;

pub use super::quota::{Limit, Limits};
pub use super::relations::MAX_REFUSALS;
pub use super::sessions::REGISTER_WITHIN;
pub use helping::{PUNCH_AGAIN, Side, Whereabouts};
pub use requests::{MAX_CONTACTS, MAX_REQUESTS_FOR, MAX_UNANSWERED};

mod helping;
mod mates;
mod requests;
mod sharing;
mod telling;

/// How often requests that were not answered in time are looked for.
const ENDS_EVERY: Duration = Duration::from_secs(60);
/// How many of them end at a time.
const MOST_ENDS: usize = 1000;

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
    /// Both are told, with a token that is still to be drawn.
    Punch {
        sides: [(Whereabouts, Punch); 2],
    },
    /// Both get a ticket, if there is room for another relayed link. The first one dials.
    Relay {
        sides: [Side; 2],
    },
}

impl Action {
    /// Whether another node has to tell a user something.
    pub fn is_passed_on(&self) -> bool {
        let is_elsewhere = |at: &Whereabouts| matches!(at, Whereabouts::Elsewhere(_));
        match self {
            Self::Send { .. } | Self::Close { .. } => false,
            Self::Punch { sides } => sides.iter().any(|(at, _)| is_elsewhere(at)),
            Self::Relay { sides } => sides.iter().any(|side| is_elsewhere(&side.at)),
        }
    }
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
    /// Beside the turn that the changes need, if there are any.
    pub needs: Needs,
}

/// What has to come first, at one of several nodes, before what was decided holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    #[default]
    Nothing,
    /// It depends on what other nodes may have changed by now: the ledger has to be read after the question came.
    Read,
    /// It leads to something that other nodes are told: it takes a turn of this node.
    Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    pub users: u64,
    /// Accounts that hold a session, at whatever node.
    pub online: u64,
    /// Connections whose key is proved, also those that have not registered.
    pub sessions: u64,
    /// Pairs of users who have both asked.
    pub connections: u64,
    /// Those that were not answered.
    pub requests: u64,
    /// How often a user has dropped another one, who would be told of it.
    pub refusals: u64,
    pub strangers: ByStrangers,
}

#[derive(Debug)]
pub struct Registry {
    users: Users,
    relations: Relations,
    sessions: Sessions,
    mates: Mates,
    presences: Presences,
    awaited: Awaited,
    quota: Quota,
    punched: Punched,
    /// When to look for requests whose time is over. A disk that fails then is not tried again before.
    ends_due: Value<Instant>,
}

impl Registry {
    /// Starts from what is kept: no user is online here.
    pub fn new(node: NodeId, snapshot: Snapshot, limits: Limits) -> Self {
        let Snapshot { accounts, last_id, connections, requests, refusals, released, .. } = snapshot;
        let users = Users::new(accounts, last_id, released);
        let presences = snapshot.presences.into_iter();
        let presences = presences.filter_map(|(id, presence)| Some((users.with_id(id)?, presence)));
        let presences = Presences::new(node, presences, snapshot.nodes);
        let mates = snapshot.mates.into_iter();
        let mates = Mates::new(mates.filter_map(|(id, key)| Some((users.with_id(id)?, key))));
        // Both are there, for the database checks foreign keys.
        let pair = |one, other| Some((users.with_id(one)?, users.with_id(other)?));
        let relations = Relations::new(
            connections.into_iter().filter_map(|(one, other)| pair(one, other)),
            requests.into_iter().filter_map(|(asker, target, request)| Some((pair(asker, target)?, request))),
            refusals.into_iter().filter_map(|(by, of, since)| Some((pair(by, of)?, since))),
        );
        Self {
            users,
            relations,
            sessions: Sessions::default(),
            mates,
            presences,
            awaited: Awaited::default(),
            quota: Quota::new(limits),
            punched: Punched::default(),
            ends_due: Value::new(Instant::START),
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

    pub const fn node(&self) -> NodeId {
        self.presences.own()
    }

    /// Whether no other node changes what is kept.
    pub const fn is_alone(&self) -> bool {
        self.presences.own() == ALONE
    }

    /// Ends the sessions that have been silent and the requests that have been unanswered for too long.
    pub fn tick(&mut self, now: Now, saving: Saving, decisions: &mut Decisions) {
        let look = now.mono >= *self.ends_due;
        if look {
            *self.ends_due = now.mono + ENDS_EVERY;
        }
        let mut turn = self.turn(now, saving, decisions);
        while let Some(session) = turn.sessions.overdue(now.mono) {
            turn.end(session);
        }
        if look && saving == Saving::Available {
            turn.end_requests(MOST_ENDS);
        }
    }

    /// Releases a name, on the operator's decision: the account's session ends, what stands between it and others
    /// is forgotten, and the first *other* key that wants the name has it. Returns the key that had it, if there was one.
    ///
    /// The next holder of the name is not told which users the account knew; and the account's own client, which comes
    /// back by itself, would have the name again at once if its key could take it.
    pub fn release(&mut self, name: &Name, now: Now, decisions: &mut Decisions) -> Option<PublicKey> {
        let user = self.users.named(name)?;
        let account = self.users.get(user)?.clone();
        let mut turn = self.turn(now, Saving::Available, decisions);
        turn.forget_account(user);
        let key = account.key;
        turn.change(Change::ReleaseName { account, now: now.wall });
        Some(key)
    }

    pub fn figures(&self) -> Figures {
        let [connections, requests, refusals] = self.relations.counts();
        Figures {
            users: self.users.count() as u64,
            online: (self.sessions.online() + self.presences.count_elsewhere()) as u64,
            sessions: self.sessions.count() as u64,
            connections,
            requests,
            refusals,
            strangers: self.users.by_strangers(),
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let ends = self.relations.will_end().then_some(*self.ends_due);
        self.sessions.next_due().into_iter().chain(ends).min()
    }

    fn turn<'r>(&'r mut self, now: Now, saving: Saving, decisions: &'r mut Decisions) -> Turn<'r> {
        let Self { users, relations, sessions, mates, presences, awaited, quota, punched, ends_due: _ } =
            self;
        Turn { users, relations, sessions, mates, presences, awaited, quota, punched, now, saving, decisions }
    }
}

// `Saving::Unavailable` leads to no changes, but to a new state, which is to be committed all the same.
transactional!(Registry { users, relations, sessions, mates, presences, awaited, quota, punched, ends_due });

struct Turn<'r> {
    users: &'r mut Users,
    relations: &'r mut Relations,
    sessions: &'r mut Sessions,
    mates: &'r mut Mates,
    presences: &'r mut Presences,
    awaited: &'r mut Awaited,
    quota: &'r mut Quota,
    punched: &'r mut Punched,
    now: Now,
    saving: Saving,
    decisions: &'r mut Decisions,
}

impl Turn<'_> {
    fn message(&mut self, session: ConnectionId, message: &ToDiscovery) {
        let Some(&Session { user, from, .. }) = self.sessions.received(session, self.now.mono) else {
            return;
        };
        match (message, user) {
            (ToDiscovery::Register(register), _) => self.register(session, register),
            (ToDiscovery::Ping, _) => self.send(session, ToClient::Pong),
            (ToDiscovery::Logout, _) => self.end(session),
            (ToDiscovery::Request(request), Some(asker)) => self.request(session, from.ip(), asker, request),
            (ToDiscovery::Drop(about), Some(user)) => self.drop_user(session, user, &about.name),
            (ToDiscovery::Identify(asked), Some(asker)) => {
                self.identify(session, from.ip(), asker, asked.key)
            }
            (ToDiscovery::Punch(about), Some(asker)) => self.punch(session, asker, &about.name),
            (ToDiscovery::Relay(about), Some(asker)) => self.relay(session, asker, &about.name),
            (ToDiscovery::Mate(mate), Some(user)) => self.mate(session, user, mate),
            (
                ToDiscovery::Request(Request { name, .. })
                | ToDiscovery::Drop(About { name })
                | ToDiscovery::Punch(About { name })
                | ToDiscovery::Relay(About { name }),
                None,
            ) => {
                self.refuse(session, RefusedCode::NOT_REGISTERED, Some(name));
            }
            (ToDiscovery::Identify(_) | ToDiscovery::Mate(_), None) => {
                self.refuse(session, RefusedCode::NOT_REGISTERED, None);
            }
        }
    }

    fn register(&mut self, session: ConnectionId, wanted: &Register) {
        let Some(&Session { key, from, .. }) = self.sessions.get(session) else {
            return;
        };
        let name = &wanted.name;
        self.sessions.describe(session, wanted.start, wanted.dial);
        let registered = match (self.users.named(name), self.users.holder(&key)) {
            (Some(named), Some(holder)) if named == holder => {
                return self.log_in(session, from, named, wanted);
            }
            (Some(_), _) => self.can_know().and(Err(RefusedCode::NAME_TAKEN)),
            (None, Some(_)) => self.can_know().and(Err(RefusedCode::KEY_IN_USE)),
            (None, None) => self.can_know().and_then(|()| self.sign_up(session, key, from, wanted)),
        };
        if let Err(code) = registered {
            self.refuse(session, code, Some(name));
        }
    }

    fn sign_up(
        &mut self,
        session: ConnectionId,
        key: PublicKey,
        from: SocketAddr,
        wanted: &Register,
    ) -> Result<(), RefusedCode> {
        let name = &wanted.name;
        if self.users.released_from(name) == Some(key) {
            return Err(RefusedCode::RELEASED);
        }
        if !self.quota.allows(Kind::NewName, None, from.ip(), self.now.mono) {
            return Err(RefusedCode::TOO_MANY_NAMES);
        }
        self.can_save()?;
        let (id, registration) = (self.users.next_id(), registration(wanted, from));
        let account = Account { id, name: name.clone(), key, registration };
        let user = self.users.add(account.clone());
        let presence = self.presence(session, from, wanted);
        self.sessions.set_reach(session, presence.reach.clone());
        self.presences.set(user, presence.clone());
        self.mates.begin(user);
        self.change(Change::AddUser { account, presence, now: self.now.wall });
        self.quota.count(Kind::NewName, None, from.ip(), self.now.mono);
        self.welcome(session, user);
        let waiting = self.awaited.take(name);
        self.tell_each(waiting, user);
        Ok(())
    }

    /// Gives a session to the user it belongs to, or notes that the user has moved.
    fn log_in(&mut self, session: ConnectionId, from: SocketAddr, user: UserIndex, wanted: &Register) {
        let registration = registration(wanted, from);
        let held = self.sessions.of(user);
        let other = held.filter(|held| *held != session).and_then(|held| self.sessions.get(held));
        let again = other.is_some_and(|other| other.start.is_some() && other.start == wanted.start);
        // It was under way for so long that a session opened later has overtaken it.
        let overtaken = other.is_some_and(|other| again && other.dial > wanted.dial);
        if let Some(newer) = other.filter(|_| overtaken || held > Some(session)) {
            let address = newer.from;
            if !again {
                self.send(session, ToClient::Superseded(Registered { address, observed: address }));
            }
            return self.end(session);
        }
        let presence = self.presence(session, from, wanted);
        if self.presences.elsewhere(user).is_some_and(|other| is_older(&presence, other)) {
            return self.end(session);
        }
        let Some(&Account { registration: last, .. }) = self.users.get(user) else {
            return;
        };
        let differs = last != registration;
        if differs && let Err(code) = self.can_save() {
            return self.refuse(session, code, Some(&wanted.name));
        }
        let told_before = self.whereabouts(user).map(|(_, reach)| reach.clone());
        self.sessions.set_reach(session, presence.reach.clone());
        let is_new = held != Some(session);
        let mates: Vec<_> = if is_new { self.mates_of(user).collect() } else { Vec::new() };
        self.save_presence(user, registration, presence, is_new);
        if is_new {
            self.mates.begin(user);
        }
        if differs {
            self.users.register(user, registration);
        }
        if let Some(older) = held.filter(|older| *older != session) {
            if !again {
                self.send(older, ToClient::Superseded(Registered { address: from, observed: from }));
            }
            self.sessions.end(older);
            self.decisions.actions.push(Action::Close { session: older });
        }
        if registration.strangers == Strangers::Closed {
            self.turn_away_strangers(user, &wanted.name);
        }
        self.welcome(session, user);
        self.tell_each(mates, user);
        self.tell_moved(user, last, told_before.as_ref());
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
        self.end_presence(user, session);
        let mates: Vec<_> = self.mates_of(user).collect();
        self.tell_contacts(user);
        self.tell_askers(user, false);
        self.mates.end(user);
        // As far as the ledger says the user is elsewhere, and shares rooms with others.
        if self.is_online(user) {
            self.tell_each(mates, user);
        }
    }

    fn refuse(&mut self, session: ConnectionId, code: RefusedCode, name: Option<&Name>) {
        self.send(session, ToClient::Refused(Refused { code, name: name.cloned() }));
    }

    fn send(&mut self, session: ConnectionId, message: ToClient) {
        self.decisions.actions.push(Action::Send { session, message });
    }

    /// Whether what is known is all that is to be known, or will be once the ledger was read.
    fn can_know(&mut self) -> Result<(), RefusedCode> {
        if self.presences.own() != ALONE {
            self.can_save()?;
            self.decisions.needs = self.decisions.needs.max(Needs::Read);
        }
        Ok(())
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

    /// Has a change saved that is about two users.
    fn change_between(
        &mut self,
        (one, other): (UserIndex, UserIndex),
        change: impl FnOnce(UserId, UserId) -> Change,
    ) {
        let id = |user| self.users.get(user).map(|account| account.id);
        if let (Some(one), Some(other)) = (id(one), id(other)) {
            self.change(change(one, other));
        }
    }
}

fn registration(Register { listen, strangers, .. }: &Register, from: SocketAddr) -> Registration {
    let observed = from.ip().to_canonical();
    Registration { address: given_out(*listen, observed), observed, strangers: *strangers }
}

#[cfg(test)]
mod tests;
