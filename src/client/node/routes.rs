//! The conductor's other half: what discovery and peers say, routed to the machines.

use std::net::SocketAddr;

use super::super::event::{ConnectionId, Problem};
use super::super::notice::{Code, Notice, UpDown};
use super::delivery::Delivered;
use super::links::{Greeting, Heard, Unknown, WINDOW};
use super::roster::Learned;
use super::{FAILED, Node, Setup, commands, leaving};
use crate::protocol::peer::{ByeReason, Hello, Peer};
use crate::protocol::rendezvous::{
    Asks, Identify, RefusedCode, Register, Request as Ask, Status, ToClient, ToDiscovery,
};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Incoming, Journal, Request};
use crate::transport::Route;

impl Node {
    pub(super) fn session_up(
        &mut self,
        journal: &Journal,
        session: ConnectionId,
        key: PublicKey,
    ) -> Result<()> {
        let Setup { name, listen, epoch, strangers, .. } = &self.setup;
        let register =
            Register { name: name.clone(), listen: *listen, start: Some(*epoch), strangers: *strangers };
        if self.rendezvous.connected(&mut self.fx, session, key, register) {
            journal.pin_rendezvous(&self.setup.endpoint, key)?;
        }
        Ok(())
    }

    pub(super) fn discovery_says(
        &mut self,
        journal: &Journal,
        session: ConnectionId,
        said: &ToClient,
    ) -> Result<()> {
        if !self.rendezvous.is_session(session) {
            return Ok(());
        }
        match said {
            ToClient::Pong => {}
            ToClient::Registered(registered) => {
                journal.set_registered(&self.setup.endpoint)?;
                let detail = format!("registered as {} at {}", self.setup.name, registered.address);
                self.rendezvous.registered(&mut self.fx, detail);
            }
            ToClient::Refused(refused) => {
                return self.discovery_refuses(journal, refused.code, refused.name.as_ref());
            }
            ToClient::Status(status) => return self.status(journal, status),
            ToClient::NoSuchUser(about) => self.no_such_user(&about.name),
            ToClient::Synced => self.synced(),
            ToClient::Identity(found) => return self.identified(journal, found.key, found.name.as_ref()),
            ToClient::Superseded(newer) => self.superseded(newer.address),
            ToClient::Dropped(_) => {}
        }
        Ok(())
    }

    pub(super) fn status(&mut self, journal: &Journal, status: &Status) -> Result<()> {
        if status.name == self.setup.name {
            return Ok(());
        }
        // Also for a user whom this journal does not know but discovery calls connected: it was restored from a backup,
        // and they are still a contact on their side.
        let known = self.acquaint(journal, &status.name, status.key)?;
        if let Some(id) = known.or_else(|| self.roster.named(&status.name)) {
            self.rendezvous.note_spoken(id);
        }
        let Some(id) = known else {
            return Ok(());
        };
        let linked = self.links.of(id).is_some();
        if self.dialer.learn(id, status.address, status.online == Some(true)) && !linked {
            self.dial_soon(id);
        }
        if self.dialer.set_presence(self.fx.now, id, status.online) && !self.roster.is_blocked(id) {
            self.fx.tell(Notice::Presence {
                peer: status.name.clone(),
                state: (status.online == Some(true)).into(),
            });
        }
        if self.request(id) == Request::Unconfirmed {
            self.roster.set_request(id, Request::Kept);
        }
        if linked && (status.asks != Asks::No || self.request(id) == Request::Kept) {
            self.report_link(id);
        }
        Ok(())
    }

    /// Discovery says that this is the key of a user who wants a channel: the contact that they are from now on, unless
    /// the key is not the one that is pinned.
    pub(super) fn acquaint(
        &mut self,
        journal: &Journal,
        name: &Name,
        key: PublicKey,
    ) -> Result<Option<ContactId>> {
        match self.roster.learn(name, key) {
            Learned::Key(id) => return Ok(Some(id)),
            Learned::Ignored => {}
            Learned::Exists(id) => self.withdrawals.note_exists(id),
            Learned::Changed(words) => self.fx.error(Code::KeyChanged, Some(name), words),
            Learned::Stranger => {
                if let Some(id) = self.add_contact(journal, name)? {
                    self.roster.learn(name, key);
                    self.fx.tell(Notice::Request { from: name.clone(), fingerprint: key });
                    return Ok(Some(id));
                }
                let message = format!("{name} asks for you, but there are too many contacts");
                self.fx.error(Code::Refused, Some(name), message);
            }
        }
        Ok(None)
    }

