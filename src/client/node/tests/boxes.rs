//! Several front ends on one client.

use super::super::super::command::{Beside, Reference};
use super::super::super::event::BoxId;
use super::*;

const ONE: BoxId = 1;
const TWO: BoxId = 2;

/// Says something in a box.
fn said(from: BoxId, line: &str) -> Input {
    Input::Said { from, command: parse(line).unwrap(), reference: Some(Reference::Number(7)) }
}

impl World {
    /// Bob is linked, and two boxes are attached.
    fn with_boxes() -> Self {
        let mut world = Self::linked(1);
        world.boxes(&[Input::Attached(ONE), Input::Attached(TWO)]);
        world
    }

    /// One transaction: what each box is given by it, and writes.
    fn boxes(&mut self, inputs: &[Input]) -> Vec<(BoxId, Told)> {
        let given = self.unread_boxes(inputs);
        for (front_end, batch) in &given {
            if batch.is_some() {
                self.step(&[Input::Written(*front_end)]);
            }
        }
        let told = |(front_end, batch): (BoxId, Option<Vec<Told>>)| {
            batch.into_iter().flatten().map(move |told| (front_end, told))
        };
        given.into_iter().flat_map(told).collect()
    }

    /// The same; the boxes write nothing. `None` is for a box that is cut.
    fn unread_boxes(&mut self, inputs: &[Input]) -> Vec<(BoxId, Option<Vec<Told>>)> {
        self.step(inputs);
        let batch = |for_box| match for_box {
            ForBox::Print(batch) => Some(batch),
            ForBox::Cut => None,
        };
        self.node.for_boxes().into_iter().map(|(id, for_box)| (id, batch(for_box))).collect()
    }
}

/// What the boxes were told, in a word each.
fn words(told: &[(BoxId, Told)]) -> Vec<(BoxId, String)> {
    let word = |told: &Told| format!("{:?}", told.notice).split([' ', '(']).next().unwrap().to_owned();
    told.iter().map(|(front_end, told)| (*front_end, word(told))).collect()
}

fn is(front_end: BoxId, words: &[&str]) -> Vec<(BoxId, String)> {
    words.iter().map(|word| (front_end, (*word).to_owned())).collect()
}

#[test]
fn a_box_is_greeted_and_told_what_happens() {
    let mut world = World::linked(1);
    let told = world.boxes(&[Input::Attached(ONE)]);
    assert_eq!(words(&told), is(ONE, &["Hello", "Ready", "Discovery"]));
    let told = world.boxes(&[Input::Attached(TWO)]);
    assert_eq!(words(&told), is(TWO, &["Hello", "Ready", "Discovery"]));
    let told = world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, 1, "hi"))])]);
    assert_eq!(words(&told), [is(ONE, &["Message"]), is(TWO, &["Message"])].concat());
    assert_eq!(told[0].1.seq, 1, "where it stands in the journal");
    let told = world.boxes(&[Input::Detached(ONE), said(TWO, "DETACH")]);
    assert_eq!(words(&told), is(TWO, &["Detached"]));
    assert_eq!(world.boxes(&[Input::Detached(TWO), Input::LinkClosed(1)]).len(), 0);
}

#[test]
fn own_messages_are_told_to_the_other_boxes() {
    let mut world = World::with_boxes();
    let told = world.boxes(&[said(ONE, "CHAT bob hi")]);
    assert_eq!(words(&told), [is(ONE, &["Queued"]), is(TWO, &["Sent"])].concat());
    assert_eq!(
        (told[0].1.reference.clone(), told[1].1.reference.clone()),
        (Some(Reference::Number(7)), None)
    );
    assert_eq!((told[0].1.seq, told[1].1.seq), (1, 1));
    assert!(
        world.notices.iter().any(|notice| matches!(notice, Notice::Sent { .. })),
        "the own front end, too"
    );
    let told = world.boxes(&[Input::LinkSays(1, vec![Peer::Ack(cursor(1, 1))])]);
    assert_eq!(words(&told), [is(ONE, &["Delivered"]), is(TWO, &["Delivered"])].concat());
}

