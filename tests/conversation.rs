//! Conversations, and what people ask about each other, with real programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{Read, Write};

use serde_json::Value;
use support::client::{Client, command, linked_pair};
use support::discovery::{Discovery, scratch};

mod support;

fn contact(client: &mut Client, peer: &str) -> Value {
    client.say("CONTACTS");
    let contacts = client.wait("contacts", |_| true);
    let found = contacts["contacts"].as_array().unwrap().iter().find(|line| line["peer"] == peer);
    found.unwrap_or_else(|| panic!("{peer} is no contact: {contacts}")).clone()
}

#[test]
fn in_a_conversation_plain_lines_are_said() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    alice.say("CHAT bob");
    assert_eq!(alice.wait("conversation", |_| true)["peer"], "bob");
    for (line, text) in
        [("hello, bob", "hello, bob"), ("help", "help"), ("  two  ", "  two  "), ("//x", "/x")]
    {
        alice.say(line);
        bob.expect_message("alice", text);
    }
    alice.expect_delivered(4);
    alice.say("CONTACTS");
    alice.wait("contacts", |_| true);
    alice.say("CHAT nobody");
    alice.expect_error("not-a-contact");
    alice.say("for nobody");
    alice.expect_error("bad-command");
    alice.say("help");
    alice.wait("help", |_| true);
    alice.log_out();
}

#[test]
fn unread_messages_are_counted_until_somebody_looks_and_over_restarts() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    bob.say("CHAT alice one");
    bob.say("CHAT alice two");
    alice.expect_message("bob", "one");
    alice.expect_message("bob", "two");
    assert_eq!(contact(&mut alice, "bob")["unread"], 2);
    alice.log_out();

    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    assert_eq!(contact(&mut alice, "bob")["unread"], 2);
    alice.say("CHAT bob");
    let entered = alice.wait("conversation", |_| true);
    assert_eq!(entered["unread"], 2);
    let texts: Vec<_> = entered["messages"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(contact(&mut alice, "bob")["unread"], 0);
    bob.expect_link("alice");
    bob.say("CHAT alice three");
    alice.expect_message("bob", "three");
    bob.expect_delivered(1);
    alice.log_out();

    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    assert_eq!(contact(&mut alice, "bob")["unread"], 0, "three was shown in its conversation");
}

#[test]
fn a_pipe_without_json_converses_too() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut alice = command(directory.path(), "alice", 0, discovery.address, &[]).spawn().unwrap();
    alice.stdin.take().unwrap().write_all(b"REQUEST bob\nCHAT bob\nfirst line\n/second\n//third\n").unwrap();
    bob.expect_message("alice", "first line");
    bob.expect_message("alice", "/third");
    let mut shown = String::new();
    alice.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(shown.contains("! \"/second\" is not a command"), "{shown}");
    assert_eq!(alice.wait().unwrap().code(), Some(1), "a line was refused");
}
