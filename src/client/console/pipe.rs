//! The front end on plain standard input and output: a pipe, a file, or a terminal that can't move its cursor.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::Channels;
use super::output::Output;
use crate::client::command::{Aliases, Command, CommandError, MAX_LINE, MAX_TERMINAL_LINE, Reference, json};
use crate::client::event::Input;

/// Reads commands as `parse` understands them, if there is any to be read.
pub fn run(mut output: Output, parse: Option<Parse>, channels: &Channels) -> io::Result<()> {
    if let Some(parse) = parse {
        read_commands(parse, channels.commands.clone())?;
    }
    let mut stdout = io::stdout().lock();
    let mut out = Vec::new();
    loop {
        out.clear();
        let notices = match output.deadline() {
            Some(at) => channels.batches.recv_deadline(at),
            None => channels.batches.recv().map_err(Into::into),
        };
        match &notices {
            Ok(notices) => output.write(notices, &mut out),
            Err(RecvTimeoutError::Timeout) => output.tick(&mut out),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        // One write and one flush a batch; what could not be written stays unshown in the journal.
        stdout.write_all(&out).and_then(|()| stdout.flush())?;
        if notices.is_ok() && !channels.tell(Input::Printed) {
            return Ok(());
        }
    }
}

/// Starts the thread that reads commands. Those that came together are handed over together.
fn read_commands(parse: Parse, send: Sender<Vec<Input>>) -> io::Result<()> {
    thread::Builder::new().name("input".into()).spawn(move || {
        let terminal = io::stdin().is_terminal();
        let mut input = BufReader::with_capacity(64 * 1024, io::stdin());
        let mut line = Vec::new();
        let mut commands = Vec::new();
        loop {
            match read_command(&mut input, &mut line, &parse, terminal) {
                Ok(Some(command)) => {
                    commands.extend(command.map(|(reference, command)| Input::Command { command, reference }))
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "standard input can't be read any more");
                    break;
                }
            }
            if !input.buffer().contains(&b'\n')
                && !commands.is_empty()
                && send.send(std::mem::take(&mut commands)).is_err()
            {
                return;
            }
        }
        // At a terminal this is Ctrl+D: the user leaves.
        commands.push(if terminal { Input::typed(Ok(Command::Detach)) } else { Input::InputEnded });
        let _ = send.send(commands);
    })?;
    Ok(())
}

/// What a line says, and what a script calls it.
type Said = (Option<Reference>, Result<Command, CommandError>);

/// How a line is understood.
pub enum Parse {
    /// As a user types it.
    Typed(Arc<Aliases>),
    /// As a script writes it, which may be an object.
    Script,
}

impl Parse {
    fn line(&self, line: &str) -> Option<Said> {
        match self {
            Self::Typed(aliases) => aliases.parse(line).map(|command| (None, command)),
            Self::Script => json::parse_line(line),
        }
    }
}

/// Reads and parses a line; `Some(None)` for an empty one, `None` at the end.
pub fn read_command(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    parse: &Parse,
    terminal: bool,
) -> io::Result<Option<Option<Said>>> {
    let most = if matches!(parse, Parse::Script) { json::MAX_LINE } else { MAX_LINE };
    let parsed = match read_line(input, line, most)? {
        // A user who leaves in the middle of a line has not sent it.
        Line::Unended if terminal => return Ok(None),
        Line::Whole if terminal && line.len() >= MAX_TERMINAL_LINE => Some((None, Err(CommandError::Cut))),
        Line::Whole | Line::Unended => match std::str::from_utf8(line) {
            Ok(line) => parse.line(line),
            Err(_) => Some((None, Err(CommandError::NotUtf8))),
        },
        Line::TooLong => Some((None, Err(CommandError::TooLong(None)))),
        Line::End => return Ok(None),
    };
    Ok(Some(parsed))
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// The last line, without an end.
    Unended,
    TooLong,
    End,
}

/// Reads a line without its end into `line`, which never grows beyond `most` bytes and one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<Line> {
    line.clear();
    if input.take(most as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    let ended = line.pop_if(|last| *last == b'\n').is_some();
    if line.len() > most {
        input.skip_until(b'\n')?;
        return Ok(Line::TooLong);
    }
    line.pop_if(|last| *last == b'\r');
    Ok(if ended { Line::Whole } else { Line::Unended })
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
    fn lines_may_end_in_several_ways() {
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
        assert!(read[0].1.len() <= MAX_LINE + 1);
        assert_eq!(read[1], (Line::Whole, b"next".to_vec()));
    }
}
