//! What there is, and what happens when.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use fastrand::Rng;
use peerchat::protocol::rendezvous::{ToClient, ToDiscovery};
use peerchat::protocol::{Name, PublicKey};
use peerchat::transport::ConnectionId;

use crate::ledger::Truth;

use super::super::seeds::Stats;
use super::client::Client;
use super::engine::{Call, Engine, Reply};
use super::mutation::Mutation;
use super::node::Node;
use super::oracle::Oracle;

/// One life of one node.
pub type Life = (usize, u64);

/// What happens at a moment.
#[derive(Debug)]
pub enum Event {
    /// Something of a client has reached its node.
    AtNode(ConnectionId, FromClient),
    AtClient(ConnectionId, FromNode),
    /// A node's loop goes on.
    Step(Life),
    /// A node's ledger thread looks what there is to do.
    Clerk(Life),
    Poll(Life),
    Wake(Life),
    /// A node looks at the others.
    Look(Life),
    /// A call has reached the engine.
    Called(Life, u64, Call),
    /// What the engine says to a call has reached the node.
    Replied(Life, u64, Box<Reply>),
    /// The engine ends what waits for too long for a lock, or is ready with a commit.
    LockTimeout(u64, u64),
    Committed(u64),
    Broken(u64),
    Start(usize),
    EngineFails(bool),
    EngineUp,
    Reconnect(usize),
    Tick(usize),
    Dial(usize),
    Act(usize),
    Release,
    Fault,
}

#[derive(Debug)]
pub enum FromClient {
    Opened,
    Says(ToDiscovery),
    Closed,
}

#[derive(Debug)]
pub enum FromNode {
    Says(ToClient),
    Closed,
}

/// What the seed decides. Times are in milliseconds.
pub struct Plan {
    pub nodes: usize,
    pub clients: usize,
    pub duration: u64,
    pub fault_gap: u64,
    pub act_gap: u64,
    pub release_gap: u64,
    /// How slow the engine is.
    pub latency: u64,
    /// How often in 1000 a commit is refused or unsure, and a wake-up late, lost or doubled.
    pub refused: u32,
    pub unsure: u32,
    pub bad_wake: u32,
    /// Whether names are few, so that many want the same.
    pub contested: bool,
}

pub enum Asked {
    Register,
    Ask(Name),
    Whose(PublicKey),
    Ping,
}

pub struct Question {
    pub what: Asked,
    pub at: u64,
    pub arrived: bool,
}

/// A client's connection to a node.
pub struct Conn {
    pub client: usize,
    pub node: Life,
    pub key: PublicKey,
    pub name: Name,
    pub from: SocketAddr,
    pub start: u64,
    pub dial: u32,
    /// Whether the client, and the node, hold it open.
    pub open: [bool; 2],
    /// Nothing gets through any more.
    pub silent: bool,
    pub latency: u64,
    /// When the last thing arrives that is on its way to the node, and to the client.
    pub arrives: [u64; 2],
    pub questions: VecDeque<Question>,
    /// Of whom the client was told.
    pub told: BTreeMap<Name, PublicKey>,
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub plan: Plan,
    pub mutation: Option<Mutation>,
    pub stats: Stats,
    pub verbose: bool,
    pub storm: bool,
    pub truth: Rc<RefCell<Truth>>,
    pub engine: Engine,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub conns: BTreeMap<ConnectionId, Conn>,
    pub oracle: Oracle,
    /// The first law that was found broken.
    pub problem: Option<String>,
    next_conn: ConnectionId,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
}

