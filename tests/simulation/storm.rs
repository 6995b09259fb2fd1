//! What the seed decides: who takes part, what people type, what breaks; and the peace that follows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::{Input, Space};

use super::disk::{Crash, Failure};
use super::mutation::Mutation;
use super::snapshot::Snapshot;
use super::world::{Event, Pid, World};

/// A program that is away for this long is away for long.
const LONG: u64 = 3_600_000;
/// What is over within so many milliseconds is over before all have heard of it.
const SHORT: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Cut,
    LoseOneWay,
    Silence,
    Stall,
    Partition,
    Crash,
    CrashSilently,
    CrashDiscovery,
    ClockJump,
    Disk,
    DiscoveryDisk,
    SlowConsole,
    Pause,
    Backup,
    OutputClosed,
    Shout,
    LowDisk,
    /// Discovery invents users who ask.
    Crowd,
    /// A client is behind another router.
    Router,
}

const FAULTS: [Fault; 17] = [
    Fault::Cut,
    Fault::LoseOneWay,
    Fault::Silence,
    Fault::Stall,
    Fault::Partition,
    Fault::Crash,
    Fault::CrashSilently,
    Fault::CrashDiscovery,
    Fault::ClockJump,
    Fault::Disk,
    Fault::DiscoveryDisk,
    Fault::SlowConsole,
    Fault::Pause,
    Fault::Backup,
    Fault::OutputClosed,
    Fault::Shout,
    Fault::LowDisk,
];

/// What a seed makes of a network.
pub struct Plan {
    pub clients: usize,
    /// How long the storm lasts, in milliseconds.
    duration: u64,
    faults: Vec<Fault>,
    /// The time between two faults, at most.
    fault_gap: u64,
    /// The time between two lines that somebody types, at most.
    pub type_gap: u64,
    pub latency: u64,
    pub dial_latency: u64,
    /// How often, in a thousand, discovery lies of a key.
    pub lies: u32,
    /// How often another discovery answers, in a thousand.
    pub impostor: u32,
    /// How often only one side sees a handshake done, in a thousand.
    pub half_shake: u32,
    /// How often a start finds an older journal, in a hundred.
    restores: u32,
    /// How often a start finds another address, in a hundred.
    moves: u32,
    /// Whether the first account is started on a second machine, too.
    pub twin: bool,
    /// How many of a hundred starts of a client do not answer all strangers at once.
    pub strangers: u32,
    /// A user who writes to no one as long as the storm lasts, so that all others stay strangers.
    pub silent: Option<usize>,
    /// How many of a hundred lines are decisions about strangers.
    pub decides: u32,
    /// Whether there are routers between the clients.
    pub routers: bool,
    /// How often, in a thousand, discovery does not relay.
    pub no_relay: u32,
    /// Whether better ways are found in peace.
    pub upgrades: bool,
    /// The longest text.
    pub text: usize,
}

