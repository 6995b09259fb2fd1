//! What discovery holds in memory: the users as stored, the sessions, and how to take changes back.
//!
//! It is sized for a million users of whom ten thousand are there: a user is one small row in a vector, and
//! users refer to each other by their place in it. Every change is noted until [`Memory::keep`] or
//! [`Memory::undo`], so that memory never holds what the disk did not take.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::protocol::rendezvous::Status;
use crate::protocol::{DEAD_AFTER, Name, PublicKey};
use crate::store::Result;
use crate::store::directory::{Directory, UserId, UserRow};
use crate::time::millis;

/// A connection whose key is proved.
pub type SessionId = crate::transport::ConnectionId;

/// How long a session may last that has not registered.
pub const REGISTER_WITHIN: Duration = Duration::from_secs(10);

/// How long new names of one address are counted together.
const QUOTA_WINDOW: Duration = Duration::from_secs(3600);

/// A user's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who(u32);

#[derive(Debug)]
struct User {
    id: UserId,
    name: Name,
    key: PublicKey,
    address: SocketAddr,
    session: Option<SessionId>,
    /// Most of a million users may have none.
    relations: Option<Box<Relations>>,
}

#[derive(Debug, Default)]
struct Relations {
    connected: BTreeSet<Who>,
    asked: BTreeSet<Who>,
    asked_by: BTreeSet<Who>,
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Whose key was proved.
    pub key: PublicKey,
    /// Where it comes from.
    pub from: SocketAddr,
    /// As whom it has registered.
    pub user: Option<Who>,
    /// Which start of a client it says it is of.
    pub start: Option<u64>,
    opened: u64,
    heard: u64,
}

impl Session {
    /// When it is over unless something is heard.
    fn deadline(&self) -> u64 {
        match self.user {
            Some(_) => self.heard.saturating_add(millis(DEAD_AFTER)),
            None => self.opened.saturating_add(millis(REGISTER_WITHIN)),
        }
    }
}

/// How two users can stand to each other.
#[derive(Clone, Copy, Debug)]
enum Edge {
    /// The two have been linked.
    Connection(Who, Who),
    /// The first asks for the second.
    Request(Who, Who),
}

#[derive(Clone, Copy, Debug, Default)]
struct Edges {
    connections: u64,
    requests: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Accounts.
    pub users: u64,
    /// Those of them who are there.
    pub online: u64,
    /// Connections whose key is proved, also those that have not registered.
    pub sessions: u64,
    /// Pairs of users who have been linked.
    pub connections: u64,
    /// Requests that are not yet settled.
    pub requests: u64,
}

/// What takes one change back.
#[derive(Debug)]
enum Undo {
    Added,
    Address(Who, SocketAddr),
    UserSession(Who, Option<SessionId>),
    Edge(Edge, bool),
    Forget(SessionId),
    Reopen(SessionId, Session),
    Rename(SessionId, Option<Who>),
    Uncount(IpAddr),
    Release(Who, Option<PublicKey>),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    /// Also those whose name was freed: nothing leads to them any more.
    users: Vec<User>,
    by_name: HashMap<Name, Who>,
    by_key: HashMap<PublicKey, Who>,
    /// The names that were freed, each with the last key that it was taken from.
    released: HashMap<Name, PublicKey>,
    /// How many pairs are connected, and how many requests are pending.
    edges: Edges,
    sessions: HashMap<SessionId, Session>,
    /// When to look at which session again. Not moved each time one is heard, so it may be too early.
    due: BTreeSet<(u64, SessionId)>,
    counted_since: u64,
    new_names: HashMap<IpAddr, u32>,
    changes: Vec<Undo>,
}

