//! From a proven key to a link that both sides keep.
//!
//! A connection whose key is proved belongs to a contact once the key is found among the contacts or discovery has named
//! its owner. Then both say hello. Of several links between two clients the side with the lower key decides which one
//! stays: the link is up, and messages go over it, where that side says `Keep`, and where the other one hears it. A contact
//! has one link that is up; the other side closes the one that was, when it hears of the next.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::event::ConnectionId;
use super::effects::Effects;
use super::parts::Parts;
use crate::protocol::peer::{ByeReason, Hello, HoldReason, Peer, Via};
use crate::protocol::room::AboutRoom;
use crate::protocol::{
    DEAD_AFTER, HANDSHAKE_LIMIT, MAX_PEER_FRAME, MAX_TEXT, Name, PING_AFTER, PublicKey, peer,
};
use crate::store::journal::ContactId;
use crate::time::Instant;
use crate::transport::{Route, network};
use crate::undo::{Table, Value, transactional};

mod choice;
mod door;

pub use choice::{Greeting, Up};
use door::Strangers;

/// How many bytes of unacknowledged messages this side takes from a peer.
pub const WINDOW: u32 = 1024 * 1024;
/// How many bytes of what is said of rooms may be unanswered over one link at most.
const MAX_ROOM_SHARE: usize = 256 * 1024;
/// The most connections whose owner is not yet known.
const MAX_UNKNOWN: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Links {
    own_key: PublicKey,
    links: Table<BTreeMap<ConnectionId, Link>>,
    /// How often this side has decided.
    decisions: Value<u64>,
    /// The contacts with a link that is up, and since when without a gap on the wall clock.
    up: Table<BTreeMap<ContactId, (ConnectionId, i64)>>,
    wake: Value<Instant>,
    strangers: Value<Strangers>,
    /// How many links each key may still have accepted, and since when that is counted.
    paces: Table<BTreeMap<PublicKey, (u32, Instant)>>,
    /// The blocked contacts who were cut, which was said.
    blocked: Value<BTreeSet<ContactId>>,
}

