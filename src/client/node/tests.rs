//! The rules of a node one by one, with a supplied clock. How they hold together is shown by the
//! simulation of whole networks.

use std::net::SocketAddr;

use super::super::command::{Command, parse};
use super::super::event::{Action, Input, LinkId, Problem};
use super::super::notice::{Code, Notice, UpDown};
use super::*;
use crate::noise::Keypair;
use crate::protocol::peer::{Bye, ByeReason, Cursor, Hello, Kind, Message, Peer};
use crate::protocol::rendezvous::{About, Identity, Registered, Status, ToClient, ToDiscovery};
use crate::protocol::{DEAD_AFTER, MAX_TEXT, PING_AFTER};
use crate::time::millis;

mod acquaintance;
mod attention;
mod search;

const OWN: PublicKey = PublicKey([5; 32]);
const BOB: PublicKey = PublicKey([7; 32]);
const SESSION: LinkId = 1000;

struct World {
    now: Now,
    journal: Journal,
    node: Node,
    notices: Vec<Notice>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn setup(epoch: u64) -> Setup {
    Setup {
        name: name("alice"),
        key: OWN,
        listen: address(1),
        endpoint: "localhost:7667".into(),
        discovery_key: None,
        silent: false,
        linger: Some(10_000),
        epoch,
        seed: 1,
    }
}

impl World {
    fn new() -> Self {
        let journal = Journal::in_memory(&name("alice"), &Keypair::generate().unwrap()).unwrap();
        let now = Now { mono: 0, wall: 1_000_000 };
        let node = Node::new(setup(1), now, &journal).unwrap();
        Self { now, journal, node, notices: Vec::new() }
    }

    /// Registered with discovery, which knows of nobody.
    fn online() -> Self {
        let mut world = Self::new();
        world.step(&[]);
        world.step(&[Input::RendezvousUp { session: SESSION, key: PublicKey([9; 32]) }]);
        world.discovery(&[ToClient::Registered(Registered { address: address(1) }), ToClient::Synced]);
        world
    }

    /// The same, with bob as a contact.
    fn with_bob() -> Self {
        let mut world = Self::online();
        world.discovery(&[status("bob", BOB, true)]);
        let contact = world.bob().row.id;
        world.step(&[Input::DialFailed { contact, problems: Vec::new() }]);
        world
    }

    /// The same, and bob's link is up.
    fn linked(link: LinkId) -> Self {
        let mut world = Self::with_bob();
        world.link(link, false, 1, &[]);
        world
    }

    /// One transaction, committed.
    fn step(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.commit().unwrap();
        let actions = self.node.committed();
        self.read(actions)
    }

    /// One transaction that can't be committed.
    fn fail(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.rollback();
        let actions = self.node.recover(self.now, &self.journal, inputs, 77).unwrap();
        self.read(actions)
    }

    /// Prints what is to be printed, at once.
    fn read(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let mut rest = Vec::new();
        for action in actions {
            if let Action::Print(notices) = action {
                self.notices.extend(notices.into_iter().map(|told| told.notice));
                self.node.handle(self.now, &self.journal, &Input::Printed).unwrap();
            } else {
                rest.push(action);
            }
        }
        rest
    }

    fn later(&mut self, ms: u64) -> Vec<Action> {
        self.now.mono += ms;
        self.step(&[])
    }

    fn discovery(&mut self, messages: &[ToClient]) -> Vec<Action> {
        self.step(&[Input::RendezvousSays(SESSION, messages.to_vec())])
    }

    fn types(&mut self, line: &str) -> Vec<Action> {
        self.step(&[typed(line)])
    }

    /// Bob proves his key and says hello.
    fn link(&mut self, link: LinkId, dialled: bool, epoch: u64, cursors: &[Cursor]) -> Vec<Action> {
        let dialled = dialled.then(|| self.node.by_name[&name("bob")]);
        let up = Input::LinkUp { link, key: BOB, dialled, remote: address(4000), budget: 1 << 20 };
        let mut actions = self.step(&[up]);
        actions.extend(self.says(link, &[hello(epoch, cursors)]));
        actions
    }

