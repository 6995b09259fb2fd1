//! Which users say that they share a room with which others: kept in memory, as long as the session in which it was said.

use std::collections::{BTreeMap, BTreeSet};

use super::users::UserIndex;
use crate::protocol::PublicKey;
use crate::undo::{Table, transactional};

/// See the module. What is said is said of keys, also of keys that no user has: so it needs not be said again when one
/// registers, and the next holder of a name that was released gains nothing.
///
/// What counts of a user with a session here is what was said in it, and of any other what the ledger says. While nothing
/// can be saved the two differ.
#[derive(Debug, Default)]
pub struct Mates {
    said: Table<BTreeMap<UserIndex, BTreeSet<PublicKey>>>,
    kept: Table<BTreeMap<(UserIndex, PublicKey), ()>>,
}

impl Mates {
    pub fn new(kept: impl Iterator<Item = (UserIndex, PublicKey)>) -> Self {
        Self { said: Table::default(), kept: Table::new(kept.map(|pair| (pair, ())).collect()) }
    }

    /// A session here is the user's from now on.
    pub fn begin(&mut self, user: UserIndex) {
        self.said.insert(user, BTreeSet::new());
    }

    /// It is over.
    pub fn end(&mut self, user: UserIndex) {
        self.said.remove(&user);
    }

    pub fn names(&self, user: UserIndex, key: PublicKey) -> bool {
        match self.said.get(&user) {
            Some(said) => said.contains(&key),
            None => self.kept.contains_key(&(user, key)),
        }
    }

    /// The keys that a user names.
    pub fn named(&self, user: UserIndex) -> impl Iterator<Item = PublicKey> {
        let said = self.said.get(&user);
        let kept = said.is_none().then(|| self.kept_of(user));
        said.into_iter().flatten().copied().chain(kept.into_iter().flatten())
    }

    /// The user says so in the session here. Returns whether that is news.
    pub fn say(&mut self, user: UserIndex, key: PublicKey, shares: bool) -> bool {
        let is_news = self.said.get(&user).is_some_and(|said| said.contains(&key) != shares);
        if is_news {
            self.said.change(&user, |said| _ = if shares { said.insert(key) } else { said.remove(&key) });
        }
        is_news
    }

    /// The keys that a user names as the ledger says.
    pub fn kept_of(&self, user: UserIndex) -> impl Iterator<Item = PublicKey> {
        let [first, last] = [0, u8::MAX].map(|byte| (user, PublicKey([byte; 32])));
        self.kept.range(first..=last).map(|((_, key), ())| *key)
    }

    /// All that the ledger says, in the order of the users.
    pub fn all_kept(&self) -> impl Iterator<Item = (UserIndex, PublicKey)> {
        self.kept.keys().copied()
    }

    /// The ledger says so.
    pub fn keep(&mut self, user: UserIndex, key: PublicKey, shares: bool) {
        if shares { _ = self.kept.insert((user, key), ()) } else { _ = self.kept.remove(&(user, key)) }
    }

    /// The ledger says nothing of a user any more.
    pub fn forget_kept(&mut self, user: UserIndex) {
        let all: Vec<_> = self.kept_of(user).collect();
        all.into_iter().for_each(|key| self.keep(user, key, false));
    }
}

transactional!(Mates { said, kept });
