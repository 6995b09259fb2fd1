//! How users stand to each other. Of two users, both have asked for the other and are connected, or one has asked and the
//! other has not answered, or at least one has dropped the other, or there is nothing between them.

use std::collections::{BTreeMap, BTreeSet};

use super::users::UserIndex;
use crate::accounts::Request;
use crate::protocol::rendezvous::REQUEST_LASTS;
use crate::time::millis;
use crate::undo::{Keyed, Table, transactional};

/// How many users one account may refuse, and how many may refuse it. Of more, the oldest refusal is forgotten: it would
/// only have kept the other's client from asking again by itself.
pub const MAX_REFUSALS: usize = 1000;

type Pair = (UserIndex, UserIndex);

/// What there is between the first user of a pair and the second, found from either. With one tree for
/// all users five million connections take 103 MiB; collections for each user took 222.
#[derive(Debug)]
pub struct Pairs<E> {
    entries: BTreeMap<Pair, E>,
    turned: BTreeSet<Pair>,
}

impl<E> Default for Pairs<E> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), turned: BTreeSet::new() }
    }
}

impl<E> FromIterator<(Pair, E)> for Pairs<E> {
    fn from_iter<I: IntoIterator<Item = (Pair, E)>>(pairs: I) -> Self {
        let entries: BTreeMap<_, _> = pairs.into_iter().collect();
        Self { turned: entries.keys().copied().map(turned).collect(), entries }
    }
}

fn turned((one, other): Pair) -> Pair {
    (other, one)
}

impl<E> Pairs<E> {
    /// The other users of the pairs in which this one is the first.
    fn after(&self, user: UserIndex) -> impl Iterator<Item = (UserIndex, &E)> {
        let range = (user, UserIndex::FIRST)..=(user, UserIndex::LAST);
        self.entries.range(range).map(|((_, other), entry)| (*other, entry))
    }

    /// The other users of the pairs in which this one is the second.
    fn before(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        self.turned.range((user, UserIndex::FIRST)..=(user, UserIndex::LAST)).map(|(_, other)| *other)
    }
}

impl<E: Clone> Keyed for Pairs<E> {
    type Key = Pair;
    type Entry = E;

    fn find(&self, pair: &Pair) -> Option<&E> {
        self.entries.get(pair)
    }

    fn find_mut(&mut self, pair: &Pair) -> Option<&mut E> {
        self.entries.get_mut(pair)
    }

    fn put(&mut self, pair: Pair, entry: E) -> Option<E> {
        self.turned.insert(turned(pair));
        self.entries.insert(pair, entry)
    }

    fn take(&mut self, pair: &Pair) -> Option<E> {
        self.turned.remove(&turned(*pair));
        self.entries.remove(pair)
    }
}

#[derive(Debug, Default)]
pub struct Relations {
    /// Each pair once, in the order of its users.
    connections: Table<Pairs<()>>,
    /// The asker and the target.
    requests: Table<Pairs<Request>>,
    /// Who refuses and who is refused, and since when.
    refusals: Table<Pairs<i64>>,
    /// The requests of which the target has been told, by the time when they end, in milliseconds since 1970.
    ends: Table<BTreeMap<(i64, Pair), ()>>,
}

/// What has to be gone before two users stand in another way to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Connection(UserIndex, UserIndex),
    Request(UserIndex, UserIndex),
    Refusal(UserIndex, UserIndex),
}

fn end_of(pair: Pair, request: &Request) -> Option<(i64, Pair)> {
    let lasts = i64::try_from(millis(REQUEST_LASTS)).unwrap_or(i64::MAX);
    request.told.map(|told| (told.saturating_add(lasts), pair))
}

fn ordered(one: UserIndex, other: UserIndex) -> Pair {
    (one.min(other), one.max(other))
}

impl Relations {
    pub fn new(
        connections: impl Iterator<Item = Pair>,
        requests: impl Iterator<Item = (Pair, Request)>,
        refusals: impl Iterator<Item = (Pair, i64)>,
    ) -> Self {
        let connections = connections.map(|(one, other)| (ordered(one, other), ())).collect();
        let requests: Pairs<Request> = requests.collect();
        let ends = requests.entries.iter().filter_map(|(pair, request)| Some((end_of(*pair, request)?, ())));
        Self {
            connections: Table::new(connections),
            ends: Table::new(ends.collect()),
            requests: Table::new(requests),
            refusals: Table::new(refusals.collect()),
        }
    }

