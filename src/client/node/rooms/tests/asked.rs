//! Who is asked for what is lacking, and what comes of it.

use super::restored::copy;
use super::*;
use crate::protocol::room::{Receipt, ReceiptName};

/// The end of what a pen has written, as others name it.
fn cause(pen: &Pen) -> Cause {
    Cause { mark: pen.last, clock: pen.clock }
}

fn texts<const N: usize>(texts: [(&str, Vec<Cause>); N]) -> [(Vec<u8>, Vec<Cause>); N] {
    texts.map(|(text, causes)| (text.as_bytes().to_vec(), causes))
}

/// Up to where the owner knows that a member has what is here of Carol's chain.
fn known(net: &Net, of: usize) -> u64 {
    let room = net.room(ALICE);
    let chain = room.chains_of(net.key(CAROL)).max_by_key(|chain| chain.row.place).unwrap();
    room.covered(net.key(of), chain)
}

#[test]
fn what_is_here_and_not_signed_is_asked_for_where_the_rest_waits_in_vain() {
    let mut net = Net::new(3);
    net.part(CAROL);
    let mut pen = Pen::of(&net, CAROL);
    let mut longer = pen.clone();
    // What no one has ever had.
    let mut lost = pen.clone();
    lost.last.chain.epoch += 1;
    let one = pen.write(&["one"]);
    let two = longer.run_after(EntryKind::TEXT, texts([("one", vec![]), ("two", vec![cause(&lost)])]));
    net.hear(BOB, CAROL, &two);
    net.hear(ALICE, CAROL, &one);
    assert_eq!(net.history(BOB), ["one"]);
    net.later(5_000);
    assert_eq!(known(&net, BOB), pen.last.number);
}

#[test]
fn what_an_invitation_leaves_out_needs_no_signature_here() {
    let mut net = Net::new(4);
    [BOB, CAROL].into_iter().for_each(|who| net.part(who));
    net.say(MALLORY, "zero");
    let mut pen = Pen::of(&net, CAROL);
    let mut longer = pen.clone();
    let zero = cause(&Pen::of(&net, MALLORY));
    let one = pen.write(&["one"]);
    let two = longer.run_after(EntryKind::TEXT, texts([("one", vec![]), ("two", vec![zero])]));
    net.hear(BOB, CAROL, &two);
    net.hear(ALICE, CAROL, &one);
    net.restart(BOB, None);
    net.kick(BOB);
    net.invite_only(BOB, false);
    net.hear(ALICE, CAROL, &two);
    net.link(ALICE, BOB);
    net.join(BOB);
    net.later(5_000);
    assert_eq!(net.history(BOB), ["one", "two"]);
    assert_eq!(known(&net, BOB), longer.last.number);
}

#[test]
fn who_hands_on_only_what_comes_later_is_not_asked_again() {
    let mut net = Net::new(4);
    let backup = copy(&net, BOB);
    // Mallory does not get what Carol says now.
    net.kick(MALLORY);
    net.say(CAROL, "one");
    net.invite_only(MALLORY, false);
    net.join(MALLORY);
    let long = "x".repeat(20_000);
    (0..3).for_each(|_| net.say(CAROL, &long));
    net.later(3_000);
    [BOB, CAROL].into_iter().for_each(|who| net.part(who));
    net.restart(BOB, Some(backup));
    net.link(BOB, MALLORY);
    net.link(BOB, ALICE);
    net.later(15_000);
    assert_eq!(net.history(BOB).len(), 4);
}

