//! Every way to end, and to be stopped: the terminal is as it was.

use std::path::Path;

use rustix::termios::{InputModes, LocalModes};

use super::{among, expect_typed, header, open, start};
use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, full_screen};

fn last_row(bob: &Terminal) -> String {
    bob.rows().pop().unwrap_or_default()
}

#[test]
fn every_way_to_end_leaves_the_terminal_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let start = || start(directory.path(), "bob", &discovery);
    let mut bob = start();
    bob.enter("REQUEST alice");
    alice.expect_link("bob");
    bob.enter("LOGOUT");
    bob.expect_end(0);
    for keys in [
        "/logout\r",
        "/detach\r",
        "\x04",
        "\x03\x03",
        "half-typed\x03\x03\x03",
        "CHAT alice\r/help\r\x1b[6~LOGOUT\r",
        "\x12log\x03\x03\x03",
    ] {
        let mut bob = start();
        assert!(bob.is_full() && bob.mode(1000) && bob.mode(1004) && bob.marks_pastes());
        bob.type_in(keys);
        bob.expect_end(0);
        assert_eq!(last_row(&bob), "* bye", "{keys:?}");
    }
    let mut bob = start();
    bob.type_in("\x03");
    bob.expect("Ctrl+C again to leave");
    bob.enter("/outbox");
    bob.expect("nothing waits to be delivered");
    bob.type_in("\x03");
    bob.expect("Ctrl+C again to leave");
    bob.type_in("\x03");
    bob.expect_end(0);
    for (signal, typed, shown) in [
        ("-TERM", "", ">"),
        ("-HUP", "half-typed", "> half-typed"),
        ("-INT", "\x12search", "no match for 'search':"),
        ("-TERM", "CHAT alice\r\x1b[200~one\rtwo\x1b[201~\r", "(y/n)"),
        ("-HUP", "CHAT alice\r/help\r", "rows below: PageDown"),
    ] {
        let mut bob = start();
        bob.type_in(typed);
        bob.expect(shown);
        bob.signal(signal);
        bob.expect_end(0);
        assert_eq!(last_row(&bob), "* bye", "{signal} {typed:?}");
    }
}

#[test]
fn it_ends_well_while_it_draws() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    for (number, signal) in ["-TERM", "-HUP", "keys"].into_iter().enumerate() {
        let mut bob = start(directory.path(), "bob", &discovery);
        if number == 0 {
            bob.enter("REQUEST alice");
        }
        alice.expect_link("bob");
        open(&mut bob, "alice");
        // Not to what is unread.
        bob.type_in("\x1b[1;5F");
        let lines: String =
            (0..2000).map(|line| format!("CHAT bob round {number} number {line}.\n")).collect();
        alice.write(lines.as_bytes());
        bob.expect(&format!("round {number} number"));
        match signal {
            "keys" => bob.enter("LOGOUT"),
            signal => bob.signal(signal),
        }
        bob.expect_end(0);
        assert_eq!(last_row(&bob), "* bye");
        alice.expect_unlink("bob");
    }
}

#[test]
fn leaving_a_box_leaves_the_client() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    for keys in ["\x04", "\x03\x03", "/detach\r"] {
        let mut other = start(directory.path(), "bob", &discovery);
        other.type_in(keys);
        other.expect_end(0);
        assert_eq!(last_row(&other), "* detached; the client goes on", "{keys:?}");
    }
    let mut other = start(directory.path(), "bob", &discovery);
    open(&mut bob, "alice");
    bob.enter("still here");
    alice.expect_message("bob", "still here");
    // The client takes its boxes with it.
    bob.type_in("\x04");
    bob.expect_end(0);
    other.expect_end(0);
    assert_eq!(last_row(&other), "* bye");
    // One that is killed says so.
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut other = start(directory.path(), "bob", &discovery);
    bob.kill();
    other.expect_end(1);
    other.expect("has ended without a word");
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    alice.expect_gone("bob");
    let mut bob = Terminal::unread(full_screen(directory.path(), "bob", discovery.address, &[]));
    alice.expect_link("bob");
    bob.until_it_reads_keys();
    // Whether the signal or a failed write is first noticed, it is no crash.
    let status = bob.close();
    assert!(status.code().is_some_and(|code| code < 2), "{status}");
    alice.expect_gone("bob");
    // And a box, without its client.
    let _bob = Client::online(directory.path(), "bob", discovery.address);
    alice.expect_link("bob");
    let mut other = Terminal::unread(full_screen(directory.path(), "bob", discovery.address, &[]));
    other.until_it_reads_keys();
    let status = other.close();
    assert!(status.code().is_some_and(|code| code < 2), "{status}");
    alice.say("CHAT bob there?");
    alice.expect_delivered(1);
}

