//! Looking for words.

use super::super::super::notice::Body;
use super::super::search::Index;
use super::*;

impl World {
    /// The last answer to a search, if there is one.
    fn found(&self) -> Option<Vec<String>> {
        self.notices.iter().rev().find_map(|notice| match notice {
            Notice::Found { messages, .. } => Some(
                messages
                    .iter()
                    .map(|found| match &found.line.text {
                        Body::Text(text) => format!("{} {}: {text}", found.peer, found.line.from),
                        Body::Unknown(_) => panic!("{found:?}"),
                    })
                    .collect(),
            ),
            _ => None,
        })
    }

    fn index(&self) -> &Index {
        &self.node.index
    }
}

#[test]
fn what_was_just_said_is_found() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "the blue boat")]);
    world.step(&[typed("CHAT bob a red boat"), typed("REQUEST carol"), typed("CHAT carol no boats")]);
    world.types("SEARCH boa");
    world.step(&[]);
    world.step(&[]);
    let expected = ["carol alice: no boats", "bob alice: a red boat", "bob bob: the blue boat"];
    assert_eq!(world.found().unwrap(), expected);
    world.types("SEARCH @bob boat blue");
    assert_eq!(world.found().unwrap(), expected[2..]);
    world.types("SEARCH boat @dave");
    assert_eq!(world.errors(), [Code::NotAContact]);
    // Who does not exist is not found.
    world.discovery(&[ToClient::NoSuchUser(About { name: name("carol") })]);
    world.types("SEARCH boats");
    world.step(&[]);
    assert_eq!(world.found().unwrap(), [""; 0]);
}

#[test]
fn a_search_lets_others_go_on_while_the_index_follows() {
    let mut world = World::linked(1);
    let many: Vec<_> = (1..=2_000).map(|number| message(8, number, &format!("word{number}"))).collect();
    world.says(1, &many);
    world.types("SEARCH word1");
    let mut turns = 0;
    while world.found().is_none() {
        assert!(world.node.deadline() <= world.now.mono, "it goes on at once");
        turns += 1;
        assert_eq!(texts(&world.types("CHAT bob hi"), 1).len(), 1);
        world.says(1, &[Peer::Ack(cursor(1, u64::MAX))]);
    }
    assert!((3..20).contains(&turns), "{turns}");
    assert_eq!(world.found().unwrap().len(), 20);
    assert_eq!(world.found().unwrap()[0], "bob bob: word1999");
}

#[test]
fn the_index_follows_by_itself_when_nothing_happens() {
    let mut world = World::linked(1);
    let many: Vec<_> = (1..=600).map(|number| message(8, number, "word")).collect();
    world.says(1, &many);
    world.later(4_000);
    world.says(1, &[message(8, 601, "word")]);
    world.later(4_000);
    assert_eq!(world.journal.not_indexed().unwrap().len(), 1, "there was no rest yet");
    let mut slices = 0;
    while world.index().at.is_some() {
        world.now.mono = world.node.deadline();
        world.step(&[]);
        slices += 1;
        assert!(slices < 50);
        world.discovery(&[ToClient::Pong]);
        world.says(1, &[Peer::Ping]);
    }
    assert_eq!(world.journal.not_indexed().unwrap(), [0; 0]);
    // The rest after a restart.
    world.says(1, &[message(8, 602, "late")]);
    world.restart(2);
    world.step(&[]);
    world.later(10_000);
    assert_eq!(world.journal.not_indexed().unwrap(), [0; 0]);
}

#[test]
fn a_search_that_can_not_be_indexed_says_so() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "one")]);
    world.fail(&[typed("SEARCH one")]);
    assert_eq!(world.errors(), [], "it is still to be looked for");
    world.fail(&[]);
    assert_eq!(world.errors(), [Code::NotSaved]);
    assert!(world.index().at > Some(world.now.mono), "it is not tried again at once");
    world.link(2, false, 1, &[]);
    world.types("SEARCH one");
    world.step(&[]);
    assert_eq!(world.found().unwrap(), ["bob bob: one"]);
}

#[test]
fn the_end_of_input_waits_for_the_answer() {
    let mut world = World::linked(1);
    let many: Vec<_> = (1..=600).map(|number| message(8, number, "word")).collect();
    world.says(1, &many);
    let mut actions = world.step(&[typed("SEARCH word"), Input::InputEnded]);
    let exits = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Exit(..)));
    assert!(!exits(&actions));
    for _ in 0..6 {
        actions.extend(world.step(&[]));
    }
    assert!(exits(&actions) && world.found().is_some());
}
