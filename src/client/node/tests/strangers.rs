//! Users whom this one has neither asked for nor answered.

use super::super::super::notice::HeldReason;
use super::super::acquaintance::MAX_FORGOTTEN;
use super::super::intake::EXPIRY_EVERY;
use super::*;
use crate::protocol::peer::{HoldReason, STRANGER_MESSAGES};
use crate::protocol::rendezvous::{Asks, REQUEST_LASTS, Refused, RefusedCode, Request as Ask, Strangers};
use crate::store::journal::{Request, Standing};

/// Alice meets strangers in this way.
fn meeting(policy: Strangers) -> World {
    let (journal, now) = (support::journal(&[]), support::at(0));
    let node = Node::new(Setup { strangers: policy, ..setup(1) }, now, &journal).unwrap();
    let mut world = World { now, journal, node, notices: Vec::new() };
    world.step(&[]);
    world.register(SESSION, &[]);
    world
}

/// The same, and bob asks for her.
fn asked(policy: Strangers) -> World {
    let mut world = meeting(policy);
    world.discovery(&[asks(Asks::Typed)]);
    world
}

fn asks(asks: Asks) -> ToClient {
    let (name, key) = (name("bob"), BOB);
    ToClient::Status(Status {
        name,
        key,
        address: None,
        online: None,
        asks,
        connected: false,
        also: vec![],
        room: false,
    })
}

fn answers(actions: &[Action], typed: bool) -> bool {
    let answer = ToDiscovery::Request(Ask { name: name("bob"), typed });
    actions
        .iter()
        .any(|action| matches!(action, Action::TellDiscovery(_, said) if said[..] == [answer.clone()]))
}

fn drops(actions: &[Action]) -> bool {
    let drop = ToDiscovery::Drop(About { name: name("bob") });
    actions
        .iter()
        .any(|action| matches!(action, Action::TellDiscovery(_, said) if said[..] == [drop.clone()]))
}

impl World {
    fn standing(&self) -> Option<Standing> {
        self.node.roster.standing(self.node.roster.named(&name("bob"))?)
    }

    fn floods(&mut self, link: ConnectionId, numbers: std::ops::RangeInclusive<u64>) -> Vec<Action> {
        self.says(link, &numbers.map(|number| message(7, number, "x")).collect::<Vec<_>>())
    }
}

#[test]
fn a_stranger_is_met_as_the_user_wants() {
    for (policy, standing, linked, told) in [
        (Strangers::Open, Some(Standing::Stranger), true, true),
        (Strangers::Ask, Some(Standing::Stranger), false, true),
        (Strangers::All, Some(Standing::Contact), true, true),
        (Strangers::Closed, None, false, false),
    ] {
        let mut world = asked(policy);
        let request = world.notices.iter().any(|notice| matches!(notice, Notice::Request { .. }));
        assert_eq!((world.standing(), request), (standing, told), "{policy:?}");
        world.step(&[proved(1, BOB, None)]);
        if policy == Strangers::Closed {
            world.says(1, &[hello(1, &[])]);
            world.discovery(&[ToClient::Identity(Identity { key: BOB, name: Some(name("bob")) })]);
        }
        world.says(1, &[hello(1, &[])]);
        let up = world.notices.iter().any(|notice| matches!(notice, Notice::Link { state: UpDown::Up, .. }));
        assert_eq!(up, linked, "{policy:?}");
        assert_eq!(dials(&world.later(60_000)), 0, "the asker dials");
    }
}

