//! What discovery decides: who is who, who is told what, and what is kept.
//!
//! A plain state machine: an [`Event`] and the time go in, [`Action`]s come out. Look-ups are answered from
//! memory; what has to last is written to the [`Directory`] on the way, inside the caller's transaction.
//! The caller acts only when that is committed, and says so ([`Registry::keep`]) or takes all of it
//! back ([`Registry::undo`]).
//!
//! Without a directory nothing can be saved. Then a change that has to last is refused with
//! [`RefusedCode::NOT_SAVED`], and everything else goes on: look-ups, users who come to where they were
//! before, users who go.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::memory::{Memory, Session, Who};
use crate::protocol::rendezvous::{
    About, Identity, Refused, RefusedCode, Register, Registered, ToClient, ToDiscovery, given_out,
};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::directory::{Directory, UserRow};
use crate::time::Now;
use crate::transport::network;

pub use super::memory::{Figures, REGISTER_WITHIN, SessionId};

/// How many requests and connections together one account may have when it asks for another user.
pub const MAX_CONTACTS: usize = 1000;
/// How many pending requests there may be for one account.
pub const MAX_REQUESTS_FOR: usize = 1000;

/// What happens to discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody has proved to hold `key`.
    Opened {
        /// Never used before.
        session: SessionId,
        /// The key.
        key: PublicKey,
        /// The other end.
        from: SocketAddr,
    },
    /// A session says something.
    Message {
        /// Which.
        session: SessionId,
        /// What.
        message: ToDiscovery,
    },
    /// A session's connection is gone.
    Closed {
        /// Which.
        session: SessionId,
    },
}

/// What discovery does, once what it has decided is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say something to a session.
    Send {
        /// To which.
        session: SessionId,
        /// What.
        message: ToClient,
    },
    /// End a session, after what was to be sent before.
    Close {
        /// Which.
        session: SessionId,
    },
}

/// How many new names one address (an IPv6 network of 64 bits counts as one) may register in an hour.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From anywhere else.
    pub new_names: u32,
    /// From this machine itself, if that is limited.
    pub new_names_loopback: Option<u32>,
}

/// The state machine, see the module.
#[derive(Debug)]
pub struct Registry {
    memory: Memory,
    limits: Limits,
}

impl Registry {
    /// Starts from what `directory` holds: everybody is offline.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn load(directory: &Directory, limits: Limits) -> Result<Self> {
        Ok(Self { memory: Memory::load(directory)?, limits })
    }

    /// Decides on one event.
    ///
    /// # Errors
    /// If something could not be written: the transaction and [this registry](Self::undo) are to be rolled back.
    pub fn handle(
        &mut self,
        event: &Event,
        now: Now,
        directory: Option<&Directory>,
        actions: &mut Vec<Action>,
    ) -> Result<()> {
        let mut turn = self.turn(now, directory, actions);
        match event {
            Event::Opened { session, key, from } => {
                turn.memory.open(*session, *key, *from, now.mono);
                Ok(())
            }
            Event::Message { session, message } => turn.message(*session, message),
            Event::Closed { session } => turn.end(*session),
        }
    }

    /// Ends the sessions that have been silent for too long.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn tick(&mut self, now: Now, directory: Option<&Directory>, actions: &mut Vec<Action>) -> Result<()> {
        let mut turn = self.turn(now, directory, actions);
        while let Some(session) = turn.memory.overdue(now.mono) {
            turn.end(session)?;
        }
        Ok(())
    }

    /// Frees a name, on the operator's decision: the account's session ends, its requests and connections are
    /// forgotten, and the first *other* key that wants the name has it. Returns the key that had it, if there was one.
    ///
    /// Whoever has it next is not told whom the account knew; and the account's own client, which comes back by
    /// itself, would have the name again at once if its key could take it.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn release(
        &mut self,
        name: &Name,
        now: Now,
        directory: &Directory,
        actions: &mut Vec<Action>,
    ) -> Result<Option<PublicKey>> {
        let mut turn = self.turn(now, Some(directory), actions);
        let Some(who) = turn.memory.named(name) else {
            return Ok(None);
        };
        if let Some(session) = turn.memory.session_of(who) {
            turn.end(session)?;
        }
        if let (Some(id), Some(key)) = (turn.memory.id(who), turn.memory.key(who)) {
            directory.release(id, name, key, now.wall)?;
        }
        turn.memory.release(who);
        Ok(turn.memory.released_from(name))
    }

    /// How much there is.
    pub fn figures(&self) -> Figures {
        self.memory.figures()
    }

    /// When [`Self::tick`] is due, on the clock of [`Now::mono`].
    pub fn deadline(&self) -> Option<u64> {
        self.memory.next_due()
    }

    /// What was decided is saved.
    pub fn keep(&mut self) {
        self.memory.keep();
    }

    /// What was decided since the last [`Self::keep`] is not saved: it never happened.
    pub fn undo(&mut self) {
        self.memory.undo();
    }

    fn turn<'r>(
        &'r mut self,
        now: Now,
        directory: Option<&'r Directory>,
        actions: &'r mut Vec<Action>,
    ) -> Turn<'r> {
        Turn { memory: &mut self.memory, limits: self.limits, now, directory, actions }
    }
}

