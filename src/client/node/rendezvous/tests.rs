use super::super::tests::support::*;
use super::*;
use crate::time::millis;

const KEY: PublicKey = PublicKey([9; 32]);

fn new(pinned: Option<PublicKey>, given: Option<PublicKey>) -> (Rendezvous, Effects) {
    let keys = Keys::new(["host:1".to_owned()].into(), pinned, given);
    (Rendezvous::new(at(0), keys, 1), effects())
}

fn missed(at: &str, problem: &Problem) -> Missed {
    Missed { at: at.into(), problem: problem.clone() }
}

/// Lets the time come to dial. Returns the key that is expected, and what is not dialled.
fn dials(it: &mut Rendezvous, fx: &mut Effects) -> (Option<PublicKey>, Vec<SocketAddr>) {
    fx.take_actions();
    fx.now.mono = it.deadline();
    it.tick(fx);
    match fx.take_actions().pop() {
        Some(Action::DialRendezvous { key, tried, .. }) => (key, tried),
        other => panic!("{other:?}"),
    }
}

fn dial(it: &mut Rendezvous, fx: &mut Effects) -> Option<PublicKey> {
    dials(it, fx).0
}

fn fail(it: &mut Rendezvous, fx: &mut Effects, problem: &Problem) {
    it.failed(fx, &[missed("host:1", problem)]);
}

fn connected(it: &mut Rendezvous, fx: &mut Effects, session: ConnectionId) -> bool {
    reach(it, fx, session, (address(1), &Reached { at: "host:1".into(), ..Reached::default() }))
}

fn reach(it: &mut Rendezvous, fx: &mut Effects, session: ConnectionId, at: (SocketAddr, &Reached)) -> bool {
    let register =
        Register::new(name("alice"), address(1), None, crate::protocol::rendezvous::Strangers::All);
    it.connected(fx, session, KEY, at, register)
}

fn up() -> (Rendezvous, Effects) {
    let (mut it, mut fx) = new(None, None);
    dial(&mut it, &mut fx);
    connected(&mut it, &mut fx, 1);
    it.registered(&mut fx, "registered".into());
    (it, fx)
}

#[test]
fn it_says_nothing_before_it_is_let_in_and_has_one_session() {
    let (mut it, mut fx) = new(Some(OTHER), Some(KEY));
    assert_eq!(dial(&mut it, &mut fx), Some(KEY), "the user has the last word");
    assert!(connected(&mut it, &mut fx, 1) && !connected(&mut it, &mut fx, 2));
    assert!(closed(&fx.take_actions(), 2) && it.is_session(1) && it.is_registering());
    assert!(!it.ask(&mut fx, ToDiscovery::Ping) && !it.tried());
    it.registered(&mut fx, "registered".into());
    assert!(it.ask(&mut fx, ToDiscovery::Ping) && it.is_up() && it.tried());
    it.note_spoken(7);
    assert_eq!(it.take_spoken().len(), 1);
    it.note_spoken(7);
    assert!(it.take_spoken().is_empty(), "nothing is kept that is not asked for");
    assert!(!it.closed(&mut fx, 2) && it.closed(&mut fx, 1) && !it.is_up());
    dial(&mut it, &mut fx);
    assert!(connected(&mut it, &mut fx, 3));
    it.leave(&mut fx);
    assert!(closed(&fx.take_actions(), 3) && it.is_out() && it.deadline() == Instant::NEVER);
}

#[test]
fn it_is_dialled_ever_later_but_always_again() {
    let wrong = Problem::WrongKey { expected: KEY, found: Some(OTHER) };
    for (problem, first, last) in [(Problem::Closed, 500, 15_000), (wrong, 60_000, 60_000)] {
        let (mut it, mut fx) = new(None, None);
        for failures in 0..30 {
            dial(&mut it, &mut fx);
            fail(&mut it, &mut fx, &problem);
            let wait = last.min(first << failures);
            let waits = millis(it.deadline().since(fx.now.mono));
            assert!((wait / 8..=wait + wait / 8).contains(&waits), "{failures}: {waits}");
        }
        dial(&mut it, &mut fx);
        connected(&mut it, &mut fx, 1);
        it.registered(&mut fx, "registered".into());
        it.closed(&mut fx, 1);
        assert!(millis(it.deadline().since(fx.now.mono)) <= 563, "it was there");
    }
}