    /// All connections, requests and refusals, each in the order of its users.
    pub fn all(
        &self,
    ) -> (impl Iterator<Item = Pair>, impl Iterator<Item = (Pair, Request)>, impl Iterator<Item = (Pair, i64)>)
    {
        (
            self.connections.entries.keys().copied(),
            self.requests.entries.iter().map(|(pair, request)| (*pair, *request)),
            self.refusals.entries.iter().map(|(pair, since)| (*pair, *since)),
        )
    }

    /// How many connections, requests and refusals there are.
    pub fn counts(&self) -> [u64; 3] {
        [self.connections.entries.len(), self.requests.entries.len(), self.refusals.entries.len()]
            .map(|count| count as u64)
    }

    pub fn connected(&self, one: UserIndex, other: UserIndex) -> bool {
        self.connections.find(&ordered(one, other)).is_some()
    }

    /// The unanswered request of a user for another one.
    pub fn request(&self, asker: UserIndex, target: UserIndex) -> Option<Request> {
        self.requests.find(&(asker, target)).copied()
    }

    pub fn refuses(&self, user: UserIndex, other: UserIndex) -> bool {
        self.refusals.find(&(user, other)).is_some()
    }

    /// Whether at least one of the two has asked for the other.
    pub fn related(&self, one: UserIndex, other: UserIndex) -> bool {
        self.connected(one, other) || self.request(one, other).or(self.request(other, one)).is_some()
    }

    /// Everyone connected to, asked for by or asking for this user: once, and always in the same order.
    pub fn all_related(&self, user: UserIndex) -> BTreeSet<UserIndex> {
        self.connections(user).chain(self.asked(user)).chain(self.asking(user)).collect()
    }

    pub fn connections(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        self.connections.before(user).chain(self.connections.after(user).map(|(other, ())| other))
    }

    /// The users for whom this one asks, without an answer.
    pub fn asked(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        self.requests.after(user).map(|(target, _)| target)
    }

    /// The users who ask for this one, without an answer.
    pub fn asking(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        self.requests.before(user)
    }

    pub fn refusing(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        self.refusals.before(user)
    }

    pub fn connect(&mut self, one: UserIndex, other: UserIndex) {
        self.connections.insert(ordered(one, other), ());
    }

    pub fn set_request(&mut self, asker: UserIndex, target: UserIndex, request: Request) {
        let pair = (asker, target);
        let before = self.requests.insert(pair, request);
        if let Some(end) = before.and_then(|before| end_of(pair, &before)) {
            self.ends.remove(&end);
        }
        if let Some(end) = end_of(pair, &request) {
            self.ends.insert(end, ());
        }
    }

    /// Adds a refusal. Returns those that had to make room for it.
    pub fn refuse(&mut self, user: UserIndex, other: UserIndex, now: i64) -> Vec<(UserIndex, UserIndex)> {
        self.refusals.insert((user, other), now);
        let since = |pair: &Pair| self.refusals.find(pair).copied();
        let own: Vec<_> = self.refusals.after(user).map(|(other, _)| (user, other)).collect();
        let others: Vec<_> = self.refusals.before(other).map(|user| (user, other)).collect();
        let too_many = [own, others].into_iter().filter(|refusals| refusals.len() > MAX_REFUSALS);
        let oldest: BTreeSet<_> = too_many.filter_map(|all| all.into_iter().min_by_key(since)).collect();
        oldest.into_iter().inspect(|pair| _ = self.refusals.remove(pair)).collect()
    }

    /// All that is between two users.
    pub fn between(&self, one: UserIndex, other: UserIndex) -> impl Iterator<Item = Relation> + use<> {
        let (first, second) = ordered(one, other);
        let connection = self.connected(one, other).then_some(Relation::Connection(first, second));
        let [asks, refuses] = [[(one, other), (other, one)]; 2];
        let asks = asks.map(|pair| self.requests.find(&pair).map(|_| Relation::Request(pair.0, pair.1)));
        let refuses =
            refuses.map(|pair| self.refusals.find(&pair).map(|_| Relation::Refusal(pair.0, pair.1)));
        connection.into_iter().chain(asks.into_iter().flatten()).chain(refuses.into_iter().flatten())
    }

    pub fn remove(&mut self, relation: Relation) {
        match relation {
            Relation::Connection(one, other) => _ = self.connections.remove(&ordered(one, other)),
            Relation::Refusal(user, other) => _ = self.refusals.remove(&(user, other)),
            Relation::Request(asker, target) => {
                let pair = (asker, target);
                let request = self.requests.remove(&pair);
                if let Some(end) = request.and_then(|request| end_of(pair, &request)) {
                    self.ends.remove(&end);
                }
            }
        }
    }