#[test]
fn answers_are_for_the_box_that_asks_and_changes_for_all() {
    let mut world = World::with_boxes();
    for line in ["CONTACTS", "HISTORY bob", "CHAT carol", "WHY bob", "HELP", "SHOUT"] {
        let command = parse(&format!("/{line}")).unwrap();
        let told = world.boxes(&[Input::Said { from: TWO, command, reference: None }]);
        assert!(told.iter().all(|(front_end, _)| *front_end == TWO) && told.len() == 1, "{line}: {told:?}");
    }
    let told = world.boxes(&[said(TWO, "REQUEST carol")]);
    assert_eq!(words(&told), [is(ONE, &["Requested"]), is(TWO, &["Requested"])].concat());
    assert_eq!(
        (told[0].1.reference.clone(), told[1].1.reference.clone()),
        (None, Some(Reference::Number(7)))
    );
    assert_eq!(
        world.node.exit.status(false).0,
        0,
        "what a box got wrong is no matter of the program's own input"
    );
}

#[test]
fn each_box_has_a_conversation_of_its_own() {
    let mut world = World::with_boxes();
    world.boxes(&[said(ONE, "CHAT bob")]);
    assert_eq!(words(&world.boxes(&[said(TWO, "hello there")])), is(TWO, &["Error"]));
    let told = world.boxes(&[said(ONE, "hello there")]);
    assert_eq!(words(&told)[0], (ONE, "Queued".to_owned()));
    // A line that reads as a command is refused where it would be said, and is run elsewhere.
    let told = world.boxes(&[said(ONE, "CONTACTS"), said(TWO, "CONTACTS")]);
    assert_eq!(words(&told), [is(ONE, &["Error"]), is(TWO, &["Contacts"])].concat());
    let line = r#"{"command":"line","text":"CONTACTS","meant":true}"#;
    let (reference, command) = crate::client::command::json::parse(line);
    let told = world.boxes(&[Input::Said { from: ONE, command, reference }]);
    assert_eq!(words(&told), [is(ONE, &["Queued"]), is(TWO, &["Sent"])].concat());
    // It ends where it can't go on, whichever box says so.
    let told = words(&world.boxes(&[said(TWO, "FORGET bob")]));
    let ended = told.iter().filter(|(_, word)| word == "Conversation").collect::<Vec<_>>();
    assert_eq!(ended, [&(ONE, "Conversation".to_owned())], "{told:?}");
}

#[test]
fn who_writes_in_a_box_has_read_what_that_box_has_shown() {
    let mut world = World::linked(1);
    let receive = |world: &mut World, number| {
        world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, number, "x"))])]);
    };
    world.boxes(&[Input::Attached(ONE)]);
    receive(&mut world, 1);
    world.boxes(&[Input::Attached(TWO)]);
    receive(&mut world, 2);
    world.boxes(&[said(TWO, "CHAT bob hi")]);
    assert_eq!(world.unread(), 2, "what is unread begins with what it has not shown");
    world.boxes(&[said(ONE, "CHAT bob hi")]);
    assert_eq!(world.unread(), 0);
    receive(&mut world, 3);
    world.boxes(&[said(TWO, "CHAT bob hi")]);
    assert_eq!(world.unread(), 0);
    receive(&mut world, 4);
    world.boxes(&[Input::AttachedQuietly(3)]);
    world.boxes(&[said(3, "CHAT bob hi")]);
    assert_eq!(world.unread(), 1, "a quiet one has shown nothing");
}