    fn says(&mut self, link: LinkId, messages: &[Peer]) -> Vec<Action> {
        self.step(&[Input::LinkSays(link, messages.to_vec())])
    }

    /// The program is killed and started again.
    fn restart(&mut self, epoch: u64) {
        self.node = Node::new(setup(epoch), self.now, &self.journal).unwrap();
        self.notices.clear();
    }

    fn bob(&self) -> &Contact {
        &self.node.contacts[&self.node.by_name[&name("bob")]]
    }

    fn shown(&self) -> Vec<&str> {
        let text = |notice: &_| match notice {
            Notice::Message { text: super::super::notice::Body::Text(text), .. } => Some(text.clone()),
            _ => None,
        };
        self.notices.iter().filter_map(text).map(|text| &*text.leak()).collect()
    }

    fn errors(&self) -> Vec<Code> {
        let code = |notice: &Notice| match notice {
            Notice::Error(trouble) => Some(trouble.code),
            _ => None,
        };
        self.notices.iter().filter_map(code).collect()
    }

    fn delivered(&self) -> usize {
        self.notices.iter().filter(|notice| matches!(notice, Notice::Delivered { .. })).count()
    }
}

fn typed(line: &str) -> Input {
    Input::typed(parse(line).unwrap())
}

fn status(who: &str, key: PublicKey, asks: bool) -> ToClient {
    ToClient::Status(Status { name: name(who), key, address: Some(address(4000)), online: true, asks })
}

fn hello(epoch: u64, cursors: &[Cursor]) -> Peer {
    Peer::Hello(Hello { name: name("bob"), epoch, port: 4000, window: 1 << 20, cursors: cursors.to_vec() })
}

fn message(epoch: u64, number: u64, text: &str) -> Peer {
    Peer::Message(Message { epoch, number, kind: Kind::TEXT, sent: 0, body: text.into() })
}

fn cursor(epoch: u64, number: u64) -> Cursor {
    Cursor { epoch, number }
}

fn sent(actions: &[Action], to: LinkId) -> Vec<&Peer> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send(link, messages) if *link == to => Some(messages),
        _ => None,
    });
    frames.flatten().collect()
}

fn texts(actions: &[Action], to: LinkId) -> Vec<String> {
    let texts = sent(actions, to).into_iter().filter_map(|said| match said {
        Peer::Message(message) => Some(String::from_utf8(message.body.clone()).unwrap()),
        _ => None,
    });
    texts.collect()
}

fn closed(actions: &[Action], link: LinkId) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close(closed) if *closed == link))
}

fn dials(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
}

#[test]
fn what_is_written_goes_out_in_order_and_is_delivered_when_acknowledged() {
    let mut world = World::linked(1);
    assert_eq!(texts(&world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]), 1), ["one", "two"]);
    assert_eq!((world.bob().waiting, world.delivered()), (2, 0));
    world.says(1, &[Peer::Ack(cursor(1, 1))]);
    assert_eq!((world.bob().waiting, world.delivered()), (1, 1));
    // An acknowledgement that comes twice, or of another epoch, says nothing.
    world.says(1, &[Peer::Ack(cursor(1, 1)), Peer::Ack(cursor(99, 2))]);
    assert_eq!((world.bob().waiting, world.delivered()), (1, 1));
    world.says(1, &[Peer::Ack(cursor(1, u64::MAX))]);
    assert_eq!((world.bob().waiting, world.delivered()), (0, 2));
}

#[test]
fn what_was_not_acknowledged_goes_out_again_after_a_restart_under_its_old_name() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.says(1, &[Peer::Ack(cursor(1, 1))]);
    world.restart(2);
    world.types("CHAT bob three");
    let actions = world.link(2, false, 1, &[cursor(1, 1)]);
    let names: Vec<_> = sent(&actions, 2)
        .into_iter()
        .filter_map(|said| if let Peer::Message(message) = said { Some(message.cursor()) } else { None })
        .collect();
    assert_eq!(names, [cursor(1, 2), cursor(2, 3)]);
    world.says(2, &[Peer::Ack(cursor(2, 3))]);
    assert_eq!((world.bob().waiting, world.delivered()), (0, 2));
}

