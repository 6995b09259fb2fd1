//! The open sessions: whose each is, and until when.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::users::UserIndex;
use crate::accounts::reach::Reach;
use crate::protocol::{DEAD_AFTER, PublicKey};
use crate::time::Instant;
use crate::transport::ConnectionId;
use crate::undo::{Table, transactional};

/// How long a session may last that has not registered.
pub const REGISTER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Session {
    pub key: PublicKey,
    pub from: SocketAddr,
    /// The user that it has registered as.
    pub user: Option<UserIndex>,
    /// Which start of a client it says it is of.
    pub start: Option<u64>,
    /// How often that one had dialled before.
    pub dial: u32,
    /// How it can be reached, as it says.
    pub reach: Reach,
    opened: Instant,
    /// Changes with each message, so it costs nothing to change; a rollback need not restore it.
    last_received: Cell<Instant>,
}

impl Session {
    /// When it ends unless something is received.
    fn deadline(&self) -> Instant {
        match self.user {
            Some(_) => self.last_received.get() + DEAD_AFTER,
            None => self.opened + REGISTER_WITHIN,
        }
    }
}

#[derive(Debug, Default)]
pub struct Sessions {
    open: Table<HashMap<ConnectionId, Session>>,
    /// The session that each user who is online holds.
    held: Table<HashMap<UserIndex, ConnectionId>>,
    /// When to look at which session again. Not moved with each message, so it may be too early.
    due: Table<BTreeMap<(Instant, ConnectionId), ()>>,
}

impl Sessions {
    pub fn count(&self) -> usize {
        self.open.len()
    }

    pub fn online(&self) -> usize {
        self.held.len()
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Session> {
        self.open.get(&id)
    }

    pub fn of(&self, user: UserIndex) -> Option<ConnectionId> {
        self.held.get(&user).copied()
    }

    pub fn open(&mut self, id: ConnectionId, key: PublicKey, from: SocketAddr, now: Instant) {
        let (reach, last_received) = (Reach::default(), Cell::new(now));
        let session =
            Session { key, from, user: None, start: None, dial: 0, reach, opened: now, last_received };
        self.due.insert((session.deadline(), id), ());
        self.open.insert(id, session);
    }

    /// The session has sent something. Returns it, if it is still open.
    pub fn received(&self, id: ConnectionId, now: Instant) -> Option<&Session> {
        self.open.get(&id).inspect(|session| session.last_received.set(now))
    }

    /// What its registration says of the session itself.
    pub fn describe(&mut self, id: ConnectionId, start: Option<u64>, dial: u32) {
        self.open.change(&id, |session| (session.start, session.dial) = (start, dial));
    }

    pub fn set_reach(&mut self, id: ConnectionId, reach: Reach) {
        self.open.change(&id, |session| session.reach = reach);
    }

    pub fn all(&self) -> impl Iterator<Item = ConnectionId> {
        self.open.keys().copied()
    }

    /// The users who are online, each with the session held.
    pub fn held(&self) -> impl Iterator<Item = (UserIndex, ConnectionId)> {
        self.held.iter().map(|(user, session)| (*user, *session))
    }

    /// Gives the session to a user, who holds it from now on.
    pub fn register(&mut self, id: ConnectionId, user: UserIndex) {
        if let Some(session) = self.open.get_mut(&id) {
            session.user = Some(user);
            self.held.insert(user, id);
        }
    }

    /// Ends a session. Returns `None` if it was not open, else the user who held it and is offline from now on.
    pub fn end(&mut self, id: ConnectionId) -> Option<Option<UserIndex>> {
        let user = self.open.remove(&id)?.user.filter(|user| self.of(*user) == Some(id));
        if let Some(user) = user {
            self.held.remove(&user);
        }
        Some(user)
    }

    /// A session whose time is over. The caller ends it.
    pub fn overdue(&mut self, now: Instant) -> Option<ConnectionId> {
        while let Some((&(at, id), ())) = self.due.first_key_value().filter(|((at, _), ())| *at <= now) {
            self.due.remove(&(at, id));
            match self.open.get(&id).map(Session::deadline) {
                Some(deadline) if deadline <= now => return Some(id),
                Some(deadline) => _ = self.due.insert((deadline, id), ()),
                None => {}
            }
        }
        None
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), ())| *at)
    }
}

transactional!(Sessions { open, held, due });