impl Plan {
    pub fn new(rng: &mut Rng, mutation: Option<Mutation>) -> Self {
        // Each seed does without most kinds of fault, so that it goes far into what the others lead to.
        let each = [20, 40, 70][rng.usize(0..3)];
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| rng.u32(0..100) < each).collect();
        if mutation.is_some() {
            faults.extend([Fault::Cut, Fault::Crash, Fault::Stall]);
        }
        let often = |rng: &mut Rng, chance: u32, most: u32| if rng.u32(0..100) < chance { most } else { 0 };
        let twin = mutation.is_none() && rng.u32(0..100) < 8;
        let restores = if twin {
            0
        } else if mutation.is_some_and(Mutation::needs_backups) {
            50
        } else {
            often(rng, 40, 40)
        };
        if restores > 0 {
            faults.extend([Fault::Backup; 2]);
        }
        let strangers = if twin { 0 } else { often(rng, 50, 60) };
        if strangers > 0 && rng.u32(0..8) == 0 {
            faults.push(Fault::Crowd);
        }
        let lies = if mutation == Some(Mutation::AnyKey) { 300 } else { often(rng, 10, 200) };
        let clients = [2, 2, 2, 3, 3, 4, 5, 8][rng.usize(0..8)];
        let silent = strangers > 0 && rng.bool();
        let routers = mutation.is_none() && rng.u32(0..100) < 60;
        if routers {
            faults.push(Fault::Router);
        }
        let no_relay = if routers { often(rng, 20, 300) } else { 0 };
        let upgrades = routers && rng.u32(0..4) == 0;
        let mut plan = Self {
            routers,
            no_relay,
            upgrades,
            clients,
            silent: silent.then_some(clients - 1),
            duration: [10_000, 20_000, 40_000, 90_000][rng.usize(0..4)],
            faults,
            fault_gap: [80, 200, 600, 3_000][rng.usize(0..4)],
            type_gap: [300, 1_500, 6_000][rng.usize(0..3)],
            latency: [1, 5, 30, 300][rng.usize(0..4)],
            dial_latency: [2, 20, 900, 2_500][rng.usize(0..4)],
            lies,
            impostor: often(rng, 10, 100),
            half_shake: often(rng, 30, 100),
            restores,
            moves: often(rng, 30, 50),
            twin,
            strangers,
            decides: strangers / 3,
            text: [10, 10, 200, 30_000][rng.usize(0..4)],
        };
        mutation.into_iter().for_each(|mutation| plan.suit(mutation));
        plan
    }

    /// A broken rule is to show soon, where it can.
    fn suit(&mut self, mutation: Mutation) {
        if mutation.needs_routers() {
            (self.routers, self.upgrades) = (true, true);
            self.faults = vec![Fault::Router, Fault::Stall, Fault::Cut, Fault::Stall];
            (self.fault_gap, self.strangers, self.no_relay) = (3_000, 0, 0);
            (self.text, self.duration) = (10, 40_000);
        }
        if mutation.needs_strangers() {
            self.strangers = 90;
            self.faults = vec![Fault::Crash, Fault::Shout, Fault::Shout, Fault::Cut, Fault::CrashDiscovery];
            (self.fault_gap, self.type_gap, self.decides) = (3_000, 300, 5);
            (self.latency, self.dial_latency, self.text) = (5, 20, 10);
            (self.clients, self.duration) = (self.clients.min(3), 40_000);
            self.silent = Some(self.clients - 1);
        }
        match mutation {
            Mutation::StrangersUnbounded => self.faults.extend([Fault::Crowd; 3]),
            Mutation::NoFloor | Mutation::HeldInSilence => self.faults.push(Fault::LowDisk),
            Mutation::GapAfterHold => {
                (self.latency, self.text, self.fault_gap) = (300, 10, 600);
                (self.clients, self.duration, self.type_gap) = (2, 40_000, 200);
                self.faults = vec![Fault::LowDisk];
            }
            _ => {}
        }
    }
}

impl World {
    /// The whole life of a network. What is wrong with it, if anything is.
    pub fn live(&mut self) -> Result<(), String> {
        self.schedule(0, Event::Start(Pid::Discovery));
        for number in 0..self.clients.len() {
            let at = if self.rng.bool() { 0 } else { self.rng.u64(0..5_000) };
            self.schedule(at, Event::Start(Pid::Client(number)));
            self.schedule(at + 1, Event::Type(number));
        }
        if self.plan.twin {
            let at = self.rng.u64(0..self.plan.duration);
            self.schedule(at, Event::Fork);
        }
        self.schedule(self.plan.fault_gap, Event::Fault);
        self.run_until(self.plan.duration)?;
        self.calm();
        self.peace()?;
        self.new_messages()?;
        self.better_ways()
    }

