//! A removed member: it is told, it gets nothing later, and what it goes on writing is at no other member.

use super::member::{Line, agree, agree_on_all, all_linked, in_room, let_in};
use crate::support::discovery::{Discovery, scratch};

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn who_is_removed_is_told_and_gets_nothing_more() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol"]);
    all_linked(&mut members);
    let [alice, bob, carol] = &mut members[..] else { unreachable!() };
    alice.say("KICK #lab carol");
    carol.until("room", |event| event["state"] == "removed");
    bob.until("member", |event| event["user"] == "carol" && event["state"] == "removed");
    bob.chat("among us");
    alice.sees("bob", "among us");
    carol.is_refused("CHAT #lab hello", "not-a-member");
    assert_eq!(carol.history(), []);
}

#[test]
fn what_a_removed_member_goes_on_writing_is_dropped() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol"]);
    all_linked(&mut members);
    members[2].chat("kept");
    agree_on_all(&mut members, 3);
    let [alice, bob, carol] = &mut members[..] else { unreachable!() };
    // None of the others hears of it.
    bob.log_out();
    carol.log_out();
    alice.say("KICK #lab carol");
    alice.until("member", |event| event["user"] == "carol" && event["state"] == "removed");
    alice.chat("without carol");
    alice.log_out();

    // One that does not know of it either takes what she writes, and answers.
    bob.begin();
    carol.begin();
    bob.is_linked_with(1);
    for number in 0..5 {
        carol.chat(&format!("dropped {number}"));
    }
    bob.sees("carol", "dropped 4");
    bob.chat("an answer");
    carol.sees("bob", "an answer");
    carol.kill();
    // She goes on, and no one has it.
    bob.is_linked_with(0);
    bob.kill();
    carol.begin();
    carol.chat("dropped 5");

    alice.begin();
    bob.begin();
    carol.until("room", |event| event["state"] == "removed");
    bob.until("member", |event| event["user"] == "carol" && event["state"] == "removed");
    carol.is_refused("CHAT #lab hello", "not-a-member");
    alice.sees("bob", "an answer");
    alice.chat("later");
    bob.sees("alice", "later");
    let mut carol = members.pop().unwrap();
    let lines = agree_on_all(&mut members, 2);
    let before = texts(&lines);
    // Which of the two in the middle is first is for them to agree on: neither knew of the other.
    assert!(
        before == ["kept", "without carol", "an answer", "later"]
            || before == ["kept", "an answer", "without carol", "later"],
        "{before:?}"
    );
    let unseen = |texts: &[&str]| !texts.contains(&"without carol") && !texts.contains(&"later");
    let hers = carol.history();
    assert!(unseen(&texts(&hers)), "{hers:?}");

    // Added again she is in as any other, from there on.
    let_in(&mut members[0], &mut carol);
    members.push(carol);
    all_linked(&mut members);
    let again = members[0].chat("again");
    members[2].sees("alice", "again");
    let thanks = members[2].chat("thanks");
    members[0].is_told_of_all(&again, 3);
    members[2].is_told_of_all(&thanks, 3);
    let lines = agree(&mut members[..2], |line| line.is_final && line.have == line.of);
    assert_eq!(texts(&lines), [&before[..], &["again", "thanks"]].concat());
    let hers = members[2].history();
    assert!(unseen(&texts(&hers)), "{hers:?}");
    assert_eq!(texts(&hers)[hers.len() - 2..], ["again", "thanks"]);
    // What others have dropped does not come back from her.
    for _ in 0..2 {
        members[2].kill();
        members[2].begin();
        all_linked(&mut members);
        members[2].chat("thanks again");
        let lines = agree(&mut members[..2], |line| line.is_final && line.have == line.of);
        assert!(!texts(&lines).iter().any(|text| text.starts_with("dropped")), "{lines:?}");
    }
}