#[test]
fn more_than_a_stranger_may_say_is_held_until_there_is_an_answer() {
    for answer in ["ACCEPT bob", "REQUEST bob", "CHAT bob hi"] {
        let mut world = asked(Strangers::Open);
        world.link(1, false, 1, &[]);
        let actions = world.floods(1, 1..=30);
        let last = cursor(7, STRANGER_MESSAGES);
        let hold = Peer::Hold(Hold { reason: HoldReason::NOT_ANSWERED, cursor: Some(last) });
        assert_eq!(sent(&actions, 1), [&hold], "it acknowledges what was taken, and nothing more");
        assert_eq!(world.shown().len() as u64, STRANGER_MESSAGES);
        assert!(world.notices.contains(&Notice::Full { from: name("bob") }));
        // A new link gives no more.
        let actions = world.link(2, false, 2, &[]);
        let held =
            |said: &&Peer| matches!(said, Peer::Hello(hello) if hello.hold == Some(HoldReason::NOT_ANSWERED));
        assert!(sent(&actions, 2).iter().any(held));
        let actions = world.types(answer);
        assert!(answers(&actions, true) && sent(&actions, 2).contains(&&Peer::Resume), "{answer}");
        assert_eq!(world.standing(), Some(Standing::Contact));
        world.floods(2, 21..=30);
        assert_eq!(world.shown().len(), 30, "{answer}");
    }
}

#[test]
fn one_who_is_forgotten_comes_back_only_by_asking() {
    let mut world = asked(Strangers::Open);
    world.link(1, false, 1, &[]);
    world.floods(1, 1..=3);
    let actions = world.types("FORGET bob");
    assert!(drops(&actions) && closed(&actions, 1));
    assert_eq!(world.journal.history(world.bob(), 10).unwrap(), []);
    assert!(closed(&world.step(&[proved(2, BOB, None)]), 2), "a redial");
    assert!(drops(&world.discovery(&[asks(Asks::Again)])), "a client that asks by itself");
    assert_eq!(world.standing(), Some(Standing::Forgotten));
    world.node =
        Node::new(Setup { strangers: Strangers::Open, ..setup(2) }, world.now, &world.journal).unwrap();
    world.notices.clear();
    world.step(&[]);
    world.register(SESSION, &[asks(Asks::Typed)]);
    assert_eq!(world.standing(), Some(Standing::Stranger));
    world.link(3, false, 2, &[]);
    world.floods(3, 2..=4);
    assert_eq!(world.shown().len(), 1, "the cursors were kept");
}

#[test]
fn a_stranger_who_is_unblocked_is_one_as_before() {
    let mut world = asked(Strangers::Open);
    world.link(1, false, 1, &[]);
    world.floods(1, 1..=15);
    assert!(drops(&world.types("BLOCK bob")));
    assert!(closed(&world.step(&[proved(2, BOB, None)]), 2));
    let month = millis(REQUEST_LASTS);
    world.wait(month);
    world.types("UNBLOCK bob");
    world.later(millis(EXPIRY_EVERY));
    assert_eq!(world.standing(), Some(Standing::Stranger));
    assert_eq!(world.journal.history(world.bob(), 100).unwrap().len(), 15);
    world.link(3, false, 1, &[]);
    world.floods(3, 15..=30);
    assert_eq!(world.shown().len() as u64, STRANGER_MESSAGES, "what came before counts");
    // Who is no stranger to be unblocked is not met again.
    world.types("UNBLOCK bob");
    assert_eq!(world.node.intake.hold(world.bob(), true), Some(HoldReason::NOT_ANSWERED));
    world.later(month);
    assert_eq!(world.standing(), Some(Standing::Forgotten), "they have their time anew, and no more");
}

#[test]
fn one_who_is_forgotten_or_unknown_can_be_blocked() {
    for known in [true, false] {
        let mut world = if known { asked(Strangers::Open) } else { meeting(Strangers::Open) };
        if known {
            world.types("FORGET bob");
        }
        world.types("BLOCK bob");
        assert_eq!(world.errors(), []);
        assert!(drops(&world.discovery(&[asks(Asks::Typed)])));
        assert!(closed(&world.step(&[proved(1, BOB, None)]), 1));
        world.types("UNBLOCK bob");
        assert_eq!(world.standing(), Some(Standing::Forgotten));
        world.discovery(&[asks(Asks::Typed)]);
        assert_eq!(world.standing(), Some(Standing::Stranger));
    }
    let mut world = World::online();
    world.types("BLOCK bob");
    world.types("UNBLOCK bob");
    assert_eq!(world.standing(), None, "nothing is known of them");
}

