use std::collections::HashMap;

use super::*;
use crate::protocol::peer::{Cursor, Kind, MAX_CURSORS, Message};
use crate::store::StoreError;

fn journal() -> Journal {
    Journal::in_memory(&"alice".parse().unwrap(), &Keypair::generate().unwrap()).unwrap()
}

fn cursor(epoch: u64, number: u64) -> Cursor {
    Cursor { epoch, number }
}

fn contact(journal: &Journal, name: &str) -> ContactId {
    journal.add_contact(&name.parse().unwrap(), Standing::Contact).unwrap().id
}

fn receive(journal: &Journal, contact: ContactId, seq: Seq, body: &[u8]) {
    let message =
        Message { epoch: 1, number: 1, kind: Kind::TEXT, sent: 0, body: body.to_vec(), original: None };
    journal.add_received(contact, seq, &message, 5).unwrap();
}

#[test]
fn the_journal_of_another_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.journal");
    let key = Journal::open(&path, &"alice".parse().unwrap()).unwrap().identity().unwrap().1.public();
    assert!(matches!(Journal::open(&path, &"bob".parse().unwrap()), Err(StoreError::Damaged { .. })));
    let again = Journal::open(&path, &"alice".parse().unwrap()).unwrap();
    assert_eq!(again.identity().unwrap().1.public(), key);
}

