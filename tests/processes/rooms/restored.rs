//! A member or the owner goes on from a backup: nothing is lost or doubled, and the room is not frozen.

use super::member::{Line, Member, agree, agree_on_all, all_linked, in_room, let_in, let_in_to_all, meet};
use crate::support::discovery::{Discovery, scratch};

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// Each of them says something that all others see.
fn talk(members: &mut [Member], about: &str) {
    let count = members.len() as u64;
    let said: Vec<_> =
        members.iter_mut().map(|member| member.chat(&format!("{about}, says {}", member.name))).collect();
    members.iter_mut().zip(&said).for_each(|(member, id)| member.is_told_of_all(id, count));
}

fn all_are_in(members: &mut [Member]) {
    for member in members {
        assert_eq!(member.state(), "joined", "{}", member.name);
    }
}

#[test]
fn a_member_from_a_backup_gets_back_all_and_writes_on() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol", "dave"]);
    all_linked(&mut members);
    talk(&mut members, "before");
    members[1].log_out();
    let backup = members[1].back_up();
    members[1].begin();
    all_linked(&mut members);
    talk(&mut members, "after the backup");
    talk(&mut members, "and again");
    members[1].log_out();
    members[1].restore(&backup);

    // The first that it says after that comes before it has heard of what it has lost, or does not: all the same.
    members[1].begin();
    members[1].chat("I am back");
    all_linked(&mut members);
    talk(&mut members, "once more");
    let lines = agree_on_all(&mut members, 4);
    assert_eq!(lines.len(), 17, "{:?}", texts(&lines));
    all_are_in(&mut members);
    let bob = &mut members[1];
    // What came back is shown, what others wrote alone, and once.
    for line in lines.iter().filter(|line| line.from() != "bob" && !line.text.starts_with("before")) {
        bob.sees(line.from(), &line.text);
    }
    // It goes on as any other, after one more start too.
    bob.log_out();
    bob.begin();
    all_linked(&mut members);
    talk(&mut members, "at last");
    assert_eq!(agree_on_all(&mut members, 4).len(), 21);
}

#[test]
fn an_owner_from_a_backup_takes_back_its_changes() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol", "dave"]);
    all_linked(&mut members);
    talk(&mut members, "before");
    members[0].log_out();
    let backup = members[0].back_up();
    members[0].begin();
    all_linked(&mut members);
    let mut erin = Member::online(directory.path(), "erin", discovery.address);
    meet(&mut members[0], &mut erin);
    let_in_to_all(&mut members[0], &mut erin);
    members[0].say("KICK #lab dave");
    members[3].until("room", |event| event["state"] == "removed");
    let mut dave = members.remove(3);
    members.push(erin);
    all_linked(&mut members);
    members[0].ask("TOPIC #lab what was lost", "room");
    talk(&mut members, "after the backup");
    members[0].log_out();
    members[0].restore(&backup);

    // Alone, she changes what she does not know to be changed: a branch of its own.
    for member in &mut members[1..] {
        member.log_out();
    }
    dave.log_out();
    members[0].begin();
    assert_eq!(members[0].line_of("dave")["state"], "joined");
    members[0].say("KICK #lab carol");
    members[0].until("member", |event| event["user"] == "carol" && event["state"] == "removed");
    members[0].chat("alone, says alice");
    for member in &mut members[1..] {
        member.begin();
    }
    members[2].until("room", |event| event["state"] == "removed");
    let mut carol = members.remove(2);
    all_linked(&mut members);
    talk(&mut members, "both branches hold");
    let lines = agree(&mut members, |line| line.is_final && line.have == line.of);
    assert_eq!(lines.iter().filter(|line| line.text.starts_with("after the backup")).count(), 4);
    for member in &mut members {
        let states =
            ["alice", "bob", "carol", "dave", "erin"].map(|name| member.line_of(name)["state"].clone());
        let none = serde_json::Value::Null;
        assert_eq!(
            states,
            ["joined".into(), "joined".into(), none.clone(), none, "joined".into()],
            "{}",
            member.name
        );
        assert_eq!(member.ask("ROOMS", "rooms")["rooms"][0]["topic"], "what was lost");
    }
    all_are_in(&mut members);
    // She goes on as the owner.
    dave.begin();
    dave.until("discovery", |event| event["state"] == "up");
    for back in [&mut dave, &mut carol] {
        members[0].is_linked_to(&back.name);
        let_in(&mut members[0], back);
    }
    members.extend([carol, dave]);
    all_linked(&mut members);
    talk(&mut members, "all again");
    all_are_in(&mut members);
}