#[test]
fn a_hello_tells_what_arrived_when_the_acknowledgement_was_lost() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.step(&[Input::LinkClosed(1)]);
    let actions = world.link(2, false, 1, &[cursor(1, 1)]);
    assert_eq!(texts(&actions, 2), ["two"]);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn a_receiver_who_was_restored_from_a_backup_is_served_from_where_it_is() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.says(1, &[Peer::Ack(cursor(1, 2))]);
    world.step(&[Input::LinkClosed(1)]);
    assert_eq!(texts(&world.link(2, false, 2, &[cursor(1, 1)]), 2), ["two"]);
    world.step(&[Input::LinkClosed(2)]);
    assert_eq!(texts(&world.link(3, false, 3, &[]), 3), ["one", "two"]);
    world.says(3, &[Peer::Ack(cursor(1, 2))]);
    assert_eq!(world.delivered(), 2, "what was delivered once is not told again");
}

#[test]
fn the_window_bounds_what_is_unacknowledged() {
    let mut world = World::linked(1);
    let text = "x".repeat(MAX_TEXT);
    let mut out = 0;
    for _ in 0..64 {
        out += texts(&world.types(&format!("CHAT bob {text}")), 1).len();
    }
    // The window is half of the budget of one mebibyte, and waits until half of it is free.
    assert!((8..=16).contains(&out), "{out}");
    let more = texts(&world.says(1, &[Peer::Ack(cursor(1, 8))]), 1).len();
    assert!((8..=16).contains(&more), "{more}");
    // The last of them is still one that the window let through.
    let mut left = 64 - out - more;
    for number in 9..=64 {
        left -= texts(&world.says(1, &[Peer::Ack(cursor(1, number))]), 1).len();
    }
    assert_eq!((left, world.bob().waiting), (0, 0));
}

#[test]
fn a_window_of_nothing_still_takes_one_message_at_a_time() {
    let mut world = World::with_bob();
    world.types("CHAT bob one");
    world.types("CHAT bob two");
    let up = Input::LinkUp { link: 1, key: BOB, dialled: None, remote: address(4000), budget: 1 << 20 };
    let tiny = Hello { name: name("bob"), epoch: 1, port: 1, window: 0, cursors: vec![] };
    let actions = world.step(&[up, Input::LinkSays(1, vec![Peer::Hello(tiny)])]);
    assert_eq!(texts(&actions, 1), ["one"]);
    assert_eq!(texts(&world.says(1, &[Peer::Ack(cursor(1, 1))]), 1), ["two"]);
}

#[test]
fn a_message_is_shown_once_and_acknowledged_each_time() {
    let mut world = World::linked(1);
    let actions = world.says(1, &[message(8, 1, "one"), message(8, 4, "four"), message(8, 4, "four")]);
    assert_eq!(sent(&actions, 1), [&Peer::Ack(cursor(8, 4))]);
    let actions = world.says(1, &[message(8, 1, "one")]);
    assert_eq!(sent(&actions, 1), [&Peer::Ack(cursor(8, 1))]);
    // Another epoch counts for itself, and the first is not forgotten.
    world.says(1, &[message(9, 1, "new"), message(8, 4, "four"), message(8, 5, "five")]);
    assert_eq!(world.shown(), ["one", "four", "new", "five"]);
}

#[test]
fn what_came_with_the_last_frame_of_a_link_is_not_taken_a_second_time() {
    let mut world = World::linked(1);
    // The message and the end of its link in one transaction: nothing is left to acknowledge.
    world.step(&[Input::LinkSays(1, vec![message(8, 1, "one")]), Input::LinkClosed(1)]);
    world.step(&[]);
    world.restart(2);
    world.link(2, false, 1, &[]);
    world.says(2, &[message(8, 1, "one")]);
    // Whether it was seen before the restart is not known: it is shown once more, from the journal.
    assert_eq!(world.shown(), ["one"]);
    assert_eq!(world.journal.last_seq().unwrap(), 1);
}

