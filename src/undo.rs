//! Takes back what a failed transaction has changed in memory.
//!
//! State that must never hold what the disk did not take stands in a [`Value`] or a [`Table`]. Each notes what it held
//! before the first change in a transaction; [`Transactional::commit`] forgets the notes, and
//! [`Transactional::rollback`] puts them back. Reading costs nothing, and no field has to remember by hand what it was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::{Deref, DerefMut};

/// State that follows the transactions of a database.
pub trait Transactional {
    /// The transaction is on the disk: what it changed stays.
    fn commit(&mut self);
    /// The transaction has failed: everything is as it was at the last commit.
    fn rollback(&mut self);
}

/// Makes a struct follow transactions by what the fields named do.
macro_rules! transactional {
    ($machine:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::undo::Transactional for $machine {
            fn commit(&mut self) {
                $($crate::undo::Transactional::commit(&mut self.$field);)+
            }

            fn rollback(&mut self) {
                $($crate::undo::Transactional::rollback(&mut self.$field);)+
            }
        }
    };
}
pub(crate) use transactional;

/// A value of which a copy is taken before its first change in a transaction: for what is small. Every mutable access
/// counts as a change.
#[derive(Debug, Default)]
pub struct Value<T> {
    now: T,
    before: Option<T>,
}

impl<T> Value<T> {
    /// A value that counts as committed.
    pub fn new(now: T) -> Self {
        Self { now, before: None }
    }
}

impl<T> Deref for Value<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.now
    }
}

impl<T: Clone> DerefMut for Value<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        if self.before.is_none() {
            self.before = Some(self.now.clone());
        }
        &mut self.now
    }
}

impl<T> Transactional for Value<T> {
    fn commit(&mut self) {
        self.before = None;
    }

    fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.now = before;
        }
    }
}

/// A collection that finds its entries by key.
pub trait Keyed {
    type Key: Ord + Clone;
    type Entry: Clone;

    fn find(&self, key: &Self::Key) -> Option<&Self::Entry>;
    fn find_mut(&mut self, key: &Self::Key) -> Option<&mut Self::Entry>;
    /// Adds an entry, or replaces the one that the key has.
    fn put(&mut self, key: Self::Key, entry: Self::Entry) -> Option<Self::Entry>;
    fn take(&mut self, key: &Self::Key) -> Option<Self::Entry>;
}

macro_rules! keyed_map {
    ($map:ident, $($bound:ident)?) => {
        impl<K: Ord + Clone $(+ $bound)?, V: Clone> Keyed for $map<K, V> {
            type Key = K;
            type Entry = V;

            fn find(&self, key: &K) -> Option<&V> {
                self.get(key)
            }

            fn find_mut(&mut self, key: &K) -> Option<&mut V> {
                self.get_mut(key)
            }

            fn put(&mut self, key: K, entry: V) -> Option<V> {
                self.insert(key, entry)
            }

            fn take(&mut self, key: &K) -> Option<V> {
                self.remove(key)
            }
        }
    };
}
keyed_map!(BTreeMap,);
keyed_map!(HashMap, Hash);

/// A vector whose keys are the places in it: an entry is added behind the last, and only the last is removed.
impl<V: Clone> Keyed for Vec<V> {
    type Key = usize;
    type Entry = V;

    fn find(&self, key: &usize) -> Option<&V> {
        self.get(*key)
    }

    fn find_mut(&mut self, key: &usize) -> Option<&mut V> {
        self.get_mut(*key)
    }

    fn put(&mut self, key: usize, entry: V) -> Option<V> {
        match self.get_mut(key) {
            Some(there) => Some(std::mem::replace(there, entry)),
            None => {
                debug_assert_eq!(key, self.len(), "an entry is added behind the last");
                self.push(entry);
                None
            }
        }
    }

    fn take(&mut self, key: &usize) -> Option<V> {
        debug_assert_eq!(*key + 1, self.len(), "only the last is removed");
        self.pop()
    }
}

/// A collection of which each entry is noted before its first change in a transaction.
#[derive(Debug)]
pub struct Table<T: Keyed> {
    entries: T,
    /// What each entry was that has been touched since the last commit; `None` for none.
    before: BTreeMap<T::Key, Option<T::Entry>>,
    /// The keys of which an entry has been removed since then: another one that follows is new.
    removed: BTreeSet<T::Key>,
    /// The key that was touched last: entries are mostly touched many times in a row.
    last: Option<T::Key>,
}

impl<T: Keyed + Default> Default for Table<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Keyed> Table<T> {
    /// A collection that counts as committed.
    pub fn new(entries: T) -> Self {
        Self { entries, before: BTreeMap::new(), removed: BTreeSet::new(), last: None }
    }