/// How long everything has to come to rest once the storm is over.
const REST: u64 = 75_000;

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut plan = Plan {
            nodes: rng.usize(2..=4),
            clients: rng.usize(6..=24),
            duration: rng.u64(15_000..45_000),
            fault_gap: rng.u64(300..3000),
            act_gap: rng.u64(300..4000),
            release_gap: rng.u64(3_000..30_000),
            latency: rng.u64(1..30),
            refused: rng.u32(0..20),
            unsure: rng.u32(0..40),
            bad_wake: rng.u32(0..500),
            contested: rng.bool(),
        };
        if let Some(mutation) = mutation {
            mutation.shape(&mut plan);
        }
        let clients = Client::all(&mut rng, &plan);
        let mut world = Self {
            now: 1,
            nodes: (0..plan.nodes).map(|number| Node::new(number, &mut rng)).collect(),
            clients,
            plan,
            rng,
            mutation,
            stats: Stats::default(),
            verbose,
            storm: true,
            truth: Rc::default(),
            engine: Engine::default(),
            conns: BTreeMap::new(),
            oracle: Oracle::default(),
            problem: None,
            next_conn: 1,
            events: BTreeMap::new(),
            next_event: 0,
        };
        for node in 0..world.plan.nodes {
            let at = world.rng.u64(0..500);
            world.schedule(at, Event::Start(node));
        }
        for client in 0..world.plan.clients {
            let [dial, act] = [world.rng.u64(500..4000), world.rng.u64(2000..6000)];
            world.schedule(dial, Event::Dial(client));
            world.schedule(act, Event::Act(client));
            world.schedule(dial + 1000, Event::Tick(client));
        }
        world.schedule(3000, Event::Fault);
        world.schedule(5000, Event::Release);
        world
    }

    pub fn live(&mut self) -> Result<(), String> {
        self.run_until(self.plan.duration)?;
        self.calm();
        self.run_until(self.plan.duration + REST)?;
        self.check_end();
        self.problem.take().map_or(Ok(()), Err)
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
            if let Some(problem) = self.problem.take() {
                return Err(format!("at {}: {problem}", self.now));
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AtNode(conn, what) => self.at_node(conn, what),
            Event::AtClient(conn, what) => self.at_client(conn, what),
            Event::Step(life) => self.step(life),
            Event::Clerk(life) => self.clerk(life),
            Event::Poll(life) => self.poll(life),
            Event::Wake(life) => self.wake(life),
            Event::Look(life) => self.look(life),
            Event::Called(life, number, call) => self.called(life, number, call),
            Event::Replied(life, number, reply) => self.replied(life, number, *reply),
            Event::LockTimeout(link, number) => self.lock_timeout(link, number),
            Event::Committed(link) => self.committed(link),
            Event::Broken(link) => self.break_link(link),
            Event::Start(node) => self.start_node(node),
            Event::EngineFails(fail_over) => self.engine_fails(fail_over),
            Event::EngineUp => self.engine_up(),
            Event::Reconnect(node) => self.nodes[node].parted = false,
            Event::Tick(client) => self.client_ticks(client),
            Event::Dial(client) => self.dial(client),
            Event::Act(client) => self.client_acts(client),
            Event::Release => self.operator_releases(),
            Event::Fault => self.fault(),
        }
    }

    pub fn schedule(&mut self, at: u64, event: Event) {
        self.events.insert((at.max(self.now), self.next_event), event);
        self.next_event += 1;
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.schedule(self.now + delay, event);
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>7} {}", self.now, what());
        }
    }

    pub fn violated(&mut self, what: impl FnOnce() -> String) {
        if self.problem.is_none() {
            self.problem = Some(what());
        }
    }

    /// Whether something that happens so many times in 1000 happens now.
    pub fn chance(&mut self, of_1000: u32) -> bool {
        self.storm && self.rng.u32(0..1000) < of_1000
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub fn new_conn(&mut self, conn: Conn) -> ConnectionId {
        let id = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(id, conn);
        id
    }

    /// Sends something to the node (side 0), or to the client.
    pub fn transmit(&mut self, id: ConnectionId, side: usize, event: Event) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.silent) else {
            return;
        };
        let at = (self.now + conn.latency).max(conn.arrives[side]);
        conn.arrives[side] = at;
        self.schedule(at, event);
    }

    pub fn client_closes(&mut self, id: ConnectionId, silently: bool) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.open[0] = false;
        let client = conn.client;
        if self.clients[client].conn == Some(id) {
            self.clients[client].conn = None;
            self.clients[client].registered = false;
        }
        if !silently {
            self.transmit(id, 0, Event::AtNode(id, FromClient::Closed));
        }
    }
}
