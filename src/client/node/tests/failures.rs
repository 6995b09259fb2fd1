//! Transactions that fail, programs that end.

use super::*;

#[test]
fn what_was_not_printed_before_a_kill_is_shown_again_and_marked() {
    let mut world = World::linked(1);
    world.commit(&[Input::LinkSays(1, vec![message(8, 1, "one")])]);
    world.restart(2);
    world.step(&[]);
    let replayed =
        world.notices.iter().any(|notice| matches!(notice, Notice::Message { replayed: true, .. }));
    assert!(replayed, "{:?}", world.notices);
    // It is saved that it has been shown, some time later.
    world.step(&[]);
    world.later(millis(LAZY_SAVE) + 1);
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
fn the_start_outlives_a_failed_transaction() {
    let mut world = World::new();
    world.fail(&[]);
    assert!(matches!(world.notices[..], [Notice::Hello { .. }, Notice::Ready { .. }]), "{:?}", world.notices);
}

#[test]
fn commands_that_write_nothing_are_carried_out_even_then() {
    let mut world = World::linked(1);
    world.fail(&[typed("CONTACTS"), typed("HELP")]);
    assert_eq!(world.errors(), []);
    assert!(world.notices.iter().any(|notice| matches!(notice, Notice::Contacts { .. })));
    let actions = world.fail(&[typed("LOGOUT")]);
    assert_eq!(exit(&actions), Some((0, None)));
}

#[test]
fn the_end_of_input_waits_for_what_is_waiting_and_no_longer_than_it_may() {
    let status_of = |actions: &[Action]| exit(actions).map(|(status, _)| status);
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
    assert!(world.node.deadline() <= world.now.mono + Duration::from_millis(1));
    assert_eq!(status_of(&world.later(1)), Some(STILL_WAITING));
}

#[test]
fn every_command_that_writes_is_refused_when_nothing_can_be_written() {
    let lines = [("CHAT bob x", true), ("REQUEST carol", true), ("BLOCK bob", true), ("OUTBOX", false)];
    for (line, written) in lines {
        let Some(Ok(command)) = parse(&format!("/{line}")) else { panic!("{line}") };
        assert_eq!(Command::is_written(&command), written, "{line}");
        let mut world = World::with_bob();
        world.fail(&[typed(line)]);
        assert_eq!(world.errors() == [Code::NotSaved], written, "{line}");
    }
}

#[test]
fn what_is_told_of_connections_survives_a_failed_transaction() {
    let mut world = World::linked(1);
    let superseded = ToClient::Superseded(Registered { address: address(3), observed: address(3) });
    world.fail(&[says(superseded)]);
    assert_eq!(world.errors(), [Code::Superseded]);
    let mut world = World::linked(1);
    world.fail(&[Input::RendezvousClosed(SESSION)]);
    let down = |notice: &&Notice| matches!(notice, Notice::Discovery { state: UpDown::Down, .. });
    assert_eq!(world.notices.iter().filter(down).count(), 1);
}

#[test]
fn nobody_waits_for_ever_for_what_can_not_be_delivered() {
    for block in [true, false] {
        let mut world = World::with_bob();
        world.node.exit = Value::new(Exit::new(None));
        world.types("CHAT bob x");
        if block {
            world.types("BLOCK bob");
        } else {
            world
                .discovery(&[ToClient::Superseded(Registered { address: address(3), observed: address(3) })]);
        }
        let mut actions = world.step(&[Input::InputEnded]);
        actions.extend(world.step(&[]));
        assert!(exit(&actions).is_some(), "{block}");
    }
}

#[test]
fn a_goodbye_is_heard_in_a_failed_transaction_too() {
    let mut world = World::linked(1);
    world.types("CHAT bob x");
    let bye = Peer::Bye(Bye { reason: ByeReason::LOGOUT });
    world.fail(&[Input::LinkSays(1, vec![Peer::Ack(cursor(1, 1)), bye])]);
    assert_eq!(dials(&world.later(3_000)), 0, "who has left is not dialled at once");
}

#[test]
fn discovery_is_told_which_dial_is_the_newer_one() {
    let mut world = World::new();
    world.step(&[]);
    for (number, session) in (0..).zip([SESSION, SESSION + 1, SESSION + 2]) {
        let actions = world.step(&[support::session_up(session)]);
        let said = actions.iter().filter_map(|action| match action {
            Action::TellDiscovery(to, said) if *to == session => Some(said),
            _ => None,
        });
        let registers = said.flatten().filter_map(|said| match said {
            ToDiscovery::Register(register) => Some(register.dial),
            _ => None,
        });
        assert_eq!(registers.collect::<Vec<_>>(), [number]);
        world.step(&[Input::RendezvousClosed(session)]);
        world.later(2_000);
    }
}
