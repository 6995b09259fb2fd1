//! Killed at each write, and each write failing: afterwards everything promised is there once, in order.
//!
//! `crash.rs` kills at moments that chance chooses; here strace kills at each place of a script in turn: before
//! each call that changes a file or that another process can see. An ordinary run takes a sample of the places;
//! with `PEERCHAT_SWEEP=all` it is all of them.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::client::{Client, command};
use crate::support::discovery::{
    self, DEADLINE, Discovery, Raw, keypair, register, request, request_again, scratch,
};
use crate::support::trace::{counts, places, possible, traced};
use peerchat::protocol::rendezvous::{Asks, RefusedCode, Status, ToClient, ToDiscovery};
use peerchat::transport::noise::Keypair;
use serde_json::Value;

/// How many places each test tries in an ordinary run.
const SAMPLE: usize = 20;
/// How many lines the sender writes: half of them at once, the others one after the other.
const LINES: usize = 8;

/// A client at which something is injected.
fn client(directory: &Path, name: &str, discovery: SocketAddr, inject: Option<&str>) -> Client {
    let program = command(directory, name, 0, discovery, &["--linger", "0"]);
    Client::spawn(name, &mut traced(&program, &directory.join("trace"), inject))
}

/// What a sender's user was told over all starts.
#[derive(Default)]
struct Sender {
    written: usize,
    unanswered: VecDeque<usize>,
    promised: Vec<usize>,
    refused: Vec<usize>,
    delivered: usize,
    fingerprint: Option<Value>,
}

impl Sender {
    fn write(&mut self, client: &mut Client, to: &str) {
        client.say(&format!("CHAT {to} {}", self.written));
        self.unanswered.push_back(self.written);
        self.written += 1;
    }

    /// Takes in what the client says until `enough`; `false` if it ends before.
    fn read(&mut self, client: &mut Client, enough: impl Fn(&Self, &Value) -> bool) -> bool {
        while let Some(event) = client.next_or_end() {
            match event["event"].as_str().unwrap() {
                // An account that was once shown stays the same.
                "ready" => match &self.fingerprint {
                    Some(before) => assert_eq!(*before, event["fingerprint"]),
                    None => self.fingerprint = Some(event["fingerprint"].clone()),
                },
                "queued" => self.promised.push(self.unanswered.pop_front().expect("a promise for a line")),
                "delivered" => self.delivered += 1,
                // A request that was not saved makes no contact, and no line to them is taken.
                "error" => match event["code"].as_str().unwrap() {
                    "not-a-contact" => self.refused.extend(self.unanswered.pop_front()),
                    "not-saved" if event["text"].is_string() => {
                        let refused = self.unanswered.pop_front().expect("an answer for a line");
                        assert_eq!(event["text"], refused.to_string());
                        self.refused.push(refused);
                    }
                    // What discovery said of bob was not saved, and bob dialled before it was said again.
                    "not-saved" | "unknown-peer" => {}
                    _ => panic!("{event}"),
                },
                _ => {}
            }
            if enough(self, &event) {
                return true;
            }
        }
        false
    }

    /// Writes to `to` from the first start to the logout; `false` if the client ends before. While nothing can
    /// be saved nothing is delivered, so with `deliver` unset the test does not wait for it.
    fn script(&mut self, client: &mut Client, to: &str, deliver: bool) -> bool {
        let answered = |told: &Self, _: &Value| {
            told.unanswered.is_empty() && (!deliver || told.delivered >= told.promised.len())
        };
        client.say(&format!("REQUEST {to}"));
        (0..LINES / 2).for_each(|_| self.write(client, to));
        if !self.read(client, answered) {
            return false;
        }
        for _ in LINES / 2..LINES {
            // The first one may have failed.
            client.say(&format!("REQUEST {to}"));
            self.write(client, to);
            if !self.read(client, answered) {
                return false;
            }
        }
        client.say("LOGOUT");
        self.read(client, |_, event| event["event"] == "bye")
    }

