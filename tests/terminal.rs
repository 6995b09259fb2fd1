//! What a person at a terminal meets: real clients at real pseudo-terminals, whose screens are looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use support::client::Client;
use support::discovery::{Discovery, scratch};
use support::terminal::{Terminal, command};

mod support;

/// Bob at a terminal, and alice at a pipe, linked.
fn pair(directory: &std::path::Path, discovery: &Discovery) -> (Terminal, Client) {
    let mut bob = Terminal::client(directory, "bob", discovery.address, &[]);
    let mut alice = Client::online(directory, "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("alice is linked");
    (bob, alice)
}

#[test]
fn what_arrives_leaves_what_is_typed_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.type_in("CHAT alice good mroning\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D");
    bob.expect_line("> CHAT alice good mroning", 20);
    alice.say("CHAT bob are you there?");
    bob.expect("alice: are you there?");
    bob.expect_line("[alice 1]> CHAT alice good mroning", 29);
    bob.type_in("\x7for\x1b[3~\x1b[3~");
    bob.type_in("\x14");
    bob.enter("");
    alice.wait("message", |message| message["text"].as_str().is_some_and(|text| text.starts_with("good mo")));
    // The terminal was never asked anything.
    assert!(!bob.written.windows(3).any(|bytes| bytes == b"[6n"));
}

#[test]
fn ten_thousand_lines_arrive_while_somebody_types() {
    const LINES: usize = 10_000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    // A search that stays open blocks nothing.
    bob.enter("CHAT alice first");
    alice.expect_message("bob", "first");
    bob.type_in("\x12fir");
    bob.wait("search", |bob| bob.line().0.contains("'fir': CHAT alice first"));
    let lines: String = (0..LINES).map(|number| format!("CHAT bob number {number}.\n")).collect();
    alice.write(&lines.as_bytes()[..lines.len() / 2]);
    bob.wait("a thousand", |bob| {
        let last = bob.rows().into_iter().rev().find(|row| row.contains("number"));
        last.is_some_and(|row| {
            row.trim_end_matches('.').rsplit(' ').next().unwrap().parse().is_ok_and(|it: usize| it > 1000)
        })
    });
    bob.type_in("\x07half-typed\x01");
    alice.write(&lines.as_bytes()[lines.len() / 2..]);
    // Somebody types all the while.
    for _ in 0..200 {
        bob.type_in("xé好\x7f\x7f\x7f");
    }
    bob.expect(&format!("number {}.", LINES - 1));
    bob.expect_line("[alice 999+]> half-typed", 14);
    let everything = bob.everything();
    let arrived: Vec<_> = everything.iter().filter(|line| line.contains("number ")).collect();
    assert_eq!(arrived.len(), LINES);
    for (number, line) in arrived.into_iter().enumerate() {
        assert!(line.starts_with('[') && line.ends_with(&format!("] alice: number {number}.")), "{line:?}");
    }
    assert_eq!(everything.iter().filter(|line| line.contains("half")).count(), 1);
    bob.enter("");
    bob.expect("is not a command");
}

#[test]
fn every_way_to_end_leaves_the_terminal_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = || Terminal::client(directory.path(), "bob", discovery.address, &[]);
    for keys in
        ["LOGOUT\r", "half-typed\x15/logout\r", "\x04", "\x03", "half-typed\x03\x03", "\x12log\x03\x03"]
    {
        let mut bob = start();
        bob.type_in(keys);
        bob.expect_end(0);
        assert_eq!(bob.rows().last().unwrap(), "* bye", "{keys:?}");
    }
    for signal in ["-INT", "-TERM", "-HUP"] {
        for (typed, shown) in [
            ("", ">"),
            ("half-typed", "> half-typed"),
            ("\x12search", "nothing has 'search':"),
            ("\x1b[200~one\rtwo\x1b[201~\r", "(y/n)"),
        ] {
            let mut bob = start();
            bob.type_in(typed);
            bob.wait(typed, |bob| bob.rows().last().unwrap().ends_with(shown));
            bob.signal(signal);
            bob.expect_end(0);
            assert_eq!(bob.rows().last().unwrap(), "* bye", "{signal} {typed:?}");
        }
    }
    // And an error: somebody else uses the journal.
    let _bob = start();
    let mut other = Terminal::run(command(directory.path(), "bob", discovery.address, &[]));
    assert_eq!(other.ended().code(), Some(1));
    other.expect_as_before();
}
