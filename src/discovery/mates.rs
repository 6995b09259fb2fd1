//! Which users say that they share a room with which others: kept in memory, as long as the session in which it was said.

use std::collections::BTreeMap;

use super::users::UserIndex;
use crate::protocol::PublicKey;
use crate::undo::{Table, transactional};

/// See the module. What is said is said of keys, also of keys that no user has: so it needs not be said again when one
/// registers, and the next holder of a name that was released gains nothing.
#[derive(Debug, Default)]
pub struct Mates {
    named: Table<BTreeMap<(UserIndex, PublicKey), ()>>,
}

impl Mates {
    pub fn new(named: impl Iterator<Item = (UserIndex, PublicKey)>) -> Self {
        Self { named: Table::new(named.map(|pair| (pair, ())).collect()) }
    }

    pub fn names(&self, user: UserIndex, key: PublicKey) -> bool {
        self.named.contains_key(&(user, key))
    }

    /// The users and the keys that they name, in this order.
    pub fn all(&self) -> impl Iterator<Item = (UserIndex, PublicKey)> {
        self.named.keys().copied()
    }

    /// The keys that a user names.
    pub fn named(&self, user: UserIndex) -> impl Iterator<Item = PublicKey> {
        let [first, last] = [0, u8::MAX].map(|byte| (user, PublicKey([byte; 32])));
        self.named.range(first..=last).map(|((_, key), ())| *key)
    }

    /// Returns whether that is news.
    pub fn add(&mut self, user: UserIndex, key: PublicKey) -> bool {
        self.named.insert((user, key), ()).is_none()
    }

    /// Returns whether the user had named it.
    pub fn remove(&mut self, user: UserIndex, key: PublicKey) -> bool {
        self.named.remove(&(user, key)).is_some()
    }

    /// The user's session is over.
    pub fn remove_all(&mut self, user: UserIndex) {
        let all: Vec<_> = self.named(user).collect();
        all.into_iter().for_each(|key| _ = self.remove(user, key));
    }
}

transactional!(Mates { named });