/// One event being handled.
struct Turn<'r> {
    memory: &'r mut Memory,
    limits: Limits,
    now: Now,
    directory: Option<&'r Directory>,
    actions: &'r mut Vec<Action>,
}

impl Turn<'_> {
    fn message(&mut self, session: SessionId, message: &ToDiscovery) -> Result<()> {
        if !self.memory.heard(session, self.now.mono) {
            return Ok(());
        }
        let user = self.memory.session(session).and_then(|session| session.user);
        match (message, user) {
            (ToDiscovery::Register(register), _) => self.register(session, register)?,
            (ToDiscovery::Ping, _) => self.send(session, ToClient::Pong),
            (ToDiscovery::Logout, _) => self.end(session)?,
            (ToDiscovery::Request(about), Some(asker)) => self.request(session, asker, &about.name)?,
            (ToDiscovery::Linked(about), Some(one)) => self.linked(session, one, &about.name)?,
            (ToDiscovery::Identify(asked), Some(_)) => self.identify(session, asked.key),
            (ToDiscovery::Request(About { name }) | ToDiscovery::Linked(About { name }), None) => {
                self.refuse(session, RefusedCode::NOT_REGISTERED, Some(name));
            }
            (ToDiscovery::Identify(_), None) => self.refuse(session, RefusedCode::NOT_REGISTERED, None),
        }
        Ok(())
    }

    fn register(&mut self, session: SessionId, wanted: &Register) -> Result<()> {
        let Some(&Session { key, from, .. }) = self.memory.session(session) else {
            return Ok(());
        };
        let name = &wanted.name;
        self.memory.set_start(session, wanted.start);
        match (self.memory.named(name), self.memory.holder(&key)) {
            (Some(named), Some(holder)) if named == holder => {
                self.log_in(session, from, named, wanted.listen)
            }
            (Some(_), _) => {
                self.refuse(session, RefusedCode::NAME_TAKEN, Some(name));
                Ok(())
            }
            (None, Some(_)) => {
                self.refuse(session, RefusedCode::KEY_IN_USE, Some(name));
                Ok(())
            }
            (None, None) => self.sign_up(session, key, from, wanted),
        }
    }

    /// Binds a new name to a new key.
    fn sign_up(
        &mut self,
        session: SessionId,
        key: PublicKey,
        from: SocketAddr,
        wanted: &Register,
    ) -> Result<()> {
        let Register { name, listen, .. } = wanted;
        if self.memory.released_from(name) == Some(key) {
            self.refuse(session, RefusedCode::RELEASED, Some(name));
            return Ok(());
        }
        let network = network(from.ip());
        let most =
            if network.is_loopback() { self.limits.new_names_loopback } else { Some(self.limits.new_names) };
        if most.is_some_and(|most| self.memory.new_names(network, self.now.mono) >= most) {
            self.refuse(session, RefusedCode::TOO_MANY_NAMES, Some(name));
            return Ok(());
        }
        let Some(directory) = self.directory else {
            self.refuse(session, RefusedCode::NOT_SAVED, Some(name));
            return Ok(());
        };
        let (address, seen) = (given_out(*listen, from.ip()), self.now.wall);
        let id = directory.add_user(name, key, address, seen)?;
        let who = self.memory.add_user(UserRow { id, name: name.clone(), key, address, seen });
        self.memory.count_new_name(network);
        self.welcome(session, who, address);
        Ok(())
    }

    /// Gives a session to the user who it belongs to, or notes that the user has moved.
    fn log_in(&mut self, session: SessionId, from: SocketAddr, who: Who, listen: SocketAddr) -> Result<()> {
        let address = given_out(listen, from.ip());
        let held = self.memory.session_of(who);
        let start_of = |session| self.memory.session(session).and_then(|session| session.start);
        let same_start =
            |other| other != session && start_of(session).is_some() && start_of(other) == start_of(session);
        let again = held.is_some_and(same_start);
        if let Some(newer) = held.filter(|held| *held > session) {
            // What is said here was under way for so long that a session opened later has overtaken it.
            if !again && let Some(address) = self.memory.session(newer).map(|newer| newer.from) {
                self.send(session, ToClient::Superseded(Registered { address }));
            }
            return self.end(session);
        }
        let moved = self.memory.address(who) != Some(address);
        if moved || held.is_none() {
            match (self.directory, self.memory.id(who)) {
                (Some(directory), Some(id)) => directory.set_address(id, address, self.now.wall)?,
                _ if moved => {
                    let name = self.memory.name(who).cloned();
                    self.refuse(session, RefusedCode::NOT_SAVED, name.as_ref());
                    return Ok(());
                }
                _ => {}
            }
        }
        if let Some(older) = held.filter(|older| *older != session) {
            if !again {
                self.send(older, ToClient::Superseded(Registered { address: from }));
            }
            self.memory.end(older);
            self.actions.push(Action::Close { session: older });
        }
        self.memory.set_address(who, address);
        self.welcome(session, who, address);
        if moved || held.is_none() {
            self.tell_related(who);
        }
        Ok(())
    }

    /// The session is the user's from now on, and is told everything that concerns the user.
    fn welcome(&mut self, session: SessionId, who: Who, address: SocketAddr) {
        self.memory.set_session(who, Some(session));
        self.memory.register(session, who);
        self.send(session, ToClient::Registered(Registered { address }));
        for other in self.memory.related(who) {
            self.tell(session, who, other);
        }
        self.send(session, ToClient::Synced);
    }

    fn request(&mut self, session: SessionId, asker: Who, name: &Name) -> Result<()> {
        let Some(target) = self.memory.named(name) else {
            self.send(session, ToClient::NoSuchUser(About { name: name.clone() }));
            return Ok(());
        };
        if target == asker {
            self.refuse(session, RefusedCode::YOURSELF, Some(name));
            return Ok(());
        }
        if !self.memory.connected(asker, target) && !self.memory.asks(asker, target) {
            if let Err(code) = self.ask(asker, target)? {
                self.refuse(session, code, Some(name));
                return Ok(());
            }
            if let Some(theirs) = self.memory.session_of(target) {
                self.tell(theirs, target, asker);
            }
        }
        self.tell(session, asker, target);
        Ok(())
    }

    /// Keeps a request.
    fn ask(&mut self, asker: Who, target: Who) -> Result<Result<(), RefusedCode>> {
        if self.memory.requests(asker) + self.memory.connections(asker) >= MAX_CONTACTS {
            return Ok(Err(RefusedCode::TOO_MANY_REQUESTS));
        }
        if self.memory.requests_for(target) >= MAX_REQUESTS_FOR {
            return Ok(Err(RefusedCode::TARGET_FULL));
        }
        let (Some(directory), [Some(from), Some(to)]) = (self.directory, self.ids([asker, target])) else {
            return Ok(Err(RefusedCode::NOT_SAVED));
        };
        directory.add_request(from, to, self.now.wall)?;
        self.memory.ask(asker, target);
        Ok(Ok(()))
    }

    fn linked(&mut self, session: SessionId, one: Who, name: &Name) -> Result<()> {
        let Some(other) = self.memory.named(name) else {
            return Ok(());
        };
        // Only who was asked settles it: a stranger must not be able to make a connection alone, which
        // nobody could ever undo. Without a request there is nothing to do.
        if !self.memory.asks(other, one) {
            return Ok(());
        }
        let pending = [(one, other), (other, one)].map(|(a, b)| (a, b, self.memory.asks(a, b)));
        let new = !self.memory.connected(one, other);
        for (who, code) in [(one, RefusedCode::TOO_MANY_REQUESTS), (other, RefusedCode::TARGET_FULL)] {
            if new && self.memory.connections(who) >= MAX_CONTACTS {
                self.refuse(session, code, Some(name));
                return Ok(());
            }
        }
        let (Some(directory), [Some(id), Some(others)]) = (self.directory, self.ids([one, other])) else {
            self.refuse(session, RefusedCode::NOT_SAVED, Some(name));
            return Ok(());
        };
        directory.add_connection(id, others, self.now.wall)?;
        self.memory.connect(one, other);
        for (asker, target, _) in pending.into_iter().filter(|(.., asks)| *asks) {
            let (from, to) = if asker == one { (id, others) } else { (others, id) };
            directory.remove_request(from, to)?;
            self.memory.unask(asker, target);
        }
        Ok(())
    }

    fn identify(&mut self, session: SessionId, key: PublicKey) {
        let name = self.memory.holder(&key).and_then(|who| self.memory.name(who)).cloned();
        self.send(session, ToClient::Identity(Identity { key, name }));
    }

    /// Ends a session. If it is the one that its user holds, the user is offline from now on.
    fn end(&mut self, session: SessionId) -> Result<()> {
        let Some(ended) = self.memory.end(session) else {
            return Ok(());
        };
        self.actions.push(Action::Close { session });
        let Some(who) = ended.user.filter(|who| self.memory.session_of(*who) == Some(session)) else {
            return Ok(());
        };
        if let (Some(directory), Some(id)) = (self.directory, self.memory.id(who)) {
            directory.set_seen(id, self.now.wall)?;
        }
        self.memory.set_session(who, None);
        self.tell_related(who);
        Ok(())
    }

    /// Tells everybody whom it concerns, and who is there, what is known of `who`.
    fn tell_related(&mut self, who: Who) {
        let related: BTreeSet<Who> = self.memory.related(who);
        for other in related {
            if let Some(session) = self.memory.session_of(other) {
                self.tell(session, other, who);
            }
        }
    }

    /// Tells `told`, in `session`, what is known of `who`.
    fn tell(&mut self, session: SessionId, told: Who, who: Who) {
        if let Some(status) = self.memory.status(who, told) {
            self.send(session, ToClient::Status(status));
        }
    }

    fn refuse(&mut self, session: SessionId, code: RefusedCode, name: Option<&Name>) {
        self.send(session, ToClient::Refused(Refused { code, name: name.cloned() }));
    }

    fn send(&mut self, session: SessionId, message: ToClient) {
        self.actions.push(Action::Send { session, message });
    }

    fn ids(&self, users: [Who; 2]) -> [Option<i64>; 2] {
        users.map(|who| self.memory.id(who))
    }
}

#[cfg(test)]
mod tests;
