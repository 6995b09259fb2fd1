//! Real clients and a real discovery: people chat, go, come back, and lose nothing.

use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{Discovery, scratch};

fn texts(client: &mut Client, from: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let message = client.wait("message", |message| message["from"] == from);
            message["text"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn two_people_chat() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);

    alice.say("CHAT bob hello, bob");
    let queued = alice.wait("queued", |_| true);
    let message = bob.expect_message("alice", "hello, bob");
    assert_eq!(message["id"], queued["id"]);
    assert_eq!(message["replayed"], false);
    let time = message["sent"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('.'), "{time}");
    let delivered = alice.wait("delivered", |_| true);
    assert_eq!((&delivered["id"], &delivered["to"]), (&queued["id"], &"bob".into()));

    bob.say("chat alice  two  spaces, ünïcödé, 🦀");
    alice.expect_message("bob", " two  spaces, ünïcödé, 🦀");

    alice.say("HISTORY bob");
    let history = alice.wait("history", |_| true);
    let entries = history["messages"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[0]["from"], &entries[0]["delivered"]), (&"alice".into(), &true.into()));
    assert_eq!(entries[1]["from"], "bob");

    alice.say("CONTACTS");
    let contacts = alice.wait("contacts", |_| true);
    assert_eq!(contacts["contacts"][0]["peer"], "bob");
    assert_eq!(contacts["contacts"][0]["linked"], true);
    assert_eq!(contacts["contacts"][0]["fingerprint"], bob.fingerprint);

    bob.log_out();
    alice.expect_gone("bob");
    alice.log_out();
}

#[test]
fn what_is_written_to_somebody_away_arrives_in_order_once_they_are_back() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    alice.expect_unlink("bob");
    for i in 0..50 {
        alice.say(&format!("CHAT bob message {i}"));
    }
    alice.say("OUTBOX");
    assert_eq!(alice.wait("outbox", |_| true)["waiting"], 50);
    // She goes and comes back too, in between.
    alice.log_out();
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let expected: Vec<_> = (0..50).map(|i| format!("message {i}")).collect();
    assert_eq!(texts(&mut bob, "alice", 50), expected);
    alice.expect_delivered(50);
    alice.say("OUTBOX");
    assert_eq!(alice.wait("outbox", |_| true)["waiting"], 0);
    let again = bob.settle().iter().filter(|event| event["event"] == "message").count();
    assert_eq!(again, 50);
}

#[test]
fn a_request_waits_until_both_are_there() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    Client::online(directory.path(), "bob", discovery.address).log_out();
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.say("CHAT bob are you there?");
    alice.wait("queued", |_| true);
    alice.wait("presence", |event| event["state"] == "offline");
    alice.log_out();

    let address = discovery.address;
    discovery.kill();
    let discovery = Discovery::start_at(&db, &[], &address.port().to_string());

    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.wait("request", |event| event["from"] == "alice");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    bob.expect_message("alice", "are you there?");
    alice.expect_delivered(1);
}

#[test]
fn everything_works_while_discovery_is_down_but_new_names() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let (mut alice, mut bob) = linked_pair(directory.path(), address);
    discovery.kill();
    alice.wait("discovery", |event| event["state"] == "down");
    bob.wait("discovery", |event| event["state"] == "down");

    // Open links go on.
    alice.say("CHAT bob still here?");
    bob.expect_message("alice", "still here?");

    // A known contact who goes and comes back is found at the last address.
    let port = bob.address.port();
    bob.log_out();
    alice.expect_unlink("bob");
    alice.say("CHAT bob and now?");
    let mut bob = Client::start_with(directory.path(), "bob", port, address, &[]);
    bob.expect_message("alice", "and now?");

    // Who starts while discovery is down takes commands at once, also for names it can't know.
    let mut carol = Client::start(directory.path(), "carol", address);
    carol.say("REQUEST alice");
    carol.say("CHAT alice hello from carol");
    carol.wait("queued", |_| true);

    let discovery = Discovery::start_at(&db, &[], &address.port().to_string());
    for client in [&mut alice, &mut bob, &mut carol] {
        client.expect_registered();
    }
    alice.expect_message("carol", "hello from carol");
    alice.say("CHAT bob again");
    bob.expect_message("alice", "again");
    drop(discovery);
}

#[test]
fn discovery_comes_back_under_open_chats() {
    let (directory, db) = scratch();
    let mut discovery = Discovery::start(&db);
    let address = discovery.address;
    let (mut alice, mut bob) = linked_pair(directory.path(), address);
    for round in 0..3 {
        discovery.kill();
        alice.wait("discovery", |event| event["state"] == "down");
        alice.say(&format!("CHAT bob round {round}"));
        bob.expect_message("alice", &format!("round {round}"));
        discovery = Discovery::start_at(&db, &[], &address.port().to_string());
        alice.expect_registered();
    }
    let links =
        alice.settle().iter().filter(|event| event["event"] == "link" && event["state"] == "down").count();
    assert_eq!(links, 0, "a chat must not notice that discovery restarts");
}

