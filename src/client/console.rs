//! Standard input and output, each with a thread of its own, so that neither is ever waited for.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::command::{self, Command, CommandError, MAX_LINE, MAX_TERMINAL_LINE, json};
use super::event::{Input, Prompt};
use super::link::Event;
use super::node::OUTPUT_BATCHES;
use super::notice::{Notice, Told};

/// How many commands may wait to be taken.
const COMMANDS: usize = 1024;
/// What stands before what a person types.
const PROMPT: &[u8] = b"> ";
/// Takes the prompt away before something else is written.
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

/// The way to standard output.
pub struct Console {
    batches: Option<Sender<Vec<Told>>>,
    done: Receiver<()>,
}

impl Console {
    /// Starts the thread that writes. Each batch written is answered with [`Input::Printed`].
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(json: bool, events: Sender<Event>) -> io::Result<Self> {
        let (batches, receive) = bounded(OUTPUT_BATCHES);
        let (finished, done) = bounded(1);
        thread::Builder::new().name("output".into()).spawn(move || {
            write_all(json, &receive, &events);
            let _ = finished.send(());
        })?;
        Ok(Self { batches: Some(batches), done })
    }

    /// Hands over a batch. The node hands over no more than there are places.
    pub fn print(&self, notices: Vec<Told>) {
        if let Some(batches) = &self.batches {
            // An output that is closed has been reported, and ends the program.
            let taken = batches.try_send(notices);
            debug_assert!(!matches!(taken, Err(TrySendError::Full(_))), "more batches than places");
        }
    }

    /// The prompt is to show this from now on. Never waits; the latest counts.
    pub fn prompt(&self, _prompt: Prompt) {}

    /// No batch will follow: the receiver answers once all are written.
    pub fn finish(&mut self) -> &Receiver<()> {
        self.batches = None;
        &self.done
    }
}

fn write_all(json: bool, batches: &Receiver<Vec<Told>>, events: &Sender<Event>) {
    let prompt = !json && io::stdout().is_terminal() && io::stdin().is_terminal();
    let mut stdout = io::stdout().lock();
    let mut out = Vec::new();
    for notices in batches {
        out.clear();
        if prompt {
            out.extend_from_slice(CLEAR_LINE);
        }
        for told in &notices {
            if json { told.write_json(&mut out) } else { told.notice.write_text(&mut out) }
        }
        if prompt && !matches!(notices.last().map(|told| &told.notice), Some(Notice::Bye { .. })) {
            out.extend_from_slice(PROMPT);
        }
        // One write and one flush a batch; what could not be written stays unshown in the journal.
        if let Err(error) = stdout.write_all(&out).and_then(|()| stdout.flush()) {
            let reason = (error.kind() != io::ErrorKind::BrokenPipe).then(|| error.to_string());
            let _ = events.send(Input::OutputClosed(reason).into());
            return;
        }
        if events.send(Input::Printed.into()).is_err() {
            return;
        }
    }
}

/// Starts the thread that reads commands; with `json` also as JSON objects.
///
/// # Errors
/// If there is no thread to be had.
pub fn read_commands(json: bool) -> io::Result<Receiver<Input>> {
    let (send, commands) = bounded(COMMANDS);
    thread::Builder::new().name("input".into()).spawn(move || {
        let terminal = io::stdin().is_terminal();
        let mut input = BufReader::with_capacity(64 * 1024, io::stdin());
        let most = if json { json::MAX_LINE } else { MAX_LINE };
        let mut line = Vec::new();
        loop {
            let parsed = match read_line(&mut input, &mut line, most) {
                // A person who leaves in the middle of a line has not sent it.
                Ok(Line::Unended) if terminal => break,
                Ok(Line::Whole) if terminal && line.len() >= MAX_TERMINAL_LINE => {
                    Some((None, Err(CommandError::Cut)))
                }
                Ok(Line::Whole | Line::Unended) => match std::str::from_utf8(&line) {
                    Ok(line) if json => json::parse_line(line),
                    Ok(line) => command::parse(line).map(|command| (None, command)),
                    Err(_) => Some((None, Err(CommandError::NotUtf8))),
                },
                Ok(Line::TooLong) => Some((None, Err(CommandError::TooLong(None)))),
                Ok(Line::End) => break,
                Err(error) => {
                    tracing::warn!(%error, "standard input can't be read any more");
                    break;
                }
            };
            if let Some((reference, command)) = parsed
                && send.send(Input::Command { command, reference }).is_err()
            {
                return;
            }
        }
        // At a terminal this is Ctrl+D: a person who goes.
        let end = if terminal { Input::typed(Ok(Command::Logout)) } else { Input::InputEnded };
        let _ = send.send(end);
    })?;
    Ok(commands)
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// What stands after the last line's end.
    Unended,
    TooLong,
    End,
}

/// Reads a line without its end into `line`, which never grows beyond `most` bytes.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    let mut empty = true;
    let mut unended;
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() && empty {
            return Ok(Line::End);
        }
        empty = false;
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        too_long |= line.len() + piece.len() > most;
        if !too_long {
            line.extend_from_slice(piece);
        }
        unended = available.is_empty();
        let done = end.is_some() || unended;
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if done {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(match (too_long, unended) {
        (true, _) => Line::TooLong,
        (false, true) => Line::Unended,
        (false, false) => Line::Whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], capacity: usize) -> Vec<(Line, Vec<u8>)> {
        let mut input = BufReader::with_capacity(capacity, input);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            match read_line(&mut input, &mut line, MAX_LINE).unwrap() {
                Line::End => return lines,
                kind => lines.push((kind, line)),
            }
        }
    }

    #[test]
    fn lines_end_as_people_and_scripts_end_them() {
        for capacity in [1, 2, 3, 100] {
            let read = lines(b"one\ntwo\r\n\nthree", capacity);
            let texts: Vec<_> = read.iter().map(|(_, line)| line.as_slice()).collect();
            assert_eq!(texts, [&b"one"[..], b"two", b"", b"three"]);
        }
        assert!(lines(b"", 10).is_empty());
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut input = vec![b'x'; 10 * MAX_LINE];
        input.extend_from_slice(b"\nnext\n");
        let read = lines(&input, 4096);
        assert_eq!(read[0].0, Line::TooLong);
        assert!(read[0].1.len() <= MAX_LINE);
        assert_eq!(read[1], (Line::Whole, b"next".to_vec()));
    }
}
