//! A member that has left, and is let in again.

use super::member::{Member, agree_on_all, all_linked, in_room, let_in, let_in_to_all, meet};
use crate::support::discovery::{Discovery, scratch};

#[test]
fn who_is_let_in_again_to_all_gets_what_was_said_before_it_first_came() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob"]);
    let early = members[0].chat("before carol came");
    members[0].is_told_of_all(&early, 2);
    let mut carol = Member::online(directory.path(), "carol", discovery.address);
    meet(&mut members[0], &mut carol);
    let_in(&mut members[0], &mut carol);
    let here = carol.chat("here I am");
    carol.is_told_of_all(&here, 3);
    assert_eq!(carol.history().len(), 1);
    carol.ask("LEAVE #lab", "room");
    members[0].until("member", |event| event["user"] == "carol" && event["state"] == "left");
    members[0].chat("while carol was away");
    let_in_to_all(&mut members[0], &mut carol);
    members.push(carol);
    all_linked(&mut members);
    for member in &mut members {
        let said = member.chat("together again");
        member.is_told_of_all(&said, 3);
    }
    assert_eq!(agree_on_all(&mut members, 3).len(), 6);
}