#[test]
fn silence_on_either_side_is_broken_and_that_of_discovery_taken_for_its_end() {
    let (ping, dead) = (millis(PING_AFTER), millis(DEAD_AFTER));
    // Whether this side says something all the time, and whether discovery does.
    for (says, hears) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut it, mut fx) = up();
        fx.take_actions();
        let mut lost = None;
        for ms in (0..=2 * dead).step_by(1000).take_while(|_| it.is_up()).collect::<Vec<_>>() {
            fx.now = at(ms);
            if says && it.is_up() {
                it.ask(&mut fx, ToDiscovery::Logout);
            }
            if hears {
                it.received(fx.now);
            }
            lost = lost.or(it.tick(&mut fx).lost.then_some(ms));
        }
        let is_ping = |action: &&Action| matches!(action, Action::TellDiscovery(1, said) if said[..] == [ToDiscovery::Ping]);
        let pings = fx.take_actions().iter().filter(is_ping).count() as u64;
        let expected = if says && hears {
            0
        } else if hears {
            2 * dead / ping
        } else {
            dead / ping - 1
        };
        assert_eq!((pings, lost), (expected, (!hears).then_some(dead)), "{says} {hears}");
    }
    let (mut it, mut fx) = new(None, None);
    dial(&mut it, &mut fx);
    connected(&mut it, &mut fx, 1);
    assert_eq!(it.deadline(), at(dead).mono, "it may also not answer the registration");
}

#[test]
fn another_key_is_refused_and_that_is_said_once() {
    for (given, words) in [(None, "host:1 was"), (Some(KEY), "not the one that was given")] {
        let (mut it, mut fx) = new(Some(KEY), given);
        for (found, expected) in [(OTHER, 1), (OTHER, 0), (BOB, 1)] {
            dial(&mut it, &mut fx);
            fail(&mut it, &mut fx, &Problem::WrongKey { expected: KEY, found: Some(found) });
            assert_eq!(codes(&told(&mut fx)), vec![Code::KeyChanged; expected]);
            assert!(it.told().detail.contains(words), "{:?}", it.told());
        }
    }
}

#[test]
fn another_key_is_trusted_by_its_digits_and_dialled_at_once() {
    let (mut it, mut fx) = new(Some(KEY), Some(KEY));
    let [digits, old] = [OTHER, KEY].map(|key| key.to_string());
    let refused = |it: &mut Rendezvous, digits| it.trust(at(0), digits).unwrap_err().0;
    assert_eq!(refused(&mut it, Some(&digits)), Code::NothingToTrust);
    dial(&mut it, &mut fx);
    let wrong = Problem::WrongKey { expected: KEY, found: Some(OTHER) };
    fail(&mut it, &mut fx, &wrong);
    for digits in [None, Some("0"), Some(&*old)] {
        assert_eq!(refused(&mut it, digits), Code::KeyChanged);
    }
    assert_eq!(it.trust(fx.now, Some(&digits)), Ok(OTHER));
    assert_eq!(it.deadline(), fx.now.mono);
    assert_eq!(dial(&mut it, &mut fx), Some(OTHER));
    // It may be typed while the old key is being dialled.
    let (mut it, mut fx) = new(Some(KEY), None);
    dial(&mut it, &mut fx);
    fail(&mut it, &mut fx, &wrong);
    dial(&mut it, &mut fx);
    assert_eq!(it.trust(fx.now, Some(&digits)), Ok(OTHER));
    fail(&mut it, &mut fx, &wrong);
    assert_eq!((it.deadline(), dial(&mut it, &mut fx)), (fx.now.mono, Some(OTHER)));
    assert!(connected(&mut it, &mut fx, 1));
    assert_eq!(refused(&mut it, Some(&digits)), Code::NothingToTrust);
}

#[test]
fn a_name_that_is_taken_is_hopeless_and_everything_else_is_not() {
    use RefusedCode as Refused;
    let taken = [Refused::NAME_TAKEN, Refused::KEY_IN_USE, Refused::RELEASED];
    for code in (1..=9).map(RefusedCode) {
        let (mut it, mut fx) = new(None, None);
        let hopeless = taken.contains(&code);
        for expected in [1, 0] {
            dial(&mut it, &mut fx);
            connected(&mut it, &mut fx, 1);
            assert_eq!(it.not_registered(&mut fx, &name("alice"), code).is_some(), hopeless);
            assert!(closed(&fx.take_actions(), 1));
            assert_eq!(it.deadline() >= fx.now.mono + HOPELESS_RETRY / 8, hopeless);
            let said = if hopeless { Code::NameTaken } else { Code::Refused };
            assert_eq!(codes(&told(&mut fx)), vec![said; expected]);
        }
    }
}