    pub fn remove_all(&mut self, user: UserIndex) {
        let mut others = self.all_related(user);
        others.extend(self.refusing(user));
        others.extend(self.refusals.after(user).map(|(other, _)| other));
        for other in others {
            self.between(user, other).for_each(|relation| self.remove(relation));
        }
    }

    /// Whether a request will end by itself.
    pub fn will_end(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The asker and the target of a request whose time is over. The caller removes it.
    pub fn ended(&self, now: i64) -> Option<(UserIndex, UserIndex)> {
        self.ends.first_key_value().filter(|((at, _), ())| *at <= now).map(|((_, pair), ())| *pair)
    }
}

transactional!(Relations { connections, requests, refusals, ends });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::Transactional;
    use proptest::prelude::*;

    fn user(place: usize) -> UserIndex {
        UserIndex::new(place)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Connect,
        Ask(Request),
        Refuse(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let request = (any::<bool>(), 0..9_i64, prop::option::of(0..9_i64));
        prop_oneof![
            Just(Step::Connect),
            request.prop_map(|(typed, asked, told)| Step::Ask(Request { typed, asked, told })),
            (0..9_i64).prop_map(Step::Refuse),
        ]
    }

    proptest! {
        #[test]
        fn relations_are_those_added_and_a_rollback_leaves_no_trace(
            steps in prop::collection::vec((step(), 0..4_usize, 1..4_usize, any::<bool>()), 0..40),
            commit in 0..40_usize,
        ) {
            let mut relations = Relations::default();
            let mut model = BTreeMap::new();
            let mut committed = entries(&relations);
            for (number, (step, one, apart, present)) in steps.into_iter().enumerate() {
                let (one, other) = (user(one), user((one + apart) % 4));
                let relation = match step {
                    Step::Connect => Relation::Connection(one.min(other), one.max(other)),
                    Step::Ask(_) => Relation::Request(one, other),
                    Step::Refuse(_) => Relation::Refusal(one, other),
                };
                let told = match step {
                    Step::Ask(request) => request.told,
                    _ => None,
                };
                if present {
                    match step {
                        Step::Connect => relations.connect(one, other),
                        Step::Ask(request) => relations.set_request(one, other, request),
                        Step::Refuse(now) => prop_assert_eq!(relations.refuse(one, other, now), []),
                    }
                    model.insert(relation, told);
                } else {
                    relations.remove(relation);
                    model.remove(&relation);
                }
                let between = (0..4).flat_map(|one| (0..one).map(move |other| (user(one), user(other))));
                let found: BTreeSet<_> = between.flat_map(|(one, other)| relations.between(one, other)).collect();
                prop_assert_eq!(found, model.keys().copied().collect::<BTreeSet<_>>());
                prop_assert_eq!(relations.counts().iter().sum::<u64>(), model.len() as u64);
                let first = model.values().flatten().min();
                let end = relations.ended(i64::MAX).and_then(|(one, other)| relations.request(one, other)?.told);
                prop_assert_eq!(end.as_ref(), first);
                for (user, other) in (0..4).flat_map(|one| (0..4).map(move |other| (user(one), user(other)))) {
                    let has = |relation| model.contains_key(&relation);
                    let [asks, asked, refused] =
                        [Relation::Request(user, other), Relation::Request(other, user), Relation::Refusal(other, user)];
                    prop_assert_eq!(relations.asked(user).any(|it| it == other), has(asks));
                    prop_assert_eq!(relations.asking(user).any(|it| it == other), has(asked));
                    prop_assert_eq!(relations.refusing(user).any(|it| it == other), has(refused));
                    let connected = has(Relation::Connection(user.min(other), user.max(other)));
                    prop_assert_eq!(relations.connections(user).any(|it| it == other), connected);
                    let related = connected || has(asks) || has(asked);
                    prop_assert_eq!(relations.all_related(user).contains(&other), related);
                }
                if number == commit {
                    relations.commit();
                    committed = entries(&relations);
                }
            }
            relations.rollback();
            prop_assert_eq!(entries(&relations), committed);
        }
    }

    fn entries(Relations { connections, requests, refusals, ends }: &Relations) -> String {
        format!("{:?} {:?} {:?} {:?}", **connections, **requests, **refusals, **ends)
    }
}
