//! What users are told of others, by how those meet strangers.

use super::*;

#[test]
fn an_asker_is_told_no_more_than_the_user_wants() {
    for strangers in [Strangers::Open, Strangers::Ask, Strangers::All] {
        let mut world = World::new();
        let alice = world.user(1, "alice");
        let bob = world.user_who(2, "bob", strangers);
        let told = match strangers {
            Strangers::Ask => exists(2, "bob"),
            _ => seen(2, "bob", 1000, true),
        };
        let asks = send(bob, asking(1, "alice", Asks::Typed));
        assert_eq!(world.say(alice, request("bob")), [asks, send(alice, told)], "{strangers:?}");
        // Whether bob is there is pushed as little as it is told.
        let gone = match strangers {
            Strangers::Ask => vec![close(bob)],
            _ => vec![close(bob), send(alice, seen(2, "bob", 1000, false))],
        };
        assert_eq!(world.close(bob), gone);
        let bob = world.open(2);
        let back = world.say(bob, register_as("bob", 2000, strangers));
        let pushed =
            back.iter().filter(|action| matches!(action, Action::Send { session, .. } if *session == alice));
        assert_eq!(pushed.count(), usize::from(strangers != Strangers::Ask));
        // And bob is told as little of alice.
        assert_eq!(back[1], send(bob, asking(1, "alice", Asks::Typed)));
        assert_eq!(world.close(alice), [close(alice)]);
        let alice = world.open(1);
        assert_eq!(world.say(alice, register("alice", 1)).len(), 3, "only alice is told something");
        // Once bob answers, both are told all.
        let both = [send(alice, contact(2, "bob", 2000, true)), send(bob, contact(1, "alice", 1, true))];
        assert_eq!(world.say(bob, request("alice")), both);
    }
}

#[test]
fn a_closed_door_keeps_nothing_but_opens_to_those_whom_the_user_asks() {
    let mut world = World::new();
    let alice = world.user(1, "alice");
    let bob = world.user_who(2, "bob", Strangers::Closed);
    world.assert_refused(alice, request("bob"), RefusedCode::CLOSED, "bob");
    assert_eq!(world.count("requests"), 0);
    let asked = [send(alice, asking(2, "bob", Asks::Typed)), send(bob, seen(1, "alice", 1000, true))];
    assert_eq!(world.say(bob, request("alice")), asked);
    world.say(alice, request("bob"));
    assert_eq!(["connections", "requests"].map(|table| world.count(table)), [1, 0]);
}

#[test]
fn those_concerned_are_told_when_a_user_meets_strangers_otherwise() {
    let mut world = World::new();
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]);
    world.connect((bob, "bob"), (carol, "carol"));
    world.say(alice, request("bob"));
    let mut change = |strangers| {
        let mut actions = world.say(bob, register_as("bob", 1000, strangers));
        let kept: i64 = world
            .directory
            .query_row("SELECT strangers FROM users WHERE name = 'bob'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, strangers as i64);
        actions.retain(|action| matches!(action, Action::Send { session, .. } if *session != bob));
        actions
    };
    assert_eq!(change(Strangers::Ask), [send(alice, exists(2, "bob"))]);
    assert_eq!(change(Strangers::Ask), []);
    assert_eq!(change(Strangers::Open), [send(alice, seen(2, "bob", 1000, true))]);
    assert_eq!(change(Strangers::Closed), [send(alice, refused(RefusedCode::CLOSED, "bob"))]);
    assert_eq!(["connections", "requests"].map(|table| world.count(table)), [1, 0]);
    world.restart();
    let ByStrangers { open, closed, .. } = world.registry.figures().strangers;
    assert_eq!((open, closed), (2, 1));
}

#[test]
fn strangers_are_told_an_address_only_if_discovery_has_seen_the_user_come_from_it() {
    let mut world = World::new();
    let victim: SocketAddr = "192.0.2.80:25".parse().unwrap();
    let mallory = world.open(3);
    let listen = |listen| {
        let (name, strangers) = (name("mallory"), Strangers::Open);
        ToDiscovery::Register(Register::new(name, listen, None, strangers))
    };
    assert_eq!(world.say(mallory, listen(victim))[0], send(mallory, registered("192.0.2.80:25")));
    let [alice, bob] = world.users(["alice", "bob"]);
    world.connect((bob, "bob"), (mallory, "mallory"));
    world.say(alice, request("mallory"));
    let hidden = |online| ToClient::Status(Status { online: Some(online), ..named(3, "mallory") });
    let of_contact = Status { address: Some(victim), connected: true, ..presence(3, "mallory", 1, false) };
    assert_eq!(
        world.close(mallory)[1..],
        [send(bob, ToClient::Status(of_contact)), send(alice, hidden(false))]
    );
    world.restart();
    let alice = world.open(1);
    assert_eq!(world.say(alice, register("alice", 1000)), welcome(alice, 1000, &[hidden(false)]));
    // The one that discovery sees is told, with whichever port.
    let mallory = world.open(3);
    let told = world.say(mallory, listen("127.0.0.1:7".parse().unwrap()));
    assert_eq!(told.last(), Some(&send(alice, seen(3, "mallory", 7, true))));
    // A user who is asked is never told where the asker is.
    assert_eq!(world.say(mallory, request("alice"))[0], send(alice, contact(3, "mallory", 7, true)));
    world.say(alice, drop_user("mallory"));
    assert_eq!(world.say(mallory, request("alice"))[0], send(alice, asking(3, "mallory", Asks::Typed)));
}
