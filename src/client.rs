//! The client: threads that block on a socket, a line or a signal, and one loop that owns the state.
//!
//! The loop takes what has arrived, lets the [`node`] decide inside one transaction, commits, and only then
//! acts.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, bounded, never, select};

use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};
use crate::scheduling;
use crate::store::StoreError;
use crate::store::journal::{Journal, SEGMENT};
use crate::time::Clock;
use crate::transport::{self, Buffers, Writer};
use boxes::Boxes;
use command::Aliases;
use console::screen::Preferences;
use console::{Console, First, LAST_WORDS, Notifier};
use endpoints::Endpoint;
use event::{ANSWERS, Action, ConnectionId, Input, WITNESS};
use floor::Floor;
use network::mapping::Mapper;
use network::{Event, Network};
use node::{ForBox, Node, Setup};
use one_shot::OneShot;

pub mod addressee;
mod attach;
mod boxes;
pub mod command;
pub mod console;
pub mod detach;
pub mod did_you_mean;
pub mod endpoints;
pub mod event;
mod floor;
pub mod network;
pub mod node;
pub mod notice;
pub mod one_shot;
pub mod resembles;
pub mod settings;
pub mod transfer;
pub mod verification;

/// How long the end of the program waits for a router to forget its port.
const UNMAP_WITHIN: Duration = Duration::from_secs(1);
/// How many events may wait for the loop. A reader that is faster waits; each event is at most a frame.
const EVENTS: usize = 256;
/// How often the loop looks whether this machine still has the addresses that its connections were made from.
const LOOK_AROUND: Duration = Duration::from_secs(2);
const MAX_INPUTS: usize = 2048;
/// How much one transaction takes, in messages: with more, each would wait long for the commit.
const MAX_WEIGHT: usize = 4096;

#[derive(Debug, Clone)]
pub struct Config {
    pub user: Name,
    /// Where it listens, and what it gives out.
    pub listen: SocketAddr,
    /// Where discovery is: any of these will do. Never none.
    pub discovery: Arc<[Endpoint]>,
    pub data_dir: PathBuf,
    pub json: bool,
    /// How long to stay after the end of input; `None`: until everything is delivered.
    pub linger: Option<Duration>,
    /// The key that discovery must have; `None`: the one seen first.
    pub discovery_key: Option<PublicKey>,
    pub strangers: Strangers,
    /// How many bytes of the disk are kept free of what peers send; `None`: 256 MiB, or a twentieth of a small one.
    pub keep_free: Option<u64>,
    /// No bell rings for a message.
    pub quiet: bool,
    /// What is run for each message.
    pub notify: Option<PathBuf>,
    /// The same, if this is a box on a client that runs: that client runs the usual command, and once is enough.
    pub notify_in_box: Option<PathBuf>,
    pub aliases: Arc<Aliases>,
    /// What calls for the user, and the keys and colours of the full screen.
    pub preferences: Preferences,
    /// Line by line also at a terminal with room for a whole screen.
    pub line: bool,
    /// Only a box on the client that is running.
    pub attach: bool,
    /// Without a terminal: what is told is for boxes alone.
    pub detached: bool,
    /// The one text to be sent, in place of what is typed.
    pub send: Option<OneShot>,
}

pub fn default_data_dir() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy;
    let strategy = etcetera::choose_base_strategy().context("no data directory; name one with --data-dir")?;
    Ok(strategy.data_dir().join("peerchat"))
}

fn journal_path(data_dir: &Path, user: &Name) -> PathBuf {
    data_dir.join(format!("{user}.journal"))
}

