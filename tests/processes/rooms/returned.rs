//! A member that has left, and is let in again.

use super::member::{Member, all_linked, in_room, let_in, let_in_to_all, meet};
use crate::support::discovery::{Discovery, scratch};

#[test]
fn who_is_let_in_again_to_all_gets_all_since_it_first_came() {
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
    let ids = |member: &mut Member| -> Vec<_> { member.history().into_iter().map(|line| line.id).collect() };
    let [alice, _, carol] = members.as_mut_slice() else { unreachable!() };
    let whole = |member: &mut Member| {
        let history = member.history();
        history.len() == 5 && history.iter().all(|line| line.is_with_all(3))
    };
    carol.comes_to("all that it gets", whole);
    assert_eq!(ids(carol), ids(alice)[1..]);
}
