//! `kill -9` of anything at any time: afterwards everything is there once, in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, scratch};

/// How many times something is killed, in all tests of this file together.
const KILLS: usize = 200;

/// What a client's user has seen and been promised, over all its starts.
struct Person {
    name: &'static str,
    port: u16,
    client: Client,
    /// How many lines have been written; each is a number, so that the order shows.
    written: usize,
    /// What was promised: the numbers of the lines that were taken.
    promised: Vec<usize>,
    /// The lines whose answer the person has not yet seen.
    unanswered: std::collections::VecDeque<usize>,
    /// What was shown, by the sender's number.
    shown: Vec<usize>,
    ids: BTreeSet<String>,
    repeated: usize,
}

impl Person {
    fn start(directory: &Path, name: &'static str, discovery: SocketAddr) -> Self {
        let client = Client::start(directory, name, discovery);
        Self {
            name,
            port: client.address.port(),
            client,
            written: 0,
            promised: Vec::new(),
            unanswered: Default::default(),
            shown: Vec::new(),
            ids: BTreeSet::new(),
            repeated: 0,
        }
    }

    fn write(&mut self, to: &str) {
        self.client.say(&format!("CHAT {to} {}", self.written));
        self.unanswered.push_back(self.written);
        self.written += 1;
    }

    /// Takes in what the client says, until it says nothing for `quiet`.
    fn read(&mut self, quiet: Duration) {
        while let Some(event) = self.client.next(quiet) {
            match event["event"].as_str().unwrap() {
                "queued" => self.promised.push(self.unanswered.pop_front().unwrap()),
                "message" => {
                    let number = event["text"].as_str().unwrap().parse().unwrap();
                    if self.ids.insert(event["id"].as_str().unwrap().to_owned()) {
                        self.shown.push(number);
                    } else {
                        // Only what was perhaps not seen before a kill is shown again, and marked.
                        assert_eq!(event["replayed"], true, "{}: {number} twice", self.name);
                        self.repeated += 1;
                    }
                }
                "error" => panic!("{}: {event}", self.name),
                _ => {}
            }
        }
    }

    /// Killed, and started again at the same place.
    fn kill(&mut self, directory: &Path, discovery: SocketAddr) {
        self.client.kill();
        // What it had said by then counts.
        self.read(Duration::from_secs(5));
        self.unanswered.clear();
        self.client = Client::start_with(directory, self.name, self.port, discovery, &[]);
    }
}

/// Everything that `to` was promised by `from` is there, in order; what was written and not
/// promised may be there too, once, at its place.
fn check(from: &Person, to: &Person) {
    assert!(to.shown.is_sorted_by(|one, next| one < next), "{} saw {:?}", to.name, to.shown);
    let shown: BTreeSet<_> = to.shown.iter().collect();
    let lost: Vec<_> = from.promised.iter().filter(|number| !shown.contains(number)).collect();
    assert!(lost.is_empty(), "{} never saw {lost:?} from {}", to.name, from.name);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Sender,
    Receiver,
    Discovery,
}

/// Both write to each other all the time while the victims are killed, each at another moment.
fn storm(seed: u64, kills: usize, victims: &[Victim]) {
    let (directory, db) = scratch();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut alice = Person::start(directory.path(), "alice", address);
    let mut bob = Person::start(directory.path(), "bob", address);
    bob.client.expect_registered();
    alice.client.say("REQUEST bob");
    alice.client.expect_link("bob");
    for _ in 0..kills {
        for _ in 0..rng.usize(1..30) {
            alice.write("bob");
            if rng.bool() {
                bob.write("alice");
            }
        }
        // Some moment in the middle of it, different each time.
        let moment = Instant::now() + Duration::from_micros(rng.u64(0..30_000));
        while Instant::now() < moment {
            alice.read(Duration::from_micros(200));
        }
        match *rng.choice(victims).unwrap() {
            Victim::Sender => alice.kill(directory.path(), address),
            Victim::Receiver => bob.kill(directory.path(), address),
            Victim::Discovery => {
                discovery.kill();
                discovery = Discovery::start_at(&db, &[], &address.port().to_string());
            }
        }
        bob.read(Duration::from_millis(1));
    }
    // Peace: everything still in a pipe or an outbox finds its way.
    let deadline = Instant::now() + DEADLINE * 2;
    let done =
        |from: &Person, to: &Person| from.unanswered.is_empty() && from.promised.last() <= to.shown.last();
    while !(done(&alice, &bob) && done(&bob, &alice)) && Instant::now() < deadline {
        alice.read(Duration::from_millis(20));
        bob.read(Duration::from_millis(20));
    }
    check(&alice, &bob);
    check(&bob, &alice);
    assert!(!alice.promised.is_empty() && !bob.promised.is_empty());
    for person in [&mut alice, &mut bob] {
        person.client.say("OUTBOX");
        let mut outbox = person.client.wait("outbox", |_| true);
        while outbox["waiting"] != 0 && Instant::now() < deadline {
            person.client.wait("delivered", |_| true);
            person.client.say("OUTBOX");
            outbox = person.client.wait("outbox", |_| true);
        }
        assert_eq!(outbox["waiting"], 0);
    }
    println!(
        "seed {seed}: {kills} kills, {} and {} messages, {} shown again",
        bob.shown.len(),
        alice.shown.len(),
        alice.repeated + bob.repeated
    );
}

#[test]
fn the_sender_is_killed() {
    storm(1, KILLS / 4, &[Victim::Sender]);
}

#[test]
fn the_receiver_is_killed() {
    storm(2, KILLS / 4, &[Victim::Receiver]);
}

#[test]
fn discovery_is_killed() {
    storm(3, KILLS / 4, &[Victim::Discovery]);
}

#[test]
fn anybody_is_killed() {
    storm(4, KILLS / 4, &[Victim::Sender, Victim::Receiver, Victim::Discovery]);
}
