//! One client, driven as `client.rs` drives it, with the disk, the console and the network around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::{ANSWERS, Action, Input, Space};
use peerchat::client::node::{Node, OUTPUT_BATCHES, Setup};
use peerchat::client::notice::Notice;
use peerchat::protocol::peer::Peer;
use peerchat::protocol::rendezvous::Strangers as Policy;
use peerchat::protocol::{Name, PublicKey};
use peerchat::store::StoreError;
use peerchat::store::journal::Journal;
use peerchat::time::millis;
use peerchat::transport::Route;
use peerchat::transport::noise::Keypair;
use rusqlite::OptionalExtension;

use super::dial::Dialling;
use super::disk::{Crash, Disk};
use super::mutation::Mutation;
use super::reach::{DISCOVERY, Joiner, Network};
use super::snapshot::Snapshot;
use super::strangers::policy;
use super::wire::{ConnId, End};
use super::world::{Event, Pid, World};

const BATCH: usize = 1024;
/// How often a loop may come round without anything to do, in a row.
const IDLE_TURNS: u32 = 200;

pub struct Client {
    pub name: Name,
    pub keypair: Keypair,
    pub address: SocketAddr,
    /// Where it has been.
    pub places: BTreeSet<IpAddr>,
    /// What is between it and the others.
    pub network: Network,
    pub journal: Rc<Journal>,
    pub backups: Vec<Snapshot>,
    pub run: Option<Run>,
    pub life: u64,
    pub skew: i64,
    pub crash: Option<Crash>,
    pub disk: Disk,
    /// The loop does not come round before this time.
    pub paused: u64,
    /// The console writes nothing before this time.
    pub unread: u64,
    pub epoch: u64,
    pub input_ended: bool,
    /// How this start meets strangers.
    pub policy: Policy,
    /// Whether its disk is nearly full.
    pub low: bool,
}

/// One run of the program.
pub struct Run {
    pub node: Node,
    pub life: u64,
    pub started: u64,
    pub inbox: VecDeque<Input>,
    pub typed: VecDeque<Input>,
    pub links: BTreeMap<u64, (ConnId, usize)>,
    pub next_link: u64,
    pub scheduled: Option<u64>,
    console: VecDeque<Vec<Notice>>,
    pub exit: Option<(u8, u64)>,
    idle: u32,
    /// Whether the last transaction was committed.
    saved: bool,
    /// Whether it knows that its disk is nearly full.
    low: bool,
}

pub fn keypair(rng: &mut Rng) -> Keypair {
    loop {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        if let Some(keypair) = Keypair::from_secret(&secret) {
            return keypair;
        }
    }
}

impl Client {
    pub fn new(number: usize, rng: &mut Rng) -> Self {
        let keypair = keypair(rng);
        let name: Name = format!("user{number}").parse().unwrap();
        let journal = Rc::new(Journal::in_memory(&name, &keypair).unwrap());
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(number + 1).unwrap()));
        Self {
            name,
            keypair,
            address: SocketAddr::new(ip, 4000),
            places: BTreeSet::from([ip]),
            network: Network::Open,
            journal,
            backups: Vec::new(),
            run: None,
            life: 0,
            skew: 0,
            crash: None,
            disk: Disk::default(),
            paused: 0,
            unread: 0,
            epoch: 0,
            input_ended: false,
            policy: Policy::All,
            low: false,
        }
    }

    /// The key that is pinned for a contact.
    pub fn pinned(&self, name: &Name) -> Option<PublicKey> {
        self.journal
            .prepare_cached("SELECT key FROM contact WHERE name = ?1")
            .unwrap()
            .query_row([name.as_str()], |row| row.get::<_, Option<[u8; 32]>>(0))
            .optional()
            .unwrap()
            .flatten()
            .map(PublicKey)
    }
}

