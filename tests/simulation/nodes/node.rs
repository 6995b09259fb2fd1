//! A node, and its loop, as `discovery::server` has it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fastrand::Rng;
use peerchat::accounts::ledger::Turn;
use peerchat::accounts::{self, Change, NodeId};
use peerchat::discovery::members::Members;
use peerchat::discovery::registry::{Action, Event as Heard, Registry, Side};
use peerchat::discovery::turns::{Draw, Effects, Order, Released, Report, Turns, Work};
use peerchat::protocol::rendezvous::{RefusedCode, TOKEN, ToDiscovery};
use peerchat::protocol::{Name, PING_AFTER};
use peerchat::time::{Now, millis};
use peerchat::transport::ConnectionId;

use crate::ledger::Rows;

use super::super::world::moment;
use super::check::Source;
use super::clerk::Clerk;
use super::lookout::LOOK_EVERY;
use super::mutation::Mutation;
use super::world::{Event, FromClient, FromNode, Life, World};

/// A loop that was late by this much can't tell which sessions were silent meanwhile.
const LATE: u64 = 1000;

/// Something for a node's loop.
pub enum Input {
    Work(Box<Work>),
    Report(Report),
    /// The number of the last turn, what the ledger holds then, and what comes of it.
    Anew(NodeId, usize, Box<(Registry, Rows)>),
}

pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    pub lives: u64,
    pub run: Option<Run>,
    /// Whether it can't reach the engine.
    pub parted: bool,
    pub paused: u64,
    pub skew: i64,
    /// What its version reads.
    reads: i32,
}

pub struct Run {
    pub life: Life,
    pub id: NodeId,
    started: u64,
    /// None until everything was loaded.
    pub turns: Option<Turns>,
    pub members: Members,
    /// Whether the others could be looked at the last time.
    pub is_connected: bool,
    pub clerk: Clerk,
    inbox: VecDeque<Input>,
    scheduled: Option<u64>,
    grace_until: u64,
    draw: Drawn,
    pub releasing: VecDeque<Name>,
    /// What the ledger holds, as far as this node was told, what it held before the last report, and the changes between.
    pub shadow: Rows,
    pub before: Rows,
    pub recent: Vec<Change>,
    /// The number of the last turn that it was told.
    pub known: usize,
    giving: Vec<Change>,
    /// How often it was told that it can go on.
    starts: u64,
    /// What broken laws remember.
    withheld: Vec<Turn>,
    swallow: bool,
}

pub struct Drawn {
    rng: Rng,
    address: SocketAddr,
}

impl Draw for Drawn {
    fn token(&mut self) -> Option<[u8; TOKEN]> {
        Some([self.rng.u8(..); TOKEN])
    }

