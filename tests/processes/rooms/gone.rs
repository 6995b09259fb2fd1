//! A member that is gone for good, with all that was on its disk.

use std::fs;

use super::member::{agree, agree_on_all, all_linked, in_room};
use crate::support::discovery::{Discovery, scratch};

/// How much it has said that one who was away has missed.
const MISSED: usize = 40;

#[test]
fn what_a_member_said_outlives_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members =
        in_room(directory.path(), discovery.address, &["alice", "bob", "carol", "dave", "erin"]);
    all_linked(&mut members);
    let [alice, bob, carol, dave, erin] = &mut members[..] else { unreachable!() };
    dave.chat("back soon");
    bob.sees("dave", "back soon");
    dave.kill();
    for number in 0..MISSED {
        bob.chat(&format!("bob {number}"));
        if number % 10 == 0 {
            carol.chat(&format!("carol {number}"));
        }
    }
    let last = bob.chat("farewell");
    while bob.have(&last) != Some(4) {
        bob.until("delivered", |_| true);
    }
    bob.kill();
    fs::remove_dir_all(&bob.directory).unwrap();

    for member in [&mut *alice, &mut *carol, &mut *erin] {
        member.is_linked_with(2);
    }
    dave.begin();
    dave.sees("bob", "farewell");
    let answer = dave.chat("what have I missed?");
    let _gone = members.remove(1);
    let said = MISSED + MISSED / 10 + 3;
    let lines = agree(&mut members, |line| line.have >= 4 && line.of == 5);
    assert_eq!(lines.len(), said);
    // One who is gone and not removed holds up what is final, and all know who it is.
    assert!(lines.iter().any(|line| !line.is_final));
    for member in &mut members {
        member.comes_to("wait for bob alone", |member| {
            let mut holds = |name: &&str| member.line_of(name)["holds_final"] == true;
            ["alice", "bob", "carol", "dave", "erin"].into_iter().filter(|name| holds(name)).eq(["bob"])
        });
    }
    members[0].say("KICK #lab bob");
    let settled = agree_on_all(&mut members, 4);
    assert!(settled.iter().map(|line| &line.id).eq(lines.iter().map(|line| &line.id)));
    members[2].is_told_of_all(&answer, 4);
}
