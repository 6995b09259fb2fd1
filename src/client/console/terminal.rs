//! The front end for a user at a terminal: one thread owns it, and all that is shown or typed passes through it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use crossbeam_channel::{at, bounded, never, select};

use super::Channels;
use super::output::Output;
use super::prompt::Shown;
use crate::client::command::{Command, MAX_LINE, Reference};
use crate::client::event::Input;
use crate::client::notice::{Notice, Told};
use crate::terminal::{Event, History, Key, Prompt as _, Terminal, Tty, echo};

/// How many bytes are gathered before they are written.
const GATHERED: usize = 64 * 1024;

pub fn run(tty: Tty, output: Output, history: PathBuf, prompt: Shown, channels: &Channels) -> io::Result<()> {
    let mut terminal = Terminal::start(tty, History::open(Some(history)), MAX_LINE, output.look.colour)?;
    *terminal.prompt() = prompt;
    let (waiting, unanswered) = (VecDeque::new(), Unanswered::default());
    Session { channels, terminal, output, waiting, unanswered, unconfirmed: 0 }.run()
}

/// Messages entered and not yet answered: they are shown once they are safe, or if they come to nothing.
#[derive(Default)]
struct Unanswered {
    last: i64,
    /// The reference of each, what stood before it, and its text.
    lines: VecDeque<(i64, String, String)>,
}

impl Unanswered {
    /// Keeps a message; every answer to it repeats the reference.
    fn keep(&mut self, prompt: String, line: String) -> Reference {
        self.last += 1;
        self.lines.push_back((self.last, prompt, line));
        Reference::Number(self.last)
    }

    /// Writes the messages that would otherwise never be shown, before the answer is.
    fn answered(&mut self, told: &Told, out: &mut Vec<u8>) {
        let Some(Reference::Number(answered)) = told.reference else {
            return;
        };
        // Messages are answered in order, but some answers are dropped where output is behind.
        while let Some((number, prompt, line)) = self.lines.pop_front_if(|(number, ..)| *number <= answered) {
            if number < answered || !matches!(told.notice, Notice::Queued { .. }) {
                echo(&prompt, &line, out);
            }
        }
    }
}

