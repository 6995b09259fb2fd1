//! A box on the client that runs already: the front ends of this program, with what the socket tells in place of a node.
//!
//! - `link`: the connection; `account`: what has become of what was said here, for the exit status;
//! - `send`: one text that goes through the client, with `errand`: what to say for that.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use crossbeam_channel::{Receiver, bounded, never, select};

use super::Config;
use super::command::{Command, Reference};
use super::console::{Console, First, LAST_WORDS};
use super::event::{Input, Prompt};
use super::network::Event;
use super::node::OUTPUT_BATCHES;
use super::notice::{ErrorNotice, Notice, PromptLine, Told};
use account::Account;
pub use link::Link;
use link::line;
pub use send::send;

mod account;
mod errand;
mod link;
mod send;

/// How many events of the front end may wait.
const EVENTS: usize = 256;
/// How long a box that was cut off looks for the client.
const FIND: Duration = Duration::from_secs(2);
/// How long it rests between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What the last command is called: once it is answered, all are.
const LAST: &str = "the end of the input";

/// Waits for a client to take boxes: one that has just started makes its socket at once. `None` if there is none.
pub fn find(config: &Config, journal: &Path) -> anyhow::Result<Option<(Link, Vec<Told>)>> {
    let deadline = Instant::now() + FIND;
    loop {
        let found = Link::open(&config.user, journal, begins(config).as_ref())?;
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
}

/// Runs a box until it ends, and returns its exit status.
pub fn run(
    config: &Config,
    journal: &Path,
    signals: Receiver<()>,
    (link, first): (Link, Vec<Told>),
) -> anyhow::Result<u8> {
    let (send, events) = bounded::<Event>(EVENTS);
    let (console, commands) = Console::start(config, First::Attached, config.notify_in_box.as_deref(), send)?;
    let mut it = Attached {
        config,
        journal,
        link,
        console,
        commands,
        events,
        signals,
        outgoing: VecDeque::new(),
        unwritten: 0,
        prompt: Prompt::default(),
        account: Account::default(),
        input_ends: None,
        end: None,
    };
    it.heard(first);
    it.run()
}

struct Attached<'c> {
    config: &'c Config,
    journal: &'c Path,
    link: Link,
    console: Console,
    commands: Receiver<Vec<Input>>,
    events: Receiver<Event>,
    signals: Receiver<()>,
    /// What is said next: nothing more is entered meanwhile.
    outgoing: VecDeque<Vec<u8>>,
    /// How many batches the front end has not written.
    unwritten: usize,
    prompt: Prompt,
    account: Account,
    /// There is no more input, and at this time no more patience; `None` inside for no end of it.
    input_ends: Option<Option<Instant>>,
    end: Option<(u8, Option<String>)>,
}

