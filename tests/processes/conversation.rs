//! Conversations, and what people ask about each other, with real programs.

use std::io::{Read, Write};

use crate::support::client::{Client, command, linked_pair};
use crate::support::discovery::{Discovery, scratch};
use serde_json::Value;

fn contact(client: &mut Client, peer: &str) -> Value {
    client.say("/CONTACTS");
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
    for (line, text) in [
        ("hello, bob", "hello, bob"),
        ("WHY so late?", "WHY so late?"),
        ("  two  ", "  two  "),
        ("//x", "/x"),
    ] {
        alice.say(line);
        bob.expect_message("alice", text);
    }
    alice.expect_delivered(4);
    alice.say("/CONTACTS");
    alice.wait("contacts", |_| true);
    // There is no user to be asked which is meant.
    alice.say("help");
    let refused = alice.expect_error("bad-command");
    assert!(refused["message"].as_str().unwrap().contains("neither run nor sent"), "{refused}");
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

#[test]
fn why_tells_what_keeps_somebody_from_being_reached() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    alice.say("WHY bob");
    let why = alice.wait("why", |_| true);
    assert_eq!(
        (&why["reason"], &why["peer"], &why["linked"]),
        (&"linked".into(), &"bob".into(), &true.into())
    );
    let address = bob.address.to_string();
    bob.kill();
    alice.expect_gone("bob");
    alice.say("CHAT bob are you there?");
    let refused = |why: &Value| {
        let place = &why["addresses"][0];
        place["address"] == address && place["problem"].as_str().is_some_and(|it| it.contains("refused"))
    };
    let mut why = Value::Null;
    for _ in 0..100 {
        alice.say("WHY bob");
        why = alice.wait("why", |_| true);
        if refused(&why) {
            break;
        }
        // The next attempt has its time; whatever is said meanwhile is passed over.
        alice.next(std::time::Duration::from_millis(100));
    }
    assert!(refused(&why), "{why}");
    assert_eq!((&why["reason"], &why["waiting"]), (&"offline".into(), &1.into()));
    assert!(
        why["last_seen"].is_string() && why["next_dial"].is_string() | (why["dialling"] == true),
        "{why}"
    );

    drop(discovery);
    alice.wait("discovery", |event| event["state"] == "down");
    alice.say("WHY bob");
    let why = alice.wait("why", |_| true);
    assert_eq!((&why["reason"], &why["discovery"]["state"]), (&"discovery-down".into(), &"down".into()));
}

#[test]
fn two_people_compare_a_code() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    alice.say("VERIFY bob");
    bob.say("VERIFY alice");
    let code = alice.wait("verification", |_| true)["code"].as_str().unwrap().to_owned();
    assert_eq!(bob.wait("verification", |_| true)["code"], code);
    alice.say(&format!("VERIFY bob {}", code.replace(' ', "")));
    assert_eq!(alice.wait("verification", |_| true)["verified"], true);
    bob.say(&format!("VERIFY alice 0{}", &code[1..]));
    let wrong = code.starts_with('0');
    if !wrong {
        bob.expect_error("wrong-code");
    }
    assert_eq!(contact(&mut bob, "alice")["verified"], wrong);
    alice.log_out();
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    assert_eq!(contact(&mut alice, "bob")["verified"], true);
    alice.say("HELP verify");
    assert_eq!(alice.wait("explanation", |_| true)["command"], "VERIFY");
}

#[test]
fn what_was_said_is_found_before_and_after_a_restart() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let lines: String = (0..1000).map(|i| format!("CHAT alice number {i} of many\n")).collect();
    bob.write(lines.as_bytes());
    alice.say("CHAT bob Enough of these numbers!");
    bob.expect_delivered(1000);
    alice.say("SEARCH many 99");
    let found = alice.wait("found", |_| true);
    let texts: Vec<_> = found["messages"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(texts.len(), 11, "{found}");
    assert_eq!(
        (texts[0], texts[10]),
        (&Value::from("number 999 of many"), &Value::from("number 99 of many"))
    );
    alice.kill();
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("SEARCH @bob enough \"these\" num");
    let found = alice.wait("found", |_| true);
    assert_eq!((&found["peer"], &found["messages"][0]["from"]), (&"bob".into(), &"alice".into()));
    assert_eq!(found["messages"].as_array().unwrap().len(), 1);
    alice.say("SEARCH nothing-like-this");
    assert_eq!(alice.wait("found", |_| true)["messages"].as_array().unwrap().len(), 0);
}
