//! The discovery server: who exists, who is there, and who asks for whom.
//!
//! [`registry`] decides, on top of what [`memory`] holds; [`connections`] are the sockets; here is
//! the loop between them. The operator's questions come through the [`desk`], from [`control`] and [`metrics`]. It takes what has arrived, decides inside one transaction, commits, and only then acts:
//! whatever a client is told has been saved, and many changes cost one sync of the disk.
//!
//! What is bounded, and by what:
//!
//! - connections in all, of one address and before their handshake: [`Caps`];
//! - events that wait for the loop: `QUEUE`, of at most one frame each; readers wait when it is full;
//! - one session's share of the loop: the costs and the burst in [`pace`], so that a flood is read slowly
//!   and its sender waits;
//! - one transaction: `BATCH` events, and no further one begun after `ENOUGH` actions;
//! - what waits to be sent: the kernel's buffer of the socket; a client that does not read is cut off;
//! - silence: [`DEAD_AFTER`](crate::protocol::DEAD_AFTER), and [`registry::REGISTER_WITHIN`] for a session
//!   that has not registered;
//! - the operator's questions: a few threads, each with one at a time and a deadline, see [`control`], [`metrics`];
//! - requests and connections of an account, requests for one, new names of an address:
//!   [`registry::MAX_CONTACTS`], [`registry::MAX_REQUESTS_FOR`], [`registry::Limits`].

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use crossbeam_channel::{Receiver, bounded, never, select};
use etcetera::BaseStrategy;

use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::{Name, PING_AFTER, PublicKey};
use crate::scheduling;
use crate::store::directory::Directory;
use crate::store::{self, StoreError};
use crate::time::{Clock, Now};
use crate::transport::{self, Caps, Opened, Rejected};
use connections::{Connections, Inbound};
use control::Control;
use desk::{Desk, Question};
use memory::SessionId;
use registry::{Action, Event, Limits, Registry};
use status::{Refusals, Status};

pub mod connections;
pub mod control;
pub mod desk;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod registry;
pub mod status;
pub mod timed;

/// How many connections are let in unless told otherwise.
pub const DEFAULT_CONNECTIONS: usize = 12_000;
/// The most that can be asked for: with many more threads the kernel's limit on memory maps ends the process.
pub const MAX_CONNECTIONS: usize = 14_000;
/// How many connections one address may hold unless told otherwise.
pub const DEFAULT_PER_ADDRESS: u32 = 256;
/// How many new names one address may register in an hour unless told otherwise.
pub const DEFAULT_NEW_NAMES: u32 = 64;

/// How many connections may be in their handshake.
const HANDSHAKES: usize = 2048;
/// The descriptors kept for everything but connections that are let in: the database, those being refused.
const RESERVED_DESCRIPTORS: u64 = 256;
/// How many frames may wait for the loop.
const QUEUE: usize = 1024;
/// How many events one transaction may hold; what arrived together in one frame is not torn apart.
const BATCH: usize = 1024;
/// No further event is handled in a transaction that has led to this many actions.
const ENOUGH: usize = 32 * 1024;
/// The loop looks around at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// A loop that was away for this long can't tell who was silent meanwhile.
const AWAY: Duration = Duration::from_secs(1);
/// How long everybody has to be heard again then.
const HEAR_AGAIN: Duration = PING_AFTER.saturating_add(Duration::from_secs(1));
/// How long a disk that goes on failing is not mentioned again.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The database, if not in the user's data directory.
    pub database: Option<PathBuf>,
    /// How many connections to let in.
    pub max_connections: usize,
    /// How many of one address. Without it [`DEFAULT_PER_ADDRESS`], and this machine itself is not limited.
    pub max_per_address: Option<u32>,
    /// How many new names of one address in an hour. Without it [`DEFAULT_NEW_NAMES`], and this machine
    /// itself is not limited.
    pub max_new_names: Option<u32>,
    /// Where to serve figures for Prometheus, if at all.
    pub metrics: Option<SocketAddr>,
    /// Whether that may be an address which other machines reach.
    pub metrics_public: bool,
}