    /// Discovery has said all that it knows: asks for the others.
    pub(super) fn synced(&mut self) {
        self.dial_given_up();
        let spoken = self.rendezvous.take_spoken();
        let wanted = self.roster.known().filter(|(_, person)| !person.identity.blocked);
        let contacts: Vec<(ContactId, Name)> = wanted.map(|(id, person)| (id, person.name.clone())).collect();
        for (id, name) in contacts {
            if !spoken.contains(&id) {
                self.ask_for(&name);
            }
            if self.links.of(id).is_some() {
                self.report_link(id);
            }
        }
    }

    pub(super) fn ask_unconfirmed(&mut self) {
        let unconfirmed = self.roster.iter().filter(|(_, it)| it.identity.request == Request::Unconfirmed);
        let names: Vec<Name> = unconfirmed.map(|(_, person)| person.name.clone()).collect();
        names.iter().for_each(|name| self.ask_for(name));
    }

    pub(super) fn ask_for(&mut self, name: &Name) {
        self.rendezvous.ask(&mut self.fx, ToDiscovery::Request(Ask { name: name.clone(), typed: true }));
    }

    /// There is no such user: what was meant for one is given back. A contact whose key is known does exist, whatever
    /// this discovery (which may have lost its database) knows.
    pub(super) fn no_such_user(&mut self, name: &Name) {
        let Some((id, person)) = self.roster.named(name).and_then(|id| Some((id, self.roster.get(id)?)))
        else {
            return;
        };
        if person.identity.key.is_some() || person.identity.blocked || person.withdrawn {
            return;
        }
        self.delivery.withdraw(id);
        self.roster.withdraw(id);
        self.withdrawals.add(id, self.delivery.delivered(id));
        self.tell_withdrawn(id);
        self.conversations.contacts_changed();
        if self.conversations.current() == Some(id) {
            commands::leave_conversation(self);
        }
    }

    pub(super) fn tell_withdrawn(&mut self, id: ContactId) {
        if let Some(name) = self.roster.name(id).cloned() {
            let what = match self.delivery.waiting(id) {
                0 => "the request is withdrawn".to_owned(),
                waiting => format!("the request is withdrawn, and so is what waited for {name} ({waiting})"),
            };
            self.refuse(Code::NoSuchUser, Some(&name), format!("there is no user {name}; {what}"));
        }
    }

    pub(super) fn discovery_refuses(
        &mut self,
        journal: &Journal,
        code: RefusedCode,
        name: Option<&Name>,
    ) -> Result<()> {
        if !self.rendezvous.is_registering() {
            let contact = name.is_some_and(|name| self.roster.named(name).is_some());
            self.rendezvous.request_refused(&mut self.fx, code, name, contact);
            return Ok(());
        }
        let taken = self.rendezvous.not_registered(&mut self.fx, &self.setup.name, code);
        self.forget_presence();
        // An account that was never registered has nothing to stay for.
        if let Some(detail) = taken
            && !journal.registered_anywhere()?
        {
            if let Some(contact) = self.one_shot.as_mut().and_then(|it| it.take_back(&detail)) {
                self.remove_contact(journal, contact)?;
            }
            if self.roster.is_empty() {
                leaving::leave(self, (FAILED, Some(detail)));
            }
        }
        Ok(())
    }

    pub(super) fn superseded(&mut self, by: SocketAddr) {
        let by = by.ip();
        let message =
            format!("this account was started again at {by}; this client stays out until it is restarted");
        self.fx.error(Code::Superseded, None, message);
        self.links.ids().into_iter().for_each(|link| self.close_link(link, Some(ByeReason::LOGOUT)));
        self.rendezvous.superseded(&mut self.fx);
        self.forget_presence();
    }

    /// Discovery can't say any more who is online.
    pub(super) fn forget_presence(&mut self) {
        for id in self.dialer.with_presence() {
            self.dialer.set_presence(self.fx.now, id, None);
        }
    }

    /// Something gives hope that the contact can be reached. The side with the lower key dials first.
    pub(super) fn dial_soon(&mut self, id: ContactId) {
        let key = self.roster.get(id).and_then(|person| person.identity.key);
        self.dialer.dial_soon(self.fx.now, id, key.is_some_and(|key| key < self.setup.key));
    }

