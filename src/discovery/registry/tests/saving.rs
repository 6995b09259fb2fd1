//! What happens when something can't be saved.

use super::*;

#[test]
fn what_can_not_be_saved_is_refused_and_the_rest_goes_on() {
    let mut world = World::new();
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]);
    world.say(alice, request("bob"));
    world.fail_writes(true);
    let (dave, opened) = world.opened(4, "127.0.0.1:50000");
    let not_saved = |session, text| send(session, refused(RefusedCode::NOT_SAVED, text));
    let actions = world.batch(&[
        opened,
        said(dave, register("dave", 1000)),
        said(alice, request("carol")),
        said(bob, request("alice")),
        said(alice, request("bob")),
        said(bob, register("bob", 2000)),
        Event::Closed { session: carol },
    ]);
    assert_eq!(
        actions,
        [
            not_saved(dave, "dave"),
            not_saved(alice, "carol"),
            not_saved(bob, "alice"),
            send(alice, seen(2, "bob", 1000, true)),
            not_saved(bob, "bob"),
            close(carol),
        ]
    );
    let carol = world.user(3, "carol");
    assert_eq!(world.say(alice, request("carol")), [not_saved(alice, "carol")]);
    world.fail_writes(false);
    // The session is still there, and the name still free.
    assert_eq!(world.say(dave, register("dave", 1000)), welcome(dave, 1000, &[]));
    let answer = [send(carol, asking(1, "alice", Asks::Typed)), send(alice, seen(3, "carol", 1000, true))];
    assert_eq!(world.say(alice, request("carol")), answer);
}

/// All that is in memory.
pub(super) fn in_memory(world: &World) -> Vec<String> {
    let dump = format!("{:#?}", world.registry);
    // Maps come in any order.
    let mut lines: Vec<_> = dump.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_batch_that_fails_leaves_no_trace() {
    let mut world = World::limited(limits(4, true));
    let [alice, bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    let before = in_memory(&world);
    // The last of many changes is the one that fails.
    let trigger = "CREATE TEMP TRIGGER full BEFORE INSERT ON users WHEN NEW.name = 'eve'
                   BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    world.directory.execute_batch(trigger).unwrap();
    let sessions: Vec<_> = (3..=6).map(|key| world.opened(key, "127.0.0.1:50000")).collect();
    let mut events: Vec<_> = sessions.iter().map(|(_, event)| event.clone()).collect();
    let (carol, newer, eve) = (sessions[0].0, world.opened(1, "192.0.2.1:1"), sessions[2].0);
    events.extend([
        said(carol, register("carol", 3)),
        said(carol, request("alice")),
        said(bob, drop_user("alice")),
        newer.1,
        said(newer.0, register("alice", 7)),
        Event::Closed { session: bob },
        said(eve, register("eve", 3)),
    ]);
    assert!(world.try_batch(&events).is_err());
    assert_eq!((world.count("users"), world.count("requests"), world.count("connections")), (2, 1, 0));
    assert_eq!(in_memory(&world), before);
    let actions = world.batch_unsaved(&events);
    assert!(actions.contains(&send(eve, refused(RefusedCode::NOT_SAVED, "eve"))));
    assert!(actions.contains(&send(newer.0, refused(RefusedCode::NOT_SAVED, "alice"))));
    world.directory.execute_batch("DROP TRIGGER full").unwrap();
    // The quota counts only the users who were let in, and alice's first session still holds.
    for (session, name) in [(eve, "eve"), (carol, "carol")] {
        assert_eq!(world.say(session, register(name, 3))[0], send(session, registered("127.0.0.1:3")));
    }
    let last = sessions[3].0;
    let actions = world.batch(&[sessions[3].1.clone(), said(last, register("dave", 3))]);
    assert_eq!(actions, [send(last, refused(RefusedCode::TOO_MANY_NAMES, "dave"))]);
    assert_eq!(world.say(alice, request("bob")), [send(alice, seen(2, "bob", 1000, false))]);
}
