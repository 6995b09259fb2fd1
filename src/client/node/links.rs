//! From a proven key to a link that both sides keep.
//!
//! A connection whose key is proved belongs to somebody once the key is found among the contacts or
//! discovery has named its owner. Then both say hello; with the other's hello the link is up, and
//! messages go over it. A contact has one link that is up; a newer one takes its place.

use std::net::SocketAddr;

use super::super::event::{Action, LinkId};
use super::super::notice::{Code, Notice, UpDown};
use super::Node;
use super::outbound::Outbound;
use crate::protocol::peer::{Bye, ByeReason, Cursor, Hello, MAX_CURSORS, Peer};
use crate::protocol::rendezvous::{About, Identify, ToDiscovery};
use crate::protocol::{DEAD_AFTER, HANDSHAKE_DEADLINE, Name, PING_AFTER, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Incoming, Journal, Request};
use crate::time::{Now, millis};

/// How many bytes of unacknowledged messages this side takes from a peer.
const WINDOW: u32 = 1024 * 1024;
/// How long after a link came up another one may be from the same moment, in milliseconds: whoever dialled
/// it did so before, and had this long for the handshake.
const AT_ONCE: u64 = 2 * millis(HANDSHAKE_DEADLINE);
/// How often it is said that a stranger was cut, in milliseconds.
const STRANGERS_EVERY: u64 = 10_000;
/// The most connections that have not yet come to a hello.
const MAX_UNKNOWN: usize = 256;

/// A connection to somebody who has proved a key.
#[derive(Debug)]
pub struct Link {
    key: PublicKey,
    dialled: bool,
    remote: SocketAddr,
    /// How many bytes the kernel takes without waiting: half of it for messages, half for the rest.
    pub budget: usize,
    state: State,
    /// Until when the other side must have said hello.
    patience: u64,
    heard: u64,
    said: u64,
    /// The transaction that changed the link last.
    pub touched: u64,
    pub outbound: Outbound,
    /// What is committed of theirs and not yet acknowledged.
    pub ack: Option<Cursor>,
}

#[derive(Debug)]
enum State {
    /// Discovery has been asked whose key it is; the hello may already be here.
    Identifying(Option<Hello>),
    /// They have been told hello, and have not yet answered.
    Greeted(ContactId),
    /// Both have said hello.
    Up {
        contact: ContactId,
        /// Which start of the other side's client this is.
        epoch: u64,
        /// Since when.
        since: u64,
    },
}

impl Link {
    /// A connection just proved.
    pub fn new(now: Now, key: PublicKey, dialled: bool, remote: SocketAddr, budget: usize) -> Self {
        Self {
            key,
            dialled,
            remote,
            budget,
            state: State::Identifying(None),
            patience: now.mono + millis(HANDSHAKE_DEADLINE),
            heard: now.mono,
            said: now.mono,
            touched: 0,
            outbound: Outbound::default(),
            ack: None,
        }
    }

    /// Whose link it is, once it is up.
    pub fn contact(&self) -> Option<ContactId> {
        match self.state {
            State::Up { contact, .. } => Some(contact),
            _ => None,
        }
    }
}