    pub(super) fn dial_given_up(&mut self) {
        for id in self.dialer.given_up() {
            if self.links.of(id).is_none() {
                self.dial_soon(id);
            }
        }
    }

    pub(super) fn dial_failed(&mut self, id: ContactId, problems: &[(Route, Problem)]) {
        let impostor = self.dialer.failed(self.fx.now, id, problems);
        if let (Some((route, problem)), Some(name)) = (impostor, self.roster.name(id)) {
            let message = format!("{route} is not {name}: {problem}; nothing was sent");
            self.fx.error(Code::Impostor, Some(name), message);
        }
    }

    /// A peer has proved a key: finds out who it is.
    pub(super) fn link_proved(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        dialled: Option<ContactId>,
    ) -> Result<()> {
        let Some((key, route)) = self.links.get(id).map(|link| (link.key, link.route)) else {
            return Ok(());
        };
        let owner = self.roster.holder(&key);
        if let Some(contact) = dialled {
            self.dialer.answered(self.fx.now, contact, route);
        }
        if self.rendezvous.is_out() || dialled.is_some_and(|contact| owner != Some(contact)) {
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            return Ok(());
        }
        if let Some(contact) = owner {
            return self.greet(journal, id, contact);
        }
        let asked = match self.links.unknown(key) {
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
            match self.acquaint(journal, name, key)? {
                Some(contact) => self.greet(journal, id, contact)?,
                None => self.reject_link(id, ByeReason::NOT_ACCEPTED),
            }
        }
        Ok(())
    }

    /// Says hello to a contact.
    pub(super) fn greet(&mut self, journal: &Journal, id: ConnectionId, contact: ContactId) -> Result<()> {
        if let Some(person) = self.roster.get(contact).filter(|person| person.identity.blocked) {
            let name = person.name.clone();
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            self.links.say_blocked(&mut self.fx, contact, &name);
            return Ok(());
        }
        let hello = Hello {
            name: self.setup.name.clone(),
            epoch: self.setup.epoch,
            port: self.setup.listen.port(),
            window: WINDOW,
            cursors: self.delivery.cursors(journal, contact)?,
            hold: None,
        };
        match self.links.greet(&mut self.fx, id, contact, hello) {
            Some(early) => self.greeted(journal, id, contact, &early),
            None => Ok(()),
        }
    }

    pub(super) fn peer_says(
        &mut self,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        id: ConnectionId,
        said: &Peer,
    ) -> Result<()> {
        match self.links.hear(id, said) {
            Heard::Nothing => {}
            Heard::Message(contact, message) => {
                let arrived = self.fx.now.wall;
                let new = self.delivery.received(journal, incoming, id, contact, message, arrived)?;
                if let (Some(seq), Some(name)) = (new, self.roster.name(contact)) {
                    self.search.said(seq);
                    self.dialer.seen(contact, arrived);
                    self.conversations.received(&mut self.fx, contact, name, seq, message);
                }
            }
            Heard::Acknowledgement(contact, cursor) => {
                let delivered = self.delivery.acknowledged(journal, id, cursor)?;
                self.tell_delivered(contact, delivered);
            }
            Heard::Hello(contact, hello) => return self.greeted(journal, id, contact, hello),
            Heard::Goodbye(reason) => self.goodbye(id, reason),
            Heard::Broken(what) => self.bad_peer(id, what),
        }
        Ok(())
    }

    /// The other side has said hello: the link is up, unless another one is the better.
    pub(super) fn greeted(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        hello: &Hello,
    ) -> Result<()> {
        let (Some(link), Some(person)) = (self.links.get(id), self.roster.get(contact)) else {
            return Ok(());
        };
        // The user may have decided since this side said hello.
        if person.identity.blocked || person.identity.key != Some(link.key) {
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            return Ok(());
        }
        let name = person.name.clone();
        match self.links.greeted(&mut self.fx, id, contact, &name, hello) {
            Greeting::Broken(what) => self.bad_peer(id, &what),
            Greeting::KeepOlder => self.close_link(id, None),
            Greeting::Up { older, address, window } => {
                older.into_iter().for_each(|older| self.delivery.close(older));
                let delivered = self.delivery.open(journal, id, contact, window, &hello.cursors)?;
                self.tell_delivered(contact, delivered);
                self.dialer.reached(self.fx.now, contact, address);
                self.rendezvous.forgive(&name);
                if older.is_none() {
                    self.fx.tell(Notice::Link { peer: name, state: UpDown::Up });
                }
                self.report_link(contact);
            }
        }
        Ok(())
    }