/// A shell with job control, as a person has it, and the command that starts bob in it.
fn shell(directory: &Path, discovery: &Discovery) -> (Terminal, String) {
    let shell = pty_process::blocking::Command::new("sh");
    let shell = shell.env("PS1", "$ ").env("TERM", "xterm-256color").env_remove("ENV").arg("-i");
    let mut bob = Terminal::run(shell);
    bob.expect("$");
    let client = format!(
        "{} --strangers all --data-dir {} bob 0 127.0.0.1 127.0.0.1 {}",
        env!("CARGO_BIN_EXE_client"),
        directory.display(),
        discovery.address.port()
    );
    (bob, client)
}

/// A signal to what runs in the shell.
fn signal(shell: &Terminal, signal: &str) {
    let pid = std::process::Command::new("pgrep").args(["-P", &shell.pid()]).output().unwrap();
    let pid = String::from_utf8(pid.stdout).unwrap();
    assert!(std::process::Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
}

#[test]
fn it_can_be_stopped_and_is_drawn_anew() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let (mut bob, client) = shell(directory.path(), &discovery);
    let modes = bob.modes();
    bob.enter(&client);
    bob.wait("it is drawn", |bob| bob.is_full() && bob.rows().join("").contains("discovery: up"));
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("alice");
    open(&mut bob, "alice");
    bob.type_in("half");
    expect_typed(&mut bob, "half");
    for round in 0..2 {
        let before = bob.rows();
        bob.type_in("\x1a");
        bob.wait("the shell", |bob| !bob.is_full() && bob.line().0 == "$");
        assert_eq!(format!("{:?}", bob.modes()), format!("{modes:?}"));
        assert!(![1000, 1004, 1006, 2004].iter().any(|mode| bob.mode(*mode)));
        bob.enter("echo a shell; fg");
        bob.wait("the screen as it was", |bob| bob.is_full() && bob.rows() == before);
        assert!(bob.mode(1000) && bob.mode(1004) && bob.marks_pastes(), "{round}");
    }
    // Stopped by another program, the terminal as it is, and taken up again.
    let before = bob.rows();
    signal(&bob, "-STOP");
    bob.wait("the shell", |bob| bob.line().0.ends_with('$'));
    bob.type_in("fg\n");
    bob.wait("the screen as it was", |bob| bob.is_full() && bob.rows() == before);
    bob.enter("!");
    alice.expect_message("bob", "half!");
    bob.enter("LOGOUT");
    bob.wait("the shell", |bob| !bob.is_full() && bob.line().0 == "$");
    assert_eq!(format!("{:?}", bob.modes()), format!("{modes:?}"));
}

#[test]
fn what_remains_of_one_that_is_killed_is_mended_by_reset() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, client) = shell(directory.path(), &discovery);
    bob.enter(&client);
    bob.wait("it is drawn", |bob| bob.is_full() && bob.rows().join("").contains("discovery: up"));
    signal(&bob, "-KILL");
    bob.wait("the shell", |bob| bob.line().0.ends_with('$'));
    // No program can clean up behind itself then.
    assert!(bob.is_full() && bob.marks_pastes());
    assert!(!bob.modes().local_modes.contains(LocalModes::ECHO));
    // Its own key does not end a line now, so the one that does.
    bob.type_in("reset\n");
    bob.wait("the usual screen", |bob| !bob.is_full() && bob.line().0 == "$");
    assert!(!bob.marks_pastes());
    let modes = bob.modes();
    assert!(modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    assert!(modes.input_modes.contains(InputModes::ICRNL));
    bob.enter("echo us''able");
    bob.expect("usable");
    // Nothing is lost with it.
    bob.enter(&client);
    bob.wait("it is drawn", |bob| bob.is_full() && header(bob).contains("discovery: up"));
    bob.type_in("\x04");
    bob.wait("the shell", |bob| !bob.is_full() && bob.line().0 == "$");
}