impl World {
    pub fn start_client(&mut self, number: usize) {
        if self.clients[number].run.is_some() {
            return;
        }
        self.before_start(number);
        let fresh = self.rng.u64(..);
        let seed = self.rng.u64(..);
        let reused = self.mutation == Some(Mutation::SameEpoch) && self.clients[number].epoch != 0;
        let now = self.clock(self.now, self.clients[number].skew);
        self.clients[number].policy = policy(&mut self.rng, self.plan.strangers, self.storm);
        let real_policy = self.real_policy(number);
        let client = &mut self.clients[number];
        if !reused {
            client.epoch = fresh;
        }
        client.life += 1;
        client.crash = None;
        let linger =
            [None, Some(Duration::ZERO), Some(Duration::from_secs(5))][usize::try_from(seed % 3).unwrap()];
        let setup = Setup {
            name: client.name.clone(),
            keypair: client.keypair.clone(),
            listen: client.address,
            endpoints: [DISCOVERY.to_owned()].into(),
            discovery_key: None,
            strangers: real_policy,
            silent: false,
            segment: 5,
            linger,
            epoch: client.epoch,
            seed,
        };
        let journal = Rc::clone(&client.journal);
        let node = self.reads_journal(number, || Node::new(setup, now, &journal)).unwrap();
        let client = &mut self.clients[number];
        client.run = Some(Run {
            node,
            life: client.life,
            started: self.now,
            inbox: VecDeque::new(),
            typed: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 0,
            scheduled: None,
            console: VecDeque::new(),
            exit: None,
            idle: 0,
            saved: true,
            low: false,
        });
        let (life, address, policy) = (client.life, client.address, client.policy);
        self.note(|| format!("user{number} starts, run {life}, at {address}, open to {policy:?}"));
        self.oracle.started(number);
        if self.clients[number].low {
            self.interrupt(number, Input::Disk(Space::Low));
        }
        self.wake_client(number, self.now);
    }

    /// How much waits for a program's loop.
    pub fn waiting_inputs(&self, end: End) -> usize {
        match end.pid {
            Pid::Client(number) => self.clients[number].run.as_ref().map_or(0, |run| run.inbox.len()),
            Pid::Discovery => 0,
        }
    }

    /// Something for a client's loop.
    pub fn post(&mut self, end: End, input: Input) {
        let delay = self.rng.u64(0..3);
        if let Pid::Client(number) = end.pid
            && let Some(run) = self.clients[number].run.as_mut().filter(|run| run.life == end.life)
        {
            run.inbox.push_back(input);
            self.wake_client(number, self.now + delay);
        }
    }

    pub fn wake_client(&mut self, number: usize, at: u64) {
        let client = &mut self.clients[number];
        let at = at.max(client.paused);
        if let Some(run) = &mut client.run
            && run.scheduled.is_none_or(|scheduled| scheduled > at)
        {
            run.scheduled = Some(at);
            self.schedule(at, Event::Step(Pid::Client(number)));
        }
    }

    pub fn step_client(&mut self, number: usize) {
        let now = self.now;
        let Some(mut run) = self.clients[number].run.take_if(|run| run.scheduled.is_some_and(|at| at <= now))
        else {
            return;
        };
        run.scheduled = None;
        let clock = self.clock(run.started, self.clients[number].skew);
        let count = run.inbox.len().min(BATCH);
        let mut inputs: Vec<Input> = run.inbox.drain(..count).collect();
        if let Some((_, until)) = run.exit {
            let done = run.console.is_empty() || now >= until;
            run.inbox.extend(inputs.drain(..));
            if !done {
                self.clients[number].run = Some(run);
                return;
            }
            // The last words: what the console has said is noted, and nothing else happens.
            inputs.extend(run.inbox.drain(..));
        } else if run.node.takes_commands(clock) {
            let mut answers = 0;
            while inputs.len() < BATCH
                && answers < ANSWERS
                && let Some(input) = run.typed.pop_front()
            {
                answers = input.answer().saturating_add(answers);
                inputs.push(input);
            }
        }
        if inputs.iter().any(leaves_at_once) {
            self.clients[number].input_ended = false;
        }
        let lost = self.loses_commit().then(|| Snapshot::take(&self.clients[number].journal));
        // A client that updates its index writes, and does nothing else that can be seen.
        let written = self.clients[number].journal.total_changes();
        let Some(actions) = self.transact(number, &mut run, clock, &inputs) else {
            return self.client_crashes(number, run, false);
        };
        self.note(|| shortened(&format!("user{number} {inputs:?} -> {actions:?}")));
        let wrote = self.clients[number].journal.total_changes() != written;
        run.idle = if inputs.is_empty() && actions.is_empty() && !wrote { run.idle + 1 } else { 0 };
        if run.idle > IDLE_TURNS {
            self.fail(format!("user{number} comes round and round with nothing to do"));
        }
        let half = self.clients[number].crash.take() == Some(Crash::HalfActed);
        let acted = if half { self.rng.usize(0..=actions.len()) } else { actions.len() };
        let leaving = run.exit.is_some();
        for action in actions.into_iter().take(acted) {
            self.act(number, &mut run, action);
        }
        if let Some(before) = lost {
            before.restore(&self.clients[number].journal);
            return self.client_crashes(number, run, false);
        }
        if half {
            return self.client_crashes(number, run, false);
        }
        if leaving {
            if run.saved {
                self.oracle.left(number, run.life);
            }
            return self.client_ends(number, run);
        }
        let deadline = run.started.saturating_add(millis(run.node.deadline().since_start()));
        let at = match run.exit {
            Some((_, until)) => until,
            None if self.mutation == Some(Mutation::NoTimers) => u64::MAX,
            None => deadline,
        };
        let typed = run.exit.is_none() && !run.typed.is_empty() && run.node.takes_commands(clock);
        let more = typed || !run.inbox.is_empty();
        let last_words = run.exit.is_some() && run.console.is_empty();
        self.clients[number].run = Some(run);
        self.wake_client(number, if more || last_words { now } else { at.max(now + 1) });
    }

