//! Back in time and forward again.

use super::*;

/// The numbers of the messages on the screen, in their order.
fn numbers(world: &mut World) -> Vec<usize> {
    let number = |row: &String| row.split_once("message ").and_then(|(_, number)| number.parse().ok());
    world.right().iter().filter_map(number).collect()
}

#[test]
fn it_goes_back_to_the_first_message_and_forward_to_the_last() {
    const ALL: usize = 3000;
    let mut world = World::new(&[("bob", ALL)]);
    world.opens("bob");
    let mut seen = numbers(&mut world);
    assert_eq!(seen.last(), Some(&ALL));
    for _ in 0..ALL {
        if seen.first() == Some(&1) {
            break;
        }
        world.press(Key::PageUp);
        let page = numbers(&mut world);
        assert_eq!(page, (page[0]..page[0] + page.len()).collect::<Vec<_>>());
        assert!(page.contains(&seen[0]) && page[0] < seen[0], "{page:?} after {seen:?}");
        assert!(world.model.views[&to("bob")].lines().count() <= 400);
        seen = page;
    }
    assert!(world.shows("Thursday, 1 January 1970"));
    for _ in 0..ALL {
        if seen.last() == Some(&ALL) {
            break;
        }
        world.press(Key::PageDown);
        let page = numbers(&mut world);
        assert!(page.contains(seen.last().unwrap()) && page.last() > seen.last(), "{page:?} after {seen:?}");
        assert!(world.model.views[&to("bob")].lines().count() <= 400);
        seen = page;
    }
    assert!(!world.shows("more below"));
    world.arrives("bob", "message 3001");
    assert_eq!(numbers(&mut world).last(), Some(&3001));
}

#[test]
fn what_comes_does_not_move_what_is_being_read() {
    let mut world = World::new(&[("bob", 1000)]);
    world.opens("bob");
    for _ in 0..3 {
        world.press(Key::PageUp);
    }
    let before = numbers(&mut world);
    for number in 1001..2000 {
        world.arrives("bob", &format!("message {number}"));
        if number % 100 == 0 {
            assert_eq!(numbers(&mut world), before);
        }
    }
    assert!(world.shows("more below"));
    world.press(Key::CtrlEnd);
    assert_eq!(numbers(&mut world).last(), Some(&1999));
    // A line of one's own shows where it stands.
    world.press(Key::PageUp);
    world.enters("mine");
    assert!(world.shows("alice  mine"));
}

#[test]
fn it_jumps_to_both_ends_and_moves_by_some_rows() {
    let mut world = World::new(&[("bob", 1000)]);
    world.opens("bob");
    world.press(Key::CtrlHome);
    assert_eq!(numbers(&mut world)[0], 1);
    world.press(Key::CtrlEnd);
    let last = numbers(&mut world);
    assert_eq!(last.last(), Some(&1000));
    world.press(Key::WheelUp);
    assert_eq!(numbers(&mut world)[0], last[0] - 3);
    world.press(Key::WheelDown);
    assert_eq!(numbers(&mut world), last);
    assert!(!world.shows("more below"), "down there it follows again");
    // The End key, unless it has to do in the line.
    world.press(Key::PageUp);
    world.types("ab");
    world.press(Key::Left);
    world.press(Key::End);
    assert_ne!(numbers(&mut world), last);
    world.press(Key::End);
    assert_eq!(numbers(&mut world), last);
}

#[test]
fn a_message_that_is_higher_than_the_screen_is_read_row_by_row() {
    let mut world = World::new(&[("bob", 3)]);
    let long: Vec<_> = (0..40).map(|number| format!("row {number}.")).collect();
    world.arrives("bob", &long.join("\n"));
    world.arrives("bob", "message 5");
    world.opens("bob");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let row = |row: &String| row.split_once("row ").map(|(_, number)| number.to_owned());
        seen.extend(world.right().iter().filter_map(row));
        world.press(Key::PageDown);
    }
    assert_eq!(seen.len(), 40);
    assert_eq!(world.unread(&to("bob")), 0);
}

#[test]
fn each_conversation_keeps_its_place() {
    let mut world = World::new(&[("bob", 300), ("carol", 300)]);
    world.opens("bob");
    world.press(Key::PageUp);
    let before = numbers(&mut world);
    world.opens("carol");
    assert_eq!(numbers(&mut world).last(), Some(&300));
    world.press(Key::Alt('1'));
    assert_eq!(numbers(&mut world), before);
}

#[test]
fn only_some_conversations_are_kept_in_memory() {
    let names: Vec<String> = (0..30).map(|number| format!("user{number:02}")).collect();
    let said: Vec<_> = names.iter().map(|name| (name.as_str(), 200)).collect();
    let mut world = World::new(&said);
    for name in &names {
        world.opens(name);
    }
    assert!(world.model.views.len() <= 8);
    assert!(world.left().iter().any(|row| row.starts_with(">30 user29")));
}

#[test]
fn a_screen_that_gets_another_size_keeps_its_place() {
    let mut world = World::new(&[("bob", 300)]);
    world.opens("bob");
    for _ in 0..5 {
        world.press(Key::PageUp);
    }
    let first = numbers(&mut world)[0];
    for size in [(40, 20), (120, 8), (80, 12)] {
        world.model.resize(size);
        assert_eq!(numbers(&mut world)[0], first, "{size:?}");
    }
}
