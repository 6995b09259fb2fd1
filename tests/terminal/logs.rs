//! Where logs go while the terminal is drawn on.

use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, command};

#[test]
fn what_is_logged_waits_for_the_end() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let command = command(directory.path(), "bob", discovery.address, &[]).env("RUST_LOG", "debug");
    let mut bob = Terminal::run(command);
    bob.expect("discovery: up");
    bob.type_in("half-typed");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    alice.say("CHAT bob hello");
    bob.expect("alice: hello");
    bob.expect_line("[unread: alice 1]> half-typed", 29);
    let shown = bob.everything().join("\n");
    assert!(!shown.contains("DEBUG") && !shown.contains("INFO"), "{shown}");
    bob.enter("\x15LOGOUT");
    bob.expect_end(0);
    let shown = bob.everything().join("\n");
    let (talk, log) = shown.split_once("* bye\n").unwrap();
    assert!(!talk.contains("INFO") && log.contains("INFO") && log.contains("ended"), "{shown}");
}
