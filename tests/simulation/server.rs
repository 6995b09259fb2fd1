//! Discovery, driven as `discovery.rs` drives it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use peerchat::accounts::ALONE;
use peerchat::discovery::registry::{Action, Decisions, Event as Heard, Limit, Limits, Registry, Saving};
use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::{Identity, Status, ToClient};
use peerchat::store;
use peerchat::store::directory::Directory;
use peerchat::time::{Now, millis};
use peerchat::transport::noise::Keypair;
use peerchat::undo::Transactional;

use super::client::keypair;
use super::disk::{Crash, Disk};
use super::reach::{self, DISCOVERY, Relay};
use super::wire::{ConnId, End};
use super::world::{Event, Pid, World};

const BATCH: usize = 1024;

pub struct Server {
    pub keypair: Keypair,
    directory: Rc<Directory>,
    pub run: Option<ServerRun>,
    pub life: u64,
    pub skew: i64,
    pub crash: Option<Crash>,
    pub disk: Disk,
    pub paused: u64,
}

pub struct ServerRun {
    registry: Registry,
    pub started: u64,
    pub relay: Relay,
    waiting: VecDeque<Heard>,
    pub sessions: BTreeMap<u64, (ConnId, usize)>,
    next_session: u64,
    scheduled: Option<u64>,
}

impl Server {
    pub fn new(rng: &mut Rng) -> Self {
        let keypair = keypair(rng);
        let directory = Rc::new(Directory::in_memory(&keypair).unwrap());
        let disk = Disk::default();
        Self { keypair, directory, run: None, life: 0, skew: 0, crash: None, disk, paused: 0 }
    }
}

impl World {
    pub fn start_discovery(&mut self) {
        if self.discovery.run.is_some() {
            return;
        }
        self.discovery.life += 1;
        self.note(|| "discovery starts".into());
        // Peace comes soon, whatever people have typed before.
        let limit = Limit { each: 100_000, loopback: false };
        let limits = Limits { new_names: limit, questions: limit };
        let registry = Registry::new(ALONE, self.discovery.directory.load().unwrap(), limits);
        self.discovery.run = Some(ServerRun {
            registry,
            relay: Relay::default(),
            started: self.now,
            waiting: VecDeque::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            scheduled: None,
        });
    }

    /// Something for discovery's loop.
    pub fn hear(&mut self, end: End, heard: Heard) {
        let delay = self.rng.u64(0..3);
        if end.life == self.discovery.life
            && let Some(run) = &mut self.discovery.run
        {
            if let Heard::Closed { session } = heard {
                run.sessions.remove(&session);
            }
            run.waiting.push_back(heard);
            self.wake_discovery(self.now + delay);
        }
    }

    fn wake_discovery(&mut self, at: u64) {
        let at = at.max(self.discovery.paused);
        if let Some(run) = &mut self.discovery.run
            && run.scheduled.is_none_or(|scheduled| scheduled > at)
        {
            run.scheduled = Some(at);
            self.schedule(at, Event::Step(Pid::Discovery));
        }
    }

    /// A client reaches discovery.
    pub fn dial_rendezvous(&mut self, client: usize, life: u64, expected: Option<PublicKey>) {
        use peerchat::client::event::{Input, Missed, Path, Problem, Reached};
        let missed = |problem| Input::RendezvousFailed(vec![Missed { at: DISCOVERY.into(), problem }]);
        let own = Pid::Client(client);
        let Some(run) = self.clients[client].run.as_mut().filter(|run| run.life == life) else {
            return;
        };
        let id = run.next_link;
        run.next_link += 1;
        let dialler = End { pid: own, life, id, open: true };
        if self.parted(own, Pid::Discovery) {
            let timeout = missed(Problem::Other("timeout".into()));
            self.schedule(self.now + 5000, Event::Up(dialler, timeout));
            return;
        }
        let found = self.discovery.keypair.public();
        let impostor = self.fault_happens(self.plan.impostor);
        let problem = match (&self.discovery.run, expected) {
            (None, _) => Some(Problem::Other("refused".into())),
            (_, Some(expected)) if impostor || found != expected => {
                self.stats.add("another discovery");
                Some(Problem::WrongKey { expected, found: Some(PublicKey([9; 32])) })
            }
            _ => None,
        };
        if let Some(problem) = problem {
            self.post(dialler, missed(problem));
            return;
        }
        let (from, local) = (self.seen(client), self.local(client));
        let key = self.clients[client].keypair.public();
        let Some(run) = &mut self.discovery.run else {
            return;
        };
        let session = run.next_session;
        run.next_session += 1;
        let acceptor = End { pid: Pid::Discovery, life: self.discovery.life, id: session, open: true };
        let conn = self.connect(dialler, acceptor, false, 1 << 20);
        if let Some(run) = &mut self.discovery.run {
            run.sessions.insert(session, (conn, 1));
        }
        if let Some(run) = &mut self.clients[client].run {
            run.links.insert(id, (conn, 0));
        }
        let path = Path {
            local,
            remote: reach::discovery(),
            rtt: Duration::from_millis(2 * self.plan.latency),
            own: Vec::new(),
        };
        let reached = Reached { at: DISCOVERY.into(), ..Reached::default() };
        let up = Input::RendezvousUp { session: id, key: found, path, reached };
        self.schedule(self.now, Event::Up(dialler, up));
        self.schedule(self.now, Event::Opened(acceptor, key, from));
    }