/// Runs discovery until a signal ends it.
///
/// # Errors
/// If it can't start, or its database turns out to be damaged.
pub fn run(options: Options) -> anyhow::Result<()> {
    let Options { address, max_per_address, max_new_names, metrics, metrics_public, .. } = options;
    if let Some(metrics) = metrics {
        ensure!(
            metrics.ip().is_loopback() || metrics_public,
            "metrics on {metrics} could be read from other machines; use an address such as 127.0.0.1, or add \
             --metrics-public if they are meant to be"
        );
    }
    scheduling::batch();
    let (stop, stopped) = bounded(1);
    // A second signal finds the first one still there.
    ctrlc::set_handler(move || _ = stop.try_send(())).context("can't wait for signals")?;

    let listener = transport::listen(address).with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr().context("can't listen")?;
    let path = options.database.map_or_else(default_database, Ok)?;
    // What it says of the file is complete: the causes below would only say it again.
    let directory = Directory::open(&path)?;
    let keypair = directory.keypair().with_context(|| path.display().to_string())?;
    let fingerprint = keypair.public();
    let limits =
        Limits { new_names: max_new_names.unwrap_or(DEFAULT_NEW_NAMES), new_names_loopback: max_new_names };
    let registry = Registry::load(&directory, limits).with_context(|| path.display().to_string())?;

    let (desk, questions) = Desk::open();
    let control = Control::open(&path, desk.clone())
        .inspect_err(|error| tracing::warn!(%error, "no socket for --status and --release"))
        .ok();
    let metrics = metrics
        .map(|wanted| {
            metrics::serve(wanted, &desk).with_context(|| format!("can't serve metrics on {wanted}"))
        })
        .transpose()?
        .map_or_else(String::new, |address| format!(", metrics http://{address}/metrics"));

    let caps = Caps {
        total: affordable(options.max_connections),
        per_address: Some(max_per_address.unwrap_or(DEFAULT_PER_ADDRESS) as usize),
        per_loopback: max_per_address.map(|most| most as usize),
        handshakes: HANDSHAKES,
    };
    let (sender, events) = bounded(QUEUE);
    let rejected = connections::accept(listener, caps, keypair, sender)
        .context("can't start the threads that are needed")?;

    let database = path.display().to_string();
    tracing::info!(%address, database, key = %fingerprint, "listening");
    announce(&format!("discovery listening on {address}, database {database}, key {fingerprint}{metrics}"));
    let clock = Clock::start();
    let about = About { address, database, key: fingerprint, started: clock.now(), rejected };
    let server = Server {
        clock,
        registry,
        _control: control,
        directory,
        connections: Connections::default(),
        waiting: VecDeque::new(),
        lenient_until: Instant::now(),
        complained: None,
        about,
        refusals: Refusals::default(),
        failed_saves: 0,
    };
    let served = server.serve(&events, &questions, &stopped);
    // Until here somebody may ask.
    drop(desk);
    served.with_context(|| format!("{} can't be used any more", path.display()))
}

/// Asks a running discovery how things stand: text for people, or one line of JSON.
///
/// # Errors
/// If none is running with this database, or it does not answer.
pub fn status(database: Option<PathBuf>, json: bool) -> anyhow::Result<String> {
    let path = database.map_or_else(default_database, Ok)?;
    let question = if json { "status json" } else { "status" };
    let answer = control::ask(&path, question)?;
    answer.ok_or_else(|| {
        anyhow!("no discovery is running with the database {}; --db names another one", path.display())
    })
}

/// Frees a name: asks a running discovery to do it, or does it in the database of one that is not running. Returns
/// what was done, for people.
///
/// # Errors
/// If it was not done.
pub fn release(database: Option<PathBuf>, name: &Name) -> anyhow::Result<String> {
    let path = database.map_or_else(default_database, Ok)?;
    if let Some(answer) = control::ask(&path, &format!("release {name}"))? {
        return Ok(answer);
    }
    let exists = path.try_exists().with_context(|| format!("can't use {}", path.display()))?;
    ensure!(exists, "there is no database {}; --db names another one", path.display());
    release_stopped(&path, name)
}

