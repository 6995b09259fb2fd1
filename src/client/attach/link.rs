//! The connection of a box to the client: a thread that reads what is told, and one that writes what is said.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::client::boxes;
use crate::client::command::{Command, Reference};
use crate::client::notice::{JSON, Notice, Told};
use crate::protocol::Name;

/// How many groups of lines, and how many commands, may wait.
const WAITING: usize = 64;
/// How long the client may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

pub struct Link {
    /// What is told; those lines together that came together. Disconnected at the end.
    pub told: Receiver<Vec<Told>>,
    /// Takes lines to be said. What is said to a client that has gone is lost, which the end of `told` says.
    pub say: Sender<Vec<u8>>,
}

/// A command as a line.
pub fn line(command: &Command, reference: Option<&Reference>) -> Vec<u8> {
    format!("{}\n", command.to_json(reference)).into_bytes()
}

impl Link {
    /// A link to the client of the user that holds the lock of this journal, on which this command is said first, if any, and the
    /// first lines. `None` if there is none, or if it is about to end.
    ///
    /// # Errors
    /// It is one of another version.
    pub fn open(
        user: &Name,
        journal: &Path,
        begins: Option<&Command>,
    ) -> anyhow::Result<Option<(Self, Vec<Told>)>> {
        let link = match boxes::connect(user, journal).and_then(|stream| Self::over(stream, begins)) {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(%error, "no running client is found");
                return Ok(None);
            }
        };
        let Ok(first) = link.told.recv_timeout(GREETING) else {
            return Ok(None);
        };
        let json = match first.first() {
            Some(Told { notice: Notice::Hello { json, .. }, .. }) => *json,
            _ => 0,
        };
        ensure!(
            json == JSON,
            "the client of {user} that is running is of another version; log out there, or use that version here"
        );
        Ok(Some((link, first)))
    }

    fn over(stream: UnixStream, begins: Option<&Command>) -> std::io::Result<Self> {
        let mut writing = stream.try_clone()?;
        begins.map_or(Ok(()), |command| writing.write_all(&line(command, None)))?;
        let (say, said) = bounded::<Vec<u8>>(WAITING);
        let (heard, told) = bounded(WAITING);
        thread::Builder::new().name("box out".into()).spawn(move || {
            for line in said {
                if writing.write_all(&line).is_err() {
                    return;
                }
            }
            // The client takes what was said, and then lets go.
            let _ = writing.shutdown(std::net::Shutdown::Write);
        })?;
        thread::Builder::new().name("box in".into()).spawn(move || read(&stream, &heard))?;
        Ok(Self { told, say })
    }
}

fn read(stream: &UnixStream, heard: &Sender<Vec<Told>>) {
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    let (mut line, mut batch) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(1..) if line.ends_with(b"\n") => match Told::read_json(&line) {
                Ok(told) => batch.push(told),
                Err(error) => tracing::debug!(%error, "an event of another version is passed over"),
            },
            // One that is cut short is none.
            _ => break,
        }
        if !input.buffer().contains(&b'\n')
            && !batch.is_empty()
            && heard.send(std::mem::take(&mut batch)).is_err()
        {
            return;
        }
    }
    if !batch.is_empty() {
        let _ = heard.send(batch);
    }
}
