//! How users stand to each other: connected, or one has asked for the other.

use std::collections::{BTreeSet, HashMap};

use super::users::UserIndex;
use crate::undo::Keyed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The two have been linked. Made by [`Relation::connection`], so that a pair has one order.
    Connection(UserIndex, UserIndex),
    /// The first asks for the second.
    Request(UserIndex, UserIndex),
}

impl Relation {
    /// The connection of two users, in whichever order.
    pub fn connection(one: UserIndex, other: UserIndex) -> Self {
        Self::Connection(one.min(other), one.max(other))
    }
}

/// All relations, as a [`Table`](crate::undo::Table) holds them.
#[derive(Debug, Default)]
pub struct Relations {
    /// Boxed, for a map has empty places, and most of a million users may have no relation.
    of: HashMap<UserIndex, Box<Neighbours>>,
    pub connections: u64,
    pub requests: u64,
    /// A relation is there or not; this is the rest of its entry.
    nothing: (),
}

#[derive(Debug, Default)]
pub struct Neighbours {
    pub connected: BTreeSet<UserIndex>,
    pub asked: BTreeSet<UserIndex>,
    pub asked_by: BTreeSet<UserIndex>,
}

static NO_NEIGHBOURS: Neighbours =
    Neighbours { connected: BTreeSet::new(), asked: BTreeSet::new(), asked_by: BTreeSet::new() };

impl Neighbours {
    fn all(&self) -> impl Iterator<Item = UserIndex> {
        [&self.connected, &self.asked, &self.asked_by].into_iter().flatten().copied()
    }
}

impl Relations {
    pub fn of(&self, user: UserIndex) -> &Neighbours {
        self.of.get(&user).map_or(&NO_NEIGHBOURS, Box::as_ref)
    }

    pub fn connected(&self, one: UserIndex, other: UserIndex) -> bool {
        self.of(one).connected.contains(&other)
    }

    pub fn asks(&self, asker: UserIndex, target: UserIndex) -> bool {
        self.of(asker).asked.contains(&target)
    }

    /// Every user connected to, asked for by or asking for this one: once, and always in the same order.
    pub fn related(&self, user: UserIndex) -> BTreeSet<UserIndex> {
        self.of(user).all().collect()
    }

    /// Adds or removes a relation, outside of any transaction. Returns whether that is a change.
    pub fn set(&mut self, relation: Relation, present: bool) -> bool {
        type Side = fn(&mut Neighbours) -> &mut BTreeSet<UserIndex>;
        let (sides, count): ([(UserIndex, UserIndex, Side); 2], _) = match relation {
            Relation::Connection(one, other) => (
                [(one, other, |of| &mut of.connected), (other, one, |of| &mut of.connected)],
                &mut self.connections,
            ),
            Relation::Request(asker, target) => (
                [(asker, target, |of| &mut of.asked), (target, asker, |of| &mut of.asked_by)],
                &mut self.requests,
            ),
        };
        let mut changed = false;
        for (user, other, side) in sides {
            let neighbours = self.of.entry(user).or_default();
            let side = side(neighbours);
            changed |= if present { side.insert(other) } else { side.remove(&other) };
            if neighbours.all().next().is_none() {
                self.of.remove(&user);
            }
        }
        if changed {
            *count = if present { *count + 1 } else { *count - 1 };
        }
        changed
    }
}

impl Keyed for Relations {
    type Key = Relation;
    type Entry = ();

    fn find(&self, relation: &Relation) -> Option<&()> {
        let present = match *relation {
            Relation::Connection(one, other) => self.connected(one, other),
            Relation::Request(asker, target) => self.asks(asker, target),
        };
        present.then_some(&self.nothing)
    }

    fn find_mut(&mut self, relation: &Relation) -> Option<&mut ()> {
        self.find(relation).is_some().then_some(&mut self.nothing)
    }

    fn put(&mut self, relation: Relation, (): ()) -> Option<()> {
        (!self.set(relation, true)).then_some(())
    }

    fn take(&mut self, relation: &Relation) -> Option<()> {
        self.set(*relation, false).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::{Table, Transactional};
    use proptest::prelude::*;

    fn relation() -> impl Strategy<Value = Relation> {
        (any::<bool>(), 0..4_usize, 1..4_usize).prop_map(|(connection, one, step)| {
            let relation = if connection { Relation::connection } else { Relation::Request };
            relation(UserIndex::new(one), UserIndex::new((one + step) % 4))
        })
    }

    proptest! {
        #[test]
        fn relations_are_those_added_and_a_rollback_leaves_no_trace(
            steps in prop::collection::vec((relation(), any::<bool>()), 0..40),
            commit in 0..40_usize,
        ) {
            let mut relations: Table<Relations> = Table::default();
            let mut model = BTreeSet::new();
            let mut committed = (model.clone(), sorted(&relations));
            for (step, (relation, present)) in steps.into_iter().enumerate() {
                if present {
                    prop_assert_eq!(relations.insert(relation, ()).is_none(), model.insert(relation));
                } else {
                    prop_assert_eq!(relations.remove(&relation).is_some(), model.remove(&relation));
                }
                let connections = model.iter().filter(|of| matches!(of, Relation::Connection(..))).count();
                prop_assert_eq!(relations.connections, connections as u64);
                prop_assert_eq!(relations.requests, (model.len() - connections) as u64);
                if step == commit {
                    relations.commit();
                    committed = (model.clone(), sorted(&relations));
                }
            }
            relations.rollback();
            prop_assert_eq!(sorted(&relations), committed.1);
            prop_assert!(committed.0.iter().all(|relation| relations.find(relation).is_some()));
        }
    }

    fn sorted(relations: &Relations) -> String {
        format!("{:?}", relations.of.iter().collect::<std::collections::BTreeMap<_, _>>())
    }
}
