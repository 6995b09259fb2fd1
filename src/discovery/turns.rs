//! What comes when: it leads what has arrived through the registry and the ledger, and says what may be done.
//!
//! A plain state machine. What has arrived goes in with [`Turns::take`]; [`Turns::step`] and the ledger's
//! [reports](Report) return [`Effects`]: an order to the ledger, and what may be told now, for it is saved.
//!
//! A discovery that is alone with its ledger decides on all that waits, has the changes saved, and acts. One that shares
//! it first looks what each thing [needs](Needs). Most is answered at once, from memory. What depends on what others may
//! have done just before waits until the ledger was read, and what leads to changes waits for this node's turn. What its
//! session says after it waits as well. While the ledger can't be reached, changes are refused, and so is what waits for
//! a read. Everything else goes on.
//!
//! At most one order is under way. A read counts for what came before it was ordered and for nothing else: only then has
//! it begun after the question. A turn begins with a read, so it counts for these as well.

use std::collections::VecDeque;

use super::registry::{Action, Decisions, Event, Needs, Registry, Saving};
use crate::accounts::Change;
use crate::accounts::ledger::Turn;
use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::{Name, PublicKey};
use crate::time::{Instant, Now};
use crate::transport::ConnectionId;
use crate::undo::Transactional;

pub use introduce::Draw;
use queue::Queue;

mod introduce;
mod queue;

