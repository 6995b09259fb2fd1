//! Conversations, opened and scrolled by keys, and what each shows.

use std::time::{Duration, Instant};

use super::{among, entry, expect_typed, header, open, parts, said, start};
use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, scratch};
use crate::support::terminal::Terminal;

fn expect_open(bob: &mut Terminal, name: &str) {
    bob.wait(name, |bob| header(bob).starts_with(name));
}

#[test]
fn conversations_are_opened_by_keys() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol, _dave]) =
        among(directory.path(), &discovery, ["alice", "carol", "dave"]);
    alice.say("CHAT bob one");
    carol.say("CHAT bob two");
    bob.wait("both", |bob| entry(bob, "alice").ends_with(" 1") && entry(bob, "carol").ends_with(" 1"));
    for (keys, opened) in [
        ("\x1b3", "dave"),
        // What is unread comes round.
        ("\x1ba", "alice"),
        ("\x1ba", "carol"),
        ("\x0e", "dave"),
        ("\x0e", "bob"),
        ("\x10", "dave"),
        ("\x10", "carol"),
        ("\x1b1", "alice"),
        ("\x1bo", "carol"),
        ("\x1b0", "bob"),
        ("CHAT dave\r", "dave"),
        // A click into the list.
        ("\x1b[<0;3;2M\x1b[<0;3;2m", "alice"),
    ] {
        bob.type_in(keys);
        expect_open(&mut bob, opened);
        if opened != "bob" {
            // A conversation that the next key hides before the terminal has shown its text stays unread.
            bob.wait("what is open is read", |bob| !entry(bob, opened).contains('1'));
        }
    }
    bob.type_in("\x1ba");
    bob.expect("nothing is unread");
    // What is typed stays with its conversation.
    bob.type_in("for alice");
    bob.type_in("\x1b2");
    expect_open(&mut bob, "carol");
    expect_typed(&mut bob, "");
    bob.type_in("for carol");
    bob.type_in("\x1b1");
    expect_typed(&mut bob, "for alice");
    bob.enter("");
    alice.expect_message("bob", "for alice");
    bob.type_in("\x1b2");
    expect_typed(&mut bob, "for carol");
    bob.enter("");
    carol.expect_message("bob", "for carol");
}

#[test]
fn how_far_ones_words_have_come_changes_in_place() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    alice.log_out();
    bob.wait("alice away", |bob| entry(bob, "alice").ends_with('○') && header(bob).contains("offline"));
    bob.enter("first");
    bob.enter("second");
    let marks = |bob: &Terminal, mark: &str| {
        let rows = said(bob);
        let ends = |row: &String, text: &str| row.contains(text) && row.ends_with(mark);
        let [.., first, second] = &rows[..] else { return false };
        ends(first, "first") && ends(second, "second")
    };
    bob.wait("waiting", |bob| marks(bob, "…"));
    let rows = said(&bob);
    // What it is told before discovery is there counts.
    let mut alice = Client::start(directory.path(), "alice", discovery.address);
    bob.wait("delivered", |bob| marks(bob, "✓"));
    assert_eq!(said(&bob), rows.iter().map(|row| row.replace('…', "✓")).collect::<Vec<_>>());
    alice.expect_message("bob", "first");
    bob.wait("alice there", |bob| entry(bob, "alice").ends_with('●') && header(bob).contains("linked"));
}

#[test]
fn rooms_are_conversations_like_others() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    bob.enter("ROOM #lab");
    bob.wait("the room", |bob| !entry(bob, "#lab").is_empty());
    bob.enter("INVITE #lab alice");
    alice.wait("invite", |_| true);
    alice.say("JOIN #lab");
    bob.wait("two of two", |bob| entry(bob, "#lab").contains("2/2"));
    alice.say("CHAT #lab has bob seen it?");
    alice.say("CHAT #lab it is red");
    bob.wait("a mention", |bob| entry(bob, "#lab").ends_with(" @2"));
    open(&mut bob, "#lab");
    bob.wait("what was said", |bob| {
        let rows = said(bob);
        let at = rows.iter().position(|row| row.contains("@alice  has bob seen it?"));
        at.is_some_and(|at| rows.get(at + 1).is_some_and(|row| row.contains("alice  it is red")))
    });
    bob.wait("read", |bob| entry(bob, "#lab").ends_with("2/2"));
    bob.enter("i have");
    alice.wait("message", |message| message["text"] == "i have");
    bob.wait("has come", |bob| {
        let rows = said(bob);
        let own = rows.iter().find(|row| row.contains("i have")).map_or("", String::as_str);
        own.ends_with("✓") || own.ends_with("2/2")
    });
}

