//! What the configuration file does at a terminal: aliases, and what is muted.

use std::fs;
use std::path::PathBuf;

use pty_process::blocking::Command;

use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, command, full_screen};

/// Bob's client with a file that says this.
fn configured(directory: &std::path::Path, discovery: &Discovery, text: &str) -> Command {
    let file: PathBuf = directory.join("bob.toml");
    fs::write(&file, text).unwrap();
    command(directory, "bob", discovery.address, &["--config", file.to_str().unwrap()])
}

#[test]
fn aliases_are_completed_explained_and_run() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let text = "[aliases]\nlunch = 'CHAT $1 lunch at $2? $*'\nw = 'WHY'\n";
    let mut bob = Terminal::run(configured(directory.path(), &discovery, text));
    bob.expect("discovery: up");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("alice is linked");
    bob.type_in("lu\t");
    bob.expect_line("> lunch", 8);
    bob.type_in("al\t");
    bob.expect_line("> lunch alice", 14);
    bob.expect("lunch: stands for CHAT $1 lunch at $2? $*");
    bob.enter("one as ever");
    alice.expect_message("bob", "lunch at one? as ever");
    bob.expect("to alice: lunch at one? as ever");
    bob.enter("CHAT alice");
    bob.expect_line("alice>", 7);
    // In the conversation it is said, and the user is asked first.
    bob.enter("lunch alice two");
    bob.expect("It reads as a command");
    bob.type_in("y");
    alice.expect_message("bob", "lunch alice two");
    bob.enter("/lunch alice three");
    alice.expect_message("bob", "lunch at three? ");
    bob.enter("/help");
    bob.expect("lunch: stands for CHAT $1 lunch at $2? $*");
    bob.enter("/logout");
    bob.expect_end(0);
}

#[test]
fn what_is_muted_rings_no_bell_and_is_not_shown_as_unread() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let text = "mute = ['alice', '#lab']\nhighlight = ['deploy']\n";
    let mut bob = Terminal::run(configured(directory.path(), &discovery, text));
    bob.expect("discovery: up");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    alice.say("ROOM #lab");
    alice.say("INVITE #lab bob");
    bob.expect("invites you");
    bob.enter("JOIN #lab");
    alice.wait("member", |event| event["user"] == "bob" && event["state"] == "joined");
    assert_eq!(bob.bells(), 0, "one who is muted invites");
    alice.say("CHAT bob hello");
    bob.expect("alice: hello");
    alice.say("CHAT #lab nothing new");
    bob.expect("nothing new");
    bob.enter("CONTACTS");
    bob.expect("1 unread");
    bob.expect_line(">", 2);
    assert_eq!(bob.bells(), 0);
    // Its own name, and the words that it wants to be called for.
    alice.say("CHAT #lab ask bob about it");
    bob.expect("ask bob about it");
    bob.expect_line("[unread: #lab 2]>", 18);
    bob.wait("a bell", |bob| bob.bells() == 1);
    alice.say("CHAT bob Deploy!");
    bob.expect("alice: Deploy!");
    bob.expect_line("[unread: alice 2, #lab 2]>", 27);
    bob.wait("a bell", |bob| bob.bells() == 2);
    bob.enter("CHAT alice");
    bob.expect_line("[unread: #lab 2] alice>", 24);
    bob.enter("CHAT");
    alice.say("CHAT bob and so on");
    bob.expect("alice: and so on");
    bob.expect_line("[unread: #lab 2]>", 18);
    assert_eq!(bob.bells(), 2);
    bob.enter("LOGOUT");
    bob.expect_end(0);
}

#[test]
fn the_file_says_what_is_drawn_and_how() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = |text: &str, more: &[&str]| {
        let file = directory.path().join("bob.toml");
        fs::write(&file, text).unwrap();
        let options = [&["--config", file.to_str().unwrap()], more].concat();
        Terminal::run(full_screen(directory.path(), "bob", discovery.address, &options))
    };
    let drew_all = |bob: &Terminal| bob.written.windows(8).any(|bytes| bytes == b"\x1b[?1049h");
    let text = "mode = 'line'\n[aliases]\nw = 'WHY'\n[keys]\nf5 = 'conversation-0'\n";
    let mut bob = start(text, &[]);
    bob.expect("* discovery: up");
    bob.enter("LOGOUT");
    bob.expect_end(0);
    assert!(!drew_all(&bob));

    let text = format!("{text}[colours]\nstatus = 'underline'\n");
    let mut bob = start(&text, &["--line=false"]);
    bob.wait("the whole screen", drew_all);
    // Told after the answer to HELP, it would push the aliases off the screen.
    bob.expect("* discovery: up");
    bob.enter("HELP");
    bob.expect("w: stands for WHY");
    bob.enter("w nemo");
    bob.expect("nemo is not a contact");
    bob.enter("/logout");
    bob.ended();
}
