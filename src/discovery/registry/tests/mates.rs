//! Users who say of each other that they share a room.

use super::*;
use crate::protocol::rendezvous::{MAX_MATES, Mate};

fn mate(key: u8, shares: bool) -> ToDiscovery {
    ToDiscovery::Mate(Mate { key: PublicKey([key; 32]), shares })
}

/// What one is told of a mate.
fn room(key: u8, text: &str, port: u16, online: bool) -> ToClient {
    ToClient::Status(Status { room: true, ..presence(key, text, port, online) })
}

/// Alice and bob, who are there, share a room, and have nothing else to do with each other.
fn mates(world: &mut World, strangers: Strangers) -> [ConnectionId; 2] {
    let alice = world.user_who(1, "alice", strangers);
    let bob = world.user_who(2, "bob", strangers);
    assert_eq!(world.say(alice, mate(2, true)), []);
    let both = [send(alice, room(2, "bob", 1000, true)), send(bob, room(1, "alice", 1000, true))];
    assert_eq!(world.say(bob, mate(1, true)), both, "{strangers:?}");
    [alice, bob]
}

#[test]
fn mates_are_told_of_each_other_however_they_meet_strangers_and_nothing_is_kept() {
    for strangers in [Strangers::Open, Strangers::Ask, Strangers::All, Strangers::Closed] {
        let mut world = World::new();
        let [alice, bob] = mates(&mut world, strangers);
        assert_eq!(world.say(alice, mate(2, true)), [send(alice, room(2, "bob", 1000, true))], "once more");
        let moved = world.say(bob, register_as("bob", 2000, strangers));
        assert_eq!(moved.last(), Some(&send(alice, room(2, "bob", 2000, true))));
        assert_eq!(world.close(bob), [close(bob), send(alice, room(2, "bob", 2000, false))]);
        // Who comes back says so again.
        let bob = world.open(2);
        assert_eq!(world.say(bob, register_as("bob", 2000, strangers)), welcome(bob, 2000, &[]));
        assert_eq!(world.say(bob, mate(1, true)).len(), 2);
        // One of the two does not share it any more.
        let apart = [send(alice, exists(2, "bob")), send(bob, exists(1, "alice"))];
        assert_eq!(world.say(bob, mate(1, false)), apart);
        assert_eq!(world.say(bob, mate(1, false)), []);
        assert_eq!(world.say(bob, ToDiscovery::Logout), [close(bob)]);
        assert_eq!(["connections", "requests", "refusals"].map(|table| world.count(table)), [0; 3]);
    }
}

#[test]
fn what_one_side_says_alone_tells_nothing() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    // Of a user, of a key that no user has, and of one's own.
    for key in [2, 9, 1] {
        assert_eq!(world.say(alice, mate(key, true)), []);
        assert_eq!(world.say(alice, mate(key, false)), []);
    }
    world.say(alice, mate(2, true));
    let punch = |name: &str| ToDiscovery::Punch(About { name: self::name(name) });
    let relay = |name: &str| ToDiscovery::Relay(About { name: self::name(name) });
    for (session, other) in [(alice, "bob"), (bob, "alice")] {
        world.assert_refused(session, punch(other), RefusedCode::NOT_CONNECTED, other);
        world.assert_refused(session, relay(other), RefusedCode::NOT_CONNECTED, other);
    }
    let moved = world.say(bob, register("bob", 2000));
    assert_eq!(moved, welcome(bob, 2000, &[]));
    assert_eq!(world.close(bob), [close(bob)]);
    assert_eq!(world.close(alice), [close(alice)]);
    let session = world.open(3);
    let refused = Refused { code: RefusedCode::NOT_REGISTERED, name: None };
    assert_eq!(world.say(session, mate(2, true)), [send(session, ToClient::Refused(refused))]);
}