    /// Started again where nothing is injected: logs out once all is delivered.
    fn finish(&mut self, directory: &Path, name: &str, discovery: SocketAddr) {
        self.unanswered.clear();
        let mut client = Client::spawn(name, &mut command(directory, name, 0, discovery, &[]));
        assert!(self.read(&mut client, |_, event| event["event"] == "ready"));
        client.end_input();
        // What else might be left is delivered before it leaves: 0 means all of it.
        assert!(self.read(&mut client, |_, event| event["event"] == "bye"));
        let (status, stderr) = client.ended();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
    }

    /// Asserts that `seen` has everything promised, in order, and nothing that was refused.
    fn check(&self, seen: &[usize]) {
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
        assert!(self.promised.iter().all(|number| seen.contains(number)), "{:?} {seen:?}", self.promised);
        assert!(self.refused.iter().all(|number| !seen.contains(number)), "{:?} {seen:?}", self.refused);
    }
}

/// What the receiver's journal has of `from`, which is what was ever shown.
fn history(client: &mut Client, from: &str) -> Vec<usize> {
    client.say(&format!("HISTORY {from} 100"));
    let history = client.wait("history", |event| event["peer"] == from);
    let texts = history["messages"].as_array().unwrap().iter();
    texts.map(|entry| entry["text"].as_str().unwrap().parse().unwrap()).collect()
}

/// Runs the sender's script with each injection that `inject` makes of a place, each with a new account.
fn sweep_sender(calls: &[&str], most: usize, deliver: bool, inject: impl Fn(&str, usize) -> String) {
    if !possible() {
        return;
    }
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let home = |name: &str| {
        let home = directory.path().join(name);
        std::fs::create_dir(&home).unwrap();
        home
    };
    let whole = home("whole");
    let mut client_ = client(&whole, "whole", discovery.address, None);
    assert!(Sender::default().script(&mut client_, "bob", true));
    client_.ended();
    let mut counts = counts(&whole.join("trace"));
    counts.retain(|call, _| calls.contains(&call.as_str()));
    let (mut interrupted, mut promised, mut refused) = (0, 0, 0);
    for (number, (call, at)) in places(&counts, most).into_iter().enumerate() {
        let name = format!("alice-{number}");
        let home = home(&name);
        let inject = inject(&call, at);
        println!("{name}: {inject}");
        let mut client = client(&home, &name, discovery.address, Some(&inject));
        let mut sender = Sender::default();
        interrupted += usize::from(!sender.script(&mut client, "bob", deliver));
        let (status, stderr) = client.ended();
        assert!(!stderr.contains("panicked"), "{stderr}");
        if inject.contains("error=") {
            // Either it does not start, and says why, or it goes on to the end.
            let expected = if sender.fingerprint.is_some() { 0 } else { 1 };
            assert_eq!(status.code(), Some(expected), "{stderr}");
        }
        sender.finish(&home, &name, discovery.address);
        // The last message in an order that every client keeps: bob's answer comes after it.
        let seen = if sender.promised.is_empty() { Vec::new() } else { history(&mut bob, &name) };
        sender.check(&seen);
        promised += sender.promised.len();
        refused += sender.refused.len();
    }
    println!("{interrupted} interrupted, {promised} promised, {refused} refused");
    assert!(interrupted + refused > 0, "nothing was injected");
    // Nothing was shown twice.
    let mut ids = BTreeSet::new();
    let shown = bob.settle().iter().filter(|event| event["event"] == "message");
    shown.for_each(|event| assert!(ids.insert(event["id"].to_string()), "{event}"));
}

#[test]
fn the_sender_is_killed_at_each_call() {
    let calls = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "sendto", "write"];
    sweep_sender(&calls, SAMPLE, true, |call, at| format!("{call}:signal=KILL:when={at}"));
}