/// A connection with a peer that has proved a key.
#[derive(Debug, Clone)]
pub struct Link {
    pub key: PublicKey,
    pub dialled: bool,
    pub route: Route,
    /// How many bytes the kernel takes without waiting: half of it for messages, a quarter for rooms, the rest for what
    /// is short.
    budget: usize,
    /// The version that it speaks, of one whose owner is not yet known.
    pub version: Option<u8>,
    state: State,
    /// Until when the link must have come up, or the other side must have closed the one that another took the place of.
    deadline: Instant,
    last_received: Instant,
    last_sent: Instant,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum State {
    /// Discovery has been asked whose key it is, and may have named a user; the hello may already be here.
    Identifying(Option<Hello>, Option<Name>),
    /// They have been told hello, and whether and why nothing is taken; they have not yet answered.
    Greeted(ContactId, Option<HoldReason>),
    /// Both have said hello, and the other side, which decides, has not yet said that this link stays.
    Undecided(ContactId, Option<HoldReason>, Box<Hello>),
    Up {
        contact: ContactId,
        /// Which start of the other side's client this is.
        epoch: u64,
        /// Which way it takes.
        via: Via,
        /// The number of the decision to keep it.
        decision: u64,
    },
    /// Another link has taken its place, and the other side, which is to close it, may not know yet.
    Replaced(ContactId),
}

/// What a peer's message is, for the conductor.
#[derive(Debug)]
pub enum Heard<'m> {
    /// Nothing follows.
    Nothing,
    /// The other side closes the link.
    Goodbye(ByeReason),
    Hello(ContactId, &'m Hello),
    /// The same, of one whose key is unknown here. Discovery may have named them.
    Unknown(&'m Hello, Option<Name>),
    /// The link stays, by the decision of this number.
    Keep(ContactId, u64),
    Message(ContactId, Cow<'m, peer::Message>),
    /// Part of one, which is kept until the rest comes.
    Part,
    PartAck,
    Acknowledgement(ContactId, peer::Cursor),
    Hold(ContactId, peer::Hold),
    Resume,
    Rewound,
    Skipped(ContactId, peer::Cursor),
    Room(&'m AboutRoom),
    /// The other side breaks the rules: the link is of no use.
    Broken(&'static str),
}

/// What a link was that is closed now.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Whose it was, if that is known.
    pub contact: Option<ContactId>,
    /// Whether it was the one over which messages went.
    pub was_up: bool,
    pub dialled: bool,
    /// For how long nothing had been received.
    pub silence: Duration,
}

/// What is to be done about a key that is no contact's.
#[derive(Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Discovery is to be asked.
    Ask,
    /// It has been asked.
    Asked,
    /// There are too many unknown connections.
    TooMany,
}

impl Link {
    fn contact(&self) -> Option<ContactId> {
        match self.state {
            State::Up { contact, .. }
            | State::Greeted(contact, _)
            | State::Undecided(contact, ..)
            | State::Replaced(contact) => Some(contact),
            State::Identifying(..) => None,
        }
    }

    /// When the link counts as dead, unless something is received.
    fn dead_at(&self) -> Instant {
        match self.state {
            State::Up { .. } => self.last_received + DEAD_AFTER,
            _ => self.deadline,
        }
    }

    /// When the other side is to hear something. Also before the link is up: so it notices if the hello was lost on the way.
    fn ping_at(&self) -> Instant {
        match self.state {
            State::Up { .. } | State::Greeted(..) | State::Undecided(..) => self.last_sent + PING_AFTER,
            State::Identifying(..) | State::Replaced(_) => Instant::NEVER,
        }
    }
}

impl Links {
    pub fn new(own_key: PublicKey) -> Self {
        Self {
            own_key,
            links: Table::default(),
            decisions: Value::default(),
            up: Table::default(),
            wake: Value::new(Instant::NEVER),
            strangers: Value::default(),
            paces: Table::default(),
            blocked: Value::default(),
        }
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// Whose link it is, if that is known.
    pub fn contact(&self, id: ConnectionId) -> Option<ContactId> {
        self.get(id).and_then(Link::contact)
    }

    pub fn ids(&self) -> Vec<ConnectionId> {
        self.links.keys().copied().collect()
    }

    /// The contact's link over which messages go.
    pub fn of(&self, contact: ContactId) -> Option<ConnectionId> {
        self.up.get(&contact).map(|(link, _)| *link)
    }

    /// Which way it takes.
    pub fn via(&self, contact: ContactId) -> Option<Via> {
        match self.get(self.of(contact)?)?.state {
            State::Up { via, .. } => Some(via),
            _ => None,
        }
    }

    /// Why the hello that was said over a link which is not yet up says that nothing is taken.
    pub fn holding(&self, id: ConnectionId) -> Option<HoldReason> {
        match self.get(id)?.state {
            State::Greeted(_, holding) | State::Undecided(_, holding, _) => holding,
            _ => None,
        }
    }

    /// How many bytes of what is said of rooms may be unanswered over a link: its share of what the kernel takes.
    pub fn room_share(&self, id: ConnectionId) -> usize {
        self.get(id).map_or(0, |link| (link.budget / 4).min(MAX_ROOM_SHARE))
    }

    /// Since when there has been one without a gap, on the wall clock.
    pub fn since(&self, contact: ContactId) -> Option<i64> {
        self.up.get(&contact).map(|(_, since)| *since)
    }

    pub fn say(&mut self, fx: &mut Effects, id: ConnectionId, messages: Vec<Peer>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.last_sent = fx.now.mono;
            fx.say(id, messages);
        }
    }

    /// A peer has proved a key over a new connection.
    pub fn add(
        &mut self,
        fx: &Effects,
        id: ConnectionId,
        key: PublicKey,
        dialled: bool,
        route: Route,
        budget: usize,
    ) {
        let now = fx.now.mono;
        let link = Link {
            key,
            dialled,
            route,
            budget,
            version: None,
            state: State::Identifying(None, None),
            deadline: now + HANDSHAKE_LIMIT,
            last_received: now,
            last_sent: now,
            parts: Parts::default(),
        };
        self.wake_at(link.dead_at());
        self.links.insert(id, link);
    }

    /// Nothing is known of the owner of the link, which speaks this version: what is to be done.
    pub fn unknown(&mut self, id: ConnectionId, version: u8) -> Unknown {
        let Some(key) = self.get(id).map(|link| link.key) else {
            return Unknown::TooMany;
        };
        self.links.change(&id, |link| link.version = Some(version));
        let unknown = self.links.values().filter(|link| matches!(link.state, State::Identifying(..)));
        if unknown.count() > MAX_UNKNOWN {
            Unknown::TooMany
        } else if self.identifying(key).len() > 1 {
            Unknown::Asked
        } else {
            Unknown::Ask
        }
    }

    /// Discovery says that the key of this link is that user's. Returns the hello, if it is already here.
    pub fn named(&mut self, id: ConnectionId, user: &Name) -> Option<Hello> {
        match &mut self.links.get_mut(&id)?.state {
            State::Identifying(hello, name) => {
                *name = Some(user.clone());
                hello.clone()
            }
            _ => None,
        }
    }

    /// The connections that wait for discovery's word on whose key this is.
    pub fn identifying(&self, key: PublicKey) -> Vec<ConnectionId> {
        let waits = |link: &Link| link.key == key && matches!(link.state, State::Identifying(_, None));
        self.links.iter().filter(|(_, link)| waits(link)).map(|(id, _)| *id).collect()
    }

    /// Says hello to a contact. Returns their hello, if it is already here.
    pub fn greet(
        &mut self,
        fx: &mut Effects,
        id: ConnectionId,
        contact: ContactId,
        mut hello: Hello,
    ) -> Option<Hello> {
        hello.linked = self.of(contact).is_some();
        let link = self.links.get_mut(&id)?;
        hello.via = link.route.via();
        let State::Identifying(early, _) = &mut link.state else {
            return None;
        };
        let early = early.take();
        link.state = State::Greeted(contact, hello.hold);
        self.say(fx, id, vec![Peer::Hello(hello)]);
        self.wake_at(fx.now.mono + PING_AFTER);
        early
    }

    /// Of the links of these users, the one that gives way when there are too many: of the network that has most, the
    /// one that has been silent for longest.
    pub fn gives_way(&self, of: impl Fn(ContactId) -> bool) -> Option<ConnectionId> {
        let theirs = || self.links.iter().filter(|(_, link)| link.contact().is_some_and(&of));
        let from = |link: &Link| link.route.remote().map(|remote| network(remote.ip()));
        let most = |link: &Link| theirs().filter(|(_, other)| from(other) == from(link)).count();
        theirs()
            .min_by_key(|(id, link)| (usize::MAX - most(link), link.last_received, **id))
            .map(|(id, _)| *id)
    }

    /// How many links these users have.
    pub fn count(&self, of: impl Fn(ContactId) -> bool) -> usize {
        self.links.values().filter(|link| link.contact().is_some_and(&of)).count()
    }

    pub fn received(&mut self, fx: &Effects, id: ConnectionId) {
        self.links.change(&id, |link| link.last_received = fx.now.mono);
    }

    pub fn hear<'m>(&mut self, id: ConnectionId, said: &'m Peer) -> Heard<'m> {
        let Some(link) = self.links.get_mut(&id) else {
            return Heard::Nothing;
        };
        match (&mut link.state, said) {
            (State::Replaced(_), _) => Heard::Nothing,
            (_, Peer::Bye(bye)) => Heard::Goodbye(bye.reason),
            (State::Up { contact, .. }, Peer::Message(message)) => {
                let message = link.parts.complete(message);
                let most = if message.kind == peer::Kind::TEXT { MAX_TEXT } else { MAX_PEER_FRAME };
                if message.body.len() > most {
                    Heard::Broken("a message longer than it may be")
                } else {
                    Heard::Message(*contact, message)
                }
            }
            (State::Up { .. }, Peer::Part(part)) if link.parts.keep(part) => Heard::Part,
            (State::Up { .. }, Peer::Part(_)) => Heard::Broken("a message longer than it may be"),
            (State::Up { .. }, Peer::PartAck) => Heard::PartAck,
            (State::Up { contact, .. }, Peer::Ack(cursor)) => Heard::Acknowledgement(*contact, *cursor),
            (State::Greeted(contact, _), Peer::Hello(hello)) => Heard::Hello(*contact, hello),
            (State::Undecided(contact, ..), Peer::Keep(decision)) => Heard::Keep(*contact, *decision),
            (State::Identifying(early @ None, name), Peer::Hello(hello)) => {
                *early = Some(hello.clone());
                Heard::Unknown(hello, name.clone())
            }
            (_, Peer::Ping) => Heard::Nothing,
            (State::Up { contact, .. }, Peer::Hold(hold)) => Heard::Hold(*contact, hold.clone()),
            (State::Up { .. }, Peer::Resume) => Heard::Resume,
            (State::Up { .. }, Peer::Rewound) => {
                link.parts = Parts::default();
                Heard::Rewound
            }
            (State::Up { contact, .. }, Peer::Skipped(up_to)) => Heard::Skipped(*contact, *up_to),
            (State::Up { .. }, Peer::Room(about)) => Heard::Room(about),
            (State::Identifying(..) | State::Greeted(..) | State::Undecided(..), _)
            | (State::Up { .. }, Peer::Hello(_) | Peer::Keep(_)) => {
                Heard::Broken("something was said out of turn")
            }
        }
    }

    /// Closes a connection, with a last word if there is a reason to give.
    pub fn close(&mut self, fx: &mut Effects, id: ConnectionId, reason: Option<ByeReason>) -> Option<Closed> {
        let link = self.remove(fx, id, reason)?;
        let contact = link.contact();
        let was_up = contact.is_some_and(|contact| self.of(contact) == Some(id));
        if let Some(contact) = contact.filter(|_| was_up) {
            self.up.remove(&contact);
            self.close_replaced(fx, contact);
        }
        let silence = fx.now.mono.since(link.last_received);
        Some(Closed { contact, was_up, dialled: link.dialled, silence })
    }

    fn remove(&mut self, fx: &mut Effects, id: ConnectionId, reason: Option<ByeReason>) -> Option<Link> {
        let link = self.links.remove(&id)?;
        fx.close(id, reason);
        Some(link)
    }

    /// Closes every link, with a word.
    pub fn leave(&mut self, fx: &mut Effects) {
        for id in self.ids() {
            self.close(fx, id, Some(ByeReason::LOGOUT));
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        *self.wake
    }

    /// Pings the peers to whom nothing was said for a while. Returns the links over which nothing was received for too
    /// long.
    pub fn tick(&mut self, fx: &mut Effects) -> Vec<ConnectionId> {
        let now = fx.now.mono;
        let mut silent = Vec::new();
        if now < *self.wake {
            return silent;
        }
        let mut due = Vec::new();
        let mut wake = Instant::NEVER;
        for (id, link) in self.links.iter() {
            if now >= link.dead_at() {
                silent.push(*id);
                continue;
            }
            wake = wake.min(link.dead_at());
            if now >= link.ping_at() {
                due.push(*id);
                wake = wake.min(now + PING_AFTER);
            } else {
                wake = wake.min(link.ping_at());
            }
        }
        due.into_iter().for_each(|id| self.say(fx, id, vec![Peer::Ping]));
        *self.wake = wake;
        silent
    }

    fn wake_at(&mut self, at: Instant) {
        if at < *self.wake {
            *self.wake = at;
        }
    }
}

transactional!(Links { links, decisions, up, wake, strangers, paces, blocked });

#[cfg(test)]
mod orders;
#[cfg(test)]
mod tests;