#[test]
fn what_a_box_has_read_is_told_to_all_and_a_page_reads_nothing() {
    let mut world = World::with_boxes();
    let many: Vec<_> = (1..=5).map(|number| Peer::Message(support::message(8, number, "x"))).collect();
    world.boxes(&[Input::LinkSays(1, many)]);
    let page = |beside| Input::Said {
        from: ONE,
        command: Ok(Command::Page { peer: name("bob").into(), count: 2, beside }),
        reference: None,
    };
    for (place, seqs) in [(0, vec![1, 2]), (3, vec![4, 5]), (4, vec![5]), (5, vec![])] {
        let told = world.boxes(&[page(Beside::After(place))]);
        let Notice::History { messages, .. } = &told[0].1.notice else { panic!("{told:?}") };
        assert_eq!(messages.iter().map(|line| line.seq).collect::<Vec<_>>(), seqs, "{place}");
    }
    let told = world.boxes(&[page(Beside::Before(4))]);
    let Notice::History { messages, .. } = &told[0].1.notice else { panic!("{told:?}") };
    assert_eq!((messages.iter().map(|line| line.seq).collect::<Vec<_>>(), told[0].1.seq), (vec![2, 3], 5));
    assert_eq!(world.unread(), 5);
    let read = |up_to| Input::Said {
        from: ONE,
        command: Ok(Command::Read(name("bob").into(), up_to)),
        reference: Some(Reference::Number(7)),
    };
    let told = world.boxes(&[read(3)]);
    assert_eq!(words(&told), [is(ONE, &["Read"]), is(TWO, &["Read"])].concat());
    assert_eq!(told[1].1.notice, Notice::Read { peer: name("bob").into(), up_to: 3, unread: 2 });
    assert!(told[0].1.reference.is_some() && told[1].1.reference.is_none());
    // Each command has its answer, also where nothing is new.
    assert_eq!(world.boxes(&[read(1)])[0].1.notice, told[1].1.notice);
    assert_eq!(words(&world.boxes(&[said(TWO, "CHAT bob")])).len(), 3, "entered, and told to both");
    assert_eq!(world.unread(), 0);
}

#[test]
fn in_a_box_that_says_what_is_read_nothing_is_read_by_writing() {
    let mut world = World::with_boxes();
    world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, 1, "x"))])]);
    let say = |command| Input::Said { from: ONE, command: Ok(command), reference: None };
    world.boxes(&[say(Command::Reads)]);
    world.boxes(&[said(ONE, "CHAT bob hi")]);
    assert_eq!(world.unread(), 1);
    world.boxes(&[say(Command::Read(name("bob").into(), 1))]);
    assert_eq!(world.unread(), 0);
    world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, 2, "x"))])]);
    world.boxes(&[said(TWO, "CHAT bob hi")]);
    assert_eq!(world.unread(), 0, "that is a matter of each box");
}

#[test]
fn a_box_that_comes_is_told_what_none_has_shown() {
    let (journal, now) = (support::journal(&["bob"]), support::at(0));
    let node = Node::new(Setup { silent: true, ..setup(1) }, now, &journal).unwrap();
    let mut world = World { now, journal, node, notices: Vec::new() };
    let bob = world.bob();
    for number in 1..=3 {
        let message = support::message(8, number, "x");
        world.journal.add_received(bob, number.cast_signed(), &message, 0).unwrap();
    }
    assert!(world.boxes(&[]).is_empty());
    let messages = |told: &[(BoxId, Told)]| {
        let of = told.iter().filter(|(_, told)| matches!(told.notice, Notice::Message { .. }));
        of.map(|(front_end, told)| (*front_end, told.seq)).collect::<Vec<_>>()
    };
    // The first is killed before it has written anything.
    let given = world.unread_boxes(&[Input::Attached(ONE)]);
    assert!(given.iter().any(|(id, batch)| *id == ONE && batch.as_ref().unwrap().len() >= 6), "{given:?}");
    assert_eq!(
        messages(&world.boxes(&[Input::Detached(ONE), Input::Attached(TWO)])),
        [(TWO, 1), (TWO, 2), (TWO, 3)]
    );
    // What another one has shown is old.
    assert_eq!(messages(&world.boxes(&[Input::Attached(3)])), []);
}

