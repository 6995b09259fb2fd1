//! What counts as read.

use super::*;

fn unread(world: &mut World, who: &str) -> u64 {
    world.screen();
    world.unread(&to(who))
}

#[test]
fn what_was_on_the_screen_is_read_and_nothing_else() {
    let mut world = World::new(&[("bob", 1), ("carol", 1)]);
    world.opens("bob");
    world.arrives("bob", "one");
    world.arrives("carol", "two");
    assert_eq!((unread(&mut world, "bob"), unread(&mut world, "carol")), (0, 1));
    world.opens("carol");
    assert_eq!(unread(&mut world, "carol"), 0);
    // Writing somewhere, or a look at the past, reads nothing.
    world.arrives("bob", "three");
    world.enters("CHAT bob an answer");
    world.enters("/HISTORY bob 20");
    assert_eq!(unread(&mut world, "bob"), 1);
    // Nor does a command that covers it.
    world.enters("CHAT");
    world.arrives("carol", "four");
    assert_eq!(unread(&mut world, "carol"), 1);
}

#[test]
fn only_who_is_there_reads() {
    let mut world = World::new(&[("bob", 1)]);
    world.opens("bob");
    world.later(61);
    world.arrives("bob", "one");
    assert_eq!(unread(&mut world, "bob"), 1);
    assert!(world.shows("── new ──"));
    world.press(Key::Left);
    assert_eq!(unread(&mut world, "bob"), 0);
    // A terminal that tells of its focus is believed.
    world.press(Key::Focus(false));
    world.arrives("bob", "two");
    assert_eq!(unread(&mut world, "bob"), 1);
    world.press(Key::Focus(true));
    assert_eq!(unread(&mut world, "bob"), 0);
    world.later(3600);
    world.arrives("bob", "three");
    assert_eq!(unread(&mut world, "bob"), 0);
}

#[test]
fn what_is_above_or_below_the_screen_is_not_read() {
    let mut world = World::new(&[("bob", 50)]);
    world.opens("bob");
    world.press(Key::PageUp);
    world.screen();
    world.arrives("bob", "below");
    assert_eq!(unread(&mut world, "bob"), 1);
    world.press(Key::CtrlEnd);
    assert_eq!(unread(&mut world, "bob"), 0);
    // More has come than fits, while the user was away.
    world.later(61);
    (0..20).for_each(|number| world.arrives("bob", &format!("new {number}.")));
    assert_eq!(unread(&mut world, "bob"), 20);
    world.press(Key::Left);
    assert_eq!(unread(&mut world, "bob"), 20, "the first of them were never seen");
    world.press(Key::Alt('j'));
    let seen = 20 - unread(&mut world, "bob");
    assert!(world.shows("new 0.") && (5..20).contains(&seen), "{seen}");
    world.press(Key::PageDown);
    world.screen();
    world.press(Key::PageDown);
    assert_eq!(unread(&mut world, "bob"), 0);
}

#[test]
fn a_conversation_opens_at_the_first_that_is_unread() {
    let mut world = World::new(&[("bob", 30), ("carol", 1)]);
    (0..40).for_each(|number| world.arrives("bob", &format!("new {number}.")));
    world.opens("bob");
    let rows = world.right();
    assert!(rows[1].contains("── new ──") && rows[2].contains("new 0."), "{rows:#?}");
    let left = unread(&mut world, "bob");
    assert!((25..35).contains(&left), "{left}");
    world.press(Key::Alt('r'));
    assert_eq!(unread(&mut world, "bob"), 0);
    // What fits is shown with the newest at the end.
    (0..3).for_each(|number| world.arrives("carol", &format!("more {number}.")));
    world.opens("carol");
    let rows = world.right();
    assert!(world.shows("message 1") && rows[rows.len() - 2].contains("more 2."), "{rows:#?}");
    assert_eq!(unread(&mut world, "carol"), 0);
}

#[test]
fn a_thousand_and_more_are_opened_where_the_last_thousand_begins() {
    let mut world = World::new(&[("bob", 10)]);
    (0..1500).for_each(|_| {
        let line = world.line("bob", "flood");
        world.said.get_mut(&to("bob")).unwrap().push(line);
    });
    world.prompt();
    world.opens("bob");
    assert_eq!(unread(&mut world, "bob"), 1500, "what is before that was never on the screen");
    assert!(world.model.views[&to("bob")].lines().count() <= 400);
    world.press(Key::CtrlEnd);
    world.screen();
    world.press(Key::Alt('r'));
    assert_eq!(unread(&mut world, "bob"), 0);
}

#[test]
fn what_rushes_through_the_screen_of_who_is_there_is_read() {
    let mut world = World::new(&[("bob", 1)]);
    world.opens("bob");
    assert!(!world.right()[0].contains('↑'));
    (0..500).for_each(|number| world.arrives("bob", &format!("new {number}.")));
    assert_eq!(unread(&mut world, "bob"), 0);
    assert!(!world.shows("── new ──"));
}

#[test]
fn what_has_waited_for_the_start_is_found_above_the_screen() {
    let mut world = World::with(&[("bob", 30)], wants(&[], &[]), Some("bob"));
    world.screen();
    (0..600).for_each(|number| world.arrives("bob", &format!("new {number}.")));
    assert_eq!(unread(&mut world, "bob"), 600);
    assert!(world.right()[0].ends_with("↑ unread (Alt+J)"));
    for key in [Key::Alt('j'), Key::Alt('a')] {
        world.press(Key::CtrlEnd);
        let first = format!("new {}.", 600 - unread(&mut world, "bob"));
        world.press(key);
        let rows = world.right();
        assert!(rows[1].contains("── new ──") && rows[2].ends_with(&first), "{rows:#?}");
        assert!(rows[0].contains("more below") && !rows[0].contains("↑"));
    }
    assert!((570..600).contains(&unread(&mut world, "bob")));
}

#[test]
fn the_mark_of_what_is_new_goes_with_the_next_word() {
    let mut world = World::new(&[("bob", 1), ("carol", 1)]);
    world.arrives("bob", "one");
    world.opens("bob");
    assert!(world.shows("── new ──"));
    world.arrives("bob", "two");
    assert!(world.shows("── new ──"));
    world.enters("an answer");
    assert!(!world.shows("── new ──"));
    world.arrives("bob", "three");
    world.screen();
    world.opens("carol");
    world.opens("bob");
    assert!(!world.shows("── new ──"));
}

#[test]
fn in_a_room_what_came_late_is_read_where_it_stands() {
    let mut world = World::new(&[("#lab", 5), ("bob", 1)]);
    world.arrives("#lab", "late");
    world.arrives("#lab", "latest");
    // In the one order it stands before what was there.
    let lines = world.said.get_mut(&to("#lab")).unwrap();
    let late = lines.remove(5);
    lines.insert(2, late);
    world.opens("#lab");
    assert_eq!(unread(&mut world, "#lab"), 0);
}