#[test]
fn where_nothing_could_be_taken_the_next_one_is_asked() {
    let mut net = Net::new(4);
    net.part(MALLORY);
    let mut pen = Pen::of(&net, MALLORY);
    let one = pen.write(&["one"]);
    // The one who would be asked first brings nothing that counts.
    let (first, other) = if net.key(ALICE) < net.key(CAROL) { (ALICE, CAROL) } else { (CAROL, ALICE) };
    net.cut(BOB, other);
    net.cut(first, other);
    net.hear(other, MALLORY, &one);
    let have = Have { heads: vec![pen.last], joined: true, ..Have::default() };
    net.hear(BOB, first, &AboutRoom { room: pen.room, says: RoomSays::Have(have) });
    let mut broken = one;
    if let RoomSays::Run(run) = &mut broken.says {
        run.signature = Signature([0; 64]);
    }
    net.hear(BOB, first, &broken);
    net.link(BOB, other);
    net.later(6_000);
    assert_eq!(net.history(BOB), ["one"]);
}

#[test]
fn who_was_asked_in_vain_is_asked_again_once_it_says_so_again() {
    let mut net = Net::new(3);
    net.part(CAROL);
    let mut pen = Pen::of(&net, CAROL);
    let one = pen.write(&["one"]);
    // What Alice has lost with her journal.
    let keypair = net.members[ALICE].keypair.clone();
    let name = ReceiptName { member: keypair.public(), epoch: 7, counter: 1 };
    let (signature, tips) = (Signature([0; 64]), Vec::new());
    let mut receipt = Receipt { name, covers: vec![pen.last], tips, signature, settled: None };
    receipt.signature = keypair.sign(&hash::receipt(pen.room, &receipt).0);
    net.hear(BOB, ALICE, &AboutRoom { room: pen.room, says: RoomSays::Receipts(vec![receipt]) });
    net.later(300_000);
    net.hear(ALICE, CAROL, &one);
    net.later(15_000);
    assert_eq!(net.history(BOB), ["one"]);
}

#[test]
fn what_a_declined_invitation_leaves_out_comes_by_a_later_one() {
    let mut net = Net::new(3);
    net.part(BOB);
    net.say(CAROL, "one");
    net.later(3_000);
    net.kick(BOB);
    net.decline_and_join(BOB);
    assert_eq!(net.history(BOB), ["one"]);
}

/// Bob was removed, and lacks some of what is final now. Returns up to where it was when he had heard last, and his journal.
fn bob_lacks_what_is_final(net: &mut Net) -> (u64, Journal) {
    net.part(CAROL);
    net.say(CAROL, "one");
    (0..3).for_each(|_| net.say(ALICE, "two"));
    let backup = copy(net, BOB);
    net.kick(BOB);
    net.part(BOB);
    net.link(ALICE, CAROL);
    net.later(3_000);
    let before = net.room(BOB).settled();
    assert!(net.is_settled(ALICE) && net.room(ALICE).settled() > before);
    (before, backup)
}

/// Nothing but the changes comes to Bob.
fn bob_hears_of_changes(net: &mut Net) {
    let says = RoomSays::Changes(net.room(ALICE).changes.values().cloned().collect());
    net.hear(BOB, ALICE, &AboutRoom { room: net.room(ALICE).key(), says });
}

/// Nothing but a chain up to there comes to Bob.
fn bob_hears_of(net: &mut Net, end: &Mark) {
    let id = net.room(ALICE).named(end.chain, 0).unwrap();
    let room = net.room(ALICE).key();
    let run = net.act(ALICE, |rooms, cx| {
        super::super::say::next_run(cx, rooms.get(ROOM).unwrap(), id, 0, end.number).unwrap().unwrap()
    });
    net.hear(BOB, ALICE, &AboutRoom { room, says: RoomSays::Run(run) });
}

/// Bob joins for all, and what is final for him then is still to be whole: it is as far as `before`.
fn bob_joins_for_all(net: &mut Net, before: u64) {
    net.invite_only(BOB, true);
    bob_hears_of_changes(net);
    net.join(BOB);
    assert_eq!(net.room(BOB).settled(), before, "what Carol has said is still to come");
}

fn bob_gets_all(net: &mut Net) {
    net.link(ALICE, BOB);
    net.later(10_000);
    assert!(net.is_settled(BOB), "{}", net.explain(BOB));
    assert_eq!(net.history(BOB), net.history(ALICE));
}