#[test]
fn what_was_not_printed_before_a_kill_is_shown_again_and_marked() {
    let mut world = World::linked(1);
    world.journal.begin().unwrap();
    let says = Input::LinkSays(1, vec![message(8, 1, "one")]);
    world.node.handle(world.now, &world.journal, &says).unwrap();
    world.node.finish(world.now, &world.journal).unwrap();
    world.journal.commit().unwrap();
    drop(world.node.committed());
    world.restart(2);
    world.step(&[]);
    let replayed =
        world.notices.iter().any(|notice| matches!(notice, Notice::Message { replayed: true, .. }));
    assert!(replayed, "{:?}", world.notices);
    // It is saved that it has been shown, some time later.
    world.later(LAZY_SAVE + 1);
    world.restart(3);
    world.step(&[]);
    assert_eq!(world.shown().len(), 0);
}

#[test]
fn a_failed_transaction_promises_nothing_and_repeats_nothing() {
    let mut world = World::linked(1);
    world.types("CHAT bob one");
    world.says(1, &[message(8, 1, "theirs")]);
    let before = world.notices.len();
    let actions = world.fail(&[typed("CHAT bob two"), Input::LinkSays(1, vec![message(8, 2, "lost")])]);
    assert!(closed(&actions, 1) && sent(&actions, 1).is_empty(), "{actions:?}");
    assert_eq!(world.errors(), [Code::NotSaved]);
    let told: Vec<_> = world.notices[before..].iter().collect();
    assert!(!told.iter().any(|notice| matches!(notice, Notice::Queued { .. } | Notice::Message { .. })));
    // It goes on, under another epoch, and what the other side sends again is new.
    let actions = world.link(2, false, 1, &[cursor(1, 1)]);
    assert_eq!(texts(&actions, 2).len(), 0);
    let actions = world.types("CHAT bob three");
    let Some(Peer::Message(three)) = sent(&actions, 2).first() else { panic!("{actions:?}") };
    assert_eq!(three.epoch, 77);
    world.says(2, &[message(8, 1, "theirs"), message(8, 2, "lost")]);
    assert_eq!(world.shown(), ["theirs", "lost"]);
}

#[test]
fn commands_that_write_nothing_are_carried_out_even_then() {
    let mut world = World::linked(1);
    world.fail(&[typed("CONTACTS"), typed("HELP")]);
    assert_eq!(world.errors(), []);
    assert!(world.notices.iter().any(|notice| matches!(notice, Notice::Contacts { .. })));
    let actions = world.fail(&[typed("LOGOUT")]);
    assert!(actions.iter().any(|action| matches!(action, Action::Exit(0, None))));
}

#[test]
fn of_two_links_that_cross_both_sides_keep_the_one_that_the_lower_key_dialled() {
    // This side has the lower key: its own dial stays, in whatever order they come up.
    for own_first in [true, false] {
        let mut world = World::with_bob();
        let (first, second) = if own_first { (true, false) } else { (false, true) };
        world.link(1, first, 1, &[]);
        let actions = world.link(2, second, 1, &[]);
        let (kept, gone) = if own_first { (1, 2) } else { (2, 1) };
        assert_eq!(world.bob().link, Some(kept));
        assert!(closed(&actions, gone) && !closed(&actions, kept));
        let downs = |notice: &&Notice| matches!(notice, Notice::Link { state: UpDown::Down, .. });
        assert_eq!(world.notices.iter().filter(downs).count(), 0);
        // The end of the other one is no news.
        world.step(&[Input::LinkClosed(gone)]);
        assert_eq!(world.bob().link, Some(kept));
    }
}

