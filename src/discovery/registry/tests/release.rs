//! What the operator decides, and what the operator is told.

use super::saving::in_memory;
use super::*;

impl World {
    fn try_release(&mut self, text: &str) -> Result<(Option<PublicKey>, Vec<Action>)> {
        let mut decisions = Decisions::default();
        let released = self.registry.release(&name(text), self.now, &mut decisions);
        self.save(&decisions)?;
        Ok((released, decisions.actions))
    }

    fn release(&mut self, text: &str) -> (Option<PublicKey>, Vec<Action>) {
        self.try_release(text).unwrap()
    }

    fn figures(&self) -> [u64; 5] {
        let Figures { users, online, sessions, connections, requests, .. } = self.registry.figures();
        [users, online, sessions, connections, requests]
    }
}

/// Alice is connected with bob, has asked for carol, and dave has asked for her. All but carol are there.
fn acquainted() -> (World, [ConnectionId; 3]) {
    let mut world = World::limited(limits(10, false));
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]);
    world.say(bob, request("alice"));
    world.say(alice, request("bob"));
    world.say(alice, request("carol"));
    world.close(carol);
    let dave = world.user(4, "dave");
    world.say(dave, request("alice"));
    (world, [alice, bob, dave])
}

#[test]
fn figures_count_what_is_there_also_after_a_restart() {
    let (mut world, [alice, ..]) = acquainted();
    assert_eq!(world.figures(), [4, 3, 3, 1, 2]);
    let unregistered = world.open(9);
    assert_eq!(world.figures(), [4, 3, 4, 1, 2]);
    world.close(unregistered);
    world.say(alice, ToDiscovery::Logout);
    assert_eq!(world.figures(), [4, 2, 2, 1, 2]);
    world.restart();
    assert_eq!(world.figures(), [4, 0, 0, 1, 2]);
}

#[test]
fn a_released_name_goes_to_the_first_other_key() {
    let (mut world, [alice, bob, dave]) = acquainted();
    let (key, actions) = world.release("alice");
    assert_eq!(key, Some(PublicKey([1; 32])));
    let offline = [send(bob, contact(1, "alice", 1000, false)), send(dave, seen(1, "alice", 1000, false))];
    assert_eq!((&actions[0], &actions[1..]), (&close(alice), &offline[..]));
    assert_eq!(world.figures(), [3, 2, 2, 0, 0]);
    assert_eq!((world.count("users"), world.count("connections"), world.count("requests")), (3, 0, 0));
    assert_eq!(world.say(bob, request("alice")), [no_such_user(bob, "alice")]);
    assert_eq!(world.say(bob, drop_user("alice")), []);

    for restart in [false, true] {
        if restart {
            world.restart();
        }
        // Its own client comes back by itself. It may have any other name.
        let back = world.open(1);
        world.assert_refused(back, register("alice", 1000), RefusedCode::RELEASED, "alice");
        world.close(back);
    }
    world.user(1, "alice-2");
    let new = world.open(5);
    // Nothing about the users that the name knew before.
    assert_eq!(world.say(new, register("alice", 2000)), welcome(new, 2000, &[]));
    let bob = world.user(2, "bob");
    let answer = [send(new, asking(2, "bob", Asks::Typed)), send(bob, seen(5, "alice", 2000, true))];
    assert_eq!(world.say(bob, request("alice")), answer);
    world.restart();
    assert_eq!(world.figures(), [5, 0, 0, 0, 1]);
}

#[test]
fn who_knew_the_account_is_told_of_the_next_holder_of_its_name() {
    let (mut world, [alice, bob, dave]) = acquainted();
    world.close(bob);
    world.release("alice");
    // One who comes later asks by itself.
    let bob = world.user(2, "bob");
    assert_eq!(world.say(bob, request("alice")), [no_such_user(bob, "alice")]);
    let carol = world.user(3, "carol");
    world.close(dave);
    world.close(alice);
    let new = world.open(5);
    let told = world.say(new, register("alice", 2000));
    let expected =
        [&welcome(new, 2000, &[])[..], &[send(bob, exists(5, "alice")), send(carol, exists(5, "alice"))]];
    assert_eq!(told, expected.concat());
    // Once.
    world.close(new);
    let new = world.open(5);
    assert_eq!(world.say(new, register("alice", 2000)), welcome(new, 2000, &[]));
    // A name that was never released is not waited for.
    assert_eq!(world.say(bob, request("eve")), [no_such_user(bob, "eve")]);
    let eve = world.open(6);
    assert_eq!(world.say(eve, register("eve", 1)), welcome(eve, 1, &[]));
}

#[test]
fn a_decision_can_be_taken_back() {
    let mut world = World::new();
    world.user(1, "alice");
    world.release("alice");
    world.user(2, "alice");
    assert_eq!(world.release("alice").0, Some(PublicKey([2; 32])));
    let second = world.open(2);
    world.assert_refused(second, register("alice", 1), RefusedCode::RELEASED, "alice");
    world.user(1, "alice");
    assert_eq!(world.figures(), [1, 1, 2, 0, 0]);
}

#[test]
fn a_name_without_a_holder_can_not_be_released() {
    let (mut world, _) = acquainted();
    let before = world.figures();
    assert_eq!(world.release("eve"), (None, vec![]));
    world.release("alice");
    assert_eq!(world.release("alice"), (None, vec![]));
    assert_eq!((before[0], world.figures()[0], world.count("released")), (4, 3, 1));
}

#[test]
fn a_decision_that_can_not_be_saved_never_was() {
    let (mut world, [alice, bob, dave]) = acquainted();
    for trigger in [
        "CREATE TRIGGER full BEFORE INSERT ON released BEGIN SELECT RAISE(FAIL, 'full'); END",
        "CREATE TRIGGER full BEFORE DELETE ON users BEGIN SELECT RAISE(FAIL, 'full'); END",
    ] {
        world.directory.execute_batch(trigger).unwrap();
        let before = (world.figures(), in_memory(&world));
        assert!(world.try_release("alice").is_err());
        assert_eq!((world.figures(), in_memory(&world)), before);
        world.directory.execute_batch("DROP TRIGGER full").unwrap();
    }
    // She is still there, and so is what was asked.
    assert_eq!(world.say(alice, ToDiscovery::Ping), [send(alice, ToClient::Pong)]);
    assert_eq!(world.say(bob, request("alice")), [send(bob, contact(1, "alice", 1000, true))]);
    assert_eq!(world.say(dave, request("alice")), [send(dave, seen(1, "alice", 1000, true))]);
    // Also where all was decided and the commit failed, and after an earlier decision on the name.
    world.release("alice");
    world.user(7, "alice");
    let before = (world.figures(), in_memory(&world));
    let mut decisions = Decisions::default();
    world.registry.release(&name("alice"), world.now, &mut decisions);
    world.directory.begin().unwrap();
    world.directory.apply(&decisions.changes).unwrap();
    world.directory.rollback();
    world.registry.rollback();
    assert_eq!((world.figures(), in_memory(&world)), before);
    let first = world.open(1);
    world.assert_refused(first, register("alice", 1), RefusedCode::NAME_TAKEN, "alice");
    assert_eq!(world.release("alice").0, Some(PublicKey([7; 32])));
}
