//! Two real clients and their discovery, with as much in their journals as one likes.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::accounts::Change;
use peerchat::protocol::peer::{Cursor, Kind, Message};
use peerchat::protocol::{Name, PublicKey};
use peerchat::store::directory::Directory;
use peerchat::store::journal::{Journal, Outgoing, Reading, Standing};

use crate::crowd::new_user;
use crate::measure::{FIRST, SECOND, ended, pinned};
use crate::programs;
use crate::server::{Discovery, Scratch, cpu};

/// How many bytes a text has.
pub const TEXT: usize = 100;
/// How many messages are put into a journal in one transaction.
const FILL: u64 = 50_000;
/// A time, for what is put into journals.
const THEN: i64 = 1_700_000_000_000;

/// A running client that writes JSON, killed when dropped.
pub struct Person {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub lines: Lines,
    /// How long it took to be ready.
    pub ready: Duration,
    /// Where it takes links.
    pub address: SocketAddr,
}

/// What a program writes, line by line.
pub struct Lines {
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Lines {
    pub fn next(&mut self) -> Result<&[u8]> {
        self.line.clear();
        self.stdout.read_until(b'\n', &mut self.line)?;
        ensure!(self.line.ends_with(b"\n"), "a client has ended");
        Ok(&self.line)
    }

    /// The next line of this kind; those before are passed over, but no error is.
    pub fn wait(&mut self, event: &str) -> Result<&[u8]> {
        loop {
            let line = self.next()?;
            let kind = kind(line);
            ensure!(kind != b"error" || event == "error", "{}", String::from_utf8_lossy(line));
            if kind == event.as_bytes() {
                break;
            }
        }
        Ok(&self.line)
    }
}

/// What a line tells of.
pub fn kind(line: &[u8]) -> &[u8] {
    let rest = line.strip_prefix(br#"{"event":""#).unwrap_or_default();
    rest.split(|byte| *byte == b'"').next().unwrap_or_default()
}

/// The number with which the text of a message begins.
pub fn number(line: &[u8]) -> Option<u64> {
    const BEFORE: &[u8] = br#""text":""#;
    let at = line.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    digits(line.get(at..)?)
}

/// The number with which the name of a message, `<epoch>-<number>`, ends.
pub fn place(line: &[u8]) -> Option<u64> {
    const BEFORE: &[u8] = br#""id":""#;
    let at = line.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    digits(line.get(at + 17..)?)
}

fn digits(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u64> = digits.map(|digit| u64::from(digit - b'0')).collect();
    (!digits.is_empty()).then(|| digits.iter().fold(0, |number, digit| number * 10 + digit))
}

/// A text that begins with its number.
pub fn text(number: u64) -> String {
    format!("{number:<TEXT$}").replace(' ', "x").replacen('x', " ", 1)
}

impl Person {
    pub fn start(core: usize, directory: &Path, name: &str, discovery: SocketAddr) -> Result<Self> {
        let mut program = Command::new(programs()?.join("client"));
        program.env("XDG_CONFIG_HOME", "/nowhere");
        Self::spawn(core, program, directory, name, Ipv4Addr::LOCALHOST, discovery)
    }

    /// Of a command that runs a client, to which arguments are added. It listens at `own`.
    pub fn spawn(
        core: usize,
        mut command: Command,
        directory: &Path,
        name: &str,
        own: Ipv4Addr,
        discovery: SocketAddr,
    ) -> Result<Self> {
        command.env_remove("RUST_LOG").args(["--json", "--strangers", "all"]);
        command.arg("--data-dir").arg(directory).args([name, "0", &own.to_string()]);
        command.args([discovery.ip().to_string(), discovery.port().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = pinned(core, || Ok(command.spawn()?))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no pipe")?;
        let lines = Lines { stdout: BufReader::with_capacity(256 * 1024, stdout), line: Vec::new() };
        let mut person = Self { child, stdin, lines, ready: Duration::ZERO, address: discovery };
        let line = person.lines.wait("ready")?;
        let ready = start.elapsed();
        let said: serde_json::Value = serde_json::from_slice(line)?;
        let address = said.get("address").and_then(serde_json::Value::as_str).context("no address")?;
        (person.address, person.ready) = (address.parse()?, ready);
        Ok(person)
    }

    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        Ok(stdin.write_all(format!("{line}\n").as_bytes())?)
    }

    pub fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn wait_for_link(&mut self, route: &str) -> Result<()> {
        let line = self.lines.wait("link")?;
        let said: serde_json::Value = serde_json::from_slice(line)?;
        let route_is = said.get("route").and_then(serde_json::Value::as_str);
        ensure!(route_is == Some(route), "a link of another route than {route}: {said}");
        Ok(())
    }

    /// Has it leave. Nothing may be waiting, and nothing may come that has come before.
    pub fn leave(mut self) -> Result<()> {
        self.say("LOGOUT")?;
        loop {
            let line = self.lines.next()?;
            let said = String::from_utf8_lossy(line);
            match kind(line) {
                b"bye" => {
                    ensure!(said.contains("\"waiting\":0"), "{said}");
                    break;
                }
                b"message" | b"delivered" | b"error" => anyhow::bail!("one too many: {said}"),
                _ => {}
            }
        }
        ended(&mut self.child, "a client")
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the journals of a sender, alice, and a receiver, bob, who know each other and have exchanged so many
/// messages, and a discovery that knows them.
pub fn make(scratch: &Scratch, messages: u64) -> Result<()> {
    let names: [Name; 2] = ["alice".parse()?, "bob".parse()?];
    let journals =
        names.each_ref().map(|name| Journal::open(&scratch.path().join(format!("{name}.journal")), name));
    let [alice, bob] = journals;
    let (alice, bob) = (alice?, bob?);
    let keys = [alice.identity()?.1.public(), bob.identity()?.1.public()];
    let [alices, bobs] = keys;
    let body = text(0);
    let epoch = 7;
    let message = |number: u64| Message {
        epoch,
        number,
        kind: Kind::TEXT,
        sent: THEN,
        body: body.clone().into_bytes(),
        original: None,
    };
    for (journal, name, key, is_sender) in [(&alice, &names[1], bobs, true), (&bob, &names[0], alices, false)]
    {
        journal.begin()?;
        let mut contact = journal.add_contact(name, Standing::Contact)?;
        contact.identity.key = Some(key);
        journal.save_identity(contact.id, &contact.identity)?;
        let last = messages.cast_signed();
        if is_sender {
            journal
                .save_outgoing(contact.id, &Outgoing { delivered: last, base: 0, ..Outgoing::default() })?;
        } else {
            journal.save_reading(contact.id, &Reading { shown: last, read: last })?;
        }
        let row = if is_sender && messages > 0 { journal.add_epoch(epoch, 1)? } else { 0 };
        for number in 1..=messages {
            let seq = number.cast_signed();
            if is_sender {
                journal.add_sent(contact.id, seq, row, Kind::TEXT, THEN, body.as_bytes())?;
            } else {
                journal.add_received(contact.id, seq, &message(number), THEN)?;
            }
            if number % FILL == 0 {
                journal.seal(journal.unsealed()?.into_iter(), seq)?;
                journal.commit()?;
                journal.begin()?;
            }
        }
        if !is_sender && messages > 0 {
            journal.set_cursor(contact.id, Cursor { epoch, number: messages }, last)?;
        }
        journal.commit()?;
    }
    register(&scratch.db(), &names, &keys)
}

/// A discovery's database in which the first is connected to all others.
pub fn register(db: &Path, names: &[Name], keys: &[PublicKey]) -> Result<()> {
    let users = (1..).zip(names.iter().zip(keys)).map(|(id, (name, key))| new_user(id, name, *key));
    let connections =
        (2..).zip(names.iter().skip(1)).map(|(other, _)| Change::AddConnection { one: 1, other, now: 0 });
    Ok(Directory::open(db)?.save(&users.chain(connections).collect::<Vec<_>>())?)
}

/// The two, linked: the sender on one core, the receiver on the other.
pub struct Pair {
    pub sender: Person,
    pub receiver: Person,
    _discovery: Discovery,
}

impl Pair {
    /// From what [`make`] has made.
    pub fn start(scratch: &Scratch) -> Result<Self> {
        let discovery = Discovery::start(programs()?, &scratch.db(), 0, &[])?;
        let receiver = Person::start(SECOND, scratch.path(), "bob", discovery.address)?;
        let sender = Person::start(FIRST, scratch.path(), "alice", discovery.address)?;
        Self::of(sender, receiver, discovery, "direct")
    }

    /// Of those that run, once there is a link of that route.
    pub fn of(mut sender: Person, mut receiver: Person, discovery: Discovery, route: &str) -> Result<Self> {
        sender.wait_for_link(route)?;
        receiver.wait_for_link(route)?;
        Ok(Self { sender, receiver, _discovery: discovery })
    }

    /// With journals made for it, and thrown away with them.
    pub fn fresh(scratch: &Scratch) -> Result<Self> {
        make(scratch, 0)?;
        Self::start(scratch)
    }

    pub fn leave(self) -> Result<()> {
        self.sender.leave()?;
        self.receiver.leave()
    }
}
