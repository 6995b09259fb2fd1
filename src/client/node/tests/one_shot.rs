//! One text, and then the end.

use super::*;
use crate::protocol::rendezvous::{Refused, RefusedCode};

fn send() -> Input {
    Input::Send { to: name("bob").into(), text: "hi".into() }
}

#[test]
fn what_a_failed_transaction_refused_is_forgotten() {
    let mut world = World::online();
    world.step(&[send()]);
    assert_eq!(exit(&world.fail(&[says(no_such_user("bob"))])), None);
    // He registers meanwhile.
    world.later(2_000);
    world.register(SESSION + 1, &[status("bob", BOB, 4000, true)]);
    assert_eq!(texts(&world.link(1, false, 1, &[]), 1), ["hi"]);
    let mut actions = world.says(1, &[Peer::Ack(cursor(1, 1))]);
    actions.extend(world.step(&[]));
    assert_eq!(exit(&actions), Some((0, None)));
}

#[test]
fn who_does_not_exist_is_said_with_the_reason() {
    let mut world = World::online();
    world.step(&[send()]);
    let mut actions = world.discovery(&[no_such_user("bob")]);
    (0..3).for_each(|_| actions.extend(world.step(&[])));
    let (status, why) = exit(&actions).unwrap();
    assert!(status == FAILED && why.unwrap().contains("there is no user bob"));
}

#[test]
fn a_name_that_is_taken_sends_nothing_and_keeps_nothing() {
    let mut world = World::new();
    world.step(&[send()]);
    world.step(&[support::session_up(SESSION)]);
    let taken = Refused { code: RefusedCode::NAME_TAKEN, name: Some(name("alice")) };
    let (status, why) = exit(&world.discovery(&[ToClient::Refused(taken)])).unwrap();
    assert!(status == FAILED && why.unwrap().contains("alice can't be registered"));
    assert_eq!(world.journal.contacts().unwrap(), []);
}
