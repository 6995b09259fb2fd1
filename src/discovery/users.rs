//! The accounts in memory, sized for a million of them: one small row each, which everything else refers to by its
//! index.

use std::collections::HashMap;

use crate::accounts::{Account, Registration, UserId};
use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};
use crate::undo::{Table, Value, transactional};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserIndex(u32);

impl UserIndex {
    pub(super) const FIRST: Self = Self(0);
    pub(super) const LAST: Self = Self(u32::MAX);

    /// More users than can be told apart fit into no machine's memory.
    pub(super) fn new(row: usize) -> Self {
        Self(u32::try_from(row).unwrap_or(u32::MAX))
    }

    fn row(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Debug)]
pub struct Users {
    /// In the order of their ids. Includes accounts that were released: nothing leads to them any more.
    accounts: Table<Vec<Account>>,
    by_name: Table<HashMap<Name, UserIndex>>,
    by_key: Table<HashMap<PublicKey, UserIndex>>,
    /// The released names, each with the last key that it was taken from.
    released: Table<HashMap<Name, PublicKey>>,
    by_strangers: Value<ByStrangers>,
    /// The highest id that an account has had.
    last_id: Value<UserId>,
}

/// How many accounts meet strangers in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ByStrangers {
    pub open: u64,
    pub ask: u64,
    pub all: u64,
    pub closed: u64,
}

impl ByStrangers {
    fn of(&mut self, strangers: Strangers) -> &mut u64 {
        match strangers {
            Strangers::Open => &mut self.open,
            Strangers::Ask => &mut self.ask,
            Strangers::All => &mut self.all,
            Strangers::Closed => &mut self.closed,
        }
    }
}

impl Users {
    /// Starts with these accounts, in the order of their ids, and these released names. Accounts had ids up to `last_id`.
    pub fn new(accounts: Vec<Account>, last_id: UserId, released: Vec<(Name, PublicKey)>) -> Self {
        let last_id = accounts.last().map_or(last_id, |last| last.id.max(last_id));
        let indexed = || accounts.iter().enumerate().map(|(row, account)| (UserIndex::new(row), account));
        let by_name = indexed().map(|(user, account)| (account.name.clone(), user)).collect();
        let by_key = indexed().map(|(user, account)| (account.key, user)).collect();
        let mut by_strangers = ByStrangers::default();
        accounts.iter().for_each(|account| *by_strangers.of(account.registration.strangers) += 1);
        Self {
            by_strangers: Value::new(by_strangers),
            last_id: Value::new(last_id),
            by_name: Table::new(by_name),
            by_key: Table::new(by_key),
            released: Table::new(released.into_iter().collect()),
            accounts: Table::new(accounts),
        }
    }

    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// In the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Account> {
        let is_current = |(row, account): &(usize, &Account)| {
            self.by_name.get(&account.name) == Some(&UserIndex::new(*row))
        };
        self.accounts.iter().enumerate().filter(is_current).map(|(_, account)| account)
    }

    pub fn all_released(&self) -> impl Iterator<Item = (&Name, &PublicKey)> {
        self.released.iter()
    }

    pub fn by_strangers(&self) -> ByStrangers {
        *self.by_strangers
    }

    pub fn named(&self, name: &Name) -> Option<UserIndex> {
        self.by_name.get(name).copied()
    }

    pub fn holder(&self, key: &PublicKey) -> Option<UserIndex> {
        self.by_key.get(key).copied()
    }

    pub fn with_id(&self, id: UserId) -> Option<UserIndex> {
        self.accounts.binary_search_by_key(&id, |account| account.id).ok().map(UserIndex::new)
    }

    pub fn get(&self, user: UserIndex) -> Option<&Account> {
        self.accounts.get(user.row())
    }

    /// The last key that this name was taken from, if it was ever released.
    pub fn released_from(&self, name: &Name) -> Option<PublicKey> {
        self.released.get(name).copied()
    }

    /// The highest id that an account has had.
    pub fn last_id(&self) -> UserId {
        *self.last_id
    }

    /// The id of the next account.
    pub fn next_id(&self) -> UserId {
        self.last_id.saturating_add(1)
    }

    /// Adds an account with a name and a key that no other has, and a higher id than any before.
    pub fn add(&mut self, account: Account) -> UserIndex {
        let user = UserIndex::new(self.accounts.len());
        *self.last_id = account.id;
        *self.by_strangers.of(account.registration.strangers) += 1;
        self.by_name.insert(account.name.clone(), user);
        self.by_key.insert(account.key, user);
        self.accounts.insert(user.row(), account);
        user
    }

    pub fn register(&mut self, user: UserIndex, registration: Registration) {
        if let Some(account) = self.accounts.get_mut(&user.row()) {
            *self.by_strangers.of(account.registration.strangers) -= 1;
            *self.by_strangers.of(registration.strangers) += 1;
            account.registration = registration;
        }
    }

    /// Releases a user's name. The caller has forgotten the user's session and relations.
    pub fn release(&mut self, user: UserIndex) {
        if let Some(Account { name, key, registration, .. }) = self.accounts.get(user.row()) {
            *self.by_strangers.of(registration.strangers) -= 1;
            self.by_name.remove(name);
            self.by_key.remove(key);
            self.released.insert(name.clone(), *key);
        }
    }
}

transactional!(Users { accounts, by_name, by_key, released, by_strangers, last_id });
