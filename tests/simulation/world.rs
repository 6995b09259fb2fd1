//! One network in one thread: what happens when, in an order that the seed alone decides.

use std::collections::{BTreeMap, HashMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::discovery::registry::Event as Heard;
use peerchat::discovery::relay::rules::LinkId;
use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::TOKEN;
use peerchat::time::{Instant, Now};

use super::client::Client;
use super::dial::Dialling;
use super::mutation::{Broken, Mutation};
use super::oracle::Oracle;
use super::reach::{Joiner, Network, Puncher};
use super::seeds::Stats;
use super::server::Server;
use super::storm::Plan;
use super::wire::{Conn, ConnId, End};

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pid {
    Discovery,
    Client(usize),
}

/// Something that is to happen at some time.
pub enum Event {
    /// A program's loop takes what has arrived.
    Step(Pid),
    /// Something may have arrived at this half of a connection.
    Arrive(ConnId, usize),
    /// A reading thread reports the end of a connection between clients (`true`) or with discovery.
    Over(End, bool),
    /// A handshake is done.
    Up(End, Input),
    /// Discovery sees a handshake done.
    Opened(End, PublicKey, std::net::SocketAddr),
    /// A client's thread tries the next address of a contact.
    Dial(Box<Dialling>),
    /// A client's thread begins to punch.
    Punch(Box<Puncher>),
    /// The other side of a punch has not come.
    PunchOver([u8; TOKEN]),
    /// A punch has led to nothing.
    PunchFailed(Box<Puncher>),
    /// A client's thread shows discovery its ticket.
    Join(Box<Joiner>),
    /// The other side has not come to discovery in time.
    JoinOver(u64, LinkId),
    /// Discovery has not joined a client with another one.
    JoinFailed(Box<Joiner>),
    /// The other side answers.
    Shake(Box<Dialling>, usize, u64),
    /// A client's thread tries to reach discovery.
    DialRendezvous(usize, u64, Option<PublicKey>),
    /// The console of this client has written a batch.
    Print(usize, u64),
    Start(Pid),
    /// The first account is started a second time, on another machine.
    Fork,
    /// Somebody types.
    Type(usize),
    /// Somebody types what they have decided on.
    Command(usize, Command),
    /// A client's disk has room again.
    Room(usize),
    Fault,
}

/// See the module.
pub struct World {
    pub now: u64,
    pub rng: Rng,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub plan: Plan,
    /// Whether faults still happen.
    pub storm: bool,
    pub clients: Vec<Client>,
    pub discovery: Server,
    pub conns: BTreeMap<ConnId, Conn>,
    pub next_conn: u64,
    /// Between whom nothing gets through, until when.
    pub partitions: BTreeMap<(Pid, Pid), u64>,
    /// Those who punch and wait for the other side.
    pub punches: BTreeMap<[u8; TOKEN], Puncher>,
    pub oracle: Oracle,
    pub stats: Stats,
    pub mutation: Option<Mutation>,
    pub broken: Broken,
    violation: Option<String>,
    /// Whether to print what happens.
    pub verbose: bool,
    pub trace: DefaultHasher,
    pub hashing: bool,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng, mutation);
        let mut clients: Vec<Client> =
            (0..plan.clients).map(|number| Client::new(number, &mut rng)).collect();
        if plan.routers {
            clients.iter_mut().for_each(|client| client.network = Network::any(&mut rng));
        }
        let discovery = Server::new(&mut rng);
        Self {
            now: 0,
            rng,
            queue: BTreeMap::new(),
            order: 0,
            storm: true,
            oracle: Oracle::new(&clients),
            plan,
            clients,
            discovery,
            conns: BTreeMap::new(),
            next_conn: 0,
            partitions: BTreeMap::new(),
            punches: BTreeMap::new(),
            stats: Stats::default(),
            mutation,
            broken: Broken::default(),
            violation: None,
            verbose: false,
            trace: DefaultHasher::new(),
            hashing: false,
        }
    }

    pub fn schedule(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), event);
    }

    /// Lets everything happen until `end`, or until a rule is broken.
    pub fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let event = entry.remove();
            self.now = at;
            self.happen(event);
            if let Some(violation) = self.violation.take() {
                return Err(format!("after {} ms: {violation}", self.now));
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(Pid::Discovery) => self.step_discovery(),
            Event::Step(Pid::Client(client)) => self.step_client(client),
            Event::Arrive(conn, side) => self.arrive(conn, side),
            Event::Over(end, peer) => self.over(end, peer),
            Event::Up(end, input) => self.post(end, input),
            Event::Opened(end, key, from) => self.hear(end, Heard::Opened { session: end.id, key, from }),
            Event::Dial(dialling) => self.dial(dialling),
            Event::Punch(puncher) => self.punch(*puncher),
            Event::PunchOver(token) => self.punch_over(token),
            Event::PunchFailed(puncher) => self.punch_failed(&puncher),
            Event::Join(joiner) => self.join(*joiner),
            Event::JoinOver(life, link) => self.join_over(life, link),
            Event::JoinFailed(joiner) => self.join_failed(&joiner),
            Event::Shake(dialling, target, life) => self.shake(dialling, target, life),
            Event::DialRendezvous(client, life, key) => self.dial_rendezvous(client, life, key),
            Event::Print(client, life) => self.console_writes(client, life),
            Event::Start(Pid::Discovery) => self.start_discovery(),
            Event::Start(Pid::Client(client)) => self.start_client(client),
            Event::Fork => self.fork(),
            Event::Type(client) => self.somebody_types(client),
            Event::Command(client, command) => self.decided(client, command),
            Event::Room(client) => self.set_low(client, false),
            Event::Fault => self.fault(),
        }
    }

    /// A rule is broken.
    pub fn fail(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Adds to the trace.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.verbose || self.hashing {
            let line = format!("{:>9} {}", self.now, line());
            line.hash(&mut self.trace);
            if self.verbose {
                println!("{line}");
            }
        }
    }

    /// What the trace so far comes to.
    pub fn fingerprint(&self) -> u64 {
        self.trace.finish()
    }

    /// Adds to the statistics what is known at the end.
    pub fn count_the_rest(&mut self) {
        self.stats.0.insert("messages promised", self.oracle.count_promised());
        self.stats.0.insert("virtual seconds", self.now / 1000);
    }

    /// The clocks as a program that started at `started` reads them.
    pub fn clock(&self, started: u64, skew: i64) -> Now {
        let now = i64::try_from(self.now).unwrap();
        Now {
            mono: moment(self.now - started),
            wall: 1_700_000_000_000_i64.saturating_add(now).saturating_add(skew),
        }
    }

    /// Whether nothing gets from one program to the other.
    pub fn parted(&self, one: Pid, other: Pid) -> bool {
        let pair = (one.min(other), one.max(other));
        self.partitions.get(&pair).is_some_and(|until| *until > self.now)
    }

    /// The connections that both sides hold open, by their ends.
    pub fn open_links(&self) -> HashMap<(usize, usize), usize> {
        let mut links = HashMap::new();
        for conn in self.conns.values().filter(|conn| conn.peer) {
            if let [
                End { pid: Pid::Client(one), open: true, .. },
                End { pid: Pid::Client(two), open: true, .. },
            ] = conn.ends
            {
                *links.entry((one.min(two), one.max(two))).or_default() += 1;
            }
        }
        links
    }
}

/// A moment so many milliseconds after the start of a program.
pub fn moment(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}
