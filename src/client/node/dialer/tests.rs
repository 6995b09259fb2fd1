use super::super::tests::support::*;
use super::*;
use crate::time::millis;
use crate::undo::Transactional;

/// Contact 1: the last link reached them at port 1, and discovery says that they are at port 2.
fn dialer() -> Dialer {
    let whereabouts = Whereabouts { reached: Some(address(1)), told: Some(address(2)), seen: None };
    Dialer::load(
        at(0),
        &[ContactRow {
            whereabouts,
            ..ContactRow::new(1, name("bob"), crate::store::journal::Standing::Contact)
        }],
        1,
    )
}

/// Who is dialled then, and at which ports.
fn dials(it: &mut Dialer, ms: u64) -> Vec<(ContactId, Vec<u16>)> {
    let (mut fx, name) = (effects(), name("bob"));
    fx.now = at(ms);
    it.tick(&mut fx, |_| Some((&name, BOB)));
    let dial = |action| match action {
        Action::Dial { contact, routes, .. } => {
            (contact, routes.iter().filter_map(Route::remote).map(|it| it.port()).collect())
        }
        other => panic!("{other:?}"),
    };
    fx.take_actions().into_iter().map(dial).collect()
}

fn next(it: &Dialer) -> u64 {
    millis(it.outlook(1).unwrap().next.unwrap().since_start())
}

fn ports(it: &Dialer) -> Vec<u16> {
    it.outlook(1).unwrap().routes.iter().filter_map(Route::remote).map(|it| it.port()).collect()
}

fn fails(it: &mut Dialer, ms: u64, port: u16, problem: &Problem) -> bool {
    it.failed(at(ms), 1, &[(address(port).into(), problem.clone())]).is_some()
}

#[test]
fn who_can_not_be_reached_is_dialled_ever_later_but_always_again() {
    let offline = (Some(false), false, 30_000);
    for (online, hopeless, most) in
        [(Some(true), false, 8_000), (None, false, 8_000), offline, (Some(true), true, 30_000)]
    {
        let mut it = dialer();
        it.set_presence(at(0), 1, online);
        for failures in 0..30 {
            let wait = if hopeless { most } else { most.min(250 << failures) };
            it.dial_later(at(0), 1, hopeless);
            assert!((wait / 2..=wait).contains(&next(&it)), "{online:?} {hopeless} {failures}");
        }
        it.dial_soon(at(0), 1, false);
        it.dial_later(at(0), 1, false);
        assert!(next(&it) <= 250, "hope begins anew");
    }
}

#[test]
fn the_other_side_may_have_its_turn_first_and_a_message_is_in_a_hurry() {
    let mut it = dialer();
    assert_eq!((dials(&mut it, 0), it.given_up()), (vec![], vec![1]));
    it.dial_soon(at(0), 1, true);
    assert_eq!((dials(&mut it, 699), it.deadline()), (vec![], at(700).mono));
    assert_eq!(dials(&mut it, 700), [(1, vec![1, 2])]);
    it.dial_soon(at(701), 1, false);
    assert_eq!(dials(&mut it, 701), [], "one at a time");
    it.answered(at(702), 1, address(1).into());
    assert!(next(&it) >= 15_000);
    for (ms, expected) in [(1_000, 2_700), (2_800, 2_700)] {
        it.dial_for_message(at(ms), 1);
        assert_eq!(next(&it), expected, "not a moment after the last, and never put off");
    }
    it.dial_later(at(702), 1, true);
    it.dial_for_message(at(9_000), 1);
    assert_eq!((next(&it), dials(&mut it, 9_000).len()), (9_000, 1));
    it.dialled(at(9_001), 1);
    it.dial_no_more(1);
    it.dial_for_message(at(9_001), 1);
    assert_eq!(dials(&mut it, 90_000), []);
}

#[test]
fn the_newer_address_comes_first() {
    let mut it = dialer();
    assert_eq!((it.learn(1, Some(address(2)), false), ports(&it)), (false, vec![1, 2]));
    assert_eq!((it.learn(1, Some(address(3)), false), ports(&it)), (true, vec![3, 1]));
    it.dial_elsewhere(1);
    assert_eq!(ports(&it), [1, 3]);
    it.dial_elsewhere(1);
    it.reached(at(0), 1, None);
    assert_eq!(ports(&it), [1, 3]);
    it.reached(at(0), 1, Some(address(3)));
    assert_eq!(ports(&it), [3]);
    assert!(!it.learn(1, None, false) && it.learn(1, None, true), "who is online now may be reached");
}

