//! How two users are helped to a way to each other.

use super::*;
use crate::protocol::rendezvous::{Candidate, CandidateKind};

fn about(text: &str) -> About {
    About { name: name(text) }
}

fn punch(text: &str) -> ToDiscovery {
    ToDiscovery::Punch(about(text))
}

fn relay(text: &str) -> ToDiscovery {
    ToDiscovery::Relay(about(text))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What a client says that has a router with a mapped port, and some addresses of its own.
fn reachable(text: &str, mapped: Option<&str>, local: &[&str], rtt: u32) -> ToDiscovery {
    let listen = at("0.0.0.0:1000");
    let local = local.iter().map(|ip| ip.parse().unwrap()).collect();
    let register = Register::new(name(text), listen, Some(7), Strangers::Open);
    ToDiscovery::Register(Register { port: 5000, rtt, mapped: mapped.map(at), local, ..register })
}

impl World {
    /// A user who is there, seen from this address.
    fn user_from(&mut self, key: u8, from: &str, register: ToDiscovery) -> ConnectionId {
        let (session, opened) = self.opened(key, from);
        self.batch(&[opened, said(session, register)]);
        session
    }
}

/// Where else bob is said to be, in each message about bob to this session.
fn also(actions: &[Action], to: ConnectionId) -> Vec<Vec<Candidate>> {
    let also = |action: &Action| match action {
        Action::Send { session, message: ToClient::Status(status) } if *session == to => {
            (status.name == name("bob")).then(|| status.also.clone())
        }
        _ => None,
    };
    actions.iter().filter_map(also).collect()
}

#[test]
fn only_contacts_are_told_where_else_a_user_may_be_reachable() {
    let mut world = World::new();
    let alice = world.user_from(1, "192.0.2.1:40001", reachable("alice", None, &[], 0));
    let register = |mapped, local: &[&str]| reachable("bob", Some(mapped), local, 0);
    let bob = world.user_from(2, "192.0.2.1:40002", register("192.0.2.1:7000", &["10.0.0.2"]));
    let mapped = Candidate { address: at("192.0.2.1:7000"), kind: CandidateKind::Mapped };
    let lan = |ip: &str| Candidate {
        address: SocketAddr::new(ip.parse().unwrap(), 1000),
        kind: CandidateKind::Lan,
    };
    assert_eq!(also(&world.say(alice, request("bob")), alice), [vec![]], "a stranger");
    assert_eq!(also(&world.say(bob, request("alice")), alice), [vec![mapped, lan("10.0.0.2")]]);
    // Carol comes from elsewhere.
    let carol = world.user_from(3, "198.51.100.1:40003", reachable("carol", None, &[], 0));
    world.connect((carol, "carol"), (bob, "bob"));
    let actions = world.say(carol, request("bob"));
    assert_eq!(also(&actions, carol), [vec![mapped]]);
    // What changes is told at once, and what does not change is not.
    let actions = world.say(bob, register("192.0.2.1:7000", &["10.0.0.3"]));
    assert_eq!(also(&actions, alice), [vec![mapped, lan("10.0.0.3")]]);
    assert_eq!(also(&actions, carol), [vec![mapped]]);
    assert!(also(&world.say(bob, register("192.0.2.1:7000", &["10.0.0.3"])), alice).is_empty());
    // Neither in a new session of the same client.
    let (again, opened) = world.opened(2, "192.0.2.1:40009");
    let actions = world.batch(&[opened, said(again, register("192.0.2.1:7000", &["10.0.0.4"]))]);
    assert_eq!(also(&actions, alice), [vec![mapped, lan("10.0.0.4")]]);
    // A user who is away has no session that could be reached.
    assert_eq!(also(&world.close(again), alice), [vec![]]);
}

#[test]
fn both_sides_of_a_punch_are_told_the_same_moment_and_each_the_other_s_address() {
    let mut world = World::new();
    let alice = world.user_from(1, "192.0.2.1:40001", reachable("alice", None, &["10.0.0.1"], 20));
    let bob = world.user_from(2, "198.51.100.1:40002", reachable("bob", None, &["2001:db8::2"], 60));
    world.connect((alice, "alice"), (bob, "bob"));
    let side = |session, with, wait, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| at(text)).collect();
        (Whereabouts::Here(session), Punch { name: name(with), token: [0; 16], wait, addresses })
    };
    let to_alice = side(alice, "bob", 220, &["198.51.100.1:40002", "[2001:db8::2]:5000"]);
    let to_bob = side(bob, "alice", 200, &["192.0.2.1:40001"]);
    let sides = [to_alice.clone(), to_bob.clone()];
    assert_eq!(world.say(alice, punch("bob")), [Action::Punch { sides }]);
    // Bob has asked at the same time: it is the same one.
    assert_eq!(world.say(bob, punch("alice")), []);
    world.later(5_000);
    world.assert_refused(bob, punch("alice"), RefusedCode::TOO_SOON, "alice");
    world.later(5_000);
    assert_eq!(world.say(bob, punch("alice")), [Action::Punch { sides: [to_bob, to_alice] }]);
    world.close(bob);
    world.assert_refused(alice, punch("bob"), RefusedCode::NOT_ONLINE, "bob");
}