#[test]
fn whoever_dials_again_or_long_after_or_anew_does_not_believe_in_the_older_link() {
    // Again: the same side has dialled both.
    let mut world = World::linked(1);
    assert!(closed(&world.link(2, false, 1, &[]), 1));
    // Long after: the link that this side dialled is dead for the other.
    let mut world = World::with_bob();
    world.link(1, true, 1, &[]);
    world.now.mono += 11_000;
    assert!(closed(&world.link(2, false, 1, &[]), 1));
    // Anew: another start, perhaps on another machine. The older one is told.
    let mut world = World::with_bob();
    world.link(1, true, 1, &[]);
    let actions = world.link(2, false, 2, &[]);
    assert_eq!(sent(&actions, 1), [&Peer::Bye(Bye { reason: ByeReason::SUPERSEDED })]);
    assert_eq!(world.bob().link, Some(2));
}

#[test]
fn silence_is_broken_and_then_taken_for_death() {
    let mut world = World::linked(1);
    assert_eq!(sent(&world.later(millis(PING_AFTER)), 1), [&Peer::Ping]);
    assert!(world.node.deadline() <= world.now.mono + millis(PING_AFTER));
    world.says(1, &[Peer::Ping]);
    let mut actions = world.later(millis(DEAD_AFTER) - 1);
    assert_eq!(world.bob().link, Some(1));
    actions = [actions, world.later(1)].into_iter().flatten().collect();
    assert!(closed(&actions, 1));
    assert_eq!(world.bob().link, None);
}

#[test]
fn who_can_not_be_reached_is_dialled_ever_later_but_always_again() {
    let mut world = World::with_bob();
    let bob = world.bob().row.id;
    let mut dialled_at = Vec::new();
    for _ in 0..200_000 {
        if dialled_at.len() >= 30 {
            break;
        }
        world.now.mono = world.node.deadline().max(world.now.mono + 1);
        if dials(&world.step(&[])) > 0 {
            dialled_at.push(world.now.mono);
            let problems = vec![(address(4000), Problem::Other("refused".into()))];
            world.step(&[Input::DialFailed { contact: bob, problems }]);
        }
        // Discovery goes on to be there.
        world.discovery(&[ToClient::Pong]);
    }
    let waits: Vec<_> = dialled_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 29);
    assert!(waits[0] <= 500 && waits[28] >= 4_000 && waits.iter().all(|wait| *wait <= 8_001), "{waits:?}");
}

#[test]
fn a_message_to_somebody_unlinked_brings_the_next_dial_forward() {
    let mut world = World::linked(1);
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::LOGOUT })]);
    assert_eq!(dials(&world.later(3_000)), 0);
    assert_eq!(dials(&world.types("CHAT bob hello?")), 1);
}

#[test]
fn another_key_is_refused_until_it_is_trusted() {
    const OTHER: PublicKey = PublicKey([8; 32]);
    let mut world = World::with_bob();
    world.types("CHAT bob secret");
    world.discovery(&[status("bob", OTHER, true), status("bob", OTHER, true)]);
    assert_eq!(world.errors(), [Code::KeyChanged], "said once");
    let up = |link| Input::LinkUp { link, key: OTHER, dialled: None, remote: address(6), budget: 1 << 20 };
    world.step(&[up(1)]);
    let name_of = |key| ToClient::Identity(Identity { key, name: Some(name("bob")) });
    let actions = world.discovery(&[name_of(OTHER)]);
    assert!(closed(&actions, 1) && texts(&actions, 1).is_empty());
    world.types("TRUST bob");
    let actions = world.step(&[up(2), Input::LinkSays(2, vec![hello(1, &[])])]);
    assert_eq!(texts(&actions, 2), ["secret"]);
    // The old key's holder is a stranger now.
    let old = Input::LinkUp { link: 3, key: BOB, dialled: None, remote: address(6), budget: 1 << 20 };
    let actions = world.step(&[old]);
    assert!(actions.iter().any(
        |action| matches!(action, Action::TellDiscovery(_, said) if matches!(said[..], [ToDiscovery::Identify(_)]))
    ));
}

