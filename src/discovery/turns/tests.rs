use std::net::SocketAddr;

use super::*;
use crate::accounts::{Account, NodeId, Presence, Registration, Snapshot};
use crate::discovery::registry::{Limits, Side};
use crate::protocol::rendezvous::{
    About, Identify, Identity, RefusedCode, Register, Request, Strangers, TOKEN, ToClient,
};

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

/// Another node gives the name to a key of 99s.
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

#[test]
fn the_ledger_is_away_until_it_takes_what_this_node_has_to_say() {
    let mut turns = turns();
    registering(&mut turns, 1, "alice");
    assert_eq!(turns.away_since(), None);
    report(&mut turns, Report::Refused);
    // It is full, so it can be reached and takes nothing.
    report(&mut turns, Report::Up(Vec::new()));
    registering(&mut turns, 2, "bob");
    assert_eq!(turns.away_since(), Some(NOW.mono));
    report(&mut turns, Report::Saved);
    assert_eq!(turns.away_since(), None);
    // There is nothing to say after it was away.
    report(&mut turns, Report::Down);
    report(&mut turns, Report::Up(Vec::new()));
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    assert_eq!(turns.away_since(), Some(NOW.mono));
    report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!(turns.away_since(), None);
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

/// Turns of a node at which alice and bob have registered, in the sessions 1 and 2.
fn with_two() -> Turns {
    let mut turns = turns();
    for (session, wanted) in [(1, "alice"), (2, "bob")] {
        registering(&mut turns, session, wanted);
        report(&mut turns, Report::Saved);
    }
    turns
}

fn asks_for(turns: &mut Turns, session: ConnectionId, wanted: &str) {
    say(turns, session, ToDiscovery::Request(Request { name: name(wanted), typed: true }));
}

fn asks_whose(turns: &mut Turns, session: ConnectionId, key: u8) {
    say(turns, session, ToDiscovery::Identify(Identify { key: PublicKey([key; 32]) }));
}

fn identity(key: u8, of: Option<&str>) -> ToClient {
    ToClient::Identity(Identity { key: PublicKey([key; 32]), name: of.map(name) })
}

/// A turn in which another node has given a name to a key of 99s.
fn carol_elsewhere() -> Turn {
    let Change::AddUser { account, presence, now } = added_elsewhere("carol") else {
        unreachable!();
    };
    turn(3, 2, vec![Change::AddUser { account: Account { id: 3, ..account }, presence, now }])
}

#[test]
fn no_such_user_is_told_once_the_ledger_was_read() {
    let mut turns = with_two();
    asks_for(&mut turns, 1, "carol");
    let effects = step(&mut turns);
    assert_eq!((effects.order, effects.actions), (Some(Order::Read), vec![]));
    let effects = report(&mut turns, Report::Read(Vec::new()));
    assert_eq!(sent(&effects), [&ToClient::NoSuchUser(About { name: name("carol") })]);
    assert_eq!((effects.order, step(&mut turns).order), (None, None));
    asks_for(&mut turns, 1, "carol");
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    // There is one now, so that it is asked takes a turn; what the session says next comes after it.
    asks_whose(&mut turns, 1, 2);
    let effects = report(&mut turns, Report::Read(vec![carol_elsewhere()]));
    assert_eq!((effects.order, effects.actions), (None, vec![]));
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    let changes = given(&report(&mut turns, Report::Taken(Vec::new())));
    assert!(matches!(changes.as_slice(), [Change::SetRequest { asker: 1, target: 3, .. }]));
    let effects = report(&mut turns, Report::Saved);
    assert!(matches!(sent(&effects).as_slice(), [ToClient::Status(_), ToClient::Identity(_)]));
}

#[test]
fn a_read_counts_for_what_came_before_it_was_ordered() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    asks_whose(&mut turns, 2, 99);
    let effects = step(&mut turns);
    assert_eq!((effects.order, effects.actions), (None, vec![]), "one is under way");
    let effects = report(&mut turns, Report::Read(Vec::new()));
    assert_eq!(sent(&effects), [&identity(2, Some("bob"))]);
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    let effects = report(&mut turns, Report::Read(vec![carol_elsewhere()]));
    assert_eq!(sent(&effects), [&identity(99, Some("carol"))]);
}

