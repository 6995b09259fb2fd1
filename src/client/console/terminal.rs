//! A person at a terminal: one thread owns it, and both what arrives and what is typed pass through it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::editor::{Editor, Outcome};
use super::history::History;
use super::keys::{Decoder, Key};
use super::output::Output;
use super::output_failed;
use super::screen::{Screen, echo};
use super::tty::Tty;
use crate::client::command::{self, Command, MAX_LINE, Reference};
use crate::client::event::{Input, Prompt};
use crate::client::network::Event;
use crate::client::notice::{Notice, Told};

/// How many pieces of what is typed may wait.
const PIECES: usize = 16;
/// How many bytes are read at once.
const PIECE: usize = 4096;
/// How many bytes are gathered before they are written.
const GATHERED: usize = 64 * 1024;

/// What the terminal's thread is given.
pub struct Terminal {
    pub tty: Tty,
    pub output: Output,
    pub history: History,
    pub batches: Receiver<Vec<Told>>,
    pub prompts: Receiver<Prompt>,
    pub commands: Sender<Vec<Input>>,
    pub events: Sender<Event>,
}

/// Gives the terminal back however its thread ends.
struct Taken(Tty);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Messages that are typed and not yet answered: they are shown once they are safe, or if they come to nothing.
#[derive(Default)]
struct Said {
    last: i64,
    /// What each is called, what stood before it, and it itself.
    lines: VecDeque<(i64, String, String)>,
}

impl Said {
    /// Keeps a message; every answer to it repeats the reference.
    fn keep(&mut self, prompt: String, line: String) -> Reference {
        self.last += 1;
        self.lines.push_back((self.last, prompt, line));
        Reference::Number(self.last)
    }

    /// Writes what is not to be lost from sight before this is told.
    fn answered(&mut self, told: &Told, out: &mut Vec<u8>) {
        let Some(Reference::Number(answered)) = told.reference else {
            return;
        };
        // Messages are answered in order, but where nobody reads, some answers are dropped.
        while let Some((number, prompt, line)) = self.lines.pop_front_if(|(number, ..)| *number <= answered) {
            if number < answered || !matches!(told.notice, Notice::Queued { .. }) {
                echo(&prompt, &line, out);
            }
        }
    }
}

/// Ends the program if its terminal's thread ends before its time.
struct Watched(Sender<Event>);

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Input::OutputClosed(Some("its thread has failed".into())).into());
        }
    }
}

impl Terminal {
    /// Runs until no batch can follow.
    pub fn run(self) {
        let _watched = Watched(self.events.clone());
        let taken = Taken(self.tty.clone());
        let events = self.events.clone();
        let result =
            self.tty.take().and_then(|()| Session::start(self)).and_then(|mut session| session.run());
        drop(taken);
        if let Err(error) = result {
            output_failed(&events, &error);
        }
    }
}

struct Session {
    given: Terminal,
    editor: Editor,
    screen: Screen,
    decoder: Decoder,
    keys: Receiver<Vec<u8>>,
    signals: Receiver<()>,
    /// Typed, and not yet taken by the loop: no key is looked at meanwhile.
    waiting: VecDeque<Input>,
    said: Said,
    out: Vec<u8>,
    /// How many batches are in `out`.
    batches: usize,
    /// Whether the client has said goodbye.
    over: bool,
}

