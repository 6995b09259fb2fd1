//! How users come to be connected, and how that ends.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Saving, Turn};
use crate::accounts::{self, Change};
use crate::discovery::quota::Kind;
use crate::discovery::relations::Relation;
use crate::discovery::users::UserIndex;
use crate::protocol::rendezvous::{About, Identity, Refused, RefusedCode, Request, Strangers, ToClient};
use crate::protocol::{Name, PublicKey};
use crate::transport::{ConnectionId, greediest, network};

/// How many users one account may be connected with.
pub const MAX_CONTACTS: usize = 1000;
/// How many users one account may ask for that have not answered. What others ask does not count.
pub const MAX_UNANSWERED: usize = 50;
/// How many users may ask for one that has not answered. Of more, some make room, see `Turn::gives_way`.
pub const MAX_REQUESTS_FOR: usize = 1000;

impl Turn<'_> {
    pub(super) fn request(
        &mut self,
        session: ConnectionId,
        from: IpAddr,
        asker: UserIndex,
        Request { name, typed }: &Request,
    ) {
        let target = self.users.named(name);
        if target == Some(asker) {
            return self.refuse(session, RefusedCode::YOURSELF, Some(name));
        }
        // Where no more questions are allowed a name that exists is not answered either, or that would be the answer.
        let known = target.is_some_and(|target| self.relations.between(asker, target).next().is_some());
        if !known && !self.quota.allows(Kind::UnknownName, Some(asker), from, self.now.mono) {
            return self.refuse(session, RefusedCode::TOO_MANY_QUESTIONS, Some(name));
        }
        let Some(target) = target else {
            if let Err(code) = self.can_know() {
                return self.refuse(session, code, Some(name));
            }
            self.quota.count(Kind::UnknownName, Some(asker), from, self.now.mono);
            if self.users.released_from(name).is_some() {
                self.awaited.wait(name, asker);
            }
            return self.send(session, ToClient::NoSuchUser(About { name: name.clone() }));
        };
        if !typed && self.relations.refuses(target, asker) {
            return self.tell_dropped(session, target);
        }
        match self.want(from, asker, target, *typed) {
            Err(code) => return self.refuse(session, code, Some(name)),
            Ok(false) => {}
            Ok(true) => {
                if let Some(theirs) = self.sessions.of(target) {
                    self.tell(theirs, target, asker);
                }
            }
        }
        self.tell(session, asker, target);
    }

    /// Returns whether that is news for the one who is asked.
    fn want(
        &mut self,
        from: IpAddr,
        asker: UserIndex,
        target: UserIndex,
        typed: bool,
    ) -> Result<bool, RefusedCode> {
        if self.relations.connected(asker, target) {
            return Ok(false);
        }
        if let Some(request) = self.relations.request(asker, target) {
            let news = typed && !request.typed;
            if news {
                self.can_save()?;
                self.set_request(asker, target, accounts::Request { typed, ..request });
            }
            return Ok(news);
        }
        if self.relations.connections(asker).count() >= MAX_CONTACTS {
            return Err(RefusedCode::TOO_MANY_REQUESTS);
        }
        if self.relations.request(target, asker).is_some() {
            self.connect(asker, target)?;
        } else {
            self.ask(from, asker, target, typed)?;
        }
        Ok(true)
    }

    fn connect(&mut self, user: UserIndex, other: UserIndex) -> Result<(), RefusedCode> {
        if self.relations.connections(other).count() >= MAX_CONTACTS {
            return Err(RefusedCode::TARGET_FULL);
        }
        self.can_save()?;
        self.forget_all_between(user, other);
        self.relations.connect(user, other);
        let now = self.now.wall;
        self.change_between((user, other), |one, other| Change::AddConnection { one, other, now });
        Ok(())
    }

    fn ask(
        &mut self,
        from: IpAddr,
        asker: UserIndex,
        target: UserIndex,
        typed: bool,
    ) -> Result<(), RefusedCode> {
        let strangers = self.users.get(target).map(|account| account.registration.strangers);
        if strangers == Some(Strangers::Closed) {
            return Err(RefusedCode::CLOSED);
        }
        if self.relations.asked(asker).count() >= MAX_UNANSWERED {
            return Err(RefusedCode::TOO_MANY_REQUESTS);
        }
        let anew = self.relations.refuses(asker, target) || self.relations.refuses(target, asker);
        if anew && !self.quota.allows(Kind::Anew, Some(asker), from, self.now.mono) {
            return Err(RefusedCode::TOO_MANY_REQUESTS);
        }
        let full = self.relations.asking(target).count() >= MAX_REQUESTS_FOR;
        let gives_way =
            if full { Some(self.gives_way(asker, target).ok_or(RefusedCode::TARGET_FULL)?) } else { None };
        self.can_save()?;
        if anew {
            self.quota.count(Kind::Anew, Some(asker), from, self.now.mono);
        }
        if let Some(other) = gives_way {
            self.forget(Relation::Request(other, target));
        }
        self.forget_all_between(asker, target);
        let asked = self.now.wall;
        // A user who is there is told at once.
        let told = self.is_online(target).then_some(asked);
        self.set_request(asker, target, accounts::Request { typed, asked, told });
        Ok(())
    }

    /// Whose request for a user is to make room for another one: the oldest from the network that has most. Those who
    /// are offline give way to everyone; those who are online only to a network that has less.
    fn gives_way(&self, newcomer: UserIndex, target: UserIndex) -> Option<UserIndex> {
        let from = |user| self.users.get(user).map(|account| network(account.registration.observed));
        let mut silent = BTreeMap::<IpAddr, Vec<UserIndex>>::new();
        let mut all = silent.clone();
        for asker in self.relations.asking(target) {
            let Some(network) = from(asker) else { continue };
            all.entry(network).or_default().push(asker);
            if !self.is_online(asker) {
                silent.entry(network).or_default().push(asker);
            }
        }
        let (askers, newcomer) = if silent.is_empty() { (all, from(newcomer)) } else { (silent, None) };
        let counts = askers.iter().map(|(network, askers)| (*network, askers.len()));
        let greedy = askers.get(&greediest(counts, newcomer)?)?;
        let asked = |asker: &UserIndex| self.relations.request(*asker, target).map(|request| request.asked);
        greedy.iter().copied().min_by_key(asked)
    }

    /// A user has nothing to do with another one any more.
    pub(super) fn drop_user(&mut self, session: ConnectionId, user: UserIndex, name: &Name) {
        // About others there is nothing to end, and no question is answered.
        let Some(other) = self.users.named(name).filter(|other| self.relations.related(user, *other)) else {
            return;
        };
        if let Err(code) = self.can_save() {
            return self.refuse(session, code, Some(name));
        }
        self.part(user, other);
    }

    /// Ends all that is between two users: the first refuses the other, who is told, unless that one never heard of it.
    fn part(&mut self, user: UserIndex, other: UserIndex) {
        let unheard = self.relations.request(user, other).is_some_and(|request| request.told.is_none());
        self.forget_all_between(user, other);
        if unheard {
            return;
        }
        let now = self.now.wall;
        for (by, of) in self.relations.refuse(user, other, now) {
            self.change_between((by, of), |by, of| Change::RemoveRefusal { by, of });
        }
        self.change_between((user, other), |by, of| Change::AddRefusal { by, of, now });
        // Other nodes tell it when they hear of the refusal.
        if let Some(session) = self.sessions.of(other) {
            self.tell_dropped(session, user);
        }
    }

    /// Ends requests that have been unanswered for too long, at most so many: as if those who were asked had refused.
    pub(super) fn end_requests(&mut self, most: usize) {
        for _ in 0..most {
            let Some((asker, target)) = self.relations.ended(self.now.wall) else {
                return;
            };
            self.part(target, asker);
        }
    }

    /// A user has come to take no new contacts: all who ask are told so.
    pub(super) fn turn_away_strangers(&mut self, user: UserIndex, name: &Name) {
        let askers: Vec<_> = self.relations.asking(user).collect();
        for asker in askers {
            self.forget(Relation::Request(asker, user));
            let refused = Refused { code: RefusedCode::CLOSED, name: Some(name.clone()) };
            self.pass(asker, ToClient::Refused(refused));
        }
    }

    pub(super) fn identify(&mut self, session: ConnectionId, from: IpAddr, asker: UserIndex, key: PublicKey) {
        let holder = self.users.holder(&key).and_then(|user| self.users.get(user));
        let name = holder.map(|account| account.name.clone());
        if let Err(code) = self.can_know() {
            return self.refuse(session, code, None);
        }
        if name.is_none() {
            // A key can't be guessed, so that another one is known tells nothing.
            if !self.quota.allows(Kind::UnknownKey, Some(asker), from, self.now.mono) {
                return self.refuse(session, RefusedCode::TOO_MANY_QUESTIONS, None);
            }
            self.quota.count(Kind::UnknownKey, Some(asker), from, self.now.mono);
        }
        self.send(session, ToClient::Identity(Identity { key, name }));
    }

    /// The user who is asked has been told.
    pub(super) fn note_told(&mut self, asker: UserIndex, target: UserIndex, request: accounts::Request) {
        if self.saving == Saving::Available {
            self.set_request(asker, target, accounts::Request { told: Some(self.now.wall), ..request });
        }
    }

    fn set_request(&mut self, asker: UserIndex, target: UserIndex, request: accounts::Request) {
        self.relations.set_request(asker, target, request);
        self.change_between((asker, target), |asker, target| Change::SetRequest { asker, target, request });
    }

    fn forget_all_between(&mut self, one: UserIndex, other: UserIndex) {
        for relation in self.relations.between(one, other) {
            self.forget(relation);
        }
    }

    fn forget(&mut self, relation: Relation) {
        self.relations.remove(relation);
        match relation {
            Relation::Connection(one, other) => {
                self.change_between((one, other), |one, other| Change::RemoveConnection { one, other });
            }
            Relation::Request(asker, target) => {
                self.change_between((asker, target), |asker, target| Change::RemoveRequest { asker, target });
            }
            Relation::Refusal(by, of) => {
                self.change_between((by, of), |by, of| Change::RemoveRefusal { by, of });
            }
        }
    }
}