#[test]
fn answers_and_errors_can_be_seen_until_they_are_dismissed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    bob.enter("/histroy alice");
    bob.expect("did you mean HISTORY?");
    open(&mut bob, "alice");
    for number in 0..60 {
        alice.say(&format!("CHAT bob number {number}."));
    }
    bob.expect("number 59.");
    for (line, answer) in [
        ("/outbox", "nothing waits to be delivered"),
        ("/shout", "is not a command"),
        ("REQUEST alcie", "there is no user alcie"),
        ("/search number", "number 59."),
        ("/help why", "WHY <user>"),
    ] {
        bob.enter(line);
        bob.wait(line, |bob| {
            let rows = parts(bob);
            let from =
                rows.iter().position(|(_, right)| right.starts_with("── answer")).unwrap_or(rows.len());
            rows[from..].iter().any(|(_, right)| right.contains(answer))
        });
        bob.type_in("\x1b");
        bob.wait("no answer", |bob| !bob.rows().join("").contains("── answer"));
        bob.expect("number 59.");
    }
    // What is long is turned over, and nothing goes away by what comes.
    bob.enter("/help");
    bob.expect("rows below: PageDown");
    alice.say("CHAT bob meanwhile");
    bob.expect("meanwhile");
    bob.type_in("\x1b[6~\x1b[6~\x1b[6~");
    bob.expect("rows above: PageUp");
    bob.expect("toggle list");
    // The next line that is entered replaces it.
    bob.enter("thanks");
    alice.expect_message("bob", "thanks");
    bob.wait("no answer", |bob| !bob.rows().join("").contains("── answer"));
}

#[test]
fn everything_is_drawn_anew_when_it_is_asked_for() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    alice.say("CHAT bob hi");
    bob.expect("hi");
    bob.type_in("half-typed");
    expect_typed(&mut bob, "half-typed");
    bob.wait("no count", |bob| entry(bob, "alice").ends_with('●'));
    let before = bob.rows();
    bob.scribble("\x1b[H\x1b[31mBroadcast message from root\r\nthe system goes down\x1b[9;40Hat noon");
    assert!(bob.rows().join("\n").contains("at noon"));
    bob.type_in("\x0c");
    bob.wait("the screen as it was", |bob| bob.rows() == before);
    expect_typed(&mut bob, "half-typed");
}

#[test]
fn the_last_conversation_is_open_again_after_a_restart() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, _carol]) = among(directory.path(), &discovery, ["alice", "carol"]);
    open(&mut bob, "carol");
    open(&mut bob, "alice");
    alice.say("CHAT bob before");
    bob.expect("before");
    bob.enter("LOGOUT");
    bob.expect_end(0);
    alice.expect_gone("bob");
    alice.say("CHAT bob meanwhile");
    alice.wait("queued", |_| true);
    let mut bob = start(directory.path(), "bob", &discovery);
    expect_open(&mut bob, "alice");
    bob.wait("both", |bob| {
        let rows = said(bob).join("\n");
        rows.contains("before") && rows.contains("meanwhile")
    });
    // Also where it was killed.
    bob.type_in("\x1b2");
    expect_open(&mut bob, "carol");
    let deadline = Instant::now() + DEADLINE;
    while std::fs::read_to_string(directory.path().join("bob.open")).unwrap().trim() != "carol" {
        assert!(Instant::now() < deadline, "it is not kept");
        std::thread::sleep(Duration::from_millis(5));
    }
    bob.signal("-KILL");
    bob.status();
    let mut bob = start(directory.path(), "bob", &discovery);
    expect_open(&mut bob, "carol");
}
