//! Runs a command for each message that comes in, and lets no command do any harm to the chat.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::client::notice::{Notice, Told, safe_text};

/// How many messages may wait for their command; more are not announced.
const WAITING: usize = 64;
/// How many commands run at once.
const AT_ONCE: usize = 4;
/// How long a command may take before it is killed.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether commands have ended.
const LOOK: Duration = Duration::from_millis(100);

/// Where messages are announced.
pub struct Notifier {
    notes: Sender<Note>,
}

struct Note {
    from: String,
    text: String,
}

impl Notifier {
    /// Starts the thread that runs `program`.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(program: PathBuf) -> io::Result<Self> {
        Self::with_limit(program, LIMIT)
    }

    fn with_limit(program: PathBuf, limit: Duration) -> io::Result<Self> {
        let (notes, receive) = bounded(WAITING);
        thread::Builder::new().name("notify".into()).spawn(move || run(&program, limit, &receive))?;
        Ok(Self { notes })
    }

    /// Announces the messages among the notices, except those that may have been shown before. Never waits.
    pub fn announce(&self, batch: &[Told]) {
        for Told { notice, .. } in batch {
            if let Notice::Message { from, text, replayed: false, .. } = notice {
                // A flood of messages is seen anyway.
                let _ = self.notes.try_send(Note { from: from.to_string(), text: safe_text(text) });
            }
        }
    }
}

fn run(program: &PathBuf, limit: Duration, notes: &Receiver<Note>) {
    let mut running: Vec<(Child, Instant)> = Vec::new();
    let mut failed = false;
    loop {
        let note = if running.is_empty() {
            notes.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if running.len() < AT_ONCE {
            notes.recv_timeout(LOOK)
        } else {
            thread::sleep(LOOK);
            Err(RecvTimeoutError::Timeout)
        };
        match note {
            Ok(note) => match start(program, &note) {
                Ok(child) => running.push((child, Instant::now())),
                Err(error) if !failed => {
                    failed = true;
                    tracing::error!(%error, command = %program.display(), "can't be run for a message");
                }
                Err(_) => {}
            },
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        running.retain_mut(|(child, started)| {
            if started.elapsed() > limit {
                let _ = child.kill();
            }
            matches!(child.try_wait(), Ok(None))
        });
    }
}

fn start(program: &PathBuf, note: &Note) -> io::Result<Child> {
    Command::new(program)
        .env("PEERCHAT_FROM", &note.from)
        .env("PEERCHAT_TEXT", &note.text)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::client::notice::Body;
    use crate::protocol::peer::Cursor;

    fn message(text: &str, replayed: bool) -> Told {
        Told::from(Notice::Message {
            id: Cursor { epoch: 1, number: 1 },
            from: "bob".parse().unwrap(),
            text: Body::Text(text.into()),
            sent: 0,
            received: 0,
            replayed,
        })
    }

    /// A command that appends a line for each message and goes on for a while if it is told so.
    fn command(directory: &std::path::Path) -> (PathBuf, PathBuf) {
        let (program, told) = (directory.join("notify"), directory.join("told"));
        let script = format!(
            "#!/bin/sh\nprintf '%s: %s|' \"$PEERCHAT_FROM\" \"$PEERCHAT_TEXT\" >> {}\ncase \"$PEERCHAT_TEXT\" in hang*) exec sleep 1000;; esac\n",
            told.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        (program, told)
    }

    fn wait(told: &PathBuf, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(told).unwrap_or_default();
            if fits(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn it_is_told_who_and_what_and_nothing_of_it_is_run() {
        let directory = tempfile::tempdir().unwrap();
        let (program, told) = command(directory.path());
        let notifier = Notifier::start(program).unwrap();
        notifier.announce(&[message("again", true), message("$(touch x); `id`\0\u{1b}[2J\nsecond", false)]);
        let text = wait(&told, |text| text.ends_with('|'));
        assert_eq!(text, "bob: $(touch x); `id`\\u{0}\\u{1b}[2J\nsecond|");
    }

    #[test]
    fn commands_that_hang_are_few_and_are_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (program, told) = command(directory.path());
        let notifier = Notifier::with_limit(program, Duration::from_millis(300)).unwrap();
        let flood: Vec<_> = (0..1000).map(|_| message("hang", false)).collect();
        notifier.announce(&flood);
        // More than run at once, so those before have been ended.
        wait(&told, |text| text.matches("hang").count() > AT_ONCE);
        // What can't be run is no trouble either.
        Notifier::start("/nowhere".into()).unwrap().announce(&flood);
    }
}
