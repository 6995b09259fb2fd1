//! A real client, driven through its pipes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::discovery::{DEADLINE, wait};

/// A running client that writes JSON, killed when dropped.
pub struct Client {
    pub name: String,
    pub address: SocketAddr,
    pub fingerprint: String,
    child: Child,
    stdin: Option<ChildStdin>,
    events: mpsc::Receiver<Value>,
    /// Read, and to be read again.
    again: VecDeque<Value>,
    /// Everything it has said, for the reader of a failure.
    log: Vec<Value>,
}

/// What a client is told of strangers where its test is not about them: each is answered at once.
pub const ANSWER_ALL: [&str; 2] = ["--strangers", "all"];

/// `options`, with [`ANSWER_ALL`] before them unless they say how strangers are met.
pub fn answering<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let said = options.contains(&"--strangers");
    let before = if said { &[][..] } else { &ANSWER_ALL };
    [before, options].concat()
}

/// The program, which reads no configuration file of the user who runs the tests.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_client"));
    program.env("XDG_CONFIG_HOME", "/nowhere");
    program
}

/// How a client is started by hand.
pub fn command(directory: &Path, name: &str, port: u16, discovery: SocketAddr, options: &[&str]) -> Command {
    let mut command = program();
    command
        .env_remove("RUST_LOG")
        .env_remove("XDG_RUNTIME_DIR")
        .arg("--data-dir")
        .arg(directory)
        .args(answering(options));
    command.args([name, &port.to_string(), "127.0.0.1", "127.0.0.1", &discovery.port().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Client {
    /// On a free port, and ready.
    pub fn start(directory: &Path, name: &str, discovery: SocketAddr) -> Self {
        Self::start_with(directory, name, 0, discovery, &[])
    }

    pub fn start_with(
        directory: &Path,
        name: &str,
        port: u16,
        discovery: SocketAddr,
        options: &[&str],
    ) -> Self {
        Self::run(name, &mut command(directory, name, port, discovery, options))
    }

    /// One that is told by an error, and not by a signal, that its files can't grow any more.
    pub fn with_limited_files(directory: &Path, name: &str, discovery: SocketAddr) -> Self {
        let client = command(directory, name, 0, discovery, &[]);
        let mut shell = Command::new("sh");
        shell
            .env("XDG_CONFIG_HOME", "/nowhere")
            .args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#])
            .arg(client.get_program())
            .args(client.get_args());
        let mut client = Self::run(name, &mut shell);
        client.expect_registered();
        client
    }

    /// However it is to be started; ready.
    pub fn run(name: &str, command: &mut Command) -> Self {
        let mut client = Self::spawn(name, command);
        let ready = client.wait("ready", |_| true);
        client.address = ready["address"].as_str().unwrap().parse().unwrap();
        client.fingerprint = ready["fingerprint"].as_str().unwrap().into();
        client
    }

    /// One that may end before it is ready.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.arg("--json").spawn().expect("client starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // A line may be cut short by kill -9.
                if let Ok(event) = serde_json::from_str(&line)
                    && send.send(event).is_err()
                {
                    return;
                }
            }
        });
        Self {
            name: name.into(),
            address: SocketAddr::from(([0; 4], 0)),
            fingerprint: String::new(),
            stdin: child.stdin.take(),
            child,
            events,
            again: VecDeque::new(),
            log: Vec::new(),
        }
    }

    /// The same, and registered.
    pub fn online(directory: &Path, name: &str, discovery: SocketAddr) -> Self {
        let mut client = Self::start(directory, name, discovery);
        client.expect_registered();
        client
    }

    pub fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// May be cut short, where the client has been killed.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().expect("input is still open").write_all(bytes);
    }

    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next event of this kind for which `fits` holds; what comes before is passed over.
    pub fn wait(&mut self, kind: &str, fits: impl FnMut(&Value) -> bool) -> Value {
        self.find(kind, fits).0
    }

    /// The same, where what comes first is chance: events of other kinds that come before are still to be read.
    pub fn wait_aside(&mut self, kind: &str, fits: impl FnMut(&Value) -> bool) -> Value {
        let (found, passed) = self.find(kind, fits);
        for event in passed.into_iter().rev().filter(|event| event["event"] != kind) {
            self.again.push_front(event);
        }
        found
    }

    fn find(&mut self, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> (Value, Vec<Value>) {
        let deadline = Instant::now() + DEADLINE;
        let mut passed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left) {
                Some(event) if event["event"] == kind && fits(&event) => return (event, passed),
                Some(event) => passed.push(event),
                None => panic!("{} never said {kind}; it said {:#?}", self.name, self.log),
            }
        }
    }

    /// The next event, if there is one in time.
    pub fn next(&mut self, within: Duration) -> Option<Value> {
        if let Some(event) = self.again.pop_front() {
            return Some(event);
        }
        let event = self.events.recv_timeout(within).ok()?;
        self.log.push(event.clone());
        Some(event)
    }

    /// The next event; `None` once it has ended and everything was read.
    pub fn next_or_end(&mut self) -> Option<Value> {
        if let Some(event) = self.again.pop_front() {
            return Some(event);
        }
        match self.events.recv_timeout(DEADLINE) {
            Ok(event) => {
                self.log.push(event.clone());
                Some(event)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{} is silent: {:#?}", self.name, self.log),
        }
    }

    /// Everything that it has said so far, and will say before it answers the next command.
    pub fn settle(&mut self) -> &[Value] {
        self.say("HELP");
        self.wait("help", |_| true);
        &self.log
    }

    pub fn log(&self) -> &[Value] {
        &self.log
    }

    /// It is with discovery. A contact may be quicker, so what it says first is still to be read.
    pub fn expect_registered(&mut self) {
        self.wait_aside("discovery", |event| event["state"] == "up");
    }

    pub fn expect_link(&mut self, peer: &str) {
        self.wait("link", |event| event["peer"] == peer && event["state"] == "up");
    }

    pub fn expect_unlink(&mut self, peer: &str) {
        self.wait("link", |event| event["peer"] == peer && event["state"] == "down");
    }

    /// The peer and discovery both say that the peer has gone, whoever says it first.
    pub fn expect_gone(&mut self, peer: &str) {
        let (mut unlinked, mut offline) = (false, false);
        while !(unlinked && offline) {
            let event = self.next(DEADLINE).unwrap_or_else(|| panic!("{peer} is not gone: {:#?}", self.log));
            unlinked |= event["event"] == "link" && event["peer"] == peer && event["state"] == "down";
            offline |= event["event"] == "presence" && event["peer"] == peer && event["state"] == "offline";
        }
    }

    pub fn expect_message(&mut self, from: &str, text: &str) -> Value {
        let message = self.wait("message", |_| true);
        assert_eq!((&message["from"], &message["text"]), (&from.into(), &text.into()), "{:#?}", self.log);
        message
    }

    pub fn expect_error(&mut self, code: &str) -> Value {
        self.wait("error", |error| error["code"] == code)
    }

    /// Waits until everything said so far is delivered.
    pub fn expect_delivered(&mut self, count: usize) {
        for _ in 0..count {
            self.wait("delivered", |_| true);
        }
    }

    /// Waits until so many messages are delivered in all, whatever else was waited for meanwhile.
    pub fn expect_delivered_in_all(&mut self, count: usize) {
        let delivered = |log: &[Value]| log.iter().filter(|event| event["event"] == "delivered").count();
        self.expect_delivered(count.saturating_sub(delivered(&self.log)));
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid()]).status().unwrap().success());
    }

    /// As `kill -9` does. What it had said by then can still be read.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Everything that was said until the end of its output.
    pub fn rest(&mut self) -> &[Value] {
        while self.next(DEADLINE).is_some() {}
        &self.log
    }

    pub fn log_out(mut self) {
        self.say("LOGOUT");
        let (status, stderr) = self.ended();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
    }

    /// How it ended, and what it wrote to standard error.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child, DEADLINE);
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr).unwrap();
        }
        (status, stderr)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts two clients who are linked.
pub fn linked_pair(directory: &Path, discovery: SocketAddr) -> (Client, Client) {
    let mut bob = Client::online(directory, "bob", discovery);
    let mut alice = Client::online(directory, "alice", discovery);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect_link("alice");
    (alice, bob)
}