    /// One transaction; `None` if the program dies in it.
    fn transact(
        &mut self,
        number: usize,
        run: &mut Run,
        now: peerchat::time::Now,
        inputs: &[Input],
    ) -> Option<Vec<Action>> {
        let client = &mut self.clients[number];
        let journal = Rc::clone(&client.journal);
        let crash = client.crash;
        let broken = client.disk.take(self.now);
        let place = self.rng.usize(0..=inputs.len());
        self.oracle_begins(number, &journal);
        if crash == Some(Crash::Received) {
            return None;
        }
        let decided = (|| {
            broken.before_begin()?;
            journal.begin()?;
            for (index, input) in inputs.iter().enumerate() {
                if index == place {
                    broken.arm(&journal);
                    if crash == Some(Crash::HalfHandled) {
                        return Ok(false);
                    }
                }
                if self.is_told(input) {
                    run.node.handle(now, &journal, input)?;
                }
            }
            broken.arm(&journal);
            run.node.finish(now, &journal)?;
            if crash == Some(Crash::Decided) || self.acts_too_early(number, run, inputs) {
                return Ok(false);
            }
            broken.before_commit(&journal)?;
            journal.commit()?;
            Ok(true)
        })();
        broken.disarm(&journal);
        run.saved = decided.is_ok();
        let space = inputs.iter().rev().find_map(|input| match input {
            Input::Disk(space) => Some(*space == Space::Low),
            _ => None,
        });
        self.oracle.takes_nothing = run.low && space.is_none();
        run.low = space.unwrap_or(run.low);
        match decided {
            Ok(false) => {
                journal.rollback();
                None
            }
            Ok(true) => {
                self.stats.add("transactions");
                self.note_for_mutation(number, inputs);
                self.oracle_commits(number, inputs, now);
                self.note_kept(number, inputs);
                (crash != Some(Crash::Committed)).then(|| run.node.committed())
            }
            Err(error) => {
                let _: StoreError = error;
                self.stats.add("client could not save");
                journal.rollback();
                let epoch = self.rng.u64(..);
                self.note(|| format!("user{number} could not save"));
                if self.mutation == Some(Mutation::KeepFailed) {
                    return Some(run.node.committed());
                }
                Some(run.node.failed(now, &journal, inputs, epoch).expect("the journal can be read"))
            }
        }
    }

