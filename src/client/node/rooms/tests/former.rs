//! Former owners who are removed.

use super::restored::copy;
use super::*;

/// Bob has lost what Alice has settled last, is linked with no one, and owns the room now. Returns that settlement, and
/// Carol's journal from before.
fn bob_lacks_a_settlement(net: &mut Net) -> (Mark, Journal) {
    net.say(CAROL, "one");
    let (bobs, carols) = (copy(net, BOB), copy(net, CAROL));
    let before = net.room(BOB).row.settlement;
    net.later(5_000);
    let settled = net.room(CAROL).row.settlement;
    assert_ne!(settled, before);
    net.part(BOB);
    net.restart(BOB, Some(bobs));
    give(net, ALICE, BOB);
    let says = RoomSays::Changes(net.room(CAROL).changes.values().cloned().collect());
    net.hear(BOB, CAROL, &AboutRoom { room: net.room(CAROL).key(), says });
    assert_eq!((net.room(BOB).membership.owner, net.room(BOB).row.settlement), (net.key(BOB), before));
    (settled.unwrap(), carols)
}

fn give(net: &mut Net, from: usize, to: usize) {
    let key = net.key(to);
    net.act(from, |rooms, cx| rooms.give(cx, ROOM, key).unwrap().unwrap());
}

fn kick(net: &mut Net, by: usize, other: usize) -> Result<(), Refusal> {
    let key = net.key(other);
    net.act(by, |rooms, cx| rooms.kick(cx, ROOM, key).unwrap())
}

#[test]
fn a_former_owner_stays_until_what_it_has_settled_is_here() {
    let mut net = Net::new(3);
    let (settled, _) = bob_lacks_a_settlement(&mut net);
    assert_eq!(kick(&mut net, BOB, ALICE), Err(Refusal::NotYet(net.key(CAROL))));
    net.part(ALICE);
    net.link(CAROL, BOB);
    net.later(10_000);
    assert_eq!(kick(&mut net, BOB, ALICE), Ok(()));
    net.say(CAROL, "two");
    net.later(3_000);
    for who in [BOB, CAROL] {
        assert!(standing(&net, who, &settled).is_some(), "{who}: {}", net.explain(who));
        assert_eq!((net.state(who, ALICE), net.history(who).len()), (Some(State::Removed), 2));
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
}

#[test]
fn a_former_owner_can_be_removed_where_all_have_lost_what_it_has_settled() {
    let mut net = Net::new(3);
    let (settled, backup) = bob_lacks_a_settlement(&mut net);
    net.part(ALICE);
    let receipts = net.room(CAROL).receipts.of(net.key(CAROL)).filter(|it| it.settled == Some(settled));
    let says = RoomSays::Receipts(receipts.cloned().collect());
    net.hear(BOB, CAROL, &AboutRoom { room: net.room(CAROL).key(), says });
    assert_eq!(kick(&mut net, BOB, ALICE), Err(Refusal::NotYet(net.key(CAROL))));
    net.restart(CAROL, Some(backup));
    net.link(CAROL, BOB);
    net.later(10_000);
    assert_eq!(kick(&mut net, BOB, ALICE), Ok(()));
}

#[test]
fn of_two_former_owners_that_are_gone_the_later_one_goes_first() {
    let mut net = Net::new(4);
    give(&mut net, ALICE, BOB);
    net.later(3_000);
    give(&mut net, BOB, CAROL);
    [ALICE, BOB].into_iter().for_each(|who| net.part(who));
    assert!(kick(&mut net, CAROL, BOB).is_err());
    net.later(3_000);
    assert_eq!(kick(&mut net, CAROL, ALICE), Err(Refusal::NotYet(net.key(BOB))));
    assert_eq!(kick(&mut net, CAROL, BOB), Ok(()));
    assert_eq!(kick(&mut net, CAROL, ALICE), Ok(()));
}

#[test]
fn who_has_settled_since_removes_a_former_owner_at_once() {
    let mut net = Net::new(3);
    give(&mut net, ALICE, BOB);
    net.say(CAROL, "one");
    net.later(5_000);
    [ALICE, CAROL].into_iter().for_each(|who| net.part(who));
    net.restart(BOB, None);
    assert_eq!(kick(&mut net, BOB, ALICE), Ok(()));
}

#[test]
fn one_who_was_removed_tells_another_one() {
    let mut net = Net::new(3);
    net.part(CAROL);
    net.kick(CAROL);
    net.kick(BOB);
    net.later(1_000);
    assert_eq!((net.state(BOB, BOB), net.state(BOB, CAROL)), (Some(State::Removed), Some(State::Removed)));
    net.part(BOB);
    net.link(BOB, CAROL);
    net.later(1_000);
    assert_eq!(net.state(CAROL, CAROL), Some(State::Removed));
}