#[test]
fn an_impostor_is_told_once_until_there_is_a_link_or_the_user_asks() {
    let wrong = Problem::WrongKey { expected: BOB, found: None };
    let (closed, other) = (Problem::Closed, Problem::Other("refused".into()));
    let mut it = dialer();
    let fail =
        |it: &mut Dialer, cases: [(u64, &Problem); 4]| cases.map(|(ms, problem)| fails(it, ms, 1, problem));
    assert_eq!(
        fail(&mut it, [(0, &wrong), (1, &wrong), (2, &closed), (9_002, &closed)]),
        [true, false, false, false]
    );
    it.forgive(1);
    assert!(fails(&mut it, 9_003, 1, &closed));
    // Who is killed or started closes connections for a moment; the count begins anew with anything else.
    it.reached(at(0), 1, None);
    assert_eq!(
        fail(&mut it, [(0, &closed), (4_999, &closed), (5_000, &other), (5_001, &closed)]),
        [false; 4]
    );
    assert!(!fails(&mut it, 10_000, 1, &closed) && fails(&mut it, 10_001, 1, &closed));
}

#[test]
fn nothing_is_known_of_what_was_before_the_last_link() {
    let mut it = dialer();
    it.answered(at(0), 1, address(9).into());
    let refused = Problem::Other("refused".into());
    [1, 2, 3, 2, 4].into_iter().for_each(|port| _ = fails(&mut it, 0, port, &refused));
    it.note_goodbye(at(7), 1, ByeReason::LOGOUT);
    let known = |it: &Dialer| {
        let outlook = it.outlook(1).unwrap();
        let tried: Vec<_> =
            outlook.attempts.iter().map(|attempt| attempt.route.remote().unwrap().port()).collect();
        (tried, outlook.goodbye)
    };
    assert_eq!(known(&it), (vec![1, 3, 2, 4], Some((1_000_007, ByeReason::LOGOUT))));
    it.answered(at(0), 1, address(3).into());
    it.reached(at(0), 1, None);
    assert_eq!(known(&it), (vec![3], None));
}

#[test]
fn a_crowd_that_does_not_answer_does_not_keep_others_from_being_dialled() {
    let whereabouts = Whereabouts { told: Some(address(9)), ..Whereabouts::default() };
    let row = |id| ContactRow {
        whereabouts,
        ..ContactRow::new(id, name(&format!("user{id}")), crate::store::journal::Standing::Contact)
    };
    let mut it = Dialer::load(at(0), &(1..=101).map(row).collect::<Vec<_>>(), 1);
    (1..=101).for_each(|id| it.dial_soon(at(0), id, false));
    it.set_presence(at(0), 101, Some(true));
    let mut dialled = BTreeSet::new();
    // Each dial takes long, but no contact is tried twice before all were.
    for round in 0..4 {
        let underway: Vec<_> = dials(&mut it, round * 5_000).into_iter().map(|(id, _)| id).collect();
        assert!(underway.len() <= MAX_DIALS && (round > 0 || underway[0] == 101), "{underway:?}");
        assert_eq!(dials(&mut it, round * 5_000).len(), 0);
        underway.iter().for_each(|id| _ = it.failed(at(round * 5_000 + 4_000), *id, &[]));
        dialled.extend(underway);
    }
    assert_eq!(dialled.len(), 101);
}

#[test]
fn where_they_are_is_saved_at_once_and_when_they_were_there_some_time() {
    let journal = journal(&["bob"]);
    let saved = || journal.contacts().unwrap()[0].whereabouts;
    let mut it = Dialer::load(at(0), &journal.contacts().unwrap(), 1);
    assert!(it.set_presence(at(5), 1, Some(true)) && !it.set_presence(at(6), 1, Some(true)));
    assert_eq!((it.presence(1), it.presence_since(1)), (Some(true), Some(1_000_005)));
    assert_eq!((it.is_behind(), it.save(&journal).unwrap(), it.with_presence()), (true, false, vec![1]));
    it.commit();
    it.save_sightings(&journal).unwrap();
    assert_eq!((saved().seen, it.is_behind()), (Some(1_000_005), false));
    it.rollback();
    assert!(it.is_behind(), "it was not saved after all");
    it.set_presence(at(7), 1, None);
    it.learn(1, Some(address(3)), true);
    assert_eq!((it.save(&journal).unwrap(), it.with_presence()), (true, vec![]));
    assert_eq!((saved().seen, saved().told), (Some(1_000_007), Some(address(3))));
}

#[test]
fn a_failed_transaction_has_dialled_nobody() {
    let mut it = dialer();
    it.dial_soon(at(0), 1, false);
    it.commit();
    for _ in 0..2 {
        it.learn(1, Some(address(3)), true);
        assert_eq!(dials(&mut it, 0), [(1, vec![3, 1])]);
        it.rollback();
        assert_eq!((it.deadline(), ports(&it)), (at(0).mono, vec![1, 2]));
    }
}