#[test]
fn a_user_who_registers_later_is_a_mate_of_those_who_have_said_so() {
    let mut world = World::new();
    let alice = world.user(1, "alice");
    world.say(alice, mate(2, true));
    let bob = world.user(2, "bob");
    assert_eq!(world.say(bob, mate(1, true)).len(), 2);
    // The name is another's now, and alice means the key.
    let mut decisions = Decisions::default();
    world.registry.release(&name("bob"), world.now, &mut decisions);
    world.save(&decisions).unwrap();
    assert_eq!(decisions.actions, [close(bob), send(alice, room(2, "bob", 1000, false))]);
    let other = world.user(3, "bob");
    assert_eq!(world.say(other, mate(1, true)), []);
}

#[test]
fn mates_are_helped_to_reach_each_other() {
    let mut world = World::new();
    let [alice, bob] = mates(&mut world, Strangers::Closed);
    let about = |text: &str| About { name: name(text) };
    let punched = world.say(alice, ToDiscovery::Punch(about("bob")));
    assert!(matches!(punched[..], [Action::Punch { .. }]), "{punched:?}");
    let relayed = world.say(bob, ToDiscovery::Relay(about("alice")));
    assert!(matches!(relayed[..], [Action::Relay { .. }]), "{relayed:?}");
    world.say(alice, mate(2, false));
    world.assert_refused(bob, ToDiscovery::Relay(about("alice")), RefusedCode::NOT_CONNECTED, "alice");
}

#[test]
fn a_session_names_only_so_many() {
    let mut world = World::new();
    let alice = world.user(1, "alice");
    let numbered = |number: usize| {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        ToDiscovery::Mate(Mate { key: PublicKey(key), shares: true })
    };
    for number in 0..MAX_MATES {
        assert_eq!(world.say(alice, numbered(number)), []);
    }
    let too_many = ToClient::Refused(Refused { code: RefusedCode::TOO_MANY_REQUESTS, name: None });
    assert_eq!(world.say(alice, mate(2, true)), [send(alice, too_many)]);
    assert_eq!(world.say(alice, numbered(7)), [], "named already");
    world.close(alice);
    let alice = world.user(1, "alice");
    assert_eq!(world.say(alice, mate(2, true)), [], "it ends with the session");
}

#[test]
fn a_newer_session_has_to_name_them_anew() {
    let mut world = World::new();
    let [alice, bob] = mates(&mut world, Strangers::Open);
    let newer = world.open(2);
    let actions = world.say(newer, register("bob", 1000));
    let of_alice: Vec<_> =
        actions.iter().filter(|it| matches!(it, Action::Send { session, .. } if *session == alice)).collect();
    assert_eq!(of_alice, [&send(alice, exists(2, "bob"))]);
    assert_eq!(world.say(bob, mate(1, true)), [], "its session is over");
    assert_eq!(world.say(newer, mate(1, true)).len(), 2);
}

#[test]
fn mates_who_are_connected_too_are_told_once_and_all() {
    let mut world = World::new();
    let [alice, bob] = mates(&mut world, Strangers::Ask);
    world.say(alice, request("bob"));
    let both = |online| Status { connected: true, room: true, ..presence(2, "bob", 1000, online) };
    let actions = world.say(bob, request("alice"));
    assert_eq!(actions[0], send(alice, ToClient::Status(both(true))));
    // The connection ends, and they share the room as before.
    assert_eq!(world.say(bob, drop_user("alice")), [dropped(alice, "bob")]);
    assert_eq!(world.say(alice, mate(2, true)), [send(alice, room(2, "bob", 1000, true))]);
    world.say(bob, request("alice"));
    world.say(alice, request("bob"));
    let gone = ToClient::Status(both(false));
    assert_eq!(world.close(bob), [close(bob), send(alice, gone)]);
}

#[test]
fn a_disk_that_fails_parts_no_mates() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.fail_writes(true);
    world.say(alice, mate(2, true));
    // What can't be saved comes with it, and all is decided once more.
    let actions = world.batch(&[said(bob, register("bob", 2000)), said(bob, mate(1, true))]);
    assert!(actions.contains(&send(alice, room(2, "bob", 1000, true))), "{actions:?}");
}
