use std::net::SocketAddr;

use super::*;
use crate::accounts::{Account, NodeId, Presence, Registration, Snapshot};
use crate::discovery::registry::{Limits, Side};
use crate::protocol::rendezvous::{About, RefusedCode, Register, Strangers, TOKEN, ToClient};

/// Draws nothing.
struct Nothing;

impl Draw for Nothing {
    fn token(&mut self) -> Option<[u8; TOKEN]> {
        None
    }

    fn tickets(&mut self, _: &[Side; 2]) -> Result<Option<[[u8; TOKEN]; 2]>, RefusedCode> {
        Ok(None)
    }

    fn address(&self) -> SocketAddr {
        "192.0.2.1:7667".parse().unwrap()
    }
}

const NOW: Now = Now { mono: Instant::START, wall: 7 };
const OWN: NodeId = 1;

fn registry() -> Registry {
    let limit = crate::discovery::registry::Limit { each: 9, loopback: false };
    Registry::new(OWN, Snapshot::default(), Limits { new_names: limit, questions: limit })
}

fn turns() -> Turns {
    Turns::new(registry())
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn register(turns: &mut Turns, session: ConnectionId, wanted: &str) {
    let (key, from) = (PublicKey([session as u8; 32]), "127.0.0.1:50000".parse().unwrap());
    turns.take(Work::Event(Event::Opened { session, key, from }));
    let register = Register::new(name(wanted), "0.0.0.0:4000".parse().unwrap(), None, Strangers::Open);
    say(turns, session, ToDiscovery::Register(register));
}

fn say(turns: &mut Turns, session: ConnectionId, message: ToDiscovery) {
    turns.take(Work::Event(Event::Message { session, message }));
}

fn step(turns: &mut Turns) -> Effects {
    let mut effects = Effects::default();
    turns.step(NOW, true, &mut Nothing, &mut effects);
    effects
}

fn report(turns: &mut Turns, report: Report) -> Effects {
    let mut effects = Effects::default();
    turns.report(report, NOW, &mut Nothing, &mut effects);
    effects
}

fn given(effects: &Effects) -> Vec<Change> {
    match &effects.order {
        Some(Order::Give(changes)) => changes.clone(),
        other => panic!("{other:?}"),
    }
}

/// The changes that give a new user a name, and an empty answer before they are saved.
fn registering(turns: &mut Turns, session: ConnectionId, wanted: &str) -> Vec<Change> {
    register(turns, session, wanted);
    assert_eq!(step(turns).order, Some(Order::Take));
    let effects = report(turns, Report::Taken(Vec::new()));
    assert_eq!(effects.actions, [], "nothing is told before it is saved");
    given(&effects)
}

fn turn(number: i64, node: NodeId, changes: Vec<Change>) -> Turn {
    Turn { number, id: [number as u8; 16], node, changes }
}

fn added_elsewhere(wanted: &str) -> Change {
    let observed = "127.0.0.1".parse().unwrap();
    let address = "127.0.0.1:4000".parse().unwrap();
    let registration = Registration { address, observed, strangers: Strangers::Open };
    let account = Account { id: 1, name: name(wanted), key: PublicKey([99; 32]), registration };
    Change::AddUser { account, presence: Presence::new(2, 1, address), now: 7 }
}

fn sent(effects: &Effects) -> Vec<&ToClient> {
    let sent = effects.actions.iter().filter_map(|action| match action {
        Action::Send { message, .. } => Some(message),
        _ => None,
    });
    sent.collect()
}

fn refused(effects: &Effects) -> Option<RefusedCode> {
    sent(effects).into_iter().find_map(|message| match message {
        ToClient::Refused(refused) => Some(refused.code),
        _ => None,
    })
}

#[test]
fn what_leads_to_changes_waits_for_the_turn_and_is_told_once_it_is_saved() {
    let mut turns = turns();
    let changes = registering(&mut turns, 1, "alice");
    assert!(matches!(changes.as_slice(), [Change::AddUser { .. }]));
    say(&mut turns, 1, ToDiscovery::Ping);
    assert!(step(&mut turns).actions.is_empty(), "while a turn is given nothing is decided");
    let effects = report(&mut turns, Report::Saved);
    assert!(matches!(sent(&effects).as_slice(), [ToClient::Registered(_), ToClient::Synced]));
    let effects = step(&mut turns);
    assert_eq!((sent(&effects), &effects.order), (vec![&ToClient::Pong], &None));
}

#[test]
fn who_waits_for_the_turn_keeps_no_other_one_waiting() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    report(&mut turns, Report::Saved);
    register(&mut turns, 2, "bob");
    say(&mut turns, 2, ToDiscovery::Ping);
    say(&mut turns, 1, ToDiscovery::Ping);
    let effects = step(&mut turns);
    assert_eq!(effects.order, Some(Order::Take));
    let pong = Action::Send { session: 1, message: ToClient::Pong };
    assert_eq!(effects.actions, [pong], "bob's own comes after his registration");
}