    /// The storm is over.
    fn calm(&mut self) {
        self.note(|| "peace".into());
        self.storm = false;
        self.partitions.clear();
        self.discovery.paused = self.now;
        self.discovery.disk.failure = None;
        self.discovery.crash = None;
        if self.plan.lies > 0
            && let Some(run) = self.discovery.run.take()
        {
            // Whoever was lied to hears the truth when it logs in again.
            self.discovery_crashes(run, false);
        }
        self.hurry();
        let soon = self.now + 500;
        self.schedule(soon, Event::Start(Pid::Discovery));
        self.schedule(soon, Event::Step(Pid::Discovery));
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            (client.paused, client.unread) = (self.now, self.now);
            client.disk.failure = None;
            client.crash = None;
            let life = client.life;
            self.schedule(soon, Event::Start(Pid::Client(number)));
            self.schedule(soon, Event::Print(number, life));
            self.wake_client(number, self.now);
        }
    }

    pub fn fault_happens(&mut self, in_thousand: u32) -> bool {
        self.storm && self.rng.u32(0..1000) < in_thousand
    }

    /// How many bytes a connection takes without being read.
    pub fn budget(&mut self) -> usize {
        // Half of it goes through in a round trip, and what waits at the end must do so in time.
        let least = match (self.plan.text > 1_000, self.plan.latency > 100) {
            (true, true) => 256 << 10,
            (false, false) => 16 << 10,
            _ => 64 << 10,
        };
        least.max([16 << 10, 64 << 10, 256 << 10, 2 << 20][self.rng.usize(0..4)])
    }

    /// For how long somebody is away.
    pub fn away(&mut self) -> u64 {
        match (self.storm, self.rng.u32(0..100)) {
            (false, _) => self.rng.u64(50..1_000),
            (true, 0) => LONG,
            (true, 1..60) => self.rng.u64(1..2_000),
            (true, _) => self.rng.u64(1..30_000),
        }
    }

    /// What may have happened to a client's files and its machine while it was away.
    pub fn before_start(&mut self, number: usize) {
        if !self.clients[number].input_ended || self.clients[number].life > 0 {
            self.clients[number].input_ended = false;
        }
        self.mutate_journal(number);
        if !self.storm || self.clients[number].life == 0 {
            return;
        }
        let older = self.clients[number].backups.len();
        if older > 0 && self.rng.u32(0..100) < self.plan.restores {
            self.stats.add("journal restored");
            // What was copied later belongs to a time that never was: between the two there is no order.
            let which = self.rng.usize(0..older);
            self.clients[number].backups.truncate(which + 1);
            let backup: Snapshot = self.clients[number].backups[which].clone();
            backup.restore(&self.clients[number].journal);
            self.oracle_restores(number);
            self.note(|| format!("user{number} is restored from a backup"));
        }
        if self.rng.u32(0..100) < self.plan.moves {
            self.stats.add("address changed");
            let host = self.rng.u8(1..20);
            let address =
                SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), self.rng.u16(4000..4003));
            if !self.clients.iter().any(|client| client.address == address) {
                self.clients[number].address = address;
                self.clients[number].places.insert(address.ip());
            }
        }
    }

    /// Something breaks.
    pub fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let gap = self.rng.u64(1..self.plan.fault_gap);
        self.schedule(self.now + gap, Event::Fault);
        if self.plan.faults.is_empty() {
            return;
        }
        let fault = self.plan.faults[self.rng.usize(0..self.plan.faults.len())];
        let number = self.rng.usize(0..self.clients.len());
        let conn = match self.conns.len() {
            0 => None,
            count => self.conns.keys().nth(self.rng.usize(0..count)).copied(),
        };
        let side = self.rng.usize(0..2);
        let long = match self.rng.u32(0..3) {
            0 => self.rng.u64(1..500),
            _ => self.rng.u64(1..25_000),
        };
        self.note(|| format!("{fault:?} user{number} {conn:?} {long}"));
        self.break_something(fault, number, conn, side, long);
    }

    fn break_something(&mut self, fault: Fault, number: usize, conn: Option<u64>, side: usize, long: u64) {
        let until = self.now + long;
        let name = match (fault, conn) {
            (Fault::Cut, Some(conn)) => {
                self.cut(conn);
                "link cut"
            }
            (Fault::LoseOneWay, Some(conn)) => {
                self.silence(conn, side);
                "one way lost"
            }
            (Fault::Silence, Some(conn)) => {
                self.silence(conn, 0);
                self.silence(conn, 1);
                "silence"
            }
            (Fault::Stall, Some(conn)) => {
                self.stall(conn, side, long);
                if self.rng.bool() {
                    self.stall(conn, 1 - side, long);
                }
                "delay"
            }
            (Fault::Cut | Fault::LoseOneWay | Fault::Silence | Fault::Stall, None) => return,
            (Fault::Partition, _) => {
                self.part(number, until);
                "network parted"
            }
            (Fault::Crash, _) => {
                let points =
                    [Crash::Received, Crash::HalfHandled, Crash::Decided, Crash::Committed, Crash::HalfActed];
                self.clients[number].crash = Some(points[self.rng.usize(0..points.len())]);
                return;
            }
            (Fault::CrashSilently, _) => {
                let Some(run) = self.clients[number].run.take() else {
                    return;
                };
                self.client_crashes(number, run, true);
                "machine lost"
            }
            (Fault::CrashDiscovery, _) => {
                let points = [Crash::Received, Crash::Decided, Crash::Committed, Crash::HalfActed];
                match self.rng.usize(0..points.len() + 1) {
                    4 => match self.discovery.run.take() {
                        Some(run) => self.discovery_crashes(run, true),
                        None => return,
                    },
                    point => self.discovery.crash = Some(points[point]),
                }
                return;
            }
            (Fault::ClockJump, _) => {
                let skew = self.rng.i64(-1_600_000_000_000..1_600_000_000_000);
                match self.rng.u32(0..5) {
                    0 => self.discovery.skew = skew,
                    _ => self.clients[number].skew = skew,
                }
                "clock jumped"
            }
            (Fault::Disk, _) => {
                self.clients[number].disk.failure = Some(self.failure(until));
                "disk of a client failed"
            }
            (Fault::DiscoveryDisk, _) => {
                self.discovery.disk.failure = Some(self.failure(until));
                "disk of discovery failed"
            }
            (Fault::SlowConsole, _) => {
                self.clients[number].unread = until;
                "console not read"
            }
            (Fault::Pause, _) => {
                match self.rng.u32(0..5) {
                    0 => self.discovery.paused = until,
                    _ => self.clients[number].paused = until,
                }
                "program stopped for a while"
            }
            (Fault::Backup, _) => {
                let backup = Snapshot::take(&self.clients[number].journal);
                self.clients[number].backups.push(backup);
                return;
            }
            (Fault::OutputClosed, _) => {
                self.interrupt(number, Input::OutputClosed(None));
                "output closed"
            }
            (Fault::LowDisk, _) => {
                let low = !self.clients[number].low;
                self.set_low(number, low);
                if low && self.rng.u32(0..3) == 0 {
                    let at = self.now + self.rng.u64(0..SHORT);
                    self.schedule(at, Event::Room(number));
                }
                "disk nearly full, or not any more"
            }
            (Fault::Router, _) => {
                self.change_network(number);
                "another router"
            }
            (Fault::Crowd, _) => {
                if !self.crowd(number) {
                    return;
                }
                "users invented by discovery"
            }
            (Fault::Shout, _) if self.plan.silent == Some(number) => return,
            (Fault::Shout, _) => {
                // As much text either way: all of it is in memory, several times.
                let most = if self.plan.text > 1_000 { 40 } else { 400 };
                for _ in 0..self.rng.u32(most / 4..most) {
                    let other = self.rng.usize(0..self.clients.len());
                    let name = self.clients[other].name.clone();
                    let length = self.rng.usize(0..=self.plan.text / 4);
                    let text = self.oracle.write(number, &name, length);
                    self.command(number, Command::Chat(name.into(), text));
                }
                "many messages at once"
            }
        };
        self.stats.add(name);
    }

    /// A client's disk has less room than it should, or enough.
    pub fn set_low(&mut self, number: usize, low: bool) {
        self.clients[number].low = low;
        self.interrupt(number, Input::Disk(if low { Space::Low } else { Space::Enough }));
    }

    fn failure(&mut self, until: u64) -> (Failure, u64) {
        let how = [Failure::Begin, Failure::ReadOnly, Failure::Full, Failure::Commit][self.rng.usize(0..4)];
        (how, if self.rng.u32(0..3) == 0 { until } else { 0 })
    }

    /// Nothing gets through between two programs for a while. What they had open breaks, or comes later.
    fn part(&mut self, number: usize, until: u64) {
        let other = match self.rng.usize(0..=self.clients.len()) {
            other if other < self.clients.len() => Pid::Client(other),
            _ => Pid::Discovery,
        };
        let one = Pid::Client(number);
        self.partitions.insert((one.min(other), one.max(other)), until);
        let between: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| match conn.relay {
                None => conn.ends.iter().all(|end| end.pid == one || end.pid == other),
                Some(_) => other == Pid::Discovery && conn.ends.iter().any(|end| end.pid == one),
            })
            .map(|(id, _)| *id)
            .collect();
        for conn in between {
            let heals = self.rng.bool();
            for side in 0..2 {
                if heals {
                    self.stall(conn, side, until - self.now);
                } else {
                    self.silence(conn, side);
                }
            }
        }
    }
}
