//! Links, and when whom to dial.

use super::*;

#[test]
fn of_two_links_that_cross_both_sides_keep_the_one_that_the_lower_key_dialled() {
    // This side has the lower key: its own dial stays, in whatever order they come up.
    for own_first in [true, false] {
        let mut world = World::with_bob();
        let (first, second) = if own_first { (true, false) } else { (false, true) };
        world.link(1, first, 1, &[]);
        let actions = world.link(2, second, 1, &[]);
        let (kept, gone) = if own_first { (1, 2) } else { (2, 1) };
        assert_eq!(world.node.links.of(world.bob()), Some(kept));
        assert!(closed(&actions, gone) && !closed(&actions, kept));
        let downs = |notice: &&Notice| matches!(notice, Notice::Link { state: UpDown::Down, .. });
        assert_eq!(world.notices.iter().filter(downs).count(), 0);
        // The end of the other one is no news.
        world.step(&[Input::LinkClosed(gone)]);
        assert_eq!(world.node.links.of(world.bob()), Some(kept));
    }
}

#[test]
fn whoever_dials_again_or_long_after_or_anew_does_not_believe_in_the_older_link() {
    // Again: the same side has dialled both.
    let mut world = World::linked(1);
    assert!(closed(&world.link(2, false, 1, &[]), 1));
    // Long after: the link that this side dialled is dead for the other.
    let mut world = World::with_bob();
    world.link(1, true, 1, &[]);
    world.wait(11_000);
    assert!(closed(&world.link(2, false, 1, &[]), 1));
    // Anew: another start, perhaps on another machine. The older one is told.
    let mut world = World::with_bob();
    world.link(1, true, 1, &[]);
    let actions = world.link(2, false, 2, &[]);
    assert_eq!(sent(&actions, 1), [&Peer::Bye(Bye { reason: ByeReason::SUPERSEDED })]);
    assert_eq!(world.node.links.of(world.bob()), Some(2));
}

#[test]
fn silence_is_broken_and_then_taken_for_death() {
    let mut world = World::linked(1);
    assert_eq!(sent(&world.later(millis(PING_AFTER)), 1), [&Peer::Ping]);
    assert!(world.node.deadline() <= world.now.mono + PING_AFTER);
    world.says(1, &[Peer::Ping]);
    let mut actions = world.later(millis(DEAD_AFTER) - 1);
    assert_eq!(world.node.links.of(world.bob()), Some(1));
    actions = [actions, world.later(1)].into_iter().flatten().collect();
    assert!(closed(&actions, 1));
    assert_eq!(world.node.links.of(world.bob()), None);
}

#[test]
fn who_can_not_be_reached_is_dialled_ever_later_but_always_again() {
    let mut world = World::with_bob();
    let bob = world.bob();
    let mut dialled_at = Vec::new();
    for _ in 0..200_000 {
        if dialled_at.len() >= 30 {
            break;
        }
        world.now.mono = world.node.deadline().max(world.now.mono + Duration::from_millis(1));
        if dials(&world.step(&[])) > 0 {
            dialled_at.push(world.now.mono);
            let problems = vec![(address(4000), Problem::Other("refused".into()))];
            world.step(&[Input::DialFailed { contact: bob, problems }]);
        }
        // Discovery goes on to be there.
        world.discovery(&[ToClient::Pong]);
    }
    let waits: Vec<_> = dialled_at.windows(2).map(|pair| millis(pair[1].since(pair[0]))).collect();
    assert_eq!(waits.len(), 29);
    assert!(waits[0] <= 500 && waits[28] >= 4_000 && waits.iter().all(|wait| *wait <= 8_001), "{waits:?}");
}

#[test]
fn a_message_to_somebody_unlinked_brings_the_next_dial_forward() {
    let mut world = World::linked(1);
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::LOGOUT })]);
    assert_eq!(dials(&world.later(3_000)), 0);
    assert_eq!(dials(&world.types("CHAT bob hello?")), 1);
}

#[test]
fn a_crowd_that_does_not_answer_does_not_keep_others_from_being_dialled() {
    let mut world = World::online();
    // Each dial takes until its deadline: more than can be tried once in the longest back-off.
    let crowd: Vec<_> = (0..300u16)
        .map(|i| {
            let mut key = [100; 32];
            key[1..3].copy_from_slice(&i.to_be_bytes());
            ToClient::Status(Status {
                name: name(&format!("dead{i}")),
                key: PublicKey(key),
                address: Some(address(9)),
                online: false,
                asks: true,
            })
        })
        .collect();
    let mut actions = world.discovery(&crowd);
    actions.extend(world.discovery(&[status("bob", BOB, true)]));
    let bob = world.bob();
    let mut dialled = Vec::new();
    for _ in 0..20 {
        let underway: Vec<_> = actions
            .drain(..)
            .filter_map(|action| if let Action::Dial { contact, .. } = action { Some(contact) } else { None })
            .collect();
        assert!(underway.len() <= 32);
        dialled.extend(&underway);
        let failed: Vec<_> =
            underway.into_iter().map(|contact| Input::DialFailed { contact, problems: vec![] }).collect();
        actions = world.step(&failed);
        actions.extend(world.later(5_000));
        world.discovery(&[ToClient::Pong]);
    }
    assert!(dialled.contains(&bob));
}

#[test]
fn who_answers_and_wants_no_link_is_looked_for_at_the_other_address() {
    let mut world = World::linked(1);
    world.step(&[Input::LinkClosed(1)]);
    let moved = |port| {
        ToClient::Status(Status {
            name: name("bob"),
            key: BOB,
            address: Some(address(port)),
            online: true,
            asks: false,
        })
    };
    let first_tried = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Dial { addresses, .. } => addresses.first().copied(),
            _ => None,
        })
    };
    // An older client with bob's key still answers where he told last.
    let actions = world.discovery(&[moved(5000)]);
    assert_eq!(first_tried(&actions), Some(address(5000)));
    let contact = world.bob();
    let up = Input::LinkUp {
        link: 2,
        key: BOB,
        dialled: Some(contact),
        route: Route::Direct { remote: address(5000) },
        budget: 1 << 20,
    };
    world.step(&[up]);
    world.says(2, &[Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED })]);
    assert_eq!(first_tried(&world.later(60_000)), Some(address(4000)));
}
