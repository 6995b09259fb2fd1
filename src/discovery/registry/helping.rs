//! How two users are helped to a way to each other: at once through their routers, or through discovery.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::telling::is_seen_by_strangers;
use super::{Action, Needs, Turn};
use crate::accounts::UserId;
use crate::discovery::users::UserIndex;
use crate::protocol::Name;
use crate::protocol::rendezvous::{Punch, RefusedCode, TOKEN};
use crate::time::{Instant, millis};
use crate::transport::ConnectionId;
use crate::undo::{Table, transactional};

/// A pair is helped to punch once in this time.
pub const PUNCH_AGAIN: Duration = Duration::from_secs(10);
/// Of two who ask within this time, the second means the same punch.
const SAME_PUNCH: Duration = Duration::from_secs(4);
/// How many pairs are remembered, in about 1 MiB. When they are more, all are forgotten: the clients bound what they
/// take part in too.
const MAX_REMEMBERED: usize = 16 * 1024;

/// Where a user is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    Here(ConnectionId),
    /// At another node, which passes on to this user what it is told.
    Elsewhere(UserId),
}

/// One of two users who are to be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    pub at: Whereabouts,
    pub user: UserIndex,
    pub from: IpAddr,
    /// The other one, as this side knows it.
    pub with: Name,
}

/// Which pairs have been helped to punch lately.
#[derive(Debug, Default)]
pub struct Punched {
    /// The pair in the order of its users, and when.
    last: Table<HashMap<(UserIndex, UserIndex), Instant>>,
}

transactional!(Punched { last });

impl Punched {
    /// Whether a punch of these two begins now; `None` if it is the one that has begun already.
    pub(super) fn begin(
        &mut self,
        one: UserIndex,
        other: UserIndex,
        now: Instant,
    ) -> Result<Option<()>, RefusedCode> {
        let pair = (one.min(other), one.max(other));
        match self.last.get(&pair).map(|last| now.since(*last)) {
            Some(ago) if ago < SAME_PUNCH => return Ok(None),
            Some(ago) if ago < PUNCH_AGAIN => return Err(RefusedCode::TOO_SOON),
            _ => {}
        }
        if self.last.len() >= MAX_REMEMBERED {
            self.last = Table::default();
        }
        self.last.insert(pair, now);
        Ok(Some(()))
    }
}

#[cfg(test)]
impl Punched {
    pub(super) fn remembered(&self) -> usize {
        self.last.len()
    }
}

impl Turn<'_> {
    pub(super) fn punch(&mut self, session: ConnectionId, asker: UserIndex, name: &Name) {
        if let Err(code) = self.try_punch(session, asker, name) {
            self.refuse(session, code, Some(name));
        }
    }

    fn try_punch(&mut self, session: ConnectionId, asker: UserIndex, name: &Name) -> Result<(), RefusedCode> {
        let target = self.users.named(name).filter(|target| self.are_known(asker, *target));
        let target = target.ok_or(RefusedCode::NOT_CONNECTED)?;
        let theirs = self.reached(target)?;
        if self.punched.begin(asker, target, self.now.mono)?.is_none() {
            return Ok(());
        }
        let own_name = self.users.get(asker).map(|account| account.name.clone());
        if let (Some(own), Some((from, reach)), Some(own_name)) =
            (self.sessions.get(session), self.whereabouts(target), own_name)
        {
            let [own_wait, their_wait] = own.reach.waits(reach);
            let punch = |name, wait, addresses| {
                let wait = u32::try_from(millis(wait)).unwrap_or(u32::MAX);
                Punch { name, token: [0; TOKEN], wait, addresses }
            };
            let sides = [
                (Whereabouts::Here(session), punch(name.clone(), own_wait, reach.punched(from))),
                (theirs, punch(own_name, their_wait, own.reach.punched(own.from))),
            ];
            self.decisions.actions.push(Action::Punch { sides });
        }
        Ok(())
    }

    /// Where a user is online who is to be told something. What is told elsewhere takes a turn.
    fn reached(&mut self, user: UserIndex) -> Result<Whereabouts, RefusedCode> {
        if let Some(session) = self.sessions.of(user) {
            return Ok(Whereabouts::Here(session));
        }
        let elsewhere = self.presences.elsewhere(user).and(self.users.get(user)).map(|account| account.id);
        let id = elsewhere.ok_or(RefusedCode::NOT_ONLINE)?;
        self.can_save()?;
        self.decisions.needs = Needs::Turn;
        Ok(Whereabouts::Elsewhere(id))
    }

    /// Whether the two are connected, or share a room.
    fn are_known(&self, one: UserIndex, other: UserIndex) -> bool {
        self.relations.connected(one, other) || self.are_mates(one, other)
    }

    /// Joins two users: those who are connected or share a room, and one who has asked with a user who is open to strangers.
    pub(super) fn relay(&mut self, session: ConnectionId, asker: UserIndex, name: &Name) {
        if let Err(code) = self.try_relay(session, asker, name) {
            self.refuse(session, code, Some(name));
        }
    }

    fn try_relay(&mut self, session: ConnectionId, asker: UserIndex, name: &Name) -> Result<(), RefusedCode> {
        let asked = |target| self.relations.request(asker, target).is_some();
        let open = |target| self.users.get(target).is_some_and(is_seen_by_strangers);
        let may = |target| self.are_known(asker, target) || asked(target) && open(target);
        let target = self.users.named(name).filter(|target| may(*target));
        let target = target.ok_or(RefusedCode::NOT_CONNECTED)?;
        let theirs = self.reached(target)?;
        let side = |at, user, with| {
            let (from, _) = self.whereabouts(user)?;
            Some(Side { at, user, from: from.ip(), with })
        };
        let own_name = self.users.get(asker).map(|account| account.name.clone());
        let own = side(Whereabouts::Here(session), asker, name.clone());
        let other = own_name.and_then(|own_name| side(theirs, target, own_name));
        if let (Some(own), Some(other)) = (own, other) {
            self.decisions.actions.push(Action::Relay { sides: [own, other] });
        }
        Ok(())
    }
}
