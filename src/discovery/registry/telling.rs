//! What each client is told of other users.
//!
//! - Who is connected with a user, or shares a room with the user as both say, is told all, and alone where else the user
//!   may be reachable.
//! - Who has asked for a user, without an answer, is told the name and the key; of a user who is open to strangers also
//!   whether the user is online, and the address if it is one that discovery has seen the user come from. So no user has
//!   strangers dial another one.
//! - Who knew the last holder of a name that was released, or has asked for it since, is told the name and the key of the next.
//! - Who is asked is told the name, the key, and that the user asks: never where, for a client does not dial strangers.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Turn;
use crate::accounts::reach::Reach;
use crate::accounts::{Account, Change, Registration};
use crate::discovery::users::UserIndex;
use crate::protocol::rendezvous::{About, Asks, Candidate, Registered, Status, Strangers, ToClient};
use crate::transport::ConnectionId;

impl Turn<'_> {
    /// The session is the user's from now on, and is told everything that concerns the user.
    pub(super) fn welcome(&mut self, session: ConnectionId, user: UserIndex) {
        let seen = |from: SocketAddr| SocketAddr::new(from.ip().to_canonical(), from.port());
        let observed = self.sessions.get(session).map(|session| seen(session.from));
        let address = self.users.get(user).map(|account| account.registration.address);
        let (Some(address), Some(observed)) = (address, observed) else {
            return;
        };
        self.sessions.register(session, user);
        self.send(session, ToClient::Registered(Registered { address, observed }));
        for other in self.relations.all_related(user) {
            self.tell(session, user, other);
        }
        let refusing: Vec<_> = self.relations.refusing(user).collect();
        for other in refusing {
            self.tell_dropped(session, other);
        }
        self.send(session, ToClient::Synced);
    }

    /// Tells those who are connected with a user, or share a room with the user.
    pub(super) fn tell_contacts(&mut self, user: UserIndex) {
        let contacts: BTreeSet<_> = self.relations.connections(user).chain(self.mates_of(user)).collect();
        self.tell_each(contacts, user);
    }

    /// Tells of a user who has registered what is new to each. `before` is what the session before had said, if the user was
    /// online.
    pub(super) fn tell_moved(&mut self, user: UserIndex, last: Registration, before: Option<&Reach>) {
        let Some(&Account { registration, .. }) = self.users.get(user) else {
            return;
        };
        let reach = self.whereabouts(user).map(|(_, reach)| reach);
        let differs = before.zip(reach).is_none_or(|(before, now)| before.differs_for_contacts(now));
        if differs || (registration.address, registration.observed) != (last.address, last.observed) {
            self.tell_contacts(user);
        }
        if before.is_none() || registration != last {
            self.tell_askers(user, registration.strangers != last.strangers);
        }
    }

    /// Tells those who have asked for a user, if they may see more than that there is one, or could before.
    pub(super) fn tell_askers(&mut self, user: UserIndex, could_before: bool) {
        if could_before || self.users.get(user).is_some_and(is_seen_by_strangers) {
            let askers: Vec<_> = self.relations.asking(user).collect();
            self.tell_each(askers, user);
        }
    }

    pub(super) fn tell_each(&mut self, told: impl IntoIterator<Item = UserIndex>, user: UserIndex) {
        for told in told {
            if let Some(session) = self.sessions.of(told) {
                self.tell(session, told, user);
            }
        }
    }

    /// Tells `told`, in `session`, what `told` may know of `user`.
    pub(super) fn tell(&mut self, session: ConnectionId, told: UserIndex, user: UserIndex) {
        let Some(account) = self.users.get(user) else {
            return;
        };
        let Registration { address, observed, .. } = account.registration;
        let connected = self.relations.connected(user, told);
        let room = self.are_mates(user, told);
        let known = connected || room;
        let visible = known || self.relations.request(told, user).is_some() && is_seen_by_strangers(account);
        let reachable = known || visible && address.ip().to_canonical() == observed;
        let asks = self.relations.request(user, told);
        let also = if known { self.candidates(user, session, address) } else { Vec::new() };
        let status = Status {
            name: account.name.clone(),
            key: account.key,
            address: reachable.then_some(address),
            online: visible.then(|| self.is_online(user)),
            asks: asks.map_or(Asks::No, |request| if request.typed { Asks::Typed } else { Asks::Again }),
            connected,
            also,
            room,
        };
        self.send(session, ToClient::Status(status));
        if let Some(request) = asks.filter(|request| request.told.is_none()) {
            self.note_told(user, told, request);
        }
    }

    /// Where else a user who is there may be reachable, for a contact.
    fn candidates(&self, user: UserIndex, contact: ConnectionId, given_out: SocketAddr) -> Vec<Candidate> {
        let (Some((from, reach)), Some(contact)) = (self.whereabouts(user), self.sessions.get(contact))
        else {
            return Vec::new();
        };
        reach.candidates(given_out, from.ip(), contact.from.ip())
    }

    pub(super) fn is_online(&self, user: UserIndex) -> bool {
        self.sessions.of(user).is_some() || self.presences.elsewhere(user).is_some()
    }

    /// From where the session of a user who is online is seen to come, and what it says of itself.
    pub(super) fn whereabouts(&self, user: UserIndex) -> Option<(SocketAddr, &Reach)> {
        match self.sessions.of(user) {
            Some(session) => self.sessions.get(session).map(|session| (session.from, &session.reach)),
            None => self.presences.elsewhere(user).map(|presence| (presence.from, &presence.reach)),
        }
    }

    /// Tells a user who is online, at whatever node.
    pub(super) fn pass(&mut self, told: UserIndex, message: ToClient) {
        match self.sessions.of(told) {
            Some(session) => self.send(session, message),
            None if self.presences.elsewhere(told).is_some() => {
                if let Some(user) = self.users.get(told).map(|account| account.id) {
                    self.change(Change::Tell { user, message });
                }
            }
            None => {}
        }
    }

    pub(super) fn tell_dropped(&mut self, session: ConnectionId, by: UserIndex) {
        if let Some(message) = self.dropped(by) {
            self.send(session, message);
        }
    }

    fn dropped(&self, by: UserIndex) -> Option<ToClient> {
        self.users.get(by).map(|account| ToClient::Dropped(About { name: account.name.clone() }))
    }
}

pub(super) fn is_seen_by_strangers(account: &Account) -> bool {
    matches!(account.registration.strangers, Strangers::Open | Strangers::All)
}