/// Runs a client until it ends, and returns its exit status.
pub fn run(config: &Config) -> anyhow::Result<u8> {
    scheduling::batch();
    // Everything that can be wrong is found before discovery hears of this client.
    if let Some(program) = &config.notify {
        console::check_notify(program)
            .with_context(|| format!("--notify: can't run {}", program.display()))?;
    }
    let journal_path = journal_path(&config.data_dir, &config.user);
    if config.attach {
        let found = attach::must_run(config, &journal_path)?;
        return attach::run(config, &journal_path, signals()?, found);
    }
    let made = !journal_path.exists();
    // The lock on the journal tells whether a client of this user runs, and that is the better answer where its port is
    // taken as well. A port that is taken makes no account.
    let open = || Journal::open(&journal_path, &config.user);
    let mut opened = (!made || config.send.is_some()).then(open);
    if let Some(Err(StoreError::InUse(_))) = &opened {
        let user = &config.user;
        ensure!(
            !config.detached,
            "{user} is already running; client {user} --attach opens a box on that client"
        );
        if let Some(found) = attach::find(config, &journal_path)? {
            return match &config.send {
                Some(one) => attach::send(config, one, &signals()?, found),
                None => attach::run(config, &journal_path, signals()?, found),
            };
        }
        // One that was about to end may have done so.
        opened = Some(open());
    }
    let explain = |error| match &config.send {
        Some(one) => one.explain(&config.user, error),
        None => explain(&config.user, error),
    };
    let opened = opened.transpose().map_err(explain)?;
    let listener =
        transport::listen(config.listen).with_context(|| format!("can't listen on {}", config.listen))?;
    let listen = listener.local_addr().context("can't listen")?;
    let journal = opened.map_or_else(open, Ok)?;
    let (name, keypair) = journal.identity()?;
    let signals = signals()?;
    let floor = Floor::new(journal_path.clone(), config.keep_free);
    let (send, events) = bounded::<Event>(EVENTS);
    let first = if made { First::Made(journal_path.clone()) } else { First::Usual };
    // What is sent alone is told by the exit status, unless a script wants to know more.
    let has_console = !config.detached && (config.json || config.send.is_none());
    let (console, commands) = if has_console {
        let started = Console::start(config, first, config.notify.as_deref(), send.clone());
        let (console, commands) = started.context("no thread for the console")?;
        (Some(console), commands)
    } else {
        (None, never())
    };

    let clock = Clock::start();
    tracing::info!(user = %name, %listen, key = %keypair.public(), "started");
    let setup = Setup {
        name,
        keypair: keypair.clone(),
        listen,
        endpoints: config.discovery.iter().map(Endpoint::to_string).collect(),
        discovery_key: config.discovery_key,
        strangers: config.strangers,
        silent: console.is_none(),
        segment: SEGMENT,
        linger: config.linger,
        epoch: getrandom::u64()?,
        seed: getrandom::u64()?,
    };
    let network = Network::new(keypair, listen, send);
    network.accept(listener).context("no thread to listen")?;
    let node = Node::new(setup, clock.now(), &journal)?;
    let boxes = if config.send.is_some() { Boxes::none() } else { take_boxes(config, &journal_path)? };
    let notify = config.notify.clone().filter(|_| config.detached);
    let notifier = notify.map(|program| Notifier::start(program, Arc::clone(&config.preferences.rules)));
    let notifier = notifier.transpose().context("no thread for the command")?;
    let text = config.send.clone().map(|OneShot { to, text }| Input::Send { to, text });
    let first = text.into_iter().chain(notifier.is_some().then_some(Input::Attached(WITNESS))).collect();
    if config.detached {
        detach::ready(listen).context("the standard streams can't be closed")?;
    }
    let mut client = Loop {
        boxes,
        notifier,
        clock,
        journal,
        node,
        network,
        endpoints: Arc::clone(&config.discovery),
        console,
        links: HashMap::new(),
        heard: Instant::now(),
        mapper: None,
        typed: VecDeque::new(),
        looked: Instant::now(),
        floor,
        buffers: Buffers::default(),
        failed: Vec::new(),
        exit: None,
        events,
        commands,
        signals,
    };
    client.run(first)
}

/// An error that says what to do if the user's client is running.
fn explain(user: &Name, error: StoreError) -> anyhow::Error {
    match error {
        StoreError::InUse(path) => {
            anyhow::anyhow!("{user} is already running: {} is in use; log out there first", path.display())
        }
        other => other.into(),
    }
}

fn signals() -> anyhow::Result<Receiver<()>> {
    let (send, signals) = bounded(1);
    ctrlc::set_handler(move || {
        let _ = send.try_send(());
    })
    .context("can't handle signals")?;
    Ok(signals)
}

/// A client at a terminal is worth something without a socket; one without a terminal is not.
fn take_boxes(config: &Config, journal: &Path) -> anyhow::Result<Boxes> {
    match Boxes::listen(&config.user, journal, config.detached) {
        Err(error) if config.detached => Err(error).context("there is no socket for boxes"),
        Err(error) => {
            tracing::error!(%error, "there is no socket: no box can attach");
            Ok(Boxes::none())
        }
        boxes => Ok(boxes?),
    }
}

/// Takes over the writing half of a new connection, and keeps when discovery was heard.
fn open(event: Event, links: &mut HashMap<ConnectionId, Writer>, heard: &mut Instant) -> Input {
    if let Some((id, writer)) = event.opened {
        links.insert(id, writer);
    }
    match event.input {
        Input::LinkClosed(id) | Input::RendezvousClosed(id) => _ = links.remove(&id),
        Input::RendezvousSays(..) => *heard = event.at,
        _ => {}
    }
    event.input
}

