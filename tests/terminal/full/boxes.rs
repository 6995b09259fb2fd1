//! Several terminals on one client.

use serde_json::Value;

use super::{among, entry, expect_typed, header, open, said, start};
use crate::support::attached::Attached;
use crate::support::discovery::{Discovery, scratch};

#[test]
fn what_is_said_and_read_in_one_is_so_in_all() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    let mut other = start(directory.path(), "bob", &discovery);
    alice.say("CHAT bob are you there?");
    for it in [&mut bob, &mut other] {
        it.wait("unread", |it| entry(it, "alice").ends_with(" 1"));
    }
    open(&mut other, "alice");
    for it in [&mut bob, &mut other] {
        it.wait("read", |it| entry(it, "alice").ends_with('●'));
    }
    // What is open is each one's own.
    assert!(header(&bob).starts_with("bob"));
    open(&mut bob, "alice");
    bob.type_in("half-typed");
    other.enter("yes, in the other room");
    alice.expect_message("bob", "yes, in the other room");
    for it in [&mut bob, &mut other] {
        let own = |row: &String| row.contains("yes, in the other room") && row.ends_with('✓');
        it.wait("what was said", |it| said(it).iter().filter(|row| own(row)).count() == 1);
    }
    expect_typed(&mut bob, "half-typed");
    bob.enter(" no more");
    alice.expect_message("bob", "half-typed no more");
    other.expect("half-typed no more");
    // One that is away from a while has it all.
    other.type_in("\x04");
    other.expect_end(0);
    alice.say("CHAT bob meanwhile");
    bob.expect("meanwhile");
    let mut other = start(directory.path(), "bob", &discovery);
    other.wait("all of it", |other| {
        let rows = said(other).join("\n");
        ["are you there?", "yes, in the other room", "no more", "meanwhile"]
            .iter()
            .all(|it| rows.contains(it))
    });
}

#[test]
fn a_message_is_read_where_one_is_there_to_read_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol]) = among(directory.path(), &discovery, ["alice", "carol"]);
    let mut watcher = Attached::to(directory.path(), "bob");
    watcher.say(r#"{"command": "reads"}"#);
    open(&mut bob, "alice");
    let text = |text: &'static str| move |message: &Value| message["text"] == text;
    let is_read = |event: &Value, seq: &Value| {
        event["event"] == "read" && event["peer"] == "alice" && event["up_to"].as_i64() >= seq.as_i64()
    };
    for (number, comes_back) in ["\x1b[I", "x\x7f"].into_iter().enumerate() {
        // The terminal loses the focus: what is shown is not read.
        bob.type_in_pieces(&["\x1b[O"]);
        let (first, second) = [("one", "two"), ("three", "four")].get(number).copied().unwrap();
        alice.say(&format!("CHAT bob {first}"));
        let message = watcher.wait("message", text(first));
        bob.wait(first, |bob| said(bob).iter().any(|row| row.ends_with(first)));
        alice.say(&format!("CHAT bob {second}"));
        watcher.wait("message", text(second));
        bob.wait(second, |bob| {
            said(bob).iter().any(|row| row.ends_with(second)) && entry(bob, "alice").ends_with(" 2")
        });
        // What lies elsewhere is not read by a look at this.
        carol.say("CHAT bob elsewhere");
        watcher.wait("message", text("elsewhere"));
        assert!(!watcher.log().iter().any(|event| is_read(event, &message["seq"])), "{:#?}", watcher.log());
        bob.type_in(comes_back);
        watcher.wait("read", |read| is_read(read, &message["seq"]) && read["unread"] == 0);
        bob.wait("read", |bob| entry(bob, "alice").ends_with('●'));
    }
    assert!(entry(&bob, "carol").ends_with(" 2"));
    // There it stays so while it comes.
    alice.say("CHAT bob five");
    let message = watcher.wait("message", text("five"));
    watcher.wait("read", |read| is_read(read, &message["seq"]));
}

#[test]
fn a_box_that_is_killed_as_it_draws_takes_nothing_with_it() {
    const LINES: usize = 2000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    let mut other = start(directory.path(), "bob", &discovery);
    open(&mut bob, "alice");
    open(&mut other, "alice");
    bob.type_in("half-typed");
    let lines: String = (0..LINES).map(|number| format!("CHAT bob number {number}.\n")).collect();
    alice.write(lines.as_bytes());
    other.expect("number ");
    other.signal("-KILL");
    other.status();
    let last = format!("number {}.", LINES - 1);
    bob.wait(&last, |bob| said(bob).last().is_some_and(|row| row.ends_with(&last)));
    expect_typed(&mut bob, "half-typed");
    bob.enter("");
    alice.expect_message("bob", "half-typed");
    let mut other = start(directory.path(), "bob", &discovery);
    other.wait("the last", |other| said(other).last().is_some_and(|row| row.contains("half-typed")));
}