#[test]
fn a_quiet_box_is_shown_no_messages_and_takes_none_from_others() {
    let mut world = World::linked(1);
    world.boxes(&[Input::AttachedQuietly(ONE), Input::Attached(TWO)]);
    let told = world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, 1, "hi"))])]);
    assert_eq!(words(&told), is(TWO, &["Message"]));
    let told = world.boxes(&[said(ONE, "CHAT bob hi")]);
    assert_eq!(words(&told), [is(ONE, &["Queued"]), is(TWO, &["Sent"])].concat());
    let told = world.boxes(&[Input::LinkSays(1, vec![Peer::Ack(cursor(1, 2))])]);
    assert_eq!(words(&told), [is(ONE, &["Delivered"]), is(TWO, &["Delivered"])].concat());
}

#[test]
fn a_box_that_takes_nothing_is_cut_and_delays_no_other() {
    let mut world = World::with_boxes();
    let text = "x".repeat(MAX_TEXT);
    let mut cut = false;
    for number in 1..=80 {
        let message = Peer::Message(support::message(8, number, &text));
        let given = world.unread_boxes(&[Input::LinkSays(1, vec![message])]);
        assert!(given.iter().any(|(id, batch)| *id == ONE && batch.is_some()), "{number}");
        world.step(&[Input::Written(ONE)]);
        cut |= given.iter().any(|(id, batch)| *id == TWO && batch.is_none());
    }
    assert!(!cut, "it may yet read");
    world.wait(6_000);
    let given = world.unread_boxes(&[]);
    assert_eq!(
        given.iter().filter(|(id, batch)| *id == TWO && batch.is_none()).count(),
        1,
        "{}",
        given.len()
    );
    assert!(world.unread_boxes(&[]).is_empty());
    // Attached again it gets what is new, and the rest is in the history.
    assert_eq!(
        words(&world.boxes(&[Input::Detached(TWO), Input::Attached(3)])),
        is(3, &["Hello", "Ready", "Discovery"])
    );
}

#[test]
fn a_prompt_is_told_where_it_is_asked_for_and_only_what_is_new() {
    let mut world = World::with_boxes();
    let ask = Input::Said { from: ONE, command: Ok(Command::Prompt), reference: Some(Reference::Number(7)) };
    let told = world.boxes(&[ask]);
    assert_eq!((words(&told), told[0].1.reference.is_some()), (is(ONE, &["Prompt"]), true));
    let Notice::Prompt(prompt) = &told[0].1.notice else { panic!() };
    assert_eq!((prompt.contacts.as_ref().unwrap().len(), prompt.conversation.clone()), (1, None));
    let told = world.boxes(&[Input::LinkSays(1, vec![Peer::Message(support::message(8, 1, "hi"))])]);
    assert_eq!(words(&told), [is(ONE, &["Message", "Prompt"]), is(TWO, &["Message"])].concat());
    let Notice::Prompt(prompt) = &told[1].1.notice else { panic!() };
    assert_eq!((prompt.contacts.clone(), prompt.unread.clone()), (None, [(name("bob").into(), 1)].into()));
}

#[test]
fn a_failed_transaction_is_decided_again_for_boxes_too() {
    let mut world = World::with_boxes();
    world.fail(&[Input::Attached(3), said(3, "CHAT bob hi"), Input::Detached(ONE)]);
    let given = world.node.for_boxes();
    assert_eq!(given.len(), 1, "{given:?}");
    let ForBox::Print(told) = &given[0].1 else { panic!() };
    assert_eq!(codes(told.iter().map(|told| &told.notice)), [Code::NotSaved]);
    assert!(matches!(told[0].notice, Notice::Hello { .. }) && given[0].0 == 3);
}

#[test]
fn logout_in_a_box_ends_the_client() {
    let mut world = World::with_boxes();
    let actions = world.step(&[said(TWO, "LOGOUT")]);
    assert!(actions.iter().any(|action| matches!(action, Action::Exit(0, None))));
    assert_eq!(world.node.for_boxes().len(), 2, "both are told");
}
