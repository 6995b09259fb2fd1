//! Rooms that go on from others, by the word of a founder who may lie.

use super::*;
use crate::protocol::room::Origin;
use crate::protocol::room::lists::MAX_ITEMS;

/// The changes by which mallory founds a room that goes on from this one, and invites alice.
fn invitation(net: &mut Net, past: Origin) -> AboutRoom {
    let (name, alice) = ("name9".parse::<Name>().unwrap(), net.key(ALICE));
    let founding = Found { nonce: [9; 32], room: name.clone(), owner: name.clone(), past: Some(past) };
    let add = Add { name, key: alice, past: vec![], clock: 0, settled: None };
    let changes = net.act(MALLORY, |_, cx| {
        let (room, founded) = write::signed(cx, RoomKey([0; 32]), 1, vec![], Deed::Found(founding));
        let (_, added) = write::signed(cx, RoomKey(room.0), 2, vec![room], Deed::Add(add));
        (RoomKey(room.0), vec![founded, added])
    });
    AboutRoom { room: changes.0, says: RoomSays::Changes(changes.1) }
}

#[test]
fn who_names_what_never_was_harms_no_one() {
    let mut net = Net::new(4);
    net.say(BOB, "one");
    net.later(3_000);
    let old = net.room(ALICE).key();
    let real = net.room(BOB).as_past().ends;
    for (room, ends, held) in [
        // Of a room that alice does not have, and of hers: nothing, what she has several times over, and what never was.
        (RoomKey([5; 32]), vec![Hash([6; 32]); MAX_ITEMS], None),
        (old, vec![], Some(true)),
        (old, [real.clone(), real.clone()].concat(), Some(true)),
        (old, [real, vec![Hash([6; 32])]].concat(), Some(false)),
        (old, vec![Hash([6; 32]); MAX_ITEMS], Some(false)),
    ] {
        let past = Origin { room, ends };
        let about = invitation(&mut net, past.clone());
        net.hear(ALICE, MALLORY, &about);
        assert_eq!(net.blamed(ALICE), Vec::<&str>::new());
        net.restart(ALICE, None);
        let alice = &net.members[ALICE];
        let origin = alice.rooms.by_key(about.room).unwrap().origin().unwrap();
        assert_eq!(*origin, past);
        let kept = alice.rooms.by_key(origin.room);
        assert_eq!(kept.map(|kept| kept.has_ends(&alice.journal, &origin.ends).unwrap()), held);
        net.say(ALICE, "two");
    }
}

#[test]
fn what_was_written_before_a_member_came_is_as_good_as_here_and_what_came_later_does_not_matter() {
    let mut net = Net::new(2);
    net.say(ALICE, "one");
    net.later(3_000);
    net.kick(BOB);
    net.later(1_000);
    let before = net.room(ALICE).as_past();
    net.invite_only(BOB, false);
    net.join(BOB);
    net.later(3_000);
    let has = |net: &Net, who: usize, ends: &[Hash]| {
        net.room(who).has_ends(&net.members[who].journal, ends).unwrap()
    };
    assert!(has(&net, BOB, &before.ends));
    net.part(BOB);
    net.say(ALICE, "two");
    net.later(3_000);
    let after = net.room(ALICE).as_past();
    net.say(ALICE, "three");
    assert!(has(&net, ALICE, &before.ends) && has(&net, ALICE, &after.ends));
    assert!(!has(&net, BOB, &after.ends));
    net.link(ALICE, BOB);
    net.later(3_000);
    assert!(has(&net, BOB, &after.ends));
}