#[test]
fn a_link_that_is_not_yet_up_does_not_outlive_the_contact() {
    for command in ["FORGET bob", "BLOCK bob"] {
        let mut world = asked(Strangers::Open);
        world.step(&[proved(1, BOB, None)]);
        world.types(command);
        assert!(closed(&world.says(1, &[hello(1, &[])]), 1), "{command}");
        world.floods(1, 1..=3);
        assert!(world.shown().is_empty(), "{command}");
    }
}

#[test]
fn who_is_forgotten_is_remembered_longer_than_those_before() {
    let mut world = World::with_bob();
    let others = (0..MAX_FORGOTTEN).map(|number| name(&format!("user{number}")));
    others.for_each(|other| _ = world.journal.add_contact(&other, Standing::Forgotten).unwrap());
    world.restart(2);
    world.types("FORGET bob");
    assert_eq!(world.standing(), Some(Standing::Forgotten));
    assert_eq!(world.node.roster.forgotten().count(), MAX_FORGOTTEN);
}

#[test]
fn a_request_of_this_user_s_own_ends_with_the_contact() {
    for command in ["FORGET bob", "BLOCK bob"] {
        let mut world = World::online();
        world.types("REQUEST bob");
        world.discovery(&[asks(Asks::No)]);
        world.step(&[Input::RendezvousClosed(SESSION)]);
        world.types(command);
        world.later(2_000);
        assert!(drops(&world.register(SESSION + 1, &[asks(Asks::No)])), "{command}");
        // Nor is it given up when discovery's disk is full.
        let refused = Refused { code: RefusedCode::NOT_SAVED, name: Some(name("bob")) };
        world.step(&[Input::RendezvousSays(SESSION + 1, vec![ToClient::Refused(refused)])]);
        let mut minute = (0..61).map(|_| {
            world.wait(1_000);
            world.step(&[Input::RendezvousSays(SESSION + 1, vec![ToClient::Pong])])
        });
        assert!(minute.any(|actions| drops(&actions)), "{command}");
    }
}

#[test]
fn what_the_user_asks_outlives_an_earlier_drop() {
    let mut world = World::with_bob();
    let dropped = ToClient::Dropped(About { name: name("bob") });
    world.step(&[says(dropped.clone())]);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.types("REQUEST bob");
    world.later(2_000);
    let session = SESSION + 1;
    world.step(&[support::session_up(session)]);
    let registered = ToClient::Registered(Registered { address: address(1), observed: address(1) });
    let said = vec![registered, dropped, ToClient::Synced];
    assert!(answers(&world.step(&[Input::RendezvousSays(session, said)]), true));
    assert_eq!(world.errors(), [Code::Dropped], "it is said once");
}

#[test]
fn a_drop_that_could_not_be_said_is_said_at_the_next_login() {
    let mut world = asked(Strangers::Open);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    assert!(!drops(&world.types("FORGET bob")));
    world.later(2_000);
    // Discovery still has what bob asked for before.
    let session = SESSION + 1;
    world.step(&[support::session_up(session)]);
    let registered = ToClient::Registered(Registered { address: address(1), observed: address(1) });
    let actions =
        world.step(&[Input::RendezvousSays(session, vec![registered, asks(Asks::Typed), ToClient::Synced])]);
    assert!(drops(&actions));
    assert_eq!(world.standing(), Some(Standing::Forgotten));
}

