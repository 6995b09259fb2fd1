//! What comes when: it leads what has arrived through the registry and the ledger, and says what may be done.
//!
//! A plain state machine. What has arrived goes in with [`Turns::take`]; [`Turns::step`] and the ledger's
//! [reports](Report) return [`Effects`]: an order to the ledger, and what may be told now, for it is saved.
//!
//! A discovery that is alone with its ledger decides on all that waits, has the changes saved, and acts. One that shares
//! it first looks whether something leads to changes. If not, it is answered at once, from memory. Else it waits for this
//! node's turn, as does all that its session says after it: then what others have done is known, and it is decided on
//! that. While the ledger can't be reached, changes are refused, and everything else goes on.

use std::collections::{HashSet, VecDeque};

use super::registry::{Action, Decisions, Event, Registry, Saving};
use crate::accounts::Change;
use crate::accounts::ledger::Turn;
use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::{Name, PublicKey};
use crate::time::{Instant, Now};
use crate::transport::ConnectionId;
use crate::undo::Transactional;

pub use introduce::Draw;

mod introduce;

/// How many events one turn may hold; what arrived together in one frame is not torn apart.
const BATCH: usize = 1024;
/// How much may wait for a turn; readers wait when it is more.
const MAX_HELD: usize = 64 * BATCH;
/// No further event is decided on in a turn that has led to this many actions.
const MAX_ACTIONS: usize = 32 * 1024;

/// What waits to be decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Event(Event),
    /// The operator wants a name to be free.
    Release(Name),
    /// Something about nodes, as [`members`](super::members) decides it.
    Nodes(Change),
}

impl Work {
    const fn session(&self) -> Option<ConnectionId> {
        match self {
            Self::Event(
                Event::Opened { session, .. }
                | Event::Message { session, .. }
                | Event::Alive { session }
                | Event::Closed { session },
            ) => Some(*session),
            Self::Release(_) | Self::Nodes(_) => None,
        }
    }
}

/// What the ledger is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To begin this node's turn.
    Take,
    /// To end it with these changes. Where a discovery is alone, it is always its turn.
    Give(Vec<Change>),
    /// To end it without any.
    RollBack,
}

/// What the ledger says.
#[derive(Debug)]
pub enum Report {
    /// It is this node's turn. This is what was done before.
    Taken(Vec<Turn>),
    Saved,
    /// None of the changes was saved.
    Refused,
    /// The outcome is not known yet. A later report has the turn if it was saved.
    Unsure,
    /// Others have done this.
    Heard(Vec<Turn>),
    /// It can't be reached.
    Down,
    /// It can be reached again. Others have done this meanwhile.
    Up(Vec<Turn>),
    /// What was known does not hold, or this node was taken for lost: this is where it starts anew.
    Anew(Box<Registry>),
}

/// What has become of a name that was to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The key that had the name, if one had it.
    Done(Option<PublicKey>),
    NotSaved,
    /// It may have been saved.
    Unsure,
}

#[derive(Debug, Default)]
pub struct Effects {
    pub order: Option<Order>,
    pub actions: Vec<Action>,
    /// Which sessions have registered, and how many messages each registration has led to.
    pub registrations: Vec<(ConnectionId, usize)>,
    /// In the order in which it was asked for.
    pub released: Vec<Released>,
}

#[derive(Debug)]
pub struct Turns {
    registry: Registry,
    waiting: VecDeque<Work>,
    /// What is for this node's turn, in the order in which it came.
    held: VecDeque<Work>,
    /// The sessions of which something is held.
    holding: HashSet<ConnectionId>,
    /// Whether something has become due that leads to changes.
    tick_held: bool,
    /// Whether the ledger is to be told which sessions there are.
    announce: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// This node has no turn, and wants none.
    Idle,
    Asked,
    Giving(Decided),
    Down,
}

/// What was decided on the first ones of those that are held.
#[derive(Debug, Default)]
struct Decided {
    decisions: Decisions,
    count: usize,
    registrations: Vec<(ConnectionId, usize)>,
    released: Vec<Released>,
}

