//! Who is linked for the sake of a common room, whatever they are to this user otherwise.
//!
//! The rooms say which of their members this client is to be linked with. Those who are nothing else here have a row of their
//! own, and the user is not shown them. Both sides say to discovery that they share a room, and are told then where the
//! other one is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::event::ConnectionId;
use super::{Node, acquaintance};
use crate::protocol::peer::{ByeReason, Peer};
use crate::protocol::rendezvous::{MAX_MATES, Mate, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Request, Standing};
use crate::undo::{Table, Value, transactional};

/// How many members, of all rooms together, this client is linked with that it would not dial for the user's sake.
pub const MATE_LINKS: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub struct Mates {
    /// The members that the rooms want linked, the first before the others.
    wanted: Value<Vec<(Name, PublicKey)>>,
    /// Those of them who are here under that key.
    here: Value<BTreeSet<ContactId>>,
    /// Those that discovery has been told of in this session.
    said: Value<BTreeSet<PublicKey>>,
    /// What follows from `wanted` and the people has to be found out anew.
    stale: Value<bool>,
    /// The links that are up, of contacts too.
    linked: Table<BTreeMap<PublicKey, ConnectionId>>,
}

transactional!(Mates { wanted, here, said, stale, linked });

impl Mates {
    /// Who was a member and nothing else when the last start ended; [`set`] has to be called before these are removed.
    pub fn load(rows: &[ContactRow]) -> Self {
        let members = rows.iter().filter(|row| row.identity.standing == Standing::Member);
        let here: BTreeSet<_> = members.map(|row| row.id).collect();
        Self { stale: Value::new(!here.is_empty()), here: Value::new(here), ..Self::default() }
    }

    /// Whether this one is to be linked with for a room's sake.
    pub fn has(&self, id: ContactId) -> bool {
        self.here.contains(&id)
    }

    /// Whether [`settle`] has something to do, whatever else happens.
    pub fn is_stale(&self) -> bool {
        *self.stale
    }

    /// The link with the holder of a key, who may be a contact or a member.
    pub fn link(&self, key: &PublicKey) -> Option<ConnectionId> {
        self.linked.get(key).copied()
    }

    /// All the links that are up, with the keys of those at the other end.
    pub fn linked(&self) -> impl Iterator<Item = (PublicKey, ConnectionId)> {
        self.linked.iter().map(|(key, link)| (*key, *link))
    }

    /// The row of this one is gone.
    pub fn forget(&mut self, id: ContactId) {
        if self.has(id) {
            self.here.remove(&id);
            *self.stale = true;
        }
    }

    /// What discovery has said of this one is not known any more: it is to say it again.
    pub fn say_again(&mut self, key: PublicKey) {
        if self.said.contains(&key) {
            self.said.remove(&key);
            *self.stale = true;
        }
    }

    /// Another session begins, in which nothing was said.
    pub fn forget_said(&mut self) {
        if !self.said.is_empty() {
            self.said.clear();
        }
    }

    /// What was found out may not hold any more: discovery can be reached now, or a transaction has failed.
    pub fn renew(&mut self) {
        if self.any() {
            *self.stale = true;
        }
    }

    fn any(&self) -> bool {
        !(self.wanted.is_empty() && self.here.is_empty())
    }

    /// A link is up.
    pub fn up(&mut self, key: PublicKey, link: ConnectionId) {
        self.linked.insert(key, link);
    }

    /// A link is gone that was up.
    pub fn down(&mut self, key: PublicKey, link: ConnectionId) {
        if self.link(&key) == Some(link) {
            self.linked.remove(&key);
        }
    }
}

/// These are the members that the rooms want linked, the first before the others, and there are no more. [`settle`] has it
/// so.
pub fn set(node: &mut Node, members: Vec<(Name, PublicKey)>) {
    if *node.mates.wanted != members {
        *node.mates.wanted = members;
        *node.mates.stale = true;
    }
}

/// Brings into line with what the rooms want who is here, who is linked, and what discovery was told.
pub(super) fn settle(node: &mut Node, journal: &Journal) -> Result<()> {
    if !(node.mates.is_stale() || node.mates.any() && node.roster.is_touched()) {
        return Ok(());
    }
    if node.fx.now.mono < node.rests_until {
        node.mates.renew();
        return Ok(());
    }
    let before = BTreeSet::clone(&node.mates.here);
    let now = find(node, journal)?;
    *node.mates.here = now.clone();
    *node.mates.stale = false;
    for id in before.difference(&now) {
        part(node, journal, *id)?;
    }
    for id in now.difference(&before) {
        if node.links.of(*id).is_none() {
            node.dial_soon(*id);
        }
    }
    tell_discovery(node);
    Ok(())
}

