//! Members who come back with an older journal.

use super::*;

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
        assert!(net.is_settled(who), "{who}: {}", net.room(who).explain());
        assert_eq!(net.state(who, BOB), Some(State::Joined));
    }
}