impl Session {
    fn start(mut given: Terminal) -> io::Result<Self> {
        let history = std::mem::replace(&mut given.history, History::open(None));
        let mut screen = Screen::new(given.output.has_colour());
        let (width, height) = Tty::size();
        screen.resize(width, height);
        Ok(Self {
            editor: Editor::new(history),
            screen,
            decoder: Decoder::new(MAX_LINE),
            keys: read_keys()?,
            signals: watch_signals()?,
            waiting: VecDeque::new(),
            said: Said::default(),
            out: Vec::new(),
            batches: 0,
            over: false,
            given,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        // Nothing is ever received from it.
        let (nowhere, _nobody) = bounded(0);
        loop {
            self.write()?;
            let idle = self.waiting.is_empty();
            let keys = if idle { self.keys.clone() } else { never() };
            let commands = if idle { nowhere.clone() } else { self.given.commands.clone() };
            select! {
                recv(self.given.batches) -> notices => match notices {
                    Ok(notices) => self.print(&notices),
                    Err(_) => break,
                },
                recv(self.given.prompts) -> prompt => prompt.into_iter().for_each(|it| self.editor.set_prompt(it)),
                recv(keys) -> bytes => match bytes {
                    Ok(bytes) => self.take_keys(&bytes)?,
                    // The terminal is gone.
                    Err(_) => {
                        self.keys = never();
                        let _ = self.given.events.send(Input::Signal.into());
                    }
                },
                recv(self.signals) -> _ => self.look_again()?,
                send(commands, self.waiting.drain(..).collect()) -> _ => {}
            }
            while self.out.len() < GATHERED
                && let Ok(notices) = self.given.batches.try_recv()
            {
                self.print(&notices);
            }
            self.given.prompts.try_iter().for_each(|prompt| self.editor.set_prompt(prompt));
        }
        self.over = true;
        self.write()
    }

    /// Takes what is typed off the screen, to be drawn again below what is written next.
    fn above(&mut self) -> &mut Vec<u8> {
        self.screen.erase(&mut self.out);
        &mut self.out
    }

    fn print(&mut self, notices: &[Told]) {
        self.screen.erase(&mut self.out);
        notices.iter().for_each(|told| self.said.answered(told, &mut self.out));
        self.given.output.write(notices, &mut self.out);
        self.over |= notices.iter().any(|told| matches!(told.notice, Notice::Bye { .. }));
        self.batches += 1;
    }

    /// Writes what has been gathered and what is typed below it, in one piece. Only then have the batches
    /// been shown.
    fn write(&mut self) -> io::Result<()> {
        self.screen.erase(&mut self.out);
        if !self.over {
            self.screen.draw(&self.editor.view(), &mut self.out);
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out).and_then(|()| stdout.flush())?;
        self.out.clear();
        for _ in 0..std::mem::take(&mut self.batches) {
            // If the loop is gone, nobody wants to know.
            let _ = self.given.events.send(Input::Printed.into());
        }
        Ok(())
    }

    fn take_keys(&mut self, bytes: &[u8]) -> io::Result<()> {
        for key in self.decoder.keys(bytes) {
            self.take_key(key)?;
        }
        Ok(())
    }

    fn take_key(&mut self, key: Key) -> io::Result<()> {
        match self.editor.key(key) {
            Outcome::Nothing => {}
            Outcome::Submit(lines) => {
                for line in lines {
                    let (prompt, command) = (self.editor.plain_prompt(), command::parse(&line));
                    // A message is shown with its time once it is safe.
                    let reference = if self.editor.is_message(&line) {
                        Some(self.said.keep(prompt, line))
                    } else {
                        echo(&prompt, &line, self.above());
                        None
                    };
                    self.waiting.extend(command.map(|command| Input::Command { command, reference }));
                }
            }
            Outcome::Interrupt => _ = self.given.events.send(Input::Signal.into()),
            Outcome::End => self.waiting.push_back(Input::typed(Ok(Command::Logout))),
            Outcome::Suspend => self.suspend()?,
            Outcome::Clear => self.screen.clear(&mut self.out),
        }
        Ok(())
    }

    /// Stops the program until the shell wants it to go on.
    fn suspend(&mut self) -> io::Result<()> {
        let was_over = std::mem::replace(&mut self.over, true);
        self.write()?;
        self.over = was_over;
        self.given.tty.give_back();
        signal_hook::low_level::raise(SIGTSTP)?;
        self.look_again()
    }

    /// The terminal may have another size, or have been used by others.
    fn look_again(&mut self) -> io::Result<()> {
        self.given.tty.take()?;
        let (width, height) = Tty::size();
        self.screen.resize(width, height);
        Ok(())
    }
}

/// Starts the thread that waits for keys.
fn read_keys() -> io::Result<Receiver<Vec<u8>>> {
    let (send, keys) = bounded(PIECES);
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut piece = [0; PIECE];
        loop {
            let read = match stdin.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(read) if read > 0 => piece.get(..read).unwrap_or_default().to_vec(),
                _ => return,
            };
            if send.send(read).is_err() {
                return;
            }
        }
    })?;
    Ok(keys)
}

/// Starts the thread that waits for changes of the terminal.
fn watch_signals() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT])?;
    let (send, changed) = bounded(1);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            // One that waits stands for all.
            let _ = send.try_send(());
        }
    })?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::{Body, Code, Trouble};
    use crate::protocol::peer::Cursor;

    fn queued(reference: &Reference) -> Told {
        let notice = Notice::Queued {
            id: Cursor { epoch: 1, number: 1 },
            to: "bob".parse().unwrap(),
            linked: true,
            text: Body::Text("hi".into()),
            sent: 0,
        };
        Told { reference: Some(reference.clone()), ..Told::from(notice) }
    }

    fn error(reference: Option<&Reference>) -> Told {
        let trouble =
            Trouble { code: Code::NotSaved, message: "no".into(), peer: None, id: None, text: None };
        Told { reference: reference.cloned(), ..Told::from(Notice::Error(trouble)) }
    }

    fn shown(said: &mut Said, told: &Told) -> String {
        let mut out = Vec::new();
        said.answered(told, &mut out);
        String::from_utf8(out).unwrap().replace(['\r', '\n'], "|")
    }

    #[test]
    fn what_is_said_is_shown_by_its_answer_alone() {
        let mut said = Said::default();
        let keep = |said: &mut Said, line: &str| said.keep("bob> ".into(), line.into());
        let [one, two, three] = ["one", "two", "three"].map(|line| keep(&mut said, line));
        // It is about something else.
        assert_eq!(shown(&mut said, &error(None)), "");
        assert_eq!(shown(&mut said, &queued(&one)), "");
        assert!(shown(&mut said, &error(Some(&two))).contains("bob> two"));
        assert_eq!(shown(&mut said, &error(Some(&two))), "");
        assert_eq!(shown(&mut said, &queued(&three)), "");
        // However many there are, and if there is no answer to the first.
        let many: Vec<_> = (0..200).map(|number| keep(&mut said, &format!("number {number}."))).collect();
        let first = shown(&mut said, &queued(&many[1]));
        assert!(first.contains("number 0.") && !first.contains("number 1."), "{first}");
        for reference in &many[2..] {
            assert_eq!(shown(&mut said, &queued(reference)), "");
        }
        assert!(said.lines.is_empty());
    }
}
