//! One box on the socket: a thread that reads its commands, and one that writes what it is told.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::Happened;
use crate::client::console::{Parse, read_command};
use crate::client::event::{BoxId, Input};
use crate::client::notice::{Notice, Told};

/// How long a write may take before it is looked whether the box is still wanted.
const WRITE: Duration = Duration::from_millis(250);
/// How long a box may take to say first how it is to be told of.
const FIRST_LINE: Duration = Duration::from_millis(200);
/// How often it is told that a long batch is being written.
const PROGRESS: Duration = Duration::from_secs(1);

/// What the loop has of a box.
#[derive(Debug)]
pub struct Connection {
    /// Without a bound here: the node bounds what waits, by its size.
    pub batches: Sender<Vec<Told>>,
    /// For each the box may say a few commands more.
    pub grants: Sender<()>,
    cut: Arc<AtomicBool>,
}

impl Connection {
    /// Starts the threads of a box. `done` is dropped once all is written.
    pub fn start(
        id: BoxId,
        stream: UnixStream,
        events: Sender<Happened>,
        done: Sender<()>,
    ) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE))?;
        let reading = stream.try_clone()?;
        let (batches, written) = unbounded();
        let (grants, granted) = bounded(1);
        let cut = Arc::new(AtomicBool::new(false));
        let writer = Writer { id, stream, cut: Arc::clone(&cut), events: events.clone(), done };
        thread::Builder::new().name("box out".into()).spawn(move || writer.run(&written))?;
        thread::Builder::new().name("box in".into()).spawn(move || {
            if let Err(error) = read(id, &reading, &events, &granted) {
                tracing::debug!(%error, "a box can't be read");
            }
            let _ = events.send(Happened::Silent(id));
        })?;
        Ok(Self { batches, grants, cut })
    }

    /// What waits is dropped; the box is told that it is cut, once it takes something again.
    pub fn cut(self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

/// Reads commands until the box has no more. Those that came together are handed over together, and the next are read once
/// these were taken.
fn read(id: BoxId, stream: &UnixStream, events: &Sender<Happened>, granted: &Receiver<()>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    stream.set_read_timeout(Some(FIRST_LINE))?;
    match input.fill_buf() {
        Err(error) if is_slow(&error) => _ = events.send(Happened::Waits(id)),
        _ => {}
    }
    stream.set_read_timeout(None)?;
    let (mut line, mut commands) = (Vec::new(), Vec::new());
    while let Some(command) = read_command(&mut input, &mut line, &Parse::Script, false)? {
        commands.extend(command.map(|(reference, command)| Input::Said { from: id, command, reference }));
        let more = input.buffer().contains(&b'\n');
        if !more
            && !commands.is_empty()
            && (events.send(Happened::Said(id, std::mem::take(&mut commands))).is_err()
                || granted.recv().is_err())
        {
            return Ok(());
        }
    }
    Ok(())
}

struct Writer {
    id: BoxId,
    stream: UnixStream,
    cut: Arc<AtomicBool>,
    events: Sender<Happened>,
    /// Dropped at the end.
    #[expect(dead_code, reason = "its end is what it says")]
    done: Sender<()>,
}

impl Writer {
    fn run(mut self, batches: &Receiver<Vec<Told>>) {
        if let Err(error) = self.write_all(batches) {
            tracing::debug!(%error, "a box can't be written to");
        }
        // Its reader ends with that.
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.events.send(Happened::Gone(self.id));
    }

    fn write_all(&mut self, batches: &Receiver<Vec<Told>>) -> io::Result<()> {
        let mut out = Vec::new();
        for batch in batches {
            if self.is_cut() {
                break;
            }
            out.clear();
            batch.iter().for_each(|told| told.write_json(&mut out));
            let written = self.write(&out)?;
            if written < out.len() {
                // The line that was begun is written to its end.
                let rest = out.get(written..).unwrap_or_default();
                let end = match out.get(..written) {
                    Some([.., b'\n'] | []) | None => 0,
                    _ => rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1),
                };
                self.stubbornly(rest.get(..end).unwrap_or_default())?;
                break;
            }
            let is_last = |told: &Told| matches!(told.notice, Notice::Detached | Notice::Bye { .. });
            if self.events.send(Happened::Written(self.id)).is_err() || batch.iter().any(is_last) {
                return Ok(());
            }
        }
        if self.is_cut() {
            out.clear();
            Told::from(Notice::Lagged).write_json(&mut out);
            self.stubbornly(&out)?;
        }
        Ok(())
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Writes as long as the box is wanted. Returns how many bytes were written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut written, mut told) = (0, Instant::now());
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    written += more;
                    if told.elapsed() >= PROGRESS {
                        told = Instant::now();
                        let _ = self.events.send(Happened::Writing(self.id));
                    }
                }
                Err(error) if is_slow(&error) && self.is_cut() => break,
                Err(error) if is_slow(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Writes a few bytes, however long the box takes for them.
    fn stubbornly(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => rest = rest.get(more..).unwrap_or_default(),
                Err(error) if is_slow(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