    pub fn act(&mut self, number: usize, run: &mut Run, action: Action) {
        match action {
            Action::DialRendezvous { key, .. } => {
                let delay = self.rng.u64(1..=self.plan.latency + 1);
                self.schedule(self.now + delay, Event::DialRendezvous(number, run.life, key));
            }
            Action::TellDiscovery(session, mut messages) => {
                self.distort_for_discovery(number, &mut messages);
                self.check_told_discovery(number, &messages);
                if let Some((conn, side)) = run.links.get(&session).copied() {
                    self.transmit(conn, side, &messages);
                }
            }
            Action::Dial { contact, name, key, routes, .. } => {
                self.check_dial(number, &name);
                self.check_places(number, &name, &places(&routes));
                self.stats.add("dials");
                let (life, routes) = (run.life, routes.into());
                let problems = vec![];
                let dialling =
                    Dialling { client: number, life, contact, key, routes, problems, races: false };
                self.schedule(self.now, Event::Dial(Box::new(dialling)));
            }
            Action::Punch { contact, name, key, punching } => {
                self.check_dial(number, &name);
                self.check_places(number, &name, &punching.remotes);
                self.check_places(number, &name, &places(&punching.routes));
                self.begin_punch(number, run.life, contact, key, punching);
            }
            Action::Relay { contact, name, key, through, ticket, .. } => {
                self.check_join(number, &name, key.is_some());
                self.begin_join(Joiner { client: number, life: run.life, contact, key, through, ticket });
            }
            // No router here passes anything on.
            Action::MapPort => run.inbox.push_back(Input::Mapped(None)),
            Action::Send(link, mut messages) => {
                if let Some((conn, side)) = run.links.get(&link).copied() {
                    self.distort(number, (conn, side), &mut messages);
                    self.check_sent(number, conn, side, &messages);
                    self.check_kept(number, conn, side, &messages);
                    self.transmit(conn, side, &messages);
                    self.after_sending(number, &messages);
                }
            }
            Action::Close(link) => {
                let swallowed = self.mutation == Some(Mutation::KeepBothLinks);
                if let Some((conn, side)) = run.links.get(&link).copied()
                    && !(swallowed && self.conns.get(&conn).is_some_and(|conn| conn.peer))
                {
                    self.close(conn, side);
                }
            }
            Action::Print(mut told) => {
                self.hide(&mut told);
                let notices: Vec<Notice> = told.into_iter().map(|told| told.notice).collect();
                self.check_told(number, &notices);
                if run.console.is_empty() {
                    self.console_later(number, run.life);
                }
                run.console.push_back(notices);
                if run.console.len() > OUTPUT_BATCHES {
                    self.fail(format!("the console of user{number} holds too many batches"));
                }
            }
            // Nobody sits at a terminal here.
            Action::Prompt(_) => {}
            Action::Exit(status, _) => {
                run.exit = Some((status, self.now + 1000));
                self.check_exit(number, status);
            }
        }
    }

    fn console_later(&mut self, number: usize, life: u64) {
        let at = (self.now + self.rng.u64(0..3)).max(self.clients[number].unread);
        self.schedule(at, Event::Print(number, life));
    }

    /// The console has written a batch, and says so.
    pub fn console_writes(&mut self, number: usize, life: u64) {
        let unread = self.clients[number].unread;
        if unread > self.now {
            return self.schedule(unread, Event::Print(number, life));
        }
        let Some(run) = self.clients[number].run.as_mut().filter(|run| run.life == life) else {
            return;
        };
        let Some(notices) = run.console.pop_front() else {
            return;
        };
        run.inbox.push_back(Input::Printed);
        let more = !run.console.is_empty();
        self.shown(number, &notices);
        if more {
            self.console_later(number, life);
        }
        self.wake_client(number, self.now + self.now % 2);
    }

    /// The process is gone, with all that was not committed.
    pub fn client_crashes(&mut self, number: usize, run: Run, silent: bool) {
        self.note(|| format!("user{number} crashes, silent: {silent}"));
        self.stats.add("crash of a client");
        self.vanish(number, run, silent);
    }

    fn client_ends(&mut self, number: usize, run: Run) {
        self.note(|| format!("user{number} ends"));
        self.stats.add("client left");
        self.vanish(number, run, false);
    }

    fn vanish(&mut self, number: usize, run: Run, silent: bool) {
        for (conn, side) in run.links.values().copied() {
            self.abandon(conn, side, silent);
        }
        self.clients[number].journal.rollback();
        drop(run);
        let away = self.away();
        self.schedule(self.now + away, Event::Start(Pid::Client(number)));
    }
}

pub fn leaves_at_once(input: &Input) -> bool {
    matches!(
        input,
        Input::Signal | Input::OutputClosed(_) | Input::Command { command: Ok(Command::Logout), .. }
    )
}

/// Where these routes lead.
fn places(routes: &[Route]) -> Vec<SocketAddr> {
    routes.iter().filter_map(Route::remote).collect()
}

/// For the trace: long enough to tell what happens.
fn shortened(line: &str) -> String {
    // The padding of texts, as bytes and as letters.
    line.replace("120, ", "").replace("xxxxxxxx", "").chars().take(3000).collect()
}

/// Whether anything in a frame is a message.
pub fn has_messages(said: &[Peer]) -> bool {
    said.iter().any(|said| matches!(said, Peer::Message(_)))
}
