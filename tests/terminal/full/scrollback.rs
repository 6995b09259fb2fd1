//! A long conversation, read from its newest message to its first and back.

use std::path::Path;
use std::time::{Duration, Instant};

use peerchat::protocol::Name;
use peerchat::protocol::peer::{Kind, Message};
use peerchat::store::journal::{Journal, Reading, Standing};

use super::{entry, header, is_drawn, open, said, start};
use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, scratch};
use crate::support::terminal::Terminal;

const MESSAGES: u64 = 100_000;
/// How many messages go into the journal in one transaction.
const STEP: u64 = 10_000;
/// How often a page is turned: over more messages than are kept in memory.
const PAGES: usize = 20;
/// How long a person waits before pressing a key again.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes the journals of alice and bob; she has said all that to him.
fn fill(directory: &Path) {
    let [alice, bob]: [Name; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    let journal = |name: &Name| Journal::open(&directory.join(format!("{name}.journal")), name).unwrap();
    let key = journal(&alice).identity().unwrap().1.public();
    let journal = journal(&bob);
    journal.begin().unwrap();
    let mut contact = journal.add_contact(&alice, Standing::Contact).unwrap();
    contact.identity.key = Some(key);
    journal.save_identity(contact.id, &contact.identity).unwrap();
    let last = MESSAGES.cast_signed();
    journal.save_reading(contact.id, &Reading { shown: last, read: last }).unwrap();
    for number in 1..=MESSAGES {
        let seq = number.cast_signed();
        // One a second, over more than a day.
        let at = 1_700_000_000_000 + seq * 1000;
        let body = format!("number {number}.").into_bytes();
        let message = Message { epoch: 7, number, kind: Kind::TEXT, sent: at, body, original: None };
        journal.add_received(contact.id, seq, &message, at).unwrap();
        if number % STEP == 0 {
            journal.seal(journal.unsealed().unwrap().into_iter(), seq).unwrap();
            journal.commit().unwrap();
            journal.begin().unwrap();
        }
    }
    journal.commit().unwrap();
}

/// The numbers on the screen, each of which follows the one above.
fn numbers(bob: &Terminal) -> std::ops::RangeInclusive<u64> {
    let number = |row: &String| row.rsplit_once("number ")?.1.strip_suffix('.')?.parse::<u64>().ok();
    let numbers: Vec<_> = said(bob).iter().filter_map(number).collect();
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(0));
    assert!(numbers.iter().copied().eq(first..=last), "{numbers:?}");
    first..=last
}

/// Turns the pages, each of which goes on where the one before ends; stops where there is no more.
fn turn(bob: &mut Terminal, key: &str, pages: usize, end: u64) {
    for _ in 0..pages {
        let before = numbers(bob);
        if before.contains(&end) {
            return;
        }
        // A page that is not yet here is asked for, and what is pressed meanwhile goes no further.
        let deadline = Instant::now() + DEADLINE;
        bob.type_in(key);
        while !bob.is_within(AGAIN, |bob| is_drawn(bob) && numbers(bob) != before) {
            assert!(Instant::now() < deadline, "it stays at {before:?}");
            bob.type_in(key);
        }
        let after = numbers(bob);
        let next = if after.end() > before.end() { after.start() - 1 } else { *after.end() };
        assert!(before.contains(&next) || before.contains(&(next + 1)), "{before:?} {after:?}");
    }
}

#[test]
fn a_hundred_thousand_messages_are_read_from_end_to_end() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    fill(directory.path());
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let mut bob = start(directory.path(), "bob", &discovery);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    open(&mut bob, "alice");
    bob.wait("the newest", |bob| is_drawn(bob) && numbers(bob).contains(&MESSAGES));
    turn(&mut bob, "\x1b[5~", PAGES, 1);
    let reached = *numbers(&bob).start();
    assert!(reached < MESSAGES - 400, "{reached}");
    // What comes is not shown, and moves nothing.
    let (before, count) = (said(&bob), 90);
    assert!(header(&bob).ends_with("more below (Ctrl+End)"), "{}", header(&bob));
    for new in 1..=count {
        alice.say(&format!("CHAT bob number {}.", MESSAGES + new));
    }
    bob.wait("what is unread", |bob| is_drawn(bob) && entry(bob, "alice").ends_with(" 90"));
    assert_eq!(said(&bob), before);

    // The very first.
    bob.type_in("\x1b[1;5H");
    bob.wait("the first", |bob| is_drawn(bob) && *numbers(bob).start() == 1);
    assert!(said(&bob)[0].starts_with("── "), "{:?}", said(&bob));
    let first = said(&bob);
    alice.say(&format!("CHAT bob number {}.", MESSAGES + count + 1));
    bob.wait("what is unread", |bob| is_drawn(bob) && entry(bob, "alice").ends_with(" 91"));
    assert_eq!(said(&bob), first);
    turn(&mut bob, "\x1b[6~", PAGES, MESSAGES);
    assert!(*numbers(&bob).end() > 500, "{:?}", numbers(&bob));
    turn(&mut bob, "\x1b[<64;40;5M", PAGES, 1);
    turn(&mut bob, "\x1b[5~", 2 * PAGES, 1);
    assert_eq!(said(&bob), first);

    // And back: nothing that was not on the screen is read.
    let last = MESSAGES + count + 1;
    bob.type_in("\x1b[1;5F");
    bob.wait("the newest", |bob| is_drawn(bob) && numbers(bob).contains(&last));
    assert!(entry(&bob, "alice").ends_with(" 91"));
    turn(&mut bob, "\x1b[5~", PAGES, MESSAGES - 10);
    turn(&mut bob, "\x1b[6~", PAGES, last);
    bob.wait("all is read", |bob| is_drawn(bob) && entry(bob, "alice").ends_with('●'));
    // Down there what comes is shown.
    alice.say(&format!("CHAT bob number {}.", last + 1));
    bob.wait("the next", |bob| is_drawn(bob) && numbers(bob).contains(&(last + 1)));
    bob.wait("it is read", |bob| is_drawn(bob) && entry(bob, "alice").ends_with('●'));
    // And a page above it moves nothing.
    turn(&mut bob, "\x1b[5~", 1, 1);
    let before = said(&bob);
    for new in 2..=60 {
        alice.say(&format!("CHAT bob number {}.", last + new));
    }
    bob.wait("what is unread", |bob| is_drawn(bob) && entry(bob, "alice").ends_with(" 59"));
    assert_eq!(said(&bob), before);
}
