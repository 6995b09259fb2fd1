//! What is handed on where members come and go.

use super::*;

#[test]
fn an_heir_says_at_once_that_it_owns_the_room() {
    let mut net = Net::new(3);
    let bob = net.key(BOB);
    net.act(ALICE, |rooms, cx| rooms.give(cx, ROOM, bob).unwrap().unwrap());
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.room(who).membership.owner, bob, "{who}");
    }
}

#[test]
fn what_a_member_has_taken_counts_also_once_it_is_removed() {
    let mut net = Net::new(2);
    let [alice, bob] = [ALICE, BOB].map(|who| net.key(who));
    net.cut(ALICE, BOB);
    net.links.insert((ALICE, BOB));
    // One run at a time.
    net.act(ALICE, |rooms, cx| rooms.linked(cx, bob, 1).unwrap());
    net.act(BOB, |rooms, cx| rooms.linked(cx, alice, 1 << 20).unwrap());
    net.later(1_000);
    // It is long on its way.
    net.links.clear();
    net.say(ALICE, "one");
    net.links.insert((ALICE, BOB));
    net.act(ALICE, |rooms, cx| rooms.kick(cx, ROOM, bob).unwrap().unwrap());
    let got = AboutRoom { room: net.room(ALICE).key(), says: RoomSays::Got(u32::MAX) };
    net.hear(ALICE, BOB, &got);
    net.invite(BOB);
    net.say(ALICE, "two");
    net.later(30_000);
    assert!(net.history(BOB).contains(&"two".to_owned()), "{:?}", net.history(BOB));
}
