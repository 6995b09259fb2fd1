//! A client without a terminal: how it is started, what comes while no box is there, and how it ends.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::attached::{Attached, socket};
use crate::support::client::{Client, command};
use crate::support::discovery::{DEADLINE, Discovery, scratch};

/// A client that was started with `--detach`. It is killed when dropped.
struct Detached {
    directory: PathBuf,
    pid: String,
}

fn detach(directory: &Path, discovery: SocketAddr, options: &[&str]) -> Output {
    let options = [options, &["--detach"]].concat();
    command(directory, "alice", 0, discovery, &options).output().unwrap()
}

impl Detached {
    fn start(directory: &Path, discovery: SocketAddr, options: &[&str]) -> Self {
        let output = detach(directory, discovery, options);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        assert!(text(&output.stdout).starts_with("alice is ready at 127.0.0.1:"), "{output:?}");
        // At once: it is ready.
        let stream = UnixStream::connect(socket(directory, "alice")).unwrap();
        let pid = rustix::net::sockopt::socket_peercred(&stream).unwrap().pid.as_raw_nonzero().to_string();
        Self { directory: directory.to_owned(), pid }
    }

    fn attach(&self) -> Attached {
        Attached::to(&self.directory, "alice")
    }

    fn is_running(&self) -> bool {
        Path::new("/proc").join(&self.pid).join("fd").read_dir().is_ok_and(|mut it| it.next().is_some())
    }

    fn expect_end(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.is_running() {
            assert!(Instant::now() < deadline, "it is still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&self) {
        let _ = Command::new("kill").args(["-9", &self.pid]).status();
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}

#[test]
fn it_is_ready_when_the_command_returns_and_has_no_terminal() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = Detached::start(directory.path(), discovery.address, &[]);
    let process = Path::new("/proc").join(&alice.pid);
    for stream in ["0", "1", "2"] {
        assert_eq!(std::fs::read_link(process.join("fd").join(stream)).unwrap(), Path::new("/dev/null"));
    }
    // The session is its own, and has no terminal.
    let stat = std::fs::read_to_string(process.join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!((fields[3], fields[4]), (&*alice.pid, "0"));

    // It works, and boxes come and go.
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut one = alice.attach();
    one.say("REQUEST bob");
    one.wait("link", |link| link["state"] == "up");
    one.say("DETACH");
    assert_eq!(one.rest().last().unwrap()["event"], "detached");
    for number in 0..3 {
        bob.say(&format!("CHAT alice {number}"));
    }
    bob.expect_delivered(3);
    let mut two = alice.attach();
    for number in 0..3 {
        let message = two.wait("message", |_| true);
        assert_eq!((&message["text"], &message["replayed"]), (&number.to_string().into(), &false.into()));
    }
    // The next is written once it is known that these are.
    two.say("HELP");
    two.wait("help", |_| true);
    drop(two);
    // One text through it is no look at what has come.
    bob.say("CHAT alice 3");
    bob.expect_delivered(1);
    let send = command(directory.path(), "alice", 0, discovery.address, &["--send", "bob", "x"]).output();
    assert_eq!(send.unwrap().status.code(), Some(0));
    bob.expect_message("alice", "x");
    let mut again = alice.attach();
    again.wait("message", |message| message["text"] == "3");
    again.say("HELP");
    again.wait("help", |_| true);
    drop(again);
    // What was shown is not shown again, and is there to be read.
    let mut three = alice.attach();
    three.say("HISTORY bob");
    assert_eq!(three.wait("history", |_| true)["messages"].as_array().unwrap().len(), 5);
    assert!(!three.log().iter().any(|event| event["event"] == "message"));
    three.say("LOGOUT");
    assert_eq!(three.rest().last().unwrap()["event"], "bye");
    alice.expect_end();
    bob.expect_gone("alice");
    assert!(!socket(directory.path(), "alice").exists());
}

#[test]
fn a_pipe_that_logs_out_ends_with_success() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = Detached::start(directory.path(), discovery.address, &[]);
    let mut pipe = command(directory.path(), "alice", 0, discovery.address, &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    pipe.stdin.take().unwrap().write_all(b"LOGOUT\n").unwrap();
    assert_eq!(pipe.wait().unwrap().code(), Some(0));
    alice.expect_end();
}

#[test]
fn why_it_does_not_start_is_said_and_its_status_is_passed_on() {
    let (directory, _) = scratch();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let refused = |output: Output, expected: &str| {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{stderr}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let data = directory.path().join("data");
    refused(command(&data, "alice", port, nowhere, &["--detach"]).output().unwrap(), "can't listen on");
    assert!(!data.exists());

    let alice = Detached::start(directory.path(), nowhere, &[]);
    refused(detach(directory.path(), nowhere, &[]), "is already running");
    // The usual command opens a box.
    let second = Client::start(directory.path(), "alice", nowhere);
    second.log_out();
    alice.expect_end();

    std::fs::write(directory.path().join("alice.journal"), "no journal").unwrap();
    refused(detach(directory.path(), nowhere, &[]), "is not a peerchat journal");
    for wrong in ["--attach", "--json"] {
        assert_eq!(detach(directory.path(), nowhere, &[wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn it_is_started_again_after_it_was_killed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let alice = Detached::start(directory.path(), discovery.address, &[]);
    let mut one = alice.attach();
    one.say("CHAT bob too early");
    one.wait("error", |_| true);
    one.say("REQUEST bob");
    one.wait("link", |link| link["state"] == "up");
    alice.kill();
    alice.expect_end();
    assert!(one.rest().iter().all(|event| event["event"] != "bye"));
    bob.expect_gone("alice");
    bob.say("CHAT alice while it was down");
    bob.wait("queued", |_| true);
    assert!(socket(directory.path(), "alice").exists(), "it is stale");
    let alice = Detached::start(directory.path(), discovery.address, &[]);
    let mut one = alice.attach();
    one.wait("message", |message| message["text"] == "while it was down");
    // A signal ends it as any client.
    assert!(Command::new("kill").args(["-TERM", &alice.pid]).status().unwrap().success());
    assert_eq!(one.rest().last().unwrap()["event"], "bye");
    alice.expect_end();
}

#[test]
fn it_is_found_after_the_runtime_directory_has_gone_with_the_session() {
    let (directory, _) = scratch();
    let runtime = directory.path().join("runtime");
    std::fs::create_dir(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut start = command(directory.path(), "alice", 0, nowhere, &["--detach"]);
    assert!(start.env("XDG_RUNTIME_DIR", &runtime).output().unwrap().status.success());
    assert_eq!(std::fs::read_dir(runtime.join("peerchat")).unwrap().count(), 1);
    std::fs::remove_dir_all(&runtime).unwrap();
    Client::start(directory.path(), "alice", nowhere).log_out();
}

#[test]
fn messages_are_announced_while_no_box_is_there_and_count_as_shown_to_none() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let noted = directory.path().join("noted");
    let program = directory.path().join("note");
    let script = format!("#!/bin/sh\necho \"$PEERCHAT_FROM $PEERCHAT_TEXT\" >> '{}'\n", noted.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let alice =
        Detached::start(directory.path(), discovery.address, &["--notify", program.to_str().unwrap()]);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("REQUEST alice");
    bob.expect_link("alice");
    bob.say("CHAT alice wake up");
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&noted).is_ok_and(|noted| noted == "bob wake up\n") {
        assert!(Instant::now() < deadline, "it is not announced");
        let _ = bob.next(Duration::from_millis(20));
    }
    alice.attach().wait("message", |message| message["text"] == "wake up");
}