#[test]
fn discovery_that_names_one_key_for_two_users_changes_nothing() {
    let mut world = World::with_bob();
    world.discovery(&[status("mallory", BOB, true)]);
    assert!(!world.node.by_name.contains_key(&name("mallory")));
    world.types("REQUEST carol");
    world.discovery(&[status("carol", BOB, false)]);
    assert_eq!(world.errors(), [Code::KeyChanged]);
    world.types("TRUST carol");
    assert_eq!(world.bob().row.key, Some(BOB));
    assert_eq!(world.node.by_key[&BOB], world.bob().row.id);
}

#[test]
fn who_is_not_in_the_answer_to_a_login_is_requested_again() {
    let mut world = World::with_bob();
    world.step(&[Input::RendezvousClosed(SESSION)]);
    let actions = world.later(2_000);
    assert!(actions.iter().any(|action| matches!(action, Action::DialRendezvous(Some(_)))));
    world.step(&[Input::RendezvousUp { session: SESSION + 1, key: PublicKey([9; 32]) }]);
    let says = |messages: Vec<ToClient>| Input::RendezvousSays(SESSION + 1, messages);
    let registered = ToClient::Registered(Registered { address: address(1) });
    let actions = world.step(&[says(vec![registered, ToClient::Synced])]);
    let asked = ToDiscovery::Request(About { name: name("bob") });
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::TellDiscovery(_, said) if said[..] == [asked.clone()]))
    );
}

#[test]
fn the_end_of_input_waits_for_what_is_waiting_and_no_longer_than_it_may() {
    let status_of = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Exit(status, _) => Some(*status),
            _ => None,
        })
    };
    let mut world = World::linked(1);
    world.types("CHAT bob one");
    assert_eq!(status_of(&world.step(&[Input::InputEnded])), None);
    let actions = world.says(1, &[Peer::Ack(cursor(1, 1))]);
    let actions = if status_of(&actions).is_none() { world.step(&[]) } else { actions };
    assert_eq!(status_of(&actions), Some(0));

    let mut world = World::with_bob();
    world.types("CHAT bob one");
    world.step(&[Input::InputEnded]);
    assert_eq!(status_of(&world.later(9_999)), None);
    assert!(world.node.deadline() <= world.now.mono + 1);
    assert_eq!(status_of(&world.later(1)), Some(STILL_WAITING));
}

#[test]
fn every_command_that_writes_is_refused_when_nothing_can_be_written() {
    for (line, written) in [
        ("CHAT bob x", true),
        ("REQUEST carol", true),
        ("BLOCK bob", true),
        ("OUTBOX", false),
        ("HELP", false),
    ] {
        let Some(Ok(command)) = parse(line) else { panic!("{line}") };
        assert_eq!(Command::is_written(&command), written, "{line}");
        let mut world = World::with_bob();
        world.fail(&[typed(line)]);
        assert_eq!(world.errors() == [Code::NotSaved], written, "{line}");
    }
}

#[test]
fn a_crowd_that_does_not_answer_does_not_keep_others_from_being_dialled() {
    let mut world = World::online();
    // Each dial takes until its deadline: more than can be tried once in the longest back-off.
    let crowd: Vec<_> = (0..300u16)
        .map(|i| {
            let mut key = [100; 32];
            key[1..3].copy_from_slice(&i.to_be_bytes());
            ToClient::Status(Status {
                name: name(&format!("dead{i}")),
                key: PublicKey(key),
                address: Some(address(9)),
                online: false,
                asks: true,
            })
        })
        .collect();
    let mut actions = world.discovery(&crowd);
    actions.extend(world.discovery(&[status("bob", BOB, true)]));
    let bob = world.bob().row.id;
    let mut dialled = Vec::new();
    for _ in 0..20 {
        let underway: Vec<_> = actions
            .drain(..)
            .filter_map(|action| if let Action::Dial { contact, .. } = action { Some(contact) } else { None })
            .collect();
        assert!(underway.len() <= 32);
        dialled.extend(&underway);
        let failed: Vec<_> =
            underway.into_iter().map(|contact| Input::DialFailed { contact, problems: vec![] }).collect();
        actions = world.step(&failed);
        actions.extend(world.later(5_000));
        world.discovery(&[ToClient::Pong]);
    }
    assert!(dialled.contains(&bob));
}