#[test]
fn only_contacts_are_helped_to_punch() {
    let mut world = World::new();
    let [alice, _bob] = world.users(["alice", "bob"]);
    let carol = world.open(3);
    world.assert_refused(carol, punch("bob"), RefusedCode::NOT_REGISTERED, "bob");
    for other in ["bob", "alice", "zoe"] {
        world.assert_refused(alice, punch(other), RefusedCode::NOT_CONNECTED, other);
    }
    world.say(alice, request("bob"));
    world.assert_refused(alice, punch("bob"), RefusedCode::NOT_CONNECTED, "bob");
}

#[test]
fn a_punch_that_could_not_be_saved_with_the_rest_is_decided_again() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.connect((alice, "alice"), (bob, "bob"));
    world.fail_writes(true);
    let actions = world.batch(&[said(alice, request("carol")), said(alice, punch("bob"))]);
    assert!(actions.iter().any(|action| matches!(action, Action::Punch { .. })), "{actions:?}");
}

#[test]
fn those_are_joined_who_are_connected_and_strangers_with_those_who_are_open() {
    for (strangers, joined) in
        [(Strangers::Open, true), (Strangers::All, true), (Strangers::Ask, false), (Strangers::Closed, false)]
    {
        let mut world = World::new();
        let alice = world.user(1, "alice");
        let bob = world.user_who(2, "bob", strangers);
        world.assert_refused(alice, relay("bob"), RefusedCode::NOT_CONNECTED, "bob");
        world.say(alice, request("bob"));
        let side = |session, key, with| {
            let user = world.registry.users.holder(&PublicKey([key; 32])).unwrap();
            Side {
                at: Whereabouts::Here(session),
                user,
                from: "127.0.0.1".parse().unwrap(),
                with: name(with),
            }
        };
        let [own, other] = [side(alice, 1, "bob"), side(bob, 2, "alice")];
        let relayed = [Action::Relay { sides: [own.clone(), other.clone()] }];
        if joined {
            assert_eq!(world.say(alice, relay("bob")), relayed, "{strangers:?}");
        } else {
            world.assert_refused(alice, relay("bob"), RefusedCode::NOT_CONNECTED, "bob");
        }
        // The one who is asked has to answer first.
        world.assert_refused(bob, relay("alice"), RefusedCode::NOT_CONNECTED, "alice");
        world.say(bob, request("alice"));
        world.say(alice, request("bob"));
        assert_eq!(world.say(alice, relay("bob")), relayed);
        assert_eq!(world.say(bob, relay("alice")), [Action::Relay { sides: [other, own] }]);
        world.close(alice);
        world.assert_refused(bob, relay("alice"), RefusedCode::NOT_ONLINE, "alice");
    }
}

#[test]
fn the_pairs_that_are_remembered_are_bounded() {
    let mut punched = Punched::default();
    let first = UserIndex::new(0);
    for other in 1..40_000 {
        assert_eq!(punched.begin(first, UserIndex::new(other), Instant::START), Ok(Some(())));
    }
    assert!(punched.remembered() <= 16 * 1024);
}