    pub fn step_discovery(&mut self) {
        let now = self.now;
        let Some(mut run) = self.discovery.run.take_if(|run| run.scheduled.is_some_and(|at| at <= now))
        else {
            return;
        };
        run.scheduled = None;
        let crash = self.discovery.crash.take();
        if crash == Some(Crash::Received) {
            return self.discovery_crashes(run, false);
        }
        let directory = Rc::clone(&self.discovery.directory);
        let clock = self.clock(run.started, self.discovery.skew);
        let (mut done, mut decisions) = decide(&mut run, clock, Saving::Available);
        let broken = self.discovery.disk.take(now);
        let saved: store::Result<()> = (|| {
            directory.begin()?;
            broken.arm(&directory);
            directory.apply(&decisions.changes)?;
            if crash == Some(Crash::Decided) {
                return Ok(());
            }
            broken.before_commit(&directory)?;
            directory.commit()
        })();
        broken.disarm(&directory);
        if crash == Some(Crash::Decided) {
            directory.rollback();
            return self.discovery_crashes(run, false);
        }
        if saved.is_err() {
            self.stats.add("discovery could not save");
            directory.rollback();
            run.registry.rollback();
            (done, decisions) = decide(&mut run, clock, Saving::Unavailable);
            assert_eq!(decisions.changes, []);
        }
        run.registry.commit();
        let actions = decisions.actions;
        run.waiting.drain(..done);
        if crash == Some(Crash::Committed) {
            return self.discovery_crashes(run, false);
        }
        let acted =
            if crash == Some(Crash::HalfActed) { self.rng.usize(0..=actions.len()) } else { actions.len() };
        self.note(|| format!("discovery {} events -> {actions:?}", done));
        let mut posts: BTreeMap<u64, (Vec<ToClient>, bool)> = BTreeMap::new();
        for action in actions.into_iter().take(acted) {
            match action {
                Action::Send { session, message } => posts.entry(session).or_default().0.push(message),
                Action::Close { session } => posts.entry(session).or_default().1 = true,
                Action::Punch { sides } => {
                    for (session, told) in self.introduce(sides) {
                        posts.entry(session).or_default().0.push(told);
                    }
                }
                Action::Relay { sides } => {
                    for (session, told) in self.hand_out(&mut run, sides) {
                        posts.entry(session).or_default().0.push(told);
                    }
                }
            }
        }
        for (session, (messages, last)) in posts {
            let Some((conn, side)) = run.sessions.get(&session).copied() else {
                continue;
            };
            for mut frame in messages.chunks(100).map(<[ToClient]>::to_vec) {
                if let Some(Pid::Client(client)) = self.conns.get(&conn).map(|conn| conn.ends[0].pid) {
                    self.check_told_by_discovery(client, &frame);
                }
                self.lie(conn, &mut frame);
                self.transmit(conn, side, &frame);
            }
            if last {
                self.close(conn, side);
            }
        }
        if crash.is_some() {
            return self.discovery_crashes(run, false);
        }
        let deadline = run.registry.deadline().map(|at| millis(at.since_start()) + run.started);
        let more = !run.waiting.is_empty();
        self.discovery.run = Some(run);
        if more {
            self.wake_discovery(now);
        } else if let Some(at) = deadline {
            self.wake_discovery(at.max(now + 1));
        }
    }

    /// Discovery is gone, with all that was not committed.
    pub fn discovery_crashes(&mut self, run: ServerRun, silent: bool) {
        self.note(|| "discovery crashes".into());
        self.stats.add("crash of discovery");
        self.relay_falls(run.relay);
        let life = self.discovery.life;
        self.relayed_links_fall(life, silent);
        let conns: Vec<(ConnId, usize)> = self
            .conns
            .iter()
            .flat_map(|(id, conn)| [(*id, 0, conn.ends[0]), (*id, 1, conn.ends[1])])
            .filter(|(.., end)| end.pid == Pid::Discovery && end.life == life)
            .map(|(id, side, _)| (id, side))
            .collect();
        for (conn, side) in conns {
            self.abandon(conn, side, silent);
        }
        let away = self.away();
        self.schedule(self.now + away, Event::Start(Pid::Discovery));
    }

    /// A dishonest discovery names another key for somebody whose key the client knows.
    fn lie(&mut self, conn: ConnId, messages: &mut [ToClient]) {
        if self.plan.lies == 0 || !self.storm {
            return;
        }
        let Some(Pid::Client(client)) = self.conns.get(&conn).map(|conn| conn.ends[0].pid) else {
            return;
        };
        for message in messages {
            if let ToClient::Status(Status { name, key, .. }) = message
                && self.clients[client].pinned(name).is_some()
                && self.rng.u32(0..1000) < self.plan.lies
            {
                *key = keypair(&mut Rng::with_seed(self.rng.u64(1..9))).public();
                self.stats.add("wrong key named");
            } else if let ToClient::Identity(Identity { name: name @ Some(_), .. }) = message
                && self.rng.u32(0..1000) < self.plan.lies
            {
                *name = None;
                self.stats.add("wrong key named");
            }
        }
    }
}

fn decide(run: &mut ServerRun, now: Now, saving: Saving) -> (usize, Decisions) {
    let mut decisions = Decisions::default();
    let mut done = 0;
    for event in run.waiting.iter().take(BATCH) {
        run.registry.handle(event, now, saving, &mut decisions);
        done += 1;
    }
    if done == run.waiting.len() {
        run.registry.tick(now, saving, &mut decisions);
    }
    (done, decisions)
}
