//! Conversations, and what is unread.

use super::super::super::command::Reference;
use super::super::super::event::{self, Prompt};
use super::super::super::notice::MANY_UNREAD;
use super::*;
use crate::store::journal::ConversationId;

fn prompts(actions: Vec<Action>) -> Vec<Prompt> {
    let prompt = |action| if let Action::Prompt(prompt) = action { Some(prompt) } else { None };
    actions.into_iter().filter_map(prompt).collect()
}

impl World {
    pub fn unread(&self) -> u64 {
        self.node.conversations.unread(ConversationId::User(self.bob()))
    }

    /// The conversations entered and left so far, with what was unread and how many lines were shown.
    fn conversations(&self) -> Vec<(Option<&str>, u64, usize)> {
        let conversations = self.notices.iter().filter_map(|notice| match notice {
            Notice::Conversation { peer, unread, messages } => {
                Some((peer.as_ref().map(Name::as_str), *unread, messages.len()))
            }
            _ => None,
        });
        conversations.collect()
    }
}

#[test]
fn lines_go_to_whom_the_user_converses_with_and_to_nobody_else() {
    let mut world = World::linked(1);
    assert_eq!(texts(&world.types("hello?"), 1).len(), 0);
    assert_eq!(world.errors(), [Code::BadCommand]);
    world.types("CHAT bob");
    for line in ["hello, contacts", "WHY are you late?", "//contacts", "  HELP me", "forget it", "why not"] {
        assert_eq!(texts(&world.types(line), 1), [line.replace("//", "/")]);
    }
    // Commands are commands.
    for line in ["/contacts", "CHAT bob", "/HELP"] {
        assert_eq!(texts(&world.types(line), 1).len(), 0, "{line}");
    }
    assert_eq!(world.errors(), [Code::BadCommand]);
    for line in ["/usr/bin", &"x".repeat(MAX_TEXT + 1)] {
        assert_eq!(texts(&world.types(line), 1).len(), 0, "{line}");
    }
    assert_eq!(world.errors(), [Code::BadCommand, Code::BadCommand, Code::TooLong]);
    // What reads as a command is neither done nor said, unless the user has been asked.
    for line in [
        "contacts",
        "CONTACTS",
        "chat carol hi",
        " CHAT carol hi",
        "why bob",
        "TRUST bob 0123456789abcdef",
        "logout",
    ] {
        let errors = world.errors().len();
        assert_eq!(texts(&world.types(line), 1).len(), 0, "{line}");
        assert_eq!(world.errors()[errors..], [Code::BadCommand], "{line}");
        let said = match parse(line) {
            Some(Ok(Command::Line { text, otherwise, instead, .. })) => {
                Command::Line { text, otherwise, instead, meant: true }
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(texts(&world.step(&[Input::typed(Ok(said))]), 1), [line]);
    }
    world.types("CHAT");
    assert_eq!(texts(&world.types("anybody?"), 1).len(), 0);
    // Outside, commands are also understood in lower case.
    let lists = |world: &World| {
        world.notices.iter().filter(|notice| matches!(notice, Notice::Contacts { .. })).count()
    };
    let before = lists(&world);
    world.types("contacts");
    assert_eq!(lists(&world), before + 1);
    assert_eq!(world.conversations(), [(Some("bob"), 0, 0), (Some("bob"), 0, 6), (None, 0, 0)]);
}

#[test]
fn who_can_not_enter_a_conversation_is_in_none() {
    let mut world = World::linked(1);
    world.types("CHAT bob");
    world.types("CHAT carol");
    assert_eq!(world.errors(), [Code::NotAContact]);
    // What comes next was meant for carol.
    assert_eq!(texts(&world.types("secret"), 1).len(), 0);
    assert_eq!(world.conversations().last(), Some(&(None, 0, 0)));
    world.types("BLOCK bob");
    world.types("CHAT bob");
    assert_eq!(world.errors(), [Code::NotAContact, Code::BadCommand, Code::Blocked]);
    world.types("CHAT alice");
    assert_eq!(world.errors().last(), Some(&Code::NotAContact));
    world.types("CHAT bbo hi");
    let Some(Notice::Error(error)) = world.notices.last() else { panic!() };
    assert!(error.message.contains("did you mean bob?"), "{}", error.message);
}

#[test]
fn a_room_that_is_not_there_is_refused_and_not_entered() {
    let mut world = World::linked(1);
    world.types("CHAT bob");
    world.types("CHAT #lab");
    assert_eq!(world.errors(), [Code::NoSuchRoom]);
    // What comes next was meant for the room.
    assert_eq!(texts(&world.types("secret"), 1).len(), 0);
    for line in ["CHAT #lab hi", "HISTORY #lab", "SEARCH x #lab", "WHY #lab", "JOIN #lab", "TOPIC #lab x"] {
        world.types(line);
        let Some(Notice::Error(error)) = world.notices.last() else { panic!("{line}") };
        let room = error.room.as_ref().map(ToString::to_string);
        assert_eq!((error.code, room.as_deref()), (Code::NoSuchRoom, Some("#lab")), "{line}");
    }
    world.fail(&[typed("TOPIC #lab what it is")]);
    let Some(Notice::Error(error)) = world.notices.last() else { panic!() };
    assert_eq!((error.code, error.text.as_deref()), (Code::NotSaved, Some("what it is")));
    assert!(error.room.is_some());
    world.types("ROOMS");
    assert!(matches!(world.notices.last(), Some(Notice::Rooms { rooms }) if rooms.is_empty()));
}

#[test]
fn lines_go_to_the_room_that_the_user_is_in() {
    let mut world = World::linked(1);
    world.types("ROOM #lab");
    let actions = world.types("CHAT #lab");
    let prompt = prompts(actions).pop().unwrap();
    assert_eq!(prompt.conversation.map(|it| it.to_string()).as_deref(), Some("#lab"));
    assert!(matches!(
        world.notices.last(),
        Some(Notice::RoomConversation { unread: 0, messages, .. }) if messages.is_empty()
    ));
    // A line is said there, and not to bob.
    assert_eq!(texts(&world.types("hello world"), 1).len(), 0);
    assert_ne!(world.errors().last(), Some(&Code::BadCommand));
    world.types("/HISTORY #lab 3");
    let Some(Notice::RoomHistory { messages, .. }) = world.notices.last() else { panic!() };
    assert_eq!((messages.len(), messages[0].from.as_str(), messages[0].received), (1, "alice", None));
    for (line, count) in [("/SEARCH hello #lab", 1), ("/SEARCH hello", 1), ("/SEARCH hello @bob", 0)] {
        world.types(line);
        (0..3).for_each(|_| drop(world.step(&[])));
        let Some(Notice::Found { room, messages, .. }) = world.notices.last() else { panic!("{line}") };
        assert_eq!(messages.len(), count, "{line}");
        assert_eq!(room.room_id.is_some(), line.ends_with("#lab"), "{line}");
        assert!(messages.iter().all(|found| found.room.room_id.is_some()), "{line}");
        assert!(messages.iter().all(|found| found.peer.to_string() == "#lab"), "{line}");
    }
    world.types("CHAT");
    world.types("hello");
    assert_eq!(world.errors().last(), Some(&Code::BadCommand));
}

#[test]
fn a_conversation_with_nobody_ends() {
    let mut world = World::online();
    world.step(&[typed("REQUEST ghost"), typed("CHAT ghost"), typed("boo")]);
    let actions = world.discovery(&[no_such_user("ghost")]);
    assert_eq!(prompts(actions).last().unwrap().conversation, None);
    assert_eq!(world.conversations().last(), Some(&(None, 0, 0)));
    world.types("boo");
    assert_eq!(world.errors().last(), Some(&Code::BadCommand));
}

#[test]
fn a_message_is_unread_until_somebody_looks() {
    let mut world = World::linked(1);
    let mut number = 0;
    let mut receive = |world: &mut World, count: u64| {
        for _ in 0..count {
            number += 1;
            world.says(1, &[message(8, number, "x")]);
            world.step(&[]);
        }
    };
    receive(&mut world, 3);
    assert_eq!(world.unread(), 3);
    // What it does not show was not read by it.
    world.types("HISTORY bob 2");
    assert_eq!(world.unread(), 3);
    world.types("HISTORY bob 3");
    assert_eq!(world.unread(), 0);
    receive(&mut world, 1);
    world.types("CHAT bob hi");
    assert_eq!(world.unread(), 0);
    receive(&mut world, 15);
    world.types("CHAT bob");
    assert_eq!(world.unread(), 0);
    assert_eq!(world.conversations(), [(Some("bob"), 15, 15)]);
    world.types("CHAT");
    receive(&mut world, 1);
    assert_eq!(world.unread(), 1);
    // Entering shows some lines that were read before.
    world.types("CHAT bob");
    assert_eq!(world.conversations().last(), Some(&(Some("bob"), 1, 10)));
}

#[test]
fn who_writes_has_read_what_this_session_has_shown_and_nothing_else() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "one"), message(8, 2, "two")]);
    world.types("CHAT bob hi");
    assert_eq!(world.unread(), 0);
    world.says(1, &[message(8, 3, "three")]);
    world.step(&[]);
    world.later(millis(LAZY_SAVE) + 1);
    world.restart(2);
    world.link(2, false, 1, &[]);
    world.types("CHAT bob hi again");
    assert_eq!(world.unread(), 1, "an earlier session has shown it");
    world.says(2, &[message(9, 1, "four")]);
    world.types("CHAT bob and again");
    assert_eq!(world.unread(), 2, "what is unread begins with it");
    world.types("CHAT bob");
    world.types("CHAT");
    world.says(2, &[message(9, 2, "five")]);
    world.types("CHAT bob and again");
    assert_eq!(world.unread(), 0);
}

