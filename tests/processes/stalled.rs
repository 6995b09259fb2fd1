//! A peer that stops reading: it is cut, costs no memory and delays no other peer, and gets everything once it reads again.

use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{Discovery, scratch};

/// How many messages wait for the peer that does not read, and of how many bytes.
const WAITING: usize = 4_000;
const BYTES: usize = 16 * 1024;

/// The most memory that the client has had, in bytes.
fn most_memory(client: &Client) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_peer_that_stops_reading_is_cut_and_delays_nobody() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mut carol = Client::online(directory.path(), "carol", discovery.address);
    alice.say("REQUEST carol");
    alice.expect_link("carol");

    bob.signal("-STOP");
    let filler = "x".repeat(BYTES);
    for number in 0..WAITING {
        alice.say(&format!("CHAT bob {number} {filler}"));
        if number % 100 == 0 {
            alice.say(&format!("CHAT carol {number}"));
            carol.expect_message("alice", &number.to_string());
        }
    }
    alice.expect_unlink("bob");
    alice.say("OUTBOX");
    assert_eq!(alice.wait("outbox", |_| true)["waiting"], WAITING);
    let most = most_memory(&alice);
    assert!(most < WAITING * BYTES, "{most} bytes of memory while {} wait", WAITING * BYTES);

    bob.signal("-CONT");
    for number in 0..WAITING {
        let message = bob.wait("message", |_| true);
        let text = message["text"].as_str().unwrap();
        assert_eq!(text.split(' ').next(), Some(number.to_string().as_str()));
    }
    alice.expect_delivered(WAITING);
    let shown = bob.settle().iter().filter(|event| event["event"] == "message").count();
    assert_eq!(shown, WAITING);
}