#[test]
fn what_was_final_for_a_declined_invitation_is_not_by_a_later_one() {
    let mut net = Net::new(3);
    let (before, _) = bob_lacks_what_is_final(&mut net);
    net.decline(BOB);
    net.cut(ALICE, BOB);
    bob_joins_for_all(&mut net, before);
    bob_gets_all(&mut net);
}

#[test]
fn it_is_not_either_where_the_owner_has_not_heard_that_it_was_declined() {
    let mut net = Net::new(3);
    let (before, _) = bob_lacks_what_is_final(&mut net);
    net.invite_only(BOB, false);
    bob_hears_of_changes(&mut net);
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.kick(BOB);
    bob_joins_for_all(&mut net, before);
    bob_gets_all(&mut net);
}

#[test]
fn what_an_invitation_left_out_stays_so_for_who_has_forgotten_that_it_joined() {
    let mut net = Net::new(3);
    let (before, backup) = bob_lacks_what_is_final(&mut net);
    net.invite_only(BOB, false);
    net.link(ALICE, BOB);
    net.join(BOB);
    net.later(3_000);
    net.kick(BOB);
    net.part(BOB);
    let written = Pen::of(&net, BOB).last;
    net.restart(BOB, Some(backup));
    bob_joins_for_all(&mut net, before);
    bob_hears_of(&mut net, &written);
    net.link(ALICE, BOB);
    net.later(10_000);
    assert_eq!(net.history(BOB), ["two"; 3]);
    for who in [ALICE, BOB] {
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
}

#[test]
fn what_follows_what_is_lacking_is_taken_by_who_has_forgotten_why_it_lacks_that() {
    let mut net = Net::new(3);
    let backup = copy(&net, BOB);
    net.part(BOB);
    net.kick(BOB);
    net.restart(CAROL, None);
    net.say(CAROL, "one");
    net.part(CAROL);
    // What he joins by first leaves that out, and is forgotten: the owner never hears that he has joined.
    for all in [false, true] {
        net.invite_only(BOB, all);
        bob_hears_of_changes(&mut net);
        net.join(BOB);
        if !all {
            net.kick(BOB);
            bob_hears_of_changes(&mut net);
        }
    }
    net.link(ALICE, BOB);
    net.later(3_000);
    net.part(BOB);
    let join = Pen::of(&net, BOB).last;
    net.restart(BOB, Some(backup));
    bob_hears_of_changes(&mut net);
    net.join(BOB);
    bob_hears_of(&mut net, &join);
    let two = Pen::of(&net, CAROL).write(&["two"]);
    net.hear(ALICE, CAROL, &two);
    net.link(ALICE, BOB);
    net.later(10_000);
    assert_eq!(net.history(BOB), ["two"]);
    assert_eq!(net.state(BOB, CAROL), Some(State::Joined));
}

#[test]
fn the_clock_where_a_chain_begins_is_known_after_a_later_invitation() {
    let mut net = Net::new(3);
    for text in ["one", "two"] {
        net.kick(BOB);
        if text == "one" {
            net.say(CAROL, "left out");
        }
        net.later(3_000);
        net.invite_only(BOB, false);
        net.join(BOB);
        net.say(CAROL, text);
        net.later(3_000);
    }
    let room = net.room(BOB);
    let row = &room.chains_of(net.key(CAROL)).next().unwrap().row;
    assert!(0 < row.base && row.base < room.past_of(room.own, row.name));
    let base = Mark { chain: row.name, number: row.base, hash: row.base_hash };
    let clock = standing(&net, ALICE, &base).unwrap().clock;
    assert_eq!(room.clock_at_base(&net.members[BOB].journal, row).unwrap(), clock);
}

#[test]
fn who_has_joined_and_leaves_after_a_restart_has_not_declined() {
    let mut net = Net::new(3);
    net.restart(BOB, None);
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.later(3_000);
    for who in [ALICE, BOB] {
        assert_eq!(
            (net.state(who, BOB), net.room(who).has_declined(net.key(BOB))),
            (Some(State::Left), false)
        );
    }
}
