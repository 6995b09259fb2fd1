//! Logs, for the user or the operator: as much as `RUST_LOG` says, to standard error or to a file.
//!
//! A thread of its own writes them, and no other waits for it: a standard error that is not read, or a disk that is
//! slow or full, costs lines of the log and nothing else. No message text and no secret key is ever logged.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::EnvFilter;

/// How many lines may wait to be written. Those that come when there is no room are lost, and counted.
const WAITING: usize = 4096;
/// How many bytes of lines are held back for the end at most; the latest are.
const HELD: usize = 1024 * 1024;
/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes what still waits when it is dropped: the last thing to do.
#[must_use]
pub struct Logs(Sender<Entry>);

enum Entry {
    Line(Vec<u8>),
    /// Everything before is written.
    Mark(Sender<()>),
}

/// Starts to log what `RUST_LOG` asks for: to `file`, after what is in it, or to standard error. Without `RUST_LOG`
/// it is `level` and worse; who names a file wants to read something in it, and gets all from `info` on.
///
/// With `hold`, what is for standard error is written once [`Logs`] is dropped: until then the program draws there.
pub fn start(level: &str, file: Option<&Path>, hold: bool) -> anyhow::Result<Logs> {
    let output: Box<dyn Write + Send> = match file {
        None => Box::new(io::stderr()),
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            Box::new(file.with_context(|| format!("can't write logs to {}", path.display()))?)
        }
    };
    let held = (hold && file.is_none()).then(Held::default);
    let (sender, entries) = bounded(WAITING);
    let queue = Arc::new(Queue { entries: sender.clone(), lost: AtomicU64::new(0) });
    let shared = Arc::clone(&queue);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write(&entries, &shared.lost, held, output))
        .context("no thread to write logs")?;
    let level = if file.is_some() { "info" } else { level };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
    // Fails only if logs go somewhere already.
    let _ = logging.try_init();
    Ok(Logs(sender))
}

fn write(entries: &Receiver<Entry>, lost: &AtomicU64, mut held: Option<Held>, mut output: impl Write) {
    for entry in entries {
        // What can't be written is lost; there is no better place to say so.
        match entry {
            Entry::Line(line) => match &mut held {
                Some(held) => _ = lost.fetch_add(held.keep(line), Ordering::Relaxed),
                None => _ = output.write_all(&line),
            },
            Entry::Mark(done) => {
                for line in held.take().into_iter().flat_map(|held| held.lines) {
                    let _ = output.write_all(&line);
                }
                let _ = done.try_send(());
            }
        }
        if held.is_some() {
            continue;
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                _ = writeln!(
                    output,
                    "{lost} lines of the log are lost: they came too fast, or were too many to hold back"
                )
            }
        }
    }
}

/// Lines that wait for the end.
#[derive(Default)]
struct Held {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Held {
    /// Returns how many lines had to go.
    fn keep(&mut self, line: Vec<u8>) -> u64 {
        self.bytes += line.len();
        self.lines.push_back(line);
        let mut gone = 0;
        while self.bytes > HELD
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.len();
            gone += 1;
        }
        gone
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let (done, written) = bounded(1);
        if self.0.send_timeout(Entry::Mark(done), LAST_LINES).is_ok() {
            let _ = written.recv_timeout(LAST_LINES);
        }
    }
}

/// Where lines wait for the thread that writes them.
struct Queue {
    entries: Sender<Entry>,
    lost: AtomicU64,
}

impl Write for &Queue {
    /// Takes a whole line, which is how it is given.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Limits how often something is logged.
pub struct LogLimit {
    every: Duration,
    logged: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    pub const fn new(every: Duration) -> Self {
        Self { every, logged: None, suppressed: 0 }
    }

    /// Whether to log it this time: then how often that was suppressed since the last time.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < self.every) {
            self.suppressed += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Limits how often it is logged why something fails: a reason that goes on now and then, another one at once.
pub struct ReasonLimit {
    every: Duration,
    since: Option<Instant>,
    logged: String,
    /// How many more reasons are logged in this time. They may come in turns.
    left: u32,
}

impl ReasonLimit {
    /// How many reasons are logged in the time after which one is logged again.
    const MOST: u32 = 10;

    pub const fn new(every: Duration) -> Self {
        Self { every, since: None, logged: String::new(), left: 0 }
    }

    /// Whether to log this reason now.
    pub fn admit(&mut self, reason: &impl ToString, now: Instant) -> bool {
        let reason = reason.to_string();
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.every) {
            (self.since, self.left) = (Some(now), Self::MOST);
        } else if self.logged == reason || self.left == 0 {
            return false;
        }
        self.logged = reason;
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reason_is_logged_at_once_and_the_same_one_now_and_then() {
        let every = Duration::from_secs(60);
        let (start, mut limit) = (Instant::now(), ReasonLimit::new(every));
        let mut admitted = |reason, seconds| limit.admit(&reason, start + Duration::from_secs(seconds));
        assert!(admitted("full", 0) && !admitted("full", 1));
        assert!(admitted("gone", 2) && !admitted("gone", 3));
        assert!(admitted("full", 4), "what was logged last does not say what is wrong now");
        assert!(!admitted("full", 59) && admitted("full", 60) && !admitted("full", 61));
        let many = (0..1000).filter(|number| admitted(["gone", "full"][number % 2], 62)).count();
        assert_eq!(many, 9);
        assert!(admitted("full", 120));
    }

    #[test]
    fn of_what_is_held_the_latest_lines_are_kept() {
        let (sender, entries) = bounded(WAITING);
        let (done, written) = bounded(1);
        for number in 0..WAITING - 1 {
            sender.send(Entry::Line(format!("{number} {}\n", "x".repeat(1000)).into_bytes())).unwrap();
        }
        sender.send(Entry::Mark(done)).unwrap();
        drop(sender);
        let (mut out, lost) = (Vec::new(), AtomicU64::new(0));
        write(&entries, &lost, Some(Held::default()), &mut out);
        written.try_recv().unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.len() < HELD + 100 && out.len() > HELD - 2000, "{}", out.len());
        let lines: Vec<_> = out.lines().collect();
        let (last, kept) = lines.split_last().unwrap();
        assert_eq!(last.split(' ').next().unwrap().parse(), Ok(WAITING - 1 - kept.len()));
        assert!(kept.last().unwrap().starts_with(&format!("{} ", WAITING - 2)));
    }

    #[test]
    fn a_flood_is_counted_and_logged_now_and_then() {
        let every = Duration::from_secs(10);
        let (start, mut limit) = (Instant::now(), LogLimit::new(every));
        assert_eq!(limit.admit(start), Some(0));
        (0..1000).for_each(|_| assert_eq!(limit.admit(start), None));
        assert_eq!(limit.admit(start + every), Some(1000));
        assert_eq!(limit.admit(start + every), None);
    }
}