struct Loop {
    /// Its socket goes before the journal's lock does.
    boxes: Boxes,
    /// Announces messages where there is no console.
    notifier: Option<Notifier>,
    clock: Clock,
    journal: Journal,
    node: Node,
    network: Network,
    endpoints: Arc<[Endpoint]>,
    /// Nothing is shown without it.
    console: Option<Console>,
    links: HashMap<ConnectionId, Writer>,
    /// When discovery has last said something.
    heard: Instant,
    /// What has a router pass on what comes for this client, once that is wanted.
    mapper: Option<Mapper>,
    /// Commands that have come and are not yet taken in.
    typed: VecDeque<Input>,
    looked: Instant,
    floor: Floor,
    buffers: Buffers,
    /// What came of acting, to be taken in next: what could not even be tried, and boxes that were cut.
    failed: Vec<Input>,
    exit: Option<(u8, Option<String>)>,
    events: Receiver<Event>,
    commands: Receiver<Vec<Input>>,
    signals: Receiver<()>,
}

impl Loop {
    fn run(&mut self, mut inputs: Vec<Input>) -> anyhow::Result<u8> {
        self.look_at_disk(&mut inputs);
        while self.exit.is_none() {
            self.transact(&inputs)?;
            inputs.clear();
            if self.exit.is_none() {
                self.wait(&mut inputs);
                if self.floor.is_low() || inputs.iter().any(Input::is_from_peers) {
                    self.look_at_disk(&mut inputs);
                }
                self.close_stranded();
            }
        }
        let said = self.last_words();
        if let Some(mapper) = self.mapper.take() {
            mapper.end(UNMAP_WITHIN);
        }
        said?;
        let (status, why) = self.exit.take().unwrap_or_default();
        tracing::info!(status, "ended");
        if let Some(why) = why {
            let _ = writeln!(std::io::stderr(), "client: {why}");
        }
        Ok(status)
    }

    /// Waits for something to happen, and takes everything that has.
    fn wait(&mut self, inputs: &mut Vec<Input>) {
        inputs.append(&mut self.failed);
        let now = self.clock.now();
        let welcome = self.node.takes_commands(now);
        let said = self.boxes.has_commands(|id| self.node.box_takes_commands(id, now));
        let ready = said || (welcome && !self.typed.is_empty());
        let taken = if welcome && self.typed.is_empty() { self.commands.clone() } else { never() };
        let deadline = self.clock.to_std(self.node.deadline());
        let wait = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let most = if self.links.is_empty() && !self.floor.is_low() {
            Duration::from_secs(3600)
        } else {
            LOOK_AROUND
        };
        let wait = if inputs.is_empty() && !ready { wait.min(most) } else { Duration::ZERO };
        select! {
            recv(self.events) -> event => inputs.extend(event.ok().map(|event| open(event, &mut self.links, &mut self.heard))),
            recv(taken) -> typed => match typed {
                Ok(typed) => self.typed.extend(typed),
                // It has said so, and would say so again and again.
                Err(_) => self.commands = never(),
            },
            recv(self.signals) -> _ => inputs.push(Input::Signal),
            recv(self.boxes.events) -> happened => inputs.extend(happened.ok().and_then(|it| self.boxes.take(it))),
            default(wait) => {}
        }
        while inputs.len() < MAX_INPUTS
            && let Ok(happened) = self.boxes.events.try_recv()
        {
            inputs.extend(self.boxes.take(happened));
        }
        let mut weight: usize = inputs.iter().map(Input::weight).sum();
        while inputs.len() < MAX_INPUTS
            && weight < MAX_WEIGHT
            && let Ok(event) = self.events.try_recv()
        {
            let input = open(event, &mut self.links, &mut self.heard);
            weight += input.weight();
            inputs.push(input);
        }
        // Between two transactions it shows whether there is room for more answers.
        let mut answers = 0_usize;
        while welcome && inputs.len() < MAX_INPUTS && answers < ANSWERS {
            if let Some(input) = self.typed.pop_front() {
                answers = answers.saturating_add(input.answer());
                inputs.push(input);
            } else if let Ok(typed) = self.commands.try_recv() {
                self.typed.extend(typed);
            } else {
                break;
            }
        }
        while inputs.len() < MAX_INPUTS && answers < ANSWERS {
            let node = &self.node;
            let Some(input) = self.boxes.next_command(|id| node.box_takes_commands(id, now)) else {
                break;
            };
            answers = answers.saturating_add(input.answer());
            inputs.push(input);
        }
    }

    /// The disk is what the rest of the transaction is decided by.
    fn look_at_disk(&mut self, inputs: &mut Vec<Input>) {
        if let Some(space) = self.floor.look(Instant::now()) {
            inputs.insert(0, Input::Disk(space));
        }
    }