    pub(super) fn tell_delivered(&mut self, contact: ContactId, delivered: Vec<Delivered>) {
        if let Some(name) = self.roster.name(contact) {
            for (seq, message) in delivered {
                self.conversations.delivered(&mut self.fx, contact, name, seq, message);
            }
        }
    }

    /// Tells discovery that there is a link to the contact, which settles every request between the two.
    pub(super) fn report_link(&mut self, id: ContactId) {
        let Some(name) = self.roster.name(id).cloned() else {
            return;
        };
        let told = self.rendezvous.ask(&mut self.fx, ToDiscovery::Request(Ask { name, typed: false }));
        if told && self.request(id) == Request::Kept {
            self.roster.set_request(id, Request::None);
        }
    }

    pub(super) fn request(&self, id: ContactId) -> Request {
        self.roster.get(id).map(|person| person.identity.request).unwrap_or_default()
    }

    /// The other side closes the link.
    pub(super) fn goodbye(&mut self, id: ConnectionId, reason: ByeReason) {
        let contact = self.links.contact(id);
        self.close_link(id, None);
        let Some(contact) = contact else {
            return;
        };
        let now = self.fx.now;
        self.dialer.note_goodbye(now, contact, reason);
        match reason {
            // Dialling would only take turns with the newer client of this account, unless discovery can be asked: who
            // has a session with it is the newer.
            ByeReason::SUPERSEDED if !self.rendezvous.is_up() => self.dialer.dial_no_more(contact),
            ByeReason::SUPERSEDED | ByeReason::TRY_LATER => {}
            _ => self.dialer.dial_later(now, contact, true),
        }
    }

    /// The other side breaks the rules: the link is of no use.
    pub(super) fn bad_peer(&mut self, id: ConnectionId, what: &str) {
        let Some((key, route)) = self.links.get(id).map(|link| (link.key, link.route)) else {
            return;
        };
        let name = self.roster.holder(&key).and_then(|contact| self.roster.name(contact)).cloned();
        let who = name.as_ref().map_or_else(|| route.to_string(), ToString::to_string);
        self.close_link(id, Some(ByeReason::NOT_ACCEPTED));
        self.fx.error(Code::BadPeer, name.as_ref(), format!("the link to {who} was cut: {what}"));
    }

    /// Closes a connection that has not come to a link.
    pub(super) fn reject_link(&mut self, id: ConnectionId, reason: ByeReason) {
        self.links.close(&mut self.fx, id, Some(reason));
    }

    /// Closes a link, says so, and dials again later.
    pub(super) fn close_link(&mut self, id: ConnectionId, reason: Option<ByeReason>) {
        let Some(closed) = self.links.close(&mut self.fx, id, reason) else {
            return;
        };
        self.delivery.close(id);
        let Some(contact) = closed.contact else {
            return;
        };
        let now = self.fx.now;
        if closed.was_up {
            if let Some(person) = self.roster.get(contact).filter(|person| !person.identity.blocked) {
                self.fx.tell(Notice::Link { peer: person.name.clone(), state: UpDown::Down });
            }
            let silence = i64::try_from(closed.silence.as_millis()).unwrap_or(i64::MAX);
            self.dialer.seen(contact, now.wall.saturating_sub(silence));
            self.dialer.dial_later(now, contact, false);
        } else if closed.dialled && self.links.of(contact).is_none() {
            // A client that has the key and wants no link may be an older one of theirs, at the older address.
            self.dialer.dial_elsewhere(contact);
            self.dialer.dial_later(now, contact, false);
        }
    }

    /// Adds a contact; `None` if there are too many.
    pub(super) fn add_contact(&mut self, journal: &Journal, name: &Name) -> Result<Option<ContactId>> {
        let row = self.roster.add(journal, name)?;
        Ok(row.map(|row| {
            self.dialer.add(row.id);
            self.delivery.add(row.id);
            self.conversations.add(row.id);
            row.id
        }))
    }

    /// Removes a contact with all that was said.
    pub(super) fn remove_contact(&mut self, journal: &Journal, id: ContactId) -> Result<()> {
        if let Some(name) = self.roster.remove(journal, id)? {
            self.rendezvous.forgive(&name);
            self.dialer.remove(id);
            self.delivery.remove(id);
            self.conversations.remove(id, &name);
        }
        Ok(())
    }
}