#[test]
fn a_failed_transaction_leaves_the_conversation_and_the_counts_as_they_were() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "one")]);
    // What is typed in it is not saved, but entering is carried out all the same.
    let actions = world.fail(&[typed("CHAT bob"), typed("lost")]);
    assert_eq!((world.errors(), world.unread()), (vec![Code::NotSaved], 0));
    assert!(prompts(actions).pop().unwrap().conversation.is_some());
    world.fail(&[typed("CHAT"), typed("help"), Input::LinkSays(1, vec![message(8, 2, "two")])]);
    assert_eq!(world.errors(), [Code::NotSaved]);
    world.link(2, false, 1, &[]);
    world.says(2, &[message(8, 2, "two")]);
    assert_eq!(world.unread(), 1, "it was not read with what was to be committed with it");
    assert_eq!(world.node.conversations.current(event::OWN), None);
}

#[test]
fn a_refusal_in_a_failed_transaction_counts_once() {
    let mut world = World::linked(1);
    world.fail(&[typed("CHAT carol hi"), typed("/nonsense"), typed("HISTORY carol")]);
    assert!(world.node.exit.status(false).1.unwrap().starts_with("3 not done"));
    world.types("REQUEST ghost");
    world.fail(&[says(no_such_user("ghost"))]);
    assert!(world.node.exit.status(false).1.unwrap().starts_with("3 not done"), "it is told again");
}

