//! Both sides of several links, in every order in which things can happen, with links that die at every point.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use super::super::super::event::Action;
use super::super::effects::Effects;
use super::super::tests::support::{address, cursor, effects, hello, name};
use super::*;
use crate::undo::Transactional;

/// The keys of the two sides: the first one decides.
const KEYS: [PublicKey; 2] = [PublicKey([1; 32]), PublicKey([9; 32])];
/// The contact that each side is for the other.
const CONTACT: ContactId = 1;
const SIDES: [usize; 2] = [0, 1];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A side has proved the other's key on a link, and says hello.
    Add(ConnectionId, usize),
    /// A side hears the next message of a link.
    Hear(ConnectionId, usize),
    /// A side finds a link closed.
    End(ConnectionId, usize),
    /// The network loses a link, and what is on its way.
    Die(ConnectionId),
}

#[derive(Debug)]
struct World {
    sides: [Links; 2],
    routes: BTreeMap<ConnectionId, Route>,
    /// What is on its way to each side.
    pipes: BTreeMap<(ConnectionId, usize), VecDeque<Peer>>,
    added: BTreeSet<(ConnectionId, usize)>,
    /// Which side has closed which link, or found it closed.
    closed: BTreeSet<(ConnectionId, usize)>,
    dead: BTreeSet<ConnectionId>,
    deaths_left: usize,
}

/// A copy, with nothing to be taken back.
fn copy(links: &Links) -> Links {
    let Links { own_key, links, decisions, up, wake, strangers, paces, blocked } = links;
    Links {
        own_key: *own_key,
        links: Table::new(BTreeMap::clone(links)),
        decisions: Value::new(**decisions),
        up: Table::new(BTreeMap::clone(up)),
        wake: Value::new(**wake),
        strangers: Value::new(**strangers),
        paces: Table::new(BTreeMap::clone(paces)),
        blocked: Value::new(BTreeSet::clone(blocked)),
    }
}

impl Clone for World {
    fn clone(&self) -> Self {
        let Self { sides: [one, other], routes, pipes, added, closed, dead, deaths_left } = self;
        Self {
            sides: [copy(one), copy(other)],
            routes: routes.clone(),
            pipes: pipes.clone(),
            added: added.clone(),
            closed: closed.clone(),
            dead: dead.clone(),
            deaths_left: *deaths_left,
        }
    }
}

impl World {
    fn new(routes: &[Route], deaths: usize) -> Self {
        Self {
            sides: KEYS.map(Links::new),
            routes: (1..).zip(routes.iter().copied()).collect(),
            pipes: BTreeMap::new(),
            added: BTreeSet::new(),
            closed: BTreeSet::new(),
            dead: BTreeSet::new(),
            deaths_left: deaths,
        }
    }

