//! How users come to be connected, and how that ends.

use super::*;

#[test]
fn a_request_waits_for_a_user_who_is_offline_and_for_a_restart() {
    let mut world = World::new();
    let bob = world.user(2, "bob");
    world.close(bob);
    let alice = world.user(1, "alice");
    assert_eq!(world.say(alice, request("nobody")), [no_such_user(alice, "nobody")]);
    world.assert_refused(alice, request("alice"), RefusedCode::YOURSELF, "alice");
    assert_eq!(world.say(alice, request("bob")), [send(alice, seen(2, "bob", 1000, false))]);
    world.restart();
    let bob = world.open(2);
    let asked = asking(1, "alice", Asks::Typed);
    assert_eq!(world.say(bob, register("bob", 1001)), welcome(bob, 1001, &[asked]));
    let alice = world.open(1);
    let expected = welcome(alice, 1000, &[seen(2, "bob", 1001, true)]);
    assert_eq!(world.say(alice, register("alice", 1000)), expected, "and bob is not told where alice is");
}

#[test]
fn a_request_for_a_user_who_is_online_is_pushed_once() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    let answer = || send(alice, seen(2, "bob", 1000, true));
    let asked = |asks| send(bob, asking(1, "alice", asks));
    assert_eq!(world.say(alice, request_again("bob")), [asked(Asks::Again), answer()]);
    assert_eq!(world.say(alice, request_again("bob")), [answer()]);
    assert_eq!(world.say(alice, request("bob")), [asked(Asks::Typed), answer()], "now the user asks");
    for again in [request("bob"), request_again("bob")] {
        assert_eq!(world.say(alice, again), [answer()]);
    }
    assert_eq!(world.count("requests"), 1);
    world.restart();
    let bob = world.open(2);
    let asked = asking(1, "alice", Asks::Typed);
    assert_eq!(world.say(bob, register("bob", 1000)), welcome(bob, 1000, &[asked]));
}

#[test]
fn two_users_are_connected_when_both_have_asked() {
    for answer in [request, request_again] {
        let mut world = World::new();
        let [alice, bob, eve] = world.users(["alice", "bob", "eve"]);
        world.say(alice, request("bob"));
        world.say(eve, request("bob"));
        assert_eq!((world.count("connections"), world.count("requests")), (0, 2));
        let [of_alice, of_bob] = [contact(1, "alice", 1000, true), contact(2, "bob", 1000, true)];
        let both = [send(alice, of_bob.clone()), send(bob, of_alice.clone())];
        assert_eq!(world.say(bob, answer("alice")), both);
        assert_eq!((world.count("connections"), world.count("requests")), (1, 1));
        assert_eq!(world.say(alice, request("bob")), [send(alice, of_bob)], "nothing new");
        assert_eq!(world.say(bob, request_again("alice")), [send(bob, of_alice)]);
        assert_eq!((world.count("connections"), world.count("requests")), (1, 1));
        world.restart();
        let alice = world.open(1);
        let bob = contact(2, "bob", 1000, false);
        assert_eq!(world.say(alice, register("alice", 1000)), welcome(alice, 1000, &[bob]));
    }
}

#[test]
fn either_side_ends_a_connection_and_the_other_is_told() {
    for (ends, other) in [(1, 2), (2, 1)] {
        let mut world = World::new();
        let sessions = world.users(["alice", "bob"]);
        let (user, told) = (sessions[ends - 1], sessions[other - 1]);
        let names = ["alice", "bob"];
        let (name, others) = (names[ends - 1], names[other - 1]);
        world.connect((sessions[0], "alice"), (sessions[1], "bob"));
        assert_eq!(world.say(user, drop_user(others)), [dropped(told, name)]);
        assert_eq!(["connections", "requests", "refusals"].map(|table| world.count(table)), [0, 0, 1]);
        assert_eq!(world.say(user, drop_user(others)), [], "nothing is left to end");
        assert_eq!(world.say(told, drop_user(name)), []);
        assert_eq!(world.close(user), [close(user)], "and presence is told no more");
        // Until one of the two users asks, the other's client is told that again.
        world.restart();
        let told = world.open(u8::try_from(other).unwrap());
        let again = ToClient::Dropped(About { name: super::name(name) });
        assert_eq!(world.say(told, register(others, 1000)), welcome(told, 1000, &[again]));
        assert_eq!(world.say(told, request_again(name)), [dropped(told, name)]);
        assert_eq!(world.count("requests"), 0);
        let key = u8::try_from(ends).unwrap();
        assert_eq!(world.say(told, request(name)), [send(told, seen(key, name, 1000, false))]);
        assert_eq!(["requests", "refusals"].map(|table| world.count(table)), [1, 0]);
    }
}

#[test]
fn who_has_dropped_a_user_can_ask_again() {
    for again in [request, request_again] {
        let mut world = World::new();
        let [alice, bob] = world.users(["alice", "bob"]);
        world.connect((alice, "alice"), (bob, "bob"));
        world.say(alice, drop_user("bob"));
        world.say(alice, again("bob"));
        assert_eq!(["requests", "refusals"].map(|table| world.count(table)), [1, 0]);
        world.say(bob, request_again("alice"));
        assert_eq!(["connections", "requests"].map(|table| world.count(table)), [1, 0]);
    }
}

#[test]
fn a_request_is_declined_or_withdrawn() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    assert_eq!(world.say(bob, drop_user("alice")), [dropped(alice, "bob")]);
    assert_eq!(world.say(alice, request_again("bob")), [dropped(alice, "bob")]);
    world.say(alice, request("bob"));
    assert_eq!(world.say(alice, drop_user("bob")), [dropped(bob, "alice")]);
    // Bob never heard of what is withdrawn while bob is away.
    world.say(alice, request("bob"));
    world.say(alice, drop_user("bob"));
    world.say(bob, request("alice"));
    world.say(bob, drop_user("alice"));
    world.close(bob);
    world.say(alice, request("bob"));
    assert_eq!(world.say(alice, drop_user("bob")), []);
    assert_eq!(["requests", "refusals"].map(|table| world.count(table)), [0, 0]);
    let bob = world.open(2);
    assert_eq!(world.say(bob, register("bob", 1000)), welcome(bob, 1000, &[]));
}

#[test]
fn nothing_is_asked_by_dropping() {
    let mut world = World::new();
    let [alice, _bob] = world.users(["alice", "bob"]);
    for name in ["alice", "bob", "nobody"] {
        assert_eq!(world.say(alice, drop_user(name)), []);
    }
    assert_eq!(world.count("refusals"), 0);
}

#[test]
fn both_can_drop_the_other_and_be_told_so() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.connect((alice, "alice"), (bob, "bob"));
    world.say(alice, drop_user("bob"));
    world.say(bob, request("alice"));
    world.say(bob, drop_user("alice"));
    assert_eq!(world.count("refusals"), 1, "what bob asked has ended what alice said before");
    assert_eq!(world.say(alice, request_again("bob")), [dropped(alice, "bob")]);
    world.say(alice, request("bob"));
    world.say(bob, request("alice"));
    assert_eq!(["connections", "refusals"].map(|table| world.count(table)), [1, 0]);
}