fn release_stopped(path: &Path, name: &Name) -> anyhow::Result<String> {
    let directory = Directory::open(path)?;
    let now = Clock::start().now();
    let release = || -> store::Result<_> {
        let mut registry = Registry::load(&directory, Limits { new_names: 0, new_names_loopback: None })?;
        directory.begin()?;
        let key = registry.release(name, now, &directory, &mut Vec::new())?;
        directory.commit()?;
        Ok(key)
    };
    let key = release().with_context(|| format!("can't free {name} in {}", path.display()))?;
    log_release(name, key);
    control::released(name, key)
}

fn log_release(name: &Name, key: Option<PublicKey>) {
    if let Some(key) = key {
        tracing::warn!(%name, %key, "the name was freed");
    }
}

fn default_database() -> anyhow::Result<PathBuf> {
    let strategy =
        etcetera::choose_base_strategy().context("no home directory for the database; use --db")?;
    Ok(strategy.data_dir().join("peerchat").join("discovery.db"))
}

/// Whoever started discovery may have closed its standard output, which is no reason not to serve.
fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// As many connections as wanted, if the system has the descriptors.
fn affordable(wanted: usize) -> usize {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "can't find out how many descriptors there are");
            return wanted;
        }
    };
    let most = usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS).max(1)).unwrap_or(usize::MAX);
    if wanted > most {
        tracing::warn!(wanted, most, descriptors = limit, "fewer connections, for want of descriptors");
    }
    wanted.min(most)
}

/// The loop and what it owns.
struct Server {
    clock: Clock,
    registry: Registry,
    /// Removed before the directory is unlocked: the next discovery has one at the same place.
    _control: Option<Control>,
    directory: Directory,
    connections: Connections,
    /// What has arrived and is not yet decided.
    waiting: VecDeque<Event>,
    /// Nobody is taken for dead before this.
    lenient_until: Instant,
    /// When it was last said that nothing can be saved.
    complained: Option<Instant>,
    about: About,
    refusals: Refusals,
    /// How many transactions could not be saved.
    failed_saves: u64,
}

/// What is told to the operator and decides nothing.
struct About {
    address: SocketAddr,
    database: String,
    key: PublicKey,
    started: Now,
    rejected: Arc<Rejected>,
}