#[test]
fn each_sync_of_the_sender_fails() {
    sweep_sender(&["fdatasync", "fsync"], SAMPLE, true, |call, at| format!("{call}:error=EIO:when={at}"));
}

#[test]
fn what_was_refused_does_not_come_back_when_the_sender_is_killed_then() {
    if !possible() {
        return;
    }
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut refused = 0;
    // The first ones make the journal.
    for at in 16..16 + 2 * LINES {
        let name = format!("alice-{at}");
        let home = directory.path().join(&name);
        std::fs::create_dir(&home).unwrap();
        let inject = format!("fdatasync,fsync:error=EIO:when={at}");
        let mut alice = client(&home, &name, discovery.address, Some(&inject));
        let mut sender = Sender::default();
        alice.say("REQUEST bob");
        // One after the other, and killed as soon as one is refused, before anything else is written.
        while sender.written < LINES && sender.refused.is_empty() {
            sender.write(&mut alice, "bob");
            if !sender.read(&mut alice, |told, _| told.unanswered.is_empty()) {
                break;
            }
        }
        alice.kill();
        sender.finish(&home, &name, discovery.address);
        let seen = if sender.promised.is_empty() { Vec::new() } else { history(&mut bob, &name) };
        sender.check(&seen);
        refused += sender.refused.len();
    }
    assert!(refused > 0, "nothing was refused");
}

#[test]
fn the_disk_of_the_sender_is_full_from_each_write_on() {
    sweep_sender(&["pwrite64"], SAMPLE, false, |call, at| format!("{call}:error=ENOSPC:when={at}+"));
}

/// What a receiver's user has seen over all starts, and how far the conversation has come.
#[derive(Default)]
struct Receiver {
    ids: BTreeSet<String>,
    seen: Vec<usize>,
    again: usize,
    ready: bool,
    written: usize,
    delivered: usize,
}

impl Receiver {
    /// Takes in what the client says until `enough`; `false` if it ends before.
    fn read(&mut self, client: &mut Client, enough: impl Fn(&Self, &Value) -> bool) -> bool {
        while let Some(event) = client.next_or_end() {
            self.ready |= event["event"] == "ready";
            if event["event"] == "message" {
                if self.ids.insert(event["id"].to_string()) {
                    self.seen.push(event["text"].as_str().unwrap().parse().unwrap());
                } else {
                    // Only what was perhaps not seen before a kill is shown again, and marked.
                    assert_eq!(event["replayed"], true, "{event}");
                    self.again += 1;
                }
            }
            if enough(self, &event) {
                return true;
            }
        }
        false
    }

    fn write(&mut self, alice: &mut Client, name: &str, lines: usize) {
        for _ in 0..lines {
            alice.say(&format!("CHAT {name} {}", self.written));
            self.written += 1;
        }
    }

    /// From the start to the logout, or as far as it goes: `false` if the client ends before. It takes up the
    /// conversation where an earlier start left it.
    fn script(&mut self, client: &mut Client, alice: &mut Client, name: &str) -> bool {
        if !self.read(client, |_, event| event["event"] == "discovery" && event["state"] == "up") {
            return false;
        }
        if self.written == 0 {
            alice.say(&format!("REQUEST {name}"));
            self.write(alice, name, LINES / 2);
        }
        loop {
            if self.seen.len() < self.written && !self.read(client, |told, _| told.seen.len() == told.written)
            {
                return false;
            }
            if self.written == LINES {
                break;
            }
            self.write(alice, name, 1);
        }
        let deadline = Instant::now() + DEADLINE;
        while self.delivered < LINES {
            match alice.next(Duration::from_millis(10)) {
                Some(event) => self.delivered += usize::from(event["event"] == "delivered"),
                None if client.has_ended() => return false,
                None => assert!(Instant::now() < deadline, "never delivered"),
            }
        }
        client.say("LOGOUT");
        self.read(client, |_, event| event["event"] == "bye")
    }

