//! The full screen: what is drawn, and that the terminal is as it was when it is gone.

use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, full_screen};

fn start(directory: &std::path::Path, discovery: &Discovery) -> Terminal {
    let mut bob = Terminal::run(full_screen(directory, "bob", discovery.address, &[]));
    bob.expect("discovery: up");
    bob
}

/// Bob at a terminal, in the conversation with alice, who is at a pipe.
fn pair(directory: &std::path::Path, discovery: &Discovery) -> (Terminal, Client) {
    let mut bob = start(directory, discovery);
    let mut alice = Client::online(directory, "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("1 alice         ●");
    bob.type_in("\x1b1");
    bob.expect(">1 alice");
    (bob, alice)
}

#[test]
fn two_talk_and_what_is_not_on_the_screen_stays_unread() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.enter("hello, a line that is long enough to be wrapped below itself by a terminal of 80");
    alice.expect_message(
        "bob",
        "hello, a line that is long enough to be wrapped below itself by a terminal of 80",
    );
    bob.expect("✓");
    alice.say("CHAT bob are you there?");
    bob.expect("alice  are you there?");
    bob.type_in("\x1b0");
    bob.expect(">0 client");
    alice.say("CHAT bob unread");
    bob.expect("1 alice       ● 1");
    bob.type_in("half-typed");
    bob.resize(50, 20);
    bob.wait("no list", |bob| {
        bob.rows()[0].ends_with("[alice 1]") && bob.line() == ("> half-typed".into(), 12)
    });
    bob.resize(100, 30);
    bob.expect("1 alice       ● 1");
    bob.type_in("\x15\x1ba");
    bob.expect("── new ──");
    bob.expect("1 alice         ●");
    bob.type_in("\x04");
    bob.expect_end(0);
    // It is open again.
    let mut bob = start(directory.path(), &discovery);
    bob.expect("alice  unread");
}

#[test]
fn every_way_to_end_leaves_the_terminal_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    for keys in ["LOGOUT\r", "\x04", "\x03\x03", "half\x03\x03\x03"] {
        let mut bob = start(directory.path(), &discovery);
        bob.type_in(keys);
        bob.expect_end(0);
        assert_eq!(bob.rows(), ["* bye"], "{keys:?}");
    }
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut bob = start(directory.path(), &discovery);
        bob.signal(signal);
        bob.expect_end(0);
        assert_eq!(bob.rows(), ["* bye"], "{signal}");
    }
    // An error is to be read, too: the journal goes while it runs.
    let mut bob = start(directory.path(), &discovery);
    std::fs::remove_file(directory.path().join("bob.journal")).unwrap();
    bob.enter("REQUEST carol");
    bob.expect_end(1);
    assert!(bob.rows().join("\n").contains("client: "), "{}", bob.rows().join("\n"));
}

#[test]
fn a_box_whose_client_is_killed_leaves_the_terminal_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut client = Client::online(directory.path(), "bob", discovery.address);
    let mut shown = start(directory.path(), &discovery);
    shown.expect("attached to the client of bob");
    client.kill();
    shown.expect_end(1);
    assert!(shown.rows()[0].starts_with("client: "), "{:?}", shown.rows());
}

#[test]
fn a_terminal_that_takes_nothing_delays_no_message_and_is_shown_the_latest() {
    const COUNT: usize = 3000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let mut bob = Terminal::unread(full_screen(directory.path(), "bob", discovery.address, &[]));
    bob.enter("REQUEST alice");
    alice.expect_link("bob");
    alice.say("CHAT bob first");
    alice.expect_delivered(1);
    bob.type_in("\x1b1");
    // Once it comes, the conversation is open, and what follows is read.
    bob.enter("go on");
    alice.expect_message("bob", "go on");
    let lines: String =
        (1..=COUNT).map(|number| format!("CHAT bob {} {number}.\n", "x".repeat(50))).collect();
    alice.write(lines.as_bytes());
    alice.expect_delivered(COUNT);
    bob.type_in("typed meanwhile");
    bob.read();
    bob.expect(&format!("x {COUNT}."));
    bob.wait("what was typed", |bob| bob.line().0.ends_with("│> typed meanwhile"));
    bob.type_in("\x15");
    bob.type_in("\x04");
    bob.expect_end(0);
}
