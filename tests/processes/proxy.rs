//! Two real clients with a network between them that cuts, changes, doubles, drops, reorders and delays frames:
//! nothing is shown twice or wrongly, and everything arrives.

use std::time::{Duration, Instant};

use crate::support::client::{ANSWER_ALL, Client};
use crate::support::discovery::{DEADLINE, scratch};
use crate::support::proxy::{Fault, Proxy, Rendezvous, Way};

/// How many messages each of the two writes for every fault.
const EACH: usize = 5;

/// Two who can only talk through the proxy: alice dials it, and bob, who finds no program where her links come from,
/// can't dial.
struct Pair {
    _directory: tempfile::TempDir,
    _rendezvous: Rendezvous,
    proxy: Proxy,
    alice: Client,
    bob: Client,
    written: usize,
}

impl Pair {
    fn new() -> Self {
        let (directory, _) = scratch();
        let rendezvous = Rendezvous::start();
        // Elsewhere than where the proxy is, so that alice can't find him around it.
        let mut program = crate::support::client::program();
        program.env_remove("RUST_LOG").args(ANSWER_ALL).arg("--data-dir").arg(directory.path());
        program.args(["bob", "0", "127.0.0.3", "127.0.0.1", &rendezvous.address.port().to_string()]);
        let mut bob = Client::run("bob", &mut program);
        bob.expect_registered();
        let proxy = Proxy::start(bob.address);
        rendezvous.send_to("bob", proxy.address);
        let mut alice = Client::online(directory.path(), "alice", rendezvous.address);
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link("alice");
        Self { _directory: directory, _rendezvous: rendezvous, proxy, alice, bob, written: 0 }
    }

    fn write(&mut self) {
        for _ in 0..EACH {
            self.alice.say(&format!("CHAT bob {}", self.written));
            self.bob.say(&format!("CHAT alice {}", self.written));
            self.written += 1;
        }
    }

    /// Waits until each has been told that the other has everything.
    fn expect_delivered(&mut self) {
        for client in [&mut self.alice, &mut self.bob] {
            let deadline = Instant::now() + DEADLINE * 2;
            while count(client, "delivered") < self.written {
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(client.next(left).is_some(), "{} waits in vain: {:#?}", client.name, client.log());
            }
        }
    }

    /// Everything was shown, once, in order, and nothing else.
    fn check(&mut self) {
        let all: Vec<_> = (0..self.written).map(|number| number.to_string()).collect();
        for client in [&mut self.alice, &mut self.bob] {
            client.settle();
            let shown = client.log().iter().filter(|event| event["event"] == "message");
            let shown: Vec<_> = shown.map(|event| event["text"].as_str().unwrap()).collect();
            assert_eq!(shown, all, "{}", client.name);
            assert!(!client.log().iter().any(|event| event["event"] == "error"), "{:#?}", client.log());
        }
    }
}

fn count(client: &Client, kind: &str) -> usize {
    client.log().iter().filter(|event| event["event"] == kind).count()
}

fn links(client: &Client, state: &str) -> usize {
    client.log().iter().filter(|event| event["event"] == "link" && event["state"] == state).count()
}

/// Each fault on frames in one direction, while both write.
fn harm(way: Way) {
    let mut pair = Pair::new();
    let faults = [
        Fault::Cut(0),
        Fault::Cut(1),
        Fault::Cut(2),
        Fault::Cut(30),
        // The length, the first byte of the ciphertext, one in the middle, and the tag.
        Fault::Flip(1),
        Fault::Flip(2),
        Fault::Flip(12),
        Fault::Flip(usize::MAX),
        Fault::Duplicate,
        Fault::Drop,
        Fault::Swap,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let started = Instant::now();
        pair.proxy.harm(way, fault);
        pair.write();
        pair.expect_delivered();
        // A frame that is only missing shows with the next one, at the latest a ping.
        let deadline = Instant::now() + DEADLINE;
        while links(&pair.alice, "down") <= number {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(pair.alice.next(left).is_some(), "{fault:?}: the link was kept");
        }
        assert_eq!(pair.proxy.harmed(), number + 1);
        while links(&pair.alice, "up") <= number + 1 {
            assert!(pair.alice.next(DEADLINE).is_some(), "{fault:?}: no new link");
        }
        pair.check();
        println!("{way:?} {fault:?}: healed after {:?}", started.elapsed());
    }
}

#[test]
fn harm_on_the_way_there_costs_the_link_and_no_message() {
    harm(Way::There);
}

#[test]
fn harm_on_the_way_back_costs_the_link_and_no_message() {
    harm(Way::Back);
}

#[test]
fn acknowledgements_that_are_lost_for_long_double_nothing() {
    let mut pair = Pair::new();
    let before = pair.proxy.connections();
    pair.proxy.harm(Way::Back, Fault::Swallow);
    for number in 0..EACH {
        pair.alice.say(&format!("CHAT bob {number}"));
        pair.bob.expect_message("alice", &number.to_string());
    }
    let started = Instant::now();
    // Nothing that bob says arrives: link after link is given up, and bob hears the same again and again.
    while pair.proxy.connections() < before + 3 {
        assert!(started.elapsed() < DEADLINE * 3, "not dialled again");
        pair.alice.next(Duration::from_millis(50));
    }
    assert_eq!(count(&pair.alice, "delivered"), 0, "delivered is what bob has said");
    println!("3 links in {:?} without an acknowledgement", started.elapsed());
    pair.proxy.heal();
    pair.alice.expect_delivered(EACH);
    (0..EACH).for_each(|number| pair.bob.say(&format!("CHAT alice {number}")));
    pair.written = EACH;
    pair.expect_delivered();
    pair.check();
}

#[test]
fn a_slow_network_only_takes_time() {
    let mut pair = Pair::new();
    let lost = links(&pair.alice, "down");
    for way in [Way::There, Way::Back] {
        pair.proxy.harm(way, Fault::Delay(Duration::from_millis(150)));
    }
    for _ in 0..4 {
        pair.write();
    }
    pair.expect_delivered();
    pair.check();
    assert_eq!(links(&pair.alice, "down"), lost);
}
