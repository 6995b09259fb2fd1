//! Terminals that are small, or made smaller and wider.

use super::{BORDER, among, entry, expect_typed, is_drawn, open, said};
use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, command, full_screen};

const WORDS: &str =
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen";

#[test]
fn narrowing_and_widening_leaves_no_ghost_and_loses_nothing() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol]) = among(directory.path(), &discovery, ["alice", "carol"]);
    open(&mut bob, "alice");
    bob.enter("hello");
    alice.expect_message("bob", "hello");
    for number in 0..5 {
        alice.say(&format!("CHAT bob {number}: {WORDS}."));
    }
    carol.say("CHAT bob hi");
    alice.expect_delivered(5);
    bob.type_in(WORDS);
    bob.wait("all of it", |bob| {
        let rows = bob.rows().join("\n");
        is_drawn(bob)
            && rows.matches("fifteen.").count() == 5
            && rows.ends_with("fifteen")
            && entry(bob, "carol").ends_with('1')
            && entry(bob, "alice").ends_with('●')
    });
    let before = bob.rows();
    for width in [60, 59, 40, 35, 45, 20, 60, 100, 40, 100] {
        bob.resize(width, 30);
        bob.wait(&format!("{width} columns"), |bob| {
            let rows = bob.rows();
            let words: Vec<_> = said(bob).iter().flat_map(|row| words(row)).collect();
            let text: Vec<_> = WORDS.split(' ').collect();
            let is_whole = |number: i32| {
                let from = words.iter().position(|word| *word == format!("{number}:"));
                from.is_some_and(|from| {
                    let said = words[from + 1..].iter().take(text.len());
                    said.map(|word| word.trim_end_matches('.')).eq(text.iter().copied())
                })
            };
            // Where it is narrow only the last fit.
            let numbers = if width < 40 { 4..5 } else { 0..5 };
            numbers.into_iter().all(is_whole)
                && rows.iter().filter(|row| row.contains("> one")).count() == 1
                && rows.iter().all(|row| row.chars().count() <= usize::from(width))
                && rows.iter().all(|row| row.contains(BORDER) == (width >= 60))
        });
        if width < 60 {
            bob.expect("[carol 1]");
        }
    }
    bob.wait(&format!("the screen as it was:\n{}\n", before.join("\n")), |bob| bob.rows() == before);
    bob.enter("");
    alice.expect_message("bob", WORDS);
}

/// The words of a row, without its time.
fn words(row: &str) -> Vec<String> {
    let is_time = |word: &&str| word.len() == 5 && word.as_bytes()[2] == b':';
    row.split_whitespace().filter(|word| !is_time(word)).map(str::to_owned).collect()
}

#[test]
fn it_goes_on_in_any_size() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    bob.enter("/contacts");
    bob.expect("answer");
    bob.type_in("half-typed");
    for (width, height) in [(10, 3), (1, 1), (2, 1), (1, 7), (3, 2), (300, 1), (59, 11), (250, 70)] {
        bob.resize(width, height);
        let text = format!("at {width} by {height}");
        alice.say(&format!("CHAT bob {text}"));
        alice.expect_delivered(1);
        // Whatever these do there, they do no harm.
        bob.type_in("\x1b[5~\x1b[6~\x1b[<64;1;1M\x1b[<0;1;1M\x1b[<0;900;900M\x1b1x\x7f");
    }
    bob.resize(100, 30);
    bob.type_in("\x1b1");
    bob.wait("the last", |bob| said(bob).join("\n").contains("at 250 by 70"));
    expect_typed(&mut bob, "half-typed");
    bob.enter("");
    alice.expect_message("bob", "half-typed");
    bob.enter("LOGOUT");
    bob.expect_end(0);
}

#[test]
fn a_terminal_that_is_small_or_can_do_little_gets_lines() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = || full_screen(directory.path(), "bob", discovery.address, &[]);
    for (command, width, height, full) in [
        (command(directory.path(), "bob", discovery.address, &[]), 100, 30, false),
        (start().env("TERM", "dumb"), 100, 30, false),
        (start().env_remove("TERM"), 100, 30, false),
        (start(), 59, 12, false),
        (start(), 60, 11, false),
        (start(), 60, 12, true),
    ] {
        let mut bob = Terminal::sized(command, width, height);
        bob.expect("discovery: up");
        assert_eq!(bob.is_full(), full, "{width} by {height}");
        bob.enter("/outbox");
        bob.expect("nothing waits to be delivered");
        bob.enter("LOGOUT");
        assert_eq!(bob.ended().code(), Some(0));
        assert_eq!(bob.rows().last().unwrap(), "* bye");
    }
}

#[test]
fn a_box_takes_the_mode_that_fits_its_own_terminal() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let _bob = Client::online(directory.path(), "bob", discovery.address);
    let start = || full_screen(directory.path(), "bob", discovery.address, &["--attach"]);
    for (width, full) in [(40, false), (80, true)] {
        let mut bob = Terminal::sized(start(), width, 24);
        bob.expect("discovery: up");
        assert_eq!(bob.is_full(), full);
        bob.type_in("\x04");
        bob.expect_end(0);
        assert_eq!(bob.rows().last().unwrap(), "* detached; the client goes on");
    }
}
