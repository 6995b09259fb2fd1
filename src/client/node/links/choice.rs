//! Which of several links between two clients stays: who decides, and what becomes of the others.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::super::event::ConnectionId;
use super::super::effects::Effects;
use super::{Link, Links, State};
use crate::protocol::peer::{ByeReason, Hello, HoldReason, MAX_CURSORS, Peer, Via};
use crate::protocol::{HANDSHAKE_LIMIT, Name, PING_AFTER};
use crate::store::journal::ContactId;

/// Within what time something was received over a link that works.
pub(super) const HEARD_WITHIN: Duration = PING_AFTER.saturating_add(Duration::from_secs(2));

/// What came of the other side's hello.
#[derive(Debug, PartialEq, Eq)]
pub enum Greeting {
    Up(Up),
    /// The other side is to say whether the link stays.
    Undecided,
    /// The older link is the one to keep.
    KeepOlder,
    /// The other side breaks the rules.
    Broken(String),
}

/// A link is up.
#[derive(Debug, PartialEq, Eq)]
pub struct Up {
    /// The one that it takes the place of.
    pub older: Option<ConnectionId>,
    /// Where the client can be dialled.
    pub address: Option<SocketAddr>,
    pub via: Via,
    /// Whether that was the way of the older one.
    pub same_way: bool,
    /// How many bytes of messages may be unacknowledged.
    pub window: usize,
    /// Why our hello said that nothing is taken.
    pub holding: Option<HoldReason>,
}

impl Links {
    /// The contact called `name` has said hello. If this side decides, the link is up, unless another one is the better.
    pub fn greeted(
        &mut self,
        fx: &mut Effects,
        id: ConnectionId,
        contact: ContactId,
        name: &Name,
        hello: &Hello,
    ) -> Greeting {
        if hello.cursors.len() > MAX_CURSORS as usize {
            return Greeting::Broken("its hello is too long".into());
        }
        if hello.name != *name {
            return Greeting::Broken(format!("it calls itself {}", hello.name));
        }
        if self.of(contact).is_some_and(|older| self.is_better(fx, older, id, hello)) {
            return Greeting::KeepOlder;
        }
        let Some(link) = self.links.get_mut(&id) else {
            return Greeting::KeepOlder;
        };
        if self.own_key < link.key {
            *self.decisions += 1;
            let decision = *self.decisions;
            self.say(fx, id, vec![Peer::Keep(decision)]);
            return self.come_up(fx, id, contact, hello, decision).map_or(Greeting::KeepOlder, Greeting::Up);
        }
        let holding = if let State::Greeted(_, holding) = link.state { holding } else { None };
        link.state = State::Undecided(contact, holding, Box::new(hello.clone()));
        Greeting::Undecided
    }

    /// The other side, which decides, keeps the link. Returns the hello that it said, unless it has decided otherwise since.
    pub fn kept(&mut self, fx: &mut Effects, id: ConnectionId, decision: u64) -> Option<(Hello, Up)> {
        let State::Undecided(contact, _, hello) = &self.get(id)?.state else {
            return None;
        };
        let (contact, hello) = (*contact, Hello::clone(hello));
        let later = |link: &Link| matches!(link.state, State::Up { epoch, decision: later, .. } if epoch == hello.epoch && later > decision);
        if self.of(contact).and_then(|up| self.get(up)).is_some_and(later) {
            return None;
        }
        let up = self.come_up(fx, id, contact, &hello, decision)?;
        Some((hello, up))
    }

    fn come_up(
        &mut self,
        fx: &mut Effects,
        id: ConnectionId,
        contact: ContactId,
        hello: &Hello,
        decision: u64,
    ) -> Option<Up> {
        let older = self.of(contact);
        let same_way = older.and_then(|older| self.replace(fx, older, hello.epoch));
        let link = self.links.get_mut(&id)?;
        let holding = match link.state {
            State::Greeted(_, holding) | State::Undecided(_, holding, _) => holding,
            _ => None,
        };
        let via = if link.dialled { link.route.via() } else { link.route.via().max(hello.via) };
        link.state = State::Up { contact, epoch: hello.epoch, via, decision };
        // Where this side has dialled, they were reached; otherwise they say on which port they can be.
        let remote = link.route.remote().filter(|_| matches!(via, Via::Direct | Via::Mapped));
        let address = if link.dialled {
            remote
        } else {
            let listens = remote.filter(|_| hello.port != 0);
            listens.map(|remote| SocketAddr::new(remote.ip().to_canonical(), hello.port))
        };
        let window = (link.budget / 2).min(hello.window as usize);
        let due = link.dead_at().min(link.ping_at());
        self.wake_at(due);
        let since = self.since(contact).unwrap_or(fx.now.wall);
        self.up.insert(contact, (id, since));
        self.forgive(contact);
        Some(Up { older, address, via, same_way: same_way == Some(via), window, holding })
    }

    /// Another link, with a client that was started in `epoch`, takes the place of one that is up. Returns which way that
    /// one took.
    fn replace(&mut self, fx: &mut Effects, older: ConnectionId, epoch: u64) -> Option<Via> {
        let link = self.links.get(&older)?;
        let State::Up { contact, epoch: theirs, via, .. } = link.state else {
            return None;
        };
        if theirs != epoch {
            self.remove(fx, older, Some(ByeReason::SUPERSEDED));
        } else if self.own_key < link.key {
            let deadline = fx.now.mono + HANDSHAKE_LIMIT;
            self.links.change(&older, |link| {
                (link.state, link.deadline) = (State::Replaced(contact), deadline);
            });
            self.wake_at(deadline);
        } else {
            self.remove(fx, older, None);
        }
        Some(via)
    }

    /// Whether, of two links to one contact, the older is to be kept, if this side decides: it goes without discovery, the
    /// newer does not, and there is no sign that the other side has lost it.
    fn is_better(&self, fx: &Effects, older: ConnectionId, newer: ConnectionId, hello: &Hello) -> bool {
        let (Some(old), Some(new)) = (self.links.get(&older), self.links.get(&newer)) else {
            return false;
        };
        let State::Up { epoch, .. } = old.state else {
            return false;
        };
        let relayed = |link: &Link| link.route.via() == Via::Relayed;
        let works = hello.linked && fx.now.mono < old.last_received + HEARD_WITHIN;
        self.own_key < old.key && epoch == hello.epoch && works && relayed(new) && !relayed(old)
    }

    /// The link is gone that has taken the place of others. The other side may not know that it did, and goes on over one
    /// of them, over which nothing is taken any more.
    pub(super) fn close_replaced(&mut self, fx: &mut Effects, contact: ContactId) {
        let of = |link: &Link| matches!(link.state, State::Replaced(of) if of == contact);
        let replaced: Vec<_> = self.links.iter().filter(|(_, link)| of(link)).map(|(id, _)| *id).collect();
        replaced.into_iter().for_each(|id| _ = self.remove(fx, id, None));
    }
}
