//! What keys do, and which lines are asked about.

use std::time::Duration;

use crate::pair;
use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};

#[test]
fn a_sequence_may_be_cut_after_its_escape() {
    // Nearly as long as an Escape waits for the rest. A machine that is slower than that has to try again.
    const IN_TIME: Duration = Duration::from_millis(40);
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.enter("CHAT alice");
    bob.expect_line("alice>", 7);
    for (pieces, line, column) in [
        (&["ac", "\x1b", "[D", "b", "\x1b", "OC"][..], "alice> abc", 10),
        (&["\x1b", "[200~/OUTBOX\r/ROOMS", "\x1b", "[201~"], "/ROOMS", 6),
    ] {
        while bob.type_in_pieces(pieces) > IN_TIME {
            bob.type_in("\x03");
        }
        bob.expect_line(line, column);
        bob.type_in("\x03");
        bob.expect_line("alice>", 7);
    }
    // The key itself works all the same.
    bob.type_in("\x12CHAT");
    bob.wait("a search", |bob| bob.line().0.contains("'CHAT'"));
    bob.type_in("\x1b");
    bob.wait("no search", |bob| bob.line().0 == "alice> CHAT alice");
    bob.enter("\x03still here");
    alice.expect_message("bob", "still here");
}

#[test]
fn a_line_of_a_conversation_that_reads_as_a_command_is_asked_about() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    let mut carol = Client::online(directory.path(), "carol", discovery.address);
    bob.enter("REQUEST carol");
    bob.expect("carol is linked");
    bob.enter("CHAT alice");
    bob.expect_line("alice>", 7);
    // It is none, and goes.
    bob.enter("WHY are you late?");
    alice.expect_message("bob", "WHY are you late?");
    bob.enter("chat carol it is about alice");
    bob.expect("send this to alice? It reads as a command, which begins with / here. (y/n)");
    bob.type_in("n");
    bob.wait("no question", |bob| !bob.rows().join("").contains("(y/n)"));
    // A slash before it is all that it takes.
    bob.type_in("\x01/\r");
    carol.expect_message("bob", "it is about alice");
    bob.enter("TRUST carol 0123456789abcdef");
    bob.expect("(y/n)");
    bob.type_in("y");
    alice.expect_message("bob", "TRUST carol 0123456789abcdef");
    // The three that are commands everywhere, in just this form.
    bob.enter("CHAT carol hi");
    carol.expect_message("bob", "hi");
    bob.enter("REQUEST carol");
    bob.expect("request sent to carol");
    bob.type_in("\x1b[200~/CONTACTS\rand this\x1b[201~");
    bob.expect_line("and this", 8);
    bob.enter("");
    bob.expect("run these 2 lines one after the other? What is no command goes to alice. (y/n)");
    bob.type_in("y");
    alice.expect_message("bob", "and this");
    bob.enter("logout");
    bob.expect("send this to alice?");
    bob.enter("n\x15LOGOUT");
    bob.expect_end(0);
}

#[test]
fn pasted_lines_are_asked_about() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.enter("CHAT alice");
    bob.expect_line("alice>", 7);
    bob.type_in("\x1b[200~one\rtwo\rthree\r\x1b[201~");
    bob.expect_line("three", 5);
    bob.enter("");
    bob.expect("send these 3 lines to alice as one message? (y/n)");
    alice.say("CHAT bob wait!");
    bob.expect("alice: wait!");
    bob.type_in("n");
    bob.wait("no question", |bob| !bob.rows().join("").contains("(y/n)"));
    bob.expect_line("three", 5);
    bob.enter("!");
    bob.expect("(y/n)");
    bob.type_in("y");
    alice.expect_message("bob", "one\ntwo\nthree!");
    bob.expect_line("alice>", 7);
}