#[test]
fn a_refused_request_is_repeated_later_and_said_once() {
    let (mut it, mut fx) = up();
    let bob = name("bob");
    for (about, said) in [(Some(&bob), 1), (Some(&bob), 0), (None, 1), (None, 1), (Some(&bob), 1)] {
        it.request_refused(&mut fx, RefusedCode::TARGET_FULL, about, true);
        assert_eq!(codes(&told(&mut fx)).len(), said);
        about.is_none().then(|| it.forgive(&bob));
    }
    // Of a user who is no contact it is said each time, and nothing is kept.
    for _ in 0..2 {
        it.request_refused(&mut fx, RefusedCode::TARGET_FULL, Some(&name("carol")), false);
        assert_eq!(codes(&told(&mut fx)).len(), 1);
    }
    let again = millis(HOPELESS_RETRY);
    for (ms, ask_again) in [(again - 1, false), (again, true), (again + 1, false)] {
        fx.now = at(ms);
        it.received(fx.now);
        assert_eq!(it.tick(&mut fx), Due { lost: false, ask_again });
    }
}

#[test]
fn its_state_is_told_when_it_changes() {
    let (mut it, mut fx) = up();
    let is = |it: &Rendezvous, fx: &mut Effects| {
        (it.told().state, it.told().since.unwrap() - 1_000_000, told(fx).len())
    };
    assert_eq!(is(&it, &mut fx), (UpDown::Up, 0, 1));
    fx.now = at(5);
    it.give_up(&mut fx, "no use");
    assert!(closed(&fx.take_actions(), 1));
    assert_eq!(is(&it, &mut fx), (UpDown::Down, 5, 1));
    for (why, news) in [("no use", 0), ("no answer", 1)] {
        dial(&mut it, &mut fx);
        fx.now.wall += 1;
        it.not_connected(&mut fx, why);
        it.not_connected(&mut fx, "not while it is not dialled");
        assert_eq!((it.told().detail.as_str(), is(&it, &mut fx)), (why, (UpDown::Down, 5, news)));
    }
    dial(&mut it, &mut fx);
    connected(&mut it, &mut fx, 2);
    it.superseded(&mut fx);
    assert!(closed(&fx.take_actions(), 2) && it.is_out());
    assert_eq!(is(&it, &mut fx), (UpDown::Down, 5, 1));
}

const SEVERAL: [u16; 3] = [1, 2, 3];

/// Dials and reaches the one of several that is at this port of this machine, after missing these. Returns what was not
/// dialled.
fn reaches(it: &mut Rendezvous, fx: &mut Effects, port: u16, missed: Vec<Missed>) -> Vec<SocketAddr> {
    let tried = dials(it, fx).1;
    let others = SEVERAL.iter().filter(|other| **other != port).map(|other| address(*other)).collect();
    let reached = Reached { at: format!("host:{port}"), others, missed };
    assert!(reach(it, fx, port.into(), (address(port), &reached)));
    tried
}

#[test]
fn the_others_are_tried_at_once_and_none_twice_in_a_round() {
    let (mut it, mut fx) = new(None, None);
    assert!(reaches(&mut it, &mut fx, 1, vec![]).is_empty());
    assert!(it.is_at(address(1)) && it.is_at(address(3)) && !it.is_at(address(4)));
    it.registered(&mut fx, "registered".into());
    assert_eq!(it.told().detail, "registered, with discovery at host:1");
    it.closed(&mut fx, 1);
    assert_eq!((it.told().detail.as_str(), it.deadline()), ("host:1 closed the connection", fx.now.mono));
    assert_eq!(reaches(&mut it, &mut fx, 2, vec![]), [address(1)]);
    // It refuses.
    it.not_registered(&mut fx, &name("alice"), RefusedCode::NOT_SAVED);
    assert_eq!((it.told().detail.as_str(), it.deadline()), ("host:1 closed the connection", fx.now.mono));
    assert_eq!(reaches(&mut it, &mut fx, 3, vec![]), [address(1), address(2)]);
    it.registered(&mut fx, "registered".into());
    // It is lost soon after: the round is over.
    it.closed(&mut fx, 3);
    assert!(it.deadline() > fx.now.mono);
    let detail = &it.told().detail;
    assert!(
        detail.starts_with("host:1 closed the connection; alice can't be registered with host:2: "),
        "{detail}"
    );
    assert!(detail.ends_with("; host:3 closed the connection"), "{detail}");
    assert!(reaches(&mut it, &mut fx, 1, vec![]).is_empty());
    it.registered(&mut fx, "registered".into());
    it.closed(&mut fx, 1);
    assert_eq!(reaches(&mut it, &mut fx, 2, vec![]), [address(1)]);
    // One that has worked for long begins a new round.
    it.registered(&mut fx, "registered".into());
    fx.now.mono = fx.now.mono + STEADY;
    it.registered(&mut fx, "registered again, for it has moved".into());
    it.closed(&mut fx, 2);
    assert_eq!((it.deadline(), dials(&mut it, &mut fx).1), (fx.now.mono, vec![address(2)]));
    // Names may have no other addresses any more: then it is still the loss that is told.
    it.failed(&mut fx, &[]);
    assert_eq!(it.told().detail, "host:2 closed the connection");
    assert!(it.deadline() > fx.now.mono && it.dial() == 5);
    assert!(dials(&mut it, &mut fx).1.is_empty());
}

