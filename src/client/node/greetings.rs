//! The conductor: from a proven key to a link that is up. Who it is, whether they are welcome, and what both say first.

use std::borrow::Cow;

use super::super::event::ConnectionId;
use super::super::notice::{Notice, UpDown};
use super::intake::LINKS as STRANGER_LINKS;
use super::links::{Greeting, Unknown, Up, WINDOW};
use super::roster::Person;
use super::{Node, acquaintance};
use crate::protocol::peer::{ByeReason, Hello, HoldReason, Peer, Via};
use crate::protocol::rendezvous::{Identify, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Standing};
use crate::transport::network;

impl Node {
    /// A peer has proved a key: finds out who it is.
    pub(super) fn link_proved(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        version: u8,
        dialled: Option<ContactId>,
    ) -> Result<()> {
        let Some((key, route)) = self.links.get(id).map(|link| (link.key, link.route)) else {
            return Ok(());
        };
        let owner = self.roster.holder(&key);
        if dialled.is_none() && !self.links.admits(&self.fx, key) {
            self.reject_link(id, ByeReason::TRY_LATER);
            return Ok(());
        }
        if let Some(contact) = dialled {
            self.dialer.answered(self.fx.now, contact, route);
        }
        if self.rendezvous.is_out() || dialled.is_some_and(|contact| owner != Some(contact)) {
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            return Ok(());
        }
        if let Some(contact) = owner {
            return self.known_link(journal, id, contact, version);
        }
        let asked = match self.links.unknown(id, version) {
            Unknown::Asked => true,
            Unknown::Ask => self.rendezvous.ask(&mut self.fx, ToDiscovery::Identify(Identify { key })),
            Unknown::TooMany => false,
        };
        if !asked {
            self.reject_link(id, ByeReason::TRY_LATER);
            let what = format!("{route} was cut: discovery can't be asked who it is (key {key})");
            self.links.stranger(&mut self.fx, &what);
        }
        Ok(())
    }

    /// A peer whose key was unknown at the handshake says hello; discovery may have named them. One who comes for the sake of
    /// a room that is not known here is no stranger for that.
    pub(super) fn unknown_says_hello(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        room: bool,
        name: Option<&Name>,
    ) -> Result<()> {
        let Some((key, version)) = self.links.get(id).and_then(|link| Some((link.key, link.version?))) else {
            return Ok(());
        };
        if let Some(contact) = self.roster.holder(&key) {
            return self.known_link(journal, id, contact, version);
        }
        if room {
            self.reject_link(id, ByeReason::TRY_LATER);
            return Ok(());
        }
        let Some(name) = name else {
            return Ok(());
        };
        match acquaintance::learn(self, journal, name, key, true)? {
            Some(contact) => return self.known_link(journal, id, contact, version),
            None => self.reject_link(id, ByeReason::NOT_ACCEPTED),
        }
        Ok(())
    }

    /// A peer has proved the key of one who is known here.
    fn known_link(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        version: u8,
    ) -> Result<()> {
        if self.roster.note_version(contact, version) {
            return self.greet(journal, id, contact);
        }
        self.bad_peer(id, "it speaks an older version of the protocol than it has before");
        Ok(())
    }

    /// Discovery says whose key it is that a peer has proved.
    pub(super) fn identified(
        &mut self,
        journal: &Journal,
        key: PublicKey,
        name: Option<&Name>,
    ) -> Result<()> {
        for id in self.links.identifying(key) {
            let Some(name) = name.filter(|name| **name != self.setup.name) else {
                let remote = self.links.get(id).map_or_else(String::new, |link| link.route.to_string());
                self.reject_link(id, ByeReason::NOT_ACCEPTED);
                let what = format!("{remote} was cut: no user has registered its key {key}");
                self.links.stranger(&mut self.fx, &what);
                continue;
            };
            if let Some(hello) = self.links.named(id, name) {
                self.unknown_says_hello(journal, id, hello.room, Some(name))?;
            }
        }
        Ok(())
    }

    /// Says hello to a contact, to a stranger who may have a link, or to a member of a common room.
    pub(super) fn greet(&mut self, journal: &Journal, id: ConnectionId, contact: ContactId) -> Result<()> {
        let Some(person) = self.roster.get(contact).cloned() else {
            return Ok(());
        };
        if let Some(reason) = self.unwelcome(contact) {
            self.reject_link(id, reason);
            if person.identity.blocked {
                self.links.say_blocked(&mut self.fx, contact, &person.name);
            }
            return Ok(());
        }
        if person.identity.standing == Standing::Stranger && !self.mates.has(contact) {
            self.make_room_for_link(contact, id);
        }
        let hears = self.hears(contact);
        let hold = self.intake.hold(contact, hears);
        if hold == Some(HoldReason::NOT_ANSWERED) && hears {
            self.tell_full(contact);
        }
        let hello = Hello {
            name: self.setup.name.clone(),
            epoch: self.setup.epoch,
            port: self.setup.listen.port(),
            window: WINDOW,
            cursors: self.delivery.cursors(journal, contact)?,
            hold,
            via: Via::Direct,
            linked: false,
            room: !person.is_dialled(),
        };
        match self.links.greet(&mut self.fx, id, contact, hello) {
            Some(early) => self.greeted(journal, id, contact, &early),
            None => Ok(()),
        }
    }

