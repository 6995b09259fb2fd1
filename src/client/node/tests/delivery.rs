//! Messages out and in.

use super::*;

#[test]
fn what_is_written_goes_out_in_order_and_is_delivered_when_acknowledged() {
    let mut world = World::linked(1);
    assert_eq!(texts(&world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]), 1), ["one", "two"]);
    assert_eq!((world.node.delivery.waiting(world.bob()), world.delivered()), (2, 0));
    world.says(1, &[Peer::Ack(cursor(1, 1))]);
    assert_eq!((world.node.delivery.waiting(world.bob()), world.delivered()), (1, 1));
    // An acknowledgement that comes twice, or of another epoch, says nothing.
    world.says(1, &[Peer::Ack(cursor(1, 1)), Peer::Ack(cursor(99, 2))]);
    assert_eq!((world.node.delivery.waiting(world.bob()), world.delivered()), (1, 1));
    world.says(1, &[Peer::Ack(cursor(1, u64::MAX))]);
    assert_eq!((world.node.delivery.waiting(world.bob()), world.delivered()), (0, 2));
}

#[test]
fn what_was_not_acknowledged_goes_out_again_after_a_restart_under_its_old_name() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.says(1, &[Peer::Ack(cursor(1, 1))]);
    world.restart(2);
    world.types("CHAT bob three");
    let actions = world.link(2, false, 1, &[cursor(1, 1)]);
    let names: Vec<_> = sent(&actions, 2)
        .into_iter()
        .filter_map(|said| if let Peer::Message(message) = said { Some(message.cursor()) } else { None })
        .collect();
    assert_eq!(names, [cursor(1, 2), cursor(2, 3)]);
    world.says(2, &[Peer::Ack(cursor(2, 3))]);
    assert_eq!((world.node.delivery.waiting(world.bob()), world.delivered()), (0, 2));
}

#[test]
fn a_hello_tells_what_arrived_when_the_acknowledgement_was_lost() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.step(&[Input::LinkClosed(1)]);
    let actions = world.link(2, false, 1, &[cursor(1, 1)]);
    assert_eq!(texts(&actions, 2), ["two"]);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn a_receiver_who_was_restored_from_a_backup_is_served_from_where_it_is() {
    let mut world = World::linked(1);
    world.step(&[typed("CHAT bob one"), typed("CHAT bob two")]);
    world.says(1, &[Peer::Ack(cursor(1, 2))]);
    world.step(&[Input::LinkClosed(1)]);
    assert_eq!(texts(&world.link(2, false, 2, &[cursor(1, 1)]), 2), ["two"]);
    world.step(&[Input::LinkClosed(2)]);
    assert_eq!(texts(&world.link(3, false, 3, &[]), 3), ["one", "two"]);
    world.says(3, &[Peer::Ack(cursor(1, 2))]);
    assert_eq!(world.delivered(), 2, "what was delivered once is not told again");
}

#[test]
fn the_window_bounds_what_is_unacknowledged() {
    let mut world = World::linked(1);
    let text = "x".repeat(MAX_TEXT);
    let mut out = 0;
    for _ in 0..64 {
        out += texts(&world.types(&format!("CHAT bob {text}")), 1).len();
    }
    // The window is half of the budget of one mebibyte, and waits until half of it is free.
    assert!((8..=16).contains(&out), "{out}");
    let more = texts(&world.says(1, &[Peer::Ack(cursor(1, 8))]), 1).len();
    assert!((8..=16).contains(&more), "{more}");
    // The last of them is still one that the window let through.
    let mut left = 64 - out - more;
    for number in 9..=64 {
        left -= texts(&world.says(1, &[Peer::Ack(cursor(1, number))]), 1).len();
    }
    assert_eq!((left, world.node.delivery.waiting(world.bob())), (0, 0));
}

#[test]
fn a_window_of_nothing_still_takes_one_message_at_a_time() {
    let mut world = World::with_bob();
    world.types("CHAT bob one");
    world.types("CHAT bob two");
    let up = Input::LinkUp {
        link: 1,
        key: BOB,
        dialled: None,
        route: Route::Direct { remote: address(4000) },
        budget: 1 << 20,
    };
    let tiny = Hello { name: name("bob"), epoch: 1, port: 1, window: 0, cursors: vec![] };
    let actions = world.step(&[up, Input::LinkSays(1, vec![Peer::Hello(tiny)])]);
    assert_eq!(texts(&actions, 1), ["one"]);
    assert_eq!(texts(&world.says(1, &[Peer::Ack(cursor(1, 1))]), 1), ["two"]);
}

#[test]
fn a_message_is_shown_once_and_acknowledged_each_time() {
    let mut world = World::linked(1);
    let actions = world.says(1, &[message(8, 1, "one"), message(8, 4, "four"), message(8, 4, "four")]);
    assert_eq!(sent(&actions, 1), [&Peer::Ack(cursor(8, 4))]);
    let actions = world.says(1, &[message(8, 1, "one")]);
    assert_eq!(sent(&actions, 1), [&Peer::Ack(cursor(8, 1))]);
    // Another epoch counts for itself, and the first is not forgotten.
    world.says(1, &[message(9, 1, "new"), message(8, 4, "four"), message(8, 5, "five")]);
    assert_eq!(world.shown(), ["one", "four", "new", "five"]);
}

#[test]
fn what_came_with_the_last_frame_of_a_link_is_not_taken_a_second_time() {
    let mut world = World::linked(1);
    // The message and the end of its link in one transaction: nothing is left to acknowledge.
    world.step(&[Input::LinkSays(1, vec![message(8, 1, "one")]), Input::LinkClosed(1)]);
    world.step(&[]);
    world.restart(2);
    world.link(2, false, 1, &[]);
    world.says(2, &[message(8, 1, "one")]);
    // Whether it was seen before the restart is not known: it is shown once more, from the journal.
    assert_eq!(world.shown(), ["one"]);
    assert_eq!(world.journal.last_seq().unwrap(), 1);
}

#[test]
fn a_backlog_goes_out_in_few_frames_however_little_each_acknowledgement_frees() {
    let mut world = World::with_bob();
    let contact = world.bob();
    let up = Input::LinkUp {
        link: 1,
        key: BOB,
        dialled: Some(contact),
        route: Route::Direct { remote: address(4000) },
        budget: 16 << 10,
    };
    (0..400).for_each(|number| _ = world.types(&format!("CHAT bob {number}")));
    world.step(&[up]);
    let mut actions = world.says(1, &[hello(1, &[])]);
    let mut received: Vec<Cursor> = Vec::new();
    let mut frames = 0;
    // Bob acknowledges message by message.
    while received.len() < 400 {
        for said in actions.iter().filter_map(|action| match action {
            Action::Send(1, said) => Some(said),
            _ => None,
        }) {
            let messages = said.iter().filter_map(|said| match said {
                Peer::Message(message) => Some(message.cursor()),
                _ => None,
            });
            let before = received.len();
            received.extend(messages);
            frames += usize::from(received.len() > before);
        }
        let next = world.node.delivery.delivered(world.bob()).unsigned_abs();
        let Some(ack) = received.iter().find(|cursor| cursor.number > next) else {
            break;
        };
        actions = world.says(1, &[Peer::Ack(*ack)]);
    }
    assert_eq!(received.len(), 400);
    assert!(frames <= 20, "{frames} frames");
}