    /// The same where nothing can be saved any more from some moment on: all is written, and nothing awaited.
    fn script_in_vain(&mut self, client: &mut Client, alice: &mut Client, name: &str) -> bool {
        if !self.read(client, |_, event| event["event"] == "discovery") {
            return false;
        }
        if client.log().last().unwrap()["state"] == "up" {
            alice.say(&format!("REQUEST {name}"));
            self.write(alice, name, LINES);
            for _ in 0..LINES {
                alice.wait("queued", |_| true);
            }
        }
        client.say("HELP");
        client.say("LOGOUT");
        self.read(client, |_, event| event["event"] == "bye")
    }
}

/// Runs a receiver with each injection, each with a new account, which the same sender writes to.
fn sweep_receiver(calls: &[&str], most: usize, in_vain: bool, inject: impl Fn(&str, usize) -> String) {
    if !possible() {
        return;
    }
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut alice = Client::online(directory.path(), "alice", address);
    let home = |name: &str| {
        let home = directory.path().join(name);
        std::fs::create_dir(&home).unwrap();
        home
    };
    let whole = home("whole");
    let mut bob = client(&whole, "whole", address, None);
    assert!(Receiver::default().script(&mut bob, &mut alice, "whole"));
    bob.ended();
    let mut counts = counts(&whole.join("trace"));
    counts.retain(|call, _| calls.contains(&call.as_str()));
    let (mut interrupted, mut again) = (0, 0);
    for (number, (call, at)) in places(&counts, most).into_iter().enumerate() {
        let name = format!("bob-{number}");
        let home = home(&name);
        let inject = inject(&call, at);
        println!("{name}: {inject}");
        let mut receiver = Receiver::default();
        let mut bob = client(&home, &name, address, Some(&inject));
        let whole = if in_vain {
            receiver.script_in_vain(&mut bob, &mut alice, &name)
        } else {
            receiver.script(&mut bob, &mut alice, &name)
        };
        interrupted += usize::from(!whole);
        let (status, stderr) = bob.ended();
        assert!(!stderr.contains("panicked"), "{stderr}");
        if inject.contains("error=") {
            assert_eq!(status.code(), Some(if receiver.ready { 0 } else { 1 }), "{stderr}");
        }
        // What it had said when it ended counts.
        receiver.read(&mut bob, |_, _| false);
        let mut bob = Client::spawn(&name, &mut command(&home, &name, 0, address, &[]));
        assert!(receiver.script(&mut bob, &mut alice, &name));
        assert_eq!(receiver.seen, (0..LINES).collect::<Vec<_>>());
        bob.ended();
        again += receiver.again;
    }
    println!("{interrupted} interrupted, {again} messages shown again");
    assert!(interrupted > 0, "nothing was injected");
}

#[test]
fn the_receiver_is_killed_at_each_call() {
    let calls = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "sendto", "write"];
    sweep_receiver(&calls, SAMPLE, false, |call, at| format!("{call}:signal=KILL:when={at}"));
}

#[test]
fn each_sync_of_the_receiver_fails() {
    sweep_receiver(&["fdatasync", "fsync"], SAMPLE, false, |call, at| format!("{call}:error=EIO:when={at}"));
}

#[test]
fn the_disk_of_the_receiver_is_full_from_each_write_on() {
    sweep_receiver(&["pwrite64"], SAMPLE, true, |call, at| format!("{call}:error=ENOSPC:when={at}+"));
}

/// What discovery has acknowledged over all its starts.
#[derive(Default)]
struct Acknowledged {
    key: Option<String>,
    alice: bool,
    bob: bool,
    request: bool,
    connection: bool,
    moved: bool,
}

/// Why a visit went no further.
struct Gone;

/// Two people at a discovery that may end at any moment, or may be unable to save anything.
struct Visit<'a> {
    address: SocketAddr,
    keys: &'a [Keypair; 2],
    /// Whether what is refused for want of a disk is asked for again.
    insists: bool,
}

