//! What was promised, and what may be committed.

use std::collections::BTreeMap;

use peerchat::accounts::{Change, NodeId, Presence};
use peerchat::discovery::members::COME_BACK;
use peerchat::protocol::{Name, PublicKey};
use peerchat::time::millis;

use crate::ledger::Rows;

use super::world::World;

#[derive(Default)]
pub struct Oracle {
    /// Which node each is.
    pub ids: BTreeMap<NodeId, usize>,
    /// The names that clients were told are theirs, with their keys and since when.
    pub held: BTreeMap<Name, (PublicKey, u64)>,
    /// The names of which the operator was told that they are released, with the keys and when.
    pub dead: BTreeMap<(Name, PublicKey), u64>,
    lost: BTreeMap<NodeId, u64>,
}

impl Oracle {
    pub fn released(&mut self, name: Name, key: PublicKey, now: u64) {
        self.dead.insert((name, key), now);
    }
}

impl World {
    /// A client is told that a name is its own.
    pub fn acknowledged(&mut self, name: &Name, key: PublicKey) {
        let stands = {
            let truth = self.truth.borrow();
            truth.rows().accounts.values().any(|account| account.name == *name && account.key == key)
        };
        if !stands {
            // Another node has released it meanwhile.
            return;
        }
        let now = self.now;
        let held = self.oracle.held.entry(name.clone()).or_insert((key, now)).0;
        if held != key {
            self.violated(|| format!("{name} is told to be that of {key}, and it is that of {held}"));
        }
    }

    pub fn after_failover(&mut self) {
        let lost = {
            let truth = self.truth.borrow();
            let accounts = &truth.rows().accounts;
            let stands = |name: &Name, key: &PublicKey| {
                accounts.values().any(|account| account.name == *name && account.key == *key)
            };
            self.oracle.held.iter().find(|(name, (key, _))| !stands(name, key)).map(|(name, _)| name.clone())
        };
        if let Some(name) = lost {
            self.violated(|| format!("{name} was acknowledged, and is lost in a failover"));
        }
    }

    /// Which start of a client a session is really of, and which dial.
    fn really(&self, presence: &Presence) -> Option<(u64, u32)> {
        self.conns.get(&presence.session).map(|conn| (conn.start, conn.dial))
    }

    /// A node commits this.
    pub fn before_commit(&mut self, id: NodeId, changes: &[Change]) {
        let mut rows = self.truth.borrow().rows().clone();
        let introduced = changes.iter().any(|it| matches!(it, Change::AddNode { node } if node.id == id));
        if rows.nodes.get(&id).map_or(!introduced, |node| node.lost) {
            self.violated(|| format!("node {id} saves, and it is lost, or was never there"));
        }
        for change in changes {
            if let Err(problem) = self.may_be_committed(&rows, id, change) {
                self.violated(|| format!("node {id} saves {change:?}: {problem}"));
            }
            rows.apply(change);
        }
    }

    fn may_be_committed(&mut self, rows: &Rows, id: NodeId, change: &Change) -> Result<(), String> {
        let there = |user| rows.accounts.contains_key(&user);
        let both =
            |one, other| if there(one) && there(other) { Ok(()) } else { Err("no such users".to_owned()) };
        match change {
            Change::AddUser { account, presence, .. } => {
                let same = |name: bool, key: bool| name || key;
                if rows.accounts.values().any(|it| same(it.name == account.name, it.key == account.key)) {
                    return Err("the name or the key has an account".into());
                }
                if rows.accounts.last_key_value().is_some_and(|(last, _)| *last >= account.id) {
                    return Err("the id is not a new one".into());
                }
                if rows.released.get(&account.name) == Some(&account.key) {
                    return Err("the name was taken from that key".into());
                }
                if presence.node != id {
                    return Err("the session is not the node's".into());
                }
                self.oracle.dead.remove(&(account.name.clone(), account.key));
                Ok(())
            }
            Change::LogIn { user, presence, .. } => {
                if !there(*user) {
                    return Err("no such user".into());
                }
                if presence.node != id {
                    return Err("the session is not the node's".into());
                }
                let before = rows.presences.get(user).filter(|before| before.session != presence.session);
                if let Some((start, dial)) = before.and_then(|before| self.really(before))
                    && let Some((own, lower)) = self.really(presence)
                    && own == start
                    && lower < dial
                {
                    return Err(format!("dial {lower} wins over dial {dial}"));
                }
                Ok(())
            }
            Change::Move { .. } if rows.nodes.values().any(|node| node.reads < Change::MOVE) => {
                Err(format!("not all read it: {:?}", rows.nodes))
            }
            Change::Move { user, .. } => match rows.presences.get(user) {
                Some(presence) if presence.node == id => Ok(()),
                Some(_) => Err("the session is not the node's".into()),
                None => Err("no such user, or one who is offline".into()),
            },
            Change::AddConnection { one, other, .. } | Change::RemoveConnection { one, other } => {
                both(*one, *other)
            }
            Change::SetRequest { asker, target, .. } | Change::RemoveRequest { asker, target } => {
                both(*asker, *target)
            }
            Change::AddRefusal { by, of, .. } | Change::RemoveRefusal { by, of } => both(*by, *of),
            Change::ReleaseName { account, .. } => {
                self.oracle.held.remove(&account.name);
                both(account.id, account.id)
            }
            Change::LogOut { node, .. } if *node != id => Err("the session is not the node's".into()),
            Change::LogOut { .. } | Change::SetMate { .. } | Change::Tell { .. } | Change::AddNode { .. } => {
                Ok(())
            }
            Change::LoseNode { node } => {
                self.oracle.lost.insert(*node, self.now);
                Ok(())
            }
            Change::ForgetNode { node, .. } => match self.oracle.lost.get(node) {
                Some(since) if self.now - since >= millis(COME_BACK) => Ok(()),
                since => Err(format!("its users had no time to come back: it was lost at {since:?}")),
            },
        }
    }
}