impl Memory {
    /// Everything that `directory` holds; nobody is there yet.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn load(directory: &Directory) -> Result<Self> {
        let mut memory = Self::default();
        directory.users(|row| {
            memory.insert(row);
        })?;
        directory.connections(|a, b| memory.join(Edge::Connection, a, b))?;
        directory.requests(|asker, target| memory.join(Edge::Request, asker, target))?;
        directory.released(|name, key| _ = memory.released.insert(name, key))?;
        Ok(memory)
    }

    /// The changes so far are saved.
    pub fn keep(&mut self) {
        self.changes.clear();
    }

    /// Takes back every change since the last [`Self::keep`].
    pub fn undo(&mut self) {
        while let Some(change) = self.changes.pop() {
            self.take_back(change);
        }
    }

    /// How much there is.
    pub fn figures(&self) -> Figures {
        let online = self.sessions.values().filter(|session| session.user.is_some());
        Figures {
            users: self.by_name.len() as u64,
            online: online.count() as u64,
            sessions: self.sessions.len() as u64,
            connections: self.edges.connections,
            requests: self.edges.requests,
        }
    }

    /// The user of this name.
    pub fn named(&self, name: &Name) -> Option<Who> {
        self.by_name.get(name).copied()
    }

    /// The user whose name is bound to this key.
    pub fn holder(&self, key: &PublicKey) -> Option<Who> {
        self.by_key.get(key).copied()
    }

    /// The user's name.
    pub fn name(&self, who: Who) -> Option<&Name> {
        self.user(who).map(|user| &user.name)
    }

    /// The key that the user's name is bound to.
    pub fn key(&self, who: Who) -> Option<PublicKey> {
        self.user(who).map(|user| user.key)
    }

    /// The user's row.
    pub fn id(&self, who: Who) -> Option<UserId> {
        self.user(who).map(|user| user.id)
    }

    /// Where the user is, or was last.
    pub fn address(&self, who: Who) -> Option<SocketAddr> {
        self.user(who).map(|user| user.address)
    }

    /// The session that the user holds.
    pub fn session_of(&self, who: Who) -> Option<SessionId> {
        self.user(who)?.session
    }

    /// What `told` is told of `who`.
    pub fn status(&self, who: Who, told: Who) -> Option<Status> {
        let user = self.user(who)?;
        Some(Status {
            name: user.name.clone(),
            key: user.key,
            address: Some(user.address),
            online: user.session.is_some(),
            asks: self.asks(who, told),
        })
    }

    /// Whether two users have been linked.
    pub fn connected(&self, one: Who, other: Who) -> bool {
        self.relations(one).is_some_and(|relations| relations.connected.contains(&other))
    }

    /// Whether `asker` has a pending request for `target`.
    pub fn asks(&self, asker: Who, target: Who) -> bool {
        self.relations(asker).is_some_and(|relations| relations.asked.contains(&target))
    }

    /// With how many users this one is connected.
    pub fn connections(&self, who: Who) -> usize {
        self.relations(who).map_or(0, |relations| relations.connected.len())
    }

    /// For how many users this one asks.
    pub fn requests(&self, who: Who) -> usize {
        self.relations(who).map_or(0, |relations| relations.asked.len())
    }

    /// How many users ask for this one.
    pub fn requests_for(&self, who: Who) -> usize {
        self.relations(who).map_or(0, |relations| relations.asked_by.len())
    }

    /// Everybody connected to, asked for by or asking for this user, once and always in the same order.
    pub fn related(&self, who: Who) -> BTreeSet<Who> {
        let Some(relations) = self.relations(who) else {
            return BTreeSet::new();
        };
        [&relations.connected, &relations.asked, &relations.asked_by].into_iter().flatten().copied().collect()
    }

    /// Adds a user, who is not there yet.
    pub fn add_user(&mut self, row: UserRow) -> Who {
        let who = self.insert(row);
        self.changes.push(Undo::Added);
        who
    }

    /// The last key that this name was taken from, if it was ever freed.
    pub fn released_from(&self, name: &Name) -> Option<PublicKey> {
        self.released.get(name).copied()
    }

    /// Forgets a user who is not there, with all requests and connections, and frees the name.
    pub fn release(&mut self, who: Who) {
        for other in self.related(who) {
            self.change(Edge::Connection(who, other), false);
            self.change(Edge::Request(who, other), false);
            self.change(Edge::Request(other, who), false);
        }
        if let Some((name, key)) = self.user(who).map(|user| (user.name.clone(), user.key)) {
            self.by_name.remove(&name);
            self.by_key.remove(&key);
            let before = self.released.insert(name, key);
            self.changes.push(Undo::Release(who, before));
        }
    }

    /// Notes where a user is.
    pub fn set_address(&mut self, who: Who, address: SocketAddr) {
        if let Some(user) = self.user_mut(who) {
            let before = std::mem::replace(&mut user.address, address);
            self.changes.push(Undo::Address(who, before));
        }
    }

    /// Notes which session a user holds.
    pub fn set_session(&mut self, who: Who, session: Option<SessionId>) {
        if let Some(user) = self.user_mut(who) {
            let before = std::mem::replace(&mut user.session, session);
            self.changes.push(Undo::UserSession(who, before));
        }
    }

    /// Notes that two users have been linked.
    pub fn connect(&mut self, one: Who, other: Who) {
        self.change(Edge::Connection(one, other), true);
    }

    /// Notes a request.
    pub fn ask(&mut self, asker: Who, target: Who) {
        self.change(Edge::Request(asker, target), true);
    }

    /// Forgets a request.
    pub fn unask(&mut self, asker: Who, target: Who) {
        self.change(Edge::Request(asker, target), false);
    }

    /// A session, if it is still open.
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// A session begins.
    pub fn open(&mut self, session: SessionId, key: PublicKey, from: SocketAddr, now: u64) {
        let opened = Session { key, from, user: None, start: None, opened: now, heard: now };
        self.due.insert((opened.deadline(), session));
        self.sessions.insert(session, opened);
        self.changes.push(Undo::Forget(session));
    }

    /// The session has sent something. `false` if there is no such session any more.
    pub fn heard(&mut self, session: SessionId, now: u64) -> bool {
        // Never taken back: it was heard, whatever came of it.
        self.sessions.get_mut(&session).map(|session| session.heard = now).is_some()
    }

    /// Notes of which start of a client the session is.
    pub fn set_start(&mut self, session: SessionId, start: Option<u64>) {
        if let Some(found) = self.sessions.get_mut(&session) {
            found.start = start;
        }
    }

    /// The session is this user's.
    pub fn register(&mut self, session: SessionId, who: Who) {
        if let Some(found) = self.sessions.get_mut(&session) {
            let before = found.user.replace(who);
            self.changes.push(Undo::Rename(session, before));
        }
    }

    /// The session is over; what it was.
    pub fn end(&mut self, session: SessionId) -> Option<Session> {
        let ended = self.sessions.remove(&session)?;
        self.changes.push(Undo::Reopen(session, ended));
        Some(ended)
    }

    /// A session whose time is over.
    pub fn overdue(&mut self, now: u64) -> Option<SessionId> {
        while let Some((at, session)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, session));
            match self.sessions.get(&session).map(Session::deadline) {
                Some(deadline) if deadline <= now => return Some(session),
                Some(deadline) => _ = self.due.insert((deadline, session)),
                None => {}
            }
        }
        None
    }

    /// When to look for overdue sessions again.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many new names this address has registered in the running window, an hour at most.
    pub fn new_names(&mut self, network: IpAddr, now: u64) -> u32 {
        if now.saturating_sub(self.counted_since) >= millis(QUOTA_WINDOW) {
            self.counted_since = now;
            self.new_names.clear();
        }
        self.new_names.get(&network).copied().unwrap_or_default()
    }

    /// Counts a new name.
    pub fn count_new_name(&mut self, network: IpAddr) {
        *self.new_names.entry(network).or_default() += 1;
        self.changes.push(Undo::Uncount(network));
    }

    fn user(&self, who: Who) -> Option<&User> {
        self.users.get(usize::try_from(who.0).ok()?)
    }

    fn user_mut(&mut self, who: Who) -> Option<&mut User> {
        self.users.get_mut(usize::try_from(who.0).ok()?)
    }

    fn relations(&self, who: Who) -> Option<&Relations> {
        self.user(who)?.relations.as_deref()
    }

    /// Rows are in the order of the vector.
    fn stored(&self, id: UserId) -> Option<Who> {
        let place = self.users.binary_search_by_key(&id, |user| user.id).ok()?;
        u32::try_from(place).ok().map(Who)
    }

    /// Foreign keys see to it that both are there.
    fn join(&mut self, edge: fn(Who, Who) -> Edge, one: UserId, other: UserId) {
        if let (Some(one), Some(other)) = (self.stored(one), self.stored(other)) {
            self.apply(edge(one, other), true);
        }
    }

    fn insert(&mut self, row: UserRow) -> Who {
        // More users than that fit into no machine's memory.
        let who = Who(u32::try_from(self.users.len()).unwrap_or(u32::MAX));
        let UserRow { id, name, key, address, seen: _ } = row;
        self.by_name.insert(name.clone(), who);
        self.by_key.insert(key, who);
        self.users.push(User { id, name, key, address, session: None, relations: None });
        who
    }

    fn change(&mut self, edge: Edge, present: bool) {
        if self.apply(edge, present) {
            self.changes.push(Undo::Edge(edge, !present));
        }
    }

    fn apply(&mut self, edge: Edge, present: bool) -> bool {
        let (changed, count) = match edge {
            Edge::Connection(one, other) => (
                self.mark(one, other, present, |relations| &mut relations.connected)
                    | self.mark(other, one, present, |relations| &mut relations.connected),
                &mut self.edges.connections,
            ),
            Edge::Request(asker, target) => (
                self.mark(asker, target, present, |relations| &mut relations.asked)
                    | self.mark(target, asker, present, |relations| &mut relations.asked_by),
                &mut self.edges.requests,
            ),
        };
        if changed {
            *count = if present { *count + 1 } else { count.saturating_sub(1) };
        }
        changed
    }

    fn mark(
        &mut self,
        who: Who,
        other: Who,
        present: bool,
        set: impl FnOnce(&mut Relations) -> &mut BTreeSet<Who>,
    ) -> bool {
        let Some(user) = self.user_mut(who) else {
            return false;
        };
        let set = set(user.relations.get_or_insert_default());
        if present { set.insert(other) } else { set.remove(&other) }
    }

    fn take_back(&mut self, change: Undo) {
        match change {
            // Changes are taken back in reverse, so it is the last one again.
            Undo::Added => {
                if let Some(user) = self.users.pop() {
                    self.by_name.remove(&user.name);
                    self.by_key.remove(&user.key);
                }
            }
            Undo::Address(who, before) => {
                if let Some(user) = self.user_mut(who) {
                    user.address = before;
                }
            }
            Undo::UserSession(who, before) => {
                if let Some(user) = self.user_mut(who) {
                    user.session = before;
                }
            }
            Undo::Edge(edge, present) => _ = self.apply(edge, present),
            Undo::Forget(session) => {
                if let Some(forgotten) = self.sessions.remove(&session) {
                    self.due.remove(&(forgotten.deadline(), session));
                }
            }
            Undo::Reopen(id, session) => {
                self.due.insert((session.deadline(), id));
                self.sessions.insert(id, session);
            }
            Undo::Rename(session, before) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.user = before;
                }
            }
            Undo::Uncount(network) => {
                if let Some(count) = self.new_names.get_mut(&network) {
                    *count = count.saturating_sub(1);
                }
            }
            Undo::Release(who, before) => {
                if let Some((name, key)) = self.user(who).map(|user| (user.name.clone(), user.key)) {
                    match before {
                        Some(before) => self.released.insert(name.clone(), before),
                        None => self.released.remove(&name),
                    };
                    self.by_name.insert(name, who);
                    self.by_key.insert(key, who);
                }
            }
        }
    }
}