struct Session<'a> {
    channels: &'a Channels,
    terminal: Terminal<Shown>,
    output: Output,
    /// Entered, and not yet taken by the loop: no key is looked at meanwhile.
    waiting: VecDeque<Input>,
    unanswered: Unanswered,
    /// How many batches are written, or will be with the next flush, and not yet confirmed.
    unconfirmed: usize,
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        let channels = self.channels;
        let changes = self.terminal.changes.clone();
        // Nothing is ever taken from it.
        let (nowhere, _receiver) = bounded(0);
        loop {
            self.flush()?;
            let asked = self.terminal.is_asked();
            let idle = self.waiting.is_empty();
            let keys = if idle { self.terminal.keyboard.typed.clone() } else { never() };
            let commands = if idle { &nowhere } else { &channels.commands };
            let batches = if asked { never() } else { channels.batches.clone() };
            let tick = self.output.deadline().filter(|_| !asked).map_or_else(never, at);
            let by_time = self.terminal.deadline().filter(|_| idle || asked).map_or_else(never, at);
            select! {
                recv(batches) -> notices => match notices {
                    Ok(notices) => self.print(&notices),
                    Err(_) => break,
                },
                recv(channels.prompts) -> prompt => prompt.into_iter().for_each(|it| self.terminal.prompt().set(it)),
                recv(keys) -> chunk => match chunk {
                    Ok(chunk) => {
                        let keys = self.terminal.decode(&chunk);
                        self.take_keys(keys)?;
                    }
                    // The terminal is gone.
                    Err(_) => {
                        self.terminal.keyboard.typed = never();
                        channels.tell(Input::Signal);
                    }
                },
                recv(by_time) -> _ => {
                    let keys = self.terminal.tick();
                    self.take_keys(keys)?;
                }
                recv(tick) -> _ => self.output.tick(self.terminal.output()),
                recv(changes) -> _ => self.terminal.refresh()?,
                send(commands, self.waiting.drain(..).collect()) -> _ => {}
            }
            while !self.terminal.is_asked()
                && self.terminal.output().len() < GATHERED
                && let Ok(notices) = channels.batches.try_recv()
            {
                self.print(&notices);
            }
            channels.prompts.try_iter().for_each(|it| self.terminal.prompt().set(it));
        }
        self.terminal.hidden = true;
        self.flush()
    }

    fn print(&mut self, notices: &[Told]) {
        notices.iter().for_each(|told| self.terminal.prompt().told(&told.notice));
        let out = self.terminal.output();
        notices.iter().for_each(|told| self.unanswered.answered(told, out));
        self.output.write(notices, out);
        self.unconfirmed += 1;
        if notices.iter().any(|told| matches!(told.notice, Notice::Bye { .. } | Notice::Detached)) {
            self.terminal.hidden = true;
        }
    }

    /// Only then have the batches been shown.
    fn flush(&mut self) -> io::Result<()> {
        self.terminal.flush()?;
        if self.terminal.is_asked() {
            return Ok(());
        }
        for _ in 0..std::mem::take(&mut self.unconfirmed) {
            // A loop that is gone needs no answer.
            self.channels.tell(Input::Printed);
        }
        Ok(())
    }

    fn take_keys(&mut self, keys: Vec<Key>) -> io::Result<()> {
        for key in keys {
            match self.terminal.press(key)? {
                None => {}
                Some(Event::Entered { entries, asked }) => {
                    entries.into_iter().for_each(|entry| self.entered(entry, asked));
                }
                Some(Event::Interrupt) => _ = self.channels.tell(Input::Signal),
                Some(Event::EndOfInput) => self.waiting.push_back(Input::typed(Ok(Command::Detach))),
            }
        }
        Ok(())
    }

    fn entered(&mut self, line: String, asked: bool) {
        let (prompt, mut command) = (self.terminal.prompt().plain(), self.terminal.prompt().parse(&line));
        if let Some(Ok(Command::Line { meant, .. })) = &mut command {
            *meant = asked;
        }
        // A message is shown with its time once it is safe.
        let reference = if self.terminal.prompt().is_one_entry(&line) {
            Some(self.unanswered.keep(prompt, line))
        } else {
            echo(&prompt, &line, self.terminal.output());
            None
        };
        self.waiting.extend(command.map(|command| Input::Command { command, reference }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::{Code, ErrorNotice, tests};

    fn queued(reference: &Reference) -> Told {
        Told { reference: Some(reference.clone()), ..Told::from(tests::queued(1, true)) }
    }

    fn error(reference: Option<&Reference>) -> Told {
        let error = ErrorNotice {
            code: Code::NotSaved,
            message: "no".into(),
            peer: None,
            room: None,
            room_id: None,
            id: None,
            text: None,
        };
        Told { reference: reference.cloned(), ..Told::from(Notice::Error(error)) }
    }

    fn shown(unanswered: &mut Unanswered, told: &Told) -> String {
        let mut out = Vec::new();
        unanswered.answered(told, &mut out);
        String::from_utf8(out).unwrap().replace(['\r', '\n'], "|")
    }

    #[test]
    fn a_message_is_shown_by_its_answer_alone() {
        let mut unanswered = Unanswered::default();
        let keep = |unanswered: &mut Unanswered, line: &str| unanswered.keep("bob> ".into(), line.into());
        let [one, two, three] = ["one", "two", "three"].map(|line| keep(&mut unanswered, line));
        // It is about something else.
        assert_eq!(shown(&mut unanswered, &error(None)), "");
        assert_eq!(shown(&mut unanswered, &queued(&one)), "");
        assert!(shown(&mut unanswered, &error(Some(&two))).contains("bob> two"));
        assert_eq!(shown(&mut unanswered, &error(Some(&two))), "");
        assert_eq!(shown(&mut unanswered, &queued(&three)), "");
        // However many there are, and if there is no answer to the first.
        let many: Vec<_> =
            (0..200).map(|number| keep(&mut unanswered, &format!("number {number}."))).collect();
        let first = shown(&mut unanswered, &queued(&many[1]));
        assert!(first.contains("number 0.") && !first.contains("number 1."), "{first}");
        for reference in &many[2..] {
            assert_eq!(shown(&mut unanswered, &queued(reference)), "");
        }
        assert!(unanswered.lines.is_empty());
    }
}
