//! Boxes at terminals, on a client that runs already.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::pair;
use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, scratch};
use crate::support::terminal::{Terminal, command};

/// A second terminal for bob, started as the first was.
fn attached(directory: &std::path::Path, discovery: &Discovery) -> Terminal {
    let mut other = Terminal::run(command(directory, "bob", discovery.address, &[]));
    other.expect("attached to the client of bob");
    other.expect("discovery: up");
    other
}

#[test]
fn a_box_is_used_as_the_terminal_of_the_client_is() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    let mut other = attached(directory.path(), &discovery);

    // Each shows what arrives, and what was said in the other.
    alice.say("CHAT bob are you there?");
    for it in [&mut bob, &mut other] {
        it.expect("alice: are you there?");
        it.expect_line("[unread: alice 1]>", 19);
    }
    other.type_in("cha\tal\t");
    other.expect_line("[unread: alice 1]> chat alice", 30);
    other.enter("");
    // What is read in one is read in all, and the conversation is that of one alone.
    other.expect_line("alice>", 7);
    bob.expect_line(">", 2);
    other.enter("yes, in the other room");
    alice.expect_message("bob", "yes, in the other room");
    bob.expect("to alice: yes, in the other room");
    other.expect("to alice: yes, in the other room");
    assert_eq!(other.rows().iter().filter(|row| row.contains("yes, in the other room")).count(), 1);
    bob.enter("CHAT alice from the first");
    other.expect("to alice: from the first");
    other.enter("/shout");
    other.expect("is not a command");
    // A paste of several lines is one message.
    other.type_in("\x1b[200~one\rtwo\x1b[201~\r");
    other.expect("(y/n)");
    other.type_in("y");
    alice.expect_message("bob", "from the first");
    alice.expect_message("bob", "one\ntwo");

    // What reads as a command is asked about, and then goes to the client as a message.
    other.enter("chat carol hi");
    other.expect("send this to alice? It reads as a command, which begins with / here. (y/n)");
    other.type_in("y");
    alice.expect_message("bob", "chat carol hi");

    // Half a line stays as it is while others write.
    other.type_in("half-ty");
    alice.say("CHAT bob still there?");
    other.expect("alice: still there?");
    other.expect_line("alice> half-ty", 14);
    other.type_in("\x15");

    // Each way to leave the box leaves the client alone.
    for keys in ["\x04", "\x03\x03", "/detach\r"] {
        other.type_in(keys);
        other.expect_end(0);
        assert_eq!(other.rows().last().unwrap(), "* detached; the client goes on", "{keys:?}");
        other = attached(directory.path(), &discovery);
    }
    other.signal("-HUP");
    other.expect_end(0);
    bob.enter("HELP");
    bob.expect("WHY <user>");

    // The client takes its boxes with it.
    let mut other = attached(directory.path(), &discovery);
    bob.type_in("\x04");
    bob.expect_end(0);
    other.expect_end(0);
    assert_eq!(other.rows().last().unwrap(), "* bye");
}

#[test]
fn a_box_that_is_stopped_is_cut_and_attaches_again() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let log = directory.path().join("log");
    let options = ["--log-file", log.to_str().unwrap()];
    let _bob = Terminal::client(directory.path(), "bob", discovery.address, &options);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    let mut other = attached(directory.path(), &discovery);
    other.enter("CHAT alice");
    other.expect_line("alice>", 7);
    other.signal("-STOP");
    let text = "x".repeat(8000);
    (0..400).for_each(|number| alice.say(&format!("CHAT bob {number} {text}")));
    alice.expect_delivered(400);
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&log).unwrap().contains("is cut") {
        assert!(Instant::now() < deadline, "it is not cut");
        let _ = alice.next(Duration::from_millis(50));
    }
    other.signal("-CONT");
    // What comes after it may have driven it off the screen by the time that is looked at.
    let (said, looked) = (b"this box was too slow", Cell::new(other.written.len()));
    other.wait("too slow", |other| {
        let from = looked.replace(other.written.len()).saturating_sub(said.len());
        other.written[from..].windows(said.len()).any(|bytes| bytes == said)
    });
    other.expect_line("alice>", 7);
    alice.say("CHAT bob once more");
    other.expect("alice: once more");
    other.type_in("\x04");
    other.expect_end(0);
}

#[test]
fn a_box_tells_that_its_client_was_killed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut other = attached(directory.path(), &discovery);
    bob.kill();
    other.expect("has ended without a word");
    other.expect_end(1);
}
