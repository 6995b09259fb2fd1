//! Thin lines: everything arrives, once and in order, over one link, at 0.7 of what the line carries.
//!
//! ```text
//! cargo test --test processes -- --ignored thin::     # those that take minutes
//! ```

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{ANSWER_ALL, Client};
use crate::support::discovery::scratch;
use crate::support::proxy::Rendezvous;
use crate::support::throttle::Throttle;

/// What a message takes on the line beyond its text, in bytes, at most.
const OVERHEAD: usize = 64;
/// What connecting takes, and a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Two who can only talk over the line: alice dials it, and bob, who finds no program where her links come from, can't.
struct Pair {
    _directory: tempfile::TempDir,
    _rendezvous: Rendezvous,
    line: Throttle,
    rate: u32,
    alice: Client,
    bob: Client,
    /// When everything must have arrived.
    deadline: Instant,
}

impl Pair {
    fn new(rate: u32) -> Self {
        let (directory, _) = scratch();
        let rendezvous = Rendezvous::start();
        let mut program = crate::support::client::program();
        program.env_remove("RUST_LOG").args(ANSWER_ALL).arg("--data-dir").arg(directory.path());
        program.args(["bob", "0", "127.0.0.3", "127.0.0.1", &rendezvous.address.port().to_string()]);
        let mut bob = Client::run("bob", &mut program);
        bob.expect_registered();
        let line = Throttle::start(bob.address, rate);
        rendezvous.send_to("bob", line.address);
        let mut alice = Client::online(directory.path(), "alice", rendezvous.address);
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link("alice");
        let deadline = Instant::now() + SLACK;
        Self { _directory: directory, _rendezvous: rendezvous, line, rate, alice, bob, deadline }
    }

    /// Alice writes to bob.
    fn write(&mut self, texts: &[String]) {
        for text in texts {
            self.alice.say(&format!("CHAT bob {text}"));
            let bytes = u32::try_from(text.len() + OVERHEAD).unwrap();
            self.deadline += Duration::from_secs(1) * bytes * 10 / 7 / self.rate;
        }
    }

    /// Everything arrives, once and in order, and is said to be delivered, over the one link.
    fn expect(&mut self, texts: &[String]) {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let count = |client: &Client, kind| client.log().iter().filter(|it| it["event"] == kind).count();
        while count(&self.bob, "message") < texts.len() {
            assert!(self.bob.next(left(self.deadline)).is_some(), "{} arrived", count(&self.bob, "message"));
        }
        while count(&self.alice, "delivered") < texts.len() {
            assert!(self.alice.next(left(self.deadline)).is_some(), "{}", count(&self.alice, "delivered"));
        }
        println!("{:?} before the deadline", left(self.deadline));
        let is_message = |event: &&Value| event["event"] == "message";
        let shown = self.bob.settle().iter().filter(is_message).map(|event| event["text"].as_str().unwrap());
        assert!(shown.eq(texts), "what bob was shown is not what alice wrote");
        self.alice.settle();
        for client in [&self.alice, &self.bob] {
            assert_eq!(count(client, "link"), 1, "{}", client.name);
        }
        assert_eq!(self.line.connections(), 1);
    }
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn short(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number} and a few more words")).collect()
}

#[test]
fn a_long_message_arrives_at_16_kbit_a_second() {
    let mut pair = Pair::new(2_000);
    let texts = [long(32_000)];
    pair.write(&texts);
    // Meanwhile the other direction is free.
    pair.bob.say("CHAT alice short");
    pair.alice.expect_message("bob", "short");
    assert!(!pair.alice.log().iter().any(|event| event["event"] == "delivered"));
    pair.expect(&texts);
    pair.bob.expect_delivered_in_all(1);
}

#[test]
fn short_messages_arrive_at_32_kbit_a_second() {
    let mut pair = Pair::new(4_000);
    let texts = short(150);
    pair.write(&texts);
    pair.expect(&texts);
}

#[test]
fn a_kilobyte_a_second_is_enough() {
    let mut pair = Pair::new(1_000);
    let texts = [short(20), vec![long(14_000)], short(30)].concat();
    pair.write(&texts);
    pair.bob.say("CHAT alice short");
    pair.alice.expect_message("bob", "short");
    pair.expect(&texts);
    pair.bob.expect_delivered_in_all(1);
}

#[test]
#[ignore = "takes minutes"]
fn everything_arrives_at_a_kilobyte_a_second() {
    let mut pair = Pair::new(1_000);
    let texts = [short(150), vec![long(32_000), long(32_000)], short(150)].concat();
    pair.write(&texts);
    pair.expect(&texts);
}