impl Visit<'_> {
    fn say(raw: &mut Raw, message: &ToDiscovery) -> Result<(), Gone> {
        raw.try_say(message).map_err(|_| Gone)
    }

    fn hear(raw: &mut Raw) -> Result<ToClient, Gone> {
        raw.hear().ok_or(Gone)
    }

    /// Says something until it is done, or is refused for good: whether it is done, and the answer.
    fn ask(&self, raw: &mut Raw, message: &ToDiscovery) -> Result<Option<ToClient>, Gone> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            Self::say(raw, message)?;
            match Self::hear(raw)? {
                ToClient::Refused(refused) => {
                    assert_eq!(refused.code, RefusedCode::NOT_SAVED);
                    assert!(Instant::now() < deadline, "never saved");
                    if !self.insists {
                        // The session stays, and what needs no disk works.
                        Self::say(raw, &ToDiscovery::Ping)?;
                        assert_eq!(Self::hear(raw)?, ToClient::Pong);
                        return Ok(None);
                    }
                }
                answer => return Ok(Some(answer)),
            }
        }
    }

    fn register(&self, raw: &mut Raw, name: &str, port: u16) -> Result<Option<Vec<Status>>, Gone> {
        let Some(answer) = self.ask(raw, &register(name, port))? else {
            return Ok(None);
        };
        assert!(matches!(answer, ToClient::Registered(_)), "{answer:?}");
        let mut related = Vec::new();
        loop {
            match Self::hear(raw)? {
                ToClient::Status(status) => related.push(status),
                ToClient::Synced => return Ok(Some(related)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Both register, alice asks for bob, they are linked, and bob moves.
    fn pay(&self, done: &mut Acknowledged) -> Result<(), Gone> {
        let [mut alice, mut bob] =
            self.keys.each_ref().map(|key| Raw::try_connect(self.address, key).map_err(|_| Gone));
        let (alice, bob) = (alice.as_mut().map_err(|_| Gone)?, bob.as_mut().map_err(|_| Gone)?);
        let Some(related) = self.register(alice, "alice", 1)? else { return Ok(()) };
        done.alice = true;
        // A request or a connection that was acknowledged is there; both lead to a status.
        assert!(related.len() >= usize::from(done.request), "{related:?}");
        assert!(related.len() <= 1 && related.iter().all(|bob| bob.name.as_str() == "bob"), "{related:?}");
        let related_before = !related.is_empty();
        if let Some(bob) = related.first() {
            assert!(bob.connected || !done.connection, "{bob:?}");
            let port = bob.address.map(|address| address.port());
            assert!(if done.moved { port == Some(3) } else { matches!(port, Some(2 | 3)) }, "{bob:?}");
        }
        let Some(related) = self.register(bob, "bob", 2)? else { return Ok(()) };
        done.bob = true;
        assert_eq!(related.len(), usize::from(related_before), "{related:?}");
        if related_before {
            // Bob is online again.
            assert!(matches!(Self::hear(alice)?, ToClient::Status(_)));
        }
        let Some(answer) = self.ask(alice, &request("bob"))? else { return Ok(()) };
        assert!(matches!(answer, ToClient::Status(_)), "{answer:?}");
        done.request = true;
        if !related_before {
            assert!(matches!(Self::hear(bob)?, ToClient::Status(alice) if alice.asks != Asks::No));
        }
        if let Some(answer) = self.ask(bob, &request_again("alice"))? {
            assert!(matches!(&answer, ToClient::Status(alice) if alice.connected), "{answer:?}");
            done.connection = true;
        }
        if self.register(bob, "bob", 3)?.is_some() {
            done.moved = true;
        }
        Ok(())
    }
}

/// Runs the visit at a discovery with each injection, each with a database of its own.
fn sweep_discovery(calls: &[&str], most: usize, insists: bool, inject: impl Fn(&str, usize) -> String) {
    if !possible() {
        return;
    }
    let (directory, db) = scratch();
    let start = |db: &Path, inject: Option<&str>| {
        let mut program = discovery::command(db);
        program.args(["127.0.0.1", "0"]);
        Discovery::try_spawn(&mut traced(&program, &db.with_extension("trace"), inject))
    };
    let key = |discovery: &Discovery| discovery.line.rsplit(' ').next().unwrap().trim().to_owned();
    let keys = [keypair(), keypair()];
    let discovery = start(&db, None).unwrap();
    let mut done = Acknowledged::default();
    let visit = Visit { address: discovery.address, keys: &keys, insists: true };
    assert!(visit.pay(&mut done).is_ok() && done.moved);
    discovery.signal("-TERM");
    discovery.ended(DEADLINE);
    let mut counts = counts(&db.with_extension("trace"));
    counts.retain(|call, _| calls.contains(&call.as_str()));
    let (mut unstarted, mut interrupted, mut refused) = (0, 0, 0);
    for (number, (call, at)) in places(&counts, most).into_iter().enumerate() {
        let inject = inject(&call, at);
        println!("{number}: {inject}");
        let db = directory.path().join(format!("{number}.db"));
        let mut done = Acknowledged::default();
        match start(&db, Some(&inject)) {
            Err(stderr) => {
                unstarted += 1;
                assert!(!stderr.contains("panicked"), "{stderr}");
                assert!(inject.contains("KILL") || stderr.lines().count() == 1, "{stderr}");
            }
            Ok(discovery) => {
                done.key = Some(key(&discovery));
                let visit = Visit { address: discovery.address, keys: &keys, insists };
                let whole = visit.pay(&mut done).is_ok();
                interrupted += usize::from(!whole);
                refused += usize::from(whole && !done.moved);
                assert!(whole || inject.contains("KILL"), "sessions stay");
                if whole {
                    discovery.signal("-TERM");
                }
                let (status, stderr) = discovery.ended(DEADLINE);
                assert!(!stderr.contains("panicked"), "{stderr}");
                // Killed perhaps only while it ends.
                assert!(status.success() || inject.contains("KILL"), "{stderr}");
            }
        }
        // Started again it works by itself, and knows everything that it has acknowledged.
        let discovery = Discovery::start(&db);
        assert!(done.key.as_ref().is_none_or(|before| *before == key(&discovery)));
        if done.alice {
            let mut stranger = Raw::connect(discovery.address, &keypair());
            assert_eq!(stranger.refused(&register("alice", 9)), RefusedCode::NAME_TAKEN);
        }
        let visit = Visit { address: discovery.address, keys: &keys, insists: true };
        assert!(visit.pay(&mut done).is_ok() && done.moved);
        discovery.signal("-TERM");
        discovery.ended(DEADLINE);
        let database = rusqlite::Connection::open(&db).unwrap();
        let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(one("PRAGMA integrity_check"), "ok");
        assert_eq!(one("SELECT group_concat(name) FROM (SELECT name FROM users ORDER BY name)"), "alice,bob");
        assert_eq!(one("SELECT count(*) || '' FROM connections"), "1");
        assert_eq!(one("SELECT count(*) || '' FROM requests"), "0");
    }
    println!("{unstarted} ended before they listened, {interrupted} were interrupted, {refused} refused");
    assert!(unstarted > 0 && (interrupted + refused > 0 || insists), "nothing was injected");
}

#[test]
fn discovery_is_killed_at_each_call() {
    let calls = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "sendto"];
    sweep_discovery(&calls, SAMPLE, true, |call, at| format!("{call}:signal=KILL:when={at}"));
}

#[test]
fn each_sync_of_discovery_fails() {
    sweep_discovery(&["fdatasync", "fsync"], SAMPLE, true, |call, at| format!("{call}:error=EIO:when={at}"));
}

#[test]
fn the_disk_of_discovery_is_full_from_each_write_on() {
    sweep_discovery(&["pwrite64"], SAMPLE, false, |call, at| format!("{call}:error=ENOSPC:when={at}+"));
}
