//! Links, and when to dial.

use crate::protocol::rendezvous::{Refused, RefusedCode};

use super::*;

#[test]
fn links_that_cross_are_one_link_for_the_user() {
    for own_first in [true, false] {
        let mut world = World::with_bob();
        world.link(1, own_first, 1, &[]);
        world.link(2, !own_first, 1, &[]);
        // This side has the lower key, and keeps the newer; the other side closes the older.
        let kept = 2;
        world.step(&[Input::LinkClosed(1)]);
        let links = world.notices.iter().filter(|notice| matches!(notice, Notice::Link { .. })).count();
        assert_eq!((world.node.links.of(world.bob()), links), (Some(kept), 1));
        assert_eq!(texts(&world.types("CHAT bob hi"), kept), ["hi"]);
    }
}

#[test]
fn who_answers_and_wants_no_link_is_looked_for_at_the_other_address() {
    let mut world = World::linked(1);
    world.step(&[Input::LinkClosed(1)]);
    let first_tried = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Dial { routes, .. } => routes.first().and_then(Route::remote),
            _ => None,
        })
    };
    // An older client with bob's key still answers where he told last.
    let actions = world.discovery(&[status("bob", BOB, 5000, true)]);
    assert_eq!(first_tried(&actions), Some(address(5000)));
    world.step(&[proved(2, BOB, Some(world.bob()))]);
    world.says(2, &[Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED })]);
    assert_eq!(first_tried(&world.later(60_000)), Some(address(4000)));
}

#[test]
fn what_arrives_of_a_frame_is_a_sign_of_life() {
    let mut world = World::linked(1);
    let alive = |world: &World| (world.node.links.of(world.bob()).is_some(), world.node.rendezvous.is_up());
    for _ in 0..3 {
        world.later(millis(DEAD_AFTER) - 1);
        assert_eq!(alive(&world), (true, true));
        world.step(&[Input::Alive(1), Input::Alive(SESSION)]);
    }
    world.later(millis(DEAD_AFTER));
    assert_eq!(alive(&world), (false, false));
}

#[test]
fn a_punch_is_asked_for_although_discovery_has_not_taken_the_answer_to_the_contact_yet() {
    let mut world = World::with_bob();
    let about = About { name: name("bob") };
    let asked = |actions: Vec<Action>| -> Vec<ToDiscovery> {
        let told = actions.into_iter().filter_map(|action| match action {
            Action::TellDiscovery(_, said) => Some(said),
            _ => None,
        });
        told.flatten().filter(|said| matches!(said, ToDiscovery::Punch(_) | ToDiscovery::Relay(_))).collect()
    };
    assert_eq!(asked(world.later(1_000)), [ToDiscovery::Punch(about.clone())]);
    // Where there was nothing to answer, discovery says so, and the relay is next.
    let refused = Refused { code: RefusedCode::NOT_CONNECTED, name: Some(name("bob")) };
    assert_eq!(asked(world.discovery(&[ToClient::Refused(refused)])), [ToDiscovery::Relay(about)]);
}
