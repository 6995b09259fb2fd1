//! What the user or a script sees and types. A `FrontEnd` writes and reads in threads of its own, so that the loop
//! never waits for either. `Channels` is all that it knows of the client: another front end is another file here, and a
//! line in [`Console::start`].
//!
//! - `pipe`: plain standard input and output, also for `--json`;
//! - `screen`: a user at a terminal, the whole of which is drawn;
//! - `terminal`: a user at a terminal, line by line; `prompt`: what the prompt shows and Tab completes;
//! - `output`: how notices are written, with `flaps`: links that come and go, and `spread`: how many members of a room have a
//!   message; `notify`: runs a command for each message;
//! - `attention`: what calls for the user, and what is shown as unread.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::Config;
use super::event::{Input, Prompt};
use super::network::Event;
use super::node::OUTPUT_BATCHES;
use super::notice::Told;
use crate::terminal::Tty;
pub use attention::Rules;
pub use notify::{Notifier, check as check_notify};
pub use output::First;
use output::Output;
pub use pipe::{Parse, read_command};
use prompt::Shown;

mod attention;
mod flaps;
mod notify;
mod output;
mod pipe;
mod prompt;
pub mod screen;
mod spread;
mod terminal;

/// How many groups of commands may wait to be taken. What was read together is handed over together.
const COMMANDS: usize = 16;
/// How long the console may take to write what is left at the end.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// Shows batches until there are no more, and confirms each. An error ends the client.
type FrontEnd = Box<dyn FnOnce(&Channels) -> io::Result<()> + Send>;

/// A front end's side of the channels to the client.
struct Channels {
    /// Notices to be shown, in order. Closed at the end.
    batches: Receiver<Vec<Told>>,
    /// What the prompt shows from now on.
    prompts: Receiver<Prompt>,
    /// Commands entered; those that came together go together.
    commands: Sender<Vec<Input>>,
    events: Sender<Event>,
}

impl Channels {
    /// False if the client is gone.
    fn tell(&self, input: Input) -> bool {
        self.events.send(input.into()).is_ok()
    }
}

/// Also a front end that panics ends the client.
impl Drop for Channels {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell(Input::OutputClosed(Some("its thread has failed".into())));
        }
    }
}

pub struct Console {
    batches: Option<Sender<Vec<Told>>>,
    /// Both ends: a prompt that the front end has not taken is replaced by the next.
    prompts: (Sender<Prompt>, Receiver<Prompt>),
    done: Receiver<()>,
    tty: Option<Tty>,
    notifier: Option<Notifier>,
}

impl Console {
    /// Starts the front end. Each batch shown is answered with [`Input::Printed`]. `first` says what the user is told first
    /// of all, `notify` what is run for messages. Also returns where commands come from.
    pub fn start(
        config: &Config,
        first: First,
        notify: Option<&Path>,
        events: Sender<Event>,
    ) -> io::Result<(Self, Receiver<Vec<Input>>)> {
        let (json, commands) = (config.json, config.send.is_none());
        let tty = Tty::open().filter(|_| commands && !json);
        let (aliases, rules) = (Arc::clone(&config.aliases), Arc::clone(&config.preferences.rules));
        let bell = (!config.quiet).then(|| Arc::clone(&rules));
        let notifier = notify.map(|program| Notifier::start(program.to_owned(), Arc::clone(&rules)));
        let notifier = notifier.transpose()?;
        let history = config.data_dir.join(format!("{}.history", config.user));
        let front_end: FrontEnd = match tty.clone() {
            Some(tty) if !config.line && tty.has_room(screen::ROOM) => {
                let setup = screen::Setup {
                    tty,
                    history,
                    data_dir: config.data_dir.clone(),
                    user: config.user.to_string(),
                    first,
                    bell: !config.quiet,
                    preferences: config.preferences.clone(),
                    aliases,
                };
                Box::new(|channels| screen::run(setup, channels))
            }
            Some(tty) => {
                let output = Output::text(true, bell, Arc::clone(&aliases), first);
                let prompt = Shown::new(aliases, rules);
                Box::new(move |channels| terminal::run(tty, output, history, prompt, channels))
            }
            None if json => Box::new(move |channels| {
                pipe::run(Output::json(), commands.then_some(Parse::Script), channels)
            }),
            None => {
                let output = Output::text(false, bell, Arc::clone(&aliases), first);
                let parse = commands.then_some(Parse::Typed(aliases));
                Box::new(move |channels| pipe::run(output, parse, channels))
            }
        };
        let (send, batches) = bounded(OUTPUT_BATCHES);
        let prompts = bounded(1);
        let (finished, done) = bounded(1);
        let (commands, receive) = bounded(COMMANDS);
        let channels = Channels { batches, prompts: prompts.1.clone(), commands, events };
        thread::Builder::new().name("output".into()).spawn(move || {
            if let Err(error) = front_end(&channels) {
                // A reader that has simply gone is no error.
                let gone = error.kind() == io::ErrorKind::BrokenPipe;
                channels.tell(Input::OutputClosed((!gone).then(|| error.to_string())));
            }
            let _ = finished.send(());
        })?;
        Ok((Self { batches: Some(send), prompts, done, tty, notifier }, receive))
    }

    /// Hands over a batch. The node hands over no more than there are places.
    pub fn print(&mut self, notices: Vec<Told>) {
        if let Some(notifier) = &mut self.notifier {
            notifier.announce(&notices);
        }
        if let Some(batches) = &self.batches {
            // An output that is closed has been reported, and ends the program.
            let taken = batches.try_send(notices);
            debug_assert!(!matches!(taken, Err(TrySendError::Full(_))), "more batches than places");
        }
    }

    /// What the prompt shows from now on. Never waits; the latest counts.
    pub fn prompt(&self, prompt: Prompt) {
        let (send, receive) = &self.prompts;
        if let Err(TrySendError::Full(prompt)) = send.try_send(prompt) {
            let _ = receive.try_recv();
            let _ = send.try_send(prompt);
        }
    }

    /// No batch will follow; the receiver answers once all are written.
    pub fn finish(&mut self) -> &Receiver<()> {
        self.batches = None;
        &self.done
    }
}

/// The terminal is restored, whatever ends the client.
impl Drop for Console {
    fn drop(&mut self) {
        if let Some(tty) = &self.tty {
            self.batches = None;
            let _ = self.done.recv_timeout(LAST_WORDS);
            tty.restore_modes();
        }
    }
}