impl Node {
    /// Says something to a peer.
    pub(super) fn say(&mut self, now: Now, id: LinkId, messages: Vec<Peer>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.said = now.mono;
            self.actions.push(Action::Send(id, messages));
        }
    }

    /// Somebody has proved a key: finds out who it is.
    pub(super) fn link_proved(
        &mut self,
        now: Now,
        journal: &Journal,
        id: LinkId,
        dialled: Option<ContactId>,
        mut link: Link,
    ) -> Result<()> {
        link.touched = self.batch;
        let (key, remote) = (link.key, link.remote);
        let owner = self.by_key.get(&key).copied();
        if let Some(dialled) = dialled {
            self.note_attempt(now, dialled, remote, None);
            self.dialled(now, dialled);
            self.dial_later(now, dialled, true);
        }
        self.links.insert(id, link);
        self.wake_at(now.mono);
        if self.rendezvous.is_out() || dialled.is_some_and(|dialled| owner != Some(dialled)) {
            self.refuse_link(now, id);
            return Ok(());
        }
        if let Some(contact) = owner {
            return self.greet(now, journal, id, contact);
        }
        let unknown = |link: &&Link| matches!(link.state, State::Identifying(_));
        let asked = self.links.values().filter(unknown).filter(|link| link.key == key).count() > 1;
        if self.links.values().filter(unknown).count() <= MAX_UNKNOWN
            && (asked || self.ask_discovery(now, ToDiscovery::Identify(Identify { key })))
        {
            return Ok(());
        }
        self.remove_link(now, id, Some(ByeReason::TRY_LATER));
        self.stranger(now, format!("{remote} was cut: discovery can't be asked who it is (key {key})"));
        Ok(())
    }

    /// Says that somebody unknown was cut. A stranger can come as often as they like, but not fill the
    /// screen by that.
    fn stranger(&mut self, now: Now, what: String) {
        let (said, since) = &mut self.strangers;
        if *since > 0 && now.mono < *said + STRANGERS_EVERY {
            *since += 1;
            return;
        }
        let more = if *since > 1 {
            format!(" ({} more since the last of these)", *since - 1)
        } else {
            String::new()
        };
        (*said, *since) = (now.mono, 1);
        self.trouble(now, Code::UnknownPeer, None, format!("a connection from {what}{more}"));
    }

    /// Discovery says whose key it is that somebody has proved.
    pub(super) fn identified(
        &mut self,
        now: Now,
        journal: &Journal,
        key: PublicKey,
        name: Option<&Name>,
    ) -> Result<()> {
        let waiting: Vec<(LinkId, SocketAddr)> = self
            .links
            .iter()
            .filter(|(_, link)| link.key == key && matches!(link.state, State::Identifying(_)))
            .map(|(id, link)| (*id, link.remote))
            .collect();
        for (id, remote) in waiting {
            let Some(name) = name.filter(|name| **name != self.setup.name) else {
                self.refuse_link(now, id);
                self.stranger(now, format!("{remote} was cut: nobody has registered its key {key}"));
                continue;
            };
            match self.asked_by(now, journal, name, key)? {
                Some(contact) => self.greet(now, journal, id, contact)?,
                None => self.refuse_link(now, id),
            }
        }
        Ok(())
    }

    /// Somebody wants a channel, and discovery says that this is their key: the contact that they are
    /// from now on, unless the key is not the one that is pinned.
    pub(super) fn asked_by(
        &mut self,
        now: Now,
        journal: &Journal,
        name: &Name,
        key: PublicKey,
    ) -> Result<Option<ContactId>> {
        let new = !self.by_name.contains_key(name);
        if new && self.by_key.contains_key(&key) {
            tracing::warn!(%name, %key, "discovery names a second user for a contact's key");
            return Ok(None);
        }
        if new && self.add_contact(journal, name)?.is_none() {
            self.trouble(
                now,
                Code::Refused,
                Some(name),
                format!("{name} asks for you, but there are too many contacts"),
            );
            return Ok(None);
        }
        let contact = self.learn_key(now, name, key);
        if new {
            self.tell(now, Notice::Request { from: name.clone(), fingerprint: key });
        }
        Ok(contact)
    }

    /// Says hello to a contact.
    fn greet(&mut self, now: Now, journal: &Journal, id: LinkId, contact: ContactId) -> Result<()> {
        let Some(known) = self.contacts.get_mut(&contact) else {
            return Ok(());
        };
        if known.row.blocked {
            let first = known.refused.replace(Code::Blocked) != Some(Code::Blocked);
            let name = known.row.name.clone();
            self.refuse_link(now, id);
            if first {
                self.trouble(
                    now,
                    Code::Blocked,
                    Some(&name),
                    format!("{name} connected and was cut: {name} is blocked"),
                );
            }
            return Ok(());
        }
        let cursors = self.cursors(journal, contact)?;
        let hello = Hello {
            name: self.setup.name.clone(),
            epoch: self.setup.epoch,
            port: self.setup.listen.port(),
            window: WINDOW,
            cursors,
        };
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let State::Identifying(early) = std::mem::replace(&mut link.state, State::Greeted(contact)) else {
            return Ok(());
        };
        link.touched = self.batch;
        self.say(now, id, vec![Peer::Hello(hello)]);
        match early {
            Some(hello) => self.greeted(now, journal, id, contact, &hello),
            None => Ok(()),
        }
    }

    /// A peer is there, whatever it says.
    pub(super) fn heard_peer(&mut self, now: Now, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.heard = now.mono;
        }
    }

    /// A peer says something.
    pub(super) fn peer_says(
        &mut self,
        now: Now,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        id: LinkId,
        said: &Peer,
    ) -> Result<()> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        match (&mut link.state, said) {
            (_, Peer::Bye(bye)) => self.goodbye(now, id, bye.reason),
            (State::Up { contact, .. }, Peer::Message(message)) => {
                let contact = *contact;
                return self.received(now, journal, incoming, id, contact, message);
            }
            (State::Up { contact, .. }, Peer::Ack(cursor)) => {
                let contact = *contact;
                return self.acknowledged(journal, id, contact, *cursor);
            }
            (State::Identifying(early @ None), Peer::Hello(hello)) => *early = Some(hello.clone()),
            (State::Greeted(contact), Peer::Hello(hello)) => {
                let contact = *contact;
                return self.greeted(now, journal, id, contact, hello);
            }
            (_, Peer::Ping) => {}
            (State::Identifying(_) | State::Greeted(_), _) | (State::Up { .. }, Peer::Hello(_)) => {
                self.bad_peer(now, id, "something was said out of turn");
            }
        }
        Ok(())
    }

    /// The other side has said hello: the link is up, unless another one is the better.
    fn greeted(
        &mut self,
        now: Now,
        journal: &Journal,
        id: LinkId,
        contact: ContactId,
        hello: &Hello,
    ) -> Result<()> {
        let (Some(link), Some(known)) = (self.links.get(&id), self.contacts.get(&contact)) else {
            return Ok(());
        };
        let name = known.row.name.clone();
        // The user may have decided since this side said hello.
        if known.row.blocked || known.row.key != Some(link.key) {
            self.refuse_link(now, id);
            return Ok(());
        }
        if hello.cursors.len() > MAX_CURSORS as usize {
            self.bad_peer(now, id, "its hello is too long");
            return Ok(());
        }
        if hello.name != name {
            self.bad_peer(now, id, &format!("it calls itself {}", hello.name));
            return Ok(());
        }
        // Where this side has dialled, they were reached; otherwise they say on which port they can be.
        let address = if link.dialled {
            Some(link.remote)
        } else {
            (hello.port != 0).then(|| SocketAddr::new(link.remote.ip().to_canonical(), hello.port))
        };
        let older = known.link;
        if let Some(older) = older {
            if self.is_better(now, older, id, hello.epoch) {
                self.close_link(now, id, None);
                return Ok(());
            }
            let superseded = self
                .links
                .get(&older)
                .is_some_and(|older| matches!(older.state, State::Up { epoch, .. } if epoch != hello.epoch));
            self.remove_link(now, older, superseded.then_some(ByeReason::SUPERSEDED));
        }
        let sent = self.resume(journal, contact, &hello.cursors)?;
        if let Some(link) = self.links.get_mut(&id) {
            link.state = State::Up { contact, epoch: hello.epoch, since: now.mono };
            link.touched = self.batch;
            let window = (link.budget / 2).min(hello.window as usize);
            link.outbound = Outbound::new(window, sent);
        }
        if let Some(known) = self.contacts.get_mut(&contact) {
            known.link = Some(id);
            if older.is_none() {
                known.linked_since = now.wall;
            }
        }
        self.note_seen(now, contact, now.wall);
        self.reached(contact, address);
        if older.is_none() {
            self.tell(now, Notice::Link { peer: name, state: UpDown::Up });
        }
        self.report_link(now, contact);
        Ok(())
    }

    /// Tells discovery that there is a link to the contact, which settles every request between the two.
    pub(super) fn report_link(&mut self, now: Now, contact: ContactId) {
        let Some(name) = self.contacts.get(&contact).map(|known| known.row.name.clone()) else {
            return;
        };
        if self.ask_discovery(now, ToDiscovery::Linked(About { name }))
            && let Some(known) = self.contacts.get_mut(&contact)
            && known.row.request == Request::Kept
        {
            known.row.request = Request::None;
            known.dirty = true;
        }
    }

    /// Whether, of two links to one contact, the older is to be kept.
    ///
    /// When both sides dial at once, two links come up within moments, one dialled by each. Both sides
    /// must keep the same one: that which the side with the lower key has dialled. In every other case
    /// the other side does not believe in the older link any more, or has been started anew: then the
    /// newer counts.
    fn is_better(&self, now: Now, older: LinkId, newer: LinkId, start: u64) -> bool {
        let (Some(old), Some(new)) = (self.links.get(&older), self.links.get(&newer)) else {
            return false;
        };
        let State::Up { epoch, since, .. } = old.state else {
            return false;
        };
        let at_once = now.mono.saturating_sub(since) < AT_ONCE && old.dialled != new.dialled;
        let dialled_by_lower = old.dialled == (self.setup.key < old.key);
        epoch == start && at_once && dialled_by_lower
    }

    /// The other side closes the link.
    fn goodbye(&mut self, now: Now, id: LinkId, reason: ByeReason) {
        let contact = self.links.get(&id).and_then(|link| match link.state {
            State::Up { contact, .. } | State::Greeted(contact) => Some(contact),
            State::Identifying(_) => None,
        });
        self.close_link(now, id, None);
        if let Some(contact) = contact {
            self.note_goodbye(now, contact, reason);
        }
        match (reason, contact) {
            (ByeReason::SUPERSEDED, Some(contact)) => self.dial_no_more(contact),
            (ByeReason::TRY_LATER, _) => {}
            (_, Some(contact)) => self.dial_later(now, contact, true),
            (_, None) => {}
        }
    }

    /// The other side breaks the rules: the link is of no use.
    pub(super) fn bad_peer(&mut self, now: Now, id: LinkId, what: &str) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let name = self
            .by_key
            .get(&link.key)
            .and_then(|id| self.contacts.get(id))
            .map(|known| known.row.name.clone());
        let who = name.as_ref().map_or_else(|| link.remote.to_string(), ToString::to_string);
        self.close_link(now, id, Some(ByeReason::NOT_ACCEPTED));
        self.trouble(now, Code::BadPeer, name.as_ref(), format!("the link to {who} was cut: {what}"));
    }

    /// A connection has ended by itself.
    pub(super) fn link_closed(&mut self, now: Now, id: LinkId) {
        self.close_link(now, id, None);
    }

    /// Closes a connection with somebody from whom none is wanted.
    fn refuse_link(&mut self, now: Now, id: LinkId) {
        self.remove_link(now, id, Some(ByeReason::NOT_ACCEPTED));
    }

    /// Closes a link, says so, and dials again later.
    pub(super) fn close_link(&mut self, now: Now, id: LinkId, reason: Option<ByeReason>) {
        let dialled = self.links.get(&id).is_some_and(|link| link.dialled);
        let silence = self.links.get(&id).map_or(0, |link| now.mono.saturating_sub(link.heard));
        let contact = match self.links.get(&id).map(|link| &link.state) {
            Some(State::Up { contact, .. } | State::Greeted(contact)) => *contact,
            _ => {
                self.remove_link(now, id, reason);
                return;
            }
        };
        self.remove_link(now, id, reason);
        let Some(known) = self.contacts.get_mut(&contact) else {
            return;
        };
        if known.link == Some(id) {
            known.link = None;
            if !known.row.blocked {
                let peer = known.row.name.clone();
                self.tell(now, Notice::Link { peer, state: UpDown::Down });
            }
            self.note_seen(now, contact, now.wall.saturating_sub_unsigned(silence));
            self.dial_later(now, contact, false);
        } else if known.link.is_none() && dialled {
            // Whoever has the key and wants no link may be an older client of theirs, at the older address.
            self.dial_elsewhere(contact);
            self.dial_later(now, contact, false);
        }
    }

    fn remove_link(&mut self, now: Now, id: LinkId, reason: Option<ByeReason>) {
        if let Some(reason) = reason {
            self.say(now, id, vec![Peer::Bye(Bye { reason })]);
        }
        if self.links.remove(&id).is_some() {
            self.actions.push(Action::Close(id));
        }
    }

    /// Closes every link, and discovery's session, with a word.
    pub(super) fn say_goodbye(&mut self, now: Now) {
        for (id, _) in std::mem::take(&mut self.links) {
            self.actions.push(Action::Send(id, vec![Peer::Bye(Bye { reason: ByeReason::LOGOUT })]));
            self.actions.push(Action::Close(id));
        }
        for contact in self.contacts.values_mut() {
            // It is saved with the last transaction when they were there last.
            if contact.link.is_some() || contact.presence == Some(true) {
                contact.row.seen = Some(now.wall);
                contact.dirty_later = true;
            }
            contact.link = None;
        }
        if let Some(session) = self.rendezvous.leave() {
            self.actions.push(Action::TellDiscovery(session, vec![ToDiscovery::Logout]));
            self.actions.push(Action::Close(session));
        }
    }

    /// Pings whom nothing was said to, and gives up who has said nothing.
    pub(super) fn tick_links(&mut self, now: Now) {
        let mut wake = u64::MAX;
        let mut silent = Vec::new();
        for (id, link) in &mut self.links {
            let up = matches!(link.state, State::Up { .. });
            let dead = if up { link.heard + millis(DEAD_AFTER) } else { link.patience };
            if now.mono >= dead {
                silent.push(*id);
                continue;
            }
            if up && now.mono >= link.said + millis(PING_AFTER) {
                link.said = now.mono;
                self.actions.push(Action::Send(*id, vec![Peer::Ping]));
            }
            wake = wake.min(dead);
            if up {
                wake = wake.min(link.said + millis(PING_AFTER));
            }
        }
        self.wake_at(wake);
        for id in silent {
            tracing::info!(link = id, "nothing heard for too long");
            self.close_link(now, id, None);
        }
    }
}
