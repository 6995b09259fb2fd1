//! What an owner has confirmed and, with its journal, forgotten, when it removes the author.

use super::restored::copy;
use super::*;

const DAVE: usize = 3;

/// Bob says "one", which Dave does not get. Alice and Carol say that they have it; then Alice comes back from before that,
/// and removes Bob. No one is linked. Returns what Bob has said.
fn alice_forgets_what_she_has_confirmed() -> (Net, Pen, AboutRoom) {
    let mut net = Net::new(4);
    [BOB, DAVE].into_iter().for_each(|who| net.part(who));
    let backup = copy(&net, ALICE);
    let mut pen = Pen::of(&net, BOB);
    let said = pen.write(&["one"]);
    [ALICE, CAROL].into_iter().for_each(|who| net.hear(who, BOB, &said));
    net.later(3_000);
    net.part(ALICE);
    net.restart(ALICE, Some(backup));
    net.kick(BOB);
    (net, pen, said)
}

/// What a member knows of who is in comes to another one, and nothing else.
fn tell_changes(net: &mut Net, from: usize, to: usize) {
    let says = RoomSays::Changes(net.room(from).changes.values().cloned().collect());
    let about = AboutRoom { room: net.room(from).key(), says };
    net.hear(to, from, &about);
}

/// All have the same, and all of it is final.
fn agree(net: &Net, said: &[&str]) {
    for who in [ALICE, CAROL, DAVE] {
        assert_eq!(net.history(who), said, "{who}: {}", net.explain(who));
        assert_eq!(net.state(who, BOB), Some(State::Removed));
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
}

#[test]
fn what_the_owner_has_confirmed_and_forgotten_is_kept() {
    let (mut net, ..) = alice_forgets_what_she_has_confirmed();
    assert_eq!(net.history(ALICE), [""; 0]);
    net.link(CAROL, ALICE);
    net.later(3_000);
    assert_eq!((net.history(CAROL), net.history(ALICE)), (vec!["one".into()], vec!["one".into()]));
    // After a restart it is known what is kept, too.
    net.restart(CAROL, None);
    net.restart(ALICE, None);
    net.cut(CAROL, ALICE);
    net.link(CAROL, DAVE);
    net.later(3_000);
    net.link(ALICE, DAVE);
    net.later(10_000);
    agree(&net, &["one"]);
}

#[test]
fn what_was_cut_off_comes_back_with_the_receipt_that_keeps_it() {
    let (mut net, _, said) = alice_forgets_what_she_has_confirmed();
    net.hear(DAVE, BOB, &said);
    // Carol says once that she has it, while Dave has it, too.
    let carols = net.room(CAROL).chains.values().filter_map(Chain::head).collect();
    net.links.insert((CAROL, DAVE));
    for (who, other) in [(CAROL, DAVE), (DAVE, CAROL)] {
        let key = net.key(other);
        net.act(who, |rooms, cx| rooms.linked(cx, key, 1 << 20).unwrap());
    }
    let says = RoomSays::Have(Have { heads: carols, joined: true, ..Have::default() });
    net.hear(DAVE, CAROL, &AboutRoom { room: said.room, says });
    assert_eq!(net.history(DAVE), ["one"]);
    // He hears of the removal before he hears of the receipt.
    tell_changes(&mut net, ALICE, DAVE);
    assert_eq!(net.history(DAVE), [""; 0]);
    let receipts = net.room(CAROL).receipts.of(net.key(ALICE)).cloned().collect();
    net.hear(DAVE, CAROL, &AboutRoom { room: said.room, says: RoomSays::Receipts(receipts) });
    assert_eq!(net.history(DAVE), ["one"]);
    [CAROL, DAVE].into_iter().for_each(|who| net.link(ALICE, who));
    net.later(10_000);
    agree(&net, &["one"]);
}

#[test]
fn what_was_offered_before_the_removal_is_asked_for_once_a_receipt_keeps_it() {
    let (mut net, _, said) = alice_forgets_what_she_has_confirmed();
    // Carol says what she has, and Dave asks her in vain.
    let [heads, own, alices] = [
        RoomSays::Have(Have {
            heads: net.room(CAROL).chains.values().filter_map(Chain::head).collect(),
            joined: true,
            ..Have::default()
        }),
        RoomSays::Receipts(net.room(CAROL).receipts.of(net.key(CAROL)).cloned().collect()),
        RoomSays::Receipts(net.room(CAROL).receipts.of(net.key(ALICE)).cloned().collect()),
    ];
    for (who, other) in [(CAROL, DAVE), (DAVE, CAROL)] {
        let key = net.key(other);
        net.act(who, |rooms, cx| rooms.linked(cx, key, 1 << 20).unwrap());
    }
    for says in [heads, own] {
        net.hear(DAVE, CAROL, &AboutRoom { room: said.room, says });
    }
    tell_changes(&mut net, ALICE, DAVE);
    net.later(15_000);
    net.links.insert((CAROL, DAVE));
    net.hear(DAVE, CAROL, &AboutRoom { room: said.room, says: alices });
    assert_eq!(net.history(DAVE), ["one"]);
}

#[test]
fn what_comes_after_what_the_owner_has_confirmed_is_cut_off() {
    let (mut net, mut pen, _) = alice_forgets_what_she_has_confirmed();
    // Carol does not keep Bob's signature of what Alice has confirmed: it is Alice's word that counts.
    net.hear(CAROL, BOB, &pen.write(&["two", "three"]));
    assert_eq!(net.history(CAROL).len(), 3);
    net.link(CAROL, ALICE);
    net.later(3_000);
    assert_eq!((net.history(CAROL), net.history(ALICE)), (vec!["one".into()], vec!["one".into()]));
    net.hear(DAVE, CAROL, &pen.write(&["four"]));
    [ALICE, CAROL].into_iter().for_each(|who| net.link(DAVE, who));
    net.later(10_000);
    agree(&net, &["one"]);
}

#[test]
fn what_the_owner_has_confirmed_and_all_have_lost_holds_nothing_up() {
    let mut net = Net::new(4);
    [BOB, CAROL, DAVE].into_iter().for_each(|who| net.part(who));
    let backup = copy(&net, ALICE);
    let said = Pen::of(&net, BOB).write(&["one"]);
    net.hear(ALICE, BOB, &said);
    net.say(ALICE, "two");
    net.later(3_000);
    let room = net.room(ALICE);
    let receipts: Vec<_> = room.receipts.of(room.own).cloned().collect();
    let chain = net.room(ALICE).writing.unwrap();
    let run = net.act(ALICE, |rooms, cx| say::next_run(cx, &rooms.rooms[&ROOM], chain, 0, u64::MAX).unwrap());
    let run = AboutRoom { room: said.room, says: RoomSays::Run(run.unwrap()) };
    net.restart(ALICE, Some(backup));
    net.kick(BOB);
    tell_changes(&mut net, ALICE, CAROL);
    // Of what Alice has lost Carol knows what she has said after it, and that she had it.
    net.hear(CAROL, ALICE, &AboutRoom { room: said.room, says: RoomSays::Receipts(receipts) });
    net.hear(CAROL, ALICE, &run);
    assert_eq!(net.history(CAROL), ["two"]);
    for (one, other) in [(CAROL, ALICE), (ALICE, DAVE), (CAROL, DAVE)] {
        net.link(one, other);
    }
    net.later(20_000);
    agree(&net, &["two"]);
    // Nor for the next owner.
    let carol = net.key(CAROL);
    net.act(ALICE, |rooms, cx| rooms.give(cx, ROOM, carol).unwrap().unwrap());
    net.say(DAVE, "three");
    net.later(20_000);
    agree(&net, &["two", "three"]);
}

#[test]
fn what_the_owner_says_after_the_removal_keeps_no_more() {
    let (mut net, mut pen, said) = alice_forgets_what_she_has_confirmed();
    net.link(CAROL, ALICE);
    net.later(3_000);
    for run in [said, pen.write(&["two"])] {
        [ALICE, CAROL].into_iter().for_each(|who| net.hear(who, CAROL, &run));
    }
    [ALICE, CAROL].into_iter().for_each(|who| net.link(DAVE, who));
    net.later(10_000);
    agree(&net, &["one"]);
}

#[test]
fn the_owner_hears_of_what_it_has_confirmed_also_over_a_link_that_stands() {
    let mut net = Net::new(4);
    net.part(BOB);
    let backups = [ALICE, CAROL].map(|who| copy(&net, who));
    let said = Pen::of(&net, BOB).write(&["one"]);
    // Carol gets nothing of it, and Dave is not linked with Alice any more.
    net.part(CAROL);
    [ALICE, DAVE].into_iter().for_each(|who| net.hear(who, BOB, &said));
    net.later(3_000);
    net.part(ALICE);
    for (who, backup) in [ALICE, CAROL].into_iter().zip(backups) {
        net.restart(who, Some(backup));
    }
    net.kick(BOB);
    net.link(ALICE, CAROL);
    net.later(3_000);
    net.link(CAROL, DAVE);
    net.later(10_000);
    assert_eq!((net.history(DAVE), net.history(ALICE)), (vec!["one".into()], vec!["one".into()]));
    agree(&net, &["one"]);
}