impl Turns {
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            holding: HashSet::new(),
            tick_held: false,
            announce: false,
            state: State::Idle,
        }
    }

    pub fn take(&mut self, work: Work) {
        self.waiting.push_back(work);
    }

    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether nothing more is to be taken before the ledger has said something.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH || self.held.len() >= MAX_HELD
    }

    /// Whether [`step`](Self::step) has something to do at once.
    pub fn is_ready(&self) -> bool {
        match self.state {
            State::Giving(_) => false,
            State::Idle => !self.waiting.is_empty() || self.wants_turn(),
            State::Asked | State::Down => !self.waiting.is_empty(),
        }
    }

    /// Whether a turn was given of which the ledger has not said anything.
    pub const fn is_giving(&self) -> bool {
        matches!(self.state, State::Giving(_))
    }

    /// When [`step`](Self::step) is due, although nothing has arrived.
    pub fn deadline(&self) -> Option<Instant> {
        let is_held = self.is_giving() || self.tick_held;
        self.registry.deadline().filter(|_| !is_held)
    }

    /// Goes on with what has arrived, as far as that can be. With `tick` also with what has become due.
    pub fn step(&mut self, now: Now, tick: bool, draw: &mut impl Draw, effects: &mut Effects) {
        match self.state {
            State::Giving(_) => {}
            State::Down => self.decide_down(now, tick, draw, effects),
            State::Idle if self.registry.is_alone() => {
                self.held.append(&mut self.waiting);
                self.tick_held = tick;
                self.decide_turn(now, draw, effects);
            }
            State::Idle | State::Asked => {
                self.look(now, tick, draw, effects);
                if self.wants_turn() && matches!(self.state, State::Idle) {
                    self.state = State::Asked;
                    effects.order = Some(Order::Take);
                }
            }
        }
    }

    /// Goes on after the ledger has said something.
    pub fn report(&mut self, report: Report, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        match report {
            Report::Taken(turns) if matches!(self.state, State::Down) => {
                self.apply(&turns, now, effects);
                effects.order = Some(Order::RollBack);
            }
            Report::Taken(turns) => {
                self.apply(&turns, now, effects);
                self.decide_turn(now, draw, effects);
            }
            Report::Heard(turns) => {
                // Others have had a turn since this one's: it came too late, and the ledger will say so.
                if self.is_giving() {
                    self.take_back();
                    self.state = State::Asked;
                }
                self.apply(&turns, now, effects);
            }
            Report::Saved => {
                if let State::Giving(decided) = std::mem::replace(&mut self.state, State::Idle) {
                    self.finish(decided, draw, effects);
                }
            }
            Report::Refused => {
                let count = self.take_back();
                if !self.registry.is_alone() {
                    self.state = State::Down;
                }
                self.refuse(count, now, draw, effects);
            }
            Report::Down => {
                self.take_back();
                self.state = State::Down;
                self.refuse(usize::MAX, now, draw, effects);
            }
            Report::Unsure => {
                self.take_back();
                self.state = State::Down;
                self.hang_up(now, effects);
            }
            Report::Up(turns) => {
                self.state = State::Idle;
                self.announce = true;
                self.apply(&turns, now, effects);
            }
            Report::Anew(registry) => {
                self.take_back();
                self.hang_up(now, effects);
                let mut decisions = Decisions::default();
                self.registry.end_all(now, &mut decisions);
                effects.actions.append(&mut decisions.actions);
                self.registry = *registry;
                self.state = State::Idle;
                self.announce = true;
            }
        }
    }

    fn wants_turn(&self) -> bool {
        !self.held.is_empty() || self.tick_held || self.announce
    }

    fn apply(&mut self, turns: &[Turn], now: Now, effects: &mut Effects) {
        let mut decisions = Decisions::default();
        for turn in turns {
            self.registry.apply(&turn.changes, now, &mut decisions);
        }
        self.registry.commit();
        effects.actions.append(&mut decisions.actions);
    }

    /// Answers what leads to no changes, and keeps what does for this node's turn.
    fn look(&mut self, now: Now, tick: bool, draw: &mut impl Draw, effects: &mut Effects) {
        while let Some(work) = self.waiting.pop_front() {
            let session = work.session();
            let is_held = session.is_none_or(|session| self.holding.contains(&session));
            let mut decided = Decided::default();
            if !is_held {
                self.decide(&work, now, Saving::Available, &mut decided);
            }
            if is_held || decided.needs_turn() {
                self.registry.rollback();
                self.holding.extend(session);
                self.held.push_back(work);
            } else {
                self.tell(decided, draw, effects);
            }
        }
        if tick && !self.tick_held {
            let mut decided = Decided::default();
            self.registry.tick(now, Saving::Available, &mut decided.decisions);
            self.tick_held = decided.needs_turn();
            if self.tick_held {
                self.registry.rollback();
            } else {
                self.tell(decided, draw, effects);
            }
        }
    }

    /// It is this node's turn, and all that was done before is known.
    fn decide_turn(&mut self, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        let mut decided = Decided::default();
        if self.announce {
            self.registry.announce(now, &mut decided.decisions);
        }
        self.decide_held(BATCH, now, Saving::Available, &mut decided);
        decided.decisions.introduce(|action| action.is_passed_on(), draw);
        let changes = std::mem::take(&mut decided.decisions.changes);
        if changes.is_empty() {
            effects.order = (!self.registry.is_alone()).then_some(Order::RollBack);
            self.state = State::Idle;
            self.finish(decided, draw, effects);
        } else {
            effects.order = Some(Order::Give(changes));
            self.state = State::Giving(decided);
        }
    }

    /// Decides on at most so many of those that are held, and on what is due once all of them are decided on.
    fn decide_held(&mut self, most: usize, now: Now, saving: Saving, decided: &mut Decided) {
        let held = std::mem::take(&mut self.held);
        for work in held.iter().take(most) {
            if decided.decisions.actions.len() >= MAX_ACTIONS {
                break;
            }
            self.decide(work, now, saving, decided);
            decided.count += 1;
        }
        if self.tick_held && decided.count == held.len() {
            self.registry.tick(now, saving, &mut decided.decisions);
        }
        self.held = held;
    }

    fn decide(&mut self, work: &Work, now: Now, saving: Saving, decided: &mut Decided) {
        let decisions = &mut decided.decisions;
        match work {
            Work::Event(event) => {
                let before = decisions.actions.len();
                self.registry.handle(event, now, saving, decisions);
                if let Event::Message { session, message: ToDiscovery::Register(_) } = event {
                    decided.registrations.push((*session, decisions.actions.len() - before));
                }
            }
            Work::Release(name) => decided.released.push(match saving {
                Saving::Available => Released::Done(self.registry.release(name, now, decisions)),
                Saving::Unavailable => Released::NotSaved,
            }),
            // Where it can't be saved now, it is decided anew later.
            Work::Nodes(change) => {
                if saving == Saving::Available {
                    self.registry.change_nodes(change, now, decisions);
                }
            }
        }
    }

    /// Decides without changes on the first ones of those that are held.
    fn refuse(&mut self, count: usize, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        let mut decided = Decided::default();
        self.decide_held(count, now, Saving::Unavailable, &mut decided);
        self.finish(decided, draw, effects);
    }

    fn decide_down(&mut self, now: Now, tick: bool, draw: &mut impl Draw, effects: &mut Effects) {
        self.held.append(&mut self.waiting);
        self.tick_held = tick;
        self.refuse(usize::MAX, now, draw, effects);
    }

    /// Takes back what was given and is not saved. Returns on how many of those that are held it was decided.
    fn take_back(&mut self) -> usize {
        self.registry.rollback();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Giving(decided) => decided.count,
            State::Idle | State::Asked | State::Down => 0,
        }
    }

    /// Ends the sessions of which something is held: what becomes of that is not known, and their clients ask again.
    fn hang_up(&mut self, now: Now, effects: &mut Effects) {
        let mut decisions = Decisions::default();
        for work in std::mem::take(&mut self.held) {
            match work {
                Work::Event(Event::Opened { session, key, from }) => {
                    let opened = Event::Opened { session, key, from };
                    self.registry.handle(&opened, now, Saving::Unavailable, &mut decisions);
                }
                Work::Release(_) => effects.released.push(Released::Unsure),
                Work::Event(_) | Work::Nodes(_) => {}
            }
        }
        let mut sessions: Vec<_> = self.holding.drain().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.registry.handle(&Event::Closed { session }, now, Saving::Unavailable, &mut decisions);
        }
        self.registry.commit();
        self.tick_held = false;
        effects.actions.append(&mut decisions.actions);
    }

    /// What was decided on the first ones of those that are held is saved, or needs not be.
    fn finish(&mut self, decided: Decided, draw: &mut impl Draw, effects: &mut Effects) {
        self.held.drain(..decided.count.min(self.held.len()));
        if self.held.is_empty() {
            self.tick_held = false;
        }
        if !self.registry.is_alone() {
            self.holding = self.held.iter().filter_map(Work::session).collect();
        }
        self.announce &= matches!(self.state, State::Down);
        self.tell(decided, draw, effects);
    }

    fn tell(&mut self, mut decided: Decided, draw: &mut impl Draw, effects: &mut Effects) {
        self.registry.commit();
        decided.decisions.introduce(|_| true, draw);
        effects.actions.append(&mut decided.decisions.actions);
        effects.registrations.append(&mut decided.registrations);
        effects.released.append(&mut decided.released);
    }
}

impl Decided {
    fn needs_turn(&self) -> bool {
        self.decisions.takes_turn || !self.decisions.changes.is_empty()
    }
}

#[cfg(test)]
mod tests;