#[test]
fn it_is_decided_on_what_others_have_done_before() {
    let mut turns = turns();
    register(&mut turns, 1, "alice");
    step(&mut turns);
    let effects = report(&mut turns, Report::Taken(vec![turn(1, 2, vec![added_elsewhere("alice")])]));
    assert_eq!((refused(&effects), &effects.order), (Some(RefusedCode::NAME_TAKEN), &Some(Order::RollBack)));
}

#[test]
fn what_is_refused_is_taken_back_and_said() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    let effects = report(&mut turns, Report::Refused);
    assert_eq!((refused(&effects), turns.registry().figures().users), (Some(RefusedCode::NOT_SAVED), 0));
    assert_eq!(registers_while_down(&mut turns), Some(RefusedCode::NOT_SAVED));
    report(&mut turns, Report::Up(Vec::new()));
    assert_eq!(step(&mut turns).order, Some(Order::Take), "what sessions there are is announced");
    let effects = report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!(effects.order, Some(Order::RollBack));
    assert_eq!(registering(&mut turns, 3, "alice").len(), 1);
}

fn registers_while_down(turns: &mut Turns) -> Option<RefusedCode> {
    register(turns, 2, "bob");
    let effects = step(turns);
    assert_eq!(effects.order, None);
    refused(&effects)
}

#[test]
fn what_waits_for_a_turn_that_never_comes_is_refused() {
    let mut turns = turns();
    register(&mut turns, 1, "alice");
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    assert_eq!(refused(&report(&mut turns, Report::Down)), Some(RefusedCode::NOT_SAVED));
}

#[test]
fn of_what_is_unsure_nothing_is_said_and_its_sessions_end() {
    let mut turns = turns();
    let changes = registering(&mut turns, 1, "alice");
    turns.take(Work::Release(name("carol")));
    let effects = report(&mut turns, Report::Unsure);
    assert_eq!((effects.actions, turns.registry().figures().users), (vec![Action::Close { session: 1 }], 0));
    // It was saved: the user is there, and in no session.
    report(&mut turns, Report::Up(vec![turn(1, OWN, changes)]));
    assert_eq!(turns.registry().figures().users, 1);
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    let changes = given(&report(&mut turns, Report::Taken(Vec::new())));
    assert!(matches!(changes.as_slice(), [Change::LogOut { user: 1, node: OWN, session: 1, .. }]));
}

#[test]
fn who_starts_anew_ends_all_sessions_and_goes_on_with_what_was_loaded() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    report(&mut turns, Report::Saved);
    register(&mut turns, 2, "bob");
    step(&mut turns);
    let effects = report(&mut turns, Report::Anew(Box::new(registry())));
    let closed = effects.actions.iter().filter_map(|action| match action {
        Action::Close { session } => Some(*session),
        _ => None,
    });
    assert_eq!((closed.collect::<Vec<_>>(), turns.registry().figures().users), (vec![2, 1], 0));
}

#[test]
fn no_such_user_is_told_only_in_a_turn() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    report(&mut turns, Report::Saved);
    let request = |turns: &mut Turns| {
        let about = crate::protocol::rendezvous::Request { name: name("bob"), typed: true };
        say(turns, 1, ToDiscovery::Request(about));
        let effects = step(turns);
        assert_eq!((effects.order, effects.actions), (Some(Order::Take), vec![]));
    };
    request(&mut turns);
    let effects = report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!(sent(&effects), [&ToClient::NoSuchUser(About { name: name("bob") })]);
    request(&mut turns);
    let Change::AddUser { account, presence, now } = added_elsewhere("bob") else {
        return;
    };
    let account = Account { id: 2, ..account };
    let added = Change::AddUser { account, presence, now };
    let changes = given(&report(&mut turns, Report::Taken(vec![turn(2, 2, vec![added])])));
    assert!(matches!(changes.as_slice(), [Change::SetRequest { asker: 1, target: 2, .. }]));
}

#[test]
fn what_came_too_late_for_its_turn_is_decided_anew() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    let effects = report(&mut turns, Report::Heard(vec![turn(1, 2, vec![added_elsewhere("alice")])]));
    assert_eq!((effects.actions, turns.registry().figures().users), (vec![], 1));
    assert_eq!(report(&mut turns, Report::Refused).actions, []);
    report(&mut turns, Report::Up(Vec::new()));
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    let effects = report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!((refused(&effects), effects.order), (Some(RefusedCode::NAME_TAKEN), Some(Order::RollBack)));
}
