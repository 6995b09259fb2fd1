//! The conductor: what discovery says, routed to the machines.

use std::net::SocketAddr;

use super::super::event::{ConnectionId, Path, Reached};
use super::super::notice::Code;
use super::roster::Person;
use super::{FAILED, Node, acquaintance, boxes, leaving, ways};
use crate::protocol::peer::ByeReason;
use crate::protocol::rendezvous::{RefusedCode, Request as Ask, ToClient, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Request};

impl Node {
    pub(super) fn session_up(
        &mut self,
        journal: &Journal,
        session: ConnectionId,
        key: PublicKey,
        (path, reached): (&Path, &Reached),
    ) -> Result<()> {
        let register = ways::register(self, path);
        let at = (path.remote, reached);
        if self.rendezvous.connected(&mut self.fx, session, key, at, register) {
            self.mates.forget_said();
            self.outside.connected(path.clone());
            self.setup.pin(journal, key)?;
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
                self.setup.set_registered(journal)?;
                let detail = format!("registered as {} at {}", self.setup.name, registered.address);
                self.rendezvous.registered(&mut self.fx, detail);
                self.mates.renew();
                ways::registered(self, registered);
            }
            ToClient::Refused(refused) => {
                return self.discovery_refuses(journal, refused.code, refused.name.as_ref());
            }
            ToClient::Status(status) => return acquaintance::status(self, journal, status),
            ToClient::NoSuchUser(about) => self.no_such_user(&about.name),
            ToClient::Synced => self.synced(),
            ToClient::Identity(found) => return self.identified(journal, found.key, found.name.as_ref()),
            ToClient::Superseded(newer) => self.superseded(newer.address),
            ToClient::Dropped(about) => acquaintance::dropped(self, &about.name),
            ToClient::Punch(punch) => ways::punch(self, punch),
            ToClient::Relay(ticket) => ways::relay(self, ticket),
        }
        Ok(())
    }

    /// Discovery has said all that it knows: asks for the others.
    pub(super) fn synced(&mut self) {
        self.dial_given_up();
        let spoken = self.rendezvous.take_spoken();
        self.say_again(|id, person| !spoken.contains(&id) && person.identity.request != Request::Ended);
    }

    /// Repeats what discovery may have refused for now: also an answer, which is not noted by itself.
    pub(super) fn ask_unconfirmed(&mut self) {
        self.say_again(|_, person| matches!(person.identity.request, Request::Unconfirmed | Request::Kept));
    }

    /// Asks again for those of these users who are wanted, and ends what there is with those who are refused.
    fn say_again(&mut self, which: impl Fn(ContactId, &Person) -> bool) {
        let which = self.roster.iter().filter(|(id, person)| !person.withdrawn && which(*id, person));
        let which: Vec<(ContactId, Person)> = which.map(|(id, person)| (id, person.clone())).collect();
        for (id, person) in which {
            let unconfirmed = person.identity.request == Request::Unconfirmed;
            if person.is_wanted() {
                self.ask_for(&person.name, unconfirmed);
            } else if unconfirmed {
                acquaintance::drop_pair(self, id, &person.name);
            }
        }
    }

    /// Asks for a user, or answers one who asks. `typed` is whether the user wants it now, and not only the client again.
    pub(super) fn ask_for(&mut self, name: &Name, typed: bool) {
        self.rendezvous.ask(&mut self.fx, ToDiscovery::Request(Ask { name: name.clone(), typed }));
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
        boxes::end_conversation(self, id);
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
            if ways::refused(self, code, name) {
                return Ok(());
            }
            let contact = name.and_then(|name| self.roster.named(name));
            if let Some((id, person)) = contact.and_then(|id| Some((id, self.roster.get(id)?))) {
                match person.identity.request {
                    // Its disk is full, and what there is with them has not ended.
                    Request::None if person.is_refused() => self.roster.set_request(id, Request::Unconfirmed),
                    // It has lost the pair, and takes so many at once.
                    Request::Answered => self.roster.set_request(id, Request::Kept),
                    _ => {}
                }
            }
            self.rendezvous.request_refused(&mut self.fx, code, name, contact.is_some());
            return Ok(());
        }
        let taken = self.rendezvous.not_registered(&mut self.fx, &self.setup.name, code);
        self.forget_presence();
        // An account that was never registered has nothing to stay for.
        if let Some(detail) = taken
            && !journal.registered_anywhere()?
        {
            if let Some(contact) = self.one_shot.as_mut().and_then(|it| it.take_back(&detail)) {
                acquaintance::remove(self, journal, contact)?;
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
}
