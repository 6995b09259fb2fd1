//! What is said, and what is answered.

use super::*;

fn chat(who: &str, text: &str) -> Command {
    Command::Chat(to(who), text.into())
}

#[test]
fn a_line_goes_to_the_conversation_that_is_open() {
    let mut world = World::new(&[("bob", 1), ("carol", 1)]);
    world.enters("hello");
    assert!(world.shows("is not a command"));
    world.opens("bob");
    for line in ["hello", "//x", "  CONTACT me", "CHAT carol hi"] {
        world.enters(line);
    }
    assert_eq!(
        world.commands,
        [chat("bob", "hello"), chat("bob", "/x"), chat("bob", "  CONTACT me"), chat("carol", "hi")]
    );
    assert!(world.shows("sent to carol") && !world.shows("alice  hi"));
    world.commands.clear();
    world.enters("chat carol hi");
    assert!(world.shows("send this to bob? It reads as a command") && world.commands.is_empty());
    world.types("n");
    world.press(Key::Enter);
    world.types("y");
    assert_eq!(world.commands, [chat("bob", "chat carol hi")]);
    // Of several lines each goes where the one before has led to.
    world.press(Key::Paste(Some("/OUTBOX\n/CHAT carol\none".into())));
    world.press(Key::Enter);
    assert!(world.shows("run these 3 lines one after the other?"));
    world.types("y");
    assert_eq!(world.commands[1..], [Command::Outbox, chat("carol", "one")]);
}

#[test]
fn what_happens_in_a_room_stands_among_what_is_said_there() {
    let mut world = World::new(&[("#lab", 1), ("bob", 1)]);
    let member = |user, state| {
        let (room, user, by) = (room("#lab"), name(user), None);
        Notice::Member { room, room_id: KEY, user, state, by, declined: false }
    };
    world.hears(vec![member("carol", MemberState::Joined)]);
    assert_eq!(world.left()[0], ">0 client", "it calls for nothing");
    assert!(world.shows("* carol is in #lab now"));
    world.opens("bob");
    world.arrives("#lab", "welcome");
    world.hears(vec![member("carol", MemberState::Left)]);
    assert!(world.left()[0].ends_with("client") && !world.shows("carol"));
    world.opens("#lab");
    let expected = ["message 1", "* carol is in #lab now", "── new ──", "welcome", "* carol has left #lab"];
    let rows = world.right();
    let rows = &rows[rows.len() - 6..];
    assert!(rows.iter().zip(expected).all(|(row, part)| row.contains(part)), "{rows:#?}");
    // It stands where it stood, however often it is looked at.
    world.press(Key::CtrlHome);
    world.press(Key::CtrlEnd);
    assert_eq!(world.right()[world.right().len() - 6..], *rows);
    // What ends it for the user is told elsewhere, too.
    let state = RoomState::Removed;
    world.opens("bob");
    world.hears(vec![Notice::Room {
        room: room("#lab"),
        room_id: KEY,
        state,
        why: String::new(),
        declined: false,
    }]);
    assert!(world.left()[0].ends_with('*'));
    world.opens("#lab");
    assert!(world.shows("00:00  * you are removed from #lab"));
    let mut world = World::new(&[("#lab", 0)]);
    world.hears(vec![member("carol", MemberState::Joined)]);
    world.opens("#lab");
    assert!(world.shows("00:00  * carol is in #lab now"));
    // The day stands above what happened first on it.
    world.arrives("#lab", "welcome");
    let rows = world.right();
    let at = |part| rows.iter().position(|row| row.contains(part)).expect(part);
    assert!(at("1970") < at("carol") && at("carol") < at("welcome"), "{rows:#?}");
    assert_eq!(rows.iter().filter(|row| row.contains("1970")).count(), 1);
}