impl Server {
    /// Serves until `stopped` says so.
    fn serve(
        mut self,
        events: &Receiver<Inbound>,
        questions: &Receiver<Question>,
        stopped: &Receiver<()>,
    ) -> store::Result<()> {
        let nothing = never();
        loop {
            let deadline = self.deadline();
            let more = if self.waiting.is_empty() { events } else { &nothing };
            let mut asked = None;
            select! {
                recv(stopped) -> _ => return Ok(()),
                recv(questions) -> question => asked = question.ok(),
                recv(more) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return Ok(()),
                },
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
            let woken = Instant::now();
            self.notice_absence(deadline, woken);
            while self.waiting.len() < BATCH
                && let Ok(event) = events.try_recv()
            {
                self.take(event);
            }
            let actions = self.decide(woken)?;
            self.act(actions, woken);
            if let Some(question) = asked {
                self.answer(question, woken)?;
            }
            self.connections.part(woken);
            self.notice_absence(woken, Instant::now());
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        if !self.waiting.is_empty() {
            return now;
        }
        let silence = self.registry.deadline().and_then(|at| self.clock.instant(at));
        let silence = silence.map(|at| at.max(self.lenient_until));
        [silence, self.connections.deadline()].into_iter().flatten().fold(now + IDLE, Instant::min)
    }

    /// Who should have been here at `due` and comes at `now` may have left a lot unheard.
    fn notice_absence(&mut self, due: Instant, now: Instant) {
        if now.saturating_duration_since(due) > AWAY {
            self.lenient_until = now + HEAR_AGAIN;
        }
    }

    fn take(&mut self, event: Inbound) {
        match event {
            Inbound::Opened(opened, refunds) => {
                let Opened { id: session, key, route, writer, .. } = *opened;
                self.connections.opened(session, route, writer, refunds);
                self.waiting.push_back(Event::Opened { session, key, from: route.remote() });
            }
            Inbound::Messages(session, messages) => {
                let messages = messages.into_iter().map(|message| Event::Message { session, message });
                self.waiting.extend(messages);
            }
            Inbound::Closed(session) => {
                self.connections.closed(session);
                self.waiting.push_back(Event::Closed { session });
            }
        }
    }

    /// Decides on what is waiting and saves it. What can't be saved is decided once more without a disk.
    fn decide(&mut self, woken: Instant) -> store::Result<Vec<Action>> {
        let tick = woken >= self.lenient_until;
        let now = self.clock.now();
        let mut actions = Vec::new();
        let done = match self.transact(now, tick, &mut actions) {
            Ok(done) => done,
            Err(error) if error.is_damage() => return Err(error),
            Err(error) => {
                self.directory.rollback();
                self.registry.undo();
                self.complain(&error, woken);
                actions.clear();
                handle(&mut self.registry, &self.waiting, now, tick, None, &mut actions)?
            }
        };
        self.registry.keep();
        done.registrations.iter().for_each(|(session, told)| self.connections.registered(*session, *told));
        self.waiting.drain(..done.events);
        Ok(actions)
    }

    fn transact(&mut self, now: Now, tick: bool, actions: &mut Vec<Action>) -> store::Result<Done> {
        self.directory.begin()?;
        let directory = Some(&self.directory);
        let done = handle(&mut self.registry, &self.waiting, now, tick, directory, actions)?;
        self.directory.commit()?;
        Ok(done)
    }

    fn act(&mut self, actions: Vec<Action>, now: Instant) {
        self.refusals.count(&actions);
        self.connections.act(&actions, now);
    }

    /// Answers the operator, who may have gone meanwhile.
    fn answer(&mut self, question: Question, now: Instant) -> store::Result<()> {
        match question {
            Question::Status(answer) => _ = answer.try_send(self.status()),
            Question::Release(name, answer) => {
                let released = match self.release(&name, now) {
                    Ok(key) => Ok(key),
                    Err(error) if error.is_damage() => return Err(error),
                    Err(error) => {
                        self.directory.rollback();
                        self.registry.undo();
                        self.complain(&error, now);
                        Err(format!("{name} is not free, for it can't be saved: {error}"))
                    }
                };
                let _ = answer.try_send(released);
            }
        }
        Ok(())
    }

    fn status(&self) -> Status {
        let About { address, database, key, started, rejected } = &self.about;
        let mut refused = self.refusals.clone();
        refused.set("handshake-failed", rejected.handshakes());
        refused.set("full", rejected.full());
        refused.set("address-full", rejected.address_full());
        Status {
            version: env!("CARGO_PKG_VERSION"),
            address: *address,
            database: database.clone(),
            key: *key,
            uptime: self.clock.now().mono.saturating_sub(started.mono) / 1000,
            started: started.wall.div_euclid(1000),
            figures: self.registry.figures(),
            failed_saves: self.failed_saves,
            refused,
        }
    }

    fn release(&mut self, name: &Name, woken: Instant) -> store::Result<Option<PublicKey>> {
        let mut actions = Vec::new();
        self.directory.begin()?;
        let key = self.registry.release(name, self.clock.now(), &self.directory, &mut actions)?;
        self.directory.commit()?;
        self.registry.keep();
        log_release(name, key);
        self.act(actions, woken);
        Ok(key)
    }

    /// Says that nothing can be saved, but not each time.
    fn complain(&mut self, error: &StoreError, now: Instant) {
        self.failed_saves += 1;
        if self.complained.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAIN_AGAIN) {
            tracing::error!(%error, "can't save: changes are refused until it works again");
            self.complained = Some(now);
        }
    }
}

/// What has been decided.
#[derive(Default)]
struct Done {
    /// How many events.
    events: usize,
    /// Who has registered, and to how many messages each registration has led.
    registrations: Vec<(SessionId, usize)>,
}

/// Has the registry decide on `events`.
fn handle(
    registry: &mut Registry,
    events: &VecDeque<Event>,
    now: Now,
    tick: bool,
    directory: Option<&Directory>,
    actions: &mut Vec<Action>,
) -> store::Result<Done> {
    let mut done = Done::default();
    for event in events {
        if actions.len() >= ENOUGH {
            break;
        }
        let before = actions.len();
        registry.handle(event, now, directory, actions)?;
        if let Event::Message { session, message: ToDiscovery::Register(_) } = event {
            done.registrations.push((*session, actions.len() - before));
        }
        done.events += 1;
    }
    if tick && done.events == events.len() {
        registry.tick(now, directory, actions)?;
    }
    Ok(done)
}