#[test]
fn who_does_not_exist_can_not_be_requested_and_what_waited_is_given_back() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut alice = Client::online(directory.path(), "alice", address);
    alice.say("REQUEST nobody");
    let error = alice.expect_error("no-such-user");
    assert_eq!(error["peer"], "nobody");

    // The same when the answer comes much later than the message was taken.
    discovery.kill();
    alice.wait("discovery", |event| event["state"] == "down");
    alice.say("REQUEST ghost");
    alice.say("CHAT ghost boo");
    let queued = alice.wait("queued", |_| true);
    let _discovery = Discovery::start_at(&db, &[], &address.port().to_string());
    assert_eq!(alice.expect_error("no-such-user")["peer"], "ghost");
    let error = alice.expect_error("undeliverable");
    assert_eq!((&error["id"], &error["text"]), (&queued["id"], &"boo".into()));
    alice.say("CHAT ghost boo");
    alice.expect_error("not-a-contact");
    alice.say("OUTBOX");
    assert_eq!(alice.wait("outbox", |_| true)["waiting"], 0);
}

#[test]
fn mistakes_are_answered_and_harm_nothing() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    for (line, code) in [
        ("SHOUT bob hi", "bad-command"),
        ("CHAT Bob hi", "bad-command"),
        ("CHAT carol", "not-a-contact"),
        ("CHAT carol hi", "not-a-contact"),
        ("REQUEST", "bad-command"),
        ("REQUEST alice", "bad-command"),
        ("REQUEST Bob", "bad-command"),
        ("REQUEST '; DROP TABLE users;--", "bad-command"),
        ("REQUEST ../../etc/passwd", "bad-command"),
        ("REQUEST bоb", "bad-command"),
        ("TRUST bob", "nothing-to-trust"),
        ("TRUST carol", "not-a-contact"),
        ("HISTORY carol", "not-a-contact"),
        ("HISTORY bob many", "bad-command"),
    ] {
        alice.say(line);
        alice.expect_error(code);
    }
    alice.write(b"CHAT bob \xff\xfe\n");
    alice.expect_error("bad-command");
    alice.say(&format!("CHAT bob {}", "x".repeat(32 * 1024 + 1)));
    alice.expect_error("too-long");
    alice.say(&format!("CHAT bob {}", "x".repeat(1024 * 1024)));
    alice.expect_error("too-long");
    let longest = "ü".repeat(16 * 1024);
    alice.say(&format!("CHAT bob {longest}"));
    bob.expect_message("alice", &longest);
}

#[test]
fn three_people_and_many_messages_arrive_once_and_in_order() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mut carol = Client::online(directory.path(), "carol", discovery.address);
    carol.say("REQUEST bob");
    carol.expect_link("bob");
    let count = 3000;
    for client in [&mut alice, &mut carol] {
        let lines: String = (0..count).map(|i| format!("CHAT bob {} {i}\n", client.name)).collect();
        client.write(lines.as_bytes());
    }
    let mut next = std::collections::BTreeMap::new();
    for _ in 0..2 * count {
        let message = bob.wait("message", |_| true);
        let from = message["from"].as_str().unwrap().to_owned();
        let expected: &mut usize = next.entry(from.clone()).or_default();
        assert_eq!(message["text"], format!("{from} {expected}"));
        *expected += 1;
    }
    alice.expect_delivered(count);
    carol.expect_delivered(count);
}

#[test]
fn a_blocked_user_is_not_heard_and_heard_again_after() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    bob.say("BLOCK alice");
    bob.wait("contact", |event| event["blocked"] == true);
    alice.expect_unlink("bob");
    alice.say("CHAT bob can you hear me?");
    alice.wait("queued", |_| true);
    bob.say("CHAT alice no");
    bob.expect_error("blocked");
    if !alice.log().iter().any(|event| event["code"] == "dropped") {
        alice.expect_error("dropped");
    }
    assert!(!bob.settle().iter().any(|event| event["event"] == "message"));
    bob.say("UNBLOCK alice");
    bob.expect_message("alice", "can you hear me?");
    alice.expect_delivered(1);
    // Asking for a user takes a block back, too.
    bob.say("BLOCK alice");
    alice.expect_unlink("bob");
    alice.say("CHAT bob and now?");
    bob.say("REQUEST alice");
    bob.expect_message("alice", "and now?");
}

#[test]
fn a_stranger_can_be_blocked_beforehand() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("BLOCK alice");
    bob.wait("contact", |event| event["blocked"] == true);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.wait("presence", |event| event["state"] == "online");
    alice.say("CHAT bob hi");
    bob.expect_error("blocked");
    assert!(!bob.settle().iter().any(|event| event["event"] == "message" || event["event"] == "link"));
}

#[test]
fn messages_that_nobody_has_read_from_the_pipe_are_shown_at_the_next_start() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    alice.say("CHAT bob one");
    let first = bob.expect_message("alice", "one");
    // Killed right after showing it, it can't know that it was seen: it may show it again, marked so.
    bob.kill();
    alice.expect_unlink("bob");
    alice.say("CHAT bob two");
    // From the first line on: the message may come before discovery answers.
    let mut bob = Client::start(directory.path(), "bob", discovery.address);
    let mut message = bob.wait("message", |_| true);
    if message["text"] == "one" {
        assert_eq!((&message["replayed"], &message["id"]), (&true.into(), &first["id"]));
        message = bob.wait("message", |_| true);
    }
    assert_eq!((&message["text"], &message["replayed"]), (&"two".into(), &false.into()));
}
