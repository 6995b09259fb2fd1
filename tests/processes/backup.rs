//! A journal restored from an older backup, on either side: nothing new is taken for old, nothing comes twice.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};

/// Everything that makes up the journal of a user who has logged out.
fn files(directory: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let all = ["", "-wal", "-shm"].map(|suffix| directory.join(format!("{name}.journal{suffix}")));
    all.into_iter().filter(|file| file.exists()).collect()
}

fn back_up(directory: &Path, name: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(directory, name).into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

fn restore(directory: &Path, name: &str, backup: &[(std::path::PathBuf, Vec<u8>)]) {
    files(directory, name).into_iter().for_each(|file| fs::remove_file(file).unwrap());
    backup.iter().for_each(|(file, content)| fs::write(file, content).unwrap());
}

/// Says these numbers, and waits until they are delivered.
fn say(client: &mut Client, to: &str, numbers: Range<usize>) {
    let count = numbers.len();
    numbers.for_each(|number| client.say(&format!("CHAT {to} {number}")));
    client.expect_delivered(count);
}

/// So many messages are lost, which their writer is told; they come again when the writer says so.
fn resend(writer: &mut Client, to: &str, count: usize) {
    let is_told =
        |event: &Value| event["event"] == "lost" && event["peer"] == to && event["messages"] == count;
    if !writer.log().iter().any(is_told) {
        writer.wait("lost", is_told);
    }
    writer.say(&format!("RESEND {to}"));
    writer.expect_delivered(count);
}

/// Waits for a message unless it was already shown.
fn expect_shown(client: &mut Client, text: &str) {
    if !client.log().iter().any(|event| event["event"] == "message" && event["text"] == text) {
        client.wait("message", |message| message["text"] == text);
    }
}

/// What the journal has from one sender, in order.
fn history(client: &mut Client, from: &str) -> Vec<usize> {
    client.say(&format!("HISTORY {from} 1000"));
    let history = client.wait("history", |_| true);
    let entries = history["messages"].as_array().unwrap().iter().filter(|entry| entry["from"] == from);
    entries.map(|entry| entry["text"].as_str().unwrap().parse().unwrap()).collect()
}

fn range(numbers: Range<usize>) -> Vec<usize> {
    numbers.collect()
}

#[test]
fn a_journal_from_a_backup_swallows_nothing_and_doubles_nothing() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = crate::support::client::linked_pair(directory, discovery.address);
    say(&mut alice, "bob", 0..5);
    say(&mut bob, "alice", 0..5);
    alice.log_out();
    let old_alice = back_up(directory, "alice");

    let mut alice = Client::online(directory, "alice", discovery.address);
    say(&mut alice, "bob", 5..10);
    say(&mut bob, "alice", 5..10);
    alice.log_out();
    restore(directory, "alice", &old_alice);

    // Her journal would use the numbers of 5 to 9 again; nothing new is taken for them.
    let mut alice = Client::online(directory, "alice", discovery.address);
    say(&mut alice, "bob", 10..15);
    say(&mut bob, "alice", 10..15);
    expect_shown(&mut alice, "14");
    expect_shown(&mut bob, "14");
    assert_eq!(history(&mut bob, "alice"), range(0..15));
    // A key alone opens nothing of the past: what she had lost comes again when he says so, and nothing else does.
    assert_eq!(history(&mut alice, "bob"), [range(0..5), range(10..15)].concat());
    resend(&mut bob, "alice", 5);
    expect_shown(&mut alice, "9");
    assert_eq!(history(&mut alice, "bob"), [range(0..5), range(10..15), range(5..10)].concat());
    let shown = alice.settle().iter().filter(|event| event["event"] == "message");
    let shown: Vec<usize> = shown.map(|event| event["text"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(shown, [range(10..15), range(5..10)].concat());

    bob.log_out();
    let old_bob = back_up(directory, "bob");
    let bob = Client::online(directory, "bob", discovery.address);
    say(&mut alice, "bob", 15..20);
    bob.log_out();
    restore(directory, "bob", &old_bob);
    // He has forgotten what he had acknowledged; it comes again when she says so, and once.
    let mut bob = Client::online(directory, "bob", discovery.address);
    say(&mut alice, "bob", 20..25);
    expect_shown(&mut bob, "24");
    resend(&mut alice, "bob", 5);
    expect_shown(&mut bob, "19");
    alice.say("RESEND bob");
    alice.expect_error("nothing-lost");
    assert_eq!(history(&mut bob, "alice"), [range(0..15), range(20..25), range(15..20)].concat());
    let shown = bob.settle().iter().filter(|event| event["event"] == "message");
    let shown: Vec<usize> = shown.map(|event| event["text"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(shown, [range(20..25), range(15..20)].concat());
}