#[test]
fn a_command_that_is_refused_while_the_disk_fails_has_one_answer() {
    let mut world = World::linked(1);
    world.types("BLOCK bob");
    world.fail(&[typed("CHAT bob hi"), typed("CHAT bob")]);
    assert_eq!(world.errors(), [Code::NotSaved, Code::Blocked]);
}

#[test]
fn who_can_not_enter_a_conversation_is_answered_once() {
    let mut world = World::linked(1);
    world.types("CHAT bob");
    let reference = Some(Reference::Number(1));
    let command = parse("CHAT carol").unwrap();
    let told = world.unprinted(&[Input::Command { command, reference: reference.clone() }]);
    assert!(matches!(told[0].notice, Notice::Conversation { peer: None, .. }), "{told:?}");
    assert!(matches!(told[1].notice, Notice::Error(_)), "{told:?}");
    let references: Vec<_> = told.iter().map(|told| told.reference.clone()).collect();
    assert_eq!(references, [None, reference]);
}

#[test]
fn no_more_lines_are_shown_than_are_counted() {
    let mut world = World::linked(1);
    let many: Vec<_> = (1..=MANY_UNREAD + 5).map(|number| message(8, number, "x")).collect();
    world.says(1, &many);
    world.types("CHAT bob");
    assert_eq!((world.unread(), world.conversations()), (0, vec![(Some("bob"), MANY_UNREAD, 1000)]));
}

#[test]
fn all_that_is_unread_is_shown_also_where_ours_stand_between() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "read")]);
    world.types("HISTORY bob");
    world.later(millis(LAZY_SAVE) + 1);
    let unread: Vec<_> = (2..=12).map(|number| message(8, number, "x")).collect();
    world.says(1, &unread);
    (0..5).for_each(|_| drop(world.types("CHAT bob mine")));
    // That they were read when ours were written was not saved before it was killed.
    world.restart(2);
    world.step(&[]);
    assert_eq!(world.unread(), 11);
    world.types("CHAT bob");
    assert_eq!(world.conversations(), [(Some("bob"), 11, 16)]);
    let entered = world.notices.iter().rfind(|notice| matches!(notice, Notice::Conversation { .. }));
    let Some(Notice::Conversation { messages, .. }) = entered else { panic!() };
    assert!(messages[0].received.is_some());
}