    /// Closes connections made from an address that this machine has lost. Nothing more can come over them, but
    /// the kernel leaves them alone; that they are silent would show much later.
    fn close_stranded(&mut self) {
        if self.looked.elapsed() < LOOK_AROUND {
            return;
        }
        self.looked = Instant::now();
        let mut lost = HashMap::new();
        for writer in self.links.values() {
            if let Some(ip) = writer.local().map(|local| local.ip())
                && *lost.entry(ip).or_insert_with(|| transport::is_lost(ip))
            {
                tracing::info!(%ip, "a connection from an address that this machine has lost is closed");
                writer.close();
            }
        }
    }

    fn transact(&mut self, inputs: &[Input]) -> anyhow::Result<()> {
        let now = self.clock.now();
        let decided = self
            .journal
            .begin()
            .and_then(|()| {
                inputs.iter().try_for_each(|input| self.node.handle(now, &self.journal, input))?;
                self.node.finish(now, &self.journal)
            })
            .and_then(|()| self.journal.commit());
        let actions = match decided {
            Ok(()) => self.node.committed(),
            Err(error @ StoreError::Lost { .. }) => {
                return Err(error).context("what was typed last was not kept");
            }
            Err(error) if error.is_damage() => return Err(error).context("the journal is damaged"),
            Err(error) => {
                tracing::error!(%error, "the journal can't be written");
                self.journal.rollback();
                self.node
                    .failed(now, &self.journal, inputs, getrandom::u64()?)
                    .context("the journal can't be read")?
            }
        };
        actions.into_iter().for_each(|action| self.act(action));
        for (id, what) in self.node.for_boxes() {
            self.failed.extend(match (what, &mut self.notifier) {
                (ForBox::Print(batch), Some(notifier)) if id == WITNESS => {
                    notifier.announce(&batch);
                    Some(Input::Written(WITNESS))
                }
                (what, _) => self.boxes.give(id, what),
            });
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::DialRendezvous { key, tried, seed } => {
                let endpoints = Arc::clone(&self.endpoints);
                self.failed.extend(self.network.dial_rendezvous(endpoints, key, tried, seed));
            }
            Action::TellDiscovery(session, messages) => self.send(session, &messages),
            Action::Dial { contact, name, key, routes, worked } => {
                tracing::debug!(%name, ?routes, "dialling");
                self.failed.extend(self.network.dial(contact, key, routes, worked));
            }
            Action::Punch { contact, name, key, punching } => {
                tracing::debug!(%name, remotes = ?punching.remotes, "punching");
                self.failed.extend(self.network.punch(contact, key, punching, self.heard));
            }
            Action::Relay { contact, name, key, through, told, ticket } => {
                tracing::debug!(%name, %through, "asking to be joined");
                self.failed.extend(self.network.relay(contact, key, (through, told), ticket));
            }
            Action::MapPort => match &self.mapper {
                Some(mapper) => mapper.again(),
                None => self.mapper = self.network.map_port(),
            },
            Action::Send(link, messages) => self.send(link, &messages),
            Action::Close(link) => {
                self.links.remove(&link);
            }
            Action::Print(notices) => {
                if let Some(console) = &mut self.console {
                    console.print(notices);
                }
            }
            Action::Prompt(prompt) => {
                if let Some(console) = &self.console {
                    console.prompt(prompt);
                }
            }
            Action::Exit(status, why) => self.exit = Some((status, why)),
        }
    }

    fn send<T: minicbor::Encode<()>>(&mut self, link: ConnectionId, messages: &[T]) {
        if let Some(writer) = self.links.get_mut(&link)
            && let Err(error) = writer.send(messages, &mut self.buffers)
        {
            tracing::info!(%error, "a connection did not take a frame and is closed");
        }
    }

    /// Lets the front ends finish, and saves what they have shown.
    fn last_words(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LAST_WORDS;
        let mut inputs = Vec::new();
        let mut done = self.console.as_mut().map(|console| console.finish().clone());
        let mut boxes_done = Some(self.boxes.finish());
        let printed = |event: Event| Some(event.input).filter(|it| matches!(it, Input::Printed));
        // Others may go on talking: only the time and the front ends count.
        while (done.is_some() || boxes_done.is_some()) && Instant::now() < deadline {
            select! {
                recv(self.events) -> event => inputs.extend(event.ok().and_then(printed)),
                recv(self.boxes.events) -> happened => inputs.extend(happened.ok().and_then(|it| self.boxes.take(it))),
                recv(done.as_ref().unwrap_or(&never())) -> _ => done = None,
                recv(boxes_done.as_ref().unwrap_or(&never())) -> _ => boxes_done = None,
                default(deadline.saturating_duration_since(Instant::now())) => break,
            }
        }
        inputs.extend(self.events.try_iter().take(EVENTS).filter_map(printed));
        let happened: Vec<_> = self.boxes.events.try_iter().take(EVENTS).collect();
        inputs.extend(happened.into_iter().filter_map(|it| self.boxes.take(it)));
        self.transact(&inputs)
    }
}