    /// What can happen next.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in self.routes.keys().copied() {
            let dead = self.dead.contains(&id);
            if !dead && self.deaths_left > 0 {
                steps.push(Step::Die(id));
            }
            for side in SIDES {
                let pending = self.pipes.get(&(id, side)).is_some_and(|pipe| !pipe.is_empty());
                let over = dead || self.closed.contains(&(id, 1 - side));
                if self.closed.contains(&(id, side)) {
                } else if !self.added.contains(&(id, side)) {
                    steps.extend((!dead).then_some(Step::Add(id, side)));
                } else if pending {
                    steps.push(Step::Hear(id, side));
                } else if over {
                    steps.push(Step::End(id, side));
                }
            }
        }
        steps
    }

    fn take(&mut self, step: Step) {
        let mut fx = effects();
        let before = [0, 1].map(|side| self.sides[side].of(CONTACT));
        let side = match step {
            Step::Add(id, side) => {
                self.added.insert((id, side));
                let links = &mut self.sides[side];
                links.add(&fx, id, KEYS[1 - side], side == 0, self.routes[&id], 1 << 20);
                links.greet(&mut fx, id, CONTACT, hello(1, &[]));
                side
            }
            Step::Hear(id, side) => {
                let said = self.pipes.get_mut(&(id, side)).and_then(VecDeque::pop_front).unwrap();
                self.hear(&mut fx, id, side, &said);
                side
            }
            Step::End(id, side) => {
                self.sides[side].close(&mut fx, id, None);
                side
            }
            Step::Die(id) => {
                self.deaths_left -= 1;
                self.dead.insert(id);
                SIDES.iter().for_each(|side| _ = self.pipes.remove(&(id, *side)));
                // A side that knew nothing of it has nothing to close.
                let unknown = SIDES.map(|side| (id, side)).into_iter();
                let unknown: Vec<_> = unknown.filter(|it| !self.added.contains(it)).collect();
                self.closed.extend(unknown);
                return;
            }
        };
        // Over a link that is up a side may say anything.
        if let Some(up) = self.sides[side].of(CONTACT).filter(|up| before[side] != Some(*up)) {
            self.sides[side].say(&mut fx, up, vec![Peer::Ack(cursor(1, 1))]);
        }
        for action in fx.take_actions() {
            match action {
                Action::Send(id, messages) if !self.dead.contains(&id) => {
                    self.pipes.entry((id, 1 - side)).or_default().extend(messages);
                }
                Action::Close(id) => {
                    self.closed.insert((id, side));
                    self.pipes.remove(&(id, side));
                }
                _ => {}
            }
        }
        self.sides[side].commit();
    }

    fn hear(&mut self, fx: &mut Effects, id: ConnectionId, side: usize, said: &Peer) {
        let links = &mut self.sides[side];
        match links.hear(id, said) {
            Heard::Hello(contact, hello) => match links.greeted(fx, id, contact, &name("bob"), hello) {
                Greeting::KeepOlder => _ = links.close(fx, id, None),
                Greeting::Broken(what) => panic!("{what}"),
                Greeting::Up(_) | Greeting::Undecided => {}
            },
            Heard::Keep(_, decision) if links.kept(fx, id, decision).is_none() => {
                links.close(fx, id, None);
            }
            Heard::Broken(what) => panic!("{what}: {said:?} over {id} to {side}"),
            _ => {}
        }
    }

    /// Nothing more can happen: both sides have the same link, and no other.
    fn check(&self) {
        let [one, other] = [0, 1].map(|side| self.sides[side].of(CONTACT));
        assert_eq!(one, other, "{self:#?}");
        assert!(one.is_some() || !self.dead.is_empty(), "no link for good, and none has died: {self:#?}");
        for id in self.routes.keys().filter(|id| Some(**id) != one) {
            assert!(SIDES.iter().all(|side| self.closed.contains(&(*id, *side))), "{id} is open: {self:#?}");
        }
    }

    /// All that decides what can follow.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self { sides, routes: _, pipes, added, closed, dead, deaths_left } = self;
        for links in sides {
            (*links.decisions, links.of(CONTACT)).hash(&mut hasher);
            for (id, link) in links.links.iter() {
                let decision = if let State::Up { decision, .. } = link.state { decision } else { 0 };
                (id, std::mem::discriminant(&link.state), decision).hash(&mut hasher);
                if let State::Undecided(_, _, hello) = &link.state {
                    hello.linked.hash(&mut hasher);
                }
            }
        }
        for (pipe, said) in pipes.iter().filter(|(_, said)| !said.is_empty()) {
            pipe.hash(&mut hasher);
            for said in said {
                std::mem::discriminant(said).hash(&mut hasher);
                match said {
                    Peer::Keep(decision) => decision.hash(&mut hasher),
                    Peer::Hello(hello) => hello.linked.hash(&mut hasher),
                    _ => {}
                }
            }
        }
        (added, closed, dead, deaths_left).hash(&mut hasher);
        hasher.finish()
    }
}

/// Takes every step from every state that can be reached. Returns how many states those are.
fn explore(world: World) -> usize {
    let mut seen = HashSet::from([world.digest()]);
    let mut open = vec![world];
    while let Some(world) = open.pop() {
        let steps = world.steps();
        if steps.iter().all(|step| matches!(step, Step::Die(_))) {
            world.check();
        }
        for step in steps {
            let mut next = world.clone();
            next.take(step);
            if seen.insert(next.digest()) {
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn whatever_the_order_both_sides_keep_the_same_link() {
    let direct = Route::Direct { remote: address(9) };
    let relayed = Route::Relayed { through: address(1) };
    let mut states = 0;
    for routes in [[direct, direct], [direct, relayed], [relayed, direct], [relayed, relayed]] {
        states += explore(World::new(&routes, 2));
    }
    for routes in [[direct, direct, relayed], [relayed, direct, relayed]] {
        states += explore(World::new(&routes, 1));
    }
    assert!(states > 1000, "only {states}");
}