impl Attached<'_> {
    fn run(mut self) -> anyhow::Result<u8> {
        while self.end.is_none() {
            self.wait()?;
            if let Some(deadline) = self.input_ends {
                let over = deadline.is_some_and(|at| Instant::now() >= at);
                self.end = self.end.take().or_else(|| self.account.status(over));
            }
        }
        let done = self.console.finish().clone();
        let _ = done.recv_timeout(LAST_WORDS);
        let (status, why) = self.end.take().unwrap_or_default();
        if let Some(why) = why {
            let _ = writeln!(std::io::stderr(), "client: {why}");
        }
        Ok(status)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        // Nothing is ever taken from it.
        let (nowhere, _receiver) = bounded(0);
        // A few places are left for what is told here.
        let told = if self.unwritten + 8 < OUTPUT_BATCHES { self.link.told.clone() } else { never() };
        let idle = self.outgoing.is_empty();
        let commands = if idle { self.commands.clone() } else { never() };
        let say = if idle { &nowhere } else { &self.link.say };
        let next = self.outgoing.front().cloned().unwrap_or_default();
        let left = self.input_ends.flatten().map(|at| at.saturating_duration_since(Instant::now()));
        let wait = left.unwrap_or(Duration::MAX);
        select! {
            recv(told) -> told => match told {
                Ok(batch) => self.heard(batch),
                Err(_) => self.find_again()?,
            },
            recv(commands) -> inputs => match inputs {
                Ok(inputs) => inputs.into_iter().for_each(|input| self.entered(input)),
                Err(_) => self.commands = never(),
            },
            recv(self.events) -> event => event.into_iter().for_each(|event| self.happened(&event.input)),
            recv(self.signals) -> _ => self.leave(),
            send(say, next) -> _ => drop(self.outgoing.pop_front()),
            default(wait) => {}
        }
        Ok(())
    }

    fn say(&mut self, command: &Command, reference: Option<&Reference>) {
        self.outgoing.push_back(line(command, reference));
    }

    fn heard(&mut self, batch: Vec<Told>) {
        let mut shown = Vec::new();
        for told in batch {
            self.account.heard(&told);
            match &told.notice {
                Notice::Prompt(line) if !self.config.json => self.show_prompt(line),
                Notice::Outbox { .. } if told.reference.as_ref().is_some_and(is_last) => {
                    self.account.all_answered();
                }
                notice => {
                    match notice {
                        Notice::Detached => self.end = Some((0, None)),
                        // What was said and waits is kept by then, and nothing more is answered.
                        Notice::Bye { .. } if self.input_ends.is_some() => {
                            self.account.all_answered();
                            self.end = self.account.status(true);
                        }
                        Notice::Bye { .. } => self.end = Some((0, None)),
                        _ => {}
                    }
                    shown.push(told);
                }
            }
        }
        self.show(shown);
    }

    fn show(&mut self, batch: Vec<Told>) {
        if !batch.is_empty() {
            self.unwritten += 1;
            self.console.print(batch);
        }
    }

    fn show_prompt(&mut self, line: &PromptLine) {
        let PromptLine { conversation, waiting, unread, work, contacts, rooms } = line.clone();
        let prompt = &mut self.prompt;
        (prompt.conversation, prompt.waiting) = (conversation, waiting);
        (prompt.unread, prompt.work) = (unread, work);
        contacts.into_iter().for_each(|contacts| prompt.contacts = contacts.into());
        rooms.into_iter().for_each(|rooms| prompt.rooms = rooms.into());
        self.console.prompt(prompt.clone());
    }

    fn entered(&mut self, input: Input) {
        match input {
            Input::Command { command: Ok(command), reference } => self.say(&command, reference.as_ref()),
            Input::Command { command: Err(error), reference } => {
                let notice = Notice::Error(ErrorNotice::new((&error).into(), error.to_string()));
                self.account.note_refused();
                self.show(vec![Told { reference, ..Told::from(notice) }]);
            }
            Input::InputEnded => {
                self.say(&Command::Outbox, Some(&Reference::Text(LAST.into())));
                self.input_ends = Some(self.config.linger.and_then(|it| Instant::now().checked_add(it)));
            }
            _ => {}
        }
    }

    fn happened(&mut self, input: &Input) {
        match input {
            Input::Printed => self.unwritten = self.unwritten.saturating_sub(1),
            Input::Signal => self.leave(),
            Input::OutputClosed(error) => {
                let why = error.as_ref().map(|error| format!("standard output can't be written: {error}"));
                self.end = Some((u8::from(why.is_some()), why));
            }
            _ => {}
        }
    }

    /// The user leaves this box.
    fn leave(&mut self) {
        self.show(vec![Notice::Detached.into()]);
        self.end = Some((0, None));
    }

    /// The connection is gone: perhaps this box was too slow, and is attached again.
    fn find_again(&mut self) -> anyhow::Result<()> {
        let Some((link, first)) = find(self.config, self.journal)? else {
            let user = &self.config.user;
            bail!("the client of {user} has ended without a word; what was sent is kept");
        };
        self.link = link;
        // What was on its way may have been taken or not, and is not said twice.
        self.outgoing.clear();
        if let Some(conversation) = self.prompt.conversation.clone() {
            self.say(&Command::Converse(Some(conversation)), None);
        }
        if self.input_ends.is_some() {
            self.say(&Command::Outbox, Some(&Reference::Text(LAST.into())));
        }
        self.heard(first);
        Ok(())
    }
}

fn is_last(reference: &Reference) -> bool {
    matches!(reference, Reference::Text(text) if text == LAST)
}

/// The first word of this side.
fn begins(config: &Config) -> Option<Command> {
    match &config.send {
        Some(_) => Some(Command::Quiet),
        None => (!config.json).then_some(Command::Prompt),
    }
}

/// A box without a client is an error.
pub fn must_run(config: &Config, journal: &Path) -> anyhow::Result<(Link, Vec<Told>)> {
    let user = &config.user;
    ensure!(journal.exists(), "there is no account {user} in {}", config.data_dir.display());
    match Link::open(user, journal, begins(config).as_ref())? {
        Some(found) => Ok(found),
        None => bail!("no client of {user} is running; client {user} PORT --detach starts one"),
    }
}
