use super::super::tests::support::*;
use super::places::{MAX_DIALS, MAX_UNDERWAY};
use super::*;
use crate::store::journal::Standing;
use crate::time::millis;
use crate::undo::Transactional;

/// Contact 1: the last link reached them at port 1, and discovery says that they are at port 2.
fn dialer() -> Dialer {
    let whereabouts = Whereabouts { reached: Some(address(1)), told: Some(address(2)), seen: None };
    Dialer::load(
        at(0),
        &[ContactRow { whereabouts, ..ContactRow::new(1, name("bob"), Standing::Contact) }],
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
    assert_eq!((it.learn(at(0), 1, Some(address(2)), false), ports(&it)), (false, vec![1, 2]));
    assert_eq!((it.learn(at(0), 1, Some(address(3)), false), ports(&it)), (true, vec![3, 1]));
    it.dial_elsewhere(1);
    assert_eq!(ports(&it), [1, 3]);
    it.dial_elsewhere(1);
    it.reached(at(0), 1, None);
    assert_eq!(ports(&it), [1, 3]);
    it.reached(at(0), 1, Some(address(3)));
    assert_eq!(ports(&it), [3]);
    assert!(
        !it.learn(at(0), 1, None, false) && it.learn(at(0), 1, None, true),
        "who is online now may be reached"
    );
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

/// So many contacts, with whom there was a link or not, and who are to be dialled.
fn crowd(count: ContactId, linked: bool) -> Dialer {
    let (reached, told) = (linked.then(|| address(8)), Some(address(9)));
    let whereabouts = Whereabouts { reached, told, seen: None };
    let row =
        |id| ContactRow { whereabouts, ..ContactRow::new(id, name(&format!("user{id}")), Standing::Contact) };
    let mut it = Dialer::load(at(0), &(1..=count).map(row).collect::<Vec<_>>(), 1);
    (1..=count).for_each(|id| it.dial_soon(at(0), id, false));
    it
}

/// Who is dialled then.
fn dialled(it: &mut Dialer, ms: u64) -> Vec<ContactId> {
    dials(it, ms).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_crowd_that_says_nothing_does_not_keep_others_from_being_dialled() {
    for linked in [true, false] {
        let mut it = crowd(301, linked);
        let places = if linked { MAX_DIALS } else { MAX_DIALS / 4 };
        let (mut all, mut ms) = (BTreeSet::new(), 0);
        while all.len() < 301 {
            let now = dialled(&mut it, ms);
            assert!(!now.is_empty() && now.len() <= places, "{ms}: {now:?}");
            assert!(dialled(&mut it, ms).is_empty());
            assert!(now.into_iter().all(|id| all.insert(id)), "before all were");
            ms = millis(it.deadline().since_start()).min(ms + millis(YOUNG));
        }
        assert!(ms < 3_000, "{ms}");
    }
}

#[test]
fn a_dial_that_is_over_leaves_its_place_at_once_and_who_is_online_comes_first() {
    let count = i64::try_from(MAX_DIALS).unwrap() + 2;
    let mut it = crowd(count, true);
    it.set_presence(at(0), count, Some(true));
    let first = dialled(&mut it, 0);
    assert_eq!((first.len(), first[0]), (MAX_DIALS, count));
    it.failed(at(1), count, &[]);
    assert_eq!((dialled(&mut it, 1).len(), dialled(&mut it, 2).len()), (1, 0));
    // Those who were there last come first.
    let mut it = crowd(3, true);
    it.seen(2, 7);
    it.seen(3, 5);
    assert_eq!(dialled(&mut it, 0), [2, 3, 1]);
}

#[test]
fn there_are_only_so_many_dials_however_long_they_take() {
    for linked in [true, false] {
        let mut it = crowd(2_000, linked);
        let all: usize = (0..100).map(|round| dialled(&mut it, round * 250).len()).sum();
        assert_eq!(all, if linked { MAX_UNDERWAY } else { MAX_UNDERWAY / 2 });
        it.failed(at(30_000), 1, &[]);
        assert_eq!(dialled(&mut it, 30_000).len(), 1);
    }
}

#[test]
fn tar_pits_do_not_delay_a_new_friend() {
    const FRIEND: ContactId = 201;
    let mut it = crowd(200, false);
    let mut ends = BTreeMap::new();
    for ms in (0..60_000).step_by(50) {
        let over = ends.extract_if(..=(ms, 0), |_, ()| true).collect::<Vec<_>>();
        over.into_iter().for_each(|((_, id), ())| _ = it.failed(at(ms), id, &[]));
        // They come and go, so that there is always hope, and take as long as they can.
        for id in (1..=200).filter(|id| (ms + 50 * *id as u64).is_multiple_of(2_000)) {
            it.set_presence(at(ms), id, Some(ms % 4_000 < 2_000));
            it.dial_soon(at(ms), id, false);
        }
        if ms == 30_000 {
            it.add(FRIEND);
            it.learn(at(ms), FRIEND, Some(address(7)), true);
            it.set_presence(at(ms), FRIEND, Some(true));
            it.dial_soon(at(ms), FRIEND, false);
        }
        for id in dialled(&mut it, ms) {
            if id == FRIEND {
                assert!(ms <= 30_000 + millis(YOUNG), "{ms}");
                return;
            }
            ends.insert((ms + 15_000, id), ());
        }
    }
    panic!("never dialled");
}

#[test]
fn only_so_many_new_addresses_of_a_contact_are_believed() {
    let hour = millis(NEW_ADDRESSES_WITHIN);
    let mut it = Dialer::load(at(0), &[ContactRow::new(1, name("bob"), Standing::Contact)], 1);
    let learn = |it: &mut Dialer, ms, port| it.learn(at(ms), 1, Some(address(port)), false);
    for port in 1..=4 {
        assert!(learn(&mut it, u64::from(port), port));
    }
    assert!(!learn(&mut it, 5, 5) && !learn(&mut it, 6, 6));
    assert_eq!(ports(&it), [4]);
    let why: Vec<_> = it.outlook(1).unwrap().attempts.iter().map(|it| it.route.remote().unwrap()).collect();
    assert_eq!(why, [address(5), address(6)], "the user can ask why");
    // Between those that are known they may go to and fro.
    assert!(learn(&mut it, 7, 1) && learn(&mut it, 8, 4) && !learn(&mut it, 9, 6));
    it.reached(at(10), 1, Some(address(7)));
    assert!(learn(&mut it, 11, 7), "where there was a link");
    assert!(!learn(&mut it, 12, 6));
    it.dial_later(at(hour), 1, false);
    assert_eq!(ports(&it), [7], "not yet");
    it.dial_later(at(hour + 1), 1, false);
    assert_eq!(ports(&it), [6, 7], "the last that was told, once it may be believed");
    assert!(!learn(&mut it, hour + 1, 8) && learn(&mut it, hour + 2, 8));
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
    it.learn(at(0), 1, Some(address(3)), true);
    assert_eq!((it.save(&journal).unwrap(), it.with_presence()), (true, vec![]));
    assert_eq!((saved().seen, saved().told), (Some(1_000_007), Some(address(3))));
}

#[test]
fn a_failed_transaction_has_dialled_nobody() {
    let mut it = dialer();
    it.dial_soon(at(0), 1, false);
    it.commit();
    for _ in 0..2 {
        it.learn(at(0), 1, Some(address(3)), true);
        assert_eq!(dials(&mut it, 0), [(1, vec![3, 1])]);
        it.rollback();
        assert_eq!((it.deadline(), ports(&it)), (at(0).mono, vec![1, 2]));
    }
}

#[test]
fn other_addresses_are_dialled_after_these_and_bounded_too() {
    let hour = millis(NEW_ADDRESSES_WITHIN);
    let mut it = dialer();
    let told = |ports: std::ops::Range<u16>| -> Vec<Candidate> {
        ports.map(|port| Candidate { address: address(port), kind: CandidateKind::Global }).collect()
    };
    assert!(it.learn_also(at(0), 1, &told(2..5)) && !it.learn_also(at(0), 1, &told(2..5)));
    assert_eq!(ports(&it), [1, 2, 3, 4]);
    let mapped = [Candidate { address: address(9), kind: CandidateKind::Mapped }];
    assert!(it.learn_also(at(1), 1, &mapped));
    assert_eq!(it.outlook(1).unwrap().routes.last(), Some(&Route::Mapped { remote: address(9) }));
    let most = u16::try_from(NEW_CANDIDATES).unwrap();
    for port in 10..10 + most {
        it.learn_also(at(2), 1, &told(port..port + 1));
    }
    assert_eq!(ports(&it), [1, 2], "the last of these was one too many");
    assert!(!it.learn_also(at(3), 1, &told(99..100)) && it.learn_also(at(4), 1, &told(10..11)));
    assert!(it.learn_also(at(hour + 2), 1, &told(99..100)));
}
