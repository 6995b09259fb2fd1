//! Members who come back with an older journal.

use super::*;
use crate::protocol::room::ChainName;

pub fn copy(net: &Net, who: usize) -> Journal {
    let Member { keypair, journal, .. } = &net.members[who];
    journal.copied(&"member".parse().unwrap(), keypair)
}

#[test]
fn who_has_left_and_forgotten_it_hears_of_it() {
    let mut net = Net::new(3);
    let backup = copy(&net, BOB);
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.later(3_000);
    assert_eq!(net.state(ALICE, BOB), Some(State::Left));
    net.restart(BOB, Some(backup));
    net.later(3_000);
    assert_eq!(net.state(BOB, BOB), Some(State::Left));
    let told = |effect: &&Effect| matches!(effect, Effect::Member { state: State::Left, .. });
    assert_eq!(net.members[BOB].told.iter().filter(told).count(), 2);
}

#[test]
fn who_was_away_gets_more_changes_than_one_message_holds() {
    let mut net = Net::new(3);
    net.part(BOB);
    for number in 0..200 {
        let topic = format!("{number} {}", "x".repeat(300));
        net.act(ALICE, |rooms, cx| rooms.topic(cx, ROOM, &topic).unwrap().unwrap());
    }
    net.link(BOB, CAROL);
    net.later(1_000);
    assert_eq!(net.room(BOB).membership.topic, net.room(ALICE).membership.topic);
}

#[test]
fn who_has_forgotten_that_it_was_let_in_again_takes_its_own_words_with_the_change() {
    let mut net = Net::new(3);
    net.part(BOB);
    net.kick(BOB);
    net.invite_only(BOB, true);
    // Bob, who knows neither, has joined and written since.
    let author = net.key(BOB);
    let (grant, clock) = net.room(ALICE).grant_of(author).map(|(hash, it)| (hash, it.clock)).unwrap();
    let mut pen = Pen::of(&net, BOB);
    pen.last = Mark { chain: ChainName { author, grant, epoch: 9 }, number: 0, hash: Hash::default() };
    pen.clock = clock;
    let run = pen.write(&["one"]);
    net.hear(BOB, CAROL, &run);
    assert_eq!((net.room(BOB).waiting.len(), net.history(BOB)), (1, vec![]));
    let says = RoomSays::Changes(net.room(ALICE).changes.values().cloned().collect());
    net.hear(BOB, CAROL, &AboutRoom { room: pen.room, says });
    assert_eq!((net.state(BOB, BOB), net.history(BOB)), (Some(State::Joined), vec!["one".into()]));
}

#[test]
fn what_was_written_since_a_backup_comes_back_and_the_numbers_go_on_elsewhere() {
    let mut net = Net::new(3);
    net.say(BOB, "one");
    let backup = copy(&net, BOB);
    net.say(BOB, "two");
    net.later(3_000);
    net.restart(BOB, Some(backup));
    net.say(BOB, "three");
    net.later(5_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.history(who), ["one", "two", "three"]);
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
        assert_eq!(net.state(who, BOB), Some(State::Joined));
    }
}

#[test]
fn what_is_written_late_stands_behind_what_is_final() {
    let mut net = Net::new(3);
    let backup = copy(&net, BOB);
    for (who, text) in [(ALICE, "one"), (CAROL, "two"), (ALICE, "three")] {
        net.say(who, text);
        net.later(2_000);
    }
    net.later(5_000);
    let settled = net.room(BOB).settled();
    assert!((0..3).all(|who| net.is_settled(who)) && settled > 2);
    // Bob knows nothing of that any more when he writes.
    net.restart(BOB, Some(backup));
    net.part(BOB);
    net.say(BOB, "late");
    [ALICE, CAROL].into_iter().for_each(|other| net.link(BOB, other));
    net.later(10_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.history(who), ["one", "two", "three", "late"]);
        assert!(net.is_settled(who) && net.room(who).settled() > settled);
    }
}

#[test]
fn an_owner_from_a_backup_settles_nothing_otherwise() {
    let mut net = Net::new(3);
    net.say(ALICE, "zero");
    let backup = copy(&net, ALICE);
    net.part(BOB);
    net.say(BOB, "one");
    net.say(CAROL, "two");
    net.later(3_000);
    assert!(!net.is_settled(CAROL), "bob may still say something");
    [ALICE, CAROL].into_iter().for_each(|other| net.link(BOB, other));
    net.later(8_000);
    let (history, settled) = (net.history(CAROL), net.room(CAROL).row.settlement);
    assert!((0..3).all(|who| net.is_settled(who)));
    // Alice has forgotten what she has settled, and hears of it first.
    net.restart(ALICE, Some(backup));
    net.say(ALICE, "three");
    net.later(10_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.history(who), [history.clone(), vec!["three".into()]].concat());
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
        assert_ne!(net.room(who).row.settlement, settled);
    }
}