#[test]
fn what_others_have_done_unasked_counts_for_no_question() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 99);
    step(&mut turns);
    assert_eq!(report(&mut turns, Report::Heard(Vec::new())).actions, []);
    let effects = report(&mut turns, Report::Read(vec![carol_elsewhere()]));
    assert_eq!(sent(&effects), [&identity(99, Some("carol"))]);
}

#[test]
fn who_waits_for_a_read_keeps_no_other_one_waiting() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    say(&mut turns, 1, ToDiscovery::Ping);
    say(&mut turns, 2, ToDiscovery::Ping);
    let effects = step(&mut turns);
    let pong = Action::Send { session: 2, message: ToClient::Pong };
    assert_eq!((effects.order, effects.actions), (Some(Order::Read), vec![pong]));
    let effects = report(&mut turns, Report::Read(Vec::new()));
    assert_eq!(sent(&effects), [&identity(2, Some("bob")), &ToClient::Pong]);
}

#[test]
fn a_turn_waits_for_the_read_that_is_under_way() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    register(&mut turns, 3, "carol");
    assert_eq!(step(&mut turns).order, None);
    report(&mut turns, Report::Read(Vec::new()));
    assert_eq!(step(&mut turns).order, Some(Order::Take));
}

#[test]
fn a_turn_counts_as_a_read_of_what_came_before_it_was_asked_for() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    register(&mut turns, 3, "carol");
    assert_eq!(step(&mut turns).order, Some(Order::Take));
    asks_whose(&mut turns, 2, 1);
    assert_eq!(step(&mut turns).order, None);
    let effects = report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!(sent(&effects), [&identity(2, Some("bob"))], "it does not wait until the turn is saved");
    assert!(matches!(given(&effects).as_slice(), [Change::AddUser { .. }]));
    report(&mut turns, Report::Saved);
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    let effects = report(&mut turns, Report::Read(Vec::new()));
    assert_eq!(sent(&effects), [&identity(1, Some("alice"))]);
}

#[test]
fn what_waits_for_a_read_that_fails_is_refused() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    assert_eq!(step(&mut turns).order, Some(Order::Read));
    assert_eq!(refused(&report(&mut turns, Report::Down)), Some(RefusedCode::NOT_SAVED));
    asks_whose(&mut turns, 1, 2);
    assert_eq!(refused(&step(&mut turns)), Some(RefusedCode::NOT_SAVED));
    report(&mut turns, Report::Up(Vec::new()));
    asks_whose(&mut turns, 1, 2);
    assert_eq!(step(&mut turns).order, Some(Order::Take), "what sessions there are is announced");
    let effects = report(&mut turns, Report::Taken(Vec::new()));
    assert_eq!((sent(&effects), &effects.order), (vec![&identity(2, Some("bob"))], &Some(Order::RollBack)));
}

#[test]
fn a_refused_turn_leaves_nothing_waiting_for_a_read() {
    let mut turns = with_two();
    register(&mut turns, 3, "carol");
    step(&mut turns);
    asks_whose(&mut turns, 1, 2);
    step(&mut turns);
    report(&mut turns, Report::Taken(Vec::new()));
    let effects = report(&mut turns, Report::Refused);
    assert!(matches!(sent(&effects).as_slice(), [ToClient::Refused(_)]), "carol's registration");
    assert_eq!(refused(&report(&mut turns, Report::Down)), Some(RefusedCode::NOT_SAVED));
}

#[test]
fn who_asks_while_all_is_loaded_anew_is_hung_up_on_once() {
    let mut turns = with_two();
    asks_whose(&mut turns, 1, 2);
    step(&mut turns);
    let effects = report(&mut turns, Report::Anew(Box::new(registry())));
    let closed = |session| Action::Close { session };
    assert_eq!(effects.actions, [closed(1), closed(2)]);
    turns.take(Work::Event(Event::Closed { session: 1 }));
    assert_eq!(step(&mut turns).order, Some(Order::Take), "what sessions there are is announced");
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
