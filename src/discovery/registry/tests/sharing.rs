//! Nodes that share a ledger.

use super::*;
use crate::accounts::{Presence, Snapshot};
use crate::protocol::rendezvous::Mate;

const OWN: NodeId = 1;
const OTHER: NodeId = 2;

/// A node, and what it has changed.
struct Node {
    registry: Registry,
    changes: Vec<Change>,
}

impl Node {
    fn new() -> Self {
        Self { registry: Registry::new(OWN, Snapshot::default(), limits(9, false)), changes: Vec::new() }
    }

    fn handle(&mut self, event: &Event, saving: Saving) -> Vec<Action> {
        let mut decisions = Decisions::default();
        self.registry.handle(event, now(), saving, &mut decisions);
        self.registry.commit();
        self.changes.append(&mut decisions.changes);
        decisions.actions
    }

    fn say(&mut self, session: ConnectionId, message: ToDiscovery, saving: Saving) -> Vec<Action> {
        self.handle(&said(session, message), saving)
    }

    fn log_in(&mut self, session: ConnectionId, key: u8, name: &str, saving: Saving) -> Vec<Action> {
        let from = "127.0.0.1:50000".parse().unwrap();
        self.handle(&Event::Opened { session, key: PublicKey([key; 32]), from }, saving);
        self.say(session, register(name, 1000), saving)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Action> {
        let mut decisions = Decisions::default();
        self.registry.apply(changes, now(), &mut decisions);
        self.registry.commit();
        assert_eq!(decisions.changes, []);
        decisions.actions
    }

    fn announce(&mut self) -> Vec<Change> {
        let mut decisions = Decisions::default();
        self.registry.announce(now(), &mut decisions);
        self.registry.commit();
        decisions.changes
    }

    /// What another node does with the same is known here.
    fn user_elsewhere(&mut self, id: UserId, key: u8, name: &str) {
        let from = "127.0.0.1:50000".parse().unwrap();
        let address = "127.0.0.1:1000".parse().unwrap();
        let observed = "127.0.0.1".parse().unwrap();
        let registration = Registration { address, observed, strangers: Strangers::Open };
        let account = Account { id, name: name.parse().unwrap(), key: PublicKey([key; 32]), registration };
        let presence = Presence::new(OTHER, 70, from);
        self.apply(&[Change::AddUser { account, presence, now: 1 }]);
    }
}

fn other_node(reads: i32) -> Change {
    let address = "127.0.0.1:7".parse().unwrap();
    Change::AddNode { node: accounts::Node { id: OTHER, name: "n".into(), address, lost: false, reads } }
}

fn now() -> Now {
    Now { mono: Instant::START, wall: 1_000_000 }
}

fn about(actions: &[Action], name: &str) -> usize {
    let is_about = |message: &ToClient| match message {
        ToClient::Status(status) => status.name.as_str() == name,
        ToClient::Dropped(about) => about.name.as_str() == name,
        _ => false,
    };
    actions.iter().filter(|it| matches!(it, Action::Send { message, .. } if is_about(message))).count()
}

#[test]
fn what_one_node_does_is_what_another_one_has() {
    let mut node = Node::new();
    node.log_in(1, 1, "alice", Saving::Available);
    node.log_in(2, 2, "bob", Saving::Available);
    node.say(1, request("bob"), Saving::Available);
    node.say(2, request("alice"), Saving::Available);
    let mate = Mate { key: PublicKey([2; 32]), shares: true };
    node.say(1, ToDiscovery::Mate(mate), Saving::Available);
    let snapshot = node.registry.snapshot();
    let mut other = Registry::new(OTHER, Snapshot::default(), limits(9, false));
    other.apply(&node.changes, now(), &mut Decisions::default());
    other.commit();
    assert_eq!(other.snapshot(), snapshot);
    assert_eq!(Registry::new(OTHER, snapshot.clone(), limits(9, false)).snapshot(), snapshot);
    assert_eq!((snapshot.connections.len(), snapshot.presences.len(), snapshot.mates.len()), (1, 2, 1));
}

#[test]
fn a_move_within_a_session_is_no_new_session() {
    let (mut here, mut there) = (Node::new(), Node::new());
    here.log_in(1, 1, "alice", Saving::Available);
    there.registry = Registry::new(OTHER, here.registry.snapshot(), limits(9, false));
    there.log_in(2, 2, "bob", Saving::Available);
    there.apply(&[Change::AddConnection { one: 1, other: 2, now: 1 }]);
    here.changes.clear();
    here.say(1, register("alice", 1001), Saving::Available);
    let registration = here.registry.snapshot().accounts[0].registration;
    assert_eq!(registration.address.port(), 1001);
    assert_eq!(here.changes, [Change::Move { user: 1, registration, now: 1_000_000 }]);
    assert_eq!(about(&there.apply(&here.changes), "alice"), 1);
    assert_eq!(there.registry.snapshot().accounts[0].registration, registration);
    assert_eq!(about(&there.apply(&here.changes), "alice"), 0, "nothing is new");
}

#[test]
fn a_kind_of_change_is_written_once_all_nodes_read_it() {
    let mut node = Node::new();
    node.apply(&[other_node(Change::READ_BY_ALL)]);
    node.log_in(1, 1, "alice", Saving::Available);
    let presences = node.registry.snapshot().presences;
    let moved = |node: &mut Node, port| {
        node.changes.clear();
        node.say(1, register("alice", port), Saving::Available);
        let registration = node.registry.snapshot().accounts[0].registration;
        assert_eq!(registration.address.port(), port);
        assert_eq!(node.registry.snapshot().presences, presences);
        (node.changes.clone(), registration)
    };
    let (changes, registration) = moved(&mut node, 1001);
    let presence = presences[0].1.clone();
    let log_in = Change::LogIn { user: 1, registration, presence, anew: false, now: 1_000_000 };
    assert_eq!(changes, [log_in]);
    // A lost one may read what is written before it notices that it is lost.
    node.apply(&[Change::LoseNode { node: OTHER }]);
    assert!(matches!(moved(&mut node, 1002).0[..], [Change::LogIn { .. }]));
    node.apply(&[Change::ForgetNode { node: OTHER, now: 1 }]);
    assert!(matches!(moved(&mut node, 1003).0[..], [Change::Move { .. }]));
    node.apply(&[other_node(Change::READS)]);
    assert!(matches!(moved(&mut node, 1004).0[..], [Change::Move { .. }]));
}

#[test]
fn what_is_said_of_mates_while_nothing_can_be_saved_is_announced() {
    let mut node = Node::new();
    node.log_in(1, 1, "alice", Saving::Available);
    let mate = |shares, key| ToDiscovery::Mate(Mate { key: PublicKey([key; 32]), shares });
    node.say(1, mate(true, 5), Saving::Available);
    node.say(1, mate(false, 5), Saving::Unavailable);
    node.say(1, mate(true, 6), Saving::Unavailable);
    let kept = node.registry.snapshot().mates;
    assert_eq!(kept, [(1, PublicKey([5; 32]))], "as the ledger has it");
    let set = |key, shares| Change::SetMate { user: 1, key: PublicKey([key; 32]), shares };
    assert_eq!(node.announce(), [set(5, false), set(6, true)]);
    assert_eq!(node.announce(), []);
}

#[test]
fn an_end_that_could_not_be_saved_is_announced() {
    let mut node = Node::new();
    node.log_in(1, 1, "alice", Saving::Available);
    node.handle(&Event::Closed { session: 1 }, Saving::Unavailable);
    assert_eq!(node.registry.snapshot().presences.len(), 1, "as the ledger has it");
    let out = Change::LogOut { user: 1, node: OWN, session: 1, now: 1_000_000 };
    assert_eq!(node.announce(), [out]);
}

#[test]
fn who_comes_while_nothing_can_be_saved_is_told_later_what_was_not_known_here() {
    let mut node = Node::new();
    node.user_elsewhere(1, 1, "alice");
    node.user_elsewhere(2, 2, "bob");
    let told = node.log_in(1, 1, "alice", Saving::Unavailable);
    assert_eq!(about(&told, "bob"), 0);
    // Both were done at another node before.
    let asked = accounts::Request { typed: true, asked: 1, told: Some(1) };
    let told = node.apply(&[Change::SetRequest { asker: 1, target: 2, request: asked }]);
    assert_eq!(about(&told, "bob"), 1);
    let told = node
        .apply(&[Change::RemoveRequest { asker: 1, target: 2 }, Change::AddRefusal { by: 2, of: 1, now: 1 }]);
    assert_eq!(about(&told, "bob"), 1);
}

#[test]
fn the_newer_session_holds_wherever_it_is() {
    let mut node = Node::new();
    let from = "127.0.0.1:50000".parse().unwrap();
    node.handle(&Event::Opened { session: 1, key: PublicKey([1; 32]), from }, Saving::Available);
    let dial = |dial| match register("alice", 1000) {
        ToDiscovery::Register(register) => {
            ToDiscovery::Register(Register { start: Some(9), dial, ..register })
        }
        other => other,
    };
    node.say(1, dial(4), Saving::Available);
    let elsewhere = |dial| {
        let presence = Presence { start: Some(9), dial, ..Presence::new(OTHER, 70, from) };
        let registration = node.registry.snapshot().accounts[0].registration;
        Change::LogIn { user: 1, registration, presence, anew: true, now: 1 }
    };
    let [older, newer] = [3, 5].map(elsewhere);
    assert_eq!(node.apply(&[older]), [], "one that was dialled before does not hold");
    assert_eq!(node.apply(&[newer]), [Action::Close { session: 1 }]);
    // What was dialled before is late.
    node.handle(&Event::Opened { session: 2, key: PublicKey([1; 32]), from }, Saving::Available);
    assert_eq!(node.say(2, dial(2), Saving::Available), [Action::Close { session: 2 }]);
}

#[test]
fn users_of_a_lost_node_are_offline_once_it_is_forgotten() {
    let mut node = Node::new();
    node.apply(&[other_node(Change::READS)]);
    node.user_elsewhere(1, 1, "alice");
    let forget = Change::ForgetNode { node: OTHER, now: 1 };
    let mut decisions = Decisions::default();
    node.registry.change_nodes(&forget, now(), &mut decisions);
    assert_eq!(decisions.changes, [], "it is not lost");
    node.apply(&[Change::LoseNode { node: OTHER }]);
    assert_eq!(node.registry.figures().online, 1);
    node.registry.change_nodes(&forget, now(), &mut decisions);
    node.registry.commit();
    assert_eq!((decisions.changes, node.registry.figures().online), (vec![forget], 0));
}