#[test]
fn an_owner_that_starts_settles_nothing_before_the_others_have_answered() {
    let mut net = Net::new(3);
    net.part(CAROL);
    net.say(BOB, "one");
    net.later(3_000);
    let (backup, before) = (copy(&net, ALICE), net.room(ALICE).row.settlement);
    assert!(!net.is_settled(ALICE));
    [ALICE, BOB].into_iter().for_each(|other| net.link(CAROL, other));
    net.later(8_000);
    assert!((0..3).all(|who| net.is_settled(who)));
    // Alice comes back from before that, alone, and gets nothing but the word that was missing then.
    net.part(ALICE);
    net.restart(ALICE, Some(backup));
    let receipts = net.room(CAROL).receipts.of(net.key(CAROL)).filter(|it| it.settled == before);
    let receipts: Vec<_> = receipts.cloned().collect();
    let about = AboutRoom { room: net.room(CAROL).key(), says: RoomSays::Receipts(receipts) };
    net.hear(ALICE, CAROL, &about);
    net.later(5_000);
    let (room, bob) = (net.room(ALICE), net.key(BOB));
    let have = |who| room.chains_of(bob).all(|chain| room.covered(net.key(who), chain) == chain.row.number);
    assert!(have(BOB) && have(CAROL), "all have it, and she knows that");
    assert_eq!(net.room(ALICE).row.settlement, before);
    [BOB, CAROL].into_iter().for_each(|other| net.link(ALICE, other));
    net.later(8_000);
    for who in [ALICE, BOB, CAROL] {
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
        assert_eq!(net.history(who), ["one"]);
    }
}

#[test]
fn that_a_change_is_known_is_said_after_a_restart_too() {
    let mut net = Net::new(3);
    net.later(10_000);
    net.act(ALICE, |rooms, cx| rooms.topic(cx, ROOM, "a topic").unwrap().unwrap());
    // Bob knows it, and dies before he says so.
    let tips = net.room(BOB).membership.tips.clone();
    net.restart(BOB, None);
    net.later(3_000);
    let named = |who: usize| net.room(ALICE).receipts.of(net.key(who)).any(|it| it.tips == tips);
    assert!(named(CAROL) && named(BOB));
}

#[test]
fn what_was_final_before_a_member_came_again_stays_though_its_author_is_removed() {
    const DAVE: usize = 3;
    let mut net = Net::new(4);
    net.say(BOB, "one");
    net.later(3_000);
    let backup = copy(&net, ALICE);
    net.part(DAVE);
    net.say(BOB, "two");
    net.later(3_000);
    // Carol has it, and misses that it becomes final.
    net.part(CAROL);
    [ALICE, BOB].into_iter().for_each(|other| net.link(DAVE, other));
    net.later(3_000);
    assert!(net.is_settled(ALICE) && !net.is_settled(CAROL));
    net.kick(CAROL);
    net.link(ALICE, CAROL);
    net.later(1_000);
    net.invite_only(CAROL, false);
    net.join(CAROL);
    net.later(5_000);
    assert_eq!(net.history(CAROL), ["one", "two"]);
    assert!(net.is_settled(CAROL), "{}", net.explain(CAROL));
    // Alice has forgotten all that, and Carol is linked with no other one.
    net.part(ALICE);
    net.restart(ALICE, Some(backup));
    net.kick(BOB);
    net.link(ALICE, CAROL);
    net.later(5_000);
    assert_eq!(net.state(CAROL, BOB), Some(State::Removed));
    assert_eq!(net.history(CAROL), ["one", "two"]);
}

#[test]
fn one_who_is_let_in_again_keeps_to_what_the_owner_has_settled_since() {
    // Which of two settlements counts must not depend on their hashes.
    for round in 0..12 {
        let mut net = Net::new(2);
        net.later(5_000);
        let backup = copy(&net, ALICE);
        for text in ["one", "two", "three"] {
            net.say(BOB, text);
            net.later(3_000);
        }
        // Alice forgets that it is final, removes Bob, and settles alone.
        net.part(ALICE);
        net.restart(ALICE, Some(backup));
        net.kick(BOB);
        net.later(1_000);
        net.say(ALICE, "alone");
        net.later(3_000);
        assert!(net.is_settled(ALICE), "{}", net.explain(ALICE));
        net.link(ALICE, BOB);
        net.later(1_000);
        net.invite_only(BOB, round % 2 == 0);
        net.join(BOB);
        net.say(ALICE, "welcome");
        net.later(10_000);
        for who in [ALICE, BOB] {
            assert!(net.is_settled(who), "{who}: {}", net.explain(who));
        }
        assert_eq!(net.room(ALICE).row.settlement, net.room(BOB).row.settlement);
    }
}