#[test]
fn a_command_without_a_name_is_about_the_conversation() {
    let mut world = World::new(&[("#lab", 1), ("bob", 1)]);
    world.opens("#lab");
    for line in ["/members", "/topic new things", "/kick carol", "/invite dave all", "/why"] {
        world.enters(line);
    }
    let (lab, all) = (room("#lab"), true);
    let expected = [
        Command::Members(lab.clone()),
        Command::Topic(lab.clone(), "new things".into()),
        Command::Kick(lab.clone(), name("carol")),
        Command::Invite { room: lab.clone(), user: name("dave"), all },
        Command::Why(to("#lab")),
    ];
    assert_eq!(world.commands, expected);
    world.commands.clear();
    world.opens("bob");
    for line in ["/verify", "/members", "/forget", "/chat Bob! hi", "verify"] {
        world.enters(line);
    }
    assert_eq!(world.commands, [Command::Verify(name("bob"), None), chat("bob", "verify")]);
    world.commands.clear();
    world.enters("CHAT");
    world.enters("/why");
    assert_eq!(world.commands, []);
}

#[test]
fn who_can_not_be_opened_gets_nothing_and_none_else_does() {
    let mut world = World::new(&[("bob", 1)]);
    world.opens("bob");
    world.enters("CHAT dave");
    assert!(world.shows("dave is not a contact") && world.left()[0].starts_with(">0"));
    world.enters("secret");
    assert_eq!(world.commands, []);
    // Also where it is not known yet.
    world.opens("bob");
    world.press(Key::Paste(Some("CHAT dave\nsecret".into())));
    world.press(Key::Enter);
    world.types("y");
    assert!(
        !world.commands.iter().any(|command| matches!(command, Command::Chat(who, _) if *who == to("bob")))
    );
}