#[test]
fn a_missing_identity_is_an_error_and_not_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.journal");
    let name = "alice".parse().unwrap();
    Journal::open(&path, &name).unwrap().execute("DELETE FROM identity", []).unwrap();
    assert!(matches!(Journal::open(&path, &name), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_contact_reads_back() {
    let journal = journal();
    let mut bob = journal.add_contact(&"bob".parse().unwrap(), Standing::Contact).unwrap();
    bob.identity = Identity {
        key: Some(PublicKey([7; 32])),
        offered: Some(PublicKey([8; 32])),
        verified: Some(PublicKey([9; 32])),
        request: Request::Kept,
        blocked: true,
        standing: Standing::Stranger,
        told_at: Some(9),
        version: 2,
    };
    bob.whereabouts = Whereabouts {
        reached: Some("192.0.2.1:5".parse().unwrap()),
        told: Some("[2001:db8::1]:6".parse().unwrap()),
        seen: Some(-5),
    };
    bob.outgoing = Outgoing { delivered: 1, base: 2, lost: Lost { after: 5, to: 6 } };
    bob.reading = Reading { shown: 3, read: 4 };
    journal.save_identity(bob.id, &bob.identity).unwrap();
    journal.save_whereabouts(bob.id, &bob.whereabouts).unwrap();
    journal.save_outgoing(bob.id, &bob.outgoing).unwrap();
    journal.save_reading(bob.id, &bob.reading).unwrap();
    assert_eq!(journal.contacts().unwrap(), [bob]);
}

#[test]
fn seqs_go_on_where_the_journal_ends() {
    let journal = journal();
    assert_eq!(journal.last_seq().unwrap(), 0);
    let [bob, carol] = ["bob", "carol"].map(|name| contact(&journal, name));
    let epoch = journal.add_epoch(u64::MAX, 1).unwrap();
    journal.add_sent(bob, 1, epoch, Kind::TEXT, 0, b"one").unwrap();
    journal.add_sent(carol, 2, epoch, Kind::TEXT, 0, b"two").unwrap();
    assert_eq!(journal.last_seq().unwrap(), 2);
    // The last ones may be withdrawn; their numbers are not used again.
    journal.remove_contact(carol).unwrap();
    journal.add_epoch(5, 3).unwrap();
    assert_eq!(journal.last_seq().unwrap(), 2);
}

#[test]
fn resumes_where_the_receiver_is() {
    let journal = journal();
    for (epoch, first) in [(10, 1), (20, 51), (30, 71)] {
        journal.add_epoch(epoch, first).unwrap();
    }
    for (cursors, expected) in [
        (vec![], Some(0)),
        (vec![cursor(10, 30)], Some(30)),
        (vec![cursor(10, 50), cursor(20, 60)], Some(60)),
        // Listed in another order than they were written: the latest of ours counts.
        (vec![cursor(20, 60), cursor(10, 50)], Some(60)),
        // They have more of an epoch than this journal wrote before it was restored.
        (vec![cursor(10, 80), cursor(99, 7)], Some(50)),
        (vec![cursor(99, 7)], None),
        (vec![cursor(30, u64::MAX)], Some(Seq::MAX)),
        (vec![cursor(20, 0)], Some(50)),
    ] {
        assert_eq!(journal.resume(&cursors).unwrap(), expected, "{cursors:?}");
    }
}

#[test]
fn cursors_list_the_most_recent_last() {
    let journal = journal();
    let bob = contact(&journal, "bob");
    for epoch in 1..=40 {
        journal.set_cursor(bob, cursor(epoch, epoch * 2), epoch.cast_signed()).unwrap();
    }
    journal.set_cursor(bob, cursor(20, 99), 41).unwrap();
    let cursors = journal.cursors(bob).unwrap();
    assert_eq!(cursors.len(), MAX_CURSORS as usize);
    assert_eq!(cursors.last(), Some(&cursor(20, 99)));
    assert_eq!(journal.cursor(bob, 20).unwrap(), 99);
    assert_eq!(journal.cursor(bob, 41).unwrap(), 0);
}

#[test]
fn a_conversation_stands_in_order() {
    let journal = journal();
    let bob = contact(&journal, "bob");
    let epoch = journal.add_epoch(7, 1).unwrap();
    for seq in 1..=6 {
        if seq % 2 == 1 {
            journal.add_sent(bob, seq, epoch, Kind::TEXT, 0, &[]).unwrap();
        } else {
            let message =
                Message { epoch: 1, number: 1, kind: Kind(9), sent: 0, body: vec![], original: None };
            journal.add_received(bob, seq, &message, 5).unwrap();
        }
    }
    let seqs = |count| journal.history(bob, count).unwrap().iter().map(Entry::seq).collect::<Vec<_>>();
    assert_eq!(seqs(100), [1, 2, 3, 4, 5, 6]);
    assert_eq!(seqs(3), [4, 5, 6]);
    assert_eq!(journal.count_sent_after(bob, 1).unwrap(), 2);
}

#[test]
fn what_is_not_read_is_counted_up_to_a_bound() {
    let journal = journal();
    let bob = contact(&journal, "bob");
    for seq in 1..=20 {
        receive(&journal, bob, seq, b"");
    }
    assert_eq!(journal.count_received_after(bob, 15, 10).unwrap(), 5);
    assert_eq!(journal.count_received_after(bob, 0, 10).unwrap(), 10);
    assert_eq!(journal.count_received_after(bob, 20, 10).unwrap(), 0);
}

#[test]
fn a_journal_of_an_older_version_is_refused_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.journal");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.pragma_update(None, "application_id", SCHEMA.application_id).unwrap();
    old.execute_batch("CREATE TABLE identity (name TEXT); PRAGMA user_version = 4").unwrap();
    drop(old);
    let before = std::fs::read(&path).unwrap();
    let error = Journal::open(&path, &"alice".parse().unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::OtherVersion { version: "an older", found: 4, .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A conversation with bob and one with carol, each of whose words is that and its number.
fn said(count: i64) -> (Journal, ContactId, ContactId) {
    let journal = journal();
    let [bob, carol] = ["bob", "carol"].map(|name| contact(&journal, name));
    let epoch = journal.add_epoch(7, 1).unwrap();
    for seq in 1..=count {
        let text = |who| format!("hello {who} number{seq} Äpfel it's \u{1f980}").into_bytes();
        if seq % 3 == 0 {
            journal.add_sent(bob, seq, epoch, Kind::TEXT, 0, &text("bob")).unwrap();
        } else {
            let (contact, who) = if seq % 3 == 1 { (bob, "bob") } else { (carol, "carol") };
            receive(&journal, contact, seq, &text(who));
        }
    }
    (journal, bob, carol)
}

fn index_all(journal: &Journal) {
    while journal.index(7, 200).unwrap().is_some() {}
}

fn find(journal: &Journal, words: &str, contact: Option<ContactId>) -> Vec<Seq> {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let found = journal.search(&words, contact.map(ConversationId::User), 20).unwrap();
    let seq = |found: &Found| match found {
        Found::With(_, entry) => entry.seq(),
        Found::In(_, said) => said.seq,
    };
    found.iter().map(seq).collect()
}

#[test]
fn words_are_found_newest_first_once_they_are_indexed() {
    let (journal, bob, carol) = said(100);
    assert_eq!(journal.not_indexed().unwrap(), Some(1));
    assert_eq!(find(&journal, "hello", None), [0; 0]);
    index_all(&journal);
    assert_eq!(journal.not_indexed().unwrap(), None);
    assert_eq!(find(&journal, "hello", None), (81..=100).rev().collect::<Vec<_>>());
    assert_eq!(find(&journal, "number42", None), [42]);
    assert_eq!(find(&journal, "hello numb", Some(carol)).len(), 20);
    assert_eq!(find(&journal, "hello carol", Some(bob)), [0; 0]);
    assert_eq!(find(&journal, "CAROL apf", None).len(), 20);
    assert_eq!(find(&journal, "number1", Some(bob)), [100, 19, 18, 16, 15, 13, 12, 10, 1]);
    // What comes later is found when it is indexed, and nothing twice.
    receive(&journal, carol, 101, b"number101 hello");
    assert_eq!(journal.not_indexed().unwrap(), Some(101));
    index_all(&journal);
    assert_eq!(find(&journal, "hello", None).first(), Some(&101));
    assert_eq!(find(&journal, "number101", None), [101]);
}

#[test]
fn a_slice_of_the_index_is_bounded() {
    let (journal, bob, _) = said(300);
    let mut slices = 0;
    while journal.index(50, usize::MAX).unwrap().is_some() {
        slices += 1;
        assert_eq!(find(&journal, "hello", Some(bob)).len(), 20);
    }
    assert_eq!(slices, 5);
    let (journal, bob, _) = said(300);
    assert_eq!(journal.index(50, 1).unwrap(), Some(2));
    assert_eq!(find(&journal, "hello", Some(bob)), [1]);
}

#[test]
fn nothing_that_is_typed_breaks_a_search() {
    let (journal, bob, _) = said(10);
    index_all(&journal);
    let typed = "\" | hello\" OR \"x | AND | hello AND | NEAR(a b) | owner:1 | body : x | * | ( | -hello | ^hello | \
                 '; DROP TABLE contact;-- | \0 | hello\0 | !!! | \u{1f980} | {body} | + | col: | a*b";
    for words in typed.split(" | ") {
        find(&journal, words, None);
        find(&journal, words, Some(bob));
    }
    assert_eq!(find(&journal, "it's number3", None), [3]);
    assert_eq!(find(&journal, "!!! number3", None), [3], "what holds no word is passed over");
}

#[test]
fn a_removed_contact_is_not_found() {
    let (journal, bob, carol) = said(30);
    index_all(&journal);
    journal.remove_contact(bob).unwrap();
    assert_eq!(find(&journal, "hello bob", None), [0; 0]);
    assert_eq!(find(&journal, "hello", None).len(), 10);
    // Half indexed.
    receive(&journal, carol, 31, b"late");
    journal.remove_contact(carol).unwrap();
    assert_eq!(find(&journal, "hello", None), [0; 0]);
    assert_eq!(find(&journal, "late", None), [0; 0]);
    journal.execute("INSERT INTO search (search) VALUES ('integrity-check')", []).unwrap();
    // The numbers of what was indexed are not given out again: it would not be indexed.
    assert_eq!(journal.last_seq().unwrap(), 30);
}

#[test]
fn messages_are_found_wherever_they_stand() {
    let journal = journal();
    let contacts = ["bob", "carol", "dave"].map(|name| self::contact(&journal, name));
    let [bob, carol, _] = contacts;
    let epoch = journal.add_epoch(7, 1).unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    // By contact: what was sent, what was received.
    let mut model = HashMap::<ContactId, [Vec<Seq>; 2]>::new();
    journal.begin().unwrap();
    for seq in 1..=30_000 {
        // Carol is seldom talked to, and bob not at all for a while.
        let contact = if rng.u32(..1000) == 0 { carol } else { contacts[rng.usize(..2) * 2] };
        let contact = if (9_000..15_000).contains(&seq) && contact == bob { contacts[2] } else { contact };
        let ours = rng.bool();
        model.entry(contact).or_default()[usize::from(!ours)].push(seq);
        if ours {
            journal.add_sent(contact, seq, epoch, Kind::TEXT, 0, b"").unwrap();
        } else {
            receive(&journal, contact, seq, b"");
        }
        if rng.u32(..500) == 0 {
            journal.seal(journal.unsealed().unwrap().into_iter(), seq).unwrap();
        }
    }
    let check = |contact: ContactId, [sent, received]: &[Vec<Seq>; 2], after: Seq| {
        let beyond = |all: &[Seq]| all.iter().copied().filter(|seq| *seq > after).collect::<Vec<_>>();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        journal.sent_after(contact, after, |sent| (ours.push(sent.seq), ours.len() < 5_000).1).unwrap();
        journal.received_after(contact, after, |it| (theirs.push(it.seq), theirs.len() < 5_000).1).unwrap();
        assert_eq!(ours, beyond(sent)[..beyond(sent).len().min(5_000)]);
        assert_eq!(theirs, beyond(received)[..beyond(received).len().min(5_000)]);
        let counts = [sent, received].map(|all| beyond(all).len() as u64);
        assert_eq!(journal.count_sent_after(contact, after).unwrap(), counts[0]);
        assert_eq!(journal.count_received_after(contact, after, 700).unwrap(), counts[1].min(700));
        assert_eq!(journal.last_received(contact).unwrap(), received.last().copied().unwrap_or(0));
        let mut all: Vec<Seq> = sent.iter().chain(received).copied().collect();
        all.sort_unstable();
        for count in [1, 10, 6_000] {
            let history = journal.history(contact, count).unwrap();
            let seqs: Vec<Seq> = history.iter().map(Entry::seq).collect();
            assert_eq!(seqs, all[all.len() - all.len().min(count as usize)..]);
            let page = journal.history_before(contact, count, after).unwrap();
            let before = &all[..all.partition_point(|seq| *seq < after)];
            let seqs: Vec<Seq> = page.iter().map(Entry::seq).collect();
            assert_eq!(seqs, before[before.len() - before.len().min(count as usize)..]);
            let page = journal.history_after(contact, count, after).unwrap();
            let behind = &all[all.partition_point(|seq| *seq <= after)..];
            let seqs: Vec<Seq> = page.iter().map(Entry::seq).collect();
            assert_eq!(seqs, behind[..behind.len().min(count as usize)]);
        }
    };
    for (contact, said) in &model {
        for after in [0, 1, 4_095, 4_096, 8_999, 12_345, 20_000, 29_990, 30_000, Seq::MAX - 1] {
            check(*contact, said, after);
        }
    }
    journal.remove_contact(bob).unwrap();
    check(bob, &Default::default(), 0);
    check(carol, &model[&carol], 0);
    let left = "SELECT count(*) FROM segment WHERE contact = ?1";
    assert_eq!(journal.one(left, [bob], |row| row.get::<_, i64>(0)).unwrap(), 0);
    journal.remove_contact(contacts[2]).unwrap();
    assert!(journal.last_seq().unwrap() > 29_000, "what is sealed is not sealed again");
    journal.commit().unwrap();
}

#[test]
fn of_a_long_body_of_an_unknown_kind_only_the_length_is_kept() {
    let journal = journal();
    let bob = contact(&journal, "bob");
    let later = |kind, length| Message {
        epoch: 1,
        number: 1,
        kind: Kind(kind),
        sent: 0,
        body: vec![7; length],
        original: None,
    };
    for (seq, (kind, length, kept)) in
        (1..).zip([(99, MAX_UNKNOWN, true), (99, MAX_UNKNOWN + 1, false), (Kind::TEXT.0, 30_000, true)])
    {
        let message = later(kind, length);
        let bytes = journal.incoming().unwrap().add(bob, seq, &message, 5).unwrap();
        assert_eq!(bytes, if kept { length as u64 } else { 0 });
        let Some(Entry::Received(found)) = journal.history(bob, 1).unwrap().pop() else {
            panic!("it is there");
        };
        assert_eq!(found.dropped, (!kept).then_some(length as u64));
        assert_eq!(found.message, Message { body: message.body[..bytes as usize].to_vec(), ..message });
    }
}

#[test]
fn bodies_are_counted_by_contact_in_segments_and_after_them() {
    let journal = journal();
    let [bob, carol] = ["bob", "carol"].map(|name| contact(&journal, name));
    let epoch = journal.add_epoch(7, 1).unwrap();
    journal.add_sent(bob, 1, epoch, Kind::TEXT, 0, &[1; 100]).unwrap();
    receive(&journal, bob, 2, &[1; 20]);
    receive(&journal, carol, 3, &[1; 3]);
    let unsealed = |id| {
        let found = journal.unsealed().unwrap();
        found.iter().filter(|(contact, ..)| *contact == id).map(|(.., it)| it.bytes).sum::<u64>()
    };
    let sealed =
        |id| journal.sealed_bytes().unwrap().iter().find(|(it, _)| *it == id).map_or(0, |(_, it)| *it);
    assert_eq!([bob, carol].map(unsealed), [120, 3]);
    assert_eq!([bob, carol].map(sealed), [0, 0]);
    journal.seal(journal.unsealed().unwrap().into_iter(), 3).unwrap();
    receive(&journal, carol, 4, &[1; 5]);
    assert_eq!([bob, carol].map(unsealed), [0, 5]);
    assert_eq!([bob, carol].map(sealed), [120, 3]);
    journal.remove_contact(bob).unwrap();
    assert_eq!(sealed(bob), 0);
}

#[test]
fn a_journal_of_the_format_before_rooms_is_converted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.journal");
    let (name, keypair) = ("alice".parse().unwrap(), Keypair::generate().unwrap());
    let tables = include_str!("../journal.sql").replace("(0, 1, 2, 3)", "(0, 1, 2)");
    let old = Schema { format: 6, tables: Box::leak(tables.into_boxed_str()), ..SCHEMA };
    let before = Database::open(&path, &old, |connection| insert_identity(connection, &name, &keypair));
    let journal = Journal(before.unwrap());
    let bob = journal.add_contact(&"bob".parse().unwrap(), Standing::Contact).unwrap();
    let message =
        Message { epoch: 9, number: 3, kind: Kind::TEXT, sent: 5, body: b"hi".into(), original: None };
    journal.add_received(bob.id, 1, &message, 6).unwrap();
    journal.set_cursor(bob.id, message.cursor(), 1).unwrap();
    let epoch = journal.add_epoch(7, 2).unwrap();
    journal.add_sent(bob.id, 2, epoch, Kind::TEXT, 8, b"hello").unwrap();
    drop(journal);
    let error = Journal::copy(&path, &name, |_, _| {}).unwrap_err();
    assert!(matches!(error, StoreError::Unconverted { found: 6, .. }));
    assert!(error.to_string().ends_with("a start of this client converts it"), "{error}");

    let journal = Journal::open(&path, &name).unwrap();
    assert_eq!(journal.contacts().unwrap(), std::slice::from_ref(&bob));
    let seqs: Vec<_> = journal.history(bob.id, 9).unwrap().iter().map(Entry::seq).collect();
    assert_eq!((seqs, journal.last_seq().unwrap()), (vec![1, 2], 2));
    assert_eq!(journal.cursor(bob.id, 9).unwrap(), 3);
    assert_eq!(journal.rooms().unwrap(), []);
    assert!(!journal.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
    // It is as a new one is.
    drop(journal);
    Journal::copy(&path, &name, |_, _| {}).unwrap();
    let standing = |standing| {
        let journal = Journal::open(&path, &name).unwrap();
        journal.execute("UPDATE contact SET standing = ?1", [standing])
    };
    assert!(standing(3).is_ok() && standing(4).is_err());
}
