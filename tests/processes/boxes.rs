//! Boxes on the socket of a running client.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::attached::{Attached, socket};
use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{DEADLINE, Discovery, scratch};

#[test]
fn two_boxes_see_what_arrives_and_what_the_other_says() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mode = std::fs::metadata(socket(directory.path(), "alice")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let [mut one, mut two] = [(); 2].map(|()| Attached::to(directory.path(), "alice"));

    bob.say("CHAT alice hi");
    let told = [&mut one, &mut two].map(|it| it.wait("message", |_| true));
    assert_eq!(told[0], told[1]);
    assert_eq!((&told[0]["text"], &told[0]["seq"]), (&"hi".into(), &1.into()));

    one.say(r#"{"command": "chat", "to": "bob", "text": "hello", "ref": 1}"#);
    bob.expect_message("alice", "hello");
    let queued = one.wait("queued", |_| true);
    let sent = two.wait("sent", |_| true);
    assert_eq!(alice.wait("sent", |_| true)["id"], queued["id"]);
    assert_eq!((&queued["ref"], &queued["text"], &queued["id"]), (&1.into(), &"hello".into(), &sent["id"]));
    assert_eq!((&sent["text"], &sent["to"], &sent["seq"]), (&"hello".into(), &"bob".into(), &2.into()));
    for it in [&mut one, &mut two] {
        it.wait("delivered", |delivered| delivered["id"] == sent["id"]);
    }
    alice.say("CHAT bob from the first terminal");
    for it in [&mut one, &mut two] {
        it.wait("sent", |sent| sent["text"] == "from the first terminal");
    }

    // What is read in one is read in all; a page reads nothing.
    two.say(r#"{"command": "history", "peer": "bob", "before": 2, "ref": "page"}"#);
    let page = two.wait("history", |_| true);
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["seq"]), (1, &3.into()));
    one.say(r#"{"command": "read", "peer": "bob", "up_to": 1}"#);
    for it in [&mut one, &mut two] {
        it.wait("read", |read| read["up_to"] == 1 && read["unread"] == 0);
    }
    one.say(r#"{"command": "detach"}"#);
    assert_eq!(one.rest().last().unwrap()["event"], "detached");

    // Logging out in a box ends the client, and with it all boxes.
    two.say("LOGOUT");
    assert_eq!(two.rest().last().unwrap()["event"], "bye");
    assert_eq!(alice.ended().0.code(), Some(0));
    assert!(!socket(directory.path(), "alice").exists());
}

#[test]
fn a_box_that_is_killed_takes_nothing_with_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mut stays = Attached::to(directory.path(), "alice");
    for round in 0..50 {
        let mut killed = Attached::to(directory.path(), "alice");
        killed.say("CHAT bob");
        bob.say(&format!("CHAT alice {round}"));
        if round % 2 == 0 {
            killed.wait("message", |_| true);
        }
        drop(killed);
        stays.wait("message", |message| message["text"].as_str() == Some(&*round.to_string()));
        alice.expect_message("bob", &round.to_string());
    }
    alice.log_out();
}

#[test]
fn a_box_that_reads_nothing_is_cut_and_delays_no_other() {
    const COUNT: usize = 400;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let log = directory.path().join("log");
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let options = ["--log-file", log.to_str().unwrap()];
    let mut alice = Client::start_with(directory.path(), "alice", 0, discovery.address, &options);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    let stuck = UnixStream::connect(socket(directory.path(), "alice")).unwrap();
    let mut reads = Attached::to(directory.path(), "alice");
    let text = "x".repeat(8000);
    (0..COUNT).for_each(|number| bob.say(&format!("CHAT alice {number} {text}")));
    let mut number = 0;
    while number < COUNT {
        let message = reads.wait("message", |_| true);
        assert!(message["text"].as_str().unwrap().starts_with(&format!("{number} ")));
        number += 1;
    }
    bob.expect_delivered(COUNT);
    (0..COUNT).for_each(|_| _ = alice.wait("message", |_| true));
    // Other news are told meanwhile, to the others.
    reads.say("CHAT bob still here");
    bob.expect_message("alice", "still here");
    // It is cut before it has read anything: it sees the end of what was on its way, and then that.
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&log).unwrap().contains("is cut") {
        assert!(Instant::now() < deadline, "it is not cut");
        let _ = reads.next(Duration::from_millis(50));
    }
    let lines: Vec<String> = BufReader::new(stuck).lines().map_while(Result::ok).collect();
    assert!(lines[0].starts_with(r#"{"event":"hello""#));
    assert_eq!(lines.last().unwrap(), r#"{"event":"lagged","seq":0}"#, "{} lines", lines.len());
    assert!(lines.len() < COUNT / 2 && lines.iter().all(|line| line.ends_with('}')));
    // It attaches again.
    Attached::to(directory.path(), "alice");
    alice.log_out();
}
