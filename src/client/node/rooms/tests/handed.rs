//! What is handed on where members come and go.

use super::*;
use crate::protocol::room::{Receipt, ReceiptName};

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

#[test]
fn what_came_from_one_who_is_not_in_counts_for_it_too() {
    let mut net = Net::new(2);
    let [alice, bob] = [ALICE, BOB].map(|who| net.key(who));
    net.cut(ALICE, BOB);
    net.links.insert((ALICE, BOB));
    // One run at a time.
    net.act(BOB, |rooms, cx| rooms.linked(cx, alice, 1).unwrap());
    net.act(ALICE, |rooms, cx| rooms.linked(cx, bob, 1 << 20).unwrap());
    net.later(1_000);
    // What Bob says crosses the word of his removal.
    net.links.clear();
    net.act(ALICE, |rooms, cx| rooms.kick(cx, ROOM, bob).unwrap().unwrap());
    net.links.insert((ALICE, BOB));
    net.say(BOB, "one");
    net.invite(BOB);
    net.say(BOB, "two");
    net.later(30_000);
    assert!(net.history(ALICE).contains(&"two".to_owned()), "{:?}", net.history(ALICE));
}

#[test]
fn who_has_left_waits_until_the_next_owner_knows_it() {
    let mut net = Net::new(4);
    let heir = net.key(MALLORY);
    net.kick(MALLORY);
    for (one, other) in [(ALICE, CAROL), (BOB, CAROL), (BOB, MALLORY)] {
        net.cut(one, other);
    }
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.later(3_000);
    assert!(net.members[BOB].rooms.mates().is_empty(), "the owner knows it");
    // Of what Mallory writes nothing comes to Bob any more.
    net.invite(MALLORY);
    net.act(ALICE, |rooms, cx| rooms.give(cx, ROOM, heir).unwrap().unwrap());
    net.later(3_000);
    assert_eq!(net.room(BOB).membership.owner, heir);
    assert!(net.members[BOB].rooms.mates().contains_key(&heir));
    net.link(BOB, MALLORY);
    net.later(3_000);
    assert_eq!(net.state(MALLORY, BOB), Some(State::Left));
    assert!(net.members[BOB].rooms.mates().is_empty());
}

#[test]
fn a_receipt_that_names_what_an_invitation_leaves_out_counts() {
    let mut net = Net::new(3);
    net.part(CAROL);
    net.say(BOB, "one");
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.later(3_000);
    net.part(BOB);
    // Of the chains in which the others write now Bob has nothing.
    [ALICE, CAROL].into_iter().for_each(|who| net.restart(who, None));
    net.link(ALICE, CAROL);
    net.say(CAROL, "two");
    net.later(5_000);
    assert!(net.is_settled(ALICE), "{}", net.explain(ALICE));
    net.decline_and_join(BOB);
    let (room, carol) = (net.room(BOB), net.key(CAROL));
    for chain in room.chains_of(room.own) {
        assert_eq!(room.covered(carol, chain), chain.said());
    }
    assert!(!room.is_ahead(net.key(ALICE)) && !room.is_ahead(carol));
}

#[test]
fn as_many_receipts_may_wait_as_many_members_sign() {
    let mut net = Net::new(3);
    net.part(BOB);
    net.say(BOB, "mine");
    let bobs = Pen::of(&net, BOB).last;
    // Each has written something, and says very often what it has; Bob's text at last.
    let mut runs = Vec::new();
    for who in [ALICE, CAROL] {
        let mut pen = Pen::of(&net, who);
        runs.push((who, pen.write(&["theirs"])));
        for counter in 1..=200 {
            let name = ReceiptName { member: net.key(who), epoch: 9, counter };
            let covers = if counter < 200 { vec![pen.last] } else { vec![pen.last, bobs] };
            let signature = Signature([0; 64]);
            let mut receipt = Receipt { name, covers, tips: Vec::new(), signature, settled: None };
            receipt.signature = pen.keypair.sign(&hash::receipt(pen.room, &receipt).0);
            let says = RoomSays::Receipts(vec![receipt]);
            net.hear(BOB, who, &AboutRoom { room: pen.room, says });
        }
    }
    let has = |net: &Net, who| {
        net.room(BOB).covered(net.key(who), net.room(BOB).branches(bobs.chain).next().unwrap())
    };
    assert_eq!([ALICE, CAROL].map(|who| has(&net, who) < bobs.number), [true; 2]);
    for (who, run) in &runs {
        net.hear(BOB, *who, run);
    }
    assert_eq!([ALICE, CAROL].map(|who| has(&net, who)), [bobs.number; 2]);
}