#[test]
fn a_contact_who_ends_it_is_not_asked_nor_dialled_unless_the_user_says_so() {
    let mut world = World::with_bob();
    world.types("CHAT bob still there?");
    world.discovery(&[ToClient::Dropped(About { name: name("bob") })]);
    assert_eq!(world.errors(), [Code::Dropped]);
    assert_eq!(dials(&world.later(60_000)), 0);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.later(2_000);
    let actions = world.register(SESSION + 1, &[]);
    assert!(!answers(&actions, true) && !answers(&actions, false));
    assert!(answers(&world.types("REQUEST bob"), true));
    // Nothing of what waits is lost.
    assert_eq!(world.node.delivery.waiting(world.bob()), 1);
}

#[test]
fn the_user_is_told_what_waits_and_why() {
    let mut world = World::online();
    world.types("REQUEST bob");
    world.discovery(&[asks(Asks::No)]);
    assert_eq!(world.node.roster.get(world.bob()).unwrap().identity.request, Request::Kept);
    world.types("CHAT bob hi");
    let held = |reason, waiting| Notice::Held { to: name("bob"), reason, waiting };
    assert!(world.notices.contains(&held(HeldReason::NotAnswered, 1)), "{:?}", world.notices);
    let mut world = World::linked(1);
    world.types("CHAT bob hi");
    let hold = Peer::Hold(Hold { reason: HoldReason::DISK_FULL, cursor: None });
    assert_eq!(sent(&world.says(1, &[hold]), 1), [&Peer::Rewound]);
    assert!(world.notices.contains(&held(HeldReason::DiskFull, 1)));
    world.link(2, false, 1, &[]);
    assert_eq!(world.node.held.reason(world.bob()), None, "a new link is not held");
    let mut world = World::linked(1);
    world.types("CHAT bob hi");
    let hold = Peer::Hold(Hold { reason: HoldReason::DISK_FULL, cursor: None });
    world.says(1, &[hold]);
    assert_eq!(texts(&world.says(1, &[Peer::Resume]), 1), ["hi"]);
}

#[test]
fn a_peer_that_has_lost_messages_gets_them_when_the_user_says_so() {
    let mut world = World::linked(1);
    world.types("CHAT bob one");
    world.says(1, &[Peer::Ack(cursor(1, 1))]);
    let actions = world.link(2, false, 2, &[]);
    assert!(texts(&actions, 2).is_empty() && sent(&actions, 2).contains(&&Peer::Skipped(cursor(1, 1))));
    assert!(world.notices.contains(&Notice::Lost { peer: name("bob"), messages: 1 }));
    assert_eq!(texts(&world.types("RESEND bob"), 2), ["one"]);
    world.types("RESEND bob");
    assert_eq!(world.errors(), [Code::NothingLost]);
}

#[test]
fn links_of_one_key_are_paced_and_those_of_strangers_few() {
    let mut world = asked(Strangers::Open);
    let accepted = (1..=100).filter(|link| !closed(&world.step(&[proved(*link, BOB, None)]), *link));
    assert_eq!(accepted.count(), 20);
    world.wait(20_000);
    let accepted = (101..=200).filter(|link| !closed(&world.step(&[proved(*link, BOB, None)]), *link));
    assert_eq!(accepted.count(), 10, "one every two seconds");
}

#[test]
fn a_lower_version_than_before_is_refused() {
    let proved = |link, version| {
        let route = Route::Direct { remote: address(4000) };
        Input::LinkUp { link, key: BOB, version, dialled: None, route, budget: 1 << 20 }
    };
    // Also than over the link by which this side has met them.
    let mut world = World::online();
    world.step(&[proved(1, 3), Input::LinkSays(1, vec![hello(1, &[])])]);
    let bob = ToClient::Identity(crate::protocol::rendezvous::Identity { key: BOB, name: Some(name("bob")) });
    assert!(!closed(&world.discovery(&[bob]), 1));
    assert!(closed(&world.step(&[proved(2, 2)]), 2));
    let mut world = World::with_bob();
    assert!(!closed(&world.step(&[proved(1, 3)]), 1));
    world.restart(2);
    world.step(&[]);
    assert!(closed(&world.step(&[proved(2, 2)]), 2));
    assert_eq!(world.errors(), [Code::BadPeer]);
}
