use super::super::tests::support::at;
use super::*;
use crate::time::millis;

const BOB: ContactId = 1;

/// What is asked at this moment.
fn asked(reach: &mut Reach, ms: u64) -> Vec<Help> {
    reach.tick(at(ms), |_| true).into_iter().map(|(_, help)| help).collect()
}

#[test]
fn the_ways_are_tried_one_after_the_other() {
    let mut reach = Reach::default();
    let alone = millis(DIAL_ALONE);
    reach.seek(at(0), BOB);
    assert_eq!(asked(&mut reach, alone - 1), []);
    assert_eq!(reach.deadline(), at(alone).mono);
    assert_eq!(asked(&mut reach, alone), [Help::Punch]);
    // What is said about another way changes nothing.
    reach.failed(at(alone + 1), BOB, Help::Relay);
    assert_eq!(asked(&mut reach, alone + 1), []);
    reach.failed(at(alone + 2), BOB, Help::Punch);
    assert_eq!(asked(&mut reach, alone + 2), [Help::Relay]);
    reach.failed(at(alone + 3), BOB, Help::Relay);
    assert_eq!(asked(&mut reach, alone + 3), []);
    // After a rest all begins anew, and the next rest is longer.
    let again = alone + 3 + millis(FIRST_REST);
    assert_eq!((asked(&mut reach, again - 1), asked(&mut reach, again)), (vec![], vec![Help::Punch]));
    // Without an answer each way ends by itself.
    let relay = again + millis(PUNCH_TAKES);
    assert_eq!(asked(&mut reach, relay), [Help::Relay]);
    let rest = relay + millis(RELAY_TAKES);
    assert_eq!(asked(&mut reach, rest), []);
    assert_eq!(reach.deadline(), at(rest + 2 * millis(FIRST_REST)).mono);
    // A link that needs no help ends the search.
    reach.linked(at(rest), BOB, false);
    assert_eq!(asked(&mut reach, rest + 1_000_000), []);
    assert_eq!(reach.deadline(), Instant::NEVER);
}

#[test]
fn a_relayed_link_is_punched_again_ever_less_often() {
    let mut reach = Reach::default();
    reach.seek(at(0), BOB);
    reach.linked(at(0), BOB, true);
    let mut now = 0;
    for round in 0..SOON + 3 {
        now += millis(if round <= SOON { SOON_AGAIN } else { LATER_AGAIN });
        assert_eq!(asked(&mut reach, now - 1), [], "{round}");
        assert_eq!(asked(&mut reach, now), [Help::Punch], "{round}");
        reach.failed(at(now), BOB, Help::Punch);
        assert_eq!(asked(&mut reach, now), []);
    }
    // An address that has changed is news.
    reach.moved(at(now + 5), BOB);
    assert_eq!(asked(&mut reach, now + 5), [Help::Punch]);
    // The other side has asked: this one does the same, and asks no more.
    reach.failed(at(now + 5), BOB, Help::Punch);
    assert_eq!(asked(&mut reach, now + 5), []);
    reach.helped(at(now + 6), BOB, Help::Punch);
    reach.helped(at(now + 6), BOB, Help::Relay);
    assert_eq!(asked(&mut reach, now + 7), []);
    // The link falls: the search begins anew.
    reach.seek(at(now + 8), BOB);
    assert_eq!(asked(&mut reach, now + 8 + millis(DIAL_ALONE)), [Help::Punch]);
}

#[test]
fn only_so_many_ways_are_punched_at_once() {
    let mut reach = Reach::default();
    (0..6).for_each(|id| reach.seek(at(0), id));
    let alone = millis(DIAL_ALONE);
    assert_eq!(asked(&mut reach, alone), [Help::Punch; MAX_PUNCHES]);
    let later = alone + millis(PUNCH_LATER);
    assert_eq!(asked(&mut reach, later), []);
    reach.linked(at(later), 0, false);
    assert_eq!(asked(&mut reach, later + millis(PUNCH_LATER)), [Help::Punch]);
}

#[test]
fn who_is_looked_for_no_more_is_forgotten() {
    let mut reach = Reach::default();
    reach.seek(at(0), BOB);
    assert!(reach.tick(at(millis(DIAL_ALONE)), |_| false).is_empty());
    assert_eq!((reach.deadline(), reach.searches.len()), (Instant::NEVER, 0));
}
