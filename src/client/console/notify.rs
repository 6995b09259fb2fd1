//! Runs a command for each message that comes in. No command can hold up the chat.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select_biased};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};

use super::LAST_WORDS;
use super::attention::{Attention, Rules};
use crate::client::addressee::RoomLabel;
use crate::client::notice::{Notice, Told, safe_text};
use crate::protocol::Name;

/// How many messages may wait for their command; more are not announced.
const WAITING: usize = 64;
/// How many commands run at once.
const AT_ONCE: usize = 4;
/// How long a command may take before it is killed.
const LIMIT: Duration = Duration::from_secs(30);
/// How many bytes of a message are passed to a command: the kernel takes twice that in a variable.
const TEXT: usize = 64 * 1024;
/// How often it is looked whether commands have ended.
const LOOK: Duration = Duration::from_millis(100);

/// An error if there is no such program, as far as that shows before it is run: later, there is no good place to say so.
pub fn check(program: &Path) -> io::Result<()> {
    let runs = |path: &Path| {
        access(path, Access::EXEC_OK)?;
        if path.is_file() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) }
    };
    // As the system looks for it: a name without a directory is that of a program in the PATH.
    if program.components().count() != 1 || program.is_absolute() {
        return runs(program);
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&directories).any(|directory| runs(&directory.join(program)).is_ok());
    if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Where messages are announced. Commands that still run when it is dropped are killed.
pub struct Notifier {
    notes: Sender<Command>,
    program: PathBuf,
    attention: Attention,
    leave: Option<Sender<()>>,
    left: Receiver<()>,
}

impl Notifier {
    pub fn start(program: PathBuf, rules: Arc<Rules>) -> io::Result<Self> {
        Self::with_limit(program, rules, LIMIT)
    }

    fn with_limit(program: PathBuf, rules: Arc<Rules>, limit: Duration) -> io::Result<Self> {
        let (notes, receive) = bounded(WAITING);
        let (leave, leaving) = bounded(0);
        let (leaves, left) = bounded(0);
        thread::Builder::new().name("notify".into()).spawn(move || {
            run(limit, &receive, &leaving);
            drop(leaves);
        })?;
        Ok(Self { notes, program, attention: Attention::new(rules), leave: Some(leave), left })
    }

    /// Announces the messages among the notices that call. Never waits.
    pub fn announce(&mut self, batch: &[Told]) {
        for Told { notice, .. } in batch {
            if let Notice::Message { from, text, room, .. } = notice
                && self.attention.calls(notice)
            {
                // A few announcements are enough for a flood of messages.
                let _ = self.notes.try_send(command(&self.program, from, room.as_ref(), &safe_text(text)));
            }
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.leave = None;
        let _ = self.left.recv_timeout(LAST_WORDS);
    }
}

/// Runs commands until the other end of `leaving` is dropped.
fn run(limit: Duration, notes: &Receiver<Command>, leaving: &Receiver<()>) {
    let mut running: Vec<(Child, Instant)> = Vec::new();
    let mut failed = false;
    let none = never();
    loop {
        let notes = if running.len() < AT_ONCE { notes } else { &none };
        let look = if running.is_empty() { never() } else { after(LOOK) };
        select_biased! {
            recv(leaving) -> _ => break,
            recv(look) -> _ => {}
            recv(notes) -> command => match command.map(|mut command| (command.spawn(), command)) {
                Ok((Ok(child), _)) => {
                    failed = false;
                    running.push((child, Instant::now()));
                }
                Ok((Err(error), command)) if !failed => {
                    failed = true;
                    tracing::error!(%error, command = %command.get_program().display(), "the command for messages can't be run");
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        running.retain_mut(|(child, started)| {
            if started.elapsed() > limit {
                kill(child);
            }
            matches!(child.try_wait(), Ok(None))
        });
    }
    for (mut child, _) in running {
        kill(&child);
        let _ = child.wait();
    }
}

/// Kills a command that has not been waited for, and what it has started.
fn kill(child: &Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// What is run for a message, which is of a room or of a user alone.
fn command(program: &Path, from: &Name, room: Option<&RoomLabel>, text: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("PEERCHAT_FROM", from.as_str())
        .env("PEERCHAT_ROOM", room.map(ToString::to_string).unwrap_or_default())
        .env("PEERCHAT_TEXT", text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::client::notice::tests;
    use crate::protocol::MAX_TEXT;

    fn message(text: &str, replayed: bool) -> Told {
        tests::message(text, replayed).into()
    }

    /// With a command that adds each message to the file that is returned, and, if it is told so, holds the pipe
    /// `alive` and goes on for a while.
    fn started(limit: Duration) -> (tempfile::TempDir, Notifier, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let [program, told, alive] = ["notify", "told", "alive"].map(|name| directory.path().join(name));
        let script = format!(
            "#!/bin/sh\ncase \"$PEERCHAT_TEXT\" in hang*) exec 3<>{};; esac\nprintf '%s%s: %s|' \"$PEERCHAT_FROM\" \"$PEERCHAT_ROOM\" \"$PEERCHAT_TEXT\" >> {}\ncase \"$PEERCHAT_TEXT\" in hang*) sleep 1000; true;; esac\n",
            alive.display(),
            told.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let status = Command::new("mkfifo").arg(alive).status().unwrap();
        assert!(status.success());
        (directory, Notifier::with_limit(program, Arc::default(), limit).unwrap(), told)
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
        let (_directory, mut notifier, told) = started(LIMIT);
        notifier.announce(&[message("again", true), message("$(touch x); `id`\0\u{1b}[2J\nsecond", false)]);
        let text = wait(&told, |text| text.ends_with('|'));
        assert_eq!(text, "bob: $(touch x); `id`\\u{0}\\u{1b}[2J\nsecond|");
        // What is said in a room, with the room.
        notifier.announce(&[tests::in_room(message("hi", false).notice, "#lab").into()]);
        assert!(wait(&told, |text| text.matches('|').count() == 2).ends_with("bob#lab: hi|"));
    }

    #[test]
    fn a_text_that_fits_into_no_variable_is_cut() {
        let (_directory, mut notifier, told) = started(LIMIT);
        notifier.announce(&[message(&"\u{1}".repeat(MAX_TEXT), false)]);
        let text = wait(&told, |text| text.ends_with('|'));
        assert_eq!(text.len(), "bob: ".len() + TEXT + "|".len());
    }

    #[test]
    fn nothing_that_it_started_is_left_behind() {
        let (_directory, mut notifier, told) = started(LIMIT);
        let flood: Vec<_> = (0..100).map(|_| message("hang", false)).collect();
        notifier.announce(&flood);
        wait(&told, |text| text.matches("hang").count() == AT_ONCE);
        let mut alive = std::fs::File::open(told.with_file_name("alive")).unwrap();
        drop(notifier);
        let (send, ended) = bounded(1);
        thread::spawn(move || send.send(alive.read_to_end(&mut Vec::new())));
        ended.recv_timeout(Duration::from_secs(20)).expect("they go on").unwrap();
    }

    #[test]
    fn commands_that_hang_are_few_and_are_ended() {
        let (_directory, mut notifier, told) = started(Duration::from_millis(300));
        let flood: Vec<_> = (0..1000).map(|_| message("hang", false)).collect();
        notifier.announce(&flood);
        // More than run at once, so those before have been ended.
        wait(&told, |text| text.matches("hang").count() > AT_ONCE);
        // What can't be run is no trouble either.
        Notifier::with_limit("/nowhere".into(), Arc::default(), LIMIT).unwrap().announce(&flood);
    }
}
