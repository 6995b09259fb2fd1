//! A line that carries 1,200 bytes a second, as a bad one to another continent.

use serde_json::Value;

use super::{expect_typed, header, said};
use crate::support::attached::Attached;
use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, full_screen};

const RATE: u32 = 1200;
const LINES: usize = 150;

#[test]
fn a_slow_line_is_shown_the_latest_and_delays_no_other() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Terminal::slow(full_screen(directory.path(), "bob", discovery.address, &[]), RATE);
    bob.expect("discovery: up");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("1 alice");
    bob.enter("CHAT alice");
    bob.wait("alice", |bob| header(bob).starts_with("alice"));
    let mut other = Attached::to(directory.path(), "bob");
    let (mut typed, before) = (String::new(), bob.written.len());
    for number in 0..LINES {
        // No row is like the one above.
        let text = format!(" {number}").repeat(15);
        alice.say(&format!("CHAT bob number {number} and{text}"));
        alice.expect_delivered(1);
        if number % 10 == 0 {
            bob.type_in("x");
            typed.push('x');
        }
    }
    let last = format!("number {} and", LINES - 1);
    other.wait("message", |message: &Value| message["text"].as_str().is_some_and(|it| it.starts_with(&last)));
    bob.wait("the last", |bob| said(bob).join("\n").contains(&last));
    expect_typed(&mut bob, &typed);
    // To show each line by itself would take minutes.
    let frames = bob.written[before..].windows(6).filter(|bytes| *bytes == b"\x1b[?25l").count();
    assert!(frames < LINES / 4, "{frames}");
    bob.enter("");
    alice.expect_message("bob", &typed);
    bob.type_in("\x04");
    bob.expect_end(0);
}

#[test]
fn a_slow_line_is_left_as_it_was_while_much_is_on_its_way() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let mut bob = Terminal::slow(full_screen(directory.path(), "bob", discovery.address, &[]), RATE);
    bob.expect("discovery: up");
    bob.enter("REQUEST alice");
    alice.expect_link("bob");
    bob.enter("CHAT alice");
    bob.wait("alice", |bob| header(bob).starts_with("alice"));
    for number in 0..40 {
        let text = format!(" {number}").repeat(15);
        alice.say(&format!("CHAT bob number {number} and{text}"));
        alice.expect_delivered(1);
    }
    bob.wait("the first", |bob| said(bob).join("\n").contains("number "));
    // All of it is drawn anew, again and again.
    bob.type_in("\x0c\x0c\x1b[5~\x1b[5~\x0c");
    bob.enter("LOGOUT");
    bob.expect_end(0);
    assert_eq!(bob.rows().last().unwrap(), "* bye");
}