    /// Of the links of strangers one is closed, if this is one too many.
    fn make_room_for_link(&mut self, contact: ContactId, id: ConnectionId) {
        let remote = self.links.get(id).and_then(|link| link.route.remote());
        self.intake.linked(contact, remote.map(|remote| network(remote.ip())));
        let Self { links, roster, mates, .. } = self;
        let stranger = |id| roster.standing(id) == Some(Standing::Stranger) && !mates.has(id);
        if links.count(stranger) >= STRANGER_LINKS
            && let Some(other) = links.gives_way(stranger)
        {
            self.close_link(other, Some(ByeReason::TRY_LATER));
        }
    }

    /// The other side has said hello.
    pub(super) fn greeted(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        hello: &Hello,
    ) -> Result<()> {
        let Some(name) = self.still_welcome(id, contact) else {
            return Ok(());
        };
        match self.links.greeted(&mut self.fx, id, contact, &name, hello) {
            Greeting::Broken(what) => self.bad_peer(id, &what),
            Greeting::KeepOlder => self.close_link(id, None),
            Greeting::Undecided => {}
            Greeting::Up(up) => return self.link_up(journal, id, contact, hello, up),
        }
        Ok(())
    }

    /// The other side keeps the link, unless it has decided otherwise since.
    pub(super) fn kept(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        decision: u64,
    ) -> Result<()> {
        if self.still_welcome(id, contact).is_none() {
            return Ok(());
        }
        match self.links.kept(&mut self.fx, id, decision) {
            Some((hello, up)) => self.link_up(journal, id, contact, &hello, up),
            None => {
                self.close_link(id, None);
                Ok(())
            }
        }
    }

    /// Cuts a link with one who is not to have it any more, has another key by now, or was told that messages are taken
    /// which are not, since this side said hello.
    fn still_welcome(&mut self, id: ConnectionId, contact: ContactId) -> Option<Name> {
        let key = self.links.get(id)?.key;
        let person = self.roster.get(contact).filter(|person| person.identity.key == Some(key));
        let reason = match self.unwelcome(contact) {
            None if !self.hears(contact) && self.links.holding(id).is_none() => Some(ByeReason::TRY_LATER),
            None if person.is_none() => Some(ByeReason::NOT_ACCEPTED),
            reason => reason,
        };
        let Some(reason) = reason else {
            return person.map(|person| person.name.clone());
        };
        self.reject_link(id, reason);
        None
    }

    /// Messages go over this link from now on.
    fn link_up(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        hello: &Hello,
        up: Up,
    ) -> Result<()> {
        let Up { older, address, via, same_way, window, holding } = up;
        older.into_iter().for_each(|older| self.delivery.close(older));
        let mut hello = Cow::Borrowed(hello);
        if self.roster.is_blocked(contact) {
            // What was written before stays here.
            hello.to_mut().hold.get_or_insert(HoldReason::NOT_ANSWERED);
        }
        let opened = self.delivery.open(journal, id, contact, window, &hello, holding)?;
        let hears = self.hears(contact);
        // The reason may be gone since this side said hello.
        let gone = holding.filter(|_| self.intake.hold(contact, hears).is_none());
        for link in gone.into_iter().flat_map(|it| self.delivery.take_again(Some(contact), it)) {
            self.links.say(&mut self.fx, link, vec![Peer::Resume]);
        }
        if let Some(up_to) = opened.skipped {
            self.links.say(&mut self.fx, id, vec![Peer::Skipped(up_to)]);
        }
        let Some(Person { name, identity, .. }) = self.roster.get(contact).cloned() else {
            return Ok(());
        };
        if let Some(key) = identity.key {
            let was_linked = self.mates.link(&key).is_some();
            self.mates.up(key, id);
            self.room_link_up(journal, key, id)?;
            if !was_linked {
                self.tell_linked(&key);
            }
        }
        if let Some(messages) = opened.lost {
            self.fx.tell(Notice::Lost { peer: name.clone(), messages });
        }
        self.tell_delivered(contact, opened.delivered);
        self.dialer.reached(self.fx.now, contact, address);
        self.reach.linked(self.fx.now, contact, via == Via::Relayed);
        self.rendezvous.forgive(&name);
        if hears && (older.is_none() || !same_way) {
            let stranger = identity.standing == Standing::Stranger;
            self.fx.tell(Notice::Link { peer: name, state: UpDown::Up, stranger, route: Some(via) });
        }
        self.note_held(contact);
        Ok(())
    }
}
