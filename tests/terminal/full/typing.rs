//! What is typed and pasted, and who gets it.

use std::time::Duration;

use super::{among, entry, expect_typed, header, open, said};
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::Terminal;

/// Nearly as long as an Escape waits for the rest. A machine that is slower than that has to try again.
const IN_TIME: Duration = Duration::from_millis(40);

#[test]
fn ten_thousand_lines_arrive_elsewhere_while_one_types() {
    const MANY: usize = 9_700;
    const SOME: usize = 300;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol, mut dave]) =
        among(directory.path(), &discovery, ["alice", "carol", "dave"]);
    open(&mut bob, "dave");
    let lines = |count| (0..count).map(|number| format!("CHAT bob number {number}.\n")).collect::<String>();
    alice.write(&lines(MANY).as_bytes()[..100_000]);
    bob.wait("a hundred", |bob| entry(bob, "alice").contains("99"));
    let text = "what is typed while others talk stays as it is";
    let rest = lines(MANY);
    alice.write(&rest.as_bytes()[100_000..]);
    carol.write(lines(SOME).as_bytes());
    for c in text.chars() {
        // Also what is typed wrongly, and mended.
        bob.type_in(&format!("{c}é好\x7f\x7f"));
    }
    bob.wait("all that is unread", |bob| {
        entry(bob, "alice").ends_with(" 999+") && entry(bob, "carol").ends_with(" 300")
    });
    expect_typed(&mut bob, text);
    assert!(!bob.rows().join("\n").contains("number"), "{}", bob.rows().join("\n"));
    bob.enter("");
    dave.expect_message("bob", text);
    // The last of them are there, in their order.
    alice.expect_delivered_in_all(MANY);
    carol.expect_delivered_in_all(SOME);
    for (name, last) in [("alice", MANY), ("carol", SOME)] {
        bob.enter(&format!("CHAT {name}"));
        bob.type_in("\x1b[1;5F");
        let last = format!("number {}.", last - 1);
        bob.wait(&last, |bob| said(bob).last().is_some_and(|row| row.ends_with(&last)));
    }
}

#[test]
fn a_sequence_may_come_byte_by_byte() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    let in_time = |bob: &mut Terminal, pieces: &[&str]| {
        while bob.type_in_pieces(pieces) > IN_TIME {
            bob.type_in("\x03");
        }
    };
    in_time(&mut bob, &["ac", "\x1b", "[", "D", "b", "\x1b", "O", "C"]);
    expect_typed(&mut bob, "abc");
    bob.type_in("\x03");
    expect_typed(&mut bob, "");
    in_time(&mut bob, &["\x1b", "[20", "0~/OUTBOX\rand", " this", "\x1b", "[2", "01~", "!"]);
    bob.wait("the paste", |bob| said_and_typed(bob).ends_with(&["> /OUTBOX".into(), "  and this!".into()]));
    bob.enter("");
    bob.expect("run these 2 lines one after the other? What is no command goes to alice. (y/n)");
    bob.type_in("n");
    bob.wait("no question", |bob| !bob.rows().join("").contains("(y/n)"));
    bob.type_in("\x03");
    expect_typed(&mut bob, "");
    // Alt and a digit is one key, too.
    in_time(&mut bob, &["\x1b", "0"]);
    bob.wait("the client", |bob| header(bob).starts_with("bob"));
    in_time(&mut bob, &["\x1b", "1"]);
    bob.wait("alice", |bob| header(bob).starts_with("alice"));
    bob.enter("still here");
    alice.expect_message("bob", "still here");
}

/// The rows of the right part from the header on, without what is empty.
fn said_and_typed(bob: &Terminal) -> Vec<String> {
    super::parts(bob).into_iter().map(|(_, right)| right).filter(|row| !row.is_empty()).collect()
}

#[test]
fn a_paste_of_several_lines_says_who_gets_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol]) = among(directory.path(), &discovery, ["alice", "carol"]);
    open(&mut bob, "alice");
    bob.type_in("\x1b[200~one\rtwo\rthree\r\x1b[201~");
    bob.wait("the paste", |bob| said_and_typed(bob).ends_with(&["  two".into(), "  three".into()]));
    bob.enter("");
    bob.expect("send these 3 lines to alice as one message? (y/n)");
    alice.say("CHAT bob wait!");
    carol.say("CHAT bob me too");
    bob.wait("both", |bob| said(bob).join("").contains("wait!") && entry(bob, "carol").ends_with(" 1"));
    bob.expect("send these 3 lines to alice as one message? (y/n)");
    bob.type_in("n");
    bob.wait("no question", |bob| !bob.rows().join("").contains("(y/n)"));
    // It waits where it was meant for, while another conversation is open.
    bob.type_in("\x1b2");
    bob.wait("carol", |bob| header(bob).starts_with("carol"));
    expect_typed(&mut bob, "");
    bob.enter("hi carol");
    carol.expect_message("bob", "hi carol");
    bob.type_in("\x1b1");
    bob.wait("the paste", |bob| said_and_typed(bob).ends_with(&["  two".into(), "  three".into()]));
    bob.enter("!");
    bob.expect("send these 3 lines to alice as one message? (y/n)");
    bob.type_in("y");
    alice.expect_message("bob", "one\ntwo\nthree!");
    expect_typed(&mut bob, "");
}

#[test]
fn a_line_that_reads_as_a_command_is_asked_about() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice, mut carol]) = among(directory.path(), &discovery, ["alice", "carol"]);
    open(&mut bob, "alice");
    bob.enter("chat carol it is about alice");
    bob.expect("send this to alice? It reads as a command, which begins with / here. (y/n)");
    bob.type_in("n");
    bob.wait("no question", |bob| !bob.rows().join("").contains("(y/n)"));
    bob.type_in("\x01/\r");
    carol.expect_message("bob", "it is about alice");
    bob.expect("sent to carol");
    bob.enter("WHY are you late?");
    alice.expect_message("bob", "WHY are you late?");
    bob.enter("TRUST carol 0123456789abcdef");
    bob.expect("(y/n)");
    bob.type_in("y");
    alice.expect_message("bob", "TRUST carol 0123456789abcdef");
}