#[test]
fn silence_of_one_leads_to_the_next() {
    let (mut it, mut fx) = new(None, None);
    reaches(&mut it, &mut fx, 1, vec![]);
    it.registered(&mut fx, "registered".into());
    fx.now.mono = fx.now.mono + DEAD_AFTER;
    assert!(it.tick(&mut fx).lost && closed(&fx.take_actions(), 1));
    assert_eq!(it.told().detail, "nothing received from host:1 for too long");
    assert_eq!((it.deadline(), dials(&mut it, &mut fx).1), (fx.now.mono, vec![address(1)]));
}

#[test]
fn a_name_that_is_taken_is_so_everywhere() {
    let (mut it, mut fx) = new(None, None);
    reaches(&mut it, &mut fx, 1, vec![]);
    it.not_registered(&mut fx, &name("alice"), RefusedCode::NAME_TAKEN);
    assert!(it.deadline() >= fx.now.mono + HOPELESS_RETRY / 8);
}

#[test]
fn another_key_at_one_is_told_once_while_the_other_is_used() {
    let wrong = Problem::WrongKey { expected: KEY, found: Some(OTHER) };
    let keys = Keys::new(["host:1".to_owned(), "host:2".to_owned()].into(), Some(KEY), None);
    let (mut it, mut fx) = (Rendezvous::new(at(0), keys, 1), effects());
    for expected in [1, 0] {
        reaches(&mut it, &mut fx, 1, vec![missed("host:2", &wrong)]);
        let said = told(&mut fx);
        assert_eq!(codes(&said), vec![Code::KeyChanged; expected]);
        let Some(Notice::Error(error)) = said.first() else { continue };
        let key = OTHER.to_string();
        assert!(error.message.starts_with(&format!("discovery at host:2 has the key {key}, and not")));
        assert!(error.message.ends_with("It is refused, and host:1 is used"), "{error:?}");
        let trusted = it.trust(fx.now, Some(&key));
        assert_eq!(trusted.unwrap_err().0, Code::NothingToTrust, "the right one is there");
        it.registered(&mut fx, "registered".into());
        it.closed(&mut fx, 1);
        told(&mut fx);
        // The right one may be back soon, so it is not given up for long.
        dial(&mut it, &mut fx);
        it.failed(&mut fx, &[missed("host:2", &wrong)]);
        assert!(it.deadline() < fx.now.mono + HOPELESS_RETRY / 8 && codes(&told(&mut fx)).is_empty());
    }
    // Of several other keys the digits name one.
    it.closed(&mut fx, 1);
    dial(&mut it, &mut fx);
    let third = Problem::WrongKey { expected: KEY, found: Some(BOB) };
    it.failed(&mut fx, &[missed("host:1", &third), missed("host:2", &wrong)]);
    let why = it.told().detail.clone();
    assert!(why.contains("at host:1") && why.contains("; discovery at host:2"), "{why}");
    assert_eq!(it.trust(fx.now, Some(&OTHER.to_string())), Ok(OTHER));
    assert_eq!(dial(&mut it, &mut fx), Some(OTHER));
}

#[test]
fn the_same_trouble_is_told_once_in_whatever_order_it_comes() {
    let (mut it, mut fx) = new(None, None);
    let [one, other] = ["host:1", "host:2"].map(|at| missed(at, &Problem::Closed));
    for (round, expected) in [[&one, &other], [&other, &one]].into_iter().zip([1, 0]) {
        dial(&mut it, &mut fx);
        it.failed(&mut fx, &round.map(Missed::clone));
        assert_eq!(told(&mut fx).len(), expected);
    }
    // All of them refuse, for one reason and then for another.
    let codes = [(RefusedCode::NOT_SAVED, 2), (RefusedCode::NOT_SAVED, 0), (RefusedCode::TOO_MANY_NAMES, 2)];
    for (order, (code, expected)) in [[1, 2, 3], [3, 1, 2], [2, 1, 3]].into_iter().zip(codes) {
        for port in order {
            reaches(&mut it, &mut fx, port, vec![]);
            it.not_registered(&mut fx, &name("alice"), code);
        }
        assert_eq!(told(&mut fx).len(), expected, "{:?}", it.told());
    }
}