#[test]
fn trust_of_a_named_key_takes_no_other() {
    let mut world = World::with_bob();
    world.discovery(&[status("bob", PublicKey([8; 32]), true)]);
    world.types("TRUST bob 0909");
    assert_eq!(world.bob().row.key, Some(BOB));
    world.types("TRUST bob 0808");
    assert_eq!(world.bob().row.key, Some(PublicKey([8; 32])));
}

#[test]
fn all_that_was_written_to_nobody_is_given_back_before_it_is_forgotten() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    let text = "x".repeat(MAX_TEXT);
    for _ in 0..400 {
        world.types(&format!("CHAT ghost {text}"));
    }
    let ghost = About { name: name("ghost") };
    // Far more than the console is given at once: the rest waits in the journal for it to be written.
    world.discovery(&[ToClient::NoSuchUser(ghost)]);
    world.types("CHAT ghost more");
    assert!(world.errors().contains(&Code::NotAContact));
    (0..10).for_each(|_| _ = world.step(&[]));
    let given_back = world.errors().iter().filter(|code| **code == Code::Undeliverable).count();
    assert_eq!(given_back, 400);
    assert_eq!(world.journal.contacts().unwrap(), []);
}

#[test]
fn what_is_told_of_connections_survives_a_failed_transaction() {
    let mut world = World::linked(1);
    let superseded = ToClient::Superseded(Registered { address: address(3) });
    world.fail(&[Input::RendezvousSays(SESSION, vec![superseded])]);
    assert_eq!(world.errors(), [Code::Superseded]);
    let mut world = World::linked(1);
    world.fail(&[Input::RendezvousClosed(SESSION)]);
    let down = |notice: &&Notice| matches!(notice, Notice::Discovery { state: UpDown::Down, .. });
    assert_eq!(world.notices.iter().filter(down).count(), 1);
}

#[test]
fn nobody_waits_for_ever_for_what_can_not_be_delivered() {
    let exits = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Exit(..)));
    let mut forever = setup(1);
    forever.linger = None;
    for block in [true, false] {
        let mut world = World::with_bob();
        world.node.setup = forever.clone();
        world.types("CHAT bob x");
        if block {
            world.types("BLOCK bob");
        } else {
            world.discovery(&[ToClient::Superseded(Registered { address: address(3) })]);
        }
        let mut actions = world.step(&[Input::InputEnded]);
        actions.extend(world.step(&[]));
        assert!(exits(&actions), "{block}");
    }
}

#[test]
fn somebody_who_registers_a_moment_too_late_is_a_contact_all_the_same() {
    let mut world = World::online();
    world.types("REQUEST bob");
    world.types("CHAT bob hello?");
    // Both in one transaction: there was no such user, and now there is.
    let messages = [ToClient::NoSuchUser(About { name: name("bob") }), status("bob", BOB, true)];
    world.discovery(&messages);
    // What was given back is not sent, and discovery is asked for what it has said of bob.
    assert_eq!(world.errors(), [Code::NoSuchUser, Code::Undeliverable]);
    let asked = |action: &Action| matches!(action, Action::TellDiscovery(_, said) if matches!(said[..], [ToDiscovery::Request(_)]));
    assert!(world.step(&[]).iter().any(asked));
    world.discovery(&[status("bob", BOB, true)]);
    let contact = world.bob().row.id;
    world.step(&[Input::DialFailed { contact, problems: vec![] }]);
    assert_eq!(texts(&world.link(1, false, 1, &[]), 1), [""; 0]);
    assert_eq!(world.bob().row.key, Some(BOB));
}