/// How many events one turn may hold; what arrived together in one frame is not torn apart.
const BATCH: usize = 1024;
/// How much may wait for the ledger; readers wait when it is more.
const MAX_HELD: usize = 64 * BATCH;
/// No further event is decided on at once where so many actions have come of others.
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
    /// To read what others have done, without a turn.
    Read,
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
    /// What others have done up to some moment after the order.
    Read(Vec<Turn>),
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
    /// What is to be decided on once the ledger was read.
    doubtful: Queue,
    /// What is for this node's turn. A session has something in one of the two at most.
    held: Queue,
    /// Whether something has become due that leads to changes.
    tick_held: bool,
    /// Whether the ledger is to be told which sessions there are.
    announce: bool,
    /// When the ledger was found away or full, until it has taken what this node had to say.
    away_since: Option<Instant>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// This node has no turn, and wants none.
    Idle,
    /// The ledger is being read for the first ones of what is doubtful, so many as were there when it was ordered.
    Reading(usize),
    /// A turn was asked for, when so many of what is doubtful were there.
    Asked(usize),
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
            doubtful: Queue::default(),
            held: Queue::default(),
            tick_held: false,
            announce: false,
            away_since: None,
            state: State::Idle,
        }
    }

    pub fn take(&mut self, work: Work) {
        self.waiting.push_back(work);
    }

    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Since when changes are refused because a ledger that is shared does not take them.
    pub const fn away_since(&self) -> Option<Instant> {
        self.away_since
    }

    /// Whether nothing more is to be taken before the ledger has said something.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH || self.doubtful.len() + self.held.len() >= MAX_HELD
    }

    /// Whether [`step`](Self::step) has something to do at once.
    pub fn is_ready(&self) -> bool {
        match self.state {
            State::Giving(_) => false,
            State::Idle => !self.waiting.is_empty() || !self.doubtful.is_empty() || self.wants_turn(),
            State::Reading(_) | State::Asked(_) | State::Down => !self.waiting.is_empty(),
        }
    }

    /// Whether the ledger is about to answer.
    pub const fn awaits_ledger(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Asked(_) | State::Giving(_))
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
                self.hold_waiting();
                self.tick_held = tick;
                self.decide_turn(now, draw, effects);
            }
            State::Idle | State::Reading(_) | State::Asked(_) => {
                self.look(now, tick, draw, effects);
                self.order(effects);
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
                self.review(now, draw, effects);
                self.decide_turn(now, draw, effects);
            }
            Report::Read(turns) => {
                self.hear(&turns, now, effects);
                if matches!(self.state, State::Reading(_)) {
                    self.review(now, draw, effects);
                    self.state = State::Idle;
                }
            }
            Report::Heard(turns) => self.hear(&turns, now, effects),
            Report::Saved => {
                self.away_since = None;
                if let State::Giving(decided) = std::mem::replace(&mut self.state, State::Idle) {
                    self.finish(decided, draw, effects);
                }
            }
            Report::Refused => {
                let count = self.take_back();
                if !self.registry.is_alone() {
                    self.go_down(now);
                }
                self.refuse(count, now, draw, effects);
            }
            Report::Down => {
                self.take_back();
                self.go_down(now);
                self.refuse(usize::MAX, now, draw, effects);
            }
            Report::Unsure => {
                self.take_back();
                self.go_down(now);
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

    fn go_down(&mut self, now: Now) {
        self.state = State::Down;
        self.away_since.get_or_insert(now.mono);
    }

    fn wants_turn(&self) -> bool {
        !self.held.is_empty() || self.tick_held || self.announce
    }

    fn hear(&mut self, turns: &[Turn], now: Now, effects: &mut Effects) {
        // Others have had a turn since this one's: it came too late, and the ledger will say so.
        if self.is_giving() {
            self.take_back();
            self.state = State::Asked(0);
        }
        self.apply(turns, now, effects);
    }

    fn apply(&mut self, turns: &[Turn], now: Now, effects: &mut Effects) {
        let mut decisions = Decisions::default();
        for turn in turns {
            self.registry.apply(&turn.changes, now, &mut decisions);
        }
        self.registry.commit();
        effects.actions.append(&mut decisions.actions);
    }

    /// Orders what is waited for, unless something is under way.
    fn order(&mut self, effects: &mut Effects) {
        let doubtful = self.doubtful.len();
        let (state, order) = match self.state {
            State::Idle if self.wants_turn() => (State::Asked(doubtful), Order::Take),
            State::Idle if doubtful > 0 => (State::Reading(doubtful), Order::Read),
            _ => return,
        };
        self.state = state;
        effects.order = Some(order);
    }

    /// Looks at what has arrived, and at what is due.
    fn look(&mut self, now: Now, tick: bool, draw: &mut impl Draw, effects: &mut Effects) {
        while let Some(work) = self.waiting.pop_front() {
            self.look_at(work, false, now, draw, effects);
        }
        if tick && !self.tick_held {
            let mut decided = Decided::default();
            self.registry.tick(now, Saving::Available, &mut decided.decisions);
            self.tick_held = decided.needs() != Needs::Nothing;
            if self.tick_held {
                self.registry.rollback();
            } else {
                self.tell(decided, draw, effects);
            }
        }
    }

    /// Looks again at what is doubtful, for the ledger was read.
    fn review(&mut self, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        let (State::Reading(read) | State::Asked(read)) = self.state else {
            return;
        };
        for (number, work) in self.doubtful.take().into_iter().enumerate() {
            self.look_at(work, number < read, now, draw, effects);
        }
    }

    /// Answers what needs nothing more, and keeps what does. `is_read` says whether the ledger was read since it came.
    fn look_at(&mut self, work: Work, is_read: bool, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        let session = work.session();
        if session.is_none_or(|session| self.held.holds(session)) {
            return self.held.push(work);
        }
        let is_behind = session.is_some_and(|session| self.doubtful.holds(session));
        if is_behind || effects.actions.len() >= MAX_ACTIONS {
            return self.doubtful.push(work);
        }
        let mut decided = Decided::default();
        self.decide(&work, now, Saving::Available, &mut decided);
        match decided.needs() {
            Needs::Read if !is_read => self.doubtful.push(work),
            Needs::Turn => self.held.push(work),
            Needs::Nothing | Needs::Read => return self.tell(decided, draw, effects),
        }
        self.registry.rollback();
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
            (self.state, self.away_since) = (State::Idle, None);
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

    fn hold_waiting(&mut self) {
        self.waiting.drain(..).for_each(|work| self.held.push(work));
    }

    /// What is doubtful shares the fate of what is held.
    fn hold_doubtful(&mut self) {
        self.doubtful.take().into_iter().for_each(|work| self.held.push(work));
    }

    /// Decides without changes on the first ones of those that are held. The ledger is away, and is read for nothing.
    fn refuse(&mut self, count: usize, now: Now, draw: &mut impl Draw, effects: &mut Effects) {
        self.hold_doubtful();
        let mut decided = Decided::default();
        self.decide_held(count, now, Saving::Unavailable, &mut decided);
        self.finish(decided, draw, effects);
    }

    fn decide_down(&mut self, now: Now, tick: bool, draw: &mut impl Draw, effects: &mut Effects) {
        self.hold_waiting();
        self.tick_held = tick;
        self.refuse(usize::MAX, now, draw, effects);
    }

    /// Takes back what was given and is not saved. Returns on how many of those that are held it was decided.
    fn take_back(&mut self) -> usize {
        self.registry.rollback();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Giving(decided) => decided.count,
            State::Idle | State::Reading(_) | State::Asked(_) | State::Down => 0,
        }
    }

    /// Ends the sessions of which something waits: what becomes of that is not known, and their clients ask again.
    fn hang_up(&mut self, now: Now, effects: &mut Effects) {
        self.hold_doubtful();
        let mut decisions = Decisions::default();
        let held = self.held.take();
        let mut sessions: Vec<_> = held.iter().filter_map(Work::session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        for work in held {
            match work {
                Work::Event(Event::Opened { session, key, from }) => {
                    let opened = Event::Opened { session, key, from };
                    self.registry.handle(&opened, now, Saving::Unavailable, &mut decisions);
                }
                Work::Release(_) => effects.released.push(Released::Unsure),
                Work::Event(_) | Work::Nodes(_) => {}
            }
        }
        for session in sessions {
            self.registry.handle(&Event::Closed { session }, now, Saving::Unavailable, &mut decisions);
        }
        self.registry.commit();
        self.tick_held = false;
        effects.actions.append(&mut decisions.actions);
    }

    /// What was decided on the first ones of those that are held is saved, or needs not be.
    fn finish(&mut self, decided: Decided, draw: &mut impl Draw, effects: &mut Effects) {
        self.held.drop_first(decided.count);
        if self.held.is_empty() {
            self.tick_held = false;
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
    fn needs(&self) -> Needs {
        if self.decisions.changes.is_empty() { self.decisions.needs } else { Needs::Turn }
    }
}

#[cfg(test)]
mod tests;
