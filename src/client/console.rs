//! What a person or a script sees and types. Threads of its own write and read, so that the loop never
//! waits for either.
//!
//! - `output`: how notices are written; `notify`: a command is run for each message;
//! - `plain`: standard input and output as they are;
//! - `terminal`: a person at a terminal, with `editor` (what keys do), `keys` (what bytes mean), `line`,
//!   `history`, `complete`, `screen` (what is drawn) and `tty` (the terminal's modes).

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::event::{Input, Prompt};
use super::network::Event;
use super::node::OUTPUT_BATCHES;
use super::notice::Told;
use history::History;
use notify::Notifier;
use output::Output;
use terminal::Terminal;
use tty::Tty;

mod complete;
mod editor;
mod history;
mod keys;
mod line;
mod notify;
mod output;
mod plain;
mod screen;
mod terminal;
mod tty;

/// How many groups of commands may wait to be taken. What was read together is handed over together.
const COMMANDS: usize = 16;
/// How long the console may take to write what is left at the end.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the console is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether to write JSON.
    pub json: bool,
    /// Whether commands come from standard input.
    pub commands: bool,
    /// Where to keep what was typed at a terminal.
    pub history: Option<PathBuf>,
    /// Whether no bell is to ring for a message.
    pub quiet: bool,
    /// What to run for each message.
    pub notify: Option<PathBuf>,
    /// The journal, if it has just been made.
    pub made: Option<PathBuf>,
}

/// The way to standard output.
pub struct Console {
    batches: Option<Sender<Vec<Told>>>,
    /// Both ends: a prompt that nobody has looked at is replaced by the next.
    prompts: (Sender<Prompt>, Receiver<Prompt>),
    done: Receiver<()>,
    tty: Option<Tty>,
    notifier: Option<Notifier>,
}

impl Console {
    /// Starts the threads that write and read. Each batch written is answered with [`Input::Printed`]. Also
    /// returns where commands come from.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(options: Options, events: Sender<Event>) -> io::Result<(Self, Receiver<Vec<Input>>)> {
        let (send, batches) = bounded(OUTPUT_BATCHES);
        let prompts = bounded(1);
        let (finished, done) = bounded(1);
        let (commands, receive) = bounded(COMMANDS);
        let tty = Tty::open().filter(|_| options.commands && !options.json);
        let notifier = options.notify.map(Notifier::start).transpose()?;
        let writer = thread::Builder::new().name("output".into());
        if let Some(tty) = tty.clone() {
            let output = Output::text(true, !options.quiet, options.made);
            let history = History::open(options.history);
            let prompts = prompts.1.clone();
            let terminal = Terminal { tty, output, history, batches, prompts, commands, events };
            writer.spawn(move || {
                terminal.run();
                let _ = finished.send(());
            })?;
        } else {
            if options.commands {
                plain::read_commands(options.json, commands)?;
            }
            let output = match options {
                Options { json: true, .. } => Output::json(),
                Options { quiet, made, .. } => Output::text(false, !quiet, made),
            };
            writer.spawn(move || {
                plain::write_all(output, &batches, &events);
                let _ = finished.send(());
            })?;
        }
        Ok((Self { batches: Some(send), prompts, done, tty, notifier }, receive))
    }

    /// Hands over a batch. The node hands over no more than there are places.
    pub fn print(&self, notices: Vec<Told>) {
        if let Some(notifier) = &self.notifier {
            notifier.announce(&notices);
        }
        if let Some(batches) = &self.batches {
            // An output that is closed has been reported, and ends the program.
            let taken = batches.try_send(notices);
            debug_assert!(!matches!(taken, Err(TrySendError::Full(_))), "more batches than places");
        }
    }

    /// The prompt is to show this from now on. Never waits; the latest counts.
    pub fn prompt(&self, prompt: Prompt) {
        let (send, receive) = &self.prompts;
        if let Err(TrySendError::Full(prompt)) = send.try_send(prompt) {
            let _ = receive.try_recv();
            let _ = send.try_send(prompt);
        }
    }

    /// No batch will follow: the receiver answers once all are written.
    pub fn finish(&mut self) -> &Receiver<()> {
        self.batches = None;
        &self.done
    }
}

/// Whatever ends the client, the terminal is as it was.
impl Drop for Console {
    fn drop(&mut self) {
        if let Some(tty) = &self.tty {
            self.batches = None;
            let _ = self.done.recv_timeout(LAST_WORDS);
            tty.restore_modes();
        }
    }
}

/// What could not be written ends the program; that nobody reads any more is no error.
fn output_failed(events: &Sender<Event>, error: &io::Error) {
    let reason = (error.kind() != io::ErrorKind::BrokenPipe).then(|| error.to_string());
    let _ = events.send(Input::OutputClosed(reason).into());
}