#[test]
fn what_was_given_back_to_nobody_s_eyes_is_given_back_again_after_a_kill() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    world.types("CHAT ghost hello?");
    world.journal.begin().unwrap();
    let unknown = Input::RendezvousSays(SESSION, vec![ToClient::NoSuchUser(About { name: name("ghost") })]);
    world.node.handle(world.now, &world.journal, &unknown).unwrap();
    world.node.finish(world.now, &world.journal).unwrap();
    world.journal.commit().unwrap();
    assert!(world.node.committed().iter().any(|action| matches!(action, Action::Print(_))));
    // Killed before the console has written it; and meanwhile somebody has taken the name.
    world.restart(2);
    world.step(&[]);
    assert_eq!(world.errors(), [Code::NoSuchUser, Code::Undeliverable]);
    world.step(&[]);
    assert_eq!(world.journal.contacts().unwrap(), []);
    world.restart(3);
    world.step(&[]);
    assert_eq!(world.errors(), []);
}

#[test]
fn a_backlog_goes_out_in_few_frames_however_little_each_acknowledgement_frees() {
    let mut world = World::with_bob();
    let contact = world.bob().row.id;
    let up =
        Input::LinkUp { link: 1, key: BOB, dialled: Some(contact), remote: address(4000), budget: 16 << 10 };
    (0..400).for_each(|number| _ = world.types(&format!("CHAT bob {number}")));
    world.step(&[up]);
    let mut actions = world.says(1, &[hello(1, &[])]);
    let mut received: Vec<Cursor> = Vec::new();
    let mut frames = 0;
    // Bob acknowledges message by message.
    while received.len() < 400 {
        for said in actions.iter().filter_map(|action| match action {
            Action::Send(1, said) => Some(said),
            _ => None,
        }) {
            let messages = said.iter().filter_map(|said| match said {
                Peer::Message(message) => Some(message.cursor()),
                _ => None,
            });
            let before = received.len();
            received.extend(messages);
            frames += usize::from(received.len() > before);
        }
        let next = world.bob().row.delivered.unsigned_abs();
        let Some(ack) = received.iter().find(|cursor| cursor.number > next) else {
            break;
        };
        actions = world.says(1, &[Peer::Ack(*ack)]);
    }
    assert_eq!(received.len(), 400);
    assert!(frames <= 20, "{frames} frames");
}

#[test]
fn who_answers_and_wants_no_link_is_looked_for_at_the_other_address() {
    let mut world = World::linked(1);
    world.step(&[Input::LinkClosed(1)]);
    let moved = |port| {
        ToClient::Status(Status {
            name: name("bob"),
            key: BOB,
            address: Some(address(port)),
            online: true,
            asks: false,
        })
    };
    let first_tried = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Dial { addresses, .. } => addresses.first().copied(),
            _ => None,
        })
    };
    // An older client with bob's key still answers where he told last.
    let actions = world.discovery(&[moved(5000)]);
    assert_eq!(first_tried(&actions), Some(address(5000)));
    let contact = world.bob().row.id;
    let up =
        Input::LinkUp { link: 2, key: BOB, dialled: Some(contact), remote: address(5000), budget: 1 << 20 };
    world.step(&[up]);
    world.says(2, &[Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED })]);
    assert_eq!(first_tried(&world.later(60_000)), Some(address(4000)));
}

#[test]
fn that_there_is_no_such_user_is_told_after_a_transaction_that_failed() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    let text = "x".repeat(MAX_TEXT);
    // More than is given back in one transaction.
    (0..400).for_each(|_| _ = world.types(&format!("CHAT ghost {text}")));
    let unknown = || ToClient::NoSuchUser(About { name: name("ghost") });
    world.fail(&[Input::RendezvousSays(SESSION, vec![unknown()])]);
    assert_eq!(world.errors(), []);
    world.later(2_000);
    world.step(&[Input::RendezvousUp { session: SESSION + 1, key: PublicKey([9; 32]) }]);
    let registered = ToClient::Registered(Registered { address: address(1) });
    world.step(&[Input::RendezvousSays(SESSION + 1, vec![registered, ToClient::Synced, unknown()])]);
    assert_eq!(world.errors().first(), Some(&Code::NoSuchUser));
    (0..10).for_each(|_| _ = world.step(&[]));
    assert_eq!(world.journal.contacts().unwrap(), []);
}