/// The members that the rooms want linked, as far as they have a row. Adds rows for the others, where their names are free.
fn find(node: &mut Node, journal: &Journal) -> Result<BTreeSet<ContactId>> {
    let (mut found, mut others) = (BTreeSet::new(), 0);
    for (name, key) in node.mates.wanted.clone() {
        let holder = node.roster.holder(&key);
        let dialled = holder.and_then(|id| node.roster.get(id)).is_some_and(|person| person.is_dialled());
        if !dialled && others >= MATE_LINKS || key == node.setup.key() {
            continue;
        }
        let id = match holder {
            None if node.roster.named(&name).is_none() && name != node.setup.name => {
                acquaintance::add_member(node, journal, &name, key)?
            }
            holder => holder,
        };
        if let Some(id) = id
            && found.insert(id)
            && !dialled
        {
            others += 1;
        }
    }
    Ok(found)
}

/// No room is shared with this one any more.
fn part(node: &mut Node, journal: &Journal, id: ContactId) -> Result<()> {
    let Some(identity) = node.roster.get(id).map(|person| person.identity) else {
        return Ok(());
    };
    if identity.standing == Standing::Member && !identity.blocked {
        return acquaintance::remove(node, journal, id);
    }
    if identity.standing == Standing::Member {
        node.roster.set_standing(id, Standing::Forgotten);
    }
    if let (Some(link), Some(reason)) = (node.links.of(id), node.unwelcome(id)) {
        node.close_link(link, Some(reason));
    }
    if node.roster.get(id).is_some_and(|person| !person.is_dialled()) {
        node.dialer.set_presence(node.fx.now, id, None);
    }
    Ok(())
}

/// Discovery is told who shares a room with this user, but for those whose presence it tells anyhow.
fn tell_discovery(node: &mut Node) {
    if !node.rendezvous.is_up() {
        return;
    }
    let people = node.mates.here.iter().filter_map(|id| node.roster.get(*id));
    let people = people.filter_map(|person| Some((person.identity.key?, person.identity.request)));
    let people: BTreeMap<PublicKey, Request> = people.collect();
    let gone: Vec<_> = node.mates.said.iter().filter(|key| !people.contains_key(*key)).copied().collect();
    for key in gone {
        node.mates.said.remove(&key);
        node.rendezvous.ask(&mut node.fx, ToDiscovery::Mate(Mate { key, shares: false }));
    }
    let unsaid = |(key, request): &(PublicKey, Request)| {
        *request != Request::Answered && !node.mates.said.contains(key)
    };
    let room = MAX_MATES.saturating_sub(node.mates.said.len());
    let unsaid: Vec<_> = people.into_iter().filter(unsaid).take(room).collect();
    for (key, _) in unsaid {
        node.mates.said.insert(key);
        node.rendezvous.ask(&mut node.fx, ToDiscovery::Mate(Mate { key, shares: true }));
    }
}

impl Node {
    /// Says something to the holder of a key, in one frame. Returns whether there is a link.
    pub(super) fn say_to(&mut self, key: &PublicKey, messages: Vec<Peer>) -> bool {
        let Some(link) = self.mates.link(key) else {
            return false;
        };
        self.links.say(&mut self.fx, link, messages);
        true
    }

    /// Why this client takes no link from a user, if it takes none.
    pub(super) fn unwelcome(&self, id: ContactId) -> Option<ByeReason> {
        let Some(person) = self.roster.get(id) else {
            return Some(ByeReason::NOT_ACCEPTED);
        };
        match person.identity.standing {
            _ if self.mates.has(id) || self.intake.hears(person) => None,
            Standing::Stranger if !person.identity.blocked => Some(ByeReason::NOT_ANSWERED),
            _ => Some(ByeReason::NOT_ACCEPTED),
        }
    }

    /// Whether anything is taken of what another user writes to this one.
    pub(super) fn hears(&self, id: ContactId) -> bool {
        self.roster.get(id).is_some_and(|person| self.intake.hears(person))
    }
}
