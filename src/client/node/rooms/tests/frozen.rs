//! Rooms whose owner has signed two changes under one number.

use super::*;
use crate::protocol::room::{ChainName, Signature};

/// What Alice signs by hand, each under the same number.
fn twins(net: &Net, deeds: [Deed; 2]) -> [Change; 2] {
    let (room, keypair) = (net.room(ALICE), &net.members[ALICE].keypair);
    deeds.map(|deed| {
        let (author, after) = (keypair.public(), room.membership.tips.clone());
        let mut change = Change { author, epoch: 77, number: 1, after, deed, signature: Signature([0; 64]) };
        change.signature = keypair.sign(&hash::change(room.key(), &change).0);
        change
    })
}

fn changes(net: &Net, changes: &[Change]) -> AboutRoom {
    AboutRoom { room: net.room(ALICE).key(), says: RoomSays::Changes(changes.to_vec()) }
}

fn is_frozen(net: &Net, who: usize) -> bool {
    net.room(who).membership.frozen.is_some()
}

#[test]
fn who_was_away_hears_from_any_member_that_the_room_is_frozen() {
    let mut net = Net::new(3);
    net.part(CAROL);
    let both = twins(&net, ["one", "two"].map(|it| Deed::Topic(it.into())));
    let about = changes(&net, &both);
    net.hear(BOB, ALICE, &about);
    assert!(is_frozen(&net, BOB) && !is_frozen(&net, CAROL));
    // They want a link for the sake of the room, as both sides have to.
    assert!(net.members[BOB].rooms.mates().contains_key(&net.key(CAROL)));
    net.link(BOB, CAROL);
    net.later(3_000);
    assert!(is_frozen(&net, CAROL));
}

#[test]
fn what_waits_for_a_change_that_freezes_the_room_is_not_taken() {
    let mut net = Net::new(3);
    let (name, key) = ("member2".parse().unwrap(), net.key(CAROL));
    let add = Add { name, key, past: vec![], clock: 0, settled: None };
    let both = twins(&net, [Deed::Add(add), Deed::Topic("one".into())]);
    let grant = hash::change(net.room(ALICE).key(), &both[0]);
    net.part(CAROL);
    net.part(BOB);
    let mut pen = Pen::of(&net, CAROL);
    let chain = ChainName { author: key, grant, epoch: 9 };
    pen.last = Mark { chain, number: 0, hash: Hash::default() };
    pen.clock = 0;
    let run = pen.write(&["early"]);
    net.hear(BOB, ALICE, &run);
    assert_eq!(net.room(BOB).waiting.len(), 1);
    let about = changes(&net, &both);
    net.hear(BOB, ALICE, &about);
    assert!(is_frozen(&net, BOB));
    assert_eq!(net.history(BOB), Vec::<String>::new());
}