#[test]
fn own_messages_show_how_far_they_have_come() {
    let mut world = World::new(&[("bob", 1), ("#lab", 1)]);
    world.opens("bob");
    world.enters("hi");
    let state = |world: &mut World| {
        let rows = world.right();
        let row = rows.iter().find(|row| row.contains("alice  hi")).unwrap().clone();
        row.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(state(&mut world), "…");
    let id = world.said[&to("bob")].last().unwrap().id;
    world.hears(vec![Notice::Delivered { id, to: name("bob") }]);
    assert_eq!(state(&mut world), "✓");
    world.opens("#lab");
    world.enters("hi");
    let id = world.said[&to("#lab")].last().unwrap().id;
    let spread = |have, is_final| Notice::Spread { id, to: room("#lab"), have, of: 5, is_final };
    for (notice, mark) in [(spread(3, false), "3/5"), (spread(5, false), "5/5"), (spread(5, true), "✓")] {
        world.hears(vec![notice]);
        assert_eq!(state(&mut world), mark);
    }
    // What is said in another box is shown as well.
    let line = world.line("alice", "from elsewhere");
    world.hears(vec![Notice::Sent {
        id: line.id,
        to: to("#lab"),
        text: line.text,
        sent: 0,
        linked: true,
        alone: false,
    }]);
    assert!(world.shows("from elsewhere"));
}

#[test]
fn answers_stand_in_a_panel_until_they_are_closed() {
    let mut world = World::new(&[("bob", 3)]);
    world.opens("bob");
    world.enters("/OUTBOX");
    assert!(
        world.shows("nothing waits to be delivered")
            && world.shows("Esc closes it")
            && world.shows("message 3")
    );
    world.press(Key::Escape);
    assert!(!world.shows("nothing waits to be delivered") && !world.shows("Esc closes it"));
    world.enters("/nothing");
    assert!(world.shows("is not a command"));
    world.enters("hello");
    assert!(!world.shows("is not a command"), "the next line closes it");
    // In the client's own conversation they are part of it.
    world.press(Key::Alt('0'));
    assert!(
        world.shows("nothing waits to be delivered")
            && world.shows("is not a command")
            && !world.shows("Esc closes")
    );
}

#[test]
fn a_long_answer_is_scrolled() {
    let mut world = World::new(&[("bob", 3)]);
    world.opens("bob");
    let commands = (1..=40).map(|number| (format!("COMMAND{number}.").into(), "does it".into())).collect();
    world.enters("/OUTBOX");
    world.model.answer(Notice::Help { commands }, world.now);
    assert!(world.shows("rows below: PageDown") && !world.shows("COMMAND40."));
    (0..40).for_each(|_| _ = world.press(Key::PageDown));
    assert!(world.shows("alt+1 ") && world.shows("rows above: PageUp"));
}

#[test]
fn errors_and_strangers_do_not_scroll_away() {
    let mut world = World::new(&[("bob", 1)]);
    world.opens("bob");
    let (from, fingerprint) = (name("mallory"), PublicKey([2; 32]));
    world.hears(vec![
        Notice::Request { from, fingerprint, stranger: true, resembles: None },
        Notice::Error(ErrorNotice::new(Code::Superseded, "it is bad".into())),
    ]);
    for _ in 0..30 {
        world.arrives("bob", "more");
    }
    assert!(world.shows("mallory asks for you") && world.shows("! it is bad"));
    let mut line = contact("mallory");
    line.stranger = false;
    world.hears(vec![Notice::Contact(Box::new(line))]);
    assert!(!world.shows("mallory asks for you") && world.shows("! it is bad"));
    world.press(Key::Escape);
    assert!(!world.shows("! it is bad"));
    world.press(Key::Alt('0'));
    assert!(world.shows("! it is bad"), "it stays in the client's own conversation");
}

#[test]
fn leaving_is_asked_once() {
    let mut world = World::new(&[("bob", 1)]);
    assert_eq!(world.press(Key::Ctrl('c')), Effect::None);
    assert!(world.shows("Ctrl+C again to leave"));
    assert_eq!(world.press(Key::Ctrl('c')), Effect::Interrupt);
    assert_eq!(world.press(Key::Ctrl('z')), Effect::Suspend);
    assert_eq!(world.press(Key::Ctrl('l')), Effect::Redraw);
    world.press(Key::Ctrl('d'));
    world.opens("bob");
    world.enters("LOGOUT");
    assert_eq!(world.ended.len(), 2);
    assert!(matches!(world.model.ended(), Some(Notice::Bye { .. })));
}

#[test]
fn a_bell_rings_unless_it_is_muted() {
    let preferences = wants(&["carol"], &[]);
    let mut world = World::with(&[("bob", 1), ("carol", 1)], preferences, None);
    world.arrives("carol", "hi");
    assert!(!world.model.take_bell());
    world.arrives("bob", "hi");
    assert!(world.model.take_bell() && !world.model.take_bell());
    let roles: Vec<_> = world.model.frame(world.now).list.iter().map(|row| row.role).collect();
    use crate::client::console::screen::colours::Role;
    assert_eq!(roles, [Role::Current, Role::Unread, Role::Muted]);
}

#[test]
fn words_to_highlight_are_mentions_in_rooms() {
    let preferences = wants(&[], &["build"]);
    let mut world = World::with(&[("bob", 0), ("#lab", 0)], preferences, None);
    world.arrives("bob", "the build");
    world.arrives("#lab", "the BUILD is green");
    assert!(world.left()[1].ends_with(" 1") && world.left()[2].ends_with("@1"));
    world.opens("#lab");
    assert!(world.shows("@bob    the BUILD"));
}

#[test]
fn what_others_write_never_reaches_the_columns_of_time_and_name() {
    let mut world = World::new(&[("bob", 0)]);
    world.opens("bob");
    for text in [
        "\u{1b}[2J\u{1b}[1;1Hgone",
        "one\n12:00  alice  forged",
        "                                                                 12:00  alice  forged",
        "שלום שלום שלום שלום שלום שלום שלום שלום שלום שלום שלום שלום",
        "👩\u{200d}👩\u{200d}👧\u{200d}👦 好好好好好好好好好好好好好好好好好好好好好好好好好好好好好好好好",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    ] {
        world.arrives("bob", text);
        let screen = world.screen();
        for row in &screen[1..11] {
            let right: String = row.chars().skip_while(|c| *c != '│').skip(1).take(14).collect();
            let usual =
                right.trim().is_empty() || right.trim_end() == "00:00  bob" || right.starts_with("──");
            assert!(usual, "{text:?}: {row:?}");
        }
        assert!(!screen.concat().contains('\u{1b}'));
    }
}

#[test]
fn the_end_is_told_on_the_usual_screen() {
    let mut world = World::new(&[("bob", 1)]);
    world.hears(vec![Notice::Detached]);
    assert_eq!(world.model.ended(), Some(&Notice::Detached));
}
