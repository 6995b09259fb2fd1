//! Shows in a few seconds what peerchat does: two people find each other, chat, miss each other, chat on while discovery
//! is dead, and meet a third in a room that outlives its founder. Real programs on free ports of this machine; nothing is left behind.
//!
//! Anything that does not hold ends the tour with an error and a status that is not 0.

#![allow(clippy::indexing_slicing, reason = "a JSON value without the field is null")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Far longer than any step takes.
const DEADLINE: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let tour = build().and_then(|programs| {
        let start = Instant::now();
        tour(&programs)?;
        Ok(start.elapsed())
    });
    match tour {
        Ok(taken) => {
            println!("\nEverything held, in {:.1} s.", taken.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe tour failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tour(programs: &Path) -> Result<()> {
    let scratch = Scratch::new()?;
    let db = scratch.0.join("discovery.db");

    title("A discovery server starts");
    let mut discovery = Discovery::start(programs, &db, "0")?;

    title("Alice and Bob start their clients");
    let rendezvous = discovery.port.clone();
    let client =
        |name: &'static str, port: &str| Chatter::start(programs, &scratch.0, name, port, &rendezvous);
    let mut bob = client("bob", "0")?;
    let mut alice = client("alice", "0")?;
    bob.hears("discovery", &[("state", "up")])?;
    alice.hears("discovery", &[("state", "up")])?;

    title("Alice asks for Bob, and they chat: directly, encrypted end to end");
    alice.types("REQUEST bob")?;
    alice.hears("link", &[("peer", "bob"), ("state", "up")])?;
    bob.hears("link", &[("peer", "alice"), ("state", "up")])?;
    alice.types("CHAT bob Hello Bob, this goes straight to you.")?;
    bob.hears_message("alice", "Hello Bob, this goes straight to you.")?;
    alice.hears("delivered", &[("to", "bob")])?;
    bob.types("CHAT alice And this straight back.")?;
    alice.hears_message("bob", "And this straight back.")?;
    bob.hears("delivered", &[("to", "alice")])?;

    title("Bob leaves; what Alice writes waits in her outbox");
    let port = bob.port.clone();
    bob.leaves()?;
    alice.hears("link", &[("peer", "bob"), ("state", "down")])?;
    for text in ["You are away.", "This waits,", "in order."] {
        alice.types(&format!("CHAT bob {text}"))?;
        alice.hears("queued", &[("to", "bob")])?;
    }

    title("Bob returns, and has it");
    let mut bob = client("bob", &port)?;
    for text in ["You are away.", "This waits,", "in order."] {
        bob.hears_message("alice", text)?;
        alice.hears("delivered", &[("to", "bob")])?;
    }

    title("Discovery is killed with -9; the chat goes on");
    discovery.kill()?;
    alice.hears("discovery", &[("state", "down")])?;
    bob.hears("discovery", &[("state", "down")])?;
    alice.types("CHAT bob Discovery is dead. We are not.")?;
    bob.hears_message("alice", "Discovery is dead. We are not.")?;
    bob.types("CHAT alice So I see.")?;
    alice.hears_message("bob", "So I see.")?;

    title("A contact who restarts is still found, at the last address");
    bob.leaves()?;
    alice.hears("link", &[("peer", "bob"), ("state", "down")])?;
    alice.types("CHAT bob Can you hear me without discovery?")?;
    let mut bob = client("bob", &port)?;
    bob.hears_message("alice", "Can you hear me without discovery?")?;

    title("Discovery returns, and all clients are back by themselves");
    discovery = Discovery::start(programs, &db, &rendezvous)?;
    alice.hears("discovery", &[("state", "up")])?;
    bob.hears("discovery", &[("state", "up")])?;

    title("Nothing is left in any outbox, and nothing came twice");
    alice.says_outbox_is_empty()?;
    bob.says_outbox_is_empty()?;
    ensure!(alice.messages == 2, "Alice should have seen 2 messages, not {}", alice.messages);
    ensure!(bob.messages == 1, "Bob, since his last start, should have seen 1 message, not {}", bob.messages);

    title("Alice founds a room, and Bob and Carol join it");
    let mut carol = client("carol", "0")?;
    carol.hears("discovery", &[("state", "up")])?;
    alice.types("REQUEST carol")?;
    alice.hears("link", &[("peer", "carol"), ("state", "up")])?;
    carol.hears("link", &[("peer", "alice"), ("state", "up")])?;
    alice.types("ROOM #garden")?;
    alice.hears("room", &[("room", "#garden"), ("state", "founded")])?;
    for guest in [&mut bob, &mut carol] {
        alice.types(&format!("INVITE #garden {}", guest.name))?;
        guest.hears("invite", &[("room", "#garden"), ("from", "alice")])?;
        guest.types("JOIN #garden")?;
        alice.hears("member", &[("user", guest.name), ("state", "joined")])?;
    }

    title("Carol is away when Alice writes; then Alice is gone, killed with -9");
    let port = carol.port.clone();
    carol.leaves()?;
    alice.hears("link", &[("peer", "carol"), ("state", "down")])?;
    alice.types("CHAT #garden The roses are yours, Carol.")?;
    bob.hears_message("alice", "The roses are yours, Carol.")?;
    alice.hears("delivered", &[("to", "#garden")])?;
    alice.kill()?;

    title("Carol returns, and has it from Bob, who did not write it");
    let mut carol = client("carol", &port)?;
    carol.hears_message("alice", "The roses are yours, Carol.")?;
    carol.leaves()?;
    bob.leaves()?;
    discovery.interrupt()
}

/// An event as a person would tell it; the client wrote it as JSON.
fn describe(event: &Value) -> String {
    let field = |name: &str| event[name].as_str().unwrap_or_default();
    match field("event") {
        "ready" => format!("listens on {}, key {:.16}...", field("address"), field("fingerprint")),
        "message" => format!("{}: {}", field("from"), field("text")),
        "link" => format!("* link to {}: {}", field("peer"), field("state")),
        "presence" => format!("* discovery says: {} is {}", field("peer"), field("state")),
        "discovery" => format!("* discovery: {} ({})", field("state"), field("detail")),
        "request" => format!("* {} asks for a channel", field("from")),
        "queued" => format!("* in the outbox: message {}", field("id")),
        "invite" => format!("* {} invites to {}", field("from"), field("room")),
        "room" => format!("* {}: {}", field("room"), field("state")),
        "member" => format!("* {}: {} {}", field("room"), field("user"), field("state")),
        "delivered" if event["of"].is_u64() => {
            format!("* {} of {} in {} have message {}", event["have"], event["of"], field("to"), field("id"))
        }
        "delivered" => format!("* delivered: message {}", field("id")),
        "outbox" => format!("* {} waiting", event["waiting"]),
        _ => event.to_string(),
    }
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// Builds the two programs the way this one was built, and says where they are.
fn build() -> Result<PathBuf> {
    let tour = std::env::current_exe().context("where is this program?")?;
    let directory = tour.parent().and_then(Path::parent).context("not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    ensure!(build.status().context("cargo does not run")?.success(), "the programs can't be built");
    Ok(directory.to_owned())
}

/// A directory that is gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("peerchat-tour-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the tour.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a process, as they come.
fn lines(child: &mut Child) -> Result<Receiver<String>> {
    let stdout = child.stdout.take().context("no pipe")?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    Ok(lines)
}

struct Discovery {
    process: Running,
    port: String,
}

impl Discovery {
    fn start(programs: &Path, db: &Path, port: &str) -> Result<Self> {
        let mut command = Command::new(programs.join("discovery"));
        command.arg("--db").arg(db).args(["127.0.0.1", port]).stdout(Stdio::piped());
        let mut process = Running(command.spawn().context("discovery does not start")?);
        let line = lines(&mut process.0)?.recv_timeout(DEADLINE).context("discovery says nothing")?;
        println!("discovery  {line}");
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        let port = address.and_then(|address| address.rsplit(':').next()).context("no port in that")?;
        Ok(Self { process, port: port.to_owned() })
    }

    /// As `kill -9` does.
    fn kill(&mut self) -> Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        println!("discovery  (killed)");
        Ok(())
    }

    /// As Ctrl+C does.
    fn interrupt(mut self) -> Result<()> {
        let pid = self.process.0.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status()?;
        let status = wait(&mut self.process.0)?;
        ensure!(status == Some(0), "discovery ended with {status:?}");
        Ok(())
    }
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("it does not end")
}

struct Chatter {
    process: Running,
    name: &'static str,
    port: String,
    events: Receiver<String>,
    messages: usize,
}

impl Chatter {
    fn start(
        programs: &Path,
        scratch: &Path,
        name: &'static str,
        port: &str,
        discovery: &str,
    ) -> Result<Self> {
        let mut command = Command::new(programs.join("client"));
        command.env("XDG_CONFIG_HOME", "/nowhere");
        command.args(["--json", "--strangers", "all", "--data-dir"]).arg(scratch);
        command.args([name, port, "127.0.0.1", "127.0.0.1", discovery]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running(command.spawn().context("the client does not start")?);
        let events = lines(&mut process.0)?;
        let mut chatter = Self { process, name, port: String::new(), events, messages: 0 };
        let ready = chatter.hears("ready", &[])?;
        let address = ready["address"].as_str().unwrap_or_default();
        chatter.port = address.rsplit(':').next().unwrap_or_default().to_owned();
        Ok(chatter)
    }

    fn types(&mut self, line: &str) -> Result<()> {
        println!("{:<10} > {line}", self.name);
        let stdin = self.process.0.stdin.as_mut().context("no pipe")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} is gone", self.name))
    }

    /// Waits for an event with these fields; shows all that come.
    fn hears(&mut self, kind: &str, fields: &[(&str, &str)]) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.events.recv_timeout(left) else {
                bail!("{} never said {kind} with {fields:?}", self.name);
            };
            let event: Value = serde_json::from_str(&line).context("not JSON")?;
            println!("{:<10}   {}", self.name, describe(&event));
            self.messages += usize::from(event["event"] == "message" && event["replayed"] == false);
            if event["event"] == kind && fields.iter().all(|(field, value)| event[*field] == *value) {
                return Ok(event);
            }
        }
    }

    /// Waits for the next message, which must be this one.
    fn hears_message(&mut self, from: &str, text: &str) -> Result<()> {
        let message = self.hears("message", &[])?;
        ensure!(message["from"] == from && message["text"] == text, "expected {text:?} from {from}");
        Ok(())
    }

    fn says_outbox_is_empty(&mut self) -> Result<()> {
        self.types("OUTBOX")?;
        let outbox = self.hears("outbox", &[])?;
        ensure!(outbox["waiting"] == 0, "{} still has something waiting", self.name);
        Ok(())
    }

    /// As `kill -9` does.
    fn kill(mut self) -> Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        println!("{:<10}   (killed)", self.name);
        Ok(())
    }

    fn leaves(mut self) -> Result<()> {
        self.types("LOGOUT")?;
        self.hears("bye", &[])?;
        let status = wait(&mut self.process.0)?;
        ensure!(status == Some(0), "{} ended with {status:?}", self.name);
        Ok(())
    }
}