    fn tickets(&mut self, _: &[Side; 2]) -> Result<Option<[[u8; TOKEN]; 2]>, RefusedCode> {
        match self.rng.u32(0..5) {
            0 => Err(RefusedCode::RELAY_FULL),
            1 => Ok(None),
            _ => Ok(Some([[self.rng.u8(..); TOKEN], [self.rng.u8(..); TOKEN]])),
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Node {
    pub fn new(number: usize, rng: &mut Rng) -> Self {
        let address = SocketAddr::from(([192, 0, 2, 1], 4000 + number as u16));
        let skew = rng.i64(-100_000..100_000);
        let (name, reads) = (format!("n{number}"), Change::READS);
        Self { name, address, lives: 0, run: None, parted: false, paused: 0, skew, reads }
    }

    pub fn is_alive(&self, life: Life) -> bool {
        self.run.as_ref().is_some_and(|run| run.life == life)
    }
}

impl World {
    /// Until when this life of a node does nothing, if it is stopped.
    pub fn paused(&self, life: Life) -> Option<u64> {
        let node = &self.nodes[life.0];
        Some(node.paused).filter(|until| *until > self.now && node.is_alive(life))
    }

    pub fn start_node(&mut self, number: usize) {
        if self.nodes[number].run.is_some() {
            return;
        }
        let draw = Drawn { rng: self.rng.fork(), address: self.nodes[number].address };
        let is_older = self.rng.u32(0..4) == 0;
        let node = &mut self.nodes[number];
        node.reads = if is_older { Change::READ_BY_ALL } else { Change::READS };
        node.lives += 1;
        node.paused = 0;
        let life = (number, node.lives);
        node.run = Some(Run {
            life,
            id: 0,
            started: self.now,
            turns: None,
            members: Members::default(),
            is_connected: false,
            clerk: Clerk::default(),
            inbox: VecDeque::new(),
            scheduled: None,
            grace_until: 0,
            draw,
            releasing: VecDeque::new(),
            shadow: Rows::default(),
            before: Rows::default(),
            recent: Vec::new(),
            known: 0,
            giving: Vec::new(),
            starts: 0,
            withheld: Vec::new(),
            swallow: false,
        });
        self.note(|| format!("node {number} starts"));
        self.add_model(life);
        self.join(life);
        self.after(250, Event::Poll(life));
        self.after(LOOK_EVERY, Event::Look(life));
    }

    /// A node is gone, with all that it held in memory. Its clients notice soon, or late.
    pub fn kill(&mut self, number: usize) {
        let Some(Run { life, .. }) = self.nodes[number].run.take() else {
            return;
        };
        self.note(|| format!("node {number} is killed"));
        let conns = self.conns.iter().filter(|(_, conn)| conn.node == life && conn.open[1]);
        for id in conns.map(|(id, _)| *id).collect::<Vec<_>>() {
            let silent = self.rng.u32(0..4) == 0;
            self.transmit(id, 1, Event::AtClient(id, FromNode::Closed));
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.open[1] = false;
                conn.silent |= silent;
            }
        }
        if let Some(link) = self.link_of(life) {
            let linger = if self.rng.bool() { self.rng.u64(0..20) } else { self.rng.u64(0..8000) };
            self.after(linger, Event::Broken(link));
        }
    }

    pub fn clock(&self, run: &Run) -> Now {
        let mono = moment(self.now - run.started);
        Now { mono, wall: 1_000_000_000_000 + self.now as i64 + self.nodes[run.life.0].skew }
    }

    /// Something for a node's loop.
    pub fn hand(&mut self, life: Life, input: Input) {
        let delay = self.rng.u64(0..3);
        if let Some(run) = self.nodes[life.0].run.as_mut().filter(|run| run.life == life) {
            run.inbox.push_back(input);
            self.wake_loop(life, self.now + delay);
        }
    }

    fn wake_loop(&mut self, life: Life, at: u64) {
        let at = at.max(self.now);
        if let Some(run) = self.nodes[life.0].run.as_mut().filter(|run| run.life == life)
            && run.scheduled.is_none_or(|scheduled| scheduled > at)
        {
            run.scheduled = Some(at);
            self.schedule(at, Event::Step(life));
        }
    }

    pub fn at_node(&mut self, id: ConnectionId, what: FromClient) {
        let dial_ignored = self.is(Mutation::DialIgnored);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.open[1]) else {
            return;
        };
        let (life, key, from) = (conn.node, conn.key, conn.from);
        let event = match what {
            FromClient::Opened => Heard::Opened { session: id, key, from },
            FromClient::Says(mut message) => {
                conn.questions.iter_mut().find(|question| !question.arrived).into_iter().for_each(|it| {
                    it.arrived |= super::client::question(&message).is_some();
                });
                if let ToDiscovery::Register(register) = &mut message
                    && dial_ignored
                {
                    register.dial = 0;
                }
                Heard::Message { session: id, message }
            }
            FromClient::Closed => {
                conn.open[1] = false;
                Heard::Closed { session: id }
            }
        };
        self.hand(life, Input::Work(Box::new(Work::Event(event))));
    }

    /// The loop of a node.
    pub fn step(&mut self, life: Life) {
        if let Some(resumes) = self.paused(life) {
            return self.schedule(resumes, Event::Step(life));
        }
        let now = self.now;
        let Some(run) = self.nodes[life.0].run.as_mut().filter(|run| run.life == life) else {
            return;
        };
        let Some(scheduled) = run.scheduled.filter(|at| *at <= now) else {
            return;
        };
        run.scheduled = None;
        if now - scheduled > LATE {
            run.grace_until = now + millis(PING_AFTER) + 1000;
        }
        let mut reports = 0;
        while let Some(run) = &mut self.nodes[life.0].run
            && reports == 0
            && let Some(input) = run.inbox.pop_front()
        {
            match input {
                Input::Work(work) => {
                    if let Some(turns) = &mut run.turns {
                        turns.take(*work);
                    }
                }
                Input::Report(report) => {
                    reports += 1;
                    self.hear(life, report);
                }
                Input::Anew(id, known, loaded) => {
                    reports += 1;
                    self.begin(life, id, known, *loaded);
                }
            }
        }
        self.go_on(life);
    }

    fn go_on(&mut self, life: Life) {
        let Some(run) = &self.nodes[life.0].run else {
            return;
        };
        let (clock, tick) = (self.clock(run), self.now >= run.grace_until);
        let mut effects = Effects::default();
        let Some(Run { turns: Some(turns), draw, .. }) = &mut self.nodes[life.0].run else {
            return;
        };
        turns.step(clock, tick, draw, &mut effects);
        self.carry_out(life, effects, Source::Step);
        self.check_memory(life);
        let Some(Run { turns: Some(turns), inbox, started, grace_until, .. }) = &self.nodes[life.0].run
        else {
            return;
        };
        let due = turns.deadline().map(|at| (millis(at.since_start()) + started).max(*grace_until));
        if !inbox.is_empty() || turns.is_ready() {
            self.wake_loop(life, self.now + 1);
        } else if let Some(due) = due {
            self.wake_loop(life, due.max(self.now + 1));
        }
    }

    /// A node starts with what was loaded, or starts anew with it.
    fn begin(&mut self, life: Life, id: NodeId, known: usize, (registry, rows): (Registry, Rows)) {
        self.note(|| format!("node {} is {id}", life.0));
        self.oracle.ids.insert(id, life.0);
        let Some(run) = &mut self.nodes[life.0].run else {
            return;
        };
        (run.id, run.known) = (id, known);
        (run.shadow, run.before, run.recent) = (rows.clone(), rows, Vec::new());
        run.giving.clear();
        run.starts += 1;
        if run.turns.is_some() {
            self.stats.add("everything loaded anew");
            self.report(life, Report::Anew(Box::new(registry)), Source::Anew);
        } else {
            run.turns = Some(Turns::new(registry));
        }
        self.introduce(life);
        self.check_memory(life);
    }

    /// Has the others told that this node is there.
    fn introduce(&mut self, life: Life) {
        let Node { name, address, reads, run: Some(Run { id, turns: Some(turns), .. }), .. } =
            &mut self.nodes[life.0]
        else {
            return;
        };
        let node =
            accounts::Node { id: *id, name: name.clone(), address: *address, lost: false, reads: *reads };
        turns.take(Work::Nodes(Change::AddNode { node }));
    }

    /// Notes what a report says, and passes it on: as it is, or as a broken law has it.
    fn hear(&mut self, life: Life, report: Report) {
        let mutation = self.mutation;
        let Some(run) = &mut self.nodes[life.0].run else {
            return;
        };
        let source = match &report {
            Report::Taken(turns) | Report::Read(turns) | Report::Heard(turns) | Report::Up(turns) => {
                run.learn(turns.iter().flat_map(|turn| turn.changes.iter().cloned()).collect());
                if let Some(last) = turns.last() {
                    run.known = last.number as usize;
                }
                let answers = matches!(report, Report::Taken(_) | Report::Read(_));
                if answers { Source::Turn } else { Source::Heard }
            }
            Report::Saved => {
                let given = std::mem::take(&mut run.giving);
                run.learn(given);
                run.known += 1;
                Source::Turn
            }
            Report::Refused | Report::Unsure | Report::Down | Report::Anew(_) => {
                run.learn(Vec::new());
                Source::Turn
            }
        };
        let own = Turn { number: 0, id: [0; 16], node: run.id, changes: run.recent.clone() };
        let is_up = matches!(report, Report::Up(_));
        run.starts += u64::from(is_up);
        let withheld = std::mem::take(&mut run.withheld);
        let reports = match (mutation, report) {
            (Some(Mutation::ActBeforeCommit), Report::Saved) => vec![],
            (Some(Mutation::NoCatchUp), Report::Taken(turns)) => {
                run.withheld = turns;
                vec![Report::Taken(Vec::new())]
            }
            (Some(Mutation::NoCatchUp), other) => vec![other, Report::Heard(withheld)],
            (Some(Mutation::OwnEcho), Report::Saved) => vec![Report::Saved, Report::Heard(vec![own])],
            (Some(Mutation::RefusedForgotten), Report::Refused) => {
                run.swallow = true;
                vec![]
            }
            (Some(Mutation::UnsureAsSaved), Report::Unsure) => {
                run.swallow = true;
                vec![Report::Saved]
            }
            (_, Report::Down) if std::mem::take(&mut run.swallow) => vec![],
            (Some(Mutation::UnsureAsRefused), Report::Unsure) => vec![Report::Refused],
            (_, other) => vec![other],
        };
        for report in reports {
            self.report(life, report, source);
        }
        if is_up && mutation != Some(Mutation::IntroducedOnce) {
            self.introduce(life);
        }
        self.check_memory(life);
    }

    fn report(&mut self, life: Life, report: Report, source: Source) {
        self.note(|| {
            let what = format!("{report:?}");
            format!("node {} hears {}", life.0, what.get(..what.len().min(600)).unwrap_or_default())
        });
        self.check_refusal(life, &report);
        let Some(run) = &self.nodes[life.0].run else {
            return;
        };
        let clock = self.clock(run);
        let mut effects = Effects::default();
        let Some(Run { turns: Some(turns), draw, .. }) = &mut self.nodes[life.0].run else {
            return;
        };
        turns.report(report, clock, draw, &mut effects);
        self.carry_out(life, effects, source);
    }

    fn carry_out(&mut self, life: Life, effects: Effects, source: Source) {
        let Effects { order, actions, registrations: _, released } = effects;
        self.check_told(life, &actions, source);
        for action in actions {
            match action {
                Action::Send { session, message } => {
                    self.note(|| format!("node {} tells {session}: {message:?}", life.0));
                    self.transmit(session, 1, Event::AtClient(session, FromNode::Says(message)));
                }
                Action::Close { session } => {
                    self.note(|| format!("node {} closes {session}", life.0));
                    if let Some(conn) = self.conns.get_mut(&session) {
                        conn.open[1] = false;
                    }
                    self.transmit(session, 1, Event::AtClient(session, FromNode::Closed));
                }
                Action::Punch { .. } | Action::Relay { .. } => {
                    self.violated(|| "something was not drawn".into());
                }
            }
        }
        for released in released {
            self.released(life, released);
        }
        let Some(order) = order else {
            return;
        };
        let early = self.is(Mutation::ActBeforeCommit) && matches!(order, Order::Give(_));
        if let Some(run) = &mut self.nodes[life.0].run {
            if let Order::Give(changes) = &order {
                run.giving = changes.clone();
            }
            run.clerk.orders.push_back((run.starts, order));
        }
        let delay = self.rng.u64(0..3);
        self.after(delay, Event::Clerk(life));
        if early {
            self.report(life, Report::Saved, Source::Turn);
        }
    }

    fn released(&mut self, life: Life, released: Released) {
        let name = self.nodes[life.0].run.as_mut().and_then(|run| run.releasing.pop_front());
        if let (Some(name), Released::Done(Some(key))) = (name, released) {
            self.note(|| format!("{name} was released"));
            self.stats.fault("name released");
            self.oracle.released(name, key, self.now);
        }
    }
}

impl Run {
    /// The ledger has this on top of what was known.
    fn learn(&mut self, changes: Vec<Change>) {
        self.before = self.shadow.clone();
        changes.iter().for_each(|change| self.shadow.apply(change));
        self.recent = changes;
    }
}