    pub fn get_mut(&mut self, key: &T::Key) -> Option<&mut T::Entry> {
        self.note(key);
        self.entries.find_mut(key)
    }

    /// Changes the entry of a key, if there is one.
    pub fn change(&mut self, key: &T::Key, change: impl FnOnce(&mut T::Entry)) {
        self.get_mut(key).map(change);
    }

    /// Adds an entry, or replaces the one that the key has.
    pub fn insert(&mut self, key: T::Key, entry: T::Entry) -> Option<T::Entry> {
        self.note(&key);
        self.entries.put(key, entry)
    }

    pub fn remove(&mut self, key: &T::Key) -> Option<T::Entry> {
        self.note(key);
        self.removed.insert(key.clone());
        self.entries.take(key)
    }

    /// What has been touched since the last commit: each key with its entry then and now. An entry that took
    /// the place of a removed one is new.
    pub fn touched(&self) -> impl Iterator<Item = (&T::Key, Option<&T::Entry>, Option<&T::Entry>)> {
        self.before.iter().map(|(key, before)| {
            let now = self.entries.find(key);
            (key, before.as_ref().filter(|_| now.is_none() || !self.removed.contains(key)), now)
        })
    }

    #[inline]
    fn note(&mut self, key: &T::Key) {
        if self.last.as_ref() != Some(key) {
            self.note_another(key);
        }
    }

    fn note_another(&mut self, key: &T::Key) {
        self.before.entry(key.clone()).or_insert_with(|| self.entries.find(key).cloned());
        self.last = Some(key.clone());
    }
}

impl<T: Keyed> Deref for Table<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entries
    }
}

impl<T: Keyed> Transactional for Table<T> {
    fn commit(&mut self) {
        self.before.clear();
        self.removed.clear();
        self.last = None;
    }

    fn rollback(&mut self) {
        self.removed.clear();
        self.last = None;
        // From the last key to the first, for a vector gives up only its last entry.
        while let Some((key, before)) = self.before.pop_last() {
            match before {
                Some(entry) => _ = self.entries.put(key, entry),
                None if self.entries.find(&key).is_some() => _ = self.entries.take(&key),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u8),
        Change(u8, u8),
        Remove(u8),
        Commit,
        Rollback,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            (0..4_u8, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
            (0..4_u8).prop_map(Step::Remove),
            Just(Step::Commit),
            Just(Step::Rollback),
        ]
    }

    proptest! {
        #[test]
        fn a_table_is_after_a_rollback_what_it_was_at_the_last_commit(steps in prop::collection::vec(step(), 0..60)) {
            let mut table: Table<BTreeMap<u8, u8>> = Table::default();
            let mut committed = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => _ = table.insert(key, value),
                    Step::Change(key, value) => table.get_mut(&key).into_iter().for_each(|entry| *entry = value),
                    Step::Remove(key) => _ = table.remove(&key),
                    Step::Commit => {
                        table.commit();
                        committed = (*table).clone();
                    }
                    Step::Rollback => {
                        table.rollback();
                        prop_assert_eq!(&*table, &committed);
                    }
                }
                let changed = table.touched().filter(|(_, before, now)| before != now).count();
                prop_assert!(changed > 0 || *table == committed);
            }
        }
    }

    #[test]
    fn an_entry_that_was_removed_meanwhile_is_a_new_one() {
        let mut table = Table::new(BTreeMap::from([(1, 'a'), (2, 'b')]));
        table.remove(&1);
        table.insert(1, 'a');
        table.change(&2, |entry| *entry = 'c');
        let touched: Vec<_> = table.touched().collect();
        assert_eq!(touched, [(&1, None, Some(&'a')), (&2, Some(&'b'), Some(&'c'))]);
        table.rollback();
        assert_eq!(*table, BTreeMap::from([(1, 'a'), (2, 'b')]));
    }

    #[test]
    fn a_vector_gives_up_what_was_added_to_it() {
        let mut table = Table::new(vec!['a']);
        table.insert(1, 'b');
        table.insert(2, 'c');
        if let Some(first) = table.get_mut(&0) {
            *first = 'x';
        }
        table.rollback();
        assert_eq!(*table, ['a']);
        table.insert(1, 'b');
        table.commit();
        table.rollback();
        assert_eq!(*table, ['a', 'b']);
    }

    #[test]
    fn a_value_is_what_it_was() {
        let mut value = Value::new(1);
        *value = 2;
        *value = 3;
        value.rollback();
        assert_eq!(*value, 1);
        *value = 4;
        value.commit();
        value.rollback();
        assert_eq!(*value, 4);
    }
}
